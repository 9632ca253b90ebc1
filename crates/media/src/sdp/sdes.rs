//! Keys in the SDP (RFC 4568, suites of RFC 7714).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{Local, Media};
use crate::srtp::{Crypto, Key, Keys, Suite};

/// The tag of our line for a suite; also its place in our preference.
fn tag(suite: Suite) -> u32 {
    (1..).zip(Suite::ALL).find(|(_, known)| *known == suite).map_or(0, |(tag, _)| tag)
}

/// A key of theirs that we can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) tag: u32,
    pub(super) suite: Suite,
    pub(super) key: Key,
}

/// The values of our `a=crypto` lines: one for each suite, each with a key of its own.
pub(super) fn offer(keys: &Keys) -> Vec<String> {
    Suite::ALL.into_iter().map(|suite| written(tag(suite), suite, &keys.of(suite))).collect()
}

/// The value of the `a=crypto` of our answer.
pub(super) fn line(tag: u32, crypto: &Crypto) -> String {
    written(tag, crypto.suite, &crypto.ours)
}

fn written(tag: u32, suite: Suite, key: &Key) -> String {
    format!("{tag} {} inline:{}", suite.name(), STANDARD.encode(key.bytes(suite)))
}

/// What we answer to an offer: their first line that we can use, with the key of ours for it.
pub(super) fn answer(media: &Media, local: &Local) -> Option<(u32, Crypto)> {
    let keys = local.srtp.keys()?;
    let Offered { tag, suite, key } = media.crypto.first()?.clone();
    Some((tag, Crypto { suite, ours: keys.of(suite), theirs: key }))
}

/// What an answer to our offer means: it repeats the tag and the suite of one of our lines (RFC 4568 5.1.3).
pub(super) fn accept(media: &Media, local: &Local) -> Option<(u32, Crypto)> {
    let keys = local.srtp.keys()?;
    let Offered { tag: theirs, suite, key } =
        media.crypto.iter().find(|offered| tag(offered.suite) == offered.tag)?.clone();
    Some((theirs, Crypto { suite, ours: keys.of(suite), theirs: key }))
}

/// Reads `<tag> <suite> inline:<key||salt>[|<lifetime>][|<MKI>:<length>] [<session parameter>…]`.
///
/// `None` for what we cannot use: other suites, an MKI (there would be several keys), keys of another length, and
/// session parameters that change what is protected (RFC 4568 6.3); those with a `-` in front and `WSH` may be read
/// over.
pub(super) fn parse(value: &str) -> Option<Offered> {
    let mut fields = value.split_whitespace();
    let tag = fields.next().filter(|tag| tag.len() <= 9)?.parse().ok()?;
    let suite = fields.next()?;
    let suite = Suite::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(suite))?;
    let key = fields.next()?;
    let (method, key) = key.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") || key.contains(';') {
        return None;
    }
    if !fields.all(|parameter| parameter.starts_with('-') || parameter.starts_with("WSH=")) {
        return None;
    }
    let mut parts = key.split('|');
    let bytes = parts.next()?.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(bytes).ok()?;
    // At most a lifetime may follow: how many packets a key is good for is far beyond any call.
    if let Some(lifetime) = parts.next() {
        let digits = lifetime.strip_prefix("2^").unwrap_or(lifetime);
        let is_lifetime = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_lifetime || parts.next().is_some() {
            return None;
        }
    }
    Some(Offered { tag, suite, key: Key::new(suite, &bytes)? })
}

#[cfg(test)]
mod tests;
