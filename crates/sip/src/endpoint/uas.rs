use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;
use sha2::{Digest as _, Sha256};

use super::auth::Auth;
use super::early::learn_allow;
use super::event::{By, Event};
use super::leg::{Established, Incoming, Leg, LegId, State, Unacked, Usage, tag_text};
use super::reliable::Reliably;
use super::reply::{Reply, phrase};
use super::session_timer::Asked;
use super::transactions::{ServerId, ServerKey};
use super::{ALLOW, ALLOW_ASKING, Endpoint, SDP, SUPPORTED, SUPPORTED_ASKING, check_headers};
use crate::Path;
use crate::builder::Builder;
use crate::dialog::{self, Dialog};
use crate::error::Error;
use crate::header::Name;
use crate::lex;
use crate::message::{Message, View};
use crate::method::Method;
use crate::reason::{Reason, ReasonProtocol};
use crate::refusal::Refusal;
use crate::sabotage::{Part, broken};
use crate::transaction::{Kind, ServerTransaction};
use crate::via::Via;

/// Header fields of a response that only the stack writes.
pub const RESERVED: &[Name] = &[
    Name::CSeq,
    Name::CallId,
    Name::ContentEncoding,
    Name::ContentLength,
    Name::ContentType,
    Name::From,
    Name::RSeq,
    Name::RecordRoute,
    Name::To,
    Name::Via,
];

impl Endpoint {
    pub(super) fn on_request(&mut self, view: &View<'_>, path: Path, reply: Reply, now: Instant) {
        let (Some(method), Some(via)) = (view.method(), view.top_via()) else { return };
        if method == Method::Ack {
            return self.on_ack(view, &via, now);
        }
        if let Err(fault) = view.check() {
            let reply = reply.with_tag(view, &self.stateless_tag(view));
            let response = self.response(&reply, fault.status, fault.phrase).end();
            return self.send(reply.path, response);
        }
        let key = ServerKey::new(view, &via, method);
        if let Some(id) = self.servers.find(&key) {
            return self.on_repetition(id);
        }
        let tag = view.to().and_then(|to| to.tag());
        match (method, tag) {
            (Method::Cancel, _) => self.on_cancel(view, &via, &reply, now),
            (_, Some(tag)) => self.on_dialog_request(view, tag, path, key, reply, now),
            (Method::Invite, None) => self.on_invite(view, path, key, reply, now),
            (Method::Register, None) if self.config.asks => self.on_register(view, path, key, reply),
            (_, None) => self.on_stateless_request(view, method, &reply),
        }
    }

    fn on_repetition(&mut self, id: ServerId) {
        self.stats.retransmissions_in += 1;
        let Some(server) = self.servers.get_mut(id) else { return };
        let path = server.transaction.path();
        if let Some(response) = server.transaction.response().filter(|_| !broken(Part::AnswerAgain)).cloned()
        {
            self.send_again(path, response);
        }
    }

    /// Answers a request outside dialogs, keeping nothing of it.
    fn on_stateless_request(&mut self, view: &View<'_>, method: Method<'_>, reply: &Reply) {
        let refusal = match method {
            Method::Options => self.check_extensions(view),
            Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify => {
                Err(Refusal::new(481))
            }
            // Who asks for a call has to be on one.
            Method::Refer => Err(Refusal::new(403)),
            method => Err(not_allowed(method)),
        };
        if let Err(refusal) = refusal {
            return self.refuse(view, reply, refusal);
        }
        let reply = reply.clone().with_tag(view, &self.stateless_tag(view));
        let response = self.capabilities(&reply);
        self.send(reply.path, response);
    }

    /// What OPTIONS is answered with (RFC 3261 section 11.2).
    pub(super) fn capabilities(&self, reply: &Reply) -> Bytes {
        self.response(reply, 200, phrase(200))
            .header("Allow", if self.config.asks { ALLOW_ASKING } else { ALLOW })
            .header("Accept", SDP)
            .header("Accept-Encoding", "identity")
            .header("Supported", self.supported())
            .end()
    }

