//! What every face does with calls: find one, end one, show its times.

use std::time::Duration;

use jiff::Timestamp;

use super::Api;
use super::auth::Caller;
use super::body;
use super::reply::store_failed;
use crate::id::Id;
use crate::progress::Follow;
use crate::refused::Refused;
use crate::store::{CallRow, Place};

/// How long ending a call waits for its final state, so that the reply can already show it.
const END_WAIT: Duration = Duration::from_secs(2);

/// The call with this id, in any form, if the caller may see it.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<CallRow, Refused> {
    let parsed = body::id(id, "call_not_found", "call")?;
    let row = api.app.store.call(caller.0.reach(), parsed).await.map_err(store_failed)?;
    row.ok_or_else(|| body::unknown(id, "call_not_found", "call"))
}

/// Ends a call and answers how it stands then. A call that has ended stays as it is.
pub(super) async fn end(api: &Api, caller: &Caller, id: &str) -> Result<CallRow, Refused> {
    let row = find(api, caller, id).await?;
    if row.state.is_final() {
        return Ok(row);
    }
    let mut follow = Follow::start(&api.app, &row, 0).await.map_err(store_failed)?;
    if api.app.switch.hang_up(row.id).await {
        let _ = tokio::time::timeout(END_WAIT, async { while follow.next().await.is_some() {} }).await;
    }
    api.app.store.flush().await;
    find(api, caller, id).await
}

/// Unix ms as RFC 3339 in UTC with milliseconds, such as `2026-03-01T12:00:00.000Z`.
pub(super) fn time(unix_ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(unix_ms).unwrap_or_default())
}

/// Whether a number or address could have been written by a person: no control characters, 1 to 255 bytes.
pub(super) fn plain(field: &str, text: &str) -> Result<(), Refused> {
    let code = "invalid_field";
    if text.trim().is_empty() {
        return Err(Refused::bad(code, format!("The field `{field}` is empty.")));
    }
    if text.len() > 255 {
        return Err(Refused::bad(code, format!("The field `{field}` is longer than 255 bytes.")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refused::bad(code, format!("The field `{field}` contains control characters.")));
    }
    Ok(())
}

/// A state to filter by.
pub(super) fn state(asked: Option<String>) -> Result<Option<call::State>, Refused> {
    let Some(asked) = asked else { return Ok(None) };
    asked.parse().map(Some).map_err(|_| {
        Refused::bad("invalid_status", "`status` names no state of a call.")
            .hint("It can be queued, ringing, in-progress, completed, busy, failed, no-answer or canceled.")
    })
}

/// Where a list goes on that has calls' ids as its cursors.
pub(super) async fn after(
    api: &Api,
    caller: &Caller,
    asked: Option<String>,
) -> Result<Option<Place>, Refused> {
    let Some(asked) = asked.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bad = || {
        Refused::bad("invalid_cursor", "`after` is no call's id.")
            .hint("Take it from `next` of the page before.")
    };
    let id = Id::parse(&asked).ok_or_else(bad)?;
    let row = api.app.store.call(caller.0.reach(), id).await.map_err(store_failed)?;
    row.map(|row| Some(row.place())).ok_or_else(bad)
}

/// The last call of this page, if it is full: there the next one begins.
pub(super) fn next(rows: &[CallRow], limit: u32) -> Option<&CallRow> {
    rows.last().filter(|_| rows.len() >= limit as usize)
}
