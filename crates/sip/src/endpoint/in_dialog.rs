use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::Endpoint;
use super::early::learn_allow;
use super::event::{By, Event};
use super::leg::{Carrier, LegId, Offer, State, Unacked, Usage};
use super::reply::{Reply, phrase};
use super::session_timer::Asked;
use super::transactions::ServerKey;
use super::uas::{check_offer, not_allowed};
use crate::Path;
use crate::dialog;
use crate::error::Error;
use crate::header::Name;
use crate::message::View;
use crate::method::Method;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::sabotage::{Part, broken};
use crate::transaction::Kind;

impl Endpoint {
    /// Answers a request whose To tag is `tag`. Even refusals are kept in a transaction here, so that a late copy
    /// of a refused re-INVITE is not taken for a new one.
    pub(super) fn on_dialog_request(
        &mut self,
        view: &View<'_>,
        tag: &str,
        path: Path,
        key: ServerKey,
        reply: Reply,
        now: Instant,
    ) {
        let leg = self.legs.find(tag).filter(|leg| self.is_in_dialog(*leg, view));
        let (Some(leg), Some(method)) = (leg, view.method()) else {
            return match (self.legs.is_leaving(tag), view.method()) {
                (false, _) => self.refuse(view, &reply, Refusal::new(481)),
                // Two that hang up at the same moment both get a 200.
                (true, Some(Method::Bye)) => {
                    self.send(reply.path, self.response(&reply, 200, phrase(200)).end());
                }
                // Our BYE is the answer: a 481 would tell of a call that was lost.
                _ => self.stats.absorbed += 1,
            };
        };
        match self.is_stranger(leg, path) {
            true => self.ask(view, path, key, reply, Some(leg)),
            false => self.on_leg_request(leg, method, view, key, reply, now),
        }
    }

    /// Carries out a request within the dialog of a leg.
    pub(super) fn on_leg_request(
        &mut self,
        leg: LegId,
        method: Method<'_>,
        view: &View<'_>,
        key: ServerKey,
        reply: Reply,
        now: Instant,
    ) {
        if let Err(refusal) = self.check_dialog_request(leg, method, view) {
            return self.answer_refusal(view, key, &reply, &refusal, now);
        }
        let event = match method {
            Method::Invite | Method::Update => return self.on_renegotiation(leg, view, key, reply, now),
            Method::Prack => return self.on_prack(leg, view, key, reply, now),
            Method::Refer => return self.on_refer(leg, view, key, reply, now),
            Method::Notify => match self.on_notify(leg, view) {
                Ok(event) => Some(event),
                Err(refusal) => return self.answer_refusal(view, key, &reply, &refusal, now),
            },
            Method::Info => {
                let content_type = view.content_type().unwrap_or_default().to_owned();
                Some(Event::Info { leg, content_type, body: view.body().to_vec() })
            }
            _ => None,
        };
        let response = match method {
            Method::Options => self.capabilities(&reply),
            _ => self.response(&reply, 200, phrase(200)).end(),
        };
        self.answer(view, key, &reply, 200, response, now);
        event.into_iter().for_each(|event| self.emit(event));
        if method == Method::Bye {
            self.on_bye(leg, view, now);
        }
    }

    fn check_dialog_request(
        &mut self,
        leg: LegId,
        method: Method<'_>,
        view: &View<'_>,
    ) -> Result<(), Refusal> {
        let usage = self.usage_of(leg, view);
        let has_dialog = usage.is_some();
        if !usage.is_none_or(|usage| usage.dialog.advance(view)) && !broken(Part::CSeqOrder) {
            return Err(Refusal::new(500));
        }
        let is_calling = matches!(self.legs.get(leg).map(|leg| &leg.state), Some(State::Calling(_)));
        // A call can always be ended.
        if method != Method::Bye {
            self.check_extensions(view)?;
        }
        match method {
            Method::Invite | Method::Update => self.check_renegotiation(leg, view),
            // A callee ends an early dialog by its answer to the INVITE (RFC 3261 section 15).
            Method::Bye if has_dialog && !is_calling => Ok(()),
            Method::Info | Method::Options | Method::Prack | Method::Refer | Method::Notify => Ok(()),
            Method::Bye => Err(Refusal::new(481)),
            other => Err(not_allowed(other)),
        }
    }

    /// Whether a request with our tag belongs to the leg: by its dialog, or by the INVITE alone while that has no
    /// dialog with its sender yet.
    fn is_in_dialog(&self, leg: LegId, view: &View<'_>) -> bool {
        self.legs.get(leg).is_some_and(|leg| match &leg.state {
            State::Calling(_) => view.call_id() == Some(&leg.call_id),
            State::Incoming(incoming) => incoming.usage.dialog.matches(view),
            State::Established(call) => call.usage.dialog.matches(view),
        })
    }

    /// The dialog of a request's sender; none for a phone we did not hear of yet.
    fn usage_of(&mut self, leg: LegId, view: &View<'_>) -> Option<&mut Usage> {
        let tag = view.from().and_then(|from| from.tag());
        self.legs.get_mut(leg)?.state.usage(tag)
    }

