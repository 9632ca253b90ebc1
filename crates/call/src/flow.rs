//! What a call does once it is answered.

use std::time::Duration;

/// A piece of sound, rendered before the call is placed: an index into the clips the caller of this crate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClipId(pub u32);

/// One step of a call flow. The steps run in order, each after the one before has been heard to its end.
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
    /// End the call; the steps after it are not run.
    Hangup,
}
