use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Due, Kind};
use crate::Path;
use crate::sabotage::{Part, broken};
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

    /// What is still sent goes along `path`.
    pub fn move_to(&mut self, path: Path) {
        self.path = path;
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
        if self.kind == Kind::Invite && self.state == State::Completed && !broken(Part::AckStopsRefusal) {
            self.state = State::Confirmed;
            self.response = None;
            self.retransmit_at = None;
            self.expires_at = Some(now + timing.absorb(self.path.transport));
        }
        self.state == State::Confirmed
    }

    pub fn on_timeout(&mut self, timing: &Timing, now: Instant) -> Due {
        if self.expires_at.is_some_and(|at| at <= now) {
            if broken(self.expiry()) {
                self.expires_at = None;
                return Due::Nothing;
            }
            // Nobody acknowledged a refusal (timer H).
            let is_unacked = self.kind == Kind::Invite && self.state == State::Completed;
            return if is_unacked { Due::TimedOut } else { Due::Finished };
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return Due::Nothing;
        }
        if broken(Part::TimerG) {
            self.retransmit_at = None;
            return Due::Nothing;
        }
        self.interval = timing.next_interval(self.interval);
        self.retransmit_at = Some(now + self.interval);
        Due::Retransmit
    }

    /// The timer that ends this state.
    fn expiry(&self) -> Part {
        match (self.kind, self.state) {
            (Kind::NonInvite, _) => Part::TimerJ,
            (Kind::Invite, State::Confirmed) => Part::TimerI,
            (Kind::Invite, State::Accepted) => Part::TimerL,
            (Kind::Invite, State::Proceeding | State::Completed) => Part::TimerH,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        [self.retransmit_at, self.expires_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport::{self, Tcp, Udp};
    use crate::transaction::testing::{TIMING, path, wake_ups};

    fn answered(kind: Kind, transport: Transport, status: u16, now: Instant) -> ServerTransaction {
        let mut transaction = ServerTransaction::new(kind, path(transport), &TIMING);
        assert_eq!(transaction.deadline(), None);
        assert!(transaction.respond(status, Bytes::from_static(b"r"), &TIMING, now));
        transaction
    }

    fn life(transaction: &mut ServerTransaction, now: Instant) -> (Vec<u128>, Due) {
        wake_ups(now, transaction, ServerTransaction::deadline, |t, at| t.on_timeout(&TIMING, at))
    }

    #[test]
    fn timers_after_a_final_response() {
        let now = Instant::now();
        let refusals = vec![500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000];
        for (kind, transport, status, wakes, keeps) in [
            // Timers G and H, L, J.
            (Kind::Invite, Udp, 486, refusals, true),
            (Kind::Invite, Tcp, 486, vec![32_000], true),
            (Kind::Invite, Udp, 200, vec![32_000], false),
            (Kind::NonInvite, Udp, 200, vec![32_000], true),
            (Kind::NonInvite, Tcp, 200, vec![0], true),
        ] {
            let mut transaction = answered(kind, transport, status, now);
            assert_eq!(transaction.response().is_some(), keeps, "{kind:?} {status}");
            let end = if status == 486 { Due::TimedOut } else { Due::Finished };
            assert_eq!(life(&mut transaction, now), (wakes, end), "{kind:?} {transport:?} {status}");
        }
    }

    #[test]
    fn an_ack_ends_retransmission() {
        let now = Instant::now();
        for (transport, waits_ms) in [(Udp, 5_000), (Tcp, 0)] {
            let mut transaction = answered(Kind::Invite, transport, 486, now);
            assert!(transaction.on_ack(&TIMING, now) && transaction.on_ack(&TIMING, now));
            assert_eq!(transaction.response(), None);
            assert_eq!(life(&mut transaction, now), (vec![waits_ms], Due::Finished), "timer I");
        }
        assert!(!answered(Kind::Invite, Udp, 200, now).on_ack(&TIMING, now), "the ACK of a 2xx is not ours");
    }

    #[test]
    fn one_final_response() {
        let now = Instant::now();
        let mut transaction = answered(Kind::Invite, Udp, 180, now);
        assert!(transaction.is_pending());
        assert!(transaction.respond(486, Bytes::new(), &TIMING, now));
        for status in [180, 200, 487] {
            assert!(!transaction.respond(status, Bytes::new(), &TIMING, now));
        }
    }
}
