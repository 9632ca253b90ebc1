use std::collections::BTreeMap;

use bytes::Bytes;

use super::LegId;
use super::auth::Auth;
use super::outside::Asked;
use crate::Path;
use crate::dialog::Dialog;
use crate::message::View;
use crate::method::Method;
use crate::reason::Reason;
use crate::transaction::{ClientTransaction, Kind, ServerTransaction};
use crate::via::Via;

/// Names a client transaction: the number its branch was made from, and whether it is the CANCEL, which shares
/// the branch of its INVITE (RFC 3261 section 17.1.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientKey {
    pub branch: u64,
    pub cancel: bool,
}

impl ClientKey {
    /// The transaction a response belongs to. One with two Vias was meant for somebody else
    /// (RFC 3261 section 8.1.3.3).
    pub fn of(response: &View<'_>) -> Option<Self> {
        let mut vias = response.vias();
        let branch = vias.next()?.params.get("branch")?.strip_prefix(Via::COOKIE)?;
        if vias.next().is_some() || branch.len() != 16 {
            return None;
        }
        let branch = u64::from_str_radix(branch, 16).ok()?;
        Some(Self { branch, cancel: response.cseq()?.method == Method::Cancel })
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
    Invite { leg: LegId, acks: Vec<Ack> },
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
}

/// Names a server transaction within the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
#[derive(Default)]
pub struct Servers {
    all: BTreeMap<ServerId, Server>,
    by_key: BTreeMap<ServerKey, ServerId>,
    /// INVITEs outside dialogs by what stays the same when they arrive along two ways.
    by_merge_key: BTreeMap<String, ServerId>,
    issued: u64,
}

/// Call-ID, From tag and CSeq (RFC 3261 section 8.2.2.2).
fn merge_key(request: &View<'_>) -> Option<String> {
    let from = request.from()?;
    Some(format!("{} {} {}", request.call_id()?, request.cseq()?.number, from.tag().unwrap_or_default()))
}

impl Servers {
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
    }
}
