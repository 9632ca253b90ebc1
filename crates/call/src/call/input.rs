//! What a call is told.

use std::time::Duration;

use crate::cause::{HangupBy, LegFailure};

/// What happened to the call's legs, its sound, or its owner's mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The attempt has to wait its turn: until [`Input::Dialed`] no ring time-out runs.
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
    /// Something happened to a second leg.
    Second {
        /// Which, as [`Output::DialSecond`](crate::Output::DialSecond) named it; one that is over is ignored.
        n: u32,
        /// What.
        what: LegInput,
    },
}

/// What happened to a second leg; each as its namesake in [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "said at Input")]
pub enum LegInput {
    Waiting,
    Dialed,
    Trying,
    Ringing { early_media: bool },
    Answered,
    Failed(LegFailure),
    Ended { by: LegEnd, q850: Option<u8> },
    MediaReady,
    MediaFailed(String),
    Silent { after: Duration },
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
