//! What trunkline remembers: accounts, keys, trunks and calls, in SQLite or PostgreSQL.
//!
//! Both run the same SQL text through [`sqlx::Any`]. What a call's way needs (keys, accounts, trunks) is read from
//! memory, refreshed whenever it changes; calls are written by one task that groups commits ([`Store::record`]).

mod accounts;
mod backup;
mod batch;
pub mod bindings;
mod calls;
mod deliveries;
mod directory;
mod feed;
mod groups;
mod ha1;
mod inbound;
mod insights;
mod keys;
mod legs;
mod names;
mod numbers;
mod once;
mod outbox;
mod recordings;
mod retention;
mod rows;
mod seal;
mod setup;
mod snapshot;
#[cfg(test)]
mod tests;
mod trunks;
mod usage;
mod users;
mod webhooks;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Executor, Row};
use tokio::sync::{broadcast, mpsc};

pub use accounts::{Account, REALM};
pub use backup::copy_database;
pub use calls::{CallEvent, CallFilter, CallRow, Place};
pub use deliveries::{AttemptRow, DeliveryFilter, DeliveryRow};
pub(crate) use deliveries::{Claim, Due, Outcome, Verdict};
pub use directory::{Directory, Found};
pub use feed::{EventFilter, Placed};
pub use groups::{GroupRow, NewGroup, Strategy};
pub use ha1::Ha1;
pub use keys::{AuthError, Identity, KeyRow, NewKey, SCOPES};
pub use legs::SavedLeg;
pub use numbers::{Country, NewNumber, NumberRow, Target};
pub use once::{Created, Once};
pub use recordings::{OWN, RecordingFilter, RecordingPlace, RecordingRow};
pub use retention::{Keep, Swept};
pub use seal::{MasterKey, SealError};
pub use setup::Bootstrap;
pub use trunks::{NewTrunk, TrunkRow};
pub use usage::UsageRow;
pub use users::{DigestName, MayCall, NewUser, UserRow};
pub use webhooks::{EVENT_TYPES, NewWebhook, TEST, WebhookRow, event_type};
pub use writer::{Finish, Full, Write};

use crate::id::Id;
use crate::refused::Refused;
use snapshot::Snapshot;

/// The account of the operator.
pub const OPERATOR: i64 = 0;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/store/migrations");

/// Events a slow reader may lag behind before it misses some.
const EVENTS: usize = 16_384;

/// The database and what of it is kept in memory. Clones share both.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    reads: AnyPool,
    /// One connection: writers queue here instead of meeting `SQLITE_BUSY`.
    writes: AnyPool,
    master: MasterKey,
    memory: Arc<RwLock<Arc<Snapshot>>>,
    directory: Directory,
    /// Held from a change until memory shows it, so that an older snapshot never replaces a newer one.
    changing: tokio::sync::Mutex<()>,
    queue: mpsc::Sender<writer::Job>,
    events: writer::Events,
    health: Arc<writer::Health>,
    /// When the process before this one is known to have been alive, Unix ms.
    last_alive: Option<i64>,
    outbox: Arc<outbox::Outbox>,
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address names no database that can be used.
    #[error("the database address must begin with sqlite:// or postgres:// and name a file or server")]
    Address,
    /// The folder of the database cannot be made.
    #[error("the folder {} cannot be made: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database holds data sealed under another master key.
    #[error(
        "the master key does not fit this database: its credentials were sealed under another one; \
         give that one in master_key or master_key_file (TRUNKLINE_MASTER_KEY, TRUNKLINE_MASTER_KEY_FILE)"
    )]
    MasterKey,
    /// Sealing or opening a credential failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database said no.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A stored value that this version does not understand.
    #[error("the database holds a {field} that cannot be read")]
    Value {
        /// `table.field`.
        field: &'static str,
    },
    /// More is to be written than can be.
    #[error("the database cannot keep up")]
    Behind,
    /// The database is gone, or its disk is full.
    #[error("the database cannot be written to just now")]
    Away,
    /// The write could not be committed.
    #[error("database: {0}")]
    Write(String),
    /// The operating system has no randomness to give.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// What was asked is not allowed or makes no sense; for the one who asked.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refused) => refused,
            StoreError::Behind => {
                Refused::new(503, "busy", "Too much is being written just now; nobody was dialled.")
                    .hint("Try again in a second.")
                    .retry_after(1)
            }
            StoreError::Away => away(),
            StoreError::Database(error) if writer::may_pass(&error) => away(),
            // The details are for the operator's log, not for whoever asked.
            _ => Refused::new(500, "store_failed", "The database did not answer as it should.")
                .hint("The server's log says why."),
        }
    }
}

fn away() -> Refused {
    Refused::new(503, "store_away", "The database does not answer or has no room; nobody was dialled.")
        .hint("Calls that are up go on. The server's log says what is wrong.")
        .retry_after(5)
}

