//! Playout of what is received: put in order, at an even pace, whatever the network did to it.

mod queue;

use self::queue::Queue;
use crate::codec::Decoder;
use crate::conceal::{self, Fade, HISTORY, Noise, OVERLAP, Repeater};
use crate::{Codec, FRAME, SAMPLE_RATE};

/// How far ahead of the playout a packet is put when a stream starts, in samples: 30 ms, which with the up to 20 ms
/// until the next frame makes 30 to 50 ms between arrival and playout.
const DELAY: usize = 240;

/// The most that jitter makes of it: 200 ms.
const MAX_DELAY: usize = 1600;

/// When all packets of two seconds but one each came further ahead than this (40 ms), the delay is more than need be.
const MAX_SLACK: i32 = 320;

/// Further ahead (300 ms) is no jitter but another time: the clock jumped, or a stall let go.
const MAX_AHEAD: i32 = 2400;

/// So many packets in a row that come too late show that it is the playout that is wrong.
const MAX_LATE: u8 = 3;

/// Frames in which packets are judged together: 1 s.
const WINDOW: u8 = 50;

/// Fewer packets in a window tell nothing.
const MIN_PACKETS: u16 = 8;

/// Frames from one cut to the next, when delay is taken off: nobody hears 5 to 20 ms of 100.
const CUT_EVERY: u8 = 5;

/// Whether a packet came in time to be played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    InTime,
    Late,
    /// It cannot be decoded.
    Broken,
}

/// What the playout needs of an audio packet's header.
#[derive(Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) codec: Codec,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// The marker bit: after a pause the sender's clock may have stood still.
    pub(crate) talkspurt: bool,
}

/// Packets in, frames out.
///
/// The delay starts at 30 ms. A packet that comes later than it is due finds made-up sound in its place and is
/// played behind it, so jitter makes the delay grow as far as needed, up to 200 ms; what is not needed is cut out of
/// the sound in periods of its pitch. A sender whose clock is slower or faster than ours is followed by the same two
/// means. What is lost is made up for and fades within 60 ms.
pub(crate) struct Playout {
    queue: Queue,
    decoder: Decoder,
    /// The last [`HISTORY`] samples that were played, and then what is ready.
    sound: Vec<i16>,
    /// Whether anything was ever decoded.
    has_sound: bool,
    /// The timestamp behind what is ready; unknown until a packet came.
    next: Option<u32>,
    codec: Codec,
    sequence: u16,
    /// Samples made up behind `next`, for which a packet may still come.
    held: usize,
    late: u8,
    /// Nothing came for so long that the next packet starts anew.
    is_starved: bool,
    cover: Option<Cover>,
    repeater: Repeater,
    /// They said that they pause; then this is heard.
    is_paused: bool,
    noise: Noise,
    current: Window,
    previous: Window,
    frames: u8,
    /// What jitter made of the delay last, in samples.
    spread: usize,
    /// Samples to be cut out, or to be put in between.
    surplus: usize,
    lacking: usize,
}

/// What is being made up, and how many samples of it there are.
#[derive(Clone, Copy)]
struct Cover {
    fade: Fade,
    by_opus: bool,
    made: usize,
}

/// How far ahead of its time each packet came, in samples.
#[derive(Clone, Copy)]
struct Window {
    least: i32,
    second: i32,
    most: i32,
    packets: u16,
}

impl Window {
    const EMPTY: Window = Window { least: i32::MAX, second: i32::MAX, most: 0, packets: 0 };

    fn add(&mut self, ahead: i32) {
        self.second = self.second.min(ahead.max(self.least));
        self.least = self.least.min(ahead);
        self.most = self.most.max(ahead);
        self.packets = self.packets.saturating_add(1);
    }
}

impl Playout {
    pub(crate) fn new(codec: Codec) -> Self {
        let mut playout = Self {
            queue: Queue::default(),
            decoder: Decoder::default(),
            sound: Vec::with_capacity(HISTORY + DELAY + 2 * FRAME),
            has_sound: false,
            next: None,
            codec,
            sequence: 0,
            held: 0,
            late: 0,
            is_starved: false,
            cover: None,
            repeater: Repeater::new(),
            is_paused: false,
            noise: Noise::SILENT,
            current: Window::EMPTY,
            previous: Window::EMPTY,
            frames: 0,
            spread: 0,
            surplus: 0,
            lacking: 0,
        };
        playout.sound.resize(HISTORY, 0);
        playout.prepare(codec);
        playout
    }

    /// Gets ready for packets of a codec.
    pub(crate) fn prepare(&mut self, codec: Codec) {
        self.decoder.prepare(codec);
    }

    /// Forgets the stream; the next packet starts another. What is ready is still played.
    pub(crate) fn reset(&mut self) {
        self.queue.clear();
        self.decoder.reset();
        self.next = None;
        self.held = 0;
    }

    /// They say that they send nothing for now, and how loud the noise behind it is, in -dBov (RFC 3389).
    pub(crate) fn pause(&mut self, level: u8) {
        self.is_paused = true;
        self.noise.set(level);
    }

