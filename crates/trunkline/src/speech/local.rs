//! Engines that work offline: flite and espeak-ng, as programs of their own.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Semaphore;

use super::{Engine, Rendering, SpeechError, Utterance};

/// How long a program may take for any text.
const PATIENCE: Duration = Duration::from_secs(10);

/// And for each byte of it: flite needs 1.1 ms of a core of its own.
const PATIENCE_PER_BYTE: Duration = Duration::from_millis(5);

/// Programs at once: they use a whole core each.
const AT_ONCE: usize = 2;

const INSTALL: &str = "Install it: apt-get install flite espeak-ng (or set up another engine in [speech]).";

/// flite for English, espeak-ng for everything else and where flite is missing, or one of them alone.
pub struct Local {
    flite: Option<PathBuf>,
    espeak: Option<PathBuf>,
    room: Semaphore,
}

impl Local {
    /// Whichever suits the language.
    pub fn any() -> Self {
        Self::of(Some("flite".into()), Some("espeak-ng".into()))
    }

    /// flite alone: English.
    pub fn flite() -> Self {
        Self::of(Some("flite".into()), None)
    }

    /// espeak-ng alone.
    pub fn espeak() -> Self {
        Self::of(None, Some("espeak-ng".into()))
    }

    pub(super) fn of(flite: Option<PathBuf>, espeak: Option<PathBuf>) -> Self {
        Self { flite, espeak, room: Semaphore::new(AT_ONCE) }
    }

    async fn speak(&self, utterance: &Utterance) -> Result<Vec<u8>, SpeechError> {
        let _room = self.room.acquire().await;
        match (&self.flite, &self.espeak) {
            (Some(flite), espeak) if utterance.is_english() => {
                match (flite_speaks(flite, utterance).await, espeak) {
                    // A voice that was asked for is not replaced by another.
                    (Err(SpeechError::Unavailable { .. }), Some(espeak)) if utterance.voice.is_none() => {
                        espeak_speaks(espeak, utterance).await
                    }
                    (spoken, _) => spoken,
                }
            }
            (_, Some(espeak)) => espeak_speaks(espeak, utterance).await,
            (_, None) => {
                let message =
                    format!("flite speaks English only, not {:?}; use espeak-ng.", utterance.language);
                Err(SpeechError::Unsuitable(message))
            }
        }
    }
}

impl Engine for Local {
    fn name(&self) -> String {
        match (&self.flite, &self.espeak) {
            (Some(_), None) => "flite",
            (None, Some(_)) => "espeak-ng",
            _ => "local",
        }
        .into()
    }

    fn render<'a>(&'a self, utterance: &'a Utterance) -> Rendering<'a> {
        Box::pin(self.speak(utterance))
    }
}

async fn flite_speaks(program: &Path, utterance: &Utterance) -> Result<Vec<u8>, SpeechError> {
    // flite takes a voice for a file's name where it knows none of that name.
    const VOICES: [&str; 6] = ["slt", "rms", "awb", "kal", "kal16", "awb_time"];
    let voice = utterance.voice.as_deref().unwrap_or("slt");
    if !VOICES.contains(&voice) {
        return Err(no_voice("flite", voice, &format!("It has {}.", VOICES.join(", "))));
    }
    let run = Run { program, voice: ("-voice", voice), output: "-o" };
    run.speak(&utterance.text).await?.ok_or_else(|| failed("flite wrote no sound"))
}

async fn espeak_speaks(program: &Path, utterance: &Utterance) -> Result<Vec<u8>, SpeechError> {
    let language = utterance.language.to_ascii_lowercase();
    let primary = language.split('-').next().unwrap_or_default();
    let candidates = match &utterance.voice {
        Some(voice) => vec![voice.as_str()],
        None if primary == language => vec![primary],
        // Regions that it does not know are spoken as the language itself.
        None => vec![&*language, primary],
    };
    for voice in &candidates {
        let run = Run { program, voice: ("-v", voice), output: "-w" };
        if let Some(wav) = run.speak(&utterance.text).await? {
            return Ok(wav);
        }
    }
    let voice = candidates.first().copied().unwrap_or_default();
    Err(no_voice("espeak-ng", voice, "espeak-ng --voices lists what it has."))
}

/// One run of a program that reads a text file and writes a WAV file.
struct Run<'a> {
    program: &'a Path,
    voice: (&'static str, &'a str),
    output: &'static str,
}

impl Run<'_> {
    /// The WAV file; `None` if the program does not know the voice.
    async fn speak(&self, text: &str) -> Result<Option<Vec<u8>>, SpeechError> {
        let name = self.program.file_name().unwrap_or(OsStr::new("engine")).to_string_lossy().into_owned();
        let broken = |error: std::io::Error| failed(format!("{name}: {error}"));
        let folder = tempfile::tempdir().map_err(broken)?;
        let (input, output) = (folder.path().join("text"), folder.path().join("speech.wav"));
        let mut file = std::fs::File::create(&input).map_err(broken)?;
        writeln!(file, "{text}").map_err(broken)?;
        let mut command = Command::new(self.program);
        command.arg(self.voice.0).arg(self.voice.1).arg("-f").arg(&input).arg(self.output).arg(&output);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let patience = PATIENCE + PATIENCE_PER_BYTE * u32::try_from(text.len()).unwrap_or(u32::MAX);
        let done = match tokio::time::timeout(patience, command.output()).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                let reason = format!("the program {} cannot be run.", self.program.display());
                return Err(SpeechError::Unavailable { reason, hint: INSTALL.into() });
            }
            Ok(Err(error)) => return Err(broken(error)),
            Err(_) => return Err(failed(format!("{name} took longer than {} s", patience.as_secs()))),
        };
        let said = String::from_utf8_lossy(&done.stderr);
        if said.contains("voice does not exist") {
            return Ok(None);
        }
        if !done.status.success() {
            let said: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
            return Err(failed(format!("{name} ended with {}: {said}", done.status)));
        }
        std::fs::read(&output).map(Some).map_err(broken)
    }
}

fn failed(reason: impl Into<String>) -> SpeechError {
    SpeechError::Failed { reason: reason.into(), hint: None }
}

fn no_voice(engine: &str, voice: &str, hint: &str) -> SpeechError {
    SpeechError::Unsuitable(format!("{engine} has no voice {voice:?}. {hint}"))
}
