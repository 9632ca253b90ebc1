//! Who may start a call: counted before anything is stored or dialled, so that no race gets past a limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call::{Exceeded, Quota, Usage};
use sip::shield::Pressure;

use crate::refused::Refused;

/// A loop that gets to its work later than this is behind.
const LAG: Duration = Duration::from_millis(10);
/// How long it must have been behind all the time before new calls are shed.
const WINDOW: Duration = Duration::from_millis(50);
/// In how many turns at the least: a single long one is no overload.
const TURNS: u32 = 3;
/// The share of new calls that is let in, in parts of a million.
const ALL: u64 = 1_000_000;
/// The least: so few that they show when things are better.
const LEAST: u64 = ALL / 50;
/// By how much the share grows again, a millisecond: from nothing to all in 2.5 s.
const GROWTH: u64 = ALL / 2500;
/// Seconds after which a call is tried again that came while there was too much to do.
pub(super) const CALL_RETRY_S: u32 = 1;
/// Seconds after which to ask again while the SIP server is stopped.
const STOPPED_RETRY_S: u32 = 30;

/// The door for new calls.
pub(super) struct Admission {
    max_calls: usize,
    draining: AtomicBool,
    /// Whether the SIP server is stopped: calls that are up go on.
    stopped: AtomicBool,
    counts: Mutex<Counts>,
}

struct Counts {
    calls: usize,
    accounts: HashMap<i64, Usage>,
    door: Door,
}

/// How many of those who come are let in, so that the server does as much as it can and no more.
struct Door {
    /// Of [`ALL`], when it was last changed.
    share: u64,
    changed: Instant,
    /// What calls, and phones that begin to register, left to those after them when they were not let in.
    calls: Credit,
    phones: Credit,
}

#[derive(Default)]
struct Credit(u64);

impl Credit {
    /// Lets one in with this share, or not.
    fn lets_in(&mut self, share: u64) -> bool {
        self.0 += share;
        let is_let_in = self.0 >= ALL;
        if is_let_in {
            self.0 -= ALL;
        }
        is_let_in
    }
}

impl Door {
    fn open(now: Instant) -> Self {
        Self { share: ALL, changed: now, calls: Credit::default(), phones: Credit::default() }
    }

    fn share(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.changed).as_millis();
        self.share.saturating_add(u64::try_from(since).unwrap_or(u64::MAX).saturating_mul(GROWTH)).min(ALL)
    }

    /// The loop was behind by `late` all the time: the later, the fewer are let in.
    fn narrow(&mut self, late: Duration, now: Instant) {
        let kept = match late.as_millis() {
            0..40 => 95,
            40..100 => 75,
            _ => 50,
        };
        (self.share, self.changed) = ((self.share(now) * kept / 100).max(LEAST), now);
    }
}

/// A call's place among those that may be up; given back when dropped.
pub struct Slot {
    admission: Arc<Admission>,
    account: i64,
}

