use std::collections::HashMap;

use bytes::Bytes;

use super::LegId;
use super::auth::Auth;
use super::hash::Keyed;
use super::outside::Asked;
use super::saved::Orphan;
use super::within::Request;
use crate::Path;
use crate::dialog::Dialog;
use crate::message::View;
use crate::method::Method;
use crate::reason::Reason;
use crate::transaction::{ClientTransaction, Kind, ServerTransaction};
use crate::via::Via;

/// Names a client transaction: the number its branch was made from, and whether it is the CANCEL, which shares
/// the branch of its INVITE (RFC 3261 section 17.1.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientKey {
    pub branch: u64,
    pub cancel: bool,
}

impl ClientKey {
    /// The transaction a response belongs to. One with two Vias was meant for somebody else
    /// (RFC 3261 section 8.1.3.3).
    pub fn of(response: &View<'_>) -> Option<Self> {
        let mut vias = response.vias();
        let branch = vias.next()?.params.get("branch")?;
        if vias.next().is_some() {
            return None;
        }
        Self::parse(branch, response.cseq()?.method == Method::Cancel)
    }

    /// Reads a branch parameter of ours.
    pub fn parse(branch: &str, cancel: bool) -> Option<Self> {
        let branch = branch.strip_prefix(Via::COOKIE).filter(|branch| branch.len() == 16)?;
        Some(Self { branch: u64::from_str_radix(branch, 16).ok()?, cancel })
    }

    /// The branch parameter.
    pub fn branch(self) -> String {
        format!("{}{:016x}", Via::COOKIE, self.branch)
    }
}

/// A client transaction and what its response is for.
pub struct Client {
    pub transaction: ClientTransaction,
    pub purpose: Purpose,
    /// The same request over UDP, when only its size made it take TCP.
    pub over_udp: Option<Box<(Path, Bytes)>>,
}

pub enum Purpose {
    /// The INVITE of a leg, and the ACK of each 2xx to it.
    Invite {
        leg: LegId,
        acks: Vec<Ack>,
        /// The early dialogs of forks that did not win.
        lost: Vec<Dialog>,
        /// It is the INVITE of an endpoint that is no more.
        orphan: Option<Box<Orphan>>,
        /// The callee is where its path leads, whatever its Contact says.
        pinned: bool,
    },
    /// A re-INVITE in a dialog, which is kept for the ACK.
    Reinvite { leg: LegId, request: Box<Request>, dialog: Box<Dialog>, ack: Option<Ack> },
    /// Any other request in a dialog that goes on.
    Within { leg: LegId, request: Box<Request> },
    /// The response changes nothing: to a CANCEL, or to a BYE that was sent again since.
    Settled,
    /// The leg is gone already; the dialog stays to answer a challenge.
    Bye(Box<Farewell>),
    /// A request outside dialogs, whose user waits for the response.
    Outside(Box<Asked>),
}

/// The ACK of one 2xx; of several when the INVITE was forked.
pub struct Ack {
    pub to_tag: Option<String>,
    pub path: Path,
    pub bytes: Bytes,
}

/// What it takes to send a BYE, perhaps twice.
pub struct Farewell {
    pub dialog: Dialog,
    pub auth: Auth,
    pub reason: Option<Reason>,
    /// Whether an endpoint that is no more had made the call.
    pub saved: bool,
}

/// Names a server transaction within the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub u64);

/// A server transaction and how it is found.
pub struct Server {
    pub transaction: ServerTransaction,
    /// The leg an INVITE is for.
    pub leg: Option<LegId>,
    key: ServerKey,
    merge_key: Option<String>,
}

/// What makes two requests the same (RFC 3261 section 17.2.3): branch, sent-by and method, where ACK and CANCEL
/// count as the INVITE they are for. Without a unique branch, Call-ID, CSeq, tags and Request-URI must do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServerKey(String);

impl ServerKey {
    pub fn new(request: &View<'_>, via: &Via<'_>, method: Method<'_>) -> Self {
        let (sent_by, method) = (via.sent_by.to_ascii_lowercase(), method.as_str());
        Self(match via.unique_branch() {
            Some(branch) => format!("{branch} {sent_by} {method}"),
            None => format!(
                "{sent_by} {method} {} {} {} {}",
                request.call_id().unwrap_or_default(),
                request.cseq().map_or(0, |cseq| cseq.number),
                request.from().and_then(|from| from.tag()).unwrap_or_default(),
                request.request_uri().unwrap_or_default(),
            ),
        })
    }
}

/// The server transactions.
pub struct Servers {
    all: HashMap<ServerId, Server, Keyed>,
    by_key: HashMap<ServerKey, ServerId, Keyed>,
    /// INVITEs outside dialogs by what stays the same when they arrive along two ways.
    by_merge_key: HashMap<String, ServerId, Keyed>,
    issued: u64,
}

/// Call-ID, From tag and CSeq (RFC 3261 section 8.2.2.2), and the Request-URI: a request that was aimed elsewhere
/// on its way and comes back is a spiral, which is a call of its own (section 16.3).
fn merge_key(request: &View<'_>) -> Option<String> {
    let (from, uri) = (request.from()?, request.request_uri()?);
    let tag = from.tag().unwrap_or_default();
    Some(format!("{} {} {tag} {uri}", request.call_id()?, request.cseq()?.number))
}

impl Servers {
    pub fn new(hash: Keyed) -> Self {
        let (all, by_key) = (HashMap::with_hasher(hash), HashMap::with_hasher(hash));
        Self { all, by_key, by_merge_key: HashMap::with_hasher(hash), issued: 0 }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn insert(&mut self, request: &View<'_>, key: ServerKey, transaction: ServerTransaction) -> ServerId {
        self.issued += 1;
        let id = ServerId(self.issued);
        let is_initial =
            transaction.kind() == Kind::Invite && request.to().is_some_and(|to| to.tag().is_none());
        let merge_key = if is_initial { merge_key(request) } else { None };
        self.by_key.insert(key.clone(), id);
        if let Some(merge_key) = merge_key.clone() {
            self.by_merge_key.insert(merge_key, id);
        }
        self.all.insert(id, Server { transaction, leg: None, key, merge_key });
        id
    }

    pub fn find(&self, key: &ServerKey) -> Option<ServerId> {
        self.by_key.get(key).copied()
    }

    /// Whether the same INVITE is here already, having come another way.
    pub fn is_merged(&self, request: &View<'_>) -> bool {
        merge_key(request).is_some_and(|key| self.by_merge_key.contains_key(&key))
    }

    pub fn get_mut(&mut self, id: ServerId) -> Option<&mut Server> {
        self.all.get_mut(&id)
    }

    pub fn remove(&mut self, id: ServerId) {
        let Some(server) = self.all.remove(&id) else { return };
        self.by_key.remove(&server.key);
        if let Some(key) = server.merge_key {
            self.by_merge_key.remove(&key);
        }
        if self.all.is_empty() {
            // Memory goes back after a burst.
            self.all.shrink_to_fit();
            self.by_key.shrink_to_fit();
            self.by_merge_key.shrink_to_fit();
        }
    }
}
