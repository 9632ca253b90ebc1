use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::transactions::ClientKey;
use super::{Endpoint, Target};
use crate::transaction::ClientTransaction;
use crate::{Path, Transport};

/// How long a peer that refused TCP is not tried with it again.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Peers remembered for that; the memory starts anew when it is full.
const MAX_PEERS: usize = 1024;

/// Who refused TCP, until when.
pub type UdpOnly = BTreeMap<SocketAddr, Instant>;

impl Endpoint {
    /// What a request is sent over and as, and what is left to try: one that is too long for a datagram goes over TCP
    /// (RFC 3261 section 18.1.1).
    pub(super) fn by_size(
        &self,
        path: Path,
        request: Bytes,
        now: Instant,
    ) -> (Path, Bytes, Option<Box<(Path, Bytes)>>) {
        let is_large = self.config.max_datagram.is_some_and(|max| request.len() > max);
        let is_refused = self.udp_only.get(&path.remote).is_some_and(|until| *until > now);
        if path.transport != Transport::Udp || !is_large || is_refused {
            return (path, request, None);
        }
        match over_tcp(&request) {
            Some(rewritten) => {
                (Path { transport: Transport::Tcp, ..path }, rewritten, Some(Box::new((path, request))))
            }
            None => (path, request, None),
        }
    }

    /// Starts those requests anew over UDP that took TCP for their size alone, and could not be carried.
    pub(super) fn back_to_udp(&mut self, path: Path, now: Instant) {
        let refused = |client: &super::Client| client.transaction.path() == path && client.over_udp.is_some();
        let keys: Vec<ClientKey> =
            self.clients.iter().filter(|(_, client)| refused(client)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(client) = self.clients.get_mut(&key) else { continue };
            let kind = client.transaction.kind();
            let Some((path, request)) =
                client.over_udp.take().filter(|_| client.transaction.is_unanswered()).map(|udp| *udp)
            else {
                continue;
            };
            client.transaction = ClientTransaction::new(kind, path, request.clone(), &self.timing, now);
            if self.udp_only.len() >= MAX_PEERS {
                self.udp_only.clear();
            }
            self.udp_only.insert(path.remote, now + FORGET_AFTER);
            self.timers
                .set(Target::Client(key), self.clients.get(&key).and_then(|c| c.transaction.deadline()));
            self.send(path, request);
        }
    }
}

/// The request with TCP in its topmost Via.
fn over_tcp(request: &[u8]) -> Option<Bytes> {
    const UDP: &[u8] = b"\r\nVia: SIP/2.0/UDP ";
    let at = request.windows(UDP.len()).position(|window| window == UDP)? + UDP.len() - 4;
    let (head, tail) = (request.get(..at)?, request.get(at + 3..)?);
    Some([head, b"TCP", tail].concat().into())
}
