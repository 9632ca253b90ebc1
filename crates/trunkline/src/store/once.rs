//! Requests that are carried out once, however often they are sent (`Idempotency-Key`).

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, Row};

use super::{CallRow, Store, StoreError, id_of};
use crate::id::Id;
use crate::refused::Refused;
use crate::time::now_ms;

/// How long a key is remembered, in ms: 24 hours.
const REMEMBERED: i64 = 24 * 3600 * 1000;

/// What a request is known by, within its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    key: String,
    hash: String,
}

/// What became of a call that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is stored.
    New,
    /// The same had been asked before; this is the call that came of it.
    Replayed(Id),
}

/// By the calls that were not stored: what came of the same order before.
pub(super) type Known = HashMap<Id, Result<Created, Refused>>;

impl Once {
    /// `key` as the caller chose it; `asked` is everything that makes two requests the same.
    pub fn new(key: &str, asked: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in asked {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self { key: key.to_owned(), hash: hex::encode(hash.finalize()) }
    }

    fn same(&self, hash: &str, call: Id) -> Result<Id, Refused> {
        if self.hash == hash {
            return Ok(call);
        }
        Err(Refused::new(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used for another request within the last 24 hours.",
        )
        .hint("Use a new key for each new request; the same key only to send the same request again."))
    }
}

impl Store {
    /// The call that came of the same request before, if there is one.
    pub async fn replayed(&self, account: i64, once: &Once) -> Result<Option<Id>, StoreError> {
        let select =
            "SELECT hash, call_id FROM idempotency WHERE account = $1 AND name = $2 AND created_at > $3";
        let found = sqlx::query(select)
            .bind(account)
            .bind(once.key.clone())
            .bind(now_ms() - REMEMBERED)
            .fetch_optional(&self.0.reads)
            .await?;
        let Some(row) = found else { return Ok(None) };
        let hash: String = row.try_get("hash")?;
        Ok(Some(once.same(&hash, id_of(&row, "call_id")?)?))
    }
}

/// Takes the key for this call, or says what is known of it. What has been remembered long enough is forgotten first.
pub(super) async fn claim(
    connection: &mut AnyConnection,
    row: &CallRow,
    once: &Once,
) -> Result<Option<Result<Created, Refused>>, sqlx::Error> {
    let now = now_ms();
    sqlx::query("DELETE FROM idempotency WHERE created_at <= $1")
        .bind(now - REMEMBERED)
        .execute(&mut *connection)
        .await?;
    let insert = "INSERT INTO idempotency (account, name, hash, call_id, created_at) VALUES ($1, $2, $3, $4, $5) \
                  ON CONFLICT (account, name) DO NOTHING";
    let taken = sqlx::query(insert)
        .bind(row.account)
        .bind(once.key.clone())
        .bind(once.hash.clone())
        .bind(row.id.to_string())
        .bind(now)
        .execute(&mut *connection)
        .await?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    let known = sqlx::query("SELECT hash, call_id FROM idempotency WHERE account = $1 AND name = $2")
        .bind(row.account)
        .bind(once.key.clone())
        .fetch_one(connection)
        .await?;
    let (hash, call): (String, String) = (known.try_get("hash")?, known.try_get("call_id")?);
    let call = Id::parse(&call).ok_or_else(|| sqlx::Error::Decode("idempotency.call_id".into()))?;
    Ok(Some(once.same(&hash, call).map(Created::Replayed)))
}
