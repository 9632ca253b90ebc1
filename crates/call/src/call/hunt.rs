//! Looking for somebody who answers: the rounds of a route one after another, the attempts of a round at once.

use std::time::Instant;

use super::input::LegInput;
use super::output::{Leg, Output, Outputs, Progress};
use crate::cause::{self, Cause, HangupBy, because, reason};
use crate::flow::{Round, Route, Then};
use crate::route;
use crate::state::State;

/// Attempts of one round; further ones are not made.
const MOST_AT_ONCE: usize = 16;

/// How a leg, or the search for one, ended.
pub(super) type End = (State, Cause);

/// One route being tried.
#[derive(Debug)]
pub(super) struct Hunt {
    route: Route,
    /// The role of whoever answers.
    leg: Leg,
    /// The current round.
    round: usize,
    /// The attempts that are out.
    tries: Vec<Try>,
    /// Whether this round made more than one: then sound before the answer is nobody's in particular.
    is_forked: bool,
    /// Whether nobody can have been rung by this round's attempts that are over.
    is_unrung: bool,
    /// The most telling end so far.
    best: Option<End>,
    /// The attempt placed last.
    attempt: usize,
}

/// An attempt that is out.
#[derive(Debug)]
struct Try {
    n: u32,
    attempt: usize,
    /// The ring time-out; none while it waits its turn, or where it lies beyond what `Instant` can hold.
    until: Option<Instant>,
    /// Whether the peer is known to have the request.
    heard: bool,
    rang: bool,
    media_ready: bool,
}

/// What came of an input.
#[derive(Debug)]
pub(super) enum News {
    /// Somebody rings.
    Ringing {
        /// The leg that brings sound before its answer.
        early: Option<u32>,
    },
    /// Somebody answered; all others were hung up.
    Answered { n: u32, attempt: usize, media_ready: bool },
    /// Nobody is left; these legs were hung up only now, and have yet to end.
    Failed { end: End, hung_up: Vec<u32> },
}

impl Hunt {
    /// Places the first round; gives the end back if there is nothing to place.
    pub(super) fn new(route: Route, leg: Leg, out: &mut Outputs, now: Instant) -> Result<Self, End> {
        let mut hunt = Hunt {
            route,
            leg,
            round: 0,
            tries: Vec::new(),
            is_forked: false,
            is_unrung: true,
            best: None,
            attempt: 0,
        };
        match hunt.place(out, now) {
            true => Ok(hunt),
            false => Err((State::Failed, because(reason::NO_ATTEMPT, HangupBy::System))),
        }
    }

    /// The attempt placed last.
    pub(super) fn attempt(&self) -> usize {
        self.attempt
    }

    /// When the next ring time-out is.
    pub(super) fn until(&self) -> Option<Instant> {
        self.tries.iter().filter_map(|one| one.until).min()
    }

    /// Whether this leg is out and has not answered.
    pub(super) fn has(&self, n: u32) -> bool {
        self.tries.iter().any(|one| one.n == n)
    }

    /// Takes in what happened to the leg `n`; one that is not out is passed over.
    pub(super) fn handle(
        &mut self,
        n: u32,
        input: LegInput,
        out: &mut Outputs,
        now: Instant,
    ) -> Option<News> {
        let ring_timeout = self.route.rounds.get(self.round).map(|round| round.ring_timeout);
        let is_forked = self.is_forked;
        let one = self.tries.iter_mut().find(|one| one.n == n)?;
        match input {
            LegInput::Waiting => {
                (one.until, one.heard) = (None, false);
                out.progress(Progress::Paced);
                None
            }
            LegInput::Dialed => {
                one.until = ring_timeout.and_then(|after| now.checked_add(after));
                None
            }
            LegInput::Trying => {
                one.heard = true;
                None
            }
            LegInput::Ringing { early_media } => {
                one.rang = true;
                Some(News::Ringing { early: (early_media && !is_forked).then_some(n) })
            }
            LegInput::MediaReady => {
                one.media_ready = true;
                None
            }
            LegInput::Answered => {
                let news = News::Answered { n, attempt: one.attempt, media_ready: one.media_ready };
                self.tries.retain(|other| other.n != n);
                self.hang_up(&because(reason::COMPLETED_ELSEWHERE, HangupBy::System), out);
                Some(news)
            }
            LegInput::Failed(failure) => {
                let is_unrung = route::may_try_next(&failure);
                self.over(n, cause::from_failure(&failure), is_unrung, out, now)
            }
            LegInput::Ended { .. } => {
                self.over(n, (State::Failed, because(reason::LEG_LOST, HangupBy::System)), false, out, now)
            }
            LegInput::MediaFailed(said) => {
                let cause = cause::media_failed(&said);
                out.push(Output::HangUp { n, cause: cause.clone() });
                let news = self.over(n, (State::Failed, cause), false, out, now);
                waiting_for(vec![n], news)
            }
            LegInput::Silent { .. } | LegInput::Digit(_) => None,
        }
    }

