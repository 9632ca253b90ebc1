//! The end of the process: asked for, or not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::Body;
use crate::peers::dns::Zone;
use crate::peers::sipp::Sipp;
use crate::peers::tls::Callee;
use crate::server::{FINAL, Server};
use crate::sound::{self, Recording};

#[test]
fn asked_to_end_it_lets_calls_finish() {
    let mut server = Server::setup().env("TRUNKLINE_DRAIN_GRACE", "20s").start();
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 3.0));
    let id = server.play_to("+12025550105", &file);
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    let start = Instant::now();
    server.process().signal("TERM");
    let status = server.process().wait(Duration::from_secs(15));
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(10), "it does not wait longer than its calls");
    server.start();
    let call = server.wait_for_end(&id, "completed");
    assert!(call["durationMs"].as_i64().is_some_and(|ms| ms >= 2900), "{call:#}");
}

#[test]
fn at_the_end_of_the_grace_time_calls_are_hung_up_with_bye() {
    let mut server =
        Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_DRAIN_GRACE", "1s").start();
    let Some(callee) = Sipp::start(server.folder(), "answer", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 20.0));
    let id = server.play_to("+12025550123", &file);
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    server.process().signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    let status = server.process().wait(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    callee.finishes_content();
    server.start();
    let call = server.call(&id);
    assert_eq!(call["status"], "completed", "{call:#}");
}

#[test]
fn while_it_drains_new_calls_are_refused() {
    let mut server = Server::setup().env("TRUNKLINE_DRAIN_GRACE", "10s").start();
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 4.0));
    let id = server.play_to("+12025550105", &file);
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    server.process().signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    let url = server.url("/api/calls/initiate");
    let body = json!({ "fromNumber": "+12025550100", "toNumber": "+12025550123", "text": "Hello." });
    let reply =
        crate::http::try_send("POST", &url, &[("X-API-Key", &server.key)], crate::http::Body::Json(body));
    // Either the door is closed, or it says that it is closing.
    if let Ok(reply) = reply {
        assert_eq!(reply.status, 503, "{}", reply.text());
    }
    assert!(server.process().wait(Duration::from_secs(15)).success());
}

#[test]
fn killed_it_keeps_recordings_readable_and_leaves_no_call_open() {
    let mut server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 20.0));
    let talking = server.play_to("+12025550105", &file);
    let ringing = server.say_to("+12025550102");
    let done = server.say_to("+12025550101");
    server.wait_for_state(&talking, &["in-progress"], Duration::from_secs(5));
    server.wait_for_state(&ringing, &["ringing"], Duration::from_secs(5));
    server.wait_for_end(&done, "busy");
    std::thread::sleep(Duration::from_millis(2500));
    server.kill();

    let recordings: Vec<_> = std::fs::read_dir(server.data().join("recordings")).unwrap().flatten().collect();
    assert_eq!(recordings.len(), 1, "{recordings:?}");
    let recording = Recording::read(&std::fs::read(recordings[0].path()).unwrap());
    assert!(recording.sent.seconds() > 1.0, "{} s", recording.sent.seconds());
    let tone = recording.sent.active();
    assert!((tone.frequency().unwrap() / 600.0 - 1.0).abs() < 0.01);

    server.start();
    // Whoever was talking has talked; the other call never came about.
    for (id, state) in [(&talking, "completed"), (&ringing, "failed")] {
        let call = server.call(id);
        assert_eq!(call["status"], state, "{call:#}");
        assert_eq!(call["cause"]["code"], "server_restarted", "{call:#}");
        assert!(call["endedAt"].is_string(), "{call:#}");
    }
    // It lasted as long as it was recorded, and what is said of the recording is what is in it.
    let said = server.get(&format!("/v1/calls/{talking}/recordings")).expect(200).json()["data"][0].clone();
    let recorded = server.recording(&talking).sent.seconds() * 1000.0;
    assert!((said["duration_ms"].as_f64().unwrap() - recorded).abs() < 1.0, "{recorded} {said:#}");
    let lasted = server.call(&talking)["durationMs"].as_f64().unwrap();
    assert!(lasted >= recorded - 100.0 && lasted > 1900.0, "{lasted} {recorded}");
    assert_eq!(server.call(&done)["status"], "busy", "a final state stays");
    assert!(FINAL.contains(&server.call(&done)["status"].as_str().unwrap()));
    // And it works on.
    let id = server.say_to("+12025550123");
    server.wait_for_end(&id, "completed");
}

