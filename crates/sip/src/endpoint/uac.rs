use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::auth::{Auth, is_challenge};
use super::event::{By, Event, Failure, FailureKind};
use super::leg::{Calling, Cancel, Established, Invite, LegId, State, tag_text};
use super::transactions::{Ack, Client, ClientKey, Farewell, Purpose};
use super::{ALLOW, Endpoint, SDP, check_headers, check_text};
use crate::Path;
use crate::builder::Builder;
use crate::dialog::{self, Dialog};
use crate::error::Error;
use crate::header::Name;
use crate::lex;
use crate::message::View;
use crate::name_addr::NameAddr;
use crate::reason::Reason;
use crate::transaction::{ClientTransaction, Kind};
use crate::uri::Uri;

/// Header fields of an INVITE that only the stack writes.
const RESERVED: &[Name] = &[
    Name::Authorization,
    Name::CSeq,
    Name::CallId,
    Name::Contact,
    Name::ContentEncoding,
    Name::ContentLength,
    Name::ContentType,
    Name::From,
    Name::MaxForwards,
    Name::ProxyAuthorization,
    Name::RecordRoute,
    Name::Route,
    Name::To,
    Name::Via,
];

/// The most 2xx of one forked INVITE that are answered.
const MAX_FORKS: usize = 16;

impl Endpoint {
    /// Sends an INVITE. [`Event::Answered`] or [`Event::Failed`] follows, perhaps after [`Event::Ringing`].
    ///
    /// # Errors
    /// A field with CR, LF or NUL, a bad URI or header, too many legs or transactions. Nothing was sent.
    pub fn invite(&mut self, invite: Invite, now: Instant) -> Result<LegId, Error> {
        check_invite(&invite)?;
        if self.legs.len() >= self.config.max_legs {
            return Err(Error::TooManyLegs);
        }
        if self.is_full() {
            return Err(Error::TooManyTransactions);
        }
        let (tag, branch) = (self.rng.next_u64(), self.rng.next_u64());
        let call_id = self.random_hex() + &self.random_hex();
        let calling = Calling {
            auth: Auth::new(invite.credentials.clone()),
            invite,
            cseq: 1,
            transaction: ClientKey { branch, cancel: false },
            cancel: Cancel::No,
            heard: false,
            provisional: false,
            challenged: false,
            trouble: String::new(),
        };
        let leg = self.legs.insert(call_id, tag, State::Calling(Box::new(calling)));
        self.send_invite(leg, now);
        Ok(leg)
    }

    fn calling(&mut self, leg: LegId) -> Option<&mut Calling> {
        match &mut self.legs.get_mut(leg)?.state {
            State::Calling(calling) => Some(calling),
            _ => None,
        }
    }

    fn send_invite(&mut self, id: LegId, now: Instant) {
        let cnonce = self.random_hex();
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Calling(calling) = &mut leg.state else { return };
        let (key, path) = (calling.transaction, calling.invite.path);
        let request = write_invite(calling, &leg.call_id, leg.tag, &cnonce, &self.config.user_agent);
        self.start_client(
            key,
            Kind::Invite,
            path,
            request,
            Purpose::Invite { leg: id, acks: Vec::new() },
            now,
        );
    }

    pub(super) fn start_client(
        &mut self,
        key: ClientKey,
        kind: Kind,
        path: Path,
        request: Bytes,
        purpose: Purpose,
        now: Instant,
    ) {
        let (path, request, over_udp) = self.by_size(path, request, now);
        let transaction = ClientTransaction::new(kind, path, request.clone(), &self.timing, now);
        self.clients.insert(key, Client { transaction, purpose, over_udp });
        self.arm_client(key);
        self.send(path, request);
    }

    pub(super) fn on_provisional(
        &mut self,
        leg: LegId,
        key: ClientKey,
        view: &View<'_>,
        status: u16,
        now: Instant,
    ) {
        let Some(calling) = self.calling(leg).filter(|calling| calling.transaction == key) else { return };
        calling.heard = true;
        calling.provisional |= status > 100;
        let wanted = match &mut calling.cancel {
            Cancel::Wanted(reason) => Some(reason.take()),
            Cancel::No | Cancel::Sent => None,
        };
        if let Some(reason) = wanted {
            self.send_cancel(leg, reason, now);
        }
        if (180..=183).contains(&status) {
            self.emit(Event::Ringing { leg, status, body: view.body().to_vec() });
        }
    }

