//! `/v1/calls/{id}/ladder` and `/pcap`: what was said on a call's SIP legs, and why it failed.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::auth::Caller;
use crate::api::body::{Asked, Segment};
use crate::api::reply::store_failed;
use crate::api::{Api, calls};
use crate::insight::{Evidence, Ladder, Outcome, Reel, pcap as capture};
use crate::refused::Refused;
use crate::store::CallRow;
use crate::time::now_ms;

/// How long after a call's end what was said on it may still be on its way to the database, in ms.
const ON_ITS_WAY: i64 = 60_000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LadderQuery {
    /// `text` draws a diagram for a terminal; when left out the header Accept decides.
    #[param(inline)]
    format: Option<Format>,
}

/// How the ladder is shown.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Text,
}

/// Show what was said on a call
///
/// The SIP messages of all its legs in the order of their times, those sent again counted, with what matters of their
/// session descriptions; what its sound was like; and in plain words why it failed, with the likely fix. While the call
/// lasts this is what was said so far. Secrets (answers to challenges, media keys, ICE passwords) are masked. With
/// `Accept: text/plain` or `format=text` it is a diagram for a terminal. It is kept as long as the call; the
/// server's setting `insight` says of which calls.
#[utoipa::path(get, path = "/v1/calls/{id}/ladder", tag = "calls", params(("id" = String, Path,), LadderQuery),
    responses((status = OK, description = "What was said.",
               content((Ladder = "application/json"), (String = "text/plain")))))]
pub(super) async fn ladder(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Asked(asked): Asked<LadderQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let row = calls::find(&api, &caller, &id).await?;
    let reel = reel(&api, &row).await?;
    let (legs, sound) = reel.map(|reel| (reel.legs, reel.sound)).unwrap_or_default();
    let outcome = outcome(&row);
    let evidence = Evidence { outcome: outcome.as_ref(), legs: &legs, sound: &sound };
    let live = !row.state.is_final();
    let ladder = Ladder::of(row.id.with("call"), row.state.as_str().to_owned(), live, &evidence);
    Ok(match asked.format.unwrap_or_else(|| preferred(&headers)) {
        Format::Json => Reply(ladder).into_response(),
        Format::Text => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], ladder.text()).into_response()
        }
    })
}

/// Fetch a call's messages as a capture file
///
/// A classic pcap file for tshark, Wireshark or sngrep. The messages are those of the ladder, secrets masked; the
/// headers of IP, UDP and TCP around them are made up from their addresses. What went over TLS or WebSocket is
/// written as plain TCP on port 5060.
#[utoipa::path(get, path = "/v1/calls/{id}/pcap", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "The file.", body = Vec<u8>, content_type = "application/vnd.tcpdump.pcap",
               headers(("Content-Disposition" = String, description = "Names the file after the call.")))))]
pub(super) async fn pcap(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Response, Refused> {
    let row = calls::find(&api, &caller, &id).await?;
    let legs = reel(&api, &row).await?.map(|reel| reel.legs).unwrap_or_default();
    if legs.iter().all(|leg| leg.messages.is_empty()) {
        return Err(Refused::missing("no_messages", "No SIP message of this call was kept.").hint(
            "None was sent or came, the server's setting `insight` leaves such calls out, or the database had too much to do.",
        ));
    }
    let name = format!("attachment; filename=\"{}.pcap\"", row.id.with("call"));
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.tcpdump.pcap".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, capture::write(&legs)).into_response())
}

/// What is known of a call's messages: from the call loop while they are there, else from the store.
async fn reel(api: &Api, row: &CallRow) -> Result<Option<Reel>, Refused> {
    if let Some(copy) = api.app.switch.insight(row.id).await {
        return Ok(Some(copy.mask()));
    }
    if row.ended_at.is_some_and(|ended_at| ended_at > now_ms() - ON_ITS_WAY) {
        api.app.switch.keeper().flush().await;
        api.app.store.flush().await;
    }
    Reel::stored(&api.app.store, row.id, row.account).await.map_err(store_failed)
}

fn outcome(row: &CallRow) -> Option<Outcome> {
    row.state.is_final().then(|| Outcome {
        status: row.state.as_str().to_owned(),
        code: row.cause_code.clone().unwrap_or_default(),
        text: row.cause_text.clone().unwrap_or_default(),
        hint: row.cause_hint.clone(),
        sip: row.sip_status,
    })
}

/// Whichever of the two the header Accept names first; JSON where it names neither.
fn preferred(headers: &HeaderMap) -> Format {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let named = accept.flat_map(|value| value.split(',')).find_map(|range| {
        match range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/plain" | "text/*" => Some(Format::Text),
            "application/json" | "application/*" | "*/*" => Some(Format::Json),
            _ => None,
        }
    });
    named.unwrap_or(Format::Json)
}
