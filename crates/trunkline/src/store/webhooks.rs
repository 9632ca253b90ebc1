//! Webhook endpoints, and the outbox: what is to be delivered to them stands in the transaction of its event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Row};

use super::rows::{self, Cell};
use super::snapshot::Snapshot;
use super::{CallEvent, CallRow, MasterKey, Store, StoreError, calls, id_of, json, parsed, parsed_or_null};
use crate::id::Id;
use crate::refused::Refused;
use crate::secret::Secret;
use crate::time::now_ms;

/// The types of events an endpoint can ask for; `*` stands for all of them.
pub const EVENT_TYPES: &[&str] = &["call.queued", "call.ringing", "call.answered", "call.finished"];

/// The type of a test delivery, which every endpoint gets.
pub const TEST: &str = "webhook.test";

/// Endpoints of one account.
const MOST: usize = 20;

/// How long the secret before goes on signing too, in ms.
const OVERLAP: i64 = 24 * 3600 * 1000;

/// Where events are delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookRow {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub account: i64,
    /// `http://…` or `https://…`.
    pub url: String,
    /// What it is for, up to 255 characters.
    pub description: String,
    /// Of [`EVENT_TYPES`]; `*` is all.
    pub events: Vec<String>,
    /// `whsec_` and 32 bytes in Base64.
    pub secret: Secret,
    /// The one before, and until when (Unix ms) it signs too.
    pub old_secret: Option<(Secret, i64)>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// Why the server disabled it.
    pub disabled_why: Option<String>,
    /// Unix ms.
    pub created_at: i64,
}

/// An endpoint to be made.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "said at WebhookRow")]
pub struct NewWebhook {
    pub account: i64,
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
}

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

/// What an event is called on webhooks; `None` where it is not told there.
pub fn event_type(event: &CallEvent) -> Option<&'static str> {
    match (event.kind.as_str(), event.detail.get("state").and_then(|state| state.as_str())) {
        ("finished", _) => Some("call.finished"),
        ("state", Some("queued")) => Some("call.queued"),
        ("state", Some("ringing")) => Some("call.ringing"),
        ("state", Some("in-progress")) => Some("call.answered"),
        _ => None,
    }
}

impl WebhookRow {
    fn wants(&self, kind: &str) -> bool {
        self.enabled && self.events.iter().any(|event| event == "*" || event == kind)
    }
}

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

fn place(account: i64, id: Id, field: &str) -> String {
    format!("{account}/webhooks/{id}/{field}")
}

pub(super) fn from_row(row: &AnyRow, master: &MasterKey) -> Result<WebhookRow, StoreError> {
    let (id, account) = (id_of(row, "id")?, row.try_get("account")?);
    let secret: String = row.try_get("secret")?;
    let old: Option<String> = row.try_get("old_secret")?;
    let until: Option<i64> = row.try_get("old_until")?;
    let old = old.map(|old| master.open(&old, &place(account, id, "old_secret"))).transpose()?;
    Ok(WebhookRow {
        id,
        account,
        url: row.try_get("url")?,
        description: row.try_get("description")?,
        events: parsed(row, "events", json)?,
        secret: master.open(&secret, &place(account, id, "secret"))?,
        old_secret: old.zip(until),
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        disabled_why: row.try_get("disabled_why")?,
        created_at: row.try_get("created_at")?,
    })
}

/// A signing secret: 32 random bytes as Standard Webhooks writes them.
fn new_secret() -> Result<Secret, StoreError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(Secret::from(format!("whsec_{}", STANDARD.encode(*bytes))))
}

fn check(url: &str, description: &str, events: &[String]) -> Result<(), StoreError> {
    let bad = |message: String| StoreError::Refused(Refused::bad("invalid_webhook", message));
    if url.len() > 2048 {
        return Err(bad("The field `url` is longer than 2048 bytes.".into()));
    }
    if description.chars().count() > 255 || description.chars().any(char::is_control) {
        return Err(bad(
            "The field `description` must have at most 255 characters, none of them control characters."
                .into(),
        ));
    }
    let known = |event: &String| event == "*" || EVENT_TYPES.contains(&event.as_str());
    if let Some(unknown) = events.iter().find(|event| !known(event)) {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        let refused = Refused::bad(
            "invalid_webhook",
            format!("The field `events` has {shown:?}, which is no type of event."),
        );
        return Err(refused.hint(format!("Use {} or *.", EVENT_TYPES.join(", "))).into());
    }
    if events.is_empty() || events.len() > EVENT_TYPES.len() + 1 {
        return Err(bad("The field `events` must name at least one type of event, each once.".into()));
    }
    Ok(())
}

