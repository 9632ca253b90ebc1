//! What a session sends: the queue of clips, pauses and digits, frame by frame as RTP.

use std::collections::VecDeque;

use super::{Event, Setup};
use crate::codec::Encoder;
use crate::dtmf::{Dialling, Step};
use crate::rtcp::SenderInfo;
use crate::sdp::{Dtmf, Negotiated};
use crate::{Clip, Codec, FRAME, SAMPLE_RATE, rtp};

/// The packet lengths we send, in ms.
const PTIMES: std::ops::RangeInclusive<usize> = 10..=60;

/// The longest payload: a second Opus packet of the worst case would not fit.
const MAX_PAYLOAD: usize = 1275;

/// Samples that may wait: a packet of 60 ms that lacks 10, and a frame.
const MAX_WAITING: usize = 400 + FRAME;

/// Something queued.
pub(super) struct Item {
    pub(super) id: u32,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// A clip, and the sample it has reached.
    Clip { clip: Clip, at: usize },
    /// Silence for so many more samples.
    Pause { samples: u64 },
    /// Digits.
    Digits(Dialling),
}

/// What is sent while nothing is queued.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack: a box would be an allocation a frame"
)]
pub(super) enum Unqueued {
    Frame([i16; FRAME]),
    Silence,
    /// Nobody is there to be heard: a frame now and then, for firewalls and for those who wait for packets.
    Nothing,
}

/// Of so many frames one is sent while there is nothing to send: one a second.
const KEEP_ALIVE: u8 = 50;

/// The sending half of a session.
pub(super) struct Sender {
    ssrc: u32,
    sequence: u16,
    /// Of the next frame.
    timestamp: u32,
    codec: Codec,
    fmtp: String,
    encoder: Encoder,
    payload_type: u8,
    dtmf: Option<u8>,
    event_clock: u32,
    queue: VecDeque<Item>,
    /// What waits for a packet to be full, how much that is, and how many samples a packet has.
    waiting: [i16; MAX_WAITING],
    filled: usize,
    size: usize,
    /// Whether the next audio packet is the first, or the first after a gap.
    starts_talkspurt: bool,
    packets: u64,
    octets: u64,
    /// The last frame.
    sent: [i16; FRAME],
    relay: Option<Relay>,
    /// Frames without anything to send.
    rested: u8,
}

/// How packets of another session become ours, as they are.
struct Relay {
    /// Whose they are, and the first of them.
    ssrc: u32,
    first: u16,
    /// What is added to their numbers.
    sequence: u16,
    timestamp: u32,
    /// Where the last one ended, in our timestamps.
    end: u32,
    /// Ticks since the last one.
    idle: u8,
}

/// Ticks without a packet (200 ms) after which we send for ourselves again.
const RELAY_IDLE: u8 = 10;

/// So many packets may come late.
const RECENT: u16 = 1000;

/// Further than this many seconds a sender's timestamps do not jump within one sound.
const JUMP_S: u32 = 4;

