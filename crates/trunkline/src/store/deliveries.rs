//! The outbox: what is to be delivered to webhook endpoints stands in the transaction of its event.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Row};

use super::rows::{self, Cell};
use super::snapshot::Snapshot;
use super::webhooks::{TEST, WebhookRow, event_type};
use super::{CallEvent, CallRow, Store, StoreError, calls, id_of, json, parsed, parsed_or_null};
use crate::id::Id;
use crate::time::now_ms;

/// One event on its way to one endpoint. Times are Unix ms.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// The `webhook-id` of all its attempts.
    pub id: Id,
    /// The endpoint.
    pub webhook: Id,
    /// Whose it is.
    pub account: i64,
    /// The call and the number of its event; a test has none.
    pub of: Option<(Id, i64)>,
    /// The type of event.
    pub kind: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// When its event happened.
    pub created_at: i64,
    /// When it is tried (again), while pending.
    pub due_at: i64,
    /// Since when it is pending; a replay begins anew.
    pub pending_since: i64,
    /// Failed attempts since then.
    pub tries: i64,
    /// Attempts begun in all.
    pub attempts: i64,
    /// When it was delivered or given up.
    pub ended_at: Option<i64>,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// Counts from 1.
    pub number: i64,
    /// Unix ms.
    pub at: i64,
    /// How long it took; `None`: under way, or the server ended before the answer came.
    pub ms: Option<i64>,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A delivery whose time has come, and what it tells.
#[derive(Clone, Debug)]
pub struct Due {
    /// The delivery.
    pub row: DeliveryRow,
    /// The event and its call; a test has none.
    pub event: Option<(CallEvent, CallRow)>,
}

/// An attempt that begins.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The delivery.
    pub delivery: Id,
    /// The attempt's number.
    pub number: i64,
    /// Unix ms.
    pub at: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The delivery.
    pub delivery: Id,
    /// Its endpoint.
    pub webhook: Id,
    /// The call and the number of its event.
    pub of: Option<(Id, i64)>,
    /// The attempt's number.
    pub number: i64,
    /// When it ended, in Unix ms.
    pub at: i64,
    /// How long it took.
    pub ms: i64,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// What becomes of the delivery.
    pub verdict: Verdict,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It is tried again.
    Retry {
        /// Not before this, in Unix ms.
        due_at: i64,
    },
    /// It is given up, and shown among the dead.
    Dead,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only those to this endpoint.
    pub webhook: Option<Id>,
    /// Only those about this call.
    pub call: Option<Id>,
    /// Only those in this state: `pending`, `delivered` or `dead`.
    pub state: Option<String>,
    /// Only those older than this delivery: the last of the page before.
    pub after: Option<Id>,
    /// How many at most, 1 to 200; 0 means 50.
    pub limit: i64,
}

/// A delivery's columns, by names that those of its call and event do not have.
const COLUMNS: &str = "d.id AS delivery, d.webhook, d.account AS whose, d.call_id, d.sequence, d.kind AS type, \
                       d.state AS progress, d.created_at AS made_at, d.due_at, d.pending_since, d.tries, d.attempts, \
                       d.ended_at AS given_up_at";

/// Puts what `events` tell into the outbox of their accounts' endpoints; answers which endpoints that concerns.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    events: &[&CallEvent],
    memory: &Snapshot,
) -> Result<std::collections::HashSet<Id>, sqlx::Error> {
    let mut touched = std::collections::HashSet::new();
    let mut rows = Vec::new();
    for event in events {
        let Some(webhooks) = memory.webhooks.get(&event.account) else { continue };
        let Some(kind) = event_type(event) else { continue };
        for webhook in webhooks.iter().filter(|webhook| webhook.wants(kind)) {
            let id = Id::new().map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
            touched.insert(webhook.id);
            rows.push(delivery_cells(id, webhook, Some((event.call, event.sequence)), kind, event.at));
        }
    }
    rows::run(connection, INSERT, &rows, "ON CONFLICT (webhook, call_id, sequence) DO NOTHING").await?;
    Ok(touched)
}

const INSERT: &str = "INSERT INTO deliveries (id, webhook, account, call_id, sequence, kind, state, created_at, due_at, \
                      pending_since, tries, attempts) VALUES";

