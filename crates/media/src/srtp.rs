//! SRTP and SRTCP (RFC 3711, RFC 7714) with keys that came over signalling (RFC 4568).
//!
//! The transforms stand on RustCrypto's primitives and work in place: no allocation per packet.

mod cipher;
mod stream;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub(crate) use self::stream::Srtp;

/// The most a protected packet is longer than a plain one: a tag of 16 bytes, and SRTCP's index.
pub(crate) const OVERHEAD: usize = 16 + 4;

/// The bytes of a master key, and of the longest master salt.
const KEY: usize = 16;
const SALT: usize = 14;

/// How packets are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Suite {
    /// AES in Galois/counter mode, a tag of 16 bytes (RFC 7714).
    AeadAes128Gcm,
    /// AES in counter mode, HMAC-SHA1 cut to 80 bits (RFC 4568 6.2.1).
    AesCm128HmacSha1_80,
    /// The same with 32 bits for RTP and 80 for RTCP (RFC 4568 6.2.2).
    AesCm128HmacSha1_32,
}

impl Suite {
    /// All we know, by preference.
    pub const ALL: [Suite; 3] =
        [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

    /// The name in `a=crypto`.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes of master key and master salt together.
    const fn key_len(self) -> usize {
        match self {
            Suite::AeadAes128Gcm => KEY + 12,
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => KEY + SALT,
        }
    }

    /// Bytes of the tag of an RTP packet.
    const fn rtp_tag(self) -> usize {
        match self {
            Suite::AeadAes128Gcm => 16,
            Suite::AesCm128HmacSha1_80 => 10,
            Suite::AesCm128HmacSha1_32 => 4,
        }
    }

    /// Bytes of the tag of an RTCP packet.
    const fn rtcp_tag(self) -> usize {
        match self {
            Suite::AeadAes128Gcm => 16,
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 10,
        }
    }
}

/// A master key and its salt. It is never printed, and wiped when dropped.
#[derive(Clone)]
pub struct Key([u8; KEY + SALT]);

impl Key {
    /// The key and salt of a suite, one behind the other; `None` if they are not as long as it wants.
    pub fn new(suite: Suite, bytes: &[u8]) -> Option<Key> {
        let mut key = Key([0; KEY + SALT]);
        key.0.get_mut(..bytes.len()).filter(|_| bytes.len() == suite.key_len())?.copy_from_slice(bytes);
        Some(key)
    }

    /// As they stand in `a=crypto`.
    pub(crate) fn bytes(&self, suite: Suite) -> &[u8] {
        self.0.get(..suite.key_len()).unwrap_or_default()
    }

    /// The key, and the salt, filled up with zeros as RFC 7714 section 11 has it.
    fn halves(&self) -> ([u8; KEY], [u8; SALT]) {
        let (mut key, mut salt) = ([0; KEY], [0; SALT]);
        key.iter_mut().chain(&mut salt).zip(&self.0).for_each(|(to, from)| *to = *from);
        (key, salt)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Our master keys for one call, one for each suite. They are never printed, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys([Key; Suite::ALL.len()]);

impl Keys {
    /// Bytes of randomness they are made of.
    pub const RANDOM: usize = (KEY + SALT) * Suite::ALL.len();

    /// Keys of bytes that must be random and used for no other call.
    pub fn new(random: [u8; Self::RANDOM]) -> Keys {
        let mut keys = [(); Suite::ALL.len()].map(|()| Key([0; KEY + SALT]));
        keys.iter_mut().flat_map(|key| &mut key.0).zip(random).for_each(|(to, from)| *to = from);
        // What a suite does not use stays 0, so that a key equals itself once it has been written and read.
        for (key, suite) in keys.iter_mut().zip(Suite::ALL) {
            key.0.iter_mut().skip(suite.key_len()).for_each(|byte| *byte = 0);
        }
        Keys(keys)
    }

    /// The key we send with under this suite.
    pub(crate) fn of(&self, suite: Suite) -> Key {
        let found = Suite::ALL.into_iter().zip(&self.0).find(|(known, _)| *known == suite);
        // `ALL` lists every suite.
        found.map_or(Key([0; KEY + SALT]), |(_, key)| key.clone())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The keys of a stream in both directions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crypto {
    /// How packets are protected.
    pub suite: Suite,
    /// What we send with.
    pub ours: Key,
    /// What they send with.
    pub theirs: Key,
}

#[cfg(test)]
mod tests;
