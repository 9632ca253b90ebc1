//! What the call wants to be heard, and what the media loops tell.

use std::time::Instant;

use call::{ClipId, Input, Leg, LegInput, Record};
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
                let Some(at) = self.by_media.remove(&id) else { return };
                let Some(entry) = self.calls.get_mut(at.call) else { return };
                // The media of an earlier attempt has nothing more to say.
                if at.second.is_some() || entry.first.media.as_ref().is_none_or(|line| line.id != id) {
                    return;
                }
                entry.first.media = None;
                entry.closed = Some(closed);
                self.finish_if_complete(at.call, now);
            }
        }
    }

    /// Gives the first leg's media loop something to do; a call whose loop cannot take it has no sound any more.
    fn on_media(
        &mut self,
        key: usize,
        now: Instant,
        act: impl FnOnce(&rtp::Media, rtp::MediaId) -> Result<(), rtp::Overloaded>,
    ) {
        let Some(line) = self.calls.get(key).and_then(|entry| entry.first.media.as_ref()) else { return };
        if let Err(error) = act(&self.parts.media, line.id) {
            self.tell(key, Input::MediaFailed(error.to_string()), now);
        }
    }

    pub(super) fn play(&mut self, key: usize, id: u32, clip: ClipId, now: Instant) {
        let Some(clip) = self.calls.get_mut(key).and_then(|entry| entry.clips.take(clip)) else {
            return self.tell(key, Input::Played { id, whole: false }, now);
        };
        self.on_media(key, now, |media, line| media.play(line, id, clip));
    }

    pub(super) fn pause(&mut self, key: usize, id: u32, length: std::time::Duration, now: Instant) {
        self.on_media(key, now, |media, line| media.pause(line, id, length));
    }

    pub(super) fn stop_media(&mut self, key: usize, now: Instant) {
        if let Some(entry) = self.calls.get_mut(key) {
            entry.keys.retain(|keys| keys.at.second.is_some());
        }
        self.on_media(key, now, |media, line| media.stop(line));
    }

    /// Records the first leg into a file of its own.
    pub(super) fn record(&mut self, key: usize, id: u32, rules: Record, now: Instant) {
        let Some(entry) = self.calls.get(key) else { return };
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
        self.on_media(key, now, |media, line| media.record(line, id, rules, path, file));
    }

    pub(super) fn stop_record(&mut self, key: usize, id: u32, now: Instant) {
        self.on_media(key, now, |media, line| media.stop_record(line, id));
    }

    pub(super) fn join(&mut self, key: usize, n: u32, now: Instant) {
        let at = LegKey { call: key, second: Some(n) };
        let Some(entry) = self.calls.get(key) else { return };
        let lines = entry.first.media.as_ref().zip(entry.leg(at).and_then(|leg| leg.media.as_ref()));
        let Some((first, second)) = lines else { return };
        if let Err(error) = self.parts.media.join(first.id, second.id) {
            self.tell_leg(at, LegInput::MediaFailed(error.to_string()), now);
        }
    }

    /// Presses keys on a leg, the way its trunk wants them.
    pub(super) fn press(&mut self, key: usize, leg: Leg, id: u32, digits: String, now: Instant) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let second = match leg {
            Leg::First => None,
            Leg::Second => entry.second.as_ref().map(|(n, _)| *n),
        };
        let at = LegKey { call: key, second };
        if entry.dial(at).is_some_and(|dial| dial.settings.dtmf == DtmfMode::Info) {
            entry.keys.push_back(Keys::new(at, id, digits, now));
            return self.press_due(key, now);
        }
        let Some(line) = entry.leg(at).and_then(|leg| leg.media.as_ref()) else { return };
        if let Err(error) = self.parts.media.digits(line.id, id, digits) {
            self.tell_leg(at, LegInput::MediaFailed(error.to_string()), now);
        }
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
