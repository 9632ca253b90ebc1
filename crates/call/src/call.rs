//! The state machine of one call: its life here, its first leg in `first`, its flow in `running`, a second leg in
//! `bridge` and who replaces it in `transfer`; both kinds of legs are found by `hunt`.

mod bridge;
mod first;
mod gather;
mod hunt;
mod input;
mod output;
mod party;
mod running;
mod transfer;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use self::bridge::Bridge;
use self::gather::Gathering;
use self::hunt::{End, Hunt};
pub use self::input::{HangupReason, Input, LegEnd, LegInput};
use self::output::Outputs;
pub use self::output::{GatherEnd, Leg, Outcome, Output, Progress};
use self::party::Party;
use crate::cause::{self, Cause, HangupBy, because, reason};
use crate::flow::{Route, Verb};
use crate::state::State;

/// How long the line stays open after the last verb, so that the last words still in the other side's jitter buffer
/// are heard.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a leg may take to end once it was hung up.
const LEG_END: Duration = Duration::from_secs(5);
/// Verbs that may wait in front of the flow.
const MOST_INSERTED: usize = 32;

/// What a call is to do.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What happens once it is answered, or has come in.
    pub flow: Vec<Verb>,
    /// The ways to reach the destination; none for an incoming call.
    pub route: Route,
    /// The longest time from answer to hang-up.
    pub max_duration: Duration,
    /// Hang up when no RTP has arrived for this long; `None` lets silence pass.
    pub silence_timeout: Option<Duration>,
    /// Whether the line stays open when the flow is done. Otherwise it is hung up 250 ms later.
    pub hold_after_flow: bool,
}

impl Spec {
    /// A call that lasts at most 4 h, ends after 30 s without RTP or when its flow is done.
    pub fn new(flow: Vec<Verb>, route: Route) -> Self {
        Spec {
            flow,
            route,
            max_duration: Duration::from_secs(4 * 60 * 60),
            silence_timeout: Some(Duration::from_secs(30)),
            hold_after_flow: false,
        }
    }
}

/// Where the call stands.
#[derive(Debug)]
enum Phase {
    /// Whoever is called has not answered.
    Hunting(Box<Hunt>),
    /// Answered, or an incoming call that is being answered; sound is being set up.
    Connecting,
    /// The verb last taken from the flow is being played under this id.
    Playing { id: u32 },
    /// Digits are asked for.
    Gathering(Box<Gathering>),
    /// A recording of its own is made under this id.
    Recording { id: u32, finish_keys: String },
    /// Somebody else is being called, or joined.
    Bridging(Box<Bridge>),
    /// The flow is done; the line is hung up at this time.
    Closing { at: Instant },
    /// The flow is done and the line stays open.
    Holding,
    /// Hung up; these legs have until `until` to end.
    Ending { legs: Vec<u32>, end: End, until: Instant },
    /// Finished.
    Over,
}

/// One call, placed by us or come in.
///
/// After every [`Call::handle_input`] and [`Call::handle_timeout`], drain [`Call::poll_output`] and wake up at
/// [`Call::poll_timeout`]. Whatever comes in, in whatever order: the state only moves forward, nobody is dialled once
/// somebody has answered, and there is exactly one [`Output::Finished`], the last output, at the latest 5 s after the
/// call was hung up.
#[derive(Debug)]
pub struct Call {
    phase: Phase,
    state: State,
    is_inbound: bool,
    /// The party whose flow runs; nobody's while an outbound call is not answered.
    first: Party,
    attempt: usize,
    early_media: bool,
    /// What is still to be done.
    flow: VecDeque<Verb>,
    /// What was asked for during the call; done before the flow goes on.
    inserted: VecDeque<Verb>,
    hold_after_flow: bool,
    max_duration: Duration,
    silence_timeout: Option<Duration>,
    /// How the last second leg ended.
    dialed: Option<End>,
    created: Instant,
    ringing: Option<Instant>,
    answered: Option<Instant>,
    /// When `max_duration` is reached; set by the answer.
    limit: Option<Instant>,
    out: Outputs,
}

