//! What the call wants to be heard, and what the media loops tell.

use std::time::Instant;

use call::{ClipId, Input, LegInput, Record};
use serde_json::json;

use super::entry::{Keys, LegKey};
use super::run::Loop;
use crate::recordings::{file_name, number_of_step};
use crate::rtp;
use crate::store::Write;
use crate::time::now_ms;
use crate::trunk::DtmfMode;

impl Loop {
    pub(super) fn media_event(&mut self, event: rtp::Event, now: Instant) {
        match event {
            rtp::Event::Session(id, event) => {
                let Some(&at) = self.by_media.get(&id) else { return };
                match event {
                    media::Event::Played { id, whole } => {
                        self.tell(at.call, Input::Played { id, whole }, now)
                    }
                    media::Event::Silent { for_ } => self.tell_leg(at, LegInput::Silent { after: for_ }, now),
                    media::Event::Digit { digit, .. } => self.tell_leg(at, LegInput::Digit(digit), now),
                    // The file is told of once it is whole.
                    media::Event::Recorded { .. } | media::Event::FirstMedia => {}
                }
            }
            rtp::Event::Recorded(id, item, segment) => {
                let Some(&at) = self.by_media.get(&id) else { return };
                let number = number_of_step(item);
                if let (Some(entry), Some(ms)) = (self.calls.get(at.call), segment.ms) {
                    let write = Write::Recorded { call: entry.id, number, ms };
                    self.write(write);
                }
                let detail = json!({
                    "number": number, "file": segment.file, "ms": segment.ms, "why": segment.why,
                    "error": segment.error,
                });
                self.report(at.call, "recorded", detail);
                self.tell(at.call, Input::Recorded { id: item }, now);
            }
            rtp::Event::Closed(id, closed) => {
                self.moved_recording_closed(id, closed.recorded_ms);
                let Some(at) = self.by_media.remove(&id) else { return };
                let Some(entry) = self.calls.get_mut(at.call) else { return };
                entry.hear_last_word(id, closed);
                self.finish_if_complete(at.call, now);
            }
        }
    }

    /// Gives a leg's media loop something to do; one whose loop cannot take it has no sound any more.
    fn on_media(
        &mut self,
        at: LegKey,
        now: Instant,
        act: impl FnOnce(&rtp::Media, rtp::MediaId) -> Result<(), rtp::Overloaded>,
    ) {
        let entry = self.calls.get(at.call);
        let Some(line) = entry.and_then(|entry| entry.leg(at)?.media.as_ref()) else { return };
        if let Err(error) = act(&self.parts.media, line.id) {
            self.tell_leg(at, LegInput::MediaFailed(error.to_string()), now);
        }
    }

    pub(super) fn play(&mut self, at: LegKey, id: u32, clip: ClipId, now: Instant) {
        let Some(clip) = self.calls.get_mut(at.call).and_then(|entry| entry.clips.take(clip)) else {
            return self.tell(at.call, Input::Played { id, whole: false }, now);
        };
        self.on_media(at, now, |media, line| media.play(line, id, clip));
    }

    pub(super) fn pause(&mut self, at: LegKey, id: u32, length: std::time::Duration, now: Instant) {
        self.on_media(at, now, |media, line| media.pause(line, id, length));
    }

    pub(super) fn stop_media(&mut self, at: LegKey, now: Instant) {
        if let Some(entry) = self.calls.get_mut(at.call) {
            entry.keys.retain(|keys| keys.at != at);
        }
        self.on_media(at, now, |media, line| media.stop(line));
    }

    /// Records a leg into a file of its own.
    pub(super) fn record(&mut self, at: LegKey, id: u32, rules: Record, now: Instant) {
        let Some(entry) = self.calls.get(at.call) else { return };
        let (call, number) = (entry.id, number_of_step(id));
        let file = file_name(call, number);
        self.write(Write::Recording { call, number, file: file.clone(), at: now_ms() });
        let path = self.parts.recordings.join(&file);
        let rules = media::Rules {
            beep: rules.beep,
            max: rules.max,
            end_silence: rules.end_silence,
            end_keys: rules.finish_keys,
        };
        self.on_media(at, now, |media, line| media.record(line, id, rules, path, file));
    }

    pub(super) fn stop_record(&mut self, at: LegKey, id: u32, now: Instant) {
        self.on_media(at, now, |media, line| media.stop_record(line, id));
    }

    pub(super) fn join(&mut self, one: LegKey, other: LegKey, now: Instant) {
        if let Some(other_line) = self.line_id(other) {
            self.on_media(one, now, |media, line| media.join(line, other_line));
        }
    }

    pub(super) fn part(&mut self, one: LegKey, other: LegKey, now: Instant) {
        if let Some(other_line) = self.line_id(other) {
            self.on_media(one, now, |media, line| media.part(line, other_line));
        }
    }

    fn line_id(&self, at: LegKey) -> Option<rtp::MediaId> {
        Some(self.calls.get(at.call)?.leg(at)?.media.as_ref()?.id)
    }

    /// Presses keys on a leg, the way its other side wants them.
    pub(super) fn press(&mut self, at: LegKey, id: u32, digits: String, now: Instant) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        if entry.settings(at).is_some_and(|settings| settings.dtmf == DtmfMode::Info) {
            entry.keys.push_back(Keys::new(at, id, digits, now));
            return self.press_due(at.call, now);
        }
        self.on_media(at, now, |media, line| media.digits(line, id, digits));
    }

    /// Sends the keys whose time has come as INFO (`application/dtmf-relay`).
    pub(super) fn press_due(&mut self, key: usize, now: Instant) {
        while let Some(entry) = self.calls.get_mut(key) {
            let Some(keys) = entry.keys.front_mut().filter(|keys| keys.due <= now) else { return };
            let (at, id) = (keys.at, keys.id);
            let Some(digit) = keys.next(now) else {
                entry.keys.pop_front();
                self.tell(key, Input::Played { id, whole: true }, now);
                continue;
            };
            let leg = entry.leg(at).and_then(|leg| leg.sip);
            if let (Some(digit), Some(leg)) = (digit, leg) {
                let body = format!("Signal={digit}\r\nDuration={}\r\n", Keys::LENGTH.as_millis());
                let _ = self.parts.endpoint.sip().info(leg, "application/dtmf-relay", body.into(), now);
            }
        }
    }
}
