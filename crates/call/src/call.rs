//! The state machine of one outbound call.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::cause::{self, Cause, HangupBy, LegFailure, because, reason};
use crate::flow::{ClipId, Verb};
use crate::route::{self, Attempt};
use crate::state::State;

/// How long the line stays open after the last verb, so that the last words still in the other side's jitter buffer
/// are heard.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a leg may take to end once it was hung up.
const LEG_END: Duration = Duration::from_secs(5);

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
    /// Whether the line stays open when the flow is done. Otherwise it is hung up 500 ms later.
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

/// What happened to the call's leg, its sound, or its owner's mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The attempt has to wait its turn: until [`Input::Dialed`] no ring time-out runs.
    Waiting,
    /// The attempt that waited is on its way.
    Dialed,
    /// A response from 180 to 183 was received.
    Ringing {
        /// Whether it announced sound before the answer.
        early_media: bool,
    },
    /// The leg was answered.
    Answered,
    /// The leg ended without having been answered.
    LegFailed(LegFailure),
    /// The answered leg ended.
    LegEnded {
        /// By whom.
        by: LegEnd,
        /// The Q.850 cause of its Reason header, if there was one.
        q850: Option<u8>,
    },
    /// Sound can be played to the other side.
    MediaReady,
    /// An [`Output::Play`] or [`Output::Pause`] is over.
    Played {
        /// Its id.
        id: u32,
        /// Whether it ran to its end.
        whole: bool,
    },
    /// No RTP has arrived for this long.
    Silent {
        /// How long.
        after: Duration,
    },
    /// Sound cannot be set up or has broken; what went wrong.
    MediaFailed(String),
    /// The call is to end.
    Hangup {
        /// On whose behalf.
        by: HangupBy,
        /// Why.
        cause: HangupReason,
    },
    /// A key was pressed at the other side: `0` to `9`, `*`, `#`, `A` to `D`.
    Digit(char),
}

/// How an answered leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegEnd {
    /// The other side hung up.
    Remote,
    /// The answer was never acknowledged (RFC 3261 section 13.3.1.4).
    NoAck,
    /// The connection broke.
    Transport,
}

/// Why our side hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HangupReason {
    /// It was asked to.
    Api,
    /// The server is going down.
    Shutdown,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Place this attempt, an index into [`Spec::attempts`]. The leg before it, if any, is gone.
    Dial {
        /// The index.
        attempt: usize,
    },
    /// End the current leg, by CANCEL or BYE as it stands, and report its end.
    HangUp {
        /// Why.
        cause: Cause,
    },
    /// Play a clip to the other side and report [`Input::Played`] with this id.
    Play {
        /// Unique within the call.
        id: u32,
        /// What to play.
        clip: ClipId,
    },
    /// Send silence for this long and report [`Input::Played`] with this id.
    Pause {
        /// Unique within the call.
        id: u32,
        /// How long.
        length: Duration,
    },
    /// Stop whatever is being played.
    StopMedia,
    /// The call has reached this state.
    State {
        /// Of higher rank than the one before.
        state: State,
    },
    /// Something worth telling whoever follows the call.
    Progress(Progress),
    /// The call is over: the last output.
    Finished(Outcome),
}

/// A step of a call, for people: `Display` is a line to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An attempt is being placed.
    Attempt {
        /// Which, from 1.
        n: usize,
        /// Of how many.
        of: usize,
        /// Over the trunk with this id.
        trunk: Option<String>,
    },
    /// An attempt failed and another one follows.
    AttemptFailed {
        /// Why.
        cause: Cause,
    },
    /// The attempt waits its turn at the trunk.
    Paced,
    /// The other side sends sound before it answers.
    EarlyMedia,
    /// A text is being said.
    Saying {
        /// The text.
        text: String,
    },
    /// A file is being played.
    Playing {
        /// Its name.
        name: String,
    },
    /// The flow pauses.
    Pausing {
        /// How long.
        length: Duration,
    },
    /// A key was pressed at the other side.
    Digit(char),
    /// The flow has come to its end.
    FlowDone,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Attempt { n, of, trunk: Some(trunk) } => write!(f, "attempt {n} of {of} over {trunk}"),
            Progress::Attempt { n, of, trunk: None } => write!(f, "attempt {n} of {of}"),
            Progress::AttemptFailed { cause } => write!(f, "attempt failed: {}", cause.text),
            Progress::Paced => f.write_str("waiting for the trunk"),
            Progress::EarlyMedia => f.write_str("early media"),
            Progress::Saying { text } => write!(f, "saying: {text}"),
            Progress::Playing { name } => write!(f, "playing {name}"),
            Progress::Pausing { length } => write!(f, "pausing for {} ms", length.as_millis()),
            Progress::Digit(digit) => write!(f, "the other side pressed {digit}"),
            Progress::FlowDone => f.write_str("flow done"),
        }
    }
}

