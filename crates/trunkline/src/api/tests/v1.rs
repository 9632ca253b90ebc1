//! `/v1`.

use super::*;

#[tokio::test]
async fn a_refusal_is_a_problem_document() {
    let house = House::build().await;
    let answer = house.ask("POST", "/v1/calls", &json!({ "to": "12", "say": "Hello." })).await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let mut problem = answer.json();
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    problem["request_id"] = "ID".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&problem).unwrap(), @r#"
    {
      "code": "invalid_number_format",
      "detail": "A phone number has at least 7 digits and no user has this extension: give the whole number with its country code, such as +12025550123.",
      "hint": null,
      "request_id": "ID",
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let house = House::build().await;
    let table = [
        (json!({ "say": "x" }), "invalid_field", "to"),
        (json!({ "to": "+12025550123" }), "missing_content", "flow"),
        (json!({ "to": "+12025550123", "say": "x", "play": "y" }), "ambiguous_content", "play"),
        (json!({ "to": "+12025550123", "say": "x", "colour": 1 }), "invalid_field", "colour"),
        (json!({ "to": "+12025550123", "flow": [] }), "flow_empty", "nothing"),
        (json!({ "to": "+12025550123", "flow": [{ "dance": {} }] }), "invalid_field", "flow[0]"),
        (
            json!({ "to": "+12025550123", "flow": [{ "say": { "text": 5 } }] }),
            "invalid_field",
            "flow[0].say.text",
        ),
        (
            json!({ "to": "+12025550123", "flow": [{ "say": { "text": "a", "b": 1 } }] }),
            "invalid_field",
            "flow[0]",
        ),
        (json!({ "to": "+12025550123", "flow": [{ "pause": { "seconds": -1 } }] }), "invalid_pause", "pause"),
        (json!({ "to": "+12025550123", "say": "x", "ring_timeout_s": 0 }), "out_of_range", "ring_timeout_s"),
        (json!({ "to": "+12025550123", "say": "x", "trunk": "none" }), "unknown_trunk", "none"),
    ];
    for (body, code, word) in table {
        let answer = house.ask("POST", "/v1/calls", &body).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (400, Some(code)),
            "{body}: {problem}"
        );
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(word)), "{body}: {problem}");
    }
    assert_eq!(house.get("/v1/calls").await.json(), json!({ "data": [], "next": null }));
    assert_eq!(house.get("/v1/calls?colour=1").await.status, 400);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_what_is_wrong_and_where() {
    let house = House::build().await;
    let flow = |steps: &str| format!("{{\"to\":\"+12025550123\",\"flow\":{steps}}}");
    let gather = |inner: &str| format!("[{{\"gather\":{{\"otherwise\":{inner}}}}}]");
    let deep = (0..60).fold("[]".to_owned(), |inner, _| gather(&inner));
    let metadata = |text: &str| format!("{{\"to\":\"+12025550123\",\"say\":\"x\",\"metadata\":{text}}}");
    let mut told = String::new();
    for body in [
        flow("[{\"say\":{\"text\":\"a\"},\"hangup\":{}}]"),
        flow(&gather("[{\"hangup\":{}},{\"hangup\":{},\"pause\":{\"seconds\":1}}]")),
        flow("[{}]"),
        flow("[\"hangup\"]"),
        flow("{\"hangup\":{}}"),
        flow("[{\"hangup\":{}},]"),
        flow(&deep),
        flow("[{\"gather\":{\"tries\":-1}}]"),
        metadata("{\"order\":\"4711\n\"}"),
        metadata("{\"order\":\"4711\\u0000\"}"),
        metadata("{\"\":\"4711\"}"),
        metadata(&format!("{{\"order\":\"{}\"}}", "x".repeat(501))),
        metadata("{\"order\":4711}"),
        metadata("[]"),
        "{\"to\":\"+120".to_owned(),
        "{\"to\":\"+12025550123\",\"to\":\"+12025550124\",\"say\":\"x\"}".to_owned(),
    ] {
        let answer = house.send(request("POST", "/v1/calls", KEY, &body)).await;
        let problem = answer.json();
        assert_eq!(answer.status, 400, "{body}: {problem}");
        told += &format!("{}: {}\n", problem["code"].as_str().unwrap(), problem["detail"].as_str().unwrap());
    }
    insta::assert_snapshot!(told, @r#"
    invalid_field: The field `flow[0]` is wrong: it has the keys hangup, say; one is expected, so make a step of each.
    invalid_field: The field `flow[0].gather.otherwise[1]` is wrong: it has the keys hangup, pause; one is expected, so make a step of each.
    invalid_field: The field `flow[0]` is wrong: it is empty; one key is expected, which says what to do.
    invalid_field: The field `flow[0].hangup` is wrong: invalid type: a word alone, expected an object.
    invalid_field: The field `flow` is wrong: invalid type: an object, expected a list.
    invalid_json: The body is no valid JSON, in the field `flow`: trailing comma at line 1 column 44.
    too_deep: The field `flow[0].gather.otherwise[0].gather.otherwise[0].gather.otherwise[0].gather.otherwise[0].gather.otherwise[0].gather.other…` is nested more than 127 deep.
    invalid_field: The field `flow[0].gather.tries` is wrong: invalid value: integer `-1`, expected a whole number, 0 or more.
    invalid_json: The field `metadata.order` has a raw control character in a string (line 2 column 0).
    invalid_metadata: `metadata` has the control character NUL (\u0000) in or under "order".
    invalid_metadata: `metadata` has the name ""; names have 1 to 64 bytes.
    invalid_metadata: `metadata` has 501 bytes under "order"; 500 are the most.
    invalid_field: The field `metadata.order` is wrong: invalid type: integer `4711`, expected a string.
    invalid_field: The field `metadata` is wrong: invalid type: a list, expected an object.
    invalid_json: The body is no valid JSON, in the field `to`: EOF while parsing a string at line 1 column 11.
    invalid_field: The body is wrong: duplicate field `to`.
    "#);
}

#[tokio::test]
async fn emergency_numbers_are_refused_alike_in_every_form() {
    let house = House::build().await;
    for to in ["911", "112", "9-1-1", "+1911", "tel:112", "sip:112", "sip:911@127.0.0.1", "999@example.com"] {
        let answer = house.ask("POST", "/v1/calls", &json!({ "to": to, "say": "Hello." })).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &problem["code"]),
            (403, &json!("emergency_not_supported")),
            "{to}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_call_is_placed_followed_hung_up_and_listed() {
    let house = House::build().await;
    let body = json!({ "to": "+12025550123", "flow": [{ "pause": { "seconds": 60 } }] });
    let answer = house.ask("POST", "/v1/calls", &body).await;
    let call = answer.json();
    assert_eq!(answer.status, 201, "{call}");
    let path = answer.header("location").to_owned();
    assert_eq!(path, format!("/v1/calls/{}", call["id"].as_str().unwrap()));

    let events =
        house.router.clone().oneshot(request("GET", &format!("{path}/events"), KEY, "")).await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let events = tokio::spawn(to_bytes(events.into_body(), usize::MAX));
    for _ in 0..100 {
        if house.get(&path).await.json()["status"] == "in-progress" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let growing = house.get(&format!("{path}/recording")).await;
    assert_eq!(
        (growing.status.as_u16(), growing.bytes.get(..4)),
        (200, Some(&b"RIFF"[..])),
        "while it lasts"
    );

    let ended = house.send(request("POST", &format!("{path}/hangup"), KEY, "")).await.json();
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(house.get("/v1/calls?status=completed").await.json()["data"][0]["id"], call["id"]);

    // The stream ended by itself, with the last event, and each came once.
    let stream = String::from_utf8(events.await.unwrap().unwrap().to_vec()).unwrap();
    let ids: Vec<i64> = stream.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]) && ids.first() == Some(&1), "{stream}");
    for kind in ["state", "attempt", "pause", "finished"] {
        assert!(stream.contains(&format!("event: {kind}\n")), "{kind}: {stream}");
    }
}

