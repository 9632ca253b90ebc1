//! Users: who may register and call. Of a password only its HA1s are kept, sealed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::accounts::limit;
use super::names::{check_dialled, taken};
use super::{Ha1, MasterKey, Store, StoreError, id_of, inbound, json, parsed, word};
use crate::id::Id;
use crate::refused::Refused;
use crate::secret::Secret;
use crate::time::now_ms;
use crate::trunk::words;

/// Users of one server.
const MOST: usize = 1_000_000;
/// Numbers that one user may show.
const MOST_CALLER_IDS: usize = 20;
/// Random characters of a password that is made here, 57 to choose from: 139 bits.
const RANDOM: usize = 24;
/// Characters of a password.
const PASSWORD: std::ops::RangeInclusive<usize> = 12..=128;

words! {
    /// Whom a user may call.
    MayCall {
        /// Whom the account may call.
        #[default]
        Account = "account",
        /// Users and groups of the account.
        Internal = "internal",
        /// Nobody.
        None = "none",
    }
}

words! {
    /// The digest algorithm that a user is challenged with; not every phone knows SHA-256.
    DigestName {
        /// What every phone knows.
        #[default]
        Md5 = "MD5",
        /// RFC 8760.
        Sha256 = "SHA-256",
    }
}

impl From<DigestName> for sip::digest::Algorithm {
    fn from(name: DigestName) -> Self {
        match name {
            DigestName::Md5 => Self::Md5,
            DigestName::Sha256 => Self::Sha256,
        }
    }
}

/// A user: one set of SIP credentials, for as many phones as `max_bindings` lets.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRow {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub account: i64,
    /// User name of the digest and of the address-of-record; unique within the account, never changed, for the HA1s
    /// bind it.
    pub username: Arc<str>,
    /// What those called see beside the number.
    pub display_name: Option<String>,
    /// What the account's own systems call the user; unique within the account.
    pub external_id: Option<Arc<str>>,
    /// For the account's realm; sealed at rest.
    pub ha1: Ha1,
    /// What it is challenged with.
    pub algorithm: DigestName,
    /// Whether it may register, call and be called.
    pub enabled: bool,
    /// The numbers it may show; the first where it names none.
    pub caller_ids: Vec<String>,
    /// Whom it may call.
    pub may_call: MayCall,
    /// Calls at once, if limited; at least 1.
    pub max_calls: Option<u32>,
    /// Phones registered at once, 1 to 100.
    pub max_bindings: u32,
    /// Whether who is not answered may leave a message.
    pub voicemail: bool,
    /// Unix ms.
    pub created_at: i64,
}

impl super::directory::Owned for UserRow {
    fn account(&self) -> i64 {
        self.account
    }
}

/// A user to be made; the fields are those of [`UserRow`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "said at UserRow")]
pub struct NewUser {
    pub account: i64,
    /// Made here where it is not given: `user_` and Unix ms.
    pub username: Option<String>,
    /// 12 to 128 characters; made here where it is not given.
    pub password: Option<Secret>,
    pub display_name: Option<String>,
    pub external_id: Option<String>,
    pub algorithm: DigestName,
    pub enabled: bool,
    pub caller_ids: Vec<String>,
    pub may_call: MayCall,
    pub max_calls: Option<u32>,
    pub max_bindings: u32,
    pub voicemail: bool,
}

impl Default for NewUser {
    /// An enabled user of the operator's account, with up to 10 phones.
    fn default() -> Self {
        Self {
            account: super::OPERATOR,
            username: None,
            password: None,
            display_name: None,
            external_id: None,
            algorithm: DigestName::default(),
            enabled: true,
            caller_ids: Vec::new(),
            may_call: MayCall::default(),
            max_calls: None,
            max_bindings: 10,
            voicemail: false,
        }
    }
}

fn place(account: i64, id: Id) -> String {
    format!("{account}/users/{id}")
}

pub(super) fn from_row(row: &AnyRow, master: &MasterKey) -> Result<UserRow, StoreError> {
    let (id, account) = (id_of(row, "id")?, row.try_get("account")?);
    let ha1 = Ha1::open(row, ["ha1_md5", "ha1_sha256"], master, &place(account, id))?;
    let external_id: Option<String> = row.try_get("external_id")?;
    let max_bindings: i64 = row.try_get("max_bindings")?;
    Ok(UserRow {
        id,
        account,
        username: row.try_get::<String, _>("username")?.into(),
        display_name: row.try_get("display_name")?,
        external_id: external_id.map(Arc::from),
        ha1: ha1.ok_or(StoreError::Value { field: "users.ha1_md5" })?,
        algorithm: parsed(row, "algorithm", word)?,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        caller_ids: parsed(row, "caller_ids", json)?,
        may_call: parsed(row, "may_call", word)?,
        max_calls: limit(row, "max_calls")?,
        max_bindings: max_bindings
            .try_into()
            .map_err(|_| StoreError::Value { field: "users.max_bindings" })?,
        voicemail: row.try_get::<i64, _>("voicemail")? != 0,
        created_at: row.try_get("created_at")?,
    })
}

