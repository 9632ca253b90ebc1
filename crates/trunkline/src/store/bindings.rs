//! The registrar's bindings on disk: a file of their own, written in groups.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use mio::Waker;
use rusqlite::{Connection, OpenFlags, Transaction, params};

/// Changes that may wait; beyond, registrations are refused until the disk has caught up.
const QUEUE: usize = 8192;
/// Changes in one transaction.
const GROUP: usize = 4096;
/// From the start of one transaction to that of the next: what comes in the meantime shares it.
const EVERY: Duration = Duration::from_millis(4);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS bindings (
        user       INTEGER NOT NULL,
        name       TEXT NOT NULL,    -- of the binding, among those of the user
        expires_at INTEGER NOT NULL, -- Unix ms
        binding    TEXT NOT NULL,    -- JSON
        PRIMARY KEY (user, name)
    ) WITHOUT ROWID;
";
const PUT: &str = "INSERT INTO bindings (user, name, expires_at, binding) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (user, name) DO UPDATE SET expires_at = excluded.expires_at, binding = excluded.binding";
const REMOVE: &str = "DELETE FROM bindings WHERE user = ?1 AND name = ?2";

/// A binding as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Whose it is.
    pub user: i64,
    /// What tells it from the user's others.
    pub name: String,
    /// When it runs out, in Unix ms.
    pub expires_at: i64,
    /// What it says, as JSON.
    pub binding: String,
}

/// One change of the bindings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new binding, or a new state of it.
    Put(Kept),
    /// A binding is gone.
    Remove {
        /// Whose it was.
        user: i64,
        /// Which.
        name: String,
    },
}

/// What became of the changes up to a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The number of the last one that this is about.
    pub upto: u64,
    /// Whether they are on disk.
    pub whole: bool,
}

/// The writer of the bindings: a thread that puts what has come in a few milliseconds into one transaction, which
/// survives the end of the process at any moment.
pub struct Bindings {
    changes: Sender<(u64, Vec<Change>)>,
    committed: Receiver<Committed>,
    issued: u64,
    thread: Option<JoinHandle<()>>,
}

impl Bindings {
    /// Opens the file, made if it is not there, and gives back what has not run out at `now_ms`. `waker` is woken when
    /// there is something to [`Self::poll`].
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(file: &Path, now_ms: i64, waker: Arc<Waker>) -> io::Result<(Self, Vec<Kept>)> {
        let mut connection = connect(file).map_err(io::Error::other)?;
        let kept = load(&connection, now_ms).map_err(io::Error::other)?;
        let (changes, waiting) = bounded::<(u64, Vec<Change>)>(QUEUE);
        let (tell, committed) = bounded(QUEUE);
        let thread = std::thread::Builder::new().name("bindings".into()).spawn(move || {
            while let Some((upto, group, closed)) = gather(&waiting) {
                let began = Instant::now();
                let written = write(&mut connection, &group);
                if let Err(error) = &written {
                    tracing::error!(%error, "registrations cannot be written");
                }
                // The other side looks at all there is, so what does not fit is told with the next.
                let _ = tell.try_send(Committed { upto, whole: written.is_ok() });
                let _ = waker.wake();
                if closed {
                    return;
                }
                std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
            }
        })?;
        Ok((Self { changes, committed, issued: 0, thread: Some(thread) }, kept))
    }

    /// Hands over changes that belong together; their number is told by [`Self::poll`] once they are on disk. `None`
    /// when too many wait already: nothing of them will be written.
    pub fn write(&mut self, changes: Vec<Change>) -> Option<u64> {
        let number = self.issued + 1;
        self.changes.try_send((number, changes)).ok()?;
        self.issued = number;
        Some(number)
    }

    /// What was committed, or failed, since.
    pub fn poll(&self) -> Option<Committed> {
        self.committed.try_recv().ok()
    }
}

