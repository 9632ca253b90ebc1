//! `/v1/keys`: shown once, stored hashed, revocable.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Page, Whose};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::{Problem, store_failed};
use crate::api::{Api, calls};
use crate::refused::Refused;
use crate::store::{KeyRow, NewKey};

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "billing", "scopes": ["calls:read"], "sources": ["192.0.2.0/24"] }))]
pub(super) struct NewKeyBody {
    /// What it is for, 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it may do: `calls:read`, `calls:write`, `trunks`, `keys`; everything when empty.
    #[serde(default)]
    scopes: Vec<String>,
    /// From where it may be used, as addresses or ranges; from anywhere when empty.
    #[serde(default)]
    sources: Vec<String>,
    /// Whether it acts for the operator, who sees every account: operators only.
    #[serde(default)]
    operator: bool,
    /// Another account than the key's own: operators only.
    account: Option<i64>,
}

/// A key, without the secret itself.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "key_65a1f0c2a4b1c2d3e4f50601", "account": 0, "name": "billing", "operator": false,
    "scopes": ["calls:read"], "sources": ["192.0.2.0/24"], "prefix": "tl_aB3dE",
    "created_at": "2026-01-01T00:00:00.000Z", "last_used_at": null, "revoked_at": null,
}))]
pub(super) struct Key {
    id: String,
    account: i64,
    name: String,
    operator: bool,
    scopes: Vec<String>,
    sources: Vec<String>,
    /// Its first characters, to recognise it by.
    prefix: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A new key; `key` is shown this once.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatedKey {
    id: String,
    account: i64,
    name: String,
    operator: bool,
    scopes: Vec<String>,
    sources: Vec<String>,
    /// The secret. It is stored hashed and cannot be shown again.
    #[schema(example = "tl_aB3dE…")]
    key: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<KeyRow> for Key {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id.with("key"),
            account: row.account,
            name: row.name,
            operator: row.operator,
            scopes: row.scopes,
            sources: row.sources.iter().map(ToString::to_string).collect(),
            prefix: row.prefix,
            created_at: calls::time(row.created_at),
            last_used_at: row.last_used_at.map(calls::time),
            revoked_at: row.revoked_at.map(calls::time),
        }
    }
}

/// Make a key
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = NewKeyBody,
    responses((status = CREATED, description = "The key, shown this once.", body = CreatedKey),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewKeyBody>,
) -> Result<impl IntoResponse, Refused> {
    caller.may("keys")?;
    let account = caller.account(asked.account)?;
    if asked.operator && !caller.0.operator {
        return Err(Refused::new(403, "operator_only", "Only an operator's key can make an operator's key."));
    }
    let new = NewKey {
        account,
        name: asked.name,
        operator: asked.operator,
        scopes: scopes(&caller, asked.scopes)?,
        sources: asked.sources.iter().map(|text| source(text)).collect::<Result<_, _>>()?,
    };
    let (row, secret) = api.app.store.create_key(new).await.map_err(store_failed)?;
    let key = Key::from(row);
    let created = CreatedKey {
        id: key.id,
        account: key.account,
        name: key.name,
        operator: key.operator,
        scopes: key.scopes,
        sources: key.sources,
        key: secret.expose().to_owned(),
        created_at: key.created_at,
    };
    Ok((StatusCode::CREATED, Reply(created)))
}

/// None that the caller's own key lacks.
fn scopes(caller: &Caller, asked: Vec<String>) -> Result<Vec<String>, Refused> {
    let own = &caller.0.scopes;
    if !own.is_empty() && (asked.is_empty() || asked.iter().any(|scope| !own.contains(scope))) {
        return Err(Refused::new(
            403,
            "missing_scope",
            "A key cannot make a key that may do more than itself.",
        )
        .hint(format!("Name some of its own scopes: {}.", own.join(", "))));
    }
    Ok(asked)
}

fn source(text: &str) -> Result<IpNet, Refused> {
    let parsed = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    parsed.map_err(|_| {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        Refused::bad(
            "invalid_field",
            format!("The field `sources` has {shown:?}, which is no address or range."),
        )
        .hint("Write 192.0.2.7 or 192.0.2.0/24.")
    })
}

/// List keys
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(Whose),
    responses((status = OK, description = "The account's keys; for the operator, all.", body = Page<Key>),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Page<Key>>, Refused> {
    caller.may("keys")?;
    let account = match whose.account {
        None => caller.0.reach(),
        named => Some(caller.account(named)?),
    };
    let keys = api.app.store.keys(account).await.map_err(store_failed)?;
    Ok(Reply(Page { data: keys.into_iter().map(Key::from).collect(), next: None }))
}

/// Revoke a key
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path,)),
    responses((status = NO_CONTENT, description = "It opens nothing any more."),
              (status = "default", description = "Refused.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Refused> {
    caller.may("keys")?;
    let parsed = body::id(&id, "key_not_found", "key")?;
    match api.app.store.revoke_key(caller.0.reach(), parsed).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(body::unknown(&id, "key_not_found", "key")),
        Err(error) => Err(store_failed(error)),
    }
}
