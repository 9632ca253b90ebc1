//! SDP (RFC 8866) and its offer/answer model (RFC 3264) for one audio stream over plain RTP.

use std::net::{IpAddr, SocketAddr};

use crate::Codec;

/// What we say about ourselves.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where we want to receive.
    pub addr: IpAddr,
    /// Our RTP port; RTCP is the port above it.
    pub port: u16,
    /// What we speak, by preference.
    pub codecs: Vec<Codec>,
    /// `o=` session id, the same for the whole call.
    pub session_id: u64,
    /// `o=` version, one more for each description that differs from the last (RFC 3264 section 8).
    pub version: u64,
    /// What we would like to do; an answer keeps of it what the offer allows.
    pub direction: Direction,
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

/// What offer and answer agreed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Negotiated {
    /// What we send, and expect.
    pub codec: Codec,
    /// Its RTP payload type.
    pub payload_type: u8,
    /// The payload type of `telephone-event/8000` (RFC 4733), if they take it.
    pub dtmf: Option<u8>,
    /// Where their RTP port is; an unspecified address (`c=0.0.0.0`) means on hold.
    pub remote: SocketAddr,
    /// Where their RTCP port is: `a=rtcp` (RFC 3605), or the port above RTP.
    pub remote_rtcp: SocketAddr,
    /// The packet length they ask for, in ms (10 to 60; 20 if they do not say or ask for something else).
    pub ptime_ms: u8,
    /// From our side.
    pub direction: Direction,
}

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {}

/// A parsed session description: what of it matters here, with every m-line kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {}

impl Description {
    /// Reads a description.
    pub fn parse(_sdp: &[u8]) -> Result<Description, SdpError> {
        todo!()
    }
}

/// Our offer.
pub fn offer(_local: &Local) -> String {
    todo!()
}

/// Our answer to their offer.
pub fn answer(_offer: &[u8], _local: &Local) -> Result<(String, Negotiated), SdpError> {
    todo!()
}

/// Their answer to our offer.
pub fn accept(_local: &Local, _answer: &[u8]) -> Result<Negotiated, SdpError> {
    todo!()
}
