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
mod message;
mod method;
mod name_addr;
mod params;
mod reason;
mod replaces;
mod sabotage;
mod timing;
mod transaction;
mod uri;
mod via;

pub use builder::Builder;
pub use check::Fault;
pub use endpoint::{
    By, Config, Ended, Endpoint, Event, Failure, FailureKind, Input, Invite, LegId, Output, Refresher,
    Reliable, Saved, SessionTimer, Stats,
};
pub use error::{Error, ParseError};
pub use framer::{Frame, Framer};
pub use header::{Key, Name};
pub use message::{CSeq, Message, View};
pub use method::Method;
pub use name_addr::NameAddr;
pub use params::Params;
pub use reason::{Reason, ReasonProtocol};
pub use replaces::Replaces;
pub use uri::{Host, Uri};
pub use via::Via;

/// Transport of a message (RFC 3261 section 18).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// One message a datagram; requests and final answers to INVITE are retransmitted.
    Udp,
    /// A stream of messages delimited by Content-Length.
    Tcp,
}

impl Transport {
    /// The name in a Via sent-protocol.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    /// Whether the transport itself retransmits what is lost.
    pub(crate) fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp)
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
}
