//! Wrong input on every field and route of document 0: a sentence and a code, and nobody dialled.

use serde_json::{Value, json};

use crate::http::{self, Body, Reply};
use crate::server::Server;
use crate::sound;

/// The refusal of document 0: `success` false, a sentence, a stable code.
#[track_caller]
fn refused(reply: Reply, allowed: &[u16], what: &str) {
    assert!(allowed.contains(&reply.status), "{what}: status {}: {}", reply.status, reply.text());
    let body = reply.json();
    assert_eq!(body["success"], false, "{what}: {body}");
    let sentence = body["error"].as_str().unwrap_or_default();
    assert!(sentence.contains(' ') && sentence.ends_with(['.', '…', '?']), "{what}: no sentence: {body}");
    assert!(!sentence.chars().any(char::is_control), "{what}: control characters in {body}");
    let code = body["code"].as_str().unwrap_or_default();
    assert!(
        !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
        "{what}: no code: {body}"
    );
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({ "fromNumber": "+12025550100", "toNumber": "+12025550123", "text": "Hello." });
    if field == "audioFile" {
        body.as_object_mut().unwrap().remove("text");
    }
    body[field] = value;
    body
}

#[test]
fn every_field_of_initiate() {
    let server = Server::simulated();
    // Files that are there, and are no sound; and one that is sound, but elsewhere.
    let uploads = server.data().join("uploads");
    std::fs::write(uploads.join("noise.mp3"), vec![0x5a; 4096]).unwrap();
    std::fs::write(uploads.join("empty.wav"), b"").unwrap();
    std::fs::write(server.data().join("elsewhere.wav"), sound::tone_wav(500.0, 1.0)).unwrap();
    std::os::unix::fs::symlink(server.data().join("elsewhere.wav"), uploads.join("link.wav")).unwrap();

    let long = "9".repeat(300_000);
    let wrong_types = [json!(12025550123u64), json!(true), json!(["+12025550123"]), json!({ "number": "1" })];
    let mut cases: Vec<(&str, Value)> = Vec::new();
    for field in ["fromNumber", "toNumber", "text", "audioFile"] {
        cases.extend(wrong_types.iter().map(|value| (field, value.clone())));
        cases.extend([(field, json!("")), (field, json!("   ")), (field, json!(long))]);
        cases.extend([(field, json!("+1202555\u{0}0123")), (field, json!("a\u{7}b\u{1b}[2J"))]);
    }
    for number in [
        "hello",
        "+",
        "12",
        "123456",
        "+1234567890123456",
        "12025550123x",
        "++12025550123",
        "+1202555O123",
        "١٢٠٢٥٥٥٠١٢٣",
        "+12025550123\r\nX-Injected: yes",
        "+1202555\n0123",
        "@",
        "user@",
        "@domain.com",
        "sip:",
        "sips:",
        "sip:@",
        "http://example.com",
        "../../etc/passwd",
        "user@domain.com\r\nVia: x",
        "a b@c d",
        "user@do main.com",
        "<sip:a@b>",
        "-7",
        "0x1234567",
    ] {
        cases.push(("toNumber", json!(number)));
    }
    for number in ["hello\r\nFrom: x", "\"><script>", "+1202\r\n5550100", "a b"] {
        cases.push(("fromNumber", json!(number)));
    }
    for file in [
        "../trunkline.db",
        "uploads/../../trunkline.db",
        "/etc/passwd",
        "uploads//etc/passwd",
        "uploads/",
        "uploads",
        ".",
        "..",
        "uploads/..",
        "../uploads/../elsewhere.wav",
        "..\\elsewhere.wav",
        "file:///etc/passwd",
        "http://127.0.0.1/a.mp3",
        "uploads/nobody-uploaded-this.mp3",
        "uploads/noise.mp3",
        "noise.mp3",
        "uploads/empty.wav",
        "uploads/link.wav",
        "uploads/audio_1640995200000.mp3\u{0}.wav",
        "path/to/audio.mp3",
        "~",
        "uploads/%2e%2e/elsewhere.wav",
    ] {
        cases.push(("audioFile", json!(file)));
    }
    cases.push(("text", json!("word ".repeat(1001))));

    for (field, value) in cases {
        let shown: String = value.to_string().chars().take(60).collect();
        let reply = server.post("/api/calls/initiate", with(field, value));
        refused(reply, &[400], &format!("{field} = {shown}"));
    }

    for (what, body) in [
        ("nothing", json!({})),
        ("no toNumber", json!({ "fromNumber": "+12025550100", "text": "Hello." })),
        ("no fromNumber", json!({ "toNumber": "+12025550123", "text": "Hello." })),
        ("null toNumber", with("toNumber", Value::Null)),
        ("null text", with("text", Value::Null)),
        ("neither text nor file", json!({ "fromNumber": "+12025550100", "toNumber": "+12025550123" })),
        ("text and file", {
            let mut body = with("text", json!("Hello."));
            body["audioFile"] = json!("uploads/audio_1640995200000.mp3");
            body
        }),
        ("a list", json!([1, 2])),
        ("a string", json!("call +12025550123")),
        ("null", Value::Null),
    ] {
        refused(server.post("/api/calls/initiate", body), &[400], what);
    }
    assert_eq!(server.history_len(), 0, "nobody was dialled");
}

