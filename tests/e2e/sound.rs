//! Judging sound: what a channel holds, by means that share no code with the media plane.

use std::f64::consts::TAU;
use std::io::Cursor;

/// Samples per second of everything judged here.
pub const RATE: u32 = 8000;

/// One channel, samples between -1 and 1.
#[derive(Clone, Debug)]
pub struct Sound(pub Vec<f64>);

/// The channels of a WAV file.
#[track_caller]
pub fn read_wav(bytes: &[u8]) -> Vec<Sound> {
    let mut reader = hound::WavReader::new(Cursor::new(bytes)).expect("a WAV file");
    let spec = reader.spec();
    assert_eq!((spec.sample_rate, spec.bits_per_sample), (RATE, 16), "{spec:?}");
    let count = usize::from(spec.channels);
    let mut channels = vec![Sound(Vec::new()); count];
    // A header that promises more than is there (its writer was killed) ends at what is there.
    for (index, sample) in reader.samples::<i16>().map_while(Result::ok).enumerate() {
        channels[index % count].0.push(f64::from(sample) / 32768.0);
    }
    channels
}

/// A recording's two channels.
pub struct Recording {
    /// What we heard from the other side (left).
    pub heard: Sound,
    /// What we sent (right).
    pub sent: Sound,
}

impl Recording {
    /// Reads a recording; anything but two channels fails the test.
    #[track_caller]
    pub fn read(bytes: &[u8]) -> Self {
        let mut channels = read_wav(bytes);
        assert_eq!(channels.len(), 2, "a recording has two channels");
        let (sent, heard) = (channels.remove(1), channels.remove(0));
        Self { heard, sent }
    }
}

/// A tone as a WAV file: mono, 16 bit, 8 kHz, half of full scale.
pub fn tone_wav(hz: f64, seconds: f64) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).expect("a WAV writer");
    for sample in tone(hz, seconds) {
        writer.write_sample((sample * 32767.0) as i16).expect("memory");
    }
    writer.finalize().expect("memory");
    file.into_inner()
}

/// A tone as headerless G.711 µ-law, as SIPp streams it.
pub fn tone_ulaw(hz: f64, seconds: f64) -> Vec<u8> {
    tone(hz, seconds).map(ulaw).collect()
}

fn tone(hz: f64, seconds: f64) -> impl Iterator<Item = f64> {
    let count = (seconds * f64::from(RATE)) as u32;
    (0..count).map(move |n| 0.5 * (TAU * hz * f64::from(n) / f64::from(RATE)).sin())
}

/// The continuous µ-law companding curve (G.711's segments approximate it).
fn ulaw(sample: f64) -> u8 {
    let level = (1.0 + 255.0 * sample.abs()).ln() / 256f64.ln();
    let magnitude = (level * 127.0).round() as u8;
    !(magnitude | if sample < 0.0 { 0x80 } else { 0 })
}

