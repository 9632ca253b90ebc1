//! Trunks as carriers want them: registered, asked after, paced, tried out; changed while calls run.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Body;
use crate::peers::kamailio::{Kamailio, USER};
use crate::peers::sipp::Sipp;
use crate::ports;
use crate::server::{FINAL, Server};
use crate::sound;
use crate::tool::wait_for;

const CALLEE: &str = "+12025550123";
const PASSWORD: &str = "provider-password-0816";

#[track_caller]
fn trunk(server: &Server, name: &str) -> Value {
    server.get(&format!("/v1/trunks/{name}")).expect(200).json()
}

#[track_caller]
fn change(server: &Server, name: &str, change: Value) -> Value {
    server.request("PATCH", &format!("/v1/trunks/{name}"), Body::Json(change)).expect(200).json()
}

/// The trunk, once `part.state` is `state`.
#[track_caller]
fn wait_for_trunk(server: &Server, part: &str, state: &str) -> Value {
    let mut last = Value::Null;
    let what = format!("{part} to be {state}");
    wait_for(&what, Duration::from_secs(25), || {
        last = trunk(server, "carrier");
        (last[part]["state"] == state).then(|| last.clone())
    })
}

#[test]
fn a_trunk_registers_refreshes_its_password_and_takes_itself_back() {
    let mut server = Server::for_trunks();
    let Some(provider) = Kamailio::start(server.folder(), PASSWORD) else { return };
    let settings = json!({ "register": true, "register_expires_s": 120, "ping_s": 5 });
    let made =
        server.trunk(provider.port, json!({ "username": USER, "password": PASSWORD, "settings": settings }));
    let registered = wait_for_trunk(&server, "registration", "registered");
    assert!(registered["registration"]["expires_at"].is_string(), "{registered:#}");
    let user = made["id"].as_str().unwrap().rsplit('_').next().unwrap();
    let log = provider.log();
    assert!(
        log.contains(&format!("registered {USER} at <sip:{user}@")),
        "our Contact names the trunk: {log}"
    );
    let up = wait_for_trunk(&server, "health", "up");
    assert!(up["health"]["since"].is_string() && up["health"]["round_trip_ms"].is_u64(), "{up:#}");

    // Another password: what was there is taken back, and the new one is refused.
    server.secret("not-the-password");
    change(&server, "carrier", json!({ "password": "not-the-password" }));
    let refused = wait_for_trunk(&server, "registration", "refused");
    assert!(refused["registration"]["last_status"].is_u64(), "{refused:#}");
    assert!(provider.log().contains(&format!("unregistered {USER}")), "{}", provider.log());

    // The right one again, and the server's end.
    change(&server, "carrier", json!({ "password": PASSWORD }));
    wait_for_trunk(&server, "registration", "registered");
    let metrics = server.get("/metrics").expect(200).text();
    assert!(
        metrics.lines().any(|line| line.starts_with("trunkline_trunk_registered{") && line.ends_with(" 1"))
    );
    let before = provider.log().matches("unregistered").count();
    server.process().signal("TERM");
    wait_for("the farewell", Duration::from_secs(10), || {
        (provider.log().matches("unregistered").count() > before).then_some(())
    });
}

#[test]
fn a_trunk_nobody_answers_for_is_down_and_tried_last() {
    let mut server = Server::for_trunks();
    let nobody = ports::take(1);
    server.trunk(nobody, json!({ "transport": "tcp", "settings": { "ping_s": 5 } }));
    let Some(good) = Sipp::start(server.folder(), "answer", "udp", &[]) else { return };
    let more = json!({
        "name": "second", "host": "127.0.0.1", "port": good.port, "caller_id": "+12025550100", "priority": 5,
    });
    server.post("/v1/trunks", more).expect(201);
    let down = wait_for_trunk(&server, "health", "down");
    assert!(down["health"]["text"].is_string() && down["health"]["round_trip_ms"].is_null(), "{down:#}");
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "completed");
    assert_eq!(call["trunk"], "second", "{call:#}");
    assert!(
        !server.events(&id).iter().any(|(kind, _)| kind == "attempt-failed"),
        "it was the first one tried"
    );
    good.finishes_content();

    // The only one there is gets tried, down or not.
    server.request("DELETE", "/v1/trunks/second", Body::Empty).expect(204);
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    assert_eq!(call["trunk"], "carrier", "{call:#}");
}

