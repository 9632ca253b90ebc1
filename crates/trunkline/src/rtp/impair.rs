//! A bad line: what a leg sends is lost or comes late. Nothing but time and a seed decides which packet.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Packets under way at once; one more is lost.
const MOST_WAITING: usize = 32;

/// How bad a line is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Impairment {
    /// The share of packets lost, 0 to 1.
    pub loss: f32,
    /// How much later a packet may come, at the most.
    pub jitter: Duration,
}

/// A bad line and what is under way on it.
pub struct BadLine {
    how: Impairment,
    chances: Chances,
    waiting: Vec<Late>,
}

/// Chances that only a seed decides.
pub(crate) struct Chances(u64);

impl Chances {
    pub(crate) fn new(seed: u64) -> Self {
        // A first number that is zero would stay zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to 1, never 1 (xorshift64*).
    pub(crate) fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1_u64 << 24) as f32
    }
}

struct Late {
    /// When it arrives; none: the place is free.
    at: Option<Instant>,
    to: SocketAddr,
    len: usize,
    bytes: [u8; 1500],
}

impl BadLine {
    /// A line as bad as `how`, by the chances of `seed`.
    pub fn new(how: Impairment, seed: u64) -> Self {
        let waiting = Vec::with_capacity(MOST_WAITING);
        Self { how, chances: Chances::new(seed), waiting }
    }

    /// Makes it better or worse.
    pub fn set(&mut self, how: Impairment) {
        self.how = how;
    }

    /// Takes a packet: it is lost, or comes out of [`BadLine::due`] by and by.
    pub fn take(&mut self, packet: &[u8], to: SocketAddr, now: Instant) {
        if self.chances.next() < self.how.loss {
            return;
        }
        let at = now + self.how.jitter.mul_f32(self.chances.next());
        let mut late = Late { at: Some(at), to, len: packet.len(), bytes: [0; 1500] };
        let Some(room) = late.bytes.get_mut(..packet.len()) else { return };
        room.copy_from_slice(packet);
        let is_full = self.waiting.len() >= MOST_WAITING;
        match self.waiting.iter_mut().find(|place| place.at.is_none()) {
            Some(place) => *place = late,
            None if is_full => {}
            None => self.waiting.push(late),
        }
    }

    /// The next packet that has arrived by `now`, and where.
    pub fn due(&mut self, now: Instant) -> Option<(&[u8], SocketAddr)> {
        let is_due = |late: &&mut Late| late.at.is_some_and(|at| at <= now);
        let next = self.waiting.iter_mut().filter(is_due).min_by_key(|late| late.at)?;
        next.at = None;
        Some((next.bytes.get(..next.len)?, next.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of so many packets, one every 20 ms: its number and how late it is, in ms.
    fn arrivals(how: Impairment, seed: u64, packets: u16) -> Vec<(u16, u64)> {
        let (start, to) = (Instant::now(), SocketAddr::from(([192, 0, 2, 1], 4000)));
        let at = |n: u64| start + Duration::from_millis(20 * n);
        let mut line = BadLine::new(how, seed);
        let mut arrived = Vec::new();
        for n in 0..u64::from(packets) + 20 {
            if n < u64::from(packets) {
                line.take(&(n as u16).to_be_bytes(), to, at(n));
            }
            while let Some((packet, _)) = line.due(at(n)) {
                let number = u16::from_be_bytes(packet.try_into().unwrap());
                arrived.push((number, 20 * (n - u64::from(number))));
            }
        }
        arrived
    }

    #[test]
    fn so_many_are_lost_and_no_more_are_late_than_said() {
        let good = arrivals(Impairment::default(), 1, 500);
        assert!(good.len() == 500 && good.iter().all(|(_, late)| *late == 0));
        let lossy = arrivals(Impairment { loss: 0.1, jitter: Duration::ZERO }, 1, 5000);
        assert!((4350..4650).contains(&lossy.len()), "{}", lossy.len());
        assert!(arrivals(Impairment { loss: 1.0, jitter: Duration::ZERO }, 1, 500).is_empty());
        let jittery = arrivals(Impairment { loss: 0.0, jitter: Duration::from_millis(60) }, 7, 1000);
        assert_eq!(jittery.len(), 1000);
        assert!(jittery.iter().all(|(_, late)| *late <= 60), "within a tick of what was asked for");
        assert!([0, 20, 40, 60].iter().skip(1).all(|ms| jittery.iter().any(|(_, late)| late == ms)));
        assert_eq!(jittery, arrivals(Impairment { loss: 0.0, jitter: Duration::from_millis(60) }, 7, 1000));
    }
}
