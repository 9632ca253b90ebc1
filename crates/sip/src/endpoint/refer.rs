use std::time::Instant;

use bytes::Bytes;

use super::event::Event;
use super::leg::{Established, LegId, State};
use super::reply::{Reply, phrase};
use super::transactions::{ClientKey, ServerId, ServerKey};
use super::within::Request;
use super::{Endpoint, check_text};
use crate::Replaces;
use crate::error::Error;
use crate::header::Name;
use crate::lex;
use crate::message::View;
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::refusal::Refusal;
use crate::transaction::Kind;
use crate::uri::Uri;

/// What a NOTIFY of the implicit subscription carries (RFC 3515 section 2.4.5).
const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// How long the implicit subscription is said to last, in seconds.
const SUBSCRIPTION_S: u32 = 180;

/// A REFER of theirs: its answer is due, or news of the call it asked for.
pub struct Referred {
    /// The REFER until it is answered.
    pending: Option<(ServerId, Reply)>,
    /// What tells its NOTIFYs from those of another REFER in the dialog.
    cseq: u32,
}

/// A REFER of ours, until its last NOTIFY.
pub struct Referring {
    transaction: ClientKey,
}

impl Referring {
    pub fn replace_key(&mut self, old: ClientKey, new: ClientKey) {
        if self.transaction == old {
            self.transaction = new;
        }
    }
}

impl Endpoint {
    /// Asks the other side of an answered call to call `refer_to` (RFC 3515), a SIP URI that may carry a Replaces
    /// header. [`Event::ReferProgress`] follows.
    ///
    /// # Errors
    /// The leg is gone or not answered, an earlier REFER has no last word yet, or this is no SIP URI.
    pub fn refer(&mut self, leg: LegId, refer_to: &str, now: Instant) -> Result<(), Error> {
        check_text("refer_to", [refer_to])?;
        Uri::parse(refer_to).map_err(|_| Error::BadUri { field: "refer_to" })?;
        let tag = self.remote_tag(leg)?;
        if self.established(leg)?.referring.is_some() {
            return Err(Error::WrongState);
        }
        let request = Request::new(Method::Refer, tag.as_deref()).with("Refer-To", format!("<{refer_to}>"));
        let transaction = self.send_within(leg, request, now).ok_or(Error::WrongState)?;
        self.established(leg)?.referring = Some(Box::new(Referring { transaction }));
        Ok(())
    }

    /// Accepts an [`Event::Refer`] with 202; [`Self::notify_refer`] says how it goes on.
    ///
    /// # Errors
    /// The leg is gone, or no REFER waits.
    pub fn accept_refer(&mut self, leg: LegId, now: Instant) -> Result<(), Error> {
        let call = self.established(leg)?;
        let contact = call.usage.dialog.contact.clone();
        let referred = call.referred.as_mut().ok_or(Error::WrongState)?;
        let (server, reply) = referred.pending.take().ok_or(Error::WrongState)?;
        let response = self.response(&reply, 202, phrase(202)).header("Contact", &contact).end();
        self.respond(server, 202, response, now);
        self.notify_refer(leg, 100, now)
    }

    /// Refuses an [`Event::Refer`] with 300 to 699.
    ///
    /// # Errors
    /// The leg is gone, no REFER waits, or the status is another.
    pub fn reject_refer(&mut self, leg: LegId, status: u16, now: Instant) -> Result<(), Error> {
        if !(300..=699).contains(&status) {
            return Err(Error::BadStatus(status));
        }
        let call = self.established(leg)?;
        match call.referred.take() {
            Some(referred) if referred.pending.is_some() => self.drop_referred(*referred, status, now),
            other => {
                call.referred = other;
                return Err(Error::WrongState);
            }
        }
        Ok(())
    }

    /// Tells the other side how far the call it asked for has come; 200 and above is the last word.
    ///
    /// # Errors
    /// The leg is gone, no accepted REFER waits for news, or the status is not within 100 to 699.
    pub fn notify_refer(&mut self, leg: LegId, status: u16, now: Instant) -> Result<(), Error> {
        if !(100..=699).contains(&status) {
            return Err(Error::BadStatus(status));
        }
        let call = self.established(leg)?;
        let tag = call.usage.dialog.remote_tag.clone();
        let referred = call.referred.as_ref().filter(|referred| referred.pending.is_none());
        let event = format!("refer;id={}", referred.ok_or(Error::WrongState)?.cseq);
        let state = match status {
            ..200 => format!("active;expires={SUBSCRIPTION_S}"),
            _ => {
                call.referred = None;
                "terminated;reason=noresource".to_owned()
            }
        };
        let fragment = format!("SIP/2.0 {status} {}\r\n", phrase(status));
        let request = Request::new(Method::Notify, tag.as_deref())
            .with("Event", event)
            .with("Subscription-State", state)
            .body(SIPFRAG, Bytes::from(fragment));
        self.send_within(leg, request, now);
        Ok(())
    }

