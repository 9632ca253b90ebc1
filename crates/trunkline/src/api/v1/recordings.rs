//! `/v1/recordings`: list, fetch and delete what was recorded.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use axum::Json as Reply;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use utoipa::{IntoParams, ToSchema};

use super::Page;
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Segment};
use crate::api::reply::{Problem, store_failed};
use crate::api::{Api, calls, cursor};
use crate::refused::Refused;
use crate::store::{CallFilter, CallRow};

/// Bytes of a recording read at once.
const CHUNK: usize = 64 * 1024;

/// A recording: one WAV file with two channels (left: what the callee said; right: what trunkline said), 16 bit.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "call": "call_65a1f0c2a4b1c2d3e4f50617", "account": 0,
    "url": "/v1/calls/call_65a1f0c2a4b1c2d3e4f50617/recording", "size_bytes": 137804, "growing": false,
    "created_at": "2026-01-01T00:00:02.004Z", "duration_ms": 4306,
}))]
pub(super) struct Recording {
    call: String,
    account: i64,
    /// Where it can be fetched, also while it grows.
    url: String,
    /// How large its file is now; null where the file has been removed.
    size_bytes: Option<u64>,
    /// Whether the call still goes on.
    growing: bool,
    /// When the call was answered.
    #[schema(format = DateTime)]
    created_at: String,
    /// From the answer to the end of the call; null until then.
    duration_ms: Option<i64>,
}

impl Recording {
    async fn of(api: &Api, row: &CallRow) -> Self {
        let call = row.id.with("call");
        let size_bytes = match path(api, row) {
            Some(path) => tokio::fs::metadata(path).await.ok().map(|file| file.len()),
            None => None,
        };
        Self {
            url: format!("/v1/calls/{call}/recording"),
            call,
            account: row.account,
            size_bytes,
            growing: row.ended_at.is_none(),
            created_at: calls::time(row.answered_at.unwrap_or(row.created_at)),
            duration_ms: row.duration_ms(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only of calls ordered at this time or later.
    #[param(format = DateTime, example = "2026-01-01T00:00:00Z")]
    created_after: Option<String>,
    /// Only of calls ordered before this time.
    #[param(format = DateTime, example = "2026-02-01T00:00:00Z")]
    created_before: Option<String>,
}

/// List recordings, newest call first
#[utoipa::path(get, path = "/v1/recordings", tag = "recordings", params(ListQuery),
    responses((status = OK, description = "One page.", body = Page<Recording>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<ListQuery>,
) -> Result<Reply<Page<Recording>>, Refused> {
    let limit = body::limit(asked.limit.as_deref())?;
    let filter = CallFilter {
        recorded: true,
        since: body::moment("created_after", asked.created_after.as_deref())?,
        before: body::moment("created_before", asked.created_before.as_deref())?,
        after: cursor::read_call(asked.after.as_deref())?,
        limit: limit.into(),
        ..CallFilter::default()
    };
    let rows = api.app.store.calls(caller.0.reach(), &filter).await.map_err(store_failed)?;
    let next = calls::next(&rows, limit).map(|row| cursor::call(row.place()));
    let mut data = Vec::with_capacity(rows.len());
    for row in &rows {
        data.push(Recording::of(&api, row).await);
    }
    Ok(Reply(Page { data, next }))
}

/// List the recordings of a call
#[utoipa::path(get, path = "/v1/calls/{id}/recordings", tag = "recordings", params(("id" = String, Path,)),
    responses((status = OK, description = "All of them.", body = Page<Recording>)))]
pub(super) async fn of_call(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Page<Recording>>, Refused> {
    let row = calls::find(&api, &caller, &id).await?;
    let mut data = Vec::new();
    if row.recording.is_some() {
        data.push(Recording::of(&api, &row).await);
    }
    Ok(Reply(Page { data, next: None }))
}

/// Fetch a recording
///
/// A WAV file with two channels (left: what the callee said; right: what trunkline said), 8,000 Hz, 16 bit.
/// While the call lasts this is what has been recorded so far. Parts of it are had with `Range`.
#[utoipa::path(get, path = "/v1/calls/{id}/recording", tag = "recordings",
    params(("id" = String, Path,),
           ("Range" = Option<String>, Header, description = "One range of bytes.", example = "bytes=0-43"),
           ("If-Range" = Option<String>, Header, description = "Sends the whole file unless this is its `ETag`."),
           ("If-None-Match" = Option<String>, Header, description = "Sends nothing if this is its `ETag`.")),
    responses((status = OK, description = "The recording.", body = Vec<u8>, content_type = "audio/wav",
               headers(("ETag" = String, description = "Changes with the file."),
                       ("Accept-Ranges" = String, description = "`bytes`"))),
              (status = PARTIAL_CONTENT, description = "The range.", body = Vec<u8>, content_type = "audio/wav",
               headers(("Content-Range" = String, description = "Which bytes of how many."))),
              (status = NOT_MODIFIED, description = "It is as it was."),
              (status = RANGE_NOT_SATISFIABLE, description = "The file has no such bytes.", body = Problem,
               content_type = "application/problem+json",
               headers(("Content-Range" = String, description = "How many bytes it has.")))))]
pub(super) async fn fetch(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let row = calls::find(&api, &caller, &id).await?;
    let (mut file, length, tag) = open(&api, &row).await.ok_or_else(missing)?;
    let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let same =
        |value: &str| value == "*" || value.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let about = [(header::ETAG, tag.clone()), (header::ACCEPT_RANGES, "bytes".to_owned())];
    if text(header::IF_NONE_MATCH).is_some_and(same) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let wanted = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|value| value == tag));
    let (status, first, count) = match wanted.map_or(Range::Whole, |text| range(text, length)) {
        Range::Whole => (StatusCode::OK, 0, length),
        Range::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Range::None => {
            let refused =
                Refused::new(416, "range_not_satisfiable", format!("The recording has {length} bytes."))
                    .hint("Ask for bytes that it has, such as bytes=0-43, or for all of it.");
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{length}"))], refused).into_response());
        }
    };
    file.seek(std::io::SeekFrom::Start(first)).await.map_err(|_| missing())?;
    let headers = [
        (header::CONTENT_TYPE, "audio/wav".to_owned()),
        (header::CONTENT_LENGTH, count.to_string()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}.wav\"", row.id.with("call"))),
    ];
    let part = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(header::CONTENT_RANGE, format!("bytes {first}-{}/{length}", first + count - 1))]);
    Ok((status, about, headers, part, Body::from_stream(chunks(file, count))).into_response())
}

