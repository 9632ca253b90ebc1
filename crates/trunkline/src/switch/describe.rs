//! The steps of a call as its listeners see them.

use call::{Leg, Progress};
use serde_json::{Value, json};

/// Every kind of event that a call has.
pub const EVENT_KINDS: &[&str] = &[
    "state",
    "attempt",
    "attempt-failed",
    "incoming",
    "forked",
    "paced",
    "early-media",
    "say",
    "play",
    "pause",
    "digits",
    "digit",
    "gather",
    "gathered",
    "record",
    "recorded",
    "dial",
    "dial-ringing",
    "dial-answered",
    "dialed",
    "transferring",
    "transferred",
    "transfer-failed",
    "stopped",
    "held",
    "resumed",
    "recording",
    "recording-paused",
    "recording-resumed",
    "flow-done",
    "quality",
    "heard",
    "finished",
];

/// The kind and the detail of the event that a step is; `trunk` is what people call the trunk of an attempt.
pub(crate) fn describe(progress: &Progress, trunk: Option<String>) -> (&'static str, Value) {
    match progress {
        Progress::Incoming => ("incoming", json!({})),
        Progress::Forked { legs } => ("forked", json!({ "legs": legs })),
        Progress::Attempt { leg, n, of, .. } => {
            let mut detail = json!({ "n": n, "of": of, "trunk": trunk });
            if let (Leg::Second, Some(detail)) = (leg, detail.as_object_mut()) {
                detail.insert("leg".into(), "second".into());
            }
            ("attempt", detail)
        }
        Progress::AttemptFailed { cause } => {
            ("attempt-failed", json!({ "code": cause.code, "text": cause.text, "sip": cause.sip }))
        }
        Progress::Paced => ("paced", json!({})),
        Progress::Digit { leg: Leg::First, digit } => ("digit", json!({ "digit": digit.to_string() })),
        Progress::Digit { leg: Leg::Second, digit } => {
            ("digit", json!({ "digit": digit.to_string(), "leg": "second" }))
        }
        Progress::EarlyMedia => ("early-media", json!({})),
        Progress::Saying { text } => ("say", json!({ "text": text })),
        Progress::Playing { name } => ("play", json!({ "file": name })),
        Progress::Pausing { length } => ("pause", json!({ "ms": length.as_millis() as u64 })),
        Progress::Sending { digits } => ("digits", json!({ "send": digits })),
        Progress::Gathering { n } => ("gather", json!({ "try": n })),
        Progress::Gathered { digits, why } => ("gathered", json!({ "digits": digits, "why": why.as_str() })),
        Progress::Recording => ("record", json!({})),
        Progress::Dialing { to } => ("dial", json!({ "to": to })),
        Progress::SecondRinging => ("dial-ringing", json!({})),
        Progress::SecondAnswered => ("dial-answered", json!({})),
        Progress::Dialed { state, cause } => (
            "dialed",
            json!({
                "state": state.as_str(),
                "cause": { "code": cause.code, "text": cause.text, "hint": cause.hint, "sip": cause.sip, "q850": cause.q850 },
            }),
        ),
        Progress::Transferring { to } => ("transferring", json!({ "to": to })),
        Progress::Transferred => ("transferred", json!({})),
        Progress::TransferFailed { cause } => {
            ("transfer-failed", json!({ "code": cause.code, "text": cause.text, "sip": cause.sip }))
        }
        Progress::Stopped => ("stopped", json!({})),
        Progress::FlowDone => ("flow-done", json!({})),
    }
}
