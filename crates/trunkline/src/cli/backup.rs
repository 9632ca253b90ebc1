//! `trunkline backup` and `trunkline restore`: a folder with everything that is needed to go on elsewhere.

use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::say;
use crate::config::Config;
use crate::store::{MasterKey, Store, StoreError, copy_database, make_folder};

/// The database's name in a backup.
const DATABASE: &str = "trunkline.db";
const MASTER_KEY: &str = "master.key";

/// What to back up.
#[derive(Args)]
pub(super) struct Backup {
    /// A new folder to make
    folder: PathBuf,
    /// Take the recordings along
    #[arg(long)]
    recordings: bool,
    /// Leave the uploaded audio out
    #[arg(long)]
    no_uploads: bool,
    /// Take the master key along: who has it and the backup has your carriers' passwords
    #[arg(long)]
    master_key: bool,
}

/// What to restore.
#[derive(Args)]
pub(super) struct Restore {
    /// The folder that `trunkline backup` made
    folder: PathBuf,
}

/// Works beside a running server as well as without one.
pub(super) async fn backup(config: &Config, what: Backup) -> Result<ExitCode> {
    let folder = &what.folder;
    if !config.data_dir.is_dir() {
        bail!("data_dir: there is no folder {}", config.data_dir.display());
    }
    match std::fs::symlink_metadata(folder) {
        Ok(_) => bail!("{} is there already; name a folder to be made", folder.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be used", folder.display())),
    }
    let file = database_file(config)?;
    if file.as_ref().is_some_and(|file| !file.exists()) {
        bail!("there is no database yet: {}", config.database_url());
    }
    make_folder(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // The files first: a call that ends meanwhile has its recording in no backup rather than half of one.
    if !what.no_uploads {
        let count = copy_folder(&config.data_dir.join("uploads"), &folder.join("uploads"))?;
        say(&format!("uploads: {count} files"));
    }
    match copy_database(&config.database_url(), &folder.join(DATABASE)).await? {
        Some(()) => say(&format!("database: {}", folder.join(DATABASE).display())),
        None => say(
            "database: PostgreSQL is not copied here; run pg_dump for it, and keep its dump beside this folder",
        ),
    }
    if what.recordings {
        let count = copy_folder(&config.data_dir.join("recordings"), &folder.join("recordings"))?;
        say(&format!("recordings: {count} files"));
    }
    if !what.master_key {
        eprintln!(
            "The master key is NOT in this backup, and without it the stored passwords cannot be read.\n\
             Keep a copy of it in another place: {}",
            match &config.master_key {
                Some(_) => "it is given in master_key (TRUNKLINE_MASTER_KEY)".to_owned(),
                None => config.master_key_file().display().to_string(),
            }
        );
        return Ok(ExitCode::SUCCESS);
    }
    match &config.master_key {
        Some(key) => write_private(&folder.join(MASTER_KEY), key.expose().as_bytes())?,
        None => {
            let file = config.master_key_file();
            let key = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            write_private(&folder.join(MASTER_KEY), &zeroize::Zeroizing::new(key))?;
        }
    }
    eprintln!("The master key is in this backup: whoever reads it can read your carriers' passwords.");
    Ok(ExitCode::SUCCESS)
}

/// Only into a data folder without a database, and only under the master key of the backup.
pub(super) async fn restore(config: &Config, what: Restore) -> Result<ExitCode> {
    let folder = &what.folder;
    let copy = folder.join(DATABASE);
    let target = database_file(config)?;
    if let Some(target) = &target {
        if !copy.is_file() {
            bail!("{} is no backup: it has no {DATABASE}", folder.display());
        }
        for taken in ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", target.display()))) {
            if taken.exists() {
                bail!(
                    "{} is there already and is not overwritten; stop the server and move it away, or set another \
                     data_dir",
                    taken.display()
                );
            }
        }
    }
    let key_file = config.master_key_file();
    let own = folder.join(MASTER_KEY);
    let (key, brought) = match (&config.master_key, key_file.exists(), own.is_file()) {
        (Some(key), _, _) => (MasterKey::parse(key.expose())?, false),
        (None, true, _) => (MasterKey::load(None, &key_file)?, false),
        (None, false, true) => (MasterKey::load(None, &own)?, true),
        (None, false, false) => bail!(
            "the backup has no master key, and there is none in {}: put the one of that time there, or give it in \
             master_key (TRUNKLINE_MASTER_KEY)",
            key_file.display()
        ),
    };
    if target.is_some() {
        let url = format!("sqlite://{}", std::path::absolute(&copy)?.display());
        match Store::fits(&url, &key).await {
            Err(StoreError::MasterKey) => bail!(
                "the master key does not fit this backup: its passwords were sealed under another one; nothing was \
                 restored"
            ),
            fits => fits.with_context(|| format!("{} cannot be read", copy.display()))?,
        }
    }
    make_folder(&config.data_dir).with_context(|| format!("data_dir: {}", config.data_dir.display()))?;
    for part in ["uploads", "recordings"] {
        let count = copy_folder(&folder.join(part), &config.data_dir.join(part))?;
        say(&format!("{part}: {count} files"));
    }
    if brought {
        let key = zeroize::Zeroizing::new(std::fs::read(&own)?);
        write_private(&key_file, &key)?;
        say(&format!("master key: {}", key_file.display()));
    }
    match target {
        Some(target) => {
            if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                make_folder(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
            }
            // Whole or not at all: a server that starts too early finds no half of a database.
            let draft = PathBuf::from(format!("{}.restored", target.display()));
            std::fs::copy(&copy, &draft).with_context(|| format!("{} cannot be written", draft.display()))?;
            std::fs::rename(&draft, &target)?;
            say(&format!("database: {}", target.display()));
        }
        None => say("database: PostgreSQL is not restored here; run pg_restore or psql with its dump"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of a SQLite database; `None` for PostgreSQL.
fn database_file(config: &Config) -> Result<Option<PathBuf>> {
    let url = config.database_url();
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Ok(Some(PathBuf::from(path)))
}

/// Copies the files of a folder, none of them over another; answers how many. A folder that is not there has none.
fn copy_folder(from: &Path, to: &Path) -> Result<usize> {
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", from.display())),
    };
    make_folder(to).with_context(|| format!("{} cannot be made", to.display()))?;
    let mut count = 0;
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let target = to.join(entry.file_name());
        if target.exists() {
            continue;
        }
        match std::fs::copy(entry.path(), &target) {
            Ok(_) => count += 1,
            // Removed in the meantime by the server.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be copied", entry.path().display()));
            }
        }
    }
    Ok(count)
}

/// A new file that only its owner can read.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(content)?;
    file.sync_all().with_context(|| format!("{} cannot be written", path.display()))
}
