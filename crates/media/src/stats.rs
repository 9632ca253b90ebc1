//! What a leg's media was like: counters, jitter, an estimate of how it sounded.

use std::net::SocketAddr;
use std::time::Instant;

use crate::SAMPLE_RATE;

/// The state of a leg's media so far.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Stats {
    /// RTP packets we sent.
    pub packets_sent: u64,
    /// Payload bytes we sent (without RTP headers).
    pub octets_sent: u64,
    /// Valid RTP packets that came from the right source, duplicates included.
    pub packets_received: u64,
    /// Payload bytes in them.
    pub octets_received: u64,
    /// Packets that never came: expected less received (RFC 3550 A.3), duplicates not counted as received.
    pub lost: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Packets (RTP and RTCP) from a source we do not listen to.
    pub foreign: u64,
    /// Packets that were not encrypted with the key agreed on, or came once more.
    pub unauthentic: u64,
    /// Where their RTP comes from, and ours goes; `None` before the first packet.
    pub source: Option<SocketAddr>,
    /// When their last RTP packet came; `None` before the first.
    pub last_heard: Option<Instant>,
    /// Packets that were no RTP or RTCP, of a payload type that was not agreed on, or stray in their sequence.
    pub invalid: u64,
    /// Interarrival jitter now, in ms (RFC 3550 A.8).
    pub jitter_ms: f32,
    /// The largest it has been, in ms.
    pub max_jitter_ms: f32,
    /// Time to them and back, in ms, from LSR and DLSR of their reports (RFC 3550 6.4.1).
    pub round_trip_ms: Option<f32>,
    /// The fraction of our packets they lost in their last interval, in 1/256.
    pub remote_lost: Option<u8>,
    /// The jitter they measured last, in ms.
    pub remote_jitter_ms: Option<f32>,
    /// Estimated mean opinion score of what they received, 1 to 4.5, by their last report.
    pub remote_mos: Option<f32>,
    /// Estimated mean opinion score of what we received, 1 to 4.5; 0 while there is nothing to judge.
    pub mos: f32,
    /// Recorded frames (1/8000 s) dropped because nobody took them out in time.
    pub unrecorded: u64,
}

/// Which way there was no sound, as far as packets tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OneWay {
    /// We sent and nothing came: their packets do not reach us, or they send none.
    NothingCame,
    /// They say that nothing of ours arrived.
    NothingArrived,
}

impl Stats {
    /// Whether sound went one way only, over at least a second.
    pub fn one_way(&self) -> Option<OneWay> {
        if self.packets_sent >= A_SECOND && self.packets_received == 0 {
            Some(OneWay::NothingCame)
        } else if self.packets_sent >= A_SECOND && self.remote_lost == Some(u8::MAX) {
            Some(OneWay::NothingArrived)
        } else {
            None
        }
    }
}

/// Packets of 20 ms in a second.
const A_SECOND: u64 = 50;

/// Estimated mean opinion score, 1 to 4.5, of G.711 heard with `loss` (0 to 1) of its packets missing at random and
/// `delay_ms` from mouth to ear.
///
/// The E-model (ITU-T G.107) reduced to what a gateway can measure: R = 93.2 - Id - Ie,eff, with
/// Ie,eff = 95 * Ppl / (Ppl + Bpl) and Bpl = 25.1, which is G.711 with the loss concealment of its appendix I
/// (G.113 appendix I; it rates the network, as a telephone at its end would sound);
/// Id = 0.024 d + 0.11 (d - 177.3) beyond 177.3 ms (Cole and Rosenbluth, "Voice over IP performance monitoring",
/// 2001); MOS = 1 + 0.035 R + 7e-6 R (R - 60) (100 - R) (G.107 annex B).
pub fn mos(loss: f32, delay_ms: f32) -> f32 {
    let loss_percent = 100.0 * loss.clamp(0.0, 1.0);
    let equipment = 95.0 * loss_percent / (loss_percent + 25.1);
    let delay = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let r = (93.2 - delay - equipment).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).max(1.0)
}

/// What one source says about another's packets (RFC 3550 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    /// Whose packets.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost in all; 24 bits, signed.
    pub lost: i32,
    /// The highest sequence number that came, with its cycles in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last SR, 0 if none came (LSR).
    pub last_report: u32,
    /// How long ago that SR came, in 1/65536 s (DLSR).
    pub delay_since_last_report: u32,
}

/// A jump of so many sequence numbers forward is a restart rather than loss (RFC 3550 A.1).
const MAX_DROPOUT: i32 = 3000;

/// Sequence numbers so far behind the highest are remembered, to tell duplicates from the reordered.
const WINDOW: i32 = 64;

/// What a sequence number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// It is new, in order or not.
    New,
    /// It came before.
    Duplicate,
    /// Too far from the others to belong to them; a second in a row starts the count anew.
    Stray,
}

