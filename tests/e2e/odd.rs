//! Peers with odd but legal manners, and some with illegal ones: the call goes on, ends once and rightly.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::sipp::Sipp;
use crate::server::Server;
use crate::sound;

const CALLEE: &str = "+12025550123";

/// Plays two seconds of a tone to `scenario`; the server and the call when both are through.
fn play_to(scenario: &str, settings: Value, end: &str) -> Option<(Server, Value)> {
    let mut server = Server::for_trunks();
    let callee = Sipp::start(server.folder(), scenario, "udp", &[])?;
    server.trunk(callee.port, json!({ "settings": settings }));
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 2.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, end);
    callee.finishes_content();
    Some((server, call))
}

/// Both sides were heard: our tone went out whole, theirs came in.
fn assert_heard(server: &Server, call: &Value) {
    let recording = server.recording(call["callId"].as_str().unwrap());
    let sent = recording.sent.active();
    assert!((sent.frequency().unwrap() / 700.0 - 1.0).abs() < 0.005, "{:?}", sent.frequency());
    assert!((1.9..2.1).contains(&sent.seconds()), "{} s", sent.seconds());
    let heard = recording.heard.active();
    assert!((heard.frequency().unwrap() / 1004.0 - 1.0).abs() < 0.01, "{:?}", heard.frequency());
    assert!(heard.seconds() > 1.2, "{} s", heard.seconds());
}

#[test]
fn the_call_goes_on_with_sound_both_ways() {
    let table = [
        ("prack", json!({ "reliable_provisional": "supported" })),
        ("forks", json!({})),
        ("compact", json!({})),
        ("stray", json!({})),
        ("min-se", json!({ "session_timer": { "enabled": true, "expires_s": 1800 } })),
    ];
    for (scenario, settings) in table {
        let Some((server, call)) = play_to(scenario, settings, "completed") else { return };
        assert_heard(&server, &call);
    }
}

#[test]
fn a_redirection_is_not_followed() {
    let Some((_, call)) = play_to("redirect", json!({}), "failed") else { return };
    assert_eq!(call["cause"]["code"], "redirected", "{call:#}");
    assert!(call["cause"]["hint"].is_string(), "{call:#}");
}

#[test]
fn an_answer_that_crosses_our_cancel_is_hung_up() {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), "crossing", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let id = server.say_to(CALLEE);
    server.wait_for_state(&id, &["ringing"], Duration::from_secs(5));
    server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200);
    server.wait_for_end(&id, "canceled");
    callee.finishes_content();
}

#[test]
fn a_second_bye_is_answered_and_changes_nothing() {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), "double-bye", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 20.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(call["hangupBy"], "callee", "{call:#}");
    let ends = server.events(&id).iter().filter(|(kind, _)| kind == "finished").count();
    assert_eq!(ends, 1);
}

#[test]
fn a_reinvite_without_sdp_is_offered_to_and_hold_is_kept() {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), "reinvite", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 4.0));
    let id = server.play_to(CALLEE, &file);
    server.wait_for_end(&id, "completed");
    callee.finishes_content();
}

/// What a callee answers to `request`: the headers that every response repeats, and what is given.
pub fn response(request: &str, status: &str, more: &str) -> String {
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))) {
        let tag = if line.starts_with("To:") && !line.contains(";tag=") { ";tag=callee" } else { "" };
        text.push_str(&format!("{line}{tag}\r\n"));
    }
    text + more
}

#[test]
fn a_lost_ack_is_sent_again() {
    let callee = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    callee.set_read_timeout(Some(Duration::from_secs(15))).expect("a time-out");
    let port = callee.local_addr().expect("its address").port();
    let receive = |method: &str| -> (String, SocketAddr) {
        let mut buffer = [0; 4096];
        let (length, from) = callee.recv_from(&mut buffer).expect("a message in time");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with(method), "{method} was expected: {text}");
        (text, from)
    };
    let mut server = Server::for_trunks();
    server.trunk(port, json!({}));
    let id = server.say_to(CALLEE);
    let (invite, from) = receive("INVITE");
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    let more = format!(
        "Contact: <sip:callee@127.0.0.1:{port}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let answer = response(&invite, "200 OK", &more);
    callee.send_to(answer.as_bytes(), from).expect("sent");
    let (first, _) = receive("ACK");
    // As if it had been lost: the 200 comes again, and so does the ACK.
    for _ in 0..3 {
        callee.send_to(answer.as_bytes(), from).expect("sent");
        assert_eq!(receive("ACK").0, first);
    }
    let (bye, from) = receive("BYE");
    callee.send_to(response(&bye, "200 OK", "Content-Length: 0\r\n\r\n").as_bytes(), from).expect("sent");
    let call = server.wait_for_end(&id, "completed");
    assert_eq!(call["cause"]["code"], "flow_done", "{call:#}");
}

/// Carries one connection on to `port`, a byte at a time in both directions.
pub fn one_byte_at_a_time(port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let own = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let (near, _) = listener.accept().expect("a connection");
        let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
        let crumble = |mut from: TcpStream, mut to: TcpStream| {
            to.set_nodelay(true).expect("no delay");
            let mut byte = [0];
            while from.read_exact(&mut byte).is_ok() && to.write_all(&byte).is_ok() {}
            let _ = to.shutdown(Shutdown::Both);
        };
        let ends = (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
        let back = std::thread::spawn(move || crumble(ends.1, ends.0));
        crumble(near, far);
        let _ = back.join();
    });
    own
}

#[test]
fn tcp_may_come_in_fragments_of_one_byte() {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), "answer", "tcp", &[]) else { return };
    let port = one_byte_at_a_time(callee.port);
    server.trunk(port, json!({ "transport": "tcp" }));
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 2.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_heard(&server, &call);
}
