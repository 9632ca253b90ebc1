//! What a call does once it is answered.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::route::Attempt;

/// A piece of sound, rendered before the call is placed: an index into the clips the caller of this crate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClipId(pub u32);

/// The addresses of a [`Dial`]'s attempts: an index into what the caller of this crate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

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
    /// Call somebody else and join both.
    Dial(Box<Dial>),
    /// End the call; the steps after it are not run.
    Hangup,
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
    /// Where the attempts' addresses are.
    pub route: RouteId,
    /// The ways there, in order.
    pub attempts: Vec<Attempt>,
    /// How long each attempt may go unanswered.
    pub ring_timeout: Duration,
    /// The longest time both are joined.
    pub max_duration: Duration,
    /// What the first side hears, again and again, while the second one rings.
    pub ringback: Option<ClipId>,
}
