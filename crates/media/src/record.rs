//! Recordings: two channels in a WAV file that is readable at any time.

use std::io::{Seek, Write};
use std::marker::PhantomData;

/// Why a recording cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {}

/// Writes a two-channel 16-bit 8 kHz WAV file.
pub struct Recorder<W: Write + Seek> {
    _w: PhantomData<W>,
}

impl<W: Write + Seek> Recorder<W> {
    /// Starts a recording.
    pub fn new(_w: W) -> Result<Self, RecordError> {
        todo!()
    }

    /// Appends interleaved samples: left, right, left, right.
    pub fn write(&mut self, _interleaved: &[i16]) -> Result<(), RecordError> {
        todo!()
    }

    /// Brings the header up to date and flushes the writer.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        todo!()
    }

    /// Ends the recording; returns its length in frames (1/8000 s).
    pub fn finish(self) -> Result<u64, RecordError> {
        todo!()
    }
}
