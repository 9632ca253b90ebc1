//! Reordering and playout of what is received.

use crate::FRAME;

/// Samples in the ring: 512 ms. A power of two, so that a timestamp's place does not jump when it wraps.
const RING: usize = 4096;

/// How far ahead of the playout a packet is put when the count starts, in samples: 30 ms, which with the up to 20 ms
/// until the next frame makes 30 to 50 ms between arrival and playout.
const DELAY: i32 = 240;

/// When a second's packets all came further ahead than this (40 ms), the delay is more than it need be.
const MAX_AHEAD: i32 = 320;

/// How many packets make up the second.
const SECOND: u8 = 50;

/// So many packets in a row that come too late show that it is the playout that is wrong.
const MAX_LATE: u8 = 3;

/// Whether a packet came in time to be played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    InTime,
    Late,
}

/// A ring of samples by RTP timestamp: any packet length, any order; what never comes is silence.
pub(crate) struct Playout {
    ring: Box<[i16; RING]>,
    /// The timestamp that is played next; unknown until a packet came.
    position: Option<u32>,
    late: u8,
    /// The least a packet of this second was ahead, in samples, and how many there were.
    least_ahead: i32,
    counted: u8,
}

impl Playout {
    pub(crate) fn new() -> Self {
        Self { ring: Box::new([0; RING]), position: None, late: 0, least_ahead: i32::MAX, counted: 0 }
    }

    /// Forgets the stream; the next packet starts another.
    pub(crate) fn reset(&mut self) {
        self.ring.fill(0);
        self.position = None;
        self.late = 0;
        (self.least_ahead, self.counted) = (i32::MAX, 0);
    }

    /// Puts a packet's samples at their time. `talkspurt` is its marker bit: after a pause the sender's clock may
    /// have stood still.
    pub(crate) fn insert(
        &mut self,
        timestamp: u32,
        talkspurt: bool,
        samples: impl ExactSizeIterator<Item = i16>,
    ) -> Placed {
        let len = samples.len().min(RING / 2) as i32;
        let mut ahead = self.position.map_or(i32::MAX, |position| timestamp.wrapping_sub(position) as i32);
        let is_late = self.position.is_some() && ahead <= -len;
        self.late = if is_late { self.late + 1 } else { 0 };
        let restarts = if is_late { talkspurt || self.late >= MAX_LATE } else { ahead > RING as i32 - len };
        if restarts {
            self.reset();
            ahead = DELAY;
        } else if is_late {
            return Placed::Late;
        }
        let position = timestamp.wrapping_sub(ahead as u32);
        self.position = Some(position);
        let missed = usize::try_from(-ahead).unwrap_or(0);
        for (n, sample) in (0..len as u32).zip(samples).skip(missed) {
            *self.at(timestamp.wrapping_add(n)) = sample;
        }
        self.shorten(position, ahead);
        Placed::InTime
    }

    /// Takes the next frame out.
    pub(crate) fn play(&mut self, frame: &mut [i16; FRAME]) {
        let Some(position) = self.position else {
            frame.fill(0);
            return;
        };
        for (n, sample) in (0..).zip(frame) {
            *sample = std::mem::take(self.at(position.wrapping_add(n)));
        }
        self.position = Some(position.wrapping_add(FRAME as u32));
    }

    /// Skips what the delay grew by when the sender's clock is faster than ours, or the first packet was a late one.
    fn shorten(&mut self, position: u32, ahead: i32) {
        self.least_ahead = self.least_ahead.min(ahead);
        self.counted += 1;
        if self.counted < SECOND {
            return;
        }
        if self.least_ahead > MAX_AHEAD {
            let skipped = (self.least_ahead - DELAY) as u32;
            (0..skipped).for_each(|n| *self.at(position.wrapping_add(n)) = 0);
            self.position = Some(position.wrapping_add(skipped));
        }
        (self.least_ahead, self.counted) = (i32::MAX, 0);
    }

