use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::auth::{Auth, is_challenge};
use super::config::{Reliable, SessionTimer};
use super::early::lists;
use super::event::{By, Event, Failure, FailureKind};
use super::leg::Usage;
use super::leg::{Calling, Cancel, Established, Invite, Leg, LegId, State, parse_tag, tag_text};
use super::saved::Orphan;
use super::session_timer::Session;
use super::transactions::{Ack, Client, ClientKey, Farewell, Purpose};
use super::{ALLOW, Endpoint, SDP, check_headers, check_text};
use crate::Path;
use crate::builder::Builder;
use crate::dialog::{self, Dialog};
use crate::error::Error;
use crate::header::Name;
use crate::message::View;
use crate::name_addr::NameAddr;
use crate::reason::Reason;
use crate::sabotage::{Part, broken};
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
    Name::MinSe,
    Name::ProxyAuthorization,
    Name::RecordRoute,
    Name::Require,
    Name::Route,
    Name::SessionExpires,
    Name::Supported,
    Name::To,
    Name::Via,
];

/// The most 2xx of one forked INVITE that are answered.
pub const MAX_FORKS: usize = 16;

/// The most often an INVITE is sent anew because something was asked for.
const MAX_TRIES: u8 = 6;

/// The most contacts of a 3xx that are told.
const MAX_CONTACTS: usize = 8;

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
        let auth = Auth::new(invite.credentials.clone());
        let calling = Calling {
            invite,
            cseq: 1,
            transaction: ClientKey { branch, cancel: false },
            tries: 0,
            cancel: Cancel::No,
            heard: false,
            trying: false,
            provisional: false,
            challenged: false,
            trouble: String::new(),
            forks: Vec::new(),
        };
        let guarded = calling.invite.guarded;
        let state = State::Calling(Box::new(calling));
        let leg = self.legs.insert(Leg { call_id, tag, guarded, auth, state });
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
        let Some(request) = write_invite(leg, &cnonce, &self.config.user_agent) else { return };
        let State::Calling(calling) = &leg.state else { return };
        let (key, path, pinned) = (calling.transaction, calling.invite.path, leg.guarded);
        let purpose = Purpose::Invite { leg: id, acks: Vec::new(), lost: Vec::new(), orphan: None, pinned };
        self.start_client(key, Kind::Invite, path, request, purpose, now);
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
        let (path, request, over_udp) = match self.is_pinned(&purpose) {
            true => (path, request, None),
            false => self.by_size(path, request, now),
        };
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
        let is_first_trying = status == 100 && !calling.trying;
        calling.trying |= is_first_trying;
        let wanted = match &mut calling.cancel {
            Cancel::Wanted(reason) if !broken(Part::CancelWaits) => Some(reason.take()),
            _ => None,
        };
        if let Some(reason) = wanted {
            self.send_cancel(leg, reason, now);
        }
        if is_first_trying {
            self.emit(Event::Trying { leg });
        }
        let is_news = status == 100 || self.on_early(leg, key, view, now);
        if is_news && (180..=183).contains(&status) {
            self.emit(Event::Ringing { leg, status, body: view.body().to_vec() });
        }
    }

    /// ACKs a 2xx, again if it came before. The first makes the dialog; what another branch of a fork answers is
    /// hung up at once.
    pub(super) fn on_answer(&mut self, leg: LegId, key: ClientKey, view: &View<'_>, now: Instant) {
        let Some(Client { transaction, purpose: Purpose::Invite { acks, lost, orphan, pinned, .. }, .. }) =
            self.clients.get_mut(&key)
        else {
            return;
        };
        let to_tag = view.to().and_then(|to| to.tag()).map(str::to_owned);
        if let Some(ack) = acks.iter().find(|ack| ack.to_tag == to_tag) {
            let (path, bytes) = (ack.path, ack.bytes.clone());
            self.stats.retransmissions_in += 1;
            if !broken(Part::AckAnswerAgain) {
                self.send_again(path, bytes);
            }
            return;
        }
        let is_first = acks.is_empty();
        let Ok(request) = View::parse(transaction.request()) else { return };
        let Some(mut dialog) =
            Dialog::from_answer(&request, view, transaction.path()).filter(|_| acks.len() < MAX_FORKS)
        else {
            self.stats.absorbed += 1;
            return;
        };
        dialog.pinned = *pinned;
        let cseq = dialog.local_cseq;
        let ack_path = dialog.next_hop(|path| self.streams.contains_key(path));
        let via = dialog::via(&ack_path, &ClientKey { branch: self.rng.next_u64(), cancel: false }.branch());
        // An ACK carries the credentials of its INVITE (RFC 3261 section 22.1).
        let ack = dialog
            .request("ACK", &via, cseq)
            .headers("Authorization", request.headers(Name::Authorization))
            .headers("Proxy-Authorization", request.headers(Name::ProxyAuthorization))
            .end();
        acks.push(Ack { to_tag, path: ack_path, bytes: ack.clone() });
        if let Some(early) = lost.iter().find(|early| early.remote_tag == dialog.remote_tag) {
            dialog.local_cseq = early.local_cseq;
        }
        let orphan = orphan.take();
        self.send(ack_path, ack);
        let auth = self.legs.get(leg).map(|leg| leg.auth.clone()).unwrap_or_default();
        match self.calling(leg) {
            Some(calling) if is_first && calling.transaction == key => {
                if matches!(calling.cancel, Cancel::No) {
                    self.establish(leg, key, view, dialog, now);
                } else if !broken(Part::CrossingBye) {
                    let of_early = |usage: &&mut Usage| usage.dialog.remote_tag == dialog.remote_tag;
                    let early = calling.forks.iter_mut().map(|fork| &mut fork.usage).find(of_early);
                    dialog.local_cseq = early.map_or(cseq, |early| early.dialog.local_cseq);
                    self.send_bye(Farewell { dialog, auth, reason: None, saved: false }, now);
                    self.fail(leg, FailureKind::Canceled, true, Some(view), now);
                }
            }
            _ => {
                if let Some(orphan) = orphan {
                    let Orphan { auth, reason, .. } = *orphan;
                    self.send_bye(Farewell { dialog, auth, reason, saved: true }, now);
                } else if !broken(Part::ForkBye) {
                    self.send_bye(Farewell { dialog, auth, reason: None, saved: false }, now);
                }
            }
        }
    }

    fn establish(&mut self, id: LegId, key: ClientKey, view: &View<'_>, dialog: Dialog, now: Instant) {
        let min_se_s = self.calling(id).and_then(|calling| calling.invite.session_timer).map(|t| t.min_se_s);
        let usage = self.confirm(id, key, view, dialog);
        let session = Session::agreed(view, min_se_s.unwrap_or_default(), now);
        if let Some(leg) = self.legs.get_mut(id) {
            leg.state = State::Established(Box::new(Established { session, ..Established::new(usage) }));
        }
        self.arm_leg(id);
        self.emit(Event::Answered { leg: id, body: view.body().to_vec() });
    }

    /// ACKs a final response other than 2xx.
    pub(super) fn ack_refusal(&mut self, key: ClientKey, view: &View<'_>) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let path = client.transaction.path();
        if let Some(ack) = write_ack(client.transaction.request(), view) {
            client.transaction.set_ack(ack.clone());
            self.send(path, ack);
        }
    }

    /// ACKs a final response other than 2xx, and tries again with what it asks for.
    pub(super) fn on_refusal(
        &mut self,
        leg: LegId,
        key: ClientKey,
        view: &View<'_>,
        status: u16,
        now: Instant,
    ) {
        self.ack_refusal(key, view);
        if let Some(Purpose::Invite { orphan, .. }) =
            self.clients.get_mut(&key).map(|client| &mut client.purpose)
        {
            let call_id = orphan.take().map(|orphan| orphan.call_id);
            self.saved_ended(call_id);
        }
        let transaction = self.new_key();
        let Some(Leg { auth, state: State::Calling(calling), .. }) = self.legs.get_mut(leg) else { return };
        if calling.transaction != key {
            return;
        }
        calling.challenged |= is_challenge(status);
        if !matches!(calling.cancel, Cancel::No) {
            return self.fail(leg, FailureKind::Canceled, true, Some(view), now);
        }
        let goes_on = match status {
            401 | 407 => auth.challenged(view),
            420..=422 => oblige(&mut calling.invite, status, view),
            _ => false,
        };
        if !goes_on || calling.tries >= MAX_TRIES {
            return self.fail(leg, FailureKind::Status, true, Some(view), now);
        }
        calling.cseq += 1;
        calling.tries += 1;
        (calling.heard, calling.trying) = (false, false);
        calling.forks.clear();
        calling.transaction = transaction;
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
        now: Instant,
    ) {
        let Some(calling) = self.calling(leg).filter(|calling| calling.transaction == key) else { return };
        let kind = if matches!(calling.cancel, Cancel::No) { kind } else { FailureKind::Canceled };
        let sent = sent || calling.challenged;
        trouble.clone_into(&mut calling.trouble);
        self.fail(leg, kind, sent, None, now);
    }

    /// Removes a calling leg and says why. `response` is the final one, when there was one.
    fn fail(&mut self, id: LegId, kind: FailureKind, sent: bool, response: Option<&View<'_>>, now: Instant) {
        let Some(calling) = self.calling(id) else { return };
        let (provisional, challenged) = (calling.provisional, calling.challenged);
        let trouble = std::mem::take(&mut calling.trouble);
        self.remove_leg(id, now);
        let refusal = response.filter(|view| view.status().is_some_and(|status| status >= 300));
        let failure = Failure {
            kind,
            status: refusal.and_then(View::status),
            phrase: refusal.map_or(trouble, |view| view.reason().to_owned()),
            reason: refusal.and_then(|view| Reason::most_telling(view.values(Name::Reason))),
            retry_after_s: refusal.and_then(retry_after),
            contacts: refusal.map(contacts).unwrap_or_default(),
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
        let key = calling.transaction;
        self.cancel_invite(key, reason, now);
    }

    /// Sends the CANCEL of an INVITE or re-INVITE, which then has 64 T1 for its final response.
    pub(super) fn cancel_invite(&mut self, invite_key: ClientKey, reason: Option<Reason>, now: Instant) {
        let Some(client) = self.clients.get_mut(&invite_key) else { return };
        if !broken(Part::CancelGivesUp) {
            client.transaction.give_up_at(now + self.timing.lifetime());
        }
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
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Established(call) = &mut leg.state else { return };
        let (dialog, mut auth) = (call.usage.dialog.clone(), std::mem::take(&mut leg.auth));
        auth.begin();
        self.send_bye(Farewell { dialog, auth, reason: reason.clone(), saved: false }, now);
        self.end(id, by, reason, now);
    }

    pub(super) fn send_bye(&mut self, mut farewell: Farewell, now: Instant) {
        let key = ClientKey { branch: self.rng.next_u64(), cancel: false };
        let cnonce = self.random_hex();
        let Farewell { dialog, auth, reason, .. } = &mut farewell;
        let tag = own_tag(dialog);
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
        self.legs.set_leaving(tag, true);
        self.start_client(key, Kind::NonInvite, path, request, Purpose::Bye(Box::new(farewell)), now);
    }

    /// Sends a BYE again with credentials if the response asks for them; any other response ends the matter.
    pub(super) fn on_bye_response(&mut self, key: ClientKey, view: &View<'_>, status: u16, now: Instant) {
        let Some(Client { purpose, .. }) = self.clients.get_mut(&key) else { return };
        if status < 200 {
            return;
        }
        if let Purpose::Bye(mut farewell) = std::mem::replace(purpose, Purpose::Settled) {
            match is_challenge(status) && farewell.auth.challenged(view) {
                true => self.send_bye(*farewell, now),
                false => self.bye_ended(&farewell),
            }
        }
    }

    /// Nothing more comes of a BYE.
    pub(super) fn bye_ended(&mut self, farewell: &Farewell) {
        self.legs.set_leaving(own_tag(&farewell.dialog), false);
        self.saved_ended(farewell.saved.then(|| farewell.dialog.call_id.clone()));
    }
}

