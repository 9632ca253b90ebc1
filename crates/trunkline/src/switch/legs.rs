//! What the call loop does with SIP legs: what their events mean to the call, offers and answers.

use std::time::{Duration, Instant};

use call::{Input, LegEnd, LegFailure, LegInput};
use media::sdp::Negotiated;
use serde_json::json;
use sip::LegId;

use super::entry::LegKey;
use super::line::Line;
use super::run::Loop;
use crate::store::{OWN, Write};
use crate::time::now_ms;

impl Loop {
    pub(super) fn sip_event(&mut self, event: sip::Event, now: Instant) {
        let leg = match &event {
            // Calls are let in by `request`.
            sip::Event::Incoming { .. } => return,
            sip::Event::Request { .. } | sip::Event::Stranger { .. } | sip::Event::Response { .. } => {
                return self.outside(event, now);
            }
            sip::Event::Ringing { leg, .. }
            | sip::Event::Answered { leg, .. }
            | sip::Event::Failed { leg, .. }
            | sip::Event::Acked { leg, .. }
            | sip::Event::Offer { leg, .. }
            | sip::Event::Info { leg, .. }
            | sip::Event::Trying { leg }
            | sip::Event::Pracked { leg, .. }
            | sip::Event::Reoffered { leg, .. }
            | sip::Event::Refreshed { leg, .. }
            | sip::Event::Refer { leg, .. }
            | sip::Event::ReferProgress { leg, .. }
            | sip::Event::Ended { leg, .. } => *leg,
            sip::Event::SavedEnded { call_id } => return self.saved_ended(call_id),
        };
        let Some(&at) = self.by_leg.get(&leg) else {
            // Its call has given up on it: whatever still comes alive is ended.
            match event {
                sip::Event::Answered { .. } => self.parts.endpoint.sip().hang_up(leg, None, now),
                sip::Event::Ended { .. } => self.gave_up(leg),
                _ => {}
            }
            return;
        };
        match event {
            sip::Event::Trying { .. } => {
                self.save_leg(at);
                self.tell_leg(at, LegInput::Trying, now);
            }
            sip::Event::Ringing { body, .. } => self.rings(at, body, now),
            sip::Event::Answered { body, .. } => self.answered(at, &body, now),
            sip::Event::Failed { failure, .. } => {
                if self.offer_other(at, &failure, now) {
                    return;
                }
                self.note_failure(at, &failure);
                let failure = self.translate(at, failure);
                self.forget_leg(at, now);
                self.tell_leg(at, LegInput::Failed(failure), now);
            }
            sip::Event::Ended { ended, .. } => {
                self.forget_leg(at, now);
                let q850 = ended.reason.and_then(q850);
                self.tell_leg(at, LegInput::Ended { by: leg_end(ended.by), q850 }, now);
            }
            sip::Event::Offer { body, .. } => self.offered(at, leg, &body, now),
            sip::Event::Acked { body, .. } => self.acked(at, &body, now),
            // Where it acknowledges an answer of ours it brings nothing.
            sip::Event::Pracked { body, .. } if !body.is_empty() => self.acked(at, &body, now),
            sip::Event::Refreshed { body, .. } => self.refreshed(at, &body, now),
            sip::Event::Info { content_type, body, .. } => {
                let line = self.calls.get(at.call).and_then(|entry| entry.leg(at)?.media.as_ref());
                if let (Some(line), Some((digit, ms))) = (line, media::dtmf::from_info(&content_type, &body))
                {
                    let _ = self.parts.media.info(line.id, digit, ms);
                }
            }
            sip::Event::Refer { refer_to, replaces, .. } => {
                self.refer(at, leg, &refer_to, replaces.as_ref(), now);
            }
            sip::Event::Pracked { .. }
            | sip::Event::Reoffered { .. }
            | sip::Event::ReferProgress { .. }
            | sip::Event::Incoming { .. }
            | sip::Event::Request { .. }
            | sip::Event::Stranger { .. }
            | sip::Event::Response { .. }
            | sip::Event::SavedEnded { .. } => {}
        }
    }

    /// What is not about a leg.
    fn outside(&mut self, event: sip::Event, now: Instant) {
        match event {
            sip::Event::Request { asking, request, path } => self.request(asking, &request, path, now),
            sip::Event::Stranger { asking, leg, request, path } => {
                self.stranger(asking, leg, &request, path, now);
            }
            sip::Event::Response { id, result, trouble } => self.responded(id, result, trouble),
            _ => {}
        }
    }

    /// Lets other targets go first for a while, where this one is out of service (RFC 3263 section 4.3).
    fn note_failure(&self, at: LegKey, failure: &sip::Failure) {
        let is_out = match failure.kind {
            sip::FailureKind::Transport => true,
            sip::FailureKind::Timeout => !failure.provisional,
            sip::FailureKind::Status => failure.status == Some(503),
            sip::FailureKind::Canceled => false,
        };
        let dial = self.calls.get(at.call).and_then(|entry| entry.dial(at));
        let dial = dial.filter(|dial| is_out && dial.phone.is_none());
        if let Some(Ok(target)) = dial.map(|dial| &dial.target) {
            self.parts.resolver.failed(target);
        }
    }

