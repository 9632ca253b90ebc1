//! `/openapi.json` against itself and against the server.

use jsonschema::Validator;

use super::*;
use crate::api::guard;

async fn openapi(house: &House) -> Value {
    house.send(request("GET", "/openapi.json", "", "")).await.json()
}

/// Checks values against a schema of the description.
fn validator(openapi: &Value, schema: &Value) -> Validator {
    let mut root = schema.clone();
    root["components"] = openapi["components"].clone();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&root)
        .unwrap_or_else(|error| panic!("{error}: {schema}"))
}

#[track_caller]
fn check(openapi: &Value, schema: &Value, value: &Value, what: &str) {
    let errors: Vec<String> = validator(openapi, schema)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?} in {value}");
}

fn operations(openapi: &Value) -> Vec<(String, String, &Value)> {
    let paths = openapi["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .iter()
                .map(|(method, operation)| (method.to_uppercase(), path.clone(), operation))
        })
        .collect()
}

#[tokio::test]
async fn every_route_is_described_with_its_scope_and_its_refusals() {
    let house = House::build().await;
    let openapi = openapi(&house).await;
    let mut ids = Vec::new();
    for (method, path, operation) in operations(&openapi) {
        let scope = guard::scope(&method, &path).unwrap_or_else(|| panic!("{method} {path} has no scope"));
        assert_eq!(operation["security"], json!([{ "key": [scope] }]), "{method} {path}");
        ids.push(operation["operationId"].clone());
        let responses = operation["responses"].as_object().unwrap();
        for status in ["400", "401", "403", "429", "500", "503"] {
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        assert!(!responses.contains_key("default"), "{method} {path}");
        assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{method} {path}");
    }
    let count = ids.len();
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
    for (method, path, _) in guard::ROUTES {
        let described = openapi["paths"][path][method.to_lowercase()].is_object();
        assert!(described || !path.starts_with("/v1/"), "{method} {path} is not described");
    }
}

/// Objects without a closed list of properties, by name.
fn open_objects(name: &str, schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            let is_object = object.get("type").is_some_and(|kind| {
                kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("object")))
            });
            if is_object && !object.contains_key("additionalProperties") {
                found.push(name.to_owned());
            }
            for (part, inner) in object.iter().filter(|(part, _)| *part != "example") {
                open_objects(&format!("{name}.{part}"), inner, found);
            }
        }
        Value::Array(parts) => parts.iter().for_each(|inner| open_objects(name, inner, found)),
        _ => {}
    }
}

#[tokio::test]
async fn schemas_are_closed() {
    let house = House::build().await;
    let openapi = openapi(&house).await;
    let mut found = Vec::new();
    open_objects("", &openapi["components"]["schemas"], &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn every_example_fits_its_schema() {
    let house = House::build().await;
    let openapi = openapi(&house).await;
    let mut examples = 0;
    for (name, schema) in openapi["components"]["schemas"].as_object().unwrap() {
        if let Some(example) = schema.get("example") {
            check(&openapi, schema, example, name);
            examples += 1;
        }
    }
    for (name, response) in openapi["components"]["responses"].as_object().unwrap() {
        let content = &response["content"]["application/problem+json"];
        check(&openapi, &content["schema"], &content["example"], name);
        examples += 1;
    }
    for (method, path, operation) in operations(&openapi) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if let Some(example) = parameter.get("example") {
                check(
                    &openapi,
                    &parameter["schema"],
                    example,
                    &format!("{method} {path} {}", parameter["name"]),
                );
                examples += 1;
            }
        }
        let named = operation.pointer("/requestBody/content/application~1json/schema/$ref");
        let schema =
            named.and_then(Value::as_str).and_then(|name| openapi.pointer(name.trim_start_matches('#')));
        assert!(
            schema.is_none_or(|schema| schema["example"].is_object()),
            "{method} {path}: its body has no example"
        );
    }
    assert!(examples > 30, "{examples}");
}

