//! Numbers: where calls to them go.

use std::sync::{Arc, OnceLock};

use call::Number;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::directory::Directory;
use super::{Store, StoreError, inbound, json, next_id, parsed, parsed_or_null};
use crate::flow::{self, Step};
use crate::id::Id;
use crate::refused::Refused;
use crate::time::now_ms;

/// Numbers of one account.
const MOST: usize = 100_000;
/// Targets of one route.
const MOST_TARGETS: usize = 10;
/// Numbers that a refusal names.
const NAMED: usize = 10;
/// Bytes of a greeting.
const GREETING: usize = 5000;

/// Where a call to a number goes; a route is tried from its first target to its last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Rings all phones of a user.
    User {
        /// Of the same account.
        user: Id,
        /// Seconds to let it ring, 1 to 600; the server's setting where it is not said.
        timeout_s: Option<u32>,
    },
    /// Rings a group.
    Group {
        /// Of the same account.
        group: Id,
        /// Seconds to let it ring in all, 1 to 600; the group's own time where it is not said.
        timeout_s: Option<u32>,
    },
    /// Forwards to a number over the account's trunks.
    Dial {
        /// E.164. Whether the account may call it is asked when it is called.
        number: String,
        /// Seconds to let it ring, 1 to 600; the server's setting where it is not said.
        timeout_s: Option<u32>,
    },
    /// Asks this URL what to do; the next target is for when it does not answer.
    Webhook(String),
    /// Answers and goes through these steps; nothing comes behind it.
    Flow(Vec<Step>),
    /// Answers, takes a message, and ends the call.
    Voicemail {
        /// What is said first, up to 5,000 bytes; a standard sentence where it is not said.
        greeting: Option<String>,
        /// Whose message it is; the account's where nobody is named.
        user: Option<Id>,
    },
    /// Refuses the call with this SIP status, 400 to 699.
    Reject {
        /// Such as 486 (busy) or 603 (declined).
        status: u16,
    },
}

impl Target {
    /// The user it names.
    pub fn user(&self) -> Option<Id> {
        match self {
            Self::User { user, .. } => Some(*user),
            Self::Voicemail { user, .. } => *user,
            _ => None,
        }
    }

    /// The group it names.
    pub fn group(&self) -> Option<Id> {
        match self {
            Self::Group { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// The one word it is written with.
    pub fn word(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::Group { .. } => "group",
            Self::Dial { .. } => "dial",
            Self::Webhook(_) => "webhook",
            Self::Flow(_) => "flow",
            Self::Voicemail { .. } => "voicemail",
            Self::Reject { .. } => "reject",
        }
    }

    /// Whether the call ends with it, so that no later target can have its turn.
    fn is_last(&self) -> bool {
        matches!(self, Self::Flow(_) | Self::Voicemail { .. } | Self::Reject { .. })
    }
}

/// A number of an account.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberRow {
    /// Counts from 1; never given twice.
    pub id: i64,
    /// Whose it is. Another account may have the same number.
    pub account: i64,
    /// E.164, with `+`; unique within the account.
    pub number: Arc<str>,
    /// What people call it, up to 64 characters.
    pub name: String,
    /// Only calls from this trunk of the account are for it.
    pub trunk: Option<Id>,
    /// Tried in order, at most 10; with none, calls are refused.
    pub route: Vec<Target>,
    /// Unix ms.
    pub created_at: i64,
    /// Where it rings.
    pub country: Country,
}

impl NumberRow {
    /// The ISO 3166 code of the country it is allocated in; `None` where no numbering plan allocates it.
    pub fn country(&self) -> Option<&str> {
        let find = || Number::parse(&self.number).ok()?.region(None);
        self.country.0.get_or_init(find).as_deref()
    }
}

/// A number's country, looked up when it is first asked for: that takes longer than all else a call in needs.
#[derive(Clone, Debug, Default)]
pub struct Country(OnceLock<Option<String>>);

/// It follows from the number.
impl PartialEq for Country {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl super::directory::Owned for NumberRow {
    fn account(&self) -> i64 {
        self.account
    }
}

/// A number to be made; the fields are those of [`NumberRow`].
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "said at NumberRow")]
pub struct NewNumber {
    pub account: i64,
    pub number: String,
    pub name: String,
    pub trunk: Option<Id>,
    pub route: Vec<Target>,
}

