//! A call: whatever happens to its legs and its sound, in any order, it ends exactly once, its states only move
//! forward, nobody is dialled once somebody has answered, and no leg is forgotten.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use call::{Call, Input, LegInput, Output, Progress, Spec, State};
use libfuzzer_sys::fuzz_target;
use trunkline_fuzz::{Script, dial, input, spec};

/// What has to hold of a call.
struct Judge {
    state: State,
    finished: u32,
    /// Legs that are neither hung up, failed, ended nor given away; each with the search it was placed by.
    alive: HashMap<u32, u32>,
    /// The current search for somebody who answers, and those that somebody answered.
    search: u32,
    answered: HashSet<u32>,
}

impl Judge {
    fn drain(&mut self, call: &mut Call) {
        while let Some(output) = call.poll_output() {
            assert_eq!(self.finished, 0, "something follows the end");
            match output {
                Output::State { state: next } => {
                    assert!(next.rank() > self.state.rank() || next == State::Queued);
                    self.state = next;
                }
                Output::Progress(Progress::Dialing { .. } | Progress::Transferring { .. }) => {
                    self.search += 1;
                }
                Output::Dial { n, .. } => {
                    assert!(!self.answered.contains(&self.search), "dialled after somebody answered");
                    assert!(self.alive.insert(n, self.search).is_none(), "a leg twice");
                }
                Output::HangUp { n, .. } | Output::Reject { n, .. } => {
                    assert!(self.alive.remove(&n).is_some(), "hung up twice");
                }
                Output::Finished(_) => {
                    assert!(self.alive.is_empty(), "a leg was forgotten");
                    self.finished += 1;
                }
                _ => {}
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script::new(bytes);
    let mut now = Instant::now();
    let is_inbound = script.byte() % 2 == 0;
    let spec: Spec = spec(&mut script);
    let mut call = if is_inbound { Call::inbound(spec, now) } else { Call::outbound(spec, now) };
    let alive: HashMap<u32, u32> = is_inbound.then_some((0, u32::MAX)).into_iter().collect();
    let mut judge = Judge { state: State::Queued, finished: 0, alive, search: 0, answered: HashSet::new() };
    judge.drain(&mut call);
    while !script.is_over() {
        match script.byte() % 16 {
            0 | 1 => {
                let until = now + script.time();
                while let Some(due) = call.poll_timeout().filter(|due| *due <= until) {
                    now = now.max(due);
                    call.handle_timeout(now);
                    judge.drain(&mut call);
                }
                now = until;
            }
            2 => drop(call.transfer(u32::from(script.byte() % 8), dial(&mut script), now)),
            3 => {
                if let Ok(given) = call.give_away(u32::from(script.byte() % 8), now) {
                    judge.alive.remove(&given);
                }
            }
            4 => {
                let taken = call.take_over(u32::from(script.byte() % 8));
                judge.alive.extend(taken.map(|taken| (taken, u32::MAX)));
            }
            _ => {
                let input = input(&mut script);
                if let Input::Leg { n, what } = &input {
                    match what {
                        LegInput::Answered => judge.answered.extend(judge.alive.get(n)),
                        LegInput::Failed(_) | LegInput::Ended { .. } => drop(judge.alive.remove(n)),
                        _ => {}
                    }
                }
                call.handle_input(input, now);
            }
        }
        judge.drain(&mut call);
    }
    call.handle_input(trunkline_fuzz::hang_up(), now);
    for _ in 0..8 {
        now += Duration::from_secs(10);
        call.handle_timeout(now);
    }
    judge.drain(&mut call);
    assert_eq!(judge.finished, 1, "a call ends exactly once");
    assert_eq!(call.poll_timeout(), None);
});
