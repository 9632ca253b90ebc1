use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Due, Kind};
use crate::Path;
use crate::sabotage::{Part, broken};
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
    /// Nobody waits for the final response of an INVITE longer than this, whatever provisional ones come.
    given_up_at: Option<Instant>,
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
            given_up_at: None,
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

    /// Gives an INVITE that is cancelled (RFC 3261 section 9.1), or whose call is over, until `at` for its final
    /// response.
    pub fn give_up_at(&mut self, at: Instant) {
        if self.is_pending() {
            (self.expires_at, self.given_up_at) = (Some(at), Some(at));
        }
    }

    pub fn on_response(&mut self, status: u16, timing: &Timing, now: Instant) -> Received {
        match (self.kind, self.state, status) {
            (Kind::Invite, State::Trying, ..200) if broken(Part::Proceeding) => Received::New,
            (Kind::Invite, State::Trying, ..200) => {
                self.state = State::Proceeding;
                (self.retransmit_at, self.expires_at) = (None, self.given_up_at);
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
            if broken(self.expiry()) {
                self.expires_at = None;
                return Due::Nothing;
            }
            return if self.is_pending() { Due::TimedOut } else { Due::Finished };
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return Due::Nothing;
        }
        let resending = if self.kind == Kind::Invite { Part::TimerA } else { Part::TimerE };
        if broken(resending) {
            self.retransmit_at = None;
            return Due::Nothing;
        }
        self.interval = match self.kind {
            Kind::Invite => self.interval * 2,
            Kind::NonInvite => timing.next_interval(self.interval),
        };
        self.retransmit_at = Some(now + self.interval);
        Due::Retransmit
    }

    /// The timer that ends this state.
    fn expiry(&self) -> Part {
        match (self.kind, self.state) {
            (Kind::Invite, State::Trying | State::Proceeding) => Part::TimerB,
            (Kind::Invite, State::Completed) => Part::TimerD,
            (Kind::Invite, State::Accepted) => Part::TimerM,
            (Kind::NonInvite, State::Trying | State::Proceeding) => Part::TimerF,
            (Kind::NonInvite, State::Completed | State::Accepted) => Part::TimerK,
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
    use crate::transaction::testing::{SECOND, TIMING, path, wake_ups};

    fn transaction(kind: Kind, transport: Transport, now: Instant) -> ClientTransaction {
        ClientTransaction::new(kind, path(transport), Bytes::new(), &TIMING, now)
    }

    /// When a transaction acts by itself, in ms from `now`, and how it ends.
    fn life(transaction: &mut ClientTransaction, now: Instant) -> (Vec<u128>, Due) {
        wake_ups(now, transaction, ClientTransaction::deadline, |t, at| t.on_timeout(&TIMING, at))
    }

    #[test]
    fn timers_without_a_response() {
        let now = Instant::now();
        let invite = vec![500, 1_500, 3_500, 7_500, 15_500, 31_500];
        let other = vec![500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        for (kind, transport, retransmissions) in [
            (Kind::Invite, Udp, invite),
            (Kind::NonInvite, Udp, other),
            (Kind::Invite, Tcp, vec![]),
            (Kind::NonInvite, Tcp, vec![]),
        ] {
            let mut transaction = transaction(kind, transport, now);
            let expected = [retransmissions, vec![32_000]].concat();
            assert_eq!(life(&mut transaction, now), (expected, Due::TimedOut), "{kind:?} {transport:?}");
        }
    }

    #[test]
    fn a_provisional_response_stops_timers_a_and_b_and_slows_e() {
        let now = Instant::now();
        let mut invite = transaction(Kind::Invite, Udp, now);
        assert_eq!(invite.on_response(100, &TIMING, now), Received::New);
        assert_eq!(invite.deadline(), None);
        invite.give_up_at(now + SECOND);
        assert_eq!(life(&mut invite, now), (vec![1_000], Due::TimedOut));
        let mut invite = transaction(Kind::Invite, Udp, now);
        invite.give_up_at(now + SECOND);
        assert_eq!(invite.on_response(100, &TIMING, now), Received::New);
        assert_eq!(
            life(&mut invite, now),
            (vec![1_000], Due::TimedOut),
            "a late 100 gives it no longer life"
        );
        let mut other = transaction(Kind::NonInvite, Udp, now);
        other.on_response(100, &TIMING, now);
        let slow = vec![500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_000];
        assert_eq!(life(&mut other, now), (slow, Due::TimedOut));
    }

    #[test]
    fn final_responses_are_absorbed_for_a_while() {
        let now = Instant::now();
        for (kind, transport, status, again, waits_ms) in [
            // Timers D, K and M.
            (Kind::Invite, Udp, 486, Received::Again, 32_000),
            (Kind::Invite, Tcp, 486, Received::Again, 0),
            (Kind::Invite, Udp, 200, Received::New, 32_000),
            (Kind::Invite, Tcp, 200, Received::New, 32_000),
            (Kind::NonInvite, Udp, 200, Received::Again, 5_000),
            (Kind::NonInvite, Tcp, 404, Received::Again, 0),
        ] {
            let mut transaction = transaction(kind, transport, now);
            assert_eq!(transaction.on_response(status, &TIMING, now), Received::New);
            assert_eq!(transaction.on_response(status, &TIMING, now), again);
            assert_eq!(transaction.on_response(180, &TIMING, now), Received::Stray);
            assert_eq!(life(&mut transaction, now), (vec![waits_ms], Due::Finished), "{kind:?} {status}");
        }
    }

    #[test]
    fn a_refusal_after_an_answer_is_stray() {
        let now = Instant::now();
        for (first, second) in [(200, 486), (486, 200)] {
            let mut transaction = transaction(Kind::Invite, Udp, now);
            transaction.on_response(first, &TIMING, now);
            assert_eq!(transaction.on_response(second, &TIMING, now), Received::Stray);
        }
    }
}
