//! What is up (`/health`), and numbers for Prometheus (`/metrics`).

use std::net::SocketAddr;

use axum::Json as Reply;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;

use super::auth::Caller;
use super::{Api, Door};
use crate::refused::Refused;

/// No key needed: says what works and nothing else.
pub(super) async fn health(State(api): State<Api>) -> (StatusCode, Reply<serde_json::Value>) {
    let app = &api.app;
    let store = app.store.healthy().await;
    let status = if store { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let up_ms = Timestamp::now().as_millisecond() - app.started_at;
    (
        status,
        Reply(json!({
            "success": store,
            "status": if store { "ok" } else { "degraded" },
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": up_ms.max(0),
            "calls": app.switch.live(),
            "store": if store { "ok" } else { "failed" },
            "switch": app.switch.status(),
        })),
    )
}

/// The Prometheus text format: from this machine without a key, from elsewhere with an operator's.
pub(super) async fn metrics(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let (mut parts, _) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    let near = api.door == Door::Unix || peer.is_some_and(|ip| ip.is_loopback()) && !proxied(&parts.headers);
    if !near && !Caller::from_request_parts(&mut parts, &api).await?.0.operator {
        return Err(Refused::new(403, "operator_only", "Only an operator's key may read the metrics."));
    }
    let app = &api.app;
    let switch = &app.switch;
    crate::metrics::refresh(&switch.status());
    crate::metrics::refresh_sip(switch.is_sip_running(), &switch.sip_stats(), &app.registrar.counts());
    for account in app.store.accounts() {
        for trunk in app.store.trunks(account.id) {
            crate::metrics::refresh_trunk(&trunk, &app.upkeep.known(trunk.id), app.switch.load(trunk.id));
        }
    }
    let text = api.app.metrics.render();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Behind a proxy on this machine everyone seems to be near.
fn proxied(headers: &HeaderMap) -> bool {
    headers.contains_key("forwarded") || headers.contains_key("x-forwarded-for")
}
