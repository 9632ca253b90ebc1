//! The media loops: RTP ports, pacing, drivers of [`media::Session`], recordings.
//!
//! One loop a core owns the sockets and sessions given to it; whoever runs the calls talks to it through
//! bounded queues. Per packet there is no allocation, lock, channel or clock call.

mod ear;
mod impair;
mod ports;
mod recorder;
mod run;
#[cfg(test)]
mod tests;
mod web;

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use media::sdp::Negotiated;
use media::web::{Credentials, Identity};
use media::{Clip, Rules, Setup, Stats};
use mio::Waker;

pub(crate) use ear::Ear;
pub use ear::Heard;
pub use impair::Impairment;
pub(crate) use impair::{BadLine, Chances};
pub use ports::{Ports, Socket};

/// Commands waiting for one loop; beyond, the sender is told that media is overloaded.
const COMMANDS: usize = 8192;
/// Events waiting for whoever runs the calls.
const EVENTS: usize = 65_536;

/// The most media loops: what fits into a [`MediaId`]'s low bits.
const MOST_LOOPS: usize = 256;

/// Names one leg's media for as long as the process lives; its low byte is the loop it lives on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MediaId(u64);

impl MediaId {
    /// Whether both live on one loop, so that they can be joined.
    pub fn is_beside(self, other: Self) -> bool {
        self.0 % MOST_LOOPS as u64 == other.0 % MOST_LOOPS as u64
    }

    /// Its number, unique in this process.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// What a loop is told.
pub(crate) enum Command {
    Open { id: MediaId, rtp: std::net::UdpSocket, rtcp: std::net::UdpSocket, sink: Sink },
    Web { socket: std::net::UdpSocket },
    OpenWeb { id: MediaId, credentials: Credentials, sink: Sink },
    Start { id: MediaId, setup: Box<Setup>, recording: Option<PathBuf>, ear: bool },
    Update { id: MediaId, negotiated: Box<Negotiated> },
    Play { id: MediaId, item: u32, clip: Clip },
    Pause { id: MediaId, item: u32, length: Duration },
    Stop { id: MediaId },
    Digits { id: MediaId, item: u32, digits: String },
    Echo { id: MediaId },
    Impair { id: MediaId, how: Impairment, seed: u64 },
    Info { id: MediaId, digit: char, ms: u16 },
    Record { id: MediaId, item: u32, rules: Rules, path: PathBuf, file: String },
    StopRecord { id: MediaId, item: u32 },
    PauseRecording { id: MediaId, pause: bool },
    Join { one: MediaId, other: MediaId },
    Part { one: MediaId, other: MediaId },
    Exit,
}

/// What a loop tells.
#[derive(Debug)]
pub enum Event {
    /// Something happened in the session.
    Session(MediaId, media::Event),
    /// A recording of its own is whole: the leg, the recording's id, and how it went.
    Recorded(MediaId, u32, Box<Segment>),
    /// The session is over: its figures, what the ear heard, and how much was recorded.
    Closed(MediaId, Box<Closed>),
}

/// How a recording of its own went.
#[derive(Debug, Default)]
pub struct Segment {
    /// The file's name.
    pub file: String,
    /// Its length in ms; none where there is no file.
    pub ms: Option<u64>,
    /// `silence`, `key`, `limit` or `stopped`.
    pub why: &'static str,
    /// Why it is missing or short, where it is.
    pub error: Option<String>,
}

/// The last word about one leg's media.
#[derive(Debug, Default)]
pub struct Closed {
    /// Packet counts, loss, jitter, MOS.
    pub stats: Stats,
    /// What the ear heard, where one was listening.
    pub heard: Option<Heard>,
    /// Recorded length in ms; none when nothing was recorded.
    pub recorded_ms: Option<u64>,
    /// Why the recording is missing or short, where it is.
    pub recording_error: Option<String>,
}

/// Where a loop's events go: a bounded queue and the waker of the loop that reads it.
#[derive(Clone)]
pub struct Sink {
    events: Sender<Event>,
    waker: Arc<Waker>,
}

impl Sink {
    /// A sink and the end to read it from.
    pub fn new(waker: Arc<Waker>) -> (Self, Receiver<Event>) {
        let (events, receiver) = bounded(EVENTS);
        (Self { events, waker }, receiver)
    }
}

/// The media loops and the port range they share.
#[derive(Clone)]
pub struct Media {
    loops: Arc<[Loop]>,
    ports: Arc<Ports>,
    next: Arc<AtomicU64>,
    /// The certificate browsers are shown, made anew with each start.
    identity: Identity,
}

struct Loop {
    /// The port it shares among its browsers, once there was one.
    web: Mutex<Option<u16>>,
    commands: Sender<Command>,
    /// Legs to close. Never full, so that no port is lost: each leg is closed once.
    closing: Sender<MediaId>,
    waker: Waker,
}

/// A browser's leg: where it is to be reached, and what its SDP is made with.
#[derive(Debug)]
pub struct WebLine {
    /// Its media.
    pub id: MediaId,
    /// The port it shares with the other browsers of its loop; RTCP goes over it, too.
    pub port: u16,
    /// What to hand to [`media::web::offer`] and its kind.
    pub local: media::web::Local,
}

/// A loop's queue is full or the loop is gone.
#[derive(Debug, thiserror::Error)]
#[error("the media loop cannot take another command")]
pub struct Overloaded;

impl Media {
    /// Starts one loop for each processor but one, at least one; RTP is bound to `address`.
    pub fn start(address: IpAddr, range: RangeInclusive<u16>, cpus: usize) -> io::Result<Self> {
        let recorder = recorder::start()?;
        let identity = web::identity().map_err(io::Error::other)?;
        let mut loops = Vec::new();
        for n in 0..cpus.saturating_sub(1).clamp(1, MOST_LOOPS) {
            let poll = mio::Poll::new()?;
            let waker = Waker::new(poll.registry(), run::WAKER)?;
            let (commands, receiver) = bounded(COMMANDS);
            let (closing, to_close) = unbounded();
            let (recorder, identity) = (recorder.clone(), identity.clone());
            thread::Builder::new().name(format!("media-{n}")).spawn(move || {
                crate::threads::go_first();
                run::Loop::new(poll, receiver, to_close, recorder, identity).run();
            })?;
            loops.push(Loop { web: Mutex::new(None), commands, closing, waker });
        }
        Ok(Self {
            loops: loops.into(),
            ports: Arc::new(Ports::new(address, range)),
            next: Arc::new(AtomicU64::new(1)),
            identity,
        })
    }

