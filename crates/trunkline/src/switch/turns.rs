//! Whose turn it is on each trunk: channels and calls per second, kept by the loop that sends every INVITE, so that
//! no race of callers can get past them.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use call::{Held, Input, Limits, Next, Pace, Turn};
use serde::Serialize;
use utoipa::ToSchema;

use super::legs::unsent;
use super::run::Loop;
use super::{Placed, Shared};
use crate::id::Id;
use crate::timers::Timers;

/// How many calls a trunk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Calls that are being dialled or are up.
    pub up: u32,
    /// Calls that wait their turn.
    pub waiting: usize,
}

/// Where a call's current attempt stands with its trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnTrunk {
    Waits(Id),
    Up(Id),
}

/// The trunks that have calls, or had one too recently to be forgotten.
#[derive(Default)]
pub(super) struct Turns {
    trunks: HashMap<Id, Pace<usize>>,
    timers: Timers<Id>,
}

impl Turns {
    /// When [`Loop::serve_turns`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn enter(&mut self, trunk: Id, limits: Limits, key: usize, now: Instant) -> Turn {
        let pace = self.trunks.entry(trunk).or_insert_with(|| Pace::new(limits));
        pace.set_limits(limits);
        let turn = pace.enter(key, now);
        self.timers.set(trunk, Some(now));
        turn
    }
}

impl Shared {
    fn set_load(&self, trunk: Id, load: Option<Load>) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        match load {
            Some(load) => drop(loads.insert(trunk, load)),
            None => drop(loads.remove(&trunk)),
        }
    }

    pub(super) fn load(&self, trunk: Id) -> Load {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).get(&trunk).copied().unwrap_or_default()
    }
}

impl Loop {
    /// Sends the attempt's INVITE, now or when its trunk has room for it.
    pub(super) fn dial(&mut self, key: usize, attempt: usize, now: Instant) {
        self.close_media(key);
        self.end_turn(key, now);
        let Some(entry) = self.calls.get_mut(key) else { return };
        entry.attempt = attempt;
        let dial = entry.dials.get(attempt).filter(|dial| dial.target.is_ok());
        let Some((trunk, limits)) = dial.and_then(|dial| Some((dial.trunk.as_ref()?.0, dial.limits())))
        else {
            return self.send_invite(key, attempt, now);
        };
        let turn = self.turns.enter(trunk, limits, key, now);
        match turn {
            Turn::Now => {
                entry.on_trunk = Some(OnTrunk::Up(trunk));
                self.send_invite(key, attempt, now);
            }
            Turn::Later(_) => {
                entry.on_trunk = Some(OnTrunk::Waits(trunk));
                // Whoever placed it need not wait with it.
                if let Some(reply) = entry.placed.take() {
                    let _ = reply.send(Ok(Placed { sip_call_id: String::new() }));
                }
                self.tell(key, Input::Waiting, now);
            }
            Turn::Never(held) => self.turned_away(key, held, now),
        }
    }

    /// Gives up a place in the queue: whether the call had one.
    pub(super) fn leave_queue(&mut self, key: usize, now: Instant) -> bool {
        let waits =
            self.calls.get(key).is_some_and(|entry| matches!(entry.on_trunk, Some(OnTrunk::Waits(_))));
        if waits {
            self.end_turn(key, now);
            self.tell(key, Input::LegFailed(unsent(call::FailureKind::Canceled, "")), now);
        }
        waits
    }

    /// The attempt is over: its channel or its place in the queue is free.
    pub(super) fn end_turn(&mut self, key: usize, now: Instant) {
        let Some(on_trunk) = self.calls.get_mut(key).and_then(|entry| entry.on_trunk.take()) else { return };
        let (OnTrunk::Waits(trunk) | OnTrunk::Up(trunk)) = on_trunk;
        let Some(pace) = self.turns.trunks.get_mut(&trunk) else { return };
        match on_trunk {
            OnTrunk::Waits(_) => drop(pace.leave(key)),
            OnTrunk::Up(_) => pace.release(),
        }
        // Served by the loop, not from here: one call's end must not dial another one inside it.
        self.turns.timers.set(trunk, Some(now));
    }

    /// Other limits for those who wait.
    pub(super) fn set_limits(&mut self, trunk: Id, limits: Limits, now: Instant) {
        if let Some(pace) = self.turns.trunks.get_mut(&trunk) {
            pace.set_limits(limits);
            self.turns.timers.set(trunk, Some(now));
        }
    }

    /// Sends off those whose turn has come and turns away those who waited too long.
    pub(super) fn serve_turns(&mut self, now: Instant) {
        while let Some(trunk) = self.turns.timers.pop_due(now) {
            while let Some(next) = self.turns.trunks.get_mut(&trunk).and_then(|pace| pace.poll(now)) {
                match next {
                    Next::Go(key) => {
                        let Some(entry) = self.calls.get_mut(key) else { continue };
                        entry.on_trunk = Some(OnTrunk::Up(trunk));
                        let attempt = entry.attempt;
                        self.tell(key, Input::Dialed, now);
                        self.send_invite(key, attempt, now);
                    }
                    Next::Late(key, held) => {
                        if let Some(entry) = self.calls.get_mut(key) {
                            entry.on_trunk = None;
                        }
                        self.turned_away(key, held, now);
                    }
                }
            }
            let Some(pace) = self.turns.trunks.get(&trunk) else { continue };
            let forget = pace.idle_from(now);
            let load = Load { up: pace.up(), waiting: pace.waiting() };
            let next = pace.poll_timeout().or(forget);
            if forget.is_some_and(|at| at <= now) {
                self.turns.trunks.remove(&trunk);
                self.parts.shared.set_load(trunk, None);
            } else {
                self.parts.shared.set_load(trunk, Some(load));
                // A moment later, should it have been due already: nothing here may be asked without end.
                let next = next.map(|at| at.max(now + Duration::from_millis(1)));
                self.turns.timers.set(trunk, next);
            }
        }
    }

    fn turned_away(&mut self, key: usize, held: Held, now: Instant) {
        let kind = match held {
            Held::Channels => call::FailureKind::NoChannel,
            Held::Rate => call::FailureKind::PacedOut,
        };
        self.tell(key, Input::LegFailed(unsent(kind, "")), now);
    }
}
