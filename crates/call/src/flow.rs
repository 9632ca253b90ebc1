//! What a call does, and whom it calls for that.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::route::Attempt;

/// A piece of sound, rendered before the call is placed: an index into the clips the caller of this crate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClipId(pub u32);

/// The addresses of a [`Route`]'s attempts: an index into what the caller of this crate holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

/// The ways to somebody, in rounds: one round after another, the attempts of a round at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Where the attempts' addresses are.
    pub id: RouteId,
    /// The rounds, in order; those without attempts are passed over.
    pub rounds: Vec<Round>,
}

/// Attempts that are made at once. The first answer wins, the others are hung up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// At most 16; further ones are not made.
    pub attempts: Vec<Attempt>,
    /// How long each may go unanswered.
    pub ring_timeout: Duration,
    /// When the next round follows.
    pub then: Then,
}

/// When the next round follows one that brought no answer. A refusal for all (6xx) ends the route in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// Only where nobody can have been rung ([`may_try_next`](crate::route::may_try_next)): the same person over
    /// another trunk, who must not be rung or billed twice.
    IfUnrung,
    /// Always: other phones, or other people.
    Always,
}

impl Route {
    /// One attempt after another, each only where the ones before cannot have rung anybody.
    pub fn in_order(id: RouteId, attempts: Vec<Attempt>, ring_timeout: Duration) -> Self {
        let round = |attempt| Round { attempts: vec![attempt], ring_timeout, then: Then::IfUnrung };
        Self { id, rounds: attempts.into_iter().map(round).collect() }
    }

    /// How many attempts there are. [`Output::Dial`](crate::Output::Dial) counts them from 0 through all rounds.
    pub fn attempts(&self) -> usize {
        self.rounds.iter().map(|round| round.attempts.len()).sum()
    }
}

/// One step of a call flow. The steps run in order, each after the one before is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Speak a text.
    Say {
        /// The speech made from `text`.
        clip: ClipId,
        /// What is said, for whoever follows the call.
        text: String,
    },
    /// Play a sound file.
    Play {
        /// The decoded file.
        clip: ClipId,
        /// The file's name, for whoever follows the call.
        name: String,
    },
    /// Stay silent for this long.
    Pause(Duration),
    /// Press keys: `0`-`9`, `*`, `#`, `A`-`D`; `w` waits half a second.
    Digits(String),
    /// Ask for digits.
    Gather(Box<Gather>),
    /// Record what the other side says, into a file of its own.
    Record(Record),
    /// Call somebody else and join both. An incoming call stays unanswered until they answer.
    Dial(Box<Dial>),
    /// Answer an incoming call. Verbs that need sound answer it too.
    Answer,
    /// Refuse an incoming call with this SIP status, 400 to 699; one that is answered is ended.
    Reject(u16),
    /// End the call, with 603 where it is an incoming one that is unanswered; the steps after it are not run.
    Hangup,
}

impl Verb {
    /// Whether an incoming call has to be answered for it.
    pub(crate) fn needs_sound(&self) -> bool {
        !matches!(self, Verb::Dial(_) | Verb::Reject(_) | Verb::Hangup)
    }
}

/// Asks for digits: plays the prompts until the first key, then reads on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// What to say; only [`Verb::Say`], [`Verb::Play`] and [`Verb::Pause`] count.
    pub prompts: Vec<Verb>,
    /// How many digits are wanted; the most end it.
    pub digits: RangeInclusive<usize>,
    /// The key that ends it; not part of the digits.
    pub finish: Option<char>,
    /// How long to wait for the first digit, from the end of the prompts.
    pub timeout: Duration,
    /// How long to wait for each further one.
    pub between: Duration,
    /// How often to ask in all, at least once.
    pub tries: u32,
    /// What to do next, by the digits. Where there are any, other digits count as a failed try.
    pub branches: Vec<(String, Vec<Verb>)>,
    /// What to do when no try brought usable digits.
    pub otherwise: Vec<Verb>,
}

/// How a recording of its own is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether a beep comes first.
    pub beep: bool,
    /// The longest it may be.
    pub max: Duration,
    /// Silence that ends it; `None` lets silence pass.
    pub end_silence: Option<Duration>,
    /// Keys that end it.
    pub finish_keys: String,
}

/// Calls somebody else on a second leg and joins both until either hangs up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Whom, for whoever follows the call.
    pub to: String,
    /// The ways there.
    pub route: Route,
    /// The longest time both are joined.
    pub max_duration: Duration,
    /// What the side that waits hears, again and again, while the other one rings.
    pub ringback: Option<ClipId>,
    /// Whether the call ends with it once somebody has answered; otherwise the flow goes on.
    pub is_final: bool,
}
