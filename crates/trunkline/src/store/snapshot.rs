//! What is read on a call's way, in memory.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};

use super::keys::KnownKey;
use super::{MasterKey, Store, StoreError, TrunkRow, WebhookRow, json, keys, parsed, trunks, webhooks};

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// 0 is the operator's own, customers count from 1.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// Countries it may call (ISO 3166 alpha-2, `*` for all); see [`Account::prefixes`].
    pub countries: Vec<String>,
    /// Beginnings of numbers it may call or (`!`) may not; see [`call::Prefix`]. Where neither countries nor prefixes
    /// allow anything, the settings' do.
    pub prefixes: Vec<String>,
    /// The country by which its national numbers are read.
    pub region: Option<String>,
    /// Calls at once, if limited; at least 1.
    pub max_calls: Option<u32>,
    /// New calls in one second, if limited; at least 1.
    pub calls_per_second: Option<u32>,
    /// How long its calls may last, in seconds, if shorter than the settings'; at least 1.
    pub max_duration_s: Option<u32>,
}

/// Accounts, keys, trunks and webhook endpoints at one moment.
pub(super) struct Snapshot {
    accounts: HashMap<i64, Account>,
    /// The default trunk first, then by priority and name.
    trunks: HashMap<i64, Vec<TrunkRow>>,
    /// By the first bytes of the hash; the rest is compared in constant time.
    pub(super) keys: HashMap<[u8; 8], Vec<KnownKey>>,
    /// By account; one without endpoints is not there.
    pub(super) webhooks: HashMap<i64, Vec<WebhookRow>>,
}

impl Snapshot {
    pub(super) async fn load(pool: &AnyPool, master: &MasterKey) -> Result<Self, StoreError> {
        let rows = sqlx::query("SELECT * FROM accounts").fetch_all(pool).await?;
        let accounts = rows.iter().map(|row| {
            let account = Account {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                countries: parsed(row, "countries", json)?,
                prefixes: parsed(row, "prefixes", json)?,
                region: row.try_get("region")?,
                max_calls: limit(row, "max_calls")?,
                calls_per_second: limit(row, "calls_per_second")?,
                max_duration_s: limit(row, "max_duration_s")?,
            };
            Ok((account.id, account))
        });
        let accounts = accounts.collect::<Result<_, StoreError>>()?;
        let mut by_account: HashMap<i64, Vec<TrunkRow>> = HashMap::new();
        let order = "SELECT * FROM trunks ORDER BY account, is_default DESC, priority, name";
        for row in sqlx::query(order).fetch_all(pool).await? {
            let trunk = trunks::from_row(&row, master)?;
            by_account.entry(trunk.account).or_default().push(trunk);
        }
        let mut known: HashMap<_, Vec<_>> = HashMap::new();
        for row in sqlx::query("SELECT * FROM keys").fetch_all(pool).await? {
            let key = keys::known_from_row(&row)?;
            known.entry(key.index()).or_default().push(key);
        }
        let mut endpoints: HashMap<i64, Vec<WebhookRow>> = HashMap::new();
        for row in sqlx::query("SELECT * FROM webhooks").fetch_all(pool).await? {
            let webhook = webhooks::from_row(&row, master)?;
            endpoints.entry(webhook.account).or_default().push(webhook);
        }
        Ok(Self { accounts, trunks: by_account, keys: known, webhooks: endpoints })
    }
}

fn limit(row: &AnyRow, field: &'static str) -> Result<Option<u32>, StoreError> {
    let limit: Option<i64> = row.try_get(field)?;
    limit.map(|limit| u32::try_from(limit).map_err(|_| StoreError::Value { field })).transpose()
}

impl Store {
    /// The account, from memory.
    pub fn account(&self, id: i64) -> Option<Account> {
        self.memory().accounts.get(&id).cloned()
    }

    /// All accounts by id, from memory.
    pub fn accounts(&self) -> Vec<Account> {
        let mut accounts: Vec<_> = self.memory().accounts.values().cloned().collect();
        accounts.sort_by_key(|account| account.id);
        accounts
    }

    /// The account's trunks from memory: the default one first, then by priority and name.
    pub fn trunks(&self, account: i64) -> Vec<TrunkRow> {
        self.memory().trunks.get(&account).cloned().unwrap_or_default()
    }

    /// One trunk from memory; `account: None` looks in all of them (for the operator).
    pub fn trunk(&self, account: Option<i64>, id: crate::id::Id) -> Option<TrunkRow> {
        let memory = self.memory();
        let found = memory.trunks.values().flatten().find(|trunk| trunk.id == id);
        found.filter(|trunk| account.is_none_or(|account| account == trunk.account)).cloned()
    }
}
