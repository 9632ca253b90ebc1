//! One stretch of what is heard, recorded by itself: after a beep, until the caller has had their say.

use std::time::Duration;

use crate::activity::Activity;
use crate::{Clip, FRAME, tone};

/// At most so many samples wait to be taken out: 4 s.
const MAX: usize = 4 * 8000;

/// How to record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Whether a beep tells them to begin. It is not recorded.
    pub beep: bool,
    /// The longest recording.
    pub max: Duration,
    /// So long without speech ends it, from its beginning too; `None`: silence does not end it.
    pub end_silence: Option<Duration>,
    /// Any of these digits ends it; empty: no digit does.
    pub end_keys: String,
}

/// Why a recording ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Nothing was said for so long as to be enough.
    Silence,
    /// They pressed this key.
    Key(char),
    /// It is as long as it may be.
    Max,
    /// [`crate::Session::stop_segment`], or another took its place.
    Stopped,
}

impl Why {
    /// The word used in every API.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Silence => "silence",
            Why::Key(_) => "key",
            Why::Max => "limit",
            Why::Stopped => "stopped",
        }
    }
}

/// A recording that runs.
pub(super) struct Segment {
    pub(super) id: u32,
    rules: Rules,
    beep: Clip,
    /// Samples of the beep that were sent.
    beeped: usize,
    /// Samples recorded, and those of them since speech was last heard.
    recorded: u64,
    silent: u64,
    activity: Activity,
}

impl Segment {
    pub(super) fn new(id: u32, rules: Rules) -> Self {
        let beep = if rules.beep { tone::beep() } else { Clip::from_samples(Vec::new()) };
        Self { id, rules, beep, beeped: 0, recorded: 0, silent: 0, activity: Activity::default() }
    }

    /// The beep's next frame; `None` once it is over.
    pub(super) fn beep(&mut self) -> Option<[i16; FRAME]> {
        let rest = self.beep.samples().get(self.beeped..).filter(|rest| !rest.is_empty())?;
        let mut frame = [0; FRAME];
        frame.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.beeped += FRAME;
        Some(frame)
    }

    /// Whether the beep is still to come or sounds.
    pub(super) fn is_beeping(&self) -> bool {
        self.beeped < self.beep.samples().len()
    }

    /// Whether one of these digits ends it.
    pub(super) fn key(&self, mut pressed: impl Iterator<Item = char>) -> Option<Why> {
        pressed.find(|key| self.rules.end_keys.contains(*key)).map(Why::Key)
    }

    /// Takes what was heard in a frame, and the digits pressed in it; why it is over, if it is.
    pub(super) fn hear(
        &mut self,
        heard: &[i16; FRAME],
        pressed: impl Iterator<Item = char>,
        tape: &mut Reel,
    ) -> Option<Why> {
        let longest = samples(self.rules.max);
        let room = usize::try_from(longest.saturating_sub(self.recorded)).unwrap_or(FRAME).min(FRAME);
        tape.push(heard.get(..room).unwrap_or_default());
        self.recorded += room as u64;
        self.silent = if self.activity.is_speech(heard) { 0 } else { self.silent + FRAME as u64 };
        if let Some(why) = self.key(pressed) {
            return Some(why);
        }
        if self.recorded >= longest {
            return Some(Why::Max);
        }
        self.rules.end_silence.filter(|enough| self.silent >= samples(*enough)).map(|_| Why::Silence)
    }

    /// How long it is, in ms.
    pub(super) fn ms(&self) -> u64 {
        self.recorded / 8
    }
}

/// A time in samples, at least one.
fn samples(time: Duration) -> u64 {
    u64::try_from(time.as_micros() / 125).unwrap_or(u64::MAX).max(1)
}

/// What was recorded, until the driver takes it out.
#[derive(Default)]
pub(super) struct Reel {
    samples: Vec<i16>,
    lost: u64,
}

impl Reel {
    fn push(&mut self, samples: &[i16]) {
        if self.samples.len() + samples.len() > MAX {
            self.lost += samples.len() as u64;
            return;
        }
        self.samples.extend_from_slice(samples);
    }

    pub(super) fn samples(&self) -> &[i16] {
        &self.samples
    }

    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// Samples that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}
