//! Document 2: the SIP server, its users and calls.

use super::phone::Phone;
use super::*;

/// A reply without what differs from run to run.
fn steady(value: &Value, house: &House) -> String {
    let port = house.app.switch.address().port().to_string();
    let text = serde_json::to_string_pretty(value).unwrap().replace(&port, "PORT");
    let mut steady = String::new();
    for line in text.lines() {
        let own =
            ["sessionId", "username", "password", "sipUri", "createdAt", "startedAt", "uptime", "sipCallId"];
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match own.iter().any(|own| name.contains(own)) && value != "null," {
            true => steady.push_str(&format!("{name}: …\n")),
            false => steady.push_str(&format!("{line}\n")),
        }
    }
    steady
}

const GENERATE: &str = "/api/v1/opensips/generate-credentials";
const INITIATE: &str = "/api/v1/opensips/call/initiate";

fn as_printed() -> Value {
    json!({ "userId": "user123", "fromNumber": "+1234567890", "toNumber": "+0987654321", "useTwilio": true })
}

#[tokio::test]
async fn the_server_is_stopped_and_started_by_the_operator_only() {
    let house = House::build().await;
    let answer = house.get("/api/v1/opensips/health").await;
    assert_eq!(
        String::from_utf8(answer.bytes).unwrap(),
        r#"{"opensipsStatus":"running","activeCalls":0,"serverUptime":true}"#
    );
    let theirs = house.key(1, &[]).await;
    for path in ["/api/v1/opensips/start", "/api/v1/opensips/stop", "/v1/sip/start", "/v1/sip/stop"] {
        let answer = house.send(request("POST", path, &theirs, "")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (403, Some("operator_only")),
            "{path}"
        );
    }
    assert_eq!(house.send(request("GET", "/v1/sip", &theirs, "")).await.status, 403);
    let made = house.ask("POST", GENERATE, &json!({ "userId": "user123" })).await.json();
    let text = |name: &str| made["credentials"][name].as_str().unwrap().to_owned();
    let mut phone = Phone::new(&house, &text("username"), &text("password")).await;
    assert_eq!(phone.register().await, 200);

    for _ in 0..2 {
        let stopped = house.send(request("POST", "/api/v1/opensips/stop", KEY, "")).await;
        assert_eq!((stopped.status.as_u16(), &stopped.json()["status"]), (200, &json!("stopped")));
    }
    assert_eq!(phone.register().await, 503);
    let refused = house.ask("POST", INITIATE, &as_printed()).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "30"));
    insta::assert_snapshot!(refused.json(), @r#"{"code":"sip_stopped","error":"The SIP server is stopped and takes no new calls. The operator starts it with `trunkline sip start` or POST /api/v1/opensips/start.","success":false}"#);
    let health = house.get("/api/v1/opensips/health").await.json();
    assert_eq!(health, json!({ "opensipsStatus": "stopped", "activeCalls": 0, "serverUptime": false }));
    // The phone of before is kept.
    let status = house.send(request("GET", "/api/v1/opensips/status", &theirs, "")).await.json();
    assert_eq!((&status["registrations"], &status["statistics"]), (&json!(0), &Value::Null));
    let status = house.get("/api/v1/opensips/status").await.json();
    assert_eq!((&status["registrations"], &status["statistics"]["state"]), (&json!(1), &json!("stopped")));

    for _ in 0..2 {
        let started = house.send(request("POST", "/api/v1/opensips/start", KEY, "")).await;
        assert_eq!((started.status.as_u16(), &started.json()["status"]), (200, &json!("running")));
    }
    assert_eq!(phone.register().await, 200);
    assert_eq!(house.ask("POST", INITIATE, &as_printed()).await.status, 200);
}

