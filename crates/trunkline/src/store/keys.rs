//! API keys: made, looked up, revoked. Only their hashes are kept.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::any::AnyRow;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::writer::Job;
use super::{OPERATOR, Store, StoreError, id_of, json, parsed};
use crate::id::Id;
use crate::refused::Refused;
use crate::secret::Secret;
use crate::time::now_ms;

/// What a key can be limited to.
pub const SCOPES: &[&str] = &[
    "calls:read",
    "calls:write",
    "events:read",
    "recordings:read",
    "recordings:delete",
    "usage:read",
    "trunks:read",
    "trunks:write",
    "webhooks:read",
    "webhooks:write",
    "keys:read",
    "keys:write",
    "account:read",
    "account:write",
    "accounts:read",
    "accounts:write",
    "users:read",
    "users:write",
    "numbers:read",
    "numbers:write",
    "registrations:read",
    "registrations:write",
    "sip:read",
    "sip:write",
];

/// Random characters of a key, 62 to choose from: 238 bits.
const RANDOM: usize = 40;

/// `last_used_at` is written at most this often, in ms.
const USED_EVERY: i64 = 60_000;

/// Who asks, and what they may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `None`: the Unix socket, which only the server's own user can open.
    pub key: Option<Id>,
    /// Whose calls and trunks they see.
    pub account: i64,
    /// Whether they see everyone's.
    pub operator: bool,
    /// What they may do; empty is everything. See [`SCOPES`].
    pub scopes: Vec<String>,
    /// From where their key may be used; empty is everywhere.
    pub sources: Vec<IpNet>,
    /// When their key ends, Unix ms.
    pub expires_at: Option<i64>,
}

impl Identity {
    /// Whoever can open the Unix socket.
    pub fn socket() -> Self {
        Self { key: None, account: OPERATOR, operator: true, ..Self::default() }
    }

    /// Whether they may do what `scope` (one of [`SCOPES`]) stands for.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|own| own == scope)
    }

    /// Whether `key` opens nothing that they could not open themselves: account, scopes, sources, time.
    pub fn covers(&self, key: &NewKey) -> bool {
        let within = |net: &IpNet| self.sources.iter().any(|own| own.contains(net));
        (self.operator || (!key.operator && key.account == self.account))
            && (self.scopes.is_empty()
                || (!key.scopes.is_empty() && key.scopes.iter().all(|scope| self.may(scope))))
            && (self.sources.is_empty() || (!key.sources.is_empty() && key.sources.iter().all(within)))
            && self.expires_at.is_none_or(|own| key.expires_at.is_some_and(|end| end <= own))
    }

    /// The account to look in: their own, or `None` (all) for the operator.
    pub fn reach(&self) -> Option<i64> {
        (!self.operator).then_some(self.account)
    }
}

/// Why a key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No such key.
    #[error("this API key is not known")]
    Unknown,
    /// Revoked.
    #[error("this API key was revoked")]
    Revoked,
    /// Its time is over.
    #[error("this API key has expired")]
    Expired,
    /// It is tied to source addresses, and this is not one of them.
    #[error("this API key may not be used from this address")]
    Source,
}

/// A key as it is listed; the key itself is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRow {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub account: i64,
    /// What people call it.
    pub name: String,
    /// Whether it is the operator's.
    pub operator: bool,
    /// What it may do; empty is everything.
    pub scopes: Vec<String>,
    /// From where it may be used; empty is everywhere.
    pub sources: Vec<IpNet>,
    /// Its first characters, to recognise it by.
    pub prefix: String,
    /// Unix ms.
    pub created_at: i64,
    /// Unix ms, to the minute.
    pub last_used_at: Option<i64>,
    /// From when on it opens nothing, Unix ms.
    pub expires_at: Option<i64>,
    /// Unix ms.
    pub revoked_at: Option<i64>,
}

