use std::time::Duration;

/// How often something may happen: `burst` times at once, and then once in an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Nanoseconds from one to the next.
    every: u64,
    burst: u32,
}

impl Rate {
    /// `count` times a second on average, `burst` times at once. Either being 0 means never.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        if count == 0 {
            return Self { every: 0, burst: 0 };
        }
        Self { every: 1_000_000_000 / count as u64, burst }
    }

    /// Once in `interval` on average, `burst` times at once. A burst of 0 means never.
    pub const fn every(interval: Duration, burst: u32) -> Self {
        Self { every: interval.as_nanos() as u64, burst }
    }

    /// A `divisor`th of it, and never none of what was some.
    pub(super) fn divided(self, divisor: u32) -> Self {
        let burst = if self.burst == 0 { 0 } else { (self.burst / divisor).max(1) };
        Self { every: self.every.saturating_mul(divisor.into()), burst }
    }
}

/// A token bucket that is refilled when somebody looks: all it holds is the moment at which it will be full again
/// (the generic cell rate algorithm), so that one untouched for long needs no attention and costs nothing to forget.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes a token if there is one.
    pub fn take(&mut self, rate: Rate, now: u64) -> bool {
        let full_at = self.full_at.max(now).saturating_add(rate.every);
        let is_let = full_at - now <= rate.every.saturating_mul(rate.burst.into()) && rate.burst > 0;
        if is_let {
            self.full_at = full_at;
        }
        is_let
    }

    /// When it is full again.
    pub fn full_at(self) -> u64 {
        self.full_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of `asked` requests in each of `seconds` seconds pass.
    fn passed(rate: Rate, asked: u64, seconds: u64) -> usize {
        let mut bucket = Bucket::default();
        (0..asked * seconds).filter(|n| bucket.take(rate, 7 * SECOND + n * SECOND / asked)).count()
    }

    #[test]
    fn rates() {
        for (rate, asked, seconds, expected) in [
            (Rate::per_second(10, 20), 5, 100, 500),
            (Rate::per_second(10, 20), 1_000, 10, 119),
            (Rate::per_second(1, 1), 1_000, 10, 10),
            (Rate::every(Duration::from_secs(5), 2), 10, 20, 5),
            (Rate::per_second(2_000, 4_000), 100_000, 1, 5_999),
            (Rate::per_second(10, 20).divided(10), 1_000, 10, 11),
            (Rate::per_second(0, 5), 100, 10, 0),
            (Rate::per_second(5, 0), 100, 10, 0),
            (Rate::per_second(5, 0).divided(8), 100, 10, 0),
        ] {
            assert_eq!(passed(rate, asked, seconds), expected, "{rate:?}, {asked}/s for {seconds} s");
        }
    }
}
