//! The last word about a call, and everything that is written about it before.

use std::time::Instant;

use serde_json::{Value, json};

use super::Placed;
use super::entry::{Entry, LegKey, wall};
use super::run::Loop;
use super::transfer::role_name;
use crate::insight::{Ending, Outcome, Sound, Why};
use crate::store::{CallEvent, Finish, Write};

/// Causes of which the messages of a call tell more than the cause knows.
const SAYS_MORE: &[&str] = &["no_response", "no_ack", "rtp_silence", "media_incompatible", "session_expired"];

impl Loop {
    pub(super) fn finished(&mut self, key: usize, outcome: call::Outcome, now: Instant) {
        let legs = self.calls.get(key).into_iter().flat_map(|entry| &entry.legs).map(|leg| leg.n);
        for n in legs.collect::<Vec<_>>() {
            self.forget_leg(LegKey { call: key, n }, now);
        }
        let Some(entry) = self.calls.get_mut(key) else { return };
        entry.keys.clear();
        entry.outcome = Some((outcome, now));
        self.finish_if_complete(key, now);
    }

    pub(super) fn finish_if_complete(&mut self, key: usize, now: Instant) {
        if self.calls.get(key).is_some_and(Entry::is_complete) {
            self.finish(key, now);
        }
    }

    /// Writes the last word about a call and forgets it.
    pub(super) fn finish(&mut self, key: usize, now: Instant) {
        let Some(mut entry) = self.calls.try_remove(key) else { return };
        self.set_timer(key, None);
        self.by_id.remove(&entry.id);
        // Before the end is written: who learns of it may place the next call.
        drop(entry.slot.take());
        for media in entry.main.iter().chain(entry.closing.iter().map(|(media, _)| media)) {
            self.by_media.remove(media);
        }
        let Some((outcome, _)) = entry.outcome.take() else { return };
        if let Some(reply) = entry.placed.take() {
            let _ = reply.send(Ok(Placed { sip_call_id: String::new() }));
        }
        let quality = entry.quality().filter(|_| outcome.answered.is_some());
        if let Some(quality) = &quality {
            let event = entry.event("quality", quality.clone());
            self.publish(event);
        }
        let recorded = entry.closed.as_ref().and_then(|closed| closed.recorded_ms);
        let recording = entry.recorded.take().filter(|_| recorded.is_some());
        let ended_at = wall(outcome.ended, now);
        let cause = &outcome.cause;
        let (text, hint) = match self.close_tapes(&entry, &outcome, now) {
            Some(why) => (why.text, why.fix),
            None => (cause.text.clone(), cause.hint.map(Into::into)),
        };
        let event = entry.event(
            "finished",
            json!({
                "state": outcome.state.as_str(),
                "cause": { "code": cause.code, "text": text, "hint": hint, "sip": cause.sip, "q850": cause.q850 },
                "answered": outcome.answered.is_some(),
                "recording": recording,
                "recorded_ms": recorded,
                "recording_error": entry.closed.as_ref().and_then(|closed| closed.recording_error.clone()),
            }),
        );
        metrics::counter!("trunkline_calls_finished_total", "state" => outcome.state.as_str()).increment(1);
        tracing::info!(call = %entry.id, state = outcome.state.as_str(), cause = cause.code, "call finished");
        let finish = Finish {
            call: entry.id,
            state: outcome.state,
            cause_code: Some(cause.code.into()),
            cause_text: Some(text),
            cause_hint: hint,
            sip_status: cause.sip,
            q850: cause.q850,
            hangup_by: Some(cause.by.as_str().into()),
            ringing_at: outcome.ringing.map(|at| wall(at, now)),
            answered_at: outcome.answered.map(|at| wall(at, now)),
            ended_at,
            quality,
            heard: entry.heard.map(|heard| json!(heard)),
            recorded_ms: recorded,
            event,
        };
        self.write(Write::Finish(Box::new(finish)));
    }

    /// Hands over what was said on a call; answers what that says of its end beyond the cause, where it may.
    fn close_tapes(&mut self, entry: &Entry, outcome: &call::Outcome, now: Instant) -> Option<Why> {
        let tap = self.parts.endpoint.tap()?;
        let first = entry.closed.as_ref().map(|closed| (call::Leg::First, &closed.stats));
        let others = entry.others.iter().map(|(role, stats)| (*role, stats));
        let heard = first.into_iter().chain(others);
        let heard = heard.filter(|(_, stats)| stats.packets_sent + stats.packets_received > 0);
        let sound: Vec<Sound> = heard.map(|(role, stats)| Sound::of(role_name(role), stats)).collect();
        let cause = &outcome.cause;
        let told = Outcome {
            status: outcome.state.as_str().to_owned(),
            code: cause.code.to_owned(),
            text: cause.text.clone(),
            hint: cause.hint.map(Into::into),
            sip: cause.sip,
        };
        let says_more = SAYS_MORE.contains(&cause.code);
        let why = says_more.then(|| tap.why(entry.id, &told, &sound, now)).flatten();
        let failed = outcome.state != call::State::Completed;
        tap.finish(Ending { call: entry.id, account: entry.account, failed, sound }, now);
        why
    }

    pub(super) fn state(&mut self, key: usize, state: call::State) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        // The first state was stored with the call; the final one is written with its cause.
        if state == call::State::Queued || state.is_final() {
            return;
        }
        let event = entry.event("state", json!({ "state": state.as_str() }));
        self.write(Write::State { state, event });
    }

    pub(super) fn report(&mut self, key: usize, kind: &str, detail: Value) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let event = entry.event(kind, detail);
        self.publish(event);
    }

    fn publish(&mut self, event: CallEvent) {
        self.write(Write::Event(event));
    }

    pub(super) fn write(&mut self, write: Write) {
        self.unwritten.push_back(write);
        self.write_on();
    }

    pub(super) fn write_on(&mut self) {
        while let Some(write) = self.unwritten.pop_front() {
            if let Err(full) = self.parts.store.record(write) {
                self.unwritten.push_front(*full.0);
                return;
            }
        }
    }
}
