//! Media without a network: sessions by their RTP port, ticked together, whose packets go straight to one another.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use media::sdp::Negotiated;
use media::{Clip, Event, FRAME_TIME, Rules, Session, Setup};

use crate::id::Id;
use crate::rtp::{BadLine, Ear, Heard, Impairment};
use crate::sim::exchange::Lines;

/// Where our side is (RFC 5737).
pub(super) const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Where the network is.
pub(super) const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// The first port given out.
const FIRST_PORT: u16 = 16_384;

/// All lines of one test.
#[derive(Default)]
pub(super) struct Wires {
    ends: BTreeMap<u16, End>,
    opened: u16,
    /// When the next frame is due; none while nobody speaks.
    tick: Option<Instant>,
    now: Option<Instant>,
    told: VecDeque<(u16, Event)>,
    /// What the network does to the sound of every line, by a seed.
    pub(super) badly: Option<(Impairment, u64)>,
    /// What the callee of the first leg heard.
    pub(super) heard: Option<Heard>,
    /// The keys it heard.
    pub(super) keys: String,
}

struct End {
    session: Option<Session>,
    peer: Option<u16>,
    /// The callee of the first leg: what it hears is asked for.
    ear: Option<Ear>,
    bad_line: Option<BadLine>,
}

struct Packet {
    from: u16,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Wires {
    pub(super) fn new_line(&mut self) -> u16 {
        let port = FIRST_PORT + self.opened * 2;
        self.opened = (self.opened + 1) % 20_000;
        let line = |(how, seed): (Impairment, u64)| BadLine::new(how, seed.wrapping_add(port.into()));
        self.ends.insert(port, End { session: None, peer: None, ear: None, bad_line: self.badly.map(line) });
        port
    }

    /// The time of what is said to the lines from now on.
    pub(super) fn at(&mut self, now: Instant) {
        self.now = Some(now);
    }

    fn now(&self) -> Option<Instant> {
        self.now
    }

    pub(super) fn session(&mut self, port: u16) -> Option<&mut Session> {
        self.ends.get_mut(&port)?.session.as_mut()
    }

    pub(super) fn connect(
        &mut self,
        port: u16,
        negotiated: Negotiated,
        silence_after: Option<Duration>,
        now: Instant,
    ) {
        let Some(end) = self.ends.get_mut(&port) else { return };
        let number = u32::from(port);
        let (ssrc, sequence, timestamp) = (number, port, number);
        let cname = "lab".to_owned();
        let setup = Setup { negotiated, ssrc, sequence, timestamp, cname, record: false, silence_after };
        let mut session = Session::new(setup, now);
        session.live(end.peer.is_some());
        end.session = Some(session);
        self.tick.get_or_insert(now + FRAME_TIME);
    }

    /// A callee heard a key.
    pub(super) fn key(&mut self, port: u16, key: char) {
        if self.ends.get(&port).is_some_and(|end| end.ear.is_some()) {
            self.keys.push(key);
        }
    }

    /// Lets two ends hear one another.
    pub(super) fn join(&mut self, one: u16, other: u16) {
        for (port, peer) in [(one, other), (other, one)] {
            if let Some(end) = self.ends.get_mut(&port) {
                end.peer = Some(peer);
                if let Some(session) = &mut end.session {
                    session.live(true);
                }
            }
        }
    }

    pub(super) fn hang_up(&mut self, port: u16) {
        let Some(end) = self.ends.remove(&port) else { return };
        if let Some(ear) = end.ear {
            self.heard = Some(ear.heard());
        }
        if let Some(peer) = end.peer.and_then(|peer| self.ends.get_mut(&peer)) {
            peer.peer = None;
            if let Some(session) = &mut peer.session {
                session.live(false);
            }
        }
        if self.ends.values().all(|end| end.session.is_none()) {
            self.tick = None;
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<(u16, Event)> {
        self.told.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.tick
    }

    /// One frame of everybody, if it is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.tick.is_none_or(|at| at > now) {
            return;
        }
        self.tick = Some(now + FRAME_TIME);
        let mut packets = Vec::new();
        let mut heard = Vec::new();
        for (port, end) in &mut self.ends {
            let Some(session) = &mut end.session else { continue };
            let sent = session_tick(session, now);
            end.send(*port, sent, now, &mut packets);
            let Some(session) = &mut end.session else { continue };
            if let Some(ear) = &mut end.ear {
                ear.listen(session.heard());
            }
            if let Some(peer) = end.peer {
                heard.push((peer, session.heard().to_vec()));
            }
            session.clear_segment();
            while let Some(event) = session.poll_event() {
                self.told.push_back((*port, event));
            }
        }
        for (peer, frame) in heard {
            if let Some(session) = self.session(peer) {
                session.feed(&frame);
            }
        }
        for Packet { from, to, bytes } in packets {
            let from = SocketAddr::new(if to.ip() == OURS { THEIRS } else { OURS }, from);
            if let Some(session) = self.session(to.port()) {
                session.handle_rtp(&bytes, from, now);
            }
        }
    }
}

/// The packets of one frame.
fn session_tick(session: &mut Session, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut out = [0; 1500];
    let mut packets = Vec::new();
    let mut packet = session.tick(now, &mut out);
    while let Some(send) = packet {
        packets.push((send.to, out.get(..send.len).unwrap_or_default().to_vec()));
        packet = session.more(&mut out);
    }
    packets
}

impl End {
    fn send(&mut self, from: u16, sent: Vec<(SocketAddr, Vec<u8>)>, now: Instant, packets: &mut Vec<Packet>) {
        let Some(line) = &mut self.bad_line else {
            packets.extend(sent.into_iter().map(|(to, bytes)| Packet { from, to, bytes }));
            return;
        };
        for (to, bytes) in sent {
            line.take(&bytes, to, now);
        }
        while let Some((bytes, to)) = line.due(now) {
            packets.push(Packet { from, to, bytes: bytes.to_vec() });
        }
    }
}

impl Lines for Wires {
    type Line = u16;

