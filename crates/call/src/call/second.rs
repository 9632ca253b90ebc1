//! The second leg of a call: dialled, heard ringing, joined, ended.

use std::time::Instant;

use super::input::{LegEnd, LegInput};
use super::output::{Leg, Output, Outputs, Progress};
use crate::cause::{self, Cause, HangupBy, LegFailure, because, reason};
use crate::flow::Dial;
use crate::route;
use crate::state::State;

/// One [`Dial`] under way.
#[derive(Debug)]
pub(super) struct Second {
    dial: Dial,
    /// The leg of the current attempt.
    n: u32,
    attempt: usize,
    stage: Stage,
    /// Whether the peer is known to have the request.
    heard: bool,
    rang: bool,
    /// Whether both legs hear one another.
    joined: bool,
    media_ready: bool,
    /// The ringback that is being played to the first leg.
    ringback: Option<u32>,
}

#[derive(Debug)]
enum Stage {
    /// Not answered; `until` the ring time-out.
    Dialing { until: Option<Instant> },
    /// Answered; `until` the longest duration.
    Talking { until: Option<Instant> },
}

/// How a second leg ended.
pub(super) type End = (State, Cause);

impl Second {
    /// Places the first attempt; gives the end back if there is none.
    pub(super) fn new(dial: Dial, out: &mut Outputs, now: Instant) -> Result<Self, End> {
        out.progress(Progress::Dialing { to: dial.to.clone() });
        if dial.attempts.is_empty() {
            return Err((State::Failed, because(reason::NO_ATTEMPT, HangupBy::System)));
        }
        let mut second = Second {
            dial,
            n: 0,
            attempt: 0,
            stage: Stage::Dialing { until: None },
            heard: false,
            rang: false,
            joined: false,
            media_ready: false,
            ringback: None,
        };
        second.place(0, out, now);
        Ok(second)
    }

    pub(super) fn until(&self) -> Option<Instant> {
        match self.stage {
            Stage::Dialing { until } | Stage::Talking { until } => until,
        }
    }

    /// Takes in what happened to the leg `n`; its end, if that is what it was.
    pub(super) fn handle(&mut self, n: u32, input: LegInput, out: &mut Outputs, now: Instant) -> Option<End> {
        if n != self.n {
            return None;
        }
        match (&self.stage, input) {
            (_, LegInput::MediaFailed(said)) => {
                Some(self.hang_up(State::Failed, cause::media_failed(&said), out))
            }

            (Stage::Dialing { .. }, LegInput::Waiting) => {
                self.stage = Stage::Dialing { until: None };
                out.progress(Progress::Paced);
                None
            }
            (Stage::Dialing { .. }, LegInput::Dialed) => {
                self.stage = Stage::Dialing { until: now.checked_add(self.dial.ring_timeout) };
                None
            }
            (Stage::Dialing { .. }, LegInput::Trying) => {
                self.heard = true;
                None
            }
            (Stage::Dialing { .. }, LegInput::Ringing { early_media }) => {
                self.ring(early_media, out);
                None
            }
            (Stage::Dialing { .. }, LegInput::Answered) => {
                self.answer(out, now);
                None
            }
            (Stage::Dialing { .. }, LegInput::MediaReady) => {
                self.media_ready = true;
                None
            }
            (Stage::Dialing { .. }, LegInput::Failed(failure)) => self.attempt_failed(&failure, out, now),
            (Stage::Dialing { .. }, LegInput::Ended { .. }) => {
                Some((State::Failed, because(reason::LEG_LOST, HangupBy::System)))
            }
            (Stage::Dialing { .. }, LegInput::Silent { .. }) => None,

            (Stage::Talking { .. }, LegInput::MediaReady) => {
                self.join(out);
                None
            }
            (Stage::Talking { .. }, LegInput::Ended { by, q850 }) => Some(ended(by, q850)),
            (Stage::Talking { .. }, LegInput::Failed(failure)) => {
                Some((State::Failed, cause::from_failure(&failure).1))
            }
            (Stage::Talking { .. }, LegInput::Silent { after }) => {
                Some(self.hang_up(State::Completed, cause::rtp_silence(after), out))
            }
            (
                Stage::Talking { .. },
                LegInput::Waiting
                | LegInput::Dialed
                | LegInput::Trying
                | LegInput::Ringing { .. }
                | LegInput::Answered,
            ) => None,

            (_, LegInput::Digit(digit)) => {
                out.progress(Progress::Digit { leg: Leg::Second, digit });
                self.relay(Leg::First, digit, out);
                None
            }
        }
    }

