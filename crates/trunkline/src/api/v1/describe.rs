//! What `/openapi.json` says beyond what stands at the handlers: scopes, refusals, headers, closed schemas.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::api::guard;

/// What any route may answer instead: status, name of the response, when, an example's code and sentence.
const REFUSALS: &[(&str, &str, &str, &str, &str)] = &[
    (
        "400",
        "BadRequest",
        "Something in the request is wrong; `code` and `detail` say what.",
        "invalid_field",
        "The field `to` is wrong: invalid type: integer `5`, expected a string.",
    ),
    (
        "401",
        "Unauthorized",
        "No key, or one that opens nothing.",
        "missing_api_key",
        "This request has no key: send it in the header Authorization, as \"Bearer YOUR_KEY\".",
    ),
    (
        "403",
        "Forbidden",
        "The key may not do this, or the destination is not allowed.",
        "missing_scope",
        "This key lacks the scope \"calls:write\".",
    ),
    (
        "404",
        "NotFound",
        "There is no such thing, or it is another account's.",
        "call_not_found",
        "There is no call \"call_65a1f0c2a4b1c2d3e4f50617\".",
    ),
    (
        "406",
        "NotAcceptable",
        "The header Accept leaves out all that this route answers.",
        "not_acceptable",
        "This route answers application/json, which the header Accept leaves out.",
    ),
    (
        "408",
        "RequestTimeout",
        "The body came too slowly.",
        "body_too_slow",
        "The body did not arrive within 30 seconds.",
    ),
    (
        "409",
        "Conflict",
        "It is in no state for this, or what is to be made is there already.",
        "call_not_live",
        "This call has ended.",
    ),
    (
        "413",
        "ContentTooLarge",
        "The body is larger than 1 MiB.",
        "body_too_large",
        "The body is larger than 1 MiB.",
    ),
    (
        "415",
        "UnsupportedMediaType",
        "The body is not JSON.",
        "unsupported_media_type",
        "The body was sent as \"text/plain\"; this route reads JSON.",
    ),
    (
        "429",
        "TooManyRequests",
        "Asked too often; Retry-After says when to go on.",
        "too_many_requests",
        "This key has asked more than 1000 times in a second.",
    ),
    (
        "500",
        "InternalError",
        "Something failed inside; the server's log says what.",
        "store_failed",
        "The database did not answer as it should.",
    ),
    (
        "503",
        "Unavailable",
        "Busy or stopping; Retry-After says when to try again.",
        "too_many_calls",
        "1000 calls are up already, which is the limit.",
    ),
];

/// The whole description.
pub(in crate::api) fn describe(openapi: &OpenApi) -> Value {
    let mut openapi = serde_json::to_value(openapi).unwrap_or_default();
    if let Some(paths) = openapi.get_mut("paths").and_then(Value::as_object_mut) {
        for (path, methods) in paths {
            for (method, operation) in methods.as_object_mut().into_iter().flatten() {
                complete(&method.to_ascii_uppercase(), path, operation);
            }
        }
    }
    if let Some(components) = openapi.get_mut("components").and_then(Value::as_object_mut) {
        for schema in components.get_mut("schemas").and_then(Value::as_object_mut).into_iter().flatten() {
            close(schema.1);
        }
        components.insert("headers".into(), headers());
        components.insert("responses".into(), responses());
    }
    openapi
}