    fn open(&mut self, call: Option<Id>) -> Option<(u16, IpAddr, u16)> {
        let port = self.new_line();
        if let Some(end) = self.ends.get_mut(&port) {
            end.ear = call.map(|_| Ear::new());
        }
        Some((port, THEIRS, port))
    }

    fn start(&mut self, line: u16, negotiated: Negotiated) -> Result<(), u16> {
        let now = self.now().ok_or(500_u16)?;
        self.connect(line, negotiated, None, now);
        Ok(())
    }

    fn update(&mut self, line: u16, negotiated: Negotiated) {
        if let (Some(now), Some(session)) = (self.now(), self.session(line)) {
            session.update(negotiated, now);
        }
    }

    fn play(&mut self, line: u16, id: u32, clip: Clip) {
        if let (Some(now), Some(session)) = (self.now(), self.session(line)) {
            session.play(id, clip, now);
        }
    }

    fn stop(&mut self, line: u16) {
        if let Some(session) = self.session(line) {
            session.stop();
        }
    }

    fn press(&mut self, line: u16, id: u32, keys: &str) {
        let Some(now) = self.now() else { return };
        let pressed = self.session(line).is_some_and(|session| session.digits(id, keys, now).is_ok());
        if !pressed {
            self.told.push_back((line, Event::Played { id, whole: false }));
        }
    }

    fn info(&mut self, line: u16, key: char, ms: u16) {
        if let (Some(now), Some(session)) = (self.now(), self.session(line)) {
            session.info(key, ms, now);
        }
    }

    fn echo(&mut self, line: u16) {
        if let Some(session) = self.session(line) {
            session.echo(true);
        }
    }

    fn record(&mut self, line: u16, id: u32, longest: Duration) {
        if let Some(session) = self.session(line) {
            let rules = Rules { beep: false, max: longest, end_silence: None, end_keys: String::new() };
            session.record_segment(id, rules);
        }
    }

    fn impair(&mut self, line: u16, how: Impairment) {
        if let Some(end) = self.ends.get_mut(&line) {
            end.bad_line.get_or_insert_with(|| BadLine::new(how, line.into())).set(how);
        }
    }

    fn close(&mut self, line: u16) {
        self.hang_up(line);
    }
}