    /// Tells the call what happened to one of its legs.
    pub(super) fn tell_leg(&mut self, at: LegKey, what: LegInput, now: Instant) {
        self.tell(at.call, Input::Leg { n: at.n, what }, now);
    }

    /// A failure in the call's terms: what is known of the trunk says more than the failure alone.
    fn translate(&self, at: LegKey, failure: sip::Failure) -> LegFailure {
        let dial = self.calls.get(at.call).and_then(|entry| entry.dial(at));
        let target = dial.and_then(|dial| dial.target.as_ref().ok());
        let over_tls = target.is_some_and(|target| target.transport == sip::Transport::Tls);
        let had_credentials = dial.is_some_and(|dial| dial.credentials.is_some());
        leg_failure(failure, over_tls, had_credentials)
    }

    fn line(&mut self, at: LegKey) -> Option<&mut Line> {
        self.calls.get_mut(at.call)?.leg_mut(at)?.media.as_mut()
    }

    fn rings(&mut self, at: LegKey, body: Vec<u8>, now: Instant) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        let is_forked = entry.is_forked(at);
        let mut early_media = false;
        if let Some(leg) = entry.leg_mut(at).filter(|_| is_forked && !body.is_empty()) {
            leg.early = body;
        } else if !body.is_empty() {
            early_media = self.start_media(at, &body).is_ok();
        }
        self.tell_leg(at, LegInput::Ringing { early_media }, now);
    }

    fn answered(&mut self, at: LegKey, body: &[u8], now: Instant) {
        self.save_leg(at);
        let leg = self.calls.get_mut(at.call).and_then(|entry| entry.leg_mut(at));
        let early = leg.map(|leg| std::mem::take(&mut leg.early)).unwrap_or_default();
        let is_early = self.line(at).is_some_and(|line| line.negotiated.is_some());
        // What a second leg speaks is known before the first one is answered, so that both can speak it.
        let is_first = self.calls.get(at.call).and_then(|entry| entry.leg(at)).map(|leg| leg.role)
            == Some(call::Leg::First);
        if is_first {
            self.tell_leg(at, LegInput::Answered, now);
        }
        let started = match (body.is_empty(), is_early) {
            (true, true) => Ok(()),
            (true, false) => self.start_media(at, &early),
            (false, _) => self.start_media(at, body),
        };
        match started {
            Ok(()) => self.tell_leg(at, LegInput::MediaReady, now),
            Err(why) => return self.tell_leg(at, LegInput::MediaFailed(why), now),
        }
        if !is_first {
            self.tell_leg(at, LegInput::Answered, now);
        }
    }

    /// Takes in their answer to our offer.
    fn start_media(&mut self, at: LegKey, body: &[u8]) -> Result<(), String> {
        let line = self.line(at).ok_or("there is no media")?;
        let negotiated = line.accept(body)?;
        self.start_session(at, negotiated)
    }

    /// Starts the session as it was agreed on, or moves it when early media had started it.
    pub(super) fn start_session(&mut self, at: LegKey, negotiated: Negotiated) -> Result<(), String> {
        let Some(entry) = self.calls.get_mut(at.call) else { return Err("the call is gone".into()) };
        let (call, silence) = (entry.id, entry.silence);
        let Some(leg) = entry.leg_mut(at) else { return Err("the leg is gone".into()) };
        let is_first = leg.role == call::Leg::First;
        let Some(line) = &mut leg.media else { return Err("there is no media".into()) };
        // A final answer mostly repeats what early media said: latching must not start anew for it.
        if line.negotiated.as_ref() == Some(&negotiated) {
            return Ok(());
        }
        let before = line.negotiated.replace(negotiated.clone());
        let id = line.id;
        if before.is_some() {
            return self.parts.media.update(id, negotiated).map_err(|e| e.to_string());
        }
        let recording = if is_first { entry.recording.take() } else { None };
        if is_first {
            entry.main = Some(id);
        }
        let (path, file) = recording.unzip();
        let setup = session(negotiated, path.is_some(), silence)?;
        let started = self.parts.media.start_session(id, setup, path, false);
        if let Some(file) = file {
            entry.recorded = Some(file.clone());
            // Before it is told of, so that what is told can be read.
            self.write(Write::Recording { call, number: OWN, file: file.clone(), at: now_ms() });
            self.report(at.call, "recording", json!({ "file": file }));
        }
        started.map_err(|e| e.to_string())
    }

    fn offered(&mut self, at: LegKey, leg: LegId, offer: &[u8], now: Instant) {
        let Some(line) = self.line(at) else { return };
        line.says_anew();
        let (answer, agreed) = match offer.is_empty() {
            true => {
                line.offered_late = true;
                (Ok(line.offer()), None)
            }
            false => match line.answer(offer, None) {
                Ok((answer, negotiated)) => (Ok(answer), Some(negotiated)),
                Err(error) => {
                    tracing::info!(error, "a re-INVITE was refused");
                    (Err(488), None)
                }
            },
        };
        let _ = self.parts.endpoint.sip().answer_offer(leg, answer, now);
        if let Some(negotiated) = agreed {
            self.agreed(at, negotiated, now);
        }
    }

    fn acked(&mut self, at: LegKey, body: &[u8], now: Instant) {
        let Some(line) = self.line(at) else { return };
        if !std::mem::take(&mut line.offered_late) {
            return;
        }
        match (line.accept(body), line.negotiated.is_some()) {
            (Ok(negotiated), true) => self.agreed(at, negotiated, now),
            (Ok(negotiated), false) => self.sound(at, negotiated, now),
            // What was agreed before still holds.
            (Err(_), true) => {}
            (Err(error), false) => self.tell_leg(at, LegInput::MediaFailed(error), now),
        }
    }

    /// An answer to what we said before may say something else than it did then.
    fn refreshed(&mut self, at: LegKey, body: &[u8], now: Instant) {
        let Some(line) = self.line(at) else { return };
        if let Ok(negotiated) = line.accept(body)
            && line.negotiated.as_ref() != Some(&negotiated)
        {
            self.agreed(at, negotiated, now);
        }
    }

    /// What a re-INVITE agreed on holds from now on.
    fn agreed(&mut self, at: LegKey, negotiated: Negotiated, now: Instant) {
        let Some(line) = self.line(at) else { return };
        let was_held = line.negotiated.as_ref().is_some_and(is_held);
        let held = is_held(&negotiated);
        line.negotiated = Some(negotiated.clone());
        let id = line.id;
        if held != was_held {
            let role = self.calls.get(at.call).and_then(|entry| entry.leg(at)).map(|leg| leg.role);
            let leg = if role == Some(call::Leg::Second) { "second" } else { "first" };
            self.report(at.call, if held { "held" } else { "resumed" }, json!({ "leg": leg }));
        }
        self.save_leg(at);
        if let Err(error) = self.parts.media.update(id, negotiated) {
            self.tell_leg(at, LegInput::MediaFailed(error.to_string()), now);
        }
    }

    /// A leg is over: its channel and its ports are free.
    pub(super) fn forget_leg(&mut self, at: LegKey, now: Instant) {
        self.end_turn(at, now);
        self.unsave_leg(at);
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        let Some(index) = entry.legs.iter().position(|leg| leg.n == at.n) else { return };
        let leg = entry.legs.remove(index);
        if let Some(sip) = leg.sip {
            self.by_leg.remove(&sip);
        }
        if let (Some(path), Some(shield)) = (leg.flow, self.parts.endpoint.shield()) {
            shield.flow_down(None, &path, now);
        }
        if let Some(line) = leg.media {
            if !entry.awaits(&line, leg.role) {
                self.by_media.remove(&line.id);
            }
            self.parts.media.close(line.id);
        }
        if leg.incoming.is_some() {
            self.no_longer_calling(leg.user);
        }
    }
}

