//! Ends that meet: BYE and BYE, CANCEL and 200, answers of several phones, and an ACK that never comes.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::json;

use super::{Body, Bridged, LIMIT, Over, Script, Way, answers, calls, each_way, office, register, rings};
use crate::odd::response;
use crate::peers::sipp::Sipp;
use crate::ports;

/// The second is another request, for a call that is no more.
#[test]
fn a_second_bye_is_answered_and_changes_nothing() {
    each_way(|way| {
        let caller = calls(way).pauses(500).hangs_up().sends("BYE", "", Body::None).gets("481");
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        let over = bridged.ends("completed", "normal");
        assert_eq!(over.call["hangup_by"], "caller", "{:#}", over.call);

        let callee = answers().pauses(500).hangs_up().sends("BYE", "", Body::None).gets("481");
        let Some(bridged) = Bridged::start(way, calls(way).gets_bye(), callee) else { return };
        let over = bridged.ends("completed", "normal");
        assert_eq!(over.call["hangup_by"], "callee", "{:#}", over.call);
    });
}

/// Both get a 200 for their BYE, and the first one counts.
#[test]
fn both_sides_may_hang_up_at_once() {
    let crosses = |script: Script| {
        script.gets("BYE").sends("BYE", "", Body::None).gets("200").answers_to(
            "BYE",
            "200 OK",
            "",
            Body::None,
        )
    };
    each_way(|way| {
        let caller = calls(way).pauses(500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, crosses(answers())) else { return };
        let over = bridged.ends("completed", "normal");
        assert_eq!(over.call["hangup_by"], "caller", "{:#}", over.call);

        let callee = answers().pauses(500).hangs_up();
        let Some(bridged) = Bridged::start(way, crosses(calls(way)), callee) else { return };
        let over = bridged.ends("completed", "normal");
        assert_eq!(over.call["hangup_by"], "callee", "{:#}", over.call);
    });
}

