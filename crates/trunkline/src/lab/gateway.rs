//! Our side of a test's call: obeys the call engine as the switch does, over lines in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use call::{Call, Input, Leg as Which, LegInput, Output};
use media::Codec;
use media::sdp::{self, Local, Negotiated};
use serde_json::{Value, json};
use sip::LegId;

use super::Told;
use super::render::{Rendered, attempt};
use super::wires::{OURS, THEIRS, Wires};
use crate::id::Id;
use crate::sim::CALL_HEADER;
use crate::switch::{describe, is_held, leg_end, leg_failure, leg_input, q850};

/// What we are called by.
const CALLER: &str = "sip:+12025550100@192.0.2.1";
/// The port SIP is spoken at, on both sides.
pub(super) const SIP_PORT: u16 = 5060;

/// The call under test.
pub(super) struct Gateway {
    call: Call,
    pub(super) sip: sip::Endpoint,
    rendered: Rendered,
    to: String,
    id: Id,
    silence: Option<Duration>,
    first: Leg,
    /// The second leg that is up, by its number.
    second: Option<(u32, Leg)>,
    began: Instant,
    pub(super) told: Vec<Told>,
    pub(super) joined: bool,
    pub(super) outcome: Option<call::Outcome>,
}

#[derive(Default)]
struct Leg {
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
        let spec = call::Spec { ring_timeout, max_duration, ..call::Spec::new(flow, vec![attempt(to)]) };
        let config = sip::Config { max_datagram: None, ..sip::Config::default() };
        Self {
            silence: spec.silence_timeout,
            call: Call::outbound(spec, now),
            sip: sip::Endpoint::new(config, [1; 32]),
            rendered,
            to: to.to_owned(),
            id,
            first: Leg::default(),
            second: None,
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
            Output::Dial { .. } => {
                let to = self.to.clone();
                self.dial(None, &to, wires, now);
            }
            Output::DialSecond { n, route, .. } => {
                self.end_second(wires);
                self.second = Some((n, Leg::default()));
                let to = self.rendered.routes.get(route.0 as usize).cloned().unwrap_or_default();
                self.dial(Some(n), &to, wires, now);
            }
            Output::HangUp { cause } => self.hang_up(None, cause.q850, now),
            Output::HangUpSecond { n, cause } => {
                self.hang_up(Some(n), cause.q850, now);
                self.end_second(wires);
            }
            Output::Join { n } => {
                if let (Some(one), Some(other)) = (self.port(None), self.port(Some(n))) {
                    wires.join(one, other);
                    self.joined = true;
                }
            }
            Output::Play { id, clip } => {
                let clip = self.rendered.clips.get(clip.0 as usize).cloned();
                if let (Some(session), Some(clip)) = (self.session(None, wires), clip) {
                    session.play(id, clip, now);
                }
            }
            Output::Pause { id, length } => {
                if let Some(session) = self.session(None, wires) {
                    session.pause(id, length, now);
                }
            }
            Output::Digits { leg, id, digits } => {
                let second = match leg {
                    Which::First => None,
                    Which::Second => self.second.as_ref().map(|(n, _)| *n),
                };
                if let Some(session) = self.session(second, wires) {
                    let _ = session.digits(id, &digits, now);
                }
            }
            Output::Record { id, rules } => {
                let rules = media::Rules {
                    beep: rules.beep,
                    max: rules.max,
                    end_silence: rules.end_silence,
                    end_keys: rules.finish_keys,
                };
                if let Some(session) = self.session(None, wires) {
                    session.record_segment(id, rules);
                }
            }
            Output::StopRecord { .. } => {
                if let Some(session) = self.session(None, wires) {
                    session.stop_segment();
                }
            }
            Output::StopMedia => {
                if let Some(session) = self.session(None, wires) {
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
                self.end_second(wires);
                self.first.line.take().into_iter().for_each(|line| wires.hang_up(line.port));
                self.outcome = Some(outcome);
            }
        }
        true
    }

