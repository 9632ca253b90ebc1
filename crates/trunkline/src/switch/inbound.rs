//! Legs that come in: rung, answered, refused, and told of the transfers they asked for.

use std::time::Instant;

use call::{Call, Cause, LegInput};
use media::sdp::Negotiated;
use sip::LegId;

use super::Place;
use super::entry::{Incoming, Leg, LegKey};
use super::legs::reason;
use super::line::{Line, Wanted};
use super::run::Loop;
use crate::id::Id;
use crate::trunk::TrunkSettings;

/// A leg that has come in, by whoever that was found to be.
pub(super) struct Arrival {
    /// The leg.
    pub(super) leg: LegId,
    /// Where its INVITE came from, and which address of ours it was sent to.
    pub(super) path: sip::Path,
    /// Its SDP; empty where an offer of ours is wanted.
    pub(super) offer: Vec<u8>,
    /// How the caller's side wants to be spoken to.
    pub(super) settings: TrunkSettings,
    /// Whose phone it is.
    pub(super) user: Option<Id>,
}

impl Loop {
    /// Takes in a call that somebody places to us; in the store it stands already, with its first event. The route of
    /// `place.spec` is empty, and so is route 0 of `place.routes`.
    pub(super) fn arrive(&mut self, arrival: Arrival, place: Place, now: Instant) {
        let key = self.enter(place, Call::inbound, None, now);
        let at = LegKey { call: key, n: 0 };
        let Arrival { leg: sip, path, offer, settings, user } = arrival;
        let incoming = Incoming { offer, answer: Vec::new(), path, settings };
        if let Some(entry) = self.calls.get_mut(key) {
            let mut leg = Leg::new(at.n, call::Leg::First, 0, 0);
            (leg.sip, leg.incoming, leg.user) = (Some(sip), Some(Box::new(incoming)), user);
            leg.flow = Some(path);
            entry.legs.push(leg);
        }
        self.by_leg.insert(sip, at);
        if let Some(shield) = self.parts.endpoint.shield() {
            shield.flow_up(None, &path);
        }
        let call_id = self.parts.endpoint.sip().call_id(sip).unwrap_or_default().to_owned();
        if let (Some(entry), Some(tap)) = (self.calls.get(key), self.parts.endpoint.tap()) {
            tap.hold(entry.id, &call_id, "first", "");
        }
        self.step(key, now);
    }

    /// Tells an incoming leg that it rings: by 180, or by 183 with our SDP where it is to hear early media.
    pub(super) fn ring(&mut self, at: LegKey, early_media: bool, now: Instant) {
        let Some((leg, has_offer)) = self.incoming(at) else { return };
        let describes = match has_offer {
            true => early_media,
            // Who wants an offer of ours gets it with the first response that is acknowledged: this one or the 200.
            false => !self.is_described(at) && self.parts.endpoint.sip().rings_reliably(leg),
        };
        if !describes {
            return drop(self.parts.endpoint.sip().ring(leg, 180, None, now));
        }
        match self.describe(at) {
            Ok((body, negotiated)) => {
                let status = if early_media { 183 } else { 180 };
                let _ = self.parts.endpoint.sip().ring(leg, status, Some(body), now);
                negotiated.into_iter().for_each(|negotiated| self.sound(at, negotiated, now));
            }
            Err(why) => self.tell_leg(at, LegInput::MediaFailed(why), now),
        }
    }

    fn is_described(&self, at: LegKey) -> bool {
        self.calls.get(at.call).and_then(|entry| entry.leg(at)).is_some_and(|leg| leg.media.is_some())
    }

    /// Answers an incoming leg.
    pub(super) fn answer(&mut self, at: LegKey, now: Instant) {
        let Some((leg, _)) = self.incoming(at) else { return };
        let accepted = self.describe(at).and_then(|(body, negotiated)| {
            let accepted = self.parts.endpoint.sip().accept(leg, body, now);
            accepted.map(|()| negotiated).map_err(|error| error.to_string())
        });
        match accepted {
            Ok(negotiated) => {
                self.save_leg(at);
                self.tell_leg(at, LegInput::Answered, now);
                negotiated.into_iter().for_each(|negotiated| self.sound(at, negotiated, now));
            }
            Err(why) => self.tell_leg(at, LegInput::MediaFailed(why), now),
        }
    }

