//! How often somebody may ask: token buckets in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets kept; beyond that all newcomers share one.
const MOST: usize = 16_384;

/// One bucket for each `K`: `burst` at once, refilled evenly within `every`.
pub(super) struct Buckets<K> {
    burst: u32,
    every: Duration,
    state: Mutex<State<K>>,
}

struct State<K> {
    buckets: HashMap<K, Bucket>,
    shared: Bucket,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Buckets<K> {
    /// `burst` is at least 1.
    pub(super) fn new(burst: u32, every: Duration, now: Instant) -> Self {
        let shared = Bucket { tokens: burst.into(), at: now };
        Self { burst, every, state: Mutex::new(State { buckets: HashMap::new(), shared }) }
    }

    /// What the bucket holds when it is full.
    pub(super) fn burst(&self) -> u32 {
        self.burst
    }

    /// The time an empty bucket takes to fill.
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    /// Takes one; answers how many are left, or how long to wait for the next.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<u32, Duration> {
        self.with(key, now, |bucket| {
            if bucket.tokens < 1.0 {
                return Err(self.wait(bucket));
            }
            bucket.tokens -= 1.0;
            Ok(bucket.tokens as u32)
        })
    }

    /// How long to wait for one where there is none; takes nothing.
    pub(super) fn empty(&self, key: K, now: Instant) -> Option<Duration> {
        self.with(key, now, |bucket| (bucket.tokens < 1.0).then(|| self.wait(bucket)))
    }

    fn wait(&self, bucket: &Bucket) -> Duration {
        self.every.mul_f64((1.0 - bucket.tokens) / f64::from(self.burst))
    }

    fn with<T>(&self, key: K, now: Instant, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { buckets, shared } = &mut *state;
        if buckets.len() >= MOST && !buckets.contains_key(&key) {
            // A full bucket is as good as none.
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < self.every);
        }
        let fresh = Bucket { tokens: self.burst.into(), at: now };
        let bucket = match buckets.len() < MOST || buckets.contains_key(&key) {
            true => buckets.entry(key).or_insert(fresh),
            false => shared,
        };
        let gone = now.saturating_duration_since(bucket.at).as_secs_f64() / self.every.as_secs_f64();
        let burst = f64::from(self.burst);
        bucket.tokens = (bucket.tokens + gone * burst).min(burst);
        bucket.at = now;
        act(bucket)
    }
}

/// Whom an address stands for: of IPv6 whoever holds the /64.
pub(super) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_then_one_at_a_time() {
        let start = Instant::now();
        let buckets = Buckets::new(3, Duration::from_secs(3), start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        let taken: Vec<_> = (0..3).map(|_| buckets.take("a", at(0))).collect();
        assert_eq!(taken, [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(buckets.take("a", at(0)), Err(Duration::from_secs(1)));
        assert_eq!(buckets.empty("a", at(400)), Some(Duration::from_millis(600)));
        assert_eq!(buckets.take("b", at(400)), Ok(2), "others have their own");
        assert_eq!(buckets.take("a", at(1001)), Ok(0));
        assert_eq!(buckets.empty("a", at(9000)), None);
        assert_eq!(buckets.take("a", at(9000)), Ok(2), "never more than the burst");
    }

    #[test]
    fn a_crowd_of_keys_shares_what_memory_there_is() {
        let start = Instant::now();
        let buckets = Buckets::new(1, Duration::from_secs(60), start);
        for key in 0..MOST {
            assert_eq!(buckets.take(key, start), Ok(0));
        }
        assert_eq!(buckets.take(MOST, start), Ok(0), "the shared one");
        assert!(buckets.take(MOST + 1, start).is_err(), "which is empty now");
        assert!(buckets.take(0, start).is_err(), "who was there before keeps his own");
        assert_eq!(buckets.take(MOST + 1, start + Duration::from_secs(61)), Ok(0), "the others have left");
        assert!(buckets.state.lock().unwrap().buckets.len() < 3);
    }

    #[test]
    fn an_ipv6_neighbourhood_is_one_source() {
        let of = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
