//! A second leg beside the first one: called, heard ringing, joined, ended.

use std::time::{Duration, Instant};

use super::hunt::{End, Hunt, News};
use super::input::LegInput;
use super::output::{Leg, Output, Progress};
use super::party::{Party, ended};
use super::transfer::Transfer;
use super::{Call, Phase};
use crate::cause::{self, Cause, HangupBy, because, reason};
use crate::flow::{ClipId, Dial};
use crate::state::State;

/// A [`Dial`] under way.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) stage: Stage,
    /// The longest time both are joined.
    pub(super) longest: Duration,
    /// What the first leg hears while the other one rings.
    pub(super) ringback: Option<ClipId>,
    /// Whether the call ends with it once somebody has answered.
    is_final: bool,
    /// The ringback that is being played.
    playing: Option<u32>,
    /// Whether it was told that somebody rings.
    pub(super) rang: bool,
    /// The leg that brings sound before its answer.
    pub(super) early: Option<u32>,
    /// The leg that hears the first one, and is heard.
    pub(super) joined: Option<u32>,
    /// What is under way where the second leg is being replaced.
    pub(super) transfer: Option<Transfer>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nobody has answered.
    Hunting(Hunt),
    /// Answered; `until` the longest duration.
    Talking { second: Party, until: Option<Instant> },
}

impl Bridge {
    pub(super) fn until(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Hunting(hunt) => hunt.until(),
            Stage::Talking { until, .. } => *until,
        }
    }
}

impl Call {
    pub(super) fn dial(&mut self, dial: Dial, now: Instant) {
        self.out.progress(Progress::Dialing { to: dial.to });
        match Hunt::new(dial.route, Leg::Second, &mut self.out, now) {
            Ok(hunt) => {
                self.phase = Phase::Bridging(Box::new(Bridge {
                    stage: Stage::Hunting(hunt),
                    longest: dial.max_duration,
                    is_final: dial.is_final,
                    ringback: dial.ringback,
                    playing: None,
                    rang: false,
                    early: None,
                    joined: None,
                    transfer: None,
                }));
            }
            Err(end) => self.bridge_over(end, now),
        }
    }

