//! From samples to payloads.

use opus::{Application, Bitrate, Channels};

use crate::g711::Law;
use crate::{Codec, SAMPLE_RATE, g722};

/// What speech of 8 kHz needs with Opus, repair of loss included, in bit/s.
const BITRATE: i32 = 20_000;

/// The bounds of `maxaveragebitrate` (RFC 7587 6.1).
const BITRATES: std::ops::RangeInclusive<i32> = 6_000..=510_000;

/// How hard Opus tries, 0 to 10.
const COMPLEXITY: i32 = 2;

/// The loss Opus protects against where they repair it, in percent.
const EXPECTED_LOSS: i32 = 5;

/// One direction's encoder. Its state is made once; nothing is allocated per packet.
pub(crate) enum Encoder {
    Law(Law),
    G722(g722::Encoder),
    /// None if libopus has no memory; then there is nothing to send.
    Opus(Option<opus::Encoder>),
}

impl Encoder {
    /// `fmtp` is what they say in `a=fmtp` of the codec.
    pub(crate) fn new(codec: Codec, fmtp: &str) -> Encoder {
        match codec {
            Codec::Pcmu => Encoder::Law(Law::Mu),
            Codec::Pcma => Encoder::Law(Law::A),
            Codec::G722 => Encoder::G722(g722::Encoder::default()),
            Codec::Opus => Encoder::Opus(opus_encoder(fmtp).ok()),
        }
    }

    /// A packet's samples, of 8 kHz, into `out`; the number of bytes. Opus takes 10, 20, 40 or 60 ms.
    pub(crate) fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        match self {
            Encoder::Law(law) => {
                let room = out.get_mut(..samples.len())?;
                room.iter_mut().zip(samples).for_each(|(byte, &sample)| *byte = law.encode(sample));
            }
            Encoder::G722(encoder) => {
                let room = out.get_mut(..samples.len())?;
                room.iter_mut().zip(samples).for_each(|(byte, &sample)| *byte = encoder.encode(sample));
            }
            Encoder::Opus(encoder) => return encoder.as_mut()?.encode(samples, out).ok(),
        }
        Some(samples.len())
    }
}

fn opus_encoder(fmtp: &str) -> opus::Result<opus::Encoder> {
    let value = |name: &str| {
        fmtp.split(';').filter_map(|part| part.split_once('=')).find_map(|(key, value)| {
            if key.trim().eq_ignore_ascii_case(name) { value.trim().parse::<i32>().ok() } else { None }
        })
    };
    let most = value("maxaveragebitrate").filter(|rate| BITRATES.contains(rate)).unwrap_or(BITRATE);
    let mut encoder = opus::Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::Bits(BITRATE.min(most)))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_vbr(value("cbr") != Some(1))?;
    if value("useinbandfec") == Some(1) {
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(EXPECTED_LOSS)?;
    }
    Ok(encoder)
}
