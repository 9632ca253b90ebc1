use std::time::Instant;

use super::{Endpoint, LegId};
use crate::digest::Credentials;
use crate::error::Error;
use crate::reason::Reason;

/// What must outlive a crash so that a call of ours can be ended afterwards; see [`Endpoint::end_saved`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Their tag; none before an INVITE of ours is answered.
    pub remote_tag: Option<String>,
    /// Our From value, without its tag.
    pub local_uri: String,
    /// Their To value, without its tag.
    pub remote_uri: String,
    /// The URI of their Contact; that of the INVITE while it is not answered.
    pub remote_target: String,
    /// Route values, next hop first.
    pub route: Vec<String>,
    /// The CSeq number of our last request.
    pub cseq: u32,
    /// The branch of an INVITE without final answer.
    pub branch: Option<String>,
    /// The Request-URI of the next request.
    pub request_uri: String,
    /// Where it goes: transport, our address, theirs, as in `udp 192.0.2.1:5060 192.0.2.9:5060`.
    pub path: String,
}

impl Endpoint {
    /// What it takes to end this leg after a crash. `None` for a leg that is gone, and for an incoming one that
    /// was not answered. It changes when the leg is answered, and with [`Event::Trying`](crate::Event::Trying).
    pub fn save(&self, _leg: LegId) -> Option<Saved> {
        None
    }

    /// Ends what an endpoint that is no more had begun: sends BYE where it was answered and CANCEL where not; a 2xx
    /// that comes after all is ACKed and hung up. [`Event::SavedEnded`](crate::Event::SavedEnded) follows, after
    /// 64 T1 at the latest for each request.
    ///
    /// # Errors
    /// A field cannot be read, or there are too many transactions. Nothing was sent.
    pub fn end_saved(
        &mut self,
        _saved: Saved,
        _credentials: Option<Credentials>,
        _reason: Option<Reason>,
        _now: Instant,
    ) -> Result<(), Error> {
        Err(Error::NoSuchLeg)
    }
}
