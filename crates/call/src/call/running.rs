//! The flow of a call: which verb is next, and what ends the one under way.

use std::time::Instant;

use super::gather::{Gathering, Next};
use super::output::{GatherEnd, Output, Progress};
use super::{Call, LAST_WORDS, MOST_INSERTED, NotNow, Phase};
use crate::cause::{self, Cause, HangupBy, because, reason};
use crate::flow::Verb;
use crate::state::State;

impl Call {
    /// Puts a verb in front of the remaining flow, behind those put there before; what is under way goes on. A call
    /// whose flow is done and that is held does it at once.
    pub fn insert(&mut self, verb: Verb, now: Instant) -> Result<(), NotNow> {
        match &self.phase {
            Phase::Closing { .. } | Phase::Ending { .. } | Phase::Over => Err(NotNow::Ending),
            _ if self.answered.is_none() => Err(NotNow::NotAnswered),
            _ if self.inserted.len() >= MOST_INSERTED => Err(NotNow::TooMuch),
            Phase::Holding => {
                self.inserted.push_back(verb);
                self.next_verb(now);
                Ok(())
            }
            Phase::Hunting(_)
            | Phase::Connecting
            | Phase::Playing { .. }
            | Phase::Gathering(_)
            | Phase::Recording { .. }
            | Phase::Bridging(_) => {
                self.inserted.push_back(verb);
                Ok(())
            }
        }
    }

    /// Drops what is under way: a sound, digits asked for, a recording, a second leg, a transfer. The flow goes on with
    /// its next verb; whoever asked for the transfer keeps who was to be transferred.
    pub fn stop(&mut self, now: Instant) -> Result<(), NotNow> {
        let n = self.first.n;
        match &mut self.phase {
            Phase::Closing { .. } | Phase::Ending { .. } | Phase::Over => return Err(NotNow::Ending),
            _ if self.answered.is_none() => return Err(NotNow::NotAnswered),
            Phase::Hunting(_) | Phase::Connecting | Phase::Holding => return Err(NotNow::NothingToStop),
            Phase::Playing { .. } => {
                self.out.push(Output::StopMedia { n });
                self.out.progress(Progress::Stopped);
                self.next_verb(now);
            }
            Phase::Gathering(_) => self.gathered(GatherEnd::Stopped, now),
            // Its end is reported, and leads on.
            Phase::Recording { id, .. } => self.out.push(Output::StopRecord { n, id: *id }),
            Phase::Bridging(_) => self.give_up_bridge(because(reason::STOPPED, HangupBy::Caller), now),
        }
        Ok(())
    }

    pub(super) fn next_verb(&mut self, now: Instant) {
        let n = self.first.n;
        let verb = self.inserted.pop_front().or_else(|| self.flow.pop_front());
        match verb {
            Some(verb) if verb.needs_sound() && !(self.first.is_answered && self.first.media_ready) => {
                self.flow.push_front(verb);
                self.phase = Phase::Connecting;
                self.answer_first();
            }
            Some(verb @ (Verb::Say { .. } | Verb::Play { .. } | Verb::Pause(_) | Verb::Digits(_))) => {
                if let Some(id) = self.out.play(n, &verb) {
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
                self.out.push(Output::Record { n, id, rules });
            }
            Some(Verb::Dial(dial)) => self.dial(*dial, now),
            Some(Verb::Answer) => self.next_verb(now),
            Some(Verb::Reject(status)) if !self.first.is_answered => {
                let (state, cause) = cause::rejected(status);
                self.refuse(state, cause, now);
            }
            Some(Verb::Hangup) if !self.first.is_answered => {
                let (state, cause) = cause::rejected(603);
                self.refuse(state, cause, now);
            }
            None if !self.first.is_answered => {
                let unanswered = || (State::NoAnswer, because(reason::UNANSWERED, HangupBy::System));
                let (state, cause) = self.dialed.take().unwrap_or_else(unanswered);
                // It may be that both sides were about to be joined; this one never was.
                let state = if state == State::Completed { State::Failed } else { state };
                self.refuse(state, cause, now);
            }
            None if self.hold_after_flow => {
                self.phase = Phase::Holding;
                self.out.progress(Progress::FlowDone);
            }
            Some(Verb::Hangup | Verb::Reject(_)) | None => {
                self.phase = Phase::Closing { at: now + LAST_WORDS };
                self.out.progress(Progress::FlowDone);
            }
        }
    }

    /// Ends an incoming call that is unanswered.
    fn refuse(&mut self, state: State, cause: Cause, now: Instant) {
        self.phase = Phase::Connecting;
        self.out.progress(Progress::FlowDone);
        self.hang_up(state, cause, now);
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
            if let Some(id) = self.out.play(self.first.n, prompt) {
                return gathering.plays(id);
            }
        }
    }

    pub(super) fn press(&mut self, digit: char, now: Instant) {
        let Phase::Gathering(gathering) = &mut self.phase else { return };
        gathering.quiet(self.first.n, &mut self.out);
        if let Some(why) = gathering.press(digit, now) {
            self.gathered(why, now);
        }
    }

    pub(super) fn gathered(&mut self, why: GatherEnd, now: Instant) {
        let Phase::Gathering(gathering) = &mut self.phase else { return };
        gathering.quiet(self.first.n, &mut self.out);
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

    /// A sound is over.
    pub(super) fn played(&mut self, id: u32, whole: bool, now: Instant) {
        match &self.phase {
            Phase::Playing { id: current } if *current == id => self.next_verb(now),
            Phase::Gathering(gathering) if gathering.is_playing(id) => self.next_prompt(now),
            Phase::Bridging(_) if whole => self.ringback_over(id),
            _ => {}
        }
    }

    /// Ends whatever verb is under way, because the call ends.
    pub(super) fn quit(&mut self) {
        let n = self.first.n;
        match &mut self.phase {
            Phase::Playing { .. } => self.out.push(Output::StopMedia { n }),
            Phase::Gathering(gathering) => gathering.quiet(n, &mut self.out),
            Phase::Recording { id, .. } => self.out.push(Output::StopRecord { n, id: *id }),
            Phase::Bridging(_) => self.quit_bridge(),
            _ => {}
        }
    }
}
