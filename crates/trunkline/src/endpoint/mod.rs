//! SIP sockets: UDP, TCP, TLS and WebSocket, driving a [`sip::Endpoint`] inside somebody's loop.
//!
//! Requests and responses to a path whose connection is open go over it. Where it is not, one is opened, except to
//! a path that only the other side can open: WebSockets, TLS without a name to verify, and TCP to where a closed
//! connection came from. There [`Input::SendFailed`] says at once that the connection is gone.

mod certificate;
mod connection;
mod limits;
mod listener;
mod routes;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod web;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;
use sip::shield::{Peek, Verdict};
use sip::{Input, Output, Path, PeerName, Shield, Transport};

pub use certificate::{CertificateError, Certificates, Files, own_names, self_signed};
use connection::{Piece, Reading};
pub use limits::Limits;
use listener::Listener;
pub use routes::Routes;
use stream::{Heard, Streams};
pub use stream::{Stats, explain};
use tls::PeerNames;
pub use tls::Trust;

use crate::insight::Tap;
use crate::switch::Target;

/// Ports that are tried where the system chooses.
const PORTS: u32 = 16;
/// Datagrams read before outputs are looked at, so that a flood cannot starve the timers.
const BATCH: usize = 128;
/// Bytes of datagrams that may wait in the kernel, either way; it takes them as a wish.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// The first token of connections, after those of the UDP socket and the listeners.
const STREAMS: usize = 3;

/// Where we listen and what we tell peers about it.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// The address all sockets are bound to.
    pub address: SocketAddr,
    /// The address to advertise to peers that are not on this machine.
    pub external: Option<IpAddr>,
    /// Whether TCP is listened on beside UDP.
    pub tcp: bool,
}

/// What is listened on beside [`Listen`], and what of it is let in. `Default` is no TLS, every page, and the default
/// limits.
#[derive(Default)]
pub struct Doors {
    /// TLS: a socket that listens already, and the certificate that is shown there.
    pub tls: Option<(TcpListener, Certificates)>,
    /// Origins of pages that may open a WebSocket, such as `https://phone.example.com`; empty: all.
    pub origins: Vec<String>,
    /// Connections at once.
    pub limits: Limits,
}

/// A WebSocket that the HTTP listener upgraded: the request was accepted and answered.
pub struct Upgraded {
    /// The connection, non-blocking.
    pub stream: std::net::TcpStream,
    /// The other side.
    pub remote: SocketAddr,
    /// What came after the request already.
    pub early: Bytes,
}

/// The sockets and the sans-IO endpoint behind them. Owned by one loop; registers the tokens
/// `first_token..`.
pub struct Endpoint {
    sip: sip::Endpoint,
    udp: UdpSocket,
    tcp: Option<Listener>,
    tls: Option<(Listener, Certificates)>,
    streams: Streams,
    origins: Vec<String>,
    names: PeerNames,
    trust: Trust,
    routes: Routes,
    first_token: usize,
    buffer: Vec<u8>,
    backlog: bool,
    /// Connections that were up and are over.
    closed: VecDeque<Path>,
    /// Who is listened to; none: everybody.
    shield: Option<Box<Shield>>,
    /// Keeps what passes, for the calls.
    tap: Option<Tap>,
}

/// Where what arrives goes in.
struct Inlet<'a> {
    sip: &'a mut sip::Endpoint,
    shield: Option<&'a mut Shield>,
    tap: Option<&'a mut Tap>,
    now: Instant,
}

impl<'a> Inlet<'a> {
    fn new(
        sip: &'a mut sip::Endpoint,
        shield: &'a mut Option<Box<Shield>>,
        tap: &'a mut Option<Tap>,
        now: Instant,
    ) -> Self {
        Self { sip, shield: shield.as_deref_mut(), tap: tap.as_mut(), now }
    }

    /// Hands what arrived to the core, past the tap.
    fn take(&mut self, input: Input<'_>) {
        if let Some(tap) = &mut self.tap {
            tap.input(&input, self.now);
        }
        self.sip.handle_input(input, self.now);
    }

    /// Takes one message, if its sender is listened to.
    fn take_message(&mut self, path: Path, bytes: &[u8], input: Input<'_>) {
        let is_admitted = self
            .shield
            .as_deref_mut()
            .is_none_or(|shield| shield.admit(&Peek::of(bytes, &path), self.now) == Verdict::Pass);
        if is_admitted {
            self.take(input);
        }
    }

