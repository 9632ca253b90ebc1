use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Due, Kind};
use crate::Path;
use crate::timing::Timing;

/// A request on its way, until no response to it can arrive any more.
#[derive(Debug)]
pub struct ClientTransaction {
    kind: Kind,
    state: State,
    path: Path,
    request: Bytes,
    /// The ACK of a final response other than 2xx.
    ack: Option<Bytes>,
    interval: Duration,
    /// Timers A and E.
    retransmit_at: Option<Instant>,
    /// Timers B, D, F, K and M.
    expires_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// "Calling" for INVITE.
    Trying,
    Proceeding,
    Completed,
    Accepted,
}

/// What a response is to its transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// News for the user.
    New,
    /// A final response that came before; an INVITE's is to be ACKed again.
    Again,
    /// Out of place: absorb it.
    Stray,
}

impl ClientTransaction {
    /// A transaction whose request is sent now.
    pub fn new(kind: Kind, path: Path, request: Bytes, timing: &Timing, now: Instant) -> Self {
        Self {
            kind,
            state: State::Trying,
            path,
            request,
            ack: None,
            interval: timing.t1,
            retransmit_at: (!path.transport.is_reliable()).then(|| now + timing.t1),
            expires_at: Some(now + timing.lifetime()),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn path(&self) -> Path {
        self.path
    }

    pub fn request(&self) -> &Bytes {
        &self.request
    }

    /// The ACK to send again with each retransmission of a refusal.
    pub fn ack(&self) -> Option<&Bytes> {
        self.ack.as_ref()
    }

    pub fn set_ack(&mut self, ack: Bytes) {
        self.ack = Some(ack);
    }

    /// Whether no response came yet.
    pub fn is_unanswered(&self) -> bool {
        self.state == State::Trying
    }

    /// Whether no final response came yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }

    /// Whether the request went out once only.
    pub fn is_first_transmission(&self, timing: &Timing) -> bool {
        self.interval == timing.t1
    }

    /// Gives a cancelled INVITE until `at` for its final response (RFC 3261 section 9.1).
    pub fn give_up_at(&mut self, at: Instant) {
        if self.is_pending() {
            self.expires_at = Some(at);
        }
    }

    pub fn on_response(&mut self, status: u16, timing: &Timing, now: Instant) -> Received {
        match (self.kind, self.state, status) {
            (Kind::Invite, State::Trying, ..200) => {
                self.state = State::Proceeding;
                (self.retransmit_at, self.expires_at) = (None, None);
                Received::New
            }
            (Kind::NonInvite, State::Trying, ..200) => {
                self.state = State::Proceeding;
                self.interval = timing.t2;
                Received::New
            }
            (_, State::Proceeding, ..200) => Received::New,
            (Kind::Invite, State::Trying | State::Proceeding, 200..300) => {
                self.finish(State::Accepted, timing.lifetime(), now)
            }
            (Kind::Invite, State::Trying | State::Proceeding, _) => {
                let wait = if self.path.transport.is_reliable() { Duration::ZERO } else { timing.lifetime() };
                self.finish(State::Completed, wait, now)
            }
            (Kind::NonInvite, State::Trying | State::Proceeding, _) => {
                self.finish(State::Completed, timing.absorb(self.path.transport), now)
            }
            // Each 2xx may be from another branch of a fork: the user tells them apart (RFC 6026 section 7.2).
            (_, State::Accepted, 200..300) => Received::New,
            (_, State::Completed, 300..) => Received::Again,
            (Kind::NonInvite, State::Completed, 200..) => Received::Again,
            (_, State::Completed | State::Accepted, _) => Received::Stray,
        }
    }

    fn finish(&mut self, state: State, wait: Duration, now: Instant) -> Received {
        self.state = state;
        self.retransmit_at = None;
        self.expires_at = Some(now + wait);
        Received::New
    }

    pub fn on_timeout(&mut self, timing: &Timing, now: Instant) -> Due {
        if self.expires_at.is_some_and(|at| at <= now) {
            return if self.is_pending() { Due::TimedOut } else { Due::Finished };
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return Due::Nothing;
        }
        self.interval = match self.kind {
            Kind::Invite => self.interval * 2,
            Kind::NonInvite => timing.next_interval(self.interval),
        };
        self.retransmit_at = Some(now + self.interval);
        Due::Retransmit
    }

    pub fn deadline(&self) -> Option<Instant> {
        [self.retransmit_at, self.expires_at].into_iter().flatten().min()
    }
}
