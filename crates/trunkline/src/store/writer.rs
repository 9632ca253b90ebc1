//! The one task that writes calls, grouping whatever is waiting into one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use call::State;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::once::{self, Created, Once};
use super::{CallEvent, CallRow, Store, StoreError};
use crate::id::Id;
use crate::refused::Refused;

/// Writes that may wait.
const QUEUE: usize = 8192;

/// Of those, what new calls leave to the calls there are: when the writer cannot keep up, new calls are shed first.
const KEPT_FREE: usize = QUEUE / 4;

/// Writes in one transaction.
const BATCH: usize = 512;

/// Waits between attempts while the database does not answer.
const RETRY: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// How long a new call waits for its commit before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// The rank that all final states share.
const FINAL: i64 = 3;

/// The queue of the writer is full; gives the write back.
#[derive(Debug, PartialEq)]
pub struct Full(pub Box<Write>);

/// One thing to write about a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// It reached a state that is not final; one that is not further than the stored one is ignored.
    State {
        /// The call.
        call: Id,
        /// Where it is now.
        state: State,
        /// Since when, in Unix ms.
        at: i64,
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
        /// File name below the recordings folder.
        file: String,
    },
    /// It was not carried out: what asked for it may be asked again.
    Forget {
        /// The call.
        call: Id,
    },
    /// Something happened.
    Event(CallEvent),
    /// It ended. Only the first end counts.
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
    pub recording: Option<String>,
    /// The `finished` event, written with it.
    pub event: CallEvent,
}

pub(super) enum Job {
    Create(Create),
    Write(Write),
    KeyUsed { key: Id, at: i64 },
    Flush(oneshot::Sender<()>),
}

/// A call to be stored, if it was not before.
pub(super) struct Create {
    row: Box<CallRow>,
    first: CallEvent,
    once: Option<Once>,
    /// What became of it, once it is written.
    outcome: Result<Created, Refused>,
    done: oneshot::Sender<Result<Created, StoreError>>,
}

/// Where committed events are told.
pub(super) type Events = broadcast::Sender<Arc<CallEvent>>;

impl Job {
    /// The event that a commit of this makes known.
    fn event(&self) -> Option<&CallEvent> {
        match self {
            Job::Create(new) => {
                (!new.done.is_closed() && new.outcome == Ok(Created::New)).then_some(&new.first)
            }
            Job::Write(Write::Event(event)) => Some(event),
            Job::Write(Write::Finish(end)) => Some(&end.event),
            Job::Write(_) | Job::KeyUsed { .. } | Job::Flush(_) => None,
        }
    }
}

/// Whether the last attempt to commit failed.
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
        if self.0.queue.capacity() <= KEPT_FREE {
            return Err(StoreError::Behind);
        }
        let (done, committed) = oneshot::channel();
        let (row, first, once) = (Box::new(row.clone()), first.clone(), once.cloned());
        let new = Create { row, first, once, outcome: Ok(Created::New), done };
        self.0.queue.try_send(Job::Create(new)).map_err(|_| StoreError::Behind)?;
        match tokio::time::timeout(PATIENCE, committed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Write("the writer has stopped".into())),
            Err(_) => Err(StoreError::Behind),
        }
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

/// Starts the writer; it ends with the last [`Store`].
pub(super) fn start(pool: AnyPool, health: Arc<Health>, events: Events) -> mpsc::Sender<Job> {
    let (queue, mut jobs) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            settle(&pool, &health, &events, std::mem::take(&mut batch)).await;
        }
    });
    queue
}

