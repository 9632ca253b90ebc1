//! What was said and heard on calls that are over, packed.

use sqlx::{AnyConnection, Row};

use super::rows::{self, Cell};
use super::writer::{Job, QUEUE};
use super::{Store, StoreError};
use crate::id::Id;

/// What the queue of the writer must have free: calls come first.
const KEPT_FREE: usize = QUEUE / 2;

/// One row to write.
#[derive(Clone, Debug)]
pub(super) struct Insight {
    pub(super) call: Id,
    pub(super) account: i64,
    pub(super) at: i64,
    pub(super) data: String,
}

impl Store {
    /// Hands over what is to be kept of a call, at `at` (Unix ms); false where it is let go since the database has
    /// enough to do, or is away.
    pub fn keep_insight(&self, call: Id, account: i64, at: i64, data: String) -> bool {
        if self.0.health.is_failing() || self.0.queue.capacity() < KEPT_FREE {
            return false;
        }
        self.0.queue.try_send(Job::Insight(Insight { call, account, at, data })).is_ok()
    }

    /// What is kept of a call.
    pub async fn insight(&self, call: Id) -> Result<Option<String>, StoreError> {
        let select = sqlx::query("SELECT data FROM insights WHERE call_id = $1").bind(call.to_string());
        let row = select.fetch_optional(&self.0.reads).await?;
        Ok(row.map(|row| row.try_get("data")).transpose()?)
    }
}

pub(super) async fn insert(connection: &mut AnyConnection, insights: &[&Insight]) -> Result<(), sqlx::Error> {
    let row = |insight: &&Insight| -> Vec<Cell> {
        vec![insight.call.into(), insight.account.into(), insight.at.into(), insight.data.as_str().into()]
    };
    let rows: Vec<_> = insights.iter().map(row).collect();
    let before = "INSERT INTO insights (call_id, account, created_at, data) VALUES";
    rows::run_repeatable(connection, before, rows, "ON CONFLICT (call_id) DO NOTHING").await?;
    Ok(())
}
