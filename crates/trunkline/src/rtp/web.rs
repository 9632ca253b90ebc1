//! The port a loop's browsers share: whose a datagram is, and what lies below their sessions.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::time::Instant;

use media::web::{Agreed, Credentials, Identity, Output, Transport, username};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use slab::Slab;

use super::run::{Leg, Line, WEB, deliver};

/// Addresses of one browser that are known at once: its networks, as it moves.
const MOST_ADDRESSES: usize = 16;

/// A certificate that nobody has signed: browsers know it by its fingerprint in the SDP.
pub(super) fn identity() -> Result<Identity, String> {
    let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    let params = rcgen::CertificateParams::new(Vec::new()).map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    Identity::new(certificate.der().to_vec(), key.serialize_der()).map_err(|error| error.to_string())
}

/// A browser below its session.
pub(super) struct Browser {
    transport: Transport,
    /// Where its checks came from, the oldest first.
    addresses: VecDeque<SocketAddr>,
}

impl Browser {
    pub(super) fn new(identity: Identity, credentials: Credentials) -> Self {
        Self { transport: Transport::new(identity, credentials), addresses: VecDeque::new() }
    }
}

/// The socket, and which leg's a datagram is: a check's by our user name in it, all else by where a check came from.
pub(super) struct Web {
    socket: UdpSocket,
    by_ufrag: HashMap<String, usize>,
    by_address: HashMap<SocketAddr, usize>,
}

impl Web {
    /// `None` where the socket cannot be watched.
    pub(super) fn new(socket: StdSocket, registry: &Registry) -> Option<Self> {
        let mut socket = UdpSocket::from_std(socket);
        match registry.register(&mut socket, WEB, Interest::READABLE) {
            Ok(()) => Some(Self { socket, by_ufrag: HashMap::new(), by_address: HashMap::new() }),
            Err(error) => {
                tracing::error!(%error, "the port for browsers cannot be watched");
                None
            }
        }
    }

    pub(super) fn send(&self, packet: &[u8], to: SocketAddr) {
        // A full socket buffer loses this packet as a network would.
        let _ = self.socket.send_to(packet, to);
    }

    pub(super) fn receive(&self, packet: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(packet)
    }

    /// Takes its checks from now on.
    pub(super) fn know(&mut self, key: usize, browser: &Browser) {
        let ufrags = browser.transport.credentials().map(|credentials| credentials.ufrag().to_owned());
        self.by_ufrag.extend(ufrags.map(|ufrag| (ufrag, key)));
    }

    /// Whatever still comes from it is nobody's.
    pub(super) fn forget(&mut self, browser: &Browser) {
        for credentials in browser.transport.credentials() {
            self.by_ufrag.remove(credentials.ufrag());
        }
        for address in &browser.addresses {
            self.by_address.remove(address);
        }
    }

    /// What offer and answer agreed on holds from now on.
    pub(super) fn agree(&mut self, key: usize, leg: &mut Leg, agreed: &Agreed, now: Instant, out: &mut [u8]) {
        let Line::Web(browser) = &mut leg.line else { return };
        for credentials in browser.transport.credentials() {
            self.by_ufrag.remove(credentials.ufrag());
        }
        browser.transport.update(agreed);
        self.know(key, browser);
        if let (Some(session), Some(remote)) = (&mut leg.session, browser.transport.remote()) {
            session.send_to(remote);
        }
        self.shake(leg, now, out);
    }

    /// Goes on with a handshake whose time has come.
    pub(super) fn wake(&self, leg: &mut Leg, now: Instant, out: &mut [u8]) {
        let Line::Web(browser) = &leg.line else { return };
        if browser.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.shake(leg, now, out);
        }
    }

    /// Takes a datagram to whose it is.
    pub(super) fn take(
        &mut self,
        legs: &mut Slab<Leg>,
        packet: &[u8],
        from: SocketAddr,
        now: Instant,
        out: &mut [u8; 1500],
    ) {
        let owner = self.by_address.get(&from).copied();
        if let Some(ufrag) = username(packet) {
            let Some(key) = self.by_ufrag.get(ufrag).copied() else { return };
            // Nobody takes over where another browser speaks from.
            if let Some(leg) = legs.get_mut(key).filter(|_| owner.is_none_or(|owner| owner == key)) {
                self.check(key, leg, packet, from, out);
                self.shake(leg, now, out);
            }
            return;
        }
        let Some((key, leg)) = owner.and_then(|key| Some((key, legs.get_mut(key)?))) else { return };
        match &mut leg.line {
            Line::Web(browser) if Transport::is_for(packet) => {
                browser.transport.handle_dtls(packet, now);
                self.shake(leg, now, out);
            }
            _ => deliver(legs, Some(self), (key, true), packet, from, now, out),
        }
    }

    /// Answers a check; where it came from is known from then on.
    fn check(&mut self, key: usize, leg: &mut Leg, packet: &[u8], from: SocketAddr, out: &mut [u8]) {
        let Line::Web(browser) = &mut leg.line else { return };
        let before = browser.transport.remote();
        let Some(len) = browser.transport.handle_stun(packet, from, out) else { return };
        self.send(out.get(..len).unwrap_or_default(), from);
        let remote = browser.transport.remote();
        if self.by_address.insert(from, key).is_none() {
            browser.addresses.push_back(from);
            if browser.addresses.len() > MOST_ADDRESSES {
                let oldest = browser.addresses.iter().position(|address| Some(*address) != remote);
                let oldest = oldest.and_then(|oldest| browser.addresses.remove(oldest));
                oldest.and_then(|oldest| self.by_address.remove(&oldest));
            }
        }
        if let (Some(session), Some(remote)) = (&mut leg.session, remote.filter(|_| remote != before)) {
            session.send_to(remote);
        }
    }

    /// Sends what the handshake wants to say, and gives its keys to the session.
    fn shake(&self, leg: &mut Leg, now: Instant, out: &mut [u8]) {
        let Line::Web(browser) = &mut leg.line else { return };
        while let Some(output) = browser.transport.poll(now, out) {
            match output {
                Output::Send { len, to } => self.send(out.get(..len).unwrap_or_default(), to),
                Output::Keys(crypto) => leg.session.iter_mut().for_each(|session| session.secure(&crypto)),
                Output::Failed(error) => tracing::info!(%error, "a browser's media cannot be encrypted"),
            }
        }
    }
}
