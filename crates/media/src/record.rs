//! Recordings: two channels in a WAV file that is readable at any time.

use std::io::{self, Read, Seek, SeekFrom, Write};

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::SAMPLE_RATE;

/// A WAV file counts its bytes in 32 bits; some are left for the header.
const MAX_SAMPLES: u64 = (u32::MAX as u64 - 1024) / 2;

/// Bytes of the header: what there is of a file before its sound.
const HEADER: u64 = 44;

/// Why a recording cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The writer failed.
    #[error("the recording cannot be written: {0}")]
    Write(#[from] hound::Error),
    /// No more than 4 GiB (37 hours) fit in a WAV file.
    #[error("the recording has reached the 4 GiB that a WAV file can hold")]
    Full,
    /// The file is not one that a [`Recorder`] wrote.
    #[error("the file is no recording: it has another header")]
    Foreign,
    /// Its writer was killed before it wrote anything that could be played.
    #[error("the file ends within its header")]
    Headless,
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

impl<W: Read + Write + Seek> Recorder<W> {
    /// Makes the header of a recording true whose writer was killed: it may say less than was written, or more than
    /// reached the medium. Returns its length in frames (1/8000 s).
    pub fn mend(mut file: W) -> Result<u64, RecordError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => RecordError::Headless,
            _ => RecordError::Write(error.into()),
        };
        let mut header = [0; HEADER as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let channels = if header.get(22..24) == Some(&[1, 0]) { 1 } else { 2 };
        let mut ours = io::Cursor::new(Vec::new());
        Recorder::with_channels(&mut ours, channels)?;
        // All but the two sizes.
        let fixed = |header: &[u8]| Some([header.get(..4)?.to_vec(), header.get(8..40)?.to_vec()]);
        if fixed(&header) != fixed(ours.get_ref()) {
            return Err(RecordError::Foreign);
        }
        let length = file.seek(SeekFrom::End(0)).map_err(failed)?.saturating_sub(HEADER);
        let frame = u64::from(channels) * 2;
        let frames = length.min(MAX_SAMPLES * 2) / frame;
        let bytes = u32::try_from(frames * frame).map_err(|_| RecordError::Full)?;
        for (at, size) in [(4, bytes + (HEADER as u32 - 8)), (40, bytes)] {
            // A file that is as it should be is not touched.
            if header.get(at..at + 4) != Some(&size.to_le_bytes()) {
                file.seek(SeekFrom::Start(at as u64)).map_err(failed)?;
                file.write_all(&size.to_le_bytes()).map_err(failed)?;
            }
        }
        file.flush().map_err(failed)?;
        Ok(frames)
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
    fn what_was_cut_off_is_mended() {
        let written = |channels: u16, samples: i16| {
            let mut file = Cursor::new(Vec::new());
            let mut recorder = Recorder::with_channels(&mut file, channels).unwrap();
            recorder.write(&(0..samples).collect::<Vec<_>>()).unwrap();
            recorder.finish().unwrap();
            file.into_inner()
        };
        let longer = |bytes: &[u8]| [&written(2, 4), bytes].concat();
        for (what, file, frames) in [
            ("as it should be", written(2, 4), 2),
            ("empty", written(1, 0), 0),
            ("written on after the last flush", longer(&[1, 0, 2, 0]), 3),
            ("cut off within a frame", longer(&[1, 0, 2]), 2),
            ("shorter than it says", written(1, 9).get(..HEADER as usize + 10).unwrap().to_vec(), 5),
        ] {
            let mut file = Cursor::new(file);
            assert_eq!(Recorder::mend(&mut file).unwrap(), frames, "{what}");
            file.set_position(0);
            let reader = hound::WavReader::new(file).unwrap();
            assert_eq!(u64::from(reader.duration()), frames, "{what}");
        }
        assert!(matches!(Recorder::mend(Cursor::new(vec![0; 10])), Err(RecordError::Headless)));
        for foreign in [vec![0; 100], [b"OggS", &written(1, 9)[4..]].concat()] {
            assert!(matches!(Recorder::mend(Cursor::new(foreign)), Err(RecordError::Foreign)));
        }
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
