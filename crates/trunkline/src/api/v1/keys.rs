//! `/v1/keys`: shown once, stored hashed; they end, are rotated and revoked.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Page, Whose, location};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::{Problem, store_failed};
use crate::api::{Api, calls};
use crate::refused::Refused;
use crate::secret::Secret;
use crate::store::{KeyRow, NewKey};
use crate::time::now_ms;

/// How long a rotated key goes on where nothing is said, in seconds.
const DAY_S: u32 = 24 * 3600;
/// How long it may go on at the most, in seconds.
const MOST_OVERLAP_S: u32 = 30 * DAY_S;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "billing", "scopes": ["calls:read", "usage:read"], "sources": ["192.0.2.0/24"],
    "expires_at": "2036-01-01T00:00:00Z",
}))]
pub(super) struct NewKeyBody {
    /// What it is for, 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it may do; everything when empty. Each route names the scope it asks for.
    #[serde(default)]
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<String>,
    /// From where it may be used, as addresses or ranges; from anywhere when empty.
    #[serde(default)]
    #[schema(max_items = 100)]
    sources: Vec<String>,
    /// Whether it acts for the operator, who sees every account: operators only.
    #[serde(default)]
    operator: bool,
    /// When it ends; never when left out.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Another account than the key's own: operators only.
    #[schema(minimum = 0)]
    account: Option<i64>,
}

/// What a key may do.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes the strings of store::SCOPES")]
enum Scope {
    #[schema(rename = "calls:read")]
    CallsRead,
    #[schema(rename = "calls:write")]
    CallsWrite,
    #[schema(rename = "events:read")]
    EventsRead,
    #[schema(rename = "recordings:read")]
    RecordingsRead,
    #[schema(rename = "recordings:delete")]
    RecordingsDelete,
    #[schema(rename = "usage:read")]
    UsageRead,
    #[schema(rename = "trunks:read")]
    TrunksRead,
    #[schema(rename = "trunks:write")]
    TrunksWrite,
    #[schema(rename = "webhooks:read")]
    WebhooksRead,
    #[schema(rename = "webhooks:write")]
    WebhooksWrite,
    #[schema(rename = "keys:read")]
    KeysRead,
    #[schema(rename = "keys:write")]
    KeysWrite,
    #[schema(rename = "account:read")]
    AccountRead,
    #[schema(rename = "account:write")]
    AccountWrite,
    #[schema(rename = "accounts:read")]
    AccountsRead,
    #[schema(rename = "accounts:write")]
    AccountsWrite,
    #[schema(rename = "users:read")]
    UsersRead,
    #[schema(rename = "users:write")]
    UsersWrite,
    #[schema(rename = "numbers:read")]
    NumbersRead,
    #[schema(rename = "numbers:write")]
    NumbersWrite,
}

/// How a key is exchanged for a new one.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "overlap_s": 3600 }))]
pub(super) struct Rotation {
    /// Seconds for which the old key goes on working, 0 to 2,592,000 (30 days); a day when left out.
    #[schema(minimum = 0, maximum = 2592000)]
    overlap_s: Option<u32>,
}

/// A key, without the secret itself.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "key_65a1f0c2a4b1c2d3e4f50601", "account": 0, "name": "billing", "operator": false,
    "scopes": ["calls:read"], "sources": ["192.0.2.0/24"], "prefix": "tl_aB3dE",
    "created_at": "2026-01-01T00:00:00.000Z", "last_used_at": null, "expires_at": null, "revoked_at": null,
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
    /// From then on it opens nothing; null if it does not end.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A new key; `key` is shown this once.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "key_65a1f0c2a4b1c2d3e4f50601", "account": 0, "name": "billing", "operator": false,
    "scopes": ["calls:read"], "sources": ["192.0.2.0/24"], "key": "tl_aB3dE…",
    "created_at": "2026-01-01T00:00:00.000Z", "expires_at": null,
}))]
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
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl CreatedKey {
    fn new(row: KeyRow, secret: &Secret) -> Self {
        let key = Key::from(row);
        Self {
            id: key.id,
            account: key.account,
            name: key.name,
            operator: key.operator,
            scopes: key.scopes,
            sources: key.sources,
            key: secret.expose().to_owned(),
            created_at: key.created_at,
            expires_at: key.expires_at,
        }
    }
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
            expires_at: row.expires_at.map(calls::time),
            revoked_at: row.revoked_at.map(calls::time),
        }
    }
}

