//! Who and what the SIP server knows, in memory: users, groups and numbers, row by row, so that a change costs the
//! same whether there are ten users or a hundred thousand.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use sqlx::AnyPool;

use super::snapshot::Snapshot;
use super::{GroupRow, MasterKey, NumberRow, Store, StoreError, TrunkRow, UserRow, groups, numbers, users};
use crate::id::Id;

/// What a name leads to where no account is named.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<T> {
    /// Nothing.
    Nothing,
    /// One, and no other.
    One(T),
    /// Several accounts have it: which one is meant cannot be told by the name alone.
    Several,
}

/// A row that belongs to an account.
pub(super) trait Owned {
    fn account(&self) -> i64;
}

/// Rows by a name that is unique within an account; those of several accounts lie in the order of the accounts.
pub(super) struct Names<T>(HashMap<Arc<str>, Vec<Arc<T>>>);

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Owned> Names<T> {
    /// Those of all accounts.
    pub(super) fn all(&self, name: &str) -> &[Arc<T>] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn get(&self, account: i64, name: &str) -> Option<&Arc<T>> {
        let all = self.all(name);
        all.binary_search_by_key(&account, |row| row.account()).ok().and_then(|place| all.get(place))
    }

    fn put(&mut self, name: &Arc<str>, row: &Arc<T>) {
        let Some(all) = self.0.get_mut(name) else {
            self.0.insert(name.clone(), vec![row.clone()]);
            return;
        };
        match all.binary_search_by_key(&row.account(), |other| other.account()) {
            Ok(place) => all.splice(place..=place, [row.clone()]).for_each(drop),
            Err(place) => all.insert(place, row.clone()),
        }
    }

    fn remove(&mut self, account: i64, name: &str) {
        let Some(all) = self.0.get_mut(name) else { return };
        all.retain(|row| row.account() != account);
        if all.is_empty() {
            self.0.remove(name);
        }
    }
}

/// The rows, by account and id and by the names they are asked for.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) users: BTreeMap<(i64, Id), Arc<UserRow>>,
    pub(super) usernames: Names<UserRow>,
    external_ids: Names<UserRow>,
    /// Users of each account that has any.
    counts: HashMap<i64, usize>,
    pub(super) groups: BTreeMap<(i64, Id), Arc<GroupRow>>,
    pub(super) group_names: Names<GroupRow>,
    pub(super) numbers: BTreeMap<(i64, i64), Arc<NumberRow>>,
    pub(super) e164: Names<NumberRow>,
}

impl Tables {
    /// Reads all rows, one after another: a hundred thousand at once would lie in memory twice.
    pub(super) async fn load(pool: &AnyPool, master: &MasterKey) -> Result<Self, StoreError> {
        let mut tables = Self::default();
        let mut rows = sqlx::query("SELECT * FROM users").fetch(pool);
        while let Some(row) = rows.try_next().await? {
            tables.put_user(Arc::new(users::from_row(&row, master)?));
        }
        drop(rows);
        for row in sqlx::query("SELECT * FROM groups").fetch_all(pool).await? {
            tables.put_group(Arc::new(groups::from_row(&row)?));
        }
        let mut rows = sqlx::query("SELECT * FROM numbers").fetch(pool);
        while let Some(row) = rows.try_next().await? {
            tables.put_number(Arc::new(numbers::from_row(&row)?));
        }
        drop(rows);
        Ok(tables)
    }

    pub(super) fn put_user(&mut self, row: Arc<UserRow>) {
        self.remove_user(row.account, row.id);
        self.usernames.put(&row.username, &row);
        if let Some(external_id) = &row.external_id {
            self.external_ids.put(external_id, &row);
        }
        *self.counts.entry(row.account).or_default() += 1;
        self.users.insert((row.account, row.id), row);
    }

    pub(super) fn remove_user(&mut self, account: i64, id: Id) {
        let Some(row) = self.users.remove(&(account, id)) else { return };
        self.usernames.remove(account, &row.username);
        if let Some(external_id) = &row.external_id {
            self.external_ids.remove(account, external_id);
        }
        if let Some(count) = self.counts.get_mut(&account) {
            *count -= 1;
        }
    }

    pub(super) fn put_group(&mut self, row: Arc<GroupRow>) {
        self.remove_group(row.account, row.id);
        self.group_names.put(&row.name, &row);
        self.groups.insert((row.account, row.id), row);
    }

    pub(super) fn remove_group(&mut self, account: i64, id: Id) {
        let Some(row) = self.groups.remove(&(account, id)) else { return };
        self.group_names.remove(account, &row.name);
    }