/// A failure in the call's terms.
pub(crate) fn leg_failure(failure: sip::Failure, over_tls: bool, had_credentials: bool) -> LegFailure {
    LegFailure {
        kind: match failure.kind {
            sip::FailureKind::Status => call::FailureKind::Status,
            sip::FailureKind::Timeout => call::FailureKind::Timeout,
            sip::FailureKind::Transport if over_tls && !failure.phrase.is_empty() => {
                call::FailureKind::Tls(failure.phrase.clone())
            }
            sip::FailureKind::Transport => call::FailureKind::Transport,
            sip::FailureKind::Canceled => call::FailureKind::Canceled,
        },
        status: failure.status,
        phrase: failure.phrase,
        q850: failure.reason.and_then(q850),
        provisional: failure.provisional,
        sent: failure.sent,
        challenged: failure.challenged,
        had_credentials,
    }
}

/// Who ended an answered leg.
pub(crate) fn leg_end(by: sip::By) -> LegEnd {
    match by {
        // Our own BYE ends the call as we said when we sent it.
        sip::By::Remote | sip::By::Local => LegEnd::Remote,
        sip::By::Canceled => LegEnd::Canceled,
        sip::By::NoAck => LegEnd::NoAck,
        sip::By::Lost => LegEnd::Expired,
    }
}

/// Whether the other side has put us on hold: it no longer wants to hear us.
pub(crate) fn is_held(negotiated: &Negotiated) -> bool {
    negotiated.is_held()
}

/// What we say of why we end a leg (RFC 3326).
pub(crate) fn reason(cause: &call::Cause) -> Option<sip::Reason> {
    if cause.is_completed_elsewhere() {
        let text = Some("Call completed elsewhere".into());
        return Some(sip::Reason { protocol: sip::ReasonProtocol::Sip, cause: 200, text });
    }
    let q850 = cause.q850?;
    Some(sip::Reason { protocol: sip::ReasonProtocol::Q850, cause: u16::from(q850), text: None })
}

/// The Q.850 cause of a Reason header.
pub(crate) fn q850(reason: sip::Reason) -> Option<u8> {
    match reason.protocol {
        sip::ReasonProtocol::Q850 => u8::try_from(reason.cause).ok(),
        sip::ReasonProtocol::Sip => None,
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