impl Store {
    /// Opens the database (making it, if it is a file that is not there), brings its schema up to date, checks that
    /// `master` is the key of its seals, and starts the writer.
    pub async fn open(url: &str, master: &MasterKey) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (options, sqlite) = address(url)?;
        let options = options.disable_statement_logging();
        let pool = |connections| {
            // A connection that broke is found out by what is asked over it: asking beforehand doubles the round trips.
            let pool = AnyPoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(connections > 1)
                .acquire_timeout(Duration::from_secs(5));
            if !sqlite {
                return pool;
            }
            pool.after_connect(|connection, _| {
                Box::pin(async move {
                    // A crash loses nothing committed; only a power cut may lose the last moments, never the rest.
                    connection.execute("PRAGMA journal_mode = WAL").await?;
                    connection.execute("PRAGMA synchronous = NORMAL").await?;
                    Ok(())
                })
            })
        };
        let writes = pool(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writes).await?;
        setup::check_master_key(&writes, master).await?;
        let reads = pool(4).connect_with(options).await?;
        let memory = Arc::new(RwLock::new(Arc::new(Snapshot::load(&writes, master).await?)));
        let tables = directory::Tables::load(&writes, master).await?;
        let directory = Directory::new(tables, memory.clone());
        let last_alive = legs::last_alive(&writes).await?;
        let health = Arc::new(writer::Health::default());
        let outbox = Arc::new(outbox::Outbox::default());
        let (events, _) = broadcast::channel(EVENTS);
        let queue = writer::start(writer::Writer {
            pool: writes.clone(),
            health: health.clone(),
            events: events.clone(),
            memory: memory.clone(),
            outbox: outbox.clone(),
            probe: 0,
        });
        let changing = tokio::sync::Mutex::default();
        let master = master.clone();
        let inner = Inner {
            reads,
            writes,
            master,
            memory,
            directory,
            changing,
            queue,
            events,
            health,
            last_alive,
            outbox,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Whether the database answers and the writer keeps up.
    pub async fn healthy(&self) -> bool {
        let answer = sqlx::query("SELECT 1").execute(&self.0.reads);
        let answers = tokio::time::timeout(Duration::from_secs(2), answer).await;
        matches!(answers, Ok(Ok(_))) && !self.0.health.is_failing() && !self.0.queue.is_closed()
    }

    fn memory(&self) -> Arc<Snapshot> {
        self.0.memory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads memory anew; to be called with `changing` held.
    async fn refresh(&self) -> Result<(), StoreError> {
        let fresh = Arc::new(Snapshot::load(&self.0.writes, &self.0.master).await?);
        *self.0.memory.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

/// What to connect to, and whether that is SQLite.
fn address(url: &str) -> Result<(AnyConnectOptions, bool), StoreError> {
    let Some(path) = url.strip_prefix("sqlite:") else {
        let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = url.parse().ok().filter(|_| known);
        return options.map(|options| (options, false)).ok_or(StoreError::Address);
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.is_empty() || path.contains(":memory:") {
        return Err(StoreError::Address);
    }
    let path = Path::new(path);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder).map_err(|error| StoreError::Folder { path: folder.into(), error })?;
    }
    let absolute =
        std::path::absolute(path).map_err(|error| StoreError::Folder { path: path.into(), error })?;
    let text = absolute.to_str().ok_or(StoreError::Address)?;
    let encoded = text.replace('%', "%25").replace('#', "%23");
    let options = format!("sqlite://{encoded}?mode=rwc").parse().map_err(|_| StoreError::Address)?;
    Ok((options, true))
}

/// Makes a folder that only its owner can look into.
pub(crate) fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// One column of a row, read as `parse` says.
fn parsed<T>(
    row: &AnyRow,
    field: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: String = row.try_get(field)?;
    parse(&text).ok_or(StoreError::Value { field })
}

/// One column that may be NULL, read as `parse` says.
fn parsed_or_null<T>(
    row: &AnyRow,
    field: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(field)?;
    text.map(|text| parse(&text).ok_or(StoreError::Value { field })).transpose()
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// One of the words of a closed list.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text)).ok()
}

/// An id that no row of `table` has had yet, however many were removed.
async fn next_id(connection: &mut AnyConnection, table: &'static str) -> Result<i64, StoreError> {
    let last = match table {
        "accounts" => "SELECT COALESCE(MAX(id), 0) FROM accounts",
        _ => "SELECT COALESCE(MAX(id), 0) FROM numbers",
    };
    let last: i64 = sqlx::query(last).fetch_one(&mut *connection).await?.try_get(0)?;
    let fact = format!("last id of {table}");
    let noted = sqlx::query("SELECT value FROM facts WHERE name = $1").bind(fact.clone());
    let noted = match noted.fetch_optional(&mut *connection).await? {
        Some(row) => parsed(&row, "value", |text| text.parse::<i64>().ok())?,
        None => 0,
    };
    let next = last.max(noted) + 1;
    sqlx::query("INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(fact)
        .bind(next.to_string())
        .execute(connection)
        .await?;
    Ok(next)
}

fn id_of(row: &AnyRow, field: &'static str) -> Result<Id, StoreError> {
    parsed(row, field, Id::parse)
}
