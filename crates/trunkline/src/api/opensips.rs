//! Document 2, the SIP server and Twilio: `/api/v1/opensips/*`. The server it speaks of is our own.
//!
//! Bodies may have fields the document does not know; they are ignored. Ids are shown as `session_<seconds>_<random>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json as Reply, Router};
use call::TrunkKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth::Caller;
use super::body::{Json, OnceJson, Segment};
use super::reach::{Reach, asked_host};
use super::reply::{self, store_failed};
use super::v1::{SipServer, govern, named, state};
use super::{Api, calls};
use crate::flow::{Dial, Step};
use crate::originate::{Order, Ordered, originate};
use crate::receive::check_may_call;
use crate::refused::Refused;
use crate::secret::Secret;
use crate::store::{CallRow, NewUser, StoreError, TrunkRow, UserRow};
use crate::time::now_ms;

/// Seconds for which a call without anything to say is held: what says or plays into it has to come by then.
const HOLD_S: f32 = 60.0;

/// What a call's metadata remembers of how it was ordered here.
const USER: &str = "userId";
const DESTINATION: &str = "toNumber";

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/opensips/start", post(start))
        .route("/api/v1/opensips/stop", post(stop))
        .route("/api/v1/opensips/status", get(status))
        .route("/api/v1/opensips/health", get(health))
        .route("/api/v1/opensips/generate-credentials", post(generate_credentials))
        .route("/api/v1/opensips/call/initiate", post(initiate))
        .route("/api/v1/opensips/call/{id}", get(details))
        .route("/api/v1/opensips/call/{id}/end", post(end))
}

async fn start(State(api): State<Api>, caller: Caller) -> Result<Reply<Value>, Refused> {
    govern(&api, &caller, true)?;
    Ok(Reply(json!({ "success": true, "message": "The SIP server is running.", "status": state(&api) })))
}

async fn stop(State(api): State<Api>, caller: Caller) -> Result<Reply<Value>, Refused> {
    govern(&api, &caller, false)?;
    Ok(Reply(json!({
        "success": true,
        "message": "The SIP server is stopped: new registrations and calls are refused, calls that are up go on.",
        "status": state(&api),
    })))
}

/// The operator is told of everybody, a tenant of its own phones and calls.
async fn status(State(api): State<Api>, caller: Caller) -> Reply<Value> {
    let app = &api.app;
    let operator = caller.0.operator;
    let addresses = super::reach::addresses(&api).into_iter();
    let addresses: BTreeMap<_, _> = addresses.map(|(name, address)| (name, address.to_string())).collect();
    let registrations = match operator {
        true => app.registrar.counts().bindings,
        false => app.registrar.count(caller.0.account),
    };
    let mut status = json!({
        "success": true,
        "status": state(&api),
        "version": env!("CARGO_PKG_VERSION"),
        "startedAt": calls::time(app.started_at),
        "uptime": (now_ms() - app.started_at).max(0) / 1000,
        "addresses": addresses,
        "registrations": registrations,
        "activeCalls": active_calls(&api, &caller),
    });
    if operator && let Some(status) = status.as_object_mut() {
        status.insert("statistics".into(), json!(SipServer::new(&api)));
    }
    Reply(status)
}

fn active_calls(api: &Api, caller: &Caller) -> usize {
    match caller.0.operator {
        true => api.app.switch.live(),
        false => api.app.switch.live_of(caller.0.account),
    }
}

/// The reply, its fields in the document's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    opensips_status: &'static str,
    active_calls: usize,
    server_uptime: bool,
}

