//! Transactions (RFC 3261 section 17, RFC 6026) as plain state machines: they keep what is to be sent again and
//! say when, but send nothing themselves.

mod client;
mod server;

pub use client::{ClientTransaction, Received};
pub use server::ServerTransaction;

/// The two kinds of transaction, client and server alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Three-way, may stay open for minutes.
    Invite,
    /// Request and response.
    NonInvite,
}

/// What to do when a transaction's time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// It is early: nothing.
    Nothing,
    /// Send the message it keeps again.
    Retransmit,
    /// No final response came (timers B and F), or no ACK (timer H).
    TimedOut,
    /// It has nothing left to do.
    Finished,
}

#[cfg(test)]
mod testing {
    use std::time::{Duration, Instant};

    use super::Due;
    use crate::timing::Timing;
    use crate::{Path, Transport};

    pub const SECOND: Duration = Duration::from_secs(1);

    pub const TIMING: Timing =
        Timing { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };

    pub fn path(transport: Transport) -> Path {
        Path::new(transport, ([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 2], 5060).into())
    }

    /// Lets a transaction live on its own: when it acts, in ms from `start`, and how it ends.
    pub fn wake_ups<T>(
        start: Instant,
        transaction: &mut T,
        deadline: impl Fn(&T) -> Option<Instant>,
        on_timeout: impl Fn(&mut T, Instant) -> Due,
    ) -> (Vec<u128>, Due) {
        let mut wakes = Vec::new();
        loop {
            let at = deadline(transaction).expect("it waits for something");
            wakes.push((at - start).as_millis());
            match on_timeout(transaction, at) {
                Due::Retransmit => {}
                end => return (wakes, end),
            }
        }
    }
}
