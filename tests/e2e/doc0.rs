//! Document 0, the outbound calling guide: every curl line and request in it, run as printed with the host and
//! the key exchanged.

use std::process::Command;

use serde_json::{Value, json};

use crate::peers::sipp::Sipp;
use crate::server::{FINAL, Server};
use crate::tool;

const CALL_WITH_TTS: &str = r#"curl -X POST http://localhost:3000/api/calls/initiate \
  -H "X-API-Key: your_api_key_here" \
  -H "Content-Type: application/json" \
  -d '{
    "fromNumber": "+1234567890",
    "toNumber": "+1987654321",
    "text": "Hello, this is a test call from the API server. Thank you for listening."
  }'"#;

const CALL_WITH_AUDIO_FILE: &str = r#"curl -X POST http://localhost:3000/api/calls/initiate \
  -H "X-API-Key: your_api_key_here" \
  -H "Content-Type: application/json" \
  -d '{
    "fromNumber": "+1234567890",
    "toNumber": "+1987654321",
    "audioFile": "uploads/audio_1640995200000.mp3"
  }'"#;

const STATUS: &str = r#"curl -X GET http://localhost:3000/api/calls/status/CALL_ID \
  -H "X-API-Key: your_api_key_here""#;

const END: &str = r#"curl -X POST http://localhost:3000/api/calls/end/CALL_ID \
  -H "X-API-Key: your_api_key_here""#;

const HISTORY: &str = r#"curl -X GET http://localhost:3000/api/calls/history \
  -H "X-API-Key: your_api_key_here""#;

const HEALTH: &str = "curl http://localhost:3000/health";

/// Runs a curl line; the status and the body.
fn curl(server: &Server, line: &str, call: &str) -> Option<(u16, Value)> {
    tool::find("curl", "curl")?;
    let line = line
        .replacen("curl ", "curl -sS --max-time 20 -w '\\n%{http_code}' ", 1)
        .replace("http://localhost:3000", &server.url(""))
        .replace("your_api_key_here", &server.key)
        .replace("CALL_ID", call);
    let output = Command::new("bash").args(["-c", &line]).output().expect("bash");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let (body, status) = text.rsplit_once('\n').expect("a status after the body");
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    Some((status.parse().expect("a status"), body))
}

#[test]
fn every_curl_line_works_as_printed() {
    let server = Server::simulated();
    let mut ids = Vec::new();
    for (line, audio_file) in
        [(CALL_WITH_TTS, r"tts_<digits>.wav"), (CALL_WITH_AUDIO_FILE, "uploads/audio_1640995200000.mp3")]
    {
        let Some((status, body)) = curl(&server, line, "") else { return };
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["success"], true);
        assert_eq!(body["message"], "Call initiated successfully to PSTN number");
        assert_eq!(body["callType"], "PSTN");
        let id = body["callId"].as_str().expect("a callId").to_owned();
        assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert!(!body["opensipsId"].as_str().expect("an opensipsId").is_empty());
        let named = body["audioFile"].as_str().expect("an audioFile");
        let shape = match named.strip_prefix("tts_").and_then(|rest| rest.strip_suffix(".wav")) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => "tts_<digits>.wav",
            _ => named,
        };
        assert_eq!(shape, audio_file);
        ids.push(id);
    }

    for id in &ids {
        let (status, body) = curl(&server, STATUS, id).unwrap();
        assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
        assert_eq!(body["call"]["callId"], **id);
        assert!(body["call"]["status"].is_string(), "{body}");
    }
    let first = server.wait_for_end(&ids[0], "completed");
    assert!(first["duration"].as_i64().is_some_and(|seconds| seconds >= 2), "{first:#}");
    assert!(first["cause"].is_object(), "{first:#}");

    // Ending is idempotent: a call that goes on, one that has ended, the same one again.
    for id in [&ids[1], &ids[0], &ids[1]] {
        let (status, body) = curl(&server, END, id).unwrap();
        assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    }
    server.wait_for_state(&ids[1], &FINAL, std::time::Duration::from_secs(5));

    let (status, body) = curl(&server, HISTORY, "").unwrap();
    assert_eq!(status, 200, "{body}");
    let listed: Vec<&str> =
        body["calls"].as_array().expect("calls").iter().filter_map(|call| call["callId"].as_str()).collect();
    assert_eq!(listed, [&*ids[1], &*ids[0]], "newest first");

    let (status, body) = curl(&server, HEALTH, "").unwrap();
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "{body}");
}

#[test]
fn both_requests_and_all_number_formats_of_the_guide_are_taken() {
    let server = Server::simulated();
    for (number, kind) in [
        ("+1987654321", "PSTN"),
        ("+1234567890", "PSTN"),
        ("1234567890", "PSTN"),
        ("447700900123", "PSTN"),
        ("user@domain.com", "SIP"),
    ] {
        let body = json!({
            "fromNumber": "+1234567890", "toNumber": number,
            "text": "Hello, this is an automated call from your API server.",
        });
        let reply = server.post("/api/calls/initiate", body).expect(200).json();
        assert_eq!(reply["callType"], kind, "{number}: {reply}");
        server.post(&format!("/api/calls/end/{}", reply["callId"].as_str().unwrap()), json!({})).expect(200);
    }
    // The other way to ask, "path/to/audio.mp3", is a placeholder: a file has to be uploaded first.
    let body =
        json!({ "fromNumber": "+1234567890", "toNumber": "+1987654321", "audioFile": "path/to/audio.mp3" });
    let reply = server.post("/api/calls/initiate", body).expect(400).json();
    assert!(reply["code"].as_str().is_some_and(|code| code.starts_with("audio_file")), "{reply}");
}

#[test]
fn history_is_filtered_and_paged() {
    let server = Server::simulated();
    let busy = server.say_to("+12025550101");
    let gone = server.say_to("+12025550107");
    let busy_again = server.say_to("+12125550101");
    server.wait_for_end(&busy, "busy");
    server.wait_for_end(&gone, "failed");
    server.wait_for_end(&busy_again, "busy");

    let ids = |query: &str| -> Vec<String> {
        let reply = server.get(&format!("/api/calls/history?{query}")).expect(200).json();
        let calls = reply["calls"].as_array().expect("calls").clone();
        calls.iter().map(|call| call["callId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("status=busy"), [&*busy_again, &*busy]);
    assert_eq!(ids("to=%2B12025550107"), [&*gone]);
    assert_eq!(ids("from=%2B12025550100&status=failed"), [&*gone]);
    assert_eq!(ids("from=%2B19995550100"), Vec::<String>::new());
    assert_eq!(ids("limit=1"), [&*busy_again]);
    assert_eq!(ids(&format!("limit=2&after={busy_again}")), [&*gone, &*busy]);
}

#[test]
fn the_environment_variables_of_the_guide_make_the_default_trunk() {
    let folder = tempfile::tempdir().unwrap();
    let password = "trunk-password-4711";
    let Some(callee) = Sipp::start(folder.path(), "challenge-401", "udp", &[("password", password)]) else {
        return;
    };
    let mut server = Server::setup()
        .env("TRUNKLINE_COUNTRIES", "US")
        .env("SIP_PROVIDER_HOST", "127.0.0.1")
        .env("SIP_PROVIDER_PORT", callee.port.to_string())
        .env("SIP_USERNAME", "gateway")
        .env("SIP_PASSWORD", password)
        .start();
    server.secret(password);
    let call = server.say_to("+12025550123");
    server.wait_for_end(&call, "completed");
    callee.finishes_content();
    let trunks = server.get("/v1/trunks").expect(200).text();
    assert!(!trunks.contains(password), "{trunks}");
}