/// Delete a recording
///
/// Its file is removed for good; the call stays.
#[utoipa::path(delete, path = "/v1/calls/{id}/recording", tag = "recordings", params(("id" = String, Path,)),
    responses((status = NO_CONTENT, description = "It is gone."),
              (status = CONFLICT, description = "The call still goes on.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Refused> {
    let row = calls::find(&api, &caller, &id).await?;
    if row.ended_at.is_none() {
        return Err(Refused::new(409, "call_not_finished", "The call still goes on and is being recorded.")
            .hint("Hang the call up first, or wait for its end."));
    }
    let path = path(&api, &row).ok_or_else(missing)?;
    match tokio::fs::remove_file(&path).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "a recording cannot be removed");
            return Err(Refused::new(500, "recording_kept", "The recording's file could not be removed.")
                .hint("The server's log says why."));
        }
    }
    api.app.store.remove_recording(row.id).await.map_err(store_failed)?;
    Ok(StatusCode::NO_CONTENT)
}

fn missing() -> Refused {
    Refused::missing("no_recording", "This call has no recording.")
        .hint("It was not answered yet, was placed with `record: false`, or its file has been removed.")
}

/// Where the file lies; always directly in the folder of recordings.
fn path(api: &Api, row: &CallRow) -> Option<PathBuf> {
    let name = std::path::Path::new(row.recording.as_deref()?).file_name()?;
    Some(api.app.recordings_dir().join(name))
}

/// The file, how much of it there is now (what is recorded later is left for another time), and its tag.
async fn open(api: &Api, row: &CallRow) -> Option<(File, u64, String)> {
    let file = File::open(path(api, row)?).await.ok()?;
    let about = file.metadata().await.ok()?;
    let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some((file, about.len(), format!("\"{changed:x}-{:x}\"", about.len())))
}

#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    Part { first: u64, last: u64 },
    None,
}

/// What `Range` asks for (RFC 9110 section 14.1.2). What is no single range of bytes is not obeyed.
fn range(text: &str, length: u64) -> Range {
    let parse = || {
        let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            // More than any file has is as good as its end.
            true => Some(text.parse().unwrap_or(u64::MAX)),
            false => None,
        };
        Some(match (first, last) {
            ("", last) => (length.saturating_sub(number(last)?), u64::MAX, number(last)? == 0),
            (first, "") => (number(first)?, u64::MAX, false),
            (first, last) => (
                number(first)?,
                Some(number(last)?).filter(|last| *last >= number(first).unwrap_or(0))?,
                false,
            ),
        })
    };
    match parse() {
        None => Range::Whole,
        Some((first, last, nothing)) => match length.checked_sub(1).filter(|end| first <= *end && !nothing) {
            Some(end) => Range::Part { first, last: last.min(end) },
            None => Range::None,
        },
    }
}

fn chunks(file: File, length: u64) -> impl Stream<Item = std::io::Result<Bytes>> {
    unfold((file.take(length), vec![0; CHUNK]), async |(mut file, mut chunk)| {
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(n) => {
                let bytes = Bytes::copy_from_slice(chunk.get(..n).unwrap_or_default());
                Some((Ok(bytes), (file, chunk)))
            }
            Err(error) => Some((Err(error), (file, chunk))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Range::Part { first, last };
        for (text, length, expected) in [
            ("bytes=0-43", 100, part(0, 43)),
            ("bytes=44-", 100, part(44, 99)),
            ("bytes=-10", 100, part(90, 99)),
            ("bytes=-200", 100, part(0, 99)),
            ("bytes=99-500", 100, part(99, 99)),
            ("bytes=5-99999999999999999999999", 100, part(5, 99)),
            ("bytes=100-", 100, Range::None),
            ("bytes=99999999999999999999999-", 100, Range::None),
            ("bytes=-0", 100, Range::None),
            ("bytes=0-", 0, Range::None),
            ("bytes=9-3", 100, Range::Whole),
            ("bytes=0-1,5-6", 100, Range::Whole),
            ("bytes=a-b", 100, Range::Whole),
            ("bytes=-", 100, Range::Whole),
            ("lines=1-2", 100, Range::Whole),
            ("", 100, Range::Whole),
        ] {
            assert_eq!(range(text, length), expected, "{text} of {length}");
        }
    }
}
