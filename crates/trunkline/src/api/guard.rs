//! What every request passes before its handler: the key, how often it may be used, the scope its route asks for,
//! and whether the route knows what is asked of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::auth::{self, Caller};
use super::limits::Buckets;
use super::{Api, Door, body};
use crate::id::Id;
use crate::refused::Refused;

/// Every route that wants a key: its method, its path as in the router, and the scope the key needs. A route that
/// stands neither here nor in [`OPEN`] opens to keys without scopes only.
#[rustfmt::skip]
pub(super) const ROUTES: &[(&str, &str, &str)] = &[
    ("POST",   "/api/calls/initiate",          "calls:write"),
    ("GET",    "/api/calls/status/{id}",       "calls:read"),
    ("POST",   "/api/calls/end/{id}",          "calls:write"),
    ("GET",    "/api/calls/history",           "calls:read"),
    ("POST",   "/api/audio/upload",            "calls:write"),
    ("POST",   "/api/v1/opensips/start",       "sip:write"),
    ("POST",   "/api/v1/opensips/stop",        "sip:write"),
    ("GET",    "/api/v1/opensips/status",      "sip:read"),
    ("GET",    "/api/v1/opensips/health",      "sip:read"),
    ("POST",   "/api/v1/opensips/generate-credentials", "users:write"),
    ("POST",   "/api/v1/opensips/call/initiate", "calls:write"),
    ("GET",    "/api/v1/opensips/call/{id}",   "calls:read"),
    ("POST",   "/api/v1/opensips/call/{id}/end", "calls:write"),
    ("POST",   "/v1/calls",                    "calls:write"),
    ("GET",    "/v1/calls",                    "calls:read"),
    ("GET",    "/v1/calls/{id}",               "calls:read"),
    ("POST",   "/v1/calls/{id}/hangup",        "calls:write"),
    ("POST",   "/v1/calls/{id}/say",           "calls:write"),
    ("POST",   "/v1/calls/{id}/play",          "calls:write"),
    ("POST",   "/v1/calls/{id}/digits",        "calls:write"),
    ("POST",   "/v1/calls/{id}/stop",          "calls:write"),
    ("POST",   "/v1/calls/{id}/transfer",      "calls:write"),
    ("POST",   "/v1/calls/{id}/recording/pause",  "calls:write"),
    ("POST",   "/v1/calls/{id}/recording/resume", "calls:write"),
    ("GET",    "/v1/calls/{id}/events",        "calls:read"),
    ("GET",    "/v1/calls/{id}/ladder",        "calls:read"),
    ("GET",    "/v1/calls/{id}/pcap",          "calls:read"),
    ("GET",    "/v1/calls/{id}/recording",     "recordings:read"),
    ("DELETE", "/v1/calls/{id}/recording",     "recordings:delete"),
    ("GET",    "/v1/calls/{id}/recordings",    "recordings:read"),
    ("GET",    "/v1/calls/{id}/recordings/{number}", "recordings:read"),
    ("DELETE", "/v1/calls/{id}/recordings/{number}", "recordings:delete"),
    ("GET",    "/v1/recordings",               "recordings:read"),
    ("GET",    "/v1/events",                   "events:read"),
    ("GET",    "/v1/events/stream",            "events:read"),
    ("GET",    "/v1/usage",                    "usage:read"),
    ("GET",    "/v1/account",                  "account:read"),
    ("PATCH",  "/v1/account",                  "account:write"),
    ("POST",   "/v1/accounts",                 "accounts:write"),
    ("GET",    "/v1/accounts",                 "accounts:read"),
    ("GET",    "/v1/accounts/{id}",            "accounts:read"),
    ("PATCH",  "/v1/accounts/{id}",            "accounts:write"),
    ("DELETE", "/v1/accounts/{id}",            "accounts:write"),
    ("POST",   "/v1/users",                    "users:write"),
    ("GET",    "/v1/users",                    "users:read"),
    ("GET",    "/v1/users/{id}",               "users:read"),
    ("PATCH",  "/v1/users/{id}",               "users:write"),
    ("DELETE", "/v1/users/{id}",               "users:write"),
    ("POST",   "/v1/users/{id}/password",      "users:write"),
    ("GET",    "/v1/users/{id}/ice-servers",   "users:write"),
    ("GET",    "/v1/registrations",            "registrations:read"),
    ("DELETE", "/v1/registrations/{id}",       "registrations:write"),
    ("GET",    "/v1/sip",                      "sip:read"),
    ("GET",    "/v1/sip/shield",               "sip:read"),
    ("DELETE", "/v1/sip/shield",               "sip:write"),
    ("DELETE", "/v1/sip/shield/{source}",      "sip:write"),
    ("POST",   "/v1/sip/start",                "sip:write"),
    ("POST",   "/v1/sip/stop",                 "sip:write"),
    ("POST",   "/v1/groups",                   "users:write"),
    ("GET",    "/v1/groups",                   "users:read"),
    ("GET",    "/v1/groups/{id}",              "users:read"),
    ("PATCH",  "/v1/groups/{id}",              "users:write"),
    ("DELETE", "/v1/groups/{id}",              "users:write"),
    ("POST",   "/v1/numbers",                  "numbers:write"),
    ("GET",    "/v1/numbers",                  "numbers:read"),
    ("GET",    "/v1/numbers/{id}",             "numbers:read"),
    ("PATCH",  "/v1/numbers/{id}",             "numbers:write"),
    ("DELETE", "/v1/numbers/{id}",             "numbers:write"),
    ("POST",   "/v1/trunks",                   "trunks:write"),
    ("GET",    "/v1/trunks",                   "trunks:read"),
    ("GET",    "/v1/trunks/{id}",              "trunks:read"),
    ("PATCH",  "/v1/trunks/{id}",              "trunks:write"),
    ("DELETE", "/v1/trunks/{id}",              "trunks:write"),
    ("POST",   "/v1/trunks/{id}/test",         "trunks:write"),
    ("POST",   "/v1/webhooks",                 "webhooks:write"),
    ("GET",    "/v1/webhooks",                 "webhooks:read"),
    ("GET",    "/v1/webhooks/{id}",            "webhooks:read"),
    ("PATCH",  "/v1/webhooks/{id}",            "webhooks:write"),
    ("DELETE", "/v1/webhooks/{id}",            "webhooks:write"),
    ("POST",   "/v1/webhooks/{id}/rotate",     "webhooks:write"),
    ("POST",   "/v1/webhooks/{id}/test",       "webhooks:write"),
    ("POST",   "/v1/webhooks/{id}/replay",     "webhooks:write"),
    ("GET",    "/v1/deliveries",               "webhooks:read"),
    ("GET",    "/v1/deliveries/{id}",          "webhooks:read"),
    ("POST",   "/v1/deliveries/{id}/replay",   "webhooks:write"),
    ("POST",   "/v1/keys",                     "keys:write"),
    ("GET",    "/v1/keys",                     "keys:read"),
    ("GET",    "/v1/keys/{id}",                "keys:read"),
    ("DELETE", "/v1/keys/{id}",                "keys:write"),
    ("POST",   "/v1/keys/{id}/rotate",         "keys:write"),
];

