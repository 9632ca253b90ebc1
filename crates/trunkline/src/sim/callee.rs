//! Somebody on one call, as a script has it. No IO: told what happened, says what to do.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::script::{Script, Sound, Step, Worse};

/// Keys kept until they are asked for.
const MOST_KEYS: usize = 64;
/// A script that begins again does so after a while, so that it cannot go round without end in no time.
const BEFORE_REPEAT: Duration = Duration::from_millis(100);

/// What the callee does next.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Action {
    /// 180 to 183.
    Progress(u16),
    /// 183 with an answer.
    EarlyMedia,
    /// 200 OK.
    Answer,
    /// A final refusal with this status.
    Reject(u16),
    /// 302 with this Contact.
    Redirect(String),
    /// To be heard; its end is to be told under this id, unless it is cut off after `limit`.
    Play { id: u32, sound: Sound, limit: Option<Duration> },
    /// Enough of what is heard.
    Stop,
    /// Keys; their end is to be told under this id.
    Press { id: u32, keys: String },
    /// Sends back what is heard.
    Echo,
    /// Records what is heard, at the most for so long; the end is to be told under this id.
    Record { id: u32, longest: Duration },
    /// Puts the other side on hold, or takes it back; the end is to be told.
    Hold(bool),
    /// What is sent arrives worse from now on.
    Impair(Worse),
    /// A BYE is not answered for so long.
    LateBye(Duration),
    /// BYE.
    HangUp,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// What had this id is over.
    Done(u32),
    /// The other side pressed a key.
    Key(char),
    /// A change of hold is settled.
    Reoffered,
}

/// What the next step waits for.
#[derive(Debug)]
enum Waits {
    Until(Instant),
    Done {
        id: u32,
        until: Option<Instant>,
    },
    Keys {
        count: usize,
        until: Instant,
    },
    Reoffered,
    /// The other side, to hang up.
    Them,
}

/// One callee on one call.
#[derive(Debug)]
pub(super) struct Callee {
    script: Script,
    /// How many calls it has refused of late.
    refused: u32,
    at: usize,
    /// Where `repeat` leads to.
    begin: usize,
    waits: Waits,
    keys: VecDeque<char>,
    entered: String,
    matched: bool,
    next_id: u32,
}

impl Callee {
    /// A callee whose phone is rung at `now`, after it refused `refused` calls in a row.
    pub(super) fn new(script: Script, refused: u32, now: Instant) -> Self {
        Self {
            script,
            refused,
            at: 0,
            begin: 0,
            waits: Waits::Until(now),
            keys: VecDeque::new(),
            entered: String::new(),
            matched: false,
            next_id: 1,
        }
    }

    /// When the next action is due, if nothing happens before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.waits {
            Waits::Until(at) | Waits::Keys { until: at, .. } => Some(at),
            Waits::Done { until, .. } => until,
            Waits::Reoffered | Waits::Them => None,
        }
    }

    /// Takes in what happened.
    pub(super) fn handle_input(&mut self, input: Input, now: Instant) {
        match (input, &self.waits) {
            (Input::Done(done), Waits::Done { id, .. }) if *id == done => self.waits = Waits::Until(now),
            (Input::Reoffered, Waits::Reoffered) => self.waits = Waits::Until(now),
            (Input::Key(key), _) if self.keys.len() < MOST_KEYS => {
                self.keys.push_back(key);
                self.count_keys(now);
            }
            _ => {}
        }
    }

    /// Ends the wait for keys once there are enough.
    fn count_keys(&mut self, now: Instant) {
        let Waits::Keys { count, .. } = self.waits else { return };
        let end = self.keys.iter().position(|key| *key == '#').filter(|end| *end < count);
        if end.is_some() || self.keys.len() >= count {
            self.entered = self.keys.drain(..end.unwrap_or(count)).collect();
            if end.is_some() {
                self.keys.pop_front();
            }
            self.waits = Waits::Until(now);
        }
    }

    /// The next action due at `now`.
    pub(super) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        match &self.waits {
            Waits::Until(at) | Waits::Keys { until: at, .. } if *at > now => return None,
            Waits::Done { until: Some(until), .. } if *until <= now => {
                self.waits = Waits::Until(now);
                return Some(Action::Stop);
            }
            Waits::Done { .. } | Waits::Reoffered | Waits::Them => return None,
            Waits::Keys { .. } => {
                self.entered = self.keys.drain(..).collect();
                self.waits = Waits::Until(now);
            }
            Waits::Until(_) => {}
        }
        loop {
            let Some(step) = self.script.steps.get(self.at).cloned() else {
                self.waits = Waits::Them;
                return None;
            };
            self.at += 1;
            if let Some(action) = self.carry_out(step, now) {
                return Some(action);
            }
            if !matches!(self.waits, Waits::Until(at) if at <= now) {
                return None;
            }
        }
    }

    fn carry_out(&mut self, step: Step, now: Instant) -> Option<Action> {
        match step {
            Step::Progress(status) => return Some(Action::Progress(status)),
            Step::EarlyMedia => {
                self.begin = self.at;
                return Some(Action::EarlyMedia);
            }
            Step::Answer => {
                self.begin = self.at;
                return Some(Action::Answer);
            }
            Step::Reject { status, times } => {
                if times.is_none_or(|times| self.refused % (times + 1) < times) {
                    self.waits = Waits::Them;
                    return Some(Action::Reject(status));
                }
            }
            Step::Redirect(uri) => {
                self.waits = Waits::Them;
                return Some(Action::Redirect(uri));
            }
            Step::Wait(time) => self.waits = Waits::Until(now + time),
            Step::Listen => self.waits = Waits::Them,
            Step::Play { sound, limit } => {
                let id = self.waits_for(limit.map(|limit| now + limit));
                return Some(Action::Play { id, sound, limit });
            }
            Step::Press(keys) => return Some(Action::Press { id: self.waits_for(None), keys }),
            Step::Echo => return Some(Action::Echo),
            Step::Record(longest) => return Some(Action::Record { id: self.waits_for(None), longest }),
            Step::Expect { count, within } => {
                (self.matched, self.waits) = (false, Waits::Keys { count, until: now + within });
                self.entered.clear();
                self.count_keys(now);
            }
            Step::When { keys, step } => {
                if keys == self.entered {
                    self.matched = true;
                    return self.carry_out(*step, now);
                }
            }
            Step::Otherwise(step) => {
                if !self.matched {
                    return self.carry_out(*step, now);
                }
            }
            Step::Hold | Step::Resume => {
                self.waits = Waits::Reoffered;
                return Some(Action::Hold(step == Step::Hold));
            }
            Step::HangUp => {
                self.waits = Waits::Them;
                return Some(Action::HangUp);
            }
            Step::LateBye(time) => return Some(Action::LateBye(time)),
            Step::Impair(worse) => return Some(Action::Impair(worse)),
            Step::Repeat => (self.at, self.waits) = (self.begin, Waits::Until(now + BEFORE_REPEAT)),
        }
        None
    }

    fn waits_for(&mut self, until: Option<Instant>) -> u32 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1).max(1);
        self.waits = Waits::Done { id, until };
        id
    }
}
