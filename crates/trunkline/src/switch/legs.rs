//! What the call loop does with SIP legs: what their events mean to the call, offers and answers.

use std::time::{Duration, Instant};

use call::{Input, LegEnd, LegFailure, LegInput};
use media::sdp::{self, Negotiated};
use serde_json::json;
use sip::LegId;

use super::Answer;
use super::entry::{LegKey, Line};
use super::run::Loop;
use crate::store::{OWN, Write};
use crate::time::now_ms;

impl Loop {
    pub(super) fn sip_event(&mut self, event: sip::Event, now: Instant) {
        let leg = match &event {
            sip::Event::Incoming { leg, .. } => {
                // No number leads anywhere yet: refused quietly, as an unknown number.
                let _ = self.parts.endpoint.sip().reject(*leg, 404, &[], now);
                return;
            }
            sip::Event::Response { .. } => {
                if let sip::Event::Response { id, result, trouble } = event
                    && let Some(reply) = self.asked.remove(&id)
                {
                    let _ = reply.send(Answer { result, trouble });
                }
                return;
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
            | sip::Event::Refer { leg, .. }
            | sip::Event::ReferProgress { leg, .. }
            | sip::Event::Ended { leg, .. } => *leg,
            sip::Event::SavedEnded { call_id } => return self.saved_ended(call_id),
        };
        let Some(&at) = self.by_leg.get(&leg) else {
            // Its call has given up on it: whatever still comes alive is ended.
            if matches!(event, sip::Event::Answered { .. }) {
                self.parts.endpoint.sip().hang_up(leg, None, now);
            }
            return;
        };
        match event {
            sip::Event::Trying { .. } => {
                self.save_leg(at);
                self.tell_leg(at, LegInput::Trying, now);
            }
            sip::Event::Ringing { body, .. } => {
                let early_media = !body.is_empty() && self.start_media(at, &body).is_ok();
                self.tell_leg(at, LegInput::Ringing { early_media }, now);
            }
            sip::Event::Answered { body, .. } => self.answered(at, &body, now),
            sip::Event::Failed { failure, .. } => {
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
            sip::Event::Info { content_type, body, .. } => {
                let line = self.calls.get(at.call).and_then(|entry| entry.leg(at)?.media.as_ref());
                if let (Some(line), Some((digit, ms))) = (line, media::dtmf::from_info(&content_type, &body))
                {
                    let _ = self.parts.media.info(line.id, digit, ms);
                }
            }
            // Nothing is transferred: whoever asks keeps the call it has.
            sip::Event::Refer { .. } => drop(self.parts.endpoint.sip().reject_refer(leg, 603, now)),
            sip::Event::Pracked { .. }
            | sip::Event::Reoffered { .. }
            | sip::Event::ReferProgress { .. }
            | sip::Event::Incoming { .. }
            | sip::Event::Response { .. }
            | sip::Event::SavedEnded { .. } => {}
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
        if let Some(Ok(target)) = dial.map(|dial| &dial.target).filter(|_| is_out) {
            self.parts.resolver.failed(target);
        }
    }

    /// Tells the call what happened to one of its legs.
    pub(super) fn tell_leg(&mut self, at: LegKey, what: LegInput, now: Instant) {
        self.tell(at.call, leg_input(at.second, what), now);
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

    fn answered(&mut self, at: LegKey, body: &[u8], now: Instant) {
        self.save_leg(at);
        let early = self.line(at).is_some_and(|line| line.negotiated.is_some());
        self.tell_leg(at, LegInput::Answered, now);
        let started = match body.is_empty() && early {
            true => Ok(()),
            false => self.start_media(at, body),
        };
        match started {
            Ok(()) => self.tell_leg(at, LegInput::MediaReady, now),
            Err(why) => self.tell_leg(at, LegInput::MediaFailed(why), now),
        }
    }

    /// Starts the session with their answer, or moves it when early media had started it.
    fn start_media(&mut self, at: LegKey, body: &[u8]) -> Result<(), String> {
        let Some(entry) = self.calls.get_mut(at.call) else { return Err("the call is gone".into()) };
        let (call, silence) = (entry.id, entry.silence);
        let recording = if at.second.is_none() { entry.recording.take() } else { None };
        let Some(line) = entry.leg_mut(at).and_then(|leg| leg.media.as_mut()) else {
            return Err("there is no media".into());
        };
        let negotiated = sdp::accept(&line.local, body).map_err(|e| e.to_string())?;
        // A final answer mostly repeats what early media said: latching must not start anew for it.
        if line.negotiated.as_ref() == Some(&negotiated) {
            return Ok(());
        }
        let before = line.negotiated.replace(negotiated.clone());
        let id = line.id;
        if before.is_some() {
            return self.parts.media.update(id, negotiated).map_err(|e| e.to_string());
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
        line.local.version += 1;
        let (answer, agreed) = match offer.is_empty() {
            true => {
                line.offered_late = true;
                let again = |agreed: &Negotiated| sdp::reoffer(&line.local, agreed);
                let offer = line.negotiated.as_ref().map_or_else(|| sdp::offer(&line.local), again);
                (Ok(offer.into_bytes()), None)
            }
            false => match sdp::answer(offer, &line.local) {
                Ok((answer, negotiated)) => (Ok(answer.into_bytes()), Some(negotiated)),
                Err(error) => {
                    tracing::info!(%error, "a re-INVITE was refused");
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
        if let Ok(negotiated) = sdp::accept(&line.local, body) {
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
            let leg = if at.second.is_some() { "second" } else { "first" };
            self.report(at.call, if held { "held" } else { "resumed" }, json!({ "leg": leg }));
        }
        self.save_leg(at);
        if let Err(error) = self.parts.media.update(id, negotiated) {
            self.tell_leg(at, LegInput::MediaFailed(error.to_string()), now);
        }
    }

    /// The leg's dialog is over.
    pub(super) fn forget_leg(&mut self, at: LegKey, now: Instant) {
        let Some(leg) = self.calls.get_mut(at.call).and_then(|entry| entry.leg_mut(at)) else { return };
        if let Some(sip) = leg.sip.take() {
            self.by_leg.remove(&sip);
        }
        self.unsave_leg(at);
        if at.second.is_some() {
            self.end_second(at, now);
        }
    }

    /// A second leg is over: its media ends, its channel is free.
    pub(super) fn end_second(&mut self, at: LegKey, now: Instant) {
        self.end_turn(at, now);
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        if entry.leg(at).is_none() {
            return;
        }
        if let Some((_, leg)) = entry.second.take()
            && let Some(line) = leg.media
        {
            self.by_media.remove(&line.id);
            self.parts.media.close(line.id);
        }
    }
}

/// What happened to a leg, as its call takes it; `second` names a second leg.
pub(crate) fn leg_input(second: Option<u32>, what: LegInput) -> Input {
    match (second, what) {
        (Some(n), what) => Input::Second { n, what },
        (None, LegInput::Waiting) => Input::Waiting,
        (None, LegInput::Dialed) => Input::Dialed,
        (None, LegInput::Trying) => Input::Trying,
        (None, LegInput::Ringing { early_media }) => Input::Ringing { early_media },
        (None, LegInput::Answered) => Input::Answered,
        (None, LegInput::Failed(failure)) => Input::LegFailed(failure),
        (None, LegInput::Ended { by, q850 }) => Input::LegEnded { by, q850 },
        (None, LegInput::MediaReady) => Input::MediaReady,
        (None, LegInput::MediaFailed(said)) => Input::MediaFailed(said),
        (None, LegInput::Silent { after }) => Input::Silent { after },
        (None, LegInput::Digit(digit)) => Input::Digit(digit),
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
        sip::By::Remote | sip::By::Local | sip::By::Canceled => LegEnd::Remote,
        sip::By::NoAck => LegEnd::NoAck,
        sip::By::Lost => LegEnd::Expired,
    }
}

/// Whether the other side has put us on hold: it no longer wants to hear us.
pub(crate) fn is_held(negotiated: &Negotiated) -> bool {
    negotiated.is_held()
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
