//! SIP sockets: UDP and TCP on one address, driving a [`sip::Endpoint`] inside somebody's loop.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use sip::{Input, Output, Path, Transport};
use slab::Slab;

/// Connections open at once; a further one is refused.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes waiting for a slow TCP peer; beyond, the connection is closed.
const MAX_UNSENT: usize = 256 * 1024;
/// Datagrams read before outputs are looked at, so that a flood cannot starve the timers.
const BATCH: usize = 128;
/// Peers whose local address is remembered.
const MAX_ROUTES: usize = 4096;

/// Where we listen and what we tell peers about it.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// The address both sockets are bound to.
    pub address: SocketAddr,
    /// The address to advertise to peers that are not on this machine.
    pub external: Option<IpAddr>,
    /// Whether TCP is listened on beside UDP.
    pub tcp: bool,
}

/// The sockets and the sans-IO endpoint behind them. Owned by one loop; registers the tokens
/// `first_token..`.
pub struct Endpoint {
    sip: sip::Endpoint,
    udp: UdpSocket,
    listener: Option<TcpListener>,
    connections: Slab<Connection>,
    by_remote: HashMap<SocketAddr, usize>,
    routes: Routes,
    registry: Registry,
    first_token: usize,
    buffer: Vec<u8>,
    backlog: bool,
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    unsent: Vec<u8>,
    connected: bool,
}

impl Endpoint {
    /// Binds the sockets and registers them. An address in use is an `io::Error` of that kind.
    pub fn bind(
        listen: Listen,
        config: sip::Config,
        seed: [u8; 32],
        registry: Registry,
        first_token: usize,
    ) -> io::Result<Self> {
        let mut udp = UdpSocket::bind(listen.address)?;
        let bound = udp.local_addr()?;
        registry.register(&mut udp, Token(first_token), Interest::READABLE)?;
        let listener = match listen.tcp {
            true => {
                let mut listener = TcpListener::bind(bound)?;
                registry.register(&mut listener, Token(first_token + 1), Interest::READABLE)?;
                Some(listener)
            }
            false => None,
        };
        Ok(Self {
            sip: sip::Endpoint::new(config, seed),
            udp,
            listener,
            connections: Slab::new(),
            by_remote: HashMap::new(),
            routes: Routes { bound, external: listen.external, known: HashMap::new() },
            registry,
            first_token,
            buffer: vec![0; 65_536],
            backlog: false,
        })
    }

    /// The address the sockets are bound to.
    pub fn address(&self) -> SocketAddr {
        self.routes.bound
    }

    /// The path to `remote`: carries the address the kernel picks towards it, or the external one.
    pub fn path(&mut self, transport: Transport, remote: SocketAddr) -> io::Result<Path> {
        Ok(Path::new(transport, self.routes.local(remote)?, remote))
    }

    /// The protocol core, for its verbs and figures.
    pub fn sip(&mut self) -> &mut sip::Endpoint {
        &mut self.sip
    }

    /// Whether `token` is one of ours.
    pub fn owns(&self, token: Token) -> bool {
        token.0 >= self.first_token
    }

    /// Whether input is still waiting in a socket although no readiness will announce it.
    pub fn has_backlog(&self) -> bool {
        self.backlog
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sip.poll_timeout()
    }

