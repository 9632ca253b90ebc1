//! Following a call: its stored events, then its live ones; and how they are told to a person.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::id::Id;
use crate::store::{CallEvent, CallRow, StoreError};

/// The events of one call in order, each once, until it has finished.
pub struct Follow {
    app: Arc<App>,
    call: Id,
    live: Receiver<Arc<CallEvent>>,
    ready: VecDeque<CallEvent>,
    /// The highest sequence that was given out.
    last: i64,
    finished: bool,
}

impl Follow {
    /// Begins behind the event with sequence `after` (0: at the first).
    pub async fn start(app: &Arc<App>, row: &CallRow, after: i64) -> Result<Self, StoreError> {
        // Listening begins before reading, and reading after what is queued was written: nothing falls between.
        let live = app.store.subscribe();
        let app = app.clone();
        let ready = VecDeque::new();
        let mut follow = Self { app, call: row.id, live, ready, last: after, finished: row.state.is_final() };
        follow.read().await?;
        Ok(follow)
    }

    /// The next event; none once the call has finished.
    pub async fn next(&mut self) -> Option<CallEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = self.last.max(event.sequence);
                return Some(event);
            }
            if self.finished {
                return None;
            }
            match self.live.recv().await {
                Ok(event) if event.call == self.call && event.sequence > self.last => {
                    self.finished |= event.kind == "finished";
                    self.ready.push_back(CallEvent::clone(&event));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.read().await.ok()?,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        self.app.store.flush().await;
        let stored = self.app.store.events(self.call).await?;
        self.finished |= stored.iter().any(|event| event.kind == "finished");
        self.ready.extend(stored.into_iter().filter(|event| event.sequence > self.last));
        Ok(())
    }
}

/// Tells a call's events to a person, one line each, with the seconds since the first.
#[derive(Default)]
pub struct Narrator {
    began: Option<i64>,
}

impl Narrator {
    /// The line for an event that happened at `at` (Unix ms); none for what only programs care about.
    pub fn line(&mut self, at: i64, kind: &str, detail: &Value) -> Option<String> {
        let began = *self.began.get_or_insert(at);
        let told = tell(kind, detail)?;
        Some(format!("{:>7.2} s  {told}", (at - began).max(0) as f64 / 1000.0))
    }
}

fn tell(kind: &str, detail: &Value) -> Option<String> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = |key: &str| detail.get(key).and_then(Value::as_f64);
    Some(match kind {
        "state" => match text("state")? {
            state if state.parse().is_ok_and(|state: call::State| state.is_final()) => return None,
            state => state.to_owned(),
        },
        "attempt" => {
            let n = number("n").unwrap_or(1.0);
            let of = number("of").unwrap_or(1.0);
            let trunk = match text("trunk") {
                Some(trunk) if Id::parse(trunk).is_some() => "through a trunk".to_owned(),
                Some(trunk) => format!("through trunk {trunk}"),
                None => "directly".to_owned(),
            };
            if of > 1.0 { format!("dialling {trunk} ({n} of {of})") } else { format!("dialling {trunk}") }
        }
        "early-media" => "the carrier sends sound before the answer".to_owned(),
        "say" => format!("saying \"{}\"", text("text")?),
        "play" => format!("playing {}", text("file")?),
        "pause" => format!("pausing {:.1} s", number("ms")? / 1000.0),
        "digit" => format!("the callee pressed {}", text("digit")?),
        "recording" => format!("recording to {}", text("file")?),
        "quality" => quality(&number)?,
        "heard" => heard(&number)?,
        "finished" => {
            let cause = detail.get("cause").unwrap_or(&Value::Null);
            let part = |key: &str| cause.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            let mut told = text("state")?.to_owned();
            if let Some(reason) = part("text") {
                told = format!("{told}: {reason}");
            }
            if let Some(hint) = part("hint") {
                told = format!("{told}\n{:>9}  hint: {hint}", "");
            }
            told
        }
        _ => return None,
    })
}

