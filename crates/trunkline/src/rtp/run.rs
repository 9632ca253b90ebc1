//! One media loop.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, TrySendError};
use media::sdp::Negotiated;
use media::web::{Credentials, Identity};
use media::{Pacer, Rules, Session, Setup, Why};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::ear::Ear;
use super::impair::BadLine;
use super::recorder::{Disk, Told};
use super::web::{Browser, Web};
use super::{Closed, Command, Event, MediaId, Segment, Sink};

/// The token of the loop's waker.
pub(super) const WAKER: Token = Token(usize::MAX);
/// The token of the socket its browsers share.
pub(super) const WEB: Token = Token(usize::MAX - 1);
/// How long a port stays bound after its call, so that a new call cannot inherit stray audio.
const DRAIN: Duration = Duration::from_secs(3);
/// Recorded samples gathered before they go to the disk: one second of stereo.
const CHUNK: usize = 16_000;
/// From one wake-up to the next: what comes in the meantime is handled together. Thousands of packets a second would
/// wake the loop as often, which costs more than the packets do.
const GATHER: Duration = Duration::from_micros(250);
/// Packets read from one socket before the next one has its turn.
const BURST: usize = 32;
/// The same of the socket that all browsers share.
const WEB_BURST: usize = 512;
/// Frames made up for after a stall (1 s); a longer one delays the sound instead of bursting it out.
const MOST_TICKS: u32 = 50;
/// Seconds between the NTP era (1900) and the Unix epoch.
const NTP_OFFSET: u64 = 2_208_988_800;

pub(super) struct Loop {
    poll: Poll,
    commands: Receiver<Command>,
    closing: Receiver<MediaId>,
    disk: Disk,
    identity: Identity,
    /// Once there was a browser.
    web: Option<Web>,
    legs: Slab<Leg>,
    by_id: HashMap<MediaId, usize>,
    pacer: Pacer<usize>,
    draining: VecDeque<(Instant, usize)>,
    /// Events a full queue did not take; told again at the next wake-up.
    untold: VecDeque<(Sink, Event)>,
    /// Sockets that held more than a burst; read on at the next wake-up.
    unread: Vec<Token>,
    packet: [u8; 2048],
    out: [u8; 1500],
    /// What a joined leg heard in its last ticks, for the other one.
    heard: Vec<i16>,
    exit: bool,
}

pub(super) struct Leg {
    id: MediaId,
    pub(super) line: Line,
    sink: Sink,
    pub(super) session: Option<Box<Session>>,
    ear: Option<Box<Ear>>,
    recording: bool,
    lost_chunks: u32,
    /// What it sends goes over this line, where that is a bad one.
    bad_line: Option<Box<BadLine>>,
    /// The leg it is joined with.
    peer: Option<usize>,
    segment: Option<Take>,
}

/// How its packets go and come.
pub(super) enum Line {
    Ports { rtp: UdpSocket, rtcp: UdpSocket },
    Web(Box<Browser>),
}

impl Line {
    /// What a full socket buffer does not take is lost as a network would lose it.
    fn send(&self, web: Option<&Web>, packet: &[u8], to: SocketAddr, from_rtp: bool) {
        match self {
            Line::Ports { rtp, rtcp } => drop((if from_rtp { rtp } else { rtcp }).send_to(packet, to)),
            Line::Web(_) => web.into_iter().for_each(|web| web.send(packet, to)),
        }
    }
}

/// A recording of its own under way.
struct Take {
    item: u32,
    file: String,
    lost_chunks: u32,
}

/// Hands a packet to the session of a leg; what is to go on as it is leaves the leg it is joined with at once.
pub(super) fn deliver(
    legs: &mut Slab<Leg>,
    web: Option<&Web>,
    (key, is_rtp): (usize, bool),
    packet: &[u8],
    from: SocketAddr,
    now: Instant,
    out: &mut [u8; 1500],
) {
    let Some(peer) = legs.get(key).map(|leg| leg.peer.filter(|peer| *peer != key)) else { return };
    let both = peer.and_then(|peer| legs.get2_mut(key, peer)).map(|(leg, peer)| (leg, Some(peer)));
    let (leg, peer) = match both {
        Some(both) => both,
        None => match legs.get_mut(key) {
            Some(leg) => (leg, None),
            None => return,
        },
    };
    let Some(session) = leg.session.as_deref_mut() else { return };
    if !is_rtp {
        return session.handle_rtcp(packet, from, now);
    }
    if let Some(relayed) = session.handle_rtp(packet, from, now)
        && let Some(peer) = peer
        && let Some(session) = peer.session.as_deref_mut()
        && let Some(send) = session.forward(relayed, out)
    {
        let packet = out.get(..send.len).unwrap_or_default();
        match &mut peer.bad_line {
            None => peer.line.send(web, packet, send.to, true),
            Some(line) => line.take(packet, send.to, now),
        }
    }
}

