//! Reading files that strangers made.

use std::io::Cursor;
use std::time::Duration;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_OPUS, CODEC_ID_VORBIS};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;

use super::{ClipError, vorbis};
use crate::SAMPLE_RATE;
use crate::resample::ToClip;

/// The sample rates a file may have, in Hz; the upper bound keeps one second of it below 2 MB.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// The most channels a file may have; each costs memory before the first sample is read.
const MAX_CHANNELS: usize = 32;

/// The most samples of a packet of Opus: 120 ms.
const OPUS_FRAME: usize = 960;

/// What the first bytes say the file is. The decoder alone would search any garbage for MP3 frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Mp3,
    Flac,
    Ogg,
}

impl Container {
    pub(super) fn of(bytes: &[u8]) -> Option<Container> {
        // Some encoders pad the start of an MP3 file with zeros.
        let padding = bytes.iter().take_while(|&&byte| byte == 0).count();
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Container::Wav),
            [b'I', b'D', b'3', ..] => Some(Container::Mp3),
            [b'f', b'L', b'a', b'C', ..] => Some(Container::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Container::Ogg),
            _ => match bytes.get(padding..)? {
                // Eleven bits of sync, any version, layer III (ISO 11172-3 2.4.2.3).
                [0xFF, second, ..] if second & 0xE6 == 0xE2 => Some(Container::Mp3),
                _ => None,
            },
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Container::Wav => "wav",
            Container::Mp3 => "mp3",
            Container::Flac => "flac",
            Container::Ogg => "ogg",
        }
    }
}

/// All samples, averaged over the channels, at 8 kHz.
pub(super) fn decode(bytes: Vec<u8>, container: Container, limit: Duration) -> Result<Vec<i16>, ClipError> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let mut hint = Hint::new();
    hint.with_extension(container.extension());
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, Default::default(), Default::default())
        .map_err(|error| match container {
            // What only looked like a frame of MP3.
            Container::Mp3 => ClipError::NotAudio,
            Container::Wav | Container::Flac | Container::Ogg => refuse(error),
        })?;
    let track = format.default_track(TrackType::Audio).ok_or(ClipError::NotAudio)?;
    let id = track.id;
    let mut decoder = open(track)?;
    let mut clip: Option<(u32, ToClip)> = None;
    let mut samples: Vec<f32> = Vec::new();
    let mut frames = 0_u64;
    while let Some(packet) = next_packet(&mut *format)? {
        if packet.track_id != id {
            continue;
        }
        let Some((of_packet, channels)) = decoder.decode(&packet, &mut samples)? else { continue };
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
        let scale = 1.0 / channels as f32;
        frames += (samples.len() / channels) as u64;
        if frames as f64 > limit.as_secs_f64() * f64::from(rate) {
            return Err(ClipError::TooLong { limit });
        }
        clip.push(samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * scale))?;
    }
    clip.map_or(Ok(Vec::new()), |(_, clip)| clip.finish())
}

/// What makes samples of a track's packets.
enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    /// Symphonia reads OGG with Opus, but does not decode it.
    Opus(opus::Decoder),
}

impl Decoder {
    /// Decodes a packet to interleaved samples, -1 to 1; their rate in Hz and channels. None if it is damaged.
    fn decode(&mut self, packet: &Packet, samples: &mut Vec<f32>) -> Result<Option<(u32, usize)>, ClipError> {
        match self {
            Decoder::Symphonia(decoder) => match decoder.decode(packet) {
                Ok(audio) => {
                    audio.copy_to_vec_interleaved(samples);
                    Ok(Some((audio.spec().rate(), audio.spec().channels().count().max(1))))
                }
                Err(Error::DecodeError(_) | Error::IoError(_)) => Ok(None),
                Err(error) => Err(refuse(error)),
            },
            Decoder::Opus(decoder) => {
                samples.resize(OPUS_FRAME, 0.0);
                let Ok(decoded) = decoder.decode_float(&packet.data, samples, false) else { return Ok(None) };
                // What is to be left out is counted in samples of 48 kHz.
                let left_out = |trim: u64| usize::try_from(trim / 6).unwrap_or(usize::MAX).min(decoded);
                samples.truncate(decoded - left_out(packet.trim_end.get()));
                samples.drain(..left_out(packet.trim_start.get()).min(samples.len()));
                Ok(Some((SAMPLE_RATE, 1)))
            }
        }
    }
}

/// The decoder of a track.
fn open(track: &Track) -> Result<Decoder, ClipError> {
    let parameters =
        track.codec_params.as_ref().and_then(|parameters| parameters.audio()).ok_or(ClipError::NotAudio)?;
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    if channels > MAX_CHANNELS {
        return Err(ClipError::Unsupported(format!("{channels} channels")));
    }
    let header = parameters.extra_data.as_deref().unwrap_or_default();
    match parameters.codec {
        // The mapping family (RFC 7845 5.1): others are several streams in one.
        CODEC_ID_OPUS if header.get(18) != Some(&0) => {
            Err(ClipError::Unsupported("Opus of more than two channels".to_owned()))
        }
        CODEC_ID_OPUS => opus::Decoder::new(SAMPLE_RATE, opus::Channels::Mono)
            .map(Decoder::Opus)
            .map_err(|error| ClipError::Unsupported(error.to_string())),
        CODEC_ID_VORBIS if !vorbis::is_modest(header) => {
            Err(ClipError::Unsupported("Vorbis with tables larger than any encoder makes".to_owned()))
        }
        _ => symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map(Decoder::Symphonia)
            .map_err(refuse),
    }
}

/// The next packet; a file that breaks off ends where it breaks off.
fn next_packet(format: &mut dyn FormatReader) -> Result<Option<Packet>, ClipError> {
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
