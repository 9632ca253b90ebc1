//! Text to speech.

use std::path::PathBuf;

use crate::config::SpeechConfig;
use crate::refused::Refused;

/// Speaks texts.
#[derive(Clone)]
pub struct Speech {
    config: SpeechConfig,
    cache: PathBuf,
}

/// A text, spoken.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// The audio.
    pub clip: media::Clip,
    /// Its file's name in the cache folder.
    pub file: String,
}

impl Speech {
    /// Speech as `config` says, cached in `cache_dir`.
    pub fn new(config: &SpeechConfig, cache_dir: PathBuf) -> Self {
        Self { config: config.clone(), cache: cache_dir }
    }

    /// Speaks `text` (1 to 5000 bytes) with a voice and in a language, or those of the settings.
    pub async fn say(
        &self,
        text: &str,
        voice: Option<&str>,
        language: Option<&str>,
    ) -> Result<Spoken, Refused> {
        let _ = (text, voice, language, &self.config, &self.cache);
        Err(Refused::new(503, "tts_unavailable", "Not yet."))
    }
}

/// Whether this looks like a language tag (RFC 5646): letters and digits in parts of 1 to 8, the first of letters.
pub fn language_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=8).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        && text.len() <= 35
}
