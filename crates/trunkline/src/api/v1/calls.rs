//! `/v1/calls`: place, list, follow and end calls.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::schema::{Call, Event, NewCall, SentEvent, Status};
use super::{Page, location};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, OnceJson, Segment};
use crate::api::reply::{self, Problem, store_failed};
use crate::api::{Api, Door, calls, cursor};
use crate::flow::Step;
use crate::id::Id;
use crate::originate::{FACES, Order, Ordered, originate};
use crate::progress::Follow;
use crate::refused::Refused;
use crate::store::CallFilter;

/// What metadata may have: entries, bytes of a name, bytes of a value.
const METADATA: (usize, usize, usize) = (20, 64, 500);

/// Place a call
///
/// With the header `Idempotency-Key` the same request may be sent again within 24 hours, for instance when its reply
/// got lost: no second call is placed, the reply shows the first one and has the header `Idempotent-Replayed`. The
/// same key with another body is refused (422). A request that was refused does not use its key up.
#[utoipa::path(post, path = "/v1/calls", tag = "calls", request_body = NewCall,
    params(("Idempotency-Key" = Option<String>, Header, description = "A new random value for each new request.",
            max_length = 255, example = "6b0ab1b4-9a53-4a0e-8f53-2f9c66b0d0d1")),
    responses((status = CREATED, description = "The call is on its way.", body = Call,
               headers(("Location" = String, description = "The call's path."),
                       ("Idempotent-Replayed" = bool, description = "True where the call was placed before."))),
              (status = CONFLICT, description = "The call of this Idempotency-Key has been removed.",
               body = Problem, content_type = "application/problem+json"),
              (status = UNPROCESSABLE_ENTITY, description = "The Idempotency-Key was used for another request.",
               body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    OnceJson(asked, once): OnceJson<NewCall>,
) -> Result<impl IntoResponse, Refused> {
    let face = if api.door == Door::Unix { "cli" } else { "v1" };
    let order = Order { once, ..order(asked, caller.0.account, face)? };
    let Ordered { call, replayed } = originate(&api.app, order).await?;
    let call = Call::from(call);
    Ok((StatusCode::CREATED, location(call.path()), reply::replayed(replayed), Reply(call)))
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
        metadata: metadata(asked.metadata)?,
        once: None,
    })
}

/// A bounded map of short texts.
fn metadata(asked: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused> {
    let (entries, longest_name, longest_value) = METADATA;
    let bad = |message: String| Err(Refused::bad("invalid_metadata", message));
    if asked.len() > entries {
        return bad(format!("`metadata` has {} entries; {entries} are the most.", asked.len()));
    }
    for (name, value) in &asked {
        let shown: String = name.chars().take(64).collect();
        if !(1..=longest_name).contains(&name.len()) {
            return bad(format!("`metadata` has the name {shown:?}; names have 1 to {longest_name} bytes."));
        }
        if value.len() > longest_value {
            let length = value.len();
            return bad(format!(
                "`metadata` has {length} bytes under {shown:?}; {longest_value} are the most."
            ));
        }
        if name.contains('\0') || value.contains('\0') {
            return bad(format!("`metadata` has the control character NUL (\\u0000) in or under {shown:?}."));
        }
    }
    Ok(asked)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
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
    /// Only calls in this state.
    #[param(value_type = Option<Status>)]
    status: Option<String>,
    /// Only calls from this number.
    from: Option<String>,
    /// Only calls to this number.
    to: Option<String>,
    /// Only calls in this direction.
    #[param(inline)]
    direction: Option<Direction>,
    /// Only calls over the trunk with this name or id.
    trunk: Option<String>,
    /// Only calls placed through this face: `v1`, `calling`, `cli` or `demo`.
    #[param(example = "v1")]
    face: Option<String>,
    /// Only calls ordered at this time or later.
    #[param(format = DateTime, example = "2026-01-01T00:00:00Z")]
    created_after: Option<String>,
    /// Only calls ordered before this time.
    #[param(format = DateTime, example = "2026-02-01T00:00:00Z")]
    created_before: Option<String>,
}

/// Which way a call goes, seen from here.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    Outbound,
    Inbound,
}

