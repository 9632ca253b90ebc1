//! HTTP: one router for every face.
//!
//! A face only translates: it reads a request into an order or a question, asks the store or
//! [`originate`](crate::originate), and writes the answer down in its own words. Whatever goes wrong is a
//! [`Refused`](crate::refused::Refused); `reply` puts it into the shape of the face that was asked.

mod auth;
mod body;
mod calling;
mod calls;
mod cursor;
mod guard;
mod health;
mod limits;
mod opensips;
mod reach;
mod reply;
mod sound;
mod v1;
mod web;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::app::App;
use crate::config::Config;
use crate::id::Id;
use guard::Described;
use limits::Buckets;

/// The most bytes a JSON body may have.
const JSON_LIMIT: usize = 1024 * 1024;
/// Streams of events that may be open at once, of all accounts together.
const STREAMS: usize = 512;
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
    limits: Arc<Limits>,
    described: Arc<Described>,
    /// Streams of events that may still be opened.
    streams: Arc<Semaphore>,
}

/// How often somebody may ask.
struct Limits {
    /// Requests of one key.
    keys: Buckets<Id>,
    /// Wrong keys from one address.
    sources: Buckets<IpAddr>,
}

impl Limits {
    fn new(config: &Config) -> Self {
        let now = Instant::now();
        Self {
            keys: Buckets::new(config.requests_per_second, Duration::from_secs(1), now),
            sources: Buckets::new(config.wrong_keys_per_minute, Duration::from_secs(60), now),
        }
    }
}

/// All faces on one router.
///
/// On [`Door::Tcp`] each request carries a `ConnectInfo<SocketAddr>`: keys that are tied to source ranges, and
/// `/metrics`, need to know where it comes from.
pub fn router(app: Arc<App>, door: Door) -> Router {
    let (v1, openapi) = v1::router().split_for_parts();
    let openapi = v1::describe(&openapi);
    let described = Arc::new(Described::read(&openapi));
    let openapi = format!("{openapi:#}");
    let limits = Arc::new(Limits::new(&app.config));
    let api = Api { app, door, limits, described, streams: Arc::new(Semaphore::new(STREAMS)) };
    Router::new()
        .merge(v1)
        .merge(calling::router())
        .merge(opensips::router())
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .route("/", get(web::upgrade))
        .route("/ws", get(web::upgrade))
        .route("/openapi.json", get(async move || ([("content-type", "application/json")], openapi.clone())))
        .fallback(reply::no_route)
        .method_not_allowed_fallback(reply::no_method)
        .layer(DefaultBodyLimit::max(JSON_LIMIT))
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .layer(from_fn(reply::dress))
        .with_state(api)
}
