//! `/v1/calls`: place, list, follow and end calls, fetch recordings.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json as Reply;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use utoipa::IntoParams;

use super::schema::{Call, Event, NewCall};
use super::{Page, location};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::{Problem, store_failed};
use crate::api::{Api, Door, calls};
use crate::flow::Step;
use crate::originate::{Order, originate};
use crate::progress::Follow;
use crate::refused::Refused;
use crate::store::CallFilter;

/// Bytes of a recording read at once.
const CHUNK: usize = 64 * 1024;

/// Place a call
#[utoipa::path(post, path = "/v1/calls", tag = "calls", request_body = NewCall,
    responses((status = CREATED, description = "The call is on its way.", body = Call,
               headers(("Location" = String, description = "The call's path."))),
              (status = "default", description = "Refused; nobody was dialled.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewCall>,
) -> Result<impl IntoResponse, Refused> {
    caller.may("calls:write")?;
    let face = if api.door == Door::Unix { "cli" } else { "v1" };
    let order = order(asked, caller.0.account, face)?;
    let call = Call::from(originate(&api.app, order).await?);
    Ok((StatusCode::CREATED, location(call.path()), Reply(call)))
}

fn order(asked: NewCall, account: i64, face: &'static str) -> Result<Order, Refused> {
    calls::plain("to", &asked.to)?;
    for (field, text) in [("from", &asked.from), ("play", &asked.play), ("trunk", &asked.trunk)] {
        text.as_ref().map_or(Ok(()), |text| calls::plain(field, text))?;
    }
    let flow = match (asked.say, asked.play, asked.flow) {
        (Some(text), None, None) => vec![Step::Say { text, voice: None, language: None }],
        (None, Some(file), None) => vec![Step::Play { file }],
        (None, None, Some(steps)) => steps,
        (None, None, None) => {
            return Err(Refused::bad("missing_content", "None of `say`, `play` and `flow` is given.")
                .hint("Send exactly one of them: what shall happen once the call is answered."));
        }
        _ => {
            return Err(Refused::bad(
                "ambiguous_content",
                "More than one of `say`, `play` and `flow` is given.",
            )
            .hint("Send exactly one of them."));
        }
    };
    Ok(Order {
        account,
        face,
        from: asked.from,
        to: asked.to,
        flow,
        trunk: asked.trunk,
        record: asked.record,
        ring_timeout: asked.ring_timeout_s.map(seconds),
        max_duration: asked.max_duration_s.map(seconds),
    })
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// How many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only calls in this state.
    status: Option<String>,
    /// Only calls from this number.
    from: Option<String>,
    /// Only calls to this number.
    to: Option<String>,
}

/// List calls, newest first
#[utoipa::path(get, path = "/v1/calls", tag = "calls", params(ListQuery),
    responses((status = OK, description = "One page.", body = Page<Call>),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<ListQuery>,
) -> Result<Reply<Page<Call>>, Refused> {
    caller.may("calls:read")?;
    let limit = body::limit(asked.limit)?;
    let filter = CallFilter {
        state: calls::state(asked.status)?,
        from: body::number_filter(asked.from),
        to: body::number_filter(asked.to),
        after: calls::after(asked.after)?,
        limit: limit.into(),
    };
    let rows = api.app.store.calls(caller.0.reach(), &filter).await.map_err(store_failed)?;
    let next = calls::next(&rows, limit).map(|id| id.with("call"));
    Ok(Reply(Page { data: rows.into_iter().map(Call::from).collect(), next }))
}

/// Get a call
#[utoipa::path(get, path = "/v1/calls/{id}", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "The call as it stands.", body = Call),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Call>, Refused> {
    caller.may("calls:read")?;
    calls::find(&api, &caller, &id).await.map(|row| Reply(row.into()))
}

/// Hang a call up
///
/// Before the answer the call becomes `canceled`, after it `completed`. A call that has ended stays as it is,
/// so this may be sent twice.
#[utoipa::path(post, path = "/v1/calls/{id}/hangup", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "The call as it stands then.", body = Call),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn hang_up(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Call>, Refused> {
    caller.may("calls:write")?;
    calls::end(&api, &caller, &id).await.map(|row| Reply(row.into()))
}

/// Follow a call
///
/// Server-sent events: those that have happened first, then live ones until the call has finished. Each has its
/// kind as `event`, its sequence as `id` (send it back as `Last-Event-ID` to go on from there) and an `Event`
/// as `data`.
#[utoipa::path(get, path = "/v1/calls/{id}/events", tag = "calls",
    params(("id" = String, Path,), ("Last-Event-ID" = Option<i64>, Header,)),
    responses((status = OK, description = "A stream of events.", body = Event, content_type = "text/event-stream"),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn events(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refused> {
    caller.may("calls:read")?;
    let row = calls::find(&api, &caller, &id).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let follow = Follow::start(&api.app, &row, last.unwrap_or(0)).await.map_err(store_failed)?;
    let stream = unfold(follow, async |mut follow| {
        let event = Event::from(follow.next().await?);
        let shown = sse::Event::default().event(event.kind()).id(event.sequence().to_string());
        let shown = shown.json_data(&event).unwrap_or_default();
        Some((Ok(shown), follow))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Fetch a recording
///
/// A WAV file with two channels (left: what the callee said; right: what trunkline said), 8,000 Hz, 16 bit.
/// While the call lasts this is what has been recorded so far.
#[utoipa::path(get, path = "/v1/calls/{id}/recording", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "The recording.", content_type = "audio/wav"),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn recording(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    caller.may("calls:read")?;
    let row = calls::find(&api, &caller, &id).await?;
    let (file, length) = open(&api, row.recording.as_deref()).await.ok_or_else(|| {
        Refused::missing("no_recording", "This call has no recording.")
            .hint("It was not answered yet, was placed with `record: false`, or its file has been removed.")
    })?;
    let headers = [
        (header::CONTENT_TYPE, "audio/wav".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}.wav\"", row.id.with("call"))),
    ];
    Ok((headers, Body::from_stream(chunks(file, length))).into_response())
}

/// The file and how much of it there is now; what is recorded later is left for another time.
async fn open(api: &Api, name: Option<&str>) -> Option<(File, u64)> {
    let name = std::path::Path::new(name?).file_name()?;
    let mut file = File::open(api.app.recordings_dir().join(name)).await.ok()?;
    let length = file.seek(std::io::SeekFrom::End(0)).await.ok()?;
    file.rewind().await.ok()?;
    Some((file, length))
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