    /// Takes what came over a connection; tells how far a stream has come.
    fn take_piece(&mut self, path: Path, piece: Piece<'_>) -> Option<sip::Progress> {
        match piece {
            Piece::Stream(bytes) => {
                self.take(Input::Stream { path, bytes });
                self.sip.progress(&path)
            }
            Piece::Message(bytes) => {
                self.take_message(path, bytes, Input::Message { path, bytes });
                None
            }
        }
    }
}

impl Endpoint {
    /// Binds the sockets and registers them. An address in use is an `io::Error` of that kind. `trust` says whose
    /// certificates are believed.
    pub fn bind(
        listen: Listen,
        config: sip::Config,
        trust: Trust,
        seed: [u8; 32],
        registry: Registry,
        first_token: usize,
    ) -> io::Result<Self> {
        Self::bind_with(listen, Doors::default(), config, trust, seed, registry, first_token)
    }

    /// As [`Self::bind`], with more to listen on.
    pub fn bind_with(
        listen: Listen,
        doors: Doors,
        config: sip::Config,
        trust: Trust,
        seed: [u8; 32],
        registry: Registry,
        first_token: usize,
    ) -> io::Result<Self> {
        let (mut udp, tcp) = bind(&listen)?;
        // What the kernel does not grant only makes bursts more likely to be lost; retransmission covers that.
        let _ = sockopt::set_socket_recv_buffer_size(&udp, SOCKET_BUFFER);
        let _ = sockopt::set_socket_send_buffer_size(&udp, SOCKET_BUFFER);
        let bound = udp.local_addr()?;
        registry.register(&mut udp, Token(first_token), Interest::READABLE)?;
        let tcp = match tcp {
            Some(tcp) => Some(Listener::new(tcp, &registry, Token(first_token + 1))?),
            None => None,
        };
        let tls = match doors.tls {
            Some((socket, certificates)) => {
                Some((Listener::new(socket, &registry, Token(first_token + 2))?, certificates))
            }
            None => None,
        };
        let secure = tls.as_ref().map(|(listener, _)| listener.address().port());
        let config = sip::Config { max_streams: doors.limits.connections, ..config };
        Ok(Self {
            sip: sip::Endpoint::new(config, seed),
            udp,
            tcp,
            tls,
            streams: Streams::new(registry, doors.limits, first_token + STREAMS),
            origins: doors.origins,
            names: PeerNames::default(),
            trust,
            routes: Routes::new(bound, secure, listen.external),
            first_token,
            buffer: vec![0; 65_536],
            backlog: false,
            closed: VecDeque::new(),
            shield: None,
            tap: None,
        })
    }

    /// The address the sockets are bound to.
    pub fn address(&self) -> SocketAddr {
        self.routes.bound()
    }