    /// Whether comfort noise is heard while they pause.
    pub(crate) fn has_noise(&self) -> bool {
        self.is_paused && self.noise.is_audible()
    }

    /// Takes a packet.
    pub(crate) fn insert(&mut self, packet: Arrived, payload: &[u8]) -> Placed {
        let Arrived { codec, sequence, timestamp, talkspurt } = packet;
        let Some(samples) = Decoder::samples(codec, payload) else { return Placed::Broken };
        if codec.clock() != self.codec.clock() {
            self.reset();
            self.codec = codec;
        }
        match self.next {
            None => self.start(timestamp),
            Some(next) => {
                let distance = self.samples_between(next, timestamp);
                let is_late = distance <= -(samples as i32);
                self.late = if is_late { self.late + 1 } else { 0 };
                let ahead = distance.saturating_sub(self.held as i32).saturating_add(self.ready() as i32);
                if ahead > -(MAX_DELAY as i32) {
                    self.current.add(if is_late { ahead } else { ahead.max(0) });
                }
                if self.is_starved || ahead > MAX_AHEAD || is_late && (talkspurt || self.late >= MAX_LATE) {
                    self.start(timestamp);
                } else if is_late {
                    self.delay_more();
                    return Placed::Late;
                }
            }
        }
        self.is_paused = false;
        self.queue.insert(codec, sequence, timestamp, samples, payload);
        Placed::InTime
    }

    /// Takes the next frame out.
    pub(crate) fn play(&mut self, frame: &mut [i16; FRAME]) {
        self.judge();
        if self.surplus > 0 && self.frames.is_multiple_of(CUT_EVERY) {
            self.cut();
        }
        while self.ready() < FRAME {
            self.refill();
        }
        frame.iter_mut().zip(self.sound.iter().skip(HISTORY)).for_each(|(to, from)| *to = *from);
        self.sound.drain(..FRAME);
    }

    /// Samples that are decoded and not yet played.
    fn ready(&self) -> usize {
        self.sound.len().saturating_sub(HISTORY)
    }

    /// Timestamp units of a sample.
    fn unit(&self) -> u32 {
        self.codec.clock() / SAMPLE_RATE
    }

    fn samples_between(&self, from: u32, to: u32) -> i32 {
        to.wrapping_sub(from) as i32 / self.unit() as i32
    }

    /// Starts, or starts anew, with the packet of this timestamp.
    fn start(&mut self, timestamp: u32) {
        self.queue.clear();
        let delay = DELAY.max(self.spread);
        if self.ready() < delay {
            self.make_up(delay - self.ready());
        }
        self.next = Some(timestamp);
        self.held = 0;
        self.late = 0;
        self.is_starved = false;
        (self.surplus, self.lacking) = (0, 0);
        (self.current, self.previous) = (Window::EMPTY, Window::EMPTY);
    }

    /// A second packet came too late within two seconds: as much delay as it would have needed is put in.
    fn delay_more(&mut self) {
        let second = self.current.second.min(self.previous.second);
        if second < 0 {
            self.lacking = (second.unsigned_abs() as usize).min(self.may_grow());
            self.surplus = 0;
            (self.current, self.previous) = (Window::EMPTY, Window::EMPTY);
        }
    }

    /// How much the delay may grow, in samples.
    fn may_grow(&self) -> usize {
        MAX_DELAY.saturating_sub(DELAY.max(self.current.most.max(self.previous.most) as usize))
    }

    /// Makes at least one sample more ready.
    fn refill(&mut self) {
        let short = FRAME.saturating_sub(self.ready()).max(1);
        if self.lacking > 0 {
            let made = self.make_up(self.lacking.min(FRAME));
            self.lacking = self.lacking.saturating_sub(made);
            return;
        }
        let Some(next) = self.next else {
            self.make_up(short);
            return;
        };
        let Some(first) = self.queue.first() else {
            self.held += self.make_up(short);
            let most = self.may_grow();
            if self.held > most {
                // Beyond that it is lost, and time goes on.
                self.next = Some(next.wrapping_add((self.held - most) as u32 * self.unit()));
                self.held = most;
                self.is_starved = self.cover.is_none_or(|cover| cover.made >= cover.fade.len());
            }
            return;
        };
        let missing = self.samples_between(next, first.timestamp) - self.held as i32;
        if missing <= 0 {
            self.decode();
            return;
        }
        let missing = missing as usize;
        let made = if first.sequence == self.sequence.wrapping_add(1) {
            // Nothing was lost: they sent nothing.
            self.is_paused = true;
            let made = self.make_up(missing.min(FRAME));
            self.is_paused = false;
            made
        } else if first.codec == Codec::Opus && missing <= first.samples {
            self.repair(missing)
        } else {
            self.make_up(missing.min(FRAME))
        };
        self.next = Some(next.wrapping_add((self.held + made) as u32 * self.unit()));
        self.held = 0;
    }

