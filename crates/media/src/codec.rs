//! The codecs a leg can speak, and the frame everything is counted in.

use std::time::Duration;

use crate::g711;

/// Samples per second of all audio in this crate, in Hz.
pub const SAMPLE_RATE: u32 = 8000;

/// Samples in one frame: 20 ms at 8 kHz.
pub const FRAME: usize = 160;

/// How long one frame lasts.
pub const FRAME_TIME: Duration = Duration::from_millis(20);

/// An audio codec of RFC 3551: 8,000 Hz, mono, one byte a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Codec {
    /// G.711 µ-law, payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
}

impl Codec {
    /// The static RTP payload type (RFC 3551 table 4).
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// The encoding name of SDP's `a=rtpmap` (RFC 3551 4.5.14).
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The codec a static payload type stands for.
    pub const fn from_payload_type(payload_type: u8) -> Option<Codec> {
        match payload_type {
            0 => Some(Codec::Pcmu),
            8 => Some(Codec::Pcma),
            _ => None,
        }
    }

    /// The codec of an SDP encoding name, in any case.
    pub fn from_name(name: &str) -> Option<Codec> {
        [Codec::Pcmu, Codec::Pcma].into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// One 16-bit sample to its byte on the wire.
    #[inline]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Codec::Pcmu => g711::encode_ulaw(sample),
            Codec::Pcma => g711::encode_alaw(sample),
        }
    }

    /// One byte from the wire to its 16-bit sample.
    #[inline]
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Codec::Pcmu => g711::decode_ulaw(byte),
            Codec::Pcma => g711::decode_alaw(byte),
        }
    }
}
