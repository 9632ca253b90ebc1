use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

use super::auth::Auth;
use super::config::{Reliable, SessionTimer};
use super::reply::Reply;
use super::transactions::{ClientKey, ServerId};
use crate::Path;
use crate::dialog::Dialog;
use crate::digest::Credentials;
use crate::reason::Reason;
use crate::timing::Timing;

/// Names a leg. An id whose leg is gone stays harmless: verbs on it do nothing or return an error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId {
    key: usize,
    generation: u64,
}

/// An INVITE to be sent.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where it goes.
    pub path: Path,
    /// The Request-URI, such as `sip:+12025550123@sip.example.com`.
    pub request_uri: String,
    /// The display name of From, unquoted.
    pub from_display: Option<String>,
    /// The URI of From.
    pub from_uri: String,
    /// The URI of To.
    pub to_uri: String,
    /// The user part of Contact.
    pub contact_user: Option<String>,
    /// Route values, such as `<sip:proxy.example.com;lr>`. They set the header only; `path` says where it goes.
    pub route: Vec<String>,
    /// Further header fields. Those the stack writes itself are refused.
    pub headers: Vec<(String, String)>,
    /// The SDP offer. Without one a callee would offer, which an ACK of ours does not answer.
    pub body: Vec<u8>,
    /// Answers a 401 or 407.
    pub credentials: Option<Credentials>,
    /// Asks for a session timer (RFC 4028). Without one, what the other side asks for is still done.
    pub session_timer: Option<SessionTimer>,
    /// Whether 18x are to be acknowledged (RFC 3262).
    pub reliable: Reliable,
}

impl Invite {
    /// An INVITE with the fields it cannot do without: no offer, no credentials, no session timer, reliable 18x
    /// understood.
    pub fn new(
        path: Path,
        request_uri: impl Into<String>,
        from_uri: impl Into<String>,
        to_uri: impl Into<String>,
    ) -> Self {
        Self {
            path,
            request_uri: request_uri.into(),
            from_display: None,
            from_uri: from_uri.into(),
            to_uri: to_uri.into(),
            contact_user: None,
            route: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            credentials: None,
            session_timer: None,
            reliable: Reliable::Supported,
        }
    }
}

/// One call as one side sees it.
pub struct Leg {
    pub call_id: String,
    /// Our tag in its dialog.
    pub tag: u64,
    pub state: State,
}

pub enum State {
    /// Our INVITE has no final answer yet.
    Calling(Box<Calling>),
    /// Their INVITE has no final answer yet.
    Incoming(Box<Incoming>),
    /// The INVITE was answered with 2xx.
    Established(Box<Established>),
}

pub struct Calling {
    pub invite: Invite,
    pub cseq: u32,
    /// The INVITE on its way, of perhaps several.
    pub transaction: ClientKey,
    pub auth: Auth,
    pub cancel: Cancel,
    /// Whether any response came to the INVITE on its way: only then may a CANCEL follow.
    pub heard: bool,
    /// Whether any 101 to 199 came.
    pub provisional: bool,
    pub challenged: bool,
    /// What the transport said when it could not carry the INVITE.
    pub trouble: String,
}

pub enum Cancel {
    No,
    /// As soon as there is a provisional response.
    Wanted(Option<Reason>),
    Sent,
}

pub struct Incoming {
    pub server: ServerId,
    pub reply: Reply,
    pub dialog: Dialog,
    /// The INVITE's, which its ACK will repeat.
    pub cseq: u32,
}

pub struct Established {
    pub dialog: Dialog,
    pub auth: Auth,
    /// Our 2xx to their INVITE, until it is ACKed.
    pub unacked: Option<Unacked>,
    /// Their re-INVITE or UPDATE, until it is answered.
    pub offer: Option<Offer>,
    /// A hang-up that waits for an ACK (RFC 3261 section 15).
    pub hang_up: Option<Option<Reason>>,
}

impl Established {
    pub fn new(dialog: Dialog, auth: Auth) -> Self {
        Self { dialog, auth, unacked: None, offer: None, hang_up: None }
    }
}

/// A 2xx that is sent until it is ACKed (RFC 3261 section 13.3.1.4).
pub struct Unacked {
    pub path: Path,
    pub bytes: Bytes,
    cseq: u32,
    interval: Duration,
    retransmit_at: Instant,
    gives_up_at: Instant,
}

impl Unacked {
    pub fn new(path: Path, bytes: Bytes, cseq: u32, timing: &Timing, now: Instant) -> Self {
        let (retransmit_at, gives_up_at) = (now + timing.t1, now + timing.lifetime());
        Self { path, bytes, cseq, interval: timing.t1, retransmit_at, gives_up_at }
    }

    /// Whether an ACK with this CSeq is for it.
    pub fn is_acked_by(&self, cseq: u32) -> bool {
        self.cseq == cseq
    }

    pub fn is_given_up(&self, now: Instant) -> bool {
        self.gives_up_at <= now
    }

    /// Whether to send it again now.
    pub fn is_due(&mut self, timing: &Timing, now: Instant) -> bool {
        let due = self.retransmit_at <= now;
        if due {
            self.interval = timing.next_interval(self.interval);
            self.retransmit_at = now + self.interval;
        }
        due
    }

    pub fn deadline(&self) -> Instant {
        self.retransmit_at.min(self.gives_up_at)
    }
}

/// A re-INVITE or UPDATE that waits for the user.
pub struct Offer {
    pub server: ServerId,
    pub reply: Reply,
    /// The CSeq of a re-INVITE, whose answer is to be ACKed; none for UPDATE.
    pub invite_cseq: Option<u32>,
    /// The other side's new target, which counts once the offer is accepted.
    pub target: Option<String>,
}

/// The legs by id and by their tag in the dialog.
#[derive(Default)]
pub struct Legs {
    slab: Slab<(u64, Leg)>,
    by_tag: BTreeMap<u64, LegId>,
    generation: u64,
}

impl Legs {
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Adds a leg whose tag is `tag`.
    pub fn insert(&mut self, call_id: String, tag: u64, state: State) -> LegId {
        self.generation += 1;
        let key = self.slab.insert((self.generation, Leg { call_id, state, tag }));
        let id = LegId { key, generation: self.generation };
        self.by_tag.insert(tag, id);
        id
    }

    pub fn get(&self, id: LegId) -> Option<&Leg> {
        self.slab.get(id.key).filter(|(generation, _)| *generation == id.generation).map(|(_, leg)| leg)
    }

    pub fn get_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.slab.get_mut(id.key).filter(|(generation, _)| *generation == id.generation).map(|(_, leg)| leg)
    }

    pub fn remove(&mut self, id: LegId) -> Option<Leg> {
        self.get(id)?;
        let (_, leg) = self.slab.try_remove(id.key)?;
        self.by_tag.remove(&leg.tag);
        Some(leg)
    }

    /// The leg that gave out `tag`.
    pub fn find(&self, tag: &str) -> Option<LegId> {
        let tag = u64::from_str_radix(tag, 16).ok().filter(|_| tag.len() == 16)?;
        self.by_tag.get(&tag).copied()
    }
}

/// A tag as it stands in From and To.
pub fn tag_text(tag: u64) -> String {
    format!("{tag:016x}")
}
