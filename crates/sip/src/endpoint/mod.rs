use std::time::Instant;

mod config;
mod event;
mod leg;

pub use config::{Config, Stats};
pub use event::{By, Ended, Event, Failure, FailureKind, Input, Output};
pub use leg::{Invite, LegId};

use crate::error::Error;
use crate::reason::Reason;

/// The user agent: every leg, dialog and transaction of one signalling loop.
pub struct Endpoint {
    config: Config,
}

#[allow(unused_variables)]
impl Endpoint {
    /// An endpoint without legs. `seed` feeds tags, branches and Call-IDs, which must not be guessable.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self { config }
    }

    /// Takes in what the driver received.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {}

    /// Does what is due; call it at [`Self::poll_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Instant) {}

    /// What to do next; call until `None` after each other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Counts, cheap to read.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Sends an INVITE.
    ///
    /// # Errors
    /// A field with CR, LF or NUL, a bad URI, too many legs or transactions. Nothing was sent.
    pub fn invite(&mut self, invite: Invite, now: Instant) -> Result<LegId, Error> {
        Err(Error::TooManyLegs)
    }

    /// The Call-ID of a leg.
    pub fn call_id(&self, leg: LegId) -> Option<&str> {
        None
    }

    /// Ends a leg in whatever state it is.
    pub fn hang_up(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {}

    /// Answers an incoming leg provisionally, with 180, 181, 182 or 183 and perhaps early media.
    ///
    /// # Errors
    /// The leg is gone or answered already, or the status is another.
    pub fn ring(
        &mut self,
        leg: LegId,
        status: u16,
        body: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(), Error> {
        Err(Error::NoSuchLeg)
    }

    /// Answers an incoming leg with 200.
    ///
    /// # Errors
    /// The leg is gone or answered already.
    pub fn accept(&mut self, leg: LegId, body: Vec<u8>, now: Instant) -> Result<(), Error> {
        Err(Error::NoSuchLeg)
    }

    /// Refuses an incoming leg with 300 to 699; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// The leg is gone or answered already, a header would break its line, or the status is another.
    pub fn reject(
        &mut self,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        now: Instant,
    ) -> Result<(), Error> {
        Err(Error::NoSuchLeg)
    }

    /// Answers an [`Event::Offer`]: with SDP, or with a status of 300 to 699.
    ///
    /// # Errors
    /// The leg is gone, no offer waits, or the status is another.
    pub fn answer_offer(
        &mut self,
        leg: LegId,
        answer: Result<Vec<u8>, u16>,
        now: Instant,
    ) -> Result<(), Error> {
        Err(Error::NoSuchLeg)
    }
}
