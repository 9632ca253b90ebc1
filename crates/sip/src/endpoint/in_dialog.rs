use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::Endpoint;
use super::event::{By, Event};
use super::leg::{LegId, Offer, State, Unacked};
use super::reply::{Reply, phrase};
use super::transactions::ServerKey;
use super::uas::{Refusal, check_extensions, check_offer, not_allowed};
use crate::dialog::{self, Dialog};
use crate::error::Error;
use crate::header::Name;
use crate::message::View;
use crate::method::Method;
use crate::reason::Reason;
use crate::transaction::Kind;

impl Endpoint {
    /// Answers a request whose To tag is `tag`. Even refusals are kept in a transaction here, so that a late copy
    /// of a refused re-INVITE is not taken for a new one.
    pub(super) fn on_dialog_request(
        &mut self,
        view: &View<'_>,
        tag: &str,
        key: ServerKey,
        reply: Reply,
        now: Instant,
    ) {
        let leg = self.legs.find(tag).filter(|leg| self.is_in_dialog(*leg, view));
        let (Some(leg), Some(method)) = (leg, view.method()) else {
            return self.refuse(view, &reply, Refusal::new(481));
        };
        let checked = self.check_dialog_request(leg, method, view);
        if checked.is_ok() && matches!(method, Method::Invite | Method::Update) {
            return self.on_renegotiation(leg, view, key, reply, now);
        }
        let (status, response) = match &checked {
            Err(refusal) => (refusal.status, self.refusal(&reply, refusal)),
            Ok(()) if method == Method::Options => (200, self.capabilities(&reply)),
            Ok(()) => (200, self.response(&reply, 200, phrase(200)).end()),
        };
        self.answer(view, key, &reply, status, response, now);
        match (method, checked) {
            (Method::Bye, Ok(())) => self.on_bye(leg, view, now),
            (Method::Info, Ok(())) => {
                let content_type = view.content_type().unwrap_or_default().to_owned();
                self.emit(Event::Info { leg, content_type, body: view.body().to_vec() });
            }
            _ => {}
        }
    }

    fn check_dialog_request(
        &mut self,
        leg: LegId,
        method: Method<'_>,
        view: &View<'_>,
    ) -> Result<(), Refusal> {
        let dialog = self.dialog(leg);
        let has_dialog = dialog.is_some();
        if !dialog.is_none_or(|dialog| dialog.advance(view)) {
            return Err(Refusal::new(500));
        }
        // A call can always be ended.
        if method != Method::Bye {
            check_extensions(view)?;
        }
        match method {
            Method::Invite | Method::Update => self.check_renegotiation(leg, view),
            Method::Bye if has_dialog => Ok(()),
            Method::Info | Method::Options => Ok(()),
            Method::Bye | Method::Notify | Method::Prack => Err(Refusal::new(481)),
            other => Err(not_allowed(other)),
        }
    }

    fn is_in_dialog(&self, leg: LegId, view: &View<'_>) -> bool {
        self.legs.get(leg).is_some_and(|leg| match &leg.state {
            State::Calling(_) => view.call_id() == Some(&leg.call_id),
            State::Incoming(incoming) => incoming.dialog.matches(view),
            State::Established(call) => call.dialog.matches(view),
        })
    }

    /// A leg's dialog; none before our INVITE is answered.
    fn dialog(&mut self, leg: LegId) -> Option<&mut Dialog> {
        match &mut self.legs.get_mut(leg)?.state {
            State::Calling(_) => None,
            State::Incoming(incoming) => Some(&mut incoming.dialog),
            State::Established(call) => Some(&mut call.dialog),
        }
    }

