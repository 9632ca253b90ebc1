//! A browser's leg (RFC 8834, RFC 8827): ICE lite, DTLS-SRTP, everything over one port.
//!
//! [`offer`], [`answer`], [`accept`] and [`reoffer`] stand where those of [`crate::sdp`] stand for a phone. A
//! [`Transport`] answers the browser's connectivity checks, shakes hands by DTLS and yields the keys
//! ([`Output::Keys`]) for [`crate::Session::secure`]; from then on a [`crate::Session`] reads and writes the datagrams
//! itself, as it does with keys out of the SDP.

mod dtls;
mod stun;
mod transport;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub use self::dtls::{HandshakeError, Identity};
pub use self::stun::username;
pub use self::transport::{Output, Transport};
pub use crate::sdp::web::{Agreed, Local, Role, accept, answer, is_web, offer, reoffer};

/// The user name and password of one side's ICE (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
}

impl Credentials {
    /// Bytes of randomness they are made of.
    pub const RANDOM: usize = 24;

    /// Credentials of bytes that must be random and used for nothing else.
    pub fn new(random: [u8; Self::RANDOM]) -> Credentials {
        // The alphabet of base64 is that of ice-char; 6 bytes make 8 characters without padding.
        let (ufrag, pwd) = random.split_at_checked(6).unwrap_or_default();
        Credentials { ufrag: STANDARD.encode(ufrag), pwd: STANDARD.encode(pwd) }
    }

    /// What stands before the colon in the user name of their checks.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.ufrag).finish()
    }
}

/// The SHA-256 of a certificate (RFC 8122 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate (DER).
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }

    /// Reads the value of `a=fingerprint`; `None` if it is not SHA-256.
    pub(crate) fn parse(value: &str) -> Option<Fingerprint> {
        let (hash, digits) = value.trim().split_once(' ')?;
        let mut bytes = [0; 32];
        let mut pairs = digits.trim().split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2)?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        (hash.eq_ignore_ascii_case("sha-256") && pairs.next().is_none()).then_some(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha-256 ")?;
        for (n, byte) in self.0.iter().enumerate() {
            let colon = if n == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}
