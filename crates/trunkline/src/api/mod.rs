//! HTTP: one router for every face.
//!
//! A face only translates: it reads a request into an order or a question, asks the store or
//! [`originate`](crate::originate), and writes the answer down in its own words. Whatever goes wrong is a
//! [`Refused`](crate::refused::Refused); `reply` puts it into the shape of the face that was asked.

mod auth;
mod body;
mod calling;
mod calls;
mod health;
mod reply;
mod v1;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::get;

use crate::app::App;

/// The most bytes a JSON body may have.
const JSON_LIMIT: usize = 1024 * 1024;
/// The most bytes an uploaded file may have.
const UPLOAD_LIMIT: usize = 10 * 1024 * 1024;

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The HTTP port: each request brings a key.
    Tcp,
    /// The socket in the data folder (mode 0600): who may open it is the operator.
    Unix,
}

/// What every route is given.
#[derive(Clone)]
struct Api {
    app: Arc<App>,
    door: Door,
}

/// All faces on one router.
///
/// On [`Door::Tcp`] each request carries a `ConnectInfo<SocketAddr>`: keys that are tied to source ranges, and
/// `/metrics`, need to know where it comes from.
pub fn router(app: Arc<App>, door: Door) -> Router {
    let (v1, openapi) = v1::router().split_for_parts();
    let openapi = openapi.to_pretty_json().unwrap_or_default();
    Router::new()
        .merge(v1)
        .merge(calling::router())
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(async move || ([("content-type", "application/json")], openapi.clone())))
        .fallback(reply::no_route)
        .method_not_allowed_fallback(reply::no_method)
        .layer(DefaultBodyLimit::max(JSON_LIMIT))
        .layer(from_fn(reply::dress))
        .with_state(Api { app, door })
}
