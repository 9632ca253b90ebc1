//! The one task that writes calls, grouping whatever is waiting into one transaction.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use call::State;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::batch::Group;
use super::deliveries::{Claim, Outcome};
use super::insights::Insight;
use super::once::{Created, Known, Once};
use super::outbox::Outbox;
use super::snapshot::Snapshot;
use super::{CallEvent, CallRow, Store, StoreError};
use crate::id::Id;
use crate::refused::Refused;

/// Writes that may wait; what the call loop has beyond waits there.
pub(crate) const QUEUE: usize = 8192;

/// Of those, what new calls leave to the calls there are: when the writer cannot keep up, new calls are shed first.
const KEPT_FREE: usize = QUEUE / 4;

/// Writes in one transaction.
const BATCH: usize = 512;

/// From the start of one transaction to that of the next, at least: what comes in the meantime shares it.
const EVERY: Duration = Duration::from_millis(5);

/// The same while nobody waits for a commit: what calls leave behind may take a moment, and costs less in company.
const EVERY_UNAWAITED: Duration = Duration::from_millis(25);

/// Waits between attempts while the database does not answer.
const RETRY: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How long a transaction may take before its connection is given up.
const COMMIT_LIMIT: Duration = Duration::from_secs(20);

/// How long a new call waits for its commit before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a database that failed is tried, while nothing else is to be written.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What a database that failed must take, in bytes, before it is trusted again.
const PROBE_SIZE: std::ops::RangeInclusive<usize> = 256 * 1024..=8 * 1024 * 1024;

/// The queue of the writer is full; gives the write back.
#[derive(Debug, PartialEq)]
pub struct Full(pub Box<Write>);

/// One thing to write about a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// It reached a state that is not final; one that is not further than the stored one is ignored.
    State {
        /// Where it is now.
        state: State,
        /// The event that tells so, written with it: of which call, and since when.
        event: CallEvent,
    },
    /// A leg was started.
    Attempt {
        /// The call.
        call: Id,
        /// Call-ID of the leg.
        sip_call_id: String,
        /// The trunk it goes over: id and name.
        trunk: Option<(Id, String)>,
    },
    /// A recording was begun.
    Recording {
        /// The call.
        call: Id,
        /// Which of its recordings.
        number: i64,
        /// File name below the recordings folder.
        file: String,
        /// When, in Unix ms.
        at: i64,
    },
    /// A recording is whole.
    Recorded {
        /// The call.
        call: Id,
        /// Which of its recordings.
        number: i64,
        /// Its length.
        ms: u64,
    },
    /// What a restart needs to end a leg properly: kept until it has ended.
    Leg {
        /// The call.
        call: Id,
        /// The dialog; its `call_id` names the leg.
        saved: serde_json::Value,
    },
    /// A leg has ended: nothing of it needs to be kept.
    LegEnded {
        /// The call.
        call: Id,
        /// Call-ID of the leg.
        sip_call_id: String,
    },
    /// It was not carried out: what asked for it may be asked again.
    Forget {
        /// The call.
        call: Id,
    },
    /// Something happened.
    Event(CallEvent),
    /// It ended. Only the first end counts. Nothing of its legs needs to be kept.
    Finish(Box<Finish>),
}

/// How a call ended. Times are Unix ms; one that is `None` leaves what is stored.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "said at CallRow")]
pub struct Finish {
    pub call: Id,
    pub state: State,
    pub cause_code: Option<String>,
    pub cause_text: Option<String>,
    pub cause_hint: Option<String>,
    pub sip_status: Option<u16>,
    pub q850: Option<u8>,
    pub hangup_by: Option<String>,
    pub ringing_at: Option<i64>,
    pub answered_at: Option<i64>,
    pub ended_at: i64,
    pub quality: Option<serde_json::Value>,
    pub heard: Option<serde_json::Value>,
    /// The length of the call's own recording.
    pub recorded_ms: Option<u64>,
    /// The `finished` event, written with it.
    pub event: CallEvent,
}

