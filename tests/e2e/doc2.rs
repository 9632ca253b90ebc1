//! Document 2, the SIP server and Twilio: every curl line in it, run as printed with the host and the key exchanged.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Body;
use crate::peers::wire::{Act, Peer};
use crate::server::Server;
use crate::tool::{self, wait_for};

const START: &str = r#"curl -X POST http://localhost:5000/api/v1/opensips/start \
  -H "Authorization: Bearer YOUR_API_KEY""#;

const STATUS: &str = r#"curl http://localhost:5000/api/v1/opensips/status \
  -H "Authorization: Bearer YOUR_API_KEY""#;

const GENERATE: &str = r#"curl -X POST http://localhost:5000/api/v1/opensips/generate-credentials \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "userId": "user123"
  }'"#;

const INITIATE: &str = r#"curl -X POST http://localhost:5000/api/v1/opensips/call/initiate \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "userId": "user123",
    "fromNumber": "+1234567890",
    "toNumber": "+0987654321",
    "useTwilio": true
  }'"#;

const DETAILS: &str = r#"curl http://localhost:5000/api/v1/opensips/call/SESSION_ID \
  -H "Authorization: Bearer YOUR_API_KEY""#;

const END: &str = r#"curl -X POST http://localhost:5000/api/v1/opensips/call/SESSION_ID/end \
  -H "Authorization: Bearer YOUR_API_KEY""#;

const HEALTH: &str = r#"curl http://localhost:5000/api/v1/opensips/health \
  -H "Authorization: Bearer YOUR_API_KEY""#;

/// The lines under "El servidor no inicia" come without a key.
const STOP_WITHOUT_KEY: &str = "curl -X POST http://localhost:5000/api/v1/opensips/stop";
const START_WITHOUT_KEY: &str = "curl -X POST http://localhost:5000/api/v1/opensips/start";

/// Runs a curl line; the status and the body.
fn curl(server: &Server, line: &str, session: &str) -> Option<(u16, Value)> {
    tool::find("curl", "curl")?;
    let line = line
        .replacen("curl ", "curl -sS --max-time 20 -w '\\n%{http_code}' ", 1)
        .replace("http://localhost:5000", &server.url(""))
        .replace("YOUR_API_KEY", &server.key)
        .replace("SESSION_ID", session);
    let output = Command::new("bash").args(["-c", &line]).output().expect("bash");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let (body, status) = text.rsplit_once('\n').expect("a status after the body");
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    Some((status.parse().expect("a status"), body))
}

