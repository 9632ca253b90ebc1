//! Requests that may be sent twice.

use super::*;

fn once(path: &str, account_key: &str, key: &str, body: &Value) -> Request<Body> {
    let mut request = request("POST", path, account_key, &body.to_string());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn count(house: &House) -> usize {
    house.get("/v1/calls").await.json()["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_same_request_is_carried_out_once() {
    let house = House::build().await;
    let body = json!({ "to": "+12025550123", "flow": [{ "pause": { "seconds": 60 } }] });
    let first = house.send(once("/v1/calls", KEY, "k-1", &body)).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (201, ""), "{}", first.json());
    // Written otherwise, but the same.
    let mut other = once("/v1/calls", KEY, "k-1", &body);
    *other.body_mut() = Body::from("{ \"flow\": [{\"pause\":{\"seconds\":60}}],\n \"to\":\"+12025550123\" }");
    let again = house.send(other).await;
    assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (201, "true"));
    assert_eq!(
        (&again.json()["id"], again.header("location")),
        (&first.json()["id"], first.header("location"))
    );

    let changed = json!({ "to": "+12025550124", "flow": [{ "pause": { "seconds": 60 } }] });
    let reused = house.send(once("/v1/calls", KEY, "k-1", &changed)).await;
    assert_eq!(
        (reused.status.as_u16(), reused.json()["code"].as_str()),
        (422, Some("idempotency_key_reused"))
    );
    // Another account's key is another key, though it is spelt alike.
    let acme = house.key(1, &["calls:write"]).await;
    let theirs = house.send(once("/v1/calls", &acme, "k-1", &changed)).await;
    assert_eq!((theirs.status.as_u16(), theirs.header("idempotent-replayed")), (201, ""));
    assert_eq!(count(&house).await, 2);
}

#[tokio::test]
async fn sent_many_times_at_once_it_is_one_call() {
    let house = House::build().await;
    let body = json!({ "to": "+12025550123", "flow": [{ "pause": { "seconds": 60 } }] });
    let answers =
        futures_util::future::join_all((0..8).map(|_| house.send(once("/v1/calls", KEY, "k", &body)))).await;
    let first = answers[0].json()["id"].clone();
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.json()["id"]), (201, &first), "{}", answer.json());
    }
    let fresh = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count();
    assert_eq!((fresh, count(&house).await), (1, 1));
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_key_up() {
    let house = House::build().await;
    let bad = json!({ "to": "12", "say": "a" });
    for _ in 0..2 {
        assert_eq!(house.send(once("/v1/calls", KEY, "k", &bad)).await.status, 400);
    }
    let good = json!({ "to": "+12025550123", "flow": [{ "pause": { "seconds": 1 } }] });
    let placed = house.send(once("/v1/calls", KEY, "k", &good)).await;
    assert_eq!((placed.status.as_u16(), placed.header("idempotent-replayed")), (201, ""));
    for key in ["", &"k".repeat(256), "ä"] {
        let mut request = request("POST", "/v1/calls", KEY, &good.to_string());
        let value = axum::http::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        request.headers_mut().insert("idempotency-key", value);
        let answer = house.send(request).await;
        assert_eq!(answer.json()["code"], "invalid_idempotency_key", "{key}");
    }
}

#[tokio::test]
async fn document_0_takes_the_header_too() {
    let house = House::build().await;
    house.app.uploads.seed_demo().unwrap();
    let body = json!({
        "fromNumber": "+1234567890", "toNumber": "+1987654321",
        "audioFile": "uploads/audio_1640995200000.mp3",
    });
    let first = house.send(once("/api/calls/initiate", KEY, "k", &body)).await;
    assert_eq!(first.status, 200, "{}", first.json());
    let again = house.send(once("/api/calls/initiate", KEY, "k", &body)).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.json()["callId"], first.json()["callId"]);
    // The faces do not share keys: what is asked differs.
    let other = json!({ "to": "+12025550123", "say": "a" });
    assert_eq!(house.send(once("/v1/calls", KEY, "k", &other)).await.status, 422);
    assert_eq!(count(&house).await, 1);
}
