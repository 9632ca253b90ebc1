use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::LegId;
use super::hash::Keyed;
use super::transactions::{ClientKey, ServerId};

/// What a timer wakes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    Client(ClientKey),
    Server(ServerId),
    Leg(LegId),
}

/// The next wake-up of every target that has one.
pub struct Timers {
    order: BTreeSet<(Instant, Target)>,
    due: HashMap<Target, Instant, Keyed>,
}

impl Timers {
    pub fn new(hash: Keyed) -> Self {
        Self { order: BTreeSet::new(), due: HashMap::with_hasher(hash) }
    }

    /// Wakes `target` at `at` and not before; never for `None`.
    pub fn set(&mut self, target: Target, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.due.insert(target, at),
            None => self.due.remove(&target),
        };
        if self.due.is_empty() {
            // Memory goes back after a burst.
            self.due.shrink_to_fit();
        }
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.order.remove(&(old, target));
        }
        if let Some(at) = at {
            self.order.insert((at, target));
        }
    }

    /// The earliest wake-up.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out a target whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<Target> {
        let (_, target) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.set(target, None);
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_wake_up_a_target_earliest_first() {
        let (start, mut timers) = (Instant::now(), Timers::new(Keyed(1)));
        let at = |ms| start + Duration::from_millis(ms);
        let [a, b] = [1, 2].map(|id| Target::Server(ServerId(id)));
        timers.set(a, Some(at(10)));
        timers.set(b, Some(at(20)));
        timers.set(a, Some(at(30)));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!((timers.pop_due(at(19)), timers.pop_due(at(20))), (None, Some(b)));
        timers.set(a, None);
        assert_eq!((timers.next(), timers.pop_due(at(99))), (None, None));
    }
}
