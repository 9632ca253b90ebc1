//! Packets to and fro: rollover, replay, new keys.

use super::cipher::{Cipher, Kind};
use super::{Crypto, Key, Suite};
use crate::rtp;

/// Sources whose packets are remembered at once. A peer has one, another after a transfer behind its back.
const SOURCES: usize = 4;

/// Packets so far behind the newest are remembered; older ones are refused (RFC 3711 3.3.2).
const WINDOW: u64 = 64;

/// The largest packet that is read or written.
const MAX: usize = 1500;

/// SRTP and SRTCP of one session.
pub(crate) struct Srtp {
    crypto: Crypto,
    sending: Sending,
    receiving: Receiving,
    /// Theirs until new keys were agreed on: what was on its way then is still read, until the first packet under
    /// the new keys.
    previous: Option<Receiving>,
    buffer: [u8; MAX],
}

struct Sending {
    rtp: Cipher,
    rtcp: Cipher,
    roc: u32,
    last: Option<u16>,
    rtcp_index: u32,
}

struct Receiving {
    rtp: Cipher,
    rtcp: Cipher,
    rtp_sources: [Option<Source>; SOURCES],
    rtcp_sources: [Option<Source>; SOURCES],
}

/// What came from one SSRC.
#[derive(Clone, Copy)]
struct Source {
    ssrc: u32,
    /// The newest: ROC and sequence number, or SRTCP's index.
    highest: u64,
    /// Bit n: `highest - n` came.
    seen: u64,
}

impl Srtp {
    pub(crate) fn new(crypto: &Crypto) -> Srtp {
        Srtp {
            sending: Sending::new(crypto.suite, &crypto.ours),
            receiving: Receiving::new(crypto.suite, &crypto.theirs),
            previous: None,
            crypto: crypto.clone(),
            buffer: [0; MAX],
        }
    }

    /// Goes on as newly agreed: a key that stays keeps its count, a new one starts anew (RFC 3264 section 8, RFC
    /// 4568 7.1.4).
    pub(crate) fn update(&mut self, crypto: &Crypto) {
        let is_same_suite = self.crypto.suite == crypto.suite;
        if !is_same_suite || self.crypto.ours != crypto.ours {
            self.sending = Sending::new(crypto.suite, &crypto.ours);
        }
        if !is_same_suite || self.crypto.theirs != crypto.theirs {
            let new = Receiving::new(crypto.suite, &crypto.theirs);
            self.previous = Some(std::mem::replace(&mut self.receiving, new));
        }
        self.crypto = crypto.clone();
    }

    /// Protects the RTP packet of `len` bytes at the head of `out`; its new length.
    pub(crate) fn protect_rtp(&mut self, out: &mut [u8], len: usize) -> Option<usize> {
        let packet = out.get(..len)?;
        let (header, ssrc, sequence) = (rtp::header_len(packet)?, rtp::ssrc(packet)?, rtp::sequence(packet)?);
        let Sending { rtp, roc, last, .. } = &mut self.sending;
        // Ours go up one by one, so one that is less has wrapped.
        if last.replace(sequence).is_some_and(|last| sequence < last) {
            *roc = roc.wrapping_add(1);
        }
        rtp.seal_rtp(out, header, len, ssrc, u64::from(*roc) << 16 | u64::from(sequence))
    }

    /// Protects the RTCP packet of `len` bytes at the head of `out`; its new length.
    pub(crate) fn protect_rtcp(&mut self, out: &mut [u8], len: usize) -> Option<usize> {
        let index = self.sending.rtcp_index;
        self.sending.rtcp_index = index.wrapping_add(1) & 0x7FFF_FFFF;
        self.sending.rtcp.seal_rtcp(out, len, index)
    }

    /// An RTP packet of theirs, decrypted; `None` if it is not authentic or came before.
    pub(crate) fn open_rtp(&mut self, packet: &[u8]) -> Option<&[u8]> {
        self.open(packet, Receiving::open_rtp)
    }

