use std::time::Instant;

use rand_chacha::rand_core::Rng as _;

use super::auth::Auth;
use super::event::Event;
use super::leg::{LegId, State, parse_tag, tag_text};
use super::transactions::{Client, ClientKey, Farewell, Purpose};
use super::{Endpoint, check_text};
use crate::Path;
use crate::builder::Builder;
use crate::dialog::{self, Dialog};
use crate::digest::Credentials;
use crate::error::Error;
use crate::name_addr::NameAddr;
use crate::reason::Reason;
use crate::transaction::{ClientTransaction, Kind};
use crate::uri::Uri;

/// Requests may have gone out since a leg was saved. Gaps in CSeq are no error, so this many are skipped.
const CSEQ_GAP: u32 = 10_000;

/// What must outlive a crash so that a call of ours can be ended afterwards; see [`Endpoint::end_saved`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Their tag; none before an INVITE of ours is answered.
    pub remote_tag: Option<String>,
    /// Our From value, without its tag.
    pub local_uri: String,
    /// Their To value, without its tag.
    pub remote_uri: String,
    /// The URI of their Contact; that of the INVITE while it is not answered.
    pub remote_target: String,
    /// Route values, next hop first.
    pub route: Vec<String>,
    /// The CSeq number of our last request.
    pub cseq: u32,
    /// The branch of an INVITE without final answer.
    pub branch: Option<String>,
    /// The Request-URI of the next request.
    pub request_uri: String,
    /// Where it goes. Another driver gives out other [`PeerName`](crate::PeerName)s: what is stored is the name.
    pub path: Path,
}

/// An INVITE of an earlier endpoint that is being cancelled.
pub struct Orphan {
    pub call_id: String,
    pub auth: Auth,
    pub reason: Option<Reason>,
}

impl Endpoint {
    /// What it takes to end this leg after a crash. `None` for a leg that is gone, and for an incoming one that
    /// was not answered. It changes with [`Event::Trying`], [`Event::Ringing`] (after a challenge the INVITE is
    /// another), [`Event::Answered`], and when the other side moves ([`Event::Offer`]).
    pub fn save(&self, leg: LegId) -> Option<Saved> {
        let leg = self.legs.get(leg)?;
        match &leg.state {
            State::Incoming(_) => None,
            State::Calling(calling) => {
                let invite = &calling.invite;
                // Its size may have made it take TCP.
                let sent = self.clients.get(&calling.transaction).map(|client| client.transaction.path());
                Some(Saved {
                    call_id: leg.call_id.clone(),
                    local_tag: tag_text(leg.tag),
                    remote_tag: None,
                    local_uri: dialog::caller(invite.from_display.as_deref(), &invite.from_uri),
                    remote_uri: format!("<{}>", invite.to_uri),
                    remote_target: invite.request_uri.clone(),
                    route: invite.route.clone(),
                    cseq: calling.cseq,
                    branch: Some(calling.transaction.branch()),
                    request_uri: invite.request_uri.clone(),
                    path: sent.unwrap_or(invite.path),
                })
            }
            State::Established(call) => {
                let dialog = &call.usage.dialog;
                Some(Saved {
                    call_id: leg.call_id.clone(),
                    local_tag: tag_text(leg.tag),
                    remote_tag: dialog.remote_tag.clone(),
                    local_uri: without_tag(&dialog.local),
                    remote_uri: without_tag(&dialog.remote),
                    remote_target: dialog.remote_target.clone(),
                    route: dialog.route_set.clone(),
                    cseq: dialog.local_cseq,
                    branch: None,
                    request_uri: dialog.request_uri().to_owned(),
                    path: dialog.path,
                })
            }
        }
    }

