//! Keys, scopes, sources, unknown routes, and what every reply has.

use axum::routing::get;
use ipnet::IpNet;

use super::*;

#[tokio::test]
async fn every_route_wants_a_key_and_says_in_which_header() {
    let house = House::build().await;
    let table = [
        ("POST", "/api/calls/initiate", "X-API-Key"),
        ("POST", "/api/audio/upload", "X-API-Key"),
        ("GET", "/api/calls/status/507f1f77bcf86cd799439011", "X-API-Key"),
        ("POST", "/api/calls/end/507f1f77bcf86cd799439011", "X-API-Key"),
        ("GET", "/api/calls/history", "X-API-Key"),
        ("POST", "/api/v1/opensips/start", "Authorization"),
        ("POST", "/api/v1/opensips/stop", "Authorization"),
        ("GET", "/api/v1/opensips/status", "Authorization"),
        ("GET", "/api/v1/opensips/health", "Authorization"),
        ("POST", "/api/v1/opensips/generate-credentials", "Authorization"),
        ("POST", "/api/v1/opensips/call/initiate", "Authorization"),
        ("GET", "/api/v1/opensips/call/session_1234567890_abc123", "Authorization"),
        ("POST", "/api/v1/opensips/call/session_1234567890_abc123/end", "Authorization"),
        ("POST", "/v1/calls", "Authorization"),
        ("GET", "/v1/calls", "Authorization"),
        ("GET", "/v1/calls/x", "Authorization"),
        ("POST", "/v1/calls/x/hangup", "Authorization"),
        ("GET", "/v1/calls/x/events", "Authorization"),
        ("GET", "/v1/calls/x/recording", "Authorization"),
        ("POST", "/v1/trunks", "Authorization"),
        ("GET", "/v1/trunks", "Authorization"),
        ("PATCH", "/v1/trunks/sim", "Authorization"),
        ("DELETE", "/v1/trunks/sim", "Authorization"),
        ("POST", "/v1/keys", "Authorization"),
        ("GET", "/v1/keys", "Authorization"),
        ("DELETE", "/v1/keys/x", "Authorization"),
    ];
    for (method, path, header) in table {
        for key in ["", "wrong"] {
            let answer = house.send(request(method, path, key, "")).await;
            let reply = answer.json();
            let sentence = reply["error"].as_str().or(reply["detail"].as_str()).unwrap();
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(sentence.contains(header), "{method} {path}: {sentence}");
        }
    }
}