    fn supported(&self) -> &'static str {
        if self.config.asks { SUPPORTED_ASKING } else { SUPPORTED }
    }

    fn on_register(&mut self, view: &View<'_>, path: Path, key: ServerKey, reply: Reply) {
        match self.check_extensions(view) {
            Ok(()) => self.ask(view, path, key, reply, None),
            Err(refusal) => self.refuse(view, &reply, refusal),
        }
    }

    fn on_invite(&mut self, view: &View<'_>, path: Path, key: ServerKey, reply: Reply, now: Instant) {
        if let Err(refusal) = self.check_invite(view) {
            return self.refuse(view, &reply, refusal);
        }
        if self.config.asks {
            return self.ask(view, path, key, reply, None);
        }
        let Ok(request) = Message::parse(Bytes::copy_from_slice(view.as_bytes())) else { return };
        if let Ok(leg) = self.begin_incoming(view, path, key, reply, false, now) {
            self.emit(Event::Incoming { leg, request, path });
        }
    }

    /// Whether an INVITE outside dialogs is one we can take.
    fn check_invite(&self, view: &View<'_>) -> Result<(), Refusal> {
        if self.servers.is_merged(view) || self.is_looped(view) {
            return Err(Refusal::new(482));
        }
        self.check_extensions(view)?;
        check_offer(view)?;
        Asked::of(view).check(self.min_se_s())?;
        Reliably::new(view, self.config.reliable, 0).map(drop)
    }

    /// Makes a leg of an INVITE that was checked, or refuses it where there is no room.
    pub(super) fn begin_incoming(
        &mut self,
        view: &View<'_>,
        path: Path,
        key: ServerKey,
        reply: Reply,
        guarded: bool,
        now: Instant,
    ) -> Result<LegId, Error> {
        let is_crowded = self.legs.len() >= self.config.max_legs;
        if is_crowded || self.is_full() {
            self.refuse(view, &reply, Refusal::new(503).with("Retry-After", "5"));
            return Err(if is_crowded { Error::TooManyLegs } else { Error::TooManyTransactions });
        }
        let tag = self.rng.next_u64();
        let contact = dialog::contact(dialog::called_user(view), &path);
        let dialog = Dialog::from_invite(view, &tag_text(tag), contact, path);
        let reliably = Reliably::new(view, self.config.reliable, tag);
        let (Some(dialog), Ok(reliably), Some(cseq)) = (dialog, reliably, view.cseq()) else {
            self.refuse(view, &reply, Refusal::new(400));
            return Err(Error::WrongState);
        };
        let server = self.start_server(view, key, Kind::Invite, &reply);
        self.respond(server, 100, reply.response(100, phrase(100)).end(), now);
        let call_id = dialog.call_id.clone();
        let reply = reply.with_tag(view, &tag_text(tag));
        let mut usage = Usage::new(Dialog { pinned: guarded, ..dialog });
        learn_allow(&mut usage, view);
        let asked = Asked::of(view);
        let incoming = Incoming { server, reply, usage, cseq: cseq.number, reliably, asked };
        let state = State::Incoming(Box::new(incoming));
        let leg = self.legs.insert(Leg { call_id, tag, guarded, auth: Auth::default(), state });
        if let Some(server) = self.servers.get_mut(server) {
            server.leg = Some(leg);
        }
        Ok(leg)
    }

    /// Whether an INVITE of ours came back to us as it went out (RFC 3261 section 16.3).
    fn is_looped(&self, view: &View<'_>) -> bool {
        let leg = view.from().and_then(|from| self.legs.get(self.legs.find(from.tag()?)?));
        leg.is_some_and(|leg| match &leg.state {
            State::Calling(calling) => {
                view.call_id() == Some(&leg.call_id)
                    && view.request_uri() == Some(&calling.invite.request_uri)
            }
            _ => false,
        })
    }

    /// Answers 200 and, if the INVITE was not answered yet, ends it with 487 (RFC 3261 section 9.2).
    fn on_cancel(&mut self, view: &View<'_>, via: &Via<'_>, reply: &Reply, now: Instant) {
        let invite = self.servers.find(&ServerKey::new(view, via, Method::Invite));
        let Some((id, server)) = invite.and_then(|id| Some((id, self.servers.get_mut(id)?))) else {
            return self.refuse(view, reply, Refusal::new(481));
        };
        let leg = server.leg.filter(|_| server.transaction.is_pending());
        let tag = leg.and_then(|leg| self.legs.get(leg)).map(|leg| tag_text(leg.tag));
        let tag = tag.unwrap_or_else(|| self.stateless_tag(view));
        let response = self.response(&reply.clone().with_tag(view, &tag), 200, phrase(200)).end();
        self.send(reply.path, response);
        let Some(leg) = leg else { return };
        match self.legs.get_mut(leg).map(|leg| &mut leg.state) {
            Some(State::Incoming(incoming)) if incoming.server == id => {
                let reason = Reason::most_telling(view.values(Name::Reason));
                self.finish_incoming(leg, 487, &[], now);
                self.end(leg, By::Canceled, reason, now);
            }
            Some(State::Established(_)) => self.drop_offer(leg, 487, now),
            _ => {}
        }
    }

    fn on_ack(&mut self, view: &View<'_>, via: &Via<'_>, now: Instant) {
        let server = self.servers.find(&ServerKey::new(view, via, Method::Invite));
        if let Some((id, server)) = server.and_then(|id| Some((id, self.servers.get_mut(id)?)))
            && server.transaction.on_ack(&self.timing, now)
        {
            return self.arm_server(id);
        }
        // The ACK of a 2xx is a transaction of its own, known by its dialog alone.
        let leg = view.to().and_then(|to| self.legs.find(to.tag()?));
        match leg {
            Some(leg) => self.on_dialog_ack(leg, view, now),
            None => self.stats.absorbed += 1,
        }
    }

    /// Answers an incoming leg with 200, which is sent until it is ACKed: [`Event::Acked`] follows. Without an ACK
    /// in 64 T1 the leg is hung up ([`By::NoAck`]).
    ///
    /// # Errors
    /// The leg is gone or answered already.
    pub fn accept(&mut self, leg: LegId, mut body: Vec<u8>, now: Instant) -> Result<(), Error> {
        let Incoming { reliably, usage, .. } = self.incoming_mut(leg)?;
        if reliably.is_held() {
            return Err(Error::WrongState);
        }
        if !reliably.hold(&mut body, usage.theirs.is_some()) {
            self.accept_now(leg, body, now);
        }
        Ok(())
    }

    pub(super) fn accept_now(&mut self, leg: LegId, body: Vec<u8>, now: Instant) {
        let Ok(Incoming { server, reply, usage, cseq, reliably, asked }) = self.incoming(leg) else { return };
        // What a reliable 18x said is not said again (RFC 6337 section 2.2).
        let body = if usage.agreed { Vec::new() } else { body };
        let (headers, session) = asked.answer(None, self.config.session_timer, now);
        let response = self.acceptance(reply, &usage.dialog.contact, &headers, &body);
        let (server, overtaken) = (*server, reliably.overtaken());
        let unacked = Unacked::answer(reply.path, response.clone(), *cseq, true, &self.timing, now);
        let Some(Leg { state, .. }) = self.legs.get_mut(leg) else { return };
        let State::Incoming(incoming) = state else { return };
        let before = &mut incoming.usage;
        let described = if body.is_empty() { std::mem::take(&mut before.described) } else { body.into() };
        let usage = Usage {
            agreed: true,
            allows_update: before.allows_update,
            ours: before.ours.take(),
            described,
            ..Usage::new(before.dialog.clone())
        };
        let call = Established { unacked: Some(unacked), session, overtaken, ..Established::new(usage) };
        *state = State::Established(Box::new(call));
        self.respond(server, 200, response, now);
        self.arm_leg(leg);
    }

    /// A 2xx to INVITE, re-INVITE or UPDATE.
    pub(super) fn acceptance(
        &self,
        reply: &Reply,
        contact: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Bytes {
        let builder = self
            .response(reply, 200, phrase(200))
            .header("Contact", contact)
            .header("Allow", ALLOW)
            .header("Accept", SDP);
        headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value)).body(SDP, body)
    }

    /// Refuses an incoming leg with 300 to 699; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// The leg is gone or answered already, a header would break its line, or the status is another.
    pub fn reject(
        &mut self,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        now: Instant,
    ) -> Result<(), Error> {
        if !(300..=699).contains(&status) {
            return Err(Error::BadStatus(status));
        }
        check_headers(headers.iter().copied(), RESERVED)?;
        self.incoming(leg)?;
        self.finish_incoming(leg, status, headers, now);
        self.end(leg, By::Local, None, now);
        Ok(())
    }

    /// Refuses an incoming leg that is hung up before it was answered.
    pub(super) fn decline(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        let status = match &reason {
            Some(Reason { cause: cause @ 300..=699, protocol: ReasonProtocol::Sip, .. }) => *cause,
            _ => 480,
        };
        let value = reason.as_ref().map(Reason::to_string);
        let headers: Vec<(&str, &str)> = value.iter().map(|value| ("Reason", value.as_str())).collect();
        self.finish_incoming(leg, status, &headers, now);
        self.end(leg, By::Local, reason, now);
    }

    pub(super) fn incoming(&self, leg: LegId) -> Result<&Incoming, Error> {
        match &self.legs.get(leg).ok_or(Error::NoSuchLeg)?.state {
            State::Incoming(incoming) => Ok(incoming),
            _ => Err(Error::WrongState),
        }
    }

    pub(super) fn incoming_mut(&mut self, leg: LegId) -> Result<&mut Incoming, Error> {
        match &mut self.legs.get_mut(leg).ok_or(Error::NoSuchLeg)?.state {
            State::Incoming(incoming) => Ok(incoming),
            _ => Err(Error::WrongState),
        }
    }

    /// Gives an incoming leg's INVITE a final response other than 2xx.
    pub(super) fn finish_incoming(
        &mut self,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        now: Instant,
    ) {
        let Ok(Incoming { server, reply, .. }) = self.incoming(leg) else { return };
        let builder = self.response(reply, status, phrase(status));
        let response =
            headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value)).end();
        self.respond(*server, status, response, now);
    }

    /// Starts a server transaction. The caller has made sure that there is room.
    pub(super) fn start_server(
        &mut self,
        view: &View<'_>,
        key: ServerKey,
        kind: Kind,
        reply: &Reply,
    ) -> ServerId {
        self.servers.insert(view, key, ServerTransaction::new(kind, reply.path, &self.timing))
    }

    /// Sends a response through its transaction.
    pub(super) fn respond(&mut self, id: ServerId, status: u16, response: Bytes, now: Instant) {
        let Some(server) = self.servers.get_mut(id) else { return };
        let path = server.transaction.path();
        if server.transaction.respond(status, response.clone(), &self.timing, now) {
            self.send(path, response);
            self.arm_server(id);
        }
    }

    /// Refuses a request without keeping anything.
    pub(super) fn refuse(&mut self, view: &View<'_>, reply: &Reply, refusal: Refusal) {
        let reply = reply.clone().with_tag(view, &self.stateless_tag(view));
        let response = self.refusal(&reply, &refusal);
        self.send(reply.path, response);
    }

    /// Refuses what has come too far, and extensions a request insists on that we have not. A gateway starts new
    /// calls from incoming ones, so it counts hops as a proxy does (RFC 7332).
    pub(super) fn check_extensions(&self, view: &View<'_>) -> Result<(), Refusal> {
        if view.header(Name::MaxForwards).is_some_and(|hops| hops.parse() == Ok(0)) {
            return Err(Refusal::new(483));
        }
        let known = self.supported();
        let is_known = |option: &str| lex::values(known).any(|known| known.eq_ignore_ascii_case(option));
        let required: Vec<&str> = view.values(Name::Require).filter(|option| !is_known(option)).collect();
        match required.is_empty() {
            true => Ok(()),
            false => Err(Refusal::new(420).with("Unsupported", required.join(", "))),
        }
    }

    pub(super) fn refusal(&self, reply: &Reply, refusal: &Refusal) -> Bytes {
        let builder = self.response(reply, refusal.status, phrase(refusal.status));
        refusal.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value)).end()
    }

    pub(super) fn response(&self, reply: &Reply, status: u16, phrase: &str) -> Builder {
        reply.response(status, phrase).header("Server", &self.config.user_agent)
    }

    /// A To tag that is the same for each copy of a request, though nothing of it is kept
    /// (RFC 3261 section 8.2.7).
    pub(super) fn stateless_tag(&self, view: &View<'_>) -> String {
        let mut hash = Sha256::new().chain_update(self.tag_key);
        for name in [Name::Via, Name::CallId, Name::From, Name::CSeq] {
            hash.update(view.header(name).unwrap_or_default());
            hash.update([0]);
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How a method is refused that no dialog or caller may use with us.
pub fn not_allowed(method: Method<'_>) -> Refusal {
    match method {
        Method::Subscribe => Refusal::new(489).with("Allow-Events", ""),
        Method::Other(_) => Refusal::new(501).with("Allow", ALLOW),
        _ => Refusal::new(405).with("Allow", ALLOW),
    }
}

/// Refuses a body that is no plain SDP.
pub fn check_offer(view: &View<'_>) -> Result<(), Refusal> {
    let is_encoded =
        view.values(Name::ContentEncoding).any(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    let is_sdp = view.content_type().is_some_and(|media_type| media_type.eq_ignore_ascii_case(SDP));
    if is_encoded || (!is_sdp && !view.body().is_empty()) {
        return Err(Refusal::new(415).with("Accept", SDP).with("Accept-Encoding", "identity"));
    }
    Ok(())
}
