//! `/v1/users`: who registers phones and calls.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Page, Whose, given, location, put};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reach::{Reach, asked_host};
use crate::api::reply::store_failed;
use crate::api::{Api, calls, cursor};
use crate::id::Id;
use crate::refused::Refused;
use crate::secret::Secret;
use crate::store::{DigestName, MayCall, NewUser, UserRow};
use crate::time::now_ms;
use crate::turn;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(password))
        .routes(routes!(ice_servers))
}

/// A user to be made; every field may be left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "username": "alice", "display_name": "Alice", "external_id": "user123", "caller_ids": ["+12025550100"],
    "max_calls": 2, "voicemail": true,
}))]
pub(super) struct NewUserBody {
    /// What the phone registers as: a name such as `alice` or an extension of 2 to 6 digits; unique in the account,
    /// never changed. `user_` and digits when left out.
    #[schema(min_length = 1, max_length = 64)]
    username: Option<String>,
    /// 12 to 128 characters; a strong one is made and shown once when left out.
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Secret>,
    /// What those called see beside the number.
    #[schema(max_length = 64)]
    display_name: Option<String>,
    /// What your own systems call the user; unique in the account.
    #[schema(max_length = 128)]
    external_id: Option<String>,
    /// What the phone is challenged with.
    #[serde(default)]
    algorithm: DigestName,
    /// True when left out.
    enabled: Option<bool>,
    /// Numbers that it may show; the first where it names none.
    #[serde(default)]
    #[schema(max_items = 20)]
    caller_ids: Vec<String>,
    /// Whom it may call.
    #[serde(default)]
    may_call: MayCall,
    /// Calls at once.
    #[schema(minimum = 1, maximum = 10000)]
    max_calls: Option<u32>,
    /// Phones registered at once; 10 when left out.
    #[schema(minimum = 1, maximum = 100)]
    max_bindings: Option<u32>,
    /// Whether callers who are not answered may leave a message.
    #[serde(default)]
    voicemail: bool,
    /// Another account than the key's own: operators only.
    #[schema(minimum = 0)]
    account: Option<i64>,
}

/// What to change; what is left out stays, null empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "display_name": "Alice B.", "enabled": true, "may_call": "internal" }))]
pub(super) struct UserPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 64)]
    display_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 128)]
    external_id: Option<Option<String>>,
    algorithm: Option<DigestName>,
    enabled: Option<bool>,
    #[schema(max_items = 20)]
    caller_ids: Option<Vec<String>>,
    may_call: Option<MayCall>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10000)]
    max_calls: Option<Option<u32>>,
    #[schema(minimum = 1, maximum = 100)]
    max_bindings: Option<u32>,
    voicemail: Option<bool>,
}

/// A user; of the password only hashes are kept.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "user_65a1f0c2a4b1c2d3e4f50608", "account": 1, "username": "alice", "display_name": "Alice",
    "external_id": "user123", "algorithm": "MD5", "enabled": true, "caller_ids": ["+12025550100"],
    "may_call": "account", "max_calls": 2, "max_bindings": 10, "voicemail": true,
    "sip": {
        "uri": "sip:alice@acme.example.com", "domain": "acme.example.com", "realm": "acme.example.com",
        "server": "192.0.2.10:5060", "transports": ["udp", "tcp", "ws"], "warning": null,
    },
    "created_at": "2026-01-01T00:00:00.000Z",
}))]
pub(super) struct User {
    id: String,
    account: i64,
    username: String,
    display_name: Option<String>,
    external_id: Option<String>,
    algorithm: DigestName,
    enabled: bool,
    caller_ids: Vec<String>,
    may_call: MayCall,
    max_calls: Option<u32>,
    max_bindings: u32,
    voicemail: bool,
    sip: Sip,
    #[schema(format = DateTime)]
    created_at: String,
}

/// What is typed into a phone, beside user name and password.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Sip {
    /// The user's address.
    uri: String,
    /// The part behind the `@`.
    domain: String,
    /// The digest realm; phones ask for it rarely.
    realm: String,
    /// Host and port to send to (outbound proxy).
    server: String,
    /// How it can be reached: `udp`, `tcp` and `ws` there, `tls` and `wss` at the port that `/v1/sip` names.
    transports: Vec<&'static str>,
    /// What keeps phones from reaching it.
    warning: Option<String>,
}

/// A user and the password, shown this once.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserPassword {
    user: User,
    /// It is stored as hashes and cannot be shown again.
    #[schema(example = "pT4kVwq8ZmXy7bRdH2nJcF5s")]
    password: String,
}

