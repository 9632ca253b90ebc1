use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

use super::prefix::Prefix;
use crate::Transport;

/// Makes keys under a secret, so that nobody outside can aim at collisions. A key stands for the thing itself.
#[derive(Clone, Copy)]
pub struct Keys([u64; 2]);

impl Keys {
    pub fn new(seed: [u8; 32]) -> Self {
        let fold = |key: u64, byte: &u8| key.rotate_left(8) ^ u64::from(*byte);
        let (one, other) = seed.split_at(16);
        Self([one.iter().fold(0, fold), other.iter().fold(0, fold)])
    }

    fn hasher(self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        self.0.iter().for_each(|half| hasher.write_u64(*half));
        hasher
    }

    pub fn prefix(self, prefix: Prefix) -> u64 {
        let (bits, length) = prefix.token();
        let mut hasher = self.hasher();
        hasher.write_u128(bits);
        hasher.write_u8(length);
        hasher.finish()
    }

    pub fn flow(self, address: u128, port: u16, transport: Transport) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u128(address);
        hasher.write_u32(u32::from(port) << 8 | transport as u32);
        hasher.finish()
    }

    pub fn user(self, user: &str) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(user.as_bytes());
        hasher.finish()
    }

    /// A user at a source.
    pub fn home(self, user: u64, source: u64) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u64(user);
        hasher.write_u64(source);
        hasher.finish()
    }
}

/// Takes a key as its own hash.
#[derive(Default)]
pub struct Direct(u64);

impl Hasher for Direct {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A map whose size the driver bounds.
pub type Map<V> = std::collections::HashMap<u64, V, BuildHasherDefault<Direct>>;

/// What a [`Table`] may forget.
pub trait Keep {
    /// Until when something would be lost with it.
    fn keep_until(&self) -> u64;
}

/// Places a key can stand in.
const WAYS: usize = 8;

/// A map that never grows beyond its capacity: a key has eight places, and who comes when they are taken gets that of
/// whom nothing is lost with, or none. Memory is taken as keys come.
pub struct Table<V> {
    sets: Box<[Option<Box<Set<V>>>]>,
    len: usize,
    /// The set that is swept next.
    hand: usize,
}

/// The tags of a set share two cache lines, so that a flood of strangers does not pull in what is known of others.
struct Set<V> {
    tags: [Tag; WAYS],
    values: Vec<V>,
}

#[derive(Clone, Copy, Default)]
struct Tag {
    key: u64,
    /// At least until then its value is kept; what it was when somebody last looked.
    keep_until: u64,
}

impl<V: Keep> Set<V> {
    fn new() -> Self {
        Self { tags: [Tag::default(); WAYS], values: Vec::new() }
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.tags.iter().take(self.values.len()).position(|tag| tag.key == key)
    }