    /// Ends what an endpoint that is no more had begun: sends BYE where it was answered and CANCEL where not; a 2xx
    /// that comes after all is ACKed and hung up. [`Event::SavedEnded`] follows, after 64 T1 at the latest for
    /// each request.
    ///
    /// # Errors
    /// A field cannot be read, or there are too many transactions. Nothing was sent.
    pub fn end_saved(
        &mut self,
        saved: Saved,
        credentials: Option<Credentials>,
        reason: Option<Reason>,
        now: Instant,
    ) -> Result<(), Error> {
        let dialog = read(&saved)?;
        if self.is_full() {
            return Err(Error::TooManyTransactions);
        }
        let auth = Auth::new(credentials);
        let Some(branch) = &saved.branch else {
            let farewell = Farewell { dialog, auth, reason, saved: true };
            self.send_bye(farewell, now);
            return Ok(());
        };
        let key = ClientKey::parse(branch, false).ok_or(Error::BadSaved("branch"))?;
        let path = dialog.path;
        // The INVITE as far as its CANCEL, its ACK and the dialog of a late 2xx need it.
        let invite = Builder::request("INVITE", &saved.request_uri)
            .header("Via", &dialog::via(&path, branch))
            .header("Max-Forwards", "70")
            .headers("Route", &saved.route)
            .header("From", &dialog.local)
            .header("To", &saved.remote_uri)
            .header("Call-ID", &saved.call_id)
            .header("CSeq", &format!("{} INVITE", saved.cseq))
            .header("Contact", &dialog.contact)
            .end();
        let mut transaction = ClientTransaction::new(Kind::Invite, path, invite, &self.timing, now);
        transaction.on_response(100, &self.timing, now);
        let orphan = Orphan { call_id: saved.call_id, auth, reason: reason.clone() };
        let purpose = Purpose::Invite {
            leg: LegId::NONE,
            acks: Vec::new(),
            lost: Vec::new(),
            orphan: Some(Box::new(orphan)),
            pinned: false,
        };
        self.clients.insert(key, Client { transaction, purpose, over_udp: None });
        self.cancel_invite(key, reason, now);
        Ok(())
    }

    /// Says that a saved call is over, if this was one.
    pub(super) fn saved_ended(&mut self, call_id: Option<String>) {
        if let Some(call_id) = call_id {
            self.emit(Event::SavedEnded { call_id });
        }
    }

    /// A random branch.
    pub(super) fn new_key(&mut self) -> ClientKey {
        ClientKey { branch: self.rng.next_u64(), cancel: false }
    }
}

/// The dialog as it was saved.
fn read(saved: &Saved) -> Result<Dialog, Error> {
    let Saved { call_id, local_tag, remote_tag, local_uri, remote_uri, remote_target, route, .. } = saved;
    check_text("call_id", [call_id.as_str()])?;
    check_text("remote_tag", remote_tag.as_deref())?;
    check_text("route", route.iter().map(String::as_str))?;
    for (field, value) in [("local_uri", local_uri), ("remote_uri", remote_uri)] {
        check_text(field, [value.as_str()])?;
        NameAddr::parse(value).map_err(|_| Error::BadSaved(field))?;
    }
    for (field, value) in [("remote_target", remote_target), ("request_uri", &saved.request_uri)] {
        check_text(field, [value.as_str()])?;
        Uri::parse(value).map_err(|_| Error::BadSaved(field))?;
    }
    parse_tag(local_tag).ok_or(Error::BadSaved("local_tag"))?;
    let tag = |tag: &str| format!(";tag={tag}");
    Ok(Dialog {
        call_id: call_id.clone(),
        is_ours: true,
        local: format!("{local_uri}{}", tag(local_tag)),
        remote: format!("{remote_uri}{}", remote_tag.as_deref().map(tag).unwrap_or_default()),
        remote_tag: remote_tag.clone(),
        local_cseq: saved.cseq.saturating_add(CSEQ_GAP),
        remote_cseq: None,
        route_set: route.clone(),
        remote_target: remote_target.clone(),
        contact: dialog::contact(None, &saved.path),
        path: saved.path,
        pinned: false,
    })
}

/// A From or To value without its tag.
fn without_tag(value: &str) -> String {
    let Ok(address) = NameAddr::parse(value) else { return value.to_owned() };
    let display = address.display.map(|display| format!("{display} ")).unwrap_or_default();
    let params = address.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("tag"));
    params.fold(format!("{display}<{}>", address.uri), |text, (name, value)| match value {
        Some(value) => format!("{text};{name}={value}"),
        None => format!("{text};{name}"),
    })
}
