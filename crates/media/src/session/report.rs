//! A session's RTCP (RFC 3550 section 6): reports to and fro, and the round trip they tell.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::latch::Latch;
use crate::Stats;
use crate::rtcp::{self, SenderInfo, Writer};
use crate::stats::{Reception, ReportBlock};

/// From report to report. RFC 3550's minimum; its random factor is for groups, not for two.
const INTERVAL: Duration = Duration::from_secs(5);

/// A round trip beyond this is a broken report.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(60);

/// The RTCP half of a session.
pub(super) struct Reports {
    cname: String,
    latch: Latch,
    next: Instant,
    /// The middle 32 bits of the NTP time of the last SR from there, and when it came.
    theirs: Option<(u32, Instant)>,
    /// What the wall clock (NTP) showed when.
    clock: Option<(u64, Instant)>,
    /// Packets sent until the last report.
    packets_reported: u64,
    round_trip: Option<Duration>,
    /// The last block about us.
    about_us: Option<ReportBlock>,
    foreign: u64,
    invalid: u64,
}

impl Reports {
    pub(super) fn new(cname: String, remote: SocketAddr, now: Instant) -> Self {
        Self {
            cname,
            latch: Latch::new(remote),
            next: now + INTERVAL / 2,
            theirs: None,
            clock: None,
            packets_reported: 0,
            round_trip: None,
            about_us: None,
            foreign: 0,
            invalid: 0,
        }
    }

    pub(super) fn update(&mut self, remote: SocketAddr) {
        self.latch = Latch::new(remote);
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.latch.remote()
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Takes a compound packet; `ssrc` is ours.
    pub(super) fn handle(
        &mut self,
        compound: &[u8],
        from: SocketAddr,
        is_authentic: bool,
        ssrc: u32,
        now: Instant,
    ) {
        let Some(packets) = rtcp::parse(compound) else {
            self.invalid += 1;
            return;
        };
        if !self.latch.admits(from, is_authentic, now) {
            self.foreign += 1;
            return;
        }
        for packet in packets {
            let rtcp::Packet::Report { sender, blocks, .. } = packet else { continue };
            if let Some(sender) = sender {
                self.theirs = Some((middle(sender.ntp), now));
            }
            if let Some(block) = blocks.about(ssrc) {
                self.about_us = Some(block);
                self.round_trip = self.measure(block, now).or(self.round_trip);
            }
        }
    }

    /// The time since our SR, less the time they sat on it (RFC 3550 6.4.1, figure 2).
    fn measure(&self, block: ReportBlock, now: Instant) -> Option<Duration> {
        let (ntp, then) = self.clock.filter(|_| block.last_report != 0)?;
        let arrival = middle(ntp).wrapping_add(short(now.saturating_duration_since(then)));
        let trip = arrival.wrapping_sub(block.last_report).wrapping_sub(block.delay_since_last_report);
        // A trip of less than nothing wraps around to hours.
        Some(Duration::from_secs_f64(f64::from(trip) / 65536.0)).filter(|trip| *trip < MAX_ROUND_TRIP)
    }

    /// Writes a report if one is due.
    pub(super) fn poll(
        &mut self,
        ssrc: u32,
        sender: SenderInfo,
        packets_sent: u64,
        reception: &mut Reception,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let has_sent = std::mem::replace(&mut self.packets_reported, packets_sent) < packets_sent;
        self.clock = Some((sender.ntp, now));
        let mut writer = Writer::new(out);
        writer.report(ssrc, has_sent.then_some(sender), self.block(reception, now))?;
        writer.name(ssrc, &self.cname)?;
        Some(writer.len())
    }

    /// Writes the BYE, behind an empty report as a compound demands.
    pub(super) fn bye(&self, ssrc: u32, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        writer.report(ssrc, None, None)?;
        writer.name(ssrc, &self.cname)?;
        writer.bye(ssrc)?;
        Some(writer.len())
    }

    fn block(&self, reception: &mut Reception, now: Instant) -> Option<ReportBlock> {
        let (last_report, held) =
            self.theirs.map_or((0, 0), |(ntp, came)| (ntp, short(now.saturating_duration_since(came))));
        reception.report(last_report, held)
    }

    /// The share of our packets they lost so far, 0 to 1, by their last report; we began with the sequence number
    /// `first`.
    pub(super) fn remote_loss(&self, first: u16, packets_sent: u64) -> Option<f32> {
        let block = self.about_us?;
        let expected = u64::from(block.highest_sequence.wrapping_sub(u32::from(first))) + 1;
        let expected = expected.min(packets_sent);
        (expected > 0).then(|| (block.lost.max(0) as f32 / expected as f32).min(1.0))
    }

    /// Puts what is known here into `stats`; `clock` is that of our timestamps, in Hz.
    pub(super) fn count(&self, stats: &mut Stats, clock: u32) {
        stats.foreign += self.foreign;
        stats.invalid += self.invalid;
        stats.round_trip_ms = self.round_trip.map(|trip| trip.as_secs_f32() * 1000.0);
        stats.remote_lost = self.about_us.map(|block| block.fraction_lost);
        stats.remote_jitter_ms = self.about_us.map(|block| block.jitter as f32 * 1000.0 / clock as f32);
    }
}

/// The middle 32 bits of an NTP timestamp, as LSR has them.
fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A time in 1/65536 s, as DLSR has it.
fn short(time: Duration) -> u32 {
    (time.as_secs_f64() * 65536.0) as u32
}