/// How the call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The final state.
    pub state: State,
    /// Why it ended.
    pub cause: Cause,
    /// The last attempt placed, an index into [`Spec::attempts`].
    pub attempt: usize,
    /// When the call was created.
    pub created: Instant,
    /// When the other side was first reported to ring.
    pub ringing: Option<Instant>,
    /// When it was answered.
    pub answered: Option<Instant>,
    /// When it was over.
    pub ended: Instant,
}

/// Where the call stands.
#[derive(Debug)]
enum Phase {
    /// An attempt is out; `until` the ring time-out.
    Dialing { until: Option<Instant> },
    /// Answered; sound is being set up.
    Connecting,
    /// The verb last taken from the flow is being played under this id.
    Playing { id: u32 },
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
    /// The next verb of the flow.
    next_verb: usize,
    /// The id of the next `Play` or `Pause`.
    next_id: u32,
    created: Instant,
    ringing: Option<Instant>,
    answered: Option<Instant>,
    /// When `max_duration` is reached; set by the answer.
    limit: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Call {
    /// A call that starts with its first attempt, or fails at once if there is none.
    pub fn outbound(spec: Spec, now: Instant) -> Self {
        let mut call = Call {
            spec,
            phase: Phase::Over,
            state: State::Queued,
            attempt: 0,
            early_media: false,
            media_ready: false,
            next_verb: 0,
            next_id: 0,
            created: now,
            ringing: None,
            answered: None,
            limit: None,
            outputs: VecDeque::new(),
        };
        call.outputs.push_back(Output::State { state: State::Queued });
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
        self.outputs.pop_front()
    }

    /// When to call [`Call::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Dialing { until } => *until,
            Phase::Connecting | Phase::Playing { .. } | Phase::Holding => self.limit,
            Phase::Closing { at } => Some(self.limit.map_or(*at, |limit| limit.min(*at))),
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
                self.phase = Phase::Dialing { until: None };
                self.progress(Progress::Paced);
            }
            (Phase::Dialing { .. }, Input::Dialed) => self.phase = self.dialing(now),
            (_, Input::Waiting | Input::Dialed) => {}

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
            (Phase::Dialing { .. }, Input::Played { .. } | Input::Silent { .. } | Input::Digit(_)) => {}

            (Phase::Connecting, Input::MediaReady) => self.next_verb(now),
            (Phase::Playing { id: current }, Input::Played { id, .. }) if *current == id => {
                self.next_verb(now)
            }

            // From here on the call has been answered, whatever it is doing.
            (_, Input::LegEnded { by, q850 }) => self.leg_ended(by, q850, now),
            (_, Input::LegFailed(failure)) => {
                let (_, cause) = cause::from_failure(&failure);
                self.finish(State::Failed, cause, now);
            }
            (_, Input::Silent { after }) => {
                if self.spec.silence_timeout.is_some_and(|limit| after >= limit) {
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
            (_, Input::Digit(digit)) => self.progress(Progress::Digit(digit)),
            (_, Input::Ringing { .. } | Input::Answered | Input::MediaReady | Input::Played { .. }) => {}
        }
    }

