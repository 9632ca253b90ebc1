//! One leg's media.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sdp::Negotiated;
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
    /// How long without RTP from there makes an [`Event::Silent`].
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
pub struct Session {}

impl Session {
    /// Media as agreed on, from `now` on.
    pub fn new(_setup: Setup, _now: Instant) -> Self {
        todo!()
    }

    /// Takes over what a re-INVITE agreed on; latching starts again.
    pub fn update(&mut self, _negotiated: Negotiated, _now: Instant) {
        todo!()
    }

    /// Queues a clip behind what is playing.
    pub fn play(&mut self, _id: u32, _clip: Clip, _now: Instant) {
        todo!()
    }

    /// Queues silence.
    pub fn pause(&mut self, _id: u32, _length: Duration, _now: Instant) {
        todo!()
    }

    /// Queues digits as RFC 4733 events, 100 ms each and 60 ms apart; `w` is half a second of pause.
    pub fn digits(&mut self, _id: u32, _digits: &str, _now: Instant) -> Result<(), DtmfError> {
        todo!()
    }

    /// Drops the queue; each id in it gets an [`Event::Played`] with `whole: false`.
    pub fn stop(&mut self) {
        todo!()
    }

    /// Whether to send back what is heard while nothing is queued.
    pub fn echo(&mut self, _on: bool) {
        todo!()
    }

    /// Takes a packet that came to the RTP port.
    pub fn handle_rtp(&mut self, _packet: &[u8], _from: SocketAddr, _now: Instant) {
        todo!()
    }

    /// Takes a packet that came to the RTCP port.
    pub fn handle_rtcp(&mut self, _packet: &[u8], _from: SocketAddr, _now: Instant) {
        todo!()
    }

    /// One frame of 20 ms: plays out, records, and writes the next RTP packet.
    pub fn tick(&mut self, _now: Instant, _out: &mut [u8; 1500]) -> Option<Send> {
        todo!()
    }

    /// Every 5 s (first after 2.5 s) a sender or receiver report with our name.
    pub fn poll_rtcp(&mut self, _now: Instant, _wall_ntp: u64, _out: &mut [u8; 1500]) -> Option<Send> {
        todo!()
    }

    /// The RTCP BYE of the end.
    pub fn close(&mut self, _out: &mut [u8; 1500]) -> Option<Send> {
        todo!()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// What was recorded since [`Session::clear_recorded`]: interleaved, left what we heard, right what we sent.
    pub fn recorded(&mut self) -> &[i16] {
        todo!()
    }

    /// Forgets what was recorded.
    pub fn clear_recorded(&mut self) {
        todo!()
    }

    /// The 160 samples the last tick played out.
    pub fn heard(&mut self) -> &[i16] {
        todo!()
    }

    /// The counters so far.
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
