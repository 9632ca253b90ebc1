//! SRTP and SRTCP (RFC 3711, RFC 7714) with keys that came over signalling (RFC 4568) or from DTLS (RFC 5764).
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

/// The bytes of the longest master key, and of the longest master salt.
const KEY: usize = 32;
const SALT: usize = 14;

/// The bytes of the longest key and salt of [`Suite::ALL`].
const KEYED: usize = 16 + 14;

/// How packets are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Suite {
    /// AES in Galois/counter mode, a tag of 16 bytes (RFC 7714).
    AeadAes128Gcm,
    /// AES in counter mode, HMAC-SHA1 cut to 80 bits (RFC 4568 6.2.1).
    AesCm128HmacSha1_80,
    /// The same with 32 bits for RTP and 80 for RTCP (RFC 4568 6.2.2).
    AesCm128HmacSha1_32,
    /// AES-GCM with a key of 256 bits (RFC 7714): what browsers like best.
    AeadAes256Gcm,
}

impl Suite {
    /// Those whose keys we put into SDP, by preference.
    pub const ALL: [Suite; 3] =
        [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

    /// The name in `a=crypto`.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of the master key.
    pub(crate) const fn master(self) -> usize {
        match self {
            Suite::AeadAes256Gcm => 32,
            Suite::AeadAes128Gcm | Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Bytes of the master salt.
    pub(crate) const fn salt(self) -> usize {
        match self {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 12,
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 14,
        }
    }

    /// Bytes of master key and master salt together.
    const fn key_len(self) -> usize {
        self.master() + self.salt()
    }

    /// Bytes of the tag of an RTP packet.
    const fn rtp_tag(self) -> usize {
        match self {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 16,
            Suite::AesCm128HmacSha1_80 => 10,
            Suite::AesCm128HmacSha1_32 => 4,
        }
    }

    /// Bytes of the tag of an RTCP packet.
    const fn rtcp_tag(self) -> usize {
        match self {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 16,
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

    /// As DTLS yields them: the key, and the salt, each as long as the suite wants.
    pub(crate) fn of_halves(suite: Suite, key: &[u8], salt: &[u8]) -> Option<Key> {
        let mut whole = Key([0; KEY + SALT]);
        whole.0.iter_mut().zip(key.iter().chain(salt)).for_each(|(to, from)| *to = *from);
        (key.len() == suite.master() && salt.len() == suite.salt()).then_some(whole)
    }

    /// As they stand in `a=crypto`.
    pub(crate) fn bytes(&self, suite: Suite) -> &[u8] {
        self.0.get(..suite.key_len()).unwrap_or_default()
    }

    /// The key, and the salt, each filled up with zeros (of the salt RFC 7714 section 11 has it so).
    fn halves(&self, suite: Suite) -> ([u8; KEY], [u8; SALT]) {
        let (mut key, mut salt) = ([0; KEY], [0; SALT]);
        let (first, rest) = self.bytes(suite).split_at_checked(suite.master()).unwrap_or_default();
        key.iter_mut().zip(first).for_each(|(to, from)| *to = *from);
        salt.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
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
    pub const RANDOM: usize = KEYED * Suite::ALL.len();

    /// Keys of bytes that must be random and used for no other call.
    pub fn new(random: [u8; Self::RANDOM]) -> Keys {
        let mut keys = [(); Suite::ALL.len()].map(|()| Key([0; KEY + SALT]));
        let places = keys.iter_mut().flat_map(|key| key.0.iter_mut().take(KEYED));
        places.zip(random).for_each(|(to, from)| *to = from);
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
