//! The simulated phone network: each callee of its table, over real SIP and RTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{FINAL, Server};
use crate::sound;

#[test]
fn each_refusing_callee_ends_the_call_in_its_own_state() {
    let server = Server::simulated();
    let calls = [
        ("+12025550101", "busy", "busy", json!(486)),
        ("+12025550103", "failed", "declined", json!(603)),
        ("+12025550107", "failed", "unallocated_number", json!(404)),
    ]
    .map(|(number, state, code, sip)| (server.say_to(number), state, code, sip));
    for (id, state, code, sip) in calls {
        let call = server.wait_for_end(&id, state);
        assert_eq!(call["cause"]["code"], code, "{call:#}");
        assert_eq!(call["cause"]["sipStatus"], sip, "{call:#}");
        assert!(call["cause"]["message"].as_str().is_some_and(|text| text.contains(' ')), "{call:#}");
        assert_eq!(call["answeredAt"], Value::Null, "{call:#}");
        assert!(call["endedAt"].is_string(), "{call:#}");
    }
}

#[test]
fn nobody_answers_until_our_timer_ends_it() {
    let server = Server::simulated();
    let reply = server
        .post(
            "/v1/calls",
            json!({ "to": "+12025550102", "from": "+12025550100", "say": "Hello.", "ring_timeout_s": 2 }),
        )
        .expect(201)
        .json();
    let id = reply["id"].as_str().unwrap();
    server.wait_for_state(id, &["ringing"], Duration::from_secs(3));
    let call = server.wait_for_end(id, "no-answer");
    assert_eq!(call["answeredAt"], Value::Null, "{call:#}");
}

#[test]
fn ending_a_ringing_call_cancels_it() {
    let server = Server::simulated();
    let id = server.say_to("+12025550102");
    server.wait_for_state(&id, &["ringing"], Duration::from_secs(5));
    server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200);
    server.wait_for_end(&id, "canceled");
    server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200);
    assert_eq!(server.call(&id)["status"], "canceled");
}

#[test]
fn a_callee_that_rings_answers_and_reports_what_it_heard() {
    let server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(620.0, 3.0));
    let ids = ["+12025550104", "+12125550104"].map(|number| server.play_to(number, &file));
    let mut tones = Vec::new();
    for id in &ids {
        let call = server.wait_for_end(id, "completed");
        let at = |key: &str| call[key].as_str().unwrap_or_else(|| panic!("no {key} in {call:#}")).to_owned();
        assert!(at("createdAt") <= at("ringingAt") && at("ringingAt") < at("answeredAt"), "{call:#}");
        assert!(at("answeredAt") < at("endedAt"), "{call:#}");
        let ms = call["durationMs"].as_i64().unwrap();
        assert!((3000..5500).contains(&ms), "{call:#}");

        let heard = crate::tool::wait_for("the callee's report", Duration::from_secs(3), || {
            let call = server.get(&format!("/v1/calls/{id}")).expect(200).json();
            call["heard"].is_object().then(|| call["heard"].clone())
        });
        assert!(heard["sound_ms"].as_i64().is_some_and(|ms| (2800..=3300).contains(&ms)), "{heard:#}");
        tones.extend(heard["tone_hz"].as_f64());
        assert!(server.recording(id).heard.rms() > 0.005, "its greeting is in the recording");
    }
    assert!(tones.len() == ids.len() && tones.iter().all(|hz| (hz / 620.0 - 1.0).abs() < 0.02), "{tones:?}");
}

#[test]
fn an_echo_comes_back() {
    let server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(877.0, 3.0));
    let id = server.play_to("+12025550105", &file);
    let call = server.wait_for_end(&id, "completed");
    assert!(call["quality"]["mos"].as_f64().is_some_and(|mos| mos > 4.0), "{call:#}");
    let recording = server.recording(&id);
    for (name, channel) in [("sent", &recording.sent), ("heard", &recording.heard)] {
        let tone = channel.active();
        let hz = tone.frequency().unwrap_or_else(|| panic!("{name} is silent"));
        assert!((hz / 877.0 - 1.0).abs() < 0.005, "{name}: {hz} Hz");
        assert!((2.8..3.1).contains(&tone.seconds()), "{name}: {} s", tone.seconds());
    }
}

#[test]
fn a_callee_that_hangs_up_mid_sentence() {
    let server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(500.0, 10.0));
    let id = server.play_to("+12025550106", &file);
    let call = server.wait_for_end(&id, "completed");
    assert_eq!(call["hangupBy"], "callee", "{call:#}");
    let ms = call["durationMs"].as_i64().unwrap();
    assert!((1700..3500).contains(&ms), "{call:#}");
}

#[test]
fn states_only_move_forward_and_end_once() {
    let server = Server::simulated();
    let order = ["queued", "ringing", "in-progress", "final"];
    for number in ["+12025550123", "+12025550101", "+12025550106"] {
        let id = server.say_to(number);
        server.wait_for_state(&id, &FINAL, Duration::from_secs(20));
        let events = server.events(&id);
        let states: Vec<&str> = events
            .iter()
            .filter(|(kind, _)| kind == "state")
            .filter_map(|(_, event)| event["detail"]["state"].as_str())
            .collect();
        let rank = |state: &str| {
            let state = if FINAL.contains(&state) { "final" } else { state };
            order.iter().position(|known| *known == state).unwrap_or_else(|| panic!("{state} is no state"))
        };
        assert!(states.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])), "{number}: {states:?}");
        let finished = events.iter().filter(|(kind, _)| kind == "finished").count();
        assert_eq!(finished, 1, "{number}: {events:#?}");
        assert_eq!(events.last().unwrap().0, "finished", "{number}: {events:#?}");
    }
}
