//! ITU-T G.711: the two laws of companding, exact over all inputs.
//!
//! Samples are 16-bit and left-justified as in the ITU's software tools (G.191): µ-law uses the upper 14 bits,
//! A-law the upper 13. Negative samples are folded by one's complement, as G.191 does.

/// One of the two laws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// µ-law, of North America and Japan.
    Mu,
    /// A-law, of everywhere else.
    A,
}

impl Law {
    /// One 16-bit sample to its byte on the wire.
    #[inline]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_ulaw(sample),
            Law::A => encode_alaw(sample),
        }
    }

    /// One byte from the wire to its 16-bit sample.
    #[inline]
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Law::Mu => decode_ulaw(byte),
            Law::A => decode_alaw(byte),
        }
    }
}

/// What G.191 adds to a µ-law magnitude so that each segment starts at a power of two.
const ULAW_BIAS: u16 = 33;

/// The even bits of an A-law byte go inverted over the line (G.711 table 1a, note 2).
const ALAW_INVERSION: u8 = 0x55;

static ULAW: [i16; 256] = table(Law::Mu);
static ALAW: [i16; 256] = table(Law::A);

/// One 16-bit sample as a µ-law byte.
#[inline]
pub const fn encode_ulaw(sample: i16) -> u8 {
    let magnitude = (fold(sample) >> 2) + ULAW_BIAS;
    let magnitude = if magnitude > 0x1FFF { 0x1FFF } else { magnitude };
    // The bias makes the magnitude at least 33, so bit 5 or a higher one is set.
    let segment = 10 - magnitude.leading_zeros();
    let code = ((segment as u8) << 4) | ((magnitude >> (segment + 1)) as u8 & 0x0F);
    !code ^ sign_bit_of_negative(sample)
}

/// One 16-bit sample as an A-law byte.
#[inline]
pub const fn encode_alaw(sample: i16) -> u8 {
    let magnitude = fold(sample) >> 4;
    let code = if magnitude < 32 {
        magnitude as u8
    } else {
        let segment = 12 - magnitude.leading_zeros();
        ((segment as u8) << 4) | ((magnitude >> (segment - 1)) as u8 & 0x0F)
    };
    (code | 0x80) ^ sign_bit_of_negative(sample) ^ ALAW_INVERSION
}

/// One µ-law byte as a 16-bit sample.
#[inline]
#[allow(clippy::indexing_slicing, reason = "a byte cannot leave a table of 256")]
pub fn decode_ulaw(byte: u8) -> i16 {
    ULAW[byte as usize]
}

/// One A-law byte as a 16-bit sample.
#[inline]
#[allow(clippy::indexing_slicing, reason = "a byte cannot leave a table of 256")]
pub fn decode_alaw(byte: u8) -> i16 {
    ALAW[byte as usize]
}

const fn fold(sample: i16) -> u16 {
    (if sample < 0 { !sample } else { sample }) as u16
}

const fn sign_bit_of_negative(sample: i16) -> u8 {
    if sample < 0 { 0x80 } else { 0 }
}

const fn expand_ulaw(byte: u8) -> i16 {
    let code = !byte;
    let segment = (code >> 4) & 0x07;
    let magnitude = (((code & 0x0F) as i16 * 2 + ULAW_BIAS as i16) << (segment + 2)) - 4 * ULAW_BIAS as i16;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

const fn expand_alaw(byte: u8) -> i16 {
    let code = byte ^ ALAW_INVERSION;
    let segment = (code >> 4) & 0x07;
    let step = ((code & 0x0F) as i16) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

#[allow(clippy::indexing_slicing, reason = "the loop runs over the table's own length")]
const fn table(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match law {
            Law::Mu => expand_ulaw(byte as u8),
            Law::A => expand_alaw(byte as u8),
        };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ulaw_compress` of ITU-T G.191's g711.c, line by line.
    fn itu_ulaw_compress(sample: i16) -> u8 {
        let lin = i32::from(sample);
        let mut absno = if lin < 0 { ((!lin) >> 2) + 33 } else { (lin >> 2) + 33 };
        if absno > 0x1FFF {
            absno = 0x1FFF;
        }
        let mut segno = 1;
        let mut i = absno >> 6;
        while i != 0 {
            segno += 1;
            i >>= 1;
        }
        let high_nibble = 8 - segno;
        let low_nibble = 0xF - ((absno >> segno) & 0xF);
        let mut log = (high_nibble << 4) | low_nibble;
        if lin >= 0 {
            log |= 0x80;
        }
        log as u8
    }

    /// `alaw_compress` of ITU-T G.191's g711.c, line by line.
    fn itu_alaw_compress(sample: i16) -> u8 {
        let lin = i32::from(sample);
        let mut ix = if lin < 0 { (!lin) >> 4 } else { lin >> 4 };
        if ix > 15 {
            let mut iexp = 1;
            while ix > 16 + 15 {
                ix >>= 1;
                iexp += 1;
            }
            ix -= 16;
            ix += iexp << 4;
        }
        if lin >= 0 {
            ix |= 0x80;
        }
        (ix ^ 0x55) as u8
    }

    /// `ulaw_expand` of the same.
    fn itu_ulaw_expand(log: u8) -> i16 {
        let sign = if log < 0x80 { -1 } else { 1 };
        let mut mantissa = i32::from(!log);
        let exponent = (mantissa >> 4) & 0x7;
        let segment = exponent + 1;
        mantissa &= 0xF;
        let step = 4 << segment;
        (sign * ((0x80 << exponent) + step * mantissa + step / 2 - 4 * 33)) as i16
    }

    /// `alaw_expand` of the same.
    fn itu_alaw_expand(log: u8) -> i16 {
        let ix = i32::from(log ^ 0x55) & 0x7F;
        let iexp = ix >> 4;
        let mut mant = ix & 0xF;
        if iexp > 0 {
            mant += 16;
        }
        mant = (mant << 4) + 8;
        if iexp > 1 {
            mant <<= iexp - 1;
        }
        (if log > 127 { mant } else { -mant }) as i16
    }

    #[test]
    fn every_sample_encodes_as_the_itu_says() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(encode_ulaw(sample), itu_ulaw_compress(sample), "µ-law of {sample}");
            assert_eq!(encode_alaw(sample), itu_alaw_compress(sample), "A-law of {sample}");
        }
    }

    #[test]
    fn every_byte_decodes_as_the_itu_says() {
        for byte in 0..=u8::MAX {
            assert_eq!(decode_ulaw(byte), itu_ulaw_expand(byte), "µ-law of {byte:#04x}");
            assert_eq!(decode_alaw(byte), itu_alaw_expand(byte), "A-law of {byte:#04x}");
        }
    }

    #[test]
    fn coding_twice_changes_nothing_more() {
        for byte in 0..=u8::MAX {
            for law in [Law::Mu, Law::A] {
                let once = law.decode(byte);
                assert_eq!(law.decode(law.encode(once)), once, "{law:?} {byte:#04x}");
            }
        }
    }

    #[test]
    fn silence_is_the_byte_of_the_standard() {
        assert_eq!((encode_ulaw(0), encode_alaw(0)), (0xFF, 0xD5));
        assert_eq!((decode_ulaw(0xFF), decode_alaw(0xD5)), (0, 8));
    }
}
