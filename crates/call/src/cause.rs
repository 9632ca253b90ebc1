//! Why a call ended: a stable code, what SIP and Q.850 said, plain words and what to try.

pub(crate) mod reason;
mod table;

use std::time::Duration;

use crate::state::State;
use reason::Reason;

/// Who ended the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HangupBy {
    /// The person or machine called.
    Callee,
    /// Our side: whoever placed the call, through the API.
    Caller,
    /// A network between us and the callee.
    Carrier,
    /// This gateway: a time limit, the end of the flow, a shutdown, a fault.
    System,
}

impl HangupBy {
    /// The word used in every API.
    pub fn as_str(self) -> &'static str {
        match self {
            HangupBy::Callee => "callee",
            HangupBy::Caller => "caller",
            HangupBy::Carrier => "carrier",
            HangupBy::System => "system",
        }
    }
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Stable key, such as `busy` or `carrier_auth`.
    pub code: &'static str,
    /// The final SIP status, 300 to 699, if one was received, or asked for by the flow.
    pub sip: Option<u16>,
    /// The ITU-T Q.850 cause, 1 to 127: the one received, else the usual equivalent of the SIP status.
    pub q850: Option<u8>,
    /// What happened, as a sentence.
    pub text: String,
    /// What to try, where there is something to try.
    pub hint: Option<&'static str>,
    /// Who ended it.
    pub by: HangupBy,
}

impl Cause {
    /// The SIP status to refuse an incoming call with for this cause, 400 to 699: what the callee said where the caller
    /// can use it, else what stands for the Q.850 cause (RFC 3398).
    pub fn refusal(&self) -> u16 {
        // Of what a trunk or phone answered us, a challenge, a redirection or our own mistake is nothing to the caller.
        match self.sip {
            _ if self.code == reason::MEDIA_FAILED.code => 488,
            Some(status) if self.code == reason::REJECTED.code => status.clamp(400, 699),
            Some(status @ (404 | 408 | 410 | 480 | 482..=486 | 488 | 503 | 600 | 603..=608)) => status,
            _ => table::status_of(self.q850, self.by == HangupBy::Callee),
        }
    }

    /// Whether another phone took the call: its CANCEL says so (RFC 3326: `SIP;cause=200`), so that the phone does not
    /// count it as missed.
    pub fn is_completed_elsewhere(&self) -> bool {
        self.code == reason::COMPLETED_ELSEWHERE.code
    }
}

/// How a leg came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A final status was received.
    Status,
    /// No final response came in time (RFC 3261 timers B and F).
    Timeout,
    /// The connection could not be made or broke.
    Transport,
    /// We canceled it.
    Canceled,
    /// The host's name did not resolve; what the resolver said.
    Dns(String),
    /// Sound could not be set up; what went wrong.
    Media(String),
    /// TLS could not be set up with the peer; what went wrong.
    Tls(String),
    /// It waited too long for the trunk's calls per second.
    PacedOut,
    /// All of the trunk's channels are taken.
    NoChannel,
}

/// A leg that ended without having been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegFailure {
    /// How.
    pub kind: FailureKind,
    /// The final SIP status, if one was received.
    pub status: Option<u16>,
    /// The reason phrase of that status, or what the transport said when it failed.
    pub phrase: String,
    /// The Q.850 cause of a Reason header (RFC 3326), if there was one.
    pub q850: Option<u8>,
    /// Whether any response from 101 to 199 was seen.
    pub provisional: bool,
    /// Whether the request may have reached the peer.
    pub sent: bool,
    /// Whether the peer asked for credentials.
    pub challenged: bool,
    /// Whether there were credentials to answer it with.
    pub had_credentials: bool,
}

/// The final state and cause of a leg that was not answered.
pub fn from_failure(failure: &LegFailure) -> (State, Cause) {
    let system = |reason| (State::Failed, because(reason, HangupBy::System));
    match &failure.kind {
        FailureKind::Status => from_status(failure),
        FailureKind::Timeout if failure.provisional => {
            (State::NoAnswer, because(reason::NO_RESPONSE, HangupBy::Carrier))
        }
        FailureKind::Timeout => (State::Failed, because(reason::NO_RESPONSE, HangupBy::Carrier)),
        FailureKind::Transport => with_detail(system(reason::CARRIER_UNREACHABLE), &failure.phrase),
        FailureKind::Canceled => (State::Canceled, because(reason::CANCELED, HangupBy::Caller)),
        FailureKind::Dns(said) => with_detail(system(reason::CARRIER_UNRESOLVED), said),
        FailureKind::Media(said) => with_detail(system(reason::MEDIA_FAILED), said),
        FailureKind::Tls(said) => with_detail(system(reason::CARRIER_TLS), said),
        FailureKind::PacedOut => system(reason::PACED_OUT),
        FailureKind::NoChannel => system(reason::TRUNK_FULL),
    }
}

