//! The transforms of RFC 3711 section 4 and RFC 7714, and the keys they derive.

use aes::{Aes128, Aes256};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm, Tag};
use ctr::cipher::consts::U16;
use ctr::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use zeroize::Zeroize;

use super::{KEY, Key, SALT, Suite};

/// Which of the two protocols a packet is of: they have keys of their own (RFC 3711 4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// The session keys of one direction and protocol.
pub(super) enum Cipher {
    Cm { aes: Box<Aes128>, salt: [u8; SALT], mac: Box<Hmac<Sha1>>, tag: usize },
    Gcm { aead: Aead, salt: [u8; SALT] },
}

/// AES-GCM with a key of either length.
pub(super) enum Aead {
    Short(Box<Aes128Gcm>),
    Long(Box<Aes256Gcm>),
}

impl Aead {
    /// Encrypts in place; the tag.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Option<Tag> {
        match self {
            Aead::Short(aead) => aead.encrypt_inout_detached(&nonce.into(), aad, body.into()),
            Aead::Long(aead) => aead.encrypt_inout_detached(&nonce.into(), aad, body.into()),
        }
        .ok()
    }

    /// Decrypts in place what is authentic.
    fn open(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8], tag: &[u8]) -> Option<()> {
        let tag = Tag::try_from(tag).ok()?;
        match self {
            Aead::Short(aead) => aead.decrypt_inout_detached(&nonce.into(), aad, body.into(), &tag),
            Aead::Long(aead) => aead.decrypt_inout_detached(&nonce.into(), aad, body.into(), &tag),
        }
        .ok()
    }
}