#[test]
fn a_trunk_that_cannot_step_in_does_not_stand_in_the_way() {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), "answer", "udp", &[]) else { return };
    server.trunk(callee.port, json!({}));
    let no_caller_id = json!({ "name": "spare", "host": "127.0.0.1", "port": 9 });
    server.post("/v1/trunks", no_caller_id).expect(201);
    let call = server.say_to("+12025550123");
    server.wait_for_end(&call, "completed");
    let body = json!({ "to": "+12025550123", "say": "Hello.", "trunk": "spare" });
    assert_eq!(server.post("/v1/calls", body).expect(400).json()["code"], "from_required");
}

#[test]
fn channels_hold_under_a_race_of_callers() {
    let server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 6.0));
    change(&server, "sim", json!({ "settings": { "channels": 2, "queue_s": 0 } }));
    let ids: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..10).map(|_| scope.spawn(|| server.play_to(CALLEE, &file))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let ended: Vec<Value> =
        ids.iter().map(|id| server.wait_for_state(id, &FINAL, Duration::from_secs(25))).collect();
    let turned_away = ended.iter().filter(|call| call["cause"]["code"] == "trunk_full").count();
    let completed = ended.iter().filter(|call| call["status"] == "completed").count();
    assert_eq!((completed, turned_away), (2, 8), "{ended:#?}");
    let hint = ended.iter().find_map(|call| call["cause"]["hint"].as_str().map(str::to_owned));
    assert!(hint.is_some_and(|hint| hint.contains("channels")));
    assert_eq!(trunk(&server, "sim")["calls"], json!({ "up": 0, "waiting": 0 }));
}

#[test]
fn who_has_to_wait_is_served_in_order_and_says_so() {
    let server = Server::simulated();
    change(&server, "sim", json!({ "settings": { "channels": 1 } }));
    let ids: Vec<String> = (0..3).map(|_| server.say_to(CALLEE)).collect();
    let calls: Vec<Value> = ids.iter().map(|id| server.wait_for_end(id, "completed")).collect();
    for pair in calls.windows(2) {
        let (ended, answered) =
            (pair[0]["endedAt"].as_str().unwrap(), pair[1]["answeredAt"].as_str().unwrap());
        assert!(answered >= ended, "one after the other: {pair:#?}");
    }
    let paced: Vec<bool> =
        ids.iter().map(|id| server.events(id).iter().any(|(kind, _)| kind == "paced")).collect();
    assert_eq!(paced, [false, true, true]);
}

#[test]
fn a_waiting_call_can_be_ended_and_a_raised_limit_lets_others_go() {
    let server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 15.0));
    change(&server, "sim", json!({ "settings": { "channels": 1, "queue_s": 60 } }));
    let first = server.play_to(CALLEE, &file);
    server.wait_for_state(&first, &["in-progress"], Duration::from_secs(5));
    let (second, third) = (server.play_to(CALLEE, &file), server.play_to(CALLEE, &file));
    let waiting = trunk(&server, "sim");
    assert_eq!(waiting["calls"], json!({ "up": 1, "waiting": 2 }), "{waiting:#}");
    server.post(&format!("/api/calls/end/{second}"), json!({})).expect(200);
    let ended = server.wait_for_end(&second, "canceled");
    assert_eq!(ended["answeredAt"], Value::Null, "{ended:#}");
    // The trunk changes while calls run on it and wait for it: nothing of them breaks.
    change(&server, "sim", json!({ "settings": { "channels": 2 } }));
    server.wait_for_state(&third, &["in-progress"], Duration::from_secs(5));
    for id in [first, third] {
        server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200);
        server.wait_for_end(&id, "completed");
    }
}

#[test]
fn calls_per_second_are_spaced() {
    let server = Server::simulated();
    change(&server, "sim", json!({ "settings": { "calls_per_second": 1 } }));
    let ids: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3).map(|_| scope.spawn(|| server.say_to(CALLEE))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    // An attempt leaves when its first sign of life comes back: on loopback, at once.
    let mut rang: Vec<i64> = ids
        .iter()
        .map(|id| {
            server.wait_for_end(id, "completed");
            let events = server.events(id);
            let ringing =
                events.iter().find(|(kind, event)| kind == "state" && event["detail"]["state"] == "ringing");
            let at =
                ringing.and_then(|(_, event)| event["at"].as_str()).expect("a time of ringing").to_owned();
            at.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
        })
        .collect();
    rang.sort_unstable();
    assert!(rang.windows(2).all(|pair| pair[1] - pair[0] >= 800), "{rang:?}");
}

