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
    /// Place this attempt as a leg of its own.
    Dial {
        /// Names the leg from now on; unique within the call.
        n: u32,
        /// The role it will have.
        leg: Leg,
        /// Where its address is: in the route, this attempt.
        route: RouteId,
        /// Which, counted from 0 through all rounds of the route.
        attempt: usize,
    },
    /// Answer the incoming leg and report [`LegInput::Answered`](crate::LegInput::Answered), and `MediaReady` unless
    /// early media was ready before.
    Answer {
        /// Which.
        n: u32,
    },
    /// Tell the incoming leg that it rings, once, and once more when there is early media.
    Ring {
        /// Which.
        n: u32,
        /// Whether it is to hear early media: report `MediaReady` once it can.
        early_media: bool,
    },
    /// Refuse the incoming leg with [`Cause::refusal`] and report its end.
    Reject {
        /// Which.
        n: u32,
        /// Why.
        cause: Cause,
    },
    /// End a leg, by CANCEL or BYE as it stands. Its end is to be reported where the call
    /// [awaits](crate::Call::awaits) it; nothing else about it is wanted.
    HangUp {
        /// Which.
        n: u32,
        /// Why.
        cause: Cause,
    },
    /// Play a clip to a leg and report [`Input::Played`](crate::Input::Played) with this id.
    Play {
        /// To which.
        n: u32,
        /// Unique within the call.
        id: u32,
        /// What to play.
        clip: ClipId,
    },
    /// Send a leg silence for this long and report [`Input::Played`](crate::Input::Played) with this id.
    Pause {
        /// Which.
        n: u32,
        /// Unique within the call.
        id: u32,
        /// How long.
        length: Duration,
    },
    /// Press keys on a leg and report [`Input::Played`](crate::Input::Played) with this id.
    Digits {
        /// On which.
        n: u32,
        /// Unique within the call.
        id: u32,
        /// As in [`Verb::Digits`].
        digits: String,
    },
    /// Record a leg into a file of its own and report [`Input::Recorded`](crate::Input::Recorded) with this id.
    Record {
        /// Which.
        n: u32,
        /// Unique within the call.
        id: u32,
        /// How.
        rules: Record,
    },
    /// Stop whatever is being played to a leg.
    StopMedia {
        /// Which.
        n: u32,
    },
    /// End this recording; it reports its end.
    StopRecord {
        /// Of which leg.
        n: u32,
        /// Its id.
        id: u32,
    },
    /// Let two legs hear one another, until they are parted or either is gone.
    Join {
        /// The one.
        one: u32,
        /// The other.
        other: u32,
    },
    /// Let two joined legs hear one another no more.
    Part {
        /// The one.
        one: u32,
        /// The other.
        other: u32,
    },
    /// Tell the leg that asked for a transfer how far it has come (RFC 3515 section 2.4.5).
    TransferProgress {
        /// Which.
        n: u32,
        /// 100 once it is accepted, 180 while it rings; 200 and above is the last word.
        status: u16,
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

/// The two roles a leg can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// The party whose flow runs.
    First,
    /// The one a [`Dial`](crate::Dial) or a transfer added.
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
    /// An incoming call is there.
    Incoming,
    /// Several attempts are being placed at once.
    Forked {
        /// How many.
        legs: usize,
    },
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
    /// An attempt failed and another one follows, or goes on.
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
    /// One side sends the other on to somebody else.
    Transferring {
        /// To whom.
        to: String,
    },
    /// The other side has been joined with somebody else.
    Transferred,
    /// Nobody was found to send the other side on to.
    TransferFailed {
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
            Progress::Incoming => f.write_str("incoming call"),
            Progress::Forked { legs } => write!(f, "{legs} attempts at once"),
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
            Progress::Transferring { to } => write!(f, "transferring to {to}"),
            Progress::Transferred => f.write_str("transferred"),
            Progress::TransferFailed { cause } => write!(f, "transfer failed: {}", cause.text),
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
    /// The attempt that was answered, or else the last one placed, counted through all rounds of
    /// [`Spec::route`](crate::Spec::route); 0 for an incoming call.
    pub attempt: usize,
    /// When the call was created.
    pub created: Instant,
    /// When the other side was first reported to ring, or an incoming call told that it rings.
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
    /// The id of the next sound or recording.
    next_id: u32,
    /// The number of the next leg.
    next_leg: u32,
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

    /// The number of a new leg.
    pub(super) fn leg(&mut self) -> u32 {
        let n = self.next_leg;
        self.next_leg = n.wrapping_add(1);
        n
    }

    /// Starts what lasts until the leg `n` has heard it, and returns its id; `None` for any other verb.
    pub(super) fn play(&mut self, n: u32, verb: &Verb) -> Option<u32> {
        let id = self.next_id;
        let (progress, output) = match verb {
            Verb::Say { clip, text } => {
                (Progress::Saying { text: text.clone() }, Output::Play { n, id, clip: *clip })
            }
            Verb::Play { clip, name } => {
                (Progress::Playing { name: name.clone() }, Output::Play { n, id, clip: *clip })
            }
            Verb::Pause(length) => {
                (Progress::Pausing { length: *length }, Output::Pause { n, id, length: *length })
            }
            Verb::Digits(digits) => {
                let output = Output::Digits { n, id, digits: digits.clone() };
                (Progress::Sending { digits: digits.clone() }, output)
            }
            Verb::Gather(_)
            | Verb::Record(_)
            | Verb::Dial(_)
            | Verb::Answer
            | Verb::Reject(_)
            | Verb::Hangup => return None,
        };
        self.progress(progress);
        self.push(output);
        Some(self.id())
    }
}
