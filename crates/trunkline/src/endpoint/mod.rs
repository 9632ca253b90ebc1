//! SIP sockets: UDP, TCP and TLS on one address, driving a [`sip::Endpoint`] inside somebody's loop.

mod routes;
mod stream;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use mio::event::Event as Readiness;
use mio::net::{TcpListener, UdpSocket};
use mio::{Interest, Registry, Token};
use sip::{Input, Output, Path, PeerName, Transport};

pub use routes::Routes;
pub use stream::explain;
use stream::{Heard, Streams};
use tls::PeerNames;
pub use tls::Trust;

use crate::insight::Tap;
use crate::switch::Target;

/// Datagrams read before outputs are looked at, so that a flood cannot starve the timers.
const BATCH: usize = 128;

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

/// The sockets and the sans-IO endpoint behind them. Owned by one loop; registers the tokens
/// `first_token..`.
pub struct Endpoint {
    sip: sip::Endpoint,
    udp: UdpSocket,
    listener: Option<TcpListener>,
    streams: Streams,
    names: PeerNames,
    trust: Trust,
    routes: Routes,
    tap: Option<Tap>,
    first_token: usize,
    buffer: Vec<u8>,
    backlog: bool,
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
            streams: Streams::new(registry, first_token + 2),
            names: PeerNames::default(),
            trust,
            routes: Routes::new(bound, listen.external),
            tap: None,
            first_token,
            buffer: vec![0; 65_536],
            backlog: false,
        })
    }

    /// The address the sockets are bound to.
    pub fn address(&self) -> SocketAddr {
        self.routes.bound()
    }

    /// The path to a target: carries the address the kernel picks towards it, or the external one, and for TLS whom
    /// its certificate must name.
    pub fn path(&mut self, target: &Target) -> io::Result<Path> {
        let peer = self.peer(target)?;
        let local = self.routes.local(target.remote)?;
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
        self.backlog
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tap = self.tap.as_ref().and_then(Tap::poll_timeout);
        [self.sip.poll_timeout(), self.streams.poll_timeout(), tap].into_iter().flatten().min()
    }

    /// Lets due timers fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.streams.handle_timeout(now);
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
            1 => self.accept(now),
            _ => self.streams.handle_ready(ready, &mut self.buffer, now, &mut |path, bytes| {
                take(&mut self.sip, &mut self.tap, Input::Stream { path, bytes }, now);
            }),
        }
        self.told(now);
    }

    /// Reads datagrams, at most a batch of them.
    pub fn read_datagrams(&mut self, now: Instant) {
        self.read_datagrams_if(now, |_| true);
    }

    /// As [`Self::read_datagrams`]; what `admits` refuses is as if it had never come.
    pub fn read_datagrams_if(&mut self, now: Instant, mut admits: impl FnMut(&[u8]) -> bool) {
        for _ in 0..BATCH {
            match self.udp.recv_from(&mut self.buffer) {
                Ok((n, remote)) => {
                    let Ok(local) = self.routes.local(remote) else { continue };
                    let path = Path::new(Transport::Udp, local, remote);
                    let bytes = self.buffer.get(..n).unwrap_or_default();
                    if admits(bytes) {
                        take(&mut self.sip, &mut self.tap, Input::Datagram { path, bytes }, now);
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
                        Transport::Tcp | Transport::Tls => self.send_stream(path, &bytes, now),
                        Transport::Ws | Transport::Wss => Err(io::ErrorKind::NotConnected.into()),
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
            let tls = match path.transport {
                Transport::Tls => Some(self.trust.connect(self.names.name(path.peer)?)?),
                Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => None,
            };
            self.streams.connect(path, tls, now)?;
        }
        self.streams.send(&path, bytes, now)
    }

    fn accept(&mut self, now: Instant) {
        while let Some(Ok((stream, remote))) = self.listener.as_ref().map(TcpListener::accept) {
            let adopted = self
                .routes
                .local(remote)
                .and_then(|local| self.streams.adopt(stream, Path::new(Transport::Tcp, local, remote), now));
            if let Err(error) = adopted {
                tracing::warn!(%error, "a SIP connection was refused");
            }
        }
    }

    /// Hands on what became of connections.
    fn told(&mut self, now: Instant) {
        while let Some(heard) = self.streams.poll() {
            let input = match &heard {
                Heard::Closed(path) => Input::Closed { path: *path },
                Heard::Failed(path, reason) => Input::SendFailed { path: *path, reason },
            };
            take(&mut self.sip, &mut self.tap, input, now);
        }
    }
}

/// Lets an input pass the tap.
fn take(sip: &mut sip::Endpoint, tap: &mut Option<Tap>, input: Input<'_>, now: Instant) {
    if let Some(tap) = tap {
        tap.input(&input, now);
    }
    sip.handle_input(input, now);
}