pub(super) fn from_row(row: &AnyRow) -> Result<NumberRow, StoreError> {
    Ok(NumberRow {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        number: row.try_get::<String, _>("number")?.into(),
        name: row.try_get("name")?,
        trunk: parsed_or_null(row, "trunk", Id::parse)?,
        route: parsed(row, "route", json)?,
        created_at: row.try_get("created_at")?,
        country: Country::default(),
    })
}

pub(super) async fn insert(connection: &mut AnyConnection, row: &NumberRow) -> Result<(), StoreError> {
    let insert = "INSERT INTO numbers (id, account, number, name, trunk, route, created_at) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(insert)
        .bind(row.id)
        .bind(row.account)
        .bind(row.number.to_string())
        .bind(row.name.clone())
        .bind(row.trunk.map(|id| id.to_string()))
        .bind(route_text(row)?)
        .bind(row.created_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Refuses to remove what numbers (those that `uses` says) or `others` name.
pub(super) fn check_unused(
    directory: &Directory,
    account: i64,
    code: &'static str,
    what: &str,
    mut others: Vec<String>,
    uses: impl Fn(&NumberRow) -> bool,
) -> Result<(), Refused> {
    let numbers: Vec<String> = directory
        .read()
        .numbers_of(account)
        .filter(|row| uses(row))
        .map(|row| row.number.to_string())
        .collect();
    if numbers.is_empty() && others.is_empty() {
        return Ok(());
    }
    let more = numbers.len().saturating_sub(NAMED);
    others.splice(0..0, numbers.into_iter().take(NAMED).map(|number| format!("number {number}")));
    if more > 0 {
        others.push(format!("{more} more"));
    }
    Err(Refused::new(409, code, format!("The {what} is still named by {}.", others.join(", ")))
        .hint("Change these first, then remove it."))
}

impl Store {
    /// Makes a number.
    pub async fn create_number(&self, new: NewNumber) -> Result<Arc<NumberRow>, StoreError> {
        let _changing = self.0.changing.lock().await;
        let Some(account) = self.account(new.account) else {
            let message = format!("There is no account {}.", new.account);
            return Err(Refused::bad("account_not_found", message).into());
        };
        let mut row = NumberRow {
            id: 0,
            account: new.account,
            number: new.number.into(),
            name: new.name,
            trunk: new.trunk,
            route: new.route,
            created_at: now_ms(),
            country: Country::default(),
        };
        self.check_number(&row)?;
        {
            let tables = self.directory().read();
            if tables.e164.get(row.account, &row.number).is_some() {
                let message = format!("The account has the number {} already.", row.number);
                return Err(Refused::new(409, "number_exists", message).into());
            }
            if tables.numbers_of(row.account).count() >= MOST {
                let message = format!("The account has {MOST} numbers, which is the limit.");
                return Err(Refused::new(409, "too_many_numbers", message).hint("Delete one.").into());
            }
            inbound::check_number(&self.memory(), &tables, &account, &row.number)?;
        }
        let mut change = self.0.writes.begin().await?;
        row.id = next_id(&mut change, "numbers").await?;
        insert(&mut change, &row).await?;
        change.commit().await?;
        let row = Arc::new(row);
        self.directory().change(|tables| tables.put_number(row.clone()));
        Ok(row)
    }

    /// Changes a number to what `row` says (id, account, number and creation stay); `None` if there is none such.
    pub async fn update_number(&self, row: NumberRow) -> Result<Option<Arc<NumberRow>>, StoreError> {
        let _changing = self.0.changing.lock().await;
        let directory = self.directory();
        let Some(before) = directory.number_by_id(row.account, row.id) else { return Ok(None) };
        let row = NumberRow { number: before.number.clone(), created_at: before.created_at, ..row };
        self.check_number(&row)?;
        sqlx::query("UPDATE numbers SET name = $1, trunk = $2, route = $3 WHERE id = $4")
            .bind(row.name.clone())
            .bind(row.trunk.map(|id| id.to_string()))
            .bind(route_text(&row)?)
            .bind(row.id)
            .execute(&self.0.writes)
            .await?;
        let row = Arc::new(row);
        directory.change(|tables| tables.put_number(row.clone()));
        Ok(Some(row))
    }

    /// Removes a number of the account; false if there is none such.
    pub async fn delete_number(&self, account: i64, id: i64) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        if self.directory().number_by_id(account, id).is_none() {
            return Ok(false);
        }
        sqlx::query("DELETE FROM numbers WHERE id = $1").bind(id).execute(&self.0.writes).await?;
        self.directory().change(|tables| tables.remove_number(account, id));
        Ok(true)
    }

    fn check_number(&self, row: &NumberRow) -> Result<(), Refused> {
        if !is_e164(&row.number) {
            let message = format!("{:?} is no number with + and country code.", row.number);
            return Err(Refused::bad("invalid_number_format", message).hint("Write it like +12025550123."));
        }
        if row.name.chars().count() > 64 || row.name.chars().any(char::is_control) {
            let message = "The field `name` has at most 64 characters, none of them a control character.";
            return Err(Refused::bad("invalid_number", message));
        }
        if let Some(id) = row.trunk
            && self.trunk(Some(row.account), id).is_none()
        {
            return Err(Refused::bad("unknown_trunk", "The field `trunk` names no trunk of the account."));
        }
        if row.route.len() > MOST_TARGETS {
            let message = format!("The field `route` has more than {MOST_TARGETS} targets.");
            return Err(Refused::bad("invalid_route", message));
        }
        for (n, target) in row.route.iter().enumerate() {
            self.check_target(row.account, &format!("route[{n}]"), target)?;
            if target.is_last() && n + 1 < row.route.len() {
                let message = format!(
                    "`route[{}]` never has its turn: the call ends with `route[{n}]`, a {}.",
                    n + 1,
                    target.word()
                );
                return Err(Refused::bad("invalid_route", message).hint("Let it come last."));
            }
        }
        Ok(())
    }

    fn check_target(&self, account: i64, place: &str, target: &Target) -> Result<(), Refused> {
        let bad = |message: String| Err(Refused::bad("invalid_route", message));
        let directory = self.directory();
        if target.user().is_some_and(|id| directory.user_by_id(account, id).is_none()) {
            let message = format!("`{place}` names no user of the account.");
            return Err(Refused::bad("unknown_user", message));
        }
        if target.group().is_some_and(|id| directory.group(account, id).is_none()) {
            let message = format!("`{place}` names no group of the account.");
            return Err(Refused::bad("unknown_group", message));
        }
        match target {
            Target::User { timeout_s, .. }
            | Target::Group { timeout_s, .. }
            | Target::Dial { timeout_s, .. }
                if timeout_s.is_some_and(|seconds| !(1..=600).contains(&seconds)) =>
            {
                bad(format!("`{place}.timeout_s` must be 1 to 600 seconds."))
            }
            Target::Dial { number, .. } if !is_e164(number) => {
                bad(format!("`{place}.dial` is no number with + and country code."))
            }
            Target::Webhook(url) if url.len() > 2048 => {
                bad(format!("`{place}.webhook` is longer than 2048 bytes."))
            }
            Target::Flow(steps) => flow::check(steps)
                .map_err(|refused| Refused { message: format!("`{place}`: {}", refused.message), ..refused }),
            Target::Voicemail { greeting: Some(greeting), .. }
                if greeting.trim().is_empty() || greeting.len() > GREETING =>
            {
                bad(format!("`{place}.voicemail.greeting` must have 1 to {GREETING} bytes."))
            }
            // What challenges nobody answers on the way to a callee.
            Target::Reject { status } if !(400..=699).contains(status) || [401, 407].contains(status) => {
                bad(format!(
                    "`{place}.reject.status` must be a SIP status from 400 to 699, and neither 401 nor 407."
                ))
            }
            _ => Ok(()),
        }
    }
}

fn is_e164(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

fn route_text(row: &NumberRow) -> Result<String, StoreError> {
    serde_json::to_string(&row.route).map_err(|_| StoreError::Value { field: "numbers.route" })
}
