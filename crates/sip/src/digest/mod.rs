//! HTTP digest authentication as SIP uses it (RFC 3261 section 22, RFC 7616, RFC 8760).

use std::fmt;

use md5::Md5;
use sha2::{Sha256, Sha512_256};

mod answer;
mod challenge;
mod client;
mod server;

pub use challenge::Challenge;
pub use client::Client;
pub use server::{Known, Server, Verdict};

/// The hash of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Algorithm {
    /// What every SIP peer speaks.
    #[default]
    Md5,
    /// RFC 8760.
    Sha256,
    /// RFC 8760.
    Sha512_256,
    /// MD5 whose HA1 also covers the nonce and the client's first cnonce for it.
    Md5Sess,
    /// SHA-256 in the same way.
    Sha256Sess,
    /// SHA-512/256 in the same way.
    Sha512_256Sess,
}

impl Algorithm {
    /// The token in a challenge.
    pub fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256Sess => "SHA-256-sess",
            Self::Sha512_256Sess => "SHA-512-256-sess",
        }
    }

    /// The algorithm called `token`, in any case.
    fn of(token: &str) -> Option<Self> {
        use Algorithm::{Md5, Md5Sess, Sha256, Sha256Sess, Sha512_256, Sha512_256Sess};
        let all = [Md5, Sha256, Sha512_256, Md5Sess, Sha256Sess, Sha512_256Sess];
        all.into_iter().find(|a| a.token().eq_ignore_ascii_case(token))
    }

    /// The same hash without `-sess`.
    fn base(self) -> Self {
        match self {
            Self::Md5 | Self::Md5Sess => Self::Md5,
            Self::Sha256 | Self::Sha256Sess => Self::Sha256,
            Self::Sha512_256 | Self::Sha512_256Sess => Self::Sha512_256,
        }
    }

    fn is_session(self) -> bool {
        self != self.base()
    }

    /// The hash of `parts` joined by colons.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self.base() {
            Self::Sha256 => joined::<Sha256>(parts),
            Self::Sha512_256 => joined::<Sha512_256>(parts),
            _ => joined::<Md5>(parts),
        }
    }

    /// H(username:realm:password), which may be stored instead of the password; `-sess` makes no difference to it.
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> String {
        self.hash(&[username.as_bytes(), realm.as_bytes(), password.as_bytes()]).to_string()
    }
}

/// Who we are to a peer that challenges us.
#[derive(Clone, PartialEq, Eq)]
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
    /// Empty where neither qop nor `-sess` asks for one.
    cnonce: &'a str,
    body: &'a [u8],
}

/// The quality of protection of one answer.
#[derive(Clone, Copy)]
struct Qop<'a> {
    /// `auth` or `auth-int`.
    token: &'a str,
    nc: &'a str,
}

impl Request<'_> {
    /// The response of RFC 7616 section 3.4.1; without qop, that of RFC 2069.
    fn response(&self, algorithm: Algorithm, ha1: &[u8]) -> Hex {
        let (method, uri) = (self.method.as_bytes(), self.uri.as_bytes());
        let ha2 = match self.qop {
            Some(qop) if qop.token == "auth-int" => {
                algorithm.hash(&[method, uri, &algorithm.hash(&[self.body])])
            }
            _ => algorithm.hash(&[method, uri]),
        };
        let (nonce, cnonce) = (self.nonce.as_bytes(), self.cnonce.as_bytes());
        let ha1 = match algorithm.is_session() {
            true => &algorithm.hash(&[ha1, nonce, cnonce]),
            false => ha1,
        };
        match self.qop {
            Some(Qop { token, nc }) => {
                algorithm.hash(&[ha1, nonce, nc.as_bytes(), cnonce, token.as_bytes(), &ha2])
            }
            None => algorithm.hash(&[ha1, nonce, &ha2]),
        }
    }
}

/// The hash of `parts` joined by colons.
fn joined<D: md5::Digest>(parts: &[&[u8]]) -> Hex {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    Hex::of(&hash.finalize())
}

/// Up to 32 bytes in lower-case hex.
#[derive(Clone, Copy)]
struct Hex {
    text: [u8; 64],
    len: usize,
}

impl Hex {
    fn of(bytes: &[u8]) -> Self {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + (value - 10) };
        let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        let mut hex = Self { text: [0; 64], len: 0 };
        hex.text.iter_mut().zip(digits).for_each(|(to, digit)| *to = digit);
        hex.len = (bytes.len() * 2).min(64);
        hex
    }
}

impl std::ops::Deref for Hex {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Qop<'static> = Qop { token: "auth", nc: "00000001" };

    #[test]
    fn rfc2617_section_3_5() {
        let ha1 = Algorithm::Md5.ha1("Mufasa", "testrealm@host.com", "Circle Of Life");
        let request = Request {
            method: "GET",
            uri: "/dir/index.html",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            qop: Some(ONCE),
            cnonce: "0a4f113b",
            body: b"",
        };
        assert_eq!(
            request.response(Algorithm::Md5, ha1.as_bytes()).to_string(),
            "6629fae49393a05397450978507c4ef1"
        );
        // The other forms, as computed with Python's hashlib.
        for (qop, algorithm, response) in [
            (None, Algorithm::Md5, "670fd8c2df070c60b045671b8b24ff02"),
            (Some(ONCE), Algorithm::Md5Sess, "8e3825c57e897f5a0dec6c2d4e5059d0"),
            (Some(Qop { token: "auth-int", ..ONCE }), Algorithm::Md5, "5e6610ecf9ba3017a4870ad48e3ad30b"),
        ] {
            let request = Request { qop, ..request };
            assert_eq!(request.response(algorithm, ha1.as_bytes()).to_string(), response, "{algorithm:?}");
        }
    }

    #[test]
    fn rfc7616_section_3_9_1() {
        let request = Request {
            method: "GET",
            uri: "/dir/index.html",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            qop: Some(ONCE),
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            body: b"",
        };
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = algorithm.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
            assert_eq!(request.response(algorithm, ha1.as_bytes()).to_string(), response);
        }
    }

    /// The names of RFC 7616 section 3.9.2, whose own response is wrong (erratum 4897); as Python's hashlib has it.
    #[test]
    fn sha_512_256() {
        let ha1 = Algorithm::Sha512_256.ha1("J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?");
        let request = Request {
            method: "GET",
            uri: "/doe.json",
            nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            qop: Some(ONCE),
            cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm",
            body: b"",
        };
        assert_eq!(
            request.response(Algorithm::Sha512_256, ha1.as_bytes()).to_string(),
            "7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c"
        );
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
