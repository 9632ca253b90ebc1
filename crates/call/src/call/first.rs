//! The first leg: found, answered, heard, gone.

use std::time::Instant;

use super::hunt::News;
use super::input::LegInput;
use super::output::{Leg, Output, Progress};
use super::party::{Party, abandoned, ended};
use super::{Call, LEG_END, Phase};
use crate::cause::{self, HangupBy};
use crate::state::State;

impl Call {
    /// What became of an outbound call's attempts.
    pub(super) fn hunted(&mut self, news: Option<News>, now: Instant) {
        match news {
            None => {}
            Some(News::Ringing { early }) => self.ring(early.is_some(), now),
            Some(News::Answered { n, attempt, media_ready }) => {
                self.attempt = attempt;
                self.first = Party { media_ready, ..Party::unanswered(n, HangupBy::Callee) };
                self.phase = Phase::Connecting;
                self.answered(now);
            }
            Some(News::Failed { end: (state, cause), hung_up }) => {
                if let Phase::Hunting(hunt) = &self.phase {
                    self.attempt = hunt.attempt();
                }
                match hung_up.is_empty() {
                    true => self.finish(state, cause, now),
                    false => {
                        let end = (state, cause);
                        self.phase = Phase::Ending { legs: hung_up, end, until: now + LEG_END };
                    }
                }
            }
        }
    }

    /// Somebody is being rung: whom we called, or whom an incoming call is for.
    pub(super) fn ring(&mut self, early_media: bool, now: Instant) {
        let is_new = self.ringing.is_none();
        self.ringing.get_or_insert(now);
        let brings_sound = early_media && !std::mem::replace(&mut self.early_media, true);
        if self.is_inbound && (is_new || brings_sound) {
            self.out.push(Output::Ring { n: self.first.n, early_media: brings_sound });
        }
        self.enter(State::Ringing);
        if brings_sound {
            self.out.progress(Progress::EarlyMedia);
        }
    }

    /// Has the incoming leg answered, unless it is.
    pub(super) fn answer_first(&mut self) {
        if !self.first.is_answered && !std::mem::replace(&mut self.first.is_answering, true) {
            self.out.push(Output::Answer { n: self.first.n });
        }
    }

    fn answered(&mut self, now: Instant) {
        self.first.is_answered = true;
        self.answered = Some(now);
        self.limit = now.checked_add(self.max_duration);
        self.enter(State::InProgress);
        self.connected(now);
    }

    /// Goes on once the first leg is answered and has sound.
    fn connected(&mut self, now: Instant) {
        match &self.phase {
            Phase::Connecting if self.first.is_answered && self.first.media_ready => self.next_verb(now),
            Phase::Bridging(_) => self.join(),
            _ => {}
        }
    }

    pub(super) fn first_leg(&mut self, what: LegInput, now: Instant) {
        match what {
            LegInput::Answered if !self.first.is_answered => self.answered(now),
            LegInput::MediaReady if !self.first.media_ready => {
                self.first.media_ready = true;
                self.connected(now);
            }
            LegInput::MediaFailed(said) => self.hang_up(State::Failed, cause::media_failed(&said), now),
            LegInput::Ended { by, q850 } => {
                let whose = self.first.by;
                let (state, cause) = match self.first.is_answered {
                    true => ended(by, q850, whose),
                    false => abandoned(by, q850, whose),
                };
                match self.is_left_by_waiting() {
                    true => self.bridge_over((state, cause), now),
                    false => self.finish(state, cause, now),
                }
            }
            LegInput::Failed(failure) => {
                let (_, cause) = cause::from_failure(&failure);
                match self.is_left_by_waiting() {
                    true => self.bridge_over((State::Failed, cause), now),
                    false => self.finish(State::Failed, cause, now),
                }
            }
            LegInput::Silent { after } if self.first.is_answered => {
                self.hang_up(State::Completed, cause::rtp_silence(after), now);
            }
            LegInput::Digit(digit) => self.first_pressed(digit, now),
            LegInput::Waiting
            | LegInput::Dialed
            | LegInput::Trying
            | LegInput::Ringing { .. }
            | LegInput::Answered
            | LegInput::MediaReady
            | LegInput::Silent { .. } => {}
        }
    }

    fn first_pressed(&mut self, digit: char, now: Instant) {
        if let Phase::Bridging(_) = self.phase {
            return self.relay(self.first.n, digit);
        }
        self.out.progress(Progress::Digit { leg: Leg::First, digit });
        match &self.phase {
            Phase::Gathering(_) => self.press(digit, now),
            Phase::Recording { id, finish_keys } if finish_keys.contains(digit) => {
                self.out.push(Output::StopRecord { n: self.first.n, id: *id });
            }
            _ => {}
        }
    }
}
