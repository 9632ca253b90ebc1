use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Due, Kind};
use crate::Path;
use crate::timing::Timing;

/// A request that is or was being answered, until it cannot arrive again.
#[derive(Debug)]
pub struct ServerTransaction {
    kind: Kind,
    state: State,
    path: Path,
    response: Option<Bytes>,
    interval: Duration,
    /// Timer G.
    retransmit_at: Option<Instant>,
    /// Timers H, I, J and L.
    expires_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Includes "Trying" of non-INVITE.
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
}

impl ServerTransaction {
    /// A transaction whose responses go along `path`.
    pub fn new(kind: Kind, path: Path, timing: &Timing) -> Self {
        Self {
            kind,
            state: State::Proceeding,
            path,
            response: None,
            interval: timing.t1,
            retransmit_at: None,
            expires_at: None,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn path(&self) -> Path {
        self.path
    }

    /// Whether no final response was given yet.
    pub fn is_pending(&self) -> bool {
        self.state == State::Proceeding
    }

    /// What to send when the request arrives again, or when a retransmission is due. A 2xx to INVITE is not kept
    /// here: whoever gave it sends it again until it is ACKed.
    pub fn response(&self) -> Option<&Bytes> {
        match self.state {
            State::Proceeding | State::Completed => self.response.as_ref(),
            State::Confirmed | State::Accepted => None,
        }
    }

    /// Notes the response that is sent now. One after the final response is not to be sent: false.
    pub fn respond(&mut self, status: u16, response: Bytes, timing: &Timing, now: Instant) -> bool {
        if self.state != State::Proceeding {
            return false;
        }
        let reliable = self.path.transport.is_reliable();
        match (self.kind, status) {
            (_, ..200) => self.response = Some(response),
            (Kind::Invite, 200..300) => {
                self.state = State::Accepted;
                self.response = None;
                self.expires_at = Some(now + timing.lifetime());
            }
            (Kind::Invite, _) => {
                self.state = State::Completed;
                self.response = Some(response);
                self.retransmit_at = (!reliable).then(|| now + timing.t1);
                self.expires_at = Some(now + timing.lifetime());
            }
            (Kind::NonInvite, _) => {
                self.state = State::Completed;
                self.response = Some(response);
                self.expires_at = Some(if reliable { now } else { now + timing.lifetime() });
            }
        }
        true
    }

    /// Takes in the ACK of a refusal; false if there was none to acknowledge.
    pub fn on_ack(&mut self, timing: &Timing, now: Instant) -> bool {
        if self.kind == Kind::Invite && self.state == State::Completed {
            self.state = State::Confirmed;
            self.response = None;
            self.retransmit_at = None;
            self.expires_at = Some(now + timing.absorb(self.path.transport));
        }
        self.state == State::Confirmed
    }

    pub fn on_timeout(&mut self, timing: &Timing, now: Instant) -> Due {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Due::Finished;
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return Due::Nothing;
        }
        self.interval = timing.next_interval(self.interval);
        self.retransmit_at = Some(now + self.interval);
        Due::Retransmit
    }

    pub fn deadline(&self) -> Option<Instant> {
        [self.retransmit_at, self.expires_at].into_iter().flatten().min()
    }
}
