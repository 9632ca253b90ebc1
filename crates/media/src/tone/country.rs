//! Call progress tones by country (ITU-T E.180 supplement 2).

use std::sync::{LazyLock, OnceLock};

use crate::{Clip, SAMPLE_RATE, tone};

/// A call progress tone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Tone {
    /// The other phone rings.
    Ringback,
    /// The other party is on the phone.
    Busy,
    /// Dial now.
    Dial,
    /// The call cannot be completed.
    Congestion,
}

impl Tone {
    /// All of them.
    pub const ALL: [Tone; 4] = [Tone::Ringback, Tone::Busy, Tone::Dial, Tone::Congestion];
}

/// What sounds at once, in Hz, and how long, in ms; nothing is a pause.
type Step = (&'static [f32], u32);

/// A country's tones, each a cadence that repeats: ringback, busy, dial, congestion.
type Tones = [&'static [Step]; 4];

/// The amplitude of all frequencies of a step together: about -10 dBm0 each of two.
const LEVEL: f32 = 0.3;

/// How long a tone without a cadence is, in ms.
const STEADY: u32 = 5000;

/// The tones the ITU recommends (E.180) and most of Europe has: 425 Hz.
const GENERAL: Tones = [
    &[(&[425.0], 1000), (&[], 4000)],
    &[(&[425.0], 500), (&[], 500)],
    &[(&[425.0], STEADY)],
    &[(&[425.0], 250), (&[], 250)],
];

/// The precise tone plan of North America.
const NORTH_AMERICA: Tones = [
    &[(&[440.0, 480.0], 2000), (&[], 4000)],
    &[(&[480.0, 620.0], 500), (&[], 500)],
    &[(&[350.0, 440.0], STEADY)],
    &[(&[480.0, 620.0], 250), (&[], 250)],
];

/// Countries with tones of their own, by ISO 3166 code.
const TABLE: &[(&[&str], Tones)] = &[
    (&["US", "CA", "PR", "JM", "DO", "BS", "BB", "TT"], NORTH_AMERICA),
    (
        &["GB", "IE", "MT", "CY"],
        [
            &[(&[400.0, 450.0], 400), (&[], 200), (&[400.0, 450.0], 400), (&[], 2000)],
            &[(&[400.0], 375), (&[], 375)],
            &[(&[350.0, 440.0], STEADY)],
            &[(&[400.0], 400), (&[], 350), (&[400.0], 225), (&[], 525)],
        ],
    ),
    (
        &["DE", "AT", "LU"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 480), (&[], 480)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 240), (&[], 240)],
        ],
    ),
    (
        &["FR"],
        [
            &[(&[440.0], 1500), (&[], 3500)],
            &[(&[440.0], 500), (&[], 500)],
            &[(&[440.0], STEADY)],
            &[(&[440.0], 250), (&[], 250)],
        ],
    ),
    (
        &["IN"],
        [
            &[(&[400.0], 400), (&[], 200), (&[400.0], 400), (&[], 2000)],
            &[(&[400.0], 750), (&[], 750)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 250), (&[], 250)],
        ],
    ),
    (
        &["AU"],
        [
            &[(&[400.0, 450.0], 400), (&[], 200), (&[400.0, 450.0], 400), (&[], 2000)],
            &[(&[425.0], 375), (&[], 375)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 375), (&[], 375)],
        ],
    ),
    (
        &["NZ"],
        [
            &[(&[400.0, 450.0], 400), (&[], 200), (&[400.0, 450.0], 400), (&[], 2000)],
            &[(&[400.0], 500), (&[], 500)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 250), (&[], 250)],
        ],
    ),
    (
        &["JP"],
        [
            &[(&[400.0], 1000), (&[], 2000)],
            &[(&[400.0], 500), (&[], 500)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 500), (&[], 500)],
        ],
    ),
    (
        &["CN"],
        [
            &[(&[450.0], 1000), (&[], 4000)],
            &[(&[450.0], 350), (&[], 350)],
            &[(&[450.0], STEADY)],
            &[(&[450.0], 700), (&[], 700)],
        ],
    ),
    (
        &["HK"],
        [
            &[(&[440.0, 480.0], 400), (&[], 200), (&[440.0, 480.0], 400), (&[], 3000)],
            &[(&[480.0, 620.0], 500), (&[], 500)],
            &[(&[350.0, 440.0], STEADY)],
            &[(&[480.0, 620.0], 250), (&[], 250)],
        ],
    ),
    (
        &["TW"],
        [
            &[(&[440.0, 480.0], 1000), (&[], 2000)],
            &[(&[480.0, 620.0], 500), (&[], 500)],
            &[(&[350.0, 440.0], STEADY)],
            &[(&[480.0, 620.0], 250), (&[], 250)],
        ],
    ),
    (
        &["KR"],
        [
            &[(&[440.0, 480.0], 1000), (&[], 2000)],
            &[(&[480.0, 620.0], 500), (&[], 500)],
            &[(&[350.0, 440.0], STEADY)],
            &[(&[480.0, 620.0], 300), (&[], 200)],
        ],
    ),
    (
        &["SG"],
        [
            &[(&[400.0, 450.0], 400), (&[], 200), (&[400.0, 450.0], 400), (&[], 2000)],
            &[(&[425.0], 750), (&[], 750)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 250), (&[], 250)],
        ],
    ),
    (
        &["MY"],
        [
            &[(&[425.0], 400), (&[], 200), (&[425.0], 400), (&[], 2000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 250), (&[], 250)],
        ],
    ),
    (
        &["TH"],
        [
            &[(&[400.0], 1000), (&[], 4000)],
            &[(&[400.0], 500), (&[], 500)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 300), (&[], 300)],
        ],
    ),
    (
        &["PH"],
        [
            &[(&[425.0, 480.0], 1000), (&[], 4000)],
            &[(&[480.0, 620.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[480.0, 620.0], 250), (&[], 250)],
        ],
    ),
    (
        &["BR"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 250), (&[], 250)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 250), (&[], 250), (&[425.0], 750), (&[], 250)],
        ],
    ),
    (
        &["AR"],
        [
            &[(&[425.0], 1000), (&[], 4500)],
            &[(&[425.0], 400), (&[], 400)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 400)],
        ],
    ),
    (
        &["CL"],
        [
            &[(&[400.0], 1000), (&[], 3000)],
            &[(&[400.0], 500), (&[], 500)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 200), (&[], 200)],
        ],
    ),
    (
        &["MX"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 250), (&[], 250)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 250), (&[], 250)],
        ],
    ),
    (
        &["ZA"],
        [
            &[(&[400.0], 400), (&[], 200), (&[400.0], 400), (&[], 2000)],
            &[(&[400.0], 500), (&[], 500)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 250), (&[], 250)],
        ],
    ),
    (
        &["IT"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], 200), (&[], 200), (&[425.0], 600), (&[], 1000)],
            &[(&[425.0], 200), (&[], 200)],
        ],
    ),
    (
        &["ES"],
        [
            &[(&[425.0], 1500), (&[], 3000)],
            &[(&[425.0], 200), (&[], 200)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 200), (&[425.0], 200), (&[], 200), (&[425.0], 200), (&[], 600)],
        ],
    ),
    (
        &["PT"],
        [
            &[(&[425.0], 1000), (&[], 5000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 200)],
        ],
    ),
    (
        &["BE"],
        [
            &[(&[425.0], 1000), (&[], 3000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 167), (&[], 167)],
        ],
    ),
    (
        &["CH"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 200)],
        ],
    ),
    (
        &["SE"],
        [
            &[(&[425.0], 1000), (&[], 5000)],
            &[(&[425.0], 250), (&[], 250)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 250), (&[], 750)],
        ],
    ),
    (
        &["FI"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 300), (&[], 300)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 200)],
        ],
    ),
    (
        &["DK"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 200)],
        ],
    ),
    (
        &["HU"],
        [
            &[(&[425.0], 1250), (&[], 3750)],
            &[(&[425.0], 300), (&[], 300)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 300), (&[], 300)],
        ],
    ),
    (
        &["CZ", "SK"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 330), (&[], 330)],
            &[(&[425.0], 330), (&[], 330), (&[425.0], 660), (&[], 660)],
            &[(&[425.0], 165), (&[], 165)],
        ],
    ),
    (
        &["PL"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 500), (&[], 500)],
        ],
    ),
    (
        &["GR"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 300), (&[], 300)],
            &[(&[425.0], 200), (&[], 300), (&[425.0], 700), (&[], 800)],
            &[(&[425.0], 200), (&[], 200)],
        ],
    ),
    (
        &["RU", "KZ", "BY", "UA"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 350), (&[], 350)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 175), (&[], 175)],
        ],
    ),
    (
        &["TR"],
        [
            &[(&[450.0], 2000), (&[], 4000)],
            &[(&[450.0], 500), (&[], 500)],
            &[(&[450.0], STEADY)],
            &[
                (&[450.0], 200),
                (&[], 200),
                (&[450.0], 200),
                (&[], 200),
                (&[450.0], 200),
                (&[], 200),
                (&[450.0], 600),
                (&[], 200),
            ],
        ],
    ),
    (
        &["IL"],
        [
            &[(&[400.0], 1000), (&[], 3000)],
            &[(&[400.0], 500), (&[], 500)],
            &[(&[400.0], STEADY)],
            &[(&[400.0], 250), (&[], 250)],
        ],
    ),
    (
        &["AE"],
        [
            &[(&[400.0, 450.0], 400), (&[], 200), (&[400.0, 450.0], 400), (&[], 2000)],
            &[(&[400.0], 375), (&[], 375)],
            &[(&[350.0, 440.0], STEADY)],
            &[(&[400.0], 400), (&[], 350), (&[400.0], 225), (&[], 525)],
        ],
    ),
    (
        &["NG", "KE", "GH"],
        [
            &[(&[425.0], 1000), (&[], 4000)],
            &[(&[425.0], 500), (&[], 500)],
            &[(&[425.0], STEADY)],
            &[(&[425.0], 200), (&[], 600)],
        ],
    ),
    // They have the general tones.
    (&["NL", "NO", "RO", "BG", "HR", "SI", "RS", "EE", "LV", "LT", "IS"], GENERAL),
];

