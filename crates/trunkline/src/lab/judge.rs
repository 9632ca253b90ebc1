//! What was expected, and what came.

use serde_json::Value;

use super::file::Expect;
use super::world::Ran;
use super::{Told, ms};

/// Everything that is not as expected, a line each; nothing when all is.
pub(super) fn judge(expect: &Expect, ran: &Ran) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(outcome) = &ran.outcome else { return vec!["the call never ended".into()] };
    if !ran.at_rest {
        wrong.push("something of the call was left on one side".into());
    }
    let mut is = |what: &str, expected: &str, came: &str| {
        if expected != came {
            wrong.push(format!("{what}: expected {expected:?}, got {came:?}"));
        }
    };
    if let Some(state) = &expect.state {
        is("state", state, outcome.state.as_str());
    }
    if let Some(cause) = &expect.cause {
        is("cause", cause, outcome.cause.code);
    }
    if let Some(digits) = &expect.digits {
        is("digits", digits, &ran.keys);
    }
    if let Some(gathered) = &expect.gathered {
        let came = texts(&ran.told, "gathered", "digits");
        is("gathered", &gathered.join(", "), &came.join(", "));
    }
    if let Some(joined) = expect.joined {
        is("joined", &joined.to_string(), &ran.joined.to_string());
    }
    if let Some(says) = &expect.says {
        let came = texts(&ran.told, "say", "text");
        let mut rest = came.iter();
        for text in says {
            if !rest.any(|said| said == text) {
                wrong.push(format!("says: {text:?} was not said there; it said {came:?}"));
                break;
            }
        }
    }
    if let Some(events) = &expect.events {
        let mut rest = ran.told.iter();
        for event in events {
            if !rest.any(|told| fits(told, event)) {
                let kinds: Vec<&str> = ran.told.iter().map(|told| told.kind.as_str()).collect();
                wrong.push(format!("events: {event:?} did not come there; there were {}", kinds.join(", ")));
                break;
            }
        }
    }
    if let Some([least, most]) = expect.duration_s {
        let lasted = outcome
            .answered
            .map_or(0.0, |answered| ms(outcome.ended.saturating_duration_since(answered)) as f64 / 1000.0);
        if !(least..=most).contains(&lasted) {
            wrong.push(format!("duration_s: expected {least} to {most}, got {lasted}"));
        }
    }
    if let Some(least) = expect.heard_s {
        let heard = ran.heard.map_or(0.0, |heard| heard.sound_ms as f64 / 1000.0);
        if heard < least {
            wrong.push(format!("heard_s: expected at least {least}, got {heard}"));
        }
    }
    wrong
}

/// One field of all events of a kind.
fn texts(told: &[Told], kind: &str, field: &str) -> Vec<String> {
    let of_kind = told.iter().filter(|told| told.kind == kind);
    of_kind.filter_map(|told| told.detail.get(field)?.as_str().map(str::to_owned)).collect()
}

/// Whether an event is of this kind and, where more words follow, has that text in its detail.
fn fits(told: &Told, wanted: &str) -> bool {
    match wanted.split_once(' ') {
        None => told.kind == wanted,
        Some((kind, word)) => told.kind == kind && holds(&told.detail, word),
    }
}

fn holds(detail: &Value, word: &str) -> bool {
    match detail {
        Value::String(text) => text == word,
        Value::Object(fields) => fields.values().any(|value| holds(value, word)),
        Value::Bool(yes) => (if *yes { "true" } else { "false" }) == word,
        Value::Number(number) => word.parse().is_ok_and(|wanted: f64| number.as_f64() == Some(wanted)),
        Value::Null | Value::Array(_) => false,
    }
}
