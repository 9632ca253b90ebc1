//! Accounts: made, changed, removed.

use std::net::IpAddr;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{OPERATOR, Store, StoreError, TrunkRow, inbound, json, next_id, parsed, trunks};
use crate::id::Id;
use crate::refused::Refused;
use crate::time::now_ms;
use crate::trunk::{Inbound, check_host};

/// The realm of accounts where neither they nor the settings name a domain.
pub const REALM: &str = "trunkline";

/// The id of an account that has none yet.
const NOBODY: i64 = -1;

/// Accounts of one server.
const MOST: usize = 100_000;

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// 0 is the operator's own, customers count from 1.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// Its SIP domain, in lower case; no other account has it.
    pub domain: Option<String>,
    /// The digest realm of its users, which their HA1s bind: fixed when the account was made.
    pub realm: String,
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
    /// SIP users, if limited; at least 1.
    pub max_users: Option<u32>,
    /// Bindings of all its users at once, if limited; at least 1.
    pub max_registrations: Option<u32>,
}

impl Account {
    /// An account without limits and destinations of its own; see [`Store::create_account`].
    pub fn new(name: String, realm: String) -> Self {
        Self {
            id: NOBODY,
            name,
            domain: None,
            realm,
            countries: Vec::new(),
            prefixes: Vec::new(),
            region: None,
            max_calls: None,
            calls_per_second: None,
            max_duration_s: None,
            max_users: None,
            max_registrations: None,
        }
    }
}

pub(super) fn from_row(row: &AnyRow) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        domain: row.try_get("domain")?,
        realm: row.try_get::<Option<String>, _>("realm")?.unwrap_or_else(|| REALM.to_owned()),
        countries: parsed(row, "countries", json)?,
        prefixes: parsed(row, "prefixes", json)?,
        region: row.try_get("region")?,
        max_calls: limit(row, "max_calls")?,
        calls_per_second: limit(row, "calls_per_second")?,
        max_duration_s: limit(row, "max_duration_s")?,
        max_users: limit(row, "max_users")?,
        max_registrations: limit(row, "max_registrations")?,
    })
}

/// A column that holds a limit or NULL.
pub(super) fn limit(row: &AnyRow, field: &'static str) -> Result<Option<u32>, StoreError> {
    let limit: Option<i64> = row.try_get(field)?;
    limit.map(|limit| u32::try_from(limit).map_err(|_| StoreError::Value { field })).transpose()
}

/// A domain as it is kept; the text says what is wrong.
fn domain(given: &str) -> Result<String, String> {
    check_host(given).map_err(|why| format!("The domain {why}."))?;
    let name = given.trim_end_matches('.').to_ascii_lowercase();
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(_) => Err(format!(
            "The domain is {given:?}, an IP address: give a host name such as acme.example.com, for an address tells \
             no accounts apart."
        )),
        Err(_) => Ok(name),
    }
}

impl Store {
    /// Makes an account; its id is given here, and its realm is its domain where it has one. What the settings give
    /// every account, their provider and the simulated network, it has at once.
    pub async fn create_account(&self, mut account: Account) -> Result<Account, StoreError> {
        let _changing = self.0.changing.lock().await;
        account.id = NOBODY;
        self.check_domain(&mut account, false)?;
        if let Some(domain) = &account.domain {
            account.realm.clone_from(domain);
        }
        if self.accounts().len() >= MOST {
            return Err(Refused::new(409, "too_many_accounts", format!("There are {MOST} accounts.")).into());
        }
        let mut change = self.0.writes.begin().await?;
        account.id = next_id(&mut change, "accounts").await?;
        let insert = "INSERT INTO accounts (id, name, countries, prefixes, region, max_calls, calls_per_second, \
                      max_duration_s, max_users, max_registrations, domain, realm, created_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        sqlx::query(insert)
            .bind(account.id)
            .bind(account.name.clone())
            .bind(serde_json::json!(account.countries).to_string())
            .bind(serde_json::json!(account.prefixes).to_string())
            .bind(account.region.clone())
            .bind(account.max_calls.map(i64::from))
            .bind(account.calls_per_second.map(i64::from))
            .bind(account.max_duration_s.map(i64::from))
            .bind(account.max_users.map(i64::from))
            .bind(account.max_registrations.map(i64::from))
            .bind(account.domain.clone())
            .bind(account.realm.clone())
            .bind(now_ms())
            .execute(&mut *change)
            .await?;
        let given = self.trunks(OPERATOR).into_iter().filter(TrunkRow::is_of_settings);
        for mut trunk in given.filter(|trunk| trunk.enabled) {
            // Who calls in is the operator's own affair.
            trunk.settings.inbound = Inbound::default();
            let own = TrunkRow { id: Id::new()?, account: account.id, inbound_ha1: None, ..trunk };
            trunks::put(&mut change, &own, &self.0.master).await?;
        }
        change.commit().await?;
        self.refresh().await?;
        Ok(account)
    }