impl Drop for Bindings {
    /// Waits until everything is on disk.
    fn drop(&mut self) {
        let (closed, _) = bounded(0);
        drop(std::mem::replace(&mut self.changes, closed));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn load(connection: &Connection, now_ms: i64) -> rusqlite::Result<Vec<Kept>> {
    connection.execute("DELETE FROM bindings WHERE expires_at <= ?1", [now_ms])?;
    let mut rows = connection.prepare("SELECT user, name, expires_at, binding FROM bindings")?;
    let kept = rows.query_map([], |row| {
        Ok(Kept { user: row.get(0)?, name: row.get(1)?, expires_at: row.get(2)?, binding: row.get(3)? })
    })?;
    kept.collect()
}

/// What waits, at most a group of it: the number of the last, all changes, and whether nothing more will come.
fn gather(waiting: &Receiver<(u64, Vec<Change>)>) -> Option<(u64, Vec<Change>, bool)> {
    let (mut upto, mut group) = waiting.recv().ok()?;
    while group.len() < GROUP {
        match waiting.try_recv() {
            Ok((number, changes)) => {
                upto = number;
                group.extend(changes);
            }
            Err(TryRecvError::Empty) => return Some((upto, group, false)),
            Err(TryRecvError::Disconnected) => return Some((upto, group, true)),
        }
    }
    Some((upto, group, false))
}

fn write(connection: &mut Connection, group: &[Change]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    write_all(&transaction, group)?;
    transaction.commit()
}

fn write_all(transaction: &Transaction<'_>, group: &[Change]) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(PUT)?;
    let mut remove = transaction.prepare_cached(REMOVE)?;
    for change in group {
        match change {
            Change::Put(Kept { user, name, expires_at, binding }) => {
                put.execute(params![user, name, expires_at, binding])?
            }
            Change::Remove { user, name } => remove.execute(params![user, name])?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(user: i64, name: &str, expires_at: i64) -> Kept {
        Kept { user, name: name.into(), expires_at, binding: format!("{{\"of\":{user}}}") }
    }

    fn waker() -> (mio::Poll, Arc<Waker>) {
        let poll = mio::Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), mio::Token(0)).unwrap();
        (poll, waker.into())
    }

    fn wait(bindings: &Bindings, number: u64) -> Committed {
        loop {
            match bindings.committed.recv().unwrap() {
                told if told.upto >= number => return told,
                _ => {}
            }
        }
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bindings.db");
        let (_poll, waker) = waker();
        let (mut bindings, before) = Bindings::open(&file, 0, waker.clone()).unwrap();
        assert_eq!(before, []);
        let put = |user, name: &str, expires_at| Change::Put(kept(user, name, expires_at));
        bindings.write(vec![put(1, "a", 50), put(1, "b", 50), put(2, "a", 10)]).unwrap();
        bindings.write(vec![Change::Remove { user: 1, name: "b".into() }]).unwrap();
        let last = bindings.write(vec![put(1, "a", 60), put(2, "b", 60)]).unwrap();
        assert_eq!(wait(&bindings, last), Committed { upto: last, whole: true });
        // Opened beside the one that is open: nothing has to be closed for it to be there.
        let (_other, after) = Bindings::open(&file, 10, waker).unwrap();
        assert_eq!(after, [kept(1, "a", 60), kept(2, "b", 60)]);
    }

    #[test]
    fn closing_writes_what_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bindings.db");
        let (_poll, waker) = waker();
        let (mut bindings, _) = Bindings::open(&file, 0, waker.clone()).unwrap();
        for user in 0..5_000 {
            assert!(bindings.write(vec![Change::Put(kept(user, "a", 50))]).is_some());
        }
        drop(bindings);
        assert_eq!(Bindings::open(&file, 0, waker).unwrap().1.len(), 5_000);
    }

    #[test]
    fn a_disk_that_fails_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bindings.db");
        let (_poll, waker) = waker();
        let (mut bindings, _) = Bindings::open(&file, 0, waker).unwrap();
        Connection::open(&file).unwrap().execute_batch("DROP TABLE bindings").unwrap();
        let number = bindings.write(vec![Change::Put(kept(1, "a", 50))]).unwrap();
        assert_eq!(wait(&bindings, number), Committed { upto: number, whole: false });
    }
}
