//! `/v1/recordings` and `/v1/calls/{id}/recordings`: list, fetch and delete what was recorded.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::Page;
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Segment};
use crate::api::reply::{Problem, store_failed};
use crate::api::{Api, calls, cursor, sound};
use crate::refused::Refused;
use crate::store::{OWN, RecordingFilter, RecordingRow};

/// A recording: one WAV file of 8,000 Hz and 16 bit.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "call": "call_65a1f0c2a4b1c2d3e4f50617", "account": 0, "number": 0, "file": "65a1f0c2a4b1c2d3e4f50617.wav",
    "url": "/v1/calls/call_65a1f0c2a4b1c2d3e4f50617/recordings/0", "size_bytes": 137804, "growing": false,
    "created_at": "2026-01-01T00:00:02.004Z", "duration_ms": 4305,
}))]
pub(super) struct Recording {
    call: String,
    account: i64,
    /// 0 is the call's own, of two channels (left: what the callee said; right: what trunkline said). Any other was made
    /// by a `record` step and has one channel: what the callee said.
    number: i64,
    /// The file's name, as the events `recording` and `recorded` tell it.
    file: String,
    /// Where it can be fetched, also while it grows, and deleted.
    url: String,
    /// How large its file is now; null where the file has been removed.
    size_bytes: Option<u64>,
    /// Whether it is still being recorded.
    growing: bool,
    /// When it was begun.
    #[schema(format = DateTime)]
    created_at: String,
    /// How long it is; null until it is whole.
    duration_ms: Option<i64>,
}

impl Recording {
    async fn of(api: &Api, row: RecordingRow) -> Self {
        let size_bytes = match row.path(&api.app.recordings_dir()) {
            Some(path) => tokio::fs::metadata(path).await.ok().map(|file| file.len()),
            None => None,
        };
        let call = row.call.with("call");
        Self {
            url: format!("/v1/calls/{call}/recordings/{}", row.number),
            call,
            account: row.account,
            number: row.number,
            size_bytes,
            growing: row.grows(),
            created_at: calls::time(row.created_at),
            duration_ms: row.duration_ms,
            file: row.file,
        }
    }

    async fn page(api: &Api, rows: Vec<RecordingRow>, next: Option<String>) -> Reply<Page<Self>> {
        let mut data = Vec::with_capacity(rows.len());
        for row in rows {
            data.push(Self::of(api, row).await);
        }
        Reply(Page { data, next })
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
    /// Only those begun at this time or later.
    #[param(format = DateTime, example = "2026-01-01T00:00:00Z")]
    created_after: Option<String>,
    /// Only those begun before this time.
    #[param(format = DateTime, example = "2026-02-01T00:00:00Z")]
    created_before: Option<String>,
}

/// List recordings, the newest first
#[utoipa::path(get, path = "/v1/recordings", tag = "recordings", params(ListQuery),
    responses((status = OK, description = "One page.", body = Page<Recording>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<ListQuery>,
) -> Result<Reply<Page<Recording>>, Refused> {
    let limit = body::limit(asked.limit.as_deref())?;
    let filter = RecordingFilter {
        since: body::moment("created_after", asked.created_after.as_deref())?,
        before: body::moment("created_before", asked.created_before.as_deref())?,
        after: cursor::read_recording(asked.after.as_deref())?,
        limit: limit.into(),
    };
    let rows = api.app.store.recordings(caller.0.reach(), &filter).await.map_err(store_failed)?;
    let last = rows.last().filter(|_| rows.len() >= limit as usize);
    let next = last.map(|row| cursor::recording(row.place()));
    Ok(Recording::page(&api, rows, next).await)
}

/// List the recordings of a call
///
/// The call's own first, then those that `record` steps of its flow made.
#[utoipa::path(get, path = "/v1/calls/{id}/recordings", tag = "recordings", params(("id" = String, Path,)),
    responses((status = OK, description = "All of them.", body = Page<Recording>)))]
pub(super) async fn of_call(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Page<Recording>>, Refused> {
    let rows = find(&api, &caller, &id).await?;
    Ok(Recording::page(&api, rows, None).await)
}

/// What `Range` and its like ask for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes headers that are read where files are sent")]
pub(super) struct PartOf {
    /// One range of bytes.
    #[param(rename = "Range", required = false, example = "bytes=0-43")]
    range: Option<String>,
    /// Sends the whole file unless this is its `ETag`.
    #[param(rename = "If-Range", required = false)]
    if_range: Option<String>,
    /// Sends nothing if this is its `ETag`.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: Option<String>,
}

/// What comes of fetching a file.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what is sent where files are sent")]
enum Sound {
    /// The recording.
    #[response(status = OK, content_type = "audio/wav",
               headers(("ETag" = String, description = "Changes with the file."),
                       ("Accept-Ranges" = String, description = "`bytes`")))]
    Whole(Vec<u8>),
    /// The range.
    #[response(status = PARTIAL_CONTENT, content_type = "audio/wav",
               headers(("Content-Range" = String, description = "Which bytes of how many.")))]
    Range(Vec<u8>),
    /// It is as it was.
    #[response(status = NOT_MODIFIED)]
    Same,
    /// The file has no such bytes.
    #[response(status = RANGE_NOT_SATISFIABLE, content_type = "application/problem+json",
               headers(("Content-Range" = String, description = "How many bytes it has.")))]
    Beyond(Problem),
}

