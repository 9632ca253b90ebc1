//! Who guesses passwords is shut out; who knows one is not, not even at the same address.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sip::digest::{Algorithm, Client, Credentials};

use crate::server::Server;
use crate::tool;

const PASSWORD: &str = "correct horse battery";

/// One REGISTER of alice's from `source`, sent again each half second; when it was granted.
fn register(server: SocketAddr, source: &str, limit: Duration) -> Option<Duration> {
    let (granted, after) = register_with(server, source, PASSWORD, limit)?;
    granted.then_some(after)
}

/// The same with some password: whether it was granted, and when that was said; none where nothing was.
fn register_with(
    server: SocketAddr,
    source: &str,
    password: &str,
    limit: Duration,
) -> Option<(bool, Duration)> {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let own = socket.local_addr().unwrap();
    let began = Instant::now();
    let ask = |cseq: u32, authorization: &str| {
        let request = format!(
            "REGISTER sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@{server}>;tag=1\r\nTo: <sip:alice@{server}>\r\n\
             Call-ID: {own}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:alice@{own}>\r\nExpires: 600\r\n\
             {authorization}Content-Length: 0\r\n\r\n"
        );
        let mut buffer = [0; 4096];
        while began.elapsed() < limit {
            socket.send_to(request.as_bytes(), server).unwrap();
            if let Ok(length) = socket.recv(&mut buffer) {
                return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
        None
    };
    let first = ask(1, "")?;
    let challenge = first.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: "))?;
    let mut client = Client::new(Credentials {
        username: "alice".into(),
        password: password.into(),
        realm: None,
        algorithm: Algorithm::Md5,
    });
    assert!(client.challenged([challenge].into_iter()));
    let answer = client.authorize("REGISTER", &format!("sip:{server}"), b"", "c").unwrap();
    let second = ask(2, &format!("Authorization: {answer}\r\n"))?;
    Some((second.starts_with("SIP/2.0 200 "), began.elapsed()))
}

#[test]
fn a_guesser_is_ignored_and_alice_behind_the_same_address_is_not() {
    let Some(svcrack) = tool::find("svcrack", "sipvicious") else { return };
    // This machine is trusted unless the settings say otherwise.
    let server = Server::setup().env("TRUNKLINE_SHIELD_TRUSTED", "192.0.2.1").start();
    server.post("/v1/users", json!({ "username": "alice", "password": PASSWORD })).expect(201);
    let sip = server.sip();
    let words = server.folder().join("words");
    let guesses: String = (0..20_000).map(|n| format!("guess{n}\n")).collect();
    std::fs::write(&words, guesses + PASSWORD + "\n").unwrap();
    let mut guesser = Command::new(svcrack)
        .args(["-u", "alice", "-d"])
        .arg(&words)
        .args(["-p", &sip.port().to_string(), "127.0.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let shielded = || server.get("/v1/sip/shield").expect(200).json();
    let is_ignored = || {
        let list = shielded();
        let source = list["data"].as_array()?.iter().find(|it| it["source"] == "127.0.0.1")?.clone();
        (source["level"] == "ignored").then_some(source)
    };
    let source = tool::wait_for("the guesser to be ignored", Duration::from_secs(20), is_ignored);
    let guessed = source["why"]["wrong_password"].as_u64().unwrap_or_default();
    assert!(guessed < 500, "{source:#}");
    let elsewhere = register(sip, "127.0.0.2", Duration::from_secs(5));
    assert!(elsewhere.is_some_and(|after| after < Duration::from_secs(2)), "{elsewhere:?}");
    assert!(register(sip, "127.0.0.1", Duration::from_secs(25)).is_some(), "alice behind the same address");
    guesser.kill().unwrap();
    guesser.wait().unwrap();
    let metrics = server.get("/metrics").expect(200).text();
    let ignored = "trunkline_shield_dropped_total{reason=\"ignored\"} ";
    let dropped = metrics.lines().find_map(|line| line.strip_prefix(ignored)?.parse::<u64>().ok());
    assert!(dropped.is_some_and(|dropped| dropped > 0), "{metrics}");
    server.request("DELETE", "/v1/sip/shield", crate::http::Body::Empty).expect(204);
    assert!(register(sip, "127.0.0.1", Duration::from_secs(2)).is_some());
}

#[test]
fn another_password_opens_what_guessing_at_the_old_one_had_shut() {
    let server = Server::setup().env("TRUNKLINE_SHIELD_TRUSTED", "192.0.2.1").start();
    server.post("/v1/users", json!({ "username": "alice", "password": PASSWORD })).expect(201);
    let limit = Duration::from_millis(700);
    let guess = |n: usize| register_with(server.sip(), &format!("127.0.1.{n}"), "not the password", limit);
    // From many places at once, none of which does anything wrong by itself.
    let guesses = (1..100).take_while(|n| guess(*n).is_some()).count();
    assert!((10..90).contains(&guesses), "{guesses}");
    assert!(register(server.sip(), "127.0.2.1", limit).is_none(), "alice in a new place");
    let password = "staple battery horse";
    server.post("/v1/users/alice/password", json!({ "password": password })).expect(200);
    let granted = register_with(server.sip(), "127.0.2.2", password, Duration::from_secs(5));
    assert!(granted.is_some_and(|(granted, _)| granted), "{granted:?}");
}
