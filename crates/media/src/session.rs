//! One leg's media.

mod latch;
mod receive;
mod report;
mod send;
mod tape;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::receive::Receiver;
use self::report::Reports;
use self::send::{Content, Item, Sender};
use self::tape::Tape;
use crate::dtmf::Dialling;
use crate::sdp::{Direction, Negotiated};
use crate::stats::mos;
use crate::{Clip, DtmfError, Stats};

/// How a leg's media starts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What offer and answer agreed on.
    pub negotiated: Negotiated,
    /// Our synchronisation source, random (RFC 3550 section 8).
    pub ssrc: u32,
    /// The sequence number we start with, random (RFC 3550 5.1).
    pub sequence: u16,
    /// The RTP timestamp we start with, random (RFC 3550 5.1).
    pub timestamp: u32,
    /// Our canonical name in RTCP (RFC 7022); cut at 255 bytes.
    pub cname: String,
    /// Whether [`Session::recorded`] collects what is heard and sent.
    pub record: bool,
    /// How long without RTP from there makes an [`Event::Silent`]. Counts only while media flows both ways: on hold
    /// nobody need send.
    pub silence_after: Option<Duration>,
}

/// A packet to be sent: the first `len` bytes of the buffer that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// Bytes written.
    pub len: usize,
    /// Where they go.
    pub to: SocketAddr,
}

/// What happened to the media.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first valid RTP packet came.
    FirstMedia,
    /// What [`Session::play`], [`Session::pause`] or [`Session::digits`] queued is over.
    Played {
        /// The id it was queued with.
        id: u32,
        /// Whether it was played to its end.
        whole: bool,
    },
    /// They pressed a key (RFC 4733).
    Digit {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// How long it was pressed, in ms.
        ms: u16,
    },
    /// No RTP came for `for_`, at least as long as [`Setup::silence_after`]; said once until media comes again.
    Silent {
        /// The time since the last packet.
        for_: Duration,
    },
}

/// One leg's media.
///
/// The driver calls [`Session::tick`] every 20 ms and hands over packets as they come; when it is late, it first
/// hands over what has come and then ticks as often as frames are due. Nothing here allocates per packet.
pub struct Session {
    sender: Sender,
    receiver: Receiver,
    reports: Reports,
    tape: Option<Tape>,
    direction: Direction,
    /// The address of the SDP is unspecified: RFC 2543's way to say hold.
    is_held: bool,
    echoes: bool,
    events: VecDeque<Event>,
}