/// Our tag in a dialog.
fn own_tag(dialog: &Dialog) -> Option<u64> {
    parse_tag(NameAddr::parse(&dialog.local).ok()?.tag()?)
}

/// Changes an INVITE as its refusal asks; false where it cannot be.
fn oblige(invite: &mut Invite, status: u16, refusal: &View<'_>) -> bool {
    let Invite { reliable, session_timer, .. } = invite;
    match status {
        420 => {
            let drops = *reliable == Reliable::Supported && lists(refusal, Name::Unsupported, "100rel");
            if drops {
                *reliable = Reliable::Off;
            }
            drops
        }
        421 => refusal.values(Name::Require).all(|option| match option {
            "100rel" if *reliable == Reliable::Off => {
                *reliable = Reliable::Supported;
                true
            }
            "timer" if session_timer.is_none() => {
                *session_timer = Some(SessionTimer::default());
                true
            }
            _ => false,
        }),
        _ => session_timer.get_or_insert_default().raise(refusal),
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

fn write_invite(leg: &mut Leg, cnonce: &str, user_agent: &str) -> Option<Bytes> {
    let Leg { call_id, tag, auth, state: State::Calling(calling), .. } = leg else { return None };
    let Calling { invite, cseq, transaction, .. } = &**calling;
    let caller = dialog::caller(invite.from_display.as_deref(), &invite.from_uri);
    let mut builder = Builder::request("INVITE", &invite.request_uri)
        .header("Via", &dialog::via(&invite.path, &transaction.branch()))
        .header("Max-Forwards", "70")
        .headers("Route", &invite.route)
        .header("From", &format!("{caller};tag={}", tag_text(*tag)))
        .header("To", &format!("<{}>", invite.to_uri))
        .header("Call-ID", call_id)
        .header("CSeq", &format!("{cseq} INVITE"))
        .header("Contact", &dialog::contact(invite.contact_user.as_deref(), &invite.path));
    for (name, value) in auth.headers("INVITE", &invite.request_uri, &invite.body, cnonce) {
        builder = builder.header(name, &value);
    }
    builder = builder.header("Allow", ALLOW).header("Accept", SDP).header("User-Agent", user_agent);
    let timer = invite.session_timer.map(|timer| timer.headers()).unwrap_or_default();
    let reliable = (invite.reliable != Reliable::Off).then_some("100rel");
    let supported: Vec<&str> = reliable.into_iter().chain(invite.session_timer.map(|_| "timer")).collect();
    if !supported.is_empty() {
        builder = builder.header("Supported", &supported.join(", "));
    }
    if invite.reliable == Reliable::Required {
        builder = builder.header("Require", "100rel");
    }
    builder = timer.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
    builder = invite.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
    Some(builder.body(SDP, &invite.body))
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

/// The URIs a 3xx points to, by their q (RFC 3261 section 8.1.3.4).
fn contacts(refusal: &View<'_>) -> Vec<String> {
    if !refusal.status().is_some_and(|status| (300..400).contains(&status)) {
        return Vec::new();
    }
    let q =
        |contact: &NameAddr<'_>| contact.params.get("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
    let mut contacts: Vec<_> =
        refusal.values(Name::Contact).filter_map(|contact| NameAddr::parse(contact).ok()).collect();
    contacts.sort_by(|a, b| q(b).total_cmp(&q(a)));
    contacts.iter().take(MAX_CONTACTS).map(|contact| contact.uri.to_owned()).collect()
}

/// The seconds of Retry-After, which a comment or parameters may follow.
pub fn retry_after(view: &View<'_>) -> Option<u32> {
    let value = view.header(Name::RetryAfter)?;
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
