//! The flow of an answered call: which verb is next, and what ends the one under way.

use std::time::Instant;

use super::gather::{Gathering, Next};
use super::output::{GatherEnd, Leg, Output, Progress};
use super::second::{End, Second};
use super::{Call, LAST_WORDS, LegInput, MOST_INSERTED, NotNow, Phase};
use crate::cause::{HangupBy, because, reason};
use crate::flow::Verb;

impl Call {
    /// Puts a verb in front of the remaining flow, behind those put there before; what is under way goes on. A call
    /// whose flow is done and that is held does it at once.
    pub fn insert(&mut self, verb: Verb, now: Instant) -> Result<(), NotNow> {
        match &self.phase {
            Phase::Dialing { .. } => Err(NotNow::NotAnswered),
            Phase::Closing { .. } | Phase::Ending { .. } | Phase::Over => Err(NotNow::Ending),
            _ if self.inserted.len() >= MOST_INSERTED => Err(NotNow::TooMuch),
            Phase::Holding => {
                self.inserted.push_back(verb);
                self.next_verb(now);
                Ok(())
            }
            Phase::Connecting
            | Phase::Playing { .. }
            | Phase::Gathering(_)
            | Phase::Recording { .. }
            | Phase::Bridging(_) => {
                self.inserted.push_back(verb);
                Ok(())
            }
        }
    }

    /// Drops what is under way: a sound, digits asked for, a recording, a second leg. The flow goes on with its next
    /// verb.
    pub fn stop(&mut self, now: Instant) -> Result<(), NotNow> {
        match &mut self.phase {
            Phase::Dialing { .. } => return Err(NotNow::NotAnswered),
            Phase::Closing { .. } | Phase::Ending { .. } | Phase::Over => return Err(NotNow::Ending),
            Phase::Connecting | Phase::Holding => return Err(NotNow::NothingToStop),
            Phase::Playing { .. } => {
                self.out.push(Output::StopMedia);
                self.out.progress(Progress::Stopped);
                self.next_verb(now);
            }
            Phase::Gathering(_) => self.gathered(GatherEnd::Stopped, now),
            // Its end is reported, and leads on.
            Phase::Recording { id, .. } => self.out.push(Output::StopRecord { id: *id }),
            Phase::Bridging(second) => {
                let end = second.give_up(because(reason::STOPPED, HangupBy::Caller), &mut self.out);
                self.second_ended(end, now);
            }
        }
        Ok(())
    }

    pub(super) fn next_verb(&mut self, now: Instant) {
        let verb = self.inserted.pop_front().or_else(|| self.flow.pop_front());
        match verb {
            Some(verb @ (Verb::Say { .. } | Verb::Play { .. } | Verb::Pause(_) | Verb::Digits(_))) => {
                if let Some(id) = self.out.play(&verb) {
                    self.phase = Phase::Playing { id };
                }
            }
            Some(Verb::Gather(gather)) => {
                self.phase = Phase::Gathering(Box::new(Gathering::new(*gather)));
                self.ask(now);
            }
            Some(Verb::Record(rules)) => {
                let id = self.out.id();
                self.phase = Phase::Recording { id, finish_keys: rules.finish_keys.clone() };
                self.out.progress(Progress::Recording);
                self.out.push(Output::Record { id, rules });
            }
            Some(Verb::Dial(dial)) => match Second::new(*dial, &mut self.out, now) {
                Ok(second) => self.phase = Phase::Bridging(Box::new(second)),
                Err(end) => self.second_ended(end, now),
            },
            None if self.spec.hold_after_flow => {
                self.phase = Phase::Holding;
                self.out.progress(Progress::FlowDone);
            }
            Some(Verb::Hangup) | None => {
                self.phase = Phase::Closing { at: now + LAST_WORDS };
                self.out.progress(Progress::FlowDone);
            }
        }
    }

    /// Begins a try.
    fn ask(&mut self, now: Instant) {
        if let Phase::Gathering(gathering) = &self.phase {
            self.out.progress(Progress::Gathering { n: gathering.tries() });
        }
        self.next_prompt(now);
    }

    pub(super) fn next_prompt(&mut self, now: Instant) {
        let Phase::Gathering(gathering) = &mut self.phase else { return };
        while let Some(prompt) = gathering.next_prompt(now) {
            if let Some(id) = self.out.play(prompt) {
                return gathering.plays(id);
            }
        }
    }

    pub(super) fn press(&mut self, digit: char, now: Instant) {
        let Phase::Gathering(gathering) = &mut self.phase else { return };
        gathering.quiet(&mut self.out);
        if let Some(why) = gathering.press(digit, now) {
            self.gathered(why, now);
        }
    }

    pub(super) fn gathered(&mut self, why: GatherEnd, now: Instant) {
        let Phase::Gathering(gathering) = &mut self.phase else { return };
        gathering.quiet(&mut self.out);
        match gathering.end(why) {
            Next::Again => self.ask(now),
            Next::On { digits, why, flow } => {
                self.out.progress(Progress::Gathered { digits, why });
                for verb in flow.into_iter().rev() {
                    self.flow.push_front(verb);
                }
                self.next_verb(now);
            }
        }
    }

    pub(super) fn second(&mut self, n: u32, input: LegInput, now: Instant) {
        if matches!(input, LegInput::Silent { after } if !self.is_too_silent(after)) {
            return;
        }
        let Phase::Bridging(second) = &mut self.phase else { return };
        if let Some(end) = second.handle(n, input, &mut self.out, now) {
            self.second_ended(end, now);
        }
    }

    pub(super) fn second_timed_out(&mut self, now: Instant) {
        let Phase::Bridging(second) = &mut self.phase else { return };
        let end = second.timed_out(&mut self.out);
        self.second_ended(end, now);
    }

    /// A key of the first leg while there is a second one.
    pub(super) fn relay(&mut self, digit: char) {
        self.out.progress(Progress::Digit { leg: Leg::First, digit });
        if let Phase::Bridging(second) = &self.phase {
            second.press(digit, &mut self.out);
        }
    }

    /// A sound is over: the ringback, which begins again.
    pub(super) fn ringback(&mut self, id: u32) {
        if let Phase::Bridging(second) = &mut self.phase {
            second.played(id, &mut self.out);
        }
    }

    pub(super) fn second_ended(&mut self, (state, cause): End, now: Instant) {
        if let Phase::Bridging(second) = &mut self.phase {
            second.quiet(&mut self.out);
        }
        self.out.progress(Progress::Dialed { state, cause });
        self.next_verb(now);
    }

    /// Ends whatever verb is under way, because the call ends.
    pub(super) fn quit(&mut self) {
        match &mut self.phase {
            Phase::Playing { .. } => self.out.push(Output::StopMedia),
            Phase::Gathering(gathering) => gathering.quiet(&mut self.out),
            Phase::Recording { id, .. } => self.out.push(Output::StopRecord { id: *id }),
            Phase::Bridging(second) => {
                let (state, cause) =
                    second.give_up(because(reason::FIRST_LEG_ENDED, HangupBy::System), &mut self.out);
                second.quiet(&mut self.out);
                self.out.progress(Progress::Dialed { state, cause });
            }
            _ => {}
        }
    }
}
