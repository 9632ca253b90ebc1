//! Who is asking, and whether they may.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::reply::Face;
use super::{Api, Door};
use crate::refused::Refused;
use crate::store::{AuthError, Identity};

/// An authenticated request's identity.
pub(super) struct Caller(pub(super) Identity);

impl Caller {
    /// Refuses (403) unless the key has `scope`; a key without scopes may do everything.
    pub(super) fn may(&self, scope: &str) -> Result<(), Refused> {
        if self.0.may(scope) {
            return Ok(());
        }
        Err(Refused::new(403, "missing_scope", format!("This key lacks the scope \"{scope}\"."))
            .hint(format!("It has: {}.", self.0.scopes.join(", "))))
    }

    /// The account that is meant: one's own unless the operator names another.
    pub(super) fn account(&self, named: Option<i64>) -> Result<i64, Refused> {
        match named {
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
        if api.door == Door::Unix {
            return Ok(Self(Identity::socket()));
        }
        let face = Face::of(parts.uri.path());
        let key = presented(&parts.headers, face)?;
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        api.app.store.authenticate(key, source).map(Self).map_err(|error| match error {
            AuthError::Unknown => Refused::new(
                401,
                "invalid_api_key",
                format!("The key in the header {} is not known.", header(face)),
            )
            .hint("Make one with `trunkline keys create`."),
            AuthError::Revoked => Refused::new(
                401,
                "revoked_api_key",
                format!("The key in the header {} has been revoked.", header(face)),
            )
            .hint("Make a new one with `trunkline keys create`."),
            AuthError::Source => {
                Refused::new(403, "source_not_allowed", "This key may not be used from your address.")
                    .hint("The key is tied to source ranges; use it from there, or make one without.")
            }
        })
    }
}

/// How a face wants its key, for a sentence.
fn header(face: Face) -> &'static str {
    match face {
        Face::Calling => "X-API-Key",
        Face::V1 => "Authorization",
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
        Face::V1 => (bearer, own),
    };
    if let Some(key) = [first, second].into_iter().flatten().find(|key| !key.is_empty()) {
        return Ok(key);
    }
    let sentence = match face {
        Face::Calling => "This request has no key: send it in the header X-API-Key.",
        Face::V1 => "This request has no key: send it in the header Authorization, as \"Bearer YOUR_KEY\".",
    };
    Err(Refused::new(401, "missing_api_key", sentence).hint("Make one with `trunkline keys create`."))
}