async fn health(State(api): State<Api>, caller: Caller) -> Reply<Health> {
    Reply(Health {
        opensips_status: state(&api),
        active_calls: active_calls(&api, &caller),
        server_uptime: api.app.switch.is_sip_running(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialsWanted {
    user_id: Option<String>,
}

/// What is typed into a phone: the document's fields in its order, then ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    username: String,
    password: String,
    domain: String,
    sip_uri: String,
    proxy_server: String,
    transport_protocol: &'static str,
    transports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_socket_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_web_socket_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

#[derive(Serialize)]
struct Generated {
    success: bool,
    credentials: Credentials,
}

/// Makes a user, or gives the one that there is another password: its phones have to be told.
async fn generate_credentials(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Json(asked): Json<CredentialsWanted>,
) -> Result<Reply<Generated>, Refused> {
    let (user, password) = match user(&api, caller.0.account, asked.user_id).await? {
        (user, Some(password)) => (user, password),
        (user, None) => {
            enabled(&user)?;
            let changed = api.app.store.set_password(user.account, user.id, None).await;
            let gone = || Refused::new(409, "user_removed", "The user was removed just now.");
            let changed = changed.map_err(store_failed)?.ok_or_else(gone)?;
            api.app.switch.forget(user.id, None);
            api.app.switch.pardon_user(&user.username);
            changed
        }
    };
    let reach = Reach::new(&api, asked_host(&api, &headers), &user);
    Ok(Reply(Generated {
        success: true,
        credentials: Credentials {
            username: user.username.to_string(),
            password: password.expose().to_owned(),
            domain: reach.domain,
            sip_uri: reach.uri,
            proxy_server: reach.server,
            transport_protocol: "UDP",
            transports: reach.transports.iter().map(|name| name.to_uppercase()).collect(),
            web_socket_url: reach.web,
            secure_web_socket_url: reach.secure_web,
            warning: reach.warning,
        },
    }))
}

/// The account's user that is called so: by the account's own systems, else by user name or id. Where there is none,
/// one is made, and its password answered.
async fn user(
    api: &Api,
    account: i64,
    user_id: Option<String>,
) -> Result<(Arc<UserRow>, Option<Secret>), Refused> {
    let Some(user_id) = user_id else {
        return Err(Refused::bad("missing_user_id", "The field `userId` is missing: whose phone is it?")
            .hint("Write what your own systems call the user."));
    };
    calls::plain("userId", &user_id)?;
    let directory = api.app.store.directory();
    let found = || {
        let own = directory.user_by_external_id(account, &user_id);
        own.or_else(|| named(api, account, &user_id))
    };
    if let Some(user) = found() {
        return Ok((user, None));
    }
    let new = NewUser { account, external_id: Some(user_id.clone()), ..NewUser::default() };
    match api.app.store.create_user(new).await {
        Ok((user, password)) => Ok((user, Some(password))),
        // Somebody asked for the same at the same time.
        Err(StoreError::Refused(refused)) if refused.code == "user_exists" => {
            found().map(|user| (user, None)).ok_or(refused)
        }
        Err(error) => Err(store_failed(error)),
    }
}

fn enabled(user: &UserRow) -> Result<(), Refused> {
    if user.enabled {
        return Ok(());
    }
    Err(Refused::new(409, "user_disabled", format!("The user {} is disabled.", user.username))
        .hint("Enable it with PATCH /v1/users/{id}."))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initiate {
    user_id: Option<String>,
    from_number: Option<String>,
    to_number: Option<String>,
    #[serde(default)]
    use_twilio: bool,
    text: Option<String>,
    audio_file: Option<String>,
    #[serde(default)]
    record: bool,
}

/// The reply, its fields in the document's order, then ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initiated {
    success: bool,
    session: Session,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    session_id: String,
    status: &'static str,
    sip_credentials: SipCredentials,
    /// Over which trunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    trunk: Option<String>,
    /// Whether the simulated network answers, in Twilio's place too: it rings nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
}

#[derive(Serialize)]
struct SipCredentials {
    username: String,
    domain: String,
}

async fn initiate(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    OnceJson(asked, once): OnceJson<Initiate>,
) -> Result<impl IntoResponse, Refused> {
    let account = caller.0.account;
    let Some(to) = &asked.to_number else {
        return Err(Refused::bad("missing_to_number", "The field `toNumber` is missing: whom shall I call?")
            .hint("Write a number such as +12025550123, or a SIP address."));
    };
    calls::plain("toNumber", to)?;
    if let Some(from) = &asked.from_number {
        calls::plain("fromNumber", from)?;
    }
    let media = media(&asked)?;
    let trunks = api.app.store.trunks(account);
    let trunk = asked.use_twilio.then(|| twilio(&trunks)).transpose()?;
    let (user, _) = user(&api, account, asked.user_id.clone()).await?;
    enabled(&user)?;
    let trunk_id = trunk.map(|trunk| trunk.id.to_string());
    let mut metadata: BTreeMap<_, _> =
        asked.user_id.map(|user_id| (USER.to_owned(), user_id)).into_iter().collect();
    let (first, flow) = match media {
        Some(step) => (to.clone(), step),
        // Whose phone is there is rung first, then the destination.
        None if !api.app.registrar.targets(user.id).is_empty() => {
            // It is the user's call, though a page asks for it.
            check_may_call(&api.app, &user, to)?;
            metadata.insert(DESTINATION.into(), to.clone());
            let from = asked.from_number.clone();
            (user.username.to_string(), Step::Dial(Dial { from, trunk: trunk_id.clone(), ..Dial::to(to) }))
        }
        None => (to.clone(), Step::Pause { seconds: HOLD_S }),
    };
    let is_click_to_call = metadata.contains_key(DESTINATION);
    let order = Order {
        account,
        face: "opensips",
        from: asked.from_number,
        to: first,
        flow: vec![flow],
        trunk: trunk_id.filter(|_| !is_click_to_call),
        record: asked.record,
        ring_timeout: None,
        max_duration: None,
        metadata,
        once,
    };
    let Ordered { call, replayed } = originate(&api.app, order).await?;
    // A user's phone is no trunk; what the destination is called over is known beforehand only where it was named.
    let over = trunks.iter().find(|row| Some(row.id) == call.trunk).or(trunk);
    let reply = Reply(Initiated {
        success: true,
        session: Session {
            session_id: call.id.session(),
            status: word(&call),
            sip_credentials: SipCredentials {
                username: user.username.to_string(),
                domain: Reach::new(&api, asked_host(&api, &headers), &user).domain,
            },
            trunk: over.map(|trunk| trunk.name.clone()),
            simulated: over.is_some_and(|trunk| trunk.kind == TrunkKind::Simulated),
        },
    });
    Ok((reply::replayed(replayed), reply))
}

/// What is said or played to the destination, if anything.
fn media(asked: &Initiate) -> Result<Option<Step>, Refused> {
    match (&asked.text, &asked.audio_file) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(Step::Say { text: text.clone(), voice: None, language: None })),
        (None, Some(file)) => {
            calls::plain("audioFile", file)?;
            Ok(Some(Step::Play { file: file.clone() }))
        }
        (Some(_), Some(_)) => {
            Err(Refused::bad("ambiguous_content", "Both `text` and `audioFile` are given.")
                .hint("Send one of them at the most."))
        }
    }
}

/// The account's trunk to Twilio. The simulated network answers for it where it is what the account calls through.
fn twilio(trunks: &[TrunkRow]) -> Result<&TrunkRow, Refused> {
    let enabled = || trunks.iter().filter(|trunk| trunk.enabled);
    let is_twilio = |trunk: &&TrunkRow| {
        let host = trunk.host.trim_end_matches('.').to_ascii_lowercase();
        trunk.kind == TrunkKind::Sip
            && (host.ends_with(".pstn.twilio.com") || trunk.name.eq_ignore_ascii_case("twilio"))
    };
    let own = enabled().filter(is_twilio).min_by_key(|trunk| (!trunk.is_default, trunk.priority));
    let simulated = || enabled().find(|trunk| trunk.is_default && trunk.kind == TrunkKind::Simulated);
    own.or_else(simulated).ok_or_else(|| {
        Refused::bad("twilio_not_configured", "`useTwilio` is true, but this account has no trunk to Twilio.")
            .hint(
                "Add one with POST /v1/trunks: its host is <name>.pstn.twilio.com, from Elastic SIP Trunking, \
                 Termination. Or leave `useTwilio` out to call over the default trunk.",
            )
    })
}

/// A call's state; it counts as ringing as soon as a leg is being dialled.
fn word(call: &CallRow) -> &'static str {
    match call.state {
        call::State::Queued if call.sip_call_id.as_ref().is_some_and(|id| !id.is_empty()) => {
            call::State::Ringing.as_str()
        }
        state => state.as_str(),
    }
}

async fn details(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Value>, Refused> {
    let mut call = calls::find(&api, &caller, &id).await?;
    if call.state == call::State::Queued {
        // The reply that ordered it said that it rings: what tells so may still wait to be written.
        api.app.store.flush().await;
        call = calls::find(&api, &caller, &id).await?;
    }
    Ok(Reply(json!({ "success": true, "session": show(&call) })))
}

async fn end(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<Reply<Value>, Refused> {
    let call = calls::end(&api, &caller, &id).await?;
    Ok(Reply(json!({
        "success": true,
        "message": "Call ended successfully",
        "sessionId": call.id.session(),
        "status": word(&call),
        "session": show(&call),
    })))
}

/// A call in this document's words; times as RFC 3339, `duration` in whole seconds of talk.
fn show(call: &CallRow) -> Value {
    let time = |at: Option<i64>| at.map(calls::time);
    json!({
        "sessionId": call.id.session(),
        "status": word(call),
        "userId": call.metadata.get(USER),
        "fromNumber": call.from,
        "toNumber": call.metadata.get(DESTINATION).unwrap_or(&call.to),
        "direction": call.direction,
        "sipCallId": call.sip_call_id,
        "trunk": call.trunk_name,
        "createdAt": calls::time(call.created_at),
        "ringingAt": time(call.ringing_at),
        "answeredAt": time(call.answered_at),
        "endedAt": time(call.ended_at),
        "duration": call.duration_ms().map(|ms| (ms + 500) / 1000),
        "cause": call.cause_code.as_ref().map(|code| json!({
            "code": code,
            "message": call.cause_text,
            "hint": call.cause_hint,
            "sipStatus": call.sip_status,
            "q850": call.q850,
        })),
        "hangupBy": call.hangup_by,
        "quality": call.quality,
        "recording": call.recording.as_ref().map(|_| format!("/v1/calls/{}/recording", call.id.with("call"))),
    })
}