    /// Where TCP is listened on.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(Listener::address)
    }

    /// Where TLS is listened on.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(listener, _)| listener.address())
    }

    /// The connections there are, and were.
    pub fn stats(&self) -> Stats {
        self.streams.stats()
    }

    /// The DNS names and URIs in the certificate that the other side of an accepted TLS connection showed and that one
    /// of our authorities signed. It had no need to show one.
    pub fn identity(&self, path: &Path) -> Option<&[String]> {
        self.streams.names(path)
    }

    /// The path to a target, which can be connected to: carries the address the kernel picks towards it, or the external
    /// one, and for TLS whom its certificate must name.
    pub fn path(&mut self, target: &Target) -> io::Result<Path> {
        let peer = self.peer(target)?;
        let local = self.routes.local(target.remote, target.transport)?;
        self.streams.can_be_reached(&target.remote);
        Ok(Path { transport: target.transport, local, remote: target.remote, peer })
    }

    fn peer(&mut self, target: &Target) -> io::Result<PeerName> {
        match (target.transport, &target.server_name) {
            (Transport::Tls, Some(name)) => self.names.number(name, &self.streams),
            (Transport::Tls, None) => Err(io::Error::other("TLS needs the name of the server")),
            (Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss, _) => Ok(PeerName::NONE),
        }
    }

    /// A path in words that another process can read: transport, our address, theirs, and the name TLS verified, as
    /// in `tls 192.0.2.1:5060 192.0.2.9:5061 sip.example.com`.
    pub fn write_path(&self, path: &Path) -> String {
        let name = self.names.name(path.peer).map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {} {}{name}", path.transport.param(), path.local, path.remote)
    }

    /// Reads what [`Self::write_path`] wrote.
    pub fn read_path(&mut self, text: &str) -> io::Result<Path> {
        let unreadable = || io::Error::other(format!("{text:?} is no path"));
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or_else(unreadable);
        let transport = Transport::of_param(word()?).ok_or_else(unreadable)?;
        let mut address = || word()?.parse::<SocketAddr>().map_err(|_| unreadable());
        let (local, remote) = (address()?, address()?);
        let server_name = words.next().map(Into::into);
        let peer = self.peer(&Target { transport, remote, server_name })?;
        Ok(Path { transport, local, remote, peer })
    }

    /// A connection that was up and is over.
    pub fn poll_closed(&mut self) -> Option<Path> {
        self.closed.pop_front()
    }

    /// From now on listens to those alone whom `shield` admits.
    pub fn guard(&mut self, shield: Shield) {
        self.shield = Some(Box::new(shield));
    }

    /// Who is listened to, where that is not everybody.
    pub fn shield(&mut self) -> Option<&mut Shield> {
        self.shield.as_deref_mut()
    }

    /// From now on what passes is kept for the calls.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// What is kept of the messages that pass, if anything is.
    pub fn tap(&mut self) -> Option<&mut Tap> {
        self.tap.as_mut()
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
        self.backlog || self.streams.has_unread() || self.listeners().any(Listener::is_waiting)
    }

    fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.tcp.iter().chain(self.tls.iter().map(|(listener, _)| listener))
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let again = self.listeners().filter_map(Listener::again);
        let tap = self.tap.as_ref().and_then(Tap::poll_timeout);
        let own = [self.sip.poll_timeout(), self.streams.poll_timeout(), tap];
        own.into_iter().flatten().chain(again).min()
    }

    /// Lets due timers fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.streams.handle_timeout(now);
        if self.listeners().any(|listener| listener.again().is_some_and(|at| at <= now)) {
            self.accept(now);
        }
        self.told(now);
        self.sip.handle_timeout(now);
        if let Some(tap) = &mut self.tap {
            tap.handle_timeout(now);
        }
    }

    /// Reads what a ready socket holds.
    pub fn handle_ready(&mut self, ready: &Readiness, now: Instant) {
        match ready.token().0 - self.first_token {
            0 => self.backlog = true,
            1 | 2 => self.accept(now),
            _ => {
                let mut inlet = Inlet::new(&mut self.sip, &mut self.shield, &mut self.tap, now);
                let received = &mut |path, piece: Piece<'_>| inlet.take_piece(path, piece);
                let reading = &mut Reading { origins: &self.origins, received, now };
                self.streams.handle_ready(ready, &mut self.buffer, reading);
            }
        }
        self.told(now);
    }

    /// Goes on with what waits although no readiness will announce it: datagrams, connections, and what they hold;
    /// of each a batch, so that a flood cannot starve the timers.
    pub fn read_on(&mut self, now: Instant) {
        self.read_datagrams_if(now, |_| true);
        if self.listeners().any(Listener::is_waiting) {
            self.accept(now);
        }
        let mut inlet = Inlet::new(&mut self.sip, &mut self.shield, &mut self.tap, now);
        let received = &mut |path, piece: Piece<'_>| inlet.take_piece(path, piece);
        let reading = &mut Reading { origins: &self.origins, received, now };
        self.streams.read_on(&mut self.buffer, reading);
        self.told(now);
    }

    /// Takes a WebSocket from the HTTP listener; one too many is closed.
    pub fn adopt_web(&mut self, upgraded: Upgraded, now: Instant) -> io::Result<()> {
        let Upgraded { stream, remote, early } = upgraded;
        if !self.streams.admits(remote) {
            return Err(io::Error::other("too many SIP connections"));
        }
        stream.set_nonblocking(true)?;
        let path = Path::new(Transport::Ws, self.routes.local(remote, Transport::Ws)?, remote);
        let mut inlet = Inlet::new(&mut self.sip, &mut self.shield, &mut self.tap, now);
        let received = &mut |path, piece: Piece<'_>| inlet.take_piece(path, piece);
        let reading = &mut Reading { origins: &self.origins, received, now };
        let adopted = self.streams.adopt_web(TcpStream::from_std(stream), path, &early, reading);
        self.told(now);
        adopted
    }

    /// Reads datagrams, at most a batch of them; what `admits` refuses is as if it had never come.
    pub fn read_datagrams_if(&mut self, now: Instant, mut admits: impl FnMut(&[u8]) -> bool) {
        for _ in 0..BATCH {
            match self.udp.recv_from(&mut self.buffer) {
                Ok((n, remote)) => {
                    let Ok(local) = self.routes.local(remote, Transport::Udp) else { continue };
                    let path = Path::new(Transport::Udp, local, remote);
                    let bytes = self.buffer.get(..n).unwrap_or_default();
                    if admits(bytes) {
                        let mut inlet = Inlet::new(&mut self.sip, &mut self.shield, &mut self.tap, now);
                        inlet.take_message(path, bytes, Input::Datagram { path, bytes });
                    }
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
                Output::Close { path } => self.streams.close(&path),
                Output::Send { path, bytes } => {
                    if let Some(tap) = &mut self.tap {
                        tap.sent(&path, &bytes, now);
                    }
                    let sent = match path.transport {
                        Transport::Udp => self.send_datagram(&bytes, path.remote),
                        _ => self.send_stream(path, &bytes, now),
                    };
                    if let Err(error) = sent {
                        tracing::debug!(%error, transport = ?path.transport, "a SIP message could not be sent");
                        let reason = error.to_string();
                        self.sip.handle_input(Input::SendFailed { path, reason: &reason }, now);
                    }
                }
            }
            self.told(now);
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

    fn send_stream(&mut self, path: Path, bytes: &Bytes, now: Instant) -> io::Result<()> {
        if !self.streams.is_open(&path) {
            if !self.streams.can_connect(&path) {
                return Err(io::Error::other("the phone's connection is gone"));
            }
            let tls = match path.transport {
                Transport::Tls => Some(self.trust.connect(self.names.name(path.peer)?)?),
                Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => None,
            };
            self.streams.connect(path, tls, now)?;
        }
        self.streams.send(&path, bytes, now)
    }

    /// Takes who waits, at most a batch of them. Where there are too many already, the connection is closed with nothing
    /// done for it.
    fn accept(&mut self, now: Instant) {
        let Self { tcp, tls, streams, routes, shield, .. } = self;
        if let Some(listener) = tcp {
            listener.accept(now, |stream, remote| {
                let path = Path::new(Transport::Tcp, routes.local(remote, Transport::Tcp)?, remote);
                match streams.admits(remote) && may_connect(shield, &path, now) {
                    true => streams.adopt(stream, path, None, now),
                    false => Ok(()),
                }
            });
        }
        if let Some((listener, certificates)) = tls {
            listener.accept(now, |stream, remote| {
                let path = Path::new(Transport::Tls, routes.local(remote, Transport::Tls)?, remote);
                if !streams.admits(remote) || !may_connect(shield, &path, now) {
                    return Ok(());
                }
                let server = Some(certificates.current(now));
                streams.adopt(stream, path, server, now)
            });
        }
    }

    /// Hands on what became of connections.
    fn told(&mut self, now: Instant) {
        while let Some(heard) = self.streams.poll() {
            let input = match &heard {
                Heard::Closed(path) => Input::Closed { path: *path },
                Heard::Failed(path, reason) => Input::SendFailed { path: *path, reason },
            };
            Inlet::new(&mut self.sip, &mut self.shield, &mut self.tap, now).take(input);
            if let Heard::Closed(path) = heard {
                self.closed.push_back(path);
            }
        }
    }
}

/// UDP and TCP at one port. Where the system chooses it, what it gave for UDP may be taken for TCP: then another is asked
/// for.
fn bind(listen: &Listen) -> io::Result<(UdpSocket, Option<TcpListener>)> {
    let mut tries = if listen.address.port() == 0 { PORTS } else { 1 };
    loop {
        tries -= 1;
        let udp = UdpSocket::bind(listen.address)?;
        if !listen.tcp {
            return Ok((udp, None));
        }
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, Some(tcp))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether somebody may connect: asked before a handshake, which costs more than any message.
fn may_connect(shield: &mut Option<Box<Shield>>, path: &Path, now: Instant) -> bool {
    let Some(shield) = shield else { return true };
    shield.admit(&Peek::connection(path), now) == Verdict::Pass
}