/// Another password.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(super) struct NewPassword {
    /// 12 to 128 characters; a strong one is made when left out.
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Secret>,
}

impl Sip {
    /// `host` is where the asker reached us.
    fn new(api: &Api, host: Option<&str>, row: &UserRow) -> Self {
        let Reach { uri, domain, server, transports, warning, .. } = Reach::new(api, host, row);
        let realm = api.app.store.account(row.account).map(|account| account.realm).unwrap_or_default();
        Self { uri, domain, realm, server, transports, warning }
    }
}

impl User {
    fn new(api: &Api, host: Option<&str>, row: &UserRow) -> Self {
        Self {
            id: row.id.with("user"),
            account: row.account,
            username: row.username.to_string(),
            display_name: row.display_name.clone(),
            external_id: row.external_id.as_deref().map(str::to_owned),
            algorithm: row.algorithm,
            enabled: row.enabled,
            caller_ids: row.caller_ids.clone(),
            may_call: row.may_call,
            max_calls: row.max_calls,
            max_bindings: row.max_bindings,
            voicemail: row.voicemail,
            sip: Sip::new(api, host, row),
            created_at: calls::time(row.created_at),
        }
    }
}

/// The numbers as they are kept.
fn numbers(api: &Api, account: i64, given: &[String]) -> Result<Vec<String>, Refused> {
    let read =
        |(n, text): (usize, &String)| super::numbers::e164(api, account, &format!("caller_ids[{n}]"), text);
    given.iter().enumerate().map(read).collect()
}

/// Make a user
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = NewUserBody,
    responses((status = CREATED, description = "The user and the password, shown this once.", body = UserPassword,
               headers(("Location" = String, description = "The user's path.")))))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Json(asked): Json<NewUserBody>,
) -> Result<impl IntoResponse, Refused> {
    let account = caller.account(asked.account)?;
    let default = NewUser::default();
    let new = NewUser {
        account,
        username: asked.username,
        password: asked.password,
        display_name: asked.display_name,
        external_id: asked.external_id,
        algorithm: asked.algorithm,
        enabled: asked.enabled.unwrap_or(default.enabled),
        caller_ids: numbers(&api, account, &asked.caller_ids)?,
        may_call: asked.may_call,
        max_calls: asked.max_calls,
        max_bindings: asked.max_bindings.unwrap_or(default.max_bindings),
        voicemail: asked.voicemail,
    };
    let (row, password) = api.app.store.create_user(new).await.map_err(store_failed)?;
    let user = User::new(&api, asked_host(&api, &headers), &row);
    let path = format!("/v1/users/{}", user.id);
    let made = UserPassword { user, password: password.expose().to_owned() };
    Ok((StatusCode::CREATED, location(path), Reply(made)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct UserQuery {
    /// Another account than the key's own: operators only.
    #[param(minimum = 0)]
    account: Option<i64>,
    /// Only the one that your own systems call so.
    external_id: Option<String>,
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
}

/// List users, newest first
#[utoipa::path(get, path = "/v1/users", tag = "users", params(UserQuery),
    responses((status = OK, description = "One page.", body = Page<User>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Asked(asked): Asked<UserQuery>,
) -> Result<Reply<Page<User>>, Refused> {
    let account = caller.account(asked.account)?;
    let limit = body::limit(asked.limit.as_deref())? as usize;
    let after = asked.after.as_deref().map(|text| Id::parse(text).ok_or_else(|| cursor::bad("after")));
    let (after, directory) = (after.transpose()?, api.app.store.directory());
    let rows = match asked.external_id {
        Some(external_id) => directory.user_by_external_id(account, &external_id).into_iter().collect(),
        None => directory.users(account, after, limit),
    };
    let host = asked_host(&api, &headers);
    let next = rows.last().filter(|_| rows.len() >= limit).map(|row| row.id.with("user"));
    Ok(Reply(Page { data: rows.iter().map(|row| User::new(&api, host, row)).collect(), next }))
}

/// The account's user with this id or user name.
fn find(api: &Api, account: i64, id: &str) -> Result<std::sync::Arc<UserRow>, Refused> {
    named(api, account, id).ok_or_else(|| body::unknown(id, "user_not_found", "user"))
}

/// As [`find`].
pub(in crate::api) fn named(api: &Api, account: i64, id: &str) -> Option<std::sync::Arc<UserRow>> {
    let directory = api.app.store.directory();
    match Id::parse(id) {
        Some(id) => directory.user_by_id(account, id),
        None => directory.user(account, id),
    }
}

/// Get a user
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users",
    params(("id" = String, Path, description = "Its id or user name."), Whose),
    responses((status = OK, description = "The user.", body = User)))]
async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<User>, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    Ok(Reply(User::new(&api, asked_host(&api, &headers), &row)))
}

/// Change a user
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", request_body = UserPatch,
    params(("id" = String, Path, description = "Its id or user name."), Whose),
    responses((status = OK, description = "The user as it is now.", body = User)))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Asked(whose): Asked<Whose>,
    Json(asked): Json<UserPatch>,
) -> Result<Reply<User>, Refused> {
    let found = find(&api, caller.account(whose.account)?, &id)?;
    let mut row = UserRow::clone(&found);
    put(&mut row.display_name, asked.display_name);
    put(&mut row.external_id, asked.external_id.map(|id| id.map(Into::into)));
    put(&mut row.algorithm, asked.algorithm);
    put(&mut row.enabled, asked.enabled);
    put(&mut row.may_call, asked.may_call);
    put(&mut row.max_calls, asked.max_calls);
    put(&mut row.max_bindings, asked.max_bindings);
    put(&mut row.voicemail, asked.voicemail);
    if let Some(given) = asked.caller_ids {
        row.caller_ids = numbers(&api, row.account, &given)?;
    }
    match api.app.store.update_user(row).await.map_err(store_failed)? {
        Some(row) => {
            if !row.enabled {
                api.app.switch.forget(row.id, None);
            }
            Ok(Reply(User::new(&api, asked_host(&api, &headers), &row)))
        }
        None => Err(body::unknown(&id, "user_not_found", "user")),
    }
}

