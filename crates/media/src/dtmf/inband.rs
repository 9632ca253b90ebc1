//! Digits as tones in the sound: their detector and their generator (ITU-T Q.23, Q.24).

use std::f32::consts::TAU;

use super::{DtmfError, Key, PERIOD, PRESSED, WAIT, code};
use crate::{Clip, FRAME, SAMPLE_RATE, tone};

/// The row and column frequencies in Hz (Q.23).
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// The digits where rows and columns meet.
const PAD: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Samples between two looks: 6.4 ms. Each look takes in two of these.
const HOP: usize = 51;
const BLOCK: usize = 2 * HOP;

/// The least power of either tone as a share of a sine of full scale: -33 dB, which is about -30 dBm0.
const QUIETEST: f32 = 5.0e-4;

/// The most one tone may seem above the other, in power: 10.8 dB. Q.24 has administrations that allow 4 to 10 dB, and
/// the louder tone leaks 2 dB up or down into the other.
const TWIST: f32 = 12.0;

/// The least a tone is above the others of its group, in power: 4.5 dB, for the louder tone leaks into all of them.
const ABOVE_GROUP: f32 = 2.8;

/// The share of all power that lies in the two tones.
const PURITY: f32 = 0.62;

/// The furthest a tone may be off: what must be taken is 1.5 %, what must not 3.5 % (Q.24).
const OFF: f32 = 0.021;

/// The furthest the tones may be off from one another. A voice and its octave are no digit: the columns nearest to
/// twice a row lie 4.3 % from it.
const APART: f32 = 0.036;

/// Looks in a row that make a digit: 40 ms have at least five, 20 ms at most three.
const ON: u32 = 4;

/// Looks in a row without it that end it: 10 ms of nothing make at most three, 40 ms at least six.
const OVER: u32 = 5;

/// Makes digits of sound: each once, when it is over.
#[derive(Debug)]
pub(crate) struct Detector {
    /// By Goertzel's recursion, rows first.
    bins: [Bin; 8],
    /// The power of this hop and of the one before.
    power: f32,
    power_before: f32,
    filled: usize,
    /// What the last look saw.
    last: Option<Tones>,
    /// Looks in a row that saw the same, and the radians by which their tones have gone astray meanwhile.
    run: u32,
    astray: (f32, f32),
    /// The digit that sounds, the looks it has, and those since it was last seen.
    sounding: Option<(char, u32, u32)>,
}

/// A frequency, and the recursion's state.
#[derive(Clone, Copy, Debug)]
struct Bin {
    coefficient: f32,
    s1: f32,
    s2: f32,
    /// One sample's turn and one hop's.
    sample: Complex,
    hop: Complex,
    /// The value of the hop before.
    before: Complex,
}

#[derive(Clone, Copy, Debug, Default)]
struct Complex(f32, f32);

impl Complex {
    fn turn(radians: f32) -> Complex {
        Complex(radians.cos(), radians.sin())
    }

    fn times(self, other: Complex) -> Complex {
        Complex(self.0 * other.0 - self.1 * other.1, self.0 * other.1 + self.1 * other.0)
    }

    fn power(self) -> f32 {
        self.0 * self.0 + self.1 * self.1
    }
}

/// The two tones of a look.
#[derive(Clone, Copy, Debug)]
struct Tones {
    row: Tone,
    column: Tone,
}

#[derive(Clone, Copy, Debug)]
struct Tone {
    /// Which of its group.
    n: usize,
    /// Its value at the end of the look.
    value: Complex,
    /// That of an undisturbed tone one hop later.
    expected: Complex,
}

impl Bin {
    fn new(hz: f32) -> Bin {
        let w = TAU * hz / SAMPLE_RATE as f32;
        Bin {
            coefficient: 2.0 * w.cos(),
            s1: 0.0,
            s2: 0.0,
            sample: Complex::turn(w),
            hop: Complex::turn(w * HOP as f32),
            before: Complex::default(),
        }
    }

    /// Ends a hop: the value of the last two together, scaled so that a sine of full scale has the power 1.
    fn take(&mut self) -> Complex {
        let (s1, s2) = (std::mem::take(&mut self.s1), std::mem::take(&mut self.s2));
        let scale = 2.0 / BLOCK as f32;
        let now = Complex((s1 - s2 * self.sample.0) * scale, s2 * self.sample.1 * scale);
        let before = std::mem::replace(&mut self.before, now).times(self.hop);
        Complex(before.0 + now.0, before.1 + now.1)
    }
}

