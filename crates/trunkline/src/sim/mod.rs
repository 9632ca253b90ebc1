//! The built-in phone network: a carrier that challenges with digest, and callees by number.
//!
//! It is a SIP provider like any other, on a socket of its own, reached over real SIP and RTP; it rings
//! nobody real. The same cores serve it that serve the real side.

mod callee;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use media::sdp::{Local, Negotiated};
use media::{Clip, Codec, Setup};
use mio::{Events, Poll, Token, Waker};
use sip::LegId;
use sip::digest::{Server, Verdict};

use callee::{Action, Callee};
pub use callee::{Manner, TABLE};

use crate::endpoint::{Endpoint, Listen, Trust};
use crate::id::Id;
use crate::rtp::{self, Heard, Media, MediaId};
use crate::secret::Secret;
use crate::timers::Timers;

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

/// The running network.
pub struct Network {
    address: SocketAddr,
    password: Secret,
    exit: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Binds `listen` (port 0: any) and starts answering. `greeting` is what callees say.
    pub fn start(listen: SocketAddr, media: Media, greeting: Clip, report: Report) -> io::Result<Self> {
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
        let carrier = Carrier {
            poll,
            endpoint,
            digest: Server::new(random()?, REALM, sip::digest::Algorithm::Md5),
            ha1: sip::digest::Algorithm::Md5.ha1(USER, REALM, &password),
            media,
            sink,
            events,
            greeting,
            report,
            calls: HashMap::new(),
            by_media: HashMap::new(),
            timers: Timers::new(),
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
            algorithm: sip::digest::Algorithm::Md5,
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
    media: Media,
    sink: rtp::Sink,
    events: Receiver<rtp::Event>,
    greeting: Clip,
    report: Report,
    calls: HashMap<LegId, Call>,
    by_media: HashMap<MediaId, Id>,
    timers: Timers<LegId>,
    exit: Arc<AtomicBool>,
}

struct Call {
    callee: Callee,
    offer: Vec<u8>,
    reports_to: Option<Id>,
    media: Option<(MediaId, Local)>,
}

impl Carrier {
    fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        while !self.exit.load(Ordering::Relaxed) {
            let now = Instant::now();
            let wake = self.timers.next().into_iter().chain(self.endpoint.poll_timeout()).min();
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
                self.endpoint.read_datagrams(now);
            }
            self.endpoint.handle_timeout(now);
            self.pump(now);
            while let Ok(event) = self.events.try_recv() {
                if let rtp::Event::Closed(id, closed) = event
                    && let (Some(call), Some(heard)) = (self.by_media.remove(&id), closed.heard)
                {
                    (self.report)(call, heard);
                }
            }
            self.act(now);
            self.pump(now);
        }
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event(now) {
            match event {
                sip::Event::Incoming { leg, request, path } => self.incoming(leg, &request, path, now),
                sip::Event::Ended { leg, .. } => self.ended(leg),
                sip::Event::Offer { leg, body } => self.reoffer(leg, &body, now),
                sip::Event::Refer { leg, .. } => {
                    drop(self.endpoint.sip().reject_refer(leg, 603, now));
                }
                // The network places no calls of its own.
                _ => {}
            }
        }
    }

    fn incoming(&mut self, leg: LegId, request: &sip::Message, path: sip::Path, now: Instant) {
        let source = path.remote.ip();
        let verdict = match request.header("Proxy-Authorization") {
            None => Verdict::Refused,
            Some(header) => {
                let ha1 = |user: &str| (user == USER).then(|| self.ha1.clone());
                self.digest.verify(header, "INVITE", request.body(), source, now, ha1)
            }
        };
        let sip = self.endpoint.sip();
        let stale = matches!(verdict, Verdict::Stale);
        if !matches!(verdict, Verdict::Accepted { .. }) {
            let challenge = self.digest.challenge(source, now, stale);
            let _ = sip.reject(leg, 407, &[("Proxy-Authenticate", challenge.as_str())], now);
            return;
        }
        if self.calls.len() >= MAX_CALLS {
            let _ = sip.reject(leg, 503, &[("Retry-After", "5")], now);
            return;
        }
        let view = request.view();
        let user = view.request_uri().and_then(|uri| sip::Uri::parse(uri).ok()?.user).unwrap_or_default();
        let callee = Callee::new(Manner::of(user), now);
        self.timers.set(leg, callee.poll_timeout());
        let reports_to = request.header(CALL_HEADER).and_then(Id::parse);
        self.calls.insert(leg, Call { callee, offer: request.body().to_vec(), reports_to, media: None });
    }