    /// Refuses an incoming leg.
    pub(super) fn reject(&mut self, at: LegKey, cause: &Cause, now: Instant) {
        let Some((leg, _)) = self.incoming(at) else { return };
        let reason = reason(cause).map(|reason| reason.to_string());
        let headers: Vec<(&str, &str)> = reason.iter().map(|reason| ("Reason", reason.as_str())).collect();
        if let Err(error) = self.parts.endpoint.sip().reject(leg, cause.refusal(), &headers, now) {
            tracing::info!(%error, "a call could not be refused");
        }
    }

    /// Tells who asked for a transfer how far it is: that it was accepted, then by NOTIFY.
    pub(super) fn transfer_progress(&mut self, at: LegKey, status: u16, now: Instant) {
        let leg = self.calls.get(at.call).and_then(|entry| entry.leg(at)?.sip);
        let Some(leg) = leg else { return };
        let sip = self.parts.endpoint.sip();
        // A transfer that nobody asked for by REFER has nobody to tell.
        let _ = match status {
            100 => sip.accept_refer(leg, now),
            status => sip.notify_refer(leg, status, now),
        };
    }

    /// Sound is agreed on.
    pub(super) fn sound(&mut self, at: LegKey, negotiated: Negotiated, now: Instant) {
        match self.start_session(at, negotiated) {
            Ok(()) => self.tell_leg(at, LegInput::MediaReady, now),
            Err(why) => self.tell_leg(at, LegInput::MediaFailed(why), now),
        }
    }

    /// An incoming leg, and whether it brought an offer.
    fn incoming(&self, at: LegKey) -> Option<(LegId, bool)> {
        let leg = self.calls.get(at.call)?.leg(at)?;
        Some((leg.sip?, !leg.incoming.as_ref()?.offer.is_empty()))
    }

    /// What we say to an incoming leg, the same each time, and what is agreed on by it; nothing is by an offer of ours.
    fn describe(&mut self, at: LegKey) -> Result<(Vec<u8>, Option<Negotiated>), String> {
        let gone = "the leg is gone";
        let entry = self.calls.get_mut(at.call).ok_or(gone)?;
        let leg = entry.leg(at).ok_or(gone)?;
        let incoming = leg.incoming.as_ref().ok_or(gone)?;
        if let Some(line) = leg.media.as_ref().filter(|_| !incoming.answer.is_empty()) {
            return Ok((incoming.answer.clone(), line.negotiated.clone()));
        }
        let transport = incoming.path.transport;
        let wanted = Wanted {
            beside: entry.beside(),
            addr: incoming.path.local.ip(),
            settings: &incoming.settings,
            is_web: match incoming.offer.is_empty() {
                true => matches!(transport, sip::Transport::Ws | sip::Transport::Wss),
                false => media::web::is_web(&incoming.offer),
            },
            spoken: entry.spoken(at),
        };
        let mut line = Line::open(&self.parts.media, &self.parts.sink, &wanted)?;
        let described = match incoming.offer.is_empty() {
            true => Ok((line.offer(), None)),
            false => line
                .answer(&incoming.offer, entry.agreed(at))
                .map(|(answer, negotiated)| (answer, Some(negotiated))),
        };
        let (body, negotiated) = described.inspect_err(|_| self.parts.media.close(line.id))?;
        line.offered_late = negotiated.is_none();
        self.by_media.insert(line.id, at);
        if let Some(leg) = entry.leg_mut(at) {
            leg.media = Some(line);
            leg.incoming.iter_mut().for_each(|incoming| incoming.answer = body.clone());
        }
        Ok((body, negotiated))
    }
}