    /// ACKs a 2xx, again if it came before. The first makes the dialog; what another branch of a fork answers is
    /// hung up at once.
    pub(super) fn on_answer(&mut self, leg: LegId, key: ClientKey, view: &View<'_>, now: Instant) {
        let Some(Client { transaction, purpose: Purpose::Invite { acks, .. }, .. }) =
            self.clients.get_mut(&key)
        else {
            return;
        };
        let to_tag = view.to().and_then(|to| to.tag()).map(str::to_owned);
        if let Some(ack) = acks.iter().find(|ack| ack.to_tag == to_tag) {
            let (path, bytes) = (ack.path, ack.bytes.clone());
            self.stats.retransmissions_in += 1;
            self.send_again(path, bytes);
            return;
        }
        let is_first = acks.is_empty();
        let Ok(request) = View::parse(transaction.request()) else { return };
        let Some(dialog) =
            Dialog::from_answer(&request, view, transaction.path()).filter(|_| acks.len() < MAX_FORKS)
        else {
            self.stats.absorbed += 1;
            return;
        };
        let ack_path = dialog.next_hop(|path| self.streams.contains_key(path));
        let via = dialog::via(&ack_path, &ClientKey { branch: self.rng.next_u64(), cancel: false }.branch());
        // An ACK carries the credentials of its INVITE (RFC 3261 section 22.1).
        let ack = dialog
            .request("ACK", &via, dialog.local_cseq())
            .headers("Authorization", request.headers(Name::Authorization))
            .headers("Proxy-Authorization", request.headers(Name::ProxyAuthorization))
            .end();
        acks.push(Ack { to_tag, path: ack_path, bytes: ack.clone() });
        self.send(ack_path, ack);
        match self.calling(leg) {
            Some(calling) if is_first && calling.transaction == key => {
                let auth = std::mem::take(&mut calling.auth);
                if matches!(calling.cancel, Cancel::No) {
                    self.establish(leg, dialog, auth);
                    self.emit(Event::Answered { leg, body: view.body().to_vec() });
                } else {
                    self.send_bye(Farewell { dialog, auth, reason: None }, now);
                    self.fail(leg, FailureKind::Canceled, true, Some(view));
                }
            }
            _ => self.send_bye(Farewell { dialog, auth: Auth::default(), reason: None }, now),
        }
    }

