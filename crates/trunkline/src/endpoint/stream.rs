use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use sip::{Path, PeerName, Transport};
use slab::Slab;

use super::certificate::Server;
use super::connection::{Connection, Reading, Turn};
use super::limits::{Gone, Limits, Sources};
use super::tls;
use crate::timers::Timers;

/// What names a connection: our own address does not.
type Key = (Transport, SocketAddr, PeerName);

/// What became of a connection.
pub enum Heard {
    /// It was up, and is over.
    Closed(Path),
    /// It never came about, or the other side is not whom it should be: nothing was sent. And why.
    Failed(Path, String),
}

/// What the connections of an endpoint are and were. The first four are of this moment, all others only grow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Open over TCP, those that have not said yet what they speak included.
    pub tcp: usize,
    /// Open over TLS, likewise.
    pub tls: usize,
    /// WebSockets.
    pub ws: usize,
    /// WebSockets over TLS.
    pub wss: usize,
    /// Connections made to us and taken.
    pub accepted: u64,
    /// Connections made to us and closed at once: too many.
    pub refused: u64,
    /// TLS handshakes of who connected to us that came to nothing.
    pub handshakes_failed: u64,
}

impl Stats {
    /// How many are open, by transport.
    pub fn open_by_transport(&self) -> [(&'static str, u64); 4] {
        [("tcp", self.tcp), ("tls", self.tls), ("ws", self.ws), ("wss", self.wss)]
            .map(|(transport, count)| (transport, count as u64))
    }

    fn open(&mut self, transport: Transport) -> &mut usize {
        match transport {
            Transport::Udp | Transport::Tcp => &mut self.tcp,
            Transport::Tls => &mut self.tls,
            Transport::Ws => &mut self.ws,
            Transport::Wss => &mut self.wss,
        }
    }
}

/// The connections of one endpoint, within its loop. Each registers the token `first_token` and its own number.
pub struct Streams {
    connections: Slab<Connection>,
    by_key: HashMap<Key, usize>,
    timers: Timers<usize>,
    heard: VecDeque<Heard>,
    /// Connections with more to read, although no readiness will announce it.
    unread: VecDeque<usize>,
    limits: Limits,
    sources: Sources,
    gone: Gone,
    stats: Stats,
    registry: Registry,
    first_token: usize,
}

impl Streams {
    pub fn new(registry: Registry, limits: Limits, first_token: usize) -> Self {
        Self {
            connections: Slab::new(),
            by_key: HashMap::new(),
            timers: Timers::new(),
            heard: VecDeque::new(),
            unread: VecDeque::new(),
            limits,
            sources: Sources::default(),
            gone: Gone::default(),
            stats: Stats::default(),
            registry,
            first_token,
        }
    }

    pub fn is_open(&self, path: &Path) -> bool {
        self.by_key.contains_key(&key(path))
    }

    /// Whether a connection can be made where there is none: not to a browser, and not to where a phone's own
    /// connection came from.
    pub fn can_connect(&self, path: &Path) -> bool {
        match path.transport {
            Transport::Ws | Transport::Wss => false,
            Transport::Tcp => !self.gone.contains(&path.remote),
            Transport::Tls => path.peer != PeerName::NONE,
            Transport::Udp => true,
        }
    }

    /// Notes that an address was named as one to connect to.
    pub fn can_be_reached(&mut self, remote: &SocketAddr) {
        self.gone.remove(remote);
    }

    /// Whether any connection is to a peer verified by that name.
    pub fn is_in_use(&self, peer: PeerName) -> bool {
        self.connections.iter().any(|(_, connection)| connection.path.peer == peer)
    }

