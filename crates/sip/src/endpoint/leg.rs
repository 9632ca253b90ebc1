use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

use super::auth::Auth;
use super::config::{Reliable, SessionTimer};
use super::early::Early;
use super::hash::Keyed;
use super::refer::{Referred, Referring};
use super::reliable::Reliably;
use super::reoffer::Reoffer;
use super::reply::Reply;
use super::session_timer::{Asked, Session};
use super::transactions::{ClientKey, ServerId};
use crate::Path;
use crate::dialog::Dialog;
use crate::digest::Credentials;
use crate::reason::Reason;
use crate::sabotage::Part;
use crate::timing::Timing;

/// Names a leg. An id whose leg is gone stays harmless: verbs on it do nothing or return an error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId {
    key: usize,
    generation: u64,
}

impl LegId {
    /// No leg ever has it.
    pub(super) const NONE: Self = Self { key: usize::MAX, generation: 0 };
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
    /// Whether the callee's place is the flow `path`, as of a phone that registered over it, and not what its Contact
    /// says: every request of the call goes there, and one that comes over another flow is carried out only when it
    /// is [admitted](crate::Endpoint::admit) ([`Event::Stranger`](crate::Event::Stranger)).
    pub guarded: bool,
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
            guarded: false,
        }
    }
}

/// One call as one side sees it.
pub struct Leg {
    pub call_id: String,
    /// Our tag in its dialog.
    pub tag: u64,
    /// Whether its place is a flow, and requests from elsewhere are strangers.
    pub guarded: bool,
    pub auth: Auth,
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
    /// How many went before it.
    pub tries: u8,
    pub cancel: Cancel,
    /// Whether any response came to the INVITE on its way: only then may a CANCEL follow.
    pub heard: bool,
    /// Whether a 100 came to it.
    pub trying: bool,
    /// Whether any 101 to 199 came.
    pub provisional: bool,
    pub challenged: bool,
    /// What the transport said when it could not carry the INVITE.
    pub trouble: String,
    /// Who rings, by tag.
    pub forks: Vec<Early>,
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
    pub usage: Usage,
    /// The INVITE's, which its ACK will repeat.
    pub cseq: u32,
    pub reliably: Reliably,
    /// What the INVITE said of session timers.
    pub asked: Asked,
}

pub struct Established {
    pub usage: Usage,
    /// Our 2xx to their INVITE, until it is ACKed.
    pub unacked: Option<Unacked>,
    /// A hang-up that waits for an ACK (RFC 3261 section 15).
    pub hang_up: Option<Option<Reason>>,
    pub session: Option<Session>,
    /// A reliable 18x that the 2xx overtook: its PRACK may still come.
    pub overtaken: Option<u32>,
    /// A REFER of theirs.
    pub referred: Option<Box<Referred>>,
    /// A REFER of ours.
    pub referring: Option<Box<Referring>>,
}

impl Established {
    pub fn new(usage: Usage) -> Self {
        Self {
            usage,
            unacked: None,
            hang_up: None,
            session: None,
            overtaken: None,
            referred: None,
            referring: None,
        }
    }
}

/// What goes on within one dialog, early or confirmed (RFC 5057 calls it a usage).
pub struct Usage {
    pub dialog: Dialog,
    /// Whether the first offer has its answer for good, so that another may be made.
    pub agreed: bool,
    /// Whether the other side takes UPDATE.
    pub allows_update: bool,
    /// Their re-INVITE, UPDATE or PRACK with an offer, until it is answered.
    pub theirs: Option<Box<Offer>>,
    /// Our re-INVITE or UPDATE, until it is answered.
    pub ours: Option<Box<Reoffer>>,
    /// What we said last of our session, to be said again where a refresh takes a re-INVITE.
    pub described: Bytes,
}

impl Usage {
    pub fn new(dialog: Dialog) -> Self {
        Self {
            dialog,
            agreed: false,
            allows_update: false,
            theirs: None,
            ours: None,
            described: Bytes::new(),
        }
    }
}

impl State {
    /// Each dialog of the leg: several only while forks ring.
    pub fn usages(&mut self) -> impl Iterator<Item = &mut Usage> {
        let (forks, one) = match self {
            Self::Calling(calling) => (Some(calling.forks.iter_mut().map(|fork| &mut fork.usage)), None),
            Self::Incoming(incoming) => (None, Some(&mut incoming.usage)),
            Self::Established(call) => (None, Some(&mut call.usage)),
        };
        forks.into_iter().flatten().chain(one)
    }

