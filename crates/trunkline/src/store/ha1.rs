//! What is kept of a SIP password.

use std::fmt;

use sip::digest::Algorithm;
use sqlx::Row;
use sqlx::any::AnyRow;
use zeroize::Zeroizing;

use super::{MasterKey, StoreError};
use crate::secret::Secret;

/// H(username:realm:password) by MD5 and by SHA-256 (RFC 7616 section 3.4.2): opens what the password opens in this
/// realm, so it prints as `***` and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    md5: Zeroizing<[u8; 16]>,
    sha256: Zeroizing<[u8; 32]>,
}

impl Ha1 {
    pub(super) fn new(username: &str, realm: &str, password: &Secret) -> Result<Self, StoreError> {
        let hash = |algorithm: Algorithm| Secret::from(algorithm.ha1(username, realm, password.expose()));
        Self::read(&hash(Algorithm::Md5), &hash(Algorithm::Sha256))
    }

    fn read(md5: &Secret, sha256: &Secret) -> Result<Self, StoreError> {
        let mut ha1 = Self { md5: Zeroizing::default(), sha256: Zeroizing::default() };
        hex::decode_to_slice(md5.expose(), &mut *ha1.md5)
            .and_then(|()| hex::decode_to_slice(sha256.expose(), &mut *ha1.sha256))
            .map_err(|_| StoreError::Value { field: "ha1" })?;
        Ok(ha1)
    }

    /// The hash in lower-case hex, as a digest is computed from it; `None` for algorithms that are not kept.
    pub fn hex(&self, algorithm: Algorithm) -> Option<String> {
        match algorithm {
            Algorithm::Md5 | Algorithm::Md5Sess => Some(hex::encode(*self.md5)),
            Algorithm::Sha256 | Algorithm::Sha256Sess => Some(hex::encode(*self.sha256)),
            _ => None,
        }
    }

    /// Both, sealed for the fields `ha1_md5` and `ha1_sha256` of the row at `place` (`account/table/row`).
    pub(super) fn seal(&self, master: &MasterKey, place: &str) -> Result<(String, String), StoreError> {
        let seal = |plain: String, field| master.seal(&Secret::from(plain), &format!("{place}/{field}"));
        Ok((seal(hex::encode(*self.md5), "ha1_md5")?, seal(hex::encode(*self.sha256), "ha1_sha256")?))
    }

    /// What [`Ha1::seal`] made, from the columns of these names; `None` where they are NULL.
    pub(super) fn open(
        row: &AnyRow,
        [md5, sha256]: [&str; 2],
        master: &MasterKey,
        place: &str,
    ) -> Result<Option<Self>, StoreError> {
        let (md5, sha256): (Option<String>, Option<String>) = (row.try_get(md5)?, row.try_get(sha256)?);
        let Some((md5, sha256)) = md5.zip(sha256) else { return Ok(None) };
        let open = |sealed: &str, field| master.open(sealed, &format!("{place}/{field}"));
        Self::read(&open(&md5, "ha1_md5")?, &open(&sha256, "ha1_sha256")?).map(Some)
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
