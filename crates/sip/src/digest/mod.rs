//! HTTP digest authentication as SIP uses it (RFC 3261 section 22, RFC 7616, RFC 8760).

use std::fmt;

use md5::{Digest as _, Md5};
use sha2::Sha256;

mod challenge;
mod client;
mod server;

pub use challenge::Challenge;
pub use client::Client;
pub use server::{Server, Verdict};

/// The hash of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Algorithm {
    /// What every SIP peer speaks.
    #[default]
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    /// The token in a challenge.
    pub fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The algorithm called `token`, in any case; `-sess` variants are not spoken.
    fn of(token: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|a| a.token().eq_ignore_ascii_case(token))
    }

    /// The hash of `parts` joined by colons, in lower-case hex.
    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(parts.join(&b':'))),
            Self::Sha256 => hex(&Sha256::digest(parts.join(&b':'))),
        }
    }

    /// H(username:realm:password), which may be stored instead of the password.
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> String {
        self.hash(&[username.as_bytes(), realm.as_bytes(), password.as_bytes()])
    }
}

/// Who we are to a peer that challenges us.
#[derive(Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password; never printed.
    pub password: String,
    /// When set, challenges for any other realm are not answered.
    pub realm: Option<String>,
    /// The algorithm to answer with where it is offered; MD5 where it is not.
    pub algorithm: Algorithm,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &format_args!("***"))
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .finish()
    }
}

/// What the hash covers besides HA1.
struct Request<'a> {
    method: &'a str,
    uri: &'a str,
    nonce: &'a str,
    qop: Option<Qop<'a>>,
    body: &'a [u8],
}

/// The quality of protection of one answer.
#[derive(Clone, Copy)]
struct Qop<'a> {
    /// `auth` or `auth-int`.
    token: &'a str,
    nc: &'a str,
    cnonce: &'a str,
}

impl Request<'_> {
    /// The response of RFC 7616 section 3.4.1; without qop, that of RFC 2069.
    fn response(&self, algorithm: Algorithm, ha1: &str) -> String {
        let (method, uri) = (self.method.as_bytes(), self.uri.as_bytes());
        let ha2 = match self.qop {
            Some(qop) if qop.token == "auth-int" => {
                algorithm.hash(&[method, uri, algorithm.hash(&[self.body]).as_bytes()])
            }
            _ => algorithm.hash(&[method, uri]),
        };
        let (ha1, nonce, ha2) = (ha1.as_bytes(), self.nonce.as_bytes(), ha2.as_bytes());
        match self.qop {
            Some(Qop { token, nc, cnonce }) => {
                algorithm.hash(&[ha1, nonce, nc.as_bytes(), cnonce.as_bytes(), token.as_bytes(), ha2])
            }
            None => algorithm.hash(&[ha1, nonce, ha2]),
        }
    }
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mufasa(qop: Option<Qop<'static>>, uri: &'static str, nonce: &'static str) -> Request<'static> {
        Request { method: "GET", uri, nonce, qop, body: b"" }
    }

    #[test]
    fn rfc2617_section_3_5() {
        let ha1 = Algorithm::Md5.ha1("Mufasa", "testrealm@host.com", "Circle Of Life");
        let qop = Qop { token: "auth", nc: "00000001", cnonce: "0a4f113b" };
        let request = mufasa(Some(qop), "/dir/index.html", "dcd98b7102dd2f0e8b11d0f600bfb0c093");
        assert_eq!(request.response(Algorithm::Md5, &ha1), "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn rfc7616_section_3_9_1() {
        let qop =
            Qop { token: "auth", nc: "00000001", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ" };
        let request = mufasa(Some(qop), "/dir/index.html", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v");
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = algorithm.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
            assert_eq!(request.response(algorithm, &ha1), response);
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let credentials = Credentials {
            username: "alice".into(),
            password: "s3cret".into(),
            realm: None,
            algorithm: Algorithm::Md5,
        };
        let printed = format!("{credentials:?}");
        assert!(printed.contains("alice") && printed.contains("***") && !printed.contains("s3cret"));
    }
}
