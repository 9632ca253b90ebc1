//! The tables behind the causes: SIP statuses and Q.850 causes to reasons (RFC 3398 section 8.2.6.1 and what carriers
//! agree on beyond it), and each reason's words.

use crate::state::State;
use State::{Busy, Canceled, Failed, NoAnswer};

/// What a final SIP status means for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub code: &'static str,
    pub state: State,
    pub q850: Option<u8>,
    /// Whether gateways also send it for want of a better one, so that a Q.850 cause says more.
    pub vague: bool,
}

/// The row of a final status; unknown ones go by their class (RFC 3261 section 8.1.3.2).
pub(super) fn status(status: u16) -> Status {
    let row = |state, q850, code| Status { code, state, q850: Some(q850), vague: false };
    let vague = |state, q850, code| Status { code, state, q850: Some(q850), vague: true };
    match status {
        300..=399 => Status { code: "redirected", state: Failed, q850: Some(23), vague: false },
        400 => vague(Failed, 41, "protocol_error"),
        401 | 407 => row(Failed, 21, "carrier_auth"),
        402 => row(Failed, 21, "carrier_payment"),
        403 => vague(Failed, 21, "carrier_forbidden"),
        404 => vague(Failed, 1, "unallocated_number"),
        405 => row(Failed, 63, "not_supported"),
        406 | 415 => row(Failed, 79, "media_incompatible"),
        408 => vague(Failed, 102, "no_response"),
        410 => row(Failed, 22, "number_changed"),
        413 | 414 | 416 | 420 | 421 | 481 | 505 | 513 => row(Failed, 127, "protocol_error"),
        428 | 429 | 437 | 438 => row(Failed, 21, "stir_shaken"),
        480 => vague(NoAnswer, 18, "unavailable"),
        482 | 483 => row(Failed, 25, "routing_loop"),
        484 => row(Failed, 28, "invalid_number"),
        485 => row(Failed, 1, "ambiguous"),
        486 | 600 => row(Busy, 17, "busy"),
        487 => row(Canceled, 16, "canceled"),
        488 | 606 => row(Failed, 88, "media_incompatible"),
        500 => vague(Failed, 41, "carrier_error"),
        501 => row(Failed, 79, "not_supported"),
        502 => vague(Failed, 27, "destination_out_of_order"),
        503 => vague(Failed, 34, "carrier_congestion"),
        504 => vague(Failed, 102, "carrier_timeout"),
        580 => row(Failed, 47, "media_incompatible"),
        603 => row(Failed, 21, "declined"),
        604 => row(Failed, 1, "unallocated_number"),
        607 => row(Failed, 21, "unwanted"),
        608 => row(Failed, 21, "blocked_by_network"),
        400..=499 => vague(Failed, 127, "carrier_error"),
        600..=699 => vague(Failed, 31, "carrier_error"),
        _ => vague(Failed, 41, "carrier_error"),
    }
}

/// What a Q.850 cause means for an unanswered call; `None` for those that say less than the status they came with
/// (16 normal, 21 rejected, 31 unspecified, 111 and 127 interworking).
pub(super) fn q850(cause: u8) -> Option<(State, &'static str)> {
    match cause {
        1..=3 | 26 => Some((Failed, "unallocated_number")),
        17 => Some((Busy, "busy")),
        18 => Some((NoAnswer, "no_response")),
        19 => Some((NoAnswer, "no_answer")),
        20 => Some((NoAnswer, "unavailable")),
        22 | 23 => Some((Failed, "number_changed")),
        25 => Some((Failed, "routing_loop")),
        27 => Some((Failed, "destination_out_of_order")),
        28 => Some((Failed, "invalid_number")),
        29 | 63 | 69 | 79 => Some((Failed, "not_supported")),
        34 | 42 | 44 => Some((Failed, "carrier_congestion")),
        38 | 41 => Some((Failed, "carrier_error")),
        47 | 58 | 65 | 70 | 88 => Some((Failed, "media_incompatible")),
        55 | 57 | 87 => Some((Failed, "carrier_forbidden")),
        102 => Some((Failed, "carrier_timeout")),
        _ => None,
    }
}

/// Whether a refusal with this code is the callee's own doing rather than a network's.
pub(super) fn by_callee(code: &str) -> bool {
    matches!(code, "busy" | "declined" | "unwanted" | "unavailable" | "no_answer")
}

/// The words of one code.
#[derive(Debug)]
pub(super) struct Reason {
    pub code: &'static str,
    pub q850: Option<u8>,
    pub text: &'static str,
    /// Empty where there is nothing to try.
    pub hint: &'static str,
}

/// The words for a code; one that is not in the table (a test sees to it that there is none) reads as the last row.
pub(super) fn reason(code: &str) -> &'static Reason {
    REASONS.iter().find(|reason| reason.code == code).unwrap_or(&UNKNOWN)
}

