//! Whether a carrier is there, as its answers to OPTIONS tell.

use serde::Serialize;
use utoipa::ToSchema;

/// Losses in a row after which a carrier counts as down.
const LOSSES: u32 = 3;

/// Whether a carrier is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// It answered the last OPTIONS, or lost too few in a row to be given up.
    Up,
    /// Three OPTIONS in a row were lost.
    Down,
    /// It is not asked (`ping_s` is null), or nothing is known yet.
    #[default]
    Unknown,
}

/// What is known of a carrier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it is there.
    pub reach: Reach,
    /// Since when, Unix ms; none while nothing is known.
    pub since: Option<i64>,
    /// How long the last answer took, ms.
    pub round_trip_ms: Option<u32>,
    /// The last answer, or why there was none.
    pub text: Option<String>,
    losses: u32,
}

impl Health {
    /// An OPTIONS was answered with `status` after so many ms; `now` is Unix ms.
    pub fn answered(&mut self, status: u16, phrase: &str, round_trip_ms: u32, now: i64) {
        self.text = Some(format!("{status} {phrase}").trim_end().to_owned());
        if !is_alive(status) {
            return self.missed(now);
        }
        (self.losses, self.round_trip_ms) = (0, Some(round_trip_ms));
        self.enter(Reach::Up, now);
    }

    /// An OPTIONS was lost, and why; `now` is Unix ms.
    pub fn lost(&mut self, why: String, now: i64) {
        self.text = Some(why);
        self.missed(now);
    }

    fn missed(&mut self, now: i64) {
        self.losses = self.losses.saturating_add(1);
        if self.losses >= LOSSES {
            self.round_trip_ms = None;
            self.enter(Reach::Down, now);
        }
    }

    fn enter(&mut self, reach: Reach, now: i64) {
        if self.reach != reach {
            (self.reach, self.since) = (reach, Some(now));
        }
    }

    /// Whether the next OPTIONS should come sooner than usual, to know for sure.
    pub fn is_doubtful(&self) -> bool {
        (1..LOSSES).contains(&self.losses)
    }
}

/// Whoever refuses OPTIONS is there all the same; these say that a proxy found nobody behind it, or that it takes no calls.
pub fn is_alive(status: u16) -> bool {
    !matches!(status, 408 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_losses_are_down_and_one_answer_is_up() {
        let mut health = Health::default();
        let mut told = Vec::new();
        let lost = |health: &mut Health, now| health.lost("no answer".into(), now);
        health.answered(200, "OK", 12, 1);
        told.push((health.reach, health.since, health.round_trip_ms, health.is_doubtful()));
        lost(&mut health, 2);
        lost(&mut health, 3);
        told.push((health.reach, health.since, health.round_trip_ms, health.is_doubtful()));
        lost(&mut health, 4);
        lost(&mut health, 5);
        told.push((health.reach, health.since, health.round_trip_ms, health.is_doubtful()));
        health.answered(404, "Not Found", 7, 6);
        told.push((health.reach, health.since, health.round_trip_ms, health.is_doubtful()));
        health.answered(405, "Method Not Allowed", 8, 7);
        told.push((health.reach, health.since, health.round_trip_ms, health.is_doubtful()));
        let expected = [
            (Reach::Up, Some(1), Some(12), false),
            (Reach::Up, Some(1), Some(12), true),
            (Reach::Down, Some(4), None, false),
            (Reach::Up, Some(6), Some(7), false),
            (Reach::Up, Some(6), Some(8), false),
        ];
        assert_eq!(told, expected);
        assert_eq!(health.text.as_deref(), Some("405 Method Not Allowed"));
    }

    #[test]
    fn a_proxy_that_finds_nobody_is_a_loss() {
        let mut health = Health::default();
        for now in 1..=3 {
            assert_eq!(health.reach, Reach::Unknown);
            health.answered(503, "Service Unavailable", 5, now);
        }
        assert_eq!((health.reach, health.since), (Reach::Down, Some(3)));
    }
}
