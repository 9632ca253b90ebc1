//! Our side of a test's call: obeys the call engine as the switch does, over lines in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use call::{Call, Input, Leg as Role, LegInput, Output, Route, RouteId};
use media::Codec;
use media::sdp::{self, Local, Negotiated};
use serde_json::{Value, json};
use sip::LegId;

use super::Told;
use super::render::{Rendered, attempt};
use super::wires::{OURS, THEIRS, Wires};
use crate::id::Id;
use crate::sim::CALL_HEADER;
use crate::switch::{describe, is_held, leg_end, leg_failure, q850, reason};

/// What we are called by.
const CALLER: &str = "sip:+12025550100@192.0.2.1";
/// The port SIP is spoken at, on both sides.
pub(super) const SIP_PORT: u16 = 5060;

/// The call under test.
pub(super) struct Gateway {
    call: Call,
    pub(super) sip: sip::Endpoint,
    rendered: Rendered,
    /// Whom each route calls.
    routes: Vec<String>,
    id: Id,
    silence: Option<Duration>,
    legs: Vec<Leg>,
    began: Instant,
    pub(super) told: Vec<Told>,
    pub(super) joined: bool,
    pub(super) outcome: Option<call::Outcome>,
}

struct Leg {
    n: u32,
    role: Role,
    sip: Option<LegId>,
    line: Option<Line>,
}

struct Line {
    port: u16,
    local: Local,
    negotiated: Option<Negotiated>,
}