#[test]
fn killed_it_knows_how_long_calls_lasted_that_nobody_recorded() {
    let mut server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 30.0));
    let order = json!({ "to": "+12025550105", "play": file, "record": false });
    let id = server.post("/v1/calls", order).expect(201).json()["id"].as_str().unwrap().to_owned();
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    let answered = Instant::now();
    std::thread::sleep(Duration::from_secs(13));
    server.kill();
    let lasted = answered.elapsed().as_secs_f64() * 1000.0;
    server.start();
    let call = server.call(&id);
    // Marks of life stand ten seconds apart.
    let ms = call["durationMs"].as_f64().unwrap();
    assert!(ms > lasted - 11_000.0 && ms > 1900.0 && ms < lasted + 200.0, "{lasted} {call:#}");
}

#[test]
fn killed_while_a_step_records_what_it_heard_is_kept() {
    let mut server = Server::simulated();
    let flow = json!([{ "record": { "beep": false, "end_silence_s": null, "max_s": 60 } }]);
    let order = json!({ "to": "+12025550105", "flow": flow, "record": false });
    let id = server.post("/v1/calls", order).expect(201).json()["id"].as_str().unwrap().to_owned();
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    std::thread::sleep(Duration::from_millis(3500));
    let path = format!("/v1/calls/{id}/recordings");
    let growing = server.get(&path).expect(200).json()["data"][0].clone();
    assert_eq!((&growing["growing"], &growing["duration_ms"]), (&json!(true), &json!(null)), "{growing:#}");
    let refused = server.request("DELETE", growing["url"].as_str().unwrap(), Body::Empty).expect(409).json();
    assert_eq!(refused["code"], "call_not_finished");
    server.kill();
    server.start();
    let kept = server.get(&path).expect(200).json()["data"][0].clone();
    let sound = sound::read_wav(&server.get(kept["url"].as_str().unwrap()).expect(200).bytes);
    let ms = kept["duration_ms"].as_f64().unwrap();
    assert!(ms >= 1000.0 && (sound[0].seconds() * 1000.0 - ms).abs() < 1.0, "{kept:#}");
    assert_eq!(kept["growing"], false, "{kept:#}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::simulated();
    let (http, sip, rtp) = (crate::ports::take(1), crate::ports::take(2), crate::ports::take(32));
    let mut command = server.command();
    command
        .arg("serve")
        .env("TRUNKLINE_HTTP_LISTEN", format!("127.0.0.1:{http}"))
        .env("TRUNKLINE_SIP_LISTEN", format!("127.0.0.1:{sip}"))
        .env("TRUNKLINE_RTP_PORTS", format!("{rtp}-{}", rtp + 31));
    let log = server.folder().join("second.log");
    let mut second = crate::tool::Process::start("a second trunkline", &mut command, &log);
    let status = second.wait(Duration::from_secs(8));
    assert_eq!(status.code(), Some(1), "{}", second.log());
    // The first one is still reached by the command line.
    let output = server.command().args(["keys", "list"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Kills the server once its call to `scenario` is in `state`; the far end is ended by the one that starts next.
fn killed_its_far_end_is_ended(scenario: &str, state: &str) {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), scenario, "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 20.0));
    let id = server.play_to("+12025550123", &file);
    server.wait_for_state(&id, &[state], Duration::from_secs(5));
    // What a restart needs is written as it happens, a moment after it is told.
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    server.start();
    let call = server.call(&id);
    assert_eq!(call["cause"]["code"], "server_restarted", "{call:#}");
    callee.finishes_content();
}

#[test]
fn killed_while_talking_the_next_start_says_bye() {
    killed_its_far_end_is_ended("answer", "in-progress");
}

#[test]
fn killed_while_it_rings_the_next_start_cancels() {
    killed_its_far_end_is_ended("ring", "ringing");
}

#[test]
fn killed_while_talking_over_tls_the_next_start_says_bye() {
    let folder = tempfile::tempdir().expect("a folder");
    let callee = Callee::start(folder.path(), "carrier.test");
    let zone = Zone::start("carrier.test A 127.0.0.1");
    let mut server = Server::setup()
        .env("TRUNKLINE_COUNTRIES", "US")
        .env("TRUNKLINE_DNS_SERVERS", zone.address.to_string())
        .env("TRUNKLINE_TLS_CA_FILE", callee.authority.display().to_string())
        .start();
    server.trunk(callee.port, json!({ "host": "carrier.test", "transport": "tls" }));
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 20.0));
    let id = server.play_to("+12025550123", &file);
    server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
    callee.was_asked("ACK");
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    server.start();
    callee.was_asked("BYE");
}
