//! Whose turn it is on each trunk: channels and calls per second, kept by the loop that sends every INVITE, so that
//! no race of callers can get past them.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use call::{Held, LegInput, Limits, Next, Pace, Turn};
use serde::Serialize;
use utoipa::ToSchema;

use super::dialing::unsent;
use super::entry::{Leg, LegKey};
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
    trunks: HashMap<Id, Pace<LegKey>>,
    timers: Timers<Id>,
}

impl Turns {
    /// When [`Loop::serve_turns`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn enter(&mut self, trunk: Id, limits: Limits, key: LegKey, now: Instant) -> Turn {
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
    /// Sends an attempt's INVITE, now or when its trunk has room for it.
    pub(super) fn dial(&mut self, at: LegKey, role: call::Leg, route: u32, attempt: usize, now: Instant) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        entry.legs.push(Leg::new(at.n, role, route, attempt));
        let dial = entry.dial(at).filter(|dial| dial.target.is_ok());
        let Some((trunk, limits)) = dial.and_then(|dial| Some((dial.trunk.as_ref()?.0, dial.limits())))
        else {
            return self.send_invite(at, now);
        };
        let turn = self.turns.enter(trunk, limits, at, now);
        match turn {
            Turn::Now => {
                self.set_on_trunk(at, Some(OnTrunk::Up(trunk)));
                self.send_invite(at, now);
            }
            Turn::Later(_) => {
                // Whoever placed it need not wait with it.
                if let Some(reply) = entry.placed.take() {
                    let _ = reply.send(Ok(Placed { sip_call_id: String::new() }));
                }
                self.set_on_trunk(at, Some(OnTrunk::Waits(trunk)));
                self.tell_leg(at, LegInput::Waiting, now);
            }
            Turn::Never(held) => self.turned_away(at, held, now),
        }
    }

    fn set_on_trunk(&mut self, at: LegKey, on_trunk: Option<OnTrunk>) {
        if let Some(leg) = self.calls.get_mut(at.call).and_then(|entry| entry.leg_mut(at)) {
            leg.on_trunk = on_trunk;
        }
    }

    /// Gives up a place in the queue: whether the leg had one.
    pub(super) fn leave_queue(&mut self, at: LegKey, now: Instant) -> bool {
        let leg = self.calls.get(at.call).and_then(|entry| entry.leg(at));
        let waits = leg.is_some_and(|leg| matches!(leg.on_trunk, Some(OnTrunk::Waits(_))));
        if waits {
            self.end_turn(at, now);
            self.tell_leg(at, LegInput::Failed(unsent(call::FailureKind::Canceled, "")), now);
        }
        waits
    }

    /// The attempt is over: its channel or its place in the queue is free.
    pub(super) fn end_turn(&mut self, at: LegKey, now: Instant) {
        let leg = self.calls.get_mut(at.call).and_then(|entry| entry.leg_mut(at));
        let Some(on_trunk) = leg.and_then(|leg| leg.on_trunk.take()) else { return };
        let (OnTrunk::Waits(trunk) | OnTrunk::Up(trunk)) = on_trunk;
        let Some(pace) = self.turns.trunks.get_mut(&trunk) else { return };
        match on_trunk {
            OnTrunk::Waits(_) => drop(pace.leave(at)),
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
                        self.set_on_trunk(key, Some(OnTrunk::Up(trunk)));
                        self.tell_leg(key, LegInput::Dialed, now);
                        self.send_invite(key, now);
                    }
                    Next::Late(key, held) => {
                        self.set_on_trunk(key, None);
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

    fn turned_away(&mut self, key: LegKey, held: Held, now: Instant) {
        let kind = match held {
            Held::Channels => call::FailureKind::NoChannel,
            Held::Rate => call::FailureKind::PacedOut,
        };
        self.forget_leg(key, now);
        self.tell_leg(key, LegInput::Failed(unsent(kind, "")), now);
    }
}
