//! Asking for digits: prompts, keys, time-outs and tries, apart from the call around them.

use std::time::Instant;

use super::output::{GatherEnd, Output, Outputs};
use crate::flow::{Gather, Verb};

/// One [`Gather`] under way.
#[derive(Debug)]
pub(super) struct Gathering {
    gather: Gather,
    digits: String,
    /// Of how many this is, from 1.
    tries: u32,
    /// The next prompt.
    prompt: usize,
    /// The prompt that is being played.
    playing: Option<u32>,
    /// Until when a digit may come; none while the prompts last.
    until: Option<Instant>,
}

impl Gathering {
    pub(super) fn new(gather: Gather) -> Self {
        Self { gather, digits: String::new(), tries: 1, prompt: 0, playing: None, until: None }
    }

    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn is_playing(&self, id: u32) -> bool {
        self.playing == Some(id)
    }

    /// The next prompt; with none left the wait for the first digit begins.
    pub(super) fn next_prompt(&mut self, now: Instant) -> Option<&Verb> {
        self.playing = None;
        let prompt = self.gather.prompts.get(self.prompt);
        match prompt {
            Some(_) => self.prompt += 1,
            None => self.until = now.checked_add(self.gather.timeout),
        }
        prompt
    }

    /// The prompt just taken is being played under this id.
    pub(super) fn plays(&mut self, id: u32) {
        self.playing = Some(id);
    }

    /// Stops the prompt that is being played to the leg `n`, if any.
    pub(super) fn quiet(&mut self, n: u32, out: &mut Outputs) {
        if self.playing.take().is_some() {
            out.push(Output::StopMedia { n });
        }
    }

    /// Takes a key; says why it was the last one, if it was.
    pub(super) fn press(&mut self, digit: char, now: Instant) -> Option<GatherEnd> {
        if self.gather.finish == Some(digit) {
            let enough = self.digits.len() >= *self.gather.digits.start();
            return Some(if enough { GatherEnd::FinishKey } else { GatherEnd::TooFew });
        }
        self.digits.push(digit);
        self.until = now.checked_add(self.gather.between);
        (self.digits.len() >= *self.gather.digits.end()).then_some(GatherEnd::MaxDigits)
    }

    /// What this end leads to: another try, or the way on.
    pub(super) fn end(&mut self, why: GatherEnd) -> Next {
        let enough = self.digits.len() >= *self.gather.digits.start() && !self.digits.is_empty();
        let is_open = self.gather.branches.is_empty();
        let branch = self.gather.branches.iter_mut().find(|(digits, _)| *digits == self.digits);
        let (why, flow) = match (why, branch) {
            (GatherEnd::Stopped, _) => (why, Some(Vec::new())),
            (_, Some((_, flow))) if enough => (why, Some(std::mem::take(flow))),
            (_, None) if enough && is_open => (why, Some(Vec::new())),
            _ if enough => (GatherEnd::NoMatch, None),
            _ => (why, None),
        };
        if flow.is_none() && self.tries < self.gather.tries {
            self.tries += 1;
            self.digits.clear();
            (self.prompt, self.until) = (0, None);
            return Next::Again;
        }
        let flow = flow.unwrap_or_else(|| std::mem::take(&mut self.gather.otherwise));
        Next::On { digits: std::mem::take(&mut self.digits), why, flow }
    }
}

/// What follows a try.
pub(super) enum Next {
    /// Another one.
    Again,
    /// These steps, then the rest of the flow.
    On {
        /// What was entered.
        digits: String,
        /// Why it ended.
        why: GatherEnd,
        /// The branch that was chosen; may be empty.
        flow: Vec<Verb>,
    },
}
