//! `/v1/webhooks` and `/v1/deliveries`: where events go, and what became of them.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Page, Whose, location};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::store_failed;
use crate::api::{Api, calls, cursor};
use crate::id::Id;
use crate::refused::Refused;
use crate::store::{AttemptRow, DeliveryFilter, DeliveryRow, NewWebhook, WebhookRow};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(rotate))
        .routes(routes!(test))
        .routes(routes!(replay_dead))
        .routes(routes!(deliveries))
        .routes(routes!(delivery))
        .routes(routes!(replay))
}

/// An endpoint to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "url": "https://example.com/hooks/trunkline", "events": ["call.finished"] }))]
pub(super) struct NewWebhookBody {
    /// Where to POST to. Addresses inside the server's own network are refused.
    #[schema(max_length = 2048)]
    url: String,
    /// `call.queued`, `call.ringing`, `call.answered`, `call.finished`; `*` (when left out) is all.
    #[serde(default = "all")]
    #[schema(min_items = 1, max_items = 5)]
    events: Vec<String>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 255)]
    description: String,
    /// Another account than the key's own: operators only.
    account: Option<i64>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

/// What to change; fields that are left out stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "enabled": false }))]
pub(super) struct WebhookPatch {
    #[schema(max_length = 2048)]
    url: Option<String>,
    #[schema(min_items = 1, max_items = 5)]
    events: Option<Vec<String>>,
    #[schema(max_length = 255)]
    description: Option<String>,
    /// While it is false nothing is delivered, and events are not kept for later.
    enabled: Option<bool>,
}

/// An endpoint, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "webhook_65a1f0c2a4b1c2d3e4f50607", "account": 0, "url": "https://example.com/hooks/trunkline",
    "events": ["call.finished"], "description": "", "enabled": true, "disabled_why": null,
    "old_secret_until": null, "created_at": "2026-01-01T00:00:00.000Z",
}))]
pub(super) struct Webhook {
    id: String,
    account: i64,
    url: String,
    events: Vec<String>,
    description: String,
    enabled: bool,
    /// Why the server disabled it.
    disabled_why: Option<String>,
    /// Until when requests bear a second signature, made with the secret before.
    #[schema(format = DateTime)]
    old_secret_until: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: row.id.with("webhook"),
            account: row.account,
            url: row.url,
            events: row.events,
            description: row.description,
            enabled: row.enabled,
            disabled_why: row.disabled_why,
            old_secret_until: row.old_secret.map(|(_, until)| calls::time(until)),
            created_at: calls::time(row.created_at),
        }
    }
}

/// An endpoint and its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookSecret {
    webhook: Webhook,
    /// Checks the header `webhook-signature` (Standard Webhooks).
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD…")]
    secret: String,
}

impl From<WebhookRow> for WebhookSecret {
    fn from(row: WebhookRow) -> Self {
        Self { secret: row.secret.expose().to_owned(), webhook: row.into() }
    }
}

/// How far a delivery is.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Progress {
    /// Waiting, being tried, or to be tried again.
    Pending,
    /// Answered with a 2xx.
    Delivered,
    /// Given up: the dead-letter list is made of these.
    Dead,
}

impl Progress {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// One event on its way to one endpoint.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "msg_65a1f0c2a4b1c2d3e4f50609", "webhook": "webhook_65a1f0c2a4b1c2d3e4f50607", "account": 0,
    "type": "call.finished", "call": "call_65a1f0c2a4b1c2d3e4f50617", "state": "delivered", "attempts": 1,
    "created_at": "2026-01-01T00:00:00.000Z", "due_at": null, "ended_at": "2026-01-01T00:00:00.120Z",
}))]
pub(super) struct Delivery {
    /// The `webhook-id` of every attempt: what was seen before under the same id is a repeat.
    id: String,
    webhook: String,
    account: i64,
    #[serde(rename = "type")]
    kind: String,
    /// Null for a test.
    call: Option<String>,
    #[schema(value_type = Progress)]
    state: String,
    /// Attempts begun.
    attempts: i64,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it is tried next; null once it is over.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id.with("msg"),
            webhook: row.webhook.with("webhook"),
            account: row.account,
            kind: row.kind,
            call: row.of.map(|(call, _)| call.with("call")),
            due_at: (row.state == "pending").then(|| calls::time(row.due_at)),
            state: row.state,
            attempts: row.attempts,
            created_at: calls::time(row.created_at),
            ended_at: row.ended_at.map(calls::time),
        }
    }
}

