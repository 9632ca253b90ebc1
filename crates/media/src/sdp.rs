//! SDP (RFC 8866) and its offer/answer model (RFC 3264) for one audio stream over RTP, plain or encrypted with keys
//! in the SDP (RFC 4568).

mod description;
mod exchange;
mod sdes;
pub(crate) mod web;
mod write;

use std::net::{IpAddr, SocketAddr};

pub use self::description::{Description, Media, Rtpmap};
pub use self::exchange::{accept, answer, codecs, offer, reoffer};
use crate::Codec;
use crate::dtmf::By;
use crate::srtp::{Crypto, Keys};
use crate::web::Agreed;

/// The payload type we offer for `telephone-event/8000`.
pub(crate) const TELEPHONE_EVENT: u8 = 101;

/// The payload type we offer for `telephone-event/48000`, which goes with Opus.
pub(crate) const TELEPHONE_EVENT_48: u8 = 110;

/// The static payload type of comfort noise (RFC 3389).
const COMFORT_NOISE: u8 = 13;

/// What we say about ourselves.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where we want to receive.
    pub addr: IpAddr,
    /// Our RTP port; RTCP is the port above it.
    pub port: u16,
    /// What we speak, by preference.
    pub codecs: Vec<Codec>,
    /// What an answer chooses where they offer it, whatever their order: what the other side of the call speaks needs no
    /// transcoding.
    pub prefers: Option<Codec>,
    /// `o=` session id, the same for the whole call.
    pub session_id: u64,
    /// `o=` version, one more for each description that differs from the last (RFC 3264 section 8).
    pub version: u64,
    /// What we would like to do; an answer keeps of it what the offer allows.
    pub direction: Direction,
    /// The packet length we ask for, in ms: 10 to 60.
    pub ptime_ms: u8,
    /// How digits are to go. [`By::Rfc4733`] falls back to tones where they take no `telephone-event`.
    pub dtmf: By,
    /// Whether to encrypt.
    pub srtp: Srtp,
}

impl Local {
    /// 20 ms packets both ways, digits by RFC 4733, no encryption.
    pub fn new(addr: IpAddr, port: u16, codecs: Vec<Codec>, session_id: u64) -> Local {
        Local {
            addr,
            port,
            codecs,
            prefers: None,
            session_id,
            version: 1,
            direction: Direction::SendRecv,
            ptime_ms: 20,
            dtmf: By::Rfc4733,
            srtp: Srtp::Off,
        }
    }
}

/// Whether media is encrypted with keys in the SDP (RFC 4568). The keys are ours, for as long as the call lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Srtp {
    /// Never: keys of others are read over, and `RTP/SAVP` is refused.
    #[default]
    Off,
    /// Where the other side does: offered as `RTP/AVP` with keys, which who knows none reads over.
    Optional(Keys),
    /// Always: offered as `RTP/SAVP`; without keys of theirs there is no call.
    Required(Keys),
}

impl Srtp {
    /// Our keys, unless off.
    pub(crate) fn keys(&self) -> Option<&Keys> {
        match self {
            Srtp::Off => None,
            Srtp::Optional(keys) | Srtp::Required(keys) => Some(keys),
        }
    }
}

/// Which way media flows, from the side of whoever says it (RFC 8866 section 6.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Direction {
    /// Both ways; what a description without a direction means.
    #[default]
    SendRecv,
    /// Sends, wants to receive nothing.
    SendOnly,
    /// Receives, sends nothing.
    RecvOnly,
    /// Neither; the stream is on hold.
    Inactive,
}

