//! Session timers (RFC 4028): refused, refreshed, refused the refresh, and left without one.

use serde_json::json;

use super::{Body, Bridged, Script, Way, answers, calls, each_way, rings};
use crate::order::details;

/// Ten seconds are shorter than anybody may ask for, but who answers so is believed: a refresh after five seconds, and
/// the end after less than seven.
const SHORT: &str =
    "Require: timer\nSession-Expires: 10;refresher=uac\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE\n";

/// A refresh after fifteen seconds; five more until the end, in which it can be made again.
const LONGER: &str =
    "Require: timer\nSession-Expires: 30;refresher=uac\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE\n";

fn answers_with(headers: &str) -> Script {
    rings().answers("200 OK", headers, Body::Sdp).gets("ACK")
}

/// Who asks for too short an interval is told the shortest, and comes again.
#[test]
fn a_caller_whose_session_is_too_short_comes_again() {
    let short = "Supported: timer\nSession-Expires: 30\n";
    let long = "Supported: timer\nMin-SE: 90\nSession-Expires: 90;refresher=uac\n";
    let caller = Way::In
        .caller()
        .invites(short, Body::Sdp)
        .gets_with("422", &[("Min-SE:", "90")])
        .acks_refusal()
        .invites(long, Body::Sdp)
        .gets_with("200", &[("Session-Expires:", "90;refresher=uac"), ("Require:", "timer")])
        .acks(Body::None)
        .pauses(1_500)
        .hangs_up();
    let Some(bridged) = Bridged::start(Way::In, caller, answers().gets_bye()) else { return };
    bridged.ends_heard("completed", "normal");
}

/// Ours is too short for the callee: it gets the interval that it names.
#[test]
fn a_callee_for_whom_the_session_is_too_short_is_asked_again() {
    each_way(|way| {
        let callee = Script::callee()
            .gets_with("INVITE", &[("Session-Expires:", "1800")])
            .answers("422 Session Interval Too Small", "Min-SE: 3600\n", Body::None)
            .gets("ACK")
            .gets_with("INVITE", &[("Session-Expires:", "3600"), ("Min-SE:", "3600")])
            .answers("180 Ringing", "", Body::None)
            .answers("200 OK", "Require: timer\nSession-Expires: 3600;refresher=uas\n", Body::Sdp)
            .gets("ACK")
            .gets_bye();
        let settings = json!({ "session_timer": { "enabled": true, "expires_s": 1800 } });
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, settings, caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// It takes no UPDATE, so the refresh is a re-INVITE; that it refuses once, and the next one it answers.
#[test]
fn a_callee_that_refuses_a_refresh_is_asked_again() {
    let again = "Require: timer\nSession-Expires: 3600;refresher=uac\n";
    let callee = answers_with(LONGER)
        .gets("UPDATE")
        .replies("405 Method Not Allowed", "Allow: INVITE, ACK, BYE, CANCEL\n", Body::None)
        .gets("INVITE")
        .answers("488 Not Acceptable Here", "", Body::None)
        .gets("ACK")
        .gets("INVITE")
        .answers("200 OK", again, Body::Sdp)
        .gets("ACK")
        .pauses(1_000)
        .hangs_up();
    let Some(bridged) = Bridged::start(Way::In, calls(Way::In).gets_bye(), callee) else { return };
    bridged.ends_heard("completed", "normal");
}

#[test]
fn a_refresh_that_is_too_short_by_now_is_made_longer() {
    let callee = answers_with(LONGER)
        .gets_with("UPDATE", &[("Session-Expires:", "30;refresher=uac")])
        .replies("422 Session Interval Too Small", "Min-SE: 3600\n", Body::None)
        .gets_with("UPDATE", &[("Session-Expires:", "3600;refresher=uac"), ("Min-SE:", "3600")])
        .replies("200 OK", "Require: timer\nSession-Expires: 3600;refresher=uac\n", Body::None)
        .pauses(3_000)
        .hangs_up();
    let Some(bridged) = Bridged::start(Way::In, calls(Way::In).gets_bye(), callee) else { return };
    bridged.ends_heard("completed", "normal");
}

/// Its answer to a refresh puts us on hold: it is an answer like any other (RFC 3264 section 8).
#[test]
fn an_answer_to_a_refresh_may_hold() {
    let once = "Require: timer\nSession-Expires: 30;refresher=uac\n";
    let again = "Require: timer\nSession-Expires: 3600;refresher=uac\n";
    let callee = answers_with(once).gets("INVITE").answers("200 OK", again, Body::Hold).gets("ACK");
    let callee = callee.pauses(1_000).hangs_up();
    let Some(bridged) = Bridged::start(Way::In, calls(Way::In).gets_bye(), callee) else { return };
    let over = bridged.ends_heard("completed", "normal");
    let id = over.call["id"].as_str().expect("an id");
    assert_eq!(details(&over.server, id, "held"), [json!({ "leg": "second" })]);
}

#[test]
fn a_callee_that_ignores_refreshes_gets_bye_on() {
    let callee = answers_with(SHORT).gets("UPDATE").gets_bye();
    let Some(bridged) = Bridged::start(Way::In, calls(Way::In).gets_bye(), callee) else { return };
    bridged.ends_heard("failed", "session_expired");
}

/// The same of a caller, whose session is ours to refresh, for it knows no session timers; it takes no UPDATE either.
#[test]
fn a_caller_that_ignores_refreshes_is_hung_up_on() {
    each_way(|way| {
        let caller = way.caller().invites("Session-Expires: 10\n", Body::Sdp).gets("200").acks(Body::None);
        let caller = caller.gets("INVITE").gets_bye();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        bridged.ends_heard("failed", "session_expired");
    });
}

/// It says that it knows of no call, so there is none.
#[test]
fn a_callee_that_has_lost_the_call_is_believed() {
    let callee = answers_with(SHORT)
        .gets("UPDATE")
        .replies("481 Call/Transaction Does Not Exist", "", Body::None)
        .gets_bye();
    let Some(bridged) = Bridged::start(Way::In, calls(Way::In).gets_bye(), callee) else { return };
    bridged.ends_heard("failed", "session_expired");
}

/// The caller was to refresh and does not.
#[test]
fn a_side_that_does_not_refresh_as_it_promised_gets_bye_on() {
    let promise = "Supported: timer\nSession-Expires: 10;refresher=uas\n";
    let Some(bridged) = Bridged::start(Way::In, calls(Way::In).gets_bye(), answers_with(promise).gets_bye())
    else {
        return;
    };
    bridged.ends_heard("failed", "session_expired");
}
