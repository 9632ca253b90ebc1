//! How many calls an account may have up, and may start in a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What an account may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Calls at once; `None` is no limit.
    pub calls: Option<u32>,
    /// Calls started in any second; `None` is no limit.
    pub per_second: Option<u32>,
}

/// Why no further call may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// So many calls are up, which is the limit.
    Calls(u32),
    /// So many calls were started within a second, which is the limit.
    Rate {
        /// The limit.
        limit: u32,
        /// When the next one may start, from now.
        wait: Duration,
    },
}

const SECOND: Duration = Duration::from_secs(1);

/// What an account does.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    calls: u32,
    /// When the calls of the last second were started: at most [`Quota::per_second`].
    starts: VecDeque<Instant>,
}

impl Usage {
    /// Counts a further call, to be given back with [`Usage::give_back`]; or says why there is none.
    pub fn take(&mut self, quota: &Quota, now: Instant) -> Result<(), Exceeded> {
        if let Some(limit) = quota.calls.filter(|limit| self.calls >= *limit) {
            return Err(Exceeded::Calls(limit));
        }
        self.forget(now);
        if let Some(limit) = quota.per_second {
            let nth = self.starts.len().saturating_sub(limit.max(1) as usize);
            if let Some(first) = self.starts.get(nth).filter(|_| self.starts.len() >= limit as usize) {
                return Err(Exceeded::Rate { limit, wait: (*first + SECOND).saturating_duration_since(now) });
            }
            self.starts.push_back(now);
        }
        self.calls += 1;
        Ok(())
    }

    /// Calls that are up.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// A call is over.
    pub fn give_back(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }

    /// Whether forgetting it changes nothing.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.calls == 0 && self.starts.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        while self.starts.front().is_some_and(|at| *at + SECOND <= now) {
            self.starts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_once_are_given_back() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let quota = Quota { calls: Some(2), per_second: None };
        assert_eq!(usage.take(&quota, now), Ok(()));
        assert_eq!(usage.take(&quota, now), Ok(()));
        assert_eq!(usage.take(&quota, now), Err(Exceeded::Calls(2)));
        usage.give_back();
        assert!(!usage.is_idle(now));
        assert_eq!(usage.take(&quota, now), Ok(()));
        usage.give_back();
        usage.give_back();
        assert!(usage.is_idle(now));
    }

    #[test]
    fn no_second_holds_more_than_the_limit() {
        let (mut usage, start) = (Usage::default(), Instant::now());
        let quota = Quota { calls: None, per_second: Some(3) };
        let mut started = Vec::new();
        for ms in (0..5000).step_by(70) {
            let now = start + Duration::from_millis(ms);
            match usage.take(&quota, now) {
                Ok(()) => started.push(now),
                Err(Exceeded::Rate { limit, wait }) => {
                    assert_eq!(limit, 3);
                    assert!(wait <= SECOND && usage.clone().take(&quota, now + wait).is_ok());
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(started.windows(4).all(|four| four[3] - four[0] >= SECOND), "{started:?}");
        assert!(started.len() >= 12, "{}", started.len());
        // A lower limit counts from now on.
        let lower = Quota { calls: None, per_second: Some(1) };
        assert!(usage.take(&lower, start + Duration::from_millis(5000)).is_err());
        started.iter().for_each(|_| usage.give_back());
        assert!(!usage.is_idle(start + Duration::from_millis(5000)));
        assert!(usage.is_idle(start + Duration::from_secs(9)));
    }
}
