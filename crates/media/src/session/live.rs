//! Sound that comes from another session.

use crate::FRAME;

/// The most that may wait: three frames.
const MOST: usize = 3 * FRAME;

/// A short queue of samples.
pub(super) struct Live {
    samples: [i16; MOST],
    len: usize,
}

impl Default for Live {
    fn default() -> Self {
        Self { samples: [0; MOST], len: 0 }
    }
}

impl Live {
    /// Adds samples; what would wait longer than three frames is dropped, the oldest first.
    pub(super) fn push(&mut self, samples: &[i16]) {
        let samples = samples.get(samples.len().saturating_sub(MOST)..).unwrap_or_default();
        let excess = (self.len + samples.len()).saturating_sub(MOST);
        self.samples.copy_within(excess..self.len, 0);
        self.len -= excess;
        if let Some(free) = self.samples.get_mut(self.len..self.len + samples.len()) {
            free.copy_from_slice(samples);
            self.len += samples.len();
        }
    }

    /// The next frame; silence for what is missing.
    pub(super) fn take(&mut self) -> [i16; FRAME] {
        let mut frame = [0; FRAME];
        let taken = self.len.min(FRAME);
        frame.iter_mut().zip(self.samples.iter().take(taken)).for_each(|(to, from)| *to = *from);
        self.samples.copy_within(taken..self.len, 0);
        self.len -= taken;
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_and_the_oldest_go_first() {
        let mut live = Live::default();
        assert_eq!(live.take(), [0; FRAME]);
        live.push(&[1; FRAME]);
        live.push(&[2; FRAME]);
        assert_eq!(live.take(), [1; FRAME]);
        live.push(&[3; 5 * FRAME]);
        live.push(&[4; FRAME]);
        assert_eq!([live.take(), live.take(), live.take()], [[3; FRAME], [3; FRAME], [4; FRAME]]);
        live.push(&[5; 10]);
        assert_eq!(live.take()[..12], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0, 0]);
    }
}