#[tokio::test]
async fn the_events_of_a_finished_call_are_replayed_from_where_the_reader_was() {
    let house = House::build().await;
    let row = house.finished_call(0, "+12025550123").await;
    let detail = json!({ "state": "completed" });
    let (call, account) = (row.id, 0);
    for (sequence, kind) in [(2, "say"), (3, "finished")] {
        let event = CallEvent {
            call,
            account,
            sequence,
            at: row.created_at,
            kind: kind.into(),
            detail: detail.clone(),
        };
        house.app.store.record(Write::Event(event)).unwrap();
    }
    let path = format!("/v1/calls/{call}/events");
    let kinds = |answer: Answer| -> Vec<String> {
        let text = String::from_utf8(answer.bytes).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("event: ").map(ToOwned::to_owned)).collect()
    };
    assert_eq!(kinds(house.get(&path).await), ["state", "say", "finished"]);
    let mut again = request("GET", &path, KEY, "");
    again.headers_mut().insert("last-event-id", "2".parse().unwrap());
    assert_eq!(kinds(house.send(again).await), ["finished"]);
}

#[tokio::test]
async fn a_recording_is_sent_whole_and_only_from_its_folder() {
    let house = House::build().await;
    let row = house.finished_call(0, "+12025550123").await;
    let path = format!("/v1/calls/{}/recording", row.id);
    assert_eq!(house.get(&path).await.json()["code"], "no_recording");

    let content: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let folder = house.app.recordings_dir();
    std::fs::write(folder.join("a.wav"), &content).unwrap();
    std::fs::write(folder.join("../secret.wav"), b"secret").unwrap();
    for (name, expected) in [("a.wav", Some(&content)), ("../secret.wav", None)] {
        let row = house.finished_call(0, "+12025550123").await;
        house.recorded(row.id, OWN, name).await;
        let answer = house.get(&format!("/v1/calls/{}/recording", row.id)).await;
        match expected {
            Some(content) => {
                assert_eq!(
                    (answer.header("content-type"), answer.header("content-length")),
                    ("audio/wav", "200000")
                );
                assert!(answer.bytes == *content);
            }
            None => assert_eq!(answer.status, 404),
        }
    }
}