impl Loop {
    pub(super) fn new(
        poll: Poll,
        commands: Receiver<Command>,
        closing: Receiver<MediaId>,
        disk: Disk,
        identity: Identity,
    ) -> Self {
        Self {
            poll,
            commands,
            closing,
            disk,
            identity,
            web: None,
            legs: Slab::new(),
            by_id: HashMap::new(),
            pacer: Pacer::new(Instant::now()),
            draining: VecDeque::new(),
            untold: VecDeque::new(),
            unread: Vec::new(),
            packet: [0; 2048],
            out: [0; 1500],
            heard: Vec::with_capacity(MOST_TICKS as usize * media::FRAME),
            exit: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(1024);
        let mut woken = Instant::now();
        while !self.exit {
            std::thread::sleep((woken + GATHER).saturating_duration_since(Instant::now()));
            let now = Instant::now();
            let wake = [
                self.pacer.poll_timeout(now),
                self.draining.front().map(|(at, _)| *at),
                (!self.untold.is_empty()).then(|| now + Duration::from_millis(5)),
                (!self.unread.is_empty()).then_some(now),
            ];
            let timeout = wake.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
            match self.poll.poll(&mut ready, timeout) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(error = %e, "a media loop cannot wait for its sockets");
                    return;
                }
                _ => {}
            }
            let now = Instant::now();
            woken = now;
            for token in std::mem::take(&mut self.unread) {
                self.receive(token, now);
            }
            for event in &ready {
                if event.token() != WAKER {
                    self.receive(event.token(), now);
                }
            }
            // Counted first: whatever was said about a leg before it was to close is obeyed before.
            let closing = self.closing.len();
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command, now);
            }
            for id in self.closing.try_iter().take(closing).collect::<Vec<_>>() {
                if let Some(key) = self.by_id.get(&id).copied() {
                    self.close(key, now);
                }
            }
            self.tick(now);
            while self.draining.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, key)) = self.draining.pop_front() {
                    self.legs.try_remove(key);
                }
            }
            for (sink, event) in std::mem::take(&mut self.untold) {
                self.tell(sink, event);
            }
        }
        for key in self.legs.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            self.close(key, Instant::now());
        }
    }

    fn obey(&mut self, command: Command, now: Instant) {
        let key = |id: &MediaId| self.by_id.get(id).copied();
        match command {
            Command::Open { id, rtp, rtcp, sink } => self.open(id, rtp, rtcp, sink),
            Command::Web { socket } => self.web = Web::new(socket, self.poll.registry()),
            Command::OpenWeb { id, credentials, sink } => self.open_web(id, credentials, sink),
            Command::Start { id, setup, recording, ear } => {
                if let Some(key) = key(&id) {
                    self.start(key, *setup, recording, ear, now);
                }
            }
            Command::Update { id, negotiated } => {
                if let Some(key) = key(&id) {
                    self.update(key, *negotiated, now);
                }
            }
            Command::Play { id, item, clip } => {
                if let Some(session) = self.session(id) {
                    session.play(item, clip, now);
                }
            }
            Command::Pause { id, item, length } => {
                if let Some(session) = self.session(id) {
                    session.pause(item, length, now);
                }
            }
            Command::Stop { id } => {
                if let Some(session) = self.session(id) {
                    session.stop();
                }
            }
            Command::Echo { id } => {
                if let Some(session) = self.session(id) {
                    session.echo(true);
                }
            }
            Command::Impair { id, how, seed } => {
                if let Some(leg) = key(&id).and_then(|key| self.legs.get_mut(key)) {
                    leg.bad_line.get_or_insert_with(|| Box::new(BadLine::new(how, seed))).set(how);
                }
            }
            Command::Digits { id, item, digits } => self.press(id, item, &digits, now),
            Command::Info { id, digit, ms } => {
                if let Some(session) = self.session(id) {
                    session.info(digit, ms, now);
                }
            }
            Command::Record { id, item, rules, path, file } => {
                if let Some(key) = key(&id) {
                    self.record(key, item, rules, path, file);
                }
            }
            Command::StopRecord { id, item } => {
                let leg = key(&id).and_then(|key| self.legs.get_mut(key));
                let leg = leg.filter(|leg| leg.segment.as_ref().is_some_and(|take| take.item == item));
                if let Some(session) = leg.and_then(|leg| leg.session.as_deref_mut()) {
                    session.stop_segment();
                }
            }
            Command::PauseRecording { id, pause } => {
                if let Some(session) = self.session(id) {
                    if pause { session.pause_recording() } else { session.resume_recording() }
                }
            }
            Command::Join { one, other } => {
                if let (Some(one), Some(other)) = (key(&one), key(&other)) {
                    self.join(one, other);
                }
            }
            Command::Part { one, other } => {
                if let (Some(one), Some(other)) = (key(&one), key(&other))
                    && self.legs.get(one).is_some_and(|leg| leg.peer == Some(other))
                {
                    self.part(one);
                }
            }
            Command::Exit => self.exit = true,
        }
    }

    fn session(&mut self, id: MediaId) -> Option<&mut Session> {
        self.legs.get_mut(*self.by_id.get(&id)?)?.session.as_deref_mut()
    }

    fn press(&mut self, id: MediaId, item: u32, digits: &str, now: Instant) {
        let Some(leg) = self.by_id.get(&id).and_then(|key| self.legs.get_mut(*key)) else { return };
        let Some(session) = leg.session.as_deref_mut() else { return };
        if let Err(error) = session.digits(item, digits, now) {
            tracing::info!(%error, "digits were not sent");
            let (id, sink) = (leg.id, leg.sink.clone());
            self.tell(sink, Event::Session(id, media::Event::Played { id: item, whole: false }));
        }
    }

    fn record(&mut self, key: usize, item: u32, rules: Rules, path: PathBuf, file: String) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        let Some(session) = leg.session.as_deref_mut() else { return };
        let track = (leg.id, Some(item));
        let lost_chunks = u32::from(!self.disk.open(track, path));
        session.record_segment(item, rules);
        leg.segment = Some(Take { item, file, lost_chunks });
    }

    fn join(&mut self, one: usize, other: usize) {
        for (key, peer) in [(one, other), (other, one)] {
            if self.legs.get(key).is_some_and(|leg| leg.peer != Some(peer)) {
                self.part(key);
            }
            if let Some(leg) = self.legs.get_mut(key) {
                leg.peer = Some(peer);
                if let Some(session) = leg.session.as_deref_mut() {
                    session.live(true);
                }
            }
        }
        self.pair(one);
    }

    /// Lets packets of a joined leg and of its peer go through as they are, where they can.
    fn pair(&mut self, key: usize) {
        let peer = self.legs.get(key).and_then(|leg| leg.peer).filter(|peer| *peer != key);
        let Some((one, other)) = peer.and_then(|peer| self.legs.get2_mut(key, peer)) else { return };
        if let (Some(one), Some(other)) = (one.session.as_deref_mut(), other.session.as_deref_mut()) {
            one.pair(other);
        }
    }

    /// Lets a joined leg and its other side hear one another no more.
    fn part(&mut self, key: usize) {
        let Some(peer) = self.legs.get_mut(key).and_then(|leg| leg.peer.take()) else { return };
        for (leg, of) in [(key, None), (peer, Some(key))] {
            if let Some(leg) = self.legs.get_mut(leg).filter(|leg| leg.peer == of) {
                leg.peer = None;
                if let Some(session) = leg.session.as_deref_mut() {
                    session.live(false);
                    session.unpair();
                }
            }
        }
    }

    fn open(&mut self, id: MediaId, rtp: StdSocket, rtcp: StdSocket, sink: Sink) {
        let key = self.legs.vacant_key();
        let (mut rtp, mut rtcp) = (UdpSocket::from_std(rtp), UdpSocket::from_std(rtcp));
        let registry = self.poll.registry();
        let registered = registry
            .register(&mut rtp, Token(key * 2), Interest::READABLE)
            .and_then(|()| registry.register(&mut rtcp, Token(key * 2 + 1), Interest::READABLE));
        if let Err(error) = registered {
            tracing::error!(%error, "an RTP socket cannot be watched");
        }
        self.add(id, Line::Ports { rtp, rtcp }, sink);
    }

    fn open_web(&mut self, id: MediaId, credentials: Credentials, sink: Sink) {
        let browser = Box::new(Browser::new(self.identity.clone(), credentials));
        let key = self.legs.vacant_key();
        self.web.iter_mut().for_each(|web| web.know(key, &browser));
        self.add(id, Line::Web(browser), sink);
    }

    fn add(&mut self, id: MediaId, line: Line, sink: Sink) {
        let key = self.legs.insert(Leg {
            id,
            line,
            sink,
            session: None,
            ear: None,
            recording: false,
            lost_chunks: 0,
            bad_line: None,
            peer: None,
            segment: None,
        });
        self.by_id.insert(id, key);
    }

    fn start(&mut self, key: usize, setup: Setup, recording: Option<PathBuf>, ear: bool, now: Instant) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        leg.recording = recording.is_some_and(|path| self.disk.open((leg.id, None), path));
        leg.ear = ear.then(|| Box::new(Ear::new()));
        let negotiated = setup.negotiated.clone();
        let mut session = Box::new(Session::new(setup, now));
        session.live(leg.peer.is_some());
        session.deaf(!ear);
        leg.session = Some(session);
        self.pacer.insert(key);
        self.agree(key, &negotiated, now);
        self.pair(key);
    }

    fn update(&mut self, key: usize, negotiated: Negotiated, now: Instant) {
        self.agree(key, &negotiated, now);
        let session = self.legs.get_mut(key).and_then(|leg| leg.session.as_deref_mut());
        if let Some(session) = session {
            session.update(negotiated, now);
        }
        self.pair(key);
    }

    /// Tells what lies below the session what was agreed on.
    fn agree(&mut self, key: usize, negotiated: &Negotiated, now: Instant) {
        let Self { legs, web, out, .. } = self;
        if let (Some(leg), Some(web), Some(agreed)) = (legs.get_mut(key), web, &negotiated.web) {
            web.agree(key, leg, agreed, now, out);
        }
    }

    fn receive(&mut self, token: Token, now: Instant) {
        if token == WEB {
            return self.receive_web(now);
        }
        let (key, is_rtp) = (token.0 / 2, token.0.is_multiple_of(2));
        let Self { legs, web, packet, out, .. } = self;
        for _ in 0..BURST {
            let Some(Line::Ports { rtp, rtcp }) = legs.get(key).map(|leg| &leg.line) else { return };
            match (if is_rtp { rtp } else { rtcp }).recv_from(packet) {
                Ok((n, from)) => {
                    let packet = packet.get(..n).unwrap_or_default();
                    deliver(legs, web.as_ref(), (key, is_rtp), packet, from, now, out);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // ICMP "port unreachable" of an earlier packet: the silence time-out judges that.
                Err(_) => {}
            }
        }
        self.unread.push(token);
    }

    fn receive_web(&mut self, now: Instant) {
        let Self { legs, web, packet, out, unread, .. } = self;
        let Some(web) = web else { return };
        for _ in 0..WEB_BURST {
            match web.receive(packet) {
                Ok((n, from)) => web.take(legs, packet.get(..n).unwrap_or_default(), from, now, out),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
        unread.push(WEB);
    }

    fn tick(&mut self, now: Instant) {
        let ntp = ntp_now();
        let Self { legs, pacer, disk, untold, out, heard, web, .. } = self;
        pacer.due(now, |key, ticks| {
            let Some(leg) = legs.get_mut(key) else { return };
            if let Some(web) = web {
                web.wake(leg, now, out);
            }
            let web = web.as_ref();
            let Some(session) = leg.session.as_deref_mut() else { return };
            for _ in 0..ticks.min(MOST_TICKS) {
                let mut packet = session.tick(now, out);
                while let Some(send) = packet {
                    let packet_bytes = out.get(..send.len).unwrap_or_default();
                    match &mut leg.bad_line {
                        None => leg.line.send(web, packet_bytes, send.to, true),
                        Some(line) => line.take(packet_bytes, send.to, now),
                    }
                    packet = session.more(out);
                }
                if let Some(ear) = leg.ear.as_deref_mut() {
                    ear.listen(session.heard());
                }
                if leg.peer.is_some() && session.is_speaking(now) {
                    heard.extend_from_slice(session.heard());
                }
            }
            while let Some((packet, to)) = leg.bad_line.as_mut().and_then(|line| line.due(now)) {
                leg.line.send(web, packet, to, true);
            }
            if let Some(send) = session.poll_rtcp(now, ntp, out) {
                leg.line.send(web, out.get(..send.len).unwrap_or_default(), send.to, send.from_rtp);
            }
            if session.segment().len() >= CHUNK {
                save_segment(leg.id, &mut leg.segment, session, disk);
            }
            while let Some(event) = session.poll_event() {
                if let media::Event::Recorded { why, .. } = event {
                    save_segment(leg.id, &mut leg.segment, session, disk);
                    end_segment(leg.id, leg.segment.take(), why, disk, &leg.sink, untold);
                } else {
                    tell(untold, leg.sink.clone(), Event::Session(leg.id, event));
                }
            }
            if leg.recording && session.recorded().len() >= CHUNK {
                let kept = disk.frames((leg.id, None), session.recorded().to_vec());
                leg.lost_chunks += u32::from(!kept);
                session.clear_recorded();
            }
            let peer = leg.peer.and_then(|peer| legs.get_mut(peer)?.session.as_deref_mut());
            if let Some(peer) = peer {
                peer.feed(heard);
            }
            heard.clear();
        });
    }

    fn close(&mut self, key: usize, now: Instant) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        if self.by_id.remove(&leg.id).is_none() {
            return;
        }
        self.pacer.remove(key);
        self.part(key);
        let Some(leg) = self.legs.get_mut(key) else { return };
        let mut closed = Box::new(Closed::default());
        let mut had_segment = false;
        if let Some(mut session) = leg.session.take() {
            if let Some(send) = session.close(&mut self.out) {
                let bye = self.out.get(..send.len).unwrap_or_default();
                leg.line.send(self.web.as_ref(), bye, send.to, send.from_rtp);
            }
            had_segment = leg.segment.is_some();
            if let Some(take) = leg.segment.take() {
                session.stop_segment();
                let mut take = Some(take);
                save_segment(leg.id, &mut take, &mut session, &self.disk);
                end_segment(leg.id, take, Why::Stopped, &self.disk, &leg.sink, &mut self.untold);
            }
            closed.stats = session.stats();
            closed.heard = leg.ear.take().map(|ear| ear.heard());
            if leg.recording {
                leg.lost_chunks += u32::from(!self.disk.frames((leg.id, None), session.recorded().to_vec()));
            }
        }
        if let (Line::Web(browser), Some(web)) = (&leg.line, &mut self.web) {
            web.forget(browser);
        }
        if leg.lost_chunks > 0 {
            closed.recording_error =
                Some(format!("the disk was too slow: {} s are missing", leg.lost_chunks));
        }
        let (id, sink) = (leg.id, leg.sink.clone());
        self.draining.push_back((now + DRAIN, key));
        // Behind what the recorder still has to tell of this leg.
        if leg.recording || had_segment {
            if let Err((told, sink)) = self.disk.end((id, None), Told::Closed(closed), sink) {
                self.tell(sink, told.event((id, None)));
            }
        } else {
            self.tell(sink, Event::Closed(id, closed));
        }
    }

    fn tell(&mut self, sink: Sink, event: Event) {
        tell(&mut self.untold, sink, event);
    }
}

/// Hands over what a recording of its own has gathered.
fn save_segment(id: MediaId, take: &mut Option<Take>, session: &mut Session, disk: &Disk) {
    if let Some(take) = take {
        let kept = disk.frames((id, Some(take.item)), session.segment().to_vec());
        take.lost_chunks += u32::from(!kept);
    }
    session.clear_segment();
}

/// Finishes the file of a recording of its own, which is then told of.
fn end_segment(
    id: MediaId,
    take: Option<Take>,
    why: Why,
    disk: &Disk,
    sink: &Sink,
    untold: &mut VecDeque<(Sink, Event)>,
) {
    let Some(Take { item, file, lost_chunks }) = take else { return };
    let why = why.as_str();
    let error = (lost_chunks > 0).then(|| format!("the disk was too slow: {lost_chunks} parts are missing"));
    let track = (id, Some(item));
    let segment = Box::new(Segment { file, ms: None, why, error });
    if let Err((told, sink)) = disk.end(track, Told::Segment(segment), sink.clone()) {
        tell(untold, sink, told.event(track));
    }
}

fn tell(untold: &mut VecDeque<(Sink, Event)>, sink: Sink, event: Event) {
    if let Err(TrySendError::Full(event)) = sink.events.try_send(event) {
        untold.push_back((sink, event));
        return;
    }
    let _ = sink.waker.wake();
}

/// The wall clock as RTCP wants it: 32.32 fixed point seconds since 1900 (RFC 3550 section 4).
fn ntp_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    ((since.as_secs() + NTP_OFFSET) << 32) | fraction
}
