//! Lists, events, sums.

use futures_util::StreamExt;

use super::*;
use crate::store::Write;

fn ids(answer: &Answer) -> Vec<String> {
    let reply = answer.json();
    let data = reply["data"].as_array().unwrap_or_else(|| panic!("{reply}"));
    data.iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn calls_are_filtered_and_paged() {
    let house = House::build().await;
    for n in 0..5 {
        house.finished_call(0, &format!("+1202555012{n}")).await;
    }
    let theirs = house.finished_call(1, "+12025550199").await;
    for (query, expected) in [
        ("", 6),
        ("?direction=outbound", 6),
        ("?direction=inbound", 0),
        ("?face=v1", 6),
        ("?face=cli", 0),
        ("?trunk=sim", 6),
        ("?trunk=sim&status=busy", 0),
        ("?to=+12025550122", 1),
        ("?status=completed&to=%2B12025550122", 1),
        ("?created_after=2026-01-01T00:00:00Z", 6),
        ("?created_after=2026-01-01T00:00:00.001Z", 0),
        ("?created_before=2026-01-01T00:00:00Z", 0),
        ("?created_before=2026-01-01T01:00:00.001+01:00", 6),
    ] {
        assert_eq!(ids(&house.get(&format!("/v1/calls{query}")).await).len(), expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut path = "/v1/calls?limit=4".to_owned();
    for _ in 0..2 {
        let page = house.get(&path).await;
        seen.extend(ids(&page));
        path = format!("/v1/calls?limit=4&after={}", page.json()["next"].as_str().unwrap_or_default());
    }
    assert_eq!((seen.len(), path.as_str()), (6, "/v1/calls?limit=4&after="));
    seen.dedup();
    assert_eq!(seen, ids(&house.get("/v1/calls").await));
    assert!(seen.contains(&theirs.id.with("call")));
}

#[tokio::test]
async fn a_wrong_query_is_named() {
    let house = House::build().await;
    for (path, code, word) in [
        ("/v1/calls?colour=1", "unknown_parameter", "colour"),
        ("/v1/calls?limit=0", "invalid_limit", "limit"),
        ("/v1/calls?limit=-1", "invalid_limit", "`limit` is \\\"-1\\\"; it can be 1 to 200."),
        ("/v1/events?limit=a", "invalid_limit", "limit"),
        ("/v1/keys?account=x", "invalid_query", "account: it is no whole number."),
        ("/v1/calls?limit=1&limit=2", "invalid_query", "limit"),
        (
            "/v1/calls?direction=up",
            "invalid_query",
            "direction: unknown value `up`, expected `outbound` or `inbound`",
        ),
        ("/v1/calls?status=happy", "invalid_status", "status"),
        ("/v1/calls?status=", "invalid_status", "status"),
        ("/v1/calls?created_after=yesterday", "invalid_time", "created_after"),
        ("/v1/calls?created_after=", "invalid_time", "created_after"),
        ("/v1/keys?account=-1", "invalid_account", "account"),
        ("/v1/calls?after=nonsense", "invalid_cursor", "after"),
        ("/v1/calls?after=507f1f77bcf86cd799439011", "invalid_cursor", "after"),
        ("/v1/events?after=Y2F0", "invalid_cursor", "after"),
        ("/v1/events?type=nope", "invalid_filter", "It can be state, attempt, "),
        ("/v1/events/stream?type=nope", "invalid_filter", "nope"),
        ("/v1/calls?face=x", "invalid_filter", "It can be v1, calling, cli, demo, sip, opensips."),
        ("/v1/calls?trunk=x", "unknown_trunk", "x"),
        ("/v1/calls?trunk=trunk_507f1f77bcf86cd799439011", "unknown_trunk", "trunk_507f"),
        ("/v1/events?kind=say", "unknown_parameter", "type"),
        ("/v1/events/stream?limit=1", "unknown_parameter", "limit"),
        ("/v1/usage?by=week", "invalid_query", "by"),
        ("/v1/usage?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "invalid_time", "from"),
        ("/v1/usage?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "invalid_time", "366"),
        ("/v1/keys?limit=3", "unknown_parameter", "account"),
        ("/v1/account?id=1", "unknown_parameter", "account"),
    ] {
        let answer = house.get(path).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (400, Some(code)),
            "{path}: {problem}"
        );
        let said = format!("{} {}", problem["detail"], problem["hint"]);
        assert!(said.contains(word), "{path}: {said}");
    }
}

/// A call with a few events of its own.
async fn told(house: &House, account: i64) -> CallRow {
    let row = house.finished_call(account, "+12025550123").await;
    for (sequence, kind) in [(2, "say"), (3, "finished")] {
        let detail = json!({ "n": sequence });
        let event =
            CallEvent { call: row.id, account, sequence, at: row.created_at, kind: kind.into(), detail };
        house.app.store.record(Write::Event(event)).unwrap();
    }
    house.app.store.flush().await;
    row
}

#[tokio::test]
async fn the_events_of_an_account_are_listed_in_order() {
    let house = House::build().await;
    let reader = house.key(1, &["events:read"]).await;
    let ours = told(&house, 1).await;
    told(&house, 0).await;
    let list = async |key: &str, query: &str| {
        house.send(request("GET", &format!("/v1/events{query}"), key, "")).await.json()
    };
    let kinds = |reply: &Value| -> Vec<String> {
        reply["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds(&list(KEY, "").await).len(), 6, "the operator sees everyone's");
    assert_eq!(kinds(&list(KEY, "?account=1").await).len(), 3);
    let own = list(&reader, "").await;
    assert_eq!(kinds(&own), ["state", "say", "finished"]);
    assert!(own["data"].as_array().unwrap().iter().all(|event| event["call"] == ours.id.with("call")));
    assert_eq!(kinds(&list(&reader, "?type=say").await), ["say"]);
    assert_eq!(kinds(&list(KEY, &format!("?call={}", ours.id)).await).len(), 3);
    assert_eq!(kinds(&list(KEY, "?since=2026-01-01T00:00:00.001Z").await).len(), 0);
    assert_eq!(house.send(request("GET", "/v1/events?account=0", &reader, "")).await.status, 403);
    // Asking again with the last place shows what is new and nothing else.
    let page = list(&reader, "?limit=2").await;
    let rest = list(&reader, &format!("?after={}", page["next"].as_str().unwrap())).await;
    assert_eq!((kinds(&page).len(), kinds(&rest)), (2, vec!["finished".to_owned()]));
    let end = list(&reader, &format!("?after={}", rest["next"].as_str().unwrap())).await;
    assert_eq!((kinds(&end).len(), &end["next"]), (0, &rest["next"]));
    told(&house, 1).await;
    let new = list(&reader, &format!("?after={}", rest["next"].as_str().unwrap())).await;
    assert_eq!(kinds(&new).len(), 3);
}

/// Reads a stream until it has shown `count` events: kinds and ids.
async fn read(
    house: &House,
    request: Request<Body>,
    count: usize,
    act: impl Future<Output = ()>,
) -> Vec<(String, String)> {
    let response = house.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    act.await;
    let mut text = String::new();
    while text.matches("data:").count() < count {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    text.split("\n\n")
        .filter(|block| block.contains("data:"))
        .map(|block| (field(block, "event: "), field(block, "id: ")))
        .collect()
}

#[tokio::test]
async fn an_account_is_followed_live_and_from_where_the_reader_was() {
    let house = House::build().await;
    let key = house.key(1, &["events:read"]).await;
    told(&house, 1).await;
    let stream = |query: &str| request("GET", &format!("/v1/events/stream{query}"), &key, "");
    let kinds =
        |events: &[(String, String)]| -> Vec<String> { events.iter().map(|event| event.0.clone()).collect() };
    let live = read(&house, stream(""), 3, async {
        told(&house, 0).await;
        told(&house, 1).await;
    })
    .await;
    assert_eq!(kinds(&live), ["state", "say", "finished"], "only what is new, only one's own");
    let mut again = stream("?type=finished");
    again.headers_mut().insert("last-event-id", live[0].1.parse().unwrap());
    assert_eq!(read(&house, again, 1, async {}).await, live[2..]);
    let mut all = stream("");
    all.headers_mut().insert("last-event-id", live[0].1.parse().unwrap());
    assert_eq!(read(&house, all, 2, async {}).await, live[1..]);
    for bad in ["7", "nonsense", &crate::api::cursor::event(1 << 40)] {
        let mut request = stream("");
        request.headers_mut().insert("last-event-id", bad.parse().unwrap());
        assert_eq!(house.send(request).await.json()["code"], "invalid_cursor", "{bad}");
    }
}

#[tokio::test]
async fn usage_is_summed_up_by_account() {
    let house = House::build().await;
    for account in [0, 1, 1] {
        house.finished_call(account, "+12025550123").await;
    }
    let span = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";
    let all = house.get(&format!("/v1/usage?{span}")).await.json();
    assert_eq!((&all["total"]["calls"], &all["total"]["minutes"]), (&json!(3), &json!(3)), "{all}");
    let acme = house.key(1, &["usage:read"]).await;
    let own = house.send(request("GET", &format!("/v1/usage?{span}&by=hour"), &acme, "")).await.json();
    insta::assert_snapshot!(own, @r#"{"by":"hour","data":[{"direction":"outbound","start":"2026-01-01T00:00:00.000Z","total":{"answered":2,"by_status":{"completed":2},"calls":2,"minutes":2,"talk_ms":8612},"trunk":"sim"}],"from":"2026-01-01T00:00:00.000Z","to":"2026-01-02T00:00:00.000Z","total":{"answered":2,"by_status":{"completed":2},"calls":2,"minutes":2,"talk_ms":8612}}"#);
    assert_eq!(house.send(request("GET", "/v1/usage?account=0", &acme, "")).await.status, 403);
    assert_eq!(house.get("/v1/usage").await.json()["data"], json!([]), "of the last thirty days");
}

#[tokio::test]
async fn metadata_is_kept_with_the_call() {
    let house = House::build().await;
    let body =
        json!({ "to": "+12025550101", "flow": [{ "hangup": {} }], "metadata": { "order": "4711", "ü": "" } });
    let made = house.ask("POST", "/v1/calls", &body).await.json();
    assert_eq!(made["metadata"], body["metadata"], "{made}");
    let shown = house.get(&format!("/v1/calls/{}", made["id"].as_str().unwrap())).await.json();
    assert_eq!(shown["metadata"], body["metadata"]);
    let many: serde_json::Map<_, _> = (0..21).map(|n| (n.to_string(), json!(""))).collect();
    for (metadata, code) in [
        (json!(many), "invalid_metadata"),
        (json!({ "": "a" }), "invalid_metadata"),
        (json!({ "a": "x".repeat(501) }), "invalid_metadata"),
        (json!({ "a": 1 }), "invalid_field"),
        (json!(["a"]), "invalid_field"),
    ] {
        let body = json!({ "to": "+12025550101", "flow": [{ "hangup": {} }], "metadata": metadata });
        let answer = house.ask("POST", "/v1/calls", &body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (400, Some(code)), "{body}");
    }
}
