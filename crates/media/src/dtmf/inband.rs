//! Digits as tones in the sound: their detector and their generator (ITU-T Q.23, Q.24).

use std::f32::consts::{PI, TAU};

use super::{DtmfError, Key, PERIOD, PRESSED, WAIT, code};
use crate::{Clip, FRAME, SAMPLE_RATE, tone};

/// The row and column frequencies in Hz (Q.23).
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// The digits where rows and columns meet.
const PAD: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Samples that are looked at together: 12.75 ms, so that two lie whole within the 40 ms of the shortest digit.
const BLOCK: usize = 102;

/// The least power of either tone as a share of a sine of full scale: -33 dB, which is about -30 dBm0.
const QUIETEST: f32 = 5.0e-4;

/// The most one tone may be above the other, in power: 9 dB. Q.24 has administrations that allow 4 to 10.
const TWIST: f32 = 8.0;

/// The least a tone is above the others of its group, in power: 8 dB.
const ABOVE_GROUP: f32 = 6.3;

/// The share of all power that lies in the two tones.
const PURITY: f32 = 0.62;

/// The furthest a tone may be off: what must be taken is 1.5 % + 2 Hz, what must not 3.5 % (Q.24).
const OFF: f32 = 0.025;

/// Blocks in a row that make a digit, and that end it.
const ON: u8 = 2;
const OFF_BLOCKS: u8 = 2;

/// Makes digits of sound: each once, when it is over.
#[derive(Debug)]
pub(crate) struct Detector {
    /// By Goertzel's recursion, rows first.
    bins: [Bin; 8],
    power: f32,
    filled: usize,
    /// What the last block was: the digit, and the phases of its tones.
    last: Option<Tones>,
    /// The digit that sounds, the blocks it has, and the blocks since it was last heard.
    sounding: Option<(char, u32, u8)>,
    /// Blocks in a row of `last`.
    run: u8,
}

#[derive(Clone, Copy, Debug)]
struct Bin {
    hz: f32,
    coefficient: f32,
    s1: f32,
    s2: f32,
}

#[derive(Clone, Copy, Debug)]
struct Tones {
    row: usize,
    column: usize,
    /// At the end of the block, in turns of 2π.
    row_phase: f32,
    column_phase: f32,
}

impl Bin {
    /// The square of the amplitude (1 at full scale), and the phase at the end of the block.
    fn take(&mut self) -> (f32, f32) {
        let w = TAU * self.hz / SAMPLE_RATE as f32;
        let (s1, s2) = (std::mem::take(&mut self.s1), std::mem::take(&mut self.s2));
        let (real, imaginary) = (s1 - s2 * w.cos(), s2 * w.sin());
        let half = BLOCK as f32 / 2.0;
        ((real * real + imaginary * imaginary) / (half * half), imaginary.atan2(real))
    }
}

impl Detector {
    pub(crate) fn new() -> Self {
        let bin =
            |hz: f32| Bin { hz, coefficient: 2.0 * (TAU * hz / SAMPLE_RATE as f32).cos(), s1: 0.0, s2: 0.0 };
        let [a, b, c, d] = ROWS.map(bin);
        let [e, f, g, h] = COLUMNS.map(bin);
        Self { bins: [a, b, c, d, e, f, g, h], power: 0.0, filled: 0, last: None, sounding: None, run: 0 }
    }

