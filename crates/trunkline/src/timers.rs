//! One deadline per key, the earliest first.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Deadlines of many things; setting and taking cost O(log n).
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// No deadlines.
    pub fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: HashMap::new() }
    }

    /// Replaces the deadline of `key`; none removes it.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        if self.by_key.get(&key).copied() == at {
            return;
        }
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = at {
            self.by_key.insert(key, at);
            self.by_time.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the key whose deadline has passed longest ago.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }
}

impl<K: Copy + Ord + Hash> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_in_order_and_a_new_one_replaces_the_old() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set('a', Some(at(30)));
        timers.set('b', Some(at(10)));
        timers.set('c', Some(at(20)));
        timers.set('a', Some(at(5)));
        timers.set('c', None);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(50)), Some('a'));
        assert_eq!(timers.pop_due(at(50)), Some('b'));
        assert_eq!(timers.pop_due(at(50)), None);
        assert_eq!(timers.next(), None);
    }
}
