//! When a trunk may take its next call: calls at once, calls started in a second, and the queue for both.
//!
//! Departures are spaced evenly, so that no window of a second holds more than the carrier allows, whatever second it
//! counts by. Who has to wait is served in the order of asking, and never later than the queue's age bound.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Calls that may wait for one trunk; beyond, a further one is refused whatever the age bound.
pub const MOST_WAITING: usize = 10_000;

/// What a trunk's carrier allows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Calls at once; `None` is no limit.
    pub channels: Option<u32>,
    /// Calls started in a second, above zero; `None` is no limit.
    pub per_second: Option<f32>,
    /// How long a call may wait; zero refuses what cannot go at once.
    pub queue: Duration,
}

impl Limits {
    fn interval(&self) -> Duration {
        let seconds = self.per_second.filter(|rate| *rate > 0.0).map(|rate| 1.0 / rate);
        seconds.and_then(|it| Duration::try_from_secs_f32(it).ok()).unwrap_or_default()
    }
}

/// What holds a call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// As many calls are up as may be.
    Channels,
    /// As many calls were started as may be.
    Rate,
}

/// The answer to a call that wants to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It leaves now and counts as up until [`Pace::release`].
    Now,
    /// It waits: [`Pace::poll`] says when its turn has come, or that it never will.
    Later(Held),
    /// It would wait too long.
    Never(Held),
}

/// What has become of a call that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<K> {
    /// It leaves now and counts as up until [`Pace::release`].
    Go(K),
    /// It has waited too long.
    Late(K, Held),
}

/// One trunk's calls up and waiting; `K` names a call.
#[derive(Clone, Debug)]
pub struct Pace<K> {
    limits: Limits,
    up: u32,
    last: Option<Instant>,
    waiting: VecDeque<(K, Instant)>,
}

impl<K: Copy + Eq> Pace<K> {
    /// A trunk without calls.
    pub fn new(limits: Limits) -> Self {
        Self { limits, up: 0, last: None, waiting: VecDeque::new() }
    }

    /// Sets other limits; calls up are not touched, calls waiting go by the new ones.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Calls that have left and not been released.
    pub fn up(&self) -> u32 {
        self.up
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// From when on forgetting it changes nothing; `None` while calls are up or waiting.
    pub fn idle_from(&self, now: Instant) -> Option<Instant> {
        (self.up == 0 && self.waiting.is_empty()).then(|| self.next_departure().unwrap_or(now))
    }

    /// Asks for `key`'s turn. A key waits once at the most.
    pub fn enter(&mut self, key: K, now: Instant) -> Turn {
        let behind = if self.limits.per_second.is_some() { Held::Rate } else { Held::Channels };
        let Some(held) = self.held(now).or_else(|| (!self.waiting.is_empty()).then_some(behind)) else {
            self.depart(now);
            return Turn::Now;
        };
        let too_long = self.limits.queue.is_zero() || self.expected_wait(now) > self.limits.queue;
        if too_long || self.waiting.len() >= MOST_WAITING {
            return Turn::Never(held);
        }
        self.waiting.push_back((key, now));
        Turn::Later(held)
    }

    /// Takes `key` out of the queue; false where it does not wait.
    pub fn leave(&mut self, key: K) -> bool {
        let place = self.waiting.iter().position(|(waiting, _)| *waiting == key);
        place.is_some_and(|place| self.waiting.remove(place).is_some())
    }

    /// A call that had left is over.
    pub fn release(&mut self) {
        self.up = self.up.saturating_sub(1);
    }

    /// Whoever's turn it is; to be asked until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<Next<K>> {
        let &(key, since) = self.waiting.front()?;
        let age = now.saturating_duration_since(since);
        match self.held(now) {
            None if age <= self.limits.queue => {
                self.waiting.pop_front();
                self.depart(now);
                Some(Next::Go(key))
            }
            held if age >= self.limits.queue => {
                self.waiting.pop_front();
                Some(Next::Late(key, held.unwrap_or(Held::Channels)))
            }
            _ => None,
        }
    }

    /// When [`Self::poll`] has something to say, unless a call is released before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let &(_, since) = self.waiting.front()?;
        let too_old = since.checked_add(self.limits.queue);
        let turn = if self.is_full() { None } else { self.next_departure().or(Some(since)) };
        too_old.into_iter().chain(turn).min()
    }

    fn is_full(&self) -> bool {
        self.limits.channels.is_some_and(|channels| self.up >= channels)
    }

    fn held(&self, now: Instant) -> Option<Held> {
        match (self.is_full(), self.next_departure()) {
            (true, _) => Some(Held::Channels),
            (false, Some(at)) if at > now => Some(Held::Rate),
            _ => None,
        }
    }

    fn next_departure(&self) -> Option<Instant> {
        self.last?.checked_add(self.limits.interval())
    }

    /// How long a newcomer waits at least: those before it leave one interval apart.
    fn expected_wait(&self, now: Instant) -> Duration {
        let first = self.next_departure().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let before = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        first.saturating_add(self.limits.interval().saturating_mul(before))
    }

    fn depart(&mut self, now: Instant) {
        self.up = self.up.saturating_add(1);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests;