fn from_status(failure: &LegFailure) -> (State, Cause) {
    let row = table::status(failure.status.unwrap_or(500));
    // A gateway that knows the Q.850 cause often hides it behind a vague status; a precise status stands.
    let precise = failure.q850.filter(|_| row.vague).and_then(table::q850);
    let (mut state, mut reason) = precise.unwrap_or((row.state, row.reason));
    if reason.code == reason::NO_RESPONSE.code && failure.provisional {
        state = State::NoAnswer;
    }
    if reason.code == reason::DECLINED.code && contains_ignoring_case(&failure.phrase, "network blocked") {
        // US carriers announce blocking by analytics this way until they speak RFC 8688.
        reason = reason::BLOCKED_BY_NETWORK;
    }
    if reason.code == reason::CARRIER_AUTH.code && !failure.had_credentials {
        reason = reason::CARRIER_AUTH_MISSING;
    }
    let by = by_whom(reason);
    let mut cause = because(reason, by);
    cause.sip = failure.status;
    cause.q850 = failure.q850.or(row.q850);
    if let (true, Some(status)) = (by == HangupBy::Carrier, failure.status) {
        append(&mut cause.text, &format!("{status} {}", failure.phrase));
    }
    (state, cause)
}

/// The end of an unanswered leg whose ring time-out passed, in whole seconds: `heard` when the peer was known to have
/// the request, `rang` when a phone was reported to ring.
pub(crate) fn unanswered(after: Duration, heard: bool, rang: bool) -> (State, Cause) {
    let seconds = after.as_secs();
    if !heard && !rang {
        let mut cause = because(reason::NO_RESPONSE, HangupBy::Carrier);
        cause.text = format!("The trunk never answered: nothing came back within {seconds} s.");
        return (State::Failed, cause);
    }
    let mut cause = because(reason::NO_ANSWER, HangupBy::System);
    cause.text = format!("Nobody answered within {seconds} s.");
    if !rang {
        cause.text = format!("Nobody answered within {seconds} s, and no phone was reported to ring.");
        cause.hint = Some("If every call ends like this, check the number's form and ask the carrier.");
    }
    (State::NoAnswer, cause)
}

/// The end of an incoming call that its flow refuses with this status.
pub(crate) fn rejected(status: u16) -> (State, Cause) {
    let row = table::status(status);
    let mut cause = because(reason::REJECTED, HangupBy::System);
    (cause.sip, cause.q850) = (Some(status), row.q850);
    (row.state, cause)
}

/// The cause of a call ended because no RTP arrived for so long.
pub(crate) fn rtp_silence(after: Duration) -> Cause {
    let mut cause = because(reason::RTP_SILENCE, HangupBy::System);
    cause.text = format!("No audio came from the other side for {} s.", after.as_secs());
    cause
}

/// The cause of a call ended at its longest duration.
pub(crate) fn max_duration(limit: Duration) -> Cause {
    let mut cause = because(reason::MAX_DURATION, HangupBy::System);
    cause.text = format!("The call reached its longest duration of {} s.", limit.as_secs());
    cause
}

/// The cause of a call whose sound broke; `said` is what went wrong.
pub(crate) fn media_failed(said: &str) -> Cause {
    let mut cause = because(reason::MEDIA_FAILED, HangupBy::System);
    append(&mut cause.text, said);
    cause
}

/// The cause of a call that ended for this reason, nothing else being known about it.
pub(crate) fn because(reason: Reason, by: HangupBy) -> Cause {
    let Reason { code, q850, text, hint } = reason;
    Cause { code, sip: None, q850, text: text.to_owned(), hint, by }
}

/// Whether a refusal is the callee's own doing rather than a network's.
fn by_whom(refusal: Reason) -> HangupBy {
    let callees = [reason::BUSY, reason::DECLINED, reason::UNWANTED, reason::UNAVAILABLE, reason::NO_ANSWER];
    if callees.iter().any(|reason| reason.code == refusal.code) {
        HangupBy::Callee
    } else {
        HangupBy::Carrier
    }
}

fn with_detail((state, mut cause): (State, Cause), said: &str) -> (State, Cause) {
    append(&mut cause.text, said);
    (state, cause)
}

/// What is repeated of what was said elsewhere, in characters: a host's name has up to 253, and what was wrong with it
/// stands behind it.
const MOST_SAID: usize = 320;

/// Puts what was said elsewhere at the end of our own sentence, in one line.
fn append(text: &mut String, said: &str) {
    let said: String = said.chars().take(MOST_SAID).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let said = said.trim();
    if !said.is_empty() {
        let sentence = text.trim_end_matches('.');
        *text = format!("{sentence} ({said}).");
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(part)
}

#[cfg(test)]
mod tests;
