//! Who answers at a number of the simulated network. No IO: told what happened, says what to do.

use std::time::{Duration, Instant};

/// How a callee behaves, chosen by the last four digits of the number dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Rings half a second, answers, greets, listens and reports what it heard.
    Listens,
    /// `…0101`: 486 Busy Here.
    Busy,
    /// `…0102`: rings for ever.
    NoAnswer,
    /// `…0103`: 603 Decline.
    Declines,
    /// `…0104`: rings three seconds, then like [`Manner::Listens`].
    RingsThenAnswers,
    /// `…0105`: answers at once and sends back what it hears.
    Echo,
    /// `…0106`: hangs up in the middle of a sentence, two seconds after it answered.
    HangsUp,
    /// `…0107`: 404 Not Found.
    DoesNotExist,
}

/// The table newcomers see: digits, what happens.
pub const TABLE: &[(&str, Manner, &str)] = &[
    ("0101", Manner::Busy, "is busy (486)"),
    ("0102", Manner::NoAnswer, "rings and never answers"),
    ("0103", Manner::Declines, "declines (603)"),
    ("0104", Manner::RingsThenAnswers, "rings 3 s, then answers, greets and listens"),
    ("0105", Manner::Echo, "answers and echoes what it hears"),
    ("0106", Manner::HangsUp, "hangs up mid-sentence, 2 s after answering"),
    ("0107", Manner::DoesNotExist, "does not exist (404)"),
];

/// What the callee does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// 180 Ringing.
    Ring,
    /// 200 OK.
    Answer,
    /// A final refusal with this status.
    Reject(u16),
    /// Speak the greeting.
    Greet,
    /// Send back what is heard.
    Echo,
    /// BYE.
    HangUp,
}

/// One callee on one call.
#[derive(Debug)]
pub struct Callee {
    plan: Vec<(Instant, Action)>,
}

impl Manner {
    /// The callee behind the user part of a Request-URI.
    pub fn of(user: &str) -> Self {
        TABLE.iter().find(|(digits, ..)| user.ends_with(digits)).map_or(Self::Listens, |(_, manner, _)| *manner)
    }
}

impl Callee {
    /// A callee whose phone begins to ring at `now`.
    pub fn new(manner: Manner, now: Instant) -> Self {
        let plan: &[(u64, Action)] = match manner {
            Manner::Listens => &[(0, Action::Ring), (500, Action::Answer), (500, Action::Greet)],
            Manner::Busy => &[(0, Action::Reject(486))],
            Manner::NoAnswer => &[(0, Action::Ring)],
            Manner::Declines => &[(0, Action::Ring), (300, Action::Reject(603))],
            Manner::RingsThenAnswers => &[(0, Action::Ring), (3000, Action::Answer), (3000, Action::Greet)],
            Manner::Echo => &[(0, Action::Answer), (0, Action::Echo)],
            Manner::HangsUp => {
                &[(0, Action::Ring), (300, Action::Answer), (300, Action::Greet), (2300, Action::HangUp)]
            }
            Manner::DoesNotExist => &[(0, Action::Reject(404))],
        };
        let plan = plan.iter().rev().map(|&(ms, action)| (now + Duration::from_millis(ms), action)).collect();
        Self { plan }
    }

    /// When the next action is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.plan.last().map(|(at, _)| *at)
    }

    /// The next action due at `now`.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        self.plan.pop_if(|(at, _)| *at <= now).map(|(_, action)| action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(user: &str) -> Vec<(u128, Action)> {
        let start = Instant::now();
        let mut callee = Callee::new(Manner::of(user), start);
        let mut seen = Vec::new();
        while let Some(at) = callee.poll_timeout() {
            while let Some(action) = callee.poll_action(at) {
                seen.push(((at - start).as_millis(), action));
            }
        }
        seen
    }

    #[test]
    fn the_last_digits_choose_the_callee() {
        use Action::*;
        for (user, expected) in [
            ("+12025550123", vec![(0, Ring), (500, Answer), (500, Greet)]),
            ("+12025550101", vec![(0, Reject(486))]),
            ("+12025550102", vec![(0, Ring)]),
            ("12025550103", vec![(0, Ring), (300, Reject(603))]),
            ("+12025550104", vec![(0, Ring), (3000, Answer), (3000, Greet)]),
            ("+12025550105", vec![(0, Answer), (0, Echo)]),
            ("+12025550106", vec![(0, Ring), (300, Answer), (300, Greet), (2300, HangUp)]),
            ("+12025550107", vec![(0, Reject(404))]),
            ("alice", vec![(0, Ring), (500, Answer), (500, Greet)]),
        ] {
            assert_eq!(script(user), expected, "{user}");
        }
    }
}
