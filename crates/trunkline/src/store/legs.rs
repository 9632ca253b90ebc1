//! What a crash leaves behind: calls without an end, and legs that somebody still pays for.

use std::collections::HashSet;

use call::State;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Connection, Row};

use super::batch::Group;
use super::writer::Job;
use super::{CallEvent, Finish, Store, StoreError, id_of, json as read_json, parsed, parsed_or_null};
use crate::id::Id;
use crate::time::now_ms;

/// Calls ended in one transaction.
const BATCH: i64 = 500;

/// A leg that may still be up on the other side.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedLeg {
    /// Its Call-ID.
    pub sip_call_id: String,
    /// The call it belonged to.
    pub call: Id,
    /// The trunk of that call, whose credentials answer a challenge.
    pub trunk: Option<Id>,
    /// The dialog, as it was handed over.
    pub saved: Value,
}

/// The newest mark of life in the database.
pub(super) async fn last_alive(pool: &AnyPool) -> Result<Option<i64>, StoreError> {
    let select = sqlx::query("SELECT value FROM facts WHERE name = 'alive'");
    let row = select.fetch_optional(pool).await?;
    row.as_ref().map(|row| parsed(row, "value", |text| text.parse().ok())).transpose()
}

impl Store {
    /// When the process before this one is known to have been alive, in Unix ms.
    pub fn last_alive(&self) -> Option<i64> {
        self.0.last_alive
    }

    /// Leaves a mark of life: should this process be killed, the calls that are up now were up until now. Not to be
    /// called before [`Store::orphans`].
    pub fn mark_alive(&self) {
        // A full queue has other things to tell; the next mark comes soon.
        let _ = self.0.queue.try_send(Job::Alive(now_ms()));
    }

    /// The calls that have not ended.
    pub async fn unfinished(&self) -> Result<HashSet<Id>, StoreError> {
        let rows =
            sqlx::query("SELECT id FROM calls WHERE ended_at IS NULL").fetch_all(&self.0.writes).await?;
        rows.iter().map(|row| id_of(row, "id")).collect()
    }

    /// Ends the calls that a crash left unfinished, each with its event and webhooks in one transaction, and answers
    /// how many there were and the legs that have to be ended. A call that had been answered is completed, any other
    /// failed; the cause of both is `server_restarted`, and they ended when they are last known to have been up: at
    /// their last event, the end of what was recorded, or the last mark of life. To be called before the first new call.
    pub async fn orphans(&self) -> Result<(usize, Vec<SavedLeg>), StoreError> {
        let mut ended = 0;
        loop {
            let count = self.end_some().await?;
            ended += count;
            if count == 0 {
                break;
            }
        }
        let select = "SELECT l.sip_call_id, l.call_id, l.saved, c.trunk FROM legs l LEFT JOIN calls c ON c.id = l.call_id";
        let rows = sqlx::query(select).fetch_all(&self.0.writes).await?;
        let leg = |row: &AnyRow| {
            Ok(SavedLeg {
                sip_call_id: row.try_get("sip_call_id")?,
                call: id_of(row, "call_id")?,
                trunk: parsed_or_null(row, "trunk", Id::parse)?,
                saved: parsed(row, "saved", read_json)?,
            })
        };
        Ok((ended, rows.iter().map(leg).collect::<Result<_, StoreError>>()?))
    }

    async fn end_some(&self) -> Result<usize, StoreError> {
        let select = "SELECT id, account, created_at, answered_at, \
                      (SELECT MAX(at) FROM events WHERE call_id = calls.id) AS last_at, \
                      (SELECT MAX(sequence) FROM events WHERE call_id = calls.id) AS last_sequence, \
                      (SELECT MAX(created_at + duration_ms) FROM recordings WHERE call_id = calls.id) AS recorded_until \
                      FROM calls WHERE ended_at IS NULL LIMIT $1";
        let mut connection = self.0.writes.acquire().await?;
        let rows = sqlx::query(select).bind(BATCH).fetch_all(&mut *connection).await?;
        let end_of = |row| end_of(row, self.0.last_alive);
        let ends = rows.iter().map(end_of).collect::<Result<Vec<_>, _>>()?;
        let mut group = connection.begin().await?;
        let memory = self.memory();
        let (touched, _) = Group::of_orphans(&ends).store(&mut group, &memory).await?;
        group.commit().await?;
        self.0.outbox.wake(touched);
        Ok(ends.len())
    }
}

fn end_of(row: &AnyRow, last_alive: Option<i64>) -> Result<Finish, StoreError> {
    let call = id_of(row, "id")?;
    let created_at: i64 = row.try_get("created_at")?;
    let answered_at: Option<i64> = row.try_get("answered_at")?;
    let last_at: Option<i64> = row.try_get("last_at")?;
    let recorded_until: Option<i64> = row.try_get("recorded_until")?;
    let last_sequence: Option<i64> = row.try_get("last_sequence")?;
    let state = if answered_at.is_some() { State::Completed } else { State::Failed };
    let (code, text) = ("server_restarted", "The server stopped while the call was going on.");
    let hint = match answered_at {
        Some(_) => "The other side was hung up when the server started again.",
        None => "Place the call again.",
    };
    let cause = json!({ "code": code, "text": text, "hint": hint, "sip": null, "q850": null });
    let event = CallEvent {
        call,
        account: row.try_get("account")?,
        sequence: last_sequence.unwrap_or(0) + 1,
        at: now_ms(),
        kind: "finished".into(),
        detail: json!({ "state": state.as_str(), "cause": cause, "answered": answered_at.is_some() }),
    };
    Ok(Finish {
        call,
        state,
        cause_code: Some(code.into()),
        cause_text: Some(text.into()),
        cause_hint: Some(hint.into()),
        sip_status: None,
        q850: None,
        hangup_by: Some("system".into()),
        ringing_at: None,
        answered_at: None,
        ended_at: [last_at, recorded_until, last_alive].into_iter().flatten().fold(created_at, i64::max),
        quality: None,
        heard: None,
        recorded_ms: None,
        event,
    })
}
