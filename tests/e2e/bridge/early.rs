//! Before the answer: reliable provisional responses (RFC 3262), and offers within them (RFC 3311).

use std::time::Duration;

use serde_json::json;

use super::{Body, Bridged, Script, WAYS, Way};

fn answers() -> Script {
    Script::callee()
        .gets("INVITE")
        .answers("180 Ringing", "", Body::None)
        .pauses(500)
        .answers("200 OK", "", Body::Sdp)
        .gets("ACK")
        .is_hung_up()
}

fn calls(way: Way) -> Script {
    way.caller().invites("", Body::Sdp).gets("200").acks(Body::None)
}

#[test]
fn a_caller_that_requires_it_rings_reliably() {
    for way in WAYS {
        let caller = way.caller().invites("Require: 100rel\n", Body::Sdp).gets_reliably("180", &[]);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

/// It offers late as well: our first reliable response offers, its PRACK answers (RFC 3262 section 5).
#[test]
fn a_caller_that_requires_it_is_offered_to_while_it_rings() {
    let offer = [("", "m=audio [0-9]+ RTP/AVP")];
    for way in WAYS {
        let caller = way.caller().invites("Require: 100rel\n", Body::None);
        let caller = caller.gets_reliably_answering("180", &offer, Body::Sdp);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        bridged.ends_heard("completed", "normal");

        // With early media on the other side it hears that before the answer.
        let callee = rings_reliably().answers("200 OK", "", Body::None).gets("ACK").is_hung_up();
        let caller = way.caller().invites("Require: 100rel\n", Body::None);
        let caller = caller.gets_reliably_answering("183", &offer, Body::Sdp);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

/// A PRACK for something else is none (RFC 3262 section 3).
#[test]
fn a_prack_for_another_response_is_refused() {
    let caller = Way::In
        .caller()
        .invites("Require: 100rel\n", Body::Sdp)
        .gets_with("180", &[("RSeq:", "[0-9]+")])
        .sends("PRACK", "RAck: 1 1 INVITE\n", Body::None)
        .gets("481")
        .sends("PRACK", "RAck: [$rseq] 1 INVITE\n", Body::None)
        .gets("200")
        .gets("200");
    let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
    let Some(bridged) = Bridged::start(Way::In, caller, answers()) else { return };
    bridged.ends_heard("completed", "normal");
}

/// It is repeated for 64 T1, then the call is refused and nobody rings any more.
#[test]
fn a_caller_that_requires_it_and_never_acknowledges_is_refused() {
    let caller = Way::In.caller().invites("Require: 100rel\n", Body::Sdp).gets("180").gets("504").acks_refusal();
    let callee = Script::callee().gets("INVITE").answers("180 Ringing", "", Body::None);
    let callee = callee
        .gets("CANCEL")
        .replies("200 OK", "", Body::None)
        .answers("487 Request Terminated", "", Body::None)
        .gets("ACK");
    let Some(bridged) = Bridged::start(Way::In, caller, callee) else { return };
    bridged.ends_in(Duration::from_secs(50), "failed", "no_ack");
}

/// Who only supports it is free to hear of it or not, and nothing is missing without it.
#[test]
fn a_caller_that_supports_it_is_answered() {
    for way in WAYS {
        let caller = way.caller().invites("Supported: 100rel\n", Body::Sdp).gets("180").gets("200");
        let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

/// The same towards a caller that does not acknowledge in time would repeat; here the callee's side is the reliable one:
/// each of its 18x is acknowledged once, and one that comes again is not told of again.
fn rings_reliably() -> Script {
    Script::callee()
        .gets_with("INVITE", &[("Supported:", "100rel")])
        .answers("183 Session Progress", "Require: 100rel\nRSeq: 4711\n", Body::Sdp)
        .gets_with("PRACK", &[("RAck:", "4711 [0-9]+ INVITE")])
        .replies("200 OK", "", Body::None)
        .pauses(1_000)
        .answers("180 Ringing", "Require: 100rel\nRSeq: 4712\n", Body::None)
        .gets_with("PRACK", &[("RAck:", "4712 [0-9]+ INVITE")])
        .replies("200 OK", "", Body::None)
}

fn supported() -> serde_json::Value {
    json!({ "reliable_provisional": "supported" })
}

#[test]
fn a_callee_rings_reliably() {
    for way in WAYS {
        let callee = rings_reliably().answers("200 OK", "", Body::None).gets("ACK").is_hung_up();
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

#[test]
fn both_sides_ring_reliably() {
    for way in WAYS {
        let callee = rings_reliably().answers("200 OK", "", Body::None).gets("ACK").is_hung_up();
        let caller = way
            .caller()
            .invites("Require: 100rel\n", Body::Sdp)
            .gets_reliably("183", &[("", "m=audio [0-9]+ RTP/AVP")]);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

/// Once a reliable 18x has answered the offer, the caller may make another one, and refresh its target (RFC 3311).
#[test]
fn a_caller_updates_before_the_answer() {
    for way in WAYS {
        let callee = rings_reliably().pauses(1_000).answers("200 OK", "", Body::None).gets("ACK").is_hung_up();
        let caller = way
            .caller()
            .invites("Require: 100rel\n", Body::Sdp)
            .gets_reliably("183", &[("", "m=audio [0-9]+ RTP/AVP")])
            .sends("UPDATE", "", Body::None)
            .gets("200")
            .sends("UPDATE", "", Body::Sdp)
            .gets_with("200", &[("", "m=audio [0-9]+ RTP/AVP")]);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

/// While its own offer waits for an answer it is told to come later (RFC 3311 section 5.2).
#[test]
fn a_callers_update_that_comes_too_early_is_put_off() {
    for way in WAYS {
        let caller = way
            .caller()
            .invites("", Body::Sdp)
            .gets("180")
            .sends("UPDATE", "", Body::Sdp)
            .gets_with("500", &[("Retry-After:", "[0-9]+")])
            .gets("200");
        let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

#[test]
fn a_callee_updates_before_the_answer() {
    for way in WAYS {
        let callee = Script::callee()
            .gets("INVITE")
            .answers("180 Ringing", "", Body::None)
            // Our offer has no answer yet.
            .sends("UPDATE", "", Body::Sdp)
            .gets("491")
            .answers("183 Session Progress", "Require: 100rel\nRSeq: 1\n", Body::Sdp)
            .gets("PRACK")
            .replies("200 OK", "", Body::None)
            .sends("UPDATE", "", Body::None)
            .gets("200")
            .sends("UPDATE", "", Body::Sdp)
            .gets_with("200", &[("", "m=audio [0-9]+ RTP/AVP")])
            .answers("200 OK", "", Body::None)
            .gets("ACK")
            .is_hung_up();
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    }
}
