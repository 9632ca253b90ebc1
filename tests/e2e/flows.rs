//! Flows that ask, record, press keys and dial, and what is done to a call while it lasts; judged by sound.

use std::time::Duration;

use serde_json::json;

use crate::http::Body;
use crate::order::{details, place};
use crate::peers::sipp::Sipp;
use crate::server::Server;
use crate::sound::{self, Sound, read_wav};

/// A stretch of a sound, in seconds.
fn part(sound: &Sound, from: f64, to: f64) -> Sound {
    let at = |seconds: f64| ((seconds * f64::from(sound::RATE)) as usize).min(sound.0.len());
    Sound(sound.0[at(from)..at(to)].to_vec())
}

fn is_tone(sound: &Sound, hz: f64) -> bool {
    sound.active().frequency().is_some_and(|found| (found / hz - 1.0).abs() < 0.02)
}

#[test]
fn a_menu_is_left_by_its_keys() {
    let mut server = Server::for_trunks();
    let values = [("first", "7"), ("second", "2")];
    let Some(callee) = Sipp::start(server.folder(), "press", "udp", &values) else { return };
    server.trunk(callee.port, json!({}));
    let menu = server.upload("menu.wav", sound::tone_wav(500.0, 20.0));
    let chosen = server.upload("chosen.wav", sound::tone_wav(800.0, 2.0));
    let id = place(
        &server,
        "+12025550123",
        json!([{ "gather": {
            "prompts": [{ "play": { "file": menu } }], "max_digits": 1, "tries": 2,
            "branches": { "2": [{ "play": { "file": chosen } }] },
        } }]),
    );
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(
        details(&server, &id, "gathered"),
        [json!({ "digits": "2", "why": "max_digits" })],
        "{call:#}"
    );
    assert_eq!(details(&server, &id, "gather").len(), 2);
    // The prompt was stopped by the first key, and the branch's tone was heard whole.
    let ms = call["durationMs"].as_i64().unwrap();
    assert!((3800..6500).contains(&ms), "{ms}");
    let sent = server.recording(&id).sent.active();
    let seconds = sent.seconds();
    assert!(is_tone(&part(&sent, 0.2, 1.2), 500.0), "the menu first");
    assert!(is_tone(&part(&sent, seconds - 1.8, seconds - 0.2), 800.0), "then the branch");
}

#[test]
fn silence_ends_a_recording_of_its_own() {
    let server = Server::simulated();
    let flow = json!([{ "record": { "beep": true, "end_silence_s": 1.5, "max_s": 30 } }]);
    let id = place(&server, "+12025550123", flow);
    server.wait_for_end(&id, "completed");
    let recorded = details(&server, &id, "recorded");
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(recorded[0]["why"], "silence", "{recorded:?}");
    let file = server.data().join("recordings").join(recorded[0]["file"].as_str().unwrap());
    let channels = read_wav(&std::fs::read(file).unwrap());
    assert_eq!(channels.len(), 1);
    let ms = recorded[0]["ms"].as_f64().unwrap();
    assert!((channels[0].seconds() * 1000.0 - ms).abs() < 50.0, "{ms} {}", channels[0].seconds());
    assert!(channels[0].rms() > 0.005, "the callee's greeting is in it");
    assert!(part(&channels[0], ms / 1000.0 - 1.0, 99.0).rms() < 0.01, "and the silence that ended it");
}

