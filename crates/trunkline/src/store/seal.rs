//! Sealing: what the database must not show is encrypted under one master key.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What every sealed text begins with; another scheme gets another number.
const VERSION: &str = "v1:";

/// Bytes of the nonce (NIST SP 800-38D section 5.2.1.1).
const NONCE: usize = 12;

/// The 32 bytes under which credentials are sealed (AES-256-GCM).
#[derive(Clone)]
pub struct MasterKey(Aes256Gcm);

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key's text is not a key.
    #[error("the master key must be 32 bytes in hex (64 digits) or base64 (44 characters)")]
    Key,
    /// The key's file cannot be read or written.
    #[error("the master key file {} cannot be used: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The key's file holds no key.
    #[error("the master key file {} must hold 32 bytes in hex or base64", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// Not sealed by this key, for this place, or by this version.
    #[error("sealed under another master key, or damaged")]
    Opened,
    /// The operating system has no randomness to give.
    #[error("the operating system gives no random bytes")]
    Random,
}

impl MasterKey {
    /// Reads 32 bytes in hex or base64 (with or without padding).
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let bytes = hex::decode(text).or_else(|_| STANDARD_NO_PAD.decode(text.trim_end_matches('=')));
        let bytes = Zeroizing::new(bytes.map_err(|_| SealError::Key)?);
        Aes256Gcm::new_from_slice(&bytes).map(Self).map_err(|_| SealError::Key)
    }

    /// The key `given` in the settings, else that of `file`, which is made (0600) if it is not there.
    pub fn load(given: Option<&Secret>, file: &Path) -> Result<Self, SealError> {
        if let Some(given) = given {
            return Self::parse(given.expose());
        }
        let failed = |error| SealError::File { path: file.into(), error };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                create(file)?;
                // Another process may have been first: what the file holds now is the key.
                std::fs::read_to_string(file).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        Self::parse(&Zeroizing::new(text)).map_err(|_| SealError::Content { path: file.into() })
    }

    /// Seals `plain` for one place, `account/table/row/field`; it opens nowhere else.
    pub fn seal(&self, plain: &Secret, associated: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: plain.expose().as_bytes(), aad: associated.as_bytes() };
        let sealed = self.0.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealError::Opened)?;
        Ok(format!("{VERSION}{}", STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// Opens what [`MasterKey::seal`] made for the same place.
    pub fn open(&self, sealed: &str, associated: &str) -> Result<Secret, SealError> {
        let body = sealed.strip_prefix(VERSION).ok_or(SealError::Opened)?;
        let body = STANDARD_NO_PAD.decode(body).map_err(|_| SealError::Opened)?;
        let (nonce, sealed) = body.split_first_chunk::<NONCE>().ok_or(SealError::Opened)?;
        let payload = Payload { msg: sealed, aad: associated.as_bytes() };
        let plain = self.0.decrypt(&Nonce::from(*nonce), payload).map_err(|_| SealError::Opened)?;
        String::from_utf8(plain).map(Secret::from).map_err(|_| SealError::Opened)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Makes the key file whole or not at all, readable by its owner only, never over an existing one.
fn create(file: &Path) -> Result<(), SealError> {
    let failed = |error| SealError::File { path: file.into(), error };
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(|_| SealError::Random)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    // A temporary file is born 0600.
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    writeln!(draft, "{}", *Zeroizing::new(hex::encode(*key))).map_err(failed)?;
    draft.as_file().sync_all().map_err(failed)?;
    match draft.persist_noclobber(file) {
        Ok(_) => Ok(()),
        Err(taken) if taken.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(other) => Err(failed(other.error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(digit: &str) -> MasterKey {
        MasterKey::parse(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn opens_only_under_its_key_and_in_its_place() {
        let plain = Secret::from("geheim ✓".to_owned());
        let sealed = key("1").seal(&plain, "0/trunks/a/password").unwrap();
        assert!(sealed.starts_with("v1:") && !sealed.contains("geheim"));
        assert_eq!(key("1").open(&sealed, "0/trunks/a/password").unwrap(), plain);
        assert!(key("2").open(&sealed, "0/trunks/a/password").is_err());
        assert!(key("1").open(&sealed, "1/trunks/a/password").is_err());
        assert!(key("1").open(&sealed[..sealed.len() - 2], "0/trunks/a/password").is_err());
        for broken in ["", "v1:", "v2:AAAA", "v1:AAAA", "plain", "v1:!!"] {
            assert!(key("1").open(broken, "x").is_err(), "{broken}");
        }
        assert_ne!(sealed, key("1").seal(&plain, "0/trunks/a/password").unwrap(), "the nonce is random");
    }

    #[test]
    fn a_key_is_read_in_hex_and_base64() {
        let bytes = [7; 32];
        let place = "a/b/c/d";
        let sealed =
            MasterKey::parse(&hex::encode(bytes)).unwrap().seal(&Secret::from("x".to_owned()), place);
        for text in [STANDARD_NO_PAD.encode(bytes), format!("{}=\n", STANDARD_NO_PAD.encode(bytes))] {
            assert_eq!(
                MasterKey::parse(&text).unwrap().open(sealed.as_ref().unwrap(), place).unwrap().expose(),
                "x"
            );
        }
        for text in ["", "abc", &"0".repeat(62), &"z".repeat(44)] {
            assert!(MasterKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_file_is_made_once_and_kept_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/master.key");
        let sealed = MasterKey::load(None, &file).unwrap().seal(&Secret::from("x".to_owned()), "p").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(MasterKey::load(None, &file).unwrap().open(&sealed, "p").is_ok());
        let given = Secret::from("5".repeat(64));
        assert!(
            MasterKey::load(Some(&given), &file).unwrap().open(&sealed, "p").is_err(),
            "the setting wins"
        );
        std::fs::write(&file, "nonsense").unwrap();
        assert!(matches!(MasterKey::load(None, &file), Err(SealError::Content { .. })));
        assert!(matches!(MasterKey::load(None, folder.path()), Err(SealError::File { .. })));
    }
}
