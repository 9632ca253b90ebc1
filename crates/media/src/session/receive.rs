//! What a session receives: from whom, what of it is audio or a digit, and when it is played.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Event;
use super::latch::Latch;
use crate::jitter::{Arrived, Placed, Playout};
use crate::sdp::{self, Direction, Negotiated};
use crate::stats::{Arrival, Reception};
use crate::{Codec, FRAME, Stats, dtmf, rtp};

/// The receiving half of a session.
pub(super) struct Receiver {
    latch: Latch,
    reception: Reception,
    playout: Playout,
    digits: dtmf::Receiver,
    codec: Codec,
    payload_type: u8,
    dtmf: Option<u8>,
    direction: Direction,
    /// Arrival times are counted from here.
    start: Instant,
    /// When the last packet came, or could first have come.
    last: Instant,
    silence_after: Option<Duration>,
    has_told_silence: bool,
    has_media: bool,
    packets: u64,
    octets: u64,
    duplicates: u64,
    late: u64,
    foreign: u64,
    invalid: u64,
    heard: [i16; FRAME],
}

/// What a payload type stands for.
enum Payload {
    Audio(Codec),
    Event,
}

impl Receiver {
    pub(super) fn new(negotiated: &Negotiated, silence_after: Option<Duration>, now: Instant) -> Self {
        Self {
            latch: Latch::new(negotiated.remote),
            reception: Reception::default(),
            playout: Playout::new(negotiated.codec),
            digits: dtmf::Receiver::default(),
            codec: negotiated.codec,
            payload_type: negotiated.payload_type,
            dtmf: negotiated.dtmf,
            direction: negotiated.direction,
            start: now,
            last: now,
            silence_after,
            has_told_silence: false,
            has_media: false,
            packets: 0,
            octets: 0,
            duplicates: 0,
            late: 0,
            foreign: 0,
            invalid: 0,
            heard: [0; FRAME],
        }
    }

    /// Goes on as newly agreed: who sends is found out again.
    pub(super) fn update(&mut self, negotiated: &Negotiated, now: Instant) {
        self.latch = Latch::new(negotiated.remote);
        self.codec = negotiated.codec;
        self.payload_type = negotiated.payload_type;
        self.dtmf = negotiated.dtmf;
        self.direction = negotiated.direction;
        self.playout.prepare(negotiated.codec);
        self.last = now;
        self.has_told_silence = false;
    }

    pub(super) fn handle(
        &mut self,
        bytes: &[u8],
        from: SocketAddr,
        now: Instant,
        events: &mut VecDeque<Event>,
    ) {
        let Some((packet, kind)) = rtp::Packet::parse(bytes)
            .and_then(|packet| Some((packet, self.kind(packet.header.payload_type)?)))
        else {
            self.invalid += 1;
            return;
        };
        if !self.latch.admits(from, now) {
            self.foreign += 1;
            return;
        }
        let rtp::Packet { header, payload } = packet;
        if self.reception.ssrc().is_some_and(|ssrc| ssrc != header.ssrc) {
            self.playout.reset();
            self.digits = dtmf::Receiver::default();
        }
        let arrival = self.reception.receive(header.ssrc, header.sequence);
        if arrival == Arrival::Stray {
            self.invalid += 1;
            return;
        }
        self.packets += 1;
        self.octets += payload.len() as u64;
        self.last = now;
        self.has_told_silence = false;
        if !std::mem::replace(&mut self.has_media, true) {
            events.push_back(Event::FirstMedia);
        }
        if arrival == Arrival::Duplicate {
            self.duplicates += 1;
            return;
        }
        match kind {
            Payload::Audio(codec) => {
                self.reception.time(header.timestamp, self.clock(now));
                let packet = Arrived {
                    codec,
                    sequence: header.sequence,
                    timestamp: header.timestamp,
                    talkspurt: header.marker,
                };
                match self.playout.insert(packet, payload) {
                    Placed::InTime => {}
                    Placed::Late => self.late += 1,
                    Placed::Broken => self.invalid += 1,
                }
            }
            Payload::Event => self
                .digits
                .receive(payload, header.timestamp, |digit, ms| events.push_back(Event::Digit { digit, ms })),
        }
    }

    /// Plays out one frame, and notices silence.
    pub(super) fn tick(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        self.playout.play(&mut self.heard);
        self.digits.tick(|digit, ms| events.push_back(Event::Digit { digit, ms }));
        let silent = now.saturating_duration_since(self.last);
        // On hold nobody is expected to send.
        let is_expected = self.direction == Direction::SendRecv;
        if is_expected && !self.has_told_silence && self.silence_after.is_some_and(|after| silent >= after) {
            self.has_told_silence = true;
            events.push_back(Event::Silent { for_: silent });
        }
    }

    /// Beside what was agreed on, what we offer is always taken: an answer may list both laws of G.711, and one with
    /// a type of its own for events is to be sent that but may send ours (RFC 3264 6.1).
    fn kind(&self, payload_type: u8) -> Option<Payload> {
        if Some(payload_type) == self.dtmf {
            Some(Payload::Event)
        } else if payload_type == self.payload_type {
            Some(Payload::Audio(self.codec))
        } else if payload_type == sdp::TELEPHONE_EVENT && self.dtmf.is_some() {
            Some(Payload::Event)
        } else {
            Codec::from_payload_type(payload_type).map(Payload::Audio)
        }
    }

    /// `now` in timestamp units (8 kHz).
    fn clock(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.start).as_micros() / 125) as u32
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.latch.remote()
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