impl Session {
    /// Media as agreed on, from `now` on.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let negotiated = &setup.negotiated;
        Self {
            sender: Sender::new(&setup),
            receiver: Receiver::new(negotiated, setup.silence_after, now),
            tape: setup.record.then(Tape::default),
            direction: negotiated.direction,
            is_held: is_nowhere(negotiated.remote),
            echoes: false,
            events: VecDeque::new(),
            reports: Reports::new(setup.cname, negotiated.remote_rtcp, now),
        }
    }

    /// Takes over what a re-INVITE agreed on: address, codec, direction. Latching starts again; the stream of our
    /// packets goes on, and so does the queue (digits are dropped if they are no longer taken).
    pub fn update(&mut self, negotiated: Negotiated, now: Instant) {
        self.direction = negotiated.direction;
        self.is_held = is_nowhere(negotiated.remote);
        self.sender.update(&negotiated, &mut self.events);
        self.receiver.update(&negotiated, now);
        self.reports.update(negotiated.remote_rtcp);
    }

    /// Queues a clip behind what is playing.
    pub fn play(&mut self, id: u32, clip: Clip, _now: Instant) {
        self.sender.queue(Item { id, content: Content::Clip { clip, at: 0 } });
    }

    /// Queues silence, counted in samples of 1/8 ms.
    pub fn pause(&mut self, id: u32, length: Duration, _now: Instant) {
        let samples = u64::try_from(length.as_micros() / 125).unwrap_or(u64::MAX);
        self.sender.queue(Item { id, content: Content::Pause { samples } });
    }

    /// Queues digits as RFC 4733 events, 100 ms each and 60 ms apart; `w` is half a second of pause.
    pub fn digits(&mut self, id: u32, digits: &str, _now: Instant) -> Result<(), DtmfError> {
        let dialling = Dialling::new(digits)?;
        if !self.sender.takes_digits() {
            return Err(DtmfError::NotNegotiated);
        }
        self.sender.queue(Item { id, content: Content::Digits(dialling) });
        Ok(())
    }

    /// Drops the queue; each id in it gets an [`Event::Played`] with `whole: false`.
    pub fn stop(&mut self) {
        self.sender.stop(&mut self.events);
    }

    /// Whether to send back what is heard while nothing is queued.
    pub fn echo(&mut self, on: bool) {
        self.echoes = on;
    }

    /// Takes a packet that came to the RTP port.
    ///
    /// We send to the address of the SDP until the first valid packet came, then to where it came from. Within the
    /// first second the source may change to the address of the SDP; packets of another are counted as foreign.
    pub fn handle_rtp(&mut self, packet: &[u8], from: SocketAddr, now: Instant) {
        self.receiver.handle(packet, from, now, &mut self.events);
    }

    /// Takes a packet that came to the RTCP port. Its source is latched onto as that of RTP is.
    pub fn handle_rtcp(&mut self, packet: &[u8], from: SocketAddr, now: Instant) {
        self.reports.handle(packet, from, self.sender.ssrc(), now);
    }

    /// One frame of 20 ms: plays out, records, notices silence, and writes the next RTP packet (clip, digit, echo or
    /// silence) into `out`. `None` on hold, when we only receive, and while a packet of more than 20 ms fills.
    /// On hold the queue waits.
    pub fn tick(&mut self, now: Instant, out: &mut [u8; 1500]) -> Option<Send> {
        self.receiver.tick(now, &mut self.events);
        let may_send = matches!(self.direction, Direction::SendRecv | Direction::SendOnly) && !self.is_held;
        let len = if may_send {
            let echo = self.echoes.then(|| self.receiver.heard());
            self.sender.tick(echo, out, &mut self.events)
        } else {
            self.sender.skip();
            None
        };
        if let Some(tape) = &mut self.tape {
            tape.push(self.receiver.heard(), self.sender.sent());
        }
        Some(Send { len: len?, to: self.receiver.remote() })
    }

    /// Every 5 s (first after 2.5 s) a sender or receiver report with our name. `wall_ntp` is the wall clock of
    /// `now` as NTP 32.32 (seconds since 1900).
    pub fn poll_rtcp(&mut self, now: Instant, wall_ntp: u64, out: &mut [u8; 1500]) -> Option<Send> {
        if self.is_held {
            return None;
        }
        let info = self.sender.info(wall_ntp);
        let (packets, _) = self.sender.counts();
        let reception = self.receiver.reception();
        let len = self.reports.poll(self.sender.ssrc(), info, packets, reception, now, out)?;
        Some(Send { len, to: self.reports.remote() })
    }

    /// The RTCP BYE of the end (RFC 3550 6.6).
    pub fn close(&mut self, out: &mut [u8; 1500]) -> Option<Send> {
        if self.is_held {
            return None;
        }
        let len = self.reports.bye(self.sender.ssrc(), out)?;
        Some(Send { len, to: self.reports.remote() })
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What was recorded since [`Session::clear_recorded`], interleaved: left what we heard as played out, right
    /// what we sent as they decode it. Empty unless [`Setup::record`].
    ///
    /// Frame by frame the two channels belong to the same 20 ms; what is heard stands 30 to 60 ms after its arrival.
    /// At most 4 s are kept, what comes then is counted in [`Stats::unrecorded`]: take it out once a second or more.
    pub fn recorded(&mut self) -> &[i16] {
        self.tape.as_ref().map_or(&[], Tape::samples)
    }

    /// Forgets what was recorded.
    pub fn clear_recorded(&mut self) {
        self.tape.iter_mut().for_each(Tape::clear);
    }

    /// The 160 samples the last tick played out.
    pub fn heard(&mut self) -> &[i16] {
        self.receiver.heard()
    }

    /// The counters so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        (stats.packets_sent, stats.octets_sent) = self.sender.counts();
        self.receiver.count(&mut stats);
        self.reports.count(&mut stats);
        stats.unrecorded = self.tape.as_ref().map_or(0, Tape::lost);
        let one_way = self.reports.round_trip().map_or(0.0, |trip| trip.as_secs_f32() * 500.0);
        stats.mos = self.receiver.missing().map_or(0.0, |missing| mos(missing, one_way + OWN_DELAY_MS));
        stats
    }
}

/// A packet's length and our playout, in ms: the part of the delay that is made here.
const OWN_DELAY_MS: f32 = 20.0 + 40.0;

fn is_nowhere(remote: SocketAddr) -> bool {
    remote.ip().is_unspecified() || remote.port() == 0
}

#[cfg(test)]
mod tests;
