//! What a call wants done, and what it tells.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::flow::{ClipId, Record, RouteId, Verb};
use crate::state::State;

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Place this attempt, an index into [`Spec::attempts`](crate::Spec::attempts). The leg before it, if any, is
    /// gone.
    Dial {
        /// The index.
        attempt: usize,
    },
    /// End the first leg, by CANCEL or BYE as it stands, and report its end.
    HangUp {
        /// Why.
        cause: Cause,
    },
    /// Play a clip to the first leg and report [`Input::Played`](crate::Input::Played) with this id.
    Play {
        /// Unique within the call.
        id: u32,
        /// What to play.
        clip: ClipId,
    },
    /// Send the first leg silence for this long and report [`Input::Played`](crate::Input::Played) with this id.
    Pause {
        /// Unique within the call.
        id: u32,
        /// How long.
        length: Duration,
    },
    /// Press keys on a leg and report [`Input::Played`](crate::Input::Played) with this id.
    Digits {
        /// On which.
        leg: Leg,
        /// Unique within the call.
        id: u32,
        /// As in [`Verb::Digits`].
        digits: String,
    },
    /// Record the first leg into a file of its own and report [`Input::Recorded`](crate::Input::Recorded) with this
    /// id.
    Record {
        /// Unique within the call.
        id: u32,
        /// How.
        rules: Record,
    },
    /// Stop whatever is being played to the first leg.
    StopMedia,
    /// End this recording; it reports its end.
    StopRecord {
        /// Its id.
        id: u32,
    },
    /// Place an attempt of a second leg. The one before it, if any, is gone.
    DialSecond {
        /// Names the leg from now on; unique within the call.
        n: u32,
        /// Where its address is: in the route, this attempt.
        route: RouteId,
        /// Which.
        attempt: usize,
    },
    /// End a second leg, by CANCEL or BYE as it stands. Nothing more about it is wanted.
    HangUpSecond {
        /// Which.
        n: u32,
        /// Why.
        cause: Cause,
    },
    /// Let both legs hear one another, until the second one is gone.
    Join {
        /// The second leg.
        n: u32,
    },
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

/// One of a call's two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// The one the call began with.
    First,
    /// The one a [`Dial`](crate::Dial) added.
    Second,
}

/// Why asking for digits ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatherEnd {
    /// The finish key was pressed.
    FinishKey,
    /// As many digits came as may.
    MaxDigits,
    /// No further digit came in time.
    Timeout,
    /// The finish key was pressed before there were enough digits.
    TooFew,
    /// No branch has these digits.
    NoMatch,
    /// It was told to stop.
    Stopped,
}

impl GatherEnd {
    /// The word used in every API.
    pub fn as_str(self) -> &'static str {
        match self {
            GatherEnd::FinishKey => "finish_key",
            GatherEnd::MaxDigits => "max_digits",
            GatherEnd::Timeout => "timeout",
            GatherEnd::TooFew => "too_few",
            GatherEnd::NoMatch => "no_match",
            GatherEnd::Stopped => "stopped",
        }
    }
}

/// A step of a call, for people: `Display` is a line to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An attempt is being placed.
    Attempt {
        /// On which leg.
        leg: Leg,
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
    /// Keys are being pressed.
    Sending {
        /// Which.
        digits: String,
    },
    /// A key was pressed at the other side.
    Digit {
        /// Of this leg.
        leg: Leg,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
    },
    /// Digits are asked for.
    Gathering {
        /// How often so far, from 1.
        n: u32,
    },
    /// Asking for digits is over.
    Gathered {
        /// What was entered last.
        digits: String,
        /// Why it ended.
        why: GatherEnd,
    },
    /// A recording of its own begins.
    Recording,
    /// Somebody else is being called.
    Dialing {
        /// Whom.
        to: String,
    },
    /// The second leg rings.
    SecondRinging,
    /// The second leg was answered.
    SecondAnswered,
    /// The second leg is over.
    Dialed {
        /// How.
        state: State,
        /// Why.
        cause: Cause,
    },
    /// What was under way was stopped.
    Stopped,
    /// The flow has come to its end.
    FlowDone,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Attempt { n, of, trunk: Some(trunk), .. } => {
                write!(f, "attempt {n} of {of} over {trunk}")
            }
            Progress::Attempt { n, of, trunk: None, .. } => write!(f, "attempt {n} of {of}"),
            Progress::AttemptFailed { cause } => write!(f, "attempt failed: {}", cause.text),
            Progress::Paced => f.write_str("waiting for the trunk"),
            Progress::EarlyMedia => f.write_str("early media"),
            Progress::Saying { text } => write!(f, "saying: {text}"),
            Progress::Playing { name } => write!(f, "playing {name}"),
            Progress::Pausing { length } => write!(f, "pausing for {} ms", length.as_millis()),
            Progress::Sending { digits } => write!(f, "sending digits {digits}"),
            Progress::Digit { leg: Leg::First, digit } => write!(f, "the other side pressed {digit}"),
            Progress::Digit { leg: Leg::Second, digit } => write!(f, "the second leg pressed {digit}"),
            Progress::Gathering { n } => write!(f, "asking for digits ({n})"),
            Progress::Gathered { digits, why } => write!(f, "digits {digits:?} ({})", why.as_str()),
            Progress::Recording => f.write_str("recording"),
            Progress::Dialing { to } => write!(f, "dialing {to}"),
            Progress::SecondRinging => f.write_str("the second leg rings"),
            Progress::SecondAnswered => f.write_str("the second leg answered"),
            Progress::Dialed { state, cause } => write!(f, "second leg {state}: {}", cause.text),
            Progress::Stopped => f.write_str("stopped"),
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
    /// The last attempt placed, an index into [`Spec::attempts`](crate::Spec::attempts).
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

/// The outputs that wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    waiting: VecDeque<Output>,
    /// The id of the next sound, recording or second leg.
    next_id: u32,
}

impl Outputs {
    pub(super) fn pop(&mut self) -> Option<Output> {
        self.waiting.pop_front()
    }

    pub(super) fn push(&mut self, output: Output) {
        self.waiting.push_back(output);
    }

    pub(super) fn progress(&mut self, progress: Progress) {
        self.push(Output::Progress(progress));
    }

    pub(super) fn id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// Starts what lasts until it was heard, and returns its id; `None` for any other verb.
    pub(super) fn play(&mut self, verb: &Verb) -> Option<u32> {
        let id = self.next_id;
        let (progress, output) = match verb {
            Verb::Say { clip, text } => {
                (Progress::Saying { text: text.clone() }, Output::Play { id, clip: *clip })
            }
            Verb::Play { clip, name } => {
                (Progress::Playing { name: name.clone() }, Output::Play { id, clip: *clip })
            }
            Verb::Pause(length) => {
                (Progress::Pausing { length: *length }, Output::Pause { id, length: *length })
            }
            Verb::Digits(digits) => {
                let output = Output::Digits { leg: Leg::First, id, digits: digits.clone() };
                (Progress::Sending { digits: digits.clone() }, output)
            }
            Verb::Gather(_) | Verb::Record(_) | Verb::Dial(_) | Verb::Hangup => return None,
        };
        self.progress(progress);
        self.push(output);
        Some(self.id())
    }
}