    /// A key of the first leg, for the second one to hear.
    pub(super) fn press(&self, digit: char, out: &mut Outputs) {
        self.relay(Leg::Second, digit, out);
    }

    /// A sound played to the first leg is over: the ringback begins again.
    pub(super) fn played(&mut self, id: u32, out: &mut Outputs) {
        if self.ringback == Some(id) {
            self.play_ringback(out);
        }
    }

    /// The ring time-out or the longest duration has come.
    pub(super) fn timed_out(&mut self, out: &mut Outputs) -> End {
        match self.stage {
            Stage::Dialing { .. } => {
                let (state, cause) = cause::unanswered(self.dial.ring_timeout, self.heard, self.rang);
                self.hang_up(state, cause, out)
            }
            Stage::Talking { .. } => {
                self.hang_up(State::Completed, cause::max_duration(self.dial.max_duration), out)
            }
        }
    }

    /// Our own side ends it for `cause`.
    pub(super) fn give_up(&mut self, cause: Cause, out: &mut Outputs) -> End {
        let state = match self.stage {
            Stage::Dialing { .. } => State::Canceled,
            Stage::Talking { .. } => State::Completed,
        };
        self.hang_up(state, cause, out)
    }

    /// Stops the ringback; to be called whenever the second leg is over.
    pub(super) fn quiet(&mut self, out: &mut Outputs) {
        if self.ringback.take().is_some() {
            out.push(Output::StopMedia);
        }
    }

    fn place(&mut self, attempt: usize, out: &mut Outputs, now: Instant) {
        (self.n, self.attempt) = (out.id(), attempt);
        (self.heard, self.media_ready, self.joined) = (false, false, false);
        self.stage = Stage::Dialing { until: now.checked_add(self.dial.ring_timeout) };
        let trunk = self.dial.attempts.get(attempt).and_then(|attempt| attempt.trunk.clone());
        let of = self.dial.attempts.len();
        out.progress(Progress::Attempt { leg: Leg::Second, n: attempt + 1, of, trunk });
        out.push(Output::DialSecond { n: self.n, route: self.dial.route, attempt });
    }

    fn ring(&mut self, early_media: bool, out: &mut Outputs) {
        if !std::mem::replace(&mut self.rang, true) {
            out.progress(Progress::SecondRinging);
        }
        if early_media {
            self.join(out);
        } else if self.ringback.is_none() && !self.joined {
            self.play_ringback(out);
        }
    }

    fn play_ringback(&mut self, out: &mut Outputs) {
        self.ringback = self.dial.ringback.map(|clip| {
            let id = out.id();
            out.push(Output::Play { id, clip });
            id
        });
    }

    fn answer(&mut self, out: &mut Outputs, now: Instant) {
        self.stage = Stage::Talking { until: now.checked_add(self.dial.max_duration) };
        self.quiet(out);
        out.progress(Progress::SecondAnswered);
        if self.media_ready {
            self.join(out);
        }
    }

    fn join(&mut self, out: &mut Outputs) {
        self.quiet(out);
        if !std::mem::replace(&mut self.joined, true) {
            out.push(Output::Join { n: self.n });
        }
    }

    fn relay(&self, leg: Leg, digit: char, out: &mut Outputs) {
        if self.joined {
            let id = out.id();
            out.push(Output::Digits { leg, id, digits: digit.to_string() });
        }
    }

    fn attempt_failed(&mut self, failure: &LegFailure, out: &mut Outputs, now: Instant) -> Option<End> {
        let (state, cause) = cause::from_failure(failure);
        let next = self.attempt + 1;
        if self.rang || !route::may_try_next(failure) || next >= self.dial.attempts.len() {
            return Some((state, cause));
        }
        out.progress(Progress::AttemptFailed { cause });
        self.place(next, out, now);
        None
    }

    fn hang_up(&mut self, state: State, cause: Cause, out: &mut Outputs) -> End {
        out.push(Output::HangUpSecond { n: self.n, cause: cause.clone() });
        (state, cause)
    }
}

/// What the end of an answered leg means.
pub(super) fn ended(by: LegEnd, q850: Option<u8>) -> End {
    let (state, mut cause) = match by {
        LegEnd::Remote => (State::Completed, because(reason::NORMAL, HangupBy::Callee)),
        LegEnd::NoAck => (State::Failed, because(reason::NO_ACK, HangupBy::System)),
        LegEnd::Transport => (State::Failed, because(reason::CONNECTION_LOST, HangupBy::System)),
        LegEnd::Expired => (State::Failed, because(reason::SESSION_EXPIRED, HangupBy::System)),
    };
    cause.q850 = q850.or(cause.q850);
    (state, cause)
}