    /// Lets due timers fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.sip.handle_timeout(now);
    }

    /// Reads what a ready socket holds.
    pub fn handle_ready(&mut self, ready: &Readiness, now: Instant) {
        match ready.token().0 - self.first_token {
            0 => self.backlog = true,
            1 => self.accept(),
            n => self.connection_ready(n - 2, ready, now),
        }
    }

    /// Reads datagrams, at most a batch of them.
    pub fn read_datagrams(&mut self, now: Instant) {
        for _ in 0..BATCH {
            match self.udp.recv_from(&mut self.buffer) {
                Ok((n, remote)) => {
                    let Ok(local) = self.routes.local(remote) else { continue };
                    let path = Path::new(Transport::Udp, local, remote);
                    let bytes = self.buffer.get(..n).unwrap_or_default();
                    self.sip.handle_input(Input::Datagram { path, bytes }, now);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.backlog = false;
                    return;
                }
                // An ICMP error of an earlier send: the transaction's own timer tells that story.
                Err(_) => continue,
            }
        }
    }

    /// Sends what the core wants sent and returns its next event.
    pub fn poll_event(&mut self, now: Instant) -> Option<sip::Event> {
        loop {
            match self.sip.poll_output()? {
                Output::Event(event) => return Some(event),
                Output::Close { path } => self.close(path.remote, now),
                Output::Send { path, bytes } => {
                    let sent = match path.transport {
                        Transport::Udp => self.send_datagram(&bytes, path.remote),
                        Transport::Tcp | Transport::Tls => self.send_stream(&bytes, path.remote),
                    };
                    if let Err(error) = sent {
                        tracing::debug!(%error, transport = ?path.transport, "a SIP message could not be sent");
                        self.sip.handle_input(Input::SendFailed { path, reason: &error.to_string() }, now);
                    }
                }
            }
        }
    }

    fn send_datagram(&self, bytes: &Bytes, remote: SocketAddr) -> io::Result<()> {
        match self.udp.send_to(bytes, remote) {
            Ok(_) => Ok(()),
            // A full socket buffer, or the echo of an earlier ICMP error: retransmission covers both.
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) => {
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn send_stream(&mut self, bytes: &Bytes, remote: SocketAddr) -> io::Result<()> {
        let key = match self.by_remote.get(&remote) {
            Some(&key) => key,
            None => self.adopt(TcpStream::connect(remote)?, remote, false)?,
        };
        let connection = self.connections.get_mut(key).ok_or(io::ErrorKind::NotConnected)?;
        if connection.unsent.len() + bytes.len() > MAX_UNSENT {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        connection.unsent.extend_from_slice(bytes);
        match connection.connected {
            true => connection.flush(),
            false => Ok(()),
        }
    }

    fn adopt(&mut self, mut stream: TcpStream, remote: SocketAddr, connected: bool) -> io::Result<usize> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(io::Error::other("too many SIP connections"));
        }
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let token = Token(self.first_token + 2 + key);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        entry.insert(Connection { stream, remote, unsent: Vec::new(), connected });
        self.by_remote.insert(remote, key);
        Ok(key)
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let mut accepted = Vec::new();
        while let Ok(connection) = listener.accept() {
            accepted.push(connection);
        }
        for (stream, remote) in accepted {
            if let Err(error) = self.adopt(stream, remote, true) {
                tracing::warn!(%error, "a SIP connection was refused");
            }
        }
    }

    fn connection_ready(&mut self, key: usize, ready: &Readiness, now: Instant) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let remote = connection.remote;
        if ready.is_writable() {
            let failed = matches!(connection.stream.take_error(), Ok(Some(_)) | Err(_));
            connection.connected = !failed && (connection.connected || connection.stream.peer_addr().is_ok());
            if failed || (connection.connected && connection.flush().is_err()) {
                return self.fail(remote, now);
            }
        }
        if ready.is_readable() || ready.is_read_closed() {
            let Ok(local) = self.routes.local(remote) else { return };
            let path = Path::new(Transport::Tcp, local, remote);
            loop {
                let Some(connection) = self.connections.get_mut(key) else { return };
                match connection.stream.read(&mut self.buffer) {
                    Ok(0) => return self.close(remote, now),
                    Ok(n) => {
                        let bytes = self.buffer.get(..n).unwrap_or_default();
                        self.sip.handle_input(Input::Stream { path, bytes }, now);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) if connection.connected => return self.close(remote, now),
                    Err(_) => return self.fail(remote, now),
                }
            }
        }
    }

    /// A connection that never came about: nothing was sent on it.
    fn fail(&mut self, remote: SocketAddr, now: Instant) {
        if let Some(path) = self.forget(remote) {
            self.sip.handle_input(Input::SendFailed { path, reason: "" }, now);
        }
    }

    fn close(&mut self, remote: SocketAddr, now: Instant) {
        if let Some(path) = self.forget(remote) {
            self.sip.handle_input(Input::Closed { path }, now);
        }
    }

    fn forget(&mut self, remote: SocketAddr) -> Option<Path> {
        let key = self.by_remote.remove(&remote)?;
        let mut connection = self.connections.try_remove(key)?;
        let _ = self.registry.deregister(&mut connection.stream);
        let local = self.routes.local(remote).ok()?;
        Some(Path::new(Transport::Tcp, local, remote))
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Which address of ours a peer sees.
pub struct Routes {
    bound: SocketAddr,
    external: Option<IpAddr>,
    known: HashMap<IpAddr, IpAddr>,
}

impl Routes {
    /// The routes of a socket bound to `bound`.
    pub fn new(bound: SocketAddr, external: Option<IpAddr>) -> Self {
        Self { bound, external, known: HashMap::new() }
    }

    /// The address to advertise towards `remote`: the external one for peers elsewhere, the bound one
    /// where it is definite, else the one the kernel would send from.
    pub fn local(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let ip = match (self.external, self.bound.ip()) {
            (Some(external), _) if !remote.ip().is_loopback() => external,
            (_, bound) if !bound.is_unspecified() => bound,
            _ => match self.known.get(&remote.ip()) {
                Some(&ip) => ip,
                None => {
                    let probe = std::net::UdpSocket::bind(SocketAddr::new(self.bound.ip(), 0))?;
                    probe.connect(remote)?;
                    let ip = probe.local_addr()?.ip();
                    if self.known.len() >= MAX_ROUTES {
                        self.known.clear();
                    }
                    self.known.insert(remote.ip(), ip);
                    ip
                }
            },
        };
        Ok(SocketAddr::new(ip, self.bound.port()))
    }
}