/// Commits a batch: again and again while the database is away, one by one when something in it cannot be written.
async fn settle(pool: &AnyPool, health: &Health, events: &Events, batch: Vec<Job>) {
    let mut batches = vec![batch];
    let mut failures = 0;
    while let Some(mut batch) = batches.pop() {
        match commit(pool, &mut batch).await {
            Ok(()) => {
                if health.0.swap(false, Ordering::Relaxed) {
                    tracing::info!("the database is written to again");
                }
                failures = 0;
                for job in batch {
                    if let Some(event) = job.event() {
                        // Nobody listening is no error.
                        let _ = events.send(Arc::new(event.clone()));
                    }
                    answer(job, None);
                }
            }
            Err(error) if may_pass(&error) => {
                if !health.0.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the database cannot be written to; calls go on and are written later");
                }
                // Whoever orders a new call is told at once; what happened to the others is kept.
                let (new, rest): (Vec<_>, Vec<_>) =
                    batch.into_iter().partition(|job| matches!(job, Job::Create(_)));
                new.into_iter().for_each(|job| answer(job, Some(&error)));
                if !rest.is_empty() {
                    batches.push(rest);
                    let wait = RETRY.get(failures).or(RETRY.last()).copied().unwrap_or_default();
                    failures += 1;
                    tokio::time::sleep(wait).await;
                }
            }
            Err(error) if batch.len() == 1 => {
                tracing::error!(%error, "a write was refused by the database and is lost");
                batch.drain(..).for_each(|job| answer(job, Some(&error)));
            }
            // The last in the list is taken first.
            Err(_) => batches.extend(batch.into_iter().rev().map(|job| vec![job])),
        }
    }
}

/// Whether the same write may succeed later: the database is away, busy or full, rather than unwilling.
fn may_pass(error: &sqlx::Error) -> bool {
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

fn answer(job: Job, error: Option<&sqlx::Error>) {
    match job {
        Job::Create(Create { outcome, done, .. }) => {
            let result = match error {
                None => outcome.map_err(StoreError::Refused),
                Some(error) => Err(StoreError::Write(error.to_string())),
            };
            // Whoever asked may be gone; the call is stored all the same.
            let _ = done.send(result);
        }
        Job::Flush(done) => {
            let _ = done.send(());
        }
        Job::Write(_) | Job::KeyUsed { .. } => {}
    }
}

async fn commit(pool: &AnyPool, batch: &mut [Job]) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let committed = commit_on(&mut connection, batch).await;
    if committed.is_err() {
        // A connection whose COMMIT or ROLLBACK failed may still be inside that transaction: what follows on it would
        // be written nowhere. It is closed, the pool opens another one.
        drop(connection.detach());
    }
    committed
}

async fn commit_on(connection: &mut AnyConnection, batch: &mut [Job]) -> Result<(), sqlx::Error> {
    let mut group = connection.begin().await?;
    for job in batch {
        match job {
            // Whoever ordered it has been refused in the meantime: nobody would place it.
            Job::Create(new) if new.done.is_closed() => {}
            Job::Create(new) => {
                new.outcome = match &new.once {
                    Some(once) => once::claim(&mut group, &new.row, once).await?,
                    None => Ok(Created::New),
                };
                if new.outcome == Ok(Created::New) {
                    insert_call(&mut group, &new.row).await?;
                    insert_event(&mut group, &new.first).await?;
                }
            }
            Job::Write(Write::Forget { call }) => once::forget(&mut group, *call).await?,
            Job::Write(Write::Event(event)) => insert_event(&mut group, event).await?,
            Job::Write(Write::Finish(end)) => finish(&mut group, end).await?,
            Job::Write(Write::State { call, state, at }) => advance(&mut group, *call, *state, *at).await?,
            Job::Write(Write::Attempt { call, sip_call_id, trunk }) => {
                let update = "UPDATE calls SET sip_call_id = $1, trunk = COALESCE($2, trunk), \
                              trunk_name = COALESCE($3, trunk_name) WHERE id = $4";
                sqlx::query(update)
                    .bind(sip_call_id.clone())
                    .bind(trunk.as_ref().map(|(id, _)| id.to_string()))
                    .bind(trunk.as_ref().map(|(_, name)| name.clone()))
                    .bind(call.to_string())
                    .execute(&mut *group)
                    .await?;
            }
            Job::Write(Write::Recording { call, file }) => {
                let update = sqlx::query("UPDATE calls SET recording = $1 WHERE id = $2");
                update.bind(file.clone()).bind(call.to_string()).execute(&mut *group).await?;
            }
            Job::KeyUsed { key, at } => {
                let update = sqlx::query("UPDATE keys SET last_used_at = $1 WHERE id = $2");
                update.bind(*at).bind(key.to_string()).execute(&mut *group).await?;
            }
            Job::Flush(_) => {}
        }
    }
    group.commit().await
}

fn rank(state: State) -> i64 {
    i64::from(state.rank())
}