/// Delete a user
///
/// Its phones are forgotten and can register no more. One that a group or a number's route names stays (`user_in_use`).
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users",
    params(("id" = String, Path, description = "Its id or user name."), Whose),
    responses((status = NO_CONTENT, description = "It is gone; calls that are up go on.")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<StatusCode, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    match api.app.store.delete_user(row.account, row.id).await.map_err(store_failed)? {
        true => {
            api.app.switch.forget(row.id, None);
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(body::unknown(&id, "user_not_found", "user")),
    }
}

/// What `new RTCPeerConnection({ iceServers })` wants.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "ice_servers": [{
    "urls": "turn:turn.example.com:3478", "username": "1767225600:alice", "credential": "ZGlnZXN0",
}], "expires_at": "2026-01-01T00:00:00.000Z" }))]
struct IceServers {
    /// Empty where the operator has set none.
    ice_servers: Vec<IceServer>,
    /// Until when the credentials can be used.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// An RTCIceServer.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IceServer {
    urls: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// Get the relays that a user's browser may use
///
/// STUN and TURN servers of the setting `turn_urls`, with credentials that hold for a day.
#[utoipa::path(get, path = "/v1/users/{id}/ice-servers", tag = "users",
    params(("id" = String, Path, description = "Its id or user name."), Whose),
    responses((status = OK, description = "The servers.", body = IceServers)))]
async fn ice_servers(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<impl IntoResponse, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    let config = &api.app.config;
    let (servers, until) =
        turn::ice_servers(&config.turn_urls, config.turn_secret.as_ref(), &row.username, now_ms());
    let server = |server: turn::IceServer| {
        let (username, credential) = server.credentials.unzip();
        IceServer { urls: server.url, username, credential: credential.map(|it| it.expose().to_owned()) }
    };
    let ice_servers = servers.into_iter().map(server).collect();
    let told = IceServers { ice_servers, expires_at: calls::time(until) };
    Ok(([(CACHE_CONTROL, "no-store")], Reply(told)))
}

/// Give a user another password
///
/// The old one opens nothing any more: its phones are forgotten, and must be told the new one to register again.
#[utoipa::path(post, path = "/v1/users/{id}/password", tag = "users", request_body = NewPassword,
    params(("id" = String, Path, description = "Its id or user name."), Whose),
    responses((status = OK, description = "The user and the new password, shown this once.", body = UserPassword)))]
async fn password(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Asked(whose): Asked<Whose>,
    Json(asked): Json<NewPassword>,
) -> Result<Reply<UserPassword>, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    let changed =
        api.app.store.set_password(row.account, row.id, asked.password).await.map_err(store_failed)?;
    let (row, password) = changed.ok_or_else(|| body::unknown(&id, "user_not_found", "user"))?;
    api.app.switch.forget(row.id, None);
    api.app.switch.pardon_user(&row.username);
    let user = User::new(&api, asked_host(&api, &headers), &row);
    Ok(Reply(UserPassword { user, password: password.expose().to_owned() }))
}
