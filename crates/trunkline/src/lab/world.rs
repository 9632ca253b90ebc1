//! Both sides of a test's call and the time between them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip::{Event, Input, Output};

use super::gateway::{Gateway, SIP_PORT};
use super::network::{Network, Way};
use super::render::render;
use super::wires::{OURS, THEIRS, Wires};
use super::{Test, Told};
use crate::id::Id;
use crate::rtp::Heard;
use crate::sim::exchange::Exchange;
use crate::sim::{Directory, Voices};

/// How long the callee may go on once our side is done: until it has answered even a late BYE.
const AFTERWARDS: Duration = Duration::from_secs(70);
/// Turns at one moment; more would mean that both sides never come to rest.
const MOST_TURNS: usize = 10_000;

/// What became of a call.
pub(super) struct Ran {
    pub(super) took: Duration,
    pub(super) outcome: Option<call::Outcome>,
    pub(super) told: Vec<Told>,
    pub(super) joined: bool,
    pub(super) heard: Option<Heard>,
    pub(super) keys: String,
    /// Whether nothing was left of the call on either side.
    pub(super) at_rest: bool,
}

struct World {
    gateway: Gateway,
    between: Network,
    network: sip::Endpoint,
    exchange: Exchange<Wires>,
}

/// Places the call of a test and follows it to its end.
pub(super) fn call(test: &Test, directory: &Directory, folder: &Path) -> Ran {
    let began = Instant::now();
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let limits = (seconds(test.ring_timeout_s), seconds(test.max_duration_s));
    let rendered = render(&test.flow, folder, limits.1);
    let config = sip::Config { max_datagram: None, ..sip::Config::default() };
    let mut wires = Wires::default();
    wires.badly = Network::sound(test.network_seed);
    let mut world = World {
        gateway: Gateway::new(&test.to, rendered, limits, Id::NIL, began),
        between: Network::new(test.network_seed),
        network: sip::Endpoint::new(config, [2; 32]),
        exchange: Exchange::new(test.directory(directory), Arc::new(Voices::default()), wires),
    };
    let mut now = began;
    world.turn(now);
    let mut ended = world.gateway.outcome.as_ref().map(|_| now);
    while let Some(next) = world.poll_timeout() {
        now = next.max(now);
        if ended.is_some_and(|ended| now > ended + AFTERWARDS) {
            break;
        }
        world.handle_timeout(now);
        world.turn(now);
        if ended.is_none() && world.gateway.outcome.is_some() {
            ended = Some(now);
        }
    }
    let at_rest = world.is_at_rest();
    let lines = &world.exchange.lines;
    Ran {
        took: ended.unwrap_or(now).saturating_duration_since(began),
        outcome: world.gateway.outcome,
        told: world.gateway.told,
        joined: world.gateway.joined,
        heard: lines.heard,
        keys: lines.keys.clone(),
        at_rest,
    }
}

impl World {
    fn poll_timeout(&self) -> Option<Instant> {
        let exchange = [self.exchange.poll_timeout(), self.exchange.lines.poll_timeout()];
        let sip = [self.gateway.poll_timeout(), self.between.poll_timeout(), self.network.poll_timeout()];
        exchange.into_iter().chain(sip).flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.exchange.lines.at(now);
        self.exchange.lines.handle_timeout(now);
        self.gateway.handle_timeout(now);
        self.network.handle_timeout(now);
        self.exchange.handle_timeout(&mut self.network, now);
    }

    /// Lets both sides do what there is to do now, until both have come to rest.
    fn turn(&mut self, now: Instant) {
        self.exchange.lines.at(now);
        for _ in 0..MOST_TURNS {
            let mut busy = self.gateway.step(&mut self.exchange.lines, now);
            busy |= self.arrived(now);
            busy |= self.our_output(now);
            busy |= self.their_output(now);
            busy |= self.heard(now);
            if !busy {
                return;
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let idle = |sip: &sip::Endpoint| (sip.stats().legs, sip.stats().transactions) == (0, 0);
        self.exchange.is_idle() && idle(&self.gateway.sip) && idle(&self.network)
    }

    fn arrived(&mut self, now: Instant) -> bool {
        let path = |from, to| sip::Path::new(sip::Transport::Udp, at(from), at(to));
        match self.between.arrived(now) {
            None => return false,
            Some((Way::Theirs, bytes)) if self.exchange.admits(&bytes, now) => {
                self.network.handle_input(Input::Datagram { path: path(THEIRS, OURS), bytes: &bytes }, now);
            }
            Some((Way::Theirs, _)) => {}
            Some((Way::Ours, bytes)) => {
                self.gateway
                    .sip
                    .handle_input(Input::Datagram { path: path(OURS, THEIRS), bytes: &bytes }, now);
            }
        }
        true
    }

    fn our_output(&mut self, now: Instant) -> bool {
        match self.gateway.sip.poll_output() {
            None => return false,
            Some(Output::Event(event)) => self.gateway.sip_event(event, &mut self.exchange.lines, now),
            Some(Output::Send { bytes, .. }) => self.between.carry(Way::Theirs, &bytes, now),
            Some(Output::Close { .. }) => {}
        }
        true
    }

    fn their_output(&mut self, now: Instant) -> bool {
        match self.network.poll_output() {
            None => return false,
            Some(Output::Event(Event::Incoming { leg, request, .. })) => {
                self.exchange.incoming(&mut self.network, leg, &request, now);
                self.exchange.handle_timeout(&mut self.network, now);
            }
            Some(Output::Event(event)) => self.exchange.sip_event(&mut self.network, event, now),
            Some(Output::Send { bytes, .. }) => self.between.carry(Way::Ours, &bytes, now),
            Some(Output::Close { .. }) => {}
        }
        true
    }

    fn heard(&mut self, now: Instant) -> bool {
        let Some((port, event)) = self.exchange.lines.poll_event() else { return false };
        if self.gateway.media_event(port, &event, now) {
            return true;
        }
        match event {
            media::Event::Played { id, .. } | media::Event::Recorded { id, .. } => {
                self.exchange.done(&mut self.network, port, id, now);
            }
            media::Event::Digit { digit, .. } => {
                self.exchange.lines.key(port, digit);
                self.exchange.pressed(&mut self.network, port, digit, now);
            }
            media::Event::FirstMedia | media::Event::Silent { .. } => {}
        }
        true
    }
}

fn at(side: std::net::IpAddr) -> SocketAddr {
    SocketAddr::new(side, SIP_PORT)
}
