//! Audio to be played: decoded once, played many times.

use std::sync::Arc;
use std::time::Duration;

/// Why a file cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {}

/// Audio at 8 kHz, mono, 16 bit; immutable, and cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    samples: Arc<[i16]>,
}

impl Clip {
    /// Decodes a WAV or MP3 file of any rate and channel count that lasts at most `limit`.
    pub fn decode(_bytes: Vec<u8>, _limit: Duration) -> Result<Clip, ClipError> {
        todo!()
    }

    /// A clip of these samples (8 kHz, mono).
    pub fn from_samples(samples: Vec<i16>) -> Clip {
        Clip { samples: samples.into() }
    }

    /// A sine of `hz`, lasting `ms`, with amplitude `level` (0 to 1 of full scale).
    pub fn tone(_hz: f32, _ms: u32, _level: f32) -> Clip {
        todo!()
    }

    /// How long it plays.
    pub fn duration(&self) -> Duration {
        todo!()
    }

    /// Its samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// The clip as a 16-bit mono WAV file.
    pub fn to_wav(&self) -> Vec<u8> {
        todo!()
    }
}
