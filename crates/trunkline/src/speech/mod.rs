//! Text to speech: one [`Engine`] renders, what it rendered is kept by content and never rendered twice.

mod cache;
mod cloud;
mod google;
mod local;
mod openai;
mod sentences;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use media::{Clip, ClipError};
use sha2::{Digest, Sha256};

pub use google::Google;
pub use local::Local;
pub use openai::OpenAi;

use crate::config::{EngineChoice, SpeechConfig};
use crate::refused::Refused;
use cache::Cache;

/// Bytes of one text.
pub const LONGEST_TEXT: usize = 5000;

/// What a text of that size may last when spoken slowly.
const LONGEST_CLIP: Duration = Duration::from_secs(30 * 60);

/// One text to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// 1 to 5000 bytes, without control characters but line ends and tabs.
    pub text: String,
    /// A voice of the engine, or its own choice; letters, digits and `._+-`.
    pub voice: Option<String>,
    /// Language tag (BCP 47).
    pub language: String,
}

impl Utterance {
    /// Whether it is English, which not every engine goes beyond.
    pub fn is_english(&self) -> bool {
        self.language.split('-').next().is_some_and(|language| language.eq_ignore_ascii_case("en"))
    }
}

/// What an engine promises: a WAV or MP3 file.
pub type Rendering<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SpeechError>> + Send + 'a>>;

/// A text-to-speech engine.
pub trait Engine: Send + Sync {
    /// What it is, with everything but the utterance that changes its sound: `google`, `openai tts-1`.
    fn name(&self) -> String;

    /// Renders one utterance to a WAV or MP3 file.
    fn render<'a>(&'a self, utterance: &'a Utterance) -> Rendering<'a>;
}

/// Why an engine did not speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpeechError {
    /// It is not installed or not set up.
    #[error("text to speech is not available: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// How to get it.
        hint: String,
    },
    /// It does not speak that.
    #[error("{0}")]
    Unsuitable(String),
    /// It tried and failed.
    #[error("text to speech failed: {reason}")]
    Failed {
        /// What it said.
        reason: String,
        /// What to try.
        hint: Option<&'static str>,
    },
}

impl From<SpeechError> for Refused {
    fn from(error: SpeechError) -> Self {
        let message = error.to_string();
        match error {
            SpeechError::Unavailable { hint, .. } => Refused::new(503, "tts_unavailable", message).hint(hint),
            SpeechError::Unsuitable(_) => Refused::bad("tts_unsuitable", message),
            SpeechError::Failed { hint: Some(hint), .. } => {
                Refused::new(502, "tts_failed", message).hint(hint)
            }
            SpeechError::Failed { hint: None, .. } => Refused::new(502, "tts_failed", message),
        }
    }
}

/// A text, spoken.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// The audio.
    pub clip: Clip,
    /// Its file's name in the cache folder.
    pub file: String,
}

/// What everyone who asked for the same text waits for.
type Pending = Shared<BoxFuture<'static, Result<Clip, Refused>>>;

/// Speaks texts. Clones share the engine, the cache and what is being rendered.
#[derive(Clone)]
pub struct Speech(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    cache: Cache,
    voice: Option<String>,
    language: String,
    pending: Mutex<HashMap<String, Pending>>,
}

impl Speech {
    /// Speech by the engine that `config` chooses, cached in `cache_dir`.
    pub fn new(config: &SpeechConfig, cache_dir: PathBuf) -> Self {
        let engine: Arc<dyn Engine> = match config.engine {
            EngineChoice::Google => Arc::new(Google::new(config)),
            EngineChoice::Auto if config.google_api_key.is_some() => Arc::new(Google::new(config)),
            EngineChoice::Openai => Arc::new(OpenAi::new(config)),
            EngineChoice::Auto => Arc::new(Local::any()),
            EngineChoice::Flite => Arc::new(Local::flite()),
            EngineChoice::Espeak => Arc::new(Local::espeak()),
        };
        Self::with_engine(engine, config, cache_dir)
    }

    /// Speech by any engine; voice and language are those of `config` where a text has none.
    pub fn with_engine(engine: Arc<dyn Engine>, config: &SpeechConfig, cache_dir: PathBuf) -> Self {
        let (voice, language) = (config.voice.clone(), config.language.clone());
        let (cache, pending) = (Cache::new(cache_dir), Mutex::default());
        Self(Arc::new(Inner { engine, cache, voice, language, pending }))
    }