    /// The names in the certificate that the other side of an accepted connection showed.
    pub fn names(&self, path: &Path) -> Option<&[String]> {
        let number = self.by_key.get(&key(path))?;
        self.connections.get(*number)?.names.as_deref()
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// What became of a connection since.
    pub fn poll(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Opens a connection; with `tls`, a handshake comes before anything is sent.
    pub fn connect(&mut self, path: Path, tls: Option<ClientConnection>, now: Instant) -> io::Result<()> {
        if self.is_full() {
            return Err(io::Error::other("too many SIP connections"));
        }
        let stream = TcpStream::connect(path.remote)?;
        self.insert(Connection::ours(stream, path, tls, now)).map(drop)
    }

    /// Whether somebody who connects from there is taken; counted where not.
    pub fn admits(&mut self, remote: SocketAddr) -> bool {
        let admitted = !self.is_full() && self.sources.admits(remote, self.limits.per_source);
        self.stats.refused += u64::from(!admitted);
        admitted
    }

    /// Takes a connection that somebody made to us; with `server`, a TLS handshake comes first.
    pub fn adopt(
        &mut self,
        stream: TcpStream,
        path: Path,
        server: Option<Arc<Server>>,
        now: Instant,
    ) -> io::Result<()> {
        self.insert(Connection::theirs(stream, path, server, now)).map(drop)
    }

    /// Takes a WebSocket that was opened elsewhere, with what was read there after the upgrade.
    pub fn adopt_web(
        &mut self,
        stream: TcpStream,
        path: Path,
        early: &[u8],
        reading: &mut Reading<'_, '_>,
    ) -> io::Result<()> {
        let number = self.insert(Connection::web(stream, path, reading.now))?;
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        match connection.take_early(early, reading) {
            Ok(()) => self.arm(number),
            Err(_) => self.drop_connection(number, None),
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= self.limits.connections
    }

    fn insert(&mut self, mut connection: Connection) -> io::Result<usize> {
        let entry = self.connections.vacant_entry();
        let number = entry.key();
        let token = Token(self.first_token + number);
        let _ = connection.stream.set_nodelay(true);
        self.registry.register(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let path = connection.path;
        if connection.accepted {
            self.stats.accepted += 1;
            self.sources.add(path.remote);
            self.gone.remove(&path.remote);
        }
        entry.insert(connection);
        self.by_key.insert(key(&path), number);
        *self.stats.open(path.transport) += 1;
        self.arm(number);
        Ok(number)
    }

    fn arm(&mut self, number: usize) {
        self.timers.set(number, self.connections.get(number).map(Connection::deadline));
    }

    /// Sends on an open connection, or keeps the bytes until it is up.
    pub fn send(&mut self, path: &Path, bytes: &[u8], now: Instant) -> io::Result<()> {
        let number = self.by_key.get(&key(path)).copied().ok_or(io::ErrorKind::NotConnected)?;
        let connection = self.connections.get_mut(number).ok_or(io::ErrorKind::NotConnected)?;
        let sent = connection.send(bytes, now);
        match sent {
            Ok(()) => self.arm(number),
            // Perhaps half of it left: nothing can follow.
            Err(_) => self.drop_connection(number, None),
        }
        sent
    }

    /// Closes the connection on a path, if there is one.
    pub fn close(&mut self, path: &Path) {
        if let Some(number) = self.by_key.get(&key(path)).copied() {
            self.drop_connection(number, None);
        }
    }

    /// Gives up what did not come about, or was not used, in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(number) = self.timers.pop_due(now) {
            let Some(connection) = self.connections.get_mut(number) else { continue };
            if connection.is_up() {
                match connection.handle_timeout(now) {
                    true => self.arm(number),
                    false => self.drop_connection(number, None),
                }
                continue;
            }
            let (remote, stage) = (connection.path.remote, connection.stage());
            let why = format!("{remote} did not take the {stage} connection in time");
            self.drop_connection(number, Some(why));
        }
    }

    /// Goes on with a connection that is ready: connects, shakes hands, reads and writes as far as possible.
    pub fn handle_ready(&mut self, ready: &Readiness, buffer: &mut [u8], reading: &mut Reading<'_, '_>) {
        let number = ready.token().0 - self.first_token;
        let readable = ready.is_readable() || ready.is_read_closed();
        self.go_on(number, ready.is_writable(), readable, buffer, reading);
    }

    /// Whether some connection has more to read.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Reads on where more is to be read, once each.
    pub fn read_on(&mut self, buffer: &mut [u8], reading: &mut Reading<'_, '_>) {
        for number in std::mem::take(&mut self.unread) {
            self.go_on(number, false, true, buffer, reading);
        }
    }

    fn go_on(
        &mut self,
        number: usize,
        writable: bool,
        readable: bool,
        buffer: &mut [u8],
        reading: &mut Reading<'_, '_>,
    ) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        let (was, was_up) = (connection.path, connection.is_up());
        let outcome = connection.go_on(writable, readable, buffer, reading);
        let (is, is_up) = (connection.path, connection.is_up());
        if was != is {
            // It became a WebSocket.
            self.by_key.remove(&key(&was));
            self.by_key.insert(key(&is), number);
            *self.stats.open(was.transport) -= 1;
            *self.stats.open(is.transport) += 1;
        }
        match outcome {
            Ok(turn @ (Turn::Done | Turn::More)) => {
                self.arm(number);
                if turn == Turn::More {
                    self.unread.push_back(number);
                }
            }
            Ok(Turn::Ended) => {
                let early = (!is_up).then(|| "the other side closed the connection".to_owned());
                self.drop_connection(number, early);
            }
            Err(error) => {
                let why = (!was_up).then(|| explain(&error));
                self.drop_connection(number, why);
            }
        }
    }

    /// Forgets a connection and says so: that it failed, where there is a reason, otherwise that it was closed.
    fn drop_connection(&mut self, number: usize, failed: Option<String>) {
        let Some(mut connection) = self.connections.try_remove(number) else { return };
        connection.close();
        let _ = self.registry.deregister(&mut connection.stream);
        self.timers.set(number, None);
        self.unread.retain(|unread| *unread != number);
        let path = connection.path;
        *self.stats.open(path.transport) -= 1;
        if connection.accepted {
            self.sources.remove(path.remote);
            if let Some(why) = &failed {
                self.stats.handshakes_failed += 1;
                tracing::debug!(remote = %path.remote, why, "a TLS handshake came to nothing");
            }
            if path.transport == Transport::Tcp && connection.spoke() {
                self.gone.add(path.remote);
            }
        }
        // Both sides may have connected at once: the newer one stays known, and is not closed.
        let known = self.by_key.get(&key(&path)) == Some(&number);
        if known {
            self.by_key.remove(&key(&path));
        }
        match failed {
            Some(why) if !connection.accepted => self.heard.push_back(Heard::Failed(path, why)),
            _ if known => self.heard.push_back(Heard::Closed(path)),
            _ => {}
        }
    }
}

fn key(path: &Path) -> Key {
    (path.transport, path.remote, path.peer)
}

/// Why a connection did not come about, short enough for a call's cause.
pub fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => tls::explain(error),
        None => match error.kind() {
            io::ErrorKind::ConnectionRefused => "the connection was refused".into(),
            io::ErrorKind::ConnectionReset => "the connection was reset".into(),
            _ => error.to_string(),
        },
    }
}
