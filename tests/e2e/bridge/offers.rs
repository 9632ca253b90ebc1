//! Who offers, and when: late offers, re-INVITEs, glare, acknowledgements out of order.

use super::{Body, Bridged, Script, WAYS, Way, answers, calls, each_way, rings};

#[test]
fn a_plain_call_is_heard_on_both_sides() {
    each_way(|way| {
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        let over = bridged.ends_heard("completed", "normal");
        assert_eq!(over.call["hangup_by"], "caller", "{:#}", over.call);
    });
}

/// Our 200 offers, the ACK answers (RFC 3264 section 4, RFC 3261 section 13.2.1).
#[test]
fn a_caller_may_offer_late() {
    each_way(|way| {
        let caller = way
            .caller()
            .invites("", Body::None)
            .gets_with("200", &[("", "m=audio [0-9]+ RTP/AVP")])
            .acks(Body::Sdp)
            .pauses(1_500)
            .hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// While a 200 of ours waits for its ACK another re-INVITE is put off.
#[test]
fn an_ack_that_counts_on_is_taken() {
    each_way(|way| {
        let counts_on = |script: Script, number: u32| script.gets("200").acks_as(number, Body::None);
        let caller = counts_on(way.caller().invites("", Body::Sdp), 77);
        let caller = counts_on(caller.sends("INVITE", "", Body::Sdp), 78);
        let caller = counts_on(caller.sends("INVITE", "", Body::Sdp), 79);
        let callee = Script::callee().gets("INVITE").answers("200 OK", "", Body::Sdp).gets("ACK");
        let callee = counts_on(callee.sends("INVITE", "", Body::Sdp), 77);
        let callee = counts_on(callee.sends("INVITE", "", Body::Sdp), 78).gets_bye();
        let Some(bridged) = Bridged::start(way, caller.pauses(1_500).hangs_up(), callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// Our 200 offers again, what the ACK answers holds; the other side hears nothing of it.
#[test]
fn a_reinvite_without_sdp_is_offered_to() {
    each_way(|way| {
        let again = |script: Script| {
            let script = script.pauses(500).sends("INVITE", "", Body::None);
            script.gets_with("200", &[("", "m=audio [0-9]+ RTP/AVP")]).acks(Body::Sdp)
        };
        let caller = again(calls(way)).pauses(1_500).hangs_up();
        let callee = again(answers()).gets_bye();
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// It asks for our offer and leaves it at that: what was agreed before still holds.
#[test]
fn a_later_offer_that_is_not_answered_changes_nothing() {
    each_way(|way| {
        let asks = |script: Script| script.sends("INVITE", "", Body::None).gets("200").acks(Body::None);
        let callee = Script::callee().gets("INVITE").answers("200 OK", "", Body::Sdp).gets("ACK");
        let caller = asks(calls(way)).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, asks(callee).gets_bye()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// A re-INVITE that cannot be is refused, and what was agreed holds (RFC 3261 section 14.2).
#[test]
fn an_offer_of_nothing_that_we_speak_changes_nothing() {
    each_way(|way| {
        let tries = |script: Script| script.sends("INVITE", "", Body::Alien).gets("488").acks_refusal();
        let callee = Script::callee().gets("INVITE").answers("200 OK", "", Body::Sdp).gets("ACK");
        let caller = tries(calls(way)).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, tries(callee).gets_bye()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// Both sides answer with a place where nobody listens, and move with a re-INVITE.
#[test]
fn a_reinvite_moves_the_sound() {
    each_way(|way| {
        let moves = |script: Script| script.sends("INVITE", "", Body::Sdp).gets("200").acks(Body::None);
        let callee = Script::callee().gets("INVITE").answers("200 OK", "", Body::Elsewhere).gets("ACK");
        let caller = way.caller().invites("", Body::Elsewhere).gets("200").acks(Body::None);
        // Until the callee has moved, too, nobody hears it.
        let caller = moves(caller).pauses(3_000).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, moves(callee).gets_bye()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// The answer that never comes: the ACK of our offer, and the 200 to it, have no SDP.
#[test]
fn an_offer_that_is_not_answered_ends_the_call() {
    each_way(|way| {
        let caller = way.caller().invites("", Body::None).gets("200").acks(Body::None).gets_bye();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        bridged.ends("failed", "media_failed");

        let caller = way.caller().invites("", Body::Sdp).gets("488").acks_refusal();
        let callee = Script::callee().gets("INVITE").answers("200 OK", "", Body::None).gets("ACK").gets_bye();
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        bridged.ends("failed", "media_failed");
    });
}

/// Answers; from then on we are to refresh the session by re-INVITE, after twenty seconds.
fn answers_with_timer() -> Script {
    rings().answers("200 OK", TIMER, Body::Sdp).gets("ACK")
}

/// Calls likewise: without `Supported: timer` the shortest interval does not hold, and the refreshing is ours.
fn calls_with_timer(way: Way) -> Script {
    way.caller().invites("Session-Expires: 40\n", Body::Sdp).gets("200").acks(Body::None)
}

const TIMER: &str = "Require: timer\nSession-Expires: 40;refresher=uac\n";

/// Takes in our refresh, refuses it for glare, and insists on getting it again.
fn meets(script: Script) -> Script {
    script
        .gets_with("INVITE", &[("", "m=audio [0-9]+ RTP/AVP")])
        .answers("491 Request Pending", "", Body::None)
        .gets("ACK")
        .gets_with("INVITE", &[("", "m=audio [0-9]+ RTP/AVP")])
        .answers("200 OK", TIMER, Body::Sdp)
        .gets("ACK")
}

/// Offers while our refresh is on its way, is refused, and offers again once that is answered.
fn crosses(script: Script) -> Script {
    script
        .gets("INVITE")
        .sends("INVITE", "", Body::Sdp)
        .gets("491")
        .acks_refusal()
        .answers("200 OK", TIMER, Body::Sdp)
        .gets("ACK")
        .sends("INVITE", "", Body::Hold)
        .gets_with("200", &[("", "a=recvonly")])
        .acks(Body::None)
}

/// Plays the four calls side by side: our refreshes are twenty seconds away, and are
/// made again before the session is over.
fn in_every_place(glare: fn(Script) -> Script) {
    std::thread::scope(|scope| {
        for way in WAYS {
            scope.spawn(move || {
                let callee = glare(answers_with_timer()).hangs_up();
                let Some(bridged) = Bridged::start(way, calls(way).gets_bye(), callee) else { return };
                let over = bridged.ends_heard("completed", "normal");
                assert_eq!(over.call["hangup_by"], "callee", "{:#}", over.call);
            });
            scope.spawn(move || {
                let caller = glare(calls_with_timer(way)).hangs_up();
                let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
                bridged.ends_heard("completed", "normal");
            });
        }
    });
}

/// After 2.1 to 4 s where the call is ours, up to 2 s where it is theirs (RFC 3261 section 14.1).
#[test]
fn a_refresh_that_meets_an_offer_is_made_again() {
    in_every_place(meets);
}

#[test]
fn an_offer_that_meets_our_refresh_is_refused_once() {
    in_every_place(crosses);
}

/// An UPDATE (RFC 3311) within the call: one that only refreshes, and one that holds.
#[test]
fn an_update_in_the_call_is_answered() {
    each_way(|way| {
        let updates = |script: Script| {
            script
                .pauses(1_000)
                .sends("UPDATE", "", Body::None)
                .gets("200")
                .sends("UPDATE", "", Body::Hold)
                .gets_with("200", &[("", "a=recvonly")])
                .sends("UPDATE", "", Body::Sdp)
                .gets_with("200", &[("", "a=sendrecv")])
        };
        let caller = updates(calls(way)).pauses(1_500).hangs_up();
        let callee = Script::callee().gets("INVITE").answers("200 OK", "", Body::Sdp).gets("ACK");
        let callee = updates(callee).gets_bye();
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}
