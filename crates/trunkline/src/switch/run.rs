//! The loop itself.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use call::{Call, HangupBy, Input, Output};
use crossbeam_channel::Receiver;
use mio::{Events, Poll};
use serde_json::json;
use sip::LegId;
use slab::Slab;
use tokio::sync::oneshot;

use super::admission::{Admission, Lag};
use super::describe::describe;
use super::entry::{Clips, Entry, LegKey};
use super::requests::{Registering, Waiting};
use super::trusted::Trusted;
use super::turns::Turns;
use super::{Answer, Command, Place, Placed, Shared, SipStats};
use crate::callers::Callers;
use crate::dns::Resolver;
use crate::endpoint::Endpoint;
use crate::id::Id;
use crate::refused::Refused;
use crate::registrar::Registrar;
use crate::rtp::{self, Media, MediaId};
use crate::store::bindings::Bindings;
use crate::store::{Store, Write};
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
    pub(super) resolver: Resolver,
    pub(super) shared: Arc<Shared>,
    pub(super) admission: Arc<Admission>,
    pub(super) recordings: PathBuf,
}

pub(super) struct Loop {
    pub(super) parts: Parts,
    pub(super) calls: Slab<Entry>,
    pub(super) by_id: HashMap<Id, usize>,
    pub(super) by_leg: HashMap<LegId, LegKey>,
    pub(super) by_media: HashMap<MediaId, LegKey>,
    timers: Timers<usize>,
    pub(super) turns: Turns,
    pub(super) unwritten: VecDeque<Write>,
    /// Legs of an earlier run that are being ended: Call-ID and call.
    pub(super) restored: HashMap<String, Id>,
    /// Requests outside calls that have no final response yet; as many as there may be transactions.
    pub(super) asked: HashMap<sip::RequestId, oneshot::Sender<Answer>>,
    pub(super) callers: Callers,
    pub(super) registrar: Registrar,
    pub(super) bindings: Bindings,
    trusted: Option<Trusted>,
    /// Registrations that are answered once they are on disk.
    pub(super) registering: VecDeque<Registering>,
    /// Pings on their way: whose, and for which binding.
    pub(super) pinged: HashMap<sip::RequestId, (u64, u64)>,
    /// Calls that came in, until it is known what happens to them.
    pub(super) waiting: HashMap<LegId, Waiting>,
    /// Calls that users have placed and that are up.
    pub(super) calling: HashMap<Id, u32>,
    /// Recordings that go on with a leg which has left their call.
    pub(super) moved_recordings: HashMap<MediaId, Id>,
    lag: Lag,
    exit: bool,
}

impl Loop {
    pub(super) fn new(
        parts: Parts,
        callers: Callers,
        registrar: Registrar,
        bindings: Bindings,
        trusted: Option<Trusted>,
    ) -> Self {
        Self {
            callers,
            registrar,
            bindings,
            trusted,
            registering: VecDeque::new(),
            pinged: HashMap::new(),
            waiting: HashMap::new(),
            calling: HashMap::new(),
            moved_recordings: HashMap::new(),
            lag: Lag::new(parts.admission.clone()),
            parts,
            calls: Slab::new(),
            by_id: HashMap::new(),
            by_leg: HashMap::new(),
            by_media: HashMap::new(),
            timers: Timers::new(),
            turns: Turns::default(),
            restored: HashMap::new(),
            asked: HashMap::new(),
            unwritten: VecDeque::new(),
            exit: false,
        }
    }