    #[allow(clippy::indexing_slicing, reason = "taken modulo the ring's length")]
    fn at(&mut self, timestamp: u32) -> &mut i16 {
        &mut self.ring[timestamp as usize % RING]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frame n of a stream whose samples count up from 1.
    fn frame(n: u32) -> impl ExactSizeIterator<Item = i16> {
        (0..160).map(move |i: i32| (n as i32 * 160 + i + 1) as i16)
    }

    fn play(playout: &mut Playout, frames: usize) -> Vec<i16> {
        let mut played = vec![];
        for _ in 0..frames {
            let mut frame = [0; FRAME];
            playout.play(&mut frame);
            played.extend_from_slice(&frame);
        }
        played
    }

    #[test]
    fn plays_in_order_whatever_the_order_of_arrival_and_over_the_wrap() {
        for start in [0, 1000, u32::MAX - 200] {
            let mut playout = Playout::new();
            for n in [0, 2, 1, 3] {
                let placed = playout.insert(start.wrapping_add(n * 160), n == 0, frame(n));
                assert_eq!(placed, Placed::InTime);
            }
            let played = play(&mut playout, 6);
            assert_eq!(played[..240], [0; 240]);
            assert!(played[240..880].iter().copied().eq(1..=640), "from {start}");
            assert_eq!(played[880..], [0; 80]);
        }
    }

    #[test]
    fn the_lost_is_silent_and_the_late_is_told() {
        let mut playout = Playout::new();
        playout.insert(0, true, frame(0));
        playout.insert(320, false, frame(2));
        let played = play(&mut playout, 5);
        assert_eq!(played[400..560], [0; 160]);
        assert_eq!(played[560], 321);
        assert_eq!(playout.insert(160, false, frame(1)), Placed::Late);
    }

    #[test]
    fn of_a_packet_half_too_late_the_rest_is_played() {
        let mut playout = Playout::new();
        playout.insert(0, true, frame(0));
        play(&mut playout, 2);
        // The playout stands at timestamp 80.
        assert_eq!(playout.insert(0, false, frame(0)), Placed::InTime);
        assert_eq!(play(&mut playout, 1)[..2], [81, 82]);
    }

    #[test]
    fn follows_a_sender_whose_clock_jumped() {
        for (name, jump) in [("forward", 1_000_000), ("back", 0u32.wrapping_sub(1_000_000))] {
            let mut playout = Playout::new();
            playout.insert(0, true, frame(0));
            play(&mut playout, 4);
            let placed: Vec<_> =
                (0..6).map(|n| playout.insert(jump.wrapping_add(n * 160), false, frame(n))).collect();
            assert!(placed.ends_with(&[Placed::InTime; 3]), "{name}: {placed:?}");
            assert!(play(&mut playout, 8).contains(&960), "{name}");
        }
    }

    #[test]
    fn a_talkspurt_may_start_where_the_last_one_ended() {
        let mut playout = Playout::new();
        playout.insert(0, true, frame(0));
        play(&mut playout, 100);
        assert_eq!(playout.insert(160, true, frame(1)), Placed::InTime);
    }

    #[test]
    fn delay_that_is_not_needed_is_taken_off() {
        let mut playout = Playout::new();
        // The first packet was 100 ms late, all others are in time.
        for n in 0..6 {
            playout.insert(n * 160, n == 0, frame(n));
        }
        for n in 6..200 {
            playout.insert(n * 160, false, frame(n));
            play(&mut playout, 1);
        }
        let ahead = (200u32 * 160).wrapping_sub(playout.position.unwrap()) as i32;
        assert!((0..=MAX_AHEAD + 160).contains(&ahead), "{ahead}");
    }

    #[test]
    fn a_faster_and_a_slower_clock_are_followed_for_an_hour() {
        for (name, per_thousand) in [("fast", 999), ("slow", 1001)] {
            let mut playout = Playout::new();
            let (mut late, mut sent) = (0u32, 0u32);
            for tick in 0..180_000u32 {
                while sent * per_thousand <= tick * 1000 {
                    late += u32::from(playout.insert(sent * 160, sent == 0, frame(0)) == Placed::Late);
                    sent += 1;
                }
                play(&mut playout, 1);
                let ahead = (sent * 160).wrapping_sub(playout.position.unwrap()) as i32;
                assert!((-480..=640).contains(&ahead), "{name} clock: {ahead} samples ahead at {tick}");
            }
            assert!(late < sent / 100, "{name} clock: {late} late");
        }
    }
}