    /// Stores an account that is there already as it is given, id and realm apart; false if it is not there.
    pub async fn update_account(&self, account: &Account) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        let mut account = account.clone();
        let Some(before) = self.account(account.id) else { return Ok(false) };
        let changed = before.domain != account.domain;
        self.check_domain(&mut account, changed)?;
        let update = "UPDATE accounts SET name = $1, countries = $2, prefixes = $3, region = $4, max_calls = $5, \
                      calls_per_second = $6, max_duration_s = $7, max_users = $8, max_registrations = $9, domain = $10 \
                      WHERE id = $11";
        sqlx::query(update)
            .bind(account.name.clone())
            .bind(serde_json::json!(account.countries).to_string())
            .bind(serde_json::json!(account.prefixes).to_string())
            .bind(account.region.clone())
            .bind(account.max_calls.map(i64::from))
            .bind(account.calls_per_second.map(i64::from))
            .bind(account.max_duration_s.map(i64::from))
            .bind(account.max_users.map(i64::from))
            .bind(account.max_registrations.map(i64::from))
            .bind(account.domain.clone())
            .bind(account.id)
            .execute(&self.0.writes)
            .await?;
        self.refresh().await?;
        Ok(true)
    }

    /// Refuses a domain that is none or taken, and a change after which calls could not be told apart.
    fn check_domain(&self, account: &mut Account, changed: bool) -> Result<(), StoreError> {
        if let Some(given) = &account.domain {
            let name = domain(given).map_err(|why| Refused::bad("invalid_domain", why))?;
            if self.memory().account_of_domain(&name).is_some_and(|other| other != account.id) {
                let message = format!("Another account has the domain {name}.");
                return Err(Refused::new(409, "domain_taken", message).into());
            }
            account.domain = Some(name);
        }
        if changed {
            inbound::check_account(&self.memory(), &self.directory().read(), account)?;
        }
        Ok(())
    }

    /// Removes an account in which nothing is left (trunks that the server made and revoked keys do not
    /// count); false if there is none such.
    pub async fn delete_account(&self, id: i64) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        if self.account(id).is_none() {
            return Ok(false);
        }
        if id == OPERATOR {
            let message = "Account 0 is the operator's own and cannot be removed.";
            return Err(Refused::new(409, "operator_account", message).into());
        }
        let mut change = self.0.writes.begin().await?;
        let mut left = Vec::new();
        for (count, one, many) in [
            ("SELECT COUNT(*) FROM users WHERE account = $1", "user", "users"),
            ("SELECT COUNT(*) FROM groups WHERE account = $1", "group", "groups"),
            ("SELECT COUNT(*) FROM numbers WHERE account = $1", "number", "numbers"),
            (
                "SELECT COUNT(*) FROM trunks WHERE account = $1 AND kind <> 'simulated' AND name <> 'provider'",
                "trunk",
                "trunks",
            ),
            ("SELECT COUNT(*) FROM webhooks WHERE account = $1", "webhook", "webhooks"),
            ("SELECT COUNT(*) FROM keys WHERE account = $1 AND revoked_at IS NULL", "key", "keys"),
            ("SELECT COUNT(*) FROM calls WHERE account = $1", "call", "calls"),
        ] {
            let count: i64 = sqlx::query(count).bind(id).fetch_one(&mut *change).await?.try_get(0)?;
            match count {
                0 => {}
                1 => left.push(format!("1 {one}")),
                count => left.push(format!("{count} {many}")),
            }
        }
        if !left.is_empty() {
            let message = format!("Account {id} still has {}.", left.join(", "));
            return Err(Refused::new(409, "account_not_empty", message)
                .hint("Remove these first and revoke its keys; calls go when keep_calls says so.")
                .into());
        }
        for delete in [
            "DELETE FROM deliveries WHERE account = $1",
            "DELETE FROM trunks WHERE account = $1",
            "DELETE FROM keys WHERE account = $1",
            "DELETE FROM accounts WHERE id = $1",
        ] {
            sqlx::query(delete).bind(id).execute(&mut *change).await?;
        }
        change.commit().await?;
        self.refresh().await?;
        Ok(true)
    }

    /// Fixes the realm of accounts that have none yet: those of the first start, and those from before there were
    /// any.
    pub async fn fix_realms(&self, realm: &str) -> Result<(), StoreError> {
        let _changing = self.0.changing.lock().await;
        sqlx::query("UPDATE accounts SET realm = $1 WHERE realm IS NULL")
            .bind(realm.to_owned())
            .execute(&self.0.writes)
            .await?;
        self.refresh().await
    }
}