fn complete(method: &str, path: &str, operation: &mut Value) {
    let Some(operation) = operation.as_object_mut() else { return };
    let tag = operation.get("tags").and_then(|tags| tags.get(0)).and_then(Value::as_str).unwrap_or_default();
    // Handlers of two resources may have one name, operations may not.
    let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
    let id = format!("{tag}_{id}");
    operation.insert("operationId".into(), id.into());
    if let Some(scope) = guard::scope(method, path) {
        let before = operation.get("description").and_then(Value::as_str).map(|text| format!("{text}\n\n"));
        let text = format!("{}Scope: `{scope}`.", before.unwrap_or_default());
        operation.insert("description".into(), text.into());
        operation.insert("security".into(), json!([{ "key": [scope] }]));
    }
    let has_body = operation.contains_key("requestBody");
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let mut names = parameters.filter_map(|parameter| parameter.get("name").and_then(Value::as_str));
    let has_id = names.any(|name| ["id", "call", "webhook", "account", "source"].contains(&name));
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let has_content =
        responses.iter().any(|(status, it)| status.starts_with('2') && it.get("content").is_some());
    for (_, response) in responses.iter_mut() {
        dress(response);
    }
    for (status, name, ..) in REFUSALS {
        let can_be = match *status {
            "404" => has_id || path == "/v1/calls",
            "406" => has_content,
            "409" => method != "GET",
            "408" | "413" | "415" => has_body,
            _ => true,
        };
        if can_be && !responses.contains_key(*status) {
            let named = format!("#/components/responses/{name}");
            responses.insert((*status).into(), json!({ "$ref": named }));
        }
    }
}

/// The headers that each answer to a key has.
fn dress(response: &mut Value) {
    let Some(response) = response.as_object_mut() else { return };
    let headers = response.entry("headers").or_insert_with(|| json!({}));
    let Some(headers) = headers.as_object_mut() else { return };
    for name in ["X-Request-Id", "RateLimit", "RateLimit-Policy"] {
        headers.insert(name.into(), json!({ "$ref": format!("#/components/headers/{name}") }));
    }
}

fn headers() -> Value {
    let header = |description: &str, example: Value, required: bool| {
        let kind = if example.is_number() { "integer" } else { "string" };
        json!({ "description": description, "required": required, "schema": { "type": kind }, "example": example })
    };
    json!({
        "X-Request-Id": header("Names this request, also in the log.", json!("req_65a1f0c2a4b1c2d3e4f50617"), true),
        "RateLimit": header("How many requests are left, and seconds until there is one more.", json!("\"key\";r=999;t=1"), false),
        "RateLimit-Policy": header("How many requests a key has, in how many seconds.", json!("\"key\";q=1000;w=1"), false),
        "Retry-After": header("Seconds to wait.", json!(1), false),
        "WWW-Authenticate": header("How to present a key.", json!("Bearer realm=\"trunkline\""), false),
    })
}

fn responses() -> Value {
    let mut all = Map::new();
    for (status, name, description, code, detail) in REFUSALS {
        let number: u16 = status.parse().unwrap_or_default();
        let title =
            axum::http::StatusCode::from_u16(number).ok().and_then(|status| status.canonical_reason());
        let example = json!({
            "type": "about:blank", "title": title, "status": number, "code": code, "detail": detail, "hint": null,
            "request_id": "req_65a1f0c2a4b1c2d3e4f50617",
        });
        let mut response = json!({
            "description": description,
            "content": { "application/problem+json": {
                "schema": { "$ref": "#/components/schemas/Problem" }, "example": example,
            } },
        });
        dress(&mut response);
        let more = match number {
            401 => Some("WWW-Authenticate"),
            429 | 503 => Some("Retry-After"),
            _ => None,
        };
        if let (Some(name), Some(headers)) =
            (more, response.get_mut("headers").and_then(Value::as_object_mut))
        {
            headers.insert(name.into(), json!({ "$ref": format!("#/components/headers/{name}") }));
        }
        all.insert((*name).into(), response);
    }
    all.into()
}

/// An object has the properties it lists and no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let kind = object.get("type");
            let is_object = kind.is_some_and(|kind| match kind {
                Value::Array(kinds) => kinds.contains(&json!("object")),
                kind => kind == "object",
            });
            if is_object && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".into(), false.into());
            }
            let said = ["example", "examples", "default"];
            let parts = object.iter_mut().filter(|(name, _)| !said.contains(&name.as_str()));
            parts.for_each(|(_, part)| close(part));
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        _ => {}
    }
}
