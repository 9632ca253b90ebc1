//! Sound that comes from elsewhere while the call runs: another session, a stream.

use crate::FRAME;

/// The most that waits: 80 ms. More would only be delay, so the oldest goes.
const MAX: usize = 4 * FRAME;

/// Frames without a sample (200 ms) after which nobody is thought to speak.
const DRY: u8 = 10;

/// What was fed and not yet sent.
#[derive(Debug)]
pub(super) struct Live {
    ring: [i16; MAX],
    start: usize,
    len: usize,
    /// Frames taken since the last sample came.
    dry: u8,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { ring: [0; MAX], start: 0, len: 0, dry: DRY }
    }

    /// Appends samples; of what finds no room the oldest is dropped.
    pub(super) fn feed(&mut self, samples: &[i16]) {
        for &sample in samples {
            if self.len == MAX {
                self.start = (self.start + 1) % MAX;
                self.len -= 1;
            }
            if let Some(place) = self.ring.get_mut((self.start + self.len) % MAX) {
                *place = sample;
            }
            self.len += 1;
        }
    }

    /// Takes a frame; what is missing is silence. Nothing while the other side says nothing.
    pub(super) fn take(&mut self) -> Option<[i16; FRAME]> {
        self.dry = if self.len > 0 { 0 } else { self.dry.saturating_add(1) };
        if self.dry >= DRY {
            return None;
        }
        let mut frame = [0; FRAME];
        for sample in frame.iter_mut().take(self.len) {
            *sample = self.ring.get(self.start).copied().unwrap_or_default();
            self.start = (self.start + 1) % MAX;
        }
        self.len -= self.len.min(FRAME);
        Some(frame)
    }
}
