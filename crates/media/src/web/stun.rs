//! The checks of ICE as one who is lite sees them (RFC 8445 section 7.3, RFC 8489): requests that are answered.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::Credentials;

const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;

/// The magic cookie behind type and length.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const HEADER: usize = 20;

const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const CONTROLLED: u16 = 0x8029;

/// Bytes of an attribute's type and length.
const HEAD: usize = 4;
/// Bytes of a MESSAGE-INTEGRITY with its head.
const SEAL: usize = HEAD + 20;

/// A check that is authentic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Check {
    transaction: [u8; 12],
    /// They send over this pair from now on.
    pub(super) nominates: bool,
    /// They take us for the side that decides, which one who is lite never is.
    is_controlled: bool,
}

/// Whether a datagram is STUN and not DTLS or RTP (RFC 7983).
pub(super) fn is_stun(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| *first < 4) && packet.get(4..8) == Some(&COOKIE)
}

/// Our part of the user name of a binding request, by which the leg is found that it is for; `None` for anything else.
pub fn username(packet: &[u8]) -> Option<&str> {
    let (head, body) = packet.split_at_checked(HEADER)?;
    if !is_stun(packet) || head.get(..2)? != REQUEST.to_be_bytes() {
        return None;
    }
    let (_, value) = attributes(body).find(|(attribute, _)| *attribute == USERNAME)?;
    std::str::from_utf8(value.body).ok()?.split_once(':').map(|(ours, _)| ours)
}

impl Check {
    /// Reads a binding request that is signed with our password; `None` for all others.
    pub(super) fn parse(packet: &[u8], ours: &Credentials) -> Option<Check> {
        if username(packet)? != ours.ufrag {
            return None;
        }
        let (head, body) = packet.split_at_checked(HEADER)?;
        let length = usize::from(u16::from_be_bytes(*head.get(2..)?.first_chunk()?));
        if length != body.len() {
            return None;
        }
        let signed = attributes(body).find(|(attribute, _)| *attribute == INTEGRITY)?;
        // The length that is signed ends behind the signature; what follows it is not to be trusted.
        let end = signed.1.at + SEAL;
        let mut mac = keyed(ours)?;
        mac.update(head.get(..2)?);
        mac.update(&u16::try_from(end).ok()?.to_be_bytes());
        mac.update(head.get(4..)?);
        mac.update(body.get(..signed.1.at)?);
        mac.verify_slice(signed.1.body).ok()?;
        let (trusted, rest) = body.split_at_checked(end)?;
        if let Some((_, print)) = attributes(rest).find(|(attribute, _)| *attribute == FINGERPRINT) {
            let before = packet.get(..HEADER + end + print.at)?;
            if print.body != fingerprint(before).to_be_bytes() {
                return None;
            }
        }
        let has = |wanted| attributes(trusted).any(|(attribute, _)| attribute == wanted);
        Some(Check {
            transaction: *head.get(8..)?.first_chunk()?,
            nominates: has(USE_CANDIDATE),
            is_controlled: has(CONTROLLED),
        })
    }

    /// Whether it proves a path: one that mistakes our role does not.
    pub(super) fn is_good(&self) -> bool {
        !self.is_controlled
    }

    /// Writes the answer to it, which came `from` there; the number of bytes.
    pub(super) fn reply(&self, from: SocketAddr, ours: &Credentials, out: &mut [u8]) -> Option<usize> {
        let type_ = if self.is_good() { SUCCESS } else { ERROR };
        let mut writer = Writer { out, len: 0 };
        writer.put(&type_.to_be_bytes())?;
        writer.put(&[0, 0])?;
        writer.put(&COOKIE)?;
        writer.put(&self.transaction)?;
        match self.is_good() {
            true => writer.mapped(from, &self.transaction)?,
            // 487, Role Conflict: they are to be the controlling side (RFC 8445 7.3.1.1).
            false => writer.attribute(ERROR_CODE, &[0, 0, 4, 87])?,
        }
        let mut mac = keyed(ours)?;
        mac.update(writer.promised(SEAL)?);
        let signature: [u8; 20] = mac.finalize().into_bytes().into();
        writer.attribute(INTEGRITY, &signature)?;
        let print = fingerprint(writer.promised(HEAD + 4)?);
        writer.attribute(FINGERPRINT, &print.to_be_bytes())?;
        Some(writer.len)
    }
}

fn keyed(ours: &Credentials) -> Option<Hmac<Sha1>> {
    Hmac::<Sha1>::new_from_slice(ours.pwd.as_bytes()).ok()
}

/// An attribute's value and where its head stands behind the header.
#[derive(Clone, Copy)]
struct Value<'a> {
    at: usize,
    body: &'a [u8],
}

/// The attributes until the first that does not fit.
fn attributes(body: &[u8]) -> impl Iterator<Item = (u16, Value<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let &[type_high, type_low, len_high, len_low] = body.get(at..)?.first_chunk::<HEAD>()?;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let value = Value { at, body: body.get(at + HEAD..)?.get(..len)? };
        at += HEAD + len.next_multiple_of(4);
        Some((u16::from_be_bytes([type_high, type_low]), value))
    })
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    /// An attribute whose value is as long as whole words are.
    fn attribute(&mut self, type_: u16, value: &[u8]) -> Option<()> {
        self.put(&type_.to_be_bytes())?;
        self.put(&u16::try_from(value.len()).ok()?.to_be_bytes())?;
        self.put(value)?;
        self.set_length(self.len)
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 14.2), of IPv4 as such though it came to a socket of IPv6: where the request came from.
    fn mapped(&mut self, from: SocketAddr, transaction: &[u8; 12]) -> Option<()> {
        let port = from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let [port_high, port_low] = port.to_be_bytes();
        let mut value = [0; 20];
        let (family, len) = match from.ip().to_canonical() {
            IpAddr::V4(ip) => {
                value.iter_mut().skip(4).zip(ip.octets()).for_each(|(to, from)| *to = from);
                (1, 8)
            }
            IpAddr::V6(ip) => {
                value.iter_mut().skip(4).zip(ip.octets()).for_each(|(to, from)| *to = from);
                (2, 20)
            }
        };
        let mask = COOKIE.iter().chain(transaction);
        value.iter_mut().skip(4).zip(mask).for_each(|(to, mask)| *to ^= mask);
        value.iter_mut().zip([0, family, port_high, port_low]).for_each(|(to, from)| *to = from);
        self.attribute(MAPPED_ADDRESS, value.get(..len)?)
    }

    /// What is written, its length being said to reach so many bytes further.
    fn promised(&mut self, more: usize) -> Option<&[u8]> {
        self.set_length(self.len + more)?;
        self.out.get(..self.len)
    }

    fn set_length(&mut self, end: usize) -> Option<()> {
        let length = u16::try_from(end.checked_sub(HEADER)?).ok()?;
        self.out.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes());
        Some(())
    }
}

/// The CRC-32 of ITU V.42, XORed as RFC 8489 14.7 says.
fn fingerprint(message: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in message {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc ^ 0x5354_554E
}

#[cfg(test)]
mod tests;
