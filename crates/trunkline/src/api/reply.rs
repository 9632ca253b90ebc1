//! What every reply has: a request id, and refusals in the words of the face that was asked.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::id::Id;
use crate::refused::Refused;
use crate::store::StoreError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whose error shape and whose way to present a key a path has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// Document 0: `{"success":false,"error":…,"code":…}` and `X-API-Key`.
    Calling,
    /// Document 2: its errors are those of document 0, its key comes as `Authorization: Bearer`.
    SipServer,
    /// Ours: RFC 9457 and `Authorization: Bearer`.
    V1,
}

impl Face {
    pub(super) fn of(path: &str) -> Self {
        match path {
            _ if path.starts_with("/api/v1/opensips/") => Self::SipServer,
            _ if path.starts_with("/api/") || path == "/health" => Self::Calling,
            _ => Self::V1,
        }
    }
}

/// A refused request, as RFC 9457 describes problems.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "type": "about:blank", "title": "Bad Request", "status": 400, "code": "invalid_number_format",
    "detail": "\"12\" is no phone number: write 7 to 15 digits, best with the country code, such as +12025550123.",
    "hint": null, "request_id": "req_65a1f0c2a4b1c2d3e4f50617",
}))]
pub(super) struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The phrase of the HTTP status.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong and where, in one sentence.
    detail: String,
    /// Stable, in snake_case: what programs should look at.
    code: &'static str,
    /// What to do about it.
    hint: Option<String>,
    /// Also in the header `X-Request-Id` and in the log.
    request_id: String,
}

impl IntoResponse for Refused {
    /// The status alone; `dress` writes the body, since only it knows the face.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives each reply its request id, each refusal its body, and makes a panic cost one request.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let face = Face::of(request.uri().path());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = Id::new().map(|id| id.with("req")).unwrap_or_default();
    let mut response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        Refused::new(500, "internal_error", "Something went wrong inside trunkline; it is in the log.")
            .hint("Report it with the request id, please.")
            .into_response()
    });
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        if refused.status >= 500 {
            tracing::error!(%request_id, %method, path, code = refused.code, error = refused.message, "refused");
        } else {
            tracing::debug!(%request_id, %method, path, code = refused.code, error = refused.message, "refused");
        }
        response = write(face, refused, &request_id, response);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The refusal as a body in the face's shape; headers that are there already (`Allow`) stay.
fn write(face: Face, refused: Refused, request_id: &str, mut response: Response) -> Response {
    let status = response.status();
    let retry_after = refused.retry_after;
    let (kind, body) = match face {
        Face::Calling | Face::SipServer => (
            "application/json",
            json!({ "success": false, "error": refused.to_string(), "code": refused.code }),
        ),
        Face::V1 => {
            let problem = Problem {
                kind: "about:blank",
                title: status.canonical_reason().unwrap_or("Error"),
                status: status.as_u16(),
                detail: refused.message,
                code: refused.code,
                hint: refused.hint,
                request_id: request_id.to_owned(),
            };
            ("application/problem+json", json!(problem))
        }
    };
    *response.body_mut() = Body::from(body.to_string());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED && face != Face::Calling {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"trunkline\""));
    }
    response
}

/// The header that tells a repeated answer from a first one.
pub(super) fn replayed(replayed: bool) -> Option<[(HeaderName, HeaderValue); 1]> {
    const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
    replayed.then_some([(REPLAYED, HeaderValue::from_static("true"))])
}

/// 404: no such route.
pub(super) async fn no_route(method: Method, uri: Uri) -> Refused {
    Refused::missing("no_such_route", format!("There is no route {method} {}.", uri.path()))
        .hint("All routes of /v1 are listed at /openapi.json.")
}

/// 405: the route has other methods.
pub(super) async fn no_method(method: Method, uri: Uri) -> Refused {
    Refused::new(405, "method_not_allowed", format!("{} cannot be asked with {method}.", uri.path()))
        .hint("The header Allow lists what it takes.")
}

/// What the store refuses, as it says; where it failed, the details go to the log only.
pub(super) fn store_failed(error: StoreError) -> Refused {
    if !matches!(error, StoreError::Refused(_)) {
        tracing::error!(%error, "the store failed");
    }
    error.into()
}