/// One attempt at a delivery.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Attempt {
    /// Also in the header `webhook-attempt`.
    number: i64,
    #[schema(format = DateTime)]
    at: String,
    /// Null while it is under way, or when the server ended before the answer came.
    took_ms: Option<i64>,
    /// The HTTP status of the answer.
    status: Option<u16>,
    error: Option<String>,
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number,
            at: calls::time(row.at),
            took_ms: row.ms,
            status: row.status,
            error: row.error,
        }
    }
}

/// A delivery and its attempts.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryAttempts {
    delivery: Delivery,
    attempts: Vec<Attempt>,
}

/// Make an endpoint
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = NewWebhookBody,
    responses((status = CREATED, description = "The endpoint and its secret, shown this once.", body = WebhookSecret,
               headers(("Location" = String, description = "The endpoint's path.")))))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewWebhookBody>,
) -> Result<impl IntoResponse, Refused> {
    let account = caller.account(asked.account)?;
    api.app.outward().check_reachable(&asked.url).await?;
    let new = NewWebhook { account, url: asked.url, description: asked.description, events: asked.events };
    let made = WebhookSecret::from(api.app.store.create_webhook(new).await.map_err(store_failed)?);
    Ok((StatusCode::CREATED, location(format!("/v1/webhooks/{}", made.webhook.id)), Reply(made)))
}

/// List endpoints
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(Whose),
    responses((status = OK, description = "The account's endpoints, oldest first.", body = Page<Webhook>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Page<Webhook>>, Refused> {
    let webhooks = api.app.store.webhooks(Some(caller.account(whose.account)?));
    Ok(Reply(Page { data: webhooks.into_iter().map(Webhook::from).collect(), next: None }))
}

/// Get an endpoint
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path,)),
    responses((status = OK, description = "The endpoint, without its secret.", body = Webhook)))]
async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Webhook>, Refused> {
    find(&api, &caller, &id).map(|row| Reply(row.into()))
}

/// Change an endpoint
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "webhooks", request_body = WebhookPatch,
    params(("id" = String, Path,)),
    responses((status = OK, description = "The endpoint as it is now.", body = Webhook)))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<WebhookPatch>,
) -> Result<Reply<Webhook>, Refused> {
    let mut row = find(&api, &caller, &id)?;
    if let Some(url) = asked.url {
        api.app.outward().check_reachable(&url).await?;
        row.url = url;
    }
    row.events = asked.events.unwrap_or(row.events);
    row.description = asked.description.unwrap_or(row.description);
    row.enabled = asked.enabled.unwrap_or(row.enabled);
    match api.app.store.update_webhook(&row).await.map_err(store_failed)? {
        true => find(&api, &caller, &id).map(|row| Reply(row.into())),
        false => Err(unknown(&id)),
    }
}

/// Delete an endpoint
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path,)),
    responses((status = NO_CONTENT, description = "It is gone, with everything that was to be delivered to it.")))]
async fn delete(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<StatusCode, Refused> {
    let row = find(&api, &caller, &id)?;
    match api.app.store.delete_webhook(Some(row.account), row.id).await.map_err(store_failed)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown(&id)),
    }
}

/// Give an endpoint a new secret
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate", tag = "webhooks", params(("id" = String, Path,)),
    responses((status = OK, description = "The new secret, shown this once. For 24 hours both secrets sign.",
               body = WebhookSecret)))]
async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<WebhookSecret>, Refused> {
    let row = find(&api, &caller, &id)?;
    let rotated = api.app.store.rotate_webhook(Some(row.account), row.id).await.map_err(store_failed)?;
    rotated.map(|row| Reply(row.into())).ok_or_else(|| unknown(&id))
}

/// Send a test event
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path,)),
    responses((status = ACCEPTED, description = "The delivery of a `webhook.test`.", body = Delivery)))]
