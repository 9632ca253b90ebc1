//! `/v1/numbers`: where calls to the account's numbers go.

use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::groups::unknown;
use super::{Page, Part, Whose, given, groups, location, put, users};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::store_failed;
use crate::api::{Api, calls, cursor};
use crate::flow::Step;
use crate::id::Id;
use crate::refused::Refused;
use crate::store::{NewNumber, NumberRow, Target};

/// The SIP status of a rejection where none is said: busy.
const BUSY: u16 = 486;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change, delete))
}

/// Where a call goes: exactly one of `user`, `group`, `dial`, `webhook`, `flow`, `voicemail` and `reject`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "user": "alice", "timeout_s": 20 }))]
struct RouteTarget {
    /// Rings all phones of a user: its name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Rings a group: its name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Forwards to a number over the account's trunks, if the account may call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    dial: Option<String>,
    /// Seconds to let `user`, `group` or `dial` ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600)]
    timeout_s: Option<u32>,
    /// Asks this URL what to do. Addresses inside the server's own network are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    webhook: Option<String>,
    /// Answers and goes through these steps, as calls that are placed do. The last target.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 50)]
    flow: Option<Vec<Step>>,
    /// Answers and takes a message. The last target.
    #[serde(skip_serializing_if = "Option::is_none")]
    voicemail: Option<Voicemail>,
    /// Refuses the call. The last target.
    #[serde(skip_serializing_if = "Option::is_none")]
    reject: Option<Reject>,
}

/// How a message is taken.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "greeting": "Please leave a message after the tone." }))]
struct Voicemail {
    /// What is said first, up to 5,000 bytes; a standard sentence when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<String>,
    /// Whose message it is: name or id of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

/// How a call is refused.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "status": 603 }))]
struct Reject {
    /// A SIP status, 400 to 699 without 401 and 407; 486 (busy) when left out.
    #[schema(minimum = 400, maximum = 699)]
    status: u16,
}

impl Default for Reject {
    fn default() -> Self {
        Self { status: BUSY }
    }
}

/// A number to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "number": "+12025550100", "name": "Front desk",
    "route": [{ "user": "bob", "timeout_s": 20 }, { "voicemail": { "greeting": "Please leave a message." } }],
}))]
pub(super) struct NewNumberBody {
    /// Best with `+` and country code; unique in the account.
    #[schema(max_length = 64)]
    number: String,
    /// What people call it.
    #[serde(default)]
    #[schema(max_length = 64)]
    name: String,
    /// Only calls from this trunk are for it: its name or id.
    trunk: Option<String>,
    /// Tried from the first to the last; with none, calls are refused.
    #[serde(default)]
    #[schema(max_items = 10)]
    route: Vec<RouteTarget>,
    /// Another account than the key's own: operators only.
    #[schema(minimum = 0)]
    account: Option<i64>,
}

/// What to change; what is left out stays, null empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "Hotline", "route": [{ "reject": { "status": 603 } }] }))]
pub(super) struct NumberPatch {
    #[schema(max_length = 64)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    trunk: Option<Option<String>>,
    /// The whole route.
    #[schema(max_items = 10)]
    route: Option<Vec<RouteTarget>>,
}

