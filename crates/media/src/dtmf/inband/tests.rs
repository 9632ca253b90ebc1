use proptest::prelude::*;

use super::*;
use crate::dtmf::DIGITS;
use crate::g711;

/// Full scale is +3.17 dBm0 (G.711).
fn amplitude(dbm0: f32) -> f32 {
    10f32.powf((dbm0 - 3.17) / 20.0)
}

/// One press of a key, as the line may have bent it.
#[derive(Clone, Debug)]
struct Press {
    digit: char,
    ms: u32,
    /// Of the louder tone, in dBm0.
    dbm0: f32,
    /// The high group over the low one, in dB.
    twist: f32,
    /// Of either frequency, as a share.
    off: (f32, f32),
}

impl Press {
    fn usual(digit: char) -> Press {
        Press { digit, ms: 60, dbm0: -7.0, twist: 0.0, off: (0.0, 0.0) }
    }

    fn samples(&self) -> Vec<i16> {
        let place = |digit| {
            PAD.iter().enumerate().find_map(|(r, row)| Some((r, row.iter().position(|d| *d == digit)?)))
        };
        let (row, column) = place(self.digit).unwrap();
        let (low, high) = (self.dbm0 - self.twist.max(0.0), self.dbm0 + self.twist.min(0.0));
        tone::mix(
            &[
                (ROWS[row] * (1.0 + self.off.0), amplitude(low)),
                (COLUMNS[column] * (1.0 + self.off.1), amplitude(high)),
            ],
            self.ms,
        )
    }
}

/// White noise of so many dBm0 over the whole band.
fn add_noise(samples: &mut [i16], dbm0: f32) {
    let mut random = 7u32;
    // A uniform distribution of peak p has the RMS p/√3; a sine of 0 dBm0 has its amplitude/√2.
    let peak = amplitude(dbm0) / 2f32.sqrt() * 3f32.sqrt() * 32768.0;
    for sample in samples {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = ((random >> 8) as f32 / (1 << 23) as f32 - 1.0) * peak;
        *sample = (f32::from(*sample) + noise).clamp(-32768.0, 32767.0) as i16;
    }
}

fn heard(samples: &[i16]) -> Vec<(char, u16)> {
    let (mut detector, mut heard) = (Detector::new(), vec![]);
    for frame in samples.chunks(FRAME) {
        detector.listen(frame, |digit, ms| heard.push((digit, ms)));
    }
    heard
}

fn digits(samples: &[i16]) -> String {
    heard(samples).into_iter().map(|(digit, _)| digit).collect()
}

/// Something with silence around it, `lead` samples before.
fn between(lead: usize, samples: Vec<i16>) -> Vec<i16> {
    [vec![0; lead], samples, vec![0; 800]].concat()
}

#[test]
fn what_we_make_we_hear() {
    let clip = tones("0123456789*#ABCDw1122").unwrap();
    assert_eq!(digits(clip.samples()), "0123456789*#ABCD1122");
    let companded: Vec<i16> =
        clip.samples().iter().map(|sample| g711::decode_ulaw(g711::encode_ulaw(*sample))).collect();
    let heard = heard(&companded);
    assert_eq!(heard.len(), 20);
    assert!(heard.iter().all(|(_, ms)| (75..=115).contains(ms)), "{heard:?}");
    assert_eq!(clip.duration().as_millis(), 20 * 160 + 500);
    assert_eq!(tones("1x").unwrap_err(), DtmfError::NotADigit('x'));
}

#[test]
fn a_digit_of_40_ms_is_heard_wherever_it_begins_and_one_of_20_ms_is_not() {
    for digit in DIGITS {
        for lead in (0..204).step_by(5) {
            let press = Press { ms: 40, ..Press::usual(digit) };
            assert_eq!(digits(&between(lead, press.samples())), digit.to_string(), "{digit} at {lead}");
            let short = Press { ms: 20, ..press };
            assert_eq!(digits(&between(lead, short.samples())), "", "{digit} of 20 ms at {lead}");
        }
    }
}

#[test]
fn pauses_part_digits_and_clicks_do_not() {
    for digit in DIGITS {
        let press = Press::usual(digit).samples();
        let twice = [&press[..], &[0; 40 * 8], &press, &[0; 800]].concat();
        assert_eq!(digits(&twice), format!("{digit}{digit}"), "40 ms apart");
        let mut broken = Press { ms: 120, ..Press::usual(digit) }.samples();
        broken[50 * 8..60 * 8].fill(0);
        assert_eq!(digits(&between(33, broken)), digit.to_string(), "10 ms of nothing within");
    }
}

