//! The loop itself.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use call::{Call, HangupBy, Input, Output};
use crossbeam_channel::Receiver;
use mio::{Events, Poll};
use serde_json::{Value, json};
use sip::LegId;
use slab::Slab;
use tokio::sync::oneshot;

use super::entry::{Entry, wall};
use super::{Command, Place, Placed, Shared, full};
use crate::endpoint::Endpoint;
use crate::id::Id;
use crate::refused::Refused;
use crate::rtp::{self, Media, MediaId};
use crate::store::{CallEvent, Finish, Store, Write};
use crate::timers::Timers;

/// Writes a full store queue did not take; beyond, new calls are refused until it has caught up.
const MOST_UNWRITTEN: usize = 16_384;
/// Commands taken per wake-up, so that a burst of requests cannot delay the signalling.
const BATCH: usize = 64;

pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) endpoint: Endpoint,
    pub(super) commands: Receiver<Command>,
    pub(super) media: Media,
    pub(super) sink: rtp::Sink,
    pub(super) media_events: Receiver<rtp::Event>,
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) max_calls: usize,
}

pub(super) struct Loop {
    pub(super) parts: Parts,
    pub(super) calls: Slab<Entry>,
    by_id: HashMap<Id, usize>,
    pub(super) by_leg: HashMap<LegId, usize>,
    pub(super) by_media: HashMap<MediaId, usize>,
    timers: Timers<usize>,
    unwritten: VecDeque<Write>,
    exit: bool,
}

