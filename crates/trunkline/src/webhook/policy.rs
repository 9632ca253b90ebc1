//! When a delivery is tried again, and when it is given up.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::store::{DeliveryRow, Verdict};

/// Waits after the first, second … failure, as Standard Webhooks proposes, in units of the first one.
const SCHEDULE: [u32; 9] = [1, 60, 360, 1440, 3600, 7200, 10_080, 14_400, 17_280];

/// The longest an endpoint may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// How often and how long a delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The wait after the first failure; the later ones are 60, 360, 1440 … times as long.
    pub first_retry: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// How old a delivery may become.
    pub max_age: Duration,
}

impl Policy {
    /// What becomes of a delivery that has just failed at `now`; `asked` is how long the endpoint asked to wait.
    pub(super) fn verdict(&self, row: &DeliveryRow, now: i64, asked: Option<Duration>) -> Verdict {
        let failures = u32::try_from(row.tries).unwrap_or(u32::MAX).saturating_add(1);
        let age = Duration::from_millis(u64::try_from(now - row.pending_since).unwrap_or(0));
        if failures >= self.attempts || age >= self.max_age {
            return Verdict::Dead;
        }
        let step = SCHEDULE.get(failures as usize - 1).or(SCHEDULE.last()).copied().unwrap_or(1);
        let wait = jitter(self.first_retry.saturating_mul(step)).max(asked.unwrap_or_default());
        Verdict::Retry { due_at: now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)) }
    }
}

/// Between 80 % and 120 %, so that endpoints that failed together do not come back together.
fn jitter(wait: Duration) -> Duration {
    let mut random = [0];
    // Without randomness all wait equally long, which is no harm.
    let _ = getrandom::fill(&mut random);
    let [random] = random;
    wait.mul_f64(0.8 + 0.4 * f64::from(random) / 255.0)
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3); `now` is in Unix ms.
pub(super) fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
            Duration::from_millis(u64::try_from(at - now).ok()?)
        }
    };
    Some(wait.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    fn row(tries: i64) -> DeliveryRow {
        DeliveryRow {
            id: Id::new().unwrap(),
            webhook: Id::new().unwrap(),
            account: 0,
            of: None,
            kind: "call.finished".into(),
            state: "pending".into(),
            created_at: 0,
            due_at: 0,
            pending_since: 0,
            tries,
            attempts: 9,
            ended_at: None,
        }
    }

    const POLICY: Policy =
        Policy { first_retry: Duration::from_secs(5), attempts: 10, max_age: Duration::from_secs(400_000) };

    #[test]
    fn waits_grow_and_end() {
        let wanted = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (tries, seconds) in (0..).zip(wanted) {
            let Verdict::Retry { due_at } = POLICY.verdict(&row(tries), 1000, None) else {
                panic!("{tries} tries are not too many")
            };
            let waited = due_at - 1000;
            assert!((seconds * 800..=seconds * 1200).contains(&waited), "{tries}: {waited} ms");
        }
        assert_eq!(POLICY.verdict(&row(9), 1000, None), Verdict::Dead, "the tenth was the last");
        assert_eq!(POLICY.verdict(&row(0), 400_000_000, None), Verdict::Dead, "too old");
        let asked = POLICY.verdict(&row(0), 1000, Some(Duration::from_secs(60)));
        assert_eq!(asked, Verdict::Retry { due_at: 61_000 }, "the endpoint asked for more");
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, 1_767_225_600_000)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("99999999"), Some(LONGEST_PAUSE));
        for text in ["", "soon", "-5", "Thu, 01 Jan 2015 00:01:00 GMT"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
