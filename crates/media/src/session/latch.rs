//! Where packets go, and whom they are taken from: symmetric RTP (RFC 4961) behind NAT.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// For so long after the first packet the source may still change to the address of the SDP.
const UNDECIDED: Duration = Duration::from_secs(1);

/// Follows the first source that sends us something valid.
///
/// Until then packets go to the address of the SDP. Afterwards only that source is listened to; should it not be
/// the one of the SDP, that one may still take over within the first second (a stray packet came first). Later
/// nobody can steal the stream; only who proves by SRTP to be the same one may move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latch {
    described: SocketAddr,
    found: Option<(SocketAddr, Instant)>,
}

impl Latch {
    pub(super) fn new(described: SocketAddr) -> Self {
        Self { described, found: None }
    }

    /// Where to send.
    pub(super) fn remote(&self) -> SocketAddr {
        self.found.map_or(self.described, |(found, _)| found)
    }

    /// The source that is listened to, once there is one.
    pub(super) fn found(&self) -> Option<SocketAddr> {
        self.found.map(|(found, _)| found)
    }

    /// Whether to take a valid packet from there. One that is `authentic` by SRTP is always taken.
    pub(super) fn admits(&mut self, from: SocketAddr, is_authentic: bool, now: Instant) -> bool {
        match self.found {
            None => {
                self.found = Some((from, now));
                true
            }
            Some((found, _)) if found == from => true,
            Some((_, since))
                if from == self.described && now.saturating_duration_since(since) <= UNDECIDED =>
            {
                self.found = Some((from, since));
                true
            }
            Some((_, since)) if is_authentic => {
                self.found = Some((from, since));
                true
            }
            Some(_) => false,
        }
    }
}