/// Make a key
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = NewKeyBody,
    responses((status = CREATED, description = "The key, shown this once.", body = CreatedKey,
               headers(("Location" = String, description = "The key's path.")))))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewKeyBody>,
) -> Result<impl IntoResponse, Refused> {
    let new = NewKey {
        account: caller.account(asked.account)?,
        name: asked.name,
        operator: asked.operator,
        scopes: asked.scopes,
        sources: asked.sources.iter().map(|text| source(text)).collect::<Result<_, _>>()?,
        expires_at: body::moment("expires_at", asked.expires_at.as_deref())?,
    };
    within(&caller, &new)?;
    let (row, secret) = api.app.store.create_key(new).await.map_err(store_failed)?;
    Ok((
        StatusCode::CREATED,
        location(format!("/v1/keys/{}", row.id.with("key"))),
        Reply(CreatedKey::new(row, &secret)),
    ))
}

/// Refuses a key that opens more than the caller's own.
fn within(caller: &Caller, new: &NewKey) -> Result<(), Refused> {
    let own = &caller.0;
    if own.covers(new) {
        return Ok(());
    }
    if new.operator && !own.operator {
        return Err(Refused::new(403, "operator_only", "Only an operator's key can make an operator's key."));
    }
    let list = |items: Vec<String>| if items.is_empty() { "all".to_owned() } else { items.join(", ") };
    let ends = own.expires_at.map_or("never".to_owned(), calls::time);
    Err(Refused::new(403, "missing_scope", "A key cannot make a key that may do more than itself.").hint(
        format!(
            "Stay within its own scopes ({}), sources ({}) and end ({ends}).",
            list(own.scopes.clone()),
            list(own.sources.iter().map(ToString::to_string).collect()),
        ),
    ))
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
    responses((status = OK, description = "The account's keys; for the operator, all.", body = Page<Key>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Page<Key>>, Refused> {
    let account = match whose.account {
        None => caller.0.reach(),
        named => Some(caller.account(named)?),
    };
    let keys = api.app.store.keys(account).await.map_err(store_failed)?;
    Ok(Reply(Page { data: keys.into_iter().map(Key::from).collect(), next: None }))
}

/// Get a key
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path,)),
    responses((status = OK, description = "The key, without its secret.", body = Key)))]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Key>, Refused> {
    find(&api, &caller, &id).await.map(|row| Reply(row.into()))
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<KeyRow, Refused> {
    let parsed = body::id(id, "key_not_found", "key")?;
    let row = api.app.store.key(caller.0.reach(), parsed).await.map_err(store_failed)?;
    row.ok_or_else(|| body::unknown(id, "key_not_found", "key"))
}

/// Rotate a key
///
/// Makes a new key that may do the same and lets the old one end after `overlap_s`, so that whoever uses it has time
/// to change over.
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path,)),
    request_body = Rotation,
    responses((status = CREATED, description = "The new key, shown this once.", body = CreatedKey,
               headers(("Location" = String, description = "The new key's path."))),
              (status = CONFLICT, description = "The key has ended or was revoked.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<Rotation>,
) -> Result<impl IntoResponse, Refused> {
    let overlap = asked.overlap_s.unwrap_or(DAY_S);
    if overlap > MOST_OVERLAP_S {
        return Err(Refused::bad(
            "out_of_range",
            format!("overlap_s must be 0 to {MOST_OVERLAP_S} seconds."),
        ));
    }
    let row = find(&api, &caller, &id).await?;
    let now = now_ms();
    if !row.is_live(now) {
        return Err(
            Refused::new(409, "key_ended", "This key has ended or was revoked.").hint("Make a new one.")
        );
    }
    let new = NewKey {
        account: row.account,
        name: row.name,
        operator: row.operator,
        scopes: row.scopes,
        sources: row.sources,
        expires_at: row.expires_at,
    };
    within(&caller, &new)?;
    let (made, secret) = api.app.store.create_key(new).await.map_err(store_failed)?;
    api.app.store.expire_key(row.id, now + i64::from(overlap) * 1000).await.map_err(store_failed)?;
    Ok((
        StatusCode::CREATED,
        location(format!("/v1/keys/{}", made.id.with("key"))),
        Reply(CreatedKey::new(made, &secret)),
    ))
}

/// Revoke a key
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path,)),
    responses((status = NO_CONTENT, description = "It opens nothing any more."),
              (status = CONFLICT, description = "It is the operator's last key.", body = Problem,
               content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<StatusCode, Refused> {
    let row = find(&api, &caller, &id).await?;
    if row.operator && !caller.0.operator {
        return Err(Refused::new(
            403,
            "operator_only",
            "Only an operator's key can revoke an operator's key.",
        ));
    }
    match api.app.store.revoke_key(caller.0.reach(), row.id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(body::unknown(&id, "key_not_found", "key")),
        Err(error) => Err(store_failed(error)),
    }
}
