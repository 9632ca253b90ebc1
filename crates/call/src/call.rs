//! The state machine of one call: its first leg here, its flow in `running`, a second leg in `second`.

mod gather;
mod input;
mod output;
mod running;
mod second;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use self::gather::Gathering;
pub use self::input::{HangupReason, Input, LegEnd, LegInput};
use self::output::Outputs;
pub use self::output::{GatherEnd, Leg, Outcome, Output, Progress};
use self::second::Second;
use crate::cause::{self, Cause, HangupBy, LegFailure, because, reason};
use crate::flow::Verb;
use crate::route::{self, Attempt};
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
    /// What happens once it is answered.
    pub flow: Vec<Verb>,
    /// The ways to reach the destination, in order.
    pub attempts: Vec<Attempt>,
    /// How long each attempt may go unanswered.
    pub ring_timeout: Duration,
    /// The longest time from answer to hang-up.
    pub max_duration: Duration,
    /// Hang up when no RTP has arrived for this long; `None` lets silence pass.
    pub silence_timeout: Option<Duration>,
    /// Whether the line stays open when the flow is done. Otherwise it is hung up 250 ms later.
    pub hold_after_flow: bool,
}

impl Spec {
    /// A call that rings for at most 60 s, lasts at most 4 h, ends after 30 s without RTP or when its flow is done.
    pub fn new(flow: Vec<Verb>, attempts: Vec<Attempt>) -> Self {
        Spec {
            flow,
            attempts,
            ring_timeout: Duration::from_secs(60),
            max_duration: Duration::from_secs(4 * 60 * 60),
            silence_timeout: Some(Duration::from_secs(30)),
            hold_after_flow: false,
        }
    }
}

/// Where the call stands.
#[derive(Debug)]
enum Phase {
    /// An attempt is out; `until` the ring time-out, `heard` whether the peer is known to have it.
    Dialing { until: Option<Instant>, heard: bool },
    /// Answered; sound is being set up.
    Connecting,
    /// The verb last taken from the flow is being played under this id.
    Playing { id: u32 },
    /// Digits are asked for.
    Gathering(Box<Gathering>),
    /// A recording of its own is made under this id.
    Recording { id: u32, finish_keys: String },
    /// Somebody else is being called, or joined.
    Bridging(Box<Second>),
    /// The flow is done; the line is hung up at this time.
    Closing { at: Instant },
    /// The flow is done and the line stays open.
    Holding,
    /// Hung up; the leg has until `until` to end.
    Ending { state: State, cause: Cause, until: Instant },
    /// Finished.
    Over,
}

/// One outbound call.
///
/// After every [`Call::handle_input`] and [`Call::handle_timeout`], drain [`Call::poll_output`] and wake up at
/// [`Call::poll_timeout`]. Whatever comes in, in whatever order: the state only moves forward, nobody is dialled once
/// anyone has been rung, and there is exactly one [`Output::Finished`], the last output, at the latest 5 s after the
/// call was hung up.
#[derive(Debug)]
pub struct Call {
    spec: Spec,
    phase: Phase,
    state: State,
    attempt: usize,
    early_media: bool,
    media_ready: bool,
    /// What is still to be done.
    flow: VecDeque<Verb>,
    /// What was asked for during the call; done before the flow goes on.
    inserted: VecDeque<Verb>,
    created: Instant,
    ringing: Option<Instant>,
    answered: Option<Instant>,
    /// When `max_duration` is reached; set by the answer.
    limit: Option<Instant>,
    out: Outputs,
}

impl Call {
    /// A call that starts with its first attempt, or fails at once if there is none.
    pub fn outbound(mut spec: Spec, now: Instant) -> Self {
        let mut call = Call {
            flow: std::mem::take(&mut spec.flow).into(),
            inserted: VecDeque::new(),
            spec,
            phase: Phase::Over,
            state: State::Queued,
            attempt: 0,
            early_media: false,
            media_ready: false,
            created: now,
            ringing: None,
            answered: None,
            limit: None,
            out: Outputs::default(),
        };
        call.out.push(Output::State { state: State::Queued });
        if call.spec.attempts.is_empty() {
            call.finish(State::Failed, because(reason::NO_ATTEMPT, HangupBy::System), now);
        } else {
            call.dial(0, now);
        }
        call
    }

