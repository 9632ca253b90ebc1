//! Who may start a call: counted before anything is stored or dialled, so that no race gets past a limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call::{Exceeded, Quota, Usage};

use crate::refused::Refused;

/// A loop that gets to its work later than this is behind.
const LAG: Duration = Duration::from_millis(5);
/// How long it must have been behind all the time before new calls are shed: a single long turn is no overload.
const SUSTAINED: Duration = Duration::from_millis(100);
/// How long new calls are shed after the last time the loop was found behind.
const SHED: Duration = Duration::from_millis(250);
/// Seconds after which to ask again while the SIP server is stopped.
const STOPPED_RETRY_S: u32 = 30;

/// The door for new calls.
pub(super) struct Admission {
    began: Instant,
    max_calls: usize,
    draining: AtomicBool,
    /// Whether the SIP server is stopped: calls that are up go on.
    stopped: AtomicBool,
    /// Until when new calls are shed, in ms since `began`.
    shed_until: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: usize,
    accounts: HashMap<i64, Usage>,
}

/// A call's place among those that may be up; given back when dropped.
pub struct Slot {
    admission: Arc<Admission>,
    account: i64,
}

impl Admission {
    pub(super) fn new(max_calls: usize) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            max_calls,
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            shed_until: AtomicU64::new(0),
            counts: Mutex::default(),
        })
    }

    /// Takes a place for a call of `account`, or says why there is none.
    pub(super) fn admit(
        self: &Arc<Self>,
        account: i64,
        quota: &Quota,
        now: Instant,
    ) -> Result<Slot, Refused> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(stopping());
        }
        if let Some(seconds) = self.closed() {
            return Err(Refused::new(
                503,
                "sip_stopped",
                "The SIP server is stopped and takes no new calls.",
            )
            .hint("The operator starts it with `trunkline sip start` or POST /api/v1/opensips/start.")
            .retry_after(seconds));
        }
        if self.millis(now) < self.shed_until.load(Ordering::Relaxed) {
            return Err(Refused::new(503, "overloaded", "The server is busy; calls in progress go first.")
                .hint("Try again in a second.")
                .retry_after(1));
        }
        let mut counts = self.counts();
        if counts.calls >= self.max_calls {
            return Err(full(self.max_calls));
        }
        counts.accounts.entry(account).or_default().take(quota, now).map_err(exceeded)?;
        counts.calls += 1;
        Ok(Slot { admission: self.clone(), account })
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Stops the SIP server, or starts it again.
    pub(super) fn stop(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Relaxed);
    }

    /// While the SIP server is stopped: the seconds after which to ask again.
    pub(super) fn closed(&self) -> Option<u32> {
        self.stopped.load(Ordering::Relaxed).then_some(STOPPED_RETRY_S)
    }

    /// Calls of an account that are up.
    pub(super) fn live(&self, account: i64) -> usize {
        self.counts().accounts.get(&account).map_or(0, |usage| usage.calls() as usize)
    }

    /// The call loop is behind: no new calls for a moment.
    fn shed(&self, now: Instant) {
        self.shed_until.store(self.millis(now + SHED), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.calls = counts.calls.saturating_sub(1);
        if let Some(usage) = counts.accounts.get_mut(&self.account) {
            usage.give_back();
            if usage.is_idle(Instant::now()) {
                counts.accounts.remove(&self.account);
            }
        }
    }
}

/// How far the call loop is behind its work.
pub(super) struct Lag {
    admission: Arc<Admission>,
    behind_since: Option<Instant>,
    /// When the turn before ended.
    last: Option<Instant>,
}

impl Lag {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self { admission, behind_since: None, last: None }
    }

    /// Something that was due at `due` is being done only now, or a turn of the loop that began then ends now.
    pub(super) fn measure(&mut self, due: Instant, now: Instant) {
        // A loop that had nothing to do in between has caught up.
        if self.last.replace(now).is_some_and(|last| due.saturating_duration_since(last) > LAG) {
            self.behind_since = None;
        }
        if now.saturating_duration_since(due) < LAG {
            self.behind_since = None;
            return;
        }
        let since = *self.behind_since.get_or_insert(due);
        if now.saturating_duration_since(since) >= SUSTAINED {
            self.admission.shed(now);
        }
    }
}

fn full(max_calls: usize) -> Refused {
    Refused::new(503, "too_many_calls", format!("{max_calls} calls are up already, which is the limit."))
        .hint("Try again when one has ended, or raise max_calls.")
        .retry_after(5)
}

pub(super) fn stopping() -> Refused {
    Refused::new(503, "stopping", "The server is stopping and takes no new calls.").retry_after(30)
}

fn exceeded(exceeded: Exceeded) -> Refused {
    match exceeded {
        Exceeded::Calls(limit) => Refused::new(
            429,
            "account_calls_limit",
            format!("This account has {limit} calls up, which is its limit (max_calls)."),
        )
        .hint("Try again when one has ended, or have the account's max_calls raised.")
        .retry_after(5),
        Exceeded::Rate { limit, wait } => Refused::new(
            429,
            "account_rate_limit",
            format!("This account may start {limit} calls a second (calls_per_second)."),
        )
        .hint("Place calls more slowly, or have the account's calls_per_second raised.")
        .retry_after(u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(1).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_race_gets_past_a_limit() {
        let admission = Admission::new(50);
        let quota = Quota { calls: Some(7), per_second: None };
        let taken: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let admission = admission.clone();
                    scope.spawn(move || {
                        let slots = (0..20).map(|_| admission.admit(1, &quota, Instant::now()));
                        slots.collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let slots: Vec<Slot> = taken
            .into_iter()
            .filter_map(|slot| slot.map_err(|refused| assert_eq!(refused.status, 429)).ok())
            .collect();
        assert_eq!(slots.len(), 7);
        let others: Vec<_> = (0..50).map(|_| admission.admit(2, &Quota::default(), Instant::now())).collect();
        assert_eq!(others.iter().filter(|slot| slot.is_ok()).count(), 43);
        let refused = others.into_iter().rev().find_map(Result::err).unwrap();
        assert_eq!((refused.status, refused.code), (503, "too_many_calls"));
        drop(slots);
        assert!(admission.admit(1, &quota, Instant::now()).is_ok());
    }

    #[test]
    fn a_loop_that_stays_behind_sheds_new_calls_for_a_while() {
        let admission = Admission::new(5);
        let mut lag = Lag::new(admission.clone());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let admits = |ms| admission.admit(1, &Quota::default(), at(ms)).map_err(|refused| refused.code).err();
        // One long turn is no overload, nor are two apart.
        lag.measure(at(0), at(90));
        lag.measure(at(90), at(91));
        lag.measure(at(91), at(150));
        lag.measure(at(180), at(190));
        assert_eq!(admits(190), None);
        for turn in 0..20 {
            lag.measure(at(300 + turn * 10), at(306 + turn * 10));
        }
        assert_eq!(admits(500), Some("overloaded"));
        assert_eq!(admits(1000), None);
    }
}
