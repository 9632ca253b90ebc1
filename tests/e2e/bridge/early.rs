//! Before the answer: reliable provisional responses (RFC 3262), and offers within them (RFC 3311).

use serde_json::json;

use super::{Body, Bridged, Script, Way, answers, calls, each_way, rings};

/// Answers after a while, and talks until it is hung up on.
fn answers_later() -> Script {
    rings().pauses(500).answers("200 OK", "", Body::Sdp).gets("ACK").gets_bye()
}

#[test]
fn a_caller_that_requires_it_rings_reliably() {
    each_way(|way| {
        let caller = way.caller().invites("Require: 100rel\n", Body::Sdp).gets_reliably("180", &[]);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers_later()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// It offers late as well: our first reliable response offers, its PRACK answers (RFC 3262 section 5).
#[test]
fn a_caller_that_requires_it_is_offered_to_while_it_rings() {
    let offer = [("", "m=audio [0-9]+ RTP/AVP")];
    each_way(|way| {
        let caller = way.caller().invites("Require: 100rel\n", Body::None);
        let caller = caller.gets_reliably_answering("180", &offer, Body::Sdp);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers_later()) else { return };
        bridged.ends_heard("completed", "normal");

        // With early media on the other side it hears that before the answer.
        let callee = rings_reliably().answers("200 OK", "", Body::None).gets("ACK").gets_bye();
        let caller = way.caller().invites("Require: 100rel\n", Body::None);
        let caller = caller.gets_reliably_answering("183", &offer, Body::Sdp);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
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
    let Some(bridged) = Bridged::start(Way::In, caller, answers_later()) else { return };
    bridged.ends_heard("completed", "normal");
}

/// What brings no SDP need not be acknowledged before the answer, and may be after it (RFC 3262 section 3).
#[test]
fn an_answer_may_overtake_a_prack() {
    each_way(|way| {
        let caller = way.caller().invites("Require: 100rel\n", Body::Sdp);
        let cseq = if way == Way::In { 1 } else { 2 };
        let caller = caller
            .gets_with("180", &[("RSeq:", "[0-9]+")])
            .gets("200")
            .sends("PRACK", &format!("RAck: [$rseq] {cseq} INVITE\n"), Body::None)
            .gets("200");
        let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// Sound before the answer, which never comes.
#[test]
fn early_media_may_end_in_a_refusal() {
    each_way(|way| {
        let caller = way.caller().invites("", Body::Sdp);
        let caller = caller.gets_with("183", &[("", "m=audio [0-9]+ RTP/AVP")]).gets("486").acks_refusal();
        let callee = Script::callee().gets("INVITE").answers("183 Session Progress", "", Body::Sdp);
        let callee = callee.pauses(1_500).answers("486 Busy Here", "", Body::None).gets("ACK");
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        bridged.ends_heard("busy", "busy");
    });
}

/// A second INVITE in a dialog whose first one has no answer yet is put off (RFC 3261 section 14.2).
#[test]
fn a_reinvite_before_the_answer_is_put_off() {
    each_way(|way| {
        let caller = way.caller().invites("", Body::Sdp).gets("180").sends("INVITE", "", Body::Sdp);
        let caller = caller.gets_with("500", &[("Retry-After:", "[0-9]+")]).acks_refusal().gets("200");
        let caller = caller.acks_as(if way == Way::In { 1 } else { 2 }, Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers_later()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// It is repeated for 64 T1, then the call is refused and nobody rings any more.
#[test]
fn a_caller_that_requires_it_and_never_acknowledges_is_refused() {
    let caller =
        Way::In.caller().invites("Require: 100rel\n", Body::Sdp).gets("180").gets("504").acks_refusal();
    let Some(bridged) = Bridged::start(Way::In, caller, rings().gets_canceled(&[])) else { return };
    bridged.ends("failed", "no_ack");
}

/// Who only supports it is free to hear of it or not, and nothing is missing without it.
#[test]
fn a_caller_that_supports_it_is_answered() {
    each_way(|way| {
        let caller = way.caller().invites("Supported: 100rel\n", Body::Sdp).gets("180").gets("200");
        let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers_later()) else { return };
        bridged.ends_heard("completed", "normal");
    });
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
    each_way(|way| {
        let callee = rings_reliably().answers("200 OK", "", Body::None).gets("ACK").gets_bye();
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

#[test]
fn both_sides_ring_reliably() {
    each_way(|way| {
        let callee = rings_reliably().answers("200 OK", "", Body::None).gets("ACK").gets_bye();
        let caller = way
            .caller()
            .invites("Require: 100rel\n", Body::Sdp)
            .gets_reliably("183", &[("", "m=audio [0-9]+ RTP/AVP")]);
        let caller = caller.gets("200").acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// Once a reliable 18x has answered the offer, the caller may make another one, and refresh its target (RFC 3311).
#[test]
fn a_caller_updates_before_the_answer() {
    each_way(|way| {
        let callee = rings_reliably().pauses(1_000).answers("200 OK", "", Body::None).gets("ACK").gets_bye();
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
    });
}

/// While its own offer waits for an answer it is told to come later (RFC 3311 section 5.2).
#[test]
fn a_callers_update_that_comes_too_early_is_put_off() {
    each_way(|way| {
        let caller = way
            .caller()
            .invites("", Body::Sdp)
            .gets("180")
            .sends("UPDATE", "", Body::Sdp)
            .gets_with("500", &[("Retry-After:", "[0-9]+")])
            .gets("200");
        let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers_later()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

#[test]
fn a_callee_updates_before_the_answer() {
    each_way(|way| {
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
            .gets_bye();
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::with(way, supported(), caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}
