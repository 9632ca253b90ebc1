//! `/v1/usage`: how much was called.

use std::collections::BTreeMap;

use axum::Json as Reply;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::schema::Status;
use crate::api::auth::Caller;
use crate::api::body::{self, Asked};
use crate::api::reply::store_failed;
use crate::api::{Api, calls};
use crate::refused::Refused;
use crate::store::UsageRow;
use crate::time::now_ms;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Rows read of the store: spans, trunks and states together.
const MOST: u32 = 50_000;

/// How long the spans are.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Span {
    Hour,
    #[default]
    Day,
}

impl Span {
    fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The longest time that can be asked for at once.
    fn most(self) -> i64 {
        match self {
            Self::Hour => 31 * DAY,
            Self::Day => 366 * DAY,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageQuery {
    /// Only calls ordered at this time or later; 30 days (by hour: one day) before `to` when left out.
    #[param(format = DateTime, example = "2026-01-01T00:00:00Z")]
    from: Option<String>,
    /// Only calls ordered before this time; now when left out. At most 366 days (by hour: 31) after `from`.
    #[param(format = DateTime, example = "2026-02-01T00:00:00Z")]
    to: Option<String>,
    /// `day` (in UTC) or `hour`; `day` when left out.
    #[param(inline)]
    by: Option<Span>,
    /// Another account than the key's own: operators only, who see everyone's when this is left out.
    #[param(minimum = 0)]
    account: Option<i64>,
}

/// What was called in a time.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z", "by": "day",
    "total": { "calls": 3, "answered": 2, "talk_ms": 64000, "minutes": 3, "by_status": { "completed": 2, "busy": 1 } },
    "data": [{
        "start": "2026-01-01T00:00:00.000Z", "direction": "outbound", "trunk": "acme",
        "total": { "calls": 3, "answered": 2, "talk_ms": 64000, "minutes": 3, "by_status": { "completed": 2, "busy": 1 } },
    }],
}))]
pub(super) struct Usage {
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    by: Span,
    total: Sum,
    /// By span, direction and trunk, oldest first; spans without calls are left out.
    data: Vec<UsageSpan>,
}

/// The calls of one span over one trunk.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UsageSpan {
    #[schema(format = DateTime)]
    start: String,
    /// `outbound` or `inbound`
    direction: String,
    /// The trunk's name; null for calls without one.
    trunk: Option<String>,
    total: Sum,
}

/// Calls together.
#[derive(Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Sum {
    /// How many calls were ordered.
    calls: i64,
    /// How many of them were answered.
    answered: i64,
    /// From answer to end, of the calls that have ended.
    talk_ms: i64,
    /// The same with each call counted in minutes begun, as most carriers bill.
    minutes: i64,
    /// How many are in which state; a state without calls is left out.
    #[schema(value_type = BTreeMap<Status, i64>)]
    by_status: BTreeMap<&'static str, i64>,
}

/// Sum up calls
#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(UsageQuery),
    responses((status = OK, description = "The sums.", body = Usage)))]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<UsageQuery>,
) -> Result<Reply<Usage>, Refused> {
    let account = match asked.account {
        None => caller.0.reach(),
        named => Some(caller.account(named)?),
    };
    let by = asked.by.unwrap_or_default();
    let to = body::moment("to", asked.to.as_deref())?.unwrap_or_else(now_ms);
    let usual = if matches!(by, Span::Hour) { DAY } else { 30 * DAY };
    let from = body::moment("from", asked.from.as_deref())?.unwrap_or(to - usual);
    if from < 0 || to <= from || to - from > by.most() {
        return Err(Refused::bad(
            "invalid_time",
            "`from` and `to` do not span a time that can be summed up.",
        )
        .hint("`from` lies before `to`, by at most 366 days, or 31 where sums are by hour."));
    }
    let rows = api.app.store.usage(account, (from, to), by.ms(), MOST).await.map_err(store_failed)?;
    if rows.len() >= MOST as usize {
        return Err(Refused::bad("too_much", "There are too many sums for one answer.")
            .hint("Ask for a shorter time, or by day."));
    }
    let mut total = Sum::default();
    let mut data: Vec<UsageSpan> = Vec::new();
    for row in rows {
        total.add(&row);
        let start = calls::time(row.start);
        let same = |span: &&mut UsageSpan| {
            (&span.start, &span.direction, &span.trunk) == (&start, &row.direction, &row.trunk)
        };
        match data.last_mut().filter(same) {
            Some(span) => span.total.add(&row),
            None => {
                let mut sum = Sum::default();
                sum.add(&row);
                data.push(UsageSpan { start, direction: row.direction, trunk: row.trunk, total: sum });
            }
        }
    }
    Ok(Reply(Usage { from: calls::time(from), to: calls::time(to), by, total, data }))
}

impl Sum {
    fn add(&mut self, row: &UsageRow) {
        self.calls += row.calls;
        self.answered += row.answered;
        self.talk_ms += row.talk_ms;
        self.minutes += row.minutes;
        *self.by_status.entry(row.state.as_str()).or_default() += row.calls;
    }
}
