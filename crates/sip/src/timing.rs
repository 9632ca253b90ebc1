use std::time::{Duration, Instant};

use crate::Transport;
use crate::sabotage::{Part, broken};

/// The timer values of RFC 3261 table 4.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Round-trip time estimate.
    pub t1: Duration,
    /// The longest retransmission interval.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
}

impl Timing {
    /// Timers B, F, H, J, L and M: how long a transaction tries, or remembers.
    pub fn lifetime(&self) -> Duration {
        self.t1 * 64
    }

    /// When something sent again and again is given up.
    pub fn given_up(&self, part: Part, now: Instant) -> Instant {
        now + self.lifetime() * if broken(part) { 1_000 } else { 1 }
    }

    /// How long the user may take over the offer in an UPDATE or PRACK, which has 64 T1 for its answer.
    pub fn patience(&self) -> Duration {
        self.t1 * 32
    }

    /// Timers I and K: how long retransmissions are absorbed.
    pub fn absorb(&self, transport: Transport) -> Duration {
        if transport.is_reliable() { Duration::ZERO } else { self.t4 }
    }

    /// The interval after `interval`: doubled, up to T2 (timers E and G).
    pub fn next_interval(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}
