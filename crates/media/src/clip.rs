//! Audio to be played: decoded once, played many times.

mod decode;
mod vorbis;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use self::decode::Container;
use crate::{SAMPLE_RATE, record, tone};

/// Why a file cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// No format we read, or nothing in it can be decoded.
    #[error("the file is no audio we can read: send WAV, MP3, FLAC, or OGG with Vorbis or Opus")]
    NotAudio,
    /// A format we read, but of a kind that is not supported.
    #[error("the audio file cannot be played: {0}")]
    Unsupported(String),
    /// No samples.
    #[error("the audio file is empty: it holds no sound")]
    Empty,
    /// Longer than allowed.
    #[error("the audio file is too long: at most {} s are allowed", limit.as_secs_f32())]
    TooLong {
        /// What is allowed.
        limit: Duration,
    },
}

/// Audio at 8 kHz, mono, 16 bit; immutable, and cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    samples: Arc<[i16]>,
}

impl Clip {
    /// Decodes a WAV, MP3, FLAC or OGG (Vorbis or Opus) file of any rate and channel count that lasts at most `limit`.
    ///
    /// Channels are averaged; damaged packets are left out, and a file that breaks off plays up to there.
    ///
    /// # Errors
    /// Any [`ClipError`]; its text is a sentence for whoever sent the file.
    pub fn decode(bytes: Vec<u8>, limit: Duration) -> Result<Clip, ClipError> {
        if bytes.is_empty() {
            return Err(ClipError::Empty);
        }
        let container = Container::of(&bytes).ok_or(ClipError::NotAudio)?;
        // The file is a stranger's and the decoder not ours: symphonia 0.6 overflows on some WAV headers.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode::decode(bytes, container, limit)));
        match decoded.unwrap_or(Err(ClipError::NotAudio))? {
            samples if samples.is_empty() => Err(ClipError::Empty),
            samples => Ok(Clip::from_samples(samples)),
        }
    }

    /// The usual ending of the name of such a file (`wav`, `mp3`, `flac`, `ogg`), by its first bytes.
    pub fn extension(bytes: &[u8]) -> Option<&'static str> {
        Container::of(bytes).map(Container::extension)
    }

    /// A clip of these samples (8 kHz, mono).
    pub fn from_samples(samples: Vec<i16>) -> Clip {
        Clip { samples: samples.into() }
    }

    /// A sine of `hz`, lasting `ms`, with amplitude `level` (0 to 1 of full scale).
    pub fn tone(hz: f32, ms: u32, level: f32) -> Clip {
        Clip::from_samples(tone::sine(hz, ms, level))
    }

    /// How long it plays.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.samples.len() as u64 * 1_000_000 / u64::from(SAMPLE_RATE))
    }

    /// Its samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// The clip as a 16-bit mono 8 kHz WAV file.
    pub fn to_wav(&self) -> Vec<u8> {
        let mut file = Vec::new();
        // Writing to memory cannot fail, and 4 GiB of clip do not exist: decoding is limited.
        let written = hound::WavWriter::new(Cursor::new(&mut file), record::spec(1)).and_then(|mut wav| {
            self.samples.iter().try_for_each(|&sample| wav.write_sample(sample))?;
            wav.finalize()
        });
        debug_assert!(written.is_ok());
        file
    }
}

#[cfg(test)]
mod tests;
