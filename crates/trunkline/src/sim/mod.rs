//! The built-in phone network: a carrier that challenges with digest, and callees by number.
//!
//! It is a SIP provider like any other, on a socket of its own, reached over real SIP and RTP; it rings
//! nobody real. The same cores serve it that serve the real side. What callees do stands in scripts; the same
//! [`Exchange`] carries them out here and, in virtual time, for `trunkline test`.

mod callee;
pub mod directory;
pub mod exchange;
mod lines;
pub mod script;
pub mod voice;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token, Waker};
use sip::LegId;
use sip::digest::{Algorithm, Known, Server, Verdict};

pub use directory::{Directory, GREETING, TABLE};
use exchange::Exchange;
use lines::RtpLines;
pub use voice::Voices;

use crate::endpoint::{Endpoint, Listen, Trust};
use crate::id::Id;
use crate::rtp::{self, Heard, Media};
use crate::secret::Secret;

const WAKER: Token = Token(0);
const SIP: usize = 1;
/// The user name the carrier expects; the password is made anew at every start.
const USER: &str = "trunkline";
/// The carrier's digest realm.
const REALM: &str = "sim.trunkline";
/// Calls the network carries at once.
const MAX_CALLS: usize = 20_000;

/// Told what a callee heard, by the call named in the INVITE's [`CALL_HEADER`].
pub type Report = Box<dyn Fn(Id, Heard) + Send>;

/// Names our own call in the INVITE, so that the callee's report finds it.
pub const CALL_HEADER: &str = "X-Trunkline-Call";

/// What the network needs.
pub struct Setup {
    /// Where it listens (port 0: any).
    pub listen: SocketAddr,
    /// The media loops its callees use.
    pub media: Media,
    /// Who answers where.
    pub directory: Directory,
    /// How they sound.
    pub voices: Arc<Voices>,
    /// Where they record to.
    pub voicemail: PathBuf,
    /// Told what they heard.
    pub report: Report,
}

/// The running network.
pub struct Network {
    address: SocketAddr,
    password: Secret,
    exit: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Binds its socket and starts answering.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let Setup { listen, media, directory, voices, voicemail, report } = setup;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sink, events) = rtp::Sink::new(waker.clone());
        let config =
            sip::Config { user_agent: "trunkline simulated network".into(), ..sip::Config::default() };
        let listen = Listen { address: listen, external: None, tcp: false };
        let endpoint =
            Endpoint::bind(listen, config, Trust::none(), random()?, poll.registry().try_clone()?, SIP)?;
        let address = endpoint.address();
        let password = hex::encode(random::<16>()?);
        let exit = Arc::new(AtomicBool::new(false));
        let lines = RtpLines::new(media, sink, address.ip(), voicemail);
        let carrier = Carrier {
            poll,
            endpoint,
            digest: Server::new(random()?),
            ha1: Algorithm::Md5.ha1(USER, REALM, &password),
            events,
            report,
            exchange: Exchange::new(directory, voices, lines),
            exit: exit.clone(),
        };
        let thread = std::thread::Builder::new().name("sim".into()).spawn(move || carrier.run())?;
        Ok(Self { address, password: password.into(), exit, waker, thread: Some(thread) })
    }

    /// Where the carrier listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a trunk to this carrier must authenticate with.
    pub fn credentials(&self) -> sip::digest::Credentials {
        sip::digest::Credentials {
            username: USER.into(),
            password: self.password.expose().into(),
            realm: Some(REALM.into()),
            algorithm: Algorithm::Md5,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.exit.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

struct Carrier {
    poll: Poll,
    endpoint: Endpoint,
    digest: Server,
    ha1: String,
    events: Receiver<rtp::Event>,
    report: Report,
    exchange: Exchange<RtpLines>,
    exit: Arc<AtomicBool>,
}

impl Carrier {
    fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        while !self.exit.load(Ordering::Relaxed) {
            let now = Instant::now();
            let wake = self.exchange.poll_timeout().into_iter().chain(self.endpoint.poll_timeout()).min();
            let timeout = match self.endpoint.has_backlog() {
                true => Some(Duration::ZERO),
                false => wake.map(|at| at.saturating_duration_since(now)),
            };
            match self.poll.poll(&mut ready, timeout) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(error = %e, "the simulated network cannot wait for its sockets");
                    return;
                }
                _ => {}
            }
            let now = Instant::now();
            for event in &ready {
                if self.endpoint.owns(event.token()) {
                    self.endpoint.handle_ready(event, now);
                }
            }
            if self.endpoint.has_backlog() {
                let exchange = &mut self.exchange;
                self.endpoint.read_datagrams_if(now, |datagram| exchange.admits(datagram, now));
            }
            self.endpoint.handle_timeout(now);
            self.pump(now);
            while let Ok(event) = self.events.try_recv() {
                self.media_event(event, now);
            }
            self.exchange.handle_timeout(self.endpoint.sip(), now);
            self.pump(now);
        }
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event(now) {
            match event {
                sip::Event::Incoming { leg, request, path } => self.incoming(leg, &request, path, now),
                event => self.exchange.sip_event(self.endpoint.sip(), event, now),
            }
        }
    }

    fn incoming(&mut self, leg: LegId, request: &sip::Message, path: sip::Path, now: Instant) {
        let source = path.remote.ip();
        let verdict = match request.header("Proxy-Authorization") {
            None => Verdict::Refused,
            Some(header) => {
                let known = Known { algorithm: Algorithm::Md5, ha1: &self.ha1 };
                let lookup = |realm: &str, user: &str| (realm == REALM && user == USER).then_some(known);
                self.digest.verify(header, "INVITE", request.body(), source, now, lookup)
            }
        };
        let stale = matches!(verdict, Verdict::Stale | Verdict::Again { .. });
        let sip = self.endpoint.sip();
        if !matches!(verdict, Verdict::Accepted { .. }) {
            let challenge = self.digest.challenge(REALM, Algorithm::Md5, source, now, stale);
            let _ = sip.reject(leg, 407, &[("Proxy-Authenticate", challenge.as_str())], now);
            return;
        }
        self.exchange.incoming(sip, leg, request, now);
        self.exchange.handle_timeout(sip, now);
    }

    fn media_event(&mut self, event: rtp::Event, now: Instant) {
        let sip = self.endpoint.sip();
        match event {
            rtp::Event::Session(line, media::Event::Played { id, .. })
            | rtp::Event::Recorded(line, id, _) => {
                self.exchange.done(sip, line, id, now);
            }
            rtp::Event::Session(line, media::Event::Digit { digit, .. }) => {
                self.exchange.pressed(sip, line, digit, now);
            }
            rtp::Event::Session(..) => {}
            rtp::Event::Closed(line, closed) => {
                if let (Some(call), Some(heard)) = (self.exchange.lines.closed(line), closed.heard) {
                    (self.report)(call, heard);
                }
            }
        }
    }
}
