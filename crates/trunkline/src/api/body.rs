//! Reading what was sent: JSON bodies, query strings, ids. Each error names the field.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::Api;
use crate::id::Id;
use crate::refused::Refused;

/// A JSON body of at most 1 MiB.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refused> {
        json_content(request.headers())?;
        let bytes = Bytes::from_request(request, api).await.map_err(unreadable)?;
        read(&bytes).map(Self)
    }
}

/// The one variable part of a path; what cannot be decoded names nothing.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<Api> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, api).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Refused::missing("not_found", "The address ends in something that is no id.")),
        }
    }
}

/// A query string.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refused> {
        let Query(asked) = Query::try_from_uri(&parts.uri).map_err(|error| {
            let text = error.body_text();
            let reason = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, reason)| reason);
            Refused::bad("invalid_query", format!("The query string is wrong: {reason}."))
        })?;
        Ok(Self(asked))
    }
}

fn json_content(headers: &HeaderMap) -> Result<(), Refused> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let kind = given.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let given = match given {
        Some(_) => format!("The body was sent as {kind:?}; this route reads JSON."),
        None => "The request does not say what its body is; this route reads JSON.".to_owned(),
    };
    Err(Refused::new(415, "unsupported_media_type", given)
        .hint("Send the header Content-Type: application/json."))
}

fn unreadable(rejection: BytesRejection) -> Refused {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large("The body", super::JSON_LIMIT);
    }
    Refused::bad("unreadable_body", "The body could not be read to its end.")
}

/// 413: `what` has more than `limit` bytes.
pub(super) fn too_large(what: &str, limit: usize) -> Refused {
    Refused::new(413, "body_too_large", format!("{what} is larger than {} MiB.", limit / (1024 * 1024)))
}

/// Reads JSON; an error names the field, or the line where the JSON breaks.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refused::bad("invalid_json", "The body is empty; a JSON object is expected."));
    }
    // serde would read an array as the fields in their order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Refused::bad("invalid_json", "The body is no JSON object."));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        match inner.classify() {
            Category::Data => {
                let text = inner.to_string();
                let reason = text.split_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
                let place = if path == "." { "The body".to_owned() } else { format!("The field `{path}`") };
                Refused::bad("invalid_field", format!("{place} is wrong: {reason}."))
            }
            _ => Refused::bad("invalid_json", format!("The body is no valid JSON: {inner}.")),
        }
    })?;
    json.end()
        .map_err(|error| Refused::bad("invalid_json", format!("The body is no valid JSON: {error}.")))?;
    Ok(value)
}

/// Reads an id in any form; what is none cannot exist.
pub(super) fn id(text: &str, code: &'static str, thing: &str) -> Result<Id, Refused> {
    Id::parse(text).ok_or_else(|| unknown(text, code, thing))
}

/// 404: there is no such thing, or it is another account's.
pub(super) fn unknown(text: &str, code: &'static str, thing: &str) -> Refused {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    Refused::missing(code, format!("There is no {thing} {shown:?}."))
}

/// A `+` in a query string means a space; in a number at its beginning it was meant as typed.
pub(super) fn number_filter(text: Option<String>) -> Option<String> {
    text.map(|text| match text.strip_prefix(' ') {
        Some(digits) => format!("+{digits}"),
        None => text,
    })
    .filter(|text| !text.is_empty())
}

/// How many rows a list shows: 50 unless asked for 1 to 200.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Refused> {
    match asked {
        None => Ok(50),
        Some(limit @ 1..=200) => Ok(limit),
        Some(other) => Err(Refused::bad("invalid_limit", format!("`limit` is {other}; it can be 1 to 200."))),
    }
}
