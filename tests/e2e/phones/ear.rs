//! What phones have heard, read while they still write it.

use std::f64::consts::TAU;
use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sound::{RATE, Sound};

/// A sound card for one program: ALSA writes what would be played into a pipe, which is emptied as fast as a card
/// plays. 48 kHz and two channels, so that the pipe's 64 KiB are a third of a second.
pub struct SoundCard {
    heard: Arc<Mutex<Sound>>,
}

/// Frames of the card for one sample that is judged, and 20 ms of them.
const STEP: usize = 48_000 / RATE as usize;
const PERIOD: usize = RATE as usize / 50 * STEP * 4;

impl SoundCard {
    /// Makes the pipe and ALSA's configuration (for `ALSA_CONFIG_PATH`) of the device `ear` in `folder`.
    pub fn plug_in(folder: &Path) -> Self {
        let pipe = folder.join("ear");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()), "no pipe {}", pipe.display());
        let config =
            format!("pcm.ear {{ type file slave.pcm {{ type null }} file {:?} format raw }}\n", pipe);
        std::fs::write(folder.join("asound.conf"), config).expect("ALSA's configuration");
        let heard = Arc::new(Mutex::new(Sound(Vec::new())));
        // Opened for writing too, it waits for nobody and never ends.
        let mut card = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
        let kept = heard.clone();
        std::thread::spawn(move || {
            let mut period = [0; PERIOD];
            let mut due = Instant::now();
            while card.read_exact(&mut period).is_ok() {
                let frames = period.chunks_exact(4 * STEP);
                let samples =
                    frames.map(|frames| f64::from(i16::from_le_bytes([frames[0], frames[1]])) / 32768.0);
                kept.lock().unwrap_or_else(PoisonError::into_inner).0.extend(samples);
                due = due.max(Instant::now() - Duration::from_millis(100)) + Duration::from_millis(20);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Self { heard }
    }

    /// What was played so far.
    pub fn heard(&self) -> Sound {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The first channel of a WAV file that is still growing: its header does not know yet how long it will be.
pub fn growing_wav(path: &Path) -> Option<Sound> {
    let bytes = std::fs::read(path).ok()?;
    let (header, data) = bytes.split_at_checked(44)?;
    let channels = usize::from(u16::from_le_bytes([header[22], header[23]])).max(1);
    let rate = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
    // Tones lie far below half of our rate, so every n-th sample is enough.
    let step = (rate / RATE).max(1) as usize;
    let samples =
        data.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0);
    Some(Sound(samples.step_by(channels * step).collect()))
}

/// The rows and columns of the keypad (ITU-T Q.23).
const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [&[u8; 4]; 4] = [b"123A", b"456B", b"789C", b"*0#D"];

/// The keys pressed in a sound: a browser tells telephone events to nobody but the ear.
pub fn keys(sound: &Sound) -> String {
    let mut keys = String::new();
    let (mut current, mut run, mut pressed) = (None, 0, None);
    for window in sound.0.chunks_exact(RATE as usize / 50) {
        let key = key_of(window);
        run = if key == current { run + 1 } else { 1 };
        current = key;
        // Two windows make a key. A browser makes up for what came late, so its end takes longer: 120 ms without it.
        let enough = if key.is_some() { 2 } else { 6 };
        if run == enough && pressed != key {
            keys.extend(key);
            pressed = key;
        }
    }
    keys
}

fn key_of(window: &[f64]) -> Option<char> {
    let energy: f64 = window.iter().map(|sample| sample * sample).sum();
    if energy / (window.len() as f64) < 1e-4 {
        return None;
    }
    let strongest = |tones: &[f64; 4]| {
        let shares = tones.iter().map(|hz| share(window, *hz, energy)).enumerate();
        shares.max_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let ((row, low), (column, high)) = (strongest(&ROWS)?, strongest(&COLUMNS)?);
    (low > 0.15 && high > 0.15 && low + high > 0.8).then(|| char::from(KEYS[row][column]))
}

/// How much of the energy lies at `hz` (Goertzel's sum, written out).
fn share(window: &[f64], hz: f64, energy: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (index, sample) in window.iter().enumerate() {
        let (sin, cos) = (TAU * hz * index as f64 / f64::from(RATE)).sin_cos();
        re += sample * cos;
        im += sample * sin;
    }
    2.0 * (re * re + im * im) / (window.len() as f64 * energy)
}

#[test]
fn keys_are_heard_between_other_sounds() {
    let tone = |hz: &[f64], ms: usize| -> Vec<f64> {
        let at = |n: usize| hz.iter().map(|hz| 0.3 * (TAU * hz * n as f64 / f64::from(RATE)).sin()).sum();
        (0..RATE as usize / 1000 * ms).map(at).collect()
    };
    let parts = [
        tone(&[440.0], 300),
        tone(&[697.0, 1209.0], 90),
        tone(&[440.0], 160),
        tone(&[697.0, 1209.0], 90),
        tone(&[], 160),
        tone(&[941.0, 1477.0], 100),
        tone(&[1000.0], 200),
    ];
    assert_eq!(keys(&Sound(parts.concat())), "11#");
    assert_eq!(keys(&Sound(tone(&[697.0], 500))), "");
}
