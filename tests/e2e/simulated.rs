//! The simulated phone network: each callee of its table, over real SIP and RTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::order::{details, place};
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

/// A server whose callees are those of a script, at …0177.
fn with_callee(script: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callees.toml");
    std::fs::write(&file, format!("[[callee]]\nsuffix = \"0177\"\nscript = {script:?}\n")).unwrap();
    // Read at the start: the file is not needed afterwards.
    Server::setup().env("TRUNKLINE_SIM_CALLEES", file.display().to_string()).start()
}

const OWN: &str = "+12025550177";

fn is_tone(sound: &sound::Sound, hz: f64) -> bool {
    sound.active().frequency().is_some_and(|found| (found / hz - 1.0).abs() < 0.02)
}

#[test]
fn a_voicemail_beeps_and_records_what_we_say() {
    let server = with_callee(&["ring 500ms", "answer", "tone 700hz 2s", "beep", "record"]);
    let file = server.upload("message.wav", sound::tone_wav(620.0, 2.0));
    let flow = json!([{ "pause": { "seconds": 3.5 } }, { "play": { "file": file } }]);
    let id = place(&server, OWN, flow);
    server.wait_for_end(&id, "completed");
    let heard = server.recording(&id).heard;
    let part = |from: f64, to: f64| {
        let at = |seconds: f64| (seconds * f64::from(sound::RATE)) as usize;
        sound::Sound(heard.0[at(from)..at(to)].to_vec())
    };
    assert!(is_tone(&part(0.3, 1.8), 700.0), "its greeting");
    assert!(is_tone(&part(2.0, 2.7), 440.0), "its beep");
    let message = server.data().join("voicemail").join(format!("{}.wav", id.trim_start_matches("call_")));
    let message = crate::tool::wait_for("the message", Duration::from_secs(5), || {
        let sound = sound::read_wav(&std::fs::read(&message).ok()?).into_iter().next()?;
        (sound.seconds() > 2.0).then_some(sound)
    });
    let said = message.active();
    assert!(is_tone(&said, 620.0), "{:?} Hz", said.frequency());
    assert!((1.9..2.1).contains(&said.seconds()), "{} s", said.seconds());
}

#[test]
fn an_ivr_goes_where_our_digits_lead() {
    let server = with_callee(&[
        "answer",
        "tone 700hz 1s",
        "expect 1 digit within 5s",
        "when 1 tone 900hz 2s",
        "when 2 tone 1200hz 2s",
        "otherwise hang up",
        "hang up after 200ms",
    ]);
    let flow = json!([{ "pause": { "seconds": 1.5 } }, { "digits": { "send": "2" } }, { "pause": { "seconds": 20 } }]);
    let id = place(&server, OWN, flow);
    let call = server.wait_for_end(&id, "completed");
    assert_eq!(call["hangupBy"], "callee", "{call:#}");
    let heard = server.recording(&id).heard.active();
    let last = sound::Sound(heard.0[heard.0.len() - sound::RATE as usize..].to_vec());
    assert!(is_tone(&last, 1200.0), "{:?} Hz", last.frequency());
}

#[test]
fn a_presser_feeds_gather() {
    let server = Server::simulated();
    let id = place(&server, "+12025550119", json!([{ "gather": { "max_digits": 8 } }]));
    server.wait_for_end(&id, "completed");
    assert_eq!(details(&server, &id, "gathered"), [json!({ "digits": "123", "why": "finish_key" })]);
}

#[test]
fn a_hold_is_told_and_ends() {
    let server = with_callee(&["answer", "tone 700hz 1s", "hold 1s", "resume", "tone 900hz 1s", "hang up"]);
    let id = place(&server, OWN, json!([{ "pause": { "seconds": 20 } }]));
    server.wait_for_end(&id, "completed");
    let kinds: Vec<String> = server.events(&id).into_iter().map(|(kind, _)| kind).collect();
    let place_of = |kind: &str| kinds.iter().position(|found| found == kind).unwrap_or(usize::MAX);
    assert!(place_of("held") < place_of("resumed"), "{kinds:?}");
    assert!(place_of("resumed") < place_of("finished"), "{kinds:?}");
    let heard = server.recording(&id).heard.active();
    let last = sound::Sound(heard.0[heard.0.len() - sound::RATE as usize / 2..].to_vec());
    assert!(is_tone(&last, 900.0), "what comes after it is heard");
}

#[test]
fn out_of_service_once_and_then_fine() {
    let server = Server::simulated();
    let states = [(); 3].map(|()| {
        let id = server.say_to("+12025550113");
        let call = server.wait_for_state(&id, &FINAL, Duration::from_secs(20));
        (call["status"].as_str().unwrap().to_owned(), call["cause"]["sipStatus"].clone())
    });
    let refused = ("failed".to_owned(), json!(503));
    assert_eq!((&states[0], &states[2]), (&refused, &refused), "{states:?}");
    assert_eq!(states[1].0, "completed", "{states:?}");
}

