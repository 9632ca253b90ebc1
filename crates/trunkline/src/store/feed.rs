//! All events of an account, in the order in which they were committed.

use sqlx::any::AnyArguments;
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::calls::event_from_row;
use super::{CallEvent, Store, StoreError};
use crate::id::Id;

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only of this account; `None` is everyone's (for the operator).
    pub account: Option<i64>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this call.
    pub call: Option<Id>,
    /// Only those that happened then or later, Unix ms.
    pub since: Option<i64>,
    /// Only those committed after this one.
    pub after: i64,
}

/// An event and its place: ordinals only grow, and what is read once has nothing new before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Counts over all accounts.
    pub ordinal: i64,
    /// What happened.
    pub event: CallEvent,
}

impl Store {
    /// Up to `limit` events, oldest first.
    pub async fn feed(&self, filter: &EventFilter, limit: u32) -> Result<Vec<Placed>, StoreError> {
        let mut sql = String::from("SELECT * FROM events WHERE ordinal > $1");
        let mut arguments = AnyArguments::default();
        arguments.add(filter.after).map_err(sqlx::Error::Encode)?;
        for (condition, value) in [(" AND account = $", filter.account), (" AND at >= $", filter.since)] {
            let Some(value) = value else { continue };
            arguments.add(value).map_err(sqlx::Error::Encode)?;
            sql.push_str(&format!("{condition}{}", arguments.len()));
        }
        let call = filter.call.map(|call| call.to_string());
        for (condition, value) in [(" AND kind = $", filter.kind.clone()), (" AND call_id = $", call)] {
            let Some(value) = value else { continue };
            arguments.add(value).map_err(sqlx::Error::Encode)?;
            sql.push_str(&format!("{condition}{}", arguments.len()));
        }
        arguments.add(i64::from(limit)).map_err(sqlx::Error::Encode)?;
        sql.push_str(&format!(" ORDER BY ordinal LIMIT ${}", arguments.len()));
        // Only the conditions above and the places of their values are put together.
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&self.0.reads).await?;
        let placed = |row| {
            Ok(Placed { ordinal: sqlx::any::AnyRow::try_get(row, "ordinal")?, event: event_from_row(row)? })
        };
        rows.iter().map(placed).collect()
    }

    /// The ordinal of the newest event; 0 where there is none.
    pub async fn newest_event(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COALESCE(MAX(ordinal), 0) AS newest FROM events")
            .fetch_one(&self.0.reads)
            .await?;
        Ok(row.try_get("newest")?)
    }
}