pub(super) enum Job {
    Create {
        row: Box<CallRow>,
        first: CallEvent,
        once: Option<Once>,
        /// Who waits for it; nobody for a call that came in.
        done: Option<oneshot::Sender<Result<Created, StoreError>>>,
    },
    Write(Write),
    KeyUsed {
        key: Id,
        at: i64,
    },
    /// This process was alive then, Unix ms.
    Alive(i64),
    /// Its order has been refused: should it be stored after all, it must go.
    Forget(Id),
    Claim {
        claim: Claim,
        done: oneshot::Sender<()>,
    },
    Outcome {
        outcome: Outcome,
        done: oneshot::Sender<()>,
    },
    Insight(Insight),
    Flush(oneshot::Sender<()>),
}

/// Where committed events are told.
pub(super) type Events = broadcast::Sender<Arc<CallEvent>>;

impl Job {
    /// The event that a commit of this makes known.
    fn event(&self) -> Option<&CallEvent> {
        match self {
            Job::Create { first, done, .. } => {
                done.as_ref().is_none_or(|done| !done.is_closed()).then_some(first)
            }
            Job::Write(Write::Event(event) | Write::State { event, .. }) => Some(event),
            Job::Write(Write::Finish(end)) => Some(&end.event),
            _ => None,
        }
    }

    /// Whether somebody waits until it is committed.
    fn is_awaited(&self) -> bool {
        match self {
            Job::Create { done, .. } => done.is_some(),
            Job::Claim { .. } | Job::Outcome { .. } | Job::Flush(_) => true,
            _ => false,
        }
    }

    /// About how many bytes a new call has.
    fn size(&self) -> usize {
        let Job::Create { row, .. } = self else { return 0 };
        1024 + row.text.as_ref().map_or(0, String::len) + row.flow.to_string().len()
    }
}

/// Whether the database is known not to take what is written.
#[derive(Default)]
pub(super) struct Health(AtomicBool);

impl Health {
    pub(super) fn is_failing(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Store {
    /// Stores a new call and its first event; returns once both are committed. With `once` nothing is stored where the
    /// same was asked before: that call is answered, or the request refused if it asked for something else.
    pub async fn create_call(
        &self,
        row: &CallRow,
        first: &CallEvent,
        once: Option<&Once>,
    ) -> Result<Created, StoreError> {
        if self.0.health.is_failing() {
            return Err(StoreError::Away);
        }
        if self.0.queue.capacity() <= KEPT_FREE {
            return Err(StoreError::Behind);
        }
        let (done, committed) = oneshot::channel();
        let (row, first, once) = (Box::new(row.clone()), first.clone(), once.cloned());
        let job = Job::Create { row, first, once, done: Some(done) };
        self.0.queue.try_send(job).map_err(|_| StoreError::Behind)?;
        match tokio::time::timeout(PATIENCE, committed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Write("the writer has stopped".into())),
            Err(_) => Err(StoreError::Behind),
        }
    }

    /// Stores a call that came in, without waiting: who calls is to hear at once.
    ///
    /// # Errors
    /// The database is away, or so far behind that new calls are refused.
    pub fn record_call(&self, row: CallRow, first: CallEvent) -> Result<(), Refused> {
        let behind = |code, message: &str| Refused::new(503, code, message).retry_after(5);
        if self.0.health.is_failing() {
            return Err(behind("store_unavailable", "The database is away."));
        }
        if self.0.queue.capacity() <= KEPT_FREE {
            return Err(behind("store_behind", "The database cannot keep up."));
        }
        let job = Job::Create { row: Box::new(row), first, once: None, done: None };
        self.0.queue.try_send(job).map_err(|_| behind("store_behind", "The database cannot keep up."))
    }

    /// Hands a write to the writer without ever waiting; writes keep their order.
    pub fn record(&self, write: Write) -> Result<(), Full> {
        match self.0.queue.try_reserve() {
            Ok(place) => {
                place.send(Job::Write(write));
                Ok(())
            }
            Err(_) => Err(Full(Box::new(write))),
        }
    }

    /// Everything that happens on calls from now on, once it is committed: what is told here can be read. A reader
    /// that lags misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CallEvent>> {
        self.0.events.subscribe()
    }

