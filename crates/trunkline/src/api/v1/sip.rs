//! `/v1/sip`: the SIP server itself, for the operator.

use std::collections::BTreeMap;

use axum::Json as Reply;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::{Api, calls, reach};
use crate::refused::Refused;
use crate::switch::SipStats;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(start)).routes(routes!(stop))
}

/// The SIP server and what it has seen since it began.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "state": "running", "started_at": "2026-01-01T00:00:00.000Z",
    "addresses": { "udp": "192.0.2.10:5060", "tcp": "192.0.2.10:5060", "ws": "192.0.2.10:5060" },
    "calls": 2, "legs": 4, "transactions": 1,
    "registrations": {
        "phones": 3, "users": 2, "lost": 0, "by_transport": { "udp": 2, "tcp": 0, "tls": 0, "ws": 1, "wss": 0 },
    },
    "connections": {
        "open": { "tcp": 0, "tls": 0, "ws": 1, "wss": 0 }, "accepted": 7, "refused": 0, "handshakes_failed": 0,
    },
    "received": {
        "requests": { "REGISTER": 12 }, "responses": { "2xx": 4 },
        "messages": { "udp": 14, "tcp": 0, "tls": 0, "ws": 2, "wss": 0 }, "retransmissions": 0,
    },
    "sent": {
        "requests": { "INVITE": 2 }, "responses": { "2xx": 6, "4xx": 6 },
        "messages": { "udp": 12, "tcp": 0, "tls": 0, "ws": 2, "wss": 0 }, "retransmissions": 1,
    },
    "parse_errors": 0, "timeouts": 0, "absorbed": 0,
}))]
pub(in crate::api) struct SipServer {
    /// `running`, or `stopped`: new registrations and calls get 503, calls that are up go on.
    state: &'static str,
    #[schema(format = DateTime)]
    started_at: String,
    /// Where it listens, by transport.
    addresses: BTreeMap<&'static str, String>,
    /// Calls that have not ended.
    calls: usize,
    /// SIP dialogs.
    legs: usize,
    /// SIP transactions.
    transactions: usize,
    registrations: Registrations,
    connections: Connections,
    received: Traffic,
    sent: Traffic,
    /// Datagrams and streams that held no SIP message.
    parse_errors: u64,
    /// Requests without a final response, and refusals without an ACK (timers B, F and H).
    timeouts: u64,
    /// Messages that were SIP, but led to nothing.
    absorbed: u64,
}

/// The phones of all accounts.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registrations {
    phones: usize,
    users: usize,
    /// Of the phones, those that cannot be reached until they register again.
    lost: usize,
    by_transport: BTreeMap<&'static str, u64>,
}

/// TCP, TLS and WebSocket.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Connections {
    /// By transport.
    open: BTreeMap<&'static str, u64>,
    /// Made to us and taken.
    accepted: u64,
    /// Made to us and closed at once: too many.
    refused: u64,
    /// TLS handshakes that came to nothing.
    handshakes_failed: u64,
}

/// Messages in one direction.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Traffic {
    /// By method, `other` for those that are not known; only what there was.
    requests: BTreeMap<&'static str, u64>,
    /// By class, `1xx` to `6xx`; only what there was.
    responses: BTreeMap<&'static str, u64>,
    /// By transport.
    messages: BTreeMap<&'static str, u64>,
    /// Of both, those that were sent before.
    retransmissions: u64,
}

fn by_transport(counts: [u64; 5]) -> BTreeMap<&'static str, u64> {
    sip::Stats::TRANSPORTS.iter().map(|transport| transport.param()).zip(counts).collect()
}

fn seen<const N: usize>(names: [&'static str; N], counts: [u64; N]) -> BTreeMap<&'static str, u64> {
    names.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}

impl SipServer {
    pub(in crate::api) fn new(api: &Api) -> Self {
        let switch = &api.app.switch;
        let (SipStats { sip, connections, .. }, phones) = (switch.sip_stats(), api.app.registrar.counts());
        let status = switch.status();
        let addresses = reach::addresses(api).into_iter();
        Self {
            state: state(api),
            started_at: calls::time(api.app.started_at),
            addresses: addresses.map(|(transport, address)| (transport, address.to_string())).collect(),
            calls: status.calls,
            legs: status.legs,
            transactions: status.transactions,
            registrations: Registrations {
                phones: phones.bindings,
                users: phones.users,
                lost: phones.lost,
                by_transport: by_transport(phones.transports.map(|count| count as u64)),
            },
            connections: Connections {
                open: connections.open_by_transport().into_iter().collect(),
                accepted: connections.accepted,
                refused: connections.refused,
                handshakes_failed: connections.handshakes_failed,
            },
            received: Traffic {
                requests: seen(sip::Stats::METHODS, sip.methods_in),
                responses: seen(sip::Stats::CLASSES, sip.responses_in),
                messages: by_transport(sip.messages_in),
                retransmissions: sip.retransmissions_in,
            },
            sent: Traffic {
                requests: seen(sip::Stats::METHODS, sip.methods_out),
                responses: seen(sip::Stats::CLASSES, sip.responses_out),
                messages: by_transport(sip.messages_out),
                retransmissions: sip.retransmissions_out,
            },
            parse_errors: sip.parse_errors,
            timeouts: sip.timeouts,
            absorbed: sip.absorbed,
        }
    }
}

/// Whether it takes registrations and calls.
pub(in crate::api) fn state(api: &Api) -> &'static str {
    if api.app.switch.is_sip_running() { "running" } else { "stopped" }
}

/// Show the SIP server
#[utoipa::path(get, path = "/v1/sip", tag = "sip",
    responses((status = OK, description = "What it is doing.", body = SipServer)))]
async fn get(State(api): State<Api>, caller: Caller) -> Result<Reply<SipServer>, Refused> {
    caller.operator("see the SIP server's figures")?;
    Ok(Reply(SipServer::new(&api)))
}

/// Start the SIP server
///
/// It runs from the beginning; this undoes `stop`.
#[utoipa::path(post, path = "/v1/sip/start", tag = "sip",
    responses((status = OK, description = "It runs.", body = SipServer)))]
async fn start(State(api): State<Api>, caller: Caller) -> Result<Reply<SipServer>, Refused> {
    govern(&api, &caller, true)?;
    Ok(Reply(SipServer::new(&api)))
}

/// Stop the SIP server
///
/// New registrations and calls, in and out, are refused with 503; calls that are up go on and phones stay registered.
/// It runs again after `start`, and after a restart.
#[utoipa::path(post, path = "/v1/sip/stop", tag = "sip",
    responses((status = OK, description = "It takes nothing new.", body = SipServer)))]
async fn stop(State(api): State<Api>, caller: Caller) -> Result<Reply<SipServer>, Refused> {
    govern(&api, &caller, false)?;
    Ok(Reply(SipServer::new(&api)))
}

/// Starts or stops the SIP server, for the operator.
pub(in crate::api) fn govern(api: &Api, caller: &Caller, run: bool) -> Result<(), Refused> {
    caller.operator("start and stop the SIP server")?;
    let switch = &api.app.switch;
    if switch.is_sip_running() != run {
        tracing::info!(
            calls = switch.live(),
            "the SIP server is {}",
            if run { "started" } else { "stopped" }
        );
    }
    match run {
        true => switch.start_sip(),
        false => switch.stop_sip(),
    }
    Ok(())
}
