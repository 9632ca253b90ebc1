//! Document 0.

use super::*;

#[tokio::test]
async fn what_is_wrong_is_named_and_nobody_is_dialled() {
    let house = House::build().await;
    let ok = json!({ "fromNumber": "+1234567890", "toNumber": "+1987654321", "text": "Hello." });
    let with = |field: &str, value: Value| {
        let mut body = ok.clone();
        body[field] = value;
        body.to_string()
    };
    let both =
        json!({ "fromNumber": "+1234567890", "toNumber": "+1987654321", "text": "a", "audioFile": "b.mp3" });
    let neither = json!({ "fromNumber": "+1234567890", "toNumber": "+1987654321" });
    let file = |name: &str| {
        json!({ "fromNumber": "+1234567890", "toNumber": "+1987654321", "audioFile": name }).to_string()
    };
    let huge = "9".repeat(70_000);
    let table = [
        (String::new(), 415, "unsupported_media_type"),
        (" ".into(), 400, "invalid_json"),
        ("{".into(), 400, "invalid_json"),
        ("[\"+12025550100\", \"+12025550123\", null, \"hello\"]".into(), 400, "invalid_json"),
        ("\"text\"".into(), 400, "invalid_json"),
        (format!("{ok} x"), 400, "invalid_json"),
        (with("toNumber", json!(5)), 400, "invalid_field"),
        (with("toNumber", Value::Null), 400, "missing_to_number"),
        (with("toNumber", json!("")), 400, "invalid_field"),
        (with("toNumber", json!("hello")), 400, "invalid_number_format"),
        (with("toNumber", json!("12345")), 400, "invalid_number_format"),
        (with("toNumber", json!("+1234567890123456")), 400, "invalid_number_format"),
        (with("toNumber", json!("../etc/passwd")), 400, "invalid_number_format"),
        (with("toNumber", json!("+1987654321\r\nEvil: 1")), 400, "invalid_field"),
        (with("toNumber", json!(huge)), 400, "invalid_field"),
        (with("fromNumber", json!(true)), 400, "invalid_field"),
        (with("fromNumber", Value::Null), 400, "missing_from_number"),
        (with("fromNumber", json!("a\u{0}b")), 400, "invalid_field"),
        (with("fromNumber", json!("12")), 400, "invalid_from_number"),
        (with("text", json!({ "a": 1 })), 400, "invalid_field"),
        (both.to_string(), 400, "ambiguous_content"),
        (neither.to_string(), 400, "missing_content"),
        (file(""), 400, "invalid_field"),
        (file("a\nb.mp3"), 400, "invalid_field"),
        (with("text", json!("x".repeat(1024 * 1024))), 413, "body_too_large"),
    ];
    for (body, status, code) in table {
        let answer = house.send(request("POST", "/api/calls/initiate", KEY, &body)).await;
        let shown: String = body.chars().take(120).collect();
        let reply = answer.json();
        assert_eq!(
            (answer.status.as_u16(), reply["code"].as_str()),
            (status, Some(code)),
            "{shown}: {reply}"
        );
        assert_eq!(reply["success"], false, "{shown}");
        assert!(reply["error"].as_str().is_some_and(|sentence| sentence.len() > 20), "{shown}: {reply}");
    }
    let history = house.get("/api/calls/history").await.json();
    assert_eq!(history["calls"], json!([]), "nobody was dialled");
}

#[tokio::test]
async fn an_error_names_the_field() {
    let house = House::build().await;
    let answer = house.ask("POST", "/api/calls/initiate", &json!({ "toNumber": 5 })).await;
    insta::assert_snapshot!(answer.json()["error"].as_str().unwrap(), @"The field `toNumber` is wrong: invalid type: integer `5`, expected a string.");
}

