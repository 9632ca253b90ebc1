use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::auth::is_challenge;
use super::event::{By, FailureKind};
use super::leg::{Leg, LegId, State};
use super::transactions::{Ack, Client, ClientKey, Purpose};
use super::{ALLOW, Endpoint, check_text};
use crate::dialog;
use crate::error::Error;
use crate::header::Name;
use crate::message::View;
use crate::method::Method;
use crate::sabotage::{Part, broken};
use crate::transaction::Kind;

/// The most often a request is sent anew because it was challenged.
const MAX_TRIES: u8 = 4;

/// A request of ours within a dialog: all it takes to send it once more with credentials.
pub struct Request {
    method: Method<'static>,
    /// The other side's tag, which tells the dialogs of a forked call apart.
    remote_tag: Option<String>,
    headers: Vec<(&'static str, String)>,
    content_type: String,
    body: Bytes,
    tries: u8,
}

impl Request {
    pub fn new(method: Method<'static>, remote_tag: Option<&str>) -> Self {
        Self {
            method,
            remote_tag: remote_tag.map(str::to_owned),
            headers: Vec::new(),
            content_type: String::new(),
            body: Bytes::new(),
            tries: 0,
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(self, content_type: &str, body: Bytes) -> Self {
        Self { content_type: content_type.to_owned(), body, ..self }
    }
}

impl Endpoint {
    /// Sends an INFO with `body` of the media type `content_type`, such as `application/dtmf-relay`. Nothing says
    /// whether it was taken.
    ///
    /// # Errors
    /// The leg is gone or not answered, `content_type` would break its line, or there are too many transactions.
    pub fn info(&mut self, leg: LegId, content_type: &str, body: Vec<u8>, now: Instant) -> Result<(), Error> {
        check_text("content_type", [content_type])?;
        let tag = self.remote_tag(leg)?;
        let request = Request::new(Method::Info, tag.as_deref()).body(content_type, body.into());
        self.send_within(leg, request, now);
        Ok(())
    }

    /// The other side's tag in an answered call that may send a request.
    pub(super) fn remote_tag(&self, leg: LegId) -> Result<Option<String>, Error> {
        match &self.legs.get(leg).ok_or(Error::NoSuchLeg)?.state {
            State::Established(_) if self.is_full() => Err(Error::TooManyTransactions),
            State::Established(call) => Ok(call.usage.dialog.remote_tag.clone()),
            _ => Err(Error::WrongState),
        }
    }

    /// Sends a request within a dialog of a leg.
    pub(super) fn send_within(&mut self, id: LegId, request: Request, now: Instant) -> Option<ClientKey> {
        let key = ClientKey { branch: self.rng.next_u64(), cancel: false };
        let cnonce = self.random_hex();
        let Leg { auth, state, .. } = self.legs.get_mut(id)?;
        let dialog = &mut state.usage(request.remote_tag.as_deref())?.dialog;
        if request.tries == 0 {
            auth.begin();
        }
        let method = request.method;
        let cseq = dialog.next_cseq();
        let path = dialog.next_hop(|path| self.streams.contains_key(path));
        let mut builder = dialog.request(method.as_str(), &dialog::via(&path, &key.branch()), cseq);
        if matches!(method, Method::Invite | Method::Update | Method::Refer | Method::Notify) {
            builder = builder.header("Contact", &dialog.contact);
        }
        if matches!(method, Method::Invite | Method::Update) {
            builder = builder.header("Allow", ALLOW).header("Supported", "timer");
        }
        for (name, value) in auth.headers(method.as_str(), dialog.request_uri(), &request.body, &cnonce) {
            builder = builder.header(name, &value);
        }
        builder = request.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
        let bytes =
            builder.header("User-Agent", &self.config.user_agent).body(&request.content_type, &request.body);
        let request = Box::new(request);
        let (kind, purpose) = match method {
            Method::Invite => {
                let dialog = Box::new(dialog.clone());
                (Kind::Invite, Purpose::Reinvite { leg: id, request, dialog, ack: None })
            }
            _ => (Kind::NonInvite, Purpose::Within { leg: id, request }),
        };
        self.start_client(key, kind, path, bytes, purpose, now);
        Some(key)
    }

    /// Takes in a final response other than a 2xx to re-INVITE: the request is sent again if that is what it asks
    /// for.
    pub(super) fn on_within_response(&mut self, key: ClientKey, view: &View<'_>, status: u16, now: Instant) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let (Purpose::Within { leg, request } | Purpose::Reinvite { leg, request, .. }) = &mut client.purpose
        else {
            return;
        };
        let (id, method) = (*leg, request.method);
        let wants_more = is_challenge(status) && request.tries < MAX_TRIES;
        let challenged = wants_more && self.legs.get_mut(id).is_some_and(|leg| leg.auth.challenged(view));
        if !challenged {
            return self.conclude(id, key, method, status, Some(view), now);
        }
        let purpose = std::mem::replace(&mut client.purpose, Purpose::Settled);
        if let Purpose::Within { mut request, .. } | Purpose::Reinvite { mut request, .. } = purpose {
            request.tries += 1;
            let again = self.send_within(id, *request, now);
            self.replace_key(id, key, again);
        }
    }

    /// Acknowledges a refusal of our re-INVITE.
    pub(super) fn on_reinvite_refusal(&mut self, key: ClientKey, view: &View<'_>, status: u16, now: Instant) {
        self.ack_refusal(key, view);
        self.on_within_response(key, view, status, now);
    }

    /// Acknowledges a 2xx to our re-INVITE, again if it came before.
    pub(super) fn on_reinvite_answer(&mut self, key: ClientKey, view: &View<'_>, now: Instant) {
        let branch = ClientKey { branch: self.rng.next_u64(), cancel: false }.branch();
        let flow = self.clients.get(&key).and_then(|client| match &client.purpose {
            Purpose::Reinvite { leg, dialog, .. } if dialog.pinned => self.path_of(*leg),
            _ => None,
        });
        let Some(Client { transaction, purpose: Purpose::Reinvite { leg, dialog, ack, .. }, .. }) =
            self.clients.get_mut(&key)
        else {
            return;
        };
        if let Some(Ack { path, bytes, .. }) = ack {
            let (path, bytes) = (*path, bytes.clone());
            self.stats.retransmissions_in += 1;
            if !broken(Part::AckAnswerAgain) {
                self.send_again(path, bytes);
            }
            return;
        }
        if let Some(target) = dialog::target(view) {
            target.clone_into(&mut dialog.remote_target);
        }
        dialog.path = flow.unwrap_or(dialog.path);
        let path = dialog.next_hop(|path| self.streams.contains_key(path));
        let Ok(request) = View::parse(transaction.request()) else { return };
        let bytes = dialog
            .request("ACK", &dialog::via(&path, &branch), dialog.local_cseq)
            .headers("Authorization", request.headers(Name::Authorization))
            .headers("Proxy-Authorization", request.headers(Name::ProxyAuthorization))
            .end();
        *ack = Some(Ack { to_tag: None, path, bytes: bytes.clone() });
        let leg = *leg;
        self.send(path, bytes);
        self.conclude(leg, key, Method::Invite, 200, Some(view), now);
    }

    /// What became of a request within a dialog. `view` is the final response, if there was one.
    pub(super) fn conclude(
        &mut self,
        leg: LegId,
        key: ClientKey,
        method: Method<'static>,
        status: u16,
        view: Option<&View<'_>>,
        now: Instant,
    ) {
        match method {
            Method::Invite | Method::Update => self.on_reoffer_result(leg, key, status, view, now),
            Method::Refer => self.on_refer_result(leg, key, status),
            Method::Notify if status == 481 => self.forget_referred(leg),
            Method::Info if status == 481 => self.lose(leg, now),
            _ => {}
        }
    }

    /// Concludes a request within a dialog that got no final response.
    pub(super) fn fail_within(&mut self, purpose: Purpose, key: ClientKey, kind: FailureKind, now: Instant) {
        // RFC 3261 section 8.1.3.1.
        let status = if kind == FailureKind::Transport { 503 } else { 408 };
        match purpose {
            Purpose::Within { leg, request } => self.conclude(leg, key, request.method, status, None, now),
            Purpose::Reinvite { leg, request, ack: None, .. } => {
                self.conclude(leg, key, request.method, status, None, now);
            }
            _ => {}
        }
    }

    /// Hangs up a call that the other side does not know any more (RFC 3261 section 12.2.1.2).
    pub(super) fn lose(&mut self, leg: LegId, now: Instant) {
        self.say_bye(leg, By::Lost, None, now);
    }
}
