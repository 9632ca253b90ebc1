//! The tables behind the causes: SIP statuses and Q.850 causes to states and reasons (RFC 3398 section 8.2.6.1, and
//! what carriers agree on beyond it).

use super::reason::*;
use crate::state::State;
use State::{Busy, Canceled, Failed, NoAnswer};

/// What a final SIP status means for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub reason: Reason,
    pub state: State,
    pub q850: Option<u8>,
    /// Whether gateways also send it for want of a better one, so that a Q.850 cause says more.
    pub vague: bool,
}

/// The row of a final status; unknown ones go by their class (RFC 3261 section 8.1.3.2).
pub(super) fn status(status: u16) -> Status {
    let row = |state, q850, reason| Status { reason, state, q850: Some(q850), vague: false };
    let vague = |state, q850, reason| Status { reason, state, q850: Some(q850), vague: true };
    match status {
        400 => vague(Failed, 41, PROTOCOL_ERROR),
        401 | 407 => row(Failed, 21, CARRIER_AUTH),
        402 => row(Failed, 21, CARRIER_PAYMENT),
        403 => vague(Failed, 21, CARRIER_FORBIDDEN),
        404 => vague(Failed, 1, UNALLOCATED_NUMBER),
        405 => row(Failed, 63, NOT_SUPPORTED),
        406 | 415 => row(Failed, 79, MEDIA_INCOMPATIBLE),
        408 => vague(Failed, 102, NO_RESPONSE),
        410 => row(Failed, 22, NUMBER_CHANGED),
        413 | 414 | 416 | 420 | 421 | 481 | 505 | 513 => row(Failed, 127, PROTOCOL_ERROR),
        428 | 429 | 437 | 438 => row(Failed, 21, STIR_SHAKEN),
        480 => vague(NoAnswer, 18, UNAVAILABLE),
        482 | 483 => row(Failed, 25, ROUTING_LOOP),
        484 => row(Failed, 28, INVALID_NUMBER),
        485 => row(Failed, 1, AMBIGUOUS),
        486 | 600 => row(Busy, 17, BUSY),
        487 => row(Canceled, 16, CANCELED),
        488 | 606 => row(Failed, 88, MEDIA_INCOMPATIBLE),
        500 => vague(Failed, 41, CARRIER_ERROR),
        501 => row(Failed, 79, NOT_SUPPORTED),
        502 => vague(Failed, 27, DESTINATION_OUT_OF_ORDER),
        503 => vague(Failed, 34, CARRIER_CONGESTION),
        504 => vague(Failed, 102, CARRIER_TIMEOUT),
        580 => row(Failed, 47, MEDIA_INCOMPATIBLE),
        603 => row(Failed, 21, DECLINED),
        604 => row(Failed, 1, UNALLOCATED_NUMBER),
        607 => row(Failed, 21, UNWANTED),
        608 => row(Failed, 21, BLOCKED_BY_NETWORK),
        other => match other / 100 {
            3 => row(Failed, 23, REDIRECTED),
            4 => vague(Failed, 127, CARRIER_ERROR),
            6 => vague(Failed, 31, CARRIER_ERROR),
            _ => vague(Failed, 41, CARRIER_ERROR),
        },
    }
}

/// What a Q.850 cause means for an unanswered call; `None` for those that say less than the status they came with
/// (16 normal, 21 rejected, 31 unspecified, 111 and 127 interworking).
pub(super) fn q850(cause: u8) -> Option<(State, Reason)> {
    match cause {
        1..=3 | 26 => Some((Failed, UNALLOCATED_NUMBER)),
        17 => Some((Busy, BUSY)),
        18 => Some((NoAnswer, NO_RESPONSE)),
        19 => Some((NoAnswer, NO_ANSWER)),
        20 => Some((NoAnswer, UNAVAILABLE)),
        22 | 23 => Some((Failed, NUMBER_CHANGED)),
        25 => Some((Failed, ROUTING_LOOP)),
        27 => Some((Failed, DESTINATION_OUT_OF_ORDER)),
        28 => Some((Failed, INVALID_NUMBER)),
        29 | 63 | 69 | 79 => Some((Failed, NOT_SUPPORTED)),
        34 | 42 | 44 => Some((Failed, CARRIER_CONGESTION)),
        38 | 41 => Some((Failed, CARRIER_ERROR)),
        47 | 58 | 65 | 70 | 88 => Some((Failed, MEDIA_INCOMPATIBLE)),
        55 | 57 | 87 => Some((Failed, CARRIER_FORBIDDEN)),
        102 => Some((Failed, CARRIER_TIMEOUT)),
        _ => None,
    }
}

/// The SIP status that stands for a Q.850 cause (RFC 3398 section 8.2.6.1); `user` where a person refused rather than
/// a network.
pub(super) fn status_of(cause: Option<u8>, user: bool) -> u16 {
    match cause {
        Some(1..=3 | 26) => 404,
        Some(17) => 486,
        Some(18) => 408,
        Some(21) if user => 603,
        Some(21 | 55 | 57) => 403,
        Some(22 | 23) => 410,
        Some(25) => 482,
        Some(27) => 502,
        Some(28) => 484,
        Some(29 | 63 | 69 | 79) => 501,
        Some(34 | 38 | 41 | 42 | 44 | 47 | 58) => 503,
        Some(65 | 70 | 88) => 488,
        Some(102) => 504,
        None | Some(16 | 19 | 20 | 31) => 480,
        Some(_) => 500,
    }
}
