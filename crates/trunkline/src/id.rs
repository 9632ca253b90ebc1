//! Identifiers: 12 bytes, shown as every face wants to see them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// One identifier per thing: 4 bytes of Unix seconds, then 8 random bytes, so that ids sort by age.
///
/// Shown as 24 hex digits on documents 0 and 4, as `session_<seconds>_<random>` on document 2, and as `call_…`,
/// `trunk_…`, `key_…` on `/v1`; any form is accepted everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 12]);

impl Id {
    /// The id of nothing that is kept.
    pub const NIL: Self = Self([0; 12]);
    /// No id sorts behind it.
    pub const LAST: Self = Self([0xff; 12]);

    /// A new id. Fails only when the operating system has no randomness to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as u32);
        let mut bytes = [0; 12];
        let (time, random) = bytes.split_at_mut(4);
        time.copy_from_slice(&seconds.to_be_bytes());
        getrandom::fill(random)?;
        Ok(Self(bytes))
    }

    /// As it is stored in a cursor.
    pub fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// What [`Id::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// Reads 24 hex digits, with or without a lower-case `prefix_` before them, or what [`Id::session`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((seconds, random)) = text.strip_prefix("session_").and_then(|id| id.split_once('_')) {
            return Self::of_session(seconds, random);
        }
        let digits = match text.rsplit_once('_') {
            Some((prefix, digits)) if prefix.bytes().all(|b| b.is_ascii_lowercase()) => digits,
            Some(_) => return None,
            None => text,
        };
        let mut bytes = [0; 12];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn of_session(seconds: &str, random: &str) -> Option<Self> {
        let is_number = seconds.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: u32 = seconds.parse().ok().filter(|_| is_number)?;
        let mut bytes = [0; 12];
        let (time, rest) = bytes.split_at_mut(4);
        time.copy_from_slice(&seconds.to_be_bytes());
        hex::decode_to_slice(random, rest).ok()?;
        Some(Self(bytes))
    }

    /// As document 2 shows it: `session_`, the Unix seconds, `_`, and 16 hex digits.
    pub fn session(&self) -> String {
        let [a, b, c, d, random @ ..] = self.0;
        format!("session_{}_{}", u32::from_be_bytes([a, b, c, d]), hex::encode(random))
    }

    /// `prefix_` and the 24 hex digits.
    pub fn with(&self, prefix: &str) -> String {
        format!("{prefix}_{self}")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("this is no id"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_nothing_else() {
        let id = Id::new().unwrap();
        for text in
            [id.to_string(), id.with("call"), id.with("session"), id.session(), id.to_string().to_uppercase()]
        {
            assert_eq!(Id::parse(&text), Some(id), "{text}");
        }
        for text in [
            "",
            "call_",
            "507f1f77bcf86cd79943901",
            "call_507f1f77bcf86cd79943901g",
            "../507f1f77bcf86cd799439011",
            "session_1234567890",
            "session_1234567890_abc123",
            "session_+1_79cf86cd79943901",
            "session_4294967296_79cf86cd79943901",
            "call_1234567890_79cf86cd79943901",
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }
}
