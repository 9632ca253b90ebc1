use std::time::Instant;

use super::{Endpoint, LegId};
use crate::error::Error;

impl Endpoint {
    /// Offers `body` in a re-INVITE of an answered call. [`Event::Reoffered`](crate::Event::Reoffered) follows,
    /// unless the leg ends. While another offer is on its way in either direction ours waits for its turn.
    ///
    /// # Errors
    /// The leg is gone or not answered, or an earlier offer of ours has no answer yet.
    pub fn reinvite(&mut self, _leg: LegId, _body: Vec<u8>, _now: Instant) -> Result<(), Error> {
        Err(Error::WrongState)
    }

    /// Offers `body` in an UPDATE (RFC 3311), which may also go before the call is answered, once a reliable 18x
    /// settled the first offer. [`Event::Reoffered`](crate::Event::Reoffered) follows, unless the leg ends.
    ///
    /// # Errors
    /// The leg is gone, the first offer is not settled, an earlier offer of ours has no answer yet, or the other
    /// side does not allow UPDATE.
    pub fn update(&mut self, _leg: LegId, _body: Vec<u8>, _now: Instant) -> Result<(), Error> {
        Err(Error::WrongState)
    }
}