#[test]
fn the_caller_is_asserted_as_the_trunk_wants_it() {
    let table = [
        (json!({ "identity": "rpid" }), "Remote-Party-ID: <sip:+12025550100@127.0.0.1>;party=calling"),
        (json!({ "identity": "from", "privacy": "none" }), "From: <sip:+12025550100@127.0.0.1>"),
        (json!({ "request_domain": "acme.example" }), "INVITE sip:+12025550123@acme.example SIP/2.0"),
        (json!({ "from_domain": "acme.example" }), "From: <sip:+12025550100@acme.example>"),
        (json!({ "privacy": "id" }), "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>"),
    ];
    for (settings, expected) in table {
        let mut server = Server::for_trunks();
        let Some(callee) = Sipp::start(server.folder(), "refuse", "udp", &[("refusal", "486 Busy Here")])
        else {
            return;
        };
        server.trunk(callee.port, json!({ "settings": settings }));
        let id = server.say_to(CALLEE);
        server.wait_for_end(&id, "busy");
        let messages = callee.messages();
        assert!(messages.contains(expected), "{expected} is not in\n{messages}");
    }
}

#[test]
fn an_outbound_proxy_gets_what_is_meant_for_another_domain() {
    let mut server = Server::for_trunks();
    let Some(callee) = Sipp::start(server.folder(), "refuse", "udp", &[("refusal", "486 Busy Here")]) else {
        return;
    };
    let proxy = format!("127.0.0.1:{}", callee.port);
    server.trunk(9, json!({ "settings": { "proxy": proxy, "request_domain": "carrier.example" } }));
    let id = server.say_to(CALLEE);
    server.wait_for_end(&id, "busy");
    let messages = callee.messages();
    for line in [format!("Route: <sip:{proxy};lr>"), "INVITE sip:+12025550123@carrier.example SIP/2.0".into()]
    {
        assert!(messages.contains(&line), "{line} is not in\n{messages}");
    }
}

#[test]
fn a_test_says_which_step_failed_and_what_to_try() {
    let mut server = Server::for_trunks();
    let steps = |server: &Server| -> Vec<(String, bool, String)> {
        let tried = server.request("POST", "/v1/trunks/carrier/test", Body::Empty).expect(200).json();
        let steps = tried["steps"].as_array().unwrap();
        assert_eq!(tried["ok"], steps.iter().all(|step| step["ok"] == true), "{tried:#}");
        let text = |step: &Value| format!("{} {}", step["detail"], step["hint"]);
        steps
            .iter()
            .map(|step| (step["step"].as_str().unwrap().into(), step["ok"] == true, text(step)))
            .collect()
    };
    let nobody = ports::take(1);
    server.trunk(nobody, json!({ "transport": "tcp" }));
    let told = steps(&server);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].1 && !told[1].1 && told[1].2.contains("port"), "{told:?}");
    change(&server, "carrier", json!({ "transport": "udp" }));
    let told = steps(&server);
    assert!(!told[2].1 && told[2].2.contains("firewall"), "{told:?}");

    let Some(provider) = Kamailio::start(server.folder(), PASSWORD) else { return };
    server.secret(PASSWORD);
    change(&server, "carrier", json!({ "port": provider.port, "username": USER, "password": PASSWORD }));
    let told = steps(&server);
    assert!(told.len() == 4 && told.iter().all(|(_, ok, _)| *ok), "{told:?}");
    assert!(!provider.log().contains("accepted INVITE"), "nobody is called");
    assert!(
        !provider.log().contains("unregistered") && !provider.log().contains("registered "),
        "nothing changed"
    );

    change(&server, "carrier", json!({ "password": "another-one" }));
    let told = steps(&server);
    assert!(!told[3].1 && told[3].2.contains("password"), "{told:?}");

    let output = server.command().args(["trunks", "test", "carrier"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED") && text.contains("Try: "), "{text}");
}