    /// Speaks `text` (1 to 5000 bytes) with a voice and in a language, or those of the settings. Those who ask for the
    /// same at once wait for one rendering.
    pub async fn say(
        &self,
        text: &str,
        voice: Option<&str>,
        language: Option<&str>,
    ) -> Result<Spoken, Refused> {
        let utterance = self.utterance(text, voice, language)?;
        let file = file_name(&self.0.engine.name(), &utterance);
        let pending = {
            let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.entry(file.clone()).or_insert_with(|| self.start(file.clone(), utterance)).clone()
        };
        Ok(Spoken { clip: pending.await?, file })
    }

    /// A task of its own: whoever asked may go away, others may be waiting.
    fn start(&self, file: String, utterance: Utterance) -> Pending {
        let speech = self.clone();
        let task = tokio::spawn(async move {
            let rendered = match speech.0.cache.get(&file).await {
                Some(clip) => Ok(clip),
                None => speech.render(&file, &utterance).await,
            };
            speech.0.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
            rendered
        });
        let lost = |_| Err(Refused::new(502, "tts_failed", "Text to speech failed within the server."));
        task.map(move |done| done.unwrap_or_else(lost)).boxed().shared()
    }

    async fn render(&self, file: &str, utterance: &Utterance) -> Result<Clip, Refused> {
        let started = std::time::Instant::now();
        let bytes = self.0.engine.render(utterance).await?;
        let decoded = tokio::task::spawn_blocking(move || Clip::decode(bytes, LONGEST_CLIP)).await;
        let clip = match decoded {
            Ok(Ok(clip)) => clip,
            Ok(Err(ClipError::Empty)) => {
                return Err(Refused::bad("invalid_text", "There is nothing in the text that can be spoken."));
            }
            Ok(Err(error)) => {
                return Err(SpeechError::Failed { reason: error.to_string(), hint: None }.into());
            }
            Err(_) => {
                return Err(Refused::new(502, "tts_failed", "Text to speech failed within the server."));
            }
        };
        self.0.cache.put(file, &clip).await;
        let (ms, engine) = (started.elapsed().as_millis() as u64, self.0.engine.name());
        tracing::debug!(engine, bytes = utterance.text.len(), ms, "rendered a text");
        Ok(clip)
    }

    fn utterance(
        &self,
        text: &str,
        voice: Option<&str>,
        language: Option<&str>,
    ) -> Result<Utterance, Refused> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Refused::bad("invalid_text", "The text is empty.").hint("Say what is to be spoken."));
        }
        if text.len() > LONGEST_TEXT {
            let message =
                format!("The text has {} bytes; at most {LONGEST_TEXT} can be spoken at once.", text.len());
            return Err(Refused::bad("invalid_text", message));
        }
        if let Some(control) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            let message = format!("The text holds the control character U+{:04X}.", u32::from(control));
            return Err(Refused::bad("invalid_text", message));
        }
        let language = language.unwrap_or(&self.0.language);
        if !language_tag(language) {
            let message = format!("{language:?} is no language tag.");
            return Err(Refused::bad("invalid_language", message).hint("Write it as in en-US or de."));
        }
        // The settings' voice speaks the settings' language; it would be wrong in another one.
        let usual = || self.0.voice.as_deref().filter(|_| language.eq_ignore_ascii_case(&self.0.language));
        let voice = voice.or_else(usual);
        if let Some(voice) = voice.filter(|voice| !voice_name(voice)) {
            let message = format!("{voice:?} is no name of a voice.");
            return Err(Refused::bad("invalid_voice", message).hint(
                "A voice is named with up to 64 letters, digits, dots, hyphens, plus signs or underscores.",
            ));
        }
        Ok(Utterance { text: text.into(), voice: voice.map(str::to_owned), language: language.into() })
    }
}

/// The cache's name of an utterance: the same for the same content, and telling nothing of it.
fn file_name(engine: &str, utterance: &Utterance) -> String {
    let voice = utterance.voice.as_deref().unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [engine, voice, &utterance.language, &utterance.text] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("tts_{}.wav", hex::encode(hash.finalize()).get(..32).unwrap_or_default())
}

/// Voices become arguments of programs and parts of requests: nothing in them may be read as something else.
fn voice_name(voice: &str) -> bool {
    (1..=64).contains(&voice.len())
        && voice.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        && voice.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Whether this looks like a language tag (RFC 5646): parts of 1 to 8 letters and digits, the first of letters.
pub fn language_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=8).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        && text.len() <= 35
}
