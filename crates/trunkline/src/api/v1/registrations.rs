//! `/v1/registrations`: the phones that are registered.

use std::time::Instant;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Page, Whose, users};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Segment};
use crate::api::{Api, calls, cursor};
use crate::id::Id;
use crate::refused::Refused;
use crate::registrar::Phone;
use crate::store::UserRow;
use crate::time::now_ms;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(delete))
}

/// Users looked at in one go.
const BATCH: usize = 256;

/// A phone of a user.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "reg_65a1f0c2a4b1c2d3e4f50608_12", "user": "alice", "user_id": "user_65a1f0c2a4b1c2d3e4f50608",
    "contact": "sip:alice@192.168.1.20:5062", "user_agent": "Linphone/5.2", "transport": "udp",
    "source": "198.51.100.20:40112", "local": "192.0.2.10:5060", "state": "registered",
    "expires_at": "2026-01-01T01:00:00.000Z",
}))]
struct Registration {
    /// Of this phone, for as long as it stays registered.
    id: String,
    /// User name.
    user: String,
    user_id: String,
    /// The URI that the phone registered.
    contact: String,
    /// What the phone calls itself.
    user_agent: Option<String>,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    transport: &'static str,
    /// The phone's address as the server sees it.
    source: String,
    /// The server's address that it registered at.
    local: String,
    /// `registered`, or `lost`: its connection is gone or it no longer answers, so calls pass it by until it
    /// registers again.
    state: &'static str,
    #[schema(format = DateTime)]
    expires_at: String,
}

impl Registration {
    fn new(user: &UserRow, phone: &Phone) -> Self {
        Self {
            id: format!("{}_{}", user.id.with("reg"), phone.key),
            user: user.username.to_string(),
            user_id: user.id.with("user"),
            contact: phone.contact.clone(),
            user_agent: phone.user_agent.clone(),
            transport: phone.transport.param(),
            source: phone.remote.to_string(),
            local: phone.local.to_string(),
            state: if phone.is_lost { "lost" } else { "registered" },
            expires_at: calls::time(now_ms() + i64::from(phone.expires_s) * 1000),
        }
    }
}

/// Whose phone it is, and which.
fn read(id: &str) -> Option<(Id, u64)> {
    let (user, phone) = id.rsplit_once('_')?;
    Some((Id::parse(user)?, phone.parse().ok()?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RegistrationQuery {
    /// Another account than the key's own: operators only.
    #[param(minimum = 0)]
    account: Option<i64>,
    /// Only the phones of the user with this id or user name.
    user: Option<String>,
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
}

/// List registered phones, those of the newest users first
#[utoipa::path(get, path = "/v1/registrations", tag = "registrations", params(RegistrationQuery),
    responses((status = OK, description = "One page.", body = Page<Registration>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<RegistrationQuery>,
) -> Result<Reply<Page<Registration>>, Refused> {
    let account = caller.account(asked.account)?;
    let limit = body::limit(asked.limit.as_deref())? as usize;
    let after = asked.after.as_deref().filter(|text| !text.is_empty());
    let after = after.map(|text| read(text).ok_or_else(|| cursor::bad("after"))).transpose()?;
    let directory = api.app.store.directory();
    let mut data = Vec::new();
    match asked.user {
        Some(name) => {
            let user = users::named(&api, account, &name)
                .ok_or_else(|| body::unknown(&name, "user_not_found", "user"))?;
            push(&api, &user, after, limit, &mut data);
        }
        None => {
            // The user whose phones the page before ended with may have more of them.
            let begun = after.and_then(|(user, _)| directory.user_by_id(account, user));
            if let Some(user) = begun {
                push(&api, &user, after, limit, &mut data);
            }
            let mut before = after.map(|(user, _)| user);
            while data.len() < limit {
                let users = directory.users(account, before, BATCH);
                let Some(last) = users.last() else { break };
                before = Some(last.id);
                users.iter().for_each(|user| push(&api, user, None, limit, &mut data));
            }
        }
    }
    let next = data.last().filter(|_| data.len() >= limit).map(|last| last.id.clone());
    Ok(Reply(Page { data, next }))
}

/// Adds the phones of a user, by their keys, up to `limit` in all; only those behind `after` if it names that user.
fn push(api: &Api, user: &UserRow, after: Option<(Id, u64)>, limit: usize, data: &mut Vec<Registration>) {
    let first = after.filter(|(id, _)| *id == user.id).map_or(0, |(_, phone)| phone.saturating_add(1));
    let mut phones = api.app.registrar.phones(user.id, Instant::now());
    phones.retain(|phone| phone.key >= first);
    phones.sort_by_key(|phone| phone.key);
    let room = limit.saturating_sub(data.len());
    data.extend(phones.iter().take(room).map(|phone| Registration::new(user, phone)));
}

/// Forget a phone
///
/// It is not called any more until it registers again, which it does by itself within the hour: to keep it away, give
/// the user another password. Calls that are up go on.
#[utoipa::path(delete, path = "/v1/registrations/{id}", tag = "registrations",
    params(("id" = String, Path), Whose),
    responses((status = NO_CONTENT, description = "It is forgotten.")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<StatusCode, Refused> {
    let account = caller.account(whose.account)?;
    let own = read(&id).filter(|(user, _)| api.app.store.directory().user_by_id(account, *user).is_some());
    match own.is_some_and(|(user, phone)| api.app.switch.forget(user, Some(phone))) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(body::unknown(&id, "registration_not_found", "registration")),
    }
}