/// A CANCEL that comes after the answer changes nothing (RFC 3261 section 9.2).
#[test]
fn a_cancel_that_our_answer_crosses_is_too_late() {
    each_way(|way| {
        let caller = way.caller().invites("", Body::Sdp).gets("200").cancels().gets("200");
        let caller = caller.acks(Body::None).pauses(1_500).hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// We cancel, and the callee answers: its call is acknowledged and hung up, the caller's is canceled.
#[test]
fn an_answer_that_crosses_our_cancel_gets_bye() {
    each_way(|way| {
        let caller =
            way.caller().invites("", Body::Sdp).gets("180").cancels().gets("200").gets("487").acks_refusal();
        let callee = rings()
            .gets("CANCEL")
            .answers("200 OK", "", Body::Sdp)
            .gets("ACK")
            .answers_to("CANCEL", "200 OK", "", Body::None)
            .gets_bye();
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        let over = bridged.ends("canceled", "canceled");
        assert_eq!(over.call["hangup_by"], "caller", "{:#}", over.call);
    });
}

/// A proxy behind us forks, and all three answer: the first has the call, the others are acknowledged and hung up
/// (RFC 3261 section 13.2.2.4).
#[test]
fn of_three_answers_to_one_invite_the_first_counts() {
    each_way(|way| {
        let too_late = |script: Script, tag: &str| {
            let to = [("To:", tag)];
            script
                .tagged(tag)
                .answers("200 OK", "", Body::Sdp)
                .gets_with("ACK", &to)
                .gets_with("BYE", &to)
                .replies("200 OK", "", Body::None)
        };
        let mut callee = Script::callee().gets("INVITE");
        for (tag, status) in [("one", "183 Session Progress"), ("two", "180 Ringing"), ("three", "183 Still")]
        {
            let early = if tag == "two" { Body::None } else { Body::Elsewhere };
            callee = callee.tagged(tag).answers(status, "", early);
        }
        callee = callee.tagged("two").answers("200 OK", "", Body::Sdp).gets_with("ACK", &[("To:", "two")]);
        callee = too_late(too_late(callee, "three"), "one");
        callee = callee.gets_with("BYE", &[("To:", "two")]).replies("200 OK", "", Body::None);
        let Some(bridged) = Bridged::start(way, calls(way).pauses(2_000).hangs_up(), callee) else { return };
        bridged.ends_heard("completed", "normal");
    });
}

/// Three phones of one user ring; who answers first has the call, and the others are told so (RFC 3326). One of them
/// answers all the same, for it had not heard yet.
#[test]
fn of_three_phones_the_first_to_answer_has_the_call() {
    let Some((server, first)) = office(Way::In, "udp", json!({})) else { return };
    let mut phones = Vec::new();
    for (index, port) in [first, ports::take(1), ports::take(1)].into_iter().enumerate() {
        if index > 0 {
            register(&server, "bob", port);
        }
        let elsewhere = [("Reason:", "SIP ?; ?cause=200 ?; ?text=.Call completed elsewhere")];
        let script = match index {
            0 => rings().gets_canceled(&elsewhere),
            1 => rings().pauses(500).answers("200 OK", "", Body::Sdp).gets("ACK").gets_bye(),
            _ => rings()
                .gets_with("CANCEL", &elsewhere)
                .answers("200 OK", "", Body::Sdp)
                .gets("ACK")
                .answers_to("CANCEL", "200 OK", "", Body::None)
                .gets_bye(),
        };
        let name = format!("phone-{index}");
        phones.push(Sipp::play(server.folder(), &name, &script.xml(9), "udp", port, None).expect("SIPp"));
    }
    let caller = calls(Way::In).pauses(500).hangs_up().xml(9);
    let sip = server.sip();
    let caller =
        Sipp::play(server.folder(), "caller", &caller, "udp", ports::take(1), Some(sip)).expect("SIPp");
    caller.finishes_content();
    phones.into_iter().for_each(Sipp::finishes_content);
    Over::of(server, "completed", "normal");
}

/// A caller may leave an early dialog by BYE as well (RFC 3261 section 15).
#[test]
fn a_caller_may_say_bye_while_it_rings() {
    each_way(|way| {
        let caller = way.caller().invites("", Body::Sdp).gets("180").sends("BYE", "", Body::None);
        let caller = caller.gets("200?").gets("487").acks_refusal();
        let callee = rings().gets_canceled(&[]);
        let Some(bridged) = Bridged::start(way, caller, callee) else { return };
        bridged.ends("canceled", "canceled");
    });
}

/// The caller hangs up instead of acknowledging.
#[test]
fn a_bye_may_come_in_the_place_of_an_ack() {
    each_way(|way| {
        let caller = way.caller().invites("", Body::Sdp).gets("200").hangs_up();
        let Some(bridged) = Bridged::start(way, caller, answers().gets_bye()) else { return };
        let over = bridged.ends("completed", "normal");
        assert_eq!(over.call["hangup_by"], "caller", "{:#}", over.call);
    });
}

/// The callee hangs up with its answer; SIPp would wait for the ACK.
#[test]
fn a_bye_may_come_right_behind_the_answer() {
    let Some((server, port)) = office(Way::Out, "udp", json!({})) else { return };
    let callee = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("its port");
    callee.set_read_timeout(Some(Duration::from_secs(15))).expect("a time-out");
    let receive = || {
        let mut buffer = [0; 4096];
        let (length, from) = callee.recv_from(&mut buffer).expect("a message in time");
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
    };
    let caller = calls(Way::Out).gets_bye().xml(9);
    let sip = server.sip();
    let caller =
        Sipp::play(server.folder(), "caller", &caller, "udp", ports::take(1), Some(sip)).expect("SIPp");

    let (invite, from) = receive();
    let header = |name: &str| {
        let value = invite.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_else(|| panic!("no {name} in {invite}")).trim()
    };
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    let more = format!(
        "Contact: <sip:callee@127.0.0.1:{port}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let bye = format!(
        "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n\
         From: {to};tag=callee\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        target = header("Contact:").trim_matches(['<', '>']),
        to = header("To:"),
        from = header("From:"),
        call_id = header("Call-ID:"),
    );
    for message in [response(&invite, "200 OK", &more), bye] {
        callee.send_to(message.as_bytes(), from).expect("sent");
    }
    assert!(receive().0.starts_with("ACK "));
    assert!(receive().0.starts_with("SIP/2.0 200 "));
    caller.finishes_content();
    let over = Over::of(server, "completed", "normal");
    assert_eq!(over.call["hangup_by"], "callee", "{:#}", over.call);
}

/// Our 200 is sent again for 64 T1, then both are hung up (RFC 3261 section 13.3.1.4).
#[test]
fn an_answer_without_ack_is_repeated_and_given_up() {
    let caller = Way::In.caller().invites("", Body::Sdp).gets("200").gets_bye();
    let Some(bridged) = Bridged::start(Way::In, caller, answers().gets_bye()) else { return };
    let Bridged { server, caller, callee, .. } = bridged;
    callee.finishes_content_in(LIMIT);
    let answers = caller.messages().matches("\nSIP/2.0 200 OK").count();
    caller.finishes_content_in(LIMIT);
    assert!(answers >= 9, "the 200 came {answers} times");
    Over::of(server, "failed", "no_ack");
}
