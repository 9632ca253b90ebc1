//! ITU-T G.722 at 64 kbit/s, of which a telephone needs the lower sub-band: 0 to 4 kHz, sampled at 8 kHz.
//!
//! The codec splits 16 kHz into two halves of 8 kHz each and codes them apart, six bits a sample for the lower and
//! two for the upper. Taking the lower half as it is makes no detour over 16 kHz: no filter, no delay. The upper
//! half is sent as silence and not listened to. Names in capitals are those of the recommendation's blocks.

/// What the upper sub-band's two bits say when there is nothing in it.
const SILENT_UPPER_HALF: u8 = 0xC0;

/// Decision levels of the quantizer (table of QUANTL).
const LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// The codes of a negative and of a positive difference between those levels.
const NEGATIVE: [u8; 30] = [
    63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7,
    6, 5, 4,
];
const POSITIVE: [u8; 30] = [
    61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36,
    35, 34, 33, 32,
];

/// What a code of four bits is worth (INVQAL).
const FOUR_BITS: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];

/// What a code of six bits is worth (INVQBL).
const SIX_BITS: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];

/// How a code of four bits moves the scale (LOGSCL).
const SCALE_STEPS: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];

/// Powers of two between 2,048 and 4,096 (SCALEL).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Encodes 8 kHz.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Lower);

/// Decodes to 8 kHz.
#[derive(Debug, Default)]
pub(crate) struct Decoder(Lower);

impl Encoder {
    /// One sample of 8 kHz to the byte of its pair of 16 kHz.
    #[allow(clippy::indexing_slicing, reason = "a place among 29 levels is one of 30")]
    pub(crate) fn encode(&mut self, sample: i16) -> u8 {
        let band = &mut self.0;
        let difference = saturate((i32::from(sample) >> 1) - band.predicted);
        let magnitude = if difference < 0 { !difference } else { difference };
        let place = LEVELS.partition_point(|level| magnitude >= (level * band.scale) >> 12);
        let code = if difference < 0 { NEGATIVE[place] } else { POSITIVE[place] };
        band.follow(code);
        SILENT_UPPER_HALF | code
    }
}

impl Decoder {
    /// The byte of a pair of 16 kHz to one sample of 8 kHz.
    #[allow(clippy::indexing_slicing, reason = "six bits cannot leave a table of 64")]
    pub(crate) fn decode(&mut self, byte: u8) -> i16 {
        let code = byte & 0x3F;
        let band = &mut self.0;
        let sample = band.predicted + ((band.scale * SIX_BITS[usize::from(code)]) >> 15);
        band.follow(code);
        (sample.clamp(-16384, 16383) << 1) as i16
    }
}

/// The lower sub-band's adaptive predictor, the same at both ends.
#[derive(Debug)]
struct Lower {
    /// The logarithm of the quantizer's scale (NBL), and the scale itself (DETL).
    log_scale: i32,
    scale: i32,
    /// What is expected next (SL), and the zeros' part of it (SZL).
    predicted: i32,
    of_zeros: i32,
    /// The coefficients of the poles and the zeros.
    poles: [i32; 2],
    zeros: [i32; 6],
    /// The latest first: quantized differences, reconstructed samples, and those less the poles' part.
    differences: [i32; 6],
    reconstructed: [i32; 2],
    partial: [i32; 2],
}

impl Default for Lower {
    fn default() -> Self {
        Self {
            log_scale: 0,
            scale: 32,
            predicted: 0,
            of_zeros: 0,
            poles: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
            reconstructed: [0; 2],
            partial: [0; 2],
        }
    }
}

impl Lower {
    /// Adapts to a code of six bits, of which the predictor sees four.
    #[allow(clippy::indexing_slicing, reason = "four and five bits cannot leave tables of 16 and 32")]
    fn follow(&mut self, code: u8) {
        let code = usize::from(code >> 2) & 0x0F;
        let difference = (self.scale * FOUR_BITS[code]) >> 15;
        self.log_scale = (((self.log_scale * 127) >> 7) + SCALE_STEPS[code]).clamp(0, 18432);
        let power = POWERS[(self.log_scale >> 6) as usize & 31];
        let shift = 8 - (self.log_scale >> 11);
        self.scale = (if shift < 0 { power << -shift } else { power >> shift }) << 2;
        self.adapt(difference);
    }

    /// Block 4L: RECONS, PARREC, UPPOL2, UPPOL1, UPZERO, DELAYA, FILTEP, FILTEZ, PREDIC.
    fn adapt(&mut self, difference: i32) {
        let reconstructed = saturate(self.predicted + difference);
        let partial = saturate(self.of_zeros + difference);
        let [first, second] = self.poles;
        let is_negative = partial < 0;
        let [is_as_last, is_as_before] = self.partial.map(|earlier| (earlier < 0) == is_negative);

        let (sign, step) = if is_as_last { (-1, 192) } else { (1, -192) };
        let by_first = (sign * saturate(first << 2)).min(32767) >> 7;
        let by_sign = if is_as_before { 128 } else { -128 };
        let pole_2 = (by_first + by_sign + ((second * 32512) >> 15)).clamp(-12288, 12288);
        let limit = 15360 - pole_2;
        let pole_1 = (step + ((first * 32640) >> 15)).clamp(-limit, limit);
        self.poles = [pole_1, pole_2];

        let step = if difference == 0 { 0 } else { 128 };
        for (zero, earlier) in self.zeros.iter_mut().zip(self.differences) {
            let step = if (earlier < 0) == (difference < 0) { step } else { -step };
            *zero = saturate(step + ((*zero * 32640) >> 15));
        }

        let [d1, d2, d3, d4, d5, _] = self.differences;
        self.differences = [difference, d1, d2, d3, d4, d5];
        let [last, _] = self.reconstructed;
        self.reconstructed = [reconstructed, last];
        let [last, _] = self.partial;
        self.partial = [partial, last];

        let weigh = |coefficient: i32, value: i32| (coefficient * saturate(value << 1)) >> 15;
        let of_poles =
            self.poles.iter().zip(self.reconstructed).map(|(&pole, value)| weigh(pole, value)).sum();
        let of_zeros = self.zeros.iter().zip(self.differences).map(|(&zero, value)| weigh(zero, value)).sum();
        self.of_zeros = saturate(of_zeros);
        self.predicted = saturate(saturate(of_poles) + self.of_zeros);
    }
}

fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// The start of the overload sequence of G.722 appendix II (T1C2, T2R2, T3L2), which goes from rail to rail.
    #[test]
    fn a_test_sequence_of_the_itu_comes_out_bit_by_bit() {
        const CODES: [u8; 48] = [
            0x04, 0xA0, 0x04, 0xA0, 0x04, 0xA0, 0x04, 0xA0, 0x04, 0xA0, 0x05, 0xA1, 0x06, 0xA3, 0x08, 0xA4,
            0x08, 0xA4, 0x09, 0xA5, 0x09, 0xA6, 0x0B, 0xA8, 0x0B, 0xA9, 0x0D, 0xA9, 0x0D, 0xA9, 0x0E, 0xAA,
            0x0F, 0xAC, 0x0F, 0xAC, 0x10, 0xAB, 0x11, 0xAC, 0x10, 0xAC, 0x10, 0xAD, 0x11, 0xED, 0x12, 0xAF,
        ];
        const SAMPLES: [u16; 32] = [
            0xFFCE, 0x0084, 0xFE88, 0x040E, 0xF4D0, 0x1E78, 0xACAC, 0x6C40, 0x8A9A, 0x7DD0, 0x84E4, 0x7FFE,
            0x8000, 0x7FFE, 0x8120, 0x7F26, 0x8000, 0x7FFE, 0x8228, 0x7EF6, 0x8000, 0x7F22, 0x80E0, 0x7EFA,
            0x8000, 0x7F64, 0x8092, 0x7FAE, 0x804C, 0x7FCA, 0x80DC, 0x7F5E,
        ];
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (n, code) in CODES.into_iter().enumerate() {
            let sample = if n % 2 == 0 { i16::MIN } else { i16::MAX - 1 };
            assert_eq!(encoder.encode(sample) & 0x3F, code & 0x3F, "code {n}");
        }
        for (n, (code, sample)) in CODES.into_iter().zip(SAMPLES).enumerate() {
            assert_eq!(decoder.decode(code) as u16, sample, "sample {n}");
        }
    }

    /// FNV-1a, to compare what is too long to be written here.
    fn digest(values: impl Iterator<Item = u16>) -> u64 {
        values.fold(0xCBF2_9CE4_8422_2325, |hash, value| {
            (hash ^ u64::from(value)).wrapping_mul(0x100_0000_01B3)
        })
    }

    /// The digests are those of another implementation's output, for noise from full scale down to nothing.
    #[test]
    fn noise_is_coded_as_others_code_it() {
        let mut random = 1u32;
        let mut noise = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random
        };
        let mut encoder = Encoder::default();
        let coded: Vec<u8> =
            (0..48_000).map(|n| encoder.encode((noise() >> 16) as i16 >> (n / 4000))).collect();
        assert_eq!(digest(coded.iter().map(|&byte| u16::from(byte))), 10_700_030_704_832_294_880);
        let mut decoder = Decoder::default();
        assert_eq!(digest(coded.iter().map(|&byte| decoder.decode(byte) as u16)), 15_785_867_819_165_478_177);
        let mut decoder = Decoder::default();
        let decoded = (0..48_000).map(|_| decoder.decode((noise() >> 24) as u8) as u16);
        assert_eq!(digest(decoded), 3_501_881_627_922_346_151);
    }

    #[test]
    fn tones_keep_their_pitch_and_level() {
        for (hz, level) in [(300.0, 0.5), (1004.0, 0.9), (1004.0, 0.01), (3400.0, 0.3)] {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let sent = tone::sine(hz, 500, level);
            let heard: Vec<i16> = sent.iter().map(|&sample| decoder.decode(encoder.encode(sample))).collect();
            let (found, loudness) = tone::frequency(&heard).expect("a tone");
            assert!((found / hz - 1.0).abs() < 0.01, "{hz} Hz heard as {found}");
            assert!((loudness / level - 1.0).abs() < 0.05, "{hz} Hz of {level} heard at {loudness}");
        }
    }

    #[test]
    fn silence_stays_silent_and_any_bytes_can_be_decoded() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        assert!((0..8000).all(|_| decoder.decode(encoder.encode(0)).unsigned_abs() < 16));
        let mut random = 1u32;
        for _ in 0..100_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            decoder.decode((random >> 24) as u8);
            encoder.encode((random >> 16) as i16);
        }
    }
}