/// Each tone once it was asked for: the table's, and the general ones behind them.
static MADE: LazyLock<Vec<[OnceLock<Clip>; 4]>> =
    LazyLock::new(|| std::iter::repeat_with(Default::default).take(TABLE.len() + 1).collect());

/// A country's tone, one round of its cadence: play it again for as long as it is to sound. Made once, then shared.
///
/// `country` is an ISO 3166 code in either case; one that is not in the table gets what the ITU recommends, 425 Hz.
/// A tone without a cadence is 5 s long.
pub fn tones(country: &str, tone: Tone) -> Clip {
    let is_country = |codes: &[&str]| codes.iter().any(|code| code.eq_ignore_ascii_case(country));
    let row = TABLE.iter().position(|(codes, _)| is_country(codes)).unwrap_or(TABLE.len());
    let make = || {
        let [ringback, busy, dial, congestion] = TABLE.get(row).map_or(&GENERAL, |(_, tones)| tones);
        sound(match tone {
            Tone::Ringback => ringback,
            Tone::Busy => busy,
            Tone::Dial => dial,
            Tone::Congestion => congestion,
        })
    };
    let made = MADE.get(row).and_then(|tones| tones.get(tone as usize));
    made.map_or_else(make, |made| made.get_or_init(make).clone())
}