impl KeyRow {
    /// Whether it opens anything at `now` (Unix ms).
    pub fn is_live(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Whose it is to be.
    pub account: i64,
    /// What people call it, 1 to 64 characters.
    pub name: String,
    /// Whether it is the operator's (account 0 only).
    pub operator: bool,
    /// What it may do, of [`SCOPES`]; empty is everything.
    pub scopes: Vec<String>,
    /// From where it may be used; empty is everywhere.
    pub sources: Vec<IpNet>,
    /// From when on it opens nothing, Unix ms.
    pub expires_at: Option<i64>,
}

/// A key in memory.
pub(super) struct KnownKey {
    row: KeyRow,
    hash: [u8; 32],
    used: AtomicI64,
}

impl KnownKey {
    pub(super) fn index(&self) -> [u8; 8] {
        index(&self.hash)
    }
}

fn index(hash: &[u8; 32]) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

pub(super) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn from_row(row: &AnyRow) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: id_of(row, "id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        operator: row.try_get::<i64, _>("operator")? != 0,
        scopes: parsed(row, "scopes", json)?,
        sources: parsed(row, "sources", json)?,
        prefix: row.try_get("prefix")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

pub(super) fn known_from_row(row: &AnyRow) -> Result<KnownKey, StoreError> {
    let hash = parsed(row, "hash", |text| hex::decode(text).ok()?.try_into().ok())?;
    let row = from_row(row)?;
    let used = AtomicI64::new(row.last_used_at.unwrap_or(0));
    Ok(KnownKey { row, hash, used })
}

/// `tl_` and 40 random letters and digits.
pub(super) fn generate() -> Result<Secret, StoreError> {
    random("tl_", RANDOM, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
}

/// `prefix` and so many random characters of `letters` (ASCII, at most 128 of them).
pub(super) fn random(prefix: &str, count: usize, letters: &[u8]) -> Result<Secret, StoreError> {
    let length = prefix.len() + count;
    let mut text = String::with_capacity(length);
    text.push_str(prefix);
    // Bytes beyond the last whole turn would favour the first letters.
    let turns = 256 - 256 % letters.len();
    while text.len() < length {
        let mut bytes = Zeroizing::new([0_u8; 64]);
        getrandom::fill(&mut *bytes)?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < turns);
        let drawn = drawn.filter_map(|byte| letters.get(byte % letters.len()));
        text.extend(drawn.take(length - text.len()).map(|letter| char::from(*letter)));
    }
    Ok(Secret::from(text))
}

/// What may be shown of a key: at most 8 characters, and of a short one a third.
fn prefix(key: &str) -> String {
    key.chars().take((key.chars().count() / 3).min(8)).collect()
}

impl Store {
    /// Whose key this is, from memory. `source` is the peer's address, `None` where it is not known.
    pub fn authenticate(&self, presented: &str, source: Option<IpAddr>) -> Result<Identity, AuthError> {
        let presented = hash(presented);
        let memory = self.memory();
        let near = memory.keys.get(&index(&presented)).ok_or(AuthError::Unknown)?;
        let same = |known: &&KnownKey| bool::from(known.hash.ct_eq(&presented));
        let KnownKey { row, used, .. } = near.iter().find(same).ok_or(AuthError::Unknown)?;
        if row.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        let at = now_ms();
        if !row.is_live(at) {
            return Err(AuthError::Expired);
        }
        let source = source.map(|address| address.to_canonical());
        let allowed = |net: &IpNet| source.is_some_and(|address| net.contains(&address));
        if !row.sources.is_empty() && !row.sources.iter().any(allowed) {
            return Err(AuthError::Source);
        }
        let before = used.load(Ordering::Relaxed);
        let due = at - before >= USED_EVERY
            && used.compare_exchange(before, at, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due {
            // Not worth waiting for: when the queue is full, the next minute's use is written.
            let _ = self.0.queue.try_send(Job::KeyUsed { key: row.id, at });
        }
        Ok(Identity {
            key: Some(row.id),
            account: row.account,
            operator: row.operator,
            scopes: row.scopes.clone(),
            sources: row.sources.clone(),
            expires_at: row.expires_at,
        })
    }

    /// Makes a key. The text is in the answer and nowhere else.
    pub async fn create_key(&self, new: NewKey) -> Result<(KeyRow, Secret), StoreError> {
        let key = generate()?;
        let row = self.insert_key(new, &key).await?;
        Ok((row, key))
    }

    pub(super) async fn insert_key(&self, new: NewKey, key: &Secret) -> Result<KeyRow, StoreError> {
        check(&new)?;
        let _changing = self.0.changing.lock().await;
        if self.account(new.account).is_none() {
            return Err(
                Refused::bad("account_not_found", format!("There is no account {}.", new.account)).into()
            );
        }
        let row = KeyRow {
            id: Id::new()?,
            account: new.account,
            name: new.name,
            operator: new.operator,
            scopes: new.scopes,
            sources: new.sources,
            prefix: prefix(key.expose()),
            created_at: now_ms(),
            last_used_at: None,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let insert = "INSERT INTO keys (id, account, name, operator, scopes, sources, prefix, hash, created_at, \
                      expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let text = |value: serde_json::Value| value.to_string();
        sqlx::query(insert)
            .bind(row.id.to_string())
            .bind(row.account)
            .bind(row.name.clone())
            .bind(i64::from(row.operator))
            .bind(text(serde_json::json!(row.scopes)))
            .bind(text(serde_json::json!(row.sources)))
            .bind(row.prefix.clone())
            .bind(hex::encode(hash(key.expose())))
            .bind(row.created_at)
            .bind(row.expires_at)
            .execute(&self.0.writes)
            .await?;
        self.refresh().await?;
        Ok(row)
    }

    /// The account's keys, or everyone's, oldest first.
    pub async fn keys(&self, account: Option<i64>) -> Result<Vec<KeyRow>, StoreError> {
        // No account is below 0, so NULL need not be asked for.
        let select = "SELECT * FROM keys WHERE account >= $1 AND account <= $2 ORDER BY created_at, id";
        let (first, last) = account.map_or((0, i64::MAX), |account| (account, account));
        let rows = sqlx::query(select).bind(first).bind(last).fetch_all(&self.0.reads).await?;
        rows.iter().map(from_row).collect()
    }

    /// Revokes a key of the account (or of anyone); false if there is none that is not revoked already.
    /// The last key of the operator stays.
    pub async fn revoke_key(&self, account: Option<i64>, id: Id) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        let keys = self.keys(None).await?;
        let now = now_ms();
        let live = |key: &&KeyRow| key.is_live(now);
        let own = |key: &&KeyRow| account.is_none_or(|account| account == key.account);
        let Some(key) = keys.iter().filter(live).filter(own).find(|key| key.id == id) else {
            return Ok(false);
        };
        if key.operator && keys.iter().filter(live).filter(|key| key.operator).count() == 1 {
            let refused = Refused::new(409, "last_operator_key", "This is the operator's last key.");
            return Err(refused.hint("Create another operator key first, then revoke this one.").into());
        }
        sqlx::query("UPDATE keys SET revoked_at = $1 WHERE id = $2")
            .bind(now_ms())
            .bind(id.to_string())
            .execute(&self.0.writes)
            .await?;
        self.refresh().await?;
        Ok(true)
    }
}

impl Store {
    /// One key of the account (or of anyone).
    pub async fn key(&self, account: Option<i64>, id: Id) -> Result<Option<KeyRow>, StoreError> {
        Ok(self.keys(account).await?.into_iter().find(|key| key.id == id))
    }

    /// Lets a key end at `at` (Unix ms), if it does not end before.
    pub async fn expire_key(&self, id: Id, at: i64) -> Result<(), StoreError> {
        let _changing = self.0.changing.lock().await;
        let update = "UPDATE keys SET expires_at = $1 WHERE id = $2 AND COALESCE(expires_at, $1) >= $1";
        sqlx::query(update).bind(at).bind(id.to_string()).execute(&self.0.writes).await?;
        self.refresh().await
    }
}

fn check(new: &NewKey) -> Result<(), Refused> {
    if new.name.is_empty() || new.name.chars().count() > 64 || new.name.chars().any(char::is_control) {
        return Err(Refused::bad(
            "invalid_key",
            "A key's name has 1 to 64 characters and no control characters.",
        ));
    }
    if let Some(scope) = new.scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        let known = SCOPES.join(", ");
        return Err(Refused::bad("invalid_key", format!("There is no scope {scope:?}; there are {known}.")));
    }
    if new.expires_at.is_some_and(|end| end <= now_ms()) {
        return Err(Refused::bad(
            "invalid_key",
            "The key would have ended already: `expires_at` is in the past.",
        ));
    }
    if new.operator && new.account != OPERATOR {
        return Err(Refused::bad("invalid_key", "An operator's key belongs to account 0."));
    }
    Ok(())
}