impl Sender {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut sender = Self {
            ssrc: setup.ssrc,
            sequence: setup.sequence,
            timestamp: setup.timestamp,
            codec: setup.negotiated.codec,
            fmtp: setup.negotiated.fmtp.clone(),
            encoder: Encoder::new(setup.negotiated.codec, &setup.negotiated.fmtp),
            payload_type: setup.negotiated.payload_type,
            dtmf: None,
            event_clock: setup.negotiated.event_clock,
            queue: VecDeque::new(),
            waiting: [0; MAX_WAITING],
            filled: 0,
            size: FRAME,
            starts_talkspurt: true,
            packets: 0,
            octets: 0,
            sent: [0; FRAME],
            relay: None,
            rested: 0,
        };
        sender.agree(&setup.negotiated);
        sender
    }

    fn agree(&mut self, negotiated: &Negotiated) {
        if (self.codec, &self.fmtp) != (negotiated.codec, &negotiated.fmtp) {
            self.encoder = Encoder::new(negotiated.codec, &negotiated.fmtp);
            self.codec = negotiated.codec;
            self.fmtp.clone_from(&negotiated.fmtp);
        }
        self.payload_type = negotiated.payload_type;
        self.dtmf = match negotiated.dtmf {
            Dtmf::Rfc4733(payload_type) => Some(payload_type),
            Dtmf::Info | Dtmf::Inband => None,
        };
        self.event_clock = negotiated.event_clock;
        self.size = packet_samples(negotiated);
        self.filled = 0;
    }

    /// Goes on as newly agreed; digits that can no longer be sent are dropped.
    pub(super) fn update(&mut self, negotiated: &Negotiated, events: &mut VecDeque<Event>) {
        self.agree(negotiated);
        if self.dtmf.is_none() {
            self.queue.retain(|item| {
                let is_sendable = !matches!(item.content, Content::Digits(_));
                if !is_sendable {
                    events.push_back(Event::Played { id: item.id, whole: false });
                }
                is_sendable
            });
        }
    }

    pub(super) fn queue(&mut self, item: Item) {
        self.queue.push_back(item);
    }

    /// Whether nothing is queued.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn stop(&mut self, events: &mut VecDeque<Event>) {
        events.extend(self.queue.drain(..).map(|item| Event::Played { id: item.id, whole: false }));
    }

    /// One frame; the packet it completes, if any (of 10 ms it is two: [`Sender::full`] has the other). `unqueued` is
    /// sent when nothing is queued.
    pub(super) fn tick(
        &mut self,
        unqueued: Unqueued,
        out: &mut [u8],
        events: &mut VecDeque<Event>,
    ) -> Option<usize> {
        self.sent.fill(0);
        if self.is_relaying() {
            self.pass();
            return None;
        }
        match self.dial(events) {
            Some(Step::Event { payload, frames_ago }) => {
                let payload = payload.at(self.event_clock);
                let len = self.write_event(payload.to_bytes(), frames_ago, out);
                self.pass();
                return len;
            }
            Some(Step::Silence) => {}
            None => match unqueued {
                _ if !self.queue.is_empty() => self.fill(events),
                Unqueued::Frame(frame) => self.sent = frame,
                Unqueued::Silence => {}
                Unqueued::Nothing if self.rests() => {
                    self.skip();
                    return None;
                }
                Unqueued::Nothing => {}
            },
        }
        self.waiting.iter_mut().skip(self.filled).zip(self.sent).for_each(|(to, from)| *to = from);
        self.filled = (self.filled + FRAME).min(MAX_WAITING);
        self.pass();
        self.full(out)
    }

    /// Whether this frame is one of those that are not sent where there is nothing to send; a packet that has begun is
    /// filled.
    fn rests(&mut self) -> bool {
        if self.filled > 0 {
            return false;
        }
        let is_sent = self.rested == 0;
        self.rested = (self.rested + 1) % KEEP_ALIVE;
        !is_sent
    }

    /// Whether another session's packets are being sent; what is queued goes before them.
    fn is_relaying(&mut self) -> bool {
        let Some(relay) = &mut self.relay else { return false };
        relay.idle += 1;
        if self.queue.is_empty() && relay.idle <= RELAY_IDLE {
            return true;
        }
        // What goes between joins on without a hole: its time has only just gone by.
        if relay.idle <= 2 {
            self.timestamp = relay.end;
        }
        self.relay = None;
        self.starts_talkspurt = true;
        false
    }

    /// Writes a packet of another session as one of ours: the payload as it is, in our numbers. Gaps and reordering
    /// stay visible to the other side.
    pub(super) fn forward(&mut self, packet: rtp::Packet<'_>, out: &mut [u8]) -> Option<usize> {
        if !self.queue.is_empty() {
            return None;
        }
        let theirs = packet.header;
        let (far, frame) = (self.clock() * JUMP_S, FRAME as u32 * self.unit());
        let (sequence, timestamp) = (self.sequence, self.timestamp);
        let known = self.relay.as_mut().filter(|relay| {
            let ahead = theirs.timestamp.wrapping_add(relay.timestamp).wrapping_sub(timestamp);
            relay.ssrc == theirs.ssrc && (ahead < far || ahead.wrapping_neg() < far)
        });
        let is_new = known.is_none();
        let relay = match known {
            Some(relay) => relay,
            None => self.relay.insert(Relay {
                ssrc: theirs.ssrc,
                first: theirs.sequence,
                sequence: sequence.wrapping_sub(theirs.sequence),
                timestamp: timestamp.wrapping_sub(theirs.timestamp),
                end: timestamp,
                idle: 0,
            }),
        };
        relay.idle = 0;
        // What was sent before we took over has numbers of ours already.
        if is_before(theirs.sequence, relay.first) {
            return None;
        }
        let header = rtp::Header {
            marker: theirs.marker || is_new,
            payload_type: self.payload_type,
            sequence: theirs.sequence.wrapping_add(relay.sequence),
            timestamp: theirs.timestamp.wrapping_add(relay.timestamp),
            ssrc: self.ssrc,
        };
        let len = header.write(packet.payload, out)?;
        // Sequence numbers wrap: what is long past must not count as to come.
        let floor = theirs.sequence.wrapping_sub(RECENT);
        if is_before(relay.first, floor) {
            relay.first = floor;
        }
        relay.end = header.timestamp.wrapping_add(frame);
        let next = header.sequence.wrapping_add(1);
        if is_before(self.sequence, next) {
            self.sequence = next;
        }
        // Our own clock never falls behind what was sent.
        let ahead = header.timestamp.wrapping_add(frame).wrapping_sub(self.timestamp);
        if ahead < far {
            self.timestamp = self.timestamp.wrapping_add(ahead);
        }
        (self.starts_talkspurt, self.filled) = (false, 0);
        self.count(len);
        Some(len)
    }

    /// One frame in which nothing may be sent: the clock goes on, the queue waits.
    pub(super) fn skip(&mut self) {
        self.sent.fill(0);
        self.filled = 0;
        self.starts_talkspurt = true;
        self.pass();
    }

    /// A frame's time goes by.
    fn pass(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32 * self.unit());
    }

    /// Timestamp units of a sample.
    fn unit(&self) -> u32 {
        self.codec.clock() / SAMPLE_RATE
    }

    /// The next step of the digits at the head of the queue. They start only where a packet of audio ends.
    fn dial(&mut self, events: &mut VecDeque<Event>) -> Option<Step> {
        while self.filled == 0 {
            let Some(Item { id, content: Content::Digits(dialling) }) = self.queue.front_mut() else { break };
            if let Some(step) = dialling.step() {
                return Some(step);
            }
            events.push_back(Event::Played { id: *id, whole: true });
            self.queue.pop_front();
        }
        None
    }

    /// Fills a frame from the queue, without a gap from one item to the next.
    fn fill(&mut self, events: &mut VecDeque<Event>) {
        let mut rest = &mut self.sent[..];
        while let Some(Item { id, content }) = self.queue.front_mut() {
            let (taken, is_over) = match content {
                Content::Clip { clip, at } => {
                    let samples = clip.samples().get(*at..).unwrap_or_default();
                    let taken = samples.len().min(rest.len());
                    rest.iter_mut().zip(samples).for_each(|(to, from)| *to = *from);
                    *at += taken;
                    (taken, taken == samples.len())
                }
                Content::Pause { samples } => {
                    let taken = usize::try_from(*samples).unwrap_or(usize::MAX).min(rest.len());
                    *samples -= taken as u64;
                    (taken, *samples == 0)
                }
                Content::Digits(_) => return,
            };
            if !is_over {
                return;
            }
            events.push_back(Event::Played { id: *id, whole: true });
            self.queue.pop_front();
            rest = rest.split_at_mut_checked(taken).map_or(&mut [], |(_, rest)| rest);
        }
    }

    /// Writes the next packet that is full, if any.
    pub(super) fn full(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.filled < self.size {
            return None;
        }
        let header = rtp::Header {
            marker: std::mem::take(&mut self.starts_talkspurt),
            payload_type: self.payload_type,
            sequence: self.next_sequence(),
            // That of the first sample that waits.
            timestamp: self.timestamp.wrapping_sub(self.filled as u32 * self.unit()),
            ssrc: self.ssrc,
        };
        let samples = self.waiting.get(..self.size)?;
        let (start, room) = out.split_at_mut_checked(rtp::HEADER)?;
        let room_len = room.len().min(MAX_PAYLOAD);
        let payload = self.encoder.encode(samples, room.get_mut(..room_len)?);
        self.waiting.copy_within(self.size..self.filled, 0);
        self.filled -= self.size;
        start.copy_from_slice(&header.to_bytes());
        let len = rtp::HEADER + payload?;
        self.count(len);
        Some(len)
    }

    fn write_event(&mut self, payload: [u8; 4], frames_ago: u32, out: &mut [u8]) -> Option<usize> {
        self.starts_talkspurt = true;
        let header = rtp::Header {
            marker: frames_ago == 0,
            payload_type: self.dtmf?,
            sequence: self.next_sequence(),
            timestamp: self.timestamp.wrapping_sub(frames_ago * FRAME as u32 * self.unit()),
            ssrc: self.ssrc,
        };
        let len = header.write(&payload, out)?;
        self.count(len);
        Some(len)
    }

    fn next_sequence(&mut self) -> u16 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    fn count(&mut self, len: usize) {
        self.packets += 1;
        self.octets += (len - rtp::HEADER) as u64;
    }

    /// What the other side is sent.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// The rate of our timestamps, in Hz.
    pub(super) fn clock(&self) -> u32 {
        self.codec.clock()
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The last frame, before its encoding; silence where nothing was sent.
    pub(super) fn sent(&self) -> &[i16; FRAME] {
        &self.sent
    }

    /// Packets and payload bytes so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.packets, self.octets)
    }

    /// What an SR says of us.
    pub(super) fn info(&self, ntp: u64) -> SenderInfo {
        SenderInfo {
            ntp,
            rtp_timestamp: self.timestamp,
            packets: self.packets as u32,
            octets: self.octets as u32,
        }
    }
}

/// Whether a sequence number comes before another one.
fn is_before(one: u16, other: u16) -> bool {
    one != other && other.wrapping_sub(one) < 0x8000
}

/// Samples of the packets they ask for, in steps of 10 ms. Opus knows no packets of 30 and 50 ms.
fn packet_samples(negotiated: &Negotiated) -> usize {
    let ms = usize::from(negotiated.ptime_ms).clamp(*PTIMES.start(), *PTIMES.end());
    let tens = match (negotiated.codec, ms / 10) {
        (Codec::Opus, 3) => 2,
        (Codec::Opus, 5) => 4,
        (_, tens) => tens,
    };
    tens * FRAME / 2
}
