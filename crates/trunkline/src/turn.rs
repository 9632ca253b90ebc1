//! Relays for browsers behind firewalls: a TURN server of the operator's own (coturn), whose credentials expire by themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::secret::Secret;

/// How long credentials can be used, in ms: a day. A relay that was opened in time goes on.
const LIFE_MS: i64 = 24 * 60 * 60 * 1000;

/// What a browser is given for one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:`.
    pub url: String,
    /// User name and password; none for STUN.
    pub credentials: Option<(String, Secret)>,
}

/// Whether a server can be reached by this (RFC 7064, RFC 7065).
pub fn is_url(text: &str) -> bool {
    needs_credentials(text) || text.strip_prefix("stun:").is_some_and(|host| !host.is_empty())
}

/// Whether it relays, for those only who may.
pub fn needs_credentials(url: &str) -> bool {
    ["turn:", "turns:"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|host| !host.is_empty()))
}

/// The servers as `user` may use them, and until when, Unix ms: the user name says until when it holds, and the password
/// proves that by the secret that is shared with the server (`use-auth-secret` of coturn).
pub fn ice_servers(
    urls: &[String],
    secret: Option<&Secret>,
    user: &str,
    now_ms: i64,
) -> (Vec<IceServer>, i64) {
    let until = now_ms + LIFE_MS;
    let credentials = secret.and_then(|secret| {
        let name = format!("{}:{user}", until / 1000);
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).ok()?;
        mac.update(name.as_bytes());
        Some((name, Secret::from(BASE64.encode(mac.finalize().into_bytes()))))
    });
    let server = |url: &String| IceServer {
        url: url.clone(),
        credentials: credentials.clone().filter(|_| needs_credentials(url)),
    };
    (urls.iter().map(server).collect(), until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_a_turn_server_expects() {
        let urls = ["stun:a.test".to_owned(), "turns:a.test:443?transport=tcp".to_owned()];
        let secret = Secret::from("north".to_owned());
        let (servers, until) = ice_servers(&urls, Some(&secret), "alice", 1_700_000_000_000);
        assert_eq!(until, 1_700_086_400_000);
        assert_eq!(servers[0], IceServer { url: urls[0].clone(), credentials: None });
        let (name, password) = servers[1].credentials.clone().unwrap();
        // echo -n 1700086400:alice | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!((name.as_str(), password.expose()), ("1700086400:alice", "SXua5ne/+mDhiHTp0pQJzRO4ESg="));
    }

    #[test]
    fn urls_of_other_things_are_not_taken() {
        for (url, is) in
            [("stun:a", true), ("turn:a:3478", true), ("turns:", false), ("https://a", false), ("a", false)]
        {
            assert_eq!(is_url(url), is, "{url}");
        }
    }
}