impl Direction {
    /// The direction of one who does or does not send and receive.
    pub const fn of(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// Whether whoever says this sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether whoever says this receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// As the attribute is written.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// How we send digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtmf {
    /// As RTP events (RFC 4733) of this payload type.
    Rfc4733(u8),
    /// In the bodies of SIP INFO requests: `dtmf::to_info`, not the session.
    Info,
    /// As tones.
    Inband,
}

/// What offer and answer agreed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Negotiated {
    /// What we send, and expect.
    pub codec: Codec,
    /// Its RTP payload type, as they want to receive it.
    pub payload_type: u8,
    /// The rate of its RTP timestamps, in Hz.
    pub clock: u32,
    /// Their `a=fmtp` for it; empty if there is none.
    pub fmtp: String,
    /// How digits are sent.
    pub dtmf: Dtmf,
    /// The rate in which an event's duration is counted, in Hz: [`Negotiated::clock`] unless they only know another.
    pub event_clock: u32,
    /// What a payload type means that they may send: what we listed, and what they list.
    pub formats: Vec<(u8, Format)>,
    /// Where their RTP port is; an unspecified address (`c=0.0.0.0`) means on hold (RFC 3264 8.4), but for a browser,
    /// whose checks say where it is.
    pub remote: SocketAddr,
    /// Where their RTCP port is: `a=rtcp` (RFC 3605), or the port above RTP.
    pub remote_rtcp: SocketAddr,
    /// Whether RTCP goes over the RTP ports (RFC 5761).
    pub rtcp_mux: bool,
    /// The packet length they ask for, in ms: 10 to 60 and no more than their `a=maxptime`; 20 if they ask for none
    /// or another. `ptime` is a wish, everyone takes up to 200 ms (RFC 3551 4.2).
    pub ptime_ms: u8,
    /// From our side.
    pub direction: Direction,
    /// The keys of both directions where media is encrypted.
    pub crypto: Option<Crypto>,
    /// What a browser and we know of one another; its media is encrypted with keys of DTLS.
    pub web: Option<Agreed>,
    /// What stands in the place of each m-line: `None` for ours, else what is refused. A later offer keeps the places
    /// (RFC 3264 section 8).
    pub places: Vec<Option<String>>,
}

/// What a payload type stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Sound in this codec.
    Audio(Codec),
    /// `telephone-event` (RFC 4733), durations counted at this rate in Hz.
    Event(u32),
    /// Comfort noise (RFC 3389).
    ComfortNoise,
}

impl Negotiated {
    /// What a payload type stands for that they sent; `None` if it was not agreed on. Static types of codecs we know
    /// are always taken.
    pub fn format(&self, payload_type: u8) -> Option<Format> {
        let listed = self.formats.iter().find(|(listed, _)| *listed == payload_type);
        listed.map(|(_, format)| *format).or_else(|| match payload_type {
            COMFORT_NOISE => Some(Format::ComfortNoise),
            _ => Codec::from_payload_type(payload_type).map(Format::Audio),
        })
    }

    /// Whether they want to hear nothing of us.
    pub fn is_held(&self) -> bool {
        !self.direction.sends() || self.is_nowhere()
    }

    /// Whether the address says hold, RFC 2543's way.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.web.is_none() && (self.remote.ip().is_unspecified() || self.remote.port() == 0)
    }
}

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not begin with `v=0`.
    #[error("the body is no SDP: it does not begin with v=0")]
    NotSdp,
    /// More than 64 KiB or 64 m-lines.
    #[error("the SDP is too large: at most 64 KiB and 64 m-lines are read")]
    TooLarge,
    /// A line that cannot be read.
    #[error("the SDP has a broken line: {0:?}")]
    Line(String),
    /// No m-line for audio.
    #[error("the SDP has no audio")]
    NoAudio,
    /// The audio has port 0.
    #[error("the other side refuses audio (port 0)")]
    Refused,
    /// The audio goes over something we do not speak.
    #[error("the audio is not plain RTP: {0}, expected RTP/AVP or RTP/SAVP")]
    Transport(String),
    /// They ask for SRTP, we are not to encrypt.
    #[error("the other side wants encrypted audio ({0}), and encryption is off here: set srtp to optional")]
    Encrypted(String),
    /// They give no keys, we are to encrypt.
    #[error("the other side does not encrypt audio, and encryption is required here")]
    NotEncrypted,
    /// SRTP, but none of the keys can be used.
    #[error("the other side encrypts audio with no key that can be used: a=crypto with one of {}", suites())]
    NoKeys,
    /// A browser's description without what its media cannot do without.
    #[error("the other side's WebRTC description lacks {0}")]
    Lacks(&'static str),
    /// None of our codecs is among theirs.
    #[error("no common codec: they speak {theirs}")]
    NoCommonCodec {
        /// What they list, by name.
        theirs: String,
    },
    /// The audio has no `c=`, nor has the session.
    #[error("the SDP does not say where to send to: no c= line")]
    NoAddress,
    /// A hostname in `c=`. Resolving it would make media wait for DNS.
    #[error("the SDP names a host instead of an IP address: {0}")]
    Hostname(String),
}

fn suites() -> String {
    crate::srtp::Suite::ALL.map(crate::srtp::Suite::name).join(", ")
}

#[cfg(test)]
mod tests;