async fn test(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<impl IntoResponse, Refused> {
    let row = enabled(find(&api, &caller, &id)?)?;
    let delivery = Delivery::from(api.app.store.test_webhook(&row).await.map_err(store_failed)?);
    Ok((StatusCode::ACCEPTED, location(format!("/v1/deliveries/{}", delivery.id)), Reply(delivery)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Since {
    /// Only what happened from then on (RFC 3339); everything when left out.
    #[param(format = DateTime)]
    since: Option<String>,
}

/// How much is delivered once more.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "replayed": 12 }))]
struct Replayed {
    replayed: u64,
}

/// Deliver once more what was given up
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", tag = "webhooks", params(("id" = String, Path,), Since),
    responses((status = ACCEPTED, description = "All dead deliveries of the endpoint are pending again.", body = Replayed)))]
async fn replay_dead(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(asked): Asked<Since>,
) -> Result<impl IntoResponse, Refused> {
    let row = enabled(find(&api, &caller, &id)?)?;
    let since = match asked.since.as_deref().map(str::parse::<Timestamp>) {
        None => 0,
        Some(Ok(since)) => since.as_millisecond(),
        Some(Err(_)) => {
            return Err(
                Refused::bad("invalid_time", "`since` is no time.").hint("Write it as 2026-03-01T12:00:00Z.")
            );
        }
    };
    let replayed = api.app.store.replay_dead(&row, since).await.map_err(store_failed)?;
    Ok((StatusCode::ACCEPTED, Reply(Replayed { replayed })))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeliveryQuery {
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only those in this state; `dead` is the dead-letter list.
    #[param(inline)]
    state: Option<Progress>,
    /// Only those to this endpoint.
    webhook: Option<String>,
    /// Only those about this call.
    call: Option<String>,
}

/// List deliveries, newest first
#[utoipa::path(get, path = "/v1/deliveries", tag = "webhooks", params(DeliveryQuery),
    responses((status = OK, description = "One page.", body = Page<Delivery>)))]
async fn deliveries(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<DeliveryQuery>,
) -> Result<Reply<Page<Delivery>>, Refused> {
    let limit = body::limit(asked.limit.as_deref())?;
    let filter = DeliveryFilter {
        webhook: asked.webhook.map(|id| body::id(&id, "webhook_not_found", "webhook")).transpose()?,
        call: asked.call.map(|id| body::id(&id, "call_not_found", "call")).transpose()?,
        state: asked.state.map(|state| state.as_str().to_owned()),
        after: asked.after.as_deref().map(place).transpose()?,
        limit: limit.into(),
    };
    let rows = api.app.store.deliveries(caller.0.reach(), &filter).await.map_err(store_failed)?;
    let next = rows.last().filter(|_| rows.len() >= limit as usize).map(|row| row.id.with("msg"));
    Ok(Reply(Page { data: rows.into_iter().map(Delivery::from).collect(), next }))
}

fn place(text: &str) -> Result<Id, Refused> {
    Id::parse(text).ok_or_else(|| cursor::bad("after"))
}

/// Get a delivery and its attempts
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "webhooks", params(("id" = String, Path,)),
    responses((status = OK, description = "The delivery and its attempts.", body = DeliveryAttempts)))]
async fn delivery(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<DeliveryAttempts>, Refused> {
    let parsed = body::id(&id, "delivery_not_found", "delivery")?;
    let found = api.app.store.delivery(caller.0.reach(), parsed).await.map_err(store_failed)?;
    let (row, attempts) = found.ok_or_else(|| body::unknown(&id, "delivery_not_found", "delivery"))?;
    Ok(Reply(DeliveryAttempts {
        delivery: row.into(),
        attempts: attempts.into_iter().map(Attempt::from).collect(),
    }))
}

/// Deliver once more
#[utoipa::path(post, path = "/v1/deliveries/{id}/replay", tag = "webhooks", params(("id" = String, Path,)),
    responses((status = ACCEPTED, description = "It is pending again, under the same id.", body = Delivery)))]
async fn replay(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<impl IntoResponse, Refused> {
    let parsed = body::id(&id, "delivery_not_found", "delivery")?;
    let missing = || body::unknown(&id, "delivery_not_found", "delivery");
    let reach = caller.0.reach();
    let (row, _) = api.app.store.delivery(reach, parsed).await.map_err(store_failed)?.ok_or_else(missing)?;
    enabled(api.app.store.webhook(reach, row.webhook).ok_or_else(missing)?)?;
    if !api.app.store.replay_delivery(reach, parsed).await.map_err(store_failed)? {
        return Err(Refused::new(409, "delivery_pending", "The delivery is still on its way.")
            .hint("Its field due_at says when it is tried next."));
    }
    let (row, _) = api.app.store.delivery(reach, parsed).await.map_err(store_failed)?.ok_or_else(missing)?;
    Ok((StatusCode::ACCEPTED, Reply(Delivery::from(row))))
}

fn find(api: &Api, caller: &Caller, id: &str) -> Result<WebhookRow, Refused> {
    let parsed = body::id(id, "webhook_not_found", "webhook")?;
    api.app.store.webhook(caller.0.reach(), parsed).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Refused {
    body::unknown(id, "webhook_not_found", "webhook")
}

/// Nothing is delivered to a disabled endpoint.
fn enabled(row: WebhookRow) -> Result<WebhookRow, Refused> {
    match row.enabled {
        true => Ok(row),
        false => Err(Refused::new(409, "webhook_disabled", "The webhook endpoint is disabled.")
            .hint("Enable it first: PATCH it with {\"enabled\": true}.")),
    }
}
