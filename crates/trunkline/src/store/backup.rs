//! A copy of the database while it is in use, and the proof that a copy is one.

use std::path::Path;

use sqlx::{AnyConnection, ConnectOptions, Connection};

use super::{MasterKey, StoreError, address, setup};

/// Writes a consistent copy of the SQLite database at `url` into the new file `target`, while it is written to by
/// whoever has it open. `None`: the database is PostgreSQL, which has its own tools for that.
pub async fn copy_database(url: &str, target: &Path) -> Result<Option<()>, StoreError> {
    sqlx::any::install_default_drivers();
    let (options, sqlite) = address(url)?;
    if !sqlite {
        return Ok(None);
    }
    let target = target.to_str().ok_or(StoreError::Address)?.to_owned();
    let mut connection = options.disable_statement_logging().connect().await?;
    let copied = sqlx::query("VACUUM INTO $1").bind(target).execute(&mut connection).await;
    connection.close().await?;
    copied?;
    Ok(Some(()))
}

impl super::Store {
    /// Whether `master` is the key of the seals in the database at `url`, which is only read.
    pub async fn fits(url: &str, master: &MasterKey) -> Result<(), StoreError> {
        sqlx::any::install_default_drivers();
        let (options, _) = address(url)?;
        let mut connection: AnyConnection = options.disable_statement_logging().connect().await?;
        let fits = setup::compare_master_key(&mut connection, master).await;
        connection.close().await?;
        fits
    }
}