/// Counts what arrives (RFC 3550 A.1, A.3, A.8), over changes of source.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    source: Option<Source>,
    expected_before: u64,
    received_before: u64,
    max_jitter_ms: f32,
}

/// The sequence numbers of one SSRC. They are counted on from 65,536, so that the first may have predecessors.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    first: u64,
    highest: u64,
    /// Bit n: `highest - n` came.
    seen: u64,
    received: u64,
    /// What a restarted source would send next.
    restart: Option<u16>,
    expected_at_report: u64,
    received_at_report: u64,
    /// Arrival less timestamp of the last packet, in timestamp units.
    transit: Option<u32>,
    /// Timestamp units of a second.
    clock: u32,
    /// In 1/16 timestamp units.
    jitter: u32,
}

impl Source {
    fn new(ssrc: u32, sequence: u16) -> Self {
        let sequence = 0x1_0000 + u64::from(sequence);
        Source {
            ssrc,
            first: sequence,
            highest: sequence,
            seen: 1,
            received: 1,
            restart: None,
            expected_at_report: 0,
            received_at_report: 0,
            transit: None,
            clock: SAMPLE_RATE,
            jitter: 0,
        }
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn jitter_ms(&self) -> f32 {
        self.jitter as f32 / 16.0 * 1000.0 / self.clock as f32
    }

    fn receive(&mut self, sequence: u16) -> Arrival {
        let ahead = i32::from(sequence.wrapping_sub(self.highest as u16) as i16);
        if ahead <= -WINDOW || ahead >= MAX_DROPOUT {
            return Arrival::Stray;
        }
        self.restart = None;
        if ahead > 0 {
            self.highest += u64::from(ahead.unsigned_abs());
            self.seen = self.seen.checked_shl(ahead.unsigned_abs()).unwrap_or(0) | 1;
        } else {
            let behind = ahead.unsigned_abs();
            if self.seen >> behind & 1 == 1 {
                return Arrival::Duplicate;
            }
            self.seen |= 1 << behind;
            self.first = self.first.min(self.highest - u64::from(behind));
        }
        self.received += 1;
        Arrival::New
    }
}

impl Reception {
    /// Takes note of a packet.
    pub(crate) fn receive(&mut self, ssrc: u32, sequence: u16) -> Arrival {
        match &mut self.source {
            Some(source) if source.ssrc == ssrc => {
                let arrival = source.receive(sequence);
                if arrival == Arrival::Stray {
                    if source.restart != Some(sequence) {
                        source.restart = Some(sequence.wrapping_add(1));
                        return Arrival::Stray;
                    }
                    self.start(ssrc, sequence);
                    return Arrival::New;
                }
                arrival
            }
            _ => {
                self.start(ssrc, sequence);
                Arrival::New
            }
        }
    }

    fn start(&mut self, ssrc: u32, sequence: u16) {
        self.expected_before = self.expected();
        self.received_before = self.received();
        self.source = Some(Source::new(ssrc, sequence));
    }

    /// Takes note of when an audio packet came; both in timestamp units, of which `clock` make a second (RFC 3550 A.8).
    pub(crate) fn time(&mut self, timestamp: u32, arrival: u32, clock: u32) {
        let Some(source) = &mut self.source else { return };
        if source.clock != clock {
            (source.clock, source.transit, source.jitter) = (clock, None, 0);
        }
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = source.transit.replace(transit) {
            let difference = (transit.wrapping_sub(last) as i32).unsigned_abs();
            let jitter =
                u64::from(source.jitter) + u64::from(difference) - (u64::from(source.jitter) + 8) / 16;
            source.jitter = jitter.min(u64::from(u32::MAX)) as u32;
            self.max_jitter_ms = self.max_jitter_ms.max(source.jitter_ms());
        }
    }

    /// Whose packets are counted now.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// Packets that should have come so far.
    pub(crate) fn expected(&self) -> u64 {
        self.expected_before + self.source.as_ref().map_or(0, Source::expected)
    }

    /// Packets that came, duplicates not counted.
    fn received(&self) -> u64 {
        self.received_before + self.source.as_ref().map_or(0, |source| source.received)
    }