#[test]
fn a_recording_ends_at_its_limit_and_with_the_call() {
    let server = Server::simulated();
    let flow = json!([
        { "record": { "beep": false, "end_silence_s": null, "max_s": 1 } },
        { "record": { "beep": false, "end_silence_s": null, "max_s": 60 } },
    ]);
    let id = place(&server, "+12025550106", flow);
    server.wait_for_end(&id, "completed");
    let recorded = details(&server, &id, "recorded");
    let why: Vec<&str> = recorded.iter().filter_map(|detail| detail["why"].as_str()).collect();
    assert_eq!(why, ["limit", "stopped"], "{recorded:?}");
    assert_eq!(recorded[0]["ms"], 1000, "{recorded:?}");

    // They are recordings as the call's own is: listed, fetched, measured and removed.
    let path = format!("/v1/calls/{id}/recordings");
    let list = server.get(&path).expect(200).json()["data"].clone();
    assert_eq!(server.get("/v1/recordings").expect(200).json()["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(list.as_array().map(Vec::len), Some(3), "{list:#}");
    let own = json!(format!("{}.wav", id.trim_start_matches("call_")));
    for (n, file) in [&own, &recorded[0]["file"], &recorded[1]["file"]].into_iter().enumerate() {
        assert_eq!((&list[n]["file"], &list[n]["growing"]), (file, &json!(false)), "{list:#}");
        let sound = read_wav(&server.get(list[n]["url"].as_str().unwrap()).expect(200).bytes);
        assert_eq!(sound.len(), if n == 0 { 2 } else { 1 });
        let ms = list[n]["duration_ms"].as_f64().unwrap();
        assert!((sound[0].seconds() * 1000.0 - ms).abs() < 1.0, "{ms} {}", sound[0].seconds());
    }
    assert_eq!(list[2]["number"], recorded[1]["number"], "{list:#}");
    let folder = server.data().join("recordings");
    let files = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files(), 3);
    server.request("DELETE", list[1]["url"].as_str().unwrap(), Body::Empty).expect(204);
    assert_eq!(files(), 2);
    server.request("DELETE", &format!("/v1/calls/{id}/recording"), Body::Empty).expect(204);
    assert_eq!(files(), 0, "nothing of the call is left");
    assert_eq!(server.get(&path).expect(200).json()["data"], json!([]));
}

#[test]
fn a_second_leg_rings_and_both_hear_one_another() {
    let server = Server::simulated();
    let after = server.upload("after.wav", sound::tone_wav(1500.0, 1.0));
    let flow = json!([
        { "dial": { "to": "+12025550104", "max_duration_s": 6 } },
        { "play": { "file": after } },
    ]);
    let id = place(&server, "+12025550105", flow);
    let call = server.wait_for_end(&id, "completed");
    let dialed = details(&server, &id, "dialed");
    assert_eq!(dialed.len(), 1, "{call:#}");
    assert_eq!(dialed[0]["state"], "completed", "{dialed:?}");
    assert_eq!(dialed[0]["cause"]["code"], "max_duration", "{dialed:?}");
    let kinds: Vec<String> = server.events(&id).into_iter().map(|(kind, _)| kind).collect();
    let place_of = |kind: &str| kinds.iter().position(|found| found == kind).unwrap_or(usize::MAX);
    assert!(place_of("dial") < place_of("dial-ringing"), "{kinds:?}");
    assert!(place_of("dial-answered") < place_of("dialed"), "{kinds:?}");
    assert!(place_of("dialed") < place_of("play"), "{kinds:?}");

    let recording = server.recording(&id);
    let sent = recording.sent.active();
    let rings = part(&sent, 0.1, 0.9);
    let shares = [440.0, 480.0].map(|hz| rings.share_of(hz));
    assert!(shares.iter().all(|share| *share > 0.35), "the ringing tone of the United States: {shares:?}");
    let ringing = 2.5;
    let talk = part(&sent, ringing, sent.seconds() - 1.2);
    assert!(talk.rms() > 0.005, "what the second leg says");
    assert!(is_tone(&part(&sent, sent.seconds() - 0.9, sent.seconds() - 0.1), 1500.0), "the flow goes on");
    assert!(recording.heard.rms() > 0.005, "and the first leg's echo of it");
}

#[test]
fn a_second_leg_that_is_busy_lets_the_flow_go_on() {
    let server = Server::simulated();
    let flow = json!([{ "dial": { "to": "+12025550101" } }, { "say": { "text": "Nobody is there." } }]);
    let id = place(&server, "+12025550123", flow);
    server.wait_for_end(&id, "completed");
    let dialed = details(&server, &id, "dialed");
    assert_eq!(dialed[0]["state"], "busy", "{dialed:?}");
    assert_eq!(details(&server, &id, "say").len(), 1);
}

#[test]
fn who_may_not_be_called_is_refused_before_anybody_is_dialled() {
    let server = Server::for_trunks();
    let flow = json!([{ "gather": { "branches": { "1": [{ "dial": { "to": "not a number" } }] } } }]);
    let order = json!({ "to": "+12025550123", "flow": flow });
    let reply = server.post("/v1/calls", order).expect(400).json();
    assert_eq!(reply["code"], "invalid_number_format", "{reply}");
    assert_eq!(server.history_len(), 0);
}

#[test]
fn a_running_call_speaks_plays_presses_and_stops() {
    let server = Server::simulated();
    let long = server.upload("long.wav", sound::tone_wav(500.0, 60.0));
    let short = server.upload("short.wav", sound::tone_wav(900.0, 1.5));
    let id = place(&server, "+12025550105", json!([{ "play": { "file": long } }]));
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    let path = |verb: &str| format!("/v1/calls/{id}/{verb}");
    server.post(&path("play"), json!({ "file": short })).expect(200);
    server.post(&path("digits"), json!({ "send": "12" })).expect(200);
    server.post(&path("say"), json!({ "text": "Goodbye." })).expect(200);
    std::thread::sleep(Duration::from_millis(1000));
    server.post(&path("stop"), json!({})).expect(200);
    let call = server.wait_for_end(&id, "completed");
    assert!(call["durationMs"].as_i64().unwrap() < 12_000, "{call:#}");
    for kind in ["stopped", "digits", "say"] {
        assert_eq!(details(&server, &id, kind).len(), 1, "{kind}");
    }
    let sent = server.recording(&id).sent.active();
    assert!(is_tone(&part(&sent, 0.1, 0.8), 500.0));
    assert!(sent.0.windows(8000).any(|second| is_tone(&Sound(second.to_vec()), 900.0)), "the short tone");
    for verb in ["stop", "recording/pause"] {
        let reply = server.post(&path(verb), json!({})).expect(409).json();
        assert_eq!(reply["code"], "call_ended", "{reply}");
    }
}

#[test]
fn verbs_before_the_answer_and_unknown_calls_are_refused() {
    let server = Server::simulated();
    let id = place(&server, "+12025550102", json!([{ "pause": { "seconds": 1 } }]));
    let reply = server.post(&format!("/v1/calls/{id}/digits"), json!({ "send": "1" })).expect(409).json();
    assert_eq!(reply["code"], "call_not_answered", "{reply}");
    let reply = server.post(&format!("/v1/calls/{id}/digits"), json!({ "send": "x" })).expect(400).json();
    assert_eq!(reply["code"], "invalid_digits", "{reply}");
    server.post("/v1/calls/call_65a1f0c2a4b1c2d3e4f50617/stop", json!({})).expect(404);
    server.post(&format!("/v1/calls/{id}/hangup"), json!({})).expect(200);
}

#[test]
fn what_is_said_while_the_recording_is_paused_is_not_in_it() {
    let server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(500.0, 6.0));
    let id = place(&server, "+12025550105", json!([{ "play": { "file": file } }]));
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    std::thread::sleep(Duration::from_millis(1000));
    for verb in ["resume", "pause", "pause"] {
        server.post(&format!("/v1/calls/{id}/recording/{verb}"), json!({})).expect(200);
    }
    std::thread::sleep(Duration::from_millis(2000));
    for _ in 0..2 {
        server.post(&format!("/v1/calls/{id}/recording/resume"), json!({})).expect(200);
    }
    server.wait_for_end(&id, "completed");
    let sent = server.recording(&id).sent.active();
    assert!((5.5..6.5).contains(&sent.seconds()), "times stay true: {} s", sent.seconds());
    let gap = sent.longest_gap_ms();
    assert!((1500.0..3000.0).contains(&gap), "{gap}");
    for kind in ["recording-paused", "recording-resumed"] {
        assert_eq!(details(&server, &id, kind).len(), 1, "{kind}: asked twice, it happened once");
    }
}

#[test]
fn held_nobody_need_speak() {
    let mut server =
        Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_SILENCE_TIMEOUT", "2s").start();
    let Some(callee) = Sipp::start(server.folder(), "hold", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 30.0));
    let id = server.play_to("+12025550123", &file);
    let call = server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(call["cause"]["code"], "rtp_silence", "{call:#}");
    // Half a second, four on hold, and only then the two of the time-out.
    assert!((6000..9500).contains(&call["durationMs"].as_i64().unwrap()), "{call:#}");
    assert_eq!(details(&server, &id, "held").len(), 1);
    assert_eq!(details(&server, &id, "resumed").len(), 1);
}
