//! Text to speech: with the offline engine, and with doubles of the services on the net.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::server::Server;
use crate::{sound, tool};

#[test]
fn what_is_said_is_heard() {
    if tool::find("flite", "flite").is_none() {
        return;
    }
    let server = Server::simulated();
    let text = "Good morning. Your table for four is ready at half past seven.";
    let id =
        server.initiate(json!({ "fromNumber": "+12025550100", "toNumber": "+12025550105", "text": text }));
    let call = server.wait_for_end(&id, "completed");
    let recording = server.recording(&id);
    let sent = recording.sent.active();
    assert!((2.0..8.0).contains(&sent.seconds()), "{} s", sent.seconds());
    assert!(sent.rms() > 0.01, "{}", sent.rms());
    let ms = call["durationMs"].as_i64().unwrap() as f64;
    assert!(
        ms / 1000.0 > sent.seconds() && ms / 1000.0 < sent.seconds() + 3.0,
        "{} s in {ms} ms",
        sent.seconds()
    );
    let heard = recording.heard.active();
    assert!((heard.seconds() / sent.seconds() - 1.0).abs() < 0.1, "the echo brings it back whole");
}

#[test]
fn other_languages_and_several_steps() {
    if tool::find("espeak-ng", "espeak-ng").is_none() || tool::find("flite", "flite").is_none() {
        return;
    }
    let server = Server::simulated();
    let flow = json!([
        { "say": { "text": "Guten Morgen, Ihr Tisch ist frei.", "language": "de-DE" } },
        { "pause": { "seconds": 1.0 } },
        { "say": { "text": "Good bye." } },
    ]);
    let order = json!({ "to": "+12025550105", "from": "+12025550100", "flow": flow });
    let id = server.post("/v1/calls", order).expect(201).json()["id"].as_str().unwrap().to_owned();
    server.wait_for_end(&id, "completed");
    let sent = server.recording(&id).sent.active();
    assert!(sent.seconds() > 2.5 && sent.rms() > 0.01, "{} s, {}", sent.seconds(), sent.rms());
    assert!((900.0..1800.0).contains(&sent.longest_gap_ms()), "the pause: {} ms", sent.longest_gap_ms());
}

#[test]
fn text_is_never_a_command() {
    if tool::find("flite", "flite").is_none() {
        return;
    }
    let server = Server::simulated();
    let target = server.folder().join("made-by-a-shell");
    for text in [
        format!("$(touch {0}) `touch {0}`; touch {0} | touch {0}", target.display()),
        "--help".to_owned(),
        "-o /tmp/x.wav -f /etc/passwd".to_owned(),
        "100 % äöü 漢字 🙂 \"quoted\" 'and' \\ done".to_owned(),
    ] {
        let body = json!({ "fromNumber": "+12025550100", "toNumber": "+12025550101", "text": text });
        let reply = server.post("/api/calls/initiate", body).expect(200).json();
        server.wait_for_end(reply["callId"].as_str().unwrap(), "busy");
    }
    assert!(!target.exists(), "a shell ran the text");
}

#[test]
fn an_openai_compatible_server_speaks() {
    let speaker = Double::start(200, "audio/wav", sound::tone_wav(540.0, 2.0));
    let mut server = Server::setup()
        .env("TRUNKLINE_SPEECH_ENGINE", "openai")
        .env("TRUNKLINE_SPEECH_OPENAI_URL", &speaker.url)
        .env("OPENAI_API_KEY", "sk-double-0123456789")
        .start();
    server.secret("sk-double-0123456789");
    let id = server.say_to("+12025550105");
    server.wait_for_end(&id, "completed");
    let sent = server.recording(&id).sent.active();
    assert!((sent.frequency().unwrap() / 540.0 - 1.0).abs() < 0.01);
    let asked = speaker.asked_for("Hello.");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("POST /v1/audio/speech HTTP/1.1"), "{}", asked[0]);
    assert!(asked[0].to_lowercase().contains("authorization: bearer sk-double-0123456789"), "{}", asked[0]);
    // The same words again come from the cache.
    let id = server.say_to("+12025550101");
    server.wait_for_end(&id, "busy");
    assert_eq!(speaker.asked_for("Hello.").len(), 1);
}

#[test]
fn a_speech_service_that_fails_is_said_so_and_nobody_is_dialled() {
    let body =
        br#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota"}}"#.to_vec();
    let speaker = Double::start(429, "application/json", body);
    let server = Server::setup()
        .env("TRUNKLINE_SPEECH_ENGINE", "openai")
        .env("TRUNKLINE_SPEECH_OPENAI_URL", &speaker.url)
        .env("OPENAI_API_KEY", "sk-double-0123456789")
        .start();
    let body = json!({ "fromNumber": "+12025550100", "toNumber": "+12025550123", "text": "Hello." });
    let reply = server.post("/api/calls/initiate", body);
    assert!([502, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
    let reply = reply.json();
    assert_eq!(reply["code"], "tts_failed", "{reply}");
    assert_eq!(server.history_len(), 0);
}

/// An HTTP server that gives everyone the same answer and keeps what it was asked.
struct Double {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Double {
    fn start(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !whole(&request) {
                    match stream.read(&mut chunk) {
                        Ok(0) | Err(_) => break,
                        Ok(length) => request.extend_from_slice(&chunk[..length]),
                    }
                }
                keep.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { url, asked }
    }

    /// The requests for a text; others may come, such as for the greeting of simulated callees.
    fn asked_for(&self, text: &str) -> Vec<String> {
        let text = format!("\"{text}\"");
        self.asked.lock().unwrap().iter().filter(|request| request.contains(&text)).cloned().collect()
    }
}

/// Whether a request has come to the end its Content-Length promises.
fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>())
        })
        .and_then(Result::ok)
        .unwrap_or(0);
    body.len() >= length
}