    /// Listens to samples at 8 kHz; calls `report` with each digit that is over, and its length in ms.
    pub(crate) fn listen(&mut self, samples: &[i16], mut report: impl FnMut(char, u16)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_checked(BLOCK - self.filled).unwrap_or((rest, &[]));
            rest = later;
            self.add(now);
            if self.filled == BLOCK {
                self.filled = 0;
                self.judge(&mut report);
            }
        }
    }

    fn add(&mut self, samples: &[i16]) {
        for &sample in samples {
            let x = f32::from(sample) / 32768.0;
            self.power += x * x;
            for bin in &mut self.bins {
                let s0 = x + bin.coefficient * bin.s1 - bin.s2;
                bin.s2 = bin.s1;
                bin.s1 = s0;
            }
        }
        self.filled += samples.len();
    }

    fn judge(&mut self, report: &mut impl FnMut(char, u16)) {
        let tones = self.tones();
        let is_same = |last: Tones, now: Tones| (last.row, last.column) == (now.row, now.column);
        self.run = match (self.last, tones) {
            (Some(last), Some(now)) if is_same(last, now) && is_in_tune(last, now) => (self.run + 1).min(ON),
            (_, Some(_)) => 1,
            (_, None) => 0,
        };
        self.last = tones;
        let heard =
            tones.filter(|_| self.run >= ON).and_then(|tones| Some(*PAD.get(tones.row)?.get(tones.column)?));
        match (&mut self.sounding, heard) {
            (Some((digit, blocks, quiet)), Some(now)) if *digit == now => {
                // What interrupted it for a moment belongs to it.
                *blocks += 1 + u32::from(std::mem::take(quiet));
            }
            (sounding, Some(now)) => {
                if let Some((digit, blocks, _)) = sounding.replace((now, u32::from(ON), 0)) {
                    report(digit, ms(blocks));
                }
            }
            (Some((digit, blocks, quiet)), None) => {
                *quiet += 1;
                if *quiet >= OFF_BLOCKS {
                    report(*digit, ms(*blocks));
                    self.sounding = None;
                }
            }
            (None, None) => {}
        }
    }

    /// The two tones of the block that is over, if there are two and nothing else.
    fn tones(&mut self) -> Option<Tones> {
        let total = std::mem::take(&mut self.power) / BLOCK as f32;
        let [a, b, c, d, e, f, g, h] = self.bins.each_mut().map(Bin::take);
        let (row, (row_power, row_phase)) = strongest([a, b, c, d])?;
        let (column, (column_power, column_phase)) = strongest([e, f, g, h])?;
        let is_loud = row_power.min(column_power) >= QUIETEST;
        let is_even = row_power.max(column_power) <= TWIST * row_power.min(column_power);
        // A sine of amplitude a has the mean square a²/2.
        let is_pure = (row_power + column_power) / 2.0 >= PURITY * total;
        (is_loud && is_even && is_pure).then_some(Tones { row, column, row_phase, column_phase })
    }
}

/// The strongest of a group, if it stands out.
fn strongest(group: [(f32, f32); 4]) -> Option<(usize, (f32, f32))> {
    let best = group.into_iter().enumerate().max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    let stands_out = |(n, (power, _)): (usize, (f32, f32))| n == best.0 || power * ABOVE_GROUP <= best.1.0;
    group.into_iter().enumerate().all(stands_out).then_some(best)
}

/// Whether both tones went on from block to block at their own frequencies: what their phases have moved beyond that
/// is how far they are off.
fn is_in_tune(last: Tones, now: Tones) -> bool {
    let off = |hz: f32, from: f32, to: f32| {
        let expected = (TAU * hz * BLOCK as f32 / SAMPLE_RATE as f32) % TAU;
        let beyond = (to - from - expected + 3.0 * PI).rem_euclid(TAU) - PI;
        (beyond / TAU * SAMPLE_RATE as f32 / BLOCK as f32).abs() / hz
    };
    let of = |frequencies: [f32; 4], n: usize, from, to| {
        frequencies.get(n).is_some_and(|&hz| off(hz, from, to) <= OFF)
    };
    of(ROWS, now.row, last.row_phase, now.row_phase)
        && of(COLUMNS, now.column, last.column_phase, now.column_phase)
}

fn ms(blocks: u32) -> u16 {
    (u64::from(blocks) * BLOCK as u64 * 1000 / u64::from(SAMPLE_RATE)).min(u64::from(u16::MAX)) as u16
}

/// The amplitudes of row and column tone: -9 and -7 dBm0; telephones send the high group louder.
const AMPLITUDES: (f32, f32) = (0.246, 0.310);

/// Digits as sound: 100 ms each and 60 ms apart; `w` is half a second of pause.
///
/// # Errors
/// [`DtmfError::NotADigit`].
pub fn tones(digits: &str) -> Result<Clip, DtmfError> {
    let mut samples = Vec::new();
    for digit in digits.chars() {
        match Key::parse(digit)? {
            Key::Event(event) => {
                samples.extend(dual(event, PRESSED * 20));
                samples.extend(std::iter::repeat_n(0, (PERIOD - PRESSED) as usize * FRAME));
            }
            Key::Wait => samples.extend(std::iter::repeat_n(0, WAIT as usize * FRAME)),
        }
    }
    Ok(Clip::from_samples(samples))
}

/// The two tones of a digit.
fn dual(event: u8, ms: u32) -> Vec<i16> {
    let place = PAD.iter().zip(ROWS).find_map(|(row, row_hz)| {
        let mut row = row.iter().zip(COLUMNS);
        row.find_map(|(digit, column_hz)| (code(*digit) == Some(event)).then_some((row_hz, column_hz)))
    });
    // Every event below 16 is on the pad, and `Key` knows no other.
    let (row, column) = place.unwrap_or_default();
    tone::mix(&[(row, AMPLITUDES.0), (column, AMPLITUDES.1)], ms)
}

#[cfg(test)]
mod tests;
