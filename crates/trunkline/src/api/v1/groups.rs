//! `/v1/groups`: users that ring together or one after another.

use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Page, Whose, location, put, users};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::store_failed;
use crate::api::{Api, calls};
use crate::id::Id;
use crate::refused::Refused;
use crate::store::{GroupRow, NewGroup, Strategy};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change, delete))
}

/// A group to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "sales", "strategy": "in_order", "members": ["bob"], "timeout_s": 20 }))]
pub(super) struct NewGroupBody {
    /// What it is dialled by, such as `sales` or an extension of 2 to 6 digits; no user of the account has it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// How the members are rung.
    #[serde(default)]
    strategy: Strategy,
    /// User names or ids, in order.
    #[schema(min_items = 1, max_items = 100)]
    members: Vec<String>,
    /// Seconds to let them ring, each by itself where they ring in order; 20 when left out.
    #[schema(minimum = 1, maximum = 600)]
    timeout_s: Option<u32>,
    /// Another account than the key's own: operators only.
    #[schema(minimum = 0)]
    account: Option<i64>,
}

/// What to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "strategy": "all", "timeout_s": 30 }))]
pub(super) struct GroupPatch {
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    strategy: Option<Strategy>,
    #[schema(min_items = 1, max_items = 100)]
    members: Option<Vec<String>>,
    #[schema(minimum = 1, maximum = 600)]
    timeout_s: Option<u32>,
}

/// A group.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "group_65a1f0c2a4b1c2d3e4f50609", "account": 1, "name": "sales", "strategy": "in_order",
    "members": ["alice", "bob"], "timeout_s": 20, "created_at": "2026-01-01T00:00:00.000Z",
}))]
pub(super) struct Group {
    id: String,
    account: i64,
    name: String,
    strategy: Strategy,
    /// User names.
    members: Vec<String>,
    timeout_s: u32,
    #[schema(format = DateTime)]
    created_at: String,
}

impl Group {
    fn new(api: &Api, row: &GroupRow) -> Self {
        let directory = api.app.store.directory();
        let name = |id: &Id| match directory.user_by_id(row.account, *id) {
            Some(user) => user.username.to_string(),
            None => id.with("user"),
        };
        Self {
            id: row.id.with("group"),
            account: row.account,
            name: row.name.to_string(),
            strategy: row.strategy,
            members: row.members.iter().map(name).collect(),
            timeout_s: row.timeout_s,
            created_at: calls::time(row.created_at),
        }
    }
}

fn members(api: &Api, account: i64, given: &[String]) -> Result<Vec<Id>, Refused> {
    let read = |(n, text): (usize, &String)| match users::named(api, account, text) {
        Some(user) => Ok(user.id),
        None => Err(unknown(&format!("members[{n}]"), text, "user", "unknown_user")),
    };
    given.iter().enumerate().map(read).collect()
}

/// 400: a field names what there is not.
pub(super) fn unknown(field: &str, given: &str, what: &str, code: &'static str) -> Refused {
    let shown: String = given.chars().filter(|c| !c.is_control()).take(64).collect();
    Refused::bad(code, format!("The field `{field}` is {shown:?}, which is no {what} of the account."))
}

/// Make a group
#[utoipa::path(post, path = "/v1/groups", tag = "users", operation_id = "create_group", request_body = NewGroupBody,
    responses((status = CREATED, description = "The group.", body = Group,
               headers(("Location" = String, description = "The group's path.")))))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewGroupBody>,
) -> Result<impl IntoResponse, Refused> {
    let account = caller.account(asked.account)?;
    let new = NewGroup {
        account,
        name: asked.name,
        strategy: asked.strategy,
        members: members(&api, account, &asked.members)?,
        timeout_s: asked.timeout_s.unwrap_or(20),
    };
    let row = api.app.store.create_group(new).await.map_err(store_failed)?;
    let group = Group::new(&api, &row);
    Ok((StatusCode::CREATED, location(format!("/v1/groups/{}", group.id)), Reply(group)))
}

/// List groups
#[utoipa::path(get, path = "/v1/groups", tag = "users", operation_id = "list_groups", params(Whose),
    responses((status = OK, description = "All groups of the account, oldest first.", body = Page<Group>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Page<Group>>, Refused> {
    let rows = api.app.store.directory().groups(caller.account(whose.account)?);
    Ok(Reply(Page { data: rows.iter().map(|row| Group::new(&api, row)).collect(), next: None }))
}

/// The account's group with this id or name.
fn find(api: &Api, account: i64, id: &str) -> Result<Arc<GroupRow>, Refused> {
    named(api, account, id).ok_or_else(|| body::unknown(id, "group_not_found", "group"))
}

/// As [`find`].
pub(super) fn named(api: &Api, account: i64, id: &str) -> Option<Arc<GroupRow>> {
    let directory = api.app.store.directory();
    match Id::parse(id) {
        Some(id) => directory.group(account, id),
        None => directory.group_named(account, id),
    }
}

/// Get a group
#[utoipa::path(get, path = "/v1/groups/{id}", tag = "users", operation_id = "get_group",
    params(("id" = String, Path, description = "Its id or name."), Whose),
    responses((status = OK, description = "The group.", body = Group)))]
async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Group>, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    Ok(Reply(Group::new(&api, &row)))
}

/// Change a group
#[utoipa::path(patch, path = "/v1/groups/{id}", tag = "users", operation_id = "change_group", request_body = GroupPatch,
    params(("id" = String, Path, description = "Its id or name."), Whose),
    responses((status = OK, description = "The group as it is now.", body = Group)))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
    Json(asked): Json<GroupPatch>,
) -> Result<Reply<Group>, Refused> {
    let found = find(&api, caller.account(whose.account)?, &id)?;
    let mut row = GroupRow::clone(&found);
    put(&mut row.name, asked.name.map(Into::into));
    put(&mut row.strategy, asked.strategy);
    put(&mut row.timeout_s, asked.timeout_s);
    if let Some(given) = asked.members {
        row.members = members(&api, row.account, &given)?;
    }
    match api.app.store.update_group(row).await.map_err(store_failed)? {
        Some(row) => Ok(Reply(Group::new(&api, &row))),
        None => Err(body::unknown(&id, "group_not_found", "group")),
    }
}

/// Delete a group
///
/// One that a number's route names stays (`group_in_use`).
#[utoipa::path(delete, path = "/v1/groups/{id}", tag = "users", operation_id = "delete_group",
    params(("id" = String, Path, description = "Its id or name."), Whose),
    responses((status = NO_CONTENT, description = "It is gone; its members stay.")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<StatusCode, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    match api.app.store.delete_group(row.account, row.id).await.map_err(store_failed)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(body::unknown(&id, "group_not_found", "group")),
    }
}