impl Cipher {
    /// Derives the session keys of a master key (RFC 3711 4.3.1, derivation rate 0).
    pub(super) fn new(suite: Suite, master: &Key, kind: Kind) -> Cipher {
        let (mut key, master_salt) = master.halves(suite);
        let master = Master::new(suite, &key);
        let base = if kind == Kind::Rtp { 0 } else { 3 };
        let (mut auth, mut salt) = ([0; 20], [0; SALT]);
        master.derive(&master_salt, base, &mut key);
        master.derive(&master_salt, base + 1, &mut auth);
        master.derive(&master_salt, base + 2, salt.get_mut(..suite.salt()).unwrap_or_default());
        let cipher = match suite {
            Suite::AeadAes128Gcm => {
                Cipher::Gcm { aead: Aead::Short(Box::new(Aes128Gcm::new(&short(&key).into()))), salt }
            }
            Suite::AeadAes256Gcm => {
                Cipher::Gcm { aead: Aead::Long(Box::new(Aes256Gcm::new(&key.into()))), salt }
            }
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                let tag = if kind == Kind::Rtp { suite.rtp_tag() } else { suite.rtcp_tag() };
                let mac = Box::new(<Hmac<Sha1> as KeyInit>::new(&hmac_key(&auth)));
                Cipher::Cm { aes: Box::new(Aes128::new(&short(&key).into())), salt, mac, tag }
            }
        };
        key.zeroize();
        auth.zeroize();
        cipher
    }

    /// AES-GCM with session keys as they are: RFC 7714 gives no master keys with its packets.
    #[cfg(test)]
    pub(super) fn of_session_keys(key: &[u8; 16], session_salt: &[u8; 12]) -> Cipher {
        let mut salt = [0; SALT];
        fill(&mut salt, session_salt);
        Cipher::Gcm { aead: Aead::Short(Box::new(Aes128Gcm::new(&(*key).into()))), salt }
    }

    /// Bytes a packet grows by, SRTCP's index not counted.
    pub(super) fn tag(&self) -> usize {
        match self {
            Cipher::Cm { tag, .. } => *tag,
            Cipher::Gcm { .. } => 16,
        }
    }

    /// En- or decrypts by counter mode.
    fn run(aes: &Aes128, salt: &[u8; SALT], ssrc: u32, index: u64, body: &mut [u8]) {
        // (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16), RFC 3711 4.1.1.
        let mut iv = [0; 16];
        iv.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
        mix(&mut iv, 4, &ssrc.to_be_bytes());
        mix(&mut iv, 8, index.to_be_bytes().get(2..).unwrap_or_default());
        counter(aes, iv).apply_keystream(body);
    }

    /// The nonce of RFC 7714 8.1 and 9.1.
    fn nonce(salt: &[u8; SALT], ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
        mix(&mut nonce, 2, &ssrc.to_be_bytes());
        mix(&mut nonce, 6, index.to_be_bytes().get(2..).unwrap_or_default());
        nonce
    }

    /// Protects an RTP packet in place, its header being `header` bytes long and `len` bytes with what it carries;
    /// the new length, or `None` if the buffer is too short. `index` is ROC and sequence number.
    pub(super) fn seal_rtp(
        &self,
        out: &mut [u8],
        header: usize,
        len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let end = len + self.tag();
        let (packet, tag) = out.get_mut(..end)?.split_at_mut_checked(len)?;
        let (header, body) = packet.split_at_mut_checked(header)?;
        match self {
            Cipher::Cm { aes, salt, mac, .. } => {
                Self::run(aes, salt, ssrc, index, body);
                let roc = ((index >> 16) as u32).to_be_bytes();
                let whole = (**mac).clone().chain_update(&*header).chain_update(&*body).chain_update(roc);
                fill(tag, &whole.finalize().into_bytes());
            }
            Cipher::Gcm { aead, salt } => {
                let nonce = Self::nonce(salt, ssrc, index);
                fill(tag, &aead.seal(nonce, header, body)?);
            }
        }
        Some(end)
    }

    /// Checks and decrypts an RTP packet in place; its length without the tag, or `None` if it is not authentic.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        let len = packet.len().checked_sub(self.tag())?;
        let (packet, tag) = packet.split_at_mut_checked(len)?;
        let (header, body) = packet.split_at_mut_checked(header)?;
        match self {
            Cipher::Cm { aes, salt, mac, .. } => {
                let roc = ((index >> 16) as u32).to_be_bytes();
                let whole = (**mac).clone().chain_update(&*header).chain_update(&*body).chain_update(roc);
                whole.verify_truncated_left(tag).ok()?;
                Self::run(aes, salt, ssrc, index, body);
            }
            Cipher::Gcm { aead, salt } => {
                let nonce = Self::nonce(salt, ssrc, index);
                aead.open(nonce, header, body, tag)?;
            }
        }
        Some(len)
    }

    /// Protects an RTCP packet of `len` bytes in place, encrypted, with its index (RFC 3711 3.4, RFC 7714 9.2).
    pub(super) fn seal_rtcp(&self, out: &mut [u8], len: usize, index: u32) -> Option<usize> {
        let end = len + self.tag() + 4;
        let word = (index | ENCRYPTED).to_be_bytes();
        let (packet, tail) = out.get_mut(..end)?.split_at_mut_checked(len)?;
        let (header, body) = packet.split_at_mut_checked(RTCP_HEADER)?;
        let ssrc = ssrc_of(header)?;
        match self {
            Cipher::Cm { aes, salt, mac, .. } => {
                Self::run(aes, salt, ssrc, u64::from(index), body);
                let whole = (**mac).clone().chain_update(&*header).chain_update(&*body).chain_update(word);
                let (place, tag) = tail.split_at_mut_checked(4)?;
                fill(place, &word);
                fill(tag, &whole.finalize().into_bytes());
            }
            Cipher::Gcm { aead, salt } => {
                let nonce = Self::nonce(salt, ssrc, u64::from(index));
                let aad = associated(header, word)?;
                let (tag, place) = tail.split_at_mut_checked(16)?;
                fill(tag, &aead.seal(nonce, &aad, body)?);
                fill(place, &word);
            }
        }
        Some(end)
    }

    /// The index a protected RTCP packet claims.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let behind = if matches!(self, Cipher::Cm { .. }) { self.tag() } else { 0 };
        let word = packet.len().checked_sub(behind + 4)?;
        Some(u32::from_be_bytes(*packet.get(word..)?.first_chunk()?) & !ENCRYPTED)
    }

    /// Checks and decrypts an RTCP packet in place; its plain length, or `None` if it is not authentic. One that is
    /// authentic but not encrypted is refused: we agreed on encryption.
    pub(super) fn open_rtcp(&self, packet: &mut [u8]) -> Option<usize> {
        let index = self.rtcp_index(packet)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        let len = packet.len().checked_sub(self.tag() + 4)?;
        let (packet, tail) = packet.split_at_mut_checked(len)?;
        let (header, body) = packet.split_at_mut_checked(RTCP_HEADER)?;
        let ssrc = ssrc_of(header)?;
        match self {
            Cipher::Cm { aes, salt, mac, .. } => {
                let (place, tag) = tail.split_at_mut_checked(4)?;
                let whole = (**mac).clone().chain_update(&*header).chain_update(&*body).chain_update(word);
                whole.verify_truncated_left(tag).ok().filter(|()| *place == word)?;
                Self::run(aes, salt, ssrc, u64::from(index), body);
            }
            Cipher::Gcm { aead, salt } => {
                let (tag, place) = tail.split_at_mut_checked(16)?;
                let nonce = Self::nonce(salt, ssrc, u64::from(index));
                aead.open(nonce, &associated(header, word)?, body, tag).filter(|()| *place == word)?;
            }
        }
        Some(len)
    }
}

