//! An ear: what somebody on the line would have heard, in figures.

use media::{FRAME, tone};
use serde::Serialize;

/// Frames quieter than this are silence (RMS as a share of full scale; about -46 dBFS).
const AUDIBLE: f32 = 0.005;
/// Samples kept to find the tone: a quarter of a second, so that one late packet seldom breaks it.
const WINDOW: usize = 2000;

/// What was heard on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Heard {
    /// Time with audible sound, ms.
    pub sound_ms: u64,
    /// Whole time listened, ms.
    pub listened_ms: u64,
    /// Mean level of the audible frames, dBFS (0 is full scale).
    pub level_dbfs: f32,
    /// The frequency in Hz when what was heard was one steady tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tone_hz: Option<f32>,
}

/// Listens frame by frame; keeps a quarter of a second of the latest audible sound, nothing else.
pub struct Ear {
    frames: u64,
    audible: u64,
    energy: f64,
    window: Vec<i16>,
}

impl Ear {
    /// An ear that has heard nothing yet.
    pub fn new() -> Self {
        Self { frames: 0, audible: 0, energy: 0.0, window: Vec::with_capacity(WINDOW) }
    }

    /// One 20 ms frame as played out.
    pub fn listen(&mut self, frame: &[i16]) {
        self.frames += 1;
        let level = tone::rms(frame);
        if level < AUDIBLE {
            return;
        }
        self.audible += 1;
        self.energy += f64::from(level) * f64::from(level);
        if self.window.len() + frame.len() > WINDOW {
            self.window.drain(..FRAME.min(self.window.len()));
        }
        self.window.extend_from_slice(frame);
    }

    /// The figures so far.
    pub fn heard(&self) -> Heard {
        let mean = (self.energy / self.audible.max(1) as f64).sqrt();
        Heard {
            sound_ms: self.audible * 20,
            listened_ms: self.frames * 20,
            level_dbfs: if self.audible == 0 {
                -96.0
            } else {
                (20.0 * mean.log10() * 10.0).round() as f32 / 10.0
            },
            tone_hz: self.steady_tone(),
        }
    }

    /// A tone counts as steady when most of the window's power stands at its frequency.
    fn steady_tone(&self) -> Option<f32> {
        let (hz, _) = tone::frequency(&self.window)?;
        let total = tone::rms(&self.window).powi(2);
        (tone::power(&self.window, hz) > 0.8 * total).then_some((hz * 10.0).round() / 10.0)
    }
}
