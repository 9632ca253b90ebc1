//! `/v1/sip/shield`: whom the SIP server listens to no more, why, and the way back; for the operator.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use sip::shield::{Level, Owner, Prefix, Shielded};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::body::Segment;
use crate::api::{Api, calls};
use crate::refused::Refused;
use crate::time::now_ms;

/// Sources that are listed.
const MOST: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, pardon_all)).routes(routes!(pardon))
}

/// The shield before the SIP server.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "enabled": true,
    "data": [{
        "source": "203.0.113.9", "owner": "stranger", "level": "ignored", "score": 41.5,
        "why": { "unknown_user": 60, "scanner": 3 },
        "since": "2026-01-01T00:00:00.000Z", "until": "2026-01-01T00:04:00.000Z",
    }],
}))]
struct Shield {
    /// Whether there is one (setting `shield`).
    enabled: bool,
    /// The busiest first, at most 1,000.
    data: Vec<Source>,
}

/// A source there is evidence against.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Source {
    /// An address, a /64 of IPv6, or a block of addresses (/24, /48).
    source: String,
    /// `stranger`; `phone`, where phones are or were registered; `trunk`, which is let through whatever is listed.
    owner: &'static str,
    /// `clear`, `slowed` or `ignored`.
    level: &'static str,
    /// Points of all that was seen; they halve each minute.
    score: f32,
    /// What was seen, and how often.
    why: BTreeMap<&'static str, u32>,
    #[schema(format = DateTime)]
    since: String,
    /// When the level ends if nothing more is seen.
    #[schema(format = DateTime)]
    until: Option<String>,
}

impl Source {
    fn new(shielded: &Shielded, now: Instant) -> Self {
        let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let wall = |at: Instant| {
            let since = ms(now.saturating_duration_since(at));
            calls::time(now_ms() - since + ms(at.saturating_duration_since(now)))
        };
        Self {
            source: shielded.source.to_string(),
            owner: match shielded.owner {
                Owner::Stranger => "stranger",
                Owner::Phone => "phone",
                Owner::Trunk => "trunk",
            },
            level: match shielded.level {
                Level::Clear => "clear",
                Level::Slowed => "slowed",
                Level::Ignored => "ignored",
            },
            score: (shielded.score * 10.0).round() / 10.0,
            why: shielded.why.seen().map(|(why, count)| (why.as_str(), count)).collect(),
            since: wall(shielded.since),
            until: shielded.until.map(wall),
        }
    }
}

/// List whom the shield watches
#[utoipa::path(get, path = "/v1/sip/shield", tag = "sip",
    responses((status = OK, description = "The sources there is evidence against.", body = Shield)))]
async fn list(State(api): State<Api>, caller: Caller) -> Result<Reply<Shield>, Refused> {
    caller.operator("see the shield")?;
    let shielded = api.app.switch.shielded(MOST).await;
    let now = Instant::now();
    Ok(Reply(Shield {
        enabled: shielded.is_some(),
        data: shielded.iter().flatten().map(|shielded| Source::new(shielded, now)).collect(),
    }))
}

/// Pardon a source
///
/// What was seen of it is forgotten. Give an address, or a block as it is listed with `/` written as `%2F`.
#[utoipa::path(delete, path = "/v1/sip/shield/{source}", tag = "sip",
    params(("source" = String, Path, description = "An address or a block.", example = "203.0.113.9")),
    responses((status = NO_CONTENT, description = "It is pardoned.")))]
async fn pardon(
    State(api): State<Api>,
    caller: Caller,
    Segment(source): Segment,
) -> Result<StatusCode, Refused> {
    caller.operator("pardon a source")?;
    let Ok(prefix) = source.parse::<Prefix>() else {
        let message = format!("{source:?} is no address and no block of addresses.");
        return Err(
            Refused::bad("invalid_source", message).hint("Write it as it is listed, such as 203.0.113.9.")
        );
    };
    match api.app.switch.pardon(Some(prefix)).await {
        0 => Err(Refused::missing("source_not_found", "The shield has nothing against this source.")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Pardon everybody
#[utoipa::path(delete, path = "/v1/sip/shield", tag = "sip",
    responses((status = NO_CONTENT, description = "Nothing is known of anybody any more.")))]
async fn pardon_all(State(api): State<Api>, caller: Caller) -> Result<StatusCode, Refused> {
    caller.operator("pardon all sources")?;
    api.app.switch.pardon(None).await;
    Ok(StatusCode::NO_CONTENT)
}