/// Bytes of an RTCP packet that stay readable: its header and its SSRC.
const RTCP_HEADER: usize = 8;

/// The bit before SRTCP's index that says the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

fn ssrc_of(header: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*header.last_chunk()?))
}

/// What of an RTCP packet is authenticated beside its body (RFC 7714 9.2).
fn associated(header: &[u8], word: [u8; 4]) -> Option<[u8; RTCP_HEADER + 4]> {
    let mut aad = [0; RTCP_HEADER + 4];
    let (front, back) = aad.split_at_mut_checked(RTCP_HEADER)?;
    fill(front, header);
    fill(back, &word);
    Some(aad)
}

/// The cipher that derives session keys (RFC 3711 4.3.3; with a key of 256 bits RFC 6188).
enum Master {
    Short(Aes128),
    Long(Aes256),
}

impl Master {
    fn new(suite: Suite, key: &[u8; KEY]) -> Master {
        match suite.master() {
            KEY => Master::Long(Aes256::new(&(*key).into())),
            _ => Master::Short(Aes128::new(&short(key).into())),
        }
    }

    fn derive(&self, salt: &[u8; SALT], label: u8, out: &mut [u8]) {
        let mut iv = [0; 16];
        iv.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
        mix(&mut iv, 7, &[label]);
        out.fill(0);
        match self {
            Master::Short(aes) => counter(aes, iv).apply_keystream(out),
            Master::Long(aes) => counter(aes, iv).apply_keystream(out),
        }
    }
}

/// The first half of a key's place: a key of 128 bits.
fn short(key: &[u8; KEY]) -> [u8; 16] {
    let mut short = [0; 16];
    fill(&mut short, key);
    short
}

fn counter<C>(aes: &C, iv: [u8; 16]) -> Counter<'_, C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    Counter::from_core(ctr::CtrCore::inner_iv_init(aes, &iv.into()))
}

/// Counter mode with a key that is expanded once and borrowed for each packet.
type Counter<'a, C> = StreamCipherCoreWrapper<ctr::CtrCore<&'a C, ctr::flavors::Ctr128BE>>;

fn hmac_key(auth: &[u8; 20]) -> hmac::digest::Key<Hmac<Sha1>> {
    // HMAC fills a short key up with zeros (RFC 2104).
    let mut key = hmac::digest::Key::<Hmac<Sha1>>::default();
    fill(&mut key, auth);
    key
}

/// XORs `bytes` into `to` from `at` on.
fn mix(to: &mut [u8], at: usize, bytes: &[u8]) {
    to.iter_mut().skip(at).zip(bytes).for_each(|(to, byte)| *to ^= byte);
}

fn fill(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
