//! What lies below the session of a browser's leg.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::dtls::{Handshake, HandshakeError, Identity, Step};
use super::stun::Check;
use super::{Agreed, Credentials, Fingerprint, Role};
use crate::srtp::Crypto;

/// Handshakes begun for one certificate of theirs: who fails as often is not tried again.
const MOST_HANDSHAKES: u8 = 5;

/// So long after the keys came our last flight is repeated for who missed it; then the handshake is forgotten, which is
/// most of what a leg's transport holds.
const LINGER: Duration = Duration::from_secs(60);

/// ICE lite and DTLS of one leg: answers checks, learns by them where to send, and shakes hands.
///
/// The driver hands over what is STUN or DTLS ([`Transport::is_for`]), sends what [`Transport::handle_stun`] wrote back
/// to where it came from, and drains [`Transport::poll`] after every datagram, every [`Transport::update`], and when
/// [`Transport::poll_timeout`] says so. Everything else is the session's.
pub struct Transport {
    identity: Identity,
    ours: Credentials,
    /// Ours before the ICE restart, until they send over a pair of the new ones.
    before: Option<Credentials>,
    /// What their SDP says: their certificate, and who begins.
    theirs: Option<(Fingerprint, Role)>,
    handshake: Option<Box<Handshake>>,
    handshakes: u8,
    is_connected: bool,
    /// When the handshake that brought the keys is forgotten.
    lingers: Option<Instant>,
    failure: Option<HandshakeError>,
    remote: Option<SocketAddr>,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send the first `len` bytes of the buffer.
    Send {
        /// Bytes written.
        len: usize,
        /// Where they go.
        to: SocketAddr,
    },
    /// The handshake is over: give these to [`crate::Session::secure`].
    Keys(Crypto),
    /// The handshake failed. The other side may begin another.
    Failed(HandshakeError),
}

impl Transport {
    /// A transport that answers checks made with these credentials. It shakes hands once it knows whose:
    /// [`Transport::update`].
    pub fn new(identity: Identity, ours: Credentials) -> Transport {
        Transport {
            identity,
            ours,
            before: None,
            theirs: None,
            handshake: None,
            handshakes: 0,
            is_connected: false,
            lingers: None,
            failure: None,
            remote: None,
        }
    }

    /// Goes on as offer and answer say: new credentials after an ICE restart; another certificate or role is another
    /// handshake (RFC 8842), the same ones keep the one there was.
    pub fn update(&mut self, agreed: &Agreed) {
        if agreed.ours != self.ours {
            self.before = Some(std::mem::replace(&mut self.ours, agreed.ours.clone()));
        }
        let theirs = (agreed.fingerprint, agreed.role);
        if self.theirs.replace(theirs) != Some(theirs) {
            self.handshake = None;
            self.handshakes = 0;
            self.is_connected = false;
            self.lingers = None;
        }
    }

    /// Our credentials: the latest, and those of before an ICE restart while they still count.
    pub fn credentials(&self) -> impl Iterator<Item = &Credentials> {
        std::iter::once(&self.ours).chain(&self.before)
    }

    /// Where to send: the pair they nominated last, or till then the first they checked.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Whether there are keys.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Whether a datagram is this one's and not the session's (RFC 7983).
    pub fn is_for(packet: &[u8]) -> bool {
        packet.first().is_some_and(|first| *first < 64)
    }

    /// Takes a connectivity check; the bytes of the answer in `out`, which goes back to `from`. `None` for what is no
    /// check or not signed with our password: it is not answered, and `from` is not to be trusted.
    pub fn handle_stun(&mut self, packet: &[u8], from: SocketAddr, out: &mut [u8]) -> Option<usize> {
        let (check, by) = self.credentials().find_map(|by| Some((Check::parse(packet, by)?, by.clone())))?;
        let len = check.reply(from, &by, out)?;
        if check.is_good() {
            if check.nominates {
                self.remote = Some(from);
                // From now on an old check must not call us back.
                self.before = self.before.take().filter(|_| by != self.ours);
            }
            self.remote.get_or_insert(from);
        }
        Some(len)
    }

    /// Takes a datagram of DTLS from an address that a check has come from. One that comes before the SDP is dropped;
    /// they repeat it.
    pub fn handle_dtls(&mut self, packet: &[u8], now: Instant) {
        self.begin(Role::Server, now);
        let result = self.handshake.as_mut().map_or(Ok(()), |handshake| handshake.handle(packet, now));
        self.judge(result);
    }

    /// When [`Transport::poll`] is to be asked, whatever comes; `None` while only their packets can bring it on.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.handshake.as_ref()?.poll_timeout().into_iter().chain(self.lingers).min()
    }

    /// What is to be done, until there is nothing.
    pub fn poll(&mut self, now: Instant, out: &mut [u8]) -> Option<Output> {
        self.begin(Role::Client, now);
        if self.lingers.is_some_and(|at| at <= now) {
            (self.lingers, self.handshake) = (None, None);
        }
        if self.poll_timeout().is_some_and(|at| at <= now) {
            let result = self.handshake.as_mut().map_or(Ok(()), |handshake| handshake.handle_timeout(now));
            self.judge(result);
        }
        while let (Some(to), Some(handshake)) = (self.remote, &mut self.handshake) {
            match handshake.poll(out) {
                Ok(None) => break,
                Ok(Some(Step::Send(len))) => return Some(Output::Send { len, to }),
                Ok(Some(Step::Keys(crypto))) => {
                    self.is_connected = true;
                    self.lingers = Some(now + LINGER);
                    return Some(Output::Keys(crypto));
                }
                Err(error) => self.judge(Err(error)),
            }
        }
        self.failure.take().map(Output::Failed)
    }

    /// Begins a handshake if it is ours to begin in that role and there is none.
    fn begin(&mut self, as_: Role, now: Instant) {
        let Some((fingerprint, role)) = self.theirs.filter(|(_, role)| *role == as_) else { return };
        let is_due = !self.is_connected && self.handshake.is_none() && self.remote.is_some();
        if !is_due || self.handshakes == MOST_HANDSHAKES {
            return;
        }
        self.handshakes += 1;
        match Handshake::new(&self.identity, role, fingerprint, now) {
            Ok(handshake) => self.handshake = Some(Box::new(handshake)),
            Err(error) => self.judge(Err(error)),
        }
    }

    /// What failed is thrown away. Once there are keys it does not matter any more.
    fn judge(&mut self, result: Result<(), HandshakeError>) {
        if let Err(error) = result {
            self.handshake = None;
            if !self.is_connected {
                self.failure = Some(error);
            }
        }
    }
}