    /// Hangs up the attempts whose ring time-out has come.
    pub(super) fn timed_out(&mut self, out: &mut Outputs, now: Instant) -> Option<News> {
        let after = self.route.rounds.get(self.round)?.ring_timeout;
        let is_due = |one: &&Try| one.until.is_some_and(|until| until <= now);
        let due = self.tries.iter().filter(is_due).map(|one| (one.n, one.heard, one.rang));
        let due: Vec<(u32, bool, bool)> = due.collect();
        let mut news = None;
        for (n, heard, rang) in &due {
            let (state, cause) = cause::unanswered(after, *heard, *rang);
            out.push(Output::HangUp { n: *n, cause: cause.clone() });
            news = self.over(*n, (state, cause), false, out, now);
        }
        waiting_for(due.into_iter().map(|(n, ..)| n).collect(), news)
    }

    /// Hangs up all that are out, and says which those were.
    pub(super) fn hang_up(&mut self, cause: &Cause, out: &mut Outputs) -> Vec<u32> {
        let legs: Vec<u32> = self.tries.drain(..).map(|one| one.n).collect();
        legs.iter().for_each(|n| out.push(Output::HangUp { n: *n, cause: cause.clone() }));
        legs
    }

    /// Places the attempts of the next round that has any; whether there is one.
    fn place(&mut self, out: &mut Outputs, now: Instant) -> bool {
        let of = self.route.attempts();
        let Some(round) = self.route.rounds.iter().skip(self.round).find(|round| {
            let is_empty = round.attempts.is_empty();
            self.round += usize::from(is_empty);
            !is_empty
        }) else {
            return false;
        };
        let before = self.route.rounds.iter().take(self.round).map(|round| round.attempts.len()).sum();
        let attempts = (before..).zip(round.attempts.iter().take(MOST_AT_ONCE));
        self.is_forked = round.attempts.len() > 1;
        self.is_unrung = true;
        if self.is_forked {
            out.progress(Progress::Forked { legs: round.attempts.len().min(MOST_AT_ONCE) });
        }
        for (index, attempt) in attempts {
            let n = out.leg();
            let until = now.checked_add(round.ring_timeout);
            let fresh = Try { n, attempt: index, until, heard: false, rang: false, media_ready: false };
            self.tries.push(fresh);
            self.attempt = index;
            let trunk = attempt.trunk.clone();
            out.progress(Progress::Attempt { leg: self.leg, n: index + 1, of, trunk });
            out.push(Output::Dial { n, leg: self.leg, route: self.route.id, attempt: index });
        }
        true
    }

    /// An attempt came to nothing: the next round follows where this one is over and lets it.
    fn over(&mut self, n: u32, end: End, is_unrung: bool, out: &mut Outputs, now: Instant) -> Option<News> {
        let at = self.tries.iter().position(|one| one.n == n)?;
        let one = self.tries.remove(at);
        self.is_unrung &= is_unrung && !one.rang;
        if is_for_all(&end) {
            self.hang_up(&end.1, out);
            return Some(News::Failed { end, hung_up: Vec::new() });
        }
        let cause = end.1.clone();
        self.best = Some(match self.best.take() {
            Some(best) if rank(&best) <= rank(&end) => best,
            _ => end,
        });
        if !self.tries.is_empty() {
            out.progress(Progress::AttemptFailed { cause });
            return None;
        }
        if self.goes_on() {
            out.progress(Progress::AttemptFailed { cause });
            self.round += 1;
            self.place(out, now);
            return None;
        }
        let end = self.best.take()?;
        Some(News::Failed { end, hung_up: Vec::new() })
    }

    /// Whether a further round may follow this one.
    fn goes_on(&mut self) -> bool {
        let mut rest = self.route.rounds.iter().skip(self.round);
        let then = rest.next().map(|Round { then, .. }| *then);
        let has_more = rest.any(|round| !round.attempts.is_empty());
        let goes_on = has_more
            && match then {
                Some(Then::Always) => true,
                Some(Then::IfUnrung) => self.is_unrung,
                None => false,
            };
        // Who was not even rung has said nothing that the next trunk cannot say better.
        if goes_on && then == Some(Then::IfUnrung) {
            self.best = None;
        }
        goes_on
    }
}

/// The same news, with the legs that are still to end if it is the last one.
fn waiting_for(legs: Vec<u32>, news: Option<News>) -> Option<News> {
    match news {
        Some(News::Failed { end, .. }) => Some(News::Failed { end, hung_up: legs }),
        news => news,
    }
}

/// Whether the callee refused wherever they may be (RFC 3261 section 16.7 step 5): nobody else is asked.
fn is_for_all((_, cause): &End) -> bool {
    matches!(cause.sip, Some(600..=699))
}

/// The order of RFC 3261 section 16.7 step 6, the most telling first, with what a person did before what a machine
/// said: busy, not picked up, declined or out of reach, other refusals (4xx), redirections, faults (5xx), silence.
fn rank((state, cause): &End) -> u8 {
    match (state, cause.sip) {
        (State::Busy, _) => 0,
        (State::NoAnswer, None) => 1,
        (State::NoAnswer, Some(_)) => 2,
        _ if cause.by == HangupBy::Callee => 2,
        (_, Some(400..=499)) => 3,
        (_, Some(300..=399)) => 4,
        (_, Some(_)) => 5,
        (_, None) => 6,
    }
}