    /// The address RTP is bound to; may be unspecified.
    pub fn address(&self) -> IpAddr {
        self.ports.address()
    }

    /// Binds a pair of ports for one leg and gives them to a loop. The port returned is RTP's; RTCP is the
    /// next one. Nothing is sent before [`Self::start_session`].
    pub fn open(&self, sink: &Sink) -> io::Result<(MediaId, u16)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.open_on(n, n % self.loops.len().max(1) as u64, sink)
    }

    /// As [`Self::open`], on the loop of `other`, so that both can be joined.
    pub fn open_beside(&self, other: MediaId, sink: &Sink) -> io::Result<(MediaId, u16)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.open_on(n, other.0 % MOST_LOOPS as u64, sink)
    }

    fn open_on(&self, n: u64, on: u64, sink: &Sink) -> io::Result<(MediaId, u16)> {
        let Socket { rtp, rtcp, port } = self.ports.bind()?;
        let id = MediaId(n * MOST_LOOPS as u64 + on);
        self.send(id, Command::Open { id, rtp, rtcp, sink: sink.clone() }).map_err(io::Error::other)?;
        Ok((id, port))
    }

    /// As [`Self::open`], for a browser: it shares the port of its loop, and its checks are answered from now on.
    pub fn open_web(&self, sink: &Sink) -> io::Result<WebLine> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.open_web_on(n, n % self.loops.len().max(1) as u64, sink)
    }

    /// As [`Self::open_web`], on the loop of `other`, so that both can be joined.
    pub fn open_web_beside(&self, other: MediaId, sink: &Sink) -> io::Result<WebLine> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.open_web_on(n, other.0 % MOST_LOOPS as u64, sink)
    }

    fn open_web_on(&self, n: u64, on: u64, sink: &Sink) -> io::Result<WebLine> {
        let id = MediaId(n * MOST_LOOPS as u64 + on);
        let port = self.web_port(id)?;
        let credentials = Self::credentials()?;
        let opening = Command::OpenWeb { id, credentials: credentials.clone(), sink: sink.clone() };
        self.send(id, opening).map_err(io::Error::other)?;
        let addresses = Some(self.address()).filter(|address| !address.is_unspecified());
        let fingerprint = self.identity.fingerprint();
        let addresses = addresses.into_iter().collect();
        Ok(WebLine { id, port, local: media::web::Local { credentials, fingerprint, addresses } })
    }

    /// New ICE credentials, as [`media::web::answer`] wants them for an ICE restart.
    pub fn credentials() -> io::Result<Credentials> {
        let mut random = [0; Credentials::RANDOM];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(Credentials::new(random))
    }

    /// The port of the loop of `id` for browsers, bound when the first one comes.
    fn web_port(&self, id: MediaId) -> io::Result<u16> {
        let one = self.loop_of(id).ok_or_else(|| io::Error::other(Overloaded))?;
        let mut bound = one.web.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = *bound {
            return Ok(port);
        }
        let Socket { rtp, port, .. } = self.ports.bind()?;
        self.send(id, Command::Web { socket: rtp }).map_err(io::Error::other)?;
        *bound = Some(port);
        Ok(port)
    }

    /// Starts sending and receiving as negotiated; records to `recording`; with `ear` measures what is heard.
    pub fn start_session(
        &self,
        id: MediaId,
        setup: Setup,
        recording: Option<PathBuf>,
        ear: bool,
    ) -> Result<(), Overloaded> {
        self.send(id, Command::Start { id, setup: Box::new(setup), recording, ear })
    }

    /// A new address, codec or direction after a re-INVITE or a final answer.
    pub fn update(&self, id: MediaId, negotiated: Negotiated) -> Result<(), Overloaded> {
        self.send(id, Command::Update { id, negotiated: Box::new(negotiated) })
    }

    /// Plays `clip` behind whatever is playing; `item` comes back in [`media::Event::Played`].
    pub fn play(&self, id: MediaId, item: u32, clip: Clip) -> Result<(), Overloaded> {
        self.send(id, Command::Play { id, item, clip })
    }

    /// Queues silence.
    pub fn pause(&self, id: MediaId, item: u32, length: Duration) -> Result<(), Overloaded> {
        self.send(id, Command::Pause { id, item, length })
    }

    /// Drops what is playing and queued.
    pub fn stop(&self, id: MediaId) -> Result<(), Overloaded> {
        self.send(id, Command::Stop { id })
    }

    /// Queues digits; where they cannot be sent, [`media::Event::Played`] says that they were not.
    pub fn digits(&self, id: MediaId, item: u32, digits: String) -> Result<(), Overloaded> {
        self.send(id, Command::Digits { id, item, digits })
    }

    /// A digit that came in a SIP INFO request.
    pub fn info(&self, id: MediaId, digit: char, ms: u16) -> Result<(), Overloaded> {
        self.send(id, Command::Info { id, digit, ms })
    }

    /// Records what is heard into a file of its own, mono; [`Event::Recorded`] brings `item` and the file's name back.
    pub fn record(
        &self,
        id: MediaId,
        item: u32,
        rules: Rules,
        path: PathBuf,
        file: String,
    ) -> Result<(), Overloaded> {
        self.send(id, Command::Record { id, item, rules, path, file })
    }

    /// Ends that recording.
    pub fn stop_record(&self, id: MediaId, item: u32) -> Result<(), Overloaded> {
        self.send(id, Command::StopRecord { id, item })
    }

    /// Records silence in the place of both sides, or sound again.
    pub fn pause_recording(&self, id: MediaId, pause: bool) -> Result<(), Overloaded> {
        self.send(id, Command::PauseRecording { id, pause })
    }

    /// Lets two legs of one loop hear one another, until they are parted or either is closed.
    pub fn join(&self, one: MediaId, other: MediaId) -> Result<(), Overloaded> {
        self.send(one, Command::Join { one, other })
    }

    /// Lets two joined legs hear one another no more.
    pub fn part(&self, one: MediaId, other: MediaId) -> Result<(), Overloaded> {
        self.send(one, Command::Part { one, other })
    }

    /// From now on sends back what is heard.
    pub fn echo(&self, id: MediaId) -> Result<(), Overloaded> {
        self.send(id, Command::Echo { id })
    }

    /// From now on what is sent gets lost or comes late, by the chances of `seed`.
    pub fn impair(&self, id: MediaId, how: Impairment, seed: u64) -> Result<(), Overloaded> {
        self.send(id, Command::Impair { id, how, seed })
    }

    /// Ends the session; [`Event::Closed`] follows.
    pub fn close(&self, id: MediaId) {
        if let Some(one) = self.loop_of(id) {
            let _ = one.closing.send(id);
            let _ = one.waker.wake();
        }
    }

    /// Ends the loops; recordings are closed first.
    pub fn exit(&self) {
        for one in self.loops.iter() {
            let _ = one.commands.send_timeout(Command::Exit, Duration::from_secs(1));
            let _ = one.waker.wake();
        }
    }

    fn send(&self, id: MediaId, command: Command) -> Result<(), Overloaded> {
        let one = self.loop_of(id).ok_or(Overloaded)?;
        match one.commands.try_send(command) {
            Ok(()) => one.waker.wake().map_err(|_| Overloaded),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Overloaded),
        }
    }

    fn loop_of(&self, id: MediaId) -> Option<&Loop> {
        self.loops.get(usize::try_from(id.0 % MOST_LOOPS as u64).ok()?)
    }
}
