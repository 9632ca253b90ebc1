//! `/v1/events`: what happens on all calls of an account, listed and live.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json as Reply;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

use super::Page;
use super::schema::{Event, SentEvent};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked};
use crate::api::reply::store_failed;
use crate::api::{Api, cursor};
use crate::refused::Refused;
use crate::store::{CallEvent, EventFilter, Placed, Store};
use crate::switch::EVENT_KINDS;

/// Events read from the store at once.
const PAGE: u32 = 200;
/// A reader that takes longer for what is waiting is let go.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only events of this kind.
    #[serde(rename = "type")]
    #[param(example = "finished")]
    kind: Option<String>,
    /// Only events of this call.
    call: Option<String>,
    /// Only events of this time or later.
    #[param(format = DateTime, example = "2026-01-01T00:00:00Z")]
    since: Option<String>,
    /// Another account than the key's own: operators only.
    #[param(minimum = 0)]
    account: Option<i64>,
}

/// List events, oldest first
///
/// Each page ends where the next one begins, and nothing new ever appears before that: whoever asks again with the
/// last `next` misses nothing. `next` is there even on the last page.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(ListQuery),
    responses((status = OK, description = "One page.", body = Page<Event>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<ListQuery>,
) -> Result<Reply<Page<Event>>, Refused> {
    let limit = body::limit(asked.limit.as_deref())?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let mut filter = EventFilter {
        account: whose(&caller, asked.account)?,
        kind: body::word("type", asked.kind, EVENT_KINDS)?,
        call: given(asked.call).map(|text| body::id(&text, "call_not_found", "call")).transpose()?,
        since: body::moment("since", asked.since.as_deref())?,
        after: 0,
    };
    let after = asked.after;
    filter.after = cursor::read_event(after.as_deref(), "after")?.unwrap_or(0);
    let found = api.app.store.feed(&filter, limit).await.map_err(store_failed)?;
    let next = found.last().map(|placed| cursor::event(placed.ordinal)).or(after);
    Ok(Reply(Page { data: found.into_iter().map(|placed| placed.event.into()).collect(), next }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// Begins behind this place (`next` of a list); at the newest event when left out. `Last-Event-ID` wins.
    after: Option<String>,
    /// Only events of this kind.
    #[serde(rename = "type")]
    #[param(example = "finished")]
    kind: Option<String>,
    /// Only events of this call.
    call: Option<String>,
    /// Another account than the key's own: operators only.
    #[param(minimum = 0)]
    account: Option<i64>,
}

/// Follow an account
///
/// Server-sent events of all calls, live. Each has its kind as `event`, its place as `id` (send it back as
/// `Last-Event-ID` to go on from there) and an `Event` as `data`. A reader that is too slow gets a last event
/// `cut-off`, whose data say so, and may come back with the `id` it got to.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events",
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event read.")),
    responses((status = OK, description = "A stream of events.", body = SentEvent, content_type = "text/event-stream")))]
pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<StreamQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refused> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let store = api.app.store.clone();
    // Listening begins before reading: nothing falls between.
    let live = store.subscribe();
    store.flush().await;
    let newest = store.newest_event().await.map_err(store_failed)?;
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").trim());
    let (place_of, what) = match header.filter(|text| !text.is_empty()) {
        Some(header) => (Some(header), "Last-Event-ID"),
        None => (asked.after.as_deref(), "after"),
    };
    let after = cursor::read_event(place_of, what)?.unwrap_or(newest);
    if after > newest {
        return Err(cursor::bad(what));
    }
    let filter = EventFilter {
        account: whose(&caller, asked.account)?,
        kind: body::word("type", asked.kind, EVENT_KINDS)?,
        call: given(asked.call).map(|text| body::id(&text, "call_not_found", "call")).transpose()?,
        since: None,
        after,
    };
    let behind = after < newest;
    let feed = Feed { store, live, filter, ready: VecDeque::new(), behind, given_at: None, over: false };
    let place = place(&api)?;
    let stream = unfold((feed, place), async |(mut feed, place)| {
        let shown = feed.next().await?;
        Some((Ok(shown), (feed, place)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// One of the streams that may be open at once.
pub(super) fn place(api: &Api) -> Result<OwnedSemaphorePermit, Refused> {
    api.streams.clone().try_acquire_owned().map_err(|_| {
        Refused::new(503, "too_many_streams", "As many streams of events are open as this server keeps.")
            .hint("Close some, or list events with GET /v1/events.")
            .retry_after(5)
    })
}

/// The account that is meant; everyone's for an operator who names none.
fn whose(caller: &Caller, named: Option<i64>) -> Result<Option<i64>, Refused> {
    match named {
        None => Ok(caller.0.reach()),
        named => caller.account(named).map(Some),
    }
}

/// The events of an account from a place on. Only a page of them is in memory: the live ones merely say when to
/// read on, so that none is missed and none comes twice.
struct Feed {
    store: Store,
    live: Receiver<Arc<CallEvent>>,
    filter: EventFilter,
    ready: VecDeque<Placed>,
    /// The store may have more.
    behind: bool,
    /// When the last event was handed on while others were waiting.
    given_at: Option<Instant>,
    over: bool,
}

/// The last word to a slow reader.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CutOff {
    code: &'static str,
    detail: &'static str,
}

impl Feed {
    async fn next(&mut self) -> Option<sse::Event> {
        if self.over {
            return None;
        }
        if self.given_at.take().is_some_and(|at| at.elapsed() > PATIENCE) {
            self.over = true;
            let word = CutOff {
                code: "too_slow",
                detail: "Events are read too slowly. Come back with the last id as Last-Event-ID.",
            };
            return Some(sse::Event::default().event("cut-off").json_data(word).unwrap_or_default());
        }
        loop {
            if let Some(placed) = self.ready.pop_front() {
                self.filter.after = placed.ordinal;
                self.given_at = (self.behind || !self.ready.is_empty()).then(Instant::now);
                let id = cursor::event(placed.ordinal);
                let event = Event::from(placed.event);
                let shown = sse::Event::default().event(event.kind()).id(id);
                return Some(shown.json_data(&event).unwrap_or_default());
            }
            if self.behind {
                // Without the database there is nothing more to tell; the reader comes back where it was.
                let found = self.store.feed(&self.filter, PAGE).await.ok()?;
                self.behind = found.len() >= PAGE as usize;
                self.ready.extend(found);
                continue;
            }
            match self.live.recv().await {
                Ok(event) => {
                    self.behind = self.filter.account.is_none_or(|account| account == event.account)
                        && self.filter.call.is_none_or(|call| call == event.call);
                }
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
