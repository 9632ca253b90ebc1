//! Who offers, and when: late offers, re-INVITEs, glare, acknowledgements out of order.

use super::{Body, Bridged, Script, WAYS, Way};

/// Answers at once and talks until it is hung up on.
fn answers() -> Script {
    Script::callee()
        .gets("INVITE")
        .answers("180 Ringing", "", Body::None)
        .answers("200 OK", "", Body::Sdp)
        .gets("ACK")
        .is_hung_up()
}

/// Calls, is answered and acknowledges.
fn calls(way: Way) -> Script {
    way.caller().invites("", Body::Sdp).gets("200").acks(Body::None)
}

#[test]
fn a_plain_call_is_heard_on_both_sides() {
    for way in WAYS {
        let caller = calls(way).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        let over = bridged.ends_heard("completed", "normal");
        assert_eq!(over.call["hangup_by"], "caller", "{:#}", over.call);
    }
}

/// Our 200 offers, the ACK answers (RFC 3264 section 4, RFC 3261 section 13.2.1).
#[test]
fn a_caller_may_offer_late() {
    for way in WAYS {
        let caller = way
            .caller()
            .invites("", Body::None)
            .gets_with("200", &[("", "m=audio [0-9]+ RTP/AVP")])
            .acks(Body::Sdp)
            .pauses(1_500)
            .hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

#[test]
fn an_ack_with_another_cseq_counts_as_the_first() {
    for way in WAYS {
        let caller = way.caller().invites("", Body::Sdp).gets("200").acks_as(77, Body::None);
        let caller = caller.pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers()) else { return };
        bridged.ends_heard("completed", "normal");
    }
}

/// Our 200 offers again, what the ACK answers holds; the other side hears nothing of it.
#[test]
fn a_reinvite_without_sdp_is_offered_to() {
    for way in WAYS {
        let again = |script: Script| {
            let script = script.pauses(500).sends("INVITE", "", Body::None);
            script.gets_with("200", &[("", "m=audio [0-9]+ RTP/AVP")]).acks(Body::Sdp)
        };
        let caller = again(calls(way)).pauses(1_500).hangs_up();
        let callee = again(
            Script::callee()
                .gets("INVITE")
                .answers("180 Ringing", "", Body::None)
                .answers("200 OK", "", Body::Sdp)
                .gets("ACK"),
        )
        .is_hung_up();
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        bridged.ends_heard("completed", "normal");
    }
}