    fn act(&mut self, now: Instant) {
        while let Some(leg) = self.timers.pop_due(now) {
            while let Some(action) = self.calls.get_mut(&leg).and_then(|call| call.callee.poll_action(now)) {
                self.perform(leg, action, now);
            }
            let next = self.calls.get(&leg).and_then(|call| call.callee.poll_timeout());
            self.timers.set(leg, next);
        }
    }

    fn perform(&mut self, leg: LegId, action: Action, now: Instant) {
        match action {
            Action::Ring => drop(self.endpoint.sip().ring(leg, 180, None, now)),
            Action::Answer => {
                if let Err(status) = self.answer(leg, now) {
                    let _ = self.endpoint.sip().reject(leg, status, &[], now);
                    self.ended(leg);
                }
            }
            Action::Reject(status) => {
                let _ = self.endpoint.sip().reject(leg, status, &[], now);
                self.ended(leg);
            }
            Action::Greet => {
                if let Some((id, _)) = self.media_of(leg) {
                    let _ = self.media.play(id, 0, self.greeting.clone());
                }
            }
            Action::Echo => {
                if let Some((id, _)) = self.media_of(leg) {
                    let _ = self.media.echo(id);
                }
            }
            Action::HangUp => self.endpoint.sip().hang_up(leg, None, now),
        }
    }

    fn media_of(&self, leg: LegId) -> Option<(MediaId, &Local)> {
        self.calls.get(&leg)?.media.as_ref().map(|(id, local)| (*id, local))
    }

    fn answer(&mut self, leg: LegId, now: Instant) -> Result<(), u16> {
        let call = self.calls.get_mut(&leg).ok_or(481_u16)?;
        let (id, port) = self.media.open(&self.sink).map_err(|_| 503_u16)?;
        let address = match self.media.address() {
            address if address.is_unspecified() => self.endpoint.address().ip(),
            address => address,
        };
        let codecs = vec![Codec::Pcmu, Codec::Pcma];
        let local = Local::new(address, port, codecs, u64::from(port));
        let (answer, negotiated) = media::sdp::answer(&call.offer, &local).map_err(|_| {
            self.media.close(id);
            488_u16
        })?;
        call.media = Some((id, local));
        if let Some(reports_to) = call.reports_to {
            self.by_media.insert(id, reports_to);
        }
        self.media.start_session(id, setup(negotiated)?, None, true).map_err(|_| 503_u16)?;
        self.endpoint.sip().accept(leg, answer.into_bytes(), now).map_err(|_| 500)
    }

    fn reoffer(&mut self, leg: LegId, offer: &[u8], now: Instant) {
        let answer = match self.media_of(leg) {
            Some((id, local)) => match media::sdp::answer(offer, local) {
                Ok((answer, negotiated)) => {
                    let _ = self.media.update(id, negotiated);
                    Ok(answer.into_bytes())
                }
                Err(_) => Err(488),
            },
            None => Err(491),
        };
        let _ = self.endpoint.sip().answer_offer(leg, answer, now);
    }

    fn ended(&mut self, leg: LegId) {
        self.timers.set(leg, None);
        if let Some(Call { media: Some((id, _)), .. }) = self.calls.remove(&leg) {
            self.media.close(id);
        }
    }
}

fn setup(negotiated: Negotiated) -> Result<Setup, u16> {
    let seed = random::<10>().map_err(|_| 500_u16)?;
    let [a, b, c, d, e, f, g, h, i, j] = seed;
    Ok(Setup {
        negotiated,
        ssrc: u32::from_be_bytes([a, b, c, d]),
        sequence: u16::from_be_bytes([e, f]),
        timestamp: u32::from_be_bytes([g, h, i, j]),
        cname: "sim".into(),
        record: false,
        silence_after: None,
    })
}
