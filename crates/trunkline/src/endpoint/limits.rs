//! How many connections there may be, from where, and which of them nobody can call back.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Closed connections remembered; twice as many at most.
const REMEMBERED: usize = 32_768;

/// The most connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all, those of our own included.
    pub connections: usize,
    /// From one address (IPv6: one /64, which is one customer's), loopback excepted: a proxy on this machine speaks for
    /// everybody. 0: no limit.
    pub per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, per_source: 1_000 }
    }
}

/// How many connections each source has.
#[derive(Debug, Default)]
pub struct Sources(HashMap<IpAddr, usize>);

impl Sources {
    /// Whether one more is below `limit`.
    pub fn admits(&self, from: SocketAddr, limit: usize) -> bool {
        let Some(source) = source(from.ip()) else { return true };
        limit == 0 || self.0.get(&source).is_none_or(|count| *count < limit)
    }

    /// Counts one more.
    pub fn add(&mut self, from: SocketAddr) {
        if let Some(source) = source(from.ip()) {
            *self.0.entry(source).or_default() += 1;
        }
    }

    /// Counts one less.
    pub fn remove(&mut self, from: SocketAddr) {
        let Some(source) = source(from.ip()) else { return };
        if let Some(count) = self.0.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&source);
            }
        }
    }
}

/// What is counted as one; loopback is not counted.
fn source(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into()),
        ip => Some(ip),
    }
}

/// The other sides of TCP connections that were made to us and are closed. Nobody listens there: to connect would only
/// take its time to fail. The latest 32,768 at least, 65,536 at most.
#[derive(Debug, Default)]
pub struct Gone {
    young: HashSet<SocketAddr>,
    old: HashSet<SocketAddr>,
}

impl Gone {
    /// Remembers one.
    pub fn add(&mut self, remote: SocketAddr) {
        self.young.insert(remote);
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Forgets one: it connected again, or somebody says that it can be connected to.
    pub fn remove(&mut self, remote: &SocketAddr) {
        self.young.remove(remote);
        self.old.remove(remote);
    }

    /// Whether it is remembered.
    pub fn contains(&self, remote: &SocketAddr) -> bool {
        self.young.contains(remote) || self.old.contains(remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counted_by_who_has_them() {
        let mut sources = Sources::default();
        for (from, admitted) in [
            ("192.0.2.1:1000", true),
            ("192.0.2.1:1001", true),
            ("192.0.2.1:1002", false),
            ("[::ffff:192.0.2.1]:1003", false),
            ("192.0.2.2:1000", true),
            ("[2001:db8::1]:1", true),
            ("[2001:db8::2]:1", true),
            ("[2001:db8::3]:1", false),
            ("[2001:db8:0:1::3]:1", true),
        ] {
            let from: SocketAddr = from.parse().unwrap();
            assert_eq!(sources.admits(from, 2), admitted, "{from}");
            assert!(sources.admits(from, 0), "0 is no limit");
            if admitted {
                sources.add(from);
            }
        }
        sources.remove("192.0.2.1:1000".parse().unwrap());
        assert!(sources.admits("192.0.2.1:1002".parse().unwrap(), 2));
        let here: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for _ in 0..5 {
            assert!(sources.admits(here, 2));
            sources.add(here);
        }
        for from in ["192.0.2.1:0", "192.0.2.2:0", "[2001:db8::]:0", "[2001:db8::]:0", "[2001:db8:0:1::]:0"] {
            sources.remove(from.parse().unwrap());
        }
        assert!(sources.0.is_empty(), "{sources:?}");
    }

    #[test]
    fn what_is_gone_is_remembered_for_a_bounded_while() {
        let remote = |n: u32| SocketAddr::new(IpAddr::V4((0x0a00_0000 + n).into()), 5060);
        let mut gone = Gone::default();
        for n in 0..200_000 {
            gone.add(remote(n));
            assert!(gone.young.len() + gone.old.len() <= 2 * REMEMBERED);
        }
        assert!(gone.contains(&remote(199_999)) && gone.contains(&remote(199_999 - 32_000)));
        assert!(!gone.contains(&remote(0)));
        gone.remove(&remote(199_999));
        assert!(!gone.contains(&remote(199_999)));
    }
}