    /// Packets that did not come.
    pub(crate) fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received())
    }

    /// Jitter now and at its worst, in ms.
    pub(crate) fn jitter_ms(&self) -> (f32, f32) {
        (self.source.as_ref().map_or(0.0, Source::jitter_ms), self.max_jitter_ms)
    }

    /// The block of our next report about this source; the interval of `fraction_lost` ends here.
    pub(crate) fn report(&mut self, last_report: u32, delay_since_last_report: u32) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        let expected = source.expected() - source.expected_at_report;
        let received = source.received - source.received_at_report;
        (source.expected_at_report, source.received_at_report) = (source.expected(), source.received);
        let lost = expected.saturating_sub(received);
        Some(ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: (lost * 256).checked_div(expected).map_or(0, |fraction| fraction.min(255) as u8),
            lost: source.expected().saturating_sub(source.received).min(0x7F_FFFF) as i32,
            highest_sequence: source.highest.wrapping_sub(0x1_0000) as u32,
            jitter: source.jitter / 16,
            last_report,
            delay_since_last_report,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receive(sequences: impl IntoIterator<Item = u16>) -> (Reception, Vec<Arrival>) {
        let mut reception = Reception::default();
        let arrivals = sequences.into_iter().map(|sequence| reception.receive(1, sequence)).collect();
        (reception, arrivals)
    }

    #[test]
    fn counts_loss_over_the_wrap_of_the_sequence() {
        let all = (65_000..65_536).chain(0..1000).map(|n| n as u16);
        let (reception, _) = receive(all.clone());
        assert_eq!((reception.expected(), reception.lost()), (1536, 0));
        let (mut reception, _) = receive(all.filter(|n| n % 10 != 5));
        assert_eq!((reception.expected(), reception.lost()), (1536, 154));
        let block = reception.report(0, 0).unwrap();
        assert_eq!(block.highest_sequence, 0x1_0000 + 999);
        assert_eq!((block.lost, block.fraction_lost), (154, (154 * 256 / 1536) as u8));
    }

    #[test]
    fn a_report_tells_the_loss_of_its_own_interval() {
        let (mut reception, _) = receive((0..100).filter(|n| n % 2 == 0 || *n == 99));
        assert_eq!(reception.report(0, 0).unwrap().fraction_lost, (49 * 256 / 100) as u8);
        (100..200).for_each(|sequence| assert_eq!(reception.receive(1, sequence), Arrival::New));
        let block = reception.report(0, 0).unwrap();
        assert_eq!((block.fraction_lost, block.lost), (0, 49));
    }

    #[test]
    fn tells_duplicates_from_the_reordered() {
        use Arrival::*;
        let (reception, arrivals) = receive([10, 11, 13, 12, 12, 13, 9, 9]);
        assert_eq!(arrivals, [New, New, New, New, Duplicate, Duplicate, New, Duplicate]);
        assert_eq!((reception.expected(), reception.lost()), (5, 0));
    }

    #[test]
    fn duplicates_do_not_hide_loss() {
        let (reception, _) = receive([1, 1, 1, 4]);
        assert_eq!(reception.lost(), 2);
    }

    #[test]
    fn one_stray_is_ignored_and_two_in_a_row_are_a_restart() {
        use Arrival::*;
        let (reception, arrivals) = receive([1, 2, 30_000, 3, 30_001, 30_002, 30_003]);
        assert_eq!(arrivals, [New, New, Stray, New, Stray, New, New]);
        assert_eq!((reception.expected(), reception.lost()), (5, 0));
    }

    #[test]
    fn another_ssrc_adds_up() {
        let (mut reception, _) = receive([1, 3]);
        assert_eq!(reception.receive(2, 50_000), Arrival::New);
        assert_eq!((reception.expected(), reception.lost(), reception.ssrc()), (4, 1, Some(2)));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let (mut reception, _) = receive([0]);
        // Every other packet 10 ms late: the estimate tends to a difference of 10 ms.
        for n in 0..1000 {
            reception.time(n * 160, n * 160 + n % 2 * 80, 8000);
        }
        let (jitter, max) = reception.jitter_ms();
        assert!((jitter - 10.0).abs() < 0.5, "{jitter}");
        assert!(max >= jitter);
        (1000..1200).for_each(|n| reception.time(n * 160, n * 160, 8000));
        assert!(reception.jitter_ms().0 < 0.5);
        assert_eq!(reception.jitter_ms().1, max);
    }

    #[test]
    fn mos_of_the_textbook() {
        assert!((mos(0.0, 0.0) - 4.41).abs() < 0.01);
        assert!((4.2..4.3).contains(&mos(0.01, 100.0)), "{}", mos(0.01, 100.0));
        assert!(mos(0.0, 500.0) < mos(0.0, 150.0));
        assert_eq!(mos(1.0, 5000.0), 1.0);
    }

    proptest! {
        #[test]
        fn mos_falls_as_loss_rises(loss in 0.0f32..0.99, more in 0.001f32..0.01, delay_ms in 0.0f32..170.0) {
            prop_assert!(mos(loss + more, delay_ms) < mos(loss, delay_ms));
        }

        #[test]
        fn loss_is_what_was_dropped(
            start: u16, came in proptest::collection::vec(proptest::bool::weighted(0.9), 1..2000),
        ) {
            let came: Vec<_> = std::iter::once(true).chain(came).chain([true]).collect();
            let sequences = (0u16..).zip(&came).filter(|(_, came)| **came).map(|(n, _)| start.wrapping_add(n));
            let (reception, _) = receive(sequences);
            prop_assert_eq!(reception.lost(), came.iter().filter(|came| !**came).count() as u64);
        }
    }
}
