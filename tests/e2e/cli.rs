//! The command line against a running server, through its socket.

use std::process::{Command, Output};

use serde_json::json;

use crate::server::{Server, TRUNKLINE};
use crate::sound;

#[track_caller]
fn run(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = server.command().args(arguments).output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_call_is_shown_and_its_end_is_the_exit_code() {
    let server = Server::simulated();
    let (code, out, err) = run(&server, &["call", "+12025550123", "--say", "Hello from the terminal."]);
    assert_eq!(code, 0, "{out}{err}");
    for word in ["ringing", "in-progress", "Hello from the terminal.", "heard", "recording", "completed"] {
        assert!(out.contains(word), "{word:?} is missing in:\n{out}{err}");
    }
    let path =
        out.lines().find_map(|line| line.strip_prefix("recording: ")).expect("where the recording lies");
    let recording = sound::Recording::read(&std::fs::read(path.trim()).expect("the recording"));
    assert!(recording.sent.rms() > 0.005);

    for (number, expected) in [("+12025550101", 3), ("+12025550103", 5), ("+12025550107", 5), ("12", 2)] {
        let (code, out, err) = run(&server, &["call", number, "--say", "Hello."]);
        assert_eq!(code, expected, "{number}: {out}{err}");
        assert!(err.lines().count() <= 2, "{err}");
    }
}

#[test]
fn no_answer_has_its_own_exit_code() {
    let server = Server::setup().env("TRUNKLINE_RING_TIMEOUT", "2s").start();
    let (code, out, err) = run(&server, &["call", "+12025550102", "--say", "Hello."]);
    assert_eq!(code, 4, "{out}{err}");
}

#[test]
fn a_sound_file_can_be_played() {
    let server = Server::simulated();
    let file = server.folder().join("greeting.wav");
    std::fs::write(&file, sound::tone_wav(800.0, 2.0)).unwrap();
    let (code, out, err) = run(&server, &["call", "+12025550105", "--play", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = run(&server, &["call", "+12025550105", "--play", "not-there.wav"]);
    assert_eq!(code, 2, "{err}");
    let id = server.get("/v1/calls").expect(200).json()["data"][0]["id"].as_str().unwrap().to_owned();
    let heard = server.recording(&id).heard.active();
    assert!((heard.frequency().unwrap() / 800.0 - 1.0).abs() < 0.01);
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let mut server = Server::simulated();
    let (code, out, err) = run(&server, &["keys", "create", "--name", "billing", "--scope", "calls:read"]);
    assert_eq!(code, 0, "{out}{err}");
    let key = out
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .find(|word| word.starts_with("tl_"))
        .unwrap_or_else(|| panic!("no key in {out}"))
        .to_owned();
    server.secret(&key);
    server.request_as(&key, "GET", "/api/calls/history", crate::http::Body::Empty).expect(200);
    let body =
        crate::http::Body::Json(json!({ "fromNumber": "1234567", "toNumber": "+12025550123", "text": "a" }));
    server.request_as(&key, "POST", "/api/calls/initiate", body).expect(403);

    let (code, out, err) = run(&server, &["keys", "list"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("billing") && !out.contains(&key), "{out}");
    let id = out.split_whitespace().collect::<Vec<_>>();
    let line = out.lines().find(|line| line.contains("billing")).unwrap_or_else(|| panic!("{id:?}"));
    let id = line.split_whitespace().find(|word| word.starts_with("key_")).expect("the key's id");
    let (code, out, err) = run(&server, &["keys", "revoke", id]);
    assert_eq!(code, 0, "{out}{err}");
    server.request_as(&key, "GET", "/api/calls/history", crate::http::Body::Empty).expect(401);
}

#[test]
fn trunks_are_added_and_listed_without_their_password() {
    let mut server = Server::simulated();
    let file = server.folder().join("password");
    std::fs::write(&file, "a-trunk-password\n").unwrap();
    server.secret("a-trunk-password");
    let file = file.to_str().unwrap();
    let (code, out, err) = run(
        &server,
        &[
            "trunks",
            "add",
            "acme",
            "--host",
            "127.0.0.1",
            "--port",
            "5099",
            "--username",
            "u",
            "--password-file",
            file,
        ],
    );
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = run(&server, &["trunks", "list"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("acme") && out.contains("sim") && !out.contains("a-trunk-password"), "{out}");
    let database = std::fs::read(server.data().join("trunkline.db")).unwrap();
    let journal = std::fs::read(server.data().join("trunkline.db-wal")).unwrap_or_default();
    for bytes in [database, journal] {
        let found = bytes.windows(16).any(|window| window == b"a-trunk-password");
        assert!(!found, "the password stands in the database in clear");
    }
    let (code, out, err) =
        run(&server, &["trunks", "set", "acme", "--port", "5098", "--set", "channels=3", "ping_s=60"]);
    assert_eq!(code, 0, "{out}{err}");
    let (_, shown, _) = run(&server, &["trunks", "show", "acme"]);
    for word in ["\"port\": 5098", "\"channels\": 3", "\"ping_s\": 60", "\"has_password\": true"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let (code, _, err) = run(&server, &["trunks", "set", "acme", "host=http://x"]);
    assert!(code == 2 && err.contains("give the host alone, such as x"), "{err}");
    let (code, _, err) = run(&server, &["trunks", "set", "acme"]);
    assert!(code == 1 && err.contains("nothing to change"), "{err}");
    // Beyond loopback while SIP is bound to it: refused, and the key to change is named.
    let (code, out, err) = run(&server, &["trunks", "add", "far", "--host", "sip.example.com"]);
    assert_ne!(code, 0, "{out}");
    assert!(err.contains("sip_listen"), "{err}");
}

#[test]
fn doctor_and_check_say_what_is_well() {
    let server = Server::simulated();
    let (code, out, err) = run(&server, &["doctor"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = run(&server, &["check"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn the_socket_and_the_data_are_the_owners_alone() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let server = Server::simulated();
    let entries: Vec<_> = std::fs::read_dir(server.data()).unwrap().flatten().collect();
    let socket = entries
        .iter()
        .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .expect("a socket in the data folder");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::metadata(server.data().join("master.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn help_is_there_without_a_server() {
    for arguments in [
        &["--help"][..],
        &["call", "--help"],
        &["keys", "--help"],
        &["trunks", "--help"],
        &["serve", "--help"],
    ] {
        let output = Command::new(TRUNKLINE).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Usage:"), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(TRUNKLINE)
        .args(["call", "+12025550123", "--say", "Hello."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.lines().count() <= 2 && text.contains("trunkline serve"), "it says what to start: {text}");
}

#[test]
fn demo_places_a_call_and_keeps_serving() {
    let folder = tempfile::tempdir().unwrap();
    let (http, sip, rtp) = (crate::ports::take(1), crate::ports::take(2), crate::ports::take(64));
    let log = folder.path().join("log");
    let mut command = Command::new(TRUNKLINE);
    command
        .arg("demo")
        .current_dir(folder.path())
        .env("TRUNKLINE_HTTP_LISTEN", format!("127.0.0.1:{http}"))
        .env("TRUNKLINE_SIP_LISTEN", format!("127.0.0.1:{sip}"))
        .env("TRUNKLINE_RTP_PORTS", format!("{rtp}-{}", rtp + 63));
    let mut process = crate::tool::Process::start("trunkline demo", &mut command, &log);
    process.wait_for_log("curl", std::time::Duration::from_secs(25));
    // The curl line comes last; give its end the time to be written.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let said = process.log();
    for word in ["ringing", "in-progress", "saying", "heard", "MOS", "recording", "TRUNKLINE_KEY"] {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
    // Whoever interrupts the call has the key all the same.
    let (key, call) = (said.find("TRUNKLINE_KEY=tl_"), said.find("Calling"));
    assert!(key.is_some() && key < call, "the key comes first:\n{said}");
    assert!(process.is_running(), "it keeps serving:\n{said}");
    let url = format!("http://127.0.0.1:{http}/health");
    crate::http::send("GET", &url, &[], crate::http::Body::Empty).expect(200);
    // The key that was shown opens the door.
    let key = said
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .find(|word| word.starts_with("tl_") && word.len() > 20)
        .unwrap_or_else(|| panic!("no key in:\n{said}"));
    let url = format!("http://127.0.0.1:{http}/api/calls/history");
    let reply =
        crate::http::send("GET", &url, &[("X-API-Key", key)], crate::http::Body::Empty).expect(200).json();
    assert_eq!(reply["calls"][0]["status"], "completed", "{reply:#}");
    process.signal("TERM");
    assert!(process.wait(std::time::Duration::from_secs(10)).success());
}
