//! Calls and their events, as they are read.

use std::collections::BTreeMap;

use call::State;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::{Store, StoreError, id_of, json, parsed, parsed_or_null};
use crate::id::Id;

/// What [`from_row`] reads, of a table named `calls`.
pub(super) const COLUMNS: &str =
    "calls.*, (SELECT file FROM recordings WHERE call_id = calls.id AND number = 0) AS recording";

/// A call. All times are Unix ms.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub account: i64,
    /// `outbound`.
    pub direction: String,
    /// Through what it was made: `v1`, `calling`, `cli`, `demo`.
    pub face: String,
    /// The number shown to the callee, if the call named one.
    pub from: Option<String>,
    /// The destination as it was given.
    pub to: String,
    /// `PSTN` or `SIP`.
    pub kind: String,
    /// The trunk it went over, which may since be gone.
    pub trunk: Option<Id>,
    /// That trunk's name then.
    pub trunk_name: Option<String>,
    /// How far it is.
    pub state: State,
    /// Why it ended: the stable code.
    pub cause_code: Option<String>,
    /// Why it ended, in plain words.
    pub cause_text: Option<String>,
    /// What to try.
    pub cause_hint: Option<String>,
    /// The final SIP status, if there was one.
    pub sip_status: Option<u16>,
    /// The Q.850 cause, if one was given.
    pub q850: Option<u8>,
    /// Who hung up.
    pub hangup_by: Option<String>,
    /// Call-ID of the leg.
    pub sip_call_id: Option<String>,
    /// What is played.
    pub audio_file: Option<String>,
    /// What is spoken.
    pub text: Option<String>,
    /// The verbs, as ordered.
    pub flow: serde_json::Value,
    /// File name of its own recording, below `<data>/recordings`.
    pub recording: Option<String>,
    /// When it was ordered.
    pub created_at: i64,
    /// When the other side first rang.
    pub ringing_at: Option<i64>,
    /// When it was answered.
    pub answered_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// Loss, jitter, MOS.
    pub quality: Option<serde_json::Value>,
    /// What the simulated callee heard.
    pub heard: Option<serde_json::Value>,
    /// What whoever placed it wrote on it.
    pub metadata: BTreeMap<String, String>,
}

impl CallRow {
    /// From answer to end, in ms; `None` while it lasts or if nobody answered.
    pub fn duration_ms(&self) -> Option<i64> {
        Some((self.ended_at? - self.answered_at?).max(0))
    }
}

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEvent {
    /// The call.
    pub call: Id,
    /// Whose it is.
    pub account: i64,
    /// Counts from 1 within the call.
    pub sequence: i64,
    /// Unix ms.
    pub at: i64,
    /// `state`, `attempt`, `early-media`, `say`, `play`, `pause`, `quality`, `heard`, `recording` or `finished`.
    pub kind: String,
    /// What belongs to that kind.
    pub detail: serde_json::Value,
}

/// Which calls to list.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Only these.
    pub state: Option<State>,
    /// Only those that showed exactly this number.
    pub from: Option<String>,
    /// Only those to exactly this destination.
    pub to: Option<String>,
    /// Only those placed in this direction.
    pub direction: Option<String>,
    /// Only those placed through this.
    pub face: Option<String>,
    /// Only those that went over the trunk with this id or name.
    pub trunk: Option<String>,
    /// Only those ordered then or later, Unix ms.
    pub since: Option<i64>,
    /// Only those ordered before, Unix ms.
    pub before: Option<i64>,
    /// Only those older than this place: the last of the page before.
    pub after: Option<Place>,
    /// How many at most, 1 to 200; 0 means 50.
    pub limit: i64,
}

/// A place in the list of calls: the newest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When the call there was ordered, Unix ms.
    pub created_at: i64,
    /// The call there.
    pub id: Id,
}

impl CallRow {
    /// Where it stands in lists.
    pub fn place(&self) -> Place {
        Place { created_at: self.created_at, id: self.id }
    }
}