#[test]
fn bad_lines_show_in_the_figures() {
    let server = Server::simulated();
    let quality = ["+12025550114", "+12025550115", "+12025550116", "+12025550121"]
        .map(|number| place(&server, number, json!([{ "pause": { "seconds": 8 } }])))
        .map(|id| {
            server.wait_for_end(&id, "completed");
            let call = server.get(&format!("/v1/calls/{id}")).expect(200).json();
            call["quality"].clone()
        });
    let [lossy, jittery, one_way, good] = &quality;
    let figure = |quality: &Value, key: &str| quality[key].as_f64().unwrap_or_else(|| panic!("{quality:#}"));
    assert!((4.0..17.0).contains(&figure(lossy, "loss_percent")), "{lossy:#}");
    assert!(figure(lossy, "mos") < figure(good, "mos") - 0.3, "{lossy:#} {good:#}");
    assert!(figure(jittery, "jitter_ms") > 8.0, "{jittery:#}");
    assert_eq!(figure(jittery, "packets_lost"), 0.0, "{jittery:#}");
    assert_eq!(figure(one_way, "packets_received"), 0.0, "{one_way:#}");
    assert!(figure(one_way, "packets_sent") > 300.0, "{one_way:#}");
    assert_eq!(figure(good, "packets_lost"), 0.0, "{good:#}");
    assert!(figure(good, "jitter_ms") < 8.0, "{good:#}");
}

#[test]
fn who_hangs_on_does_not_keep_the_call_open() {
    let server = Server::simulated();
    let ids = [(); 3].map(|()| server.say_to("+12025550117"));
    for id in &ids {
        let call = server.wait_for_end(id, "completed");
        assert_eq!(call["hangupBy"], "system", "{call:#}");
        let ms = call["durationMs"].as_i64().unwrap();
        assert!(ms < 3000, "{call:#}");
    }
    // Their BYE is repeated until it is answered, and then everything is given back.
    crate::tool::wait_for("idle", Duration::from_secs(20), || {
        let health = server.get("/health").expect(200).json();
        (health["calls"] == 0).then_some(())
    });
    server.wait_for_end(&server.say_to("+12025550117"), "completed");
}

#[test]
fn sound_before_the_answer() {
    let server = with_callee(&["early media", "tone 700hz 2s", "answer", "tone 900hz 2s", "hang up"]);
    let id = place(&server, OWN, json!([{ "pause": { "seconds": 20 } }]));
    server.wait_for_end(&id, "completed");
    assert_eq!(details(&server, &id, "early-media").len(), 1);
    let heard = server.recording(&id).heard.active();
    let second = sound::RATE as usize;
    assert!(is_tone(&sound::Sound(heard.0[..second].to_vec()), 700.0), "what came before the answer");
    assert!(is_tone(&sound::Sound(heard.0[heard.0.len() - second..].to_vec()), 900.0), "and after");
}

#[test]
fn callees_of_ones_own_are_checked_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callees.toml");
    std::fs::write(&file, "[[callee]]\nsuffix = \"0177\"\nscript = [\"ring\", \"anwser\"]\n").unwrap();
    for command in ["serve", "check", "sim"] {
        let mut trunkline = std::process::Command::new(crate::server::TRUNKLINE);
        trunkline.current_dir(folder.path()).env("TRUNKLINE_SIM_CALLEES", &file).arg(command);
        let ports = [("HTTP_LISTEN", crate::ports::take(1)), ("SIP_LISTEN", crate::ports::take(2))];
        trunkline.envs(ports.map(|(name, port)| (format!("TRUNKLINE_{name}"), format!("127.0.0.1:{port}"))));
        let done = trunkline.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("sim_callees") && said.contains("callees.toml"), "{command}: {said}");
        assert!(
            said.contains("[[callee]] 1 (0177): script, line 2, word 1: \"anwser\""),
            "{command}: {said}"
        );
    }
}

#[test]
fn flows_are_tested_in_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str, more: &[&str]| {
        let file = folder.path().join("flows.toml");
        std::fs::write(&file, text).unwrap();
        let mut trunkline = std::process::Command::new(crate::server::TRUNKLINE);
        let done = trunkline.current_dir(folder.path()).arg("test").arg(&file).args(more).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), said(&done.stdout), said(&done.stderr))
    };
    let example = include_str!("../../examples/flows.toml");
    let (code, out, err) = run(example, &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    let tests = example.matches("[[test]]").count();
    assert!(out.contains(&format!("{tests} passed, 0 failed")), "{out}");

    let wrong = example.replace("gathered = [\"123\"]", "gathered = [\"456\"]");
    let (code, out, _) = run(&wrong, &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("gathered: expected \"456\", got \"123\""), "{out}");
    assert!(out.contains("finish_key"), "the call's timeline: {out}");
    let (code, out, _) = run(&wrong, &["--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["failed"].as_u64(), report["passed"].as_u64()),
        (Some(1), Some(1), Some(tests as u64 - 1))
    );

    let (code, out, err) = run("[[test]]\nname = 'a'\n", &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("flows.toml: line 1: missing field"), "{err}");
}
