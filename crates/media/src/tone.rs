//! Tones: to make them, and to tell which is heard.

/// The dominant tone: its frequency in Hz and its amplitude, 0 to 1 of full scale.
pub fn frequency(_samples: &[i16]) -> Option<(f32, f32)> {
    todo!()
}

/// The power of one frequency; a sine of full scale has 1.
pub fn power(_samples: &[i16], _hz: f32) -> f32 {
    todo!()
}

/// Root mean square, 0 to 1 of full scale.
pub fn rms(_samples: &[i16]) -> f32 {
    todo!()
}

/// A sine of `hz` for `ms`, with amplitude `level` (0 to 1 of full scale).
pub fn sine(_hz: f32, _ms: u32, _level: f32) -> Vec<i16> {
    todo!()
}