pub(super) fn from_row(row: &AnyRow) -> Result<CallRow, StoreError> {
    let small = |field: &'static str| -> Result<Option<i64>, StoreError> { Ok(row.try_get(field)?) };
    Ok(CallRow {
        id: id_of(row, "id")?,
        account: row.try_get("account")?,
        direction: row.try_get("direction")?,
        face: row.try_get("face")?,
        from: row.try_get("from_number")?,
        to: row.try_get("to_number")?,
        kind: row.try_get("kind")?,
        trunk: parsed_or_null(row, "trunk", Id::parse)?,
        trunk_name: row.try_get("trunk_name")?,
        state: parsed(row, "state", |text| text.parse().ok())?,
        cause_code: row.try_get("cause_code")?,
        cause_text: row.try_get("cause_text")?,
        cause_hint: row.try_get("cause_hint")?,
        sip_status: small("sip_status")?.and_then(|status| u16::try_from(status).ok()),
        q850: small("q850")?.and_then(|cause| u8::try_from(cause).ok()),
        hangup_by: row.try_get("hangup_by")?,
        sip_call_id: row.try_get("sip_call_id")?,
        audio_file: row.try_get("audio_file")?,
        text: row.try_get("spoken")?,
        flow: parsed(row, "flow", json)?,
        recording: row.try_get("recording")?,
        created_at: row.try_get("created_at")?,
        ringing_at: row.try_get("ringing_at")?,
        answered_at: row.try_get("answered_at")?,
        ended_at: row.try_get("ended_at")?,
        quality: parsed_or_null(row, "quality", json)?,
        heard: parsed_or_null(row, "heard", json)?,
        metadata: parsed(row, "metadata", json)?,
    })
}

pub(super) fn event_from_row(row: &AnyRow) -> Result<CallEvent, StoreError> {
    Ok(CallEvent {
        call: id_of(row, "call_id")?,
        account: row.try_get("account")?,
        sequence: row.try_get("sequence")?,
        at: row.try_get("at")?,
        kind: row.try_get("kind")?,
        detail: parsed(row, "detail", json)?,
    })
}

impl Store {
    /// One call of the account; `None` looks at everyone's (for the operator).
    pub async fn call(&self, account: Option<i64>, id: Id) -> Result<Option<CallRow>, StoreError> {
        let select = AssertSqlSafe(format!("SELECT {COLUMNS} FROM calls WHERE id = $1"));
        let row = sqlx::query(select).bind(id.to_string()).fetch_optional(&self.0.reads).await?;
        let call = row.as_ref().map(from_row).transpose()?;
        Ok(call.filter(|call| account.is_none_or(|account| account == call.account)))
    }

    /// Calls of the account (or everyone's), newest first.
    pub async fn calls(&self, account: Option<i64>, filter: &CallFilter) -> Result<Vec<CallRow>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM calls WHERE 1 = 1");
        let mut arguments = AnyArguments::default();
        if let Some(account) = account {
            arguments.add(account).map_err(sqlx::Error::Encode)?;
            sql.push_str(" AND account = $1");
        }
        let trunk = filter.trunk.as_deref();
        // An id is accepted in any form; names are left as they are.
        let trunk_id = trunk.and_then(Id::parse).map(|id| id.to_string());
        let texts = [
            ("state = ?", filter.state.map(|state| state.as_str().to_owned())),
            ("from_number = ?", filter.from.clone()),
            ("to_number = ?", filter.to.clone()),
            ("direction = ?", filter.direction.clone()),
            ("face = ?", filter.face.clone()),
            ("(trunk = ? OR trunk_name = ?)", trunk_id.or(trunk.map(ToOwned::to_owned))),
        ];
        for (condition, value) in texts {
            let Some(value) = value else { continue };
            arguments.add(value).map_err(sqlx::Error::Encode)?;
            sql.push_str(" AND ");
            sql.push_str(&condition.replace('?', &format!("${}", arguments.len())));
        }
        for (condition, value) in [("created_at >= ?", filter.since), ("created_at < ?", filter.before)] {
            let Some(value) = value else { continue };
            arguments.add(value).map_err(sqlx::Error::Encode)?;
            sql.push_str(" AND ");
            sql.push_str(&condition.replace('?', &format!("${}", arguments.len())));
        }
        if let Some(place) = filter.after {
            arguments.add(place.created_at).map_err(sqlx::Error::Encode)?;
            arguments.add(place.id.to_string()).map_err(sqlx::Error::Encode)?;
            let last = arguments.len();
            sql.push_str(&format!(" AND (created_at, id) < (${}, ${last})", last - 1));
        }
        let limit = if filter.limit == 0 { 50 } else { filter.limit.clamp(1, 200) };
        arguments.add(limit).map_err(sqlx::Error::Encode)?;
        sql.push_str(&format!(" ORDER BY created_at DESC, id DESC LIMIT ${}", arguments.len()));
        // Only the conditions above and the places of their values are put together.
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&self.0.reads).await?;
        rows.iter().map(from_row).collect()
    }

    /// What happened to a call, in order.
    pub async fn events(&self, call: Id) -> Result<Vec<CallEvent>, StoreError> {
        let select = "SELECT * FROM events WHERE call_id = $1 ORDER BY sequence";
        let rows = sqlx::query(select).bind(call.to_string()).fetch_all(&self.0.reads).await?;
        rows.iter().map(event_from_row).collect()
    }
}