    /// Does what is due at `now`; nothing when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &self.phase {
            Phase::Dialing { .. } => {
                let rang = self.state == State::Ringing;
                self.hang_up(State::NoAnswer, cause::no_answer(self.spec.ring_timeout, rang), now);
            }
            Phase::Closing { at } if *at <= now => {
                self.hang_up(State::Completed, because(reason::FLOW_DONE, HangupBy::System), now);
            }
            Phase::Connecting | Phase::Playing { .. } | Phase::Closing { .. } | Phase::Holding => {
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
        self.progress(Progress::Attempt { n: attempt + 1, of: self.spec.attempts.len(), trunk });
        self.outputs.push_back(Output::Dial { attempt });
    }

    /// A time-out beyond what `Instant` can hold is none.
    fn dialing(&self, now: Instant) -> Phase {
        Phase::Dialing { until: now.checked_add(self.spec.ring_timeout) }
    }

    fn ring(&mut self, early_media: bool, now: Instant) {
        self.ringing.get_or_insert(now);
        self.enter(State::Ringing);
        if early_media && !std::mem::replace(&mut self.early_media, true) {
            self.progress(Progress::EarlyMedia);
        }
    }

    fn attempt_failed(&mut self, failure: &LegFailure, now: Instant) {
        let (state, cause) = cause::from_failure(failure);
        let next = self.attempt + 1;
        let may_dial = self.ringing.is_none() && route::may_try_next(failure);
        if may_dial && next < self.spec.attempts.len() {
            self.progress(Progress::AttemptFailed { cause });
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

    fn next_verb(&mut self, now: Instant) {
        let verb = self.spec.flow.get(self.next_verb).cloned();
        self.next_verb += 1;
        let id = self.next_id;
        match verb {
            Some(Verb::Say { clip, text }) => {
                self.play(Progress::Saying { text }, Output::Play { id, clip });
            }
            Some(Verb::Play { clip, name }) => {
                self.play(Progress::Playing { name }, Output::Play { id, clip });
            }
            Some(Verb::Pause(length)) => {
                self.play(Progress::Pausing { length }, Output::Pause { id, length });
            }
            Some(Verb::Hangup) => self.flow_done(Phase::Closing { at: now + LAST_WORDS }),
            None if self.spec.hold_after_flow => self.flow_done(Phase::Holding),
            None => self.flow_done(Phase::Closing { at: now + LAST_WORDS }),
        }
    }

    fn play(&mut self, progress: Progress, output: Output) {
        self.phase = Phase::Playing { id: self.next_id };
        self.next_id += 1;
        self.progress(progress);
        self.outputs.push_back(output);
    }

    fn flow_done(&mut self, phase: Phase) {
        self.phase = phase;
        self.progress(Progress::FlowDone);
    }

    fn leg_ended(&mut self, by: LegEnd, q850: Option<u8>, now: Instant) {
        let (state, mut cause) = match by {
            LegEnd::Remote => (State::Completed, because(reason::NORMAL, HangupBy::Callee)),
            LegEnd::NoAck => (State::Failed, because(reason::NO_ACK, HangupBy::System)),
            LegEnd::Transport => (State::Failed, because(reason::CONNECTION_LOST, HangupBy::System)),
        };
        cause.q850 = q850.or(cause.q850);
        self.finish(state, cause, now);
    }

    /// Ends the leg; the call takes `state` when the leg has ended, or at the latest [`LEG_END`] from now.
    fn hang_up(&mut self, state: State, cause: Cause, now: Instant) {
        self.stop_media();
        self.outputs.push_back(Output::HangUp { cause: cause.clone() });
        self.phase = Phase::Ending { state, cause, until: now + LEG_END };
    }

    fn stop_media(&mut self) {
        if matches!(self.phase, Phase::Playing { .. }) {
            self.outputs.push_back(Output::StopMedia);
        }
    }

    fn finish(&mut self, state: State, cause: Cause, now: Instant) {
        self.stop_media();
        self.phase = Phase::Over;
        self.enter(state);
        self.outputs.push_back(Output::Finished(Outcome {
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
            self.outputs.push_back(Output::State { state });
        }
    }

    fn progress(&mut self, progress: Progress) {
        self.outputs.push_back(Output::Progress(progress));
    }
}

#[cfg(test)]
mod tests;