/// Routes without a key, or that look for one themselves.
const OPEN: &[&str] = &["/", "/ws", "/health", "/metrics", "/openapi.json"];

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The scope that a route asks for, if it is listed.
pub(super) fn scope(method: &str, path: &str) -> Option<&'static str> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.0 == method && route.1 == path).map(|route| route.2)
}

/// What the description at `/openapi.json` says a route takes and gives, by method and path.
pub(super) struct Described(HashMap<(String, String), Operation>);

#[derive(Default)]
struct Operation {
    queries: Vec<String>,
    produces: Vec<String>,
}

impl Described {
    pub(super) fn read(openapi: &Value) -> Self {
        let mut operations = HashMap::new();
        for (path, methods) in openapi.get("paths").and_then(Value::as_object).into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let key = (method.to_ascii_uppercase(), path.clone());
                operations.insert(key, Operation::read(operation));
            }
        }
        Self(operations)
    }

    fn of(&self, method: &Method, path: &str) -> Option<&Operation> {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.0.get(&(method.to_owned(), path.to_owned()))
    }
}

impl Operation {
    fn read(operation: &Value) -> Self {
        let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let queries = parameters
            .filter(|parameter| parameter.get("in").and_then(Value::as_str) == Some("query"))
            .filter_map(|parameter| parameter.get("name")?.as_str().map(ToOwned::to_owned));
        let responses = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
        let produces = responses
            .filter(|(status, _)| status.starts_with('2'))
            .filter_map(|(_, response)| response.get("content")?.as_object())
            .flat_map(|content| content.keys().cloned());
        Self { queries: queries.collect(), produces: produces.collect() }
    }

    /// Refuses parameters the route does not know: a misspelt filter must not show everything.
    fn check_query(&self, query: &str) -> Result<(), Refused> {
        let names = query.split('&').filter(|pair| !pair.is_empty());
        for name in names.map(|pair| pair.split('=').next().unwrap_or(pair)) {
            if self.queries.iter().any(|known| known == name) {
                continue;
            }
            let shown: String = name.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
            let known = match self.queries.as_slice() {
                [] => "It takes none.".to_owned(),
                queries => format!("It takes {}.", queries.join(", ")),
            };
            return Err(Refused::bad(
                "unknown_parameter",
                format!("This route knows no query parameter {shown:?}."),
            )
            .hint(known));
        }
        Ok(())
    }

