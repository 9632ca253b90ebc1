//! `/v1/accounts`: the tenants, for the operator.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account::{Account, AccountPatch, DestinationsPatch, LimitsPatch, missing, object, store};
use super::{Page, location};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::store_failed;
use crate::api::{Api, cursor};
use crate::refused::Refused;
use crate::store::Account as Row;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change, delete))
}

/// An account to be made. Its first key is made with `POST /v1/keys`, which names the account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Beta Ltd", "domain": "beta.example.com", "limits": { "max_calls": 20, "max_users": 100 },
    "destinations": { "countries": ["US", "CA"] },
}))]
pub(super) struct NewAccountBody {
    /// 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// Its own SIP domain, a host name that no other account has. Users' passwords are bound to the domain that the
    /// account is made with, or to the server's own: that realm stays, also when the domain changes.
    #[schema(max_length = 253)]
    domain: Option<String>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = Option<LimitsPatch>)]
    limits: Option<LimitsPatch>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = Option<DestinationsPatch>)]
    destinations: Option<DestinationsPatch>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AccountsQuery {
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
}

const ACT: &str = "see, make, change and remove accounts";

/// Make an account
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = NewAccountBody,
    responses((status = CREATED, description = "The account.", body = Account,
               headers(("Location" = String, description = "The account's path.")))))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewAccountBody>,
) -> Result<impl IntoResponse, Refused> {
    caller.operator(ACT)?;
    let mut row = Row::new(String::new(), api.app.config.realm());
    let given = AccountPatch {
        name: Some(asked.name),
        domain: Some(asked.domain),
        limits: asked.limits,
        destinations: asked.destinations,
    };
    given.apply(&mut row)?;
    let made = api.app.store.create_account(row).await.map_err(store_failed)?;
    api.app.upkeep.refresh();
    Ok((StatusCode::CREATED, location(format!("/v1/accounts/{}", made.id)), Reply(Account::from(made))))
}

/// List accounts, newest first
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", params(AccountsQuery),
    responses((status = OK, description = "One page.", body = Page<Account>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<AccountsQuery>,
) -> Result<Reply<Page<Account>>, Refused> {
    caller.operator(ACT)?;
    let limit = body::limit(asked.limit.as_deref())? as usize;
    let after = asked.after.as_deref().map(|text| text.parse::<i64>().map_err(|_| cursor::bad("after")));
    let after = after.transpose()?.unwrap_or(i64::MAX);
    let rows = api.app.store.accounts().into_iter().rev().filter(|row| row.id < after);
    let data: Vec<Account> = rows.take(limit).map(Account::from).collect();
    let next = data.last().filter(|_| data.len() >= limit).map(|last| last.id().to_string());
    Ok(Reply(Page { data, next }))
}

/// Get an account
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = i64, Path, minimum = 0)),
    responses((status = OK, description = "The account.", body = Account)))]
async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment<i64>,
) -> Result<Reply<Account>, Refused> {
    caller.operator(ACT)?;
    api.app.store.account(id).map(|row| Reply(row.into())).ok_or_else(|| missing(id))
}

/// Change an account
#[utoipa::path(patch, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = i64, Path, minimum = 0)),
    request_body = AccountPatch,
    responses((status = OK, description = "The account as it is now.", body = Account)))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment<i64>,
    Json(asked): Json<AccountPatch>,
) -> Result<Reply<Account>, Refused> {
    caller.operator(ACT)?;
    let mut row = api.app.store.account(id).ok_or_else(|| missing(id))?;
    asked.apply(&mut row)?;
    store(&api, row).await
}

/// Delete an account
///
/// Only one that is empty: without users, numbers, groups, trunks, webhooks, calls and keys that are not revoked.
#[utoipa::path(delete, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = i64, Path, minimum = 0)),
    responses((status = NO_CONTENT, description = "It is gone.")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment<i64>,
) -> Result<StatusCode, Refused> {
    caller.operator(ACT)?;
    match api.app.store.delete_account(id).await.map_err(store_failed)? {
        true => {
            api.app.upkeep.refresh();
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(missing(id)),
    }
}
