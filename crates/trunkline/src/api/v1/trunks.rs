//! `/v1/trunks`: the SIP providers that calls go out through.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Page, Whose, given, location, put};
use crate::api::auth::Caller;
use crate::api::body::{self, Asked, Json, Segment};
use crate::api::reply::store_failed;
use crate::api::{Api, calls};
use crate::refused::Refused;
use crate::secret::Secret;
use crate::store::{NewTrunk, TrunkRow};
use crate::switch::Load;
use crate::trunk::{TrunkSettings, check_host, default_port};
use crate::upkeep::{Check, Reach, RegistrationWord};

/// How signalling reaches the provider.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Transport {
    #[default]
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// The digest algorithm; providers that know SHA-256 are rare.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
enum Digest {
    #[default]
    #[serde(rename = "md5")]
    Md5,
    #[serde(rename = "sha-256")]
    Sha256,
}

impl Digest {
    fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha-256",
        }
    }
}

/// How the provider wants numbers written.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum NumberForm {
    /// `+12025550123`
    #[default]
    #[serde(rename = "+e164")]
    PlusE164,
    /// `12025550123`
    E164,
    /// `2025550123` in its own country
    National,
    AsGiven,
}

impl NumberForm {
    fn as_str(self) -> &'static str {
        match self {
            Self::PlusE164 => "+e164",
            Self::E164 => "e164",
            Self::National => "national",
            Self::AsGiven => "as-given",
        }
    }
}

/// A trunk to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "acme", "host": "sip.example.com", "username": "4915", "password": "…", "caller_id": "+12025550100",
    "default": true, "settings": { "register": true, "ping_s": 30, "channels": 10 },
}))]
pub(super) struct NewTrunkBody {
    /// 1 to 64 letters, digits, blanks, `.`, `_` or `-`; unique within the account.
    #[schema(max_length = 64)]
    name: String,
    /// The provider's host name or address.
    #[schema(max_length = 253)]
    host: String,
    /// 5060 when left out, 5061 over TLS. At this default DNS SRV may name another.
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    #[serde(default)]
    transport: Transport,
    /// For digest authentication.
    username: Option<String>,
    /// For digest authentication; never shown again.
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Secret>,
    #[serde(default)]
    digest: Digest,
    #[serde(default)]
    number_form: NumberForm,
    /// Digits dialled before each number.
    prefix: Option<String>,
    /// What the callee is shown when a call does not say it.
    caller_id: Option<String>,
    /// Lower is tried first, after the default trunk; 10 when left out.
    priority: Option<i32>,
    /// Makes it the account's default trunk, in place of the one before.
    #[serde(default)]
    default: bool,
    /// True when left out.
    enabled: Option<bool>,
    /// How the carrier wants to be spoken to, where that is not the default.
    #[serde(default)]
    settings: TrunkSettings,
    /// Another account than the key's own: operators only.
    account: Option<i64>,
}

/// What to change; what is left out stays, null empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "default": true, "prefix": null, "settings": { "channels": 20 } }))]
pub(super) struct TrunkPatch {
    name: Option<String>,
    host: Option<String>,
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    transport: Option<Transport>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    username: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Option<Secret>>,
    digest: Option<Digest>,
    number_form: Option<NumberForm>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    prefix: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    caller_id: Option<Option<String>>,
    priority: Option<i32>,
    default: Option<bool>,
    enabled: Option<bool>,
    /// The settings to change; the others stay.
    #[schema(value_type = Option<TrunkSettings>)]
    settings: Option<Map<String, Value>>,
}

impl TrunkPatch {
    fn apply(self, row: &mut TrunkRow) -> Result<(), Refused> {
        put(&mut row.name, self.name);
        put(&mut row.host, self.host);
        put(&mut row.port, self.port);
        put(&mut row.transport, self.transport.map(|it| it.as_str().to_owned()));
        put(&mut row.username, self.username);
        put(&mut row.password, self.password);
        put(&mut row.digest, self.digest.map(|it| it.as_str().to_owned()));
        put(&mut row.number_form, self.number_form.map(|it| it.as_str().to_owned()));
        put(&mut row.prefix, self.prefix);
        put(&mut row.caller_id, self.caller_id);
        put(&mut row.priority, self.priority);
        put(&mut row.is_default, self.default);
        put(&mut row.enabled, self.enabled);
        if let Some(change) = &self.settings {
            row.settings = row.settings.changed(change).map_err(|why| Refused::bad("invalid_trunk", why))?;
        }
        Ok(())
    }
}

