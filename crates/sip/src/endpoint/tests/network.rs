use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::super::{Config, Endpoint, Event, Input, Output};
use crate::{Path, Transport};

/// Two endpoints, a network between them that misbehaves by seed, and a clock that jumps to the next event.
pub struct Pair {
    pub sides: [Endpoint; 2],
    pub now: Instant,
    rng: ChaCha20Rng,
    transport: Transport,
    /// Percent of datagrams lost, and of those left, sent twice.
    bad_percent: u64,
    in_flight: BTreeMap<(Instant, u64), (usize, Bytes)>,
    sent: u64,
    /// When the last bytes in each direction arrive: a stream keeps its order.
    last_arrival: [Option<Instant>; 2],
}

impl Pair {
    pub fn new(seed: u64, transport: Transport, bad_percent: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let sides = std::array::from_fn(|_| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            Endpoint::new(Config::default(), seed)
        });
        Self {
            sides,
            now: Instant::now(),
            rng,
            transport,
            bad_percent,
            in_flight: BTreeMap::new(),
            sent: 0,
            last_arrival: [None; 2],
        }
    }

    /// The way from one side to the other.
    pub fn path_from(&self, side: usize) -> Path {
        let address = |side| SocketAddr::from(([192, 0, 2, if side == 0 { 1 } else { 2 }], 5060));
        Path::new(self.transport, address(side), address(1 - side))
    }

    /// A number below `limit`.
    pub fn random(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    /// A time below `limit_ms`.
    pub fn random_ms(&mut self, limit_ms: u64) -> Duration {
        Duration::from_millis(self.random(limit_ms))
    }

    /// Takes what both sides put out: messages into the network, events to the caller.
    pub fn events(&mut self) -> Vec<(usize, Event)> {
        let mut events = Vec::new();
        for side in [0, 1] {
            while let Some(output) = self.sides[side].poll_output() {
                match output {
                    Output::Send { path, bytes } => {
                        assert_eq!(path, self.path_from(side), "sent elsewhere: {}", bytes.escape_ascii());
                        self.carry(1 - side, &bytes);
                    }
                    Output::Close { .. } => panic!("side {side} closed the stream"),
                    Output::Event(event) => events.push((side, event)),
                }
            }
        }
        events
    }

    fn carry(&mut self, to: usize, bytes: &Bytes) {
        if self.transport == Transport::Tcp {
            let size = 1 + self.random(600) as usize;
            for chunk in bytes.chunks(size) {
                let at = (self.now + self.random_ms(30)).max(self.last_arrival[to].unwrap_or(self.now));
                self.last_arrival[to] = Some(at);
                self.deliver_at(at, to, Bytes::copy_from_slice(chunk));
            }
            return;
        }
        for _copy in 0..2 {
            if self.random(100) >= self.bad_percent {
                let at = self.now + self.random_ms(400);
                self.deliver_at(at, to, bytes.clone());
            }
            if self.random(100) >= self.bad_percent {
                break;
            }
        }
    }

    fn deliver_at(&mut self, at: Instant, to: usize, bytes: Bytes) {
        self.sent += 1;
        self.in_flight.insert((at, self.sent), (to, bytes));
    }

    /// Jumps to what happens next, but not past `limit`; false if nothing does.
    pub fn step(&mut self, limit: Option<Instant>) -> bool {
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let timers = self.sides.iter().filter_map(Endpoint::poll_timeout);
        let Some(next) = timers.chain(arrival).chain(limit).min() else { return false };
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, bytes) = entry.remove();
            let (path, bytes) = (self.path_from(to), &bytes[..]);
            let input = match self.transport {
                Transport::Udp => Input::Datagram { path, bytes },
                Transport::Tcp | Transport::Tls => Input::Stream { path, bytes },
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