impl Call {
    /// A call that starts with its first round of attempts, or fails at once if there is none.
    pub fn outbound(spec: Spec, now: Instant) -> Self {
        let nobody = Party::unanswered(u32::MAX, HangupBy::Callee);
        let (mut call, route) = Self::new(spec, nobody, now);
        match Hunt::new(route, Leg::First, &mut call.out, now) {
            Ok(hunt) => call.phase = Phase::Hunting(Box::new(hunt)),
            Err((state, cause)) => call.finish(state, cause, now),
        }
        call
    }

    /// A call that somebody places to us: its leg has the number 0 and is unanswered. The flow runs at once.
    pub fn inbound(spec: Spec, now: Instant) -> Self {
        let (mut call, _) = Self::new(spec, Party::unanswered(0, HangupBy::Caller), now);
        call.is_inbound = true;
        call.first.n = call.out.leg();
        call.out.progress(Progress::Incoming);
        call.next_verb(now);
        call
    }

    fn new(spec: Spec, first: Party, now: Instant) -> (Self, Route) {
        let mut call = Call {
            phase: Phase::Connecting,
            state: State::Queued,
            is_inbound: false,
            first,
            attempt: 0,
            early_media: false,
            flow: spec.flow.into(),
            inserted: VecDeque::new(),
            hold_after_flow: spec.hold_after_flow,
            max_duration: spec.max_duration,
            silence_timeout: spec.silence_timeout,
            dialed: None,
            created: now,
            ringing: None,
            answered: None,
            limit: None,
            out: Outputs::default(),
        };
        call.out.push(Output::State { state: State::Queued });
        (call, spec.route)
    }

