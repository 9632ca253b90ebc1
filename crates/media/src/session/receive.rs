//! What a session receives: from whom, what of it is audio or a digit, and when it is played.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Event;
use super::latch::Latch;
use crate::dtmf::{self, By, Detector, Floor};
use crate::jitter::{Arrived, Placed, Playout};
use crate::sdp::{Direction, Dtmf, Format, Negotiated};
use crate::stats::{Arrival, Reception};
use crate::{Codec, FRAME, Stats, rtp};

/// The level of comfort noise that is none, in -dBov.
const SILENCE: u8 = 127;

/// After so long without a packet they say nothing.
const QUIET: Duration = Duration::from_secs(1);

/// The receiving half of a session.
pub(super) struct Receiver {
    latch: Latch,
    reception: Reception,
    playout: Playout,
    digits: dtmf::Receiver,
    /// Listens for tones where digits do not come as events.
    detector: Option<Box<Detector>>,
    floor: Floor,
    /// What the payload types mean.
    negotiated: Negotiated,
    /// Arrival times are counted from here.
    start: Instant,
    /// When the last packet came, or could first have come.
    last: Instant,
    /// When a packet really came.
    last_heard: Option<Instant>,
    silence_after: Option<Duration>,
    has_told_silence: bool,
    has_media: bool,
    packets: u64,
    octets: u64,
    duplicates: u64,
    late: u64,
    foreign: u64,
    invalid: u64,
    /// Whether anybody hears what is played.
    is_heard: bool,
    /// Sound in this codec is handed over as it is.
    relay: Option<Codec>,
    /// Whether the last sound was.
    hands_over: bool,
    heard: [i16; FRAME],
}

impl Receiver {
    pub(super) fn new(negotiated: &Negotiated, silence_after: Option<Duration>, now: Instant) -> Self {
        Self {
            latch: Latch::new(negotiated.remote),
            reception: Reception::default(),
            playout: Playout::new(negotiated.codec),
            digits: dtmf::Receiver::default(),
            detector: detector(negotiated),
            floor: Floor::default(),
            negotiated: negotiated.clone(),
            start: now,
            last: now,
            last_heard: None,
            silence_after,
            has_told_silence: false,
            has_media: false,
            packets: 0,
            octets: 0,
            duplicates: 0,
            late: 0,
            foreign: 0,
            invalid: 0,
            is_heard: true,
            relay: None,
            hands_over: false,
            heard: [0; FRAME],
        }
    }

    /// From now on hands over sound in this codec as it is, or none.
    pub(super) fn relay(&mut self, codec: Option<Codec>) {
        self.relay = codec;
        self.hands_over &= codec.is_some();
    }

    /// Whether the sound that comes is handed over.
    pub(super) fn hands_over(&self) -> bool {
        self.hands_over
    }

