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
    /// No final response came (timers B and F).
    TimedOut,
    /// It has nothing left to do.
    Finished,
}