impl Gateway {
    pub(super) fn new(
        to: &str,
        mut rendered: Rendered,
        limits: (Duration, Duration),
        id: Id,
        now: Instant,
    ) -> Self {
        let flow = std::mem::take(&mut rendered.verbs);
        let (ring_timeout, max_duration) = limits;
        let route = Route::in_order(RouteId(0), vec![attempt(to)], ring_timeout);
        let spec = call::Spec { max_duration, ..call::Spec::new(flow, route) };
        let routes = std::mem::take(&mut rendered.routes);
        let config = sip::Config { max_datagram: None, ..sip::Config::default() };
        Self {
            silence: spec.silence_timeout,
            call: Call::outbound(spec, now),
            sip: sip::Endpoint::new(config, [1; 32]),
            rendered,
            routes: std::iter::once(to.to_owned()).chain(routes).collect(),
            id,
            legs: Vec::new(),
            began: now,
            told: Vec::new(),
            joined: false,
            outcome: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.call.poll_timeout().into_iter().chain(self.sip.poll_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.sip.handle_timeout(now);
        self.call.handle_timeout(now);
    }

    /// Carries out what the call wants next; false when that is nothing.
    pub(super) fn step(&mut self, wires: &mut Wires, now: Instant) -> bool {
        let Some(output) = self.call.poll_output() else { return false };
        match output {
            Output::Dial { n, leg, route, .. } => {
                let to = self.routes.get(route.0 as usize).cloned().unwrap_or_default();
                self.dial(n, leg, &to, wires, now);
            }
            Output::HangUp { n, cause } => {
                if let Some(sip) = self.leg(n).and_then(|leg| leg.sip) {
                    self.sip.hang_up(sip, reason(&cause), now);
                }
                if !self.call.awaits(n) {
                    self.forget(n, wires);
                }
            }
            Output::Join { one, other } => {
                if let (Some(one), Some(other)) = (self.port(one), self.port(other)) {
                    wires.join(one, other);
                    self.joined = true;
                }
            }
            // A flow under test calls out, and nobody it calls transfers it.
            Output::Answer { .. }
            | Output::Ring { .. }
            | Output::Reject { .. }
            | Output::Part { .. }
            | Output::TransferProgress { .. } => {}
            Output::Play { n, id, clip } => {
                let clip = self.rendered.clips.get(clip.0 as usize).cloned();
                if let (Some(session), Some(clip)) = (self.session(n, wires), clip) {
                    session.play(id, clip, now);
                }
            }
            Output::Pause { n, id, length } => {
                if let Some(session) = self.session(n, wires) {
                    session.pause(id, length, now);
                }
            }
            Output::Digits { n, id, digits } => {
                if let Some(session) = self.session(n, wires) {
                    let _ = session.digits(id, &digits, now);
                }
            }
            Output::Record { n, id, rules } => {
                let rules = media::Rules {
                    beep: rules.beep,
                    max: rules.max,
                    end_silence: rules.end_silence,
                    end_keys: rules.finish_keys,
                };
                if let Some(session) = self.session(n, wires) {
                    session.record_segment(id, rules);
                }
            }
            Output::StopRecord { n, .. } => {
                if let Some(session) = self.session(n, wires) {
                    session.stop_segment();
                }
            }
            Output::StopMedia { n } => {
                if let Some(session) = self.session(n, wires) {
                    session.stop();
                }
            }
            Output::State { state } => self.tell("state", json!({ "state": state.as_str() }), now),
            Output::Progress(progress) => {
                let (kind, detail) = describe(&progress, None);
                self.tell(kind, detail, now);
            }
            Output::Finished(outcome) => {
                let cause = &outcome.cause;
                let told =
                    json!({ "code": cause.code, "text": cause.text, "hint": cause.hint, "sip": cause.sip });
                self.tell("finished", json!({ "state": outcome.state.as_str(), "cause": told }), now);
                for leg in std::mem::take(&mut self.legs) {
                    leg.line.into_iter().for_each(|line| wires.hang_up(line.port));
                }
                self.outcome = Some(outcome);
            }
        }
        true
    }

    /// What a session of ours tells; false when the line is not ours.
    pub(super) fn media_event(&mut self, port: u16, event: &media::Event, now: Instant) -> bool {
        let Some(n) = self.legs.iter().find(|leg| leg.has(port)).map(|leg| leg.n) else { return false };
        match event {
            media::Event::Played { id, whole } => {
                self.call.handle_input(Input::Played { id: *id, whole: *whole }, now);
            }
            media::Event::Silent { for_ } => self.tell_call(n, LegInput::Silent { after: *for_ }, now),
            media::Event::Digit { digit, .. } => self.tell_call(n, LegInput::Digit(*digit), now),
            media::Event::Recorded { id, ms, why } => {
                self.tell("recorded", json!({ "ms": ms, "why": why.as_str() }), now);
                self.call.handle_input(Input::Recorded { id: *id }, now);
            }
            media::Event::FirstMedia => {}
        }
        true
    }

    /// What the network answers.
    pub(super) fn sip_event(&mut self, event: sip::Event, wires: &mut Wires, now: Instant) {
        match event {
            sip::Event::Trying { leg } => self.about(leg, LegInput::Trying, now),
            sip::Event::Ringing { leg, body, .. } => {
                let early_media = !body.is_empty() && self.start(leg, &body, wires, now).is_ok();
                self.about(leg, LegInput::Ringing { early_media }, now);
            }
            sip::Event::Answered { leg, body } => {
                if self.which(leg).is_none() {
                    return self.sip.hang_up(leg, None, now);
                }
                self.about(leg, LegInput::Answered, now);
                let is_early = self.line(leg).is_some_and(|line| line.negotiated.is_some());
                let started = match body.is_empty() && is_early {
                    true => Ok(()),
                    false => self.start(leg, &body, wires, now),
                };
                let started = started.map_or_else(LegInput::MediaFailed, |()| LegInput::MediaReady);
                self.about(leg, started, now);
            }
            sip::Event::Failed { leg, failure } => {
                self.over(leg, LegInput::Failed(leg_failure(failure, false, false)), wires, now);
            }
            sip::Event::Ended { leg, ended } => {
                let q850 = ended.reason.and_then(q850);
                self.over(leg, LegInput::Ended { by: leg_end(ended.by), q850 }, wires, now);
            }
            sip::Event::Offer { leg, body } => self.offered(leg, &body, wires, now),
            _ => {}
        }
    }

    fn dial(&mut self, n: u32, role: Role, to: &str, wires: &mut Wires, now: Instant) {
        let port = wires.new_line();
        let local = Local::new(OURS, port, vec![Codec::Pcmu, Codec::Pcma], port.into());
        let (ours, theirs) = (SocketAddr::new(OURS, SIP_PORT), SocketAddr::new(THEIRS, SIP_PORT));
        let path = sip::Path::new(sip::Transport::Udp, ours, theirs);
        let user = to.strip_prefix("sip:").unwrap_or(to).split('@').next().unwrap_or_default();
        let uri = format!("sip:{}@{THEIRS}", user.replace([' ', '(', ')'], ""));
        let invite = sip::Invite {
            body: sdp::offer(&local).into_bytes(),
            // Only the callee of the first leg is asked what it heard.
            headers: match role {
                Role::First => vec![(CALL_HEADER.into(), self.id.to_string())],
                Role::Second => Vec::new(),
            },
            ..sip::Invite::new(path, uri.as_str(), CALLER, uri.as_str())
        };
        let placed = self.sip.invite(invite, now);
        let line = Some(Line { port, local, negotiated: None });
        self.legs.push(Leg { n, role, sip: placed.as_ref().ok().copied(), line });
        if let Err(error) = placed {
            self.tell_call(n, LegInput::MediaFailed(error.to_string()), now);
        }
    }

    fn leg(&self, n: u32) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.n == n)
    }