#[tokio::test]
async fn a_key_is_taken_from_either_header_on_either_face() {
    let house = House::build().await;
    for path in ["/api/calls/history", "/v1/calls"] {
        for (header, value) in [("x-api-key", KEY.to_owned()), ("authorization", format!("bearer {KEY}"))] {
            let request = Request::get(path).header(header, value).body(Body::empty()).unwrap();
            assert_eq!(house.send(request).await.status, 200, "{path} {header}");
        }
    }
    let basic = Request::get("/v1/calls").header("authorization", "Basic abc").body(Body::empty()).unwrap();
    assert_eq!(house.send(basic).await.status, 401);
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say_and_only_its_account() {
    let house = House::build().await;
    let reader = house.key(1, &["calls:read"]).await;
    let other = house.finished_call(0, "+12025550123").await;
    let own = house.finished_call(1, "+12025550124").await;
    let status = async |method: &str, path: &str, body: &str| {
        house.send(request(method, path, &reader, body)).await.status.as_u16()
    };
    assert_eq!(status("GET", "/v1/calls", "").await, 200);
    assert_eq!(status("GET", &format!("/v1/calls/{}", own.id), "").await, 200);
    assert_eq!(status("GET", &format!("/v1/calls/{}", other.id), "").await, 404, "another account's");
    assert_eq!(status("POST", "/v1/calls", "{\"to\":\"+12025550123\",\"say\":\"x\"}").await, 403);
    assert_eq!(status("POST", &format!("/v1/calls/{}/hangup", own.id), "").await, 403);
    assert_eq!(status("GET", "/v1/trunks", "").await, 403);
    assert_eq!(status("GET", "/v1/keys", "").await, 403);
    let list = house.send(request("GET", "/api/calls/history", &reader, "")).await.json();
    assert_eq!(list["calls"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn a_key_cannot_make_a_mightier_one() {
    let house = House::build().await;
    let maker = house.key(1, &["keys:write", "calls:read"]).await;
    let table = [
        (json!({ "name": "a", "scopes": ["calls:read"] }), 201),
        (json!({ "name": "a" }), 403),
        (json!({ "name": "a", "scopes": ["calls:write"] }), 403),
        (json!({ "name": "a", "scopes": ["calls:read"], "operator": true }), 403),
        (json!({ "name": "a", "scopes": ["calls:read"], "account": 0 }), 403),
    ];
    for (body, status) in table {
        let answer = house.send(request("POST", "/v1/keys", &maker, &body.to_string())).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.json());
    }
}

#[tokio::test]
async fn a_key_tied_to_a_range_is_refused_from_elsewhere() {
    let house = House::build().await;
    let sources = vec!["192.0.2.0/24".parse::<IpNet>().unwrap()];
    let new = NewKey { account: 1, name: "tied".into(), sources, ..NewKey::default() };
    let key = house.app.store.create_key(new).await.unwrap().1.expose().to_owned();
    for (peer, status) in
        [("192.0.2.7:5000", 200), ("[::ffff:192.0.2.7]:5000", 200), ("198.51.100.1:5000", 403)]
    {
        let answer = house.send(from(request("GET", "/v1/calls", &key, ""), peer)).await;
        assert_eq!(answer.status.as_u16(), status, "{peer}");
    }
    assert_eq!(house.send(request("GET", "/v1/calls", &key, "")).await.status, 403, "from nowhere");
}

#[tokio::test]
async fn the_unix_socket_needs_no_key() {
    let house = House::build().await;
    let unix = router(house.app.clone(), Door::Unix);
    for path in ["/v1/calls", "/v1/keys", "/metrics", "/api/calls/history"] {
        let response = unix.clone().oneshot(request("GET", path, "", "")).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_the_operator() {
    let house = House::build().await;
    let customer = house.key(1, &[]).await;
    let get = |key: &str, peer: &str| from(request("GET", "/metrics", key, ""), peer);
    assert_eq!(house.send(get("", "127.0.0.1:9")).await.status, 200);
    assert_eq!(house.send(get("", "192.0.2.7:9")).await.status, 401);
    assert_eq!(house.send(get(&customer, "192.0.2.7:9")).await.status, 403);
    assert_eq!(house.send(get(KEY, "192.0.2.7:9")).await.status, 200);
    let mut proxied = get("", "127.0.0.1:9");
    proxied.headers_mut().insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    assert_eq!(house.send(proxied).await.status, 401);
}

#[tokio::test]
async fn health_needs_no_key() {
    let house = House::build().await;
    let answer = house.send(request("GET", "/health", "", "")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["status"].as_str()), (200, Some("ok")));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_words_of_the_face() {
    let house = House::build().await;
    let calling = house.get("/api/calls/nothing").await;
    assert_eq!((calling.status.as_u16(), calling.json()["code"].as_str()), (404, Some("no_such_route")));
    let v1 = house.get("/v1/nothing").await;
    assert_eq!((v1.status.as_u16(), v1.header("content-type")), (404, "application/problem+json"));
    assert_eq!(v1.json()["request_id"], v1.header("x-request-id"));
    let method = house.get("/api/calls/initiate").await;
    assert_eq!((method.status.as_u16(), method.header("allow")), (405, "POST"), "{}", method.json());
    assert_eq!(method.json()["success"], false);
    let method = house.ask("PUT", "/v1/trunks", &json!({})).await;
    assert_eq!((method.status.as_u16(), method.json()["code"].as_str()), (405, Some("method_not_allowed")));
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let router = Router::new()
        .route("/v1/panic", get(async || -> StatusCode { panic!("on purpose") }))
        .layer(axum::middleware::from_fn(super::super::reply::dress));
    for _ in 0..2 {
        let response = router.clone().oneshot(request("GET", "/v1/panic", "", "")).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key("x-request-id"));
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("on purpose"));
    }
}