#[test]
fn single_tones_and_dual_tones_that_are_no_digit_are_not_heard() {
    let all: Vec<f32> = ROWS.into_iter().chain(COLUMNS).collect();
    for hz in &all {
        assert_eq!(digits(&tone::sine(*hz, 500, 0.5)), "", "{hz} Hz");
    }
    for (a, b) in
        [(697.0, 770.0), (1209.0, 1633.0), (440.0, 480.0), (480.0, 620.0), (350.0, 440.0), (425.0, 450.0)]
    {
        assert_eq!(digits(&tone::mix(&[(a, 0.3), (b, 0.3)], 500)), "", "{a} and {b} Hz");
    }
    let three = tone::mix(&[(697.0, 0.2), (1209.0, 0.2), (1477.0, 0.2)], 500);
    assert_eq!(digits(&three), "", "two columns at once");
}

#[test]
fn noise_and_music_are_no_digits() {
    let mut noise = vec![0; 8000 * 60];
    add_noise(&mut noise, -10.0);
    assert_eq!(digits(&noise), "");
    // Voices slowly sliding over the whole band with their overtones.
    let slide: Vec<i16> = (0..8000 * 60)
        .map(|n| {
            let t = f64::from(n) / 8000.0;
            let turn = 300.0 * t + 10.0 * t * t;
            let voice = (1..6).map(|k| (turn * f64::from(k) * std::f64::consts::TAU).sin() / f64::from(k));
            (voice.sum::<f64>() * 8000.0) as i16
        })
        .collect();
    assert_eq!(digits(&slide), "");
}

#[test]
fn speech_is_no_digits_at_any_level() {
    let Some(corpus) = crate::testing::corpora("speech/spandsp") else { return };
    let file = std::fs::read(corpus.join("short_nb_voice.wav")).unwrap();
    let clip = Clip::decode(file, std::time::Duration::from_secs(60)).unwrap();
    for gain in [0.1, 0.3, 1.0, 3.0, 10.0, 30.0] {
        // Blocks fall anew at each shift.
        for shift in (0..BLOCK).step_by(7) {
            let louder: Vec<i16> = clip
                .samples()
                .iter()
                .skip(shift)
                .map(|sample| (f32::from(*sample) * gain).clamp(-32768.0, 32767.0) as i16)
                .collect();
            assert_eq!(digits(&louder), "", "speech {gain} times as loud, from sample {shift}");
        }
    }
}

#[test]
fn digits_spoken_over_are_heard_once() {
    let Some(corpus) = crate::testing::corpora("speech/spandsp") else { return };
    let file = std::fs::read(corpus.join("short_nb_voice.wav")).unwrap();
    let clip = Clip::decode(file, std::time::Duration::from_secs(60)).unwrap();
    let pressed = tones("0123456789*#").unwrap();
    let both: Vec<i16> = pressed
        .samples()
        .iter()
        .zip(&clip.samples()[8000..])
        .map(|(tone, voice)| tone.saturating_add(voice / 8))
        .collect();
    assert_eq!(digits(&both), "0123456789*#");
}

proptest! {
    /// What Q.24 has to be heard: down to -25 dBm0, 1.5 % off, 8 dB of twist, 15 dB over noise.
    #[test]
    fn hears_what_must_be_heard(
        digit in proptest::sample::select(DIGITS.to_vec()),
        dbm0 in -20.0f32..0.0,
        twist in -8.0f32..8.0,
        off in (-0.015f32..0.015, -0.015f32..0.015),
        ms in 50u32..200,
        lead in 0usize..204,
        noise in proptest::bool::ANY,
    ) {
        let press = Press { digit, ms, dbm0, twist, off };
        let mut samples = between(lead, press.samples());
        if noise {
            add_noise(&mut samples, dbm0 - twist.abs() - 15.0);
        }
        prop_assert_eq!(digits(&samples), digit.to_string());
    }

    /// What Q.24 has to be left alone: 3.5 % off, too quiet, too uneven.
    #[test]
    fn leaves_alone_what_is_no_digit(
        digit in proptest::sample::select(DIGITS.to_vec()),
        lead in 0usize..204,
        ms in 40u32..200,
        wrong in prop_oneof![
            (0.035f32..0.1, any::<bool>(), any::<bool>()).prop_map(|(off, up, row)| {
                let off = if up { off } else { -off };
                (-7.0, 0.0, if row { (off, 0.0) } else { (0.0, off) })
            }),
            (-80.0f32..-42.0).prop_map(|dbm0| (dbm0, 0.0, (0.0, 0.0))),
            prop_oneof![-30.0f32..-13.0, 13.0f32..30.0].prop_map(|twist| (0.0, twist, (0.0, 0.0))),
        ],
    ) {
        let (dbm0, twist, off) = wrong;
        let press = Press { digit, ms, dbm0, twist, off };
        let heard = digits(&between(lead, press.samples()));
        // So far off a tone may be that of a neighbour.
        prop_assert!(!heard.contains(digit), "{press:?}: {heard}");
    }

    #[test]
    fn any_sound_is_listened_to(samples in proptest::collection::vec(any::<i16>(), 0..5000)) {
        heard(&samples);
    }
}