#[tokio::test]
async fn examples_of_requests_are_taken_and_answered_as_described() {
    let house = House::build().await;
    let openapi = openapi(&house).await;
    house.app.uploads.seed_demo().unwrap();
    let call = house.finished_call(0, "+12025550123").await;
    house.recorded(call.id, OWN, "a.wav").await;
    std::fs::write(house.app.recordings_dir().join("a.wav"), "RIFF").unwrap();
    let key = house.ask("POST", "/v1/keys", &json!({ "name": "a" })).await.json()["id"].clone();
    let trunk = house.ask("POST", "/v1/trunks", &json!({ "name": "mine", "host": "127.0.0.1" })).await;
    assert_eq!(trunk.status, 201);
    for (path, body) in [
        ("/v1/users", json!({ "username": "bob" })),
        ("/v1/groups", json!({ "name": "desk", "members": ["bob"] })),
        ("/v1/numbers", json!({ "number": "+12025550199" })),
    ] {
        assert_eq!(house.ask("POST", path, &body).await.status, 201);
    }
    for (method, path, operation) in operations(&openapi) {
        // Streams do not end, and what ends must come last.
        if path.ends_with("/stream") || method == "DELETE" {
            continue;
        }
        let id = match path.as_str() {
            path if path.starts_with("/v1/calls/") => call.id.with("call"),
            path if path.starts_with("/v1/keys/") => key.as_str().unwrap().to_owned(),
            path if path.starts_with("/v1/trunks/") => "mine".to_owned(),
            path if path.starts_with("/v1/users/") => "bob".to_owned(),
            path if path.starts_with("/v1/groups/") => "desk".to_owned(),
            path if path.starts_with("/v1/numbers/") => "+12025550199".to_owned(),
            path if path.starts_with("/v1/accounts/") => "1".to_owned(),
            _ => "507f1f77bcf86cd799439011".to_owned(),
        };
        let real = path.replace("{id}", &id).replace("{number}", "0");
        let named = operation.pointer("/requestBody/content/application~1json/schema/$ref");
        let body =
            named.and_then(Value::as_str).and_then(|name| openapi.pointer(name.trim_start_matches('#')));
        let mut body = body.map(|schema| schema["example"].clone());
        if let Some(host) = body.as_mut().and_then(|body| body.get_mut("host")) {
            // Sockets bound to loopback reach nothing else.
            *host = json!("127.0.0.1");
        }
        if let Some(url) = body.as_mut().and_then(|body| body.get_mut("url")) {
            // No name server is asked.
            *url = json!("https://93.184.216.34/hook");
        }
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = house.send(request(&method, &real, KEY, &text)).await;
        let status = answer.status.as_u16();
        let what = format!("{method} {real} {status}");
        // Of a call that only the store knows, no message was kept.
        let missing = status == 404 && (id.starts_with("507f") || path.ends_with("/pcap"));
        // What is asked of a running call conflicts with the end of this one, and says so.
        let over = status == 409 && path.starts_with("/v1/calls/{id}/");
        assert!(
            answer.status.is_success() || missing || over,
            "{what}: {}",
            String::from_utf8_lossy(&answer.bytes)
        );
        let described = &operation["responses"][status.to_string()];
        let named = described["$ref"].as_str().and_then(|name| openapi.pointer(name.trim_start_matches('#')));
        let described = named.unwrap_or(described);
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        if kind.ends_with("json") {
            check(&openapi, &described["content"][kind]["schema"], &answer.json(), &what);
        }
    }
}

#[tokio::test]
async fn what_a_call_shows_fits_its_schema() {
    let house = House::build().await;
    let openapi = openapi(&house).await;
    house.app.uploads.seed_demo().unwrap();
    let body = json!({ "to": "+12025550123", "flow": [
        { "play": { "file": "uploads/audio_1640995200000.mp3" } }, { "pause": { "seconds": 0.1 } }, { "hangup": {} },
    ] });
    let made = house.ask("POST", "/v1/calls", &body).await.json();
    let path = format!("/v1/calls/{}", made["id"].as_str().unwrap());
    // The stream ends with the call.
    let events = house.get(&format!("{path}/events")).await;
    let call = house.get(&path).await.json();
    assert!(call["quality"].is_object() && call["heard"].is_object(), "{call}");
    check(&openapi, &json!({ "$ref": "#/components/schemas/Call" }), &call, "the call");
    let ladder = house.get(&format!("{path}/ladder")).await.json();
    check(&openapi, &json!({ "$ref": "#/components/schemas/Ladder" }), &ladder, "the ladder");
    let text = String::from_utf8(events.bytes).unwrap();
    let told: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert!(told.len() > 5, "{text}");
    for event in told {
        check(&openapi, &json!({ "$ref": "#/components/schemas/Event" }), &event, "an event");
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_said_in_the_right_status() {
    let house = House::build().await;
    let ask = async |method: &str, path: &str, headers: &[(&'static str, &str)], body: &str| {
        let mut asked = request(method, path, KEY, body);
        for (name, value) in headers {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        house.send(asked).await
    };
    for (method, path, headers, body, status, code) in [
        ("GET", "/v1/calls", &[("accept", "text/html")][..], "", 406, "not_acceptable"),
        ("GET", "/v1/events/stream", &[("accept", "application/json")], "", 406, "not_acceptable"),
        ("POST", "/v1/calls", &[("content-type", "text/plain")], "{}", 415, "unsupported_media_type"),
        ("PUT", "/v1/calls", &[], "", 405, "method_not_allowed"),
        ("GET", "/v1/nothing", &[], "", 404, "no_such_route"),
        ("GET", "/v1/calls/", &[], "", 404, "no_such_route"),
    ] {
        let answer = ask(method, path, headers, body).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {problem}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        if status == 405 {
            assert!(answer.header("allow").contains("GET"), "{}", answer.header("allow"));
        }
    }
    assert_eq!(ask("GET", "/v1/calls", &[("accept", "text/html, */*;q=0.1")], "").await.status, 200);
    let huge = format!("{{\"to\":\"{}\"}}", "1".repeat(1024 * 1024));
    let answer = ask("POST", "/v1/calls", &[], &huge).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (413, Some("body_too_large")));
}
