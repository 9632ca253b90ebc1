//! Tones: to make them, and to tell which is heard.

use std::f32::consts::TAU;

use crate::SAMPLE_RATE;

/// At most so many samples are looked at (0.5 s), which already resolves 2 Hz.
const WINDOW: usize = 4096;

/// What [`frequency`] looks for, in Hz: the telephone band and a bit more.
const BAND: std::ops::Range<f32> = 40.0..3960.0;

/// The part of the power that must lie on one frequency for it to be called a tone.
const DOMINANCE: f32 = 0.6;

/// The dominant tone: its frequency in Hz (within 1 %) and its amplitude, 0 to 1 of full scale.
///
/// `None` when there are fewer than 160 samples, all is silent, or most of the power lies elsewhere (speech, noise,
/// two tones of equal strength). Looks at the first half second only.
pub fn frequency(samples: &[i16]) -> Option<(f32, f32)> {
    let samples = samples.get(..WINDOW).unwrap_or(samples);
    let power_of_all = rms(samples).powi(2);
    if samples.len() < 160 || power_of_all == 0.0 {
        return None;
    }
    // A Hann window's main lobe is four bins wide, so half a bin is a step no peak hides from.
    let step = SAMPLE_RATE as f32 / samples.len() as f32 / 2.0;
    let steps = ((BAND.end - BAND.start) / step) as usize;
    let (hz, _) = (0..=steps)
        .map(|n| BAND.start + n as f32 * step)
        .map(|hz| (hz, power(samples, hz)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (hz, power) = climb(samples, hz, step);
    // A sine of amplitude a has the mean square a²/2.
    (power / 2.0 >= DOMINANCE * power_of_all).then(|| (hz, power.sqrt()))
}

/// Narrows a peak down by halving the step around it.
fn climb(samples: &[i16], mut hz: f32, mut step: f32) -> (f32, f32) {
    let mut best = power(samples, hz);
    while step > 0.05 {
        step /= 2.0;
        for candidate in [hz - step, hz + step] {
            let power = power(samples, candidate);
            if power > best {
                (hz, best) = (candidate, power);
                break;
            }
        }
    }
    (hz, best)
}

/// The power of one frequency (Goertzel's algorithm under a Hann window): the square of its amplitude, so that a
/// sine of full scale has 1. `hz` is 0 to 4,000.
pub fn power(samples: &[i16], hz: f32) -> f32 {
    let omega = TAU * hz / SAMPLE_RATE as f32;
    let coefficient = f64::from(2.0 * omega.cos());
    let turn = f64::from(TAU) / samples.len().max(1) as f64;
    let (mut s1, mut s2) = (0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let hann = 1.0 - (turn * n as f64).cos();
        (s1, s2) = (f64::from(sample) * hann + coefficient * s1 - s2, s1);
    }
    let power = (s1 * s1 + s2 * s2 - coefficient * s1 * s2).max(0.0);
    let full_scale = 32768.0 * samples.len().max(1) as f64 / 2.0;
    (power / (full_scale * full_scale)) as f32
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
    let amplitude = level.clamp(0.0, 1.0) * f32::from(i16::MAX);
    let turns_per_sample = f64::from(hz) / f64::from(SAMPLE_RATE);
    (0..u64::from(ms) * u64::from(SAMPLE_RATE) / 1000)
        .map(|n| {
            // Whole turns are taken off in f64, so that a long tone does not lose its phase.
            let turn = (n as f64 * turns_per_sample).fract() as f32;
            (amplitude * (TAU * turn).sin()) as i16
        })
        .collect()
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
        assert!((rms(&tone) - 0.7071).abs() < 0.001);
    }
}