/// One round of a cadence.
fn sound(cadence: &[Step]) -> Clip {
    let mut samples = Vec::new();
    for (frequencies, ms) in cadence {
        match frequencies {
            [] => samples.resize(samples.len() + (*ms as usize * SAMPLE_RATE as usize) / 1000, 0),
            _ => {
                let level = LEVEL / frequencies.len() as f32;
                let sines: Vec<_> = frequencies.iter().map(|hz| (*hz, level)).collect();
                samples.extend(tone::mix(&sines, *ms));
            }
        }
    }
    Clip::from_samples(samples)
}

/// The beep before a recording: 440 Hz for 400 ms.
pub fn beep() -> Clip {
    Clip::tone(440.0, 400, LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_of_well_known_countries() {
        // Frequencies in Hz and the lengths of sound and pause in ms.
        for (country, tone, hz, cadence) in [
            ("US", Tone::Ringback, &[440.0, 480.0][..], &[2000, 4000][..]),
            ("us", Tone::Busy, &[480.0, 620.0], &[500, 500]),
            ("GB", Tone::Ringback, &[400.0, 450.0], &[400, 200, 400, 2000]),
            ("DE", Tone::Ringback, &[425.0], &[1000, 4000]),
            ("DE", Tone::Busy, &[425.0], &[480, 480]),
            ("FR", Tone::Ringback, &[440.0], &[1500, 3500]),
            ("IN", Tone::Busy, &[400.0], &[750, 750]),
            ("JP", Tone::Ringback, &[400.0], &[1000, 2000]),
            ("CN", Tone::Dial, &[450.0], &[5000]),
            ("ZZ", Tone::Ringback, &[425.0], &[1000, 4000]),
            ("", Tone::Congestion, &[425.0], &[250, 250]),
        ] {
            let clip = tones(country, tone);
            let total: u32 = cadence.iter().sum();
            assert_eq!(clip.duration().as_millis(), u128::from(total), "{country} {tone:?}");
            let mut at = 0;
            for (n, ms) in cadence.iter().enumerate() {
                let part = &clip.samples()[at..at + *ms as usize * 8];
                at += part.len();
                if n % 2 == 1 {
                    assert!(part.iter().all(|sample| *sample == 0), "{country} {tone:?}");
                    continue;
                }
                let power: f32 = hz.iter().map(|hz| tone::power(part, *hz)).sum();
                let level = LEVEL / hz.len() as f32;
                assert!(
                    (power / (level * level * hz.len() as f32) - 1.0).abs() < 0.1,
                    "{country} {tone:?}: {power}"
                );
            }
        }
    }

    #[test]
    fn every_country_has_every_tone_once() {
        let mut codes: Vec<_> = TABLE.iter().flat_map(|(codes, _)| *codes).collect();
        assert!(codes.len() >= 25, "{}", codes.len());
        assert!(
            codes.iter().all(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
        );
        let all = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), all, "a country stands twice");
        for code in codes {
            for tone in Tone::ALL {
                let clip = tones(code, tone);
                assert!((300..=6500).contains(&clip.duration().as_millis()), "{code} {tone:?}");
                assert_ne!(
                    clip.samples().first().zip(clip.samples().get(3)).map(|(a, b)| *a != 0 || *b != 0),
                    Some(false)
                );
            }
        }
    }

    #[test]
    fn the_beep_is_a_tone() {
        let beep = beep();
        let (hz, level) = tone::frequency(beep.samples()).expect("a tone");
        assert!((hz - 440.0).abs() < 4.0 && (level - LEVEL).abs() < 0.02);
    }
}
