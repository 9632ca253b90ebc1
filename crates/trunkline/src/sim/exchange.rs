//! The exchange that callees sit behind: what their scripts want, in SIP and sound. No IO: whoever drives it brings the
//! SIP endpoint and the [`Lines`], real ones or those of a test.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::sdp::{Direction, Local, Negotiated};
use media::{Clip, Codec};
use sip::LegId;

use super::callee::{Action, Callee, Input};
use super::directory::Directory;
use super::script::Worse;
use super::voice::Voices;
use super::{CALL_HEADER, MAX_CALLS};
use crate::id::Id;
use crate::rtp::Impairment;
use crate::timers::Timers;

/// Numbers whose refusals are counted.
const MOST_COUNTED: usize = 1000;

/// The media of callees.
pub trait Lines {
    /// Names a line for as long as the exchange lives.
    type Line: Copy + Eq + Hash;

    /// Takes a new line: its address and RTP port. What is heard on it is of interest to `call`.
    fn open(&mut self, call: Option<Id>) -> Option<(Self::Line, IpAddr, u16)>;
    /// Starts sending and receiving.
    fn start(&mut self, line: Self::Line, negotiated: Negotiated) -> Result<(), u16>;
    /// Goes on as newly agreed.
    fn update(&mut self, line: Self::Line, negotiated: Negotiated);
    /// Plays a sound; its end comes back as [`Exchange::done`].
    fn play(&mut self, line: Self::Line, id: u32, clip: Clip);
    /// Stops what is played.
    fn stop(&mut self, line: Self::Line);
    /// Presses keys; their end comes back as [`Exchange::done`].
    fn press(&mut self, line: Self::Line, id: u32, keys: &str);
    /// A key that came by SIP INFO.
    fn info(&mut self, line: Self::Line, key: char, ms: u16);
    /// Sends back what is heard.
    fn echo(&mut self, line: Self::Line);
    /// Records what is heard; the end comes back as [`Exchange::done`].
    fn record(&mut self, line: Self::Line, id: u32, longest: Duration);
    /// What is sent arrives so much worse.
    fn impair(&mut self, line: Self::Line, how: Impairment);
    /// Gives the line back.
    fn close(&mut self, line: Self::Line);
}

/// The callees that are on the phone.
pub struct Exchange<L: Lines> {
    /// Their media.
    pub lines: L,
    directory: Directory,
    voices: Arc<Voices>,
    calls: HashMap<LegId, Call<L::Line>>,
    by_line: HashMap<L::Line, LegId>,
    /// How many calls in a row a number has refused.
    refused: HashMap<String, u32>,
    /// Calls whose BYE is answered late, by Call-ID.
    late: HashMap<String, Late>,
    timers: Timers<LegId>,
}

struct Call<T> {
    callee: Callee,
    number: String,
    counts: bool,
    offer: Vec<u8>,
    call: Option<Id>,
    call_id: Option<String>,
    impairment: Option<Impairment>,
    wire: Option<Wire<T>>,
}

/// The media of one call.
struct Wire<T> {
    line: T,
    local: Local,
    negotiated: Negotiated,
    /// Our answer to the first offer.
    answer: String,
}

struct Late {
    time: Duration,
    until: Option<Instant>,
}

impl<L: Lines> Exchange<L> {
    /// An exchange without calls.
    pub fn new(directory: Directory, voices: Arc<Voices>, lines: L) -> Self {
        Self {
            lines,
            directory,
            voices,
            calls: HashMap::new(),
            by_line: HashMap::new(),
            refused: HashMap::new(),
            late: HashMap::new(),
            timers: Timers::new(),
        }
    }

