//! SIP without IO: messages, digest, transactions, dialogs, and an [`Endpoint`] that is told what arrived and
//! says what to send.
//!
//! ```text
//! bytes + now ──> Endpoint::handle_input ─┐            ┌─> Output::Send, Output::Close
//! now ──────────> Endpoint::handle_timeout ├─> Endpoint ┤
//! verbs + now ──> invite, ring, accept, … ─┘            └─> Output::Event
//! ```
//!
//! After each call the driver drains [`Endpoint::poll_output`] and arms a timer for
//! [`Endpoint::poll_timeout`]. The crate owns no socket, clock, thread or source of randomness, so a day of
//! calls runs in a test in a second, and the same inputs always give the same outputs.
//!
//! Every leg ends with exactly one [`Event::Failed`] or [`Event::Ended`]; a panic is a bug.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests need a first instant and read data"))]

use std::net::SocketAddr;

mod builder;
mod check;
mod dialog;
pub mod digest;
mod endpoint;
mod error;
mod framer;
mod header;
mod lex;
pub mod locate;
pub mod location;
mod message;
mod method;
mod name_addr;
mod params;
mod reason;
mod refusal;
mod register;
mod replaces;
mod sabotage;
pub mod shield;
mod timing;
mod transaction;
mod uri;
mod via;

pub use builder::Builder;
pub use check::Fault;
pub use endpoint::{
    Asking, By, Config, Ended, Endpoint, Event, Failure, FailureKind, Input, Invite, LegId, Output, Outside,
    Refresher, Reliable, RequestId, Saved, SessionTimer, Stats,
};
pub use error::{Error, ParseError};
pub use framer::{Frame, Framer, Progress};
pub use header::{Key, Name};
pub use message::{CSeq, Message, View};
pub use method::Method;
pub use name_addr::NameAddr;
pub use params::Params;
pub use reason::{Reason, ReasonProtocol};
pub use refusal::Refusal;
pub use register::{Registrar, Registration, RegistrationState, Trouble};
pub use replaces::Replaces;
pub use shield::Shield;
pub use uri::{Host, Uri};
pub use via::Via;

/// Transport of a message (RFC 3261 section 18).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// One message a datagram; requests and final answers to INVITE are retransmitted.
    Udp,
    /// A stream of messages delimited by Content-Length.
    Tcp,
    /// The same stream within TLS (RFC 3261 section 26.2, RFC 5922).
    Tls,
    /// One message a WebSocket message (RFC 7118). Only the other side connects.
    Ws,
    /// The same within TLS.
    Wss,
}

impl Transport {
    /// The name in a Via sent-protocol.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Whether the transport itself retransmits what is lost.
    pub(crate) fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// The value of a URI's `transport` parameter.
    pub fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The transport a URI's `transport` parameter names, in any case.
    pub fn of_param(value: &str) -> Option<Self> {
        let all = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];
        all.into_iter().find(|t| t.param().eq_ignore_ascii_case(value))
    }

    /// Whether only the other side can connect: a browser has no port of its own.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether TLS is under it.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The port where a URI or an address names none (RFC 3261 section 19.1.2, RFC 7118 section 5.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// Between whom a message goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    /// How it is carried.
    pub transport: Transport,
    /// The address to advertise in Via and Contact towards `remote`; the driver already chose between the
    /// kernel's own and the external one.
    pub local: SocketAddr,
    /// The other side.
    pub remote: SocketAddr,
    /// Whom the other side's certificate was made out to; [`PeerName::NONE`] without TLS.
    pub peer: PeerName,
}

impl Path {
    /// A path on which nobody's name is verified.
    pub fn new(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self { transport, local, remote, peer: PeerName::NONE }
    }
}

/// A server name that TLS verified, as a number the driver gives out: connections to one address that were verified
/// for different names are different paths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerName(pub u32);

impl PeerName {
    /// No name was verified.
    pub const NONE: Self = Self(0);
}
