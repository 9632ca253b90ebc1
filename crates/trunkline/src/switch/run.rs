//! The loop itself.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use call::{Call, HangupBy, Input, LegEnd, LegFailure, Output};
use crossbeam_channel::Receiver;
use media::sdp::{self, Direction, Local, Negotiated};
use media::Codec;
use mio::{Events, Poll};
use serde_json::{Value, json};
use sip::LegId;
use slab::Slab;
use tokio::sync::{broadcast, oneshot};

use super::entry::{Entry, Line, wall};
use super::{Command, Place, Placed, Shared, full};
use crate::endpoint::Endpoint;
use crate::id::Id;
use crate::refused::Refused;
use crate::rtp::{self, Media, MediaId};
use crate::store::{CallEvent, Finish, Store, Write};
use crate::time::now_ms;
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
    pub(super) events: broadcast::Sender<Arc<CallEvent>>,
    pub(super) shared: Arc<Shared>,
    pub(super) max_calls: usize,
}

pub(super) struct Loop {
    parts: Parts,
    calls: Slab<Entry>,
    by_id: HashMap<Id, usize>,
    by_leg: HashMap<LegId, usize>,
    by_media: HashMap<MediaId, usize>,
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
                let key = self.by_id.get(&id).copied().filter(|key| {
                    self.calls.get(*key).is_some_and(|entry| entry.outcome.is_none())
                });
                if let Some(key) = key {
                    self.tell(key, Input::Hangup { by: HangupBy::Caller, cause: call::HangupReason::Api }, now);
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
                    self.tell(key, Input::Hangup { by: HangupBy::System, cause: call::HangupReason::Shutdown }, now);
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

    fn sip_event(&mut self, event: sip::Event, now: Instant) {
        let leg = match &event {
            sip::Event::Incoming { leg, .. } => {
                // No number leads anywhere yet: refused quietly, as an unknown number.
                let _ = self.parts.endpoint.sip().reject(*leg, 404, &[], now);
                return;
            }
            sip::Event::Ringing { leg, .. }
            | sip::Event::Answered { leg, .. }
            | sip::Event::Failed { leg, .. }
            | sip::Event::Acked { leg, .. }
            | sip::Event::Offer { leg, .. }
            | sip::Event::Info { leg, .. }
            | sip::Event::Ended { leg, .. } => *leg,
        };
        let Some(&key) = self.by_leg.get(&leg) else {
            // Its call has given up on it: whatever still comes alive is ended.
            if matches!(event, sip::Event::Answered { .. }) {
                self.parts.endpoint.sip().hang_up(leg, None, now);
            }
            return;
        };
        match event {
            sip::Event::Ringing { body, .. } => {
                let early_media = !body.is_empty() && self.start_media(key, &body).is_ok();
                self.tell(key, Input::Ringing { early_media }, now);
            }
            sip::Event::Answered { body, .. } => self.answered(key, &body, now),
            sip::Event::Failed { failure, .. } => {
                let had_credentials = self.credentials_given(key);
                self.forget_leg(key, leg);
                self.tell(key, Input::LegFailed(translate(failure, had_credentials)), now);
            }
            sip::Event::Ended { ended, .. } => {
                self.forget_leg(key, leg);
                let q850 = ended.reason.and_then(|reason| match reason.protocol {
                    sip::ReasonProtocol::Q850 => u8::try_from(reason.cause).ok(),
                    sip::ReasonProtocol::Sip => None,
                });
                let by = match ended.by {
                    // Our own BYE ends the call as we said when we sent it.
                    sip::By::Remote | sip::By::Local | sip::By::Canceled => LegEnd::Remote,
                    sip::By::NoAck => LegEnd::NoAck,
                };
                self.tell(key, Input::LegEnded { by, q850 }, now);
            }
            sip::Event::Offer { body, .. } => self.offered(key, leg, &body, now),
            sip::Event::Acked { body, .. } => self.acked(key, &body),
            sip::Event::Info { .. } | sip::Event::Incoming { .. } => {}
        }
    }

    fn credentials_given(&self, key: usize) -> bool {
        self.calls.get(key).is_some_and(|entry| {
            entry.dials.get(entry.attempt).is_some_and(|dial| dial.credentials.is_some())
        })
    }

    fn answered(&mut self, key: usize, body: &[u8], now: Instant) {
        let early = self.calls.get(key).and_then(|e| e.media.as_ref()).is_some_and(|m| m.negotiated.is_some());
        self.tell(key, Input::Answered, now);
        let started = match body.is_empty() && early {
            true => Ok(()),
            false => self.start_media(key, body),
        };
        match started {
            Ok(()) => self.tell(key, Input::MediaReady, now),
            Err(why) => self.tell(key, Input::MediaFailed(why), now),
        }
    }

    /// Starts the session with their answer, or moves it when early media had started it.
    fn start_media(&mut self, key: usize, body: &[u8]) -> Result<(), String> {
        let Some(entry) = self.calls.get_mut(key) else { return Err("the call is gone".into()) };
        let Some(line) = entry.media.as_mut() else { return Err("there is no media".into()) };
        let negotiated = sdp::accept(&line.local, body).map_err(|e| e.to_string())?;
        if line.negotiated.is_some() {
            let moved = self.parts.media.update(line.id, negotiated.clone());
            line.negotiated = Some(negotiated);
            return moved.map_err(|e| e.to_string());
        }
        let recording = entry.recording.take();
        entry.recorded = recording.as_ref().map(|(_, name)| name.clone());
        let path = recording.map(|(path, _)| path);
        let setup = session(negotiated.clone(), path.is_some(), entry.silence)?;
        line.negotiated = Some(negotiated);
        let started = self.parts.media.start_session(line.id, setup, path, false);
        let recorded = entry.recorded.clone();
        if let Some(file) = recorded {
            let call = entry.id;
            self.write(Write::Recording { call, file: file.clone() });
            self.report(key, "recording", json!({ "file": file }));
        }
        started.map_err(|e| e.to_string())
    }

    fn offered(&mut self, key: usize, leg: LegId, offer: &[u8], now: Instant) {
        let Some(line) = self.calls.get_mut(key).and_then(|entry| entry.media.as_mut()) else { return };
        line.local.version += 1;
        let answer = match offer.is_empty() {
            true => {
                line.offered_late = true;
                Ok(sdp::offer(&line.local).into_bytes())
            }
            false => match sdp::answer(offer, &line.local) {
                Ok((answer, negotiated)) => {
                    let _ = self.parts.media.update(line.id, negotiated.clone());
                    line.negotiated = Some(negotiated);
                    Ok(answer.into_bytes())
                }
                Err(error) => {
                    tracing::info!(%error, "a re-INVITE was refused");
                    Err(488)
                }
            },
        };
        let _ = self.parts.endpoint.sip().answer_offer(leg, answer, now);
    }

    fn acked(&mut self, key: usize, body: &[u8]) {
        let Some(line) = self.calls.get_mut(key).and_then(|entry| entry.media.as_mut()) else { return };
        if !std::mem::take(&mut line.offered_late) {
            return;
        }
        if let Ok(negotiated) = sdp::accept(&line.local, body) {
            let _ = self.parts.media.update(line.id, negotiated.clone());
            line.negotiated = Some(negotiated);
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
                    media::Event::FirstMedia => {}
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

    fn tell(&mut self, key: usize, input: Input, now: Instant) {
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
                let (Some(line), Some(clip)) = (&entry.media, entry.clips.get(clip.0 as usize)) else { return };
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
                let (kind, detail) = describe(&progress);
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

    fn invite(&mut self, key: usize, attempt: usize, now: Instant) -> Result<LegId, LegFailure> {
        let gone = || unsent(call::FailureKind::Transport, "the attempt is gone");
        let parts = &mut self.parts;
        let entry = self.calls.get_mut(key).ok_or_else(gone)?;
        let dial = entry.dials.get(attempt).ok_or_else(gone)?;
        let target = dial.target.clone().map_err(|why| unsent(call::FailureKind::Dns(why), ""))?;
        let transport = |error: &dyn std::fmt::Display| {
            unsent(call::FailureKind::Transport, &error.to_string())
        };
        let path = parts.endpoint.path(target.transport, target.remote).map_err(|e| transport(&e))?;
        let (id, port) = parts.media.open(&parts.sink).map_err(|e| transport(&e))?;
        let local = Local {
            addr: path.local.ip(),
            port,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            session_id: now_ms().unsigned_abs(),
            version: 1,
            direction: Direction::SendRecv,
        };
        let invite = sip::Invite {
            path,
            request_uri: dial.request_uri.clone(),
            from_display: None,
            from_uri: dial.from_uri.clone(),
            to_uri: dial.to_uri.clone(),
            contact_user: dial.contact_user.clone(),
            route: Vec::new(),
            headers: dial.headers.clone(),
            body: sdp::offer(&local).into_bytes(),
            credentials: dial.credentials.clone(),
        };
        entry.media = Some(Line { id, local, negotiated: None, offered_late: false });
        self.by_media.insert(id, key);
        parts.endpoint.sip().invite(invite, now).map_err(|e| transport(&e))
    }

    fn forget_leg(&mut self, key: usize, leg: LegId) {
        self.by_leg.remove(&leg);
        if let Some(entry) = self.calls.get_mut(key) {
            entry.leg = None;
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
            event: event.clone(),
        };
        self.write(Write::Finish(Box::new(finish)));
        let _ = self.parts.events.send(Arc::new(event));
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

    fn report(&mut self, key: usize, kind: &str, detail: Value) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let event = entry.event(kind, detail);
        self.publish(event);
    }

    fn publish(&mut self, event: CallEvent) {
        self.write(Write::Event(event.clone()));
        // Nobody listening is no error.
        let _ = self.parts.events.send(Arc::new(event));
    }

    fn write(&mut self, write: Write) {
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

/// The session of a leg: random starts as RFC 3550 section 5.1 asks.
fn session(negotiated: Negotiated, record: bool, silence: Option<Duration>) -> Result<media::Setup, String> {
    let mut seed = [0; 10];
    getrandom::fill(&mut seed).map_err(|e| e.to_string())?;
    let [a, b, c, d, e, f, g, h, i, j] = seed;
    Ok(media::Setup {
        negotiated,
        ssrc: u32::from_be_bytes([a, b, c, d]),
        sequence: u16::from_be_bytes([e, f]),
        timestamp: u32::from_be_bytes([g, h, i, j]),
        cname: "trunkline".into(),
        record,
        silence_after: silence,
    })
}

/// An attempt that came to nothing before anything was sent.
fn unsent(kind: call::FailureKind, phrase: &str) -> LegFailure {
    LegFailure {
        kind,
        status: None,
        phrase: phrase.into(),
        q850: None,
        provisional: false,
        sent: false,
        challenged: false,
        had_credentials: false,
    }
}

fn translate(failure: sip::Failure, had_credentials: bool) -> LegFailure {
    LegFailure {
        kind: match failure.kind {
            sip::FailureKind::Status => call::FailureKind::Status,
            sip::FailureKind::Timeout => call::FailureKind::Timeout,
            sip::FailureKind::Transport => call::FailureKind::Transport,
            sip::FailureKind::Canceled => call::FailureKind::Canceled,
        },
        status: failure.status,
        phrase: failure.phrase,
        q850: failure.reason.and_then(|reason| match reason.protocol {
            sip::ReasonProtocol::Q850 => u8::try_from(reason.cause).ok(),
            sip::ReasonProtocol::Sip => None,
        }),
        provisional: failure.provisional,
        sent: failure.sent,
        challenged: failure.challenged,
        had_credentials,
    }
}

/// A step of the call as its listeners see it.
fn describe(progress: &call::Progress) -> (&'static str, Value) {
    match progress {
        call::Progress::Attempt { n, of, trunk } => ("attempt", json!({ "n": n, "of": of, "trunk": trunk })),
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