    pub(super) fn establish(&mut self, leg: LegId, dialog: Dialog, auth: Auth) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.state = State::Established(Box::new(Established::new(dialog, auth)));
        }
    }

    /// ACKs a final response other than 2xx, and tries again with credentials if that is what it asks for.
    pub(super) fn on_refusal(
        &mut self,
        leg: LegId,
        key: ClientKey,
        view: &View<'_>,
        status: u16,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let path = client.transaction.path();
        if let Some(ack) = write_ack(client.transaction.request(), view) {
            client.transaction.set_ack(ack.clone());
            self.send(path, ack);
        }
        let branch = self.rng.next_u64();
        let Some(calling) = self.calling(leg).filter(|calling| calling.transaction == key) else { return };
        calling.challenged |= is_challenge(status);
        if !matches!(calling.cancel, Cancel::No) {
            return self.fail(leg, FailureKind::Canceled, true, Some(view));
        }
        if !calling.auth.challenged(view) {
            return self.fail(leg, FailureKind::Status, true, Some(view));
        }
        calling.cseq += 1;
        calling.heard = false;
        calling.transaction = ClientKey { branch, cancel: false };
        self.send_invite(leg, now);
    }

    /// Fails a leg if it still waits for the INVITE that ended.
    pub(super) fn fail_calling(
        &mut self,
        leg: LegId,
        key: ClientKey,
        kind: FailureKind,
        sent: bool,
        trouble: &str,
    ) {
        let Some(calling) = self.calling(leg).filter(|calling| calling.transaction == key) else { return };
        let kind = if matches!(calling.cancel, Cancel::No) { kind } else { FailureKind::Canceled };
        let sent = sent || calling.challenged;
        trouble.clone_into(&mut calling.trouble);
        self.fail(leg, kind, sent, None);
    }

    /// Removes a calling leg and says why. `response` is the final one, when there was one.
    fn fail(&mut self, id: LegId, kind: FailureKind, sent: bool, response: Option<&View<'_>>) {
        let Some(calling) = self.calling(id) else { return };
        let (provisional, challenged) = (calling.provisional, calling.challenged);
        let trouble = std::mem::take(&mut calling.trouble);
        self.legs.remove(id);
        let refusal = response.filter(|view| view.status().is_some_and(|status| status >= 300));
        let failure = Failure {
            kind,
            status: refusal.and_then(View::status),
            phrase: refusal.map_or(trouble, |view| view.reason().to_owned()),
            reason: refusal.and_then(|view| Reason::most_telling(view.values(Name::Reason))),
            retry_after_s: refusal.and_then(retry_after),
            contacts: Vec::new(),
            provisional,
            sent,
            challenged,
        };
        self.emit(Event::Failed { leg: id, failure });
    }

    /// Cancels our INVITE, as soon as it may be (RFC 3261 section 9.1).
    pub(super) fn cancel(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        let Some(calling) = self.calling(leg) else { return };
        match calling.cancel {
            Cancel::No if calling.heard => self.send_cancel(leg, reason, now),
            Cancel::No => calling.cancel = Cancel::Wanted(reason),
            Cancel::Wanted(_) | Cancel::Sent => {}
        }
    }

    fn send_cancel(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        let Some(calling) = self.calling(leg) else { return };
        calling.cancel = Cancel::Sent;
        let invite_key = calling.transaction;
        let Some(client) = self.clients.get_mut(&invite_key) else { return };
        client.transaction.give_up_at(now + self.timing.lifetime());
        let path = client.transaction.path();
        let cancel = write_cancel(client.transaction.request(), reason.as_ref());
        self.arm_client(invite_key);
        if let Some(cancel) = cancel {
            let key = ClientKey { cancel: true, ..invite_key };
            self.start_client(key, Kind::NonInvite, path, cancel, Purpose::Settled, now);
        }
    }

    /// Removes an established leg, sends BYE and says so.
    pub(super) fn say_bye(&mut self, id: LegId, by: By, reason: Option<Reason>, now: Instant) {
        self.drop_offer(id, now);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Established(call) = &mut leg.state else { return };
        let (dialog, mut auth) = (call.dialog.clone(), std::mem::take(&mut call.auth));
        auth.begin();
        self.send_bye(Farewell { dialog, auth, reason: reason.clone() }, now);
        self.end(id, by, reason);
    }

    fn send_bye(&mut self, mut farewell: Farewell, now: Instant) {
        let key = ClientKey { branch: self.rng.next_u64(), cancel: false };
        let cnonce = self.random_hex();
        let Farewell { dialog, auth, reason } = &mut farewell;
        let cseq = dialog.next_cseq();
        let path = dialog.next_hop(|path| self.streams.contains_key(path));
        let mut builder = dialog.request("BYE", &dialog::via(&path, &key.branch()), cseq);
        for (name, value) in auth.headers("BYE", dialog.request_uri(), b"", &cnonce) {
            builder = builder.header(name, &value);
        }
        let request = builder
            .headers("Reason", reason.as_ref().map(Reason::to_string))
            .header("User-Agent", &self.config.user_agent)
            .end();
        self.start_client(key, Kind::NonInvite, path, request, Purpose::Bye(Box::new(farewell)), now);
    }

    /// Sends a BYE again with credentials if the response asks for them; any other response ends the matter.
    pub(super) fn on_bye_response(&mut self, key: ClientKey, view: &View<'_>, status: u16, now: Instant) {
        let Some(Client { purpose, .. }) = self.clients.get_mut(&key) else { return };
        if !is_challenge(status) {
            return;
        }
        if let Purpose::Bye(mut farewell) = std::mem::replace(purpose, Purpose::Settled)
            && farewell.auth.challenged(view)
        {
            self.send_bye(*farewell, now);
        }
    }
}