#[tokio::test]
async fn a_trunk_is_made_changed_and_deleted_and_its_password_never_shown() {
    let house = House::build().await;
    let body = json!({ "name": "acme", "host": "127.0.0.1", "username": "4915", "password": "s3cret-pass" });
    let made = house.ask("POST", "/v1/trunks", &body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    assert!(!String::from_utf8_lossy(&made.bytes).contains("s3cret"), "{}", made.json());
    assert_eq!((&made.json()["has_password"], &made.json()["default"]), (&json!(true), &json!(false)));
    assert_eq!(house.ask("POST", "/v1/trunks", &body).await.status, 409, "the name is taken");

    let id = made.json()["id"].as_str().unwrap().to_owned();
    let change = json!({ "default": true, "username": null, "port": 5080 });
    let changed = house.ask("PATCH", "/v1/trunks/acme", &change).await.json();
    assert_eq!(
        (&changed["default"], &changed["username"], &changed["port"]),
        (&json!(true), &Value::Null, &json!(5080))
    );
    assert_eq!(changed["has_password"], true, "what is left out stays");
    assert_eq!(house.get("/v1/trunks/sim").await.json()["default"], false, "one default only");

    let bad = [
        json!({ "host": "sip.example.com" }),
        json!({ "port": 0 }),
        json!({ "port": 70000 }),
        json!({ "transport": "sctp" }),
        json!({ "name": "" }),
        json!({ "password": "a\r\nb" }),
        json!({ "kind": "simulated" }),
    ];
    for change in bad {
        let answer = house.ask("PATCH", "/v1/trunks/acme", &change).await;
        assert_eq!(answer.status, 400, "{change}: {}", String::from_utf8_lossy(&answer.bytes));
    }
    for (change, said) in [
        (json!({ "host": "foo bar" }), "The host is \"foo bar\": a host name has letters"),
        (json!({ "host": "http://x" }), "give the host alone, such as x"),
        (json!({ "host": "host:5060" }), "a trunk's port is set by `port`"),
        (json!({ "host": "" }), "The host is empty"),
        (json!({ "host": "a".repeat(300) }), "The host is longer than 253 characters"),
        (json!({ "host": "a\nb" }), "The host contains a control character"),
        (json!({ "settings": { "proxy": "sip:edge.example" } }), "settings.proxy is \"sip:edge.example\""),
        (json!({ "settings": { "from_domain": "a b" } }), "settings.from_domain is \"a b\""),
        (json!({ "name": " " }), "The name is empty"),
        (json!({ "name": "a/b" }), "The name is \"a/b\": a trunk's name has"),
        (json!({ "name": "a".repeat(65) }), "a trunk's name has 1 to 64"),
        (json!({ "name": "65a1f0c2a4b1c2d3e4f50600" }), "which could be an id"),
    ] {
        let answer = house.ask("PATCH", "/v1/trunks/acme", &change).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &problem["code"]),
            (400, &json!("invalid_trunk")),
            "{change}: {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(said), "{change}: {problem}");
        let mut whole = json!({ "name": "other", "host": "127.0.0.1" });
        whole.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = house.ask("POST", "/v1/trunks", &whole).await;
        assert!(answer.status == 400 && answer.json()["detail"].as_str().unwrap().contains(said), "{whole}");
    }
    assert_eq!(house.send(request("DELETE", &format!("/v1/trunks/{id}"), KEY, "")).await.status, 204);
    assert_eq!(house.get("/v1/trunks/acme").await.json()["code"], "trunk_not_found");
}