    /// Takes in what happened to a leg that is not the first.
    pub(super) fn second_leg(&mut self, n: u32, what: LegInput, now: Instant) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        match (&mut bridge.stage, what) {
            (Stage::Hunting(hunt), LegInput::Digit(digit)) if hunt.has(n) => self.relay(n, digit),
            (Stage::Hunting(hunt), what) if hunt.has(n) => {
                let news = hunt.handle(n, what, &mut self.out, now);
                self.second_hunted(news, now);
            }
            (Stage::Hunting(_), what) => self.referrer(n, &what),

            (Stage::Talking { second, .. }, what) if second.n == n => match what {
                LegInput::MediaReady => {
                    second.media_ready = true;
                    self.join();
                }
                LegInput::Ended { by, q850 } => {
                    let end = ended(by, q850, second.by);
                    self.bridge_over(end, now);
                }
                LegInput::Failed(failure) => {
                    self.bridge_over((State::Failed, cause::from_failure(&failure).1), now);
                }
                LegInput::MediaFailed(said) => {
                    self.end_bridge((State::Failed, cause::media_failed(&said)), now);
                }
                LegInput::Silent { after } => {
                    self.end_bridge((State::Completed, cause::rtp_silence(after)), now);
                }
                LegInput::Digit(digit) => self.relay(n, digit),
                LegInput::Waiting
                | LegInput::Dialed
                | LegInput::Trying
                | LegInput::Ringing { .. }
                | LegInput::Answered => {}
            },
            (Stage::Talking { .. }, _) => {}
        }
    }

    pub(super) fn bridge_timed_out(&mut self, now: Instant) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        match &mut bridge.stage {
            Stage::Hunting(hunt) => {
                let news = hunt.timed_out(&mut self.out, now);
                self.second_hunted(news, now);
            }
            Stage::Talking { .. } => {
                let cause = cause::max_duration(bridge.longest);
                self.end_bridge((State::Completed, cause), now);
            }
        }
    }

    fn second_hunted(&mut self, news: Option<News>, now: Instant) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        // A leg that brought early media and failed is heard no more.
        if let (Stage::Hunting(hunt), Some(early)) = (&bridge.stage, bridge.early)
            && !hunt.has(early)
            && !matches!(news, Some(News::Answered { .. }))
        {
            (bridge.early, bridge.joined) = (None, None);
        }
        match news {
            None => {}
            Some(News::Ringing { early }) => self.second_rings(early, now),
            Some(News::Answered { n, media_ready, .. }) => self.second_answered(n, media_ready, now),
            Some(News::Failed { end, .. }) if bridge.transfer.is_some() => self.transfer_failed(end, now),
            Some(News::Failed { end, .. }) => self.bridge_over(end, now),
        }
    }

    fn second_rings(&mut self, early: Option<u32>, now: Instant) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        if !std::mem::replace(&mut bridge.rang, true) {
            self.out.progress(Progress::SecondRinging);
            if let Some(transfer) = &bridge.transfer {
                transfer.tell(180, &mut self.out);
            }
        }
        bridge.early = early.or(bridge.early);
        let is_heard = bridge.early.is_some() || bridge.joined.is_some();
        if !self.first.is_answered && !self.first.is_answering {
            self.ring(early.is_some(), now);
        }
        // Who is unanswered and hears nothing of ours makes the ringing tone itself.
        if self.first.media_ready && !is_heard && bridge_is_quiet(&self.phase) {
            self.play_ringback();
        }
        self.join();
    }

    fn second_answered(&mut self, n: u32, media_ready: bool, now: Instant) {
        self.quiet();
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        let second = Party { media_ready, ..Party::answered(n, HangupBy::Callee) };
        bridge.stage = Stage::Talking { second, until: now.checked_add(bridge.longest) };
        self.out.progress(Progress::SecondAnswered);
        self.transferred();
        self.answer_first();
        self.join();
    }

    /// Joins both legs once each of them has sound.
    pub(super) fn join(&mut self) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        let other = match &bridge.stage {
            Stage::Hunting(_) => bridge.early,
            Stage::Talking { second, .. } => second.media_ready.then_some(second.n),
        };
        let Some(other) = other.filter(|_| self.first.media_ready && bridge.joined.is_none()) else { return };
        bridge.joined = Some(other);
        self.quiet();
        self.out.push(Output::Join { one: self.first.n, other });
    }

    /// A key pressed on one of two legs, for the other one to hear.
    pub(super) fn relay(&mut self, n: u32, digit: char) {
        let leg = if n == self.first.n { Leg::First } else { Leg::Second };
        self.out.progress(Progress::Digit { leg, digit });
        let Phase::Bridging(bridge) = &self.phase else { return };
        let Some(joined) = bridge.joined else { return };
        let other = if n == self.first.n { joined } else { self.first.n };
        if n == self.first.n || n == joined {
            let id = self.out.id();
            self.out.push(Output::Digits { n: other, id, digits: digit.to_string() });
        }
    }

    /// A sound is over: the ringback, which begins again.
    pub(super) fn ringback_over(&mut self, id: u32) {
        if let Phase::Bridging(bridge) = &self.phase
            && bridge.playing == Some(id)
        {
            self.play_ringback();
        }
    }

    fn play_ringback(&mut self) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        bridge.playing = bridge.ringback.map(|clip| {
            let id = self.out.id();
            self.out.push(Output::Play { n: self.first.n, id, clip });
            id
        });
    }

    /// Stops the ringback.
    pub(super) fn quiet(&mut self) {
        if let Phase::Bridging(bridge) = &mut self.phase
            && bridge.playing.take().is_some()
        {
            self.out.push(Output::StopMedia { n: self.first.n });
        }
    }

    /// Ends the second leg for this, and the bridge with it.
    fn end_bridge(&mut self, end: End, now: Instant) {
        self.hang_up_others(&end.1);
        self.bridge_over(end, now);
    }

    /// Drops the bridge by request.
    pub(super) fn give_up_bridge(&mut self, cause: Cause, now: Instant) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        let end = (unfinished(&bridge.stage), cause);
        match &mut bridge.stage {
            Stage::Hunting(hunt) if bridge.transfer.is_some() => {
                hunt.hang_up(&end.1, &mut self.out);
                self.transfer_failed(end, now);
            }
            _ => self.end_bridge(end, now),
        }
    }

    /// The call ends, and the bridge with it.
    pub(super) fn quit_bridge(&mut self) {
        let Phase::Bridging(bridge) = &self.phase else { return };
        let state = unfinished(&bridge.stage);
        let cause = because(reason::FIRST_LEG_ENDED, HangupBy::System);
        self.hang_up_others(&cause);
        self.quiet();
        self.out.progress(Progress::Dialed { state, cause });
    }

    /// Hangs up every leg but the first.
    fn hang_up_others(&mut self, cause: &Cause) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        match &mut bridge.stage {
            Stage::Hunting(hunt) => drop(hunt.hang_up(cause, &mut self.out)),
            Stage::Talking { second, .. } => {
                self.out.push(Output::HangUp { n: second.n, cause: cause.clone() });
            }
        }
        if let Some(transfer) = bridge.transfer.take() {
            transfer.hang_up(cause, &mut self.out);
        }
    }

    /// The second leg is over, however it went: the flow goes on, or the incoming call ends with it.
    pub(super) fn bridge_over(&mut self, (state, cause): End, now: Instant) {
        self.quiet();
        let has_talked = matches!(&self.phase, Phase::Bridging(bridge) if bridge.has_talked());
        self.out.progress(Progress::Dialed { state, cause: cause.clone() });
        let is_last = self.inserted.is_empty() && self.flow.is_empty() && !self.hold_after_flow;
        let is_final = matches!(&self.phase, Phase::Bridging(bridge) if bridge.is_final);
        if has_talked && (is_final || (is_last && self.is_inbound)) && self.first.is_answered {
            self.phase = Phase::Connecting;
            return self.hang_up(state, cause, now);
        }
        self.dialed = Some((state, cause));
        self.next_verb(now);
    }
}

impl Bridge {
    fn has_talked(&self) -> bool {
        matches!(self.stage, Stage::Talking { .. })
    }
}

fn bridge_is_quiet(phase: &Phase) -> bool {
    matches!(phase, Phase::Bridging(bridge) if bridge.playing.is_none())
}

/// The state of a leg that our own side ends.
fn unfinished(stage: &Stage) -> State {
    match stage {
        Stage::Hunting(_) => State::Canceled,
        Stage::Talking { .. } => State::Completed,
    }
}
