//! How a message looks: short names, long headers, and a byte at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::json;

use super::{Body, Bridged, Over, Script, Way, answers, calls, each_way, hear_each_other, office, rings};
use crate::odd::one_byte_at_a_time;
use crate::peers::sipp::Sipp;
use crate::peers::voice::Voice;
use crate::ports;

#[test]
fn short_names_are_understood_from_both_sides() {
    each_way(|way| {
        let caller = way.caller().compact().invites("Supported: timer\nSession-Expires: 600\n", Body::Sdp);
        let caller = caller.gets_with("200", &[("Session-Expires:", "600")]).acks(Body::None);
        let callee = Script::callee().compact().gets("INVITE").answers("180 Ringing", "", Body::None);
        let callee = callee.answers("200 OK", "", Body::Sdp).gets("ACK").gets_bye();
        let Some(bridged) = Bridged::start(way, caller.pauses(1_500).hangs_up(), callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// One field of 8 KB and a hundred others, from both sides.
#[test]
fn long_headers_are_carried() {
    let mut headers = format!("X-Long: {}\n", "abcdefgh".repeat(1024));
    for n in 0..100 {
        headers.push_str(&format!("X-Filler-{n}: {}\n", "0123456789".repeat(10)));
    }
    each_way(|way| {
        let caller = way.caller().invites(&headers, Body::Sdp).gets("200").acks(Body::None);
        let callee = rings().answers("200 OK", &headers, Body::Sdp).gets("ACK").gets_bye();
        let Some(bridged) = Bridged::start(way, caller.pauses(1_500).hangs_up(), callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// What is passed on makes our INVITE longer than a datagram should be: a phone still gets it where it registered.
#[test]
fn a_long_name_is_passed_on() {
    // SIPp keeps no more than 2 KB of a field.
    let name = "A name as long as a novel. ".repeat(60);
    each_way(|way| {
        let caller = way.caller().named(&name).invites("", Body::Sdp).gets("200").acks(Body::None);
        let Some(bridged) = Bridged::start(way, caller.pauses(1_500).hangs_up(), answers().gets_bye()) else {
            return;
        };
        bridged.ends_heard("completed", "normal");
    });
}

/// An INVITE from the carrier, for a number that nobody has, with `filler` in it.
fn invite(transport: &str, port: u16, call: &str, filler: &str) -> String {
    format!(
        "INVITE sip:+12025550177@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 127.0.0.1:{port};branch=z9hG4bK{call}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+12025550199@127.0.0.1>;tag=1\r\nTo: <sip:+12025550177@127.0.0.1>\r\n\
         Call-ID: {call}\r\nCSeq: 1 INVITE\r\nContact: <sip:carrier@127.0.0.1:{port}>\r\n\
         {filler}Content-Length: 0\r\n\r\n"
    )
}

/// What is longer than anything we read is refused or the connection ends; the next call goes through.
#[test]
fn headers_beyond_every_limit_hurt_nobody() {
    let Some((server, port)) = office(Way::In, "udp", json!({})) else { return };
    let voices = [Voice::start(440.0), Voice::start(650.0)];
    let long = |length: usize| format!("X-Long: {}\r\n", "a".repeat(length));
    let many = "X: 1\r\n".repeat(10_000);

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    let own = socket.local_addr().expect("its address").port();
    // Nobody has that number: what was read is refused for that.
    for (call, filler, status) in [("long", long(64_500), "404"), ("many", many.clone(), "513")] {
        socket.send_to(invite("UDP", own, call, &filler).as_bytes(), server.sip()).expect("sent");
        let mut buffer = [0; 65_536];
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with(&format!("SIP/2.0 {status} ")), "{call}: {text}");
    }
    for (call, filler) in [("stream", long(10_000_000)), ("streams", many.repeat(20))] {
        let mut stream = TcpStream::connect(server.sip()).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        // Not all of it may be taken any more.
        let _ = stream.write_all(invite("TCP", own, call, &filler).as_bytes());
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let is_open = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!is_open && answer.is_empty(), "{call}: {}", String::from_utf8_lossy(&answer));
    }

    let folder = server.folder();
    let callee = Sipp::play(folder, "callee", &answers().gets_bye().xml(voices[1].port), "udp", port, None)
        .expect("SIPp");
    let caller = calls(Way::In).pauses(1_500).hangs_up().xml(voices[0].port);
    let own = ports::take(1);
    let caller = Sipp::play(folder, "caller", &caller, "udp", own, Some(server.sip())).expect("SIPp");
    caller.finishes_content();
    callee.finishes_content();
    hear_each_other(&voices);
    Over::of(server, "completed", "normal");
}

#[test]
fn tcp_may_come_in_fragments_of_one_byte_from_both_sides() {
    let Some((mut server, _)) = office(Way::Out, "tcp", json!({})) else { return };
    let voices = [Voice::start(440.0), Voice::start(650.0)];
    let port = ports::take(1);
    let callee =
        Sipp::play(server.folder(), "callee", &answers().gets_bye().xml(voices[1].port), "tcp", port, None)
            .expect("SIPp");
    let near = one_byte_at_a_time(port);
    server.trunk(near, json!({ "name": "slow", "transport": "tcp" }));
    let caller = calls(Way::Out).pauses(1_500).hangs_up().xml(voices[0].port);
    let target = (Ipv4Addr::LOCALHOST, one_byte_at_a_time(server.sip().port())).into();
    let caller =
        Sipp::play(server.folder(), "caller", &caller, "tcp", ports::take(1), Some(target)).expect("SIPp");
    caller.finishes_content();
    callee.finishes_content();
    hear_each_other(&voices);
    Over::of(server, "completed", "normal");
}
