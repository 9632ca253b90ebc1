//! Legs on their way: ports bound, sound offered, the INVITE sent, and what of it outlives a crash.

use std::time::Instant;

use call::{Cause, LegFailure, LegInput};
use sip::LegId;

use super::Placed;
use super::entry::LegKey;
use super::legs::reason;
use super::line::{Line, Wanted};
use super::run::Loop;
use super::saved::to_json;
use crate::store::Write;
use crate::trunk::TrunkSettings;

impl Loop {
    /// Ends a leg as it stands, by CANCEL or BYE.
    pub(super) fn hang_up_leg(&mut self, at: LegKey, cause: &Cause, now: Instant) {
        if !self.leave_queue(at, now)
            && let Some(leg) = self.calls.get(at.call).and_then(|entry| entry.leg(at)?.sip)
        {
            self.parts.endpoint.sip().hang_up(leg, reason(cause), now);
        }
        if self.calls.get(at.call).is_some_and(|entry| !entry.call.awaits(at.n)) {
            self.forget_leg(at, now);
        }
    }

    pub(super) fn send_invite(&mut self, at: LegKey, now: Instant) {
        match self.invite(at, now) {
            Ok(sip) => {
                self.by_leg.insert(sip, at);
                let call_id = self.parts.endpoint.sip().call_id(sip).unwrap_or_default().to_owned();
                let Some(entry) = self.calls.get_mut(at.call) else { return };
                let Some(leg) = entry.leg_mut(at) else { return };
                leg.sip = Some(sip);
                leg.flow = self.parts.endpoint.sip().path_of(sip);
                if let (Some(path), Some(shield)) = (leg.flow, self.parts.endpoint.shield()) {
                    shield.flow_up(None, &path);
                }
                let role = if leg.role == call::Leg::First { "first" } else { "second" };
                if let Some(tap) = self.parts.endpoint.tap() {
                    let trunk = entry.dial(at).and_then(|dial| dial.trunk.as_ref());
                    tap.hold(entry.id, &call_id, role, trunk.map_or("", |(_, name)| name));
                }
                let Some(leg) = entry.leg_mut(at) else { return };
                if leg.role == call::Leg::First {
                    let trunk = entry.dial(at).and_then(|dial| dial.trunk.clone());
                    let write = Write::Attempt { call: entry.id, sip_call_id: call_id.clone(), trunk };
                    if let Some(reply) = entry.placed.take() {
                        let _ = reply.send(Ok(Placed { sip_call_id: call_id }));
                    }
                    self.write(write);
                }
                self.save_leg(at);
            }
            Err(failure) => {
                self.forget_leg(at, now);
                self.tell_leg(at, LegInput::Failed(failure), now);
            }
        }
    }

    fn invite(&mut self, at: LegKey, now: Instant) -> Result<LegId, LegFailure> {
        let gone = || unsent(call::FailureKind::Transport, "the attempt is gone");
        let parts = &mut self.parts;
        let entry = self.calls.get_mut(at.call).ok_or_else(gone)?;
        let dial = entry.dial(at).ok_or_else(gone)?;
        let target = dial.target.clone().map_err(|why| unsent(call::FailureKind::Dns(why), ""))?;
        let transport =
            |error: &dyn std::fmt::Display| unsent(call::FailureKind::Transport, &error.to_string());
        let path = match dial.phone {
            Some((path, _)) => path,
            None => parts.endpoint.path(&target).map_err(|e| transport(&e))?,
        };
        let phone = dial.phone.map(|(_, user)| user);
        let is_other = entry.leg(at).is_some_and(|leg| leg.is_other);
        let is_web = matches!(path.transport, sip::Transport::Ws | sip::Transport::Wss);
        let settings = match is_other && !is_web {
            false => dial.settings.clone(),
            true => TrunkSettings { srtp: dial.settings.srtp.other(), ..dial.settings.clone() },
        };
        let wanted = Wanted {
            beside: entry.beside(),
            addr: path.local.ip(),
            settings: &settings,
            is_web: is_web && !is_other,
            spoken: entry.spoken(at),
        };
        let line = Line::open(&parts.media, &parts.sink, &wanted)
            .map_err(|why| unsent(call::FailureKind::Media(why), ""))?;
        let invite = sip::Invite {
            from_display: dial.from_display.clone(),
            contact_user: dial.contact_user.clone(),
            route: dial.route.clone(),
            headers: dial.headers.clone(),
            body: line.offer(),
            credentials: dial.credentials.clone(),
            session_timer: dial.settings.timer(),
            reliable: dial.settings.reliable(),
            guarded: phone.is_some(),
            ..sip::Invite::new(path, dial.request_uri.as_str(), dial.from_uri.as_str(), dial.to_uri.as_str())
        };
        self.by_media.insert(line.id, at);
        if let Some(leg) = entry.leg_mut(at) {
            (leg.media, leg.user) = (Some(line), phone);
        }
        parts.endpoint.sip().invite(invite, now).map_err(|e| transport(&e))
    }

    /// Offers a phone that refused our kind of media the other one: with keys or without, WebRTC or RTP. What it can do
    /// is seen nowhere before.
    pub(super) fn offer_other(&mut self, at: LegKey, failure: &sip::Failure, now: Instant) -> bool {
        let is_refused = matches!(failure.status, Some(406 | 415 | 488 | 606)) && !failure.provisional;
        let Some(entry) = self.calls.get_mut(at.call).filter(|_| is_refused) else { return false };
        let is_phone = entry.dial(at).is_some_and(|dial| dial.phone.is_some());
        let is_wanted = !entry.call.awaits(at.n);
        let Some(leg) = entry.leg_mut(at).filter(|leg| is_phone && is_wanted && !leg.is_other) else {
            return false;
        };
        leg.is_other = true;
        let (sip, line) = (leg.sip.take(), leg.media.take());
        sip.and_then(|sip| self.by_leg.remove(&sip));
        if let Some(line) = line {
            self.by_media.remove(&line.id);
            self.parts.media.close(line.id);
        }
        self.unsave_leg(at);
        self.send_invite(at, now);
        true
    }

    /// Keeps what it takes to end this leg after a crash.
    pub(super) fn save_leg(&mut self, at: LegKey) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        let call = entry.id;
        let Some(leg) = entry.leg_mut(at) else { return };
        if let Some(saved) = leg.sip.and_then(|sip| self.parts.endpoint.sip().save(sip)) {
            leg.saved = Some(saved.call_id.clone());
            self.write(Write::Leg { call, saved: to_json(&saved, &self.parts.endpoint) });
        }
    }

    /// The leg is over on both sides: nothing of it needs to be kept.
    pub(super) fn unsave_leg(&mut self, at: LegKey) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        let call = entry.id;
        if let Some(sip_call_id) = entry.leg_mut(at).and_then(|leg| leg.saved.take()) {
            self.write(Write::LegEnded { call, sip_call_id });
        }
    }
}

/// An attempt that came to nothing before anything was sent.
pub(super) fn unsent(kind: call::FailureKind, phrase: &str) -> LegFailure {
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