    /// Refuses who takes nothing that the route can give (RFC 9110 section 12.5.1).
    fn check_accept(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let accept: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        if accept.is_empty() || self.produces.is_empty() {
            return Ok(());
        }
        let ranges: Vec<(String, bool)> =
            accept.iter().flat_map(|value| value.split(',')).map(range).collect();
        let taken = |kind: &String| {
            let fits = |range: &str| {
                range == "*/*"
                    || range == kind
                    || range.strip_suffix("/*").is_some_and(|of| kind.split('/').next() == Some(of))
            };
            // The most exact range decides.
            let best = ranges.iter().filter(|(range, _)| fits(range));
            best.max_by_key(|(range, _)| (range == kind, range != "*/*")).is_some_and(|(_, wanted)| *wanted)
        };
        if self.produces.iter().any(taken) {
            return Ok(());
        }
        Err(Refused::new(
            406,
            "not_acceptable",
            format!("This route answers {}, which the header Accept leaves out.", self.produces.join(" or ")),
        )
        .hint("Leave the header Accept out, or add */* to it."))
    }
}

/// One media range and whether it is wanted at all (`q=0` is not).
fn range(text: &str) -> (String, bool) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (range, quality.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0)))
}

/// Lets a request through to its handler, or answers for it.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let known = path.as_deref().filter(|path| {
        let others = || ROUTES.iter().any(|route| route.1 == *path);
        // A route's other methods get their 405, which names no secret.
        !OPEN.contains(path) && (scope(method.as_str(), path).is_some() || !others())
    });
    let Some(path) = known else { return next.run(request).await };
    let mut limited = HeaderMap::new();
    let mut response = match admit(&api, &request, path, &mut limited) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => {
            // What is sent along is read: whoever is still sending would see a cut connection, not the reply.
            body::drain(request.into_body()).await;
            refused.into_response()
        }
    };
    response.headers_mut().extend(limited);
    response
}

fn admit(api: &Api, request: &Request, path: &str, limited: &mut HeaderMap) -> Result<Caller, Refused> {
    let caller = auth::identify(api, path, request.headers(), request.extensions())?;
    if let Some(key) = caller.0.key
        && api.door == Door::Tcp
    {
        spend(&api.limits.keys, key, limited)?;
    }
    caller.check(scope(request.method().as_str(), path))?;
    if path.starts_with("/v1/")
        && let Some(operation) = api.described.of(request.method(), path)
    {
        operation.check_query(request.uri().query().unwrap_or_default())?;
        operation.check_accept(request.headers())?;
    }
    Ok(caller)
}

/// Counts a request of a key and notes what is left (draft-ietf-httpapi-ratelimit-headers).
fn spend(keys: &Buckets<Id>, key: Id, limited: &mut HeaderMap) -> Result<(), Refused> {
    let taken = keys.take(key, Instant::now());
    let wait = taken.err().unwrap_or(Duration::from_secs(1));
    let left = taken.unwrap_or(0);
    let reset = seconds(wait);
    let policy = format!("\"key\";q={};w={}", keys.burst(), keys.every().as_secs().max(1));
    for (name, value) in [(RATE_LIMIT, format!("\"key\";r={left};t={reset}")), (RATE_LIMIT_POLICY, policy)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            limited.insert(name, value);
        }
    }
    match taken {
        Ok(_) => Ok(()),
        Err(_) => Err(Refused::new(
            429,
            "too_many_requests",
            format!("This key has asked more than {} times in a second.", keys.burst()),
        )
        .hint("Wait as long as Retry-After says; the server's setting is requests_per_second.")
        .retry_after(reset)),
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SCOPES;

    #[test]
    fn every_route_asks_for_a_scope_that_exists() {
        for (method, path, scope) in ROUTES {
            assert!(SCOPES.contains(scope), "{method} {path}: {scope}");
            assert_eq!(
                ROUTES.iter().filter(|route| (route.0, route.1) == (*method, *path)).count(),
                1,
                "{path}"
            );
        }
    }

    #[test]
    fn accept_is_read_as_rfc_9110_says() {
        let operation = Operation { queries: Vec::new(), produces: vec!["application/json".into()] };
        for (accept, taken) in [
            ("*/*", true),
            ("application/*", true),
            ("text/html, application/json;q=0.1", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/html", false),
            ("application/json;q=0, */*", false),
            ("application/json; q=0", false),
            ("text/*, */*;q=0.1", true),
            ("nonsense", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(operation.check_accept(&headers).is_ok(), taken, "{accept:?}");
        }
        assert!(operation.check_accept(&HeaderMap::new()).is_ok());
    }
}
