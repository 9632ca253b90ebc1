//! From any rate to 8 kHz, piece by piece.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use crate::{ClipError, SAMPLE_RATE};

/// Samples converted at a time; the filter sees two of these pieces.
const PIECE: usize = 1024;

/// Takes mono samples of one rate and keeps them as 8 kHz, 16 bit: a long file costs memory for the result alone.
pub(crate) struct ToClip {
    /// None when the rate is 8 kHz already.
    filter: Option<Filter>,
    samples: Vec<i16>,
}

struct Filter {
    resampler: Fft<f32>,
    rate: u32,
    taken: u64,
    pending: Vec<f32>,
    output: Vec<f32>,
    /// What the filter's delay puts before the first sample, still to be left out.
    skip: usize,
}

impl ToClip {
    /// Input at `rate` Hz.
    pub(crate) fn new(rate: u32) -> Result<Self, ClipError> {
        let filter = if rate == SAMPLE_RATE { None } else { Some(Filter::new(rate)?) };
        Ok(Self { filter, samples: Vec::new() })
    }

    /// The next samples, -1 to 1.
    pub(crate) fn push(&mut self, mono: impl Iterator<Item = f32>) -> Result<(), ClipError> {
        match &mut self.filter {
            None => self.samples.extend(mono.map(to_16_bit)),
            Some(filter) => {
                let before = filter.pending.len();
                filter.pending.extend(mono);
                filter.taken += (filter.pending.len() - before) as u64;
                filter.convert(&mut self.samples)?;
            }
        }
        Ok(())
    }

    /// All samples at 8 kHz.
    pub(crate) fn finish(mut self) -> Result<Vec<i16>, ClipError> {
        if let Some(mut filter) = self.filter {
            let whole = (filter.taken * u64::from(SAMPLE_RATE)).div_ceil(u64::from(filter.rate)) as usize;
            // Silence pushes the last samples out of the filter.
            while self.samples.len() < whole {
                let short = filter.resampler.input_frames_next() - filter.pending.len();
                filter.pending.extend(std::iter::repeat_n(0.0, short));
                filter.convert(&mut self.samples)?;
            }
            self.samples.truncate(whole);
        }
        Ok(self.samples)
    }
}

impl Filter {
    fn new(rate: u32) -> Result<Self, ClipError> {
        let resampler =
            Fft::new(rate as usize, SAMPLE_RATE as usize, PIECE, 1, FixedSync::Input).map_err(unsupported)?;
        let skip = resampler.output_delay();
        let output = vec![0.0; resampler.output_frames_max()];
        Ok(Self { resampler, rate, taken: 0, pending: Vec::new(), output, skip })
    }

    fn convert(&mut self, samples: &mut Vec<i16>) -> Result<(), ClipError> {
        let mut used = 0;
        while let Some(piece) = self.pending.get(used..used + self.resampler.input_frames_next()) {
            let room = self.output.len();
            let input = InterleavedSlice::new(piece, 1, piece.len()).map_err(unsupported)?;
            let mut output = InterleavedSlice::new_mut(&mut self.output, 1, room).map_err(unsupported)?;
            let (read, written) =
                self.resampler.process_into_buffer(&input, &mut output, None).map_err(unsupported)?;
            let skipped = self.skip.min(written);
            self.skip -= skipped;
            samples.extend(self.output.iter().take(written).skip(skipped).map(|&sample| to_16_bit(sample)));
            used += read;
        }
        self.pending.drain(..used);
        Ok(())
    }
}

fn to_16_bit(sample: f32) -> i16 {
    (sample * 32768.0) as i16
}

fn unsupported(error: impl std::fmt::Display) -> ClipError {
    ClipError::Unsupported(error.to_string())
}