    /// Answers a request finally, through a transaction if there is room for one.
    pub(super) fn answer(
        &mut self,
        view: &View<'_>,
        key: ServerKey,
        reply: &Reply,
        status: u16,
        response: Bytes,
        now: Instant,
    ) {
        if self.is_full() {
            return self.send(reply.path, response);
        }
        let kind = if view.method() == Some(Method::Invite) { Kind::Invite } else { Kind::NonInvite };
        let server = self.start_server(view, key, kind, reply);
        self.respond(server, status, response, now);
    }

    pub(super) fn answer_refusal(
        &mut self,
        view: &View<'_>,
        key: ServerKey,
        reply: &Reply,
        refusal: &Refusal,
        now: Instant,
    ) {
        let response = self.refusal(reply, refusal);
        self.answer(view, key, reply, refusal.status, response, now);
    }

    fn on_bye(&mut self, leg: LegId, view: &View<'_>, now: Instant) {
        let reason = Reason::most_telling(view.values(Name::Reason));
        self.finish_incoming(leg, 487, &[], now);
        self.end(leg, By::Remote, reason, now);
    }

    /// Whether a re-INVITE or UPDATE may be handed to the user: one at a time, not before the first offer is
    /// answered, and not while one of ours is on its way (RFC 3261 section 14.2, RFC 3311 section 5.2).
    fn check_renegotiation(&mut self, leg: LegId, view: &View<'_>) -> Result<(), Refusal> {
        Asked::of(view).check(self.min_se_s())?;
        if view.method() == Some(Method::Update) && view.body().is_empty() {
            return Ok(());
        }
        let is_update = view.method() == Some(Method::Update);
        let too_early = Refusal::new(500).with("Retry-After", (self.rng.next_u32() % 11).to_string());
        let tag = view.from().and_then(|from| from.tag());
        let Some(state) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return Ok(()) };
        let is_open = match state {
            State::Calling(_) if !is_update => return Err(Refusal::new(491)),
            State::Calling(_) => true,
            State::Incoming(_) => is_update,
            State::Established(call) => call.unacked.is_none(),
        };
        let is_calling = matches!(state, State::Calling(_));
        match state.usage(tag) {
            // Our own offer waits for its answer.
            Some(usage) if is_calling && !usage.agreed => Err(Refusal::new(491)),
            None => Err(Refusal::new(491)),
            Some(usage) if usage.theirs.is_some() || !is_open || !usage.agreed => Err(too_early),
            Some(usage)
                if usage.ours.as_ref().is_some_and(|ours| ours.is_in_the_way()) && !broken(Part::Glare) =>
            {
                Err(Refusal::new(491))
            }
            Some(_) => check_offer(view),
        }
    }

    fn on_renegotiation(&mut self, leg: LegId, view: &View<'_>, key: ServerKey, reply: Reply, now: Instant) {
        let is_invite = view.method() == Some(Method::Invite);
        let target = dialog::target(view).map(str::to_owned);
        let asked = Asked::of(view);
        if let Some(usage) = self.usage_of(leg, view) {
            learn_allow(usage, view);
        }
        if !is_invite && view.body().is_empty() {
            if let (Some(usage), Some(target)) = (self.usage_of(leg, view), target) {
                usage.dialog.set_target(target);
            }
            let headers = self.refreshed(leg, &asked, now);
            let contact = self.usage_of(leg, view).map(|usage| usage.dialog.contact.clone());
            let response = self.acceptance(&reply, &contact.unwrap_or_default(), &headers, b"");
            return self.answer(view, key, &reply, 200, response, now);
        }
        if self.is_full() {
            return self.refuse(view, &reply, Refusal::new(503).with("Retry-After", "5"));
        }
        let kind = if is_invite { Kind::Invite } else { Kind::NonInvite };
        let server = self.start_server(view, key, kind, &reply);
        if let Some(server) = self.servers.get_mut(server) {
            server.leg = Some(leg);
        }
        if is_invite {
            self.respond(server, 100, reply.response(100, phrase(100)).end(), now);
        }
        let carrier = match view.cseq().filter(|_| is_invite) {
            Some(cseq) => Carrier::Invite(cseq.number),
            None => Carrier::Update,
        };
        let timing = self.timing;
        if let Some(usage) = self.usage_of(leg, view) {
            let answer_by = (!is_invite).then(|| now + timing.patience());
            usage.theirs = Some(Box::new(Offer { server, reply, carrier, target, asked, answer_by }));
        }
        self.arm_leg(leg);
        self.emit(Event::Offer { leg, body: view.body().to_vec() });
    }

    /// Starts the session of an answered call anew, as the request asks that refreshes it: what its 2xx says.
    fn refreshed(&mut self, leg: LegId, asked: &Asked, now: Instant) -> Vec<(&'static str, String)> {
        let wish = self.config.session_timer;
        let Some(State::Established(call)) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else {
            return Vec::new();
        };
        let (headers, session) = asked.answer(call.session.as_ref(), wish, now);
        if !broken(Part::Refreshed) {
            let min_se_s = call.session.as_ref().map_or(0, |session| session.min_se_s);
            call.session = session;
            if let Some(session) = &mut call.session {
                session.min_se_s = session.min_se_s.max(min_se_s);
            }
        }
        self.arm_leg(leg);
        headers
    }

    /// Answers an [`Event::Offer`]: with SDP, or with a status of 300 to 699. To an empty offer the SDP is an offer
    /// of ours, whose answer comes in [`Event::Acked`].
    ///
    /// # Errors
    /// The leg is gone, no offer waits, or the status is another.
    pub fn answer_offer(
        &mut self,
        leg: LegId,
        answer: Result<Vec<u8>, u16>,
        now: Instant,
    ) -> Result<(), Error> {
        if let Err(status) = answer
            && !(300..=699).contains(&status)
        {
            return Err(Error::BadStatus(status));
        }
        let Some((tag, offer)) = self.take_offer(leg) else {
            return Err(if self.legs.get(leg).is_some() { Error::WrongState } else { Error::NoSuchLeg });
        };
        let Offer { server, reply, carrier, target, asked, .. } = offer;
        match answer {
            Ok(body) => {
                let headers = match carrier {
                    Carrier::Prack => Vec::new(),
                    _ => self.refreshed(leg, &asked, now),
                };
                let Some(state) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return Ok(()) };
                let Some(usage) = state.usage(tag.as_deref()) else { return Ok(()) };
                target.into_iter().for_each(|target| usage.dialog.set_target(target));
                let contact = usage.dialog.contact.clone();
                if !body.is_empty() {
                    usage.described = body.clone().into();
                }
                let response = self.acceptance(&reply, &contact, &headers, &body);
                if let (Carrier::Invite(cseq), Some(State::Established(call))) =
                    (carrier, self.legs.get_mut(leg).map(|leg| &mut leg.state))
                {
                    let unacked =
                        Unacked::answer(reply.path, response.clone(), cseq, false, &self.timing, now);
                    call.unacked = Some(unacked);
                }
                self.respond(server, 200, response, now);
                self.arm_leg(leg);
            }
            Err(status) => {
                let response = self.response(&reply, status, phrase(status)).end();
                self.respond(server, status, response, now);
            }
        }
        self.go_on_ringing(leg, now);
        Ok(())
    }

    /// Takes out the offer that waits, and whose it is.
    fn take_offer(&mut self, leg: LegId) -> Option<(Option<String>, Offer)> {
        let mut usages = self.legs.get_mut(leg)?.state.usages();
        usages.find_map(|usage| Some((usage.dialog.remote_tag.clone(), *usage.theirs.take()?)))
    }

    /// Ends an offer that waits for the user.
    pub(super) fn drop_offer(&mut self, leg: LegId, status: u16, now: Instant) {
        if let Some((_, offer)) = self.take_offer(leg) {
            let response = self.response(&offer.reply, status, phrase(status)).end();
            self.respond(offer.server, status, response, now);
        }
    }

    /// Refuses an UPDATE or PRACK that the user leaves unanswered (RFC 3311 section 5.2).
    pub(super) fn on_offer_due(&mut self, leg: LegId, now: Instant) {
        let Some(state) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return };
        let due = |usage: &mut Usage| {
            usage.theirs.as_ref().and_then(|offer| offer.answer_by).is_some_and(|at| at <= now)
        };
        if state.usages().any(due) {
            self.drop_offer(leg, 504, now);
            self.go_on_ringing(leg, now);
        }
    }

    /// Takes in the ACK of our 2xx, after which a hang-up may go ahead.
    pub(super) fn on_dialog_ack(&mut self, id: LegId, view: &View<'_>, now: Instant) {
        let Some(State::Established(call)) = self.legs.get_mut(id).map(|leg| &mut leg.state) else {
            self.stats.absorbed += 1;
            return;
        };
        let cseq = view.cseq().map(|cseq| cseq.number);
        // Some peers count the ACK on. Of the first there is nothing to mistake it for, later it may be an old one again.
        let is_expected =
            call.unacked.as_ref().is_some_and(|unacked| unacked.first || cseq >= Some(unacked.number));
        if !is_expected || !call.usage.dialog.matches(view) {
            self.stats.absorbed += 1;
            return;
        }
        if !broken(Part::AckStopsAnswer) {
            call.unacked = None;
        }
        let hang_up = call.hang_up.take();
        self.arm_leg(id);
        self.emit(Event::Acked { leg: id, body: view.body().to_vec() });
        if let Some(reason) = hang_up {
            self.say_bye(id, By::Local, reason, now);
        }
    }

    /// Hangs an established leg up, once our 2xx is ACKed (RFC 3261 section 15).
    pub(super) fn leave(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        let Some(State::Established(call)) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return };
        if call.unacked.is_none() || broken(Part::ByeWaits) {
            return self.say_bye(leg, By::Local, reason, now);
        }
        call.hang_up.get_or_insert(reason);
    }
}
