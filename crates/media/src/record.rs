//! Recordings: two channels in a WAV file that is readable at any time.

use std::io::{Seek, Write};

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::SAMPLE_RATE;

/// A WAV file counts its bytes in 32 bits; some are left for the header.
const MAX_SAMPLES: u64 = (u32::MAX as u64 - 1024) / 2;

/// Why a recording cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The writer failed.
    #[error("the recording cannot be written: {0}")]
    Write(#[from] hound::Error),
    /// No more than 4 GiB (37 hours) fit in a WAV file.
    #[error("the recording has reached the 4 GiB that a WAV file can hold")]
    Full,
}

/// Writes a 16-bit 8 kHz WAV file of two channels, or of one.
///
/// The header on the medium is true after [`Recorder::new`] and after every [`Recorder::flush`]: whoever is killed
/// in between leaves a file that plays up to the last flush.
pub struct Recorder<W: Write + Seek> {
    wav: WavWriter<W>,
    channels: u16,
    samples: u64,
}

impl<W: Write + Seek> Recorder<W> {
    /// Starts a recording of two channels with an empty, valid WAV file.
    pub fn new(writer: W) -> Result<Self, RecordError> {
        Self::with_channels(writer, 2)
    }

    /// Starts a recording of one channel with an empty, valid WAV file.
    pub fn mono(writer: W) -> Result<Self, RecordError> {
        Self::with_channels(writer, 1)
    }

    fn with_channels(writer: W, channels: u16) -> Result<Self, RecordError> {
        let mut wav = WavWriter::new(writer, spec(channels))?;
        wav.flush()?;
        Ok(Self { wav, channels, samples: 0 })
    }

    /// Appends interleaved samples (left, right, left, right…); half a frame at the end is dropped.
    pub fn write(&mut self, interleaved: &[i16]) -> Result<(), RecordError> {
        let whole = interleaved.len() - interleaved.len() % usize::from(self.channels);
        if self.samples + whole as u64 > MAX_SAMPLES {
            return Err(RecordError::Full);
        }
        for &sample in interleaved.iter().take(whole) {
            self.wav.write_sample(sample)?;
        }
        self.samples += whole as u64;
        Ok(())
    }

    /// Brings the header up to date and flushes the writer.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        Ok(self.wav.flush()?)
    }

    /// Ends the recording; returns its length in frames (1/8000 s).
    pub fn finish(self) -> Result<u64, RecordError> {
        self.wav.finalize()?;
        Ok(self.samples / u64::from(self.channels))
    }
}

/// 16 bits at 8 kHz.
pub(crate) fn spec(channels: u16) -> WavSpec {
    WavSpec { channels, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{self, Cursor, SeekFrom};
    use std::rc::Rc;

    use super::*;

    /// A file that can be looked at while it is written, as after `kill -9`.
    #[derive(Clone, Default)]
    struct Disk(Rc<RefCell<Cursor<Vec<u8>>>>);

    impl Disk {
        fn frames(&self) -> Vec<i16> {
            let reader = hound::WavReader::new(Cursor::new(self.0.borrow().get_ref().clone())).unwrap();
            assert_eq!(reader.spec(), spec(2));
            reader.into_samples().map(Result::unwrap).collect()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.borrow_mut().seek(to)
        }
    }

    #[test]
    fn is_readable_at_any_time() {
        let disk = Disk::default();
        let mut recorder = Recorder::new(disk.clone()).unwrap();
        assert_eq!(disk.frames(), []);
        recorder.write(&[1, -1, 2, -2]).unwrap();
        recorder.flush().unwrap();
        assert_eq!(disk.frames(), [1, -1, 2, -2]);
        recorder.write(&[3, -3]).unwrap();
        assert_eq!(disk.frames(), [1, -1, 2, -2], "not flushed yet, but still a true header");
        assert_eq!(recorder.finish().unwrap(), 3);
        assert_eq!(disk.frames(), [1, -1, 2, -2, 3, -3]);
    }

    #[test]
    fn one_channel_counts_each_sample() {
        let mut recorder = Recorder::mono(Disk::default()).unwrap();
        recorder.write(&[1, -1, 2]).unwrap();
        assert_eq!(recorder.finish().unwrap(), 3);
    }

    #[test]
    fn drops_half_a_frame() {
        let disk = Disk::default();
        let mut recorder = Recorder::new(disk.clone()).unwrap();
        recorder.write(&[1, -1, 2]).unwrap();
        assert_eq!(recorder.finish().unwrap(), 1);
        assert_eq!(disk.frames(), [1, -1]);
    }
}
