//! Tones: to make them, and to tell which is heard.

mod country;

use std::f32::consts::TAU;

pub use self::country::{Tone, beep, tones};

use crate::SAMPLE_RATE;

/// So many samples are looked at: 256 ms, in which two tones 16 Hz apart are two.
const WINDOW: usize = 2048;

/// What [`frequency`] looks for, in Hz: the telephone band and a bit more.
const BAND: std::ops::Range<f32> = 40.0..3960.0;

/// The part of the power that must lie on one frequency for it to be called a tone.
const DOMINANCE: f32 = 0.6;

/// The dominant tone: its frequency in Hz (within 1 %) and its amplitude, 0 to 1 of full scale.
///
/// Looks at the loudest quarter of a second. `None` when there are fewer than 160 samples, all is silent, or less
/// than 60 % of the power lies on one frequency (speech, noise, two tones).
pub fn frequency(samples: &[i16]) -> Option<(f32, f32)> {
    let whole = samples.chunks(WINDOW).filter(|chunk| chunk.len() >= 160);
    let loudest = whole.max_by(|a, b| rms(a).total_cmp(&rms(b)))?;
    let power_of_all = rms(loudest).powi(2);
    if power_of_all == 0.0 {
        return None;
    }
    let windowed = hann(loudest);
    // The main lobe of the window is four bins wide, so no peak hides between two bins.
    let bin = SAMPLE_RATE as f32 / loudest.len() as f32;
    let bins = ((BAND.end - BAND.start) / bin) as usize;
    let coarse = (0..=bins)
        .map(|n| BAND.start + n as f32 * bin)
        .map(|hz| (hz, goertzel(&windowed, hz)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (hz, power) = climb(&windowed, coarse, bin);
    // A sine of amplitude a has the mean square a²/2.
    (power / 2.0 >= DOMINANCE * power_of_all).then(|| (hz, power.sqrt()))
}

/// Narrows a peak down by halving the step around it.
fn climb(windowed: &[f32], (mut hz, mut best): (f32, f32), mut step: f32) -> (f32, f32) {
    while step > 0.05 {
        step /= 2.0;
        for candidate in [hz - step, hz + step] {
            let power = goertzel(windowed, candidate);
            if power > best {
                (hz, best) = (candidate, power);
                break;
            }
        }
    }
    (hz, best)
}

/// The power of one frequency: the square of its amplitude, so that a sine of full scale has 1. `hz` is 0 to 4,000.
pub fn power(samples: &[i16], hz: f32) -> f32 {
    goertzel(&hann(samples), hz)
}

/// The samples as parts of full scale, faded in and out so that a tone does not spread over all frequencies.
fn hann(samples: &[i16]) -> Vec<f32> {
    let turn = TAU / samples.len().max(1) as f32;
    samples
        .iter()
        .enumerate()
        .map(|(n, &sample)| f32::from(sample) / 32768.0 * (1.0 - (turn * n as f32).cos()))
        .collect()
}

/// Goertzel's algorithm: the square of the amplitude of `hz`.
fn goertzel(windowed: &[f32], hz: f32) -> f32 {
    let coefficient = 2.0 * (f64::from(TAU) * f64::from(hz) / f64::from(SAMPLE_RATE)).cos();
    let (s1, s2) =
        windowed.iter().fold((0.0, 0.0), |(s1, s2), &sample| (f64::from(sample) + coefficient * s1 - s2, s1));
    let half = windowed.len().max(1) as f64 / 2.0;
    ((s1 * s1 + s2 * s2 - coefficient * s1 * s2).max(0.0) / (half * half)) as f32
}

/// Root mean square, 0 to 1 of full scale; 0 for no samples. A sine has 0.707 of its amplitude.
pub fn rms(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    let sum: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    ((sum / samples.len() as f64).sqrt() / 32768.0) as f32
}

/// A sine of `hz` for `ms`, with amplitude `level` (0 to 1 of full scale).
pub fn sine(hz: f32, ms: u32, level: f32) -> Vec<i16> {
    mix(&[(hz, level)], ms)
}

/// Several sines at once, each its frequency in Hz and its amplitude (0 to 1 of full scale).
pub(crate) fn mix(sines: &[(f32, f32)], ms: u32) -> Vec<i16> {
    let sample = |n: u64| {
        let sum: f32 = sines
            .iter()
            .map(|(hz, level)| {
                // Whole turns are taken off in f64, so that a long tone does not lose its phase.
                let turn = (n as f64 * f64::from(*hz) / f64::from(SAMPLE_RATE)).fract() as f32;
                level.clamp(0.0, 1.0) * (TAU * turn).sin()
            })
            .sum();
        (sum.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16
    };
    (0..u64::from(ms) * u64::from(SAMPLE_RATE) / 1000).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_tone_within_one_percent() {
        for ms in [20, 100, 1000] {
            for hz in [300.0, 440.0, 697.0, 1004.0, 1633.0, 2600.0, 3400.0] {
                let (heard, level) = frequency(&sine(hz, ms, 0.5)).expect("a tone");
                assert!((heard / hz - 1.0).abs() < 0.01, "{hz} Hz of {ms} ms heard as {heard}");
                assert!((level - 0.5).abs() < 0.05, "{hz} Hz of {ms} ms heard at level {level}");
            }
        }
    }

    #[test]
    fn silence_clicks_noise_and_chords_are_no_tone() {
        let mut click = vec![0; 8000];
        click[100] = 30_000;
        let mut random = 1u32;
        let noise: Vec<i16> = (0..8000)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 16) as i16
            })
            .collect();
        let chord: Vec<i16> =
            sine(500.0, 500, 0.4).iter().zip(sine(900.0, 500, 0.4)).map(|(a, b)| a + b).collect();
        for (name, samples) in [
            ("nothing", vec![]),
            ("silence", vec![0; 8000]),
            ("click", click),
            ("noise", noise),
            ("chord", chord),
        ] {
            assert_eq!(frequency(&samples), None, "{name}");
        }
    }

    #[test]
    fn power_belongs_to_one_frequency() {
        let tone = sine(1000.0, 100, 1.0);
        assert!((power(&tone, 1000.0) - 1.0).abs() < 0.01);
        assert!(power(&tone, 1500.0) < 1e-4);
        assert!((rms(&tone) - std::f32::consts::FRAC_1_SQRT_2).abs() < 0.001);
    }
}