/// A password that can be typed into a phone: letters and digits that are not taken for one another.
fn generate() -> Result<Secret, StoreError> {
    super::keys::random("", RANDOM, b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
}

fn check_password(password: &Secret, username: &str) -> Result<(), Refused> {
    let text = password.expose();
    let bad = |message: &str| {
        Err(Refused::bad("weak_password", message)
            .hint("Leave the password out to have a strong one made and shown once."))
    };
    if !PASSWORD.contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return bad("The field `password` must have 12 to 128 characters, none of them a control character.");
    }
    let mut different: Vec<char> = text.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < 5 || (username.len() > 3 && text.to_lowercase().contains(&username.to_lowercase())) {
        return bad(
            "The field `password` must have at least 5 different characters and not hold the user name.",
        );
    }
    Ok(())
}

fn check(row: &UserRow) -> Result<(), Refused> {
    let bad = |message: String| Err(Refused::bad("invalid_user", message));
    let text = |field: &str, given: Option<&str>, most: usize| match given {
        Some(given)
            if !(1..=most).contains(&given.chars().count()) || given.chars().any(char::is_control) =>
        {
            bad(format!(
                "The field `{field}` must have 1 to {most} characters, none of them a control character."
            ))
        }
        _ => Ok(()),
    };
    text("display_name", row.display_name.as_deref(), 64)?;
    text("external_id", row.external_id.as_deref(), 128)?;
    if row.caller_ids.len() > MOST_CALLER_IDS {
        return bad(format!("The field `caller_ids` has more than {MOST_CALLER_IDS} numbers."));
    }
    if row.max_calls.is_some_and(|most| !(1..=10_000).contains(&most)) {
        return bad("The field `max_calls` must be 1 to 10000, or null.".into());
    }
    if !(1..=100).contains(&row.max_bindings) {
        return bad("The field `max_bindings` must be 1 to 100.".into());
    }
    Ok(())
}

fn exists(external_id: &str) -> StoreError {
    let message = format!("The account has a user with the external id {external_id:?} already.");
    Refused::new(409, "user_exists", message).into()
}

impl Store {
    /// Makes a user; answers the password too, which is in the answer and nowhere else.
    pub async fn create_user(&self, new: NewUser) -> Result<(Arc<UserRow>, Secret), StoreError> {
        let _changing = self.0.changing.lock().await;
        let Some(account) = self.account(new.account) else {
            let message = format!("There is no account {}.", new.account);
            return Err(Refused::bad("account_not_found", message).into());
        };
        let directory = self.directory();
        let username = match new.username {
            Some(username) => {
                check_dialled("username", &username, "invalid_user")?;
                username
            }
            None => {
                let mut names = (now_ms()..).map(|n| format!("user_{n}"));
                let free = names.find(|name| directory.user(account.id, name).is_none());
                free.unwrap_or_default()
            }
        };
        let password = match new.password {
            Some(password) => password,
            None => generate()?,
        };
        check_password(&password, &username)?;
        let row = UserRow {
            id: Id::new()?,
            account: account.id,
            ha1: Ha1::new(&username, &account.realm, &password)?,
            username: username.into(),
            display_name: new.display_name,
            external_id: new.external_id.map(Arc::from),
            algorithm: new.algorithm,
            enabled: new.enabled,
            caller_ids: new.caller_ids,
            may_call: new.may_call,
            max_calls: new.max_calls,
            max_bindings: new.max_bindings,
            voicemail: new.voicemail,
            created_at: now_ms(),
        };
        check(&row)?;
        {
            let tables = directory.read();
            if tables.usernames.get(row.account, &row.username).is_some() {
                return Err(taken("user", &row.username, "user_exists").into());
            }
            if tables.group_names.get(row.account, &row.username).is_some() {
                return Err(taken("group", &row.username, "user_exists").into());
            }
            if let Some(id) =
                row.external_id.as_deref().filter(|id| tables.external_id(row.account, id).is_some())
            {
                return Err(exists(id));
            }
            let most = account.max_users.map_or(MOST, |most| most as usize);
            if tables.user_count(row.account) >= most || tables.users.len() >= MOST {
                let message =
                    format!("The account has {} users, which is its limit.", tables.user_count(row.account));
                let refused = Refused::new(409, "too_many_users", message);
                return Err(refused.hint("Delete one, or have the operator raise limits.max_users.").into());
            }
        }
        inbound::check_username(&self.memory(), &account, &row.username)?;
        let (md5, sha256) = row.ha1.seal(&self.0.master, &place(row.account, row.id))?;
        let insert = "INSERT INTO users (id, account, username, display_name, external_id, ha1_md5, ha1_sha256, \
                      algorithm, enabled, caller_ids, may_call, max_calls, max_bindings, voicemail, created_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        sqlx::query(insert)
            .bind(row.id.to_string())
            .bind(row.account)
            .bind(row.username.to_string())
            .bind(row.display_name.clone())
            .bind(row.external_id.as_deref().map(str::to_owned))
            .bind(md5)
            .bind(sha256)
            .bind(row.algorithm.as_str())
            .bind(i64::from(row.enabled))
            .bind(serde_json::json!(row.caller_ids).to_string())
            .bind(row.may_call.as_str())
            .bind(row.max_calls.map(i64::from))
            .bind(i64::from(row.max_bindings))
            .bind(i64::from(row.voicemail))
            .bind(row.created_at)
            .execute(&self.0.writes)
            .await?;
        let row = Arc::new(row);
        directory.change(|tables| tables.put_user(row.clone()));
        Ok((row, password))
    }