/// A number.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": 1, "account": 1, "number": "+12025550100", "name": "Front desk", "trunk": null,
    "route": [{ "user": "alice", "timeout_s": 20 }, { "voicemail": { "greeting": "Please leave a message." } }],
    "created_at": "2026-01-01T00:00:00.000Z",
}))]
pub(super) struct Number {
    id: i64,
    account: i64,
    number: String,
    name: String,
    /// The trunk's name.
    trunk: Option<String>,
    route: Vec<RouteTarget>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl RouteTarget {
    /// As it is shown: users and groups by name.
    fn show(api: &Api, account: i64, target: &Target) -> Self {
        let directory = api.app.store.directory();
        let user = |id: Id| match directory.user_by_id(account, id) {
            Some(user) => user.username.to_string(),
            None => id.with("user"),
        };
        let group = |id: Id| match directory.group(account, id) {
            Some(group) => group.name.to_string(),
            None => id.with("group"),
        };
        let none = Self::default();
        match target {
            Target::User { user: id, timeout_s } => {
                Self { user: Some(user(*id)), timeout_s: *timeout_s, ..none }
            }
            Target::Group { group: id, timeout_s } => {
                Self { group: Some(group(*id)), timeout_s: *timeout_s, ..none }
            }
            Target::Dial { number, timeout_s } => {
                Self { dial: Some(number.clone()), timeout_s: *timeout_s, ..none }
            }
            Target::Webhook(url) => Self { webhook: Some(url.clone()), ..none },
            Target::Flow(steps) => Self { flow: Some(steps.clone()), ..none },
            Target::Voicemail { greeting, user: id } => {
                let voicemail = Voicemail { greeting: greeting.clone(), user: id.map(user) };
                Self { voicemail: Some(voicemail), ..none }
            }
            Target::Reject { status } => Self { reject: Some(Reject { status: *status }), ..none },
        }
    }

    /// As it is kept; `place` is where it stands, such as `route[0]`.
    async fn read(self, api: &Api, account: i64, place: &str) -> Result<Target, Refused> {
        let timeout_s = self.timeout_s;
        let user = |field: &str, name: &str| match users::named(api, account, name) {
            Some(user) => Ok(user.id),
            None => Err(unknown(&format!("{place}.{field}"), name, "user", "unknown_user")),
        };
        let mut given = Vec::new();
        if let Some(name) = &self.user {
            given.push(Target::User { user: user("user", name)?, timeout_s });
        }
        if let Some(name) = &self.group {
            let group = groups::named(api, account, name);
            let group =
                group.ok_or_else(|| unknown(&format!("{place}.group"), name, "group", "unknown_group"))?;
            given.push(Target::Group { group: group.id, timeout_s });
        }
        if let Some(number) = &self.dial {
            let number = e164(api, account, &format!("{place}.dial"), number)?;
            given.push(Target::Dial { number, timeout_s });
        }
        let rings = !given.is_empty();
        if let Some(url) = self.webhook {
            // Where it leads is looked up, so nothing else may be wrong with it first.
            api.app.outward().check_reachable(&url).await.map_err(|refused| Refused {
                message: refused.message.replace("`url`", &format!("`{place}.webhook`")),
                ..refused
            })?;
            given.push(Target::Webhook(url));
        }
        given.extend(self.flow.map(Target::Flow));
        if let Some(Voicemail { greeting, user: owner }) = self.voicemail {
            let owner = owner.map(|name| user("voicemail.user", &name)).transpose()?;
            given.push(Target::Voicemail { greeting, user: owner });
        }
        given.extend(self.reject.map(|reject| Target::Reject { status: reject.status }));
        let hint = "Give exactly one of user, group, dial, webhook, flow, voicemail and reject; make a target of each.";
        let bad = |message: String| Refused::bad("invalid_route", message).hint(hint);
        match (given.pop(), given.pop()) {
            (None, _) => Err(bad(format!("`{place}` does not say where the call goes."))),
            (Some(one), Some(other)) => {
                Err(bad(format!("`{place}` has both `{}` and `{}`.", other.word(), one.word())))
            }
            (Some(one), None) if timeout_s.is_some() && !rings => {
                let message =
                    format!("`{place}.timeout_s` says how long to ring; a {} does not ring.", one.word());
                Err(Refused::bad("invalid_route", message).hint("Leave it out."))
            }
            (Some(target), None) => Ok(target),
        }
    }
}

async fn route(api: &Api, account: i64, given: Vec<RouteTarget>) -> Result<Vec<Target>, Refused> {
    if given.len() > 10 {
        return Err(Refused::bad("invalid_route", "The field `route` has more than 10 targets."));
    }
    let mut route = Vec::with_capacity(given.len());
    for (n, target) in given.into_iter().enumerate() {
        route.push(target.read(api, account, &format!("route[{n}]")).await?);
    }
    Ok(route)
}

/// A number with `+` and country code, as it is kept; one without is read as dialled in the account's region.
pub(super) fn e164(api: &Api, account: i64, field: &str, text: &str) -> Result<String, Refused> {
    let number = call::Number::parse(text)
        .map_err(|error| Refused::bad(error.code(), format!("The field `{field}` is wrong: {error}")))?;
    let own = api.app.store.account(account).and_then(|account| account.region);
    let region = own.or_else(|| api.app.config.region.clone());
    number.e164(region.as_deref()).ok_or_else(|| {
        Refused::bad(
            "invalid_number_format",
            format!("The field `{field}` is no number of any country as it stands."),
        )
        .hint("Write it with + and country code, such as +12025550123.")
    })
}

impl Number {
    fn new(api: &Api, row: &NumberRow) -> Self {
        let trunk = row.trunk.map(|id| match api.app.store.trunk(Some(row.account), id) {
            Some(trunk) => trunk.name,
            None => id.with("trunk"),
        });
        Self {
            id: row.id,
            account: row.account,
            number: row.number.to_string(),
            name: row.name.clone(),
            trunk,
            route: row.route.iter().map(|target| RouteTarget::show(api, row.account, target)).collect(),
            created_at: calls::time(row.created_at),
        }
    }
}

fn trunk(api: &Api, account: i64, name: &str) -> Result<Id, Refused> {
    let id = Id::parse(name);
    let found =
        api.app.store.trunks(account).into_iter().find(|trunk| Some(trunk.id) == id || trunk.name == name);
    found.map(|trunk| trunk.id).ok_or_else(|| unknown("trunk", name, "trunk", "unknown_trunk"))
}

/// Make a number
#[utoipa::path(post, path = "/v1/numbers", tag = "numbers", request_body = NewNumberBody,
    responses((status = CREATED, description = "The number.", body = Number,
               headers(("Location" = String, description = "The number's path.")))))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewNumberBody>,
) -> Result<impl IntoResponse, Refused> {
    let account = caller.account(asked.account)?;
    let new = NewNumber {
        account,
        number: e164(&api, account, "number", &asked.number)?,
        name: asked.name,
        trunk: asked.trunk.map(|name| trunk(&api, account, &name)).transpose()?,
        route: route(&api, account, asked.route).await?,
    };
    let row = api.app.store.create_number(new).await.map_err(store_failed)?;
    Ok((StatusCode::CREATED, location(format!("/v1/numbers/{}", row.id)), Reply(Number::new(&api, &row))))
}