fn delivery_cells(id: Id, to: &WebhookRow, of: Option<(Id, i64)>, kind: &str, at: i64) -> Vec<Cell> {
    let (call, sequence) = of.unzip();
    vec![
        id.into(),
        to.id.into(),
        to.account.into(),
        call.map(|call| call.to_string()).into(),
        sequence.unwrap_or(0).into(),
        kind.into(),
        "pending".into(),
        at.into(),
        at.into(),
        at.into(),
        0.into(),
        0.into(),
    ]
}

impl Store {
    /// Has a test event delivered to the endpoint; answers the delivery.
    pub async fn test_webhook(&self, webhook: &WebhookRow) -> Result<DeliveryRow, StoreError> {
        let id = Id::new()?;
        let cells = delivery_cells(id, webhook, None, TEST, now_ms());
        let mut connection = self.0.writes.acquire().await?;
        rows::run(&mut connection, INSERT, &[cells], "").await?;
        drop(connection);
        self.0.outbox.wake([webhook.id]);
        let made = self.delivery(Some(webhook.account), id).await?;
        made.map(|(row, _)| row).ok_or(StoreError::Value { field: "deliveries.id" })
    }

    /// Deliveries of the account (or everyone's), newest first.
    pub async fn deliveries(
        &self,
        account: Option<i64>,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM deliveries d WHERE 1 = 1");
        let mut arguments = AnyArguments::default();
        if let Some(account) = account {
            arguments.add(account).map_err(sqlx::Error::Encode)?;
            sql.push_str(" AND account = $1");
        }
        let wanted = [
            (" AND webhook = $", filter.webhook.map(|id| id.to_string())),
            (" AND call_id = $", filter.call.map(|id| id.to_string())),
            (" AND state = $", filter.state.clone()),
            // Ids begin with their time.
            (" AND id < $", filter.after.map(|id| id.to_string())),
        ];
        for (condition, value) in wanted {
            let Some(value) = value else { continue };
            arguments.add(value).map_err(sqlx::Error::Encode)?;
            sql.push_str(&format!("{condition}{}", arguments.len()));
        }
        let limit = if filter.limit == 0 { 50 } else { filter.limit.clamp(1, 200) };
        arguments.add(limit).map_err(sqlx::Error::Encode)?;
        sql.push_str(&format!(" ORDER BY id DESC LIMIT ${}", arguments.len()));
        // Only the conditions above and the places of their values are put together.
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&self.0.reads).await?;
        rows.iter().map(delivery).collect()
    }

    /// One delivery and its attempts.
    pub async fn delivery(
        &self,
        account: Option<i64>,
        id: Id,
    ) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM deliveries d WHERE id = $1");
        let select = sqlx::query(AssertSqlSafe(select)).bind(id.to_string());
        let Some(row) = select.fetch_optional(&self.0.reads).await? else { return Ok(None) };
        let row = delivery(&row)?;
        if account.is_some_and(|account| account != row.account) {
            return Ok(None);
        }
        let select = sqlx::query("SELECT * FROM attempts WHERE delivery = $1 ORDER BY number");
        let attempts = select.bind(id.to_string()).fetch_all(&self.0.reads).await?;
        let attempt = |row: &AnyRow| {
            let status: Option<i64> = row.try_get("status")?;
            Ok(AttemptRow {
                number: row.try_get("number")?,
                at: row.try_get("at")?,
                ms: row.try_get("ms")?,
                status: status.and_then(|status| u16::try_from(status).ok()),
                error: row.try_get("error")?,
            })
        };
        let attempts = attempts.iter().map(attempt).collect::<Result<_, StoreError>>()?;
        Ok(Some((row, attempts)))
    }

    /// Delivers once more, under the same id, what was delivered or given up; false when there is no such delivery or
    /// it is still on its way.
    pub async fn replay_delivery(&self, account: Option<i64>, id: Id) -> Result<bool, StoreError> {
        let Some((row, _)) = self.delivery(account, id).await? else { return Ok(false) };
        let update = "UPDATE deliveries SET state = 'pending', due_at = $1, pending_since = $1, tries = 0, \
                      ended_at = NULL WHERE id = $2 AND state <> 'pending'";
        let done = sqlx::query(update).bind(now_ms()).bind(id.to_string()).execute(&self.0.writes).await?;
        self.0.outbox.wake([row.webhook]);
        Ok(done.rows_affected() > 0)
    }

    /// Delivers once more what was given up for the endpoint since `since` (Unix ms); answers how much.
    pub async fn replay_dead(&self, webhook: &WebhookRow, since: i64) -> Result<u64, StoreError> {
        let update = "UPDATE deliveries SET state = 'pending', due_at = $1, pending_since = $1, tries = 0, \
                      ended_at = NULL WHERE webhook = $2 AND state = 'dead' AND created_at >= $3";
        let update = sqlx::query(update).bind(now_ms()).bind(webhook.id.to_string()).bind(since);
        let done = update.execute(&self.0.writes).await?;
        self.0.outbox.wake([webhook.id]);
        Ok(done.rows_affected())
    }

    /// Endpoints that something waits for. To be asked once, at the start.
    pub(crate) async fn waiting_webhooks(&self) -> Result<Vec<Id>, StoreError> {
        let select = "SELECT DISTINCT webhook FROM deliveries WHERE state = 'pending'";
        let rows = sqlx::query(select).fetch_all(&self.0.reads).await?;
        rows.iter().map(|row| id_of(row, "webhook")).collect()
    }

    /// What is due for an endpoint at `now`, the oldest first: of each call only the first that is not delivered.
    pub(crate) async fn due(&self, webhook: Id, now: i64, limit: i64) -> Result<Vec<Due>, StoreError> {
        let calls = calls::COLUMNS;
        let select = format!(
            "SELECT {COLUMNS}, e.at, e.kind AS event_kind, e.detail, {calls} FROM deliveries d \
             LEFT JOIN events e ON e.call_id = d.call_id AND e.sequence = d.sequence \
             LEFT JOIN calls ON calls.id = d.call_id \
             WHERE d.webhook = $1 AND d.state = 'pending' AND d.due_at <= $2 AND NOT EXISTS \
             (SELECT 1 FROM deliveries f WHERE f.webhook = d.webhook AND f.call_id = d.call_id \
             AND f.sequence < d.sequence AND f.state = 'pending') \
             ORDER BY d.due_at, d.sequence LIMIT $3"
        );
        let rows = sqlx::query(AssertSqlSafe(select)).bind(webhook.to_string()).bind(now).bind(limit);
        let due = |row: &AnyRow| {
            let delivery = delivery(row)?;
            let at: Option<i64> = row.try_get("at")?;
            let event = match (delivery.of, at, row.try_get::<Option<String>, _>("id")?) {
                (Some((call, sequence)), Some(at), Some(_)) => {
                    let event = CallEvent {
                        call,
                        account: delivery.account,
                        sequence,
                        at,
                        kind: row.try_get("event_kind")?,
                        detail: parsed(row, "detail", json)?,
                    };
                    Some((event, calls::from_row(row)?))
                }
                _ => None,
            };
            Ok(Due { row: delivery, event })
        };
        rows.fetch_all(&self.0.reads).await?.iter().map(due).collect()
    }

    /// When the next delivery to an endpoint falls due, if not now.
    pub(crate) async fn next_due(&self, webhook: Id, now: i64) -> Result<Option<i64>, StoreError> {
        let select = "SELECT MIN(due_at) AS next FROM deliveries WHERE webhook = $1 AND state = 'pending' AND due_at > $2";
        let row = sqlx::query(select).bind(webhook.to_string()).bind(now).fetch_one(&self.0.reads).await?;
        Ok(row.try_get("next")?)
    }
}

/// A delivery of which [`COLUMNS`] were selected.
fn delivery(row: &AnyRow) -> Result<DeliveryRow, StoreError> {
    let (call, sequence) = (parsed_or_null(row, "call_id", Id::parse)?, row.try_get("sequence")?);
    Ok(DeliveryRow {
        id: id_of(row, "delivery")?,
        webhook: id_of(row, "webhook")?,
        account: row.try_get("whose")?,
        of: call.map(|call| (call, sequence)),
        kind: row.try_get("type")?,
        state: row.try_get("progress")?,
        created_at: row.try_get("made_at")?,
        due_at: row.try_get("due_at")?,
        pending_since: row.try_get("pending_since")?,
        tries: row.try_get("tries")?,
        attempts: row.try_get("attempts")?,
        ended_at: row.try_get("given_up_at")?,
    })
}
