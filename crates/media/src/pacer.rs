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
/// A new key is due at once; from then on keys are spread over ten phases of a frame, so that neither the loop nor the
/// network sees all packets of 20 ms at once. Every frame's time is counted from the start, never from the last
/// wake-up, so that late wake-ups do not add up.
#[derive(Debug)]
pub struct Pacer<K: Copy + Eq> {
    start: Instant,
    /// Keys that wait for their first frame.
    new: Vec<K>,
    slots: [Slot<K>; SLOTS],
}

/// The keys of one phase.
#[derive(Debug)]
struct Slot<K> {
    keys: Vec<K>,
    /// When its next frame is due; says nothing while there is no key.
    next: Instant,
}

impl<K: Copy + Eq> Pacer<K> {
    /// A pacer whose phases count from `start`.
    pub fn new(start: Instant) -> Self {
        let slots = std::array::from_fn(|_| Slot { keys: Vec::new(), next: start });
        Self { start, new: Vec::new(), slots }
    }

    /// Adds a key: its first frame is due at once, the second one 18 ms to 20 ms later, with its phase; sooner where
    /// that phase is full. A key is to be in only once.
    pub fn insert(&mut self, key: K) {
        self.new.push(key);
    }

    /// Takes a key out; one that is not in is no error.
    pub fn remove(&mut self, key: K) {
        for keys in self.slots.iter_mut().map(|slot| &mut slot.keys).chain([&mut self.new]) {
            if let Some(index) = keys.iter().position(|&other| other == key) {
                keys.swap_remove(index);
                return;
            }
        }
    }

    /// When to call [`Pacer::due`] next; `None` while there is no key.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let new = (!self.new.is_empty()).then_some(now);
        self.slots.iter().filter(|slot| !slot.keys.is_empty()).map(|slot| slot.next).chain(new).min()
    }

    /// Calls `tick` for every key with frames due by `now`, with how many they are: 1, or more after a delay.
    pub fn due(&mut self, now: Instant, mut tick: impl FnMut(K, u32)) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.keys.is_empty()) {
            let Some(late) = now.checked_duration_since(slot.next) else { continue };
            let ticks = u32::try_from(late.as_micros() / FRAME_TIME.as_micros()).unwrap_or(u32::MAX - 1) + 1;
            slot.next += FRAME_TIME * ticks;
            for &key in &slot.keys {
                tick(key, ticks);
            }
        }
        while let Some(key) = self.new.pop() {
            tick(key, 1);
            self.join(key, now);
        }
    }

    /// Gives a key the phase that has just begun; where too many have come at once, the last one that is not full.
    fn join(&mut self, key: K, now: Instant) {
        let fewest = self.slots.iter().map(|slot| slot.keys.len()).min().unwrap_or_default();
        let most = fewest + fewest / 4 + UNEVEN;
        let begun = now.saturating_duration_since(self.start).as_micros() / PHASE.as_micros();
        for back in 0..SLOTS as u32 {
            let phase = ((begun % SLOTS as u128) as u32 + SLOTS as u32 - back) % SLOTS as u32;
            let Some(slot) = self.slots.get_mut(phase as usize) else { continue };
            if slot.keys.len() > most {
                continue;
            }
            if slot.keys.is_empty() {
                slot.next = next(self.start + PHASE * phase, now);
            }
            slot.keys.push(key);
            return;
        }
    }
}

/// The first time after `now` that is whole frames after `phase`.
fn next(phase: Instant, now: Instant) -> Instant {
    let Some(since) = now.checked_duration_since(phase) else { return phase };
    let frames = since.as_micros() / FRAME_TIME.as_micros() + 1;
    phase + FRAME_TIME * u32::try_from(frames).unwrap_or(u32::MAX)
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
        (0..100).for_each(|key| pacer.insert(key));
        let mut first = 0;
        pacer.due(start, |_, ticks| first += ticks);
        assert_eq!(first, 100);
        let mut all = 0;
        for phase in 1..=10 {
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
    fn the_first_frame_is_due_at_once_and_the_second_with_its_phase() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        let mut came = Vec::new();
        let mut heard: Vec<Vec<u64>> = Vec::new();
        // A key comes every 7 ms; time is told every ms.
        for at in 0..1_400 {
            let now = start + ms(at);
            if at % 7 == 0 {
                pacer.insert(came.len());
                came.push(at);
                heard.push(Vec::new());
            }
            pacer.due(now, |key: usize, ticks| {
                assert_eq!(ticks, 1);
                heard[key].push(at);
            });
        }
        for (came, heard) in came.iter().zip(&heard) {
            assert_eq!(heard[0], *came);
            let second = heard.get(1).map_or(20, |second| second - came);
            assert!((14..=20).contains(&second), "{second} ms to the second frame");
            assert!(heard.iter().skip(1).is_sorted_by(|a, b| **a + 20 == **b), "{heard:?}");
        }
    }

    #[test]
    fn an_hour_of_late_wake_ups_loses_and_invents_no_frame() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        (0..3).for_each(|key| pacer.insert(key));
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
        pacer.insert('a');
        assert_eq!(pacer.poll_timeout(later), Some(later));
        let mut due = vec![];
        pacer.due(later, |key, ticks| due.push((key, ticks)));
        assert_eq!(pacer.poll_timeout(later), Some(start + ms(3_600_020)));
        pacer.due(start + ms(3_600_019), |key, ticks| due.push((key, ticks)));
        assert_eq!(due, [('a', 1)]);
        pacer.due(start + ms(3_600_020), |key, ticks| due.push((key, ticks)));
        pacer.due(start + ms(3_600_075), |key, ticks| due.push((key, ticks)));
        assert_eq!(due, [('a', 1), ('a', 1), ('a', 2)]);
    }

    #[test]
    fn a_removed_key_is_never_due_and_leaves_room() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        (0..20).for_each(|key| pacer.insert(key));
        pacer.remove(3);
        pacer.due(start, |key, _| assert_ne!(key, 3));
        pacer.remove(13);
        pacer.remove(99);
        let mut due = vec![];
        pacer.due(start + ms(20), |key, _| due.push(key));
        assert_eq!(due.len(), 18);
        assert!(!due.contains(&3) && !due.contains(&13));
        pacer.insert(20);
        pacer.due(start + ms(21), |key, _| due.push(key));
        assert_eq!(due.len(), 19);
        (0..=20).for_each(|key| pacer.remove(key));
        assert_eq!(pacer.poll_timeout(start + ms(21)), None);
    }
}
