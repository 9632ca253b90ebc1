//! What was heard and sent, until the driver takes it out.

use crate::FRAME;

/// At most so many interleaved samples wait: 4 s.
const MAX: usize = 4 * 8000 * 2;

/// Interleaved stereo: left what we heard, right what we sent.
#[derive(Debug, Default)]
pub(super) struct Tape {
    samples: Vec<i16>,
    /// While paused silence is recorded, so that the time stays true.
    pub(super) is_paused: bool,
    lost: u64,
}

impl Tape {
    /// Appends a frame of both; one that finds no room is counted as lost.
    pub(super) fn push(&mut self, heard: &[i16; FRAME], sent: &[i16; FRAME]) {
        if self.samples.len() + 2 * FRAME > MAX {
            self.lost += FRAME as u64;
            return;
        }
        if self.is_paused {
            self.samples.resize(self.samples.len() + 2 * FRAME, 0);
            return;
        }
        self.samples.extend(heard.iter().zip(sent).flat_map(|(&left, &right)| [left, right]));
    }

    pub(super) fn samples(&self) -> &[i16] {
        &self.samples
    }

    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// Sample pairs (1/8000 s) that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}
