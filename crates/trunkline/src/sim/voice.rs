//! The voices of callees: speech where it has been rendered, a tone of the same length until then.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use media::Clip;

use super::script::Sound;

/// What a character of a text takes: 900 a minute, as most people speak.
const MS_PER_CHARACTER: u32 = 60;
/// The tone that stands for speech: Hz and level.
const MURMUR: (f32, f32) = (880.0, 0.3);
/// Where the country of a tone of the network is not known.
const COUNTRY: &str = "US";
/// The level of tones.
const LEVEL: f32 = 0.3;
/// The longest sound made of a tone.
const LONGEST: Duration = Duration::from_secs(60);

/// Rendered texts.
#[derive(Default)]
pub struct Voices {
    texts: RwLock<HashMap<String, Clip>>,
}

impl Voices {
    /// Keeps how a text sounds.
    pub fn learn(&self, text: &str, clip: Clip) {
        self.texts.write().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned(), clip);
    }

    /// How a sound of a callee sounds, cut off after `limit`.
    pub(super) fn clip(&self, sound: &Sound, limit: Option<Duration>) -> Clip {
        let limit = limit.map(|limit| limit.min(LONGEST));
        match sound {
            Sound::Beep => media::tone::beep(),
            Sound::Tone(hz) => {
                let ms = limit.unwrap_or(Duration::from_secs(1)).as_millis() as u32;
                Clip::tone(*hz, ms, LEVEL)
            }
            Sound::Network(tone) => {
                let round = media::tones(COUNTRY, *tone);
                let samples = limit.unwrap_or(round.duration()).as_millis() as usize * 8;
                Clip::from_samples(round.samples().iter().copied().cycle().take(samples).collect())
            }
            Sound::Text(text) => {
                let known = self.texts.read().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
                known.unwrap_or_else(|| murmur(text))
            }
        }
    }
}

/// A tone as long as it takes to say a text.
pub fn murmur(text: &str) -> Clip {
    let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let ms = characters.saturating_mul(MS_PER_CHARACTER).min(LONGEST.as_millis() as u32 * 10);
    Clip::tone(MURMUR.0, ms, MURMUR.1)
}