    /// Changes a user to what `row` says (id, account, user name, password and creation stay); `None` if there is none
    /// such.
    pub async fn update_user(&self, row: UserRow) -> Result<Option<Arc<UserRow>>, StoreError> {
        check(&row)?;
        let _changing = self.0.changing.lock().await;
        let directory = self.directory();
        let Some(before) = directory.user_by_id(row.account, row.id) else { return Ok(None) };
        let other = row.external_id.as_deref().and_then(|id| directory.user_by_external_id(row.account, id));
        if let Some(other) = other.filter(|other| other.id != row.id) {
            return Err(exists(other.external_id.as_deref().unwrap_or_default()));
        }
        // The password may have been changed since `row` was read.
        let row = UserRow {
            username: before.username.clone(),
            ha1: before.ha1.clone(),
            created_at: before.created_at,
            ..row
        };
        let update = "UPDATE users SET display_name = $1, external_id = $2, algorithm = $3, enabled = $4, \
                      caller_ids = $5, may_call = $6, max_calls = $7, max_bindings = $8, voicemail = $9 WHERE id = $10";
        sqlx::query(update)
            .bind(row.display_name.clone())
            .bind(row.external_id.as_deref().map(str::to_owned))
            .bind(row.algorithm.as_str())
            .bind(i64::from(row.enabled))
            .bind(serde_json::json!(row.caller_ids).to_string())
            .bind(row.may_call.as_str())
            .bind(row.max_calls.map(i64::from))
            .bind(i64::from(row.max_bindings))
            .bind(i64::from(row.voicemail))
            .bind(row.id.to_string())
            .execute(&self.0.writes)
            .await?;
        let row = Arc::new(row);
        directory.change(|tables| tables.put_user(row.clone()));
        Ok(Some(row))
    }

    /// Gives a user another password (made here where none is given) and answers it; `None` if there is none such.
    pub async fn set_password(
        &self,
        account: i64,
        id: Id,
        password: Option<Secret>,
    ) -> Result<Option<(Arc<UserRow>, Secret)>, StoreError> {
        let _changing = self.0.changing.lock().await;
        let (Some(before), Some(account)) = (self.directory().user_by_id(account, id), self.account(account))
        else {
            return Ok(None);
        };
        let password = match password {
            Some(password) => password,
            None => generate()?,
        };
        check_password(&password, &before.username)?;
        let ha1 = Ha1::new(&before.username, &account.realm, &password)?;
        let (md5, sha256) = ha1.seal(&self.0.master, &place(account.id, id))?;
        sqlx::query("UPDATE users SET ha1_md5 = $1, ha1_sha256 = $2 WHERE id = $3")
            .bind(md5)
            .bind(sha256)
            .bind(id.to_string())
            .execute(&self.0.writes)
            .await?;
        let row = Arc::new(UserRow { ha1, ..UserRow::clone(&before) });
        self.directory().change(|tables| tables.put_user(row.clone()));
        Ok(Some((row, password)))
    }

    /// Removes a user of the account; false if there is none such. One that groups or numbers name stays.
    pub async fn delete_user(&self, account: i64, id: Id) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        let directory = self.directory();
        let Some(row) = directory.user_by_id(account, id) else { return Ok(false) };
        let groups = directory.groups(account).into_iter().filter(|group| group.members.contains(&id));
        let groups: Vec<String> = groups.map(|group| format!("group {}", group.name)).collect();
        super::numbers::check_unused(
            directory,
            account,
            "user_in_use",
            &format!("user {}", row.username),
            groups,
            |number| number.route.iter().any(|target| target.user() == Some(id)),
        )?;
        sqlx::query("DELETE FROM users WHERE id = $1").bind(id.to_string()).execute(&self.0.writes).await?;
        directory.change(|tables| tables.remove_user(account, id));
        Ok(true)
    }
}
