//! Forgetting what has been kept long enough.

use std::path::Path;
use std::time::Duration;

use sqlx::Row;

use super::{Store, StoreError};
use crate::time::now_ms;

/// Rows taken in one transaction, so that calls never wait long for the database.
const BATCH: i64 = 200;

/// How long things are kept after their end; `None` is forever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Calls, with all that belongs to them.
    pub calls: Option<Duration>,
    /// Recordings.
    pub recordings: Option<Duration>,
    /// Events, and webhook deliveries that arrived or were given up.
    pub events: Option<Duration>,
    /// Deliveries to endpoints that have been disabled meanwhile, before they are given up.
    pub pending: Option<Duration>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Calls.
    pub calls: usize,
    /// Recordings.
    pub recordings: usize,
    /// Calls whose events were removed.
    pub events: usize,
    /// Webhook deliveries.
    pub deliveries: usize,
}

/// What is older than `keep` at `now`, as Unix ms.
fn before(keep: Option<Duration>, now: i64) -> Option<i64> {
    let ms = i64::try_from(keep?.as_millis()).unwrap_or(i64::MAX);
    Some(now.saturating_sub(ms))
}

impl Store {
    /// Removes what has been kept long enough, a bounded number of rows at a time; `recordings` is the folder of the
    /// recordings. A call that has not ended is never touched, nor is a delivery that is still tried.
    pub async fn sweep(&self, keep: &Keep, recordings: &Path) -> Result<Swept, StoreError> {
        let now = now_ms();
        let mut swept = Swept::default();
        if let Some(before) = before(keep.recordings, now) {
            swept.recordings = self.sweep_recordings(before, recordings).await?;
        }
        if let Some(before) = before(keep.calls, now) {
            swept.recordings += self.sweep_recordings(before, recordings).await?;
            swept.calls = self.sweep_calls(before).await?;
        }
        if let Some(before) = before(keep.pending, now) {
            let update = "UPDATE deliveries SET state = 'dead', ended_at = $1 \
                          WHERE state = 'pending' AND pending_since < $2";
            sqlx::query(update).bind(now).bind(before).execute(&self.0.writes).await?;
        }
        if let Some(before) = before(keep.events, now) {
            swept.deliveries = self.sweep_deliveries(before).await?;
            swept.events = self.sweep_events(before).await?;
        }
        Ok(swept)
    }

    async fn sweep_recordings(&self, before: i64, folder: &Path) -> Result<usize, StoreError> {
        let mut swept = 0;
        loop {
            let rows = self.old_recordings(before, BATCH).await?;
            let gone = self.delete_recordings(&rows, folder).await?;
            swept += gone;
            // Files that cannot be removed are tried again next time.
            if rows.len() < BATCH as usize || gone == 0 {
                return Ok(swept);
            }
        }
    }

    async fn sweep_calls(&self, before: i64) -> Result<usize, StoreError> {
        // A call that is still to be told about stays until that is over, and one whose files cannot be removed.
        let select = "SELECT id FROM calls WHERE ended_at < $1 AND NOT EXISTS \
                      (SELECT 1 FROM legs WHERE call_id = calls.id) AND NOT EXISTS \
                      (SELECT 1 FROM recordings WHERE call_id = calls.id) AND NOT EXISTS \
                      (SELECT 1 FROM deliveries WHERE call_id = calls.id AND state = 'pending') LIMIT $2";
        let mut swept = 0;
        loop {
            let rows = sqlx::query(select).bind(before).bind(BATCH).fetch_all(&self.0.reads).await?;
            let mut change = self.0.writes.begin().await?;
            for row in &rows {
                let id: String = row.try_get("id")?;
                for delete in [
                    "DELETE FROM attempts WHERE delivery IN (SELECT id FROM deliveries WHERE call_id = $1)",
                    "DELETE FROM deliveries WHERE call_id = $1",
                    "DELETE FROM events WHERE call_id = $1",
                    "DELETE FROM insights WHERE call_id = $1",
                    "DELETE FROM calls WHERE id = $1",
                ] {
                    sqlx::query(delete).bind(id.clone()).execute(&mut *change).await?;
                }
            }
            change.commit().await?;
            swept += rows.len();
            if rows.len() < BATCH as usize {
                return Ok(swept);
            }
        }
    }

    async fn sweep_deliveries(&self, before: i64) -> Result<usize, StoreError> {
        let select = "SELECT id FROM deliveries WHERE ended_at < $1 AND state <> 'pending' LIMIT $2";
        let mut swept = 0;
        loop {
            let rows = sqlx::query(select).bind(before).bind(BATCH).fetch_all(&self.0.reads).await?;
            let mut change = self.0.writes.begin().await?;
            for row in &rows {
                let id: String = row.try_get("id")?;
                for delete in
                    ["DELETE FROM attempts WHERE delivery = $1", "DELETE FROM deliveries WHERE id = $1"]
                {
                    sqlx::query(delete).bind(id.clone()).execute(&mut *change).await?;
                }
            }
            change.commit().await?;
            swept += rows.len();
            if rows.len() < BATCH as usize {
                return Ok(swept);
            }
        }
    }

    /// Goes through the calls by the time of their end, from where the last sweep stopped.
    async fn sweep_events(&self, before: i64) -> Result<usize, StoreError> {
        let known = sqlx::query("SELECT value FROM facts WHERE name = 'events_swept'");
        let known = known.fetch_optional(&self.0.reads).await?;
        let known = known.map(|row| row.try_get::<String, _>("value")).transpose()?;
        let mut from: i64 = known.and_then(|text| text.parse().ok()).unwrap_or(0);
        let select = "SELECT id, ended_at FROM calls WHERE ended_at >= $1 AND ended_at < $2 ORDER BY ended_at LIMIT $3";
        let mut swept = 0;
        loop {
            let rows =
                sqlx::query(select).bind(from).bind(before).bind(BATCH).fetch_all(&self.0.reads).await?;
            let mut change = self.0.writes.begin().await?;
            let mut gone = 0;
            for row in &rows {
                // An event that is still to be delivered stays, and with it those after it.
                let delete = "DELETE FROM events WHERE call_id = $1 AND NOT EXISTS \
                              (SELECT 1 FROM deliveries WHERE call_id = $1 AND state = 'pending')";
                let id: String = row.try_get("id")?;
                let done = sqlx::query(delete).bind(id).execute(&mut *change).await?;
                gone += usize::from(done.rows_affected() > 0);
            }
            let last = rows.last().map(|row| row.try_get::<i64, _>("ended_at")).transpose()?;
            // Calls of the same millisecond may stand on both sides of a page.
            let next = last.map_or(from, |last| if last == from { last + 1 } else { last });
            let put = "INSERT INTO facts (name, value) VALUES ('events_swept', $1) \
                       ON CONFLICT (name) DO UPDATE SET value = $1";
            sqlx::query(put).bind(next.to_string()).execute(&mut *change).await?;
            change.commit().await?;
            swept += gone;
            if rows.len() < BATCH as usize {
                return Ok(swept);
            }
            from = next;
        }
    }
}
