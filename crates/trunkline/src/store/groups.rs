//! Groups: users that ring together or one after another.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::names::{check_dialled, taken};
use super::{Store, StoreError, id_of, json, parsed, word};
use crate::id::Id;
use crate::refused::Refused;
use crate::time::now_ms;
use crate::trunk::words;

/// Groups of one account.
const MOST: usize = 10_000;
/// Users of one group.
const MOST_MEMBERS: usize = 100;

words! {
    /// How the members of a group are rung.
    Strategy {
        /// All at once; the first to answer has the call.
        #[default]
        All = "all",
        /// One after another, as they are listed.
        InOrder = "in_order",
    }
}

/// Users that are rung by one name.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub account: i64,
    /// What it is dialled by; unique among the groups and users of the account.
    pub name: Arc<str>,
    /// How the members are rung.
    pub strategy: Strategy,
    /// Users of the account, each once, in order; at least one.
    pub members: Vec<Id>,
    /// Seconds to let them ring, each one by itself where they ring one after another; 1 to 600.
    pub timeout_s: u32,
    /// Unix ms.
    pub created_at: i64,
}

impl super::directory::Owned for GroupRow {
    fn account(&self) -> i64 {
        self.account
    }
}

/// A group to be made; the fields are those of [`GroupRow`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "said at GroupRow")]
pub struct NewGroup {
    pub account: i64,
    pub name: String,
    pub strategy: Strategy,
    pub members: Vec<Id>,
    pub timeout_s: u32,
}

pub(super) fn from_row(row: &AnyRow) -> Result<GroupRow, StoreError> {
    let timeout: i64 = row.try_get("timeout_s")?;
    Ok(GroupRow {
        id: id_of(row, "id")?,
        account: row.try_get("account")?,
        name: row.try_get::<String, _>("name")?.into(),
        strategy: parsed(row, "strategy", word)?,
        members: parsed(row, "members", json)?,
        timeout_s: timeout.try_into().map_err(|_| StoreError::Value { field: "groups.timeout_s" })?,
        created_at: row.try_get("created_at")?,
    })
}

impl Store {
    /// Makes a group.
    pub async fn create_group(&self, new: NewGroup) -> Result<Arc<GroupRow>, StoreError> {
        let row = GroupRow {
            id: Id::new()?,
            account: new.account,
            name: new.name.into(),
            strategy: new.strategy,
            members: new.members,
            timeout_s: new.timeout_s,
            created_at: now_ms(),
        };
        let _changing = self.0.changing.lock().await;
        if self.account(row.account).is_none() {
            let message = format!("There is no account {}.", row.account);
            return Err(Refused::bad("account_not_found", message).into());
        }
        if self.directory().read().groups_of(row.account).count() >= MOST {
            let message = format!("The account has {MOST} groups, which is the limit.");
            return Err(Refused::new(409, "too_many_groups", message).hint("Delete one.").into());
        }
        self.put_group(row).await
    }

    /// Changes a group to what `row` says (id, account and creation stay); `None` if there is none such.
    pub async fn update_group(&self, row: GroupRow) -> Result<Option<Arc<GroupRow>>, StoreError> {
        let _changing = self.0.changing.lock().await;
        match self.directory().group(row.account, row.id) {
            Some(before) => self.put_group(GroupRow { created_at: before.created_at, ..row }).await.map(Some),
            None => Ok(None),
        }
    }

    async fn put_group(&self, row: GroupRow) -> Result<Arc<GroupRow>, StoreError> {
        self.check_group(&row)?;
        let put = "INSERT INTO groups (id, account, name, strategy, members, timeout_s, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
                   strategy = excluded.strategy, members = excluded.members, timeout_s = excluded.timeout_s";
        sqlx::query(put)
            .bind(row.id.to_string())
            .bind(row.account)
            .bind(row.name.to_string())
            .bind(row.strategy.as_str())
            .bind(serde_json::json!(row.members).to_string())
            .bind(i64::from(row.timeout_s))
            .bind(row.created_at)
            .execute(&self.0.writes)
            .await?;
        let row = Arc::new(row);
        self.directory().change(|tables| tables.put_group(row.clone()));
        Ok(row)
    }

    fn check_group(&self, row: &GroupRow) -> Result<(), Refused> {
        check_dialled("name", &row.name, "invalid_group")?;
        let bad = |message: String| Err(Refused::bad("invalid_group", message));
        if !(1..=600).contains(&row.timeout_s) {
            return bad("The field `timeout_s` must be 1 to 600.".into());
        }
        if !(1..=MOST_MEMBERS).contains(&row.members.len()) {
            return bad(format!("The field `members` must name 1 to {MOST_MEMBERS} users."));
        }
        let tables = self.directory().read();
        for (n, member) in row.members.iter().enumerate() {
            let Some(user) = tables.users.get(&(row.account, *member)) else {
                let message = format!("The field `members[{n}]` names no user of the account.");
                return Err(Refused::bad("unknown_user", message));
            };
            if row.members.iter().skip(n + 1).any(|other| other == member) {
                return bad(format!("The field `members` names {} twice.", user.username));
            }
        }
        if tables.usernames.get(row.account, &row.name).is_some() {
            return Err(taken("user", &row.name, "group_exists"));
        }
        match tables.group_names.get(row.account, &row.name) {
            Some(other) if other.id != row.id => Err(taken("group", &row.name, "group_exists")),
            _ => Ok(()),
        }
    }

    /// Removes a group of the account; false if there is none such. One that numbers name stays.
    pub async fn delete_group(&self, account: i64, id: Id) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        let directory = self.directory();
        let Some(row) = directory.group(account, id) else { return Ok(false) };
        let name = format!("group {}", row.name);
        super::numbers::check_unused(directory, account, "group_in_use", &name, Vec::new(), |number| {
            number.route.iter().any(|target| target.group() == Some(id))
        })?;
        sqlx::query("DELETE FROM groups WHERE id = $1").bind(id.to_string()).execute(&self.0.writes).await?;
        directory.change(|tables| tables.remove_group(account, id));
        Ok(true)
    }
}
