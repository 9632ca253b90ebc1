//! The codecs a leg can speak, and the frame everything is counted in.

mod decoder;
mod encoder;

use std::time::Duration;

pub(crate) use self::decoder::Decoder;
pub(crate) use self::encoder::Encoder;

/// Samples per second of all audio in this crate, in Hz.
pub const SAMPLE_RATE: u32 = 8000;

/// Samples in one frame: 20 ms at 8 kHz.
pub const FRAME: usize = 160;

/// How long one frame lasts.
pub const FRAME_TIME: Duration = Duration::from_millis(20);

/// An audio codec. Whatever it samples at, a session gives and takes 8 kHz, mono, 16 bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Codec {
    /// G.711 µ-law, payload type 0 (RFC 3551).
    Pcmu,
    /// G.711 A-law, payload type 8 (RFC 3551).
    Pcma,
    /// G.722 at 64 kbit/s, payload type 9 (RFC 3551). Its RTP clock is 8,000 Hz, although it samples at 16,000.
    G722,
    /// Opus (RFC 6716) over RTP (RFC 7587), of a dynamic payload type.
    Opus,
}

impl Codec {
    /// Every codec, the cheapest first.
    pub const ALL: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

    /// The RTP payload type we offer it with: the static one (RFC 3551 table 4), or 111 for Opus.
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => 111,
        }
    }

    /// The encoding name of SDP's `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
        }
    }

    /// The RTP clock of `a=rtpmap` and of its timestamps, in Hz.
    pub const fn clock(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 8000,
            Codec::Opus => 48_000,
        }
    }

    /// The channels of `a=rtpmap`: Opus always says 2, whatever is in the packets (RFC 7587 section 7).
    pub const fn channels(self) -> u8 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 1,
            Codec::Opus => 2,
        }
    }

    /// What we say of it in `a=fmtp`: Opus may spare us what 8 kHz cannot hold, and repair loss (RFC 7587 6.1).
    pub const fn fmtp(self) -> Option<&'static str> {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => None,
            Codec::Opus => Some("maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1"),
        }
    }

    /// The codec a static payload type stands for.
    pub const fn from_payload_type(payload_type: u8) -> Option<Codec> {
        match payload_type {
            0 => Some(Codec::Pcmu),
            8 => Some(Codec::Pcma),
            9 => Some(Codec::G722),
            _ => None,
        }
    }

    /// The codec of an `a=rtpmap`: its encoding name in any case, with its clock in Hz.
    pub fn from_rtpmap(name: &str, clock: u32) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name) && codec.clock() == clock)
    }
}