    /// The dialog with the other side's `tag`.
    pub fn usage(&mut self, tag: Option<&str>) -> Option<&mut Usage> {
        self.usages().find(|usage| usage.dialog.remote_tag.as_deref() == tag)
    }
}

/// A 2xx that is sent until it is ACKed (RFC 3261 section 13.3.1.4), or a reliable 18x until its PRACK
/// (RFC 3262 section 3).
pub struct Unacked {
    pub path: Path,
    pub bytes: Bytes,
    /// The CSeq of the INVITE, or the RSeq.
    pub number: u32,
    /// Whether it is the first that is acknowledged in its dialog: then there is nothing to mistake it for.
    pub first: bool,
    /// The longest interval; none for an 18x.
    longest: Duration,
    interval: Duration,
    retransmit_at: Instant,
    gives_up_at: Instant,
}

impl Unacked {
    pub fn answer(path: Path, bytes: Bytes, cseq: u32, first: bool, timing: &Timing, now: Instant) -> Self {
        let gives_up_at = timing.given_up(Part::AnswerGivesUp, now);
        Self { longest: timing.t2, first, gives_up_at, ..Self::provisional(path, bytes, cseq, timing, now) }
    }

    pub fn provisional(path: Path, bytes: Bytes, number: u32, timing: &Timing, now: Instant) -> Self {
        let (retransmit_at, gives_up_at) = (now + timing.t1, timing.given_up(Part::ReliableGivesUp, now));
        let (interval, longest) = (timing.t1, timing.lifetime());
        Self { path, bytes, number, first: false, longest, interval, retransmit_at, gives_up_at }
    }

    pub fn is_given_up(&self, now: Instant) -> bool {
        self.gives_up_at <= now
    }

    /// Whether to send it again now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.retransmit_at <= now;
        if due {
            self.interval = (self.interval * 2).min(self.longest);
            self.retransmit_at = now + self.interval;
        }
        due
    }

    pub fn deadline(&self) -> Instant {
        self.retransmit_at.min(self.gives_up_at)
    }
}

/// An offer that waits for the user.
pub struct Offer {
    pub server: ServerId,
    pub reply: Reply,
    pub carrier: Carrier,
    /// The other side's new target, which counts once the offer is accepted.
    pub target: Option<String>,
    pub asked: Asked,
    /// When what cannot wait for long is refused.
    pub answer_by: Option<Instant>,
}

/// What brought an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A re-INVITE with this CSeq, whose answer is to be ACKed.
    Invite(u32),
    Update,
    Prack,
}

/// The legs by id and by their tag in the dialog.
pub struct Legs {
    slab: Slab<(u64, Leg)>,
    by_tag: HashMap<u64, LegId, Keyed>,
    /// Tags of legs that are gone but for the BYE on its way.
    leaving: HashSet<u64, Keyed>,
    generation: u64,
}

impl Legs {
    pub fn new(hash: Keyed) -> Self {
        Self {
            slab: Slab::new(),
            by_tag: HashMap::with_hasher(hash),
            leaving: HashSet::with_hasher(hash),
            generation: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Adds a leg whose tag is `tag`.
    pub fn insert(&mut self, leg: Leg) -> LegId {
        self.generation += 1;
        let tag = leg.tag;
        let key = self.slab.insert((self.generation, leg));
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
        if self.slab.is_empty() {
            // Memory goes back after a burst.
            self.slab.shrink_to_fit();
            self.by_tag.shrink_to_fit();
        }
        Some(leg)
    }

    /// The leg that gave out `tag`.
    pub fn find(&self, tag: &str) -> Option<LegId> {
        self.by_tag.get(&parse_tag(tag)?).copied()
    }

    /// Notes that a BYE with this tag is on its way, or no more.
    pub fn set_leaving(&mut self, tag: Option<u64>, leaving: bool) {
        match tag {
            Some(tag) if leaving => drop(self.leaving.insert(tag)),
            Some(tag) => drop(self.leaving.remove(&tag)),
            None => {}
        }
        if self.leaving.is_empty() {
            self.leaving.shrink_to_fit();
        }
    }

    /// Whether `tag` is of a leg whose BYE is on its way.
    pub fn is_leaving(&self, tag: &str) -> bool {
        parse_tag(tag).is_some_and(|tag| self.leaving.contains(&tag))
    }
}

/// A tag as it stands in From and To.
pub fn tag_text(tag: u64) -> String {
    format!("{tag:016x}")
}

/// The tag of ours that `text` is.
pub fn parse_tag(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16)
}
