//! Webhook endpoints: where events are delivered, and which.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{CallEvent, MasterKey, Store, StoreError, id_of, json, parsed};
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
    pub(super) fn wants(&self, kind: &str) -> bool {
        self.enabled && self.events.iter().any(|event| event == "*" || event == kind)
    }
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

/// The types as they were first named; what is named again says nothing new.
fn each_once(mut events: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    events.retain(|event| seen.insert(event.clone()));
    events
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
    if events.is_empty() {
        return Err(bad("The field `events` must name at least one type of event.".into()));
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
        let events = each_once(new.events);
        check(&new.url, &new.description, &events)?;
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
            events,
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
        let events = each_once(row.events.clone());
        check(&row.url, &row.description, &events)?;
        self.change_webhook(Some(row.account), row.id, |kept| {
            kept.url.clone_from(&row.url);
            kept.description.clone_from(&row.description);
            kept.events = events;
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
}
