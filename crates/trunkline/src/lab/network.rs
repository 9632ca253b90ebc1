//! What lies between both sides: it carries messages at once, or, by a seed, loses, doubles and delays them, and so
//! changes their order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::rtp::{Chances, Impairment};

/// The share of messages a bad network loses, and of those left, doubles.
const BAD: f32 = 0.15;
/// The most it loses in a row in one direction, so that what is sent often enough arrives.
const MOST_LOST: u8 = 2;
/// How late a message may come.
const LATE: Duration = Duration::from_millis(400);
/// What a bad network does to sound.
const SOUND: Impairment = Impairment { loss: 0.03, jitter: Duration::from_millis(60) };

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Theirs,
    Ours,
}

#[derive(Default)]
pub(super) struct Network {
    bad: Option<Chances>,
    under_way: BTreeMap<(Instant, u64), (Way, Bytes)>,
    carried: u64,
    /// Lost in a row, to them and to us.
    lost: [u8; 2],
}

impl Network {
    /// A bad one by the chances of `seed`; without a seed a good one.
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self { bad: seed.map(Chances::new), ..Self::default() }
    }

    /// What it does to the sound of each line.
    pub(super) fn sound(seed: Option<u64>) -> Option<(Impairment, u64)> {
        seed.map(|seed| (SOUND, seed))
    }

    pub(super) fn carry(&mut self, way: Way, bytes: &Bytes, now: Instant) {
        let Some(chances) = &mut self.bad else { return self.arrive_at(now, way, bytes) };
        let [theirs, ours] = &mut self.lost;
        let lost = if way == Way::Theirs { theirs } else { ours };
        let mut times = Vec::with_capacity(2);
        for _copy in 0..2 {
            if *lost < MOST_LOST && chances.next() < BAD {
                *lost += 1;
            } else {
                *lost = 0;
                times.push(now + LATE.mul_f32(chances.next()));
            }
            if chances.next() >= BAD {
                break;
            }
        }
        times.into_iter().for_each(|at| self.arrive_at(at, way, bytes));
    }

    fn arrive_at(&mut self, at: Instant, way: Way, bytes: &Bytes) {
        self.carried += 1;
        self.under_way.insert((at, self.carried), (way, bytes.clone()));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next message that has arrived by `now`.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<(Way, Bytes)> {
        let next = self.under_way.first_entry().filter(|next| next.key().0 <= now)?;
        Some(next.remove())
    }
}