impl Admission {
    pub(super) fn new(max_calls: usize) -> Arc<Self> {
        Arc::new(Self {
            max_calls,
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            counts: Mutex::new(Counts {
                calls: 0,
                accounts: HashMap::new(),
                door: Door::open(Instant::now()),
            }),
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
        let mut counts = self.counts();
        if counts.calls >= self.max_calls {
            return Err(full(self.max_calls));
        }
        counts.accounts.entry(account).or_default().take(quota, now).map_err(exceeded)?;
        counts.calls += 1;
        Ok(Slot { admission: self.clone(), account })
    }

    /// Whether one more call may come to the door: asked first, for what a refusal costs is little beside all that a call
    /// needs.
    pub(super) fn admits_call(&self, now: Instant) -> bool {
        let door = &mut self.counts().door;
        let share = door.share(now);
        let is_let_in = door.calls.lets_in(share);
        if !is_let_in {
            metrics::counter!("trunkline_calls_shed_total").increment(1);
        }
        is_let_in
    }

    /// Whether a phone may begin to register; one that has been asked for its password always may.
    pub(super) fn admits_phone(&self, now: Instant) -> bool {
        let door = &mut self.counts().door;
        let share = door.share(now);
        door.phones.lets_in(share)
    }

    /// How far behind the call loop is, in the shield's words: before it is overrun, strangers go unheard.
    pub(super) fn pressure(&self, now: Instant) -> Pressure {
        match self.counts().door.share(now) {
            share if share > ALL / 2 => Pressure::Calm,
            share if share > ALL / 10 => Pressure::Busy,
            _ => Pressure::Overrun,
        }
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

    /// The call loop was behind by so much for a while: fewer new calls from now on.
    fn shed(&self, late: Duration, now: Instant) {
        self.counts().door.narrow(late, now);
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

/// How far the call loop is behind its work: by what remains of its lateness even in the best turn of a while
/// (the idea of CoDel, RFC 8289, for a queue of events).
pub(super) struct Lag {
    admission: Arc<Admission>,
    /// When the window began that is being measured, its turns, and the least lateness in it.
    window: Option<(Instant, u32, Duration)>,
    /// When the turn before ended.
    last: Option<Instant>,
}

impl Lag {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self { admission, window: None, last: None }
    }

    /// Something that was due at `due` is being done only now, or a turn of the loop that began then ends now.
    pub(super) fn measure(&mut self, due: Instant, now: Instant) {
        let last = self.last.replace(now);
        // A loop that had nothing to do in between has caught up.
        let had_time = last.is_some_and(|last| due.saturating_duration_since(last) > LAG);
        let late = now.saturating_duration_since(due);
        if had_time || late < LAG {
            self.window = None;
            return;
        }
        let (began, turns, least) = self.window.unwrap_or((due, 0, Duration::MAX));
        let (turns, least) = (turns + 1, least.min(late));
        self.window = Some((began, turns, least));
        if turns >= TURNS && now.saturating_duration_since(began) >= WINDOW {
            self.window = None;
            self.admission.shed(least, now);
        }
    }
}

fn full(max_calls: usize) -> Refused {
    Refused::new(503, "too_many_calls", format!("{max_calls} calls are up already, which is the limit."))
        .hint("Try again when one has ended, or raise max_calls.")
        .retry_after(5)
}

pub(super) fn overloaded() -> Refused {
    Refused::new(503, "overloaded", "The server is busy; calls in progress go first.")
        .hint("Try again in a second.")
        .retry_after(CALL_RETRY_S)
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
    fn one_long_turn_is_no_overload() {
        let admission = Admission::new(5);
        let mut lag = Lag::new(admission.clone());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (due, done) in [(0, 90), (90, 91), (91, 150), (180, 190), (190, 290), (300, 400)] {
            lag.measure(at(due), at(done));
        }
        assert_eq!(admission.counts().door.share(at(400)), ALL);
    }

    /// A server that can do ten calls in two ms and is asked for `asked`: those that wait make it late. What it does of
    /// what it can, in percent, and how late it gets, once it has had two seconds to find the measure.
    fn load(admission: &Arc<Admission>, start: Instant, asked: u32) -> (u32, Duration) {
        const TURN: Duration = Duration::from_millis(2);
        const ABLE: u32 = 10;
        let mut lag = Lag::new(admission.clone());
        let (mut waiting, mut done, mut worst) = (0, 0, Duration::ZERO);
        for turn in 0..10_000 {
            let now = start + TURN * turn;
            let come = (0..asked).filter(|_| admission.admits_call(now));
            waiting += come.count() as u32;
            let late = TURN * waiting / ABLE;
            lag.measure(now.checked_sub(late).unwrap_or(now), now);
            if turn >= 1000 {
                done += waiting.min(ABLE);
                worst = worst.max(late);
            }
            waiting = waiting.saturating_sub(ABLE);
        }
        (done * 100 / (9000 * ABLE), worst)
    }

    #[test]
    fn under_any_load_as_much_is_done_as_can_be_done() {
        for asked in [10, 15, 20, 40, 100] {
            let admission = Admission::new(0);
            let start = Instant::now();
            let (done, worst) = load(&admission, start, asked);
            assert!(done >= 95, "{done} % at {asked}");
            assert!(worst < Duration::from_millis(300), "{worst:?} at {asked}");
            // All are let in again soon after.
            assert_eq!(admission.counts().door.share(start + Duration::from_secs(23)), ALL);
        }
    }
}