/// Fetch the recording of a call
///
/// A WAV file with two channels (left: what the callee said; right: what trunkline said), 8,000 Hz, 16 bit.
/// While the call lasts this is what has been recorded so far. Parts of it are had with `Range`.
#[utoipa::path(get, path = "/v1/calls/{id}/recording", tag = "recordings",
    params(("id" = String, Path,), PartOf),
    responses(Sound))]
pub(super) async fn fetch(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let row = numbered(find(&api, &caller, &id).await?, OWN)?;
    send(&api, &row, &asked).await
}

/// Fetch one recording of a call
///
/// A WAV file of 8,000 Hz and 16 bit: 0 is the call's own, any other was made by a `record` step. Parts of it are had
/// with `Range`.
#[utoipa::path(get, path = "/v1/calls/{id}/recordings/{number}", tag = "recordings",
    params(("id" = String, Path,), ("number" = i64, Path, minimum = 0), PartOf),
    responses(Sound))]
pub(super) async fn fetch_one(
    State(api): State<Api>,
    caller: Caller,
    Segment((id, number)): Segment<(String, i64)>,
    asked: HeaderMap,
) -> Result<Response, Refused> {
    let row = numbered(find(&api, &caller, &id).await?, number)?;
    send(&api, &row, &asked).await
}

/// Delete all that was recorded on a call
///
/// Its own recording and those of `record` steps: the files are removed for good; the call stays.
#[utoipa::path(delete, path = "/v1/calls/{id}/recording", tag = "recordings", params(("id" = String, Path,)),
    responses((status = NO_CONTENT, description = "They are gone."),
              (status = CONFLICT, description = "The call still goes on.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Refused> {
    if calls::find(&api, &caller, &id).await?.ended_at.is_none() {
        return Err(growing());
    }
    let rows = find(&api, &caller, &id).await?;
    if rows.is_empty() {
        return Err(missing());
    }
    remove(&api, &rows).await
}

/// Delete one recording of a call
///
/// Its file is removed for good; the call and its other recordings stay.
#[utoipa::path(delete, path = "/v1/calls/{id}/recordings/{number}", tag = "recordings",
    params(("id" = String, Path,), ("number" = i64, Path, minimum = 0)),
    responses((status = NO_CONTENT, description = "It is gone."),
              (status = CONFLICT, description = "It is still being recorded.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn delete_one(
    State(api): State<Api>,
    caller: Caller,
    Segment((id, number)): Segment<(String, i64)>,
) -> Result<StatusCode, Refused> {
    let row = numbered(find(&api, &caller, &id).await?, number)?;
    if row.grows() {
        return Err(growing());
    }
    remove(&api, &[row]).await
}

/// The recordings of a call that the caller may see.
async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Vec<RecordingRow>, Refused> {
    let call = calls::find(api, caller, id).await?.id;
    api.app.store.recordings_of(call).await.map_err(store_failed)
}

fn numbered(rows: Vec<RecordingRow>, number: i64) -> Result<RecordingRow, Refused> {
    rows.into_iter().find(|row| row.number == number).ok_or_else(missing)
}

async fn send(api: &Api, row: &RecordingRow, asked: &HeaderMap) -> Result<Response, Refused> {
    let path = row.path(&api.app.recordings_dir()).ok_or_else(missing)?;
    let shown = format!("call_{}", row.file);
    sound::send(&path, &shown, asked).await.ok_or_else(missing)
}

async fn remove(api: &Api, rows: &[RecordingRow]) -> Result<StatusCode, Refused> {
    let gone = api.app.store.delete_recordings(rows, &api.app.recordings_dir()).await;
    if gone.map_err(store_failed)? < rows.len() {
        return Err(Refused::new(500, "recording_kept", "A recording's file could not be removed.")
            .hint("The server's log says why."));
    }
    Ok(StatusCode::NO_CONTENT)
}

fn growing() -> Refused {
    Refused::new(409, "call_not_finished", "The call still goes on and is being recorded.")
        .hint("Hang the call up first, or wait for its end.")
}

fn missing() -> Refused {
    Refused::missing("no_recording", "This call has no such recording.").hint(
        "It was not answered yet, was placed with `record: false`, or the file has been removed; \
         `/v1/calls/{id}/recordings` lists what there is.",
    )
}
