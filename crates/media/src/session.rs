//! One leg's media.

mod latch;
mod live;
mod receive;
mod report;
mod segment;
mod send;
mod tape;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::live::Live;
use self::receive::Receiver;
use self::report::Reports;
use self::segment::{Reel, Segment};
pub use self::segment::{Rules, Why};
use self::send::{Content, Item, Sender, Unqueued};
use self::tape::Tape;
use crate::dtmf::{self, By, Dialling, DtmfError};
use crate::sdp::{Direction, Dtmf, Negotiated};
use crate::srtp::{self, Crypto, Srtp};
use crate::stats::mos;
use crate::{Clip, Codec, Stats, rtp};

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
    /// Whether from the RTP port; RTCP goes from its own unless both share one (RFC 5761).
    pub from_rtp: bool,
}

/// A packet that goes on as it is.
#[derive(Clone, Copy, Debug)]
pub struct Relayed<'p>(rtp::Packet<'p>);

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
    /// They pressed a key.
    Digit {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// How long it was pressed, in ms.
        ms: u16,
        /// How it came.
        by: By,
    },
    /// What [`Session::record_segment`] recorded is whole; [`Session::segment`] holds the rest of it.
    Recorded {
        /// The id it was begun with.
        id: u32,
        /// Its length in ms.
        ms: u64,
        /// Why it ended.
        why: Why,
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
    dtmf: Dtmf,
    rtcp_mux: bool,
    srtp: Option<Box<Srtp>>,
    /// A browser's, whose keys have not come yet: nothing is sent, and nothing taken.
    awaits_keys: bool,
    unauthentic: u64,
    /// The sequence number of our first packet.
    first: u16,
    echoes: bool,
    is_deaf: bool,
    live: Option<Box<Live>>,
    segment: Option<Segment>,
    reel: Reel,
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
            is_held: negotiated.is_nowhere(),
            dtmf: negotiated.dtmf,
            rtcp_mux: negotiated.rtcp_mux,
            srtp: negotiated.crypto.as_ref().map(|crypto| Box::new(Srtp::new(crypto))),
            awaits_keys: negotiated.web.is_some(),
            unauthentic: 0,
            first: setup.sequence,
            echoes: false,
            is_deaf: false,
            live: None,
            segment: None,
            reel: Reel::default(),
            events: VecDeque::new(),
            reports: Reports::new(setup.cname, negotiated.remote_rtcp, now),
        }
    }

    /// Takes over what a re-INVITE agreed on: address, codec, direction, keys. Latching starts again; the stream of our
    /// packets goes on, and so does the queue (digits are dropped if they are no longer taken).
    pub fn update(&mut self, negotiated: Negotiated, now: Instant) {
        self.direction = negotiated.direction;
        self.is_held = negotiated.is_nowhere();
        self.dtmf = negotiated.dtmf;
        self.rtcp_mux = negotiated.rtcp_mux;
        match (&mut self.srtp, &negotiated.crypto) {
            // Keys of DTLS are not the SDP's to change.
            _ if negotiated.web.is_some() => {}
            (Some(srtp), Some(crypto)) => srtp.update(crypto),
            (srtp, crypto) => *srtp = crypto.as_ref().map(|crypto| Box::new(Srtp::new(crypto))),
        }
        self.sender.update(&negotiated, &mut self.events);
        self.receiver.update(&negotiated, now);
        self.reports.update(negotiated.remote_rtcp);
    }

    /// Takes the keys of a DTLS handshake ([`crate::web::Output::Keys`]): from now on a browser's media flows. Until
    /// then what is queued waits.
    pub fn secure(&mut self, crypto: &Crypto) {
        match &mut self.srtp {
            Some(srtp) => srtp.update(crypto),
            srtp => *srtp = Some(Box::new(Srtp::new(crypto))),
        }
        self.awaits_keys = false;
    }

    /// Sends there from now on, as ICE says ([`crate::web::Transport::remote`]).
    pub fn send_to(&mut self, remote: SocketAddr) {
        self.receiver.send_to(remote);
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

    /// Queues digits as agreed on, as RFC 4733 events or as tones: 100 ms each and 60 ms apart; `w` is half a second
    /// of pause.
    ///
    /// # Errors
    /// What is no digit; a leg whose digits go by SIP INFO, which is not the session's to send.
    pub fn digits(&mut self, id: u32, digits: &str, _now: Instant) -> Result<(), DtmfError> {
        let dialling = Dialling::new(digits)?;
        let content = match self.dtmf {
            Dtmf::Rfc4733(_) => Content::Digits(dialling),
            Dtmf::Inband => Content::Clip { clip: dtmf::tones(digits)?, at: 0 },
            Dtmf::Info => return Err(DtmfError::ByInfo),
        };
        self.sender.queue(Item { id, content });
        Ok(())
    }

    /// Takes a digit that came in a SIP INFO request ([`dtmf::from_info`]): it is an [`Event::Digit`] unless the same
    /// keys already come another way.
    pub fn info(&mut self, digit: char, ms: u16, now: Instant) {
        self.receiver.press(digit, ms, now, &mut self.events);
    }

    /// Records what is heard by itself, once the queue is empty and the beep is over, until one of the rules ends it
    /// with [`Event::Recorded`]. One that still runs is stopped first.
    pub fn record_segment(&mut self, id: u32, rules: Rules) {
        self.stop_segment();
        self.receiver.relay(None);
        self.segment = Some(Segment::new(id, rules));
    }

    /// Ends the segment that is being recorded, if any.
    pub fn stop_segment(&mut self) {
        self.end_segment(Why::Stopped);
    }

    fn end_segment(&mut self, why: Why) {
        if let Some(segment) = self.segment.take() {
            self.events.push_back(Event::Recorded { id: segment.id, ms: segment.ms(), why });
        }
    }

    /// What the segment recorded since [`Session::clear_segment`]: mono, as heard.
    ///
    /// At most 4 s are kept, what comes then is counted in [`Stats::unrecorded`]: take it out once a second or more.
    pub fn segment(&self) -> &[i16] {
        self.reel.samples()
    }

    /// Forgets what the segment recorded.
    pub fn clear_segment(&mut self) {
        self.reel.clear();
    }

    /// Drops the queue; each id in it gets an [`Event::Played`] with `whole: false`.
    pub fn stop(&mut self) {
        self.sender.stop(&mut self.events);
    }

    /// Whether to send back what is heard while nothing is queued.
    pub fn echo(&mut self, on: bool) {
        self.echoes = on;
    }

    /// Whether nobody asks for [`Session::heard`]: then what comes is counted, and decoded only while the session itself
    /// needs it (recorded, echoed, live, listened to for tones); a packet's being late for playout is then not counted.
    pub fn deaf(&mut self, on: bool) {
        self.is_deaf = on;
    }

    /// Whether to send what [`Session::feed`] brings while nothing is queued: fed with what another session has
    /// [`heard`](Session::heard), and the other way round, two calls are joined, whatever their codecs.
    pub fn live(&mut self, on: bool) {
        self.live = on.then(|| Box::new(Live::new()));
    }

    /// Sound at 8 kHz to be sent with the next ticks, while live. At most 80 ms wait; of more the oldest is dropped,
    /// and where none is there in time silence is sent.
    pub fn feed(&mut self, samples: &[i16]) {
        if let Some(live) = &mut self.live {
            live.feed(samples);
        }
    }

    /// Takes a packet that came to the RTP port.
    ///
    /// We send to the address of the SDP until the first valid packet came, then to where it came from. Within the
    /// first second the source may change to the address of the SDP; packets of another are counted as foreign.
    /// Of encrypted media only what is authentic counts, and may come from elsewhere at any time.
    ///
    /// What comes back is for [`Session::forward`] of the session it was [paired](Session::pair) with.
    pub fn handle_rtp<'p>(
        &'p mut self,
        packet: &'p [u8],
        from: SocketAddr,
        now: Instant,
    ) -> Option<Relayed<'p>> {
        if rtp::is_rtcp(packet) {
            self.handle_rtcp(packet, from, now);
            return None;
        }
        let is_authentic = self.srtp.is_some();
        let packet = match &mut self.srtp {
            None if self.awaits_keys => return None,
            None => packet,
            Some(srtp) => match srtp.open_rtp(packet) {
                Some(plain) => plain,
                None => {
                    self.unauthentic += 1;
                    return None;
                }
            },
        };
        self.receiver.handle(packet, from, is_authentic, now, &mut self.events).map(Relayed)
    }

    /// Pairs two joined sessions anew, after either has begun or agreed on something new: where what one sends is what
    /// the other one takes, packets go through as they are, without being decoded or waiting for a tick.
    pub fn pair(&mut self, other: &mut Self) {
        self.receiver.relay(self.relays_to(other));
        other.receiver.relay(other.relays_to(self));
    }

    /// No longer hands over packets as they are.
    pub fn unpair(&mut self) {
        self.receiver.relay(None);
    }

    /// The codec in which sound may go on to `other` as it is: nobody but the other side is to hear it.
    fn relays_to(&self, other: &Self) -> Option<Codec> {
        let is_private = |session: &Self| session.tape.is_none() && !session.echoes && session.live.is_some();
        let is_unheard = self.is_deaf && self.segment.is_none();
        let may_relay = is_unheard && is_private(self) && is_private(other);
        may_relay.then(|| other.sender.codec())
    }

    /// Sends a packet on that the session joined with this one handed over; `None` on hold, and while something is being
    /// played.
    pub fn forward(&mut self, packet: Relayed<'_>, out: &mut [u8; 1500]) -> Option<Send> {
        if !self.may_send() {
            return None;
        }
        let (room, _) = out.split_last_chunk_mut::<{ srtp::OVERHEAD }>()?;
        let len = self.sender.forward(packet.0, room)?;
        self.send_rtp(len, out)
    }

    /// Whether [`Session::heard`] holds what came, to be fed to the session joined with this one; not while packets are
    /// handed over as they are, and while none come.
    pub fn is_speaking(&self, now: Instant) -> bool {
        self.is_playing_out() && !self.receiver.is_quiet(now)
    }

    fn is_playing_out(&self) -> bool {
        !self.receiver.hands_over()
    }

    fn may_send(&self) -> bool {
        self.direction.sends() && !self.is_held && !self.awaits_keys
    }

    /// Takes a packet that came to the RTCP port. Its source is latched onto as that of RTP is.
    pub fn handle_rtcp(&mut self, packet: &[u8], from: SocketAddr, now: Instant) {
        let is_authentic = self.srtp.is_some();
        let packet = match &mut self.srtp {
            None if self.awaits_keys => return,
            None => packet,
            Some(srtp) => match srtp.open_rtcp(packet) {
                Some(plain) => plain,
                None => {
                    self.unauthentic += 1;
                    return;
                }
            },
        };
        self.reports.handle(packet, from, is_authentic, self.sender.ssrc(), now);
    }

    /// One frame of 20 ms: plays out, records, notices silence, and writes the next RTP packet (clip, digit, echo or
    /// silence) into `out`; [`Session::more`] may have another. `None` on hold, when we only receive, and while a
    /// packet of more than 20 ms fills. On hold the queue waits.
    pub fn tick(&mut self, now: Instant, out: &mut [u8; 1500]) -> Option<Send> {
        let is_heard = !self.is_deaf
            || self.echoes
            || (self.live.is_some() && self.is_playing_out())
            || self.segment.is_some()
            || self.tape.is_some();
        self.receiver.tick(is_heard, now, &mut self.events);
        self.hear_segment();
        let len = if self.may_send() {
            let unqueued = self.unqueued();
            let (room, _) = out.split_last_chunk_mut::<{ srtp::OVERHEAD }>()?;
            self.sender.tick(unqueued, room, &mut self.events)
        } else {
            self.sender.skip();
            None
        };
        if let Some(tape) = &mut self.tape {
            tape.push(self.receiver.heard(), self.sender.sent());
        }
        self.send_rtp(len?, out)
    }

    fn send_rtp(&mut self, len: usize, out: &mut [u8; 1500]) -> Option<Send> {
        let len = match &mut self.srtp {
            Some(srtp) => srtp.protect_rtp(out, len)?,
            None => len,
        };
        Some(Send { len, to: self.receiver.remote(), from_rtp: true })
    }

    /// What is sent while nothing is queued: the beep, what is fed, what is heard.
    fn unqueued(&mut self) -> Unqueued {
        let fed = self.live.as_mut().map(|live| live.take().map_or(Unqueued::Nothing, Unqueued::Frame));
        let beep = self.segment.as_mut().filter(|_| self.sender.is_idle()).and_then(Segment::beep);
        let echo = self.echoes.then(|| Unqueued::Frame(*self.receiver.heard()));
        beep.map(Unqueued::Frame).or(fed).or(echo).unwrap_or(Unqueued::Silence)
    }

    fn hear_segment(&mut self) {
        let pressed = self.receiver.pressed();
        let Some(segment) = &mut self.segment else { return };
        if !self.sender.is_idle() {
            return;
        }
        let over = match segment.is_beeping() {
            true => segment.key(pressed),
            false => segment.hear(self.receiver.heard(), pressed, &mut self.reel),
        };
        if let Some(why) = over {
            self.end_segment(why);
        }
    }

    /// Another packet of the last tick: of 10 ms there are two. To be asked until there is none.
    pub fn more(&mut self, out: &mut [u8; 1500]) -> Option<Send> {
        let (room, _) = out.split_last_chunk_mut::<{ srtp::OVERHEAD }>()?;
        let len = self.sender.full(room)?;
        self.send_rtp(len, out)
    }

    /// Every 5 s (first after 2.5 s) a sender or receiver report with our name. `wall_ntp` is the wall clock of
    /// `now` as NTP 32.32 (seconds since 1900).
    pub fn poll_rtcp(&mut self, now: Instant, wall_ntp: u64, out: &mut [u8; 1500]) -> Option<Send> {
        if self.is_held || self.awaits_keys {
            return None;
        }
        let info = self.sender.info(wall_ntp);
        let (packets, _) = self.sender.counts();
        let reception = self.receiver.reception();
        let len = self.reports.poll(self.sender.ssrc(), info, packets, reception, now, out)?;
        self.send_rtcp(len, out)
    }

    /// The RTCP BYE of the end (RFC 3550 6.6).
    pub fn close(&mut self, out: &mut [u8; 1500]) -> Option<Send> {
        if self.is_held || self.awaits_keys {
            return None;
        }
        let len = self.reports.bye(self.sender.ssrc(), out)?;
        self.send_rtcp(len, out)
    }

    fn send_rtcp(&mut self, len: usize, out: &mut [u8; 1500]) -> Option<Send> {
        let len = match &mut self.srtp {
            Some(srtp) => srtp.protect_rtcp(out, len)?,
            None => len,
        };
        let to = if self.rtcp_mux { self.receiver.remote() } else { self.reports.remote() };
        Some(Send { len, to, from_rtp: self.rtcp_mux })
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What was recorded since [`Session::clear_recorded`], interleaved: left what we heard as played out, right
    /// what we sent, before its encoding. Empty unless [`Setup::record`].
    ///
    /// Frame by frame the two channels belong to the same 20 ms; what is heard stands 30 to 60 ms after its arrival.
    /// At most 4 s are kept, what comes then is counted in [`Stats::unrecorded`]: take it out once a second or more.
    pub fn recorded(&mut self) -> &[i16] {
        self.tape.as_ref().map_or(&[], Tape::samples)
    }

    /// Records silence on both channels until [`Session::resume_recording`]: a card number is not for the record.
    pub fn pause_recording(&mut self) {
        self.tape.iter_mut().for_each(|tape| tape.is_paused = true);
    }

    /// Records again.
    pub fn resume_recording(&mut self) {
        self.tape.iter_mut().for_each(|tape| tape.is_paused = false);
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
        self.reports.count(&mut stats, self.sender.clock());
        stats.unrecorded = self.tape.as_ref().map_or(0, Tape::lost) + self.reel.lost();
        stats.unauthentic = self.unauthentic;
        let one_way = self.reports.round_trip().map_or(0.0, |trip| trip.as_secs_f32() * 500.0);
        stats.remote_mos = self
            .reports
            .remote_loss(self.first, stats.packets_sent)
            .map(|lost| mos(lost, one_way + OWN_DELAY_MS));
        stats.mos = self.receiver.missing().map_or(0.0, |missing| mos(missing, one_way + OWN_DELAY_MS));
        stats
    }
}

/// A packet's length and our playout, in ms: the part of the delay that is made here.
const OWN_DELAY_MS: f32 = 20.0 + 40.0;

#[cfg(test)]
mod tests;