    /// The state the call is in.
    pub fn state(&self) -> State {
        self.state
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to call [`Call::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Dialing { until, .. } => *until,
            Phase::Connecting | Phase::Playing { .. } | Phase::Recording { .. } | Phase::Holding => {
                self.limit
            }
            Phase::Gathering(gathering) => earlier(self.limit, gathering.until()),
            Phase::Bridging(second) => earlier(self.limit, second.until()),
            Phase::Closing { at } => earlier(self.limit, Some(*at)),
            Phase::Ending { until, .. } => Some(*until),
            Phase::Over => None,
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match (&self.phase, input) {
            (Phase::Over, _) => {}

            // Hung up already: the outcome stands, even if an answer or a refusal crosses our CANCEL.
            (Phase::Ending { state, cause, .. }, Input::LegFailed(_) | Input::LegEnded { .. }) => {
                let (state, cause) = (*state, cause.clone());
                self.finish(state, cause, now);
            }
            (Phase::Ending { .. }, _) => {}

            (_, Input::MediaFailed(said)) => self.hang_up(State::Failed, cause::media_failed(&said), now),

            (Phase::Dialing { .. }, Input::Waiting) => {
                self.phase = Phase::Dialing { until: None, heard: false };
                self.out.progress(Progress::Paced);
            }
            (Phase::Dialing { .. }, Input::Dialed) => self.phase = self.dialing(now),
            (Phase::Dialing { until, .. }, Input::Trying) => {
                self.phase = Phase::Dialing { until: *until, heard: true };
            }
            (Phase::Dialing { .. }, Input::Ringing { early_media }) => self.ring(early_media, now),
            (Phase::Dialing { .. }, Input::Answered) => self.answer(now),
            (Phase::Dialing { .. }, Input::LegFailed(failure)) => self.attempt_failed(&failure, now),
            (Phase::Dialing { .. }, Input::LegEnded { .. }) => {
                self.finish(State::Failed, because(reason::LEG_LOST, HangupBy::System), now);
            }
            (Phase::Dialing { .. }, Input::MediaReady) => self.media_ready = true,
            (Phase::Dialing { .. }, Input::Hangup { by, cause }) => {
                let reason = match cause {
                    HangupReason::Api => reason::CANCELED,
                    HangupReason::Shutdown => reason::SHUTDOWN,
                };
                self.hang_up(State::Canceled, because(reason, by), now);
            }
            (
                Phase::Dialing { .. },
                Input::Played { .. }
                | Input::Recorded { .. }
                | Input::Silent { .. }
                | Input::Digit(_)
                | Input::Second { .. },
            ) => {}

            (Phase::Connecting, Input::MediaReady) => self.next_verb(now),
            (Phase::Playing { id: current }, Input::Played { id, .. }) if *current == id => {
                self.next_verb(now);
            }
            (Phase::Gathering(gathering), Input::Played { id, .. }) if gathering.is_playing(id) => {
                self.next_prompt(now);
            }
            (Phase::Gathering(_), Input::Digit(digit)) => {
                self.out.progress(Progress::Digit { leg: Leg::First, digit });
                self.press(digit, now);
            }
            (Phase::Recording { id: current, .. }, Input::Recorded { id }) if *current == id => {
                self.next_verb(now);
            }
            (Phase::Recording { id, finish_keys }, Input::Digit(digit)) => {
                let id = finish_keys.contains(digit).then_some(*id);
                self.out.progress(Progress::Digit { leg: Leg::First, digit });
                id.into_iter().for_each(|id| self.out.push(Output::StopRecord { id }));
            }
            (Phase::Bridging(_), Input::Second { n, what }) => self.second(n, what, now),
            (Phase::Bridging(_), Input::Played { id, whole: true }) => self.ringback(id),
            (Phase::Bridging(_), Input::Digit(digit)) => self.relay(digit),

            // From here on the call has been answered, whatever it is doing.
            (_, Input::LegEnded { by, q850 }) => {
                let (state, cause) = second::ended(by, q850);
                self.finish(state, cause, now);
            }
            (_, Input::LegFailed(failure)) => {
                let (_, cause) = cause::from_failure(&failure);
                self.finish(State::Failed, cause, now);
            }
            (_, Input::Silent { after }) => {
                if self.is_too_silent(after) {
                    self.hang_up(State::Completed, cause::rtp_silence(after), now);
                }
            }
            (_, Input::Hangup { by, cause }) => {
                let reason = match cause {
                    HangupReason::Api => reason::HANGUP,
                    HangupReason::Shutdown => reason::SHUTDOWN,
                };
                self.hang_up(State::Completed, because(reason, by), now);
            }
            (_, Input::Digit(digit)) => self.out.progress(Progress::Digit { leg: Leg::First, digit }),
            (
                _,
                Input::Waiting
                | Input::Dialed
                | Input::Trying
                | Input::Ringing { .. }
                | Input::Answered
                | Input::MediaReady
                | Input::Played { .. }
                | Input::Recorded { .. }
                | Input::Second { .. },
            ) => {}
        }
    }

    /// Does what is due at `now`; nothing when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &self.phase {
            Phase::Dialing { heard, .. } => {
                let rang = self.state == State::Ringing;
                let (state, cause) = cause::unanswered(self.spec.ring_timeout, *heard, rang);
                self.hang_up(state, cause, now);
            }
            Phase::Closing { at } if *at <= now => {
                self.hang_up(State::Completed, because(reason::FLOW_DONE, HangupBy::System), now);
            }
            Phase::Gathering(gathering) if gathering.until().is_some_and(|at| at <= now) => {
                self.gathered(GatherEnd::Timeout, now);
            }
            Phase::Bridging(second) if second.until().is_some_and(|at| at <= now) => {
                self.second_timed_out(now)
            }
            Phase::Connecting
            | Phase::Playing { .. }
            | Phase::Gathering(_)
            | Phase::Recording { .. }
            | Phase::Bridging(_)
            | Phase::Closing { .. }
            | Phase::Holding => {
                self.hang_up(State::Completed, cause::max_duration(self.spec.max_duration), now);
            }
            Phase::Ending { state, cause, .. } => {
                let (state, cause) = (*state, cause.clone());
                self.finish(state, cause, now);
            }
            Phase::Over => {}
        }
    }

    fn dial(&mut self, attempt: usize, now: Instant) {
        let trunk = self.spec.attempts.get(attempt).and_then(|attempt| attempt.trunk.clone());
        self.attempt = attempt;
        self.media_ready = false;
        self.phase = self.dialing(now);
        let of = self.spec.attempts.len();
        self.out.progress(Progress::Attempt { leg: Leg::First, n: attempt + 1, of, trunk });
        self.out.push(Output::Dial { attempt });
    }

    /// A time-out beyond what `Instant` can hold is none.
    fn dialing(&self, now: Instant) -> Phase {
        Phase::Dialing { until: now.checked_add(self.spec.ring_timeout), heard: false }
    }

    fn ring(&mut self, early_media: bool, now: Instant) {
        self.ringing.get_or_insert(now);
        self.enter(State::Ringing);
        if early_media && !std::mem::replace(&mut self.early_media, true) {
            self.out.progress(Progress::EarlyMedia);
        }
    }

    fn attempt_failed(&mut self, failure: &LegFailure, now: Instant) {
        let (state, cause) = cause::from_failure(failure);
        let next = self.attempt + 1;
        let may_dial = self.ringing.is_none() && route::may_try_next(failure);
        if may_dial && next < self.spec.attempts.len() {
            self.out.progress(Progress::AttemptFailed { cause });
            self.dial(next, now);
        } else {
            self.finish(state, cause, now);
        }
    }

    fn answer(&mut self, now: Instant) {
        self.answered = Some(now);
        self.limit = now.checked_add(self.spec.max_duration);
        self.phase = Phase::Connecting;
        self.enter(State::InProgress);
        if self.media_ready {
            self.next_verb(now);
        }
    }

    /// Ends the leg; the call takes `state` when the leg has ended, or at the latest [`LEG_END`] from now.
    fn hang_up(&mut self, state: State, cause: Cause, now: Instant) {
        self.quit();
        self.out.push(Output::HangUp { cause: cause.clone() });
        self.phase = Phase::Ending { state, cause, until: now + LEG_END };
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
        self.spec.silence_timeout.is_some_and(|limit| after >= limit)
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
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotNow::NotAnswered => f.write_str("The call has not been answered yet."),
            NotNow::Ending => f.write_str("The call is ending."),
            NotNow::NothingToStop => f.write_str("Nothing is under way that could be stopped."),
            NotNow::TooMuch => write!(f, "{MOST_INSERTED} steps are waiting already, which is the most."),
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests;