#[tokio::test]
async fn a_key_is_shown_once_listed_without_itself_and_revoked() {
    let house = House::build().await;
    let made =
        house.ask("POST", "/v1/keys", &json!({ "name": "billing", "sources": ["192.0.2.7"] })).await.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["sources"], json!(["192.0.2.7/32"]));
    let list = house.get("/v1/keys").await;
    assert!(!String::from_utf8_lossy(&list.bytes).contains(key));
    let open = async || house.send(from(request("GET", "/v1/calls", key, ""), "192.0.2.7:1")).await.json();
    assert!(open().await["data"].is_array());
    assert_eq!(house.send(request("DELETE", &format!("/v1/keys/{id}"), KEY, "")).await.status, 204);
    assert_eq!(open().await["code"], "revoked_api_key");
    let operator = house.get("/v1/keys").await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let last = house.send(request("DELETE", &format!("/v1/keys/{operator}"), KEY, "")).await;
    assert_eq!((last.status.as_u16(), last.json()["code"].as_str()), (409, Some("last_operator_key")));
    for body in [
        json!({ "name": "" }),
        json!({ "name": "a", "scopes": ["all"] }),
        json!({ "name": "a", "sources": ["x"] }),
    ] {
        assert_eq!(house.ask("POST", "/v1/keys", &body).await.status, 400, "{body}");
    }
}

/// Whoever changes what clients see, sees it here.
#[tokio::test]
async fn openapi_describes_v1() {
    let house = House::build().await;
    let answer = house.send(request("GET", "/openapi.json", "", "")).await;
    let openapi = answer.json();
    assert_eq!(openapi["openapi"], "3.1.0");
    // One line for each operation and each schema.
    let mut lines = Vec::new();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        lines.extend(
            methods.as_object().unwrap().iter().map(|(method, what)| format!("{method} {path} {what}")),
        );
    }
    let schemas = openapi["components"]["schemas"].as_object().unwrap();
    lines.extend(schemas.iter().map(|(name, what)| format!("{name} {what}")));
    insta::assert_snapshot!("openapi", lines.join("\n"));
}