const fn words(code: &'static str, q850: u8, text: &'static str, hint: &'static str) -> Reason {
    Reason { code, q850: if q850 == 0 { None } else { Some(q850) }, text, hint }
}

const UNKNOWN: Reason = words("carrier_error", 127, "The carrier reported an error of its own.", "");

#[rustfmt::skip]
pub(super) const REASONS: &[Reason] = &[
    // What a carrier or callee answered; their Q.850 comes from the status.
    words("ambiguous", 0, "The number matches more than one destination.", "Give the whole number with its country code."),
    words("blocked_by_network", 0, "A network blocked the call before it reached the callee.", "Register the caller ID with the analytics companies of the callee's country, or use another one."),
    words("busy", 17, "The line is busy.", "Call again later."),
    words("canceled", 16, "The call was ended before it was answered.", ""),
    words("carrier_auth", 0, "The carrier refused the trunk's credentials.", "Check the trunk's username, password and domain with the carrier."),
    words("carrier_auth_missing", 0, "The carrier asks for credentials and the trunk has none.", "Set the trunk's username and password."),
    words("carrier_congestion", 0, "The carrier has no free line at the moment.", "Call again later, or add a second trunk."),
    words("carrier_error", 0, "The carrier reported an error of its own.", "Call again; if it persists, ask the carrier with the status shown."),
    words("carrier_forbidden", 0, "The carrier does not allow this call.", "Check with the carrier that the caller ID is yours, the country is enabled and no limit is reached."),
    words("carrier_payment", 0, "The carrier account has no credit.", "Top up the account at the carrier."),
    words("carrier_timeout", 0, "The carrier waited in vain for the network behind it.", "Call again later, or add a second trunk."),
    words("declined", 0, "The call was declined.", ""),
    words("destination_out_of_order", 0, "The callee's line or network is out of order.", "Call again later."),
    words("invalid_number", 0, "The number is incomplete or not written as the carrier wants it.", "Check the number and the trunk's number form."),
    words("media_incompatible", 0, "There is no audio codec or encryption that both sides know.", "Allow G.711 (PCMU or PCMA) without encryption at the other side."),
    words("no_response", 0, "The other side did not respond.", "Check the trunk's host, port and transport, and that a firewall lets SIP through."),
    words("not_supported", 0, "The other side does not support this kind of call.", "Ask the carrier whether the trunk may place voice calls."),
    words("number_changed", 0, "The number has changed or is no longer in service.", "Find the new number."),
    words("protocol_error", 0, "The other side could not make sense of our request.", "Check the trunk's domain and transport; if they are right, report this with the SIP messages."),
    words("redirected", 0, "The other side redirects the call elsewhere, which is not followed.", "Call the new address itself."),
    words("routing_loop", 0, "The call went in circles between servers.", "Check that the trunk's host is the carrier and not this server."),
    words("stir_shaken", 0, "The caller ID's signature was refused or is missing.", "Use a caller ID that the carrier signs for you."),
    words("unallocated_number", 0, "This number does not exist.", "Check the number and the trunk's number form."),
    words("unavailable", 0, "The callee cannot be reached at the moment.", "Call again later."),
    words("unwanted", 0, "The callee blocks calls from this caller.", ""),
    // What happened on our side.
    words("carrier_unreachable", 38, "No connection to the carrier could be made.", "Check the trunk's host, port and transport, and the firewall."),
    words("carrier_unresolved", 38, "The carrier's host name could not be resolved.", "Check the spelling of the trunk's host and the machine's DNS."),
    words("connection_lost", 41, "The connection to the other side was lost during the call.", "Check the network between this server and the carrier."),
    words("flow_done", 16, "Everything was said and played, and the call was ended.", ""),
    words("leg_lost", 41, "The call broke off before it was answered.", "Call again."),
    words("max_duration", 16, "The call reached its longest duration.", "Raise the longest duration if calls may last longer."),
    words("media_failed", 41, "The sound of the call could not be sent or received.", "Check that the RTP ports are free and open in the firewall."),
    words("no_ack", 102, "The other side answered but never confirmed it.", "Check that the advertised SIP address can be reached from the other side."),
    words("no_answer", 19, "Nobody answered.", "Call again later, or let it ring longer."),
    words("no_attempt", 3, "There was no way to place this call.", "Add a trunk, or enable one."),
    words("normal", 16, "The other side hung up.", ""),
    words("hangup", 16, "The call was ended by request.", ""),
    words("rtp_silence", 16, "No audio came from the other side.", "Check that the advertised RTP address and ports can be reached from outside."),
    words("shutdown", 41, "The server was shut down during the call.", "Call again."),
];
