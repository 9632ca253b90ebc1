use std::time::Instant;

use super::{Endpoint, LegId};
use crate::error::Error;

impl Endpoint {
    /// Sends an INFO with `body` of the media type `content_type`, such as `application/dtmf-relay`. Nothing says
    /// whether it was taken.
    ///
    /// # Errors
    /// The leg is gone or not answered, or `content_type` would break its line.
    pub fn info(
        &mut self,
        _leg: LegId,
        _content_type: &str,
        _body: Vec<u8>,
        _now: Instant,
    ) -> Result<(), Error> {
        Err(Error::WrongState)
    }
}