    /// Waits until all that was handed over before is committed.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.queue.send(Job::Flush(done)).await.is_ok() {
            // An error means that the writer has stopped: then nothing is left to wait for.
            let _ = flushed.await;
        }
    }
}

/// What the writer shares with the [`Store`].
pub(super) struct Writer {
    pub(super) pool: AnyPool,
    pub(super) health: Arc<Health>,
    pub(super) events: Events,
    pub(super) memory: Arc<RwLock<Arc<Snapshot>>>,
    pub(super) outbox: Arc<Outbox>,
    /// Bytes that a database that failed must take before it is trusted again.
    pub(super) probe: usize,
}

/// Starts the writer; it ends with the last [`Store`].
pub(super) fn start(mut writer: Writer) -> mpsc::Sender<Job> {
    let (queue, mut jobs) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        let mut last = Instant::now();
        loop {
            let taken = jobs.recv_many(&mut batch, BATCH);
            let taken = match writer.health.is_failing() {
                true => tokio::time::timeout(PROBE_EVERY, taken).await.ok(),
                false => Some(taken.await),
            };
            if taken == Some(0) {
                return;
            }
            // The first after a pause waits for nobody; under load many share what a transaction costs.
            loop {
                while batch.len() < BATCH
                    && let Ok(job) = jobs.try_recv()
                {
                    batch.push(job);
                }
                let is_awaited = batch.iter().any(Job::is_awaited);
                let due = last + if is_awaited { EVERY } else { EVERY_UNAWAITED };
                let now = Instant::now();
                if batch.len() == BATCH || due <= now {
                    break;
                }
                // Looked at again soon: somebody who waits may have come.
                tokio::time::sleep_until(due.min(now + EVERY)).await;
            }
            last = Instant::now();
            writer.settle(std::mem::take(&mut batch)).await;
            if writer.health.is_failing() {
                writer.probe().await;
            }
        }
    });
    queue
}

