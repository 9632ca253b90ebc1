//! Who may see and do what: accounts, scopes, source addresses, revoked keys.

use serde_json::{Value, json};

use crate::http::Body;
use crate::server::Server;

#[track_caller]
fn new_key(server: &mut Server, body: Value) -> String {
    let reply = server.post("/v1/keys", body).expect(201).json();
    let key = reply["key"].as_str().unwrap_or_else(|| panic!("no key in {reply}")).to_owned();
    server.secret(&key);
    key
}

#[test]
fn an_account_sees_its_own_calls_only() {
    let mut server = Server::simulated();
    let acme = new_key(&mut server, json!({ "name": "acme", "account": 1 }));
    let order = json!({ "fromNumber": "+15551234567", "toNumber": "+12025550101", "text": "Hello." });
    let reply = server.request_as(&acme, "POST", "/api/calls/initiate", Body::Json(order)).expect(200).json();
    let theirs = reply["callId"].as_str().unwrap().to_owned();
    let ours = server.say_to("+12025550102");

    let seen = server.request_as(&acme, "GET", "/api/calls/history", Body::Empty).expect(200).json();
    let ids: Vec<&str> =
        seen["calls"].as_array().unwrap().iter().filter_map(|c| c["callId"].as_str()).collect();
    assert_eq!(ids, [&*theirs]);
    for (method, path) in [
        ("GET", format!("/api/calls/status/{ours}")),
        ("POST", format!("/api/calls/end/{ours}")),
        ("GET", format!("/v1/calls/{ours}")),
        ("GET", format!("/v1/calls/{ours}/recording")),
        ("GET", format!("/v1/calls/{ours}/events")),
        ("POST", format!("/v1/calls/{ours}/hangup")),
    ] {
        let reply = server.request_as(&acme, method, &path, Body::Empty);
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
    }
    assert_ne!(server.call(&ours)["status"], "canceled", "their key cannot end it");
    // The operator sees both; a call made through one face is seen through the other.
    assert_eq!(server.history_len(), 2);
    let call = server.get(&format!("/v1/calls/{theirs}")).expect(200).json();
    assert_eq!((&call["account"], &call["face"]), (&json!(1), &json!("calling")), "{call:#}");
    server.get(&format!("/v1/calls/call_{theirs}")).expect(200);

    // Nothing of the operator's is in reach either.
    let keys = server.request_as(&acme, "GET", "/v1/keys", Body::Empty).expect(200).json();
    assert!(keys["data"].as_array().unwrap().iter().all(|key| key["account"] == 1), "{keys:#}");
    server
        .request_as(&acme, "POST", "/v1/keys", Body::Json(json!({ "name": "x", "operator": true })))
        .expect(403);
    server
        .request_as(&acme, "POST", "/v1/keys", Body::Json(json!({ "name": "x", "account": 0 })))
        .expect(403);
    server.request_as(&acme, "GET", "/v1/trunks?account=0", Body::Empty).expect(403);
}

#[test]
fn scopes_and_source_addresses_hold() {
    let mut server = Server::simulated();
    let reader = new_key(&mut server, json!({ "name": "reader", "scopes": ["calls:read"] }));
    server.request_as(&reader, "GET", "/api/calls/history", Body::Empty).expect(200);
    let order = || Body::Json(json!({ "fromNumber": "1234567", "toNumber": "+12025550123", "text": "a" }));
    let reply = server.request_as(&reader, "POST", "/api/calls/initiate", order()).expect(403).json();
    assert_eq!(reply["success"], false);
    server.request_as(&reader, "GET", "/v1/trunks", Body::Empty).expect(403);
    server.request_as(&reader, "POST", "/v1/keys", Body::Json(json!({ "name": "more" }))).expect(403);

    let far = new_key(&mut server, json!({ "name": "far", "sources": ["192.0.2.0/24"] }));
    server.request_as(&far, "GET", "/api/calls/history", Body::Empty).expect(403);
    let near = new_key(&mut server, json!({ "name": "near", "sources": ["127.0.0.0/8"] }));
    server.request_as(&near, "GET", "/api/calls/history", Body::Empty).expect(200);
    assert_eq!(server.history_len(), 0);
}

#[test]
fn a_revoked_key_opens_nothing_and_the_last_operator_key_stays() {
    let mut server = Server::simulated();
    let created = server.post("/v1/keys", json!({ "name": "short-lived" })).expect(201).json();
    let (id, key) = (created["id"].as_str().unwrap(), created["key"].as_str().unwrap());
    server.secret(key);
    server.request_as(key, "GET", "/v1/calls", Body::Empty).expect(200);
    server.request("DELETE", &format!("/v1/keys/{id}"), Body::Empty).expect(204);
    server.request_as(key, "GET", "/v1/calls", Body::Empty).expect(401);

    let keys = server.get("/v1/keys").expect(200).json();
    let own = keys["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["operator"] == true)
        .expect("an operator's key");
    server.request("DELETE", &format!("/v1/keys/{}", own["id"].as_str().unwrap()), Body::Empty).expect(409);
    // Only its hash is stored.
    let database = std::fs::read(server.data().join("trunkline.db")).unwrap();
    let journal = std::fs::read(server.data().join("trunkline.db-wal")).unwrap_or_default();
    for bytes in [database, journal] {
        assert!(!bytes.windows(server.key.len()).any(|window| window == server.key.as_bytes()));
    }
    // The server comes up again with the key that was revoked still revoked.
    server.kill();
    server.start();
    server.request_as(key, "GET", "/v1/calls", Body::Empty).expect(401);
    server.get("/v1/calls").expect(200);
}

#[test]
fn our_own_face_refuses_with_problem_documents() {
    let server = Server::simulated();
    let reply = crate::http::send("GET", &server.url("/v1/calls"), &[], Body::Empty).expect(401);
    assert_eq!(reply.content_type, "application/problem+json");
    let problem = reply.json();
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!("missing_api_key"), &json!(401)),
        "{problem:#}"
    );
    assert!(
        problem["request_id"].is_string() && problem["detail"].is_string() && problem["hint"].is_string()
    );
    for (body, what) in [
        (json!({ "to": "12", "say": "a" }), "number"),
        (json!({ "to": "+12025550123" }), "nothing to do"),
        (json!({ "to": "+12025550123", "say": "a", "colour": "blue" }), "unknown field"),
        (json!({ "to": "+12025550123", "say": "a", "trunk": "nobody" }), "unknown trunk"),
        (json!({ "to": "+12025550123", "flow": [] }), "empty flow"),
        (json!({ "to": "+12025550123", "flow": [{ "sing": {} }] }), "unknown verb"),
        (json!({ "to": "+12025550123", "say": "a", "ring_timeout_s": 0 }), "no time to ring"),
    ] {
        let reply = server.post("/v1/calls", body).expect(400);
        assert_eq!(reply.content_type, "application/problem+json", "{what}");
        assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.contains(' ')), "{what}");
    }
    assert_eq!(server.history_len(), 0);
    let openapi = server.get("/openapi.json").expect(200).json();
    assert!(
        openapi["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        openapi["openapi"]
    );

    let id = server.say_to("+12025550101");
    server.wait_for_end(&id, "busy");
    let metrics = crate::http::send("GET", &server.url("/metrics"), &[], Body::Empty).expect(200).text();
    assert!(metrics.contains("trunkline_calls_finished_total{state=\"busy\"} 1"), "{metrics}");
}