    pub(super) fn run(mut self) {
        self.tell_flows(Instant::now());
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
            if let (Some(trusted), Some(shield)) = (&mut self.trusted, self.parts.endpoint.shield()) {
                trusted.tell(shield, now);
            }
            for event in &ready {
                if self.parts.endpoint.owns(event.token()) {
                    self.parts.endpoint.handle_ready(event, now);
                }
            }
            if self.parts.endpoint.has_backlog() {
                self.parts.endpoint.read_on(now);
            }
            self.parts.endpoint.handle_timeout(now);
            self.pump(now);
            while let Some(path) = self.parts.endpoint.poll_closed() {
                self.registrar.lost(path);
            }
            self.answer_registered();
            self.keep_registrations(now);
            while let Ok(event) = self.parts.media_events.try_recv() {
                self.media_event(event, now);
            }
            // How late this turn is: since it began, or since somebody asked for a call.
            let mut due = now;
            for _ in 0..BATCH {
                let Ok(command) = self.parts.commands.try_recv() else { break };
                if let Command::Place(_, sent, _) = &command {
                    due = due.min(*sent);
                }
                self.obey(command, now);
            }
            while let Some(key) = self.timers.pop_due(now) {
                self.due(key, now);
            }
            self.serve_turns(now);
            self.pump(now);
            self.write_on();
            self.publish_figures();
            let now = Instant::now();
            self.lag.measure(due, now);
            let pressure = self.parts.admission.pressure(now);
            if let Some(shield) = self.parts.endpoint.shield() {
                shield.pressure(pressure);
            }
        }
    }

    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        if self.parts.endpoint.has_backlog() || !self.parts.commands.is_empty() {
            return Some(Duration::ZERO);
        }
        let unwritten = (!self.unwritten.is_empty()).then(|| now + Duration::from_millis(5));
        let wake = [
            self.timers.next(),
            self.turns.next(),
            self.parts.endpoint.poll_timeout(),
            self.registrar.poll_timeout(now),
            unwritten,
        ];
        wake.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn publish_figures(&mut self) {
        let stats = self.parts.endpoint.sip().stats();
        let shared = &self.parts.shared;
        shared.calls.store(self.calls.len(), Ordering::Relaxed);
        shared.legs.store(stats.legs, Ordering::Relaxed);
        shared.transactions.store(stats.transactions, Ordering::Relaxed);
        let connections = self.parts.endpoint.stats();
        let shield = self.parts.endpoint.shield().map(|shield| shield.stats());
        *shared.sip.lock().unwrap_or_else(PoisonError::into_inner) =
            SipStats { sip: stats, connections, shield };
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Place(place, _, reply) => self.place(*place, reply, now),
            Command::Live(id, live, reply) => {
                let _ = reply.send(self.live(id, live, now));
            }
            Command::Party(id, leg, reply) => drop(reply.send(self.party_of(id, leg))),
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
            Command::Limit(trunk, limits) => self.set_limits(trunk, limits, now),
            Command::Path(target, reply) => {
                let _ = reply.send(self.parts.endpoint.path(&target));
            }
            Command::Received(leg, place) => self.received(leg, *place, now),
            Command::Referred(leg, transfer) => self.referred(leg, *transfer, now),
            Command::Ask(request, reply) => self.ask(*request, reply, now),
            Command::AdoptWeb(upgraded) => {
                if let Err(error) = self.parts.endpoint.adopt_web(upgraded, now) {
                    tracing::debug!(%error, "a WebSocket was refused");
                }
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
            Command::Shielded(limit, reply) => {
                let list = self.parts.endpoint.shield().map(|shield| shield.list(limit, now));
                let _ = reply.send(list);
            }
            Command::Pardon(source, reply) => {
                let pardoned = self.parts.endpoint.shield().map_or(0, |shield| match source {
                    Some(source) => shield.pardon(source),
                    None => {
                        let known = shield.stats().sources;
                        shield.pardon_all();
                        known
                    }
                });
                let _ = reply.send(pardoned);
            }
            Command::PardonUser(name) => {
                if let Some(shield) = self.parts.endpoint.shield() {
                    shield.pardon_user(&name);
                }
            }
            Command::Insight(id, reply) => {
                let copy = self.parts.endpoint.tap().and_then(|tap| tap.copy(id, now));
                let _ = reply.send(copy);
            }
            Command::Exit => {
                self.exit = true;
                if let Some(tap) = self.parts.endpoint.tap() {
                    tap.close(now);
                }
            }
        }
    }

    fn ask(&mut self, request: sip::Outside, reply: oneshot::Sender<Answer>, now: Instant) {
        match self.parts.endpoint.sip().request(request, now) {
            Ok(id) => drop(self.asked.insert(id, reply)),
            Err(error) => drop(reply.send(Answer::none(error.to_string()))),
        }
    }

    fn place(&mut self, place: Place, reply: oneshot::Sender<Result<Placed, Refused>>, now: Instant) {
        if self.unwritten.len() >= MOST_UNWRITTEN {
            let behind = Refused::new(503, "store_behind", "The database cannot keep up.").retry_after(5);
            let _ = reply.send(Err(behind));
            return;
        }
        let key = self.enter(place, Call::outbound, Some(reply), now);
        self.step(key, now);
    }

    /// Takes a call in.
    pub(super) fn enter(
        &mut self,
        place: Place,
        begin: fn(call::Spec, Instant) -> Call,
        placed: Option<oneshot::Sender<Result<Placed, Refused>>>,
        now: Instant,
    ) -> usize {
        let silence = place.spec.silence_timeout;
        let key = self.calls.insert(Entry {
            id: place.id,
            account: place.account,
            call: begin(place.spec, now),
            silence,
            clips: Clips::new(place.clips),
            routes: place.routes,
            recording: place.recording,
            recorded: None,
            transfer: None,
            paused: false,
            legs: Vec::new(),
            main: None,
            keys: VecDeque::new(),
            closed: None,
            closing: Vec::new(),
            others: Vec::new(),
            heard: None,
            outcome: None,
            placed,
            sequence: 1,
            slot: Some(place.slot),
        });
        self.by_id.insert(place.id, key);
        // Counted before the answer goes out, so that nobody sees an accepted call as not live.
        self.publish_figures();
        key
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.parts.endpoint.poll_event(now) {
            self.sip_event(event, now);
        }
    }

    fn due(&mut self, key: usize, now: Instant) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        if entry.outcome.is_some() {
            // The media loop or the simulated callee never said its last word.
            return self.finish(key, now);
        }
        entry.call.handle_timeout(now);
        self.press_due(key, now);
        self.step(key, now);
    }

    pub(super) fn tell(&mut self, key: usize, input: Input, now: Instant) {
        if let Some(entry) = self.calls.get_mut(key) {
            entry.call.handle_input(input, now);
            self.step(key, now);
        }
    }

    /// Carries out what the call wants, until it wants nothing more.
    pub(super) fn step(&mut self, key: usize, now: Instant) {
        while let Some(output) = self.calls.get_mut(key).and_then(|entry| entry.call.poll_output()) {
            self.carry_out(key, output, now);
        }
        let deadline = self.calls.get(key).and_then(Entry::deadline);
        self.set_timer(key, deadline);
    }

    pub(super) fn set_timer(&mut self, key: usize, at: Option<Instant>) {
        self.timers.set(key, at);
    }

    fn carry_out(&mut self, key: usize, output: Output, now: Instant) {
        let at = |n| LegKey { call: key, n };
        match output {
            Output::Dial { n, leg, route, attempt } => self.dial(at(n), leg, route.0, attempt, now),
            Output::Answer { n } => self.answer(at(n), now),
            Output::Ring { n, early_media } => self.ring(at(n), early_media, now),
            Output::Reject { n, cause } => self.reject(at(n), &cause, now),
            Output::HangUp { n, cause } => self.hang_up_leg(at(n), &cause, now),
            Output::Join { one, other } => self.join(at(one), at(other), now),
            Output::Part { one, other } => self.part(at(one), at(other), now),
            Output::TransferProgress { n, status } => self.transfer_progress(at(n), status, now),
            Output::Play { n, id, clip } => self.play(at(n), id, clip, now),
            Output::Pause { n, id, length } => self.pause(at(n), id, length, now),
            Output::Digits { n, id, digits } => self.press(at(n), id, digits, now),
            Output::Record { n, id, rules } => self.record(at(n), id, rules, now),
            Output::StopRecord { n, id } => self.stop_record(at(n), id, now),
            Output::StopMedia { n } => self.stop_media(at(n), now),
            Output::State { state } => self.state(key, state),
            Output::Progress(progress) => {
                let trunk = self.calls.get(key).and_then(|entry| entry.trunk_name(&progress));
                let (kind, detail) = describe(&progress, trunk);
                let detail = match self.calls.get(key) {
                    Some(entry) => entry.told(&progress, detail),
                    None => detail,
                };
                self.report(key, kind, detail);
            }
            Output::Finished(outcome) => self.finished(key, outcome, now),
        }
    }
}