impl Detector {
    pub(crate) fn new() -> Self {
        let [a, b, c, d] = ROWS.map(Bin::new);
        let [e, f, g, h] = COLUMNS.map(Bin::new);
        Self {
            bins: [a, b, c, d, e, f, g, h],
            power: 0.0,
            power_before: 0.0,
            filled: 0,
            last: None,
            run: 0,
            astray: (0.0, 0.0),
            sounding: None,
        }
    }

    /// Listens to samples at 8 kHz; calls `report` with each digit that is over, and its length in ms.
    pub(crate) fn listen(&mut self, samples: &[i16], mut report: impl FnMut(char, u16)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_checked(HOP - self.filled).unwrap_or((rest, &[]));
            rest = later;
            self.add(now);
            if self.filled == HOP {
                self.filled = 0;
                self.look(&mut report);
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

    fn look(&mut self, report: &mut impl FnMut(char, u16)) {
        let tones = self.tones();
        match (self.last, tones) {
            (Some(last), Some(now)) if last.row.n == now.row.n && last.column.n == now.column.n => {
                self.run += 1;
                self.astray.0 += astray(last.row, now.row);
                self.astray.1 += astray(last.column, now.column);
            }
            (_, now) => (self.run, self.astray) = (u32::from(now.is_some()), (0.0, 0.0)),
        }
        self.last = tones;
        let seen = tones.and_then(|tones| Some(*PAD.get(tones.row.n)?.get(tones.column.n)?));
        let is_digit = self.run >= ON && tones.is_some_and(|tones| self.is_in_tune(tones));
        match (&mut self.sounding, seen) {
            // What interrupted it for a moment belongs to it.
            (Some((digit, looks, missed)), Some(seen)) if *digit == seen => {
                *looks += 1 + std::mem::take(missed)
            }
            (sounding, Some(seen)) if is_digit => {
                if let Some((digit, looks, _)) = sounding.replace((seen, ON, 0)) {
                    report(digit, ms(looks));
                }
            }
            (Some((digit, looks, missed)), _) => {
                *missed += 1;
                if *missed >= OVER {
                    report(*digit, ms(*looks));
                    self.sounding = None;
                }
            }
            (None, _) => {}
        }
    }

    /// The two tones of this look, if there are two and nothing else.
    fn tones(&mut self) -> Option<Tones> {
        let power = std::mem::take(&mut self.power);
        let total = (power + std::mem::replace(&mut self.power_before, power)) / BLOCK as f32;
        let [a, b, c, d, e, f, g, h] = self.bins.each_mut().map(|bin| {
            let value = bin.take();
            (value, value.times(bin.hop))
        });
        let (row, column) = (strongest([a, b, c, d])?, strongest([e, f, g, h])?);
        let (low, high) = (row.value.power(), column.value.power());
        let is_loud = low.min(high) >= QUIETEST;
        let is_even = low.max(high) <= TWIST * low.min(high);
        // A sine of amplitude a has the mean square a²/2.
        let is_pure = (low + high) / 2.0 >= PURITY * total;
        (is_loud && is_even && is_pure).then_some(Tones { row, column })
    }

    /// Whether both tones have been at their own frequencies over the run.
    fn is_in_tune(&self, tones: Tones) -> bool {
        let seconds = self.run.saturating_sub(1) as f32 * HOP as f32 / SAMPLE_RATE as f32;
        let off = |hz: &f32, astray: f32| astray / TAU / seconds / hz;
        let row = ROWS.get(tones.row.n).map(|hz| off(hz, self.astray.0));
        let column = COLUMNS.get(tones.column.n).map(|hz| off(hz, self.astray.1));
        row.zip(column).is_some_and(|(row, column)| {
            row.abs() <= OFF && column.abs() <= OFF && (row - column).abs() <= APART
        })
    }
}

/// The strongest of a group, if it stands out.
fn strongest(group: [(Complex, Complex); 4]) -> Option<Tone> {
    let power = |n: usize| group.get(n).map_or(0.0, |(value, _)| value.power());
    let n = (0..4).max_by(|a, b| power(*a).total_cmp(&power(*b)))?;
    let (value, expected) = *group.get(n)?;
    (0..4).all(|other| other == n || power(other) * ABOVE_GROUP <= power(n)).then_some(Tone {
        n,
        value,
        expected,
    })
}

/// By how many radians a tone is ahead of where it should be one hop after the last look: up to half a turn, which
/// is 78 Hz off.
fn astray(last: Tone, now: Tone) -> f32 {
    let Complex(real, imaginary) = now.value.times(Complex(last.expected.0, -last.expected.1));
    imaginary.atan2(real)
}

fn ms(looks: u32) -> u16 {
    (u64::from(looks) * HOP as u64 * 1000 / u64::from(SAMPLE_RATE)).min(u64::from(u16::MAX)) as u16
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
