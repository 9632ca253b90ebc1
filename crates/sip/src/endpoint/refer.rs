use std::time::Instant;

use super::{Endpoint, LegId};
use crate::error::Error;

impl Endpoint {
    /// Asks the other side of an answered call to call `refer_to` (RFC 3515), a SIP URI that may carry a Replaces
    /// header. [`Event::ReferProgress`](crate::Event::ReferProgress) follows.
    ///
    /// # Errors
    /// The leg is gone or not answered, an earlier REFER has no last word yet, or this is no SIP URI.
    pub fn refer(&mut self, _leg: LegId, _refer_to: &str, _now: Instant) -> Result<(), Error> {
        Err(Error::WrongState)
    }

    /// Accepts an [`Event::Refer`](crate::Event::Refer) with 202; [`Self::notify_refer`] says how it goes on.
    ///
    /// # Errors
    /// The leg is gone, or no REFER waits.
    pub fn accept_refer(&mut self, _leg: LegId, _now: Instant) -> Result<(), Error> {
        Err(Error::WrongState)
    }

    /// Refuses an [`Event::Refer`](crate::Event::Refer) with 300 to 699.
    ///
    /// # Errors
    /// The leg is gone, no REFER waits, or the status is another.
    pub fn reject_refer(&mut self, _leg: LegId, _status: u16, _now: Instant) -> Result<(), Error> {
        Err(Error::WrongState)
    }

    /// Tells the other side how far the call it asked for has come; 200 and above is the last word.
    ///
    /// # Errors
    /// The leg is gone, no accepted REFER waits for news, or the status is not within 100 to 699.
    pub fn notify_refer(&mut self, _leg: LegId, _status: u16, _now: Instant) -> Result<(), Error> {
        Err(Error::WrongState)
    }
}
