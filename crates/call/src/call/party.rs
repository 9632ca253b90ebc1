//! Somebody on a leg.

use super::hunt::End;
use super::input::LegEnd;
use crate::cause::{HangupBy, because, reason};
use crate::state::State;

/// Who is on a leg that is up, or that is an incoming one.
#[derive(Clone, Debug)]
pub(super) struct Party {
    /// The leg.
    pub(super) n: u32,
    /// Who it was that hung up, if this leg does.
    pub(super) by: HangupBy,
    /// Whether an incoming leg was told to be answered.
    pub(super) is_answering: bool,
    pub(super) is_answered: bool,
    pub(super) media_ready: bool,
}

impl Party {
    /// Somebody who answered; sound is not ready.
    pub(super) fn answered(n: u32, by: HangupBy) -> Self {
        Self { n, by, is_answering: false, is_answered: true, media_ready: false }
    }

    /// Somebody who calls, or is not there yet.
    pub(super) fn unanswered(n: u32, by: HangupBy) -> Self {
        Self { is_answered: false, ..Self::answered(n, by) }
    }
}

/// What the end of an answered leg means; `whose` that leg is.
pub(super) fn ended(by: LegEnd, q850: Option<u8>, whose: HangupBy) -> End {
    let (state, mut cause) = match by {
        LegEnd::Remote | LegEnd::Canceled => (State::Completed, because(reason::NORMAL, whose)),
        LegEnd::NoAck => (State::Failed, because(reason::NO_ACK, HangupBy::System)),
        LegEnd::Transport => (State::Failed, because(reason::CONNECTION_LOST, HangupBy::System)),
        LegEnd::Expired => (State::Failed, because(reason::SESSION_EXPIRED, HangupBy::System)),
    };
    cause.q850 = q850.or(cause.q850);
    (state, cause)
}

/// What it means that an incoming leg ended before it was answered.
pub(super) fn abandoned(by: LegEnd, q850: Option<u8>, whose: HangupBy) -> End {
    match by {
        LegEnd::Remote | LegEnd::Canceled => {
            let mut cause = because(reason::CANCELED, whose);
            cause.q850 = q850.or(cause.q850);
            (State::Canceled, cause)
        }
        LegEnd::NoAck | LegEnd::Transport | LegEnd::Expired => ended(by, q850, whose),
    }
}
