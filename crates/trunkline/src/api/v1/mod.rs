//! `/v1`: the coherent API, described by itself at `/openapi.json`.

mod account;
mod accounts;
mod calls;
mod describe;
mod events;
mod groups;
mod insight;
mod keys;
mod live;
mod numbers;
mod recordings;
mod registrations;
mod schema;
mod shield;
mod sip;
mod trunks;
mod usage;
mod users;
mod webhooks;

use axum::http::HeaderName;
use axum::http::header;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
pub(super) use describe::describe;
pub(super) use sip::{SipServer, govern, state};
pub(super) use users::named;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "trunkline",
        description = "One calling API over any carrier. Times are RFC 3339 in UTC with milliseconds, durations \
                       are whole milliseconds (`_ms`) or seconds (`_s`), ids may be sent with or without their \
                       prefix. Lists are newest first unless said; `next` is what to send as `after`, null on the last page. \
                       Each reply has an `X-Request-Id`. Unknown fields in a request are refused.",
    ),
    security(("key" = [])),
    modifiers(&Key),
    tags(
        (name = "calls", description = "Place calls, follow and end them."),
        (name = "recordings", description = "List, fetch and delete recordings."),
        (name = "events", description = "What happens on all calls of the account."),
        (name = "usage", description = "How much was called."),
        (name = "account", description = "What the account may do."),
        (name = "accounts", description = "The tenants of this server; operators only."),
        (name = "users", description = "SIP users, who register phones and call, and groups that ring together."),
        (name = "registrations", description = "The phones that are registered."),
        (name = "sip", description = "The SIP server itself; operators only."),
        (name = "numbers", description = "Where calls to the account's numbers go."),
        (name = "trunks", description = "The SIP providers that calls go out through."),
        (name = "keys", description = "API keys: shown once, stored hashed, revocable."),
        (name = "webhooks", description = "Where events are delivered to, signed after Standard Webhooks."),
    )
)]
struct Description;

struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("An API key.")).build();
        openapi.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(calls::create, calls::list))
        .routes(routes!(calls::get))
        .routes(routes!(calls::hang_up))
        .routes(routes!(live::say))
        .routes(routes!(live::play))
        .routes(routes!(live::digits))
        .routes(routes!(live::stop))
        .routes(routes!(live::transfer))
        .routes(routes!(live::pause_recording))
        .routes(routes!(live::resume_recording))
        .routes(routes!(calls::events))
        .routes(routes!(insight::ladder))
        .routes(routes!(insight::pcap))
        .routes(routes!(recordings::fetch, recordings::delete))
        .routes(routes!(recordings::of_call))
        .routes(routes!(recordings::fetch_one, recordings::delete_one))
        .routes(routes!(recordings::list))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .routes(routes!(usage::get))
        .routes(routes!(account::get, account::change))
        .merge(accounts::router())
        .merge(users::router())
        .merge(groups::router())
        .merge(numbers::router())
        .merge(registrations::router())
        .merge(sip::router())
        .merge(shield::router())
        .routes(routes!(trunks::create, trunks::list))
        .routes(routes!(trunks::get, trunks::change, trunks::delete))
        .routes(routes!(trunks::test))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::get, keys::revoke))
        .routes(routes!(keys::rotate))
        .merge(webhooks::router())
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Page<T> {
    data: Vec<T>,
    /// Send it as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// Which account's things are meant.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Another account than the key's own: operators only.
    #[param(minimum = 0)]
    account: Option<i64>,
}

/// Which part of which account's things is meant.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Another account than the key's own: operators only.
    #[param(minimum = 0)]
    account: Option<i64>,
    /// How many, 1 to 200; 50 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Puts what was given in the place of what was there.
fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

/// Tells null (empty it) from a field that is not there (leave it).
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The header that names what was made.
fn location(path: String) -> [(HeaderName, String); 1] {
    [(header::LOCATION, path)]
}