    /// Answers a request finally, through a transaction if there is room for one.
    fn answer(
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

    fn on_bye(&mut self, leg: LegId, view: &View<'_>, now: Instant) {
        let reason = Reason::most_telling(view.values(Name::Reason));
        self.finish_incoming(leg, 487, &[], now);
        self.drop_offer(leg, now);
        self.end(leg, By::Remote, reason);
    }

    /// Whether a re-INVITE or UPDATE may be handed to the user: one at a time, and not before the first offer is
    /// answered (RFC 3261 section 14.2, RFC 3311 section 5.2).
    fn check_renegotiation(&mut self, leg: LegId, view: &View<'_>) -> Result<(), Refusal> {
        let is_refresh = view.method() == Some(Method::Update) && view.body().is_empty();
        let retry_after = self.rng.next_u32() % 11;
        match self.legs.get(leg).map(|leg| &leg.state) {
            _ if is_refresh => Ok(()),
            Some(State::Calling(_)) => Err(Refusal::new(491)),
            Some(State::Established(call)) if call.offer.is_none() && call.unacked.is_none() => {
                check_offer(view)
            }
            _ => Err(Refusal::new(500).with("Retry-After", retry_after.to_string())),
        }
    }

    fn on_renegotiation(&mut self, leg: LegId, view: &View<'_>, key: ServerKey, reply: Reply, now: Instant) {
        let is_invite = view.method() == Some(Method::Invite);
        let target = dialog::target(view).map(str::to_owned);
        if !is_invite && view.body().is_empty() {
            let contact = self.dialog(leg).map(|dialog| {
                target.into_iter().for_each(|target| dialog.set_target(target));
                dialog.contact().to_owned()
            });
            let response = self.acceptance(&reply, &contact.unwrap_or_default(), b"");
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
        let invite_cseq = view.cseq().filter(|_| is_invite).map(|cseq| cseq.number);
        if let Some(State::Established(call)) = self.legs.get_mut(leg).map(|leg| &mut leg.state) {
            call.offer = Some(Offer { server, reply, invite_cseq, target });
        }
        self.emit(Event::Offer { leg, body: view.body().to_vec() });
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
        let Some(offer) = self.take_offer(leg) else {
            return Err(if self.legs.get(leg).is_some() { Error::WrongState } else { Error::NoSuchLeg });
        };
        let body = match answer {
            Ok(body) => body,
            Err(status) => {
                let response = self.response(&offer.reply, status, phrase(status)).end();
                self.respond(offer.server, status, response, now);
                return Ok(());
            }
        };
        let contact = self.dialog(leg).map(|dialog| {
            offer.target.into_iter().for_each(|target| dialog.set_target(target));
            dialog.contact().to_owned()
        });
        let response = self.acceptance(&offer.reply, &contact.unwrap_or_default(), &body);
        self.respond(offer.server, 200, response.clone(), now);
        if let Some(State::Established(call)) = self.legs.get_mut(leg).map(|leg| &mut leg.state)
            && let Some(cseq) = offer.invite_cseq
        {
            call.unacked = Some(Unacked::new(offer.reply.path, response, cseq, &self.timing, now));
            self.arm_leg(leg);
        }
        Ok(())
    }

    fn take_offer(&mut self, leg: LegId) -> Option<Offer> {
        match &mut self.legs.get_mut(leg)?.state {
            State::Established(call) => call.offer.take(),
            _ => None,
        }
    }

    /// Ends a re-INVITE or UPDATE that waits for the user with 487.
    pub(super) fn drop_offer(&mut self, leg: LegId, now: Instant) {
        if let Some(offer) = self.take_offer(leg) {
            let response = self.response(&offer.reply, 487, phrase(487)).end();
            self.respond(offer.server, 487, response, now);
        }
    }

    /// Takes in the ACK of our 2xx, after which a hang-up may go ahead.
    pub(super) fn on_dialog_ack(&mut self, id: LegId, view: &View<'_>, now: Instant) {
        let Some(State::Established(call)) = self.legs.get_mut(id).map(|leg| &mut leg.state) else {
            self.stats.absorbed += 1;
            return;
        };
        let cseq = view.cseq().map(|cseq| cseq.number);
        let is_expected =
            call.unacked.as_ref().is_some_and(|unacked| cseq.is_some_and(|cseq| unacked.is_acked_by(cseq)));
        if !is_expected || !call.dialog.matches(view) {
            self.stats.absorbed += 1;
            return;
        }
        call.unacked = None;
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
        if call.unacked.is_none() {
            return self.say_bye(leg, By::Local, reason, now);
        }
        call.hang_up.get_or_insert(reason);
    }
}