async fn insert_call(connection: &mut AnyConnection, row: &CallRow) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO calls (id, account, direction, face, from_number, to_number, kind, trunk, trunk_name, \
                  state, rank, cause_code, cause_text, cause_hint, sip_status, q850, hangup_by, sip_call_id, \
                  audio_file, spoken, flow, recording, created_at, ringing_at, answered_at, ended_at, quality, heard, \
                  metadata) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
                  $21, $22, $23, $24, $25, $26, $27, $28, $29)";
    sqlx::query(insert)
        .bind(row.id.to_string())
        .bind(row.account)
        .bind(row.direction.clone())
        .bind(row.face.clone())
        .bind(row.from.clone())
        .bind(row.to.clone())
        .bind(row.kind.clone())
        .bind(row.trunk.map(|id| id.to_string()))
        .bind(row.trunk_name.clone())
        .bind(row.state.as_str())
        .bind(rank(row.state))
        .bind(row.cause_code.clone())
        .bind(row.cause_text.clone())
        .bind(row.cause_hint.clone())
        .bind(row.sip_status.map(i64::from))
        .bind(row.q850.map(i64::from))
        .bind(row.hangup_by.clone())
        .bind(row.sip_call_id.clone())
        .bind(row.audio_file.clone())
        .bind(row.text.clone())
        .bind(row.flow.to_string())
        .bind(row.recording.clone())
        .bind(row.created_at)
        .bind(row.ringing_at)
        .bind(row.answered_at)
        .bind(row.ended_at)
        .bind(row.quality.as_ref().map(|quality| quality.to_string()))
        .bind(row.heard.as_ref().map(|heard| heard.to_string()))
        .bind(serde_json::json!(row.metadata).to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn insert_event(
    connection: &mut AnyConnection,
    event: &CallEvent,
) -> Result<(), sqlx::Error> {
    // One connection writes, so the order of the ordinals is that of the commits.
    let insert = "INSERT INTO events (call_id, sequence, account, at, kind, detail, ordinal) \
                  VALUES ($1, $2, $3, $4, $5, $6, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM events)) \
                  ON CONFLICT (call_id, sequence) DO NOTHING";
    sqlx::query(insert)
        .bind(event.call.to_string())
        .bind(event.sequence)
        .bind(event.account)
        .bind(event.at)
        .bind(event.kind.clone())
        .bind(event.detail.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn advance(connection: &mut AnyConnection, call: Id, state: State, at: i64) -> Result<(), sqlx::Error> {
    let update = "UPDATE calls SET state = CASE WHEN rank < $1 THEN $2 ELSE state END, \
                  rank = CASE WHEN rank < $1 THEN $1 ELSE rank END, \
                  ringing_at = COALESCE(ringing_at, $3), answered_at = COALESCE(answered_at, $4), \
                  ended_at = COALESCE(ended_at, $5) \
                  WHERE id = $6 AND rank < $7";
    sqlx::query(update)
        .bind(rank(state))
        .bind(state.as_str())
        .bind((state == State::Ringing).then_some(at))
        .bind((state == State::InProgress).then_some(at))
        .bind(state.is_final().then_some(at))
        .bind(call.to_string())
        .bind(FINAL)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn finish(connection: &mut AnyConnection, end: &Finish) -> Result<(), sqlx::Error> {
    let update = "UPDATE calls SET state = $1, rank = $2, cause_code = $3, cause_text = $4, cause_hint = $5, \
                  sip_status = $6, q850 = $7, hangup_by = $8, ringing_at = COALESCE($9, ringing_at), \
                  answered_at = COALESCE($10, answered_at), ended_at = $11, quality = COALESCE($12, quality), \
                  recording = COALESCE($13, recording), heard = COALESCE($14, heard) WHERE id = $15 AND rank < $2";
    let done = sqlx::query(update)
        .bind(end.state.as_str())
        .bind(FINAL)
        .bind(end.cause_code.clone())
        .bind(end.cause_text.clone())
        .bind(end.cause_hint.clone())
        .bind(end.sip_status.map(i64::from))
        .bind(end.q850.map(i64::from))
        .bind(end.hangup_by.clone())
        .bind(end.ringing_at)
        .bind(end.answered_at)
        .bind(end.ended_at)
        .bind(end.quality.as_ref().map(|quality| quality.to_string()))
        .bind(end.recording.clone())
        .bind(end.heard.as_ref().map(|heard| heard.to_string()))
        .bind(end.call.to_string())
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 0 { Ok(()) } else { insert_event(connection, &end.event).await }
}
