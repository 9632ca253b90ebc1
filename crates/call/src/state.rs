//! The eight states of a call.

use std::fmt;
use std::str::FromStr;

/// The state of a call. It only moves forward, and each call reaches exactly one final state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Accepted; no phone rings yet.
    Queued,
    /// The other side signalled a provisional response (SIP 180 to 183).
    Ringing,
    /// Answered.
    InProgress,
    /// Was answered and ended normally, whoever hung up.
    Completed,
    /// The callee is on another call.
    Busy,
    /// The call could not be completed; the cause says why.
    Failed,
    /// Nobody answered in time.
    NoAnswer,
    /// Ended by our side before it was answered.
    Canceled,
}

impl State {
    /// Every state, in the order of [`State::rank`].
    pub const ALL: [State; 8] = [
        State::Queued,
        State::Ringing,
        State::InProgress,
        State::Completed,
        State::Busy,
        State::Failed,
        State::NoAnswer,
        State::Canceled,
    ];

    /// The word used in every API and in the database, such as `in-progress`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Ringing => "ringing",
            State::InProgress => "in-progress",
            State::Completed => "completed",
            State::Busy => "busy",
            State::Failed => "failed",
            State::NoAnswer => "no-answer",
            State::Canceled => "canceled",
        }
    }

    /// How far along the call is, 0 to 3; all final states share 3. A state may only follow one of lower rank.
    pub fn rank(self) -> u8 {
        match self {
            State::Queued => 0,
            State::Ringing => 1,
            State::InProgress => 2,
            State::Completed | State::Busy | State::Failed | State::NoAnswer | State::Canceled => 3,
        }
    }

    /// Whether nothing follows this state.
    pub fn is_final(self) -> bool {
        self.rank() == 3
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no [`State`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a call has no such state: use queued, ringing, in-progress, completed, busy, failed, no-answer or canceled"
)]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(UnknownState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("cancelled".parse::<State>(), Err(UnknownState));
        assert_eq!("Queued".parse::<State>(), Err(UnknownState));
    }

    #[test]
    fn only_the_last_five_are_final() {
        let finals: Vec<_> = State::ALL.into_iter().filter(|state| state.is_final()).collect();
        insta::assert_debug_snapshot!(finals, @r"
        [
            Completed,
            Busy,
            Failed,
            NoAnswer,
            Canceled,
        ]
        ");
    }
}