    /// Which leg of the call this is: none for one that is over.
    fn which(&self, sip: LegId) -> Option<u32> {
        self.legs.iter().find(|leg| leg.sip == Some(sip)).map(|leg| leg.n)
    }

    fn line(&mut self, sip: LegId) -> Option<&mut Line> {
        self.legs.iter_mut().find(|leg| leg.sip == Some(sip))?.line.as_mut()
    }

    fn port(&self, n: u32) -> Option<u16> {
        self.leg(n)?.line.as_ref().map(|line| line.port)
    }

    fn session<'a>(&self, n: u32, wires: &'a mut Wires) -> Option<&'a mut media::Session> {
        wires.session(self.port(n)?)
    }

    fn about(&mut self, leg: LegId, what: LegInput, now: Instant) {
        if let Some(n) = self.which(leg) {
            self.tell_call(n, what, now);
        }
    }

    fn tell_call(&mut self, n: u32, what: LegInput, now: Instant) {
        self.call.handle_input(Input::Leg { n, what }, now);
    }

    /// A leg ended by itself.
    fn over(&mut self, leg: LegId, what: LegInput, wires: &mut Wires, now: Instant) {
        if let Some(n) = self.which(leg) {
            self.tell_call(n, what, now);
            self.forget(n, wires);
        }
    }

    fn forget(&mut self, n: u32, wires: &mut Wires) {
        let Some(index) = self.legs.iter().position(|leg| leg.n == n) else { return };
        if let Some(line) = self.legs.remove(index).line {
            wires.hang_up(line.port);
        }
    }

    fn start(&mut self, leg: LegId, body: &[u8], wires: &mut Wires, now: Instant) -> Result<(), String> {
        let silence = self.silence;
        let line = self.line(leg).ok_or("the leg is gone")?;
        let negotiated = sdp::accept(&line.local, body).map_err(|error| error.to_string())?;
        let before = line.negotiated.replace(negotiated.clone());
        let port = line.port;
        match before {
            Some(before) if before == negotiated => {}
            Some(_) => {
                if let Some(session) = wires.session(port) {
                    session.update(negotiated, now);
                }
            }
            None => wires.connect(port, negotiated, silence, now),
        }
        Ok(())
    }

    fn offered(&mut self, leg: LegId, offer: &[u8], wires: &mut Wires, now: Instant) {
        let role = self.legs.iter().find(|one| one.sip == Some(leg)).map(|one| one.role);
        let which = if role == Some(Role::First) { "first" } else { "second" };
        let Some(line) = self.line(leg) else { return };
        line.local.version += 1;
        let Ok((answer, negotiated)) = sdp::answer(offer, &line.local) else {
            return drop(self.sip.answer_offer(leg, Err(488), now));
        };
        let was_held = line.negotiated.as_ref().is_some_and(is_held);
        let held = is_held(&negotiated);
        line.negotiated = Some(negotiated.clone());
        if let Some(session) = wires.session(line.port) {
            session.update(negotiated, now);
        }
        let _ = self.sip.answer_offer(leg, Ok(answer.into_bytes()), now);
        if held != was_held {
            self.tell(if held { "held" } else { "resumed" }, json!({ "leg": which }), now);
        }
    }

    fn tell(&mut self, kind: &str, detail: Value, now: Instant) {
        let at_ms = super::ms(now.saturating_duration_since(self.began));
        self.told.push(Told { at_ms, kind: kind.to_owned(), detail });
    }
}

impl Leg {
    fn has(&self, port: u16) -> bool {
        self.line.as_ref().is_some_and(|line| line.port == port)
    }
}