    /// A place whose value may be forgotten at `now`.
    fn victim(&mut self, now: u64) -> Option<usize> {
        // Each turn makes one tag true, or is the last.
        loop {
            let (at, tag) = self.tags.iter_mut().enumerate().min_by_key(|(_, tag)| tag.keep_until)?;
            if tag.keep_until > now {
                return None;
            }
            let keep_until = self.values.get(at)?.keep_until();
            if keep_until <= tag.keep_until {
                return Some(at);
            }
            tag.keep_until = keep_until;
        }
    }
}

impl<V: Keep> Table<V> {
    /// A table of at most `capacity` values, a power of two of at least 8; any other is rounded down to one.
    pub fn new(capacity: usize) -> Self {
        let sets = (capacity / WAYS).max(1);
        let sets = if sets.is_power_of_two() { sets } else { sets.next_power_of_two() / 2 };
        Self { sets: (0..sets).map(|_| None).collect(), len: 0, hand: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn place(&self, key: u64) -> usize {
        key as usize & (self.sets.len() - 1)
    }

    pub fn get(&self, key: u64) -> Option<&V> {
        let set = self.sets.get(self.place(key))?.as_ref()?;
        set.values.get(set.find(key)?)
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let set = self.sets.get_mut(self.place(key))?.as_mut()?;
        let at = set.find(key)?;
        set.values.get_mut(at)
    }

    /// The value of `key`, made where there is none. `None` where there is no room and nothing that may be forgotten
    /// at `now`; with `u64::MAX` for `now` there always is.
    pub fn claim(&mut self, key: u64, now: u64, make: impl FnOnce() -> V) -> Option<&mut V> {
        let place = self.place(key);
        let set = self.sets.get_mut(place)?.get_or_insert_with(|| Box::new(Set::new()));
        if let Some(at) = set.find(key) {
            return set.values.get_mut(at);
        }
        let at = if set.values.len() < WAYS { set.values.len() } else { set.victim(now)? };
        let value = make();
        *set.tags.get_mut(at)? = Tag { key, keep_until: value.keep_until() };
        match set.values.get_mut(at) {
            Some(old) => *old = value,
            None => {
                set.values.push(value);
                self.len += 1;
            }
        }
        set.values.get_mut(at)
    }

    pub fn remove(&mut self, key: u64) -> Option<V> {
        let set = self.sets.get_mut(self.place(key))?.as_mut()?;
        let at = set.find(key)?;
        let value = set.values.swap_remove(at);
        set.tags.swap(at, set.values.len());
        self.len -= 1;
        Some(value)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.sets.iter().flatten().flat_map(|set| &set.values)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.sets.iter_mut().flatten().flat_map(|set| &mut set.values)
    }

    /// Gives the memory of one set back if all in it may be forgotten at `now`. Called again and again it comes to each.
    pub fn sweep(&mut self, now: u64) {
        let place = self.place(self.hand as u64);
        self.hand = place + 1;
        let Some(slot) = self.sets.get_mut(place) else { return };
        if let Some(set) = slot.take_if(|set| set.values.iter().all(|value| value.keep_until() <= now)) {
            self.len -= set.values.len();
        }
    }

    pub fn clear(&mut self) {
        self.sets.iter_mut().for_each(|set| *set = None);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keep for u64 {
        fn keep_until(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn the_least_needed_goes_first() {
        let mut table = Table::new(8);
        for key in 0..8 {
            assert!(table.claim(key, 0, || 100 + key).is_some());
        }
        assert!(table.claim(8, 99, || 500).is_none(), "all are needed");
        assert!(table.claim(3, 99, || 500).is_some_and(|value| *value == 103), "who is there stays");
        assert!(table.claim(8, 100, || 500).is_some());
        assert_eq!((table.get(0), table.get(8), table.len()), (None, Some(&500), 8));
        assert!(table.claim(9, u64::MAX, || 600).is_some());
        assert_eq!((table.get(1), table.len()), (None, 8));
        assert_eq!((table.remove(9), table.remove(9), table.len()), (Some(600), None, 7));
        assert_eq!((table.get(2), table.get(7), table.get(8)), (Some(&102), Some(&107), Some(&500)));
        assert!(table.claim(9, 0, || 50).is_some());

        // What was needed for longer since it came stays.
        for key in [9, 2] {
            *table.get_mut(key).unwrap() = 1_000;
        }
        assert!(table.claim(10, 103, || 700).is_some());
        assert_eq!((table.get(3), table.get(9), table.get(2)), (None, Some(&1_000), Some(&1_000)));
    }

    #[test]
    fn what_nobody_needs_is_given_back() {
        let mut table = Table::new(32);
        for key in 0..12 {
            assert!(table.claim(key, 0, || 100 + key % 4).is_some());
        }
        for (now, left) in [(99, 12), (100, 9), (102, 3), (102, 3), (103, 0)] {
            (0..4).for_each(|_| table.sweep(now));
            assert_eq!((table.len(), table.values().count()), (left, left), "at {now}");
        }
    }

    #[test]
    fn capacity() {
        for (asked, got) in [(0, 8), (8, 8), (100, 64), (65_536, 65_536)] {
            let (mut table, keys) = (Table::new(asked), Keys::new([7; 32]));
            for n in 0..10 * got as u64 {
                let _ = table.claim(keys.home(n, 0), u64::MAX, || n);
            }
            assert_eq!(table.len(), got, "asked for {asked}");
            assert_eq!(table.values().count(), got);
        }
    }
}