/// A trunk; its password is never shown.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "trunk_65a1f0c2a4b1c2d3e4f50600", "account": 0, "name": "acme", "kind": "sip",
    "host": "sip.example.com", "port": 5060, "transport": "udp", "username": "4915", "has_password": true,
    "digest": "md5", "number_form": "+e164", "prefix": null, "caller_id": "+12025550100", "priority": 0,
    "default": true, "enabled": true,
    "settings": {
        "proxy": null, "request_domain": null, "from_domain": null, "realm": null, "inbound_number_form": "auto",
        "identity": "pai", "privacy": "none", "diversion": false, "codecs": ["pcmu", "pcma"], "dtmf": "rfc4733",
        "srtp": "none", "srtp_over_plain": false,
        "session_timer": { "enabled": true, "expires_s": 1800, "min_se_s": 90, "refresher": "remote" },
        "reliable_provisional": "supported", "ping_s": 30, "register": true, "register_expires_s": 3600,
        "channels": 10, "calls_per_second": null, "queue_s": 30,
        "inbound": { "sources": ["198.51.100.0/24"], "username": null, "tls_name": null },
    },
    "registration": {
        "state": "registered", "expires_at": "2026-01-01T01:00:00.000Z", "last_status": null, "text": null,
    },
    "health": { "state": "up", "since": "2026-01-01T00:00:00.000Z", "round_trip_ms": 21, "text": "200 OK" },
    "calls": { "up": 3, "waiting": 0 },
    "created_at": "2026-01-01T00:00:00.000Z",
}))]
pub(super) struct Trunk {
    id: String,
    account: i64,
    name: String,
    /// `sip`, or `simulated`: the built-in phone network
    kind: &'static str,
    host: String,
    port: u16,
    #[schema(value_type = Transport)]
    transport: String,
    username: Option<String>,
    has_password: bool,
    #[schema(value_type = Digest)]
    digest: String,
    #[schema(value_type = NumberForm)]
    number_form: String,
    prefix: Option<String>,
    caller_id: Option<String>,
    priority: i32,
    default: bool,
    enabled: bool,
    settings: TrunkSettings,
    registration: Registration,
    health: Health,
    calls: Load,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Where the trunk's registration with its carrier stands.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    state: RegistrationWord,
    /// Until when the carrier keeps it; it is refreshed before.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The status of the last refusal, while it matters.
    #[schema(minimum = 300, maximum = 699)]
    last_status: Option<u16>,
    /// What went wrong last, while it matters.
    text: Option<String>,
}

/// Whether the carrier is there, as its answers to OPTIONS tell (`ping_s`).
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Health {
    state: Reach,
    #[schema(format = DateTime)]
    since: Option<String>,
    round_trip_ms: Option<u32>,
    /// The last answer, or why there was none.
    text: Option<String>,
}

/// What came of trying a trunk.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "ok": false,
    "steps": [{
        "step": "dns", "ok": false, "ms": 0,
        "detail": "sip.twilio.com is not the host of any trunk: Twilio drops what is sent there without a word.",
        "hint": "A trunk's host is <name>.pstn.twilio.com.",
    }],
}))]
pub(super) struct Tried {
    /// Whether every step went well.
    ok: bool,
    steps: Vec<Check>,
}

impl Trunk {
    fn new(api: &Api, row: TrunkRow) -> Self {
        let known = api.app.upkeep.known(row.id);
        let (registration, health) = (known.registration, known.health);
        Self {
            registration: Registration {
                state: registration.state,
                expires_at: registration.expires_at.map(calls::time),
                last_status: registration.last_status,
                text: registration.text,
            },
            health: Health {
                state: health.reach,
                since: health.since.map(calls::time),
                round_trip_ms: health.round_trip_ms,
                text: health.text,
            },
            calls: api.app.switch.load(row.id),
            id: row.id.with("trunk"),
            account: row.account,
            name: row.name,
            kind: match row.kind {
                call::TrunkKind::Sip => "sip",
                call::TrunkKind::Simulated => "simulated",
            },
            host: row.host,
            port: row.port,
            transport: row.transport,
            username: row.username,
            has_password: row.password.is_some(),
            digest: row.digest,
            number_form: row.number_form,
            prefix: row.prefix,
            caller_id: row.caller_id,
            priority: row.priority,
            default: row.is_default,
            enabled: row.enabled,
            settings: row.settings,
            created_at: calls::time(row.created_at),
        }
    }
}

