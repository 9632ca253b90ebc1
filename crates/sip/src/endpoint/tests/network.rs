use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::super::{Config, Endpoint, Event, Input, Output};
use crate::{Path, Transport};

/// The most messages in a row that are lost on one way, so that what is sent often enough arrives.
const MAX_LOST: u8 = 2;

/// A caller, one or two callees, a network between them that misbehaves by seed, and a clock that jumps to the next
/// event.
pub struct Pair {
    /// The caller first.
    pub sides: Vec<Endpoint>,
    pub now: Instant,
    rng: ChaCha20Rng,
    transport: Transport,
    /// Percent of datagrams lost, and of those left, sent twice.
    bad_percent: u64,
    /// When the network goes dark for good.
    pub dark_at: Option<Instant>,
    in_flight: BTreeMap<(Instant, u64), (usize, usize, Bytes)>,
    sent: u64,
    lost: BTreeMap<(usize, usize), u8>,
    /// When the last bytes in each direction arrive: a stream keeps its order.
    last_arrival: BTreeMap<(usize, usize), Instant>,
    /// Prints what goes on.
    pub loud: bool,
}

impl Pair {
    pub fn new(seed: u64, transport: Transport, bad_percent: u64, configs: Vec<Config>) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let sides = configs.into_iter().map(|config| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            Endpoint::new(config, seed)
        });
        Self {
            sides: sides.collect(),
            now: Instant::now(),
            rng,
            transport,
            bad_percent,
            dark_at: None,
            in_flight: BTreeMap::new(),
            sent: 0,
            lost: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            loud: false,
        }
    }

    /// The way from one side to another.
    pub fn path(&self, from: usize, to: usize) -> Path {
        let address = |side: usize| SocketAddr::from(([192, 0, 2, 1 + side as u8], 5060));
        Path::new(self.transport, address(from), address(to))
    }

    /// A number below `limit`.
    pub fn random(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    /// A time below `limit_ms`.
    pub fn random_ms(&mut self, limit_ms: u64) -> Duration {
        Duration::from_millis(self.random(limit_ms))
    }

    /// Takes what all sides put out: messages into the network, events to the caller.
    pub fn events(&mut self) -> Vec<(usize, Event)> {
        let mut events = Vec::new();
        for side in 0..self.sides.len() {
            while let Some(output) = self.sides[side].poll_output() {
                match output {
                    Output::Send { path, bytes } => self.carry(side, path, &bytes),
                    Output::Close { .. } => panic!("side {side} closed the stream"),
                    Output::Event(event) => events.push((side, event)),
                }
            }
        }
        events
    }

    fn carry(&mut self, from: usize, path: Path, bytes: &Bytes) {
        let to = (0..self.sides.len()).find(|to| self.path(from, *to) == path);
        let to = to.unwrap_or_else(|| panic!("sent elsewhere: {path:?} {}", bytes.escape_ascii()));
        self.carry_to(from, to, bytes);
        // What is for the number, and not for a phone, goes to all phones.
        let is_for_all = [&b"INVITE sip:+1"[..], b"CANCEL sip:+1", b"ACK sip:+1"];
        if self.sides.len() > 2 && is_for_all.iter().any(|start| bytes.starts_with(start)) {
            self.carry_to(from, 2, bytes);
        }
    }

    fn carry_to(&mut self, from: usize, to: usize, bytes: &Bytes) {
        let way = (from, to);
        if self.dark_at.is_some_and(|at| at <= self.now) {
            return;
        }
        if self.transport == Transport::Tcp {
            let size = 1 + self.random(600) as usize;
            for chunk in bytes.chunks(size) {
                let last = self.last_arrival.get(&way).copied().unwrap_or(self.now);
                let at = (self.now + self.random_ms(30)).max(last);
                self.last_arrival.insert(way, at);
                self.deliver_at(at, way, Bytes::copy_from_slice(chunk));
            }
            return;
        }
        for _copy in 0..2 {
            let lost = self.lost.get(&way).copied().unwrap_or(0);
            if lost < MAX_LOST && self.random(100) < self.bad_percent {
                self.lost.insert(way, lost + 1);
            } else {
                self.lost.insert(way, 0);
                let at = self.now + self.random_ms(400);
                self.deliver_at(at, way, bytes.clone());
            }
            if self.random(100) >= self.bad_percent {
                break;
            }
        }
    }

    fn deliver_at(&mut self, at: Instant, (from, to): (usize, usize), bytes: Bytes) {
        self.sent += 1;
        self.in_flight.insert((at, self.sent), (from, to, bytes));
    }

    /// Jumps to what happens next, but not past `limit`; false if nothing does.
    pub fn step(&mut self, limit: Option<Instant>, start: Instant) -> bool {
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let timers = self.sides.iter().filter_map(Endpoint::poll_timeout);
        let Some(next) = timers.chain(arrival).chain(limit).min() else { return false };
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, bytes) = entry.remove();
            if self.loud {
                let text = String::from_utf8_lossy(&bytes);
                eprintln!("{:?} {from} -> {to}: {text}", self.now - start);
            }
            let (path, bytes) = (self.path(to, from), &bytes[..]);
            let input = match self.transport {
                Transport::Udp => Input::Datagram { path, bytes },
                _ => Input::Stream { path, bytes },
            };
            self.sides[to].handle_input(input, self.now);
        }
        for side in &mut self.sides {
            if side.poll_timeout().is_some_and(|at| at <= self.now) {
                side.handle_timeout(self.now);
            }
        }
        true
    }
}
