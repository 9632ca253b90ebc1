//! What is read on a call's way, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::AnyPool;

use super::keys::KnownKey;
use super::{Account, MasterKey, Store, StoreError, TrunkRow, WebhookRow, accounts, keys, trunks, webhooks};

/// Accounts, keys, trunks and webhook endpoints at one moment.
pub(super) struct Snapshot {
    accounts: HashMap<i64, Account>,
    domains: HashMap<String, i64>,
    /// The accounts of each, by id.
    realms: HashMap<String, Vec<i64>>,
    inbound: Vec<Arc<TrunkRow>>,
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
        let accounts = rows.iter().map(|row| accounts::from_row(row).map(|account| (account.id, account)));
        let accounts: HashMap<_, _> = accounts.collect::<Result<_, StoreError>>()?;
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
        let named = accounts.values().filter_map(|account| Some((account.domain.clone()?, account.id)));
        let domains = named.collect();
        let mut realms: HashMap<String, Vec<i64>> = HashMap::new();
        for account in accounts.values() {
            realms.entry(account.realm.clone()).or_default().push(account.id);
        }
        realms.values_mut().for_each(|accounts| accounts.sort_unstable());
        let inbound = by_account.values().flatten().filter(|trunk| trunk.calls_in());
        let inbound = inbound.cloned().map(Arc::new).collect();
        Ok(Self { accounts, domains, realms, trunks: by_account, inbound, keys: known, webhooks: endpoints })
    }

    pub(super) fn account(&self, id: i64) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// By its domain in lower case.
    pub(super) fn account_of_domain(&self, domain: &str) -> Option<i64> {
        self.domains.get(domain).copied()
    }

    /// By id.
    pub(super) fn accounts_of_realm(&self, realm: &str) -> &[i64] {
        self.realms.get(realm).map_or(&[], Vec::as_slice)
    }

    /// The enabled trunks that call in.
    /// A trunk of whatever account.
    pub(super) fn trunk(&self, id: crate::id::Id) -> Option<&TrunkRow> {
        self.trunks.values().flatten().find(|trunk| trunk.id == id)
    }

    /// All trunks.
    pub(super) fn trunks(&self) -> impl Iterator<Item = &TrunkRow> {
        self.trunks.values().flatten()
    }

    /// The trunks that call in.
    pub(super) fn inbound(&self) -> &[Arc<TrunkRow>] {
        &self.inbound
    }
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