/// Make a trunk
#[utoipa::path(post, path = "/v1/trunks", tag = "trunks", request_body = NewTrunkBody,
    responses((status = CREATED, description = "The trunk, without its password.", body = Trunk,
               headers(("Location" = String, description = "The trunk's path.")))))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(asked): Json<NewTrunkBody>,
) -> Result<impl IntoResponse, Refused> {
    let account = caller.account(asked.account)?;
    reachable(&api, &asked.host)?;
    let new = NewTrunk {
        account,
        name: asked.name,
        kind: call::TrunkKind::Sip,
        host: asked.host,
        port: asked.port.unwrap_or(default_port(asked.transport.as_str())),
        transport: asked.transport.as_str().to_owned(),
        username: asked.username,
        password: asked.password,
        digest: asked.digest.as_str().to_owned(),
        number_form: asked.number_form.as_str().to_owned(),
        prefix: asked.prefix,
        caller_id: asked.caller_id,
        priority: asked.priority.unwrap_or(10),
        is_default: asked.default,
        enabled: asked.enabled.unwrap_or(true),
        settings: asked.settings,
    };
    let row = api.app.store.create_trunk(new).await.map_err(store_failed)?;
    api.app.upkeep.refresh();
    let trunk = Trunk::new(&api, row);
    Ok((StatusCode::CREATED, location(format!("/v1/trunks/{}", trunk.id)), Reply(trunk)))
}

/// List trunks
#[utoipa::path(get, path = "/v1/trunks", tag = "trunks", params(Whose),
    responses((status = OK, description = "All trunks of the account.", body = Page<Trunk>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Page<Trunk>>, Refused> {
    let trunks = api.app.store.trunks(caller.account(whose.account)?);
    Ok(Reply(Page { data: trunks.into_iter().map(|row| Trunk::new(&api, row)).collect(), next: None }))
}

/// Get a trunk
#[utoipa::path(get, path = "/v1/trunks/{id}", tag = "trunks",
    params(("id" = String, Path, description = "Its id or its name."), Whose),
    responses((status = OK, description = "The trunk, without its password.", body = Trunk)))]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Trunk>, Refused> {
    find(&api, caller.account(whose.account)?, &id).map(|row| Reply(Trunk::new(&api, row)))
}

/// Change a trunk
#[utoipa::path(patch, path = "/v1/trunks/{id}", tag = "trunks", request_body = TrunkPatch,
    params(("id" = String, Path, description = "Its id or its name."), Whose),
    responses((status = OK, description = "The trunk as it is now.", body = Trunk)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
    Json(asked): Json<TrunkPatch>,
) -> Result<Reply<Trunk>, Refused> {
    let mut row = find(&api, caller.account(whose.account)?, &id)?;
    asked.apply(&mut row)?;
    if row.kind == call::TrunkKind::Sip {
        reachable(&api, &row.host)?;
    }
    match api.app.store.update_trunk(&row).await.map_err(store_failed)? {
        true => {
            api.app.upkeep.refresh();
            find(&api, row.account, &row.id.to_string()).map(|row| Reply(Trunk::new(&api, row)))
        }
        false => Err(body::unknown(&id, "trunk_not_found", "trunk")),
    }
}

/// Delete a trunk
#[utoipa::path(delete, path = "/v1/trunks/{id}", tag = "trunks",
    params(("id" = String, Path, description = "Its id or its name."), Whose),
    responses((status = NO_CONTENT, description = "It is gone; calls on it go on.")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<StatusCode, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    match api.app.store.delete_trunk(Some(row.account), row.id).await.map_err(store_failed)? {
        true => {
            api.app.upkeep.refresh();
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(body::unknown(&id, "trunk_not_found", "trunk")),
    }
}

/// Test a trunk
///
/// DNS, connection, OPTIONS, and REGISTER where the trunk has a user name; nobody is called and nothing is changed.
#[utoipa::path(post, path = "/v1/trunks/{id}/test", tag = "trunks",
    params(("id" = String, Path, description = "Its id or its name."), Whose),
    responses((status = OK, description = "What came of each step, and what to try where one failed.", body = Tried)))]
pub(super) async fn test(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Tried>, Refused> {
    let row = find(&api, caller.account(whose.account)?, &id)?;
    if row.kind == call::TrunkKind::Simulated {
        let message = "The simulated network runs inside this server: there is nothing to test.";
        return Err(Refused::bad("simulated_trunk", message));
    }
    let steps = api.app.upkeep.probe(&row).await;
    Ok(Reply(Tried { ok: steps.iter().all(|step| step.ok), steps }))
}

/// The account's trunk with this id or name.
fn find(api: &Api, account: i64, id: &str) -> Result<TrunkRow, Refused> {
    let parsed = crate::id::Id::parse(id);
    let mut trunks = api.app.store.trunks(account).into_iter();
    trunks
        .find(|trunk| Some(trunk.id) == parsed || trunk.name == id)
        .ok_or_else(|| body::unknown(id, "trunk_not_found", "trunk"))
}

/// A trunk this server could never reach would keep it from starting the next time.
fn reachable(api: &Api, host: &str) -> Result<(), Refused> {
    check_host(host).map_err(|why| Refused::bad("invalid_trunk", format!("The host {why}.")))?;
    api.app.config.check([host]).map_err(|error| Refused::bad("unreachable_host", format!("{error}.")))
}