/// The names of an object's fields.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn every_curl_line_works_as_printed() {
    let mut server = Server::simulated();
    let Some((status, body)) = curl(&server, START, "") else { return };
    assert_eq!((status, &body["success"], &body["status"]), (200, &json!(true), &json!("running")), "{body}");

    let (status, body) = curl(&server, STATUS, "").unwrap();
    assert_eq!((status, &body["status"]), (200, &json!("running")), "{body}");
    let sip = server.sip();
    assert_eq!((&body["addresses"]["udp"], &body["addresses"]["ws"]), (&json!(sip), &json!(sip)), "{body}");

    let (status, body) = curl(&server, GENERATE, "").unwrap();
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    let text = |name: &str| {
        body["credentials"][name].as_str().unwrap_or_else(|| panic!("{name}: {body}")).to_owned()
    };
    let (username, password, domain) = (text("username"), text("password"), text("domain"));
    server.secret(&password);
    let digits = username.strip_prefix("user_").expect("user_ and digits");
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{username}");
    assert!(password.len() >= 20, "a strong password");
    assert_eq!(text("sipUri"), format!("sip:{username}@{domain}"));
    assert_eq!((text("proxyServer"), text("transportProtocol")), (sip.to_string(), "UDP".into()));
    assert_eq!(text("webSocketUrl"), format!("ws://{sip}"));
    assert!(text("warning").contains("loopback"), "{body}");

    let (status, body) = curl(&server, INITIATE, "").unwrap();
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    let session = &body["session"];
    assert_eq!((&session["status"], &session["simulated"]), (&json!("ringing"), &json!(true)), "{body}");
    assert_eq!(session["sipCredentials"], json!({ "username": username, "domain": domain }), "{body}");
    let id = session["sessionId"].as_str().expect("a sessionId").to_owned();
    let parts: Vec<&str> = id.split('_').collect();
    assert!(matches!(parts.as_slice(), ["session", seconds, _] if seconds.len() == 10), "{id}");

    let (status, body) = curl(&server, DETAILS, &id).unwrap();
    assert_eq!((status, &body["session"]["sessionId"]), (200, &json!(id)), "{body}");

    let (status, body) = curl(&server, HEALTH, "").unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(names(&body), ["activeCalls", "opensipsStatus", "serverUptime"], "{body}");
    assert_eq!((&body["opensipsStatus"], &body["serverUptime"]), (&json!("running"), &json!(true)), "{body}");
    assert_eq!(body["activeCalls"], 1, "{body}");

    // Ending is idempotent.
    for _ in 0..2 {
        let (status, body) = curl(&server, END, &id).unwrap();
        assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    }
    wait_for("the call's end in the figures", Duration::from_secs(5), || {
        let (_, body) = curl(&server, HEALTH, "").unwrap();
        (body["activeCalls"] == 0).then_some(())
    });

    for line in [STOP_WITHOUT_KEY, START_WITHOUT_KEY] {
        let (status, body) = curl(&server, line, "").unwrap();
        assert_eq!((status, &body["code"]), (401, &json!("missing_api_key")), "{body}");
        assert!(body["error"].as_str().is_some_and(|sentence| sentence.contains("Authorization")), "{body}");
        let with_key = format!("{line} -H 'Authorization: Bearer YOUR_API_KEY'");
        assert_eq!(curl(&server, &with_key, "").unwrap().0, 200);
    }
}

#[test]
fn a_click_calls_whom_the_user_may_call() {
    let mut server = Server::simulated();
    let password = "phone-password-4711";
    server.secret(password);
    let user =
        json!({ "username": "alice", "password": password, "external_id": "42", "may_call": "internal" });
    server.post("/v1/users", user).expect(201);
    let busy = Act { status: "486 Busy Here", ..Act::default() };
    let _phone = Peer::phone(server.sip(), "alice", password, busy);
    let call = json!({ "userId": "42", "toNumber": "+12025550123" });
    let click = || server.post("/api/v1/opensips/call/initiate", call.clone());
    assert_eq!(click().expect(403).json()["code"], "may_not_call");
    let may = Body::Json(json!({ "may_call": "account" }));
    server.request("PATCH", "/v1/users/alice", may).expect(200);
    assert_eq!(click().expect(200).json()["success"], true);
}

#[test]
fn a_stopped_server_runs_again_after_a_restart() {
    let mut server = Server::simulated();
    server.post("/api/v1/opensips/stop", json!({})).expect(200);
    let call = json!({ "fromNumber": "+12025550100", "toNumber": "+12025550123", "text": "Hello." });
    assert_eq!(server.post("/api/calls/initiate", call.clone()).expect(503).json()["code"], "sip_stopped");
    server.kill();
    server.start();
    server.post("/api/calls/initiate", call).expect(200);
}

#[test]
fn the_command_line_shows_and_governs_the_server() {
    let server = Server::simulated();
    let run = |arguments: &[&str]| {
        let output = server.command().args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let shown = run(&["sip"]);
    assert!(shown.starts_with("The SIP server is running"), "{shown}");
    assert!(shown.contains(&format!("udp {}", server.sip())), "{shown}");
    assert!(run(&["sip", "stop"]).starts_with("The SIP server is stopped"));
    assert!(run(&["sip", "start"]).starts_with("The SIP server is running"));
    assert_eq!(run(&["registrations"]).trim(), "No phone is registered.");
    let metrics = server.get("/metrics").expect(200).text();
    for line in [
        "trunkline_sip_running 1",
        "trunkline_sip_registrations{transport=\"wss\"} 0",
        "trunkline_sip_connections{transport=\"tls\"} 0",
        "trunkline_sip_parse_errors_total 0",
        "trunkline_sip_requests_total{direction=\"in\",method=\"REGISTER\"} 0",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line}\n{metrics}");
    }
}
