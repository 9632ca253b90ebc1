//! Document 0, the outbound calling API: `/api/calls/*` and `/api/audio/upload`.
//!
//! Bodies may have fields the document does not know; they are ignored. Ids are shown as 24 hex digits.

use std::collections::BTreeMap;

use axum::extract::multipart::{Multipart, MultipartError, MultipartRejection};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json as Reply, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth::Caller;
use super::body::{self, Asked, OnceJson, Segment};
use super::calls;
use super::reply::{self, store_failed};
use super::{Api, UPLOAD_LIMIT};
use crate::flow::Step;
use crate::originate::{Order, Ordered, originate};
use crate::refused::Refused;
use crate::store::{CallFilter, CallRow};

/// The most bytes of a form that are read before the connection is cut.
const FORM_LIMIT: usize = 2 * UPLOAD_LIMIT;

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/calls/initiate", post(initiate))
        .route("/api/calls/status/{id}", get(status))
        .route("/api/calls/end/{id}", post(end))
        .route("/api/calls/history", get(history))
        .route("/api/audio/upload", post(upload).layer(DefaultBodyLimit::max(FORM_LIMIT)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initiate {
    from_number: Option<String>,
    to_number: Option<String>,
    audio_file: Option<String>,
    text: Option<String>,
}

/// The reply, its fields in the document's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initiated {
    success: bool,
    message: &'static str,
    call_id: String,
    call_type: String,
    opensips_id: Option<String>,
    audio_file: Option<String>,
}

async fn initiate(
    State(api): State<Api>,
    caller: Caller,
    OnceJson(asked, once): OnceJson<Initiate>,
) -> Result<impl IntoResponse, Refused> {
    let order = Order { once, ..order(&api, &caller, asked)? };
    let Ordered { call, replayed } = originate(&api.app, order).await?;
    let reply = Reply(Initiated {
        success: true,
        message: match call.kind.as_str() {
            "SIP" => "Call initiated successfully to SIP address",
            _ => "Call initiated successfully to PSTN number",
        },
        call_id: call.id.to_string(),
        call_type: call.kind,
        opensips_id: call.sip_call_id,
        audio_file: call.audio_file,
    });
    Ok((reply::replayed(replayed), reply))
}

/// What is asked for, once it is known to be whole.
fn order(api: &Api, caller: &Caller, asked: Initiate) -> Result<Order, Refused> {
    let Some(to) = asked.to_number else {
        return Err(Refused::bad("missing_to_number", "The field `toNumber` is missing: whom shall I call?")
            .hint("Write a number such as +12025550123, or a SIP address."));
    };
    calls::plain("toNumber", &to)?;
    match &asked.from_number {
        Some(from) => calls::plain("fromNumber", from)?,
        None => has_caller_id(api, caller)?,
    }
    let step = match (asked.text, asked.audio_file) {
        (Some(text), None) => Step::Say { text, voice: None, language: None },
        (None, Some(file)) => {
            calls::plain("audioFile", &file)?;
            Step::Play { file }
        }
        (None, None) => {
            return Err(Refused::bad("missing_content", "Neither `text` nor `audioFile` is given.")
                .hint("Send exactly one of them: what shall be said, or what shall be played."));
        }
        (Some(_), Some(_)) => {
            return Err(Refused::bad("ambiguous_content", "Both `text` and `audioFile` are given.")
                .hint("Send exactly one of them."));
        }
    };
    Ok(Order {
        account: caller.0.account,
        face: "calling",
        from: asked.from_number,
        to,
        flow: vec![step],
        trunk: None,
        record: true,
        ring_timeout: None,
        max_duration: None,
        metadata: BTreeMap::new(),
        once: None,
    })
}

/// The document requires `fromNumber`; only a default trunk with a caller ID of its own makes up for it.
fn has_caller_id(api: &Api, caller: &Caller) -> Result<(), Refused> {
    let trunks = api.app.store.trunks(caller.0.account);
    if trunks.iter().any(|trunk| trunk.is_default && trunk.enabled && trunk.caller_id.is_some()) {
        return Ok(());
    }
    Err(Refused::bad("missing_from_number", "The field `fromNumber` is missing.")
        .hint("Send the number the callee shall see, or give the default trunk a caller ID."))
}

async fn status(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Reply<Value>, Refused> {
    let call = calls::find(&api, &caller, &id).await?;
    Ok(Reply(json!({ "success": true, "call": show(&call) })))
}

async fn end(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<Reply<Value>, Refused> {
    let call = calls::end(&api, &caller, &id).await?;
    Ok(Reply(json!({
        "success": true,
        "message": "Call ended successfully",
        "callId": call.id.to_string(),
        "status": call.state.as_str(),
        "call": show(&call),
    })))
}

#[derive(Deserialize)]
struct HistoryQuery {
    limit: Option<String>,
    after: Option<String>,
    status: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

async fn history(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<HistoryQuery>,
) -> Result<Reply<Value>, Refused> {
    let limit = body::limit(asked.limit.as_deref())?;
    let filter = CallFilter {
        state: calls::state(asked.status.filter(|status| !status.is_empty()))?,
        from: body::number_filter(asked.from),
        to: body::number_filter(asked.to),
        after: calls::after(&api, &caller, asked.after).await?,
        limit: limit.into(),
        ..CallFilter::default()
    };
    let rows = api.app.store.calls(caller.0.reach(), &filter).await.map_err(store_failed)?;
    Ok(Reply(json!({
        "success": true,
        "calls": rows.iter().map(show).collect::<Vec<_>>(),
        "next": calls::next(&rows, limit).map(|row| row.id.to_string()),
    })))
}

/// A call in this document's words; times as RFC 3339, `duration` in whole seconds of talk.
fn show(call: &CallRow) -> Value {
    let time = |at: Option<i64>| at.map(calls::time);
    json!({
        "callId": call.id.to_string(),
        "fromNumber": call.from,
        "toNumber": call.to,
        "callType": call.kind,
        "direction": call.direction,
        "status": call.state.as_str(),
        "opensipsId": call.sip_call_id,
        "audioFile": call.audio_file,
        "text": call.text,
        "trunk": call.trunk_name,
        "createdAt": calls::time(call.created_at),
        "ringingAt": time(call.ringing_at),
        "answeredAt": time(call.answered_at),
        "endedAt": time(call.ended_at),
        "duration": call.duration_ms().map(|ms| (ms + 500) / 1000),
        "durationMs": call.duration_ms(),
        "cause": call.cause_code.as_ref().map(|code| json!({
            "code": code,
            "message": call.cause_text,
            "hint": call.cause_hint,
            "sipStatus": call.sip_status,
            "q850": call.q850,
        })),
        "hangupBy": call.hangup_by,
        "quality": call.quality,
        "recording": call.recording.as_ref().map(|_| format!("/v1/calls/{}/recording", call.id.with("call"))),
    })
}

async fn upload(
    State(api): State<Api>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<(StatusCode, Reply<Value>), Refused> {
    let mut form = form.map_err(|_| {
        Refused::new(415, "unsupported_media_type", "The body is no multipart form.")
            .hint("Send the file as the form field `audio`: curl -F audio=@greeting.mp3 …")
    })?;
    let mut audio = None;
    while let Some(mut field) = form.next_field().await.map_err(|error| broken_form(&error))? {
        if field.name() != Some("audio") {
            continue;
        }
        if audio.is_some() {
            return Err(Refused::bad("invalid_upload", "The form has more than one field `audio`."));
        }
        // Read to its end even when it is too large, or the sender sees a cut connection instead of the reply.
        let (mut bytes, mut length) = (Vec::new(), 0);
        while let Some(chunk) = field.chunk().await.map_err(|error| broken_form(&error))? {
            length += chunk.len();
            if length <= UPLOAD_LIMIT {
                bytes.extend_from_slice(&chunk);
            }
        }
        if length > UPLOAD_LIMIT {
            return Err(body::too_large("The file", UPLOAD_LIMIT));
        }
        audio = Some(bytes);
    }
    let Some(audio) = audio else {
        return Err(Refused::bad("missing_audio", "The form has no field `audio`.")
            .hint("Send the file as the form field `audio`: curl -F audio=@greeting.mp3 …"));
    };
    let file = api.app.uploads.store(audio).await?;
    Ok((StatusCode::OK, Reply(json!({ "success": true, "audioFile": file }))))
}

fn broken_form(error: &MultipartError) -> Refused {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return body::too_large("The file", UPLOAD_LIMIT);
    }
    Refused::bad("invalid_upload", "The multipart form is broken or ends too early.")
}