impl Loop {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            calls: Slab::new(),
            by_id: HashMap::new(),
            by_leg: HashMap::new(),
            by_media: HashMap::new(),
            timers: Timers::new(),
            unwritten: VecDeque::new(),
            exit: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(1024);
        while !self.exit {
            let timeout = self.timeout(Instant::now());
            match self.parts.poll.poll(&mut ready, timeout) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(error = %e, "the call loop cannot wait for its sockets");
                    return;
                }
                _ => {}
            }
            let now = Instant::now();
            for event in &ready {
                if self.parts.endpoint.owns(event.token()) {
                    self.parts.endpoint.handle_ready(event, now);
                }
            }
            if self.parts.endpoint.has_backlog() {
                self.parts.endpoint.read_datagrams(now);
            }
            self.parts.endpoint.handle_timeout(now);
            self.pump(now);
            while let Ok(event) = self.parts.media_events.try_recv() {
                self.media_event(event, now);
            }
            for _ in 0..BATCH {
                match self.parts.commands.try_recv() {
                    Ok(command) => self.obey(command, now),
                    Err(_) => break,
                }
            }
            while let Some(key) = self.timers.pop_due(now) {
                self.due(key, now);
            }
            self.pump(now);
            self.write_on();
            self.publish_figures();
        }
    }

    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        if self.parts.endpoint.has_backlog() || !self.parts.commands.is_empty() {
            return Some(Duration::ZERO);
        }
        let unwritten = (!self.unwritten.is_empty()).then(|| now + Duration::from_millis(5));
        let wake = [self.timers.next(), self.parts.endpoint.poll_timeout(), unwritten];
        wake.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn publish_figures(&mut self) {
        let stats = self.parts.endpoint.sip().stats();
        let shared = &self.parts.shared;
        shared.calls.store(self.calls.len(), Ordering::Relaxed);
        shared.legs.store(stats.legs, Ordering::Relaxed);
        shared.transactions.store(stats.transactions, Ordering::Relaxed);
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Place(place, reply) => self.place(*place, reply, now),
            Command::HangUp(id, reply) => {
                let key = self
                    .by_id
                    .get(&id)
                    .copied()
                    .filter(|key| self.calls.get(*key).is_some_and(|entry| entry.outcome.is_none()));
                if let Some(key) = key {
                    self.tell(
                        key,
                        Input::Hangup { by: HangupBy::Caller, cause: call::HangupReason::Api },
                        now,
                    );
                }
                let _ = reply.send(key.is_some());
            }
            Command::Heard(id, heard) => {
                let Some(&key) = self.by_id.get(&id) else { return };
                if let Some(entry) = self.calls.get_mut(key) {
                    entry.heard = Some(heard);
                }
                self.report(key, "heard", json!(heard));
                self.finish_if_complete(key, now);
            }
            Command::HangUpAll => {
                for key in self.calls.iter().map(|(key, _)| key).collect::<Vec<_>>() {
                    self.tell(
                        key,
                        Input::Hangup { by: HangupBy::System, cause: call::HangupReason::Shutdown },
                        now,
                    );
                }
            }
            Command::Exit => self.exit = true,
        }
    }

    fn place(&mut self, place: Place, reply: oneshot::Sender<Result<Placed, Refused>>, now: Instant) {
        if self.calls.len() >= self.parts.max_calls {
            let _ = reply.send(Err(full(self.parts.max_calls)));
            return;
        }
        if self.unwritten.len() >= MOST_UNWRITTEN {
            let behind = Refused::new(503, "store_behind", "The database cannot keep up.").retry_after(5);
            let _ = reply.send(Err(behind));
            return;
        }
        let silence = place.spec.silence_timeout;
        let key = self.calls.insert(Entry {
            id: place.id,
            account: place.account,
            call: Call::outbound(place.spec, now),
            silence,
            clips: place.clips,
            dials: place.dials,
            recording: place.recording,
            recorded: None,
            attempt: 0,
            leg: None,
            media: None,
            closed: None,
            heard: None,
            outcome: None,
            placed: Some(reply),
            sequence: 1,
        });
        self.by_id.insert(place.id, key);
        // Counted before the answer goes out, so that nobody sees an accepted call as not live.
        self.publish_figures();
        self.step(key, now);
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.parts.endpoint.poll_event(now) {
            self.sip_event(event, now);
        }
    }

    fn media_event(&mut self, event: rtp::Event, now: Instant) {
        match event {
            rtp::Event::Session(id, event) => {
                let Some(&key) = self.by_media.get(&id) else { return };
                match event {
                    media::Event::Played { id, whole } => self.tell(key, Input::Played { id, whole }, now),
                    media::Event::Silent { for_ } => self.tell(key, Input::Silent { after: for_ }, now),
                    media::Event::Digit { digit, .. } => self.tell(key, Input::Digit(digit), now),
                    media::Event::FirstMedia | media::Event::Recorded { .. } => {}
                }
            }
            rtp::Event::Closed(id, closed) => {
                let Some(key) = self.by_media.remove(&id) else { return };
                let Some(entry) = self.calls.get_mut(key) else { return };
                // The media of an earlier attempt has nothing more to say.
                if entry.media.as_ref().is_none_or(|line| line.id != id) {
                    return;
                }
                entry.media = None;
                entry.closed = Some(closed);
                self.finish_if_complete(key, now);
            }
        }
    }

    fn finish_if_complete(&mut self, key: usize, now: Instant) {
        if self.calls.get(key).is_some_and(Entry::is_complete) {
            self.finish(key, now);
        }
    }

    fn due(&mut self, key: usize, now: Instant) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        if entry.outcome.is_some() {
            // The media loop or the simulated callee never said its last word.
            return self.finish(key, now);
        }
        entry.call.handle_timeout(now);
        self.step(key, now);
    }

    pub(super) fn tell(&mut self, key: usize, input: Input, now: Instant) {
        if let Some(entry) = self.calls.get_mut(key) {
            entry.call.handle_input(input, now);
            self.step(key, now);
        }
    }

    /// Carries out what the call wants, until it wants nothing more.
    fn step(&mut self, key: usize, now: Instant) {
        while let Some(output) = self.calls.get_mut(key).and_then(|entry| entry.call.poll_output()) {
            self.carry_out(key, output, now);
        }
        let deadline = self.calls.get(key).and_then(Entry::deadline);
        self.timers.set(key, deadline);
    }

    fn carry_out(&mut self, key: usize, output: Output, now: Instant) {
        match output {
            Output::Dial { attempt } => self.dial(key, attempt, now),
            Output::HangUp { cause } => {
                let Some(leg) = self.calls.get(key).and_then(|entry| entry.leg) else { return };
                let reason = cause.q850.map(|q850| sip::Reason {
                    protocol: sip::ReasonProtocol::Q850,
                    cause: u16::from(q850),
                    text: None,
                });
                self.parts.endpoint.sip().hang_up(leg, reason, now);
            }
            Output::Play { id, clip } => {
                let Some(entry) = self.calls.get(key) else { return };
                let (Some(line), Some(clip)) = (&entry.media, entry.clips.get(clip.0 as usize)) else {
                    return;
                };
                if let Err(error) = self.parts.media.play(line.id, id, clip.clone()) {
                    self.tell(key, Input::MediaFailed(error.to_string()), now);
                }
            }
            Output::Pause { id, length } => {
                let Some(line) = self.calls.get(key).and_then(|entry| entry.media.as_ref()) else { return };
                if let Err(error) = self.parts.media.pause(line.id, id, length) {
                    self.tell(key, Input::MediaFailed(error.to_string()), now);
                }
            }
            Output::StopMedia => {
                if let Some(line) = self.calls.get(key).and_then(|entry| entry.media.as_ref()) {
                    let _ = self.parts.media.stop(line.id);
                }
            }
            Output::State { state } => self.state(key, state),
            Output::Progress(progress) => {
                let trunk = self.calls.get(key).and_then(|entry| entry.trunk_name(&progress));
                let (kind, detail) = describe(&progress, trunk);
                self.report(key, kind, detail);
            }
            Output::Finished(outcome) => self.finished(key, outcome, now),
        }
    }

    fn dial(&mut self, key: usize, attempt: usize, now: Instant) {
        self.close_media(key);
        if let Some(entry) = self.calls.get_mut(key) {
            entry.attempt = attempt;
        }
        match self.invite(key, attempt, now) {
            Ok(leg) => {
                self.by_leg.insert(leg, key);
                let call_id = self.parts.endpoint.sip().call_id(leg).unwrap_or_default().to_owned();
                let Some(entry) = self.calls.get_mut(key) else { return };
                entry.leg = Some(leg);
                let trunk = entry.dials.get(attempt).and_then(|dial| dial.trunk.clone());
                let write = Write::Attempt { call: entry.id, sip_call_id: call_id.clone(), trunk };
                if let Some(reply) = entry.placed.take() {
                    let _ = reply.send(Ok(Placed { sip_call_id: call_id }));
                }
                self.write(write);
            }
            Err(failure) => self.tell(key, Input::LegFailed(failure), now),
        }
    }

    fn close_media(&mut self, key: usize) {
        if let Some(line) = self.calls.get(key).and_then(|entry| entry.media.as_ref()) {
            let _ = self.parts.media.close(line.id);
        }
    }

    fn finished(&mut self, key: usize, outcome: call::Outcome, now: Instant) {
        self.close_media(key);
        let Some(entry) = self.calls.get_mut(key) else { return };
        entry.outcome = Some((outcome, now));
        if let Some(leg) = entry.leg.take() {
            self.by_leg.remove(&leg);
        }
        self.finish_if_complete(key, now);
    }

    /// Writes the last word about a call and forgets it.
    fn finish(&mut self, key: usize, now: Instant) {
        let Some(mut entry) = self.calls.try_remove(key) else { return };
        self.timers.set(key, None);
        self.by_id.remove(&entry.id);
        if let Some(line) = &entry.media {
            // Never heard of again: perhaps its loop was too busy to be told, and would keep the ports.
            let _ = self.parts.media.close(line.id);
            self.by_media.remove(&line.id);
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
        let event = entry.event(
            "finished",
            json!({
                "state": outcome.state.as_str(),
                "cause": { "code": cause.code, "text": cause.text, "hint": cause.hint, "sip": cause.sip, "q850": cause.q850 },
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
            cause_text: Some(cause.text.clone()),
            cause_hint: cause.hint.map(Into::into),
            sip_status: cause.sip,
            q850: cause.q850,
            hangup_by: Some(cause.by.as_str().into()),
            ringing_at: outcome.ringing.map(|at| wall(at, now)),
            answered_at: outcome.answered.map(|at| wall(at, now)),
            ended_at,
            quality,
            heard: entry.heard.map(|heard| json!(heard)),
            recording,
            event,
        };
        self.write(Write::Finish(Box::new(finish)));
    }

    fn state(&mut self, key: usize, state: call::State) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        // The first state was stored with the call; the final one is written with its cause.
        if state == call::State::Queued || state.is_final() {
            return;
        }
        let event = entry.event("state", json!({ "state": state.as_str() }));
        let write = Write::State { call: entry.id, state, at: event.at };
        self.write(write);
        self.publish(event);
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

    fn write_on(&mut self) {
        while let Some(write) = self.unwritten.pop_front() {
            if let Err(full) = self.parts.store.record(write) {
                self.unwritten.push_front(*full.0);
                return;
            }
        }
    }
}

/// A step of the call as its listeners see it.
fn describe(progress: &call::Progress, trunk: Option<String>) -> (&'static str, Value) {
    match progress {
        call::Progress::Attempt { n, of, .. } => ("attempt", json!({ "n": n, "of": of, "trunk": trunk })),
        call::Progress::AttemptFailed { cause } => {
            ("attempt-failed", json!({ "code": cause.code, "text": cause.text, "sip": cause.sip }))
        }
        call::Progress::Digit(digit) => ("digit", json!({ "digit": digit.to_string() })),
        call::Progress::EarlyMedia => ("early-media", json!({})),
        call::Progress::Saying { text } => ("say", json!({ "text": text })),
        call::Progress::Playing { name } => ("play", json!({ "file": name })),
        call::Progress::Pausing { length } => ("pause", json!({ "ms": length.as_millis() as u64 })),
        call::Progress::FlowDone => ("flow-done", json!({})),
    }
}
