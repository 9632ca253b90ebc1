//! Rendered texts as files, the least recently used going first.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use media::Clip;

use super::LONGEST_CLIP;

/// Bytes kept.
const MOST: u64 = 512 * 1024 * 1024;

/// A folder of WAV files.
#[derive(Clone)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Bytes in it; counted when the first file is put there.
    size: Arc<AtomicU64>,
    most: u64,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self::of(folder, MOST)
    }

    pub(super) fn of(folder: PathBuf, most: u64) -> Self {
        Self { folder, size: Arc::new(AtomicU64::new(u64::MAX)), most }
    }

    /// The clip of that name, if it is there and whole.
    pub(super) async fn get(&self, file: &str) -> Option<Clip> {
        let path = self.folder.join(file);
        tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(&path).ok()?;
            // Being used makes it young again; where that fails it merely goes sooner.
            let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            Clip::decode(bytes, LONGEST_CLIP).ok()
        })
        .await
        .ok()?
    }

    /// Keeps a clip. Failing to is no reason not to speak.
    pub(super) async fn put(&self, file: &str, clip: &Clip) {
        let (cache, path, clip) = (self.clone(), self.folder.join(file), clip.clone());
        let written = tokio::task::spawn_blocking(move || {
            let wav = clip.to_wav();
            cache.write(&path, &wav)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, folder = %self.folder.display(), "a rendered text cannot be kept");
        }
    }

    fn write(&self, path: &Path, wav: &[u8]) -> std::io::Result<()> {
        crate::store::make_folder(&self.folder)?;
        let mut draft = tempfile::NamedTempFile::new_in(&self.folder)?;
        draft.write_all(wav)?;
        draft.persist(path)?;
        let added = wav.len() as u64;
        let counted =
            self.size.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |size| size.checked_add(added));
        if counted.map_or(true, |before| before + added > self.most) {
            self.size.store(self.shrink()?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes the oldest until there is room; answers how much is left.
    fn shrink(&self) -> std::io::Result<u64> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with("tts_"));
            // A file that went away in the meantime needs no room.
            if let Ok(about) = entry.metadata()
                && ours
                && about.is_file()
            {
                files.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), entry.path()));
            }
        }
        files.sort();
        let mut size: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if size <= self.most {
                break;
            }
            std::fs::remove_file(path)?;
            size -= bytes;
        }
        Ok(size)
    }
}