impl ListQuery {
    fn filter(self) -> Result<(CallFilter, u32), Refused> {
        let limit = body::limit(self.limit.as_deref())?;
        let direction = self.direction.map(|direction| match direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
        });
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let filter = CallFilter {
            state: calls::state(self.status)?,
            from: body::number_filter(self.from),
            to: body::number_filter(self.to),
            direction: direction.map(ToOwned::to_owned),
            face: body::word("face", self.face, FACES)?,
            trunk: given(self.trunk),
            since: body::moment("created_after", self.created_after.as_deref())?,
            before: body::moment("created_before", self.created_before.as_deref())?,
            after: cursor::read_call(self.after.as_deref())?,
            limit: limit.into(),
        };
        Ok((filter, limit))
    }
}

/// List calls, newest first
#[utoipa::path(get, path = "/v1/calls", tag = "calls", params(ListQuery),
    responses((status = OK, description = "One page.", body = Page<Call>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<ListQuery>,
) -> Result<Reply<Page<Call>>, Refused> {
    let (filter, limit) = asked.filter()?;
    let rows = api.app.store.calls(caller.0.reach(), &filter).await.map_err(store_failed)?;
    if rows.is_empty()
        && let Some(trunk) = &filter.trunk
    {
        known_trunk(&api, &caller, trunk).await?;
    }
    let next = calls::next(&rows, limit).map(|row| cursor::call(row.place()));
    Ok(Reply(Page { data: rows.into_iter().map(Call::from).collect(), next }))
}

/// Refuses a trunk that neither is there nor has carried a call before it went.
async fn known_trunk(api: &Api, caller: &Caller, trunk: &str) -> Result<(), Refused> {
    let store = &api.app.store;
    let accounts = store.accounts();
    let seen = accounts.iter().filter(|account| caller.0.reach().is_none_or(|own| own == account.id));
    let id = Id::parse(trunk);
    if seen.flat_map(|account| store.trunks(account.id)).any(|row| row.name == trunk || Some(row.id) == id) {
        return Ok(());
    }
    let over_it = CallFilter { trunk: Some(trunk.to_owned()), limit: 1, ..CallFilter::default() };
    if !store.calls(caller.0.reach(), &over_it).await.map_err(store_failed)?.is_empty() {
        return Ok(());
    }
    let shown: String = trunk.chars().take(64).collect();
    Err(Refused::bad("unknown_trunk", format!("There is no trunk {shown:?}, and no call went over one."))
        .hint("GET /v1/trunks lists the trunks."))
}

/// Get a call
#[utoipa::path(get, path = "/v1/calls/{id}", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "The call as it stands.", body = Call)))]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Call>, Refused> {
    calls::find(&api, &caller, &id).await.map(|row| Reply(row.into()))
}

/// Hang a call up
///
/// Before the answer the call becomes `canceled`, after it `completed`. A call that has ended stays as it is,
/// so this may be sent twice.
#[utoipa::path(post, path = "/v1/calls/{id}/hangup", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "The call as it stands then.", body = Call)))]
pub(super) async fn hang_up(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Call>, Refused> {
    calls::end(&api, &caller, &id).await.map(|row| Reply(row.into()))
}

/// Follow a call
///
/// Server-sent events: those that have happened first, then live ones until the call has finished. Each has its
/// kind as `event`, its sequence as `id` (send it back as `Last-Event-ID` to go on from there) and an `Event`
/// as `data`.
#[utoipa::path(get, path = "/v1/calls/{id}/events", tag = "calls",
    params(("id" = String, Path,), ("Last-Event-ID" = Option<i64>, Header,)),
    responses((status = OK, description = "A stream of events.", body = SentEvent, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refused> {
    let row = calls::find(&api, &caller, &id).await?;
    let last = last_event(&headers)?;
    let place = super::events::place(&api)?;
    let follow = Follow::start(&api.app, &row, last).await.map_err(store_failed)?;
    let stream = unfold((follow, place), async |(mut follow, place)| {
        let event = Event::from(follow.next().await?);
        let shown = sse::Event::default().event(event.kind()).id(event.sequence().to_string());
        let shown = shown.json_data(&event).unwrap_or_default();
        Some((Ok(shown), (follow, place)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// The sequence behind which a reader goes on; 0 for the first.
fn last_event(headers: &HeaderMap) -> Result<i64, Refused> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let sequence = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    sequence.filter(|sequence| *sequence >= 0).ok_or_else(|| {
        Refused::bad("invalid_cursor", "The header Last-Event-ID is no sequence of an event of this call.")
            .hint("Send back the `id` of the last event that was read, or leave the header out.")
    })
}