#[tokio::test]
async fn credentials_are_made_once_and_renewed_after() {
    let house = House::build().await;
    let mut asked = request("POST", GENERATE, KEY, r#"{"userId":"user123"}"#);
    asked.headers_mut().insert("host", "localhost:5000".parse().unwrap());
    let first = house.send(asked).await;
    assert_eq!(first.status, 200);
    insta::assert_snapshot!(steady(&first.json(), &house), @r#"
        {
          "credentials": {
            "domain": "127.0.0.1",
            "password": …
            "proxyServer": "127.0.0.1:PORT",
            "sipUri": …
            "transportProtocol": "UDP",
            "transports": [
              "UDP"
            ],
            "username": …
            "warning": "SIP listens on loopback, which only this machine can reach: set sip_listen to 0.0.0.0:5060."
          },
          "success": true
        }
        "#);
    let text = String::from_utf8(first.bytes.clone()).unwrap();
    let place = |name: &str| text.find(&format!("\"{name}\"")).unwrap();
    let printed =
        ["username", "password", "domain", "sipUri", "proxyServer", "transportProtocol", "transports"];
    assert!(printed.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{text}");
    let username = first.json()["credentials"]["username"].as_str().unwrap().to_owned();
    assert!(username.strip_prefix("user_").unwrap().bytes().all(|byte| byte.is_ascii_digit()), "{username}");

    let password = |answer: &Answer| answer.json()["credentials"]["password"].as_str().unwrap().to_owned();
    let mut phone = Phone::new(&house, &username, &password(&first)).await;
    assert_eq!(phone.register().await, 200);
    let second = house.ask("POST", GENERATE, &json!({ "userId": "user123" })).await;
    assert_eq!(second.json()["credentials"]["username"], username);
    assert_ne!(password(&first), password(&second));
    // The old password opens nothing any more, and what it registered is gone.
    let phones = house.get("/v1/registrations").await.json();
    assert_eq!(phones["data"], json!([]));
    assert_eq!(phone.register().await, 401);
    let mut phone = Phone::new(&house, &username, &password(&second)).await;
    assert_eq!(phone.register().await, 200);

    // Another account's user of the same id is another one.
    let theirs = house.key(1, &[]).await;
    let other = house.send(request("POST", GENERATE, &theirs, r#"{"userId":"user123"}"#)).await.json();
    assert_ne!(other["credentials"]["username"], username);
    house.ask("PATCH", &format!("/v1/users/{username}"), &json!({ "enabled": false })).await;
    assert_eq!(house.get("/v1/registrations").await.json()["data"], json!([]));
    for (body, status, code) in [
        (json!({}), 400, "missing_user_id"),
        (json!({ "userId": "" }), 400, "invalid_field"),
        (json!({ "userId": 5 }), 400, "invalid_field"),
        (json!({ "userId": "user123" }), 409, "user_disabled"),
    ] {
        let answer = house.ask("POST", GENERATE, &body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{body}");
    }
}

#[tokio::test]
async fn a_call_is_placed_shown_and_ended() {
    let house = House::build().await;
    let answer = house.ask("POST", INITIATE, &as_printed()).await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(steady(&answer.json(), &house), @r#"
        {
          "session": {
            "sessionId": …
            "simulated": true,
            "sipCredentials": {
              "domain": "127.0.0.1",
              "username": …
            },
            "status": "ringing",
            "trunk": "sim"
          },
          "success": true
        }
        "#);
    let session = answer.json()["session"]["sessionId"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = session.split('_').collect();
    assert!(
        parts.len() == 3 && parts[1].len() == 10 && parts[1].bytes().all(|b| b.is_ascii_digit()),
        "{session}"
    );
    let path = format!("/api/v1/opensips/call/{session}");
    let shown = house.get(&path).await.json();
    assert!(["ringing", "in-progress"].contains(&shown["session"]["status"].as_str().unwrap()), "{shown}");
    assert_eq!(
        (&shown["session"]["userId"], &shown["session"]["toNumber"]),
        (&json!("user123"), &json!("+0987654321"))
    );
    let ended = house.send(request("POST", &format!("{path}/end"), KEY, "")).await;
    let again = house.send(request("POST", &format!("{path}/end"), KEY, "")).await;
    assert_eq!((ended.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(ended.json()["success"], true);
    let last = again.json()["status"].as_str().unwrap().to_owned();
    assert!(["canceled", "completed"].contains(&&*last), "{last}");
    // One id, in any form, on every face; nobody else's call.
    let id = Id::parse(&session).unwrap();
    for path in [format!("/v1/calls/{session}"), format!("/api/calls/status/{id}"), format!("/v1/calls/{id}")]
    {
        assert_eq!(house.get(&path).await.status, 200, "{path}");
    }
    assert_eq!(house.get("/v1/calls?face=opensips").await.json()["data"].as_array().unwrap().len(), 1);
    let theirs = house.key(1, &[]).await;
    for (method, path) in [("GET", path.clone()), ("POST", format!("{path}/end"))] {
        let answer = house.send(request(method, &path, &theirs, "")).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (404, Some("call_not_found")));
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anybody_rings() {
    let house = House::build().await;
    let with = |field: &str, value: Value| {
        let mut body = as_printed();
        body[field] = value;
        body
    };
    for (body, code) in [
        (with("toNumber", Value::Null), "missing_to_number"),
        (with("toNumber", json!("hello")), "invalid_number_format"),
        (with("fromNumber", json!("12")), "invalid_from_number"),
        (with("userId", Value::Null), "missing_user_id"),
        (with("useTwilio", json!("yes")), "invalid_field"),
        (with("audioFile", json!("uploads/none.mp3")), "audio_file_not_found"),
        (
            json!({ "userId": "a", "toNumber": "+12025550123", "text": "a", "audioFile": "b" }),
            "ambiguous_content",
        ),
    ] {
        let answer = house.ask("POST", INITIATE, &body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (400, Some(code)), "{body}");
    }
    // Where real calls go out elsewhere, the simulated network does not answer for Twilio.
    let trunk = json!({ "name": "acme", "host": "127.0.0.1", "default": true, "caller_id": "+12025550100" });
    assert_eq!(house.ask("POST", "/v1/trunks", &trunk).await.status, 201);
    let refused = house.ask("POST", INITIATE, &as_printed()).await.json();
    insta::assert_snapshot!(refused, @r#"{"code":"twilio_not_configured","error":"`useTwilio` is true, but this account has no trunk to Twilio. Add one with POST /v1/trunks: its host is <name>.pstn.twilio.com, from Elastic SIP Trunking, Termination. Or leave `useTwilio` out to call over the default trunk.","success":false}"#);
    assert_eq!(house.get("/v1/calls").await.json()["data"], json!([]));
}

#[tokio::test]
async fn twilio_is_the_trunk_that_leads_there() {
    let house = House::build().await;
    for (name, host) in [("other", "127.0.0.1"), ("tw", "127.0.0.2"), ("Twilio", "127.0.0.3")] {
        let trunk = json!({ "name": name, "host": host, "caller_id": "+12025550100" });
        assert_eq!(house.ask("POST", "/v1/trunks", &trunk).await.status, 201);
    }
    house.ask("PATCH", "/v1/account", &json!({ "destinations": { "countries": ["US"] } })).await;
    let body =
        json!({ "userId": "a", "fromNumber": "+12025550100", "toNumber": "+12025550123", "useTwilio": true });
    let session = house.ask("POST", INITIATE, &body).await.json();
    assert_eq!(
        (&session["session"]["trunk"], &session["session"]["simulated"]),
        (&json!("Twilio"), &Value::Null)
    );
    let plain = json!({ "userId": "a", "fromNumber": "+12025550100", "toNumber": "+12025550123" });
    let session = house.ask("POST", INITIATE, &plain).await.json();
    assert_eq!(
        (&session["session"]["trunk"], &session["session"]["simulated"]),
        (&json!("sim"), &json!(true))
    );
}

#[tokio::test]
async fn a_users_own_phone_rings_first() {
    let house = House::build().await;
    let made = house.ask("POST", GENERATE, &json!({ "userId": "user123" })).await.json();
    let text = |name: &str| made["credentials"][name].as_str().unwrap().to_owned();
    let mut phone = Phone::new(&house, &text("username"), &text("password")).await;
    assert_eq!(phone.register().await, 200);
    let placed = house.ask("POST", INITIATE, &as_printed()).await.json();
    assert_eq!(placed["session"]["status"], "ringing", "{placed}");
    let invite = phone.until("INVITE").await;
    phone.respond(&invite, "200 OK", Phone::sdp()).await;
    let id = placed["session"]["sessionId"].as_str().unwrap();
    // The destination is called over the simulated network, which stands for Twilio, and joined.
    let events = format!("/v1/calls/{id}/events");
    let ending = async {
        let path = format!("/v1/events?call={id}&limit=200");
        loop {
            let kinds = house.get(&path).await.json()["data"].to_string();
            if kinds.contains("dial-answered") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        house.send(request("POST", &format!("/api/v1/opensips/call/{id}/end"), KEY, "")).await
    };
    let limit = std::time::Duration::from_secs(15);
    let ended = tokio::time::timeout(limit, ending).await.unwrap().json();
    let bye = phone.until("BYE").await;
    phone.respond(&bye, "200 OK", "").await;
    let session = &ended["session"];
    assert_eq!(
        (&session["fromNumber"], &session["toNumber"], &session["userId"]),
        (&json!("+1234567890"), &json!("+0987654321"), &json!("user123")),
        "{}",
        String::from_utf8_lossy(&house.get(&events).await.bytes)
    );
}
