//! SIPp as the callee behind a trunk: each way a call can go, judged by SIPp on its side and by the API on ours.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::sipp::Sipp;
use crate::ports;
use crate::server::Server;
use crate::sound;

const CALLEE: &str = "+12025550123";

/// A server with `scenario` behind its default trunk; `None` where SIPp is not installed.
fn against(scenario: &str, values: &[(&str, &str)], trunk: Value) -> Option<(Server, Sipp)> {
    let mut server = Server::for_trunks();
    let transport = trunk["transport"].as_str().unwrap_or("udp").to_owned();
    let callee = Sipp::start(server.folder(), scenario, &transport, values)?;
    server.trunk(callee.port, trunk);
    Some((server, callee))
}

fn answers_and_both_sides_are_heard(transport: &str) {
    let Some((server, callee)) = against("answer", &[], json!({ "transport": transport })) else { return };
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 3.0));
    let id = server.play_to(CALLEE, &file);
    server.wait_for_state(&id, &["ringing", "in-progress"], Duration::from_secs(5));
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(call["trunk"], "carrier", "{call:#}");
    let ms = call["durationMs"].as_i64().unwrap();
    assert!((3000..5000).contains(&ms), "the clip, half a second, and the end: {call:#}");

    let recording = server.recording(&id);
    let sent = recording.sent.active();
    assert!((sent.frequency().unwrap() / 700.0 - 1.0).abs() < 0.005);
    assert!((2.9..3.1).contains(&sent.seconds()), "{} s", sent.seconds());
    let heard = recording.heard.active();
    assert!((heard.frequency().unwrap() / 1004.0 - 1.0).abs() < 0.01, "{:?}", heard.frequency());
    assert!(heard.seconds() > 2.5, "{} s", heard.seconds());
}

#[test]
fn answers_over_udp() {
    answers_and_both_sides_are_heard("udp");
}

#[test]
fn answers_over_tcp() {
    answers_and_both_sides_are_heard("tcp");
}

#[test]
fn refusals_keep_their_meaning() {
    let table = [
        ("486 Busy Here", "busy", "busy"),
        ("600 Busy Everywhere", "busy", "busy"),
        ("603 Decline", "failed", "declined"),
        ("404 Not Found", "failed", "unallocated_number"),
        ("480 Temporarily Unavailable", "no-answer", "unavailable"),
        ("403 Forbidden", "failed", "carrier_forbidden"),
        ("488 Not Acceptable Here", "failed", "media_incompatible"),
        ("503 Service Unavailable", "failed", "carrier_congestion"),
        ("499 Unheard Of", "failed", "carrier_error"),
    ];
    let mut server = Server::for_trunks();
    let mut running = Vec::new();
    for (index, (refusal, state, code)) in table.into_iter().enumerate() {
        let Some(callee) = Sipp::start(server.folder(), "refuse", "udp", &[("refusal", refusal)]) else {
            return;
        };
        let name = format!("provider-{index}");
        // One trunk at a time, so that none is a second attempt for another.
        server.trunk(callee.port, json!({ "name": name }));
        let id = server.say_to(CALLEE);
        let call = server.wait_for_end(&id, state);
        assert_eq!(call["cause"]["code"], code, "{refusal}: {call:#}");
        let status: i64 = refusal[..3].parse().unwrap();
        assert_eq!(call["cause"]["sipStatus"], status, "{refusal}: {call:#}");
        assert!(call["cause"]["message"].as_str().is_some_and(|text| text.contains(' ')), "{call:#}");
        server.request("DELETE", &format!("/v1/trunks/{name}"), crate::http::Body::Empty).expect(204);
        running.push(callee);
    }
    for callee in running {
        callee.finishes_content();
    }
}

#[test]
fn no_answer_until_our_timer_cancels() {
    let Some((server, callee)) = against("ring", &[], json!({})) else { return };
    let order = json!({ "to": CALLEE, "say": "Hello.", "ring_timeout_s": 2 });
    let reply = server.post("/v1/calls", order).expect(201).json();
    let id = reply["id"].as_str().unwrap();
    server.wait_for_state(id, &["ringing"], Duration::from_secs(3));
    server.wait_for_end(id, "no-answer");
    callee.finishes_content();
}

#[test]
fn ending_a_ringing_call_sends_cancel() {
    let Some((server, callee)) = against("ring", &[], json!({})) else { return };
    let id = server.say_to(CALLEE);
    server.wait_for_state(&id, &["ringing"], Duration::from_secs(5));
    server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200);
    server.wait_for_end(&id, "canceled");
    callee.finishes_content();
}

#[test]
fn ending_an_answered_call_sends_bye() {
    let Some((server, callee)) = against("answer", &[], json!({})) else { return };
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 20.0));
    let id = server.play_to(CALLEE, &file);
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    let reply = server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200).json();
    assert_eq!(reply["success"], true);
    let call = server.wait_for_end(&id, "completed");
    assert_eq!(call["hangupBy"], "caller", "{call:#}");
    callee.finishes_content();
}

#[test]
fn a_challenge_is_answered_with_the_right_digest() {
    for scenario in ["challenge-401", "challenge-407"] {
        let password = "the right: password, with \"quotes\"".replace('"', "'");
        let trunk = json!({ "username": "gateway", "password": password });
        let Some((server, callee)) = against(scenario, &[("password", &password)], trunk) else { return };
        let id = server.say_to(CALLEE);
        server.wait_for_end(&id, "completed");
        callee.finishes_content();
    }
}

