//! From payloads to samples.

use crate::g711::Law;
use crate::{Codec, SAMPLE_RATE, g722};

/// The most samples a payload may stand for: 200 ms (RFC 3551 4.2).
pub(crate) const MAX_SAMPLES: usize = 1600;

/// The pieces in which Opus makes up what is lost: 2.5 ms.
const OPUS_STEP: usize = 20;

/// One direction's decoders: whatever of our codecs comes, in any order.
#[derive(Default)]
pub(crate) struct Decoder {
    g722: g722::Decoder,
    /// Made with the first packet of Opus, or beforehand where Opus was agreed on.
    opus: Option<opus::Decoder>,
}

impl Decoder {
    /// Gets ready for a codec, so that its first packet costs no more than the others.
    pub(crate) fn prepare(&mut self, codec: Codec) {
        if codec == Codec::Opus {
            self.opus();
        }
    }

    /// Forgets what came before, for another stream.
    pub(crate) fn reset(&mut self) {
        self.g722 = g722::Decoder::default();
        if let Some(opus) = &mut self.opus {
            // It cannot fail on a decoder that was made.
            let _ = opus.reset_state();
        }
    }

    /// How many samples of 8 kHz a payload stands for; `None` if it cannot be decoded.
    pub(crate) fn samples(codec: Codec, payload: &[u8]) -> Option<usize> {
        let samples = match codec {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => payload.len(),
            Codec::Opus => opus::packet::get_nb_samples(payload, SAMPLE_RATE).ok()?,
        };
        (1..=MAX_SAMPLES).contains(&samples).then_some(samples)
    }

    /// Decodes a payload into as many samples as [`Decoder::samples`] says; silence where it is damaged.
    pub(crate) fn decode(&mut self, codec: Codec, payload: &[u8], out: &mut [i16]) {
        let mut by_law = |law: Law| {
            out.iter_mut().zip(payload).for_each(|(sample, &byte)| *sample = law.decode(byte));
        };
        match codec {
            Codec::Pcmu => by_law(Law::Mu),
            Codec::Pcma => by_law(Law::A),
            Codec::G722 => {
                out.iter_mut().zip(payload).for_each(|(sample, &byte)| *sample = self.g722.decode(byte));
            }
            Codec::Opus => self.decode_opus(payload, out, false),
        }
    }

    /// What came before this payload of Opus, from the repair it may carry (RFC 6716 2.1.7).
    pub(crate) fn repair(&mut self, payload: &[u8], out: &mut [i16]) {
        self.decode_opus(payload, out, true);
    }

    /// Makes up what Opus would go on with.
    pub(crate) fn conceal_opus(&mut self, out: &mut [i16]) {
        self.decode_opus(&[], out, false);
    }

    /// How many samples Opus can make up for `samples`: no fewer, in its own steps.
    pub(crate) fn opus_steps(samples: usize) -> usize {
        samples.next_multiple_of(OPUS_STEP)
    }

    fn decode_opus(&mut self, payload: &[u8], out: &mut [i16], repair: bool) {
        let decoded = match self.opus() {
            Some(decoder) => decoder.decode(payload, out, repair).unwrap_or(0),
            None => 0,
        };
        out.iter_mut().skip(decoded).for_each(|sample| *sample = 0);
    }

    fn opus(&mut self) -> Option<&mut opus::Decoder> {
        if self.opus.is_none() {
            self.opus = opus::Decoder::new(SAMPLE_RATE, opus::Channels::Mono).ok();
        }
        self.opus.as_mut()
    }
}