    /// Whether nothing comes, and no noise of theirs is to be heard meanwhile.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let is_there = |at: Instant| now.saturating_duration_since(at) < QUIET;
        !self.last_heard.is_some_and(is_there) && !self.playout.has_noise()
    }

    /// Goes on as newly agreed: who sends is found out again.
    pub(super) fn update(&mut self, negotiated: &Negotiated, now: Instant) {
        // Where a browser is only ICE says.
        if negotiated.web.is_none() {
            self.latch = Latch::new(negotiated.remote);
        }
        self.detector = detector(negotiated);
        self.negotiated = negotiated.clone();
        self.playout.prepare(negotiated.codec);
        self.last = now;
        self.has_told_silence = false;
    }

    /// Takes a packet; gives it back where it is to be handed over.
    pub(super) fn handle<'p>(
        &mut self,
        bytes: &'p [u8],
        from: SocketAddr,
        is_authentic: bool,
        now: Instant,
        events: &mut VecDeque<Event>,
    ) -> Option<rtp::Packet<'p>> {
        let Some((packet, format)) = rtp::Packet::parse(bytes)
            .and_then(|packet| Some((packet, self.negotiated.format(packet.header.payload_type)?)))
        else {
            self.invalid += 1;
            return None;
        };
        if !self.latch.admits(from, is_authentic, now) {
            self.foreign += 1;
            return None;
        }
        let rtp::Packet { header, payload } = packet;
        if self.reception.ssrc().is_some_and(|ssrc| ssrc != header.ssrc) {
            self.playout.reset();
            self.digits = dtmf::Receiver::default();
        }
        let arrival = self.reception.receive(header.ssrc, header.sequence);
        if arrival == Arrival::Stray {
            self.invalid += 1;
            return None;
        }
        self.packets += 1;
        self.octets += payload.len() as u64;
        self.last = now;
        self.last_heard = Some(now);
        self.has_told_silence = false;
        if !std::mem::replace(&mut self.has_media, true) {
            events.push_back(Event::FirstMedia);
        }
        if arrival == Arrival::Duplicate {
            self.duplicates += 1;
            return None;
        }
        match format {
            Format::Audio(codec) => {
                let clock = codec.clock();
                self.reception.time(header.timestamp, self.arrival(now, clock), clock);
                self.hands_over = self.relay == Some(codec);
                let relayed = self.hands_over.then_some(packet);
                if !self.is_heard {
                    return relayed;
                }
                let arrived = Arrived {
                    codec,
                    sequence: header.sequence,
                    timestamp: header.timestamp,
                    talkspurt: header.marker,
                };
                match self.playout.insert(arrived, payload) {
                    Placed::InTime => {}
                    Placed::Late => self.late += 1,
                    Placed::Broken => self.invalid += 1,
                }
                return relayed;
            }
            Format::Event(clock) => {
                // While a key is pressed there is no sound.
                self.playout.pause(SILENCE);
                let floor = &mut self.floor;
                self.digits.receive(payload, header.timestamp, clock, |digit, ms| {
                    press(floor, events, digit, ms, By::Rfc4733, now);
                });
            }
            Format::ComfortNoise => self.playout.pause(payload.first().map_or(SILENCE, |level| level & 0x7F)),
        }
        None
    }

    /// A digit that came by SIP INFO.
    pub(super) fn press(&mut self, digit: char, ms: u16, now: Instant, events: &mut VecDeque<Event>) {
        press(&mut self.floor, events, digit, ms, By::Info, now);
    }

    /// The digits that came since this was last asked.
    pub(super) fn pressed(&mut self) -> impl Iterator<Item = char> + use<> {
        self.floor.pressed()
    }

    /// Plays out one frame where it is heard, and notices silence.
    pub(super) fn tick(&mut self, is_heard: bool, now: Instant, events: &mut VecDeque<Event>) {
        let is_heard = is_heard || self.detector.is_some();
        if std::mem::replace(&mut self.is_heard, is_heard) && !is_heard {
            self.playout.reset();
            self.heard = [0; FRAME];
        }
        if is_heard {
            self.playout.play(&mut self.heard);
        }
        let floor = &mut self.floor;
        self.digits.tick(|digit, ms| press(floor, events, digit, ms, By::Rfc4733, now));
        if let Some(detector) = &mut self.detector {
            detector.listen(&self.heard, |digit, ms| press(floor, events, digit, ms, By::Inband, now));
        }
        let silent = now.saturating_duration_since(self.last);
        // On hold nobody is expected to send.
        let is_expected = self.negotiated.direction == Direction::SendRecv;
        if is_expected && !self.has_told_silence && self.silence_after.is_some_and(|after| silent >= after) {
            self.has_told_silence = true;
            events.push_back(Event::Silent { for_: silent });
        }
    }

    /// `now` in timestamp units, of which `clock` make a second.
    fn arrival(&self, now: Instant, clock: u32) -> u32 {
        (now.saturating_duration_since(self.start).as_micros() * u128::from(clock) / 1_000_000) as u32
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.latch.remote()
    }

    pub(super) fn send_to(&mut self, remote: SocketAddr) {
        if self.latch.remote() != remote {
            self.latch = Latch::new(remote);
        }
    }

    pub(super) fn heard(&self) -> &[i16; FRAME] {
        &self.heard
    }

    pub(super) fn reception(&mut self) -> &mut Reception {
        &mut self.reception
    }

    /// The share of the packets that could not be played, 0 to 1; `None` before the first.
    pub(super) fn missing(&self) -> Option<f32> {
        let expected = self.reception.expected();
        (expected > 0).then(|| (self.reception.lost() + self.late) as f32 / expected as f32)
    }

    /// Puts what is counted here into `stats`.
    pub(super) fn count(&self, stats: &mut Stats) {
        stats.source = self.latch.found();
        stats.last_heard = self.last_heard;
        stats.packets_received = self.packets;
        stats.octets_received = self.octets;
        stats.lost = self.reception.lost();
        stats.duplicates = self.duplicates;
        stats.late = self.late;
        stats.foreign += self.foreign;
        stats.invalid += self.invalid;
        (stats.jitter_ms, stats.max_jitter_ms) = self.reception.jitter_ms();
    }
}

/// Listens for tones unless digits come as events.
fn detector(negotiated: &Negotiated) -> Option<Box<Detector>> {
    (!matches!(negotiated.dtmf, Dtmf::Rfc4733(_))).then(|| Box::new(Detector::new()))
}

/// Reports a digit if it came in the way that counts.
fn press(floor: &mut Floor, events: &mut VecDeque<Event>, digit: char, ms: u16, by: By, now: Instant) {
    if floor.admits(digit, by, now) {
        events.push_back(Event::Digit { digit, ms, by });
    }
}
