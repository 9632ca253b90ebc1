//! What was called: sums over calls.

use call::State;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, parsed};

/// The calls ordered in one span of time over one trunk that ended (or are) in one state.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRow {
    /// When the span begins, Unix ms.
    pub start: i64,
    /// `outbound` or `inbound`.
    pub direction: String,
    /// The trunk's name then.
    pub trunk: Option<String>,
    /// Where they are.
    pub state: State,
    /// How many.
    pub calls: i64,
    /// How many of them were answered.
    pub answered: i64,
    /// From answer to end, all together, in ms.
    pub talk_ms: i64,
    /// The same with each call counted in minutes begun.
    pub minutes: i64,
}

impl Store {
    /// Sums over the calls of the account (or everyone's) ordered from `from` to before `to` (Unix ms), in spans of
    /// `span` ms; at most `limit` rows, oldest first.
    pub async fn usage(
        &self,
        account: Option<i64>,
        (from, to): (i64, i64),
        span: i64,
        limit: u32,
    ) -> Result<Vec<UsageRow>, StoreError> {
        // No account is below 0, so NULL need not be asked for. PostgreSQL sums BIGINT into NUMERIC.
        let select = "SELECT (created_at / $1) * $1 AS start, direction, trunk_name, state, \
                      COUNT(*) AS calls, COUNT(answered_at) AS answered, \
                      CAST(COALESCE(SUM(ended_at - answered_at), 0) AS BIGINT) AS talk_ms, \
                      CAST(COALESCE(SUM((ended_at - answered_at + 59999) / 60000), 0) AS BIGINT) AS minutes \
                      FROM calls WHERE account >= $2 AND account <= $3 AND created_at >= $4 AND created_at < $5 \
                      GROUP BY (created_at / $1) * $1, direction, trunk_name, state \
                      ORDER BY 1, direction, trunk_name, state LIMIT $6";
        let (first, last) = account.map_or((0, i64::MAX), |account| (account, account));
        let rows = sqlx::query(select)
            .bind(span)
            .bind(first)
            .bind(last)
            .bind(from)
            .bind(to)
            .bind(i64::from(limit))
            .fetch_all(&self.0.reads)
            .await?;
        rows.iter().map(from_row).collect()
    }
}

fn from_row(row: &AnyRow) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        start: row.try_get("start")?,
        direction: row.try_get("direction")?,
        trunk: row.try_get("trunk_name")?,
        state: parsed(row, "state", |text| text.parse().ok())?,
        calls: row.try_get("calls")?,
        answered: row.try_get("answered")?,
        talk_ms: row.try_get("talk_ms")?,
        minutes: row.try_get("minutes")?,
    })
}