fn quality(number: &impl Fn(&str) -> Option<f64>) -> Option<String> {
    let mos = number("mos")?;
    let word = match mos {
        m if m >= 4.0 => "good",
        m if m >= 3.6 => "fair",
        _ => "poor",
    };
    let mut told = format!("media quality {word} (MOS {mos:.1}");
    if let (Some(sent), Some(received)) = (number("packets_sent"), number("packets_received")) {
        told.push_str(&format!(", {sent} packets sent, {received} received"));
    }
    if let Some(loss) = number("loss_percent") {
        told.push_str(&format!(", {loss:.1} % lost"));
    }
    if let Some(jitter) = number("jitter_ms") {
        told.push_str(&format!(", jitter {jitter:.1} ms"));
    }
    told.push(')');
    Some(told)
}

fn heard(number: &impl Fn(&str) -> Option<f64>) -> Option<String> {
    let sound = number("sound_ms")? / 1000.0;
    if sound == 0.0 {
        return Some("the callee heard nothing".to_owned());
    }
    let mut told = format!("the callee heard {sound:.1} s of sound");
    if let Some(listened) = number("listened_ms") {
        told.push_str(&format!(" in {:.1} s", listened / 1000.0));
    }
    if let Some(level) = number("level_dbfs") {
        told.push_str(&format!(", at {level:.0} dBFS"));
    }
    if let Some(hz) = number("tone_hz") {
        told.push_str(&format!(", a tone of {hz:.0} Hz"));
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_told_line_by_line() {
        let events = [
            (1000, "state", json!({ "state": "queued" })),
            (1002, "attempt", json!({ "n": 1, "of": 1, "trunk": "sim" })),
            (1120, "state", json!({ "state": "ringing" })),
            (1700, "state", json!({ "state": "in-progress" })),
            (1701, "recording", json!({ "file": "call.wav" })),
            (1702, "say", json!({ "text": "Hello." })),
            (3000, "flow-done", json!({})),
            (
                3500,
                "quality",
                json!({ "mos": 4.41, "packets_sent": 90, "packets_received": 88, "loss_percent": 0.0, "jitter_ms": 0.31 }),
            ),
            (3501, "heard", json!({ "sound_ms": 1200, "listened_ms": 1800, "level_dbfs": -18.2 })),
            (3502, "state", json!({ "state": "completed" })),
            (
                3502,
                "finished",
                json!({ "state": "completed", "cause": { "text": "The flow was done.", "hint": null } }),
            ),
        ];
        let mut narrator = Narrator::default();
        let lines: Vec<String> =
            events.iter().filter_map(|(at, kind, detail)| narrator.line(*at, kind, detail)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        0.00 s  queued
        0.00 s  dialling through trunk sim
        0.12 s  ringing
        0.70 s  in-progress
        0.70 s  recording to call.wav
        0.70 s  saying "Hello."
        2.50 s  media quality good (MOS 4.4, 90 packets sent, 88 received, 0.0 % lost, jitter 0.3 ms)
        2.50 s  the callee heard 1.2 s of sound in 1.8 s, at -18 dBFS
        2.50 s  completed: The flow was done.
        "#);
    }

    #[test]
    fn a_failure_tells_its_hint_and_silence_is_told() {
        let mut narrator = Narrator::default();
        let cause =
            json!({ "text": "The carrier refused the password.", "hint": "Check username and password." });
        let line = narrator.line(5, "finished", &json!({ "state": "failed", "cause": cause }));
        insta::assert_snapshot!(line.unwrap_or_default(), @"
        0.00 s  failed: The carrier refused the password.
                hint: Check username and password.
        ");
        let silence = narrator.line(5, "heard", &json!({ "sound_ms": 0 }));
        assert_eq!(silence.as_deref().map(str::trim), Some("0.00 s  the callee heard nothing"));
    }

    #[test]
    fn details_of_another_shape_are_left_out() {
        for kind in
            ["state", "say", "play", "pause", "quality", "heard", "recording", "finished", "digit", "new"]
        {
            assert_eq!(Narrator::default().line(0, kind, &json!([1])), None, "{kind}");
        }
    }
}