    pub(super) fn put_number(&mut self, row: Arc<NumberRow>) {
        self.remove_number(row.account, row.id);
        self.e164.put(&row.number, &row);
        self.numbers.insert((row.account, row.id), row);
    }

    pub(super) fn remove_number(&mut self, account: i64, id: i64) {
        let Some(row) = self.numbers.remove(&(account, id)) else { return };
        self.e164.remove(account, &row.number);
    }

    pub(super) fn user_count(&self, account: i64) -> usize {
        self.counts.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn external_id(&self, account: i64, external_id: &str) -> Option<&Arc<UserRow>> {
        self.external_ids.get(account, external_id)
    }

    pub(super) fn numbers_of(&self, account: i64) -> impl Iterator<Item = &Arc<NumberRow>> {
        self.numbers.range((account, i64::MIN)..=(account, i64::MAX)).map(|(_, row)| row)
    }

    pub(super) fn groups_of(&self, account: i64) -> impl Iterator<Item = &Arc<GroupRow>> {
        self.groups.range((account, Id::NIL)..=(account, Id::LAST)).map(|(_, row)| row)
    }
}

/// What the SIP server asks about each request: every answer comes from memory, behind a lock held for one look-up.
/// Clones share it.
#[derive(Clone)]
pub struct Directory {
    tables: Arc<RwLock<Tables>>,
    memory: Arc<RwLock<Arc<Snapshot>>>,
}

impl Directory {
    pub(super) fn new(tables: Tables, memory: Arc<RwLock<Arc<Snapshot>>>) -> Self {
        Self { tables: Arc::new(RwLock::new(tables)), memory }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Tables)) {
        change(&mut self.tables.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn memory(&self) -> Arc<Snapshot> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The account with this SIP domain, in any case.
    pub fn account_of_domain(&self, domain: &str) -> Option<i64> {
        self.memory().account_of_domain(&domain.trim_end_matches('.').to_ascii_lowercase())
    }

    /// The digest realm of an account's users.
    pub fn realm(&self, account: i64) -> Option<String> {
        self.memory().account(account).map(|account| account.realm.clone())
    }

    /// The country by which an account's national numbers are read.
    pub fn region(&self, account: i64) -> Option<String> {
        self.memory().account(account)?.region.clone()
    }

    /// The accounts whose users' HA1s bind this realm, by id.
    pub fn accounts_of_realm(&self, realm: &str) -> Vec<i64> {
        self.memory().accounts_of_realm(realm).to_vec()
    }

    /// A user of an account by user name.
    pub fn user(&self, account: i64, username: &str) -> Option<Arc<UserRow>> {
        self.read().usernames.get(account, username).cloned()
    }

    /// A user of an account by id.
    pub fn user_by_id(&self, account: i64, id: Id) -> Option<Arc<UserRow>> {
        self.read().users.get(&(account, id)).cloned()
    }

    /// A user of an account by the id that the account's own systems know.
    pub fn user_by_external_id(&self, account: i64, external_id: &str) -> Option<Arc<UserRow>> {
        self.read().external_id(account, external_id).cloned()
    }

    /// Whoever has this user name, in whatever account.
    pub fn user_anywhere(&self, username: &str) -> Found<Arc<UserRow>> {
        found(self.read().usernames.all(username).iter())
    }

    /// Whoever has this user name in the accounts of a realm.
    pub fn user_in_realm(&self, realm: &str, username: &str) -> Found<Arc<UserRow>> {
        let memory = self.memory();
        let accounts = memory.accounts_of_realm(realm);
        let tables = self.read();
        let all = tables.usernames.all(username).iter();
        found(all.filter(|user| accounts.binary_search(&user.account).is_ok()))
    }

    /// Up to `limit` users of an account, newest first, behind `after`.
    pub fn users(&self, account: i64, after: Option<Id>, limit: usize) -> Vec<Arc<UserRow>> {
        let end = after.map_or(Bound::Included((account, Id::LAST)), |id| Bound::Excluded((account, id)));
        let tables = self.read();
        let rows = tables.users.range((Bound::Included((account, Id::NIL)), end));
        rows.rev().take(limit).map(|(_, row)| row.clone()).collect()
    }

    /// The account and the name of each user, by what `key` makes of its id.
    pub fn owners(&self, key: fn(Id) -> u64) -> HashMap<u64, (i64, Arc<str>)> {
        let tables = self.read();
        tables
            .users
            .iter()
            .map(|((account, id), user)| (key(*id), (*account, user.username.clone())))
            .collect()
    }

    /// Where trunks call from, and where they are called, as far as addresses are named.
    pub fn trunk_sources(&self) -> Vec<IpNet> {
        let memory = self.memory();
        let sources = memory.inbound().iter().flat_map(|trunk| trunk.settings.inbound.sources.clone());
        let hosts = memory.trunks().filter(|trunk| trunk.enabled).filter_map(|trunk| trunk.host.parse().ok());
        sources.chain(hosts.map(|ip: IpAddr| IpNet::from(ip))).collect()
    }

    /// How many users an account has.
    pub fn user_count(&self, account: i64) -> usize {
        self.read().user_count(account)
    }

    /// A group of an account by id.
    pub fn group(&self, account: i64, id: Id) -> Option<Arc<GroupRow>> {
        self.read().groups.get(&(account, id)).cloned()
    }

    /// A group of an account by name.
    pub fn group_named(&self, account: i64, name: &str) -> Option<Arc<GroupRow>> {
        self.read().group_names.get(account, name).cloned()
    }

    /// The groups of an account, oldest first.
    pub fn groups(&self, account: i64) -> Vec<Arc<GroupRow>> {
        self.read().groups_of(account).cloned().collect()
    }

    /// A number of an account, by its E.164 text (`+12025550123`).
    pub fn number(&self, account: i64, number: &str) -> Option<Arc<NumberRow>> {
        self.read().e164.get(account, number).cloned()
    }

    /// A number of an account by id.
    pub fn number_by_id(&self, account: i64, id: i64) -> Option<Arc<NumberRow>> {
        self.read().numbers.get(&(account, id)).cloned()
    }

    /// Up to `limit` numbers of an account, newest first, behind `after`.
    pub fn numbers(&self, account: i64, after: Option<i64>, limit: usize) -> Vec<Arc<NumberRow>> {
        let tables = self.read();
        let rows = tables.numbers.range((account, i64::MIN)..(account, after.unwrap_or(i64::MAX)));
        rows.rev().take(limit).map(|(_, row)| row.clone()).collect()
    }

    /// The enabled trunks that call in from this address, whatever else they must show: the longest prefix first.
    pub fn trunks_by_source(&self, source: IpAddr) -> Vec<Arc<TrunkRow>> {
        let source = source.to_canonical();
        let memory = self.memory();
        let longest = |trunk: &TrunkRow| {
            let nets = trunk.settings.inbound.sources.iter().filter(|net| net.contains(&source));
            nets.map(ipnet::IpNet::prefix_len).max()
        };
        let mut found: Vec<_> =
            memory.inbound().iter().filter_map(|trunk| Some((longest(trunk)?, trunk.clone()))).collect();
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        found.into_iter().map(|(_, trunk)| trunk).collect()
    }

    /// The enabled trunks that call in with this digest user, in the accounts of a realm.
    pub fn trunks_by_user(&self, realm: &str, username: &str) -> Vec<Arc<TrunkRow>> {
        let memory = self.memory();
        let accounts = memory.accounts_of_realm(realm);
        let fits = |trunk: &&Arc<TrunkRow>| {
            trunk.settings.inbound.username.as_deref() == Some(username)
                && accounts.binary_search(&trunk.account).is_ok()
        };
        memory.inbound().iter().filter(fits).cloned().collect()
    }

    /// An enabled trunk of whatever account, by id.
    pub fn trunk(&self, id: Id) -> Option<TrunkRow> {
        self.memory().trunk(id).filter(|trunk| trunk.enabled).cloned()
    }

    /// The enabled trunks that call in over TLS with a certificate for this name, in any case.
    pub fn trunks_by_tls_name(&self, name: &str) -> Vec<Arc<TrunkRow>> {
        let own = |trunk: &&Arc<TrunkRow>| {
            let given = trunk.settings.inbound.tls_name.as_deref();
            given.is_some_and(|given| given.eq_ignore_ascii_case(name))
        };
        self.memory().inbound().iter().filter(own).cloned().collect()
    }
}

fn found<'a, T: 'a>(mut rows: impl Iterator<Item = &'a Arc<T>>) -> Found<Arc<T>> {
    match (rows.next(), rows.next()) {
        (None, _) => Found::Nothing,
        (Some(row), None) => Found::One(row.clone()),
        (Some(_), Some(_)) => Found::Several,
    }
}

impl Store {
    /// The users, groups, numbers and trunks that calls in are decided by.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }
}
