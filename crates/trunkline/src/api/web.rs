//! SIP over WebSocket at the HTTP port: the upgrade is answered here, then the connection belongs to the call loop.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, OriginalUri, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Api, reply};
use crate::endpoint::{Upgraded, web};

/// `GET /ws`, and `GET /` where it asks for a WebSocket.
pub(super) async fn upgrade(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    mut request: Request,
) -> Response {
    if uri.path() == "/" && !request.headers().contains_key(header::UPGRADE) {
        return reply::no_route(request.method().clone(), uri).await.into_response();
    }
    let answer = match web::accept(request.headers(), &api.app.config.web_origins) {
        Ok(answer) => answer,
        Err(refused) => return refused.into_response(),
    };
    let remote = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A peer that breaks off is no news.
        let (Ok(upgraded), Some(remote)) = (upgrade.await, remote) else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let Ok(stream) = parts.io.into_inner().into_std() else { return };
        if let Err(error) = api.app.switch.adopt_web(Upgraded { stream, remote, early: parts.read_buf }) {
            tracing::warn!(%error, "a WebSocket could not be handed to the call loop");
        }
    });
    let headers: HeaderMap = answer.headers().clone();
    (answer.status(), headers).into_response()
}
