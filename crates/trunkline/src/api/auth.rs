//! Who is asking, and whether they may.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use super::reply::Face;
use super::{Api, Door, guard, limits};
use crate::refused::Refused;
use crate::store::{AuthError, Identity};

/// An authenticated request's identity. That it may ask for this route has been checked (`guard`).
#[derive(Clone)]
pub(super) struct Caller(pub(super) Identity);

impl Caller {
    /// Refuses (403) unless the key has `scope`; a key without scopes may do everything, and only such a key what no
    /// scope stands for.
    pub(super) fn check(&self, scope: Option<&str>) -> Result<(), Refused> {
        if scope.map_or(self.0.scopes.is_empty(), |scope| self.0.may(scope)) {
            return Ok(());
        }
        let lacks = match scope {
            Some(scope) => format!("This key lacks the scope \"{scope}\"."),
            None => "This route opens to keys without scopes only.".to_owned(),
        };
        let hint = format!("It has: {}.", self.0.scopes.join(", "));
        Err(Refused::new(403, "missing_scope", lacks).hint(hint))
    }

    /// Refuses (403) who is not the operator; `what` goes on after "can".
    pub(super) fn operator(&self, what: &str) -> Result<(), Refused> {
        if self.0.operator {
            return Ok(());
        }
        Err(Refused::new(403, "operator_only", format!("Only an operator's key can {what}."))
            .hint("Ask the operator of this server."))
    }

    /// The account that is meant: one's own unless the operator names another.
    pub(super) fn account(&self, named: Option<i64>) -> Result<i64, Refused> {
        match named {
            Some(none) if none < 0 => {
                Err(Refused::bad("invalid_account", "`account` is below 0: accounts count from 0."))
            }
            Some(other) if other != self.0.account && !self.0.operator => Err(Refused::new(
                403,
                "operator_only",
                "Only an operator's key can name another `account` than its own.",
            )),
            named => Ok(named.unwrap_or(self.0.account)),
        }
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refused> {
        match parts.extensions.get::<Self>() {
            Some(caller) => Ok(caller.clone()),
            None => identify(api, parts.uri.path(), &parts.headers, &parts.extensions),
        }
    }
}

/// Who asks; whoever comes with wrong keys again and again is not listened to for a while.
pub(super) fn identify(
    api: &Api,
    path: &str,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Caller, Refused> {
    if api.door == Door::Unix {
        return Ok(Caller(Identity::socket()));
    }
    let face = Face::of(path);
    let source = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    let (now, neighbours) = (Instant::now(), source.map(limits::neighbourhood));
    // Everybody behind a proxy on this machine comes from here: one of them must not shut out the others.
    let blocked = neighbours.filter(|source| !source.is_loopback());
    if let Some(wait) = blocked.and_then(|source| api.limits.sources.empty(source, now)) {
        return Err(too_many_wrong(wait));
    }
    let key = presented(headers, face)?;
    let error = match api.app.store.authenticate(key, source) {
        Ok(identity) => return Ok(Caller(identity)),
        Err(error) => error,
    };
    if let Some(Err(wait)) = neighbours.map(|source| api.limits.sources.take(source, now)) {
        return Err(too_many_wrong(wait));
    }
    let header = header(face);
    Err(match error {
        AuthError::Unknown => {
            Refused::new(401, "invalid_api_key", format!("The key in the header {header} is not known."))
                .hint("Make one with `trunkline keys create`.")
        }
        AuthError::Revoked => {
            Refused::new(401, "revoked_api_key", format!("The key in the header {header} has been revoked."))
                .hint("Make a new one with `trunkline keys create`.")
        }
        AuthError::Expired => {
            Refused::new(401, "expired_api_key", format!("The key in the header {header} has expired."))
                .hint("Make a new one with `trunkline keys create`, or rotate it before it ends.")
        }
        AuthError::Source => {
            Refused::new(403, "source_not_allowed", "This key may not be used from your address.")
                .hint("The key is tied to source ranges; use it from there, or make one without.")
        }
    })
}

fn too_many_wrong(wait: Duration) -> Refused {
    Refused::new(429, "too_many_wrong_keys", "Too many requests with a wrong key came from your address.")
        .hint("Check the key, then wait as long as Retry-After says.")
        .retry_after(guard::seconds(wait))
}

/// How a face wants its key, for a sentence.
fn header(face: Face) -> &'static str {
    match face {
        Face::Calling => "X-API-Key",
        Face::SipServer | Face::V1 => "Authorization",
    }
}

/// The key in the face's own header, else in the other's.
fn presented(headers: &HeaderMap, face: Face) -> Result<&str, Refused> {
    let own = headers.get("x-api-key").map(|value| value.to_str().unwrap_or_default().trim());
    let bearer = headers.get("authorization").map(|value| {
        let value = value.to_str().unwrap_or_default();
        match value.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => "",
        }
    });
    let (first, second) = match face {
        Face::Calling => (own, bearer),
        Face::SipServer | Face::V1 => (bearer, own),
    };
    if let Some(key) = [first, second].into_iter().flatten().find(|key| !key.is_empty()) {
        return Ok(key);
    }
    let sentence = match face {
        Face::Calling => "This request has no key: send it in the header X-API-Key.",
        Face::SipServer | Face::V1 => {
            "This request has no key: send it in the header Authorization, as \"Bearer YOUR_KEY\"."
        }
    };
    Err(Refused::new(401, "missing_api_key", sentence).hint("Make one with `trunkline keys create`."))
}
