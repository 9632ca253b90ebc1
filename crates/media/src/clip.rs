//! Audio to be played: decoded once, played many times.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;

use crate::resample::ToClip;
use crate::{SAMPLE_RATE, record, tone};

/// The sample rates a file may have, in Hz; the upper bound keeps one second of it below 2 MB.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// The most channels a file may have; each costs memory before the first sample is read.
const MAX_CHANNELS: usize = 32;

/// Why a file cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// Neither WAV nor MP3, or nothing in it can be decoded.
    #[error("the file is no audio we can read: send WAV or MP3")]
    NotAudio,
    /// WAV or MP3, but of a kind that is not supported.
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
    /// Decodes a WAV or MP3 file of any rate and channel count that lasts at most `limit`.
    ///
    /// Channels are averaged; damaged MP3 frames are left out, and a file that breaks off plays up to there.
    ///
    /// # Errors
    /// Any [`ClipError`]; its text is a sentence for whoever sent the file.
    pub fn decode(bytes: Vec<u8>, limit: Duration) -> Result<Clip, ClipError> {
        if bytes.is_empty() {
            return Err(ClipError::Empty);
        }
        let container = Container::of(&bytes).ok_or(ClipError::NotAudio)?;
        // The file is a stranger's and the decoder not ours: symphonia 0.6 overflows on some WAV headers.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(bytes, container, limit)));
        match decoded.unwrap_or(Err(ClipError::NotAudio))? {
            samples if samples.is_empty() => Err(ClipError::Empty),
            samples => Ok(Clip::from_samples(samples)),
        }
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

/// What the first bytes say the file is. The decoder alone would search any garbage for MP3 frames.
#[derive(Clone, Copy)]
enum Container {
    Wav,
    Mp3,
}

impl Container {
    fn of(bytes: &[u8]) -> Option<Container> {
        // Some encoders pad the start of an MP3 file with zeros.
        let padding = bytes.iter().take_while(|&&byte| byte == 0).count();
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Container::Wav),
            [b'I', b'D', b'3', ..] => Some(Container::Mp3),
            _ => match bytes.get(padding..)? {
                // Eleven bits of sync, any version, layer III (ISO 11172-3 2.4.2.3).
                [0xFF, second, ..] if second & 0xE6 == 0xE2 => Some(Container::Mp3),
                _ => None,
            },
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Container::Wav => "wav",
            Container::Mp3 => "mp3",
        }
    }
}

/// All samples, averaged over the channels, at 8 kHz.
fn decode(bytes: Vec<u8>, container: Container, limit: Duration) -> Result<Vec<i16>, ClipError> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let mut hint = Hint::new();
    hint.with_extension(container.extension());
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, Default::default(), Default::default())
        .map_err(|error| match container {
            Container::Wav => refuse(error),
            // What only looked like a frame of MP3.
            Container::Mp3 => ClipError::NotAudio,
        })?;
    let (track, mut decoder) = open(&*format)?;
    let mut interleaved: Vec<f32> = Vec::new();
    let mut clip: Option<(u32, ToClip)> = None;
    let mut frames = 0_u64;
    while let Some(packet) = next_packet(&mut *format)? {
        if packet.track_id != track {
            continue;
        }
        let audio = match decoder.decode(&packet) {
            Ok(audio) => audio,
            Err(Error::DecodeError(_) | Error::IoError(_)) => continue,
            Err(error) => return Err(refuse(error)),
        };
        let of_packet = audio.spec().rate();
        let (rate, clip) = match &mut clip {
            Some((rate, clip)) => (*rate, clip),
            None if RATES.contains(&of_packet) => {
                let (rate, clip) = clip.insert((of_packet, ToClip::new(of_packet)?));
                (*rate, clip)
            }
            None => return Err(ClipError::Unsupported(format!("a sample rate of {of_packet} Hz"))),
        };
        if of_packet != rate {
            return Err(ClipError::Unsupported("the sample rate changes on the way".into()));
        }
        let channels = audio.spec().channels().count().max(1);
        audio.copy_to_vec_interleaved(&mut interleaved);
        let scale = 1.0 / channels as f32;
        frames += (interleaved.len() / channels) as u64;
        if frames as f64 > limit.as_secs_f64() * f64::from(rate) {
            return Err(ClipError::TooLong { limit });
        }
        clip.push(interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * scale))?;
    }
    clip.map_or(Ok(Vec::new()), |(_, clip)| clip.finish())
}

/// The id of the first audio track, and its decoder.
fn open(format: &dyn FormatReader) -> Result<(u32, Box<dyn AudioDecoder>), ClipError> {
    let track = format.default_track(TrackType::Audio).ok_or(ClipError::NotAudio)?;
    let parameters =
        track.codec_params.as_ref().and_then(|parameters| parameters.audio()).ok_or(ClipError::NotAudio)?;
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    if channels > MAX_CHANNELS {
        return Err(ClipError::Unsupported(format!("{channels} channels")));
    }
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(refuse)?;
    Ok((track.id, decoder))
}

/// The next packet; a file that breaks off ends where it breaks off.
fn next_packet(format: &mut dyn FormatReader) -> Result<Option<symphonia::core::packet::Packet>, ClipError> {
    match format.next_packet() {
        Ok(packet) => Ok(packet),
        Err(Error::IoError(_) | Error::DecodeError(_) | Error::ResetRequired) => Ok(None),
        Err(error) => Err(refuse(error)),
    }
}

fn refuse(error: Error) -> ClipError {
    match error {
        Error::Unsupported(what) | Error::LimitError(what) => ClipError::Unsupported(what.to_owned()),
        _ => ClipError::NotAudio,
    }
}

#[cfg(test)]
mod tests;