#[test]
fn bodies_that_are_no_json() {
    let server = Server::simulated();
    let deep = "[".repeat(100_000);
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("half", br#"{"toNumber": "+120255"#),
        ("text", b"toNumber=+12025550123"),
        ("no UTF-8", b"{\"toNumber\": \"\xff\xfe\"}"),
        ("deep", deep.as_bytes()),
        ("two values", br#"{"toNumber":"+12025550123","fromNumber":"1","text":"a"} {}"#),
        ("twice the same field", br#"{"toNumber":"+12025550123","toNumber":"+12025550124","text":"a"}"#),
    ] {
        let reply =
            server.request("POST", "/api/calls/initiate", Body::Raw("application/json", bytes.to_vec()));
        refused(reply, &[400], what);
    }
    let huge = vec![b' '; 3 << 20];
    // Read to its end: the reply comes through, though the body is not taken.
    let reply = server.request("POST", "/api/calls/initiate", Body::Raw("application/json", huge.clone()));
    refused(reply, &[413], "a huge body");
    let url = server.url("/api/calls/initiate");
    let reply = http::send("POST", &url, &[("X-API-Key", "wrong")], Body::Raw("application/json", huge));
    refused(reply, &[401], "a huge body with a wrong key");
    let reply = server.request("POST", "/api/calls/initiate", Body::Raw("text/plain", b"{}".to_vec()));
    refused(reply, &[400, 415], "text/plain");
    assert_eq!(server.history_len(), 0);
}

#[test]
fn uploads_that_are_no_sound() {
    let server = Server::simulated();
    let wav = sound::tone_wav(500.0, 1.0);
    let before = std::fs::read_dir(server.data().join("uploads")).unwrap().count();
    let file = |field: &str, name: &str, bytes: &[u8]| {
        server.request("POST", "/api/audio/upload", Body::File(field.into(), name.into(), bytes.to_vec()))
    };
    refused(file("audio", "a.mp3", b""), &[400], "an empty file");
    refused(file("audio", "a.mp3", b"This is text, not sound."), &[400], "text");
    refused(file("audio", "a.wav", &wav[..30]), &[400], "half a header");
    refused(
        file("audio", "a.wav", b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff"),
        &[400],
        "a lying header",
    );
    refused(file("audio", "a.mp3", &[0x7f; 65536]), &[400], "noise");
    refused(file("file", "a.wav", &wav), &[400], "another field");
    refused(file("audio", "a.wav", &vec![0; 11 << 20]), &[413], "a file of 11 MiB");
    refused(server.post("/api/audio/upload", json!({ "audio": "a" })), &[400, 415], "JSON");
    let broken =
        Body::Raw("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-da".to_vec());
    refused(server.request("POST", "/api/audio/upload", broken), &[400], "half a form");
    let after = std::fs::read_dir(server.data().join("uploads")).unwrap().count();
    assert_eq!(after, before, "nothing was kept");

    // A name that would lead elsewhere is only a name.
    let reply = file("audio", "../../../tmp/evil.wav", &wav).expect(200).json();
    let stored = reply["audioFile"].as_str().unwrap();
    assert!(stored.starts_with("uploads/audio_") && !stored.contains(".."), "{stored}");
}

#[test]
fn ids_and_queries() {
    let server = Server::simulated();
    for id in [
        "nonsense",
        "000000000000000000000000",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%0d%0aX-Injected:%20yes",
        "-1",
        "1%27%20OR%20%271%27=%271",
        "%ff%fe",
        &"a".repeat(5000),
    ] {
        refused(server.get(&format!("/api/calls/status/{id}")), &[400, 404], &format!("status/{id:.40}"));
        let reply = server.post(&format!("/api/calls/end/{id}"), json!({}));
        refused(reply, &[400, 404], &format!("end/{id:.40}"));
    }
    for query in [
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=many",
        "limit=99999999999999999999",
        "status=nonsense",
        "status=%00",
        "after=nonsense",
        "limit=1&limit=2",
    ] {
        refused(server.get(&format!("/api/calls/history?{query}")), &[400], query);
    }
    // Filters that match nothing are no error, whatever stands in them.
    for query in ["to=%27%20OR%201=1--", "from=%00", "to=..%2f", "to="] {
        let reply = server.get(&format!("/api/calls/history?{query}"));
        assert!([200, 400].contains(&reply.status), "{query}: {} {}", reply.status, reply.text());
    }
    refused(server.get("/api/calls/initiate"), &[405], "GET initiate");
    refused(server.post("/api/calls/history", json!({})), &[405], "POST history");
    refused(server.get("/api/calls/nothing"), &[404], "no such route");
}

#[test]
fn no_key_or_a_wrong_one() {
    let server = Server::simulated();
    let body = with("text", json!("Hello."));
    for (method, path) in [
        ("POST", "/api/calls/initiate"),
        ("GET", "/api/calls/status/000000000000000000000000"),
        ("POST", "/api/calls/end/000000000000000000000000"),
        ("GET", "/api/calls/history"),
        ("POST", "/api/audio/upload"),
    ] {
        let wrong = "tl_0000000000000000000000000000000000000000";
        let almost = format!("{}x", server.key);
        let half = &server.key[..20];
        for headers in [
            vec![],
            vec![("X-API-Key", "")],
            vec![("X-API-Key", wrong)],
            vec![("X-API-Key", &*almost)],
            vec![("X-API-Key", half)],
            vec![("Authorization", "Basic dHJ1bmtsaW5lOg==")],
            vec![("Authorization", "Bearer ")],
        ] {
            let what = format!("{method} {path} with {headers:?}");
            let reply = http::send(method, &server.url(path), &headers, Body::Json(body.clone()));
            let text = reply.text();
            refused(reply, &[401], &what);
            if headers.is_empty() {
                assert!(text.contains("X-API-Key"), "the header is named: {text}");
            }
        }
    }
    assert_eq!(server.history_len(), 0);
}