impl Store {
    /// The account's endpoints from memory, oldest first; `None`: everyone's.
    pub fn webhooks(&self, account: Option<i64>) -> Vec<WebhookRow> {
        let memory = self.memory();
        let mut found: Vec<WebhookRow> = match account {
            Some(account) => memory.webhooks.get(&account).cloned().unwrap_or_default(),
            None => memory.webhooks.values().flatten().cloned().collect(),
        };
        found.sort_by_key(|webhook| (webhook.created_at, webhook.id));
        found
    }

    /// One endpoint from memory; `account: None` looks in all of them (for the operator).
    pub fn webhook(&self, account: Option<i64>, id: Id) -> Option<WebhookRow> {
        let memory = self.memory();
        let found = memory.webhooks.values().flatten().find(|webhook| webhook.id == id);
        found.filter(|webhook| account.is_none_or(|account| account == webhook.account)).cloned()
    }

    /// Makes an endpoint with a secret of its own. The caller has checked where the URL leads.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<WebhookRow, StoreError> {
        check(&new.url, &new.description, &new.events)?;
        if self.account(new.account).is_none() {
            return Err(
                Refused::bad("unknown_account", format!("There is no account {}.", new.account)).into()
            );
        }
        let _changing = self.0.changing.lock().await;
        if self.webhooks(Some(new.account)).len() >= MOST {
            let refused = Refused::new(
                409,
                "too_many_webhooks",
                format!("An account can have {MOST} webhook endpoints."),
            );
            return Err(refused.hint("Delete one that is no longer needed.").into());
        }
        let row = WebhookRow {
            id: Id::new()?,
            account: new.account,
            url: new.url,
            description: new.description,
            events: new.events,
            secret: new_secret()?,
            old_secret: None,
            enabled: true,
            disabled_why: None,
            created_at: now_ms(),
        };
        self.put_webhook(&row).await?;
        self.refresh().await?;
        Ok(row)
    }

    /// Changes url, description, events and whether it is enabled; false when it is gone.
    pub async fn update_webhook(&self, row: &WebhookRow) -> Result<bool, StoreError> {
        check(&row.url, &row.description, &row.events)?;
        self.change_webhook(Some(row.account), row.id, |kept| {
            kept.url.clone_from(&row.url);
            kept.description.clone_from(&row.description);
            kept.events.clone_from(&row.events);
            kept.enabled = row.enabled;
            kept.disabled_why = row.disabled_why.clone().filter(|_| !row.enabled);
            Ok(())
        })
        .await
        .map(|changed| changed.is_some())
    }

    /// Gives an endpoint a new secret; for a day the old one signs too.
    pub async fn rotate_webhook(
        &self,
        account: Option<i64>,
        id: Id,
    ) -> Result<Option<WebhookRow>, StoreError> {
        self.change_webhook(account, id, |row| {
            let old = std::mem::replace(&mut row.secret, new_secret()?);
            row.old_secret = Some((old, now_ms() + OVERLAP));
            Ok(())
        })
        .await
    }

    /// Disables an endpoint by the server's own decision.
    pub async fn disable_webhook(&self, id: Id, why: &str) -> Result<(), StoreError> {
        self.change_webhook(None, id, |row| {
            row.enabled = false;
            row.disabled_why = Some(why.to_owned());
            Ok(())
        })
        .await
        .map(drop)
    }

    async fn change_webhook(
        &self,
        account: Option<i64>,
        id: Id,
        change: impl FnOnce(&mut WebhookRow) -> Result<(), StoreError>,
    ) -> Result<Option<WebhookRow>, StoreError> {
        let _changing = self.0.changing.lock().await;
        let Some(mut row) = self.webhook(account, id) else { return Ok(None) };
        change(&mut row)?;
        self.put_webhook(&row).await?;
        self.refresh().await?;
        self.0.outbox.wake([id]);
        Ok(Some(row))
    }

    /// Deletes an endpoint and everything that was to be delivered to it; false when there is none.
    pub async fn delete_webhook(&self, account: Option<i64>, id: Id) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        if self.webhook(account, id).is_none() {
            return Ok(false);
        }
        let mut change = self.0.writes.begin().await?;
        for delete in [
            "DELETE FROM attempts WHERE delivery IN (SELECT id FROM deliveries WHERE webhook = $1)",
            "DELETE FROM deliveries WHERE webhook = $1",
            "DELETE FROM webhooks WHERE id = $1",
        ] {
            sqlx::query(delete).bind(id.to_string()).execute(&mut *change).await?;
        }
        change.commit().await?;
        self.refresh().await?;
        Ok(true)
    }

    async fn put_webhook(&self, row: &WebhookRow) -> Result<(), StoreError> {
        let seal = |secret: &Secret, field| self.0.master.seal(secret, &place(row.account, row.id, field));
        let put = "INSERT INTO webhooks (id, account, url, description, events, secret, old_secret, old_until, enabled, \
                   disabled_why, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                   ON CONFLICT (id) DO UPDATE SET url = $3, description = $4, events = $5, secret = $6, \
                   old_secret = $7, old_until = $8, enabled = $9, disabled_why = $10";
        let (old, until) = row.old_secret.as_ref().map(|(old, until)| (old, *until)).unzip();
        sqlx::query(put)
            .bind(row.id.to_string())
            .bind(row.account)
            .bind(row.url.clone())
            .bind(row.description.clone())
            .bind(serde_json::json!(row.events).to_string())
            .bind(seal(&row.secret, "secret")?)
            .bind(old.map(|old| seal(old, "old_secret")).transpose()?)
            .bind(until)
            .bind(i64::from(row.enabled))
            .bind(row.disabled_why.clone())
            .bind(row.created_at)
            .execute(&self.0.writes)
            .await?;
        Ok(())
    }

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
        let mut sql = String::from("SELECT * FROM deliveries WHERE 1 = 1");
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
        rows.iter().map(|row| delivery(row, "id")).collect()
    }

    /// One delivery and its attempts.
    pub async fn delivery(
        &self,
        account: Option<i64>,
        id: Id,
    ) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>, StoreError> {
        let select = sqlx::query("SELECT * FROM deliveries WHERE id = $1").bind(id.to_string());
        let Some(row) = select.fetch_optional(&self.0.reads).await? else { return Ok(None) };
        let row = delivery(&row, "id")?;
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
        let columns = calls::COLUMNS;
        let select = format!(
            "SELECT d.id AS delivery, d.webhook, d.account AS whose, d.call_id, d.sequence, d.kind AS type, \
             d.state AS progress, d.created_at AS made_at, d.due_at, d.pending_since, d.tries, d.attempts, \
             d.ended_at AS given_up_at, e.at, e.kind AS event_kind, e.detail, {columns} FROM deliveries d \
             LEFT JOIN events e ON e.call_id = d.call_id AND e.sequence = d.sequence \
             LEFT JOIN calls ON calls.id = d.call_id \
             WHERE d.webhook = $1 AND d.state = 'pending' AND d.due_at <= $2 AND NOT EXISTS \
             (SELECT 1 FROM deliveries f WHERE f.webhook = d.webhook AND f.call_id = d.call_id \
             AND f.sequence < d.sequence AND f.state = 'pending') \
             ORDER BY d.due_at, d.sequence LIMIT $3"
        );
        let rows = sqlx::query(AssertSqlSafe(select)).bind(webhook.to_string()).bind(now).bind(limit);
        let due = |row: &AnyRow| {
            let (call, sequence) = (parsed_or_null(row, "call_id", Id::parse)?, row.try_get("sequence")?);
            let row_of = DeliveryRow {
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
            };
            let at: Option<i64> = row.try_get("at")?;
            let event = match (call, at, row.try_get::<Option<String>, _>("id")?) {
                (Some(call), Some(at), Some(_)) => {
                    let event = CallEvent {
                        call,
                        account: row_of.account,
                        sequence,
                        at,
                        kind: row.try_get("event_kind")?,
                        detail: parsed(row, "detail", json)?,
                    };
                    Some((event, calls::from_row(row)?))
                }
                _ => None,
            };
            Ok(Due { row: row_of, event })
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

fn delivery(row: &AnyRow, id: &'static str) -> Result<DeliveryRow, StoreError> {
    let (call, sequence) = (parsed_or_null(row, "call_id", Id::parse)?, row.try_get("sequence")?);
    Ok(DeliveryRow {
        id: id_of(row, id)?,
        webhook: id_of(row, "webhook")?,
        account: row.try_get("account")?,
        of: call.map(|call| (call, sequence)),
        kind: row.try_get("kind")?,
        state: row.try_get("state")?,
        created_at: row.try_get("created_at")?,
        due_at: row.try_get("due_at")?,
        pending_since: row.try_get("pending_since")?,
        tries: row.try_get("tries")?,
        attempts: row.try_get("attempts")?,
        ended_at: row.try_get("ended_at")?,
    })
}
