//! Drift-free pacing of many sessions from one timer.

use std::time::{Duration, Instant};

use crate::FRAME_TIME;

/// So many phases within a frame: one every 2 ms.
const SLOTS: usize = 10;

/// From one phase to the next.
const PHASE: Duration = Duration::from_millis(2);

/// So many keys, and a quarter, a phase may have more than the emptiest one.
const UNEVEN: usize = 4;

/// Tells which sessions are due for a [`Session::tick`](crate::Session::tick).
///
/// Keys are spread over ten phases of a frame, so that neither the loop nor the network sees all packets of 20 ms at
/// once. Every frame's time is counted from the start, never from the last wake-up, so that late wake-ups do not add
/// up.
#[derive(Debug)]
pub struct Pacer<K: Copy + Eq> {
    start: Instant,
    slots: [Slot<K>; SLOTS],
}

/// The keys of one phase.
#[derive(Debug)]
struct Slot<K> {
    keys: Vec<K>,
    /// When its next frame is due; unknown from when the slot gets its first key until the time is told.
    next: Option<Instant>,
}

impl<K: Copy + Eq> Pacer<K> {
    /// A pacer whose phases count from `start`.
    pub fn new(start: Instant) -> Self {
        Self { start, slots: std::array::from_fn(|_| Slot { keys: Vec::new(), next: None }) }
    }

    /// Adds a key to the phase that comes next, so that its first frame is due within 2 ms; where too many have come at
    /// once, to the next one that is not full. A key is to be in only once.
    pub fn insert(&mut self, key: K, now: Instant) {
        let fewest = self.slots.iter().map(|slot| slot.keys.len()).min().unwrap_or_default();
        let most = fewest + fewest / 4 + UNEVEN;
        let phases = now.saturating_duration_since(self.start).as_micros().div_ceil(PHASE.as_micros());
        let (before, coming) = self.slots.split_at_mut((phases % SLOTS as u128) as usize);
        if let Some(slot) = coming.iter_mut().chain(before).find(|slot| slot.keys.len() <= most) {
            slot.keys.push(key);
        }
    }

    /// Takes a key out; one that is not in is no error.
    pub fn remove(&mut self, key: K) {
        for slot in &mut self.slots {
            if let Some(index) = slot.keys.iter().position(|&other| other == key) {
                slot.keys.swap_remove(index);
                if slot.keys.is_empty() {
                    slot.next = None;
                }
                return;
            }
        }
    }

    /// When to call [`Pacer::due`] next; `None` while there is no key.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        self.slots.iter().filter_map(|slot| slot.next).min()
    }

    /// Calls `tick` for every key with frames due by `now`, with how many they are: 1, or more after a delay.
    pub fn due(&mut self, now: Instant, mut tick: impl FnMut(K, u32)) {
        self.settle(now);
        for slot in &mut self.slots {
            let Some(late) = slot.next.and_then(|next| now.checked_duration_since(next)) else { continue };
            let ticks = u32::try_from(late.as_micros() / FRAME_TIME.as_micros()).unwrap_or(u32::MAX - 1) + 1;
            slot.next = slot.next.map(|next| next + FRAME_TIME * ticks);
            for &key in &slot.keys {
                tick(key, ticks);
            }
        }
    }

    /// Gives each slot that got its first key the first time of its phase at or after `now`.
    fn settle(&mut self, now: Instant) {
        let start = self.start;
        for (index, slot) in (0u32..).zip(&mut self.slots) {
            if slot.next.is_none() && !slot.keys.is_empty() {
                let phase = start + PHASE * index;
                let since = now.saturating_duration_since(phase);
                let frames = since.as_micros().div_ceil(FRAME_TIME.as_micros());
                slot.next = Some(phase + FRAME_TIME * u32::try_from(frames).unwrap_or(u32::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn spreads_keys_over_the_frame() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        (0..100).for_each(|key| pacer.insert(key, start));
        let mut all = 0;
        for phase in 0..10 {
            let now = start + PHASE * phase;
            assert_eq!(pacer.poll_timeout(now), Some(now));
            let mut due = 0;
            pacer.due(now, |_, ticks| due += ticks);
            assert!((5..=15).contains(&due), "{due} in phase {phase}");
            all += due;
        }
        assert_eq!(all, 100);
    }

    #[test]
    fn the_first_frame_is_due_at_once() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        let mut came = Vec::new();
        let mut waited = Vec::new();
        // A key comes every 7 ms; time is told every ms.
        for at in 0..1_400 {
            let now = start + ms(at);
            if at % 7 == 0 {
                pacer.insert(came.len(), now);
                came.push(at);
                waited.push(None);
            }
            pacer.due(now, |key: usize, _| {
                waited[key].get_or_insert(at - came[key]);
            });
        }
        let late = waited.iter().flatten().filter(|wait| **wait > 2).count();
        assert!(late <= 10, "{late} of 200 wait longer than a phase: {waited:?}");
        assert!(waited.iter().rev().skip(1).all(|wait| wait.is_some_and(|wait| wait <= 4)), "{waited:?}");
    }

    #[test]
    fn an_hour_of_late_wake_ups_loses_and_invents_no_frame() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        (0..3).for_each(|key| pacer.insert(key, start));
        let mut frames = [0u32; 3];
        let mut now = start;
        let mut late = 0;
        while let Some(next) = pacer.poll_timeout(now) {
            // Wakes 0 to 6 ms late; once in a while 50 ms.
            late = (late * 7 + 3) % 101;
            now = next + if late == 100 { ms(50) } else { ms(late % 7) };
            if now >= start + ms(3_600_000) {
                break;
            }
            pacer.due(now, |key, ticks| frames[key] += ticks);
        }
        pacer.due(start + ms(3_599_999), |key, ticks| frames[key] += ticks);
        assert_eq!(frames, [180_000; 3]);
    }

    #[test]
    fn a_key_that_comes_after_a_long_pause_owes_nothing() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        assert_eq!(pacer.poll_timeout(start), None);
        let later = start + ms(3_600_001);
        pacer.insert('a', later);
        assert_eq!(pacer.poll_timeout(later), Some(start + ms(3_600_002)));
        let mut due = vec![];
        pacer.due(later, |key, ticks| due.push((key, ticks)));
        assert_eq!(due, []);
        pacer.due(start + ms(3_600_002), |key, ticks| due.push((key, ticks)));
        pacer.due(start + ms(3_600_057), |key, ticks| due.push((key, ticks)));
        assert_eq!(due, [('a', 1), ('a', 2)]);
    }

    #[test]
    fn a_removed_key_is_never_due_and_leaves_room() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        (0..20).for_each(|key| pacer.insert(key, start));
        pacer.remove(3);
        pacer.remove(13);
        pacer.remove(99);
        assert_eq!(pacer.poll_timeout(start), Some(start));
        let mut due = vec![];
        pacer.due(start + ms(19), |key, _| due.push(key));
        assert_eq!(due.len(), 18);
        assert!(!due.contains(&3) && !due.contains(&13));
        pacer.insert(20, start + ms(19));
        assert_eq!(pacer.poll_timeout(start + ms(19)), Some(start + ms(20)));
    }
}
