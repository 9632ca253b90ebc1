use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use sip::{Path, PeerName, Transport};
use slab::Slab;

use super::tls;
use crate::timers::Timers;

/// Connections open at once; a further one is refused.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes waiting for a slow peer; beyond, a message is refused.
const MAX_UNSENT: usize = 256 * 1024;
/// How long a connection may take to come about, the TLS handshake included.
const CONNECT: Duration = Duration::from_secs(6);
/// How long a peer that connected to us may say nothing.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// How long nothing may be said on a connection.
const IDLE: Duration = Duration::from_secs(3600);

/// What names a connection: our own address does not.
type Key = (Transport, SocketAddr, PeerName);

/// What became of a connection.
pub enum Heard {
    /// It was up, and is over.
    Closed(Path),
    /// It never came about, or the other side is not whom it should be: nothing was sent. And why.
    Failed(Path, String),
}

/// The connections of one endpoint, within its loop. Each registers the token `first_token` and its own number.
pub struct Streams {
    connections: Slab<Connection>,
    by_key: HashMap<Key, usize>,
    timers: Timers<usize>,
    heard: VecDeque<Heard>,
    registry: Registry,
    first_token: usize,
}

struct Connection {
    stream: TcpStream,
    path: Path,
    tls: Option<Box<ClientConnection>>,
    /// What waits to be sent: for the connection, the handshake, or the peer.
    unsent: Vec<u8>,
    /// Whether TCP is through.
    connected: bool,
}

impl Streams {
    pub fn new(registry: Registry, first_token: usize) -> Self {
        Self {
            connections: Slab::new(),
            by_key: HashMap::new(),
            timers: Timers::new(),
            heard: VecDeque::new(),
            registry,
            first_token,
        }
    }

    pub fn is_open(&self, path: &Path) -> bool {
        self.by_key.contains_key(&key(path))
    }

    /// Whether any connection is to a peer verified by that name.
    pub fn is_in_use(&self, peer: PeerName) -> bool {
        self.connections.iter().any(|(_, connection)| connection.path.peer == peer)
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
        let stream = TcpStream::connect(path.remote)?;
        let tls = tls.map(Box::new);
        let connection = Connection { stream, path, tls, unsent: Vec::new(), connected: false };
        self.insert(connection, now + CONNECT)
    }

    /// Takes a connection that somebody made to us.
    pub fn adopt(&mut self, stream: TcpStream, path: Path, now: Instant) -> io::Result<()> {
        let connection = Connection { stream, path, tls: None, unsent: Vec::new(), connected: true };
        self.insert(connection, now + FIRST_WORD)
    }

    fn insert(&mut self, mut connection: Connection, deadline: Instant) -> io::Result<()> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(io::Error::other("too many SIP connections"));
        }
        let entry = self.connections.vacant_entry();
        let number = entry.key();
        let token = Token(self.first_token + number);
        let _ = connection.stream.set_nodelay(true);
        self.registry.register(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.by_key.insert(key(&connection.path), number);
        entry.insert(connection);
        self.timers.set(number, Some(deadline));
        Ok(())
    }

    /// Sends on an open connection, or keeps the bytes until it is up.
    pub fn send(&mut self, path: &Path, bytes: &[u8], now: Instant) -> io::Result<()> {
        let number = self.by_key.get(&key(path)).copied().ok_or(io::ErrorKind::NotConnected)?;
        let connection = self.connections.get_mut(number).ok_or(io::ErrorKind::NotConnected)?;
        if connection.unsent.len() + bytes.len() > MAX_UNSENT {
            return Err(io::Error::other("the other side reads too slowly"));
        }
        connection.unsent.extend_from_slice(bytes);
        if !connection.is_up() {
            return Ok(());
        }
        self.timers.set(number, Some(now + IDLE));
        connection.flush()
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
            let why = self.connections.get(number).filter(|connection| !connection.is_up()).map(|it| {
                let stage = if it.connected { "TLS" } else { it.path.transport.param() };
                format!("{} did not take the {stage} connection within {CONNECT:?}", it.path.remote)
            });
            self.drop_connection(number, why);
        }
    }

    /// Goes on with a connection: connects, shakes hands, reads and writes as far as possible.
    pub fn handle_ready(
        &mut self,
        ready: &Readiness,
        buffer: &mut [u8],
        now: Instant,
        received: &mut impl FnMut(Path, &[u8]),
    ) {
        let number = ready.token().0 - self.first_token;
        let Some(connection) = self.connections.get_mut(number) else { return };
        let was_up = connection.is_up();
        let mut used = false;
        let outcome = connection.go_on(ready, buffer, &mut |path, bytes| {
            used = true;
            received(path, bytes);
        });
        let is_up = connection.is_up();
        if used || (is_up && !was_up) {
            self.timers.set(number, Some(now + IDLE));
        }
        match outcome {
            Ok(true) => {}
            Ok(false) => {
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
        if let Some(tls) = &mut connection.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut connection.stream);
        }
        let _ = self.registry.deregister(&mut connection.stream);
        self.timers.set(number, None);
        let path = connection.path;
        // Both sides may have connected at once: the newer one stays known.
        if self.by_key.get(&key(&path)) == Some(&number) {
            self.by_key.remove(&key(&path));
        }
        self.heard.push_back(match failed {
            Some(why) => Heard::Failed(path, why),
            None => Heard::Closed(path),
        });
    }
}

impl Connection {
    /// Whether messages can be sent.
    fn is_up(&self) -> bool {
        self.connected && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// False at the end of the stream.
    fn go_on(
        &mut self,
        ready: &Readiness,
        buffer: &mut [u8],
        received: &mut impl FnMut(Path, &[u8]),
    ) -> io::Result<bool> {
        if ready.is_writable() && !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            self.connected = self.stream.peer_addr().is_ok();
        }
        if !self.connected {
            return match self.stream.take_error()? {
                Some(error) => Err(error),
                None => Ok(true),
            };
        }
        self.flush()?;
        if !(ready.is_readable() || ready.is_read_closed()) {
            return Ok(true);
        }
        let goes_on = match self.tls.is_some() {
            true => self.read_tls(buffer, received)?,
            false => self.read_plain(buffer, received)?,
        };
        // What was read may have finished the handshake, or ask for an answer of TLS itself.
        self.flush()?;
        Ok(goes_on)
    }

    fn read_plain(&mut self, buffer: &mut [u8], received: &mut impl FnMut(Path, &[u8])) -> io::Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => received(self.path, buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn read_tls(&mut self, buffer: &mut [u8], received: &mut impl FnMut(Path, &[u8])) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        loop {
            let open = match tls.read_tls(&mut self.stream) {
                Ok(n) => n > 0,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let state = tls.process_new_packets();
            if let Err(error) = state {
                // The other side is to hear why: an alert is waiting.
                let _ = tls.write_tls(&mut self.stream);
                return Err(io::Error::other(error));
            }
            loop {
                match tls.reader().read(buffer) {
                    Ok(0) => return Ok(false),
                    Ok(n) => received(self.path, buffer.get(..n).unwrap_or_default()),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
            if !open {
                return Ok(false);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return write_out(&mut self.stream, &mut self.unsent) };
        if !tls.is_handshaking() && !self.unsent.is_empty() {
            tls.writer().write_all(&self.unsent)?;
            self.unsent.clear();
        }
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn write_out(stream: &mut TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => drop(unsent.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
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