    fn established(&mut self, leg: LegId) -> Result<&mut Established, Error> {
        match &mut self.legs.get_mut(leg).ok_or(Error::NoSuchLeg)?.state {
            State::Established(call) => Ok(call),
            _ => Err(Error::WrongState),
        }
    }

    /// Hands a REFER to the user, one at a time.
    pub(super) fn on_refer(
        &mut self,
        leg: LegId,
        view: &View<'_>,
        key: ServerKey,
        reply: Reply,
        now: Instant,
    ) {
        let target = match referral(view) {
            Ok(target) if self.established(leg).is_ok_and(|call| call.referred.is_none()) => target,
            Ok(_) => return self.answer_refusal(view, key, &reply, &Refusal::new(491), now),
            Err(refusal) => return self.answer_refusal(view, key, &reply, &refusal, now),
        };
        if self.is_full() {
            let refusal = Refusal::new(503).with("Retry-After", "5");
            return self.refuse(view, &reply, refusal);
        }
        let server = self.start_server(view, key, Kind::NonInvite, &reply);
        let cseq = view.cseq().map_or(0, |cseq| cseq.number);
        if let Ok(call) = self.established(leg) {
            call.referred = Some(Box::new(Referred { pending: Some((server, reply)), cseq }));
        }
        let (refer_to, replaces) = Replaces::split_from(target);
        let referred_by = view.header(Name::ReferredBy).map(str::to_owned);
        self.emit(Event::Refer { leg, refer_to, replaces, referred_by });
    }

    /// Answers a REFER that nobody answered.
    pub(super) fn drop_referred(&mut self, referred: Referred, status: u16, now: Instant) {
        if let Some((server, reply)) = referred.pending {
            let response = self.response(&reply, status, phrase(status)).end();
            self.respond(server, status, response, now);
        }
    }

    /// Nobody waits for our news any more.
    pub(super) fn forget_referred(&mut self, leg: LegId) {
        if let Ok(call) = self.established(leg)
            && call.referred.as_ref().is_some_and(|referred| referred.pending.is_none())
        {
            call.referred = None;
        }
    }

    /// A REFER of ours that is refused gets no NOTIFY.
    pub(super) fn on_refer_result(&mut self, leg: LegId, key: ClientKey, status: u16) {
        let Ok(call) = self.established(leg) else { return };
        let is_it = call.referring.as_ref().is_some_and(|referring| referring.transaction == key);
        if is_it && status >= 300 {
            call.referring = None;
            self.emit(Event::ReferProgress { leg, status });
        }
    }

    /// Takes in news of the call we asked for; 481 if we asked for none.
    pub(super) fn on_notify(&mut self, leg: LegId, view: &View<'_>) -> Result<Event, Refusal> {
        let package = view.header(Name::Event).map(|value| lex::split_params(value).0).unwrap_or_default();
        if !package.eq_ignore_ascii_case("refer") {
            return Err(Refusal::new(489).with("Allow-Events", "refer"));
        }
        let call = self.established(leg).map_err(|_| Refusal::new(481))?;
        if call.referring.is_none() {
            return Err(Refusal::new(481));
        }
        let state = view.header(Name::SubscriptionState).map(|value| lex::split_params(value).0);
        let is_over = state.is_some_and(|state| state.eq_ignore_ascii_case("terminated"));
        let status = match told(view.body()) {
            // They will say no more: it came to nothing in time.
            ..200 if is_over => 408,
            status => status,
        };
        if status >= 200 {
            call.referring = None;
        }
        Ok(Event::ReferProgress { leg, status })
    }
}

/// The URI of the one Refer-To a REFER must have.
fn referral<'a>(view: &View<'a>) -> Result<&'a str, Refusal> {
    let mut values = view.values(Name::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::new(400)) };
    let target = NameAddr::parse(value).map_err(|_| Refusal::new(400))?;
    target.sip_uri().map(|_| target.uri).map_err(|_| Refusal::new(416))
}

/// The status a sipfrag body begins with; 100 if it says nothing.
fn told(body: &[u8]) -> u16 {
    let status = body.strip_prefix(b"SIP/2.0 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
    status.and_then(|status| status.parse().ok()).filter(|status| (100..700).contains(status)).unwrap_or(100)
}