    /// An RTCP packet of theirs, decrypted; `None` if it is not authentic or came before.
    pub(crate) fn open_rtcp(&mut self, packet: &[u8]) -> Option<&[u8]> {
        self.open(packet, Receiving::open_rtcp)
    }

    fn open(
        &mut self,
        packet: &[u8],
        open: impl Fn(&mut Receiving, &mut [u8]) -> Option<usize>,
    ) -> Option<&[u8]> {
        let mut attempt = |receiving: &mut Receiving| {
            let buffer = self.buffer.get_mut(..packet.len())?;
            buffer.copy_from_slice(packet);
            open(receiving, buffer)
        };
        let len = match attempt(&mut self.receiving) {
            Some(len) => {
                self.previous = None;
                len
            }
            None => self.previous.as_mut().and_then(attempt)?,
        };
        self.buffer.get(..len)
    }
}

impl Sending {
    fn new(suite: Suite, key: &Key) -> Sending {
        let cipher = |kind| Cipher::new(suite, key, kind);
        Sending { rtp: cipher(Kind::Rtp), rtcp: cipher(Kind::Rtcp), roc: 0, last: None, rtcp_index: 1 }
    }
}

impl Receiving {
    fn new(suite: Suite, key: &Key) -> Receiving {
        let cipher = |kind| Cipher::new(suite, key, kind);
        Receiving {
            rtp: cipher(Kind::Rtp),
            rtcp: cipher(Kind::Rtcp),
            rtp_sources: [None; SOURCES],
            rtcp_sources: [None; SOURCES],
        }
    }

    fn open_rtp(&mut self, packet: &mut [u8]) -> Option<usize> {
        let (header, ssrc, sequence) = (rtp::header_len(packet)?, rtp::ssrc(packet)?, rtp::sequence(packet)?);
        let known = self.rtp_sources.iter().flatten().find(|source| source.ssrc == ssrc);
        let index = known.map_or(u64::from(sequence), |source| source.index(sequence));
        if known.is_some_and(|source| source.is_replay(index)) {
            return None;
        }
        let len = self.rtp.open_rtp(packet, header, ssrc, index)?;
        note(&mut self.rtp_sources, ssrc, index);
        Some(len)
    }

    fn open_rtcp(&mut self, packet: &mut [u8]) -> Option<usize> {
        let index = u64::from(self.rtcp.rtcp_index(packet)?);
        let ssrc = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
        let known = self.rtcp_sources.iter().flatten().find(|source| source.ssrc == ssrc);
        if known.is_some_and(|source| source.is_replay(index)) {
            return None;
        }
        let len = self.rtcp.open_rtcp(packet)?;
        note(&mut self.rtcp_sources, ssrc, index);
        Some(len)
    }
}

/// Remembers a packet, once it is known to be authentic. A source too many takes the place of the one that was there
/// longest.
fn note(sources: &mut [Option<Source>; SOURCES], ssrc: u32, index: u64) {
    if let Some(source) = sources.iter_mut().flatten().find(|source| source.ssrc == ssrc) {
        source.note(index);
        return;
    }
    sources.rotate_right(1);
    if let Some(first) = sources.first_mut() {
        *first = Some(Source { ssrc, highest: index, seen: 1 });
    }
}

impl Source {
    /// The 48-bit index a sequence number most likely stands for (RFC 3711 3.3.1).
    fn index(&self, sequence: u16) -> u64 {
        let ahead = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        match self.highest.checked_add_signed(ahead) {
            Some(index) => index & 0xFFFF_FFFF_FFFF,
            // Before the first rollover nothing is older than it.
            None => u64::from(sequence),
        }
    }

    fn is_replay(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            Some(behind) => behind >= WINDOW || self.seen >> behind & 1 == 1,
            None => false,
        }
    }

    fn note(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                self.seen =
                    u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead)).unwrap_or(0) | 1;
                self.highest = index;
            }
            None => self.seen |= 1u64.checked_shl((self.highest - index) as u32).unwrap_or(0),
        }
    }
}