/// List numbers, newest first
#[utoipa::path(get, path = "/v1/numbers", tag = "numbers", params(Part),
    responses((status = OK, description = "One page.", body = Page<Number>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<Part>,
) -> Result<Reply<Page<Number>>, Refused> {
    let account = caller.account(asked.account)?;
    let limit = body::limit(asked.limit.as_deref())? as usize;
    let after = asked.after.as_deref().map(|text| text.parse::<i64>().map_err(|_| cursor::bad("after")));
    let rows = api.app.store.directory().numbers(account, after.transpose()?, limit);
    let next = rows.last().filter(|_| rows.len() >= limit).map(|row| row.id.to_string());
    Ok(Reply(Page { data: rows.iter().map(|row| Number::new(&api, row)).collect(), next }))
}

/// The account's number with this id, or with this number, which begins with `+`.
fn find(api: &Api, account: i64, id: &str) -> Result<Arc<NumberRow>, Refused> {
    let directory = api.app.store.directory();
    let found = match id.starts_with('+') {
        true => directory.number(account, id),
        false => id.parse().ok().and_then(|id| directory.number_by_id(account, id)),
    };
    found.ok_or_else(|| body::unknown(id, "number_not_found", "number"))
}

/// Get a number
#[utoipa::path(get, path = "/v1/numbers/{id}", tag = "numbers",
    params(("id" = String, Path, description = "Its id, or the number with `+`."), Whose),
    responses((status = OK, description = "The number.", body = Number)))]
async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Number>, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    Ok(Reply(Number::new(&api, &row)))
}

/// Change a number
#[utoipa::path(patch, path = "/v1/numbers/{id}", tag = "numbers", request_body = NumberPatch,
    params(("id" = String, Path, description = "Its id, or the number with `+`."), Whose),
    responses((status = OK, description = "The number as it is now.", body = Number)))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
    Json(asked): Json<NumberPatch>,
) -> Result<Reply<Number>, Refused> {
    let found = find(&api, caller.account(whose.account)?, &id)?;
    let mut row = NumberRow::clone(&found);
    put(&mut row.name, asked.name);
    if let Some(given) = asked.trunk {
        row.trunk = given.map(|name| trunk(&api, row.account, &name)).transpose()?;
    }
    if let Some(given) = asked.route {
        row.route = route(&api, row.account, given).await?;
    }
    match api.app.store.update_number(row).await.map_err(store_failed)? {
        Some(row) => Ok(Reply(Number::new(&api, &row))),
        None => Err(body::unknown(&id, "number_not_found", "number")),
    }
}

/// Delete a number
#[utoipa::path(delete, path = "/v1/numbers/{id}", tag = "numbers",
    params(("id" = String, Path, description = "Its id, or the number with `+`."), Whose),
    responses((status = NO_CONTENT, description = "It is gone; calls that are up go on.")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<StatusCode, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    match api.app.store.delete_number(row.account, row.id).await.map_err(store_failed)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(body::unknown(&id, "number_not_found", "number")),
    }
}
