//! Reading what was sent: JSON bodies, query strings, ids. Each error names the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::{Api, words};
use crate::id::Id;
use crate::refused::Refused;
use crate::store::Once;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes that are read of a body that is refused.
const DRAINED: usize = 16 * 1024 * 1024;

/// A JSON body of at most 1 MiB.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Refused> {
        json_content(request.headers())?;
        whole(request.into_body()).await.and_then(|bytes| read(&bytes)).map(Self)
    }
}

/// A JSON body of at most 1 MiB that may come more than once: with the header `Idempotency-Key`.
pub(super) struct OnceJson<T>(pub(super) T, pub(super) Option<Once>);

impl<T: DeserializeOwned> FromRequest<Api> for OnceJson<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Refused> {
        json_content(request.headers())?;
        let key = idempotency_key(request.headers())?;
        let path = request.uri().path().to_owned();
        let bytes = whole(request.into_body()).await?;
        let asked = read(&bytes)?;
        let once = key.map(|key| {
            // Parsed, so that blanks and the order of fields make no difference.
            let body = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default().to_string();
            Once::new(&key, &[path.as_bytes(), body.as_bytes()])
        });
        Ok(Self(asked, once))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && given.next().is_none());
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Refused::bad(
            "invalid_idempotency_key",
            "The header Idempotency-Key is not one key of 1 to 255 ASCII characters.",
        )
        .hint("Send a new random value, such as a UUID, with each new request, and the same to repeat it.")
    })
}

/// The body, read to its end within its limits, even when it is too large: whoever is still sending would see a cut
/// connection instead of the reply.
async fn whole(body: Body) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let length = receive(body, |chunk, length| {
        if length <= super::JSON_LIMIT {
            bytes.extend_from_slice(chunk);
        }
    })
    .await?;
    if length > super::JSON_LIMIT { Err(too_large("The body", super::JSON_LIMIT)) } else { Ok(bytes) }
}

/// Reads what nobody wants to know, so that the sender gets to hear the reply.
pub(super) async fn drain(body: Body) {
    // The reply is written already.
    let _ = receive(body, |_, _| {}).await;
}

/// Hands on chunk by chunk, each with the length so far, until the end or [`DRAINED`]; answers the length.
async fn receive(body: Body, mut take: impl FnMut(&[u8], usize)) -> Result<usize, Refused> {
    let mut chunks = body.into_data_stream();
    let mut length = 0;
    let all = async {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|_| Refused::bad("unreadable_body", "The body could not be read to its end."))?;
            length += chunk.len();
            take(&chunk, length);
            if length > DRAINED {
                break;
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, all).await {
        Ok(read) => read.map(|()| length),
        Err(_) => Err(Refused::new(408, "body_too_slow", "The body did not arrive within 30 seconds.")),
    }
}

/// The variable part of a path, or all of them; what cannot be decoded names nothing.
pub(super) struct Segment<T = String>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Segment<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refused> {
        match Path::<T>::from_request_parts(parts, api).await {
            Ok(Path(parsed)) => Ok(Self(parsed)),
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
            Refused::bad("invalid_query", format!("The query string is wrong: {}.", words::plain(reason)))
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
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| wrong::<T>(&error, bytes))?;
    json.end()
        .map_err(|error| Refused::bad("invalid_json", format!("The body is no valid JSON: {error}.")))?;
    Ok(value)
}

/// What is wrong with a body, and where.
fn wrong<T: DeserializeOwned>(
    error: &serde_path_to_error::Error<serde_json::Error>,
    bytes: &[u8],
) -> Refused {
    let text = error.inner().to_string();
    let (reason, position) = text.split_once(" at line ").unwrap_or((&text, ""));
    let place = words::place(error.path());
    let named = || place.as_ref().map_or_else(|| "The body".to_owned(), |place| format!("The field {place}"));
    if error.inner().classify() == Category::Data {
        return Refused::bad("invalid_field", format!("{} is wrong: {}.", named(), words::plain(reason)));
    }
    if reason.starts_with("recursion limit") {
        return Refused::bad("too_deep", format!("{} is nested more than 127 deep.", named()))
            .hint("Branches of a flow lie at most 8 deep.");
    }
    if reason.starts_with("control character") {
        let message = format!("{} has a raw control character in a string (line {position}).", named());
        return Refused::bad("invalid_json", message).hint("JSON writes a line break as \\n, a tab as \\t.");
    }
    // A step with two verbs is sound JSON too, but a step is read no further than its first.
    let sound = serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let steps = sound.and_then(|body| {
        let error = serde_path_to_error::deserialize::<_, T>(&body).err()?;
        Some(Refused::bad(
            "invalid_field",
            format!(
                "The field {} is wrong: {}.",
                words::place(error.path())?,
                words::keys_at(&body, error.path())?
            ),
        ))
    });
    steps.unwrap_or_else(|| {
        let place = place.map(|place| format!(", in the field {place}")).unwrap_or_default();
        Refused::bad("invalid_json", format!("The body is no valid JSON{place}: {text}."))
    })
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

/// A word to filter by, one of those there are; empty is none.
pub(super) fn word(name: &str, asked: Option<String>, known: &[&str]) -> Result<Option<String>, Refused> {
    let Some(asked) = asked.filter(|text| !text.is_empty()) else { return Ok(None) };
    if known.contains(&asked.as_str()) {
        return Ok(Some(asked));
    }
    let shown: String = asked.chars().take(64).collect();
    let message = format!("`{name}` is {shown:?}, which there is not.");
    Err(Refused::bad("invalid_filter", message).hint(format!("It can be {}.", known.join(", "))))
}

/// A moment in time to filter by, in Unix ms.
pub(super) fn moment(name: &str, asked: Option<&str>) -> Result<Option<i64>, Refused> {
    let Some(asked) = asked else { return Ok(None) };
    // A `+` in a query string means a space; in a time it was meant as typed.
    let read: Result<jiff::Timestamp, _> = asked.replace(' ', "+").parse();
    read.map(|at| Some(at.as_millisecond())).map_err(|_| {
        Refused::bad("invalid_time", format!("`{name}` is no point in time."))
            .hint("Write it as RFC 3339 says, such as 2026-03-01T12:00:00Z.")
    })
}

/// How many rows a list shows: 50 unless asked for 1 to 200.
pub(super) fn limit(asked: Option<&str>) -> Result<u32, Refused> {
    let Some(asked) = asked else { return Ok(50) };
    asked.parse().ok().filter(|limit| (1..=200).contains(limit)).ok_or_else(|| {
        let shown: String = asked.chars().take(20).collect();
        Refused::bad("invalid_limit", format!("`limit` is {shown:?}; it can be 1 to 200."))
    })
}
