//! What a call is told.

use std::time::Duration;

use crate::cause::{HangupBy, LegFailure};

/// What happened to the call's legs, its sound, or its owner's mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Something happened to a leg.
    Leg {
        /// Which, as [`Output::Dial`](crate::Output::Dial) named it; 0 is the leg an incoming call began with. One
        /// that is over is ignored.
        n: u32,
        /// What.
        what: LegInput,
    },
    /// An [`Output::Play`](crate::Output::Play), `Pause` or `Digits` is over.
    Played {
        /// Its id.
        id: u32,
        /// Whether it ran to its end.
        whole: bool,
    },
    /// An [`Output::Record`](crate::Output::Record) is over.
    Recorded {
        /// Its id.
        id: u32,
    },
    /// The call is to end.
    Hangup {
        /// On whose behalf.
        by: HangupBy,
        /// Why.
        cause: HangupReason,
    },
}

/// What happened to a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegInput {
    /// The attempt has to wait its turn: until [`LegInput::Dialed`] no ring time-out runs.
    Waiting,
    /// The attempt that waited is on its way.
    Dialed,
    /// The first 100 was received: the peer has the request.
    Trying,
    /// A response from 180 to 183 was received.
    Ringing {
        /// Whether it announced sound before the answer.
        early_media: bool,
    },
    /// The leg was answered: by them, or by us where it is an incoming one.
    Answered,
    /// The leg ended without having been answered.
    Failed(LegFailure),
    /// The leg ended: an answered one, or an incoming one.
    Ended {
        /// By whom.
        by: LegEnd,
        /// The Q.850 cause of its Reason header, if there was one.
        q850: Option<u8>,
    },
    /// Sound can be played to the other side.
    MediaReady,
    /// Sound cannot be set up or has broken; what went wrong.
    MediaFailed(String),
    /// No RTP has arrived for this long.
    Silent {
        /// How long.
        after: Duration,
    },
    /// A key was pressed at the other side: `0` to `9`, `*`, `#`, `A` to `D`.
    Digit(char),
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegEnd {
    /// The other side hung up.
    Remote,
    /// The caller gave up before we answered.
    Canceled,
    /// The answer was never acknowledged (RFC 3261 section 13.3.1.4).
    NoAck,
    /// The connection broke.
    Transport,
    /// The session timer was not refreshed in time (RFC 4028 section 10).
    Expired,
}

/// Why our side hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HangupReason {
    /// It was asked to.
    Api,
    /// The server is going down.
    Shutdown,
}
