//! How much memory a Vorbis decoder would take for its tables, before it does (Vorbis I, section 3.2.1).

/// The identification header before the setup header, in bytes.
const IDENTIFICATION: usize = 30;

/// The most values in all tables together. Encoders make about a tenth of it; a few bytes can ask for a thousand
/// times as much.
const MAX_VALUES: u64 = 1 << 20;

/// Whether the tables of the setup header are of a reasonable size; what cannot be read is left to the decoder.
pub(super) fn is_modest(headers: &[u8]) -> bool {
    let Some(setup) = headers.get(IDENTIFICATION..).and_then(|setup| setup.strip_prefix(b"\x05vorbis"))
    else {
        return true;
    };
    let mut bits = Bits { bytes: setup, at: 0 };
    let Some(codebooks) = bits.take(8) else { return true };
    let mut values = 0;
    for _ in 0..=codebooks {
        match codebook(&mut bits) {
            Some(of_this) => values += of_this,
            None => return true,
        }
        if values > MAX_VALUES {
            return false;
        }
    }
    true
}

/// Reads over a codebook; how many values its tables have.
fn codebook(bits: &mut Bits<'_>) -> Option<u64> {
    if bits.take(24)? != 0x56_4342 {
        return None;
    }
    let dimensions = bits.take(16)?;
    let entries = bits.take(24)?;
    let values = u64::from(entries) * u64::from(dimensions.max(1));
    if values > MAX_VALUES {
        return Some(values);
    }
    if bits.take(1)? == 1 {
        bits.take(5)?;
        let mut known = 0;
        while known < entries {
            known += bits.take(u32::BITS - (entries - known).leading_zeros())?;
        }
    } else {
        let is_sparse = bits.take(1)? == 1;
        for _ in 0..entries {
            if !is_sparse || bits.take(1)? == 1 {
                bits.take(5)?;
            }
        }
    }
    let lookup = bits.take(4)?;
    if lookup == 1 || lookup == 2 {
        bits.take(32)?;
        bits.take(32)?;
        let width = bits.take(4)? + 1;
        bits.take(1)?;
        let multiplicands = if lookup == 2 { values } else { u64::from(root(entries, dimensions)) };
        bits.skip(multiplicands * u64::from(width))?;
    }
    Some(values)
}

/// The largest number whose power of `dimensions` is no more than `entries`.
fn root(entries: u32, dimensions: u32) -> u32 {
    let fits = |n: u32| n.checked_pow(dimensions).is_some_and(|power| power <= entries);
    let mut root = f64::from(entries).powf(1.0 / f64::from(dimensions.max(1))) as u32;
    while root > 0 && !fits(root) {
        root -= 1;
    }
    while fits(root + 1) && dimensions > 0 {
        root += 1;
    }
    root
}

/// Bits, the least significant of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Bits<'_> {
    /// The next `count` bits, at most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for n in 0..count {
            let byte = self.bytes.get(usize::try_from(self.at / 8).ok()?)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << n;
            self.at += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.at += count;
        (self.at / 8 <= self.bytes.len() as u64).then_some(())
    }
}
