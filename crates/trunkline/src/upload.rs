//! Audio files that callers upload, below `<data>/uploads`.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use media::Clip;

use crate::refused::Refused;
use crate::store::make_folder;
use crate::time::now_ms;

/// Bytes of one file.
pub const LARGEST: usize = 10 * 1024 * 1024;

/// How long a file may play.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Samples kept decoded, so that a file played to many is decoded once: 64 MiB.
const REMEMBERED: usize = 32 * 1024 * 1024;

/// Files worked on at once.
static TURNS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

const FOLDER: &str = "uploads/";

/// The sample upload that document 0's examples name.
const SAMPLE: (&str, &[u8]) = ("audio_1640995200000.mp3", include_bytes!("../assets/sample.mp3"));

/// The upload folder. Clones share what is decoded.
#[derive(Clone)]
pub struct Uploads {
    folder: PathBuf,
    decoded: Arc<Mutex<VecDeque<Decoded>>>,
}

/// A file as it was when it was decoded.
struct Decoded {
    path: PathBuf,
    modified: Option<SystemTime>,
    bytes: u64,
    clip: Clip,
}

impl Uploads {
    /// Uploads kept in `folder`, which is made when it is first needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, decoded: Arc::default() }
    }

    /// Keeps a sound file of at most 10 MiB; answers its name, `uploads/audio_<ms>.` and `wav`, `mp3`, `flac` or `ogg`.
    pub async fn store(&self, bytes: Vec<u8>) -> Result<String, Refused> {
        let folder = self.folder.clone();
        blocking(move || {
            check_size(bytes.len() as u64)?;
            decode(bytes.clone())?;
            let extension = Clip::extension(&bytes).unwrap_or("wav");
            write(&folder, &bytes, extension).map_err(|error| {
                tracing::error!(%error, folder = %folder.display(), "an upload cannot be kept");
                Refused::new(500, "upload_failed", "The file could not be stored.")
                    .hint("The server's log says why.")
            })
        })
        .await
    }

    /// Decodes an uploaded file, named `uploads/x.mp3` or `x.mp3`.
    pub async fn load(&self, name: &str) -> Result<Clip, Refused> {
        let (uploads, name) = (self.clone(), name.to_owned());
        blocking(move || uploads.read(&name)).await
    }

    /// Puts the documents' sample upload there, `uploads/audio_1640995200000.mp3`, unless it is.
    pub fn seed_demo(&self) -> std::io::Result<()> {
        let (name, bytes) = SAMPLE;
        make_folder(&self.folder)?;
        let mut draft = tempfile::NamedTempFile::new_in(&self.folder)?;
        draft.write_all(bytes)?;
        match draft.persist_noclobber(self.folder.join(name)) {
            Err(taken) if taken.error.kind() != ErrorKind::AlreadyExists => Err(taken.error),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Clip, Refused> {
        let shown: String = name.chars().take(100).collect();
        let bare = name.strip_prefix(FOLDER).unwrap_or(name);
        let plain = (1..=200).contains(&bare.len())
            && !bare.starts_with('.')
            && !bare.chars().any(|c| matches!(c, '/' | '\\') || c.is_control());
        if !plain {
            let message = format!("{shown:?} is not the name of an uploaded file.");
            return Err(Refused::bad("audio_file_invalid", message)
                .hint("Upload the file first; the answer holds the name to use, such as uploads/audio_1640995200000.mp3."));
        }
        let missing = || {
            Refused::bad("audio_file_not_found", format!("There is no uploaded file {shown:?}."))
                .hint("Upload it first; the answer holds the name to use.")
        };
        let path = self.folder.join(bare).canonicalize().map_err(|_| missing())?;
        let inside = self.folder.canonicalize().is_ok_and(|folder| path.parent() == Some(&folder));
        if !inside {
            let message = format!("{shown:?} leads out of the upload folder.");
            return Err(Refused::bad("audio_file_invalid", message));
        }
        let file = std::fs::File::open(&path).map_err(|_| missing())?;
        let about = file.metadata().map_err(|_| missing())?;
        if !about.is_file() {
            return Err(Refused::bad("audio_file_invalid", format!("{shown:?} is not a file.")));
        }
        let (modified, bytes) = (about.modified().ok(), about.len());
        if let Some(clip) = self.remembered(&path, modified, bytes) {
            return Ok(clip);
        }
        check_size(bytes)?;
        let mut content = Vec::with_capacity(bytes as usize);
        file.take(LARGEST as u64).read_to_end(&mut content).map_err(|_| missing())?;
        let clip = decode(content)?;
        self.remember(Decoded { path, modified, bytes, clip: clip.clone() });
        Ok(clip)
    }

    fn remembered(&self, path: &Path, modified: Option<SystemTime>, bytes: u64) -> Option<Clip> {
        let decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &&Decoded| one.path == path && one.modified == modified && one.bytes == bytes;
        decoded.iter().find(same).filter(|one| one.modified.is_some()).map(|one| one.clip.clone())
    }

    fn remember(&self, new: Decoded) {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        decoded.retain(|one| one.path != new.path);
        decoded.push_back(new);
        let mut samples: usize = decoded.iter().map(|one| one.clip.samples().len()).sum();
        while samples > REMEMBERED
            && let Some(oldest) = decoded.pop_front()
        {
            samples -= oldest.clip.samples().len();
        }
    }
}

/// Writes the file whole or not at all, under a name of its own.
fn write(folder: &Path, bytes: &[u8], extension: &str) -> std::io::Result<String> {
    make_folder(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(bytes)?;
    let mut ms = now_ms();
    loop {
        let name = format!("audio_{ms}.{extension}");
        match draft.persist_noclobber(folder.join(&name)) {
            Ok(_) => return Ok(format!("{FOLDER}{name}")),
            Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => draft = taken.file,
            Err(other) => return Err(other.error),
        }
        ms += 1;
    }
}

fn check_size(bytes: u64) -> Result<(), Refused> {
    if bytes <= LARGEST as u64 {
        return Ok(());
    }
    let message = format!("The audio file has {bytes} bytes; at most {LARGEST} (10 MiB) are taken.");
    Err(Refused::bad("audio_file_invalid", message).hint("Send it as MP3, or a shorter one."))
}

fn decode(bytes: Vec<u8>) -> Result<Clip, Refused> {
    Clip::decode(bytes, LONGEST).map_err(|error| {
        let mut message = error.to_string();
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Refused::bad("audio_file_invalid", format!("{message}."))
    })
}

/// Off the request threads, a few at a time: decoding is work, and a file may be large.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let _turn = TURNS.acquire().await;
    let lost = |_| Refused::new(500, "upload_failed", "The file could not be worked on.");
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(lost(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads() -> (tempfile::TempDir, Uploads) {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(folder.path().join("uploads"));
        (folder, uploads)
    }

    async fn refusal(uploads: &Uploads, name: &str) -> &'static str {
        let refused = uploads.load(name).await.unwrap_err();
        assert_eq!(refused.status, 400, "{name}");
        refused.code
    }

    #[tokio::test]
    async fn what_was_stored_can_be_played() {
        let (_folder, uploads) = uploads();
        let tone = Clip::tone(440.0, 200, 0.5);
        let names = tokio::join!(uploads.store(tone.to_wav()), uploads.store(tone.to_wav()));
        let (one, two) = (names.0.unwrap(), names.1.unwrap());
        assert_ne!(one, two);
        for name in [&one, &two] {
            assert!(name.starts_with("uploads/audio_") && name.ends_with(".wav"), "{name}");
            assert_eq!(uploads.load(name).await.unwrap(), tone);
        }
        let bare = one.strip_prefix(FOLDER).unwrap();
        assert_eq!(uploads.load(bare).await.unwrap(), tone);
        // A file that changed is decoded anew.
        let other = Clip::tone(880.0, 300, 0.5);
        std::fs::write(uploads.folder.join(bare), other.to_wav()).unwrap();
        assert_eq!(uploads.load(bare).await.unwrap(), other);
    }

    #[tokio::test]
    async fn the_sample_is_there_to_be_played() {
        let (_folder, uploads) = uploads();
        uploads.seed_demo().unwrap();
        uploads.seed_demo().unwrap();
        let clip = uploads.load("uploads/audio_1640995200000.mp3").await.unwrap();
        assert!(clip.duration() > Duration::from_secs(2), "{:?}", clip.duration());
        let stored = uploads.store(SAMPLE.1.to_vec()).await.unwrap();
        assert!(stored.ends_with(".mp3"), "{stored}");
    }

    #[tokio::test]
    async fn what_is_no_audio_is_refused() {
        let (_folder, uploads) = uploads();
        let empty = Clip::from_samples(Vec::new()).to_wav();
        for bytes in [Vec::new(), b"hello".to_vec(), vec![0; 5000], b"RIFF\0\0\0\0WAVE".to_vec(), empty] {
            let refused = uploads.store(bytes).await.unwrap_err();
            assert_eq!((refused.status, refused.code), (400, "audio_file_invalid"), "{}", refused.message);
        }
        let refused = uploads.store(vec![0; LARGEST + 1]).await.unwrap_err();
        assert_eq!(refused.code, "audio_file_invalid");
        assert!(refused.message.contains("10 MiB"), "{}", refused.message);
        assert!(!uploads.folder.exists() || std::fs::read_dir(&uploads.folder).unwrap().count() == 0);
    }

    #[tokio::test]
    async fn nothing_outside_the_folder_is_read() {
        let (folder, uploads) = uploads();
        uploads.seed_demo().unwrap();
        let tone = Clip::tone(440.0, 100, 0.5).to_wav();
        std::fs::write(folder.path().join("secret.wav"), &tone).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.wav"), uploads.folder.join("link.wav"))
            .unwrap();
        std::fs::create_dir(uploads.folder.join("folder.wav")).unwrap();
        std::fs::write(uploads.folder.join("text.mp3"), "text").unwrap();
        let absolute = folder.path().join("secret.wav").display().to_string();
        let table = [
            ("../secret.wav", "audio_file_invalid"),
            ("uploads/../secret.wav", "audio_file_invalid"),
            ("uploads/../../secret.wav", "audio_file_invalid"),
            ("path/to/audio.mp3", "audio_file_invalid"),
            ("..\\secret.wav", "audio_file_invalid"),
            (&absolute, "audio_file_invalid"),
            ("", "audio_file_invalid"),
            ("uploads/", "audio_file_invalid"),
            (".", "audio_file_invalid"),
            ("a\0b.wav", "audio_file_invalid"),
            ("a\nb.wav", "audio_file_invalid"),
            ("link.wav", "audio_file_invalid"),
            ("folder.wav", "audio_file_invalid"),
            ("text.mp3", "audio_file_invalid"),
            ("missing.mp3", "audio_file_not_found"),
            ("..%2fsecret.wav", "audio_file_invalid"),
        ];
        for (name, code) in table {
            assert_eq!(refusal(&uploads, name).await, code, "{name}");
        }
        assert_eq!(refusal(&uploads, &"x".repeat(10_000)).await, "audio_file_invalid");
    }
}