    /// Makes the next packet's sound ready, behind what was made up in its place.
    fn decode(&mut self) {
        let Some(packet) = self.queue.pop() else { return };
        let from = self.sound.len();
        self.sound.resize(from + packet.samples, 0);
        self.decoder.decode(packet.codec, &packet.payload, self.sound.get_mut(from..).unwrap_or_default());
        let played = self.next.map_or(0, |next| self.samples_between(packet.timestamp, next));
        let skipped = usize::try_from(played).unwrap_or(0).min(packet.samples);
        self.sound.drain(from..from + skipped);
        if skipped < packet.samples {
            self.go_over(from);
            self.next = Some(packet.timestamp.wrapping_add(packet.samples as u32 * self.unit()));
            self.held = 0;
            self.has_sound = true;
        }
        self.codec = packet.codec;
        self.sequence = packet.sequence;
        self.queue.put_back(packet);
    }

    /// Makes up to a packet's length ready from the repair in the packet behind it; the number of samples.
    fn repair(&mut self, missing: usize) -> usize {
        let Some(packet) = self.queue.first() else { return 0 };
        let from = self.sound.len();
        let made = Decoder::opus_steps(missing);
        self.sound.resize(from + made, 0);
        self.decoder.repair(&packet.payload, self.sound.get_mut(from..).unwrap_or_default());
        self.go_over(from);
        made
    }

    /// Makes up for at least so many samples; how many it became. Before anything was heard that is silence.
    fn make_up(&mut self, samples: usize) -> usize {
        let from = self.sound.len();
        if !self.has_sound {
            self.sound.resize(from + samples, 0);
            self.add_noise(from);
            return samples;
        }
        let cover = match self.cover {
            Some(cover) => cover,
            None => {
                let fade = match self.is_paused {
                    true => Fade::QUICK,
                    false if self.lacking > 0 => Fade::NONE,
                    false => Fade::OUT,
                };
                let by_opus = self.codec == Codec::Opus && !self.is_paused;
                if !by_opus {
                    self.repeater.start(&self.sound);
                }
                Cover { fade, by_opus, made: 0 }
            }
        };
        let Cover { fade, by_opus, made } = cover;
        let is_over = made >= fade.len();
        let samples = if by_opus && !is_over { Decoder::opus_steps(samples) } else { samples };
        self.sound.resize(from + samples, 0);
        let room = self.sound.get_mut(from..).unwrap_or_default();
        match (is_over, by_opus) {
            (true, _) => {}
            (false, true) => {
                self.decoder.conceal_opus(room);
                fade.apply(made, room);
            }
            (false, false) => self.repeater.make(made, room, fade),
        }
        self.add_noise(from);
        self.cover = Some(Cover { made: made.saturating_add(samples), ..cover });
        samples
    }

    /// What is heard while they pause.
    fn add_noise(&mut self, from: usize) {
        if self.is_paused {
            self.noise.add(self.sound.get_mut(from..).unwrap_or_default());
        }
    }

    /// Lets what was made up go over into the real sound that begins at `from`.
    fn go_over(&mut self, from: usize) {
        let Some(Cover { fade, by_opus, made }) = self.cover.take() else { return };
        let mut old = [0; OVERLAP];
        let new = self.sound.get_mut(from..).unwrap_or_default();
        if by_opus {
            // Opus itself sees to the transition; only the fade is to be undone.
            old.iter_mut().zip(new.iter()).for_each(|(to, from)| *to = fade.lower(made, *from));
        } else {
            self.repeater.make(made, &mut old, fade);
        }
        conceal::join(&old, new);
    }

    /// Once a second, looks how far ahead the packets came.
    fn judge(&mut self) {
        self.frames += 1;
        if self.frames < WINDOW {
            return;
        }
        self.frames = 0;
        let (current, previous) = (self.current, self.previous);
        if current.packets >= MIN_PACKETS {
            let slack = current.second.min(previous.second);
            let most = current.most.max(previous.most);
            self.spread = ((most - slack).max(0) as usize).min(MAX_DELAY);
            if slack > MAX_SLACK && previous.packets >= MIN_PACKETS {
                self.surplus = slack as usize - DELAY;
                (self.current, self.previous) = (Window::EMPTY, Window::EMPTY);
                return;
            }
        }
        (self.current, self.previous) = (Window::EMPTY, current);
    }

    /// Takes one period out of what is ready, if that is enough.
    fn cut(&mut self) {
        while self.ready() < conceal::CUTTABLE {
            let is_next = self.queue.first().zip(self.next).is_some_and(|(packet, next)| {
                self.samples_between(next, packet.timestamp) <= self.held as i32
            });
            if !is_next {
                return;
            }
            self.decode();
        }
        let taken = conceal::cut(self.sound.get_mut(HISTORY..).unwrap_or_default());
        self.sound.drain(HISTORY..HISTORY + taken);
        self.surplus = self.surplus.saturating_sub(taken);
    }
}

#[cfg(test)]
mod tests;