#[tokio::test]
async fn an_upload_that_is_none_is_refused() {
    let house = House::build().await;
    let send = |kind: &str, body: Vec<u8>| {
        let request =
            Request::post("/api/audio/upload").header("x-api-key", KEY).header("content-type", kind);
        house.send(request.body(Body::from(body)).unwrap())
    };
    let form = |field: &str, content: &[u8]| {
        let head =
            format!("--b\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"a.mp3\"\r\n\r\n");
        [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
    };
    let kind = "multipart/form-data; boundary=b";
    let table = [
        (send("application/json", b"{}".to_vec()).await, 415, "unsupported_media_type"),
        (send(kind, form("file", b"x")).await, 400, "missing_audio"),
        (send(kind, b"--b\r\nContent-Dispo".to_vec()).await, 400, "invalid_upload"),
        (send(kind, form("audio", &vec![0; 10 * 1024 * 1024 + 1])).await, 413, "body_too_large"),
        (send(kind, form("audio", &vec![0; 11 * 1024 * 1024])).await, 413, "body_too_large"),
    ];
    for (answer, status, code) in table {
        let reply = answer.json();
        assert_eq!((answer.status.as_u16(), reply["code"].as_str()), (status, Some(code)), "{reply}");
    }
}

#[tokio::test]
async fn a_call_is_shown_under_any_form_of_its_id() {
    let house = House::build().await;
    let row = house.finished_call(0, "+12025550123").await;
    for id in [row.id.to_string(), row.id.with("call"), row.id.to_string().to_uppercase()] {
        let reply = house.get(&format!("/api/calls/status/{id}")).await.json();
        assert_eq!(reply["call"]["callId"], row.id.to_string(), "{reply}");
    }
    let mut reply = house.get(&format!("/api/calls/status/{}", row.id)).await.json();
    reply["call"]["callId"] = "ID".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&reply).unwrap(), @r#"
    {
      "call": {
        "answeredAt": "2026-01-01T00:00:02.004Z",
        "audioFile": null,
        "callId": "ID",
        "callType": "PSTN",
        "cause": {
          "code": "normal",
          "hint": null,
          "message": "The callee hung up.",
          "q850": 16,
          "sipStatus": null
        },
        "createdAt": "2026-01-01T00:00:00.000Z",
        "direction": "outbound",
        "duration": 4,
        "durationMs": 4306,
        "endedAt": "2026-01-01T00:00:06.310Z",
        "fromNumber": "+15551234567",
        "hangupBy": "callee",
        "opensipsId": "abc@127.0.0.1",
        "quality": null,
        "recording": null,
        "ringingAt": "2026-01-01T00:00:00.120Z",
        "status": "completed",
        "text": "Hello.",
        "toNumber": "+12025550123",
        "trunk": "sim"
      },
      "success": true
    }
    "#);
    for id in ["nonsense", "507f1f77bcf86cd799439011", "..%2F..%2Fetc%2Fpasswd"] {
        let answer = house.get(&format!("/api/calls/status/{id}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (404, Some("call_not_found")),
            "{id}"
        );
    }
}

#[tokio::test]
async fn ending_a_call_that_has_ended_changes_nothing() {
    let house = House::build().await;
    let row = house.finished_call(0, "+12025550123").await;
    for _ in 0..2 {
        let reply = house.send(request("POST", &format!("/api/calls/end/{}", row.id), KEY, "")).await.json();
        assert_eq!((&reply["success"], &reply["status"]), (&json!(true), &json!("completed")), "{reply}");
    }
}

#[tokio::test]
async fn history_is_filtered_and_paged() {
    let house = House::build().await;
    for n in 0..5 {
        house.finished_call(0, &format!("+1202555012{n}")).await;
    }
    let numbers = async |query: &str| -> (Vec<String>, Value) {
        let reply = house.get(&format!("/api/calls/history{query}")).await.json();
        let calls = reply["calls"].as_array().unwrap_or_else(|| panic!("{reply}"));
        (
            calls.iter().map(|call| call["toNumber"].as_str().unwrap().to_owned()).collect(),
            reply["next"].clone(),
        )
    };
    assert_eq!(numbers("").await.0.len(), 5);
    assert_eq!(numbers("?to=+12025550122").await.0, ["+12025550122"]);
    assert_eq!(numbers("?to=%2B12025550122&status=completed").await.0, ["+12025550122"]);
    assert_eq!(numbers("?status=busy").await.0, Vec::<String>::new());
    let (first, next) = numbers("?limit=3").await;
    let (second, end) = numbers(&format!("?limit=3&after={}", next.as_str().unwrap())).await;
    assert_eq!((first.len(), second.len(), end), (3, 2, Value::Null));
    assert!(first.iter().all(|number| !second.contains(number)));
    let table = [
        ("?limit=0", "invalid_limit"),
        ("?limit=201", "invalid_limit"),
        ("?limit=many", "invalid_limit"),
        ("?status=happy", "invalid_status"),
        ("?after=nonsense", "invalid_cursor"),
    ];
    for (query, code) in table {
        let answer = house.get(&format!("/api/calls/history{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (400, Some(code)), "{query}");
    }
}