    /// Whether nobody is on the phone.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, sip: &mut sip::Endpoint, now: Instant) {
        while let Some(leg) = self.timers.pop_due(now) {
            self.act(sip, leg, now);
        }
    }

    /// Whether a datagram reaches the network: a BYE that is to be answered late is not heard at first.
    pub fn admits(&mut self, datagram: &[u8], now: Instant) -> bool {
        if self.late.is_empty() || !datagram.starts_with(b"BYE ") {
            return true;
        }
        let Ok(view) = sip::View::parse(datagram) else { return true };
        let Some(late) = view.call_id().and_then(|call_id| self.late.get_mut(call_id)) else { return true };
        *late.until.get_or_insert(now + late.time) <= now
    }

    /// A call comes in from somebody who may call.
    pub fn incoming(&mut self, sip: &mut sip::Endpoint, leg: LegId, request: &sip::Message, now: Instant) {
        if self.calls.len() >= MAX_CALLS {
            let _ = sip.reject(leg, 503, &[("Retry-After", "5")], now);
            return;
        }
        let uri = request.view().request_uri().and_then(|uri| sip::Uri::parse(uri).ok());
        let number = uri.and_then(|uri| uri.user).unwrap_or_default().to_string();
        let script = self.directory.script(&number);
        let counts = script.refusals().is_some();
        let refused = self.refused.get(&number).copied().unwrap_or(0);
        self.calls.insert(
            leg,
            Call {
                callee: Callee::new(script, refused, now),
                number,
                counts,
                offer: request.body().to_vec(),
                call: request.header(CALL_HEADER).and_then(Id::parse),
                call_id: sip.call_id(leg).map(str::to_owned),
                impairment: None,
                wire: None,
            },
        );
        self.timers.set(leg, Some(now));
    }

    /// What else happened to a leg.
    pub fn sip_event(&mut self, sip: &mut sip::Endpoint, event: sip::Event, now: Instant) {
        match event {
            sip::Event::Ended { leg, .. } => self.ended(leg),
            sip::Event::Offer { leg, body } => self.offered(sip, leg, &body, now),
            sip::Event::Reoffered { leg, result } => {
                if let Some(wire) = self.wire(leg)
                    && let Ok(Ok(negotiated)) = result.map(|body| media::sdp::accept(&wire.local, &body))
                {
                    wire.negotiated = negotiated.clone();
                    let line = wire.line;
                    self.lines.update(line, negotiated);
                }
                self.tell(sip, leg, Input::Reoffered, now);
            }
            sip::Event::Info { leg, content_type, body } => {
                if let (Some(line), Some((key, ms))) =
                    (self.line(leg), media::dtmf::from_info(&content_type, &body))
                {
                    self.lines.info(line, key, ms);
                }
            }
            sip::Event::Refer { leg, .. } => drop(sip.reject_refer(leg, 603, now)),
            // The network places no calls of its own.
            _ => {}
        }
    }

    /// A sound, keys or a recording are over.
    pub fn done(&mut self, sip: &mut sip::Endpoint, line: L::Line, id: u32, now: Instant) {
        if let Some(&leg) = self.by_line.get(&line) {
            self.tell(sip, leg, Input::Done(id), now);
        }
    }

    /// A key was heard.
    pub fn pressed(&mut self, sip: &mut sip::Endpoint, line: L::Line, key: char, now: Instant) {
        if let Some(&leg) = self.by_line.get(&line) {
            self.tell(sip, leg, Input::Key(key), now);
        }
    }

    fn tell(&mut self, sip: &mut sip::Endpoint, leg: LegId, input: Input, now: Instant) {
        if let Some(call) = self.calls.get_mut(&leg) {
            call.callee.handle_input(input, now);
            self.act(sip, leg, now);
        }
    }

    fn act(&mut self, sip: &mut sip::Endpoint, leg: LegId, now: Instant) {
        while let Some(action) = self.calls.get_mut(&leg).and_then(|call| call.callee.poll_action(now)) {
            self.perform(sip, leg, action, now);
        }
        let next = self.calls.get(&leg).and_then(|call| call.callee.poll_timeout());
        self.timers.set(leg, next);
    }

    fn perform(&mut self, sip: &mut sip::Endpoint, leg: LegId, action: Action, now: Instant) {
        match action {
            Action::Progress(status) => drop(sip.ring(leg, status, None, now)),
            Action::EarlyMedia => match self.connect(leg) {
                Ok(answer) => drop(sip.ring(leg, 183, Some(answer), now)),
                Err(status) => self.reject(sip, leg, status, &[], now),
            },
            Action::Answer => match self.connect(leg) {
                Ok(answer) => {
                    self.count(leg, false);
                    let _ = sip.accept(leg, answer, now);
                }
                Err(status) => self.reject(sip, leg, status, &[], now),
            },
            Action::Reject(status) => {
                self.count(leg, true);
                self.reject(sip, leg, status, &[], now);
            }
            Action::Redirect(uri) => self.reject(sip, leg, 302, &[("Contact", &format!("<{uri}>"))], now),
            Action::HangUp => sip.hang_up(leg, None, now),
            Action::Hold(on) => {
                if !self.hold(sip, leg, on, now) {
                    self.tell(sip, leg, Input::Reoffered, now);
                }
            }
            Action::LateBye(time) => {
                if let Some(call_id) = self.calls.get(&leg).and_then(|call| call.call_id.clone()) {
                    self.late.insert(call_id, Late { time, until: None });
                }
            }
            Action::Impair(worse) => self.impair(leg, worse),
            Action::Play { id, sound, limit } => {
                let clip = self.voices.clip(&sound, limit);
                self.on_line(leg, |lines, line| lines.play(line, id, clip));
            }
            Action::Stop => self.on_line(leg, |lines, line| lines.stop(line)),
            Action::Press { id, keys } => self.on_line(leg, |lines, line| lines.press(line, id, &keys)),
            Action::Echo => self.on_line(leg, |lines, line| lines.echo(line)),
            Action::Record { id, longest } => {
                self.on_line(leg, |lines, line| lines.record(line, id, longest));
            }
        }
    }

    fn on_line(&mut self, leg: LegId, act: impl FnOnce(&mut L, L::Line)) {
        if let Some(line) = self.line(leg) {
            act(&mut self.lines, line);
        }
    }

    fn wire(&mut self, leg: LegId) -> Option<&mut Wire<L::Line>> {
        self.calls.get_mut(&leg)?.wire.as_mut()
    }

    fn line(&self, leg: LegId) -> Option<L::Line> {
        Some(self.calls.get(&leg)?.wire.as_ref()?.line)
    }

    fn reject(
        &mut self,
        sip: &mut sip::Endpoint,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        now: Instant,
    ) {
        let _ = sip.reject(leg, status, headers, now);
        self.ended(leg);
    }

    /// Counts a call that was refused, or begins anew where one got through.
    fn count(&mut self, leg: LegId, refused: bool) {
        let Some(call) = self.calls.get(&leg).filter(|call| call.counts) else { return };
        if !refused {
            self.refused.remove(&call.number);
        } else if self.refused.len() < MOST_COUNTED || self.refused.contains_key(&call.number) {
            *self.refused.entry(call.number.clone()).or_default() += 1;
        }
    }

    /// Connects the callee's media, unless it is already; the answer to the offer.
    fn connect(&mut self, leg: LegId) -> Result<Vec<u8>, u16> {
        let call = self.calls.get_mut(&leg).ok_or(481_u16)?;
        if let Some(wire) = &call.wire {
            return Ok(wire.answer.clone().into_bytes());
        }
        let (line, address, port) = self.lines.open(call.call).ok_or(503_u16)?;
        let local = Local::new(address, port, vec![Codec::Pcmu, Codec::Pcma], u64::from(port));
        let agreed = media::sdp::answer(&call.offer, &local).map_err(|_| 488_u16);
        let started = agreed.and_then(|(answer, negotiated)| {
            self.lines.start(line, negotiated.clone())?;
            Ok((answer, negotiated))
        });
        let (answer, negotiated) = match started {
            Ok(started) => started,
            Err(status) => {
                self.lines.close(line);
                return Err(status);
            }
        };
        if let Some(how) = call.impairment {
            self.lines.impair(line, how);
        }
        let bytes = answer.clone().into_bytes();
        call.wire = Some(Wire { line, local, negotiated, answer });
        self.by_line.insert(line, leg);
        Ok(bytes)
    }

    fn impair(&mut self, leg: LegId, worse: Worse) {
        let Some(call) = self.calls.get_mut(&leg) else { return };
        let how = call.impairment.get_or_insert_default();
        match worse {
            Worse::Loss(loss) => how.loss = loss,
            Worse::Jitter(jitter) => how.jitter = jitter,
        }
        let how = *how;
        self.on_line(leg, |lines, line| lines.impair(line, how));
    }

    /// Offers to hold or to go on; whether the offer is on its way.
    fn hold(&mut self, sip: &mut sip::Endpoint, leg: LegId, on: bool, now: Instant) -> bool {
        let Some(wire) = self.wire(leg) else { return false };
        wire.local.version += 1;
        wire.local.direction = if on { Direction::SendOnly } else { Direction::SendRecv };
        let offer = media::sdp::reoffer(&wire.local, &wire.negotiated);
        sip.reinvite(leg, offer.into_bytes(), now).is_ok()
    }

    fn offered(&mut self, sip: &mut sip::Endpoint, leg: LegId, offer: &[u8], now: Instant) {
        let Some(wire) = self.wire(leg) else {
            return drop(sip.answer_offer(leg, Err(491), now));
        };
        wire.local.version += 1;
        match media::sdp::answer(offer, &wire.local) {
            Ok((answer, negotiated)) => {
                wire.negotiated = negotiated.clone();
                let line = wire.line;
                self.lines.update(line, negotiated);
                let _ = sip.answer_offer(leg, Ok(answer.into_bytes()), now);
            }
            Err(_) => drop(sip.answer_offer(leg, Err(488), now)),
        }
    }

    fn ended(&mut self, leg: LegId) {
        self.timers.set(leg, None);
        let Some(call) = self.calls.remove(&leg) else { return };
        if let Some(call_id) = call.call_id {
            self.late.remove(&call_id);
        }
        if let Some(wire) = call.wire {
            self.by_line.remove(&wire.line);
            self.lines.close(wire.line);
        }
    }
}