fn check_invite(invite: &Invite) -> Result<(), Error> {
    let Invite {
        request_uri,
        from_display,
        from_uri,
        to_uri,
        contact_user,
        route,
        headers,
        credentials,
        path,
        ..
    } = invite;
    for (field, uri) in [("request_uri", request_uri), ("from_uri", from_uri), ("to_uri", to_uri)] {
        check_text(field, [uri.as_str()])?;
        Uri::parse(uri).map_err(|_| Error::BadUri { field })?;
    }
    check_text("from_display", from_display.as_deref())?;
    check_text("contact_user", contact_user.as_deref())?;
    let contact = dialog::contact(contact_user.as_deref(), path);
    let contact = NameAddr::parse(&contact).and_then(|contact| contact.sip_uri());
    if contact.ok().is_none_or(|contact| contact.user != contact_user.as_deref()) {
        return Err(Error::BadUri { field: "contact_user" });
    }
    for value in route {
        check_text("route", [value.as_str()])?;
        let is_route = NameAddr::parse(value).is_ok_and(|route| route.sip_uri().is_ok());
        if !is_route || !value.contains('<') {
            return Err(Error::BadUri { field: "route" });
        }
    }
    if let Some(credentials) = credentials {
        check_text("credentials", [credentials.username.as_str()])?;
    }
    check_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), RESERVED)
}

fn write_invite(calling: &mut Calling, call_id: &str, tag: u64, cnonce: &str, user_agent: &str) -> Bytes {
    let Calling { invite, cseq, transaction, auth, .. } = calling;
    let display = invite.from_display.as_ref().map(|name| lex::quote(name) + " ").unwrap_or_default();
    let mut builder = Builder::request("INVITE", &invite.request_uri)
        .header("Via", &dialog::via(&invite.path, &transaction.branch()))
        .header("Max-Forwards", "70")
        .headers("Route", &invite.route)
        .header("From", &format!("{display}<{}>;tag={}", invite.from_uri, tag_text(tag)))
        .header("To", &format!("<{}>", invite.to_uri))
        .header("Call-ID", call_id)
        .header("CSeq", &format!("{cseq} INVITE"))
        .header("Contact", &dialog::contact(invite.contact_user.as_deref(), &invite.path));
    for (name, value) in auth.headers("INVITE", &invite.request_uri, &invite.body, cnonce) {
        builder = builder.header(name, &value);
    }
    builder = builder.header("Allow", ALLOW).header("Accept", SDP).header("User-Agent", user_agent);
    builder = invite.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
    builder.body(SDP, &invite.body)
}

/// The ACK of a final response other than 2xx: it belongs to the INVITE's transaction (RFC 3261 section 17.1.1.3).
fn write_ack(invite: &[u8], response: &View<'_>) -> Option<Bytes> {
    Some(within_transaction("ACK", invite, response.header(Name::To)?)?.end())
}

fn write_cancel(invite: &[u8], reason: Option<&Reason>) -> Option<Bytes> {
    let to = View::parse(invite).ok()?.header(Name::To)?;
    Some(within_transaction("CANCEL", invite, to)?.headers("Reason", reason.map(Reason::to_string)).end())
}

/// Starts a request that shares its INVITE's branch.
fn within_transaction(method: &str, invite: &[u8], to: &str) -> Option<Builder> {
    let invite = View::parse(invite).ok()?;
    let builder = Builder::request(method, invite.request_uri()?)
        .headers("Via", invite.headers(Name::Via))
        .header("Max-Forwards", "70")
        .headers("Route", invite.headers(Name::Route))
        .headers("From", invite.header(Name::From))
        .header("To", to)
        .headers("Call-ID", invite.call_id())
        .header("CSeq", &format!("{} {method}", invite.cseq()?.number));
    Some(builder)
}

/// The seconds of Retry-After, which a comment or parameters may follow.
fn retry_after(view: &View<'_>) -> Option<u32> {
    let value = view.header(Name::RetryAfter)?;
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