#[test]
fn a_wrong_password_is_said_so_and_tried_once() {
    let trunk = json!({ "username": "gateway", "password": "wrong-password" });
    let Some((server, callee)) = against("challenge-401", &[("password", "right-password")], trunk) else {
        return;
    };
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    assert_eq!(call["cause"]["sipStatus"], 403, "{call:#}");
    let invites = callee.messages().matches("\nINVITE sip:").count();
    assert_eq!(invites, 2, "one without and one with credentials:\n{}", callee.messages());
    callee.finishes_content();
}

#[test]
fn a_challenge_without_credentials_names_the_trunk() {
    let Some((server, callee)) =
        against("refuse", &[("refusal", "407 Proxy Authentication Required")], json!({}))
    else {
        return;
    };
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    assert_eq!(call["cause"]["code"], "carrier_auth", "{call:#}");
    assert!(call["cause"]["hint"].is_string(), "{call:#}");
    callee.finishes_content();
}

#[test]
fn they_hang_up() {
    let Some((server, callee)) = against("hang-up", &[], json!({})) else { return };
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 20.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(call["hangupBy"], "callee", "{call:#}");
    assert!((1000..3000).contains(&call["durationMs"].as_i64().unwrap()), "{call:#}");
}

#[test]
fn early_media_is_no_answer() {
    let Some((server, callee)) = against("early-media", &[], json!({})) else { return };
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 2.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_state(&id, &["ringing"], Duration::from_secs(5));
    assert_eq!(call["answeredAt"], Value::Null, "{call:#}");
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    // The clip waits for the answer: two seconds are spoken, all of them after it.
    assert!((2000..4500).contains(&call["durationMs"].as_i64().unwrap()), "{call:#}");
    assert!(server.events(&id).iter().any(|(kind, _)| kind == "early-media"));
    let sent = server.recording(&id).sent.active();
    assert!((1.9..2.1).contains(&sent.seconds()), "{} s", sent.seconds());
}

#[test]
fn a_callee_who_sends_no_sound_is_hung_up_on() {
    let mut server =
        Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_SILENCE_TIMEOUT", "2s").start();
    let Some(callee) = Sipp::start(server.folder(), "silent", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 20.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(call["cause"]["code"], "rtp_silence", "{call:#}");
    assert!((1900..5000).contains(&call["durationMs"].as_i64().unwrap()), "{call:#}");
}

#[test]
fn a_longest_duration_holds() {
    let Some((server, callee)) = against("answer", &[], json!({})) else { return };
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 20.0));
    let order = json!({ "to": CALLEE, "play": file, "max_duration_s": 2 });
    let reply = server.post("/v1/calls", order).expect(201).json();
    let call = server.wait_for_end(reply["id"].as_str().unwrap(), "completed");
    callee.finishes_content();
    assert_eq!(call["cause"]["code"], "max_duration", "{call:#}");
    assert!((1900..3500).contains(&call["durationMs"].as_i64().unwrap()), "{call:#}");
}

#[test]
fn the_next_trunk_is_tried_only_where_nobody_can_have_rung() {
    let second =
        |folder: &Path, scenario: &str, values: &[(&str, &str)]| Sipp::start(folder, scenario, "udp", values);
    // A received 503 before any ringing: the second trunk gets the call.
    let mut server = Server::for_trunks();
    let Some(full) = second(server.folder(), "refuse", &[("refusal", "503 Service Unavailable")]) else {
        return;
    };
    let Some(good) = second(server.folder(), "answer", &[]) else { return };
    server.trunk(full.port, json!({ "name": "full" }));
    server.trunk(good.port, json!({ "name": "good", "default": false }));
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "completed");
    assert_eq!(call["trunk"], "good", "{call:#}");
    full.finishes_content();
    good.finishes_content();

    // Busy is an answer: the second trunk hears nothing of it.
    let mut server = Server::for_trunks();
    let Some(busy) = second(server.folder(), "refuse", &[("refusal", "486 Busy Here")]) else { return };
    let Some(idle) = second(server.folder(), "answer", &[]) else { return };
    server.trunk(busy.port, json!({ "name": "busy" }));
    server.trunk(idle.port, json!({ "name": "idle", "default": false }));
    let id = server.say_to(CALLEE);
    server.wait_for_end(&id, "busy");
    busy.finishes_content();
    assert_eq!(idle.messages(), "");
}

#[test]
fn the_simulated_network_never_stands_in_for_a_trunk() {
    let mut server = Server::for_trunks();
    // Nobody listens there.
    let port = ports::take(1);
    server.trunk(port, json!({ "transport": "tcp" }));
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    assert_eq!(call["trunk"], "carrier", "{call:#}");
    assert!(call["cause"]["hint"].is_string(), "it says what to try: {call:#}");
    assert_eq!(call["answeredAt"], Value::Null, "{call:#}");
}

#[test]
fn numbers_are_written_as_the_trunk_wants_them() {
    for (form, prefix, expected) in [
        ("e164", None, "INVITE sip:12025550123@"),
        ("national", None, "INVITE sip:2025550123@"),
        ("e164", Some("00"), "INVITE sip:0012025550123@"),
    ] {
        let mut server =
            Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_REGION", "US").start();
        let Some(callee) = Sipp::start(server.folder(), "ring", "udp", &[]) else { return };
        server.trunk(callee.port, json!({ "number_form": form, "prefix": prefix }));
        server.say_to(CALLEE);
        crate::tool::wait_for("the INVITE", Duration::from_secs(5), || {
            let messages = callee.messages();
            let line = messages.lines().find(|line| line.starts_with("INVITE "))?.to_owned();
            assert!(line.starts_with(expected), "{form} {prefix:?}: {line}");
            Some(())
        });
    }
}