    /// The state the call is in.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the call ends with this leg: nobody needs to tell it of any other that it has hung up.
    pub fn awaits(&self, n: u32) -> bool {
        matches!(&self.phase, Phase::Ending { legs, .. } if legs.contains(&n))
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to call [`Call::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Hunting(hunt) => hunt.until(),
            Phase::Connecting | Phase::Playing { .. } | Phase::Recording { .. } | Phase::Holding => {
                self.limit
            }
            Phase::Gathering(gathering) => earlier(self.limit, gathering.until()),
            Phase::Bridging(bridge) => earlier(self.limit, bridge.until()),
            Phase::Closing { at } => earlier(self.limit, Some(*at)),
            Phase::Ending { until, .. } => Some(*until),
            Phase::Over => None,
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match input {
            Input::Leg { n, what } => self.leg(n, what, now),
            Input::Played { id, whole } => self.played(id, whole, now),
            Input::Recorded { id } => {
                if matches!(&self.phase, Phase::Recording { id: current, .. } if *current == id) {
                    self.next_verb(now);
                }
            }
            Input::Hangup { by, cause } => self.hang_up_for(by, cause, now),
        }
    }

    fn leg(&mut self, n: u32, what: LegInput, now: Instant) {
        if matches!(what, LegInput::Silent { after } if !self.is_too_silent(after)) {
            return;
        }
        match &mut self.phase {
            Phase::Over => {}
            // Hung up already: the outcome stands, even if an answer or a refusal crosses our CANCEL.
            Phase::Ending { legs, end, .. } => {
                if matches!(what, LegInput::Failed(_) | LegInput::Ended { .. }) {
                    legs.retain(|leg| *leg != n);
                    if legs.is_empty() {
                        let (state, cause) = end.clone();
                        self.finish(state, cause, now);
                    }
                }
            }
            Phase::Hunting(hunt) => {
                let news = hunt.handle(n, what, &mut self.out, now);
                self.hunted(news, now);
            }
            _ if n == self.first.n => self.first_leg(what, now),
            _ => self.second_leg(n, what, now),
        }
    }

    fn hang_up_for(&mut self, by: HangupBy, cause: HangupReason, now: Instant) {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over) {
            return;
        }
        let (state, reason) = match (self.answered, cause) {
            (Some(_), HangupReason::Api) => (State::Completed, reason::HANGUP),
            (None, HangupReason::Api) => (State::Canceled, reason::CANCELED),
            (Some(_), HangupReason::Shutdown) => (State::Completed, reason::SHUTDOWN),
            (None, HangupReason::Shutdown) => (State::Canceled, reason::SHUTDOWN),
        };
        self.hang_up(state, because(reason, by), now);
    }

    /// Does what is due at `now`; nothing when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &mut self.phase {
            Phase::Hunting(hunt) => {
                let news = hunt.timed_out(&mut self.out, now);
                self.hunted(news, now);
            }
            Phase::Closing { at } if *at <= now => {
                self.hang_up(State::Completed, because(reason::FLOW_DONE, HangupBy::System), now);
            }
            Phase::Gathering(gathering) if gathering.until().is_some_and(|at| at <= now) => {
                self.gathered(GatherEnd::Timeout, now);
            }
            Phase::Bridging(bridge) if bridge.until().is_some_and(|at| at <= now) => {
                self.bridge_timed_out(now);
            }
            Phase::Connecting
            | Phase::Playing { .. }
            | Phase::Gathering(_)
            | Phase::Recording { .. }
            | Phase::Bridging(_)
            | Phase::Closing { .. }
            | Phase::Holding => {
                self.hang_up(State::Completed, cause::max_duration(self.max_duration), now);
            }
            Phase::Ending { end, .. } => {
                let (state, cause) = end.clone();
                self.finish(state, cause, now);
            }
            Phase::Over => {}
        }
    }

    /// Ends the call, by refusing it where it has come in and is unanswered; it takes `state` when its leg has ended,
    /// or at the latest [`LEG_END`] from now.
    fn hang_up(&mut self, state: State, cause: Cause, now: Instant) {
        self.quit();
        let n = self.first.n;
        let legs = match &mut self.phase {
            Phase::Hunting(hunt) => {
                self.attempt = hunt.attempt();
                hunt.hang_up(&cause, &mut self.out)
            }
            _ if self.first.is_answered => {
                self.out.push(Output::HangUp { n, cause: cause.clone() });
                vec![n]
            }
            _ => {
                self.out.push(Output::Reject { n, cause: cause.clone() });
                vec![n]
            }
        };
        self.phase = Phase::Ending { legs, end: (state, cause), until: now + LEG_END };
    }

    fn finish(&mut self, state: State, cause: Cause, now: Instant) {
        self.quit();
        self.phase = Phase::Over;
        self.enter(state);
        self.out.push(Output::Finished(Outcome {
            state: self.state,
            cause,
            attempt: self.attempt,
            created: self.created,
            ringing: self.ringing,
            answered: self.answered,
            ended: now,
        }));
    }

    /// Moves on to a state of higher rank; a late event of a lower one changes nothing.
    fn enter(&mut self, state: State) {
        if state.rank() > self.state.rank() {
            self.state = state;
            self.out.push(Output::State { state });
        }
    }

    fn is_too_silent(&self, after: Duration) -> bool {
        self.silence_timeout.is_some_and(|limit| after >= limit)
    }
}

/// Why a verb cannot be taken during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotNow {
    /// Nobody has answered yet.
    NotAnswered,
    /// The call is ending, or over.
    Ending,
    /// Nothing is under way.
    NothingToStop,
    /// Too many verbs wait already.
    TooMuch,
    /// The leg is not joined with another one.
    NotJoined,
    /// There is no way to call whom it is to be transferred to.
    NoWay,
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotNow::NotAnswered => f.write_str("The call has not been answered yet."),
            NotNow::Ending => f.write_str("The call is ending."),
            NotNow::NothingToStop => f.write_str("Nothing is under way that could be stopped."),
            NotNow::TooMuch => write!(f, "{MOST_INSERTED} steps are waiting already, which is the most."),
            NotNow::NotJoined => f.write_str("There is nobody on the line to be transferred."),
            NotNow::NoWay => f.write_str("There is no way to call whom it is to be transferred to."),
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests;