impl Sound {
    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.0.len() as f64 / f64::from(RATE)
    }

    /// Root mean square; 0.354 for a sine at half of full scale.
    pub fn rms(&self) -> f64 {
        let power: f64 = self.0.iter().map(|sample| sample * sample).sum();
        (power / self.0.len().max(1) as f64).sqrt()
    }

    /// The part from the first to the last moment that is not silent; may be empty.
    pub fn active(&self) -> Sound {
        let loud = |sample: &f64| sample.abs() > self.threshold();
        let first = self.0.iter().position(loud).unwrap_or(0);
        let last = self.0.iter().rposition(loud).map_or(first, |last| last + 1);
        Sound(self.0[first..last].to_vec())
    }

    /// The longest run of silence within, in milliseconds.
    pub fn longest_gap_ms(&self) -> f64 {
        let threshold = self.threshold();
        let mut longest = 0usize;
        let mut run = 0usize;
        for sample in &self.0 {
            run = if sample.abs() > threshold { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        longest as f64 * 1000.0 / f64::from(RATE)
    }

    /// The frequency of the one tone it holds, from its zero crossings; the median over 100 ms windows,
    /// so that a few damaged ones do not shift it. `None` for silence.
    pub fn frequency(&self) -> Option<f64> {
        let mut found: Vec<f64> =
            self.0.chunks_exact(RATE as usize / 10).filter_map(crossing_frequency).collect();
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied()
    }

    /// How much of its energy is a tone of `hz`, 0 to 1; over 50 ms windows, each with a phase of its own, without
    /// the worst tenth of them: a playout that slips damages a window or two, another tone damages all.
    pub fn share_of(&self, hz: f64) -> f64 {
        let mut shares = self.shares(hz, 50);
        shares.sort_by(f64::total_cmp);
        mean(&shares[shares.len() / 10..])
    }

    /// The same over all of it, in windows so short that a slip hardly counts: finds another tone that is there for
    /// a moment only, unless it is a close neighbour, which [`Sound::share_of`] finds.
    pub fn share_throughout(&self, hz: f64) -> f64 {
        mean(&self.shares(hz, 20))
    }

    fn shares(&self, hz: f64, window_ms: u32) -> Vec<f64> {
        let windows = self.0.chunks_exact((RATE * window_ms / 1000) as usize);
        windows.filter_map(|window| tone_share(window, hz)).collect()
    }

    /// Silence is whatever stays below a tenth of a tone at half of full scale.
    fn threshold(&self) -> f64 {
        0.05
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Zero crossings, each placed between its two samples by interpolation.
fn crossing_frequency(window: &[f64]) -> Option<f64> {
    let crossings: Vec<f64> = window
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] < 0.0 && pair[1] >= 0.0)
        .map(|(index, pair)| index as f64 + pair[0] / (pair[0] - pair[1]))
        .collect();
    let (first, last) = (crossings.first()?, crossings.last()?);
    let periods = crossings.len() - 1;
    (periods >= 5).then(|| periods as f64 * f64::from(RATE) / (last - first))
}

/// The share of a window's energy that the best fitting sine of `hz` explains (least squares).
fn tone_share(window: &[f64], hz: f64) -> Option<f64> {
    let (mut cc, mut ss, mut cs, mut xc, mut xs, mut energy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (index, sample) in window.iter().enumerate() {
        let (sin, cos) = (TAU * hz * index as f64 / f64::from(RATE)).sin_cos();
        cc += cos * cos;
        ss += sin * sin;
        cs += cos * sin;
        xc += sample * cos;
        xs += sample * sin;
        energy += sample * sample;
    }
    let determinant = cc * ss - cs * cs;
    if energy < 1e-3 || determinant.abs() < 1e-9 {
        return None;
    }
    let (a, b) = ((xc * ss - xs * cs) / determinant, (xs * cc - xc * cs) / determinant);
    Some((a * xc + b * xs) / energy)
}

#[test]
fn a_tone_is_measured_within_a_thousandth() {
    for hz in [300.0, 440.0, 1004.0, 2973.0] {
        let sound = &read_wav(&tone_wav(hz, 2.0))[0];
        let measured = sound.frequency().unwrap();
        assert!((measured / hz - 1.0).abs() < 0.001, "{hz}: {measured}");
        assert!(sound.share_of(hz) > 0.999, "{hz}: {}", sound.share_of(hz));
        assert!(sound.longest_gap_ms() < 2.0);
    }
}

#[test]
fn a_second_tone_a_gap_and_silence_are_noticed() {
    let one = &read_wav(&tone_wav(700.0, 2.0))[0];
    let other = &read_wav(&tone_wav(727.0, 2.0))[0];
    let mixed = Sound(one.0.iter().zip(&other.0).map(|(a, b)| a + 0.3 * b).collect());
    assert!(mixed.share_of(700.0) < 0.98, "{}", mixed.share_of(700.0));
    assert!(other.share_of(700.0) < 0.5, "{}", other.share_of(700.0));

    let mut moment = one.clone();
    let foreign = &read_wav(&tone_wav(1500.0, 2.0))[0];
    moment.0[4000..5200].copy_from_slice(&foreign.0[4000..5200]);
    assert!(moment.share_throughout(700.0) < 0.95, "{}", moment.share_throughout(700.0));
    assert!(one.share_throughout(700.0) > 0.999, "{}", one.share_throughout(700.0));

    let mut broken = one.clone();
    broken.0[8000..8400].fill(0.0);
    assert!((49.0..52.0).contains(&broken.longest_gap_ms()));
    assert_eq!(Sound(vec![0.0; 8000]).frequency(), None);
    assert!(Sound(vec![0.0; 8000]).active().0.is_empty());
}
