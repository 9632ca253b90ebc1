//! What the call loop does with SIP legs: what their events mean to the call, offers and answers, INVITEs.

use std::time::{Duration, Instant};

use call::{Input, LegEnd, LegFailure};
use media::Codec;
use media::sdp::{self, Local, Negotiated};
use serde_json::json;
use sip::LegId;

use super::entry::Line;
use super::run::Loop;
use crate::store::Write;
use crate::time::now_ms;

impl Loop {
    pub(super) fn sip_event(&mut self, event: sip::Event, now: Instant) {
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
            | sip::Event::Trying { leg }
            | sip::Event::Pracked { leg, .. }
            | sip::Event::Reoffered { leg, .. }
            | sip::Event::Refer { leg, .. }
            | sip::Event::ReferProgress { leg, .. }
            | sip::Event::Ended { leg, .. } => *leg,
            sip::Event::SavedEnded { .. } => return,
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
                    sip::By::NoAck | sip::By::Lost => LegEnd::NoAck,
                };
                self.tell(key, Input::LegEnded { by, q850 }, now);
            }
            sip::Event::Offer { body, .. } => self.offered(key, leg, &body, now),
            sip::Event::Acked { body, .. } => self.acked(key, &body),
            // Nothing is transferred: whoever asks keeps the call it has.
            sip::Event::Refer { .. } => drop(self.parts.endpoint.sip().reject_refer(leg, 603, now)),
            sip::Event::Trying { .. }
            | sip::Event::Pracked { .. }
            | sip::Event::Reoffered { .. }
            | sip::Event::ReferProgress { .. }
            | sip::Event::Info { .. }
            | sip::Event::Incoming { .. }
            | sip::Event::SavedEnded { .. } => {}
        }
    }

    fn credentials_given(&self, key: usize) -> bool {
        self.calls.get(key).is_some_and(|entry| {
            entry.dials.get(entry.attempt).is_some_and(|dial| dial.credentials.is_some())
        })
    }

    fn answered(&mut self, key: usize, body: &[u8], now: Instant) {
        let early =
            self.calls.get(key).and_then(|e| e.media.as_ref()).is_some_and(|m| m.negotiated.is_some());
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
        // A final answer mostly repeats what early media said: latching must not start anew for it.
        if line.negotiated.as_ref() == Some(&negotiated) {
            return Ok(());
        }
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

    pub(super) fn invite(&mut self, key: usize, attempt: usize, now: Instant) -> Result<LegId, LegFailure> {
        let gone = || unsent(call::FailureKind::Transport, "the attempt is gone");
        let parts = &mut self.parts;
        let entry = self.calls.get_mut(key).ok_or_else(gone)?;
        let dial = entry.dials.get(attempt).ok_or_else(gone)?;
        let target = dial.target.clone().map_err(|why| unsent(call::FailureKind::Dns(why), ""))?;
        let transport =
            |error: &dyn std::fmt::Display| unsent(call::FailureKind::Transport, &error.to_string());
        let path = parts.endpoint.path(target.transport, target.remote).map_err(|e| transport(&e))?;
        let (id, port) = parts.media.open(&parts.sink).map_err(|error| {
            tracing::error!(%error, "no RTP port can be had");
            unsent(call::FailureKind::Media(error.to_string()), "")
        })?;
        let codecs = vec![Codec::Pcmu, Codec::Pcma];
        let local = Local::new(path.local.ip(), port, codecs, now_ms().unsigned_abs());
        let invite = sip::Invite {
            contact_user: dial.contact_user.clone(),
            headers: dial.headers.clone(),
            body: sdp::offer(&local).into_bytes(),
            credentials: dial.credentials.clone(),
            ..sip::Invite::new(path, dial.request_uri.as_str(), dial.from_uri.as_str(), dial.to_uri.as_str())
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