impl Writer {
    /// Commits a batch: again and again while the database is away, in ever smaller parts when something in it cannot
    /// be written.
    async fn settle(&mut self, batch: Vec<Job>) {
        let mut batches = vec![batch];
        let mut failures = 0;
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            match self.commit(&batch).await {
                Ok(known) => {
                    failures = 0;
                    for job in &batch {
                        if let Some(event) = job.event().filter(|event| !known.contains_key(&event.call)) {
                            // Nobody listening is no error.
                            let _ = self.events.send(Arc::new(event.clone()));
                        }
                    }
                    let unwanted: Vec<Job> =
                        batch.into_iter().filter_map(|job| answer(job, Ok(&known))).collect();
                    batches.push(unwanted);
                }
                // Connections grow old: a fresh one may do.
                Err(sqlx::Error::Io(_)) if failures == 0 && !self.health.is_failing() => {
                    failures += 1;
                    batches.push(batch);
                }
                Err(error) if may_pass(&error) => {
                    if !self.health.0.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "the database cannot be written to; calls go on and are written later");
                    }
                    // Whoever orders a new call is told at once; what happened to the others is kept.
                    let (new, mut rest): (Vec<_>, Vec<_>) =
                        batch.into_iter().partition(|job| matches!(job, Job::Create { done: Some(_), .. }));
                    let size = new.iter().map(Job::size).sum::<usize>();
                    self.probe = self.probe.max(size).clamp(*PROBE_SIZE.start(), *PROBE_SIZE.end());
                    // A connection may break after the commit and before its answer: then they are stored.
                    rest.extend(new.into_iter().filter_map(|job| answer(job, Err(&error))));
                    batches.push(rest);
                    let wait = RETRY.get(failures).or(RETRY.last()).copied().unwrap_or_default();
                    failures += 1;
                    tokio::time::sleep(wait).await;
                }
                Err(error) if batch.len() == 1 => {
                    tracing::error!(%error, "a write was refused by the database and is lost");
                    batch.drain(..).for_each(|job| drop(answer(job, Err(&error))));
                }
                Err(_) => {
                    // The last in the list is taken first.
                    let second = batch.split_off(batch.len() / 2);
                    batches.extend([second, batch]);
                }
            }
        }
    }

    /// Trusts the database again once it takes as much as it refused: a full disk still has room for small things.
    async fn probe(&mut self) {
        let room = "x".repeat(self.probe.clamp(*PROBE_SIZE.start(), *PROBE_SIZE.end()));
        let write =
            "INSERT INTO facts (name, value) VALUES ('room', $1) ON CONFLICT (name) DO UPDATE SET value = $1";
        let proof = async {
            sqlx::query(write).bind(room).execute(&self.pool).await?;
            sqlx::query("DELETE FROM facts WHERE name = 'room'").execute(&self.pool).await
        };
        match tokio::time::timeout(COMMIT_LIMIT, proof).await {
            Ok(Ok(_)) => {
                self.probe = 0;
                self.health.0.store(false, Ordering::Relaxed);
                tracing::info!("the database is written to again");
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the database cannot be written to yet");
                // A transaction that failed may hang on to its connection.
                if let Ok(connection) = self.pool.acquire().await {
                    drop(connection.detach());
                }
            }
            Err(_) => tracing::debug!("the database does not answer yet"),
        }
    }

    /// Answers the calls that were not stored since they were asked for before.
    async fn commit(&self, batch: &[Job]) -> Result<Known, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let committed = tokio::time::timeout(COMMIT_LIMIT, commit_on(&mut connection, batch, &memory)).await;
        let committed = committed.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match committed {
            Ok((touched, known)) => {
                self.outbox.wake(touched);
                Ok(known)
            }
            Err(error) => {
                // A connection whose COMMIT or ROLLBACK failed may still be inside that transaction: what follows on
                // it would be written nowhere. It is closed, the pool opens another one.
                drop(connection.detach());
                Err(error)
            }
        }
    }
}

async fn commit_on(
    connection: &mut AnyConnection,
    batch: &[Job],
    memory: &Snapshot,
) -> Result<(HashSet<Id>, Known), sqlx::Error> {
    let mut group = connection.begin().await?;
    let stored = Group::of(batch).store(&mut group, memory).await?;
    group.commit().await?;
    Ok(stored)
}

/// Whether the same write may succeed later: the database is away, busy or full, rather than unwilling.
pub(super) fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match code.len() {
                // SQLSTATE of PostgreSQL: connection, read-only, rollback, resources, locks, shutdown, system.
                5 => matches!(code.get(..2), Some("08" | "25" | "40" | "53" | "55" | "57" | "58")),
                // SQLite's primary result codes: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
                _ => code.parse::<u32>().is_ok_and(|code| [5, 6, 8, 10, 13, 14].contains(&(code & 0xff))),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        _ => false,
    }
}

/// Tells whoever waits how it went; answers what must be undone.
fn answer(job: Job, stored: Result<&Known, &sqlx::Error>) -> Option<Job> {
    match job {
        Job::Create { row, done: Some(done), .. } => {
            let result = match stored {
                Ok(known) => {
                    known.get(&row.id).cloned().unwrap_or(Ok(Created::New)).map_err(StoreError::Refused)
                }
                Err(error) if may_pass(error) => Err(StoreError::Away),
                Err(error) => Err(StoreError::Write(error.to_string())),
            };
            let failed = stored.is_err();
            // Whoever asked may have lost patience: what is stored is then a call that nobody places.
            let unheard = done.send(result).is_err();
            return (failed || unheard).then_some(Job::Forget(row.id));
        }
        Job::Flush(done) | Job::Claim { done, .. } | Job::Outcome { done, .. } => {
            let _ = done.send(());
        }
        Job::Create { done: None, .. }
        | Job::Write(_)
        | Job::KeyUsed { .. }
        | Job::Alive(_)
        | Job::Forget(_)
        | Job::Insight(_) => {}
    }
    None
}
