//! Drift-free pacing from one timer.

use std::marker::PhantomData;
use std::time::Instant;

/// Tells which sessions are due.
pub struct Pacer<K: Copy + Eq> {
    _k: PhantomData<K>,
}

impl<K: Copy + Eq> Pacer<K> {
    /// A pacer whose phases count from `start`.
    pub fn new(_start: Instant) -> Self {
        todo!()
    }

    /// Adds a key to the emptiest slot.
    pub fn insert(&mut self, _key: K) {
        todo!()
    }

    /// Takes a key out.
    pub fn remove(&mut self, _key: K) {
        todo!()
    }

    /// When [`Pacer::due`] is to be called next; `None` while there is no key.
    pub fn poll_timeout(&mut self, _now: Instant) -> Option<Instant> {
        todo!()
    }

    /// Calls `tick` for every key that is due, with the number of frames that are (more than 1 after a delay).
    pub fn due(&mut self, _now: Instant, _tick: impl FnMut(K, u32)) {
        todo!()
    }
}
