//! Whether somebody speaks: by level, over a floor of noise that is followed.

use crate::tone;

/// Below this nothing counts as speech, whatever the noise (-50 dBFS, as RMS).
const AUDIBLE: f32 = 0.003;

/// How far above the noise speech stands, as a ratio of RMS: 9 dB.
const ABOVE: f32 = 2.8;

/// Frames over which the quietest is taken for the noise, twice: 1.5 s. Speech pauses for breath more often.
const WINDOW: u8 = 75;

/// The most the noise is taken for before a whole window was heard (-40 dBFS): speech may begin at once.
const FIRST: f32 = 0.01;

/// How much of a frame's level goes into the smoothed level.
const SMOOTHING: f32 = 0.4;

/// Follows the noise and tells speech from it.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    level: f32,
    /// The quietest of this window and of the one before.
    least: f32,
    least_before: f32,
    frames: u8,
}

impl Default for Activity {
    fn default() -> Self {
        Self { level: 0.0, least: FIRST, least_before: FIRST, frames: 0 }
    }
}

impl Activity {
    /// Whether there is speech in a frame of 20 ms.
    pub(crate) fn is_speech(&mut self, frame: &[i16]) -> bool {
        let level = tone::rms(frame);
        self.level += SMOOTHING * (level - self.level);
        self.least = self.least.min(self.level);
        self.frames += 1;
        if self.frames == WINDOW {
            self.least_before = std::mem::replace(&mut self.least, f32::INFINITY);
            self.frames = 0;
        }
        let noise = self.least.min(self.least_before);
        self.level > (noise * ABOVE).max(AUDIBLE)
    }
}