    /// What a session of ours tells; false when the line is not ours.
    pub(super) fn media_event(&mut self, port: u16, event: &media::Event, now: Instant) -> bool {
        let is_second = self.second.as_ref().is_some_and(|(_, leg)| leg.has(port));
        let second = self.second.as_ref().map(|(n, _)| *n).filter(|_| is_second);
        if !is_second && !self.first.has(port) {
            return false;
        }
        match event {
            media::Event::Played { id, whole } => {
                self.call.handle_input(Input::Played { id: *id, whole: *whole }, now);
            }
            media::Event::Silent { for_ } => self.leg(second, LegInput::Silent { after: *for_ }, now),
            media::Event::Digit { digit, .. } => self.leg(second, LegInput::Digit(*digit), now),
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
                self.about(leg, LegInput::Failed(leg_failure(failure, false, false)), now);
                self.forget(leg, wires);
            }
            sip::Event::Ended { leg, ended } => {
                let q850 = ended.reason.and_then(q850);
                self.about(leg, LegInput::Ended { by: leg_end(ended.by), q850 }, now);
                self.forget(leg, wires);
            }
            sip::Event::Offer { leg, body } => self.offered(leg, &body, wires, now),
            _ => {}
        }
    }

    fn dial(&mut self, second: Option<u32>, to: &str, wires: &mut Wires, now: Instant) {
        let port = wires.new_line();
        let local = Local::new(OURS, port, vec![Codec::Pcmu, Codec::Pcma], port.into());
        let (ours, theirs) = (SocketAddr::new(OURS, SIP_PORT), SocketAddr::new(THEIRS, SIP_PORT));
        let path = sip::Path::new(sip::Transport::Udp, ours, theirs);
        let user = to.strip_prefix("sip:").unwrap_or(to).split('@').next().unwrap_or_default();
        let uri = format!("sip:{}@{THEIRS}", user.replace([' ', '(', ')'], ""));
        let invite = sip::Invite {
            body: sdp::offer(&local).into_bytes(),
            // Only the callee of the first leg is asked what it heard.
            headers: match second {
                None => vec![(CALL_HEADER.into(), self.id.to_string())],
                Some(_) => Vec::new(),
            },
            ..sip::Invite::new(path, uri.as_str(), CALLER, uri.as_str())
        };
        let line = Some(Line { port, local, negotiated: None });
        match self.sip.invite(invite, now) {
            Ok(sip) => self.set(second, Leg { sip: Some(sip), line }),
            Err(error) => {
                self.set(second, Leg { sip: None, line });
                self.leg(second, LegInput::MediaFailed(error.to_string()), now);
            }
        }
    }

    fn set(&mut self, second: Option<u32>, leg: Leg) {
        match second {
            None => self.first = leg,
            Some(n) => self.second = Some((n, leg)),
        }
    }

    fn hang_up(&mut self, second: Option<u32>, q850: Option<u8>, now: Instant) {
        let leg = match second {
            None => Some(&self.first),
            Some(n) => self.second.as_ref().filter(|(second, _)| *second == n).map(|(_, leg)| leg),
        };
        let reason = q850.map(|q850| sip::Reason {
            protocol: sip::ReasonProtocol::Q850,
            cause: q850.into(),
            text: None,
        });
        if let Some(sip) = leg.and_then(|leg| leg.sip) {
            self.sip.hang_up(sip, reason, now);
        }
    }

    fn end_second(&mut self, wires: &mut Wires) {
        if let Some((_, Leg { line: Some(line), .. })) = self.second.take() {
            wires.hang_up(line.port);
        }
    }

    /// Which leg of the call this is: none for one that is over.
    fn which(&self, leg: LegId) -> Option<Option<u32>> {
        if self.first.sip == Some(leg) {
            return Some(None);
        }
        self.second.as_ref().filter(|(_, second)| second.sip == Some(leg)).map(|(n, _)| Some(*n))
    }

    fn line(&mut self, leg: LegId) -> Option<&mut Line> {
        match self.which(leg)? {
            None => self.first.line.as_mut(),
            Some(_) => self.second.as_mut()?.1.line.as_mut(),
        }
    }

    fn port(&self, second: Option<u32>) -> Option<u16> {
        let leg = match second {
            None => &self.first,
            Some(_) => &self.second.as_ref()?.1,
        };
        leg.line.as_ref().map(|line| line.port)
    }

    fn session<'a>(&self, second: Option<u32>, wires: &'a mut Wires) -> Option<&'a mut media::Session> {
        wires.session(self.port(second)?)
    }

    fn about(&mut self, leg: LegId, what: LegInput, now: Instant) {
        if let Some(second) = self.which(leg) {
            self.leg(second, what, now);
        }
    }

    fn leg(&mut self, second: Option<u32>, what: LegInput, now: Instant) {
        self.call.handle_input(leg_input(second, what), now);
    }

    fn forget(&mut self, leg: LegId, wires: &mut Wires) {
        match self.which(leg) {
            Some(Some(_)) => self.end_second(wires),
            Some(None) => self.first.sip = None,
            None => {}
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
        let which = if self.which(leg) == Some(None) { "first" } else { "second" };
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
