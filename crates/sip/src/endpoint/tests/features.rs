//! What happens inside calls, message by message.

use std::time::Duration;

use super::super::{By, Config, Event, FailureKind};
use super::{Bench, Outputs, header, in_dialog, invite, request, response};
use crate::{Error, Invite, Refresher, Reliable, SessionTimer};

const CONTACT: &str = "Contact: <sip:callee@192.0.2.9:5060>\n";
const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\n";

fn timer(expires_s: u32, refresher: Refresher) -> Option<SessionTimer> {
    Some(SessionTimer { expires_s, min_se_s: 90, refresher })
}

fn reliable(number: u32) -> String {
    format!("{CONTACT}{ALLOW}Require: 100rel\nRSeq: {number}\n")
}

/// A request of the callee within the call that `invite` began.
fn from_callee(invite: &str, method: &str, cseq: u32, headers: &str, body: &str) -> String {
    in_dialog(method, cseq, "", headers, body)
        .replace("To: \n", &format!("To: {}\n", header(invite, "From")))
        .replace("From: <sip:caller@example.net>;tag=them", "From: <sip:+12025550123@sip.example.com>;tag=a")
        .replace("Call-ID: call-1", &format!("Call-ID: {}", header(invite, "Call-ID")))
}

fn established(bench: &mut Bench, invite: Invite, headers: &str) -> (crate::LegId, String) {
    let (leg, sent) = bench.invite(invite);
    let outputs = bench.receive(&response(&sent, "200 OK", "a", &format!("{CONTACT}{headers}"), "v=1\n"));
    assert_eq!(outputs.methods(), ["ACK"]);
    (leg, sent)
}

fn ended(outputs: &Outputs) -> Option<By> {
    outputs.events.iter().find_map(|event| match event {
        Event::Ended { ended, .. } => Some(ended.by),
        _ => None,
    })
}

#[test]
fn each_fork_is_acknowledged_in_its_own_dialog() {
    let mut bench = Bench::new();
    let (leg, sent) = bench.invite(Invite { reliable: Reliable::Supported, ..invite() });
    assert_eq!(header(&sent, "Supported"), "100rel");
    for (tag, number, told, rack) in [
        ("a", 7, true, Some("7 1 INVITE")),
        ("b", 70, true, Some("70 1 INVITE")),
        ("a", 7, false, None),
        ("a", 9, false, None),
        ("a", 8, true, Some("8 1 INVITE")),
    ] {
        let answer = response(&sent, "183 Session Progress", tag, &reliable(number), "v=1\n");
        let outputs = bench.receive(&answer);
        assert_eq!(outputs.events.len(), usize::from(told), "{tag} {number}");
        let pracks = outputs.sent.iter().map(|prack| header(prack, "RAck")).collect::<Vec<_>>();
        assert_eq!(pracks, rack.into_iter().collect::<Vec<_>>());
        assert!(outputs.sent.iter().all(|prack| header(prack, "To").ends_with(&format!("tag={tag}"))));
    }
    // The answer came in the 183: both sides may offer anew before the 2xx.
    bench.endpoint.update(leg, b"v=2\r\n".to_vec(), bench.now).unwrap();
    let update = bench.outputs().only_sent();
    assert_eq!(header(&update, "CSeq"), "4 UPDATE");
    let outputs = bench.receive(&response(&update, "200 OK", "a", CONTACT, "v=3\n"));
    assert!(
        matches!(outputs.events.as_slice(), [Event::Reoffered { result: Ok(body), .. }] if body == b"v=3\r\n")
    );
    let outputs = bench.receive(&from_callee(&sent, "UPDATE", 1, "", "v=4\n"));
    assert!(matches!(outputs.events.as_slice(), [Event::Offer { .. }]));
    bench.endpoint.answer_offer(leg, Ok(b"v=5\r\n".to_vec()), bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [200]);
    let won = bench.receive(&response(&sent, "200 OK", "b", CONTACT, ""));
    assert_eq!((won.methods(), header(&won.sent[0], "CSeq")), (vec!["ACK"], "1 ACK"));
    let lost = bench.receive(&response(&sent, "200 OK", "a", CONTACT, "v=1\n"));
    assert_eq!((lost.methods(), header(&lost.sent[1], "CSeq")), (vec!["ACK", "BYE"], "5 BYE"));
}

#[test]
fn a_reliable_answer_holds_the_2xx() {
    let mut bench = Bench::new();
    let leg = match bench.receive(&request("INVITE", "Require: 100rel\n", "v=0\n")).events.as_slice() {
        [Event::Incoming { leg, .. }] => *leg,
        other => panic!("{other:?}"),
    };
    bench.endpoint.ring(leg, 183, Some(b"v=1\r\n".to_vec()), bench.now).unwrap();
    let ringing = bench.outputs().only_sent();
    bench.endpoint.ring(leg, 180, None, bench.now).unwrap();
    assert!(bench.outputs().sent.is_empty(), "one at a time");
    let number: u32 = header(&ringing, "RSeq").parse().unwrap();
    assert_eq!(bench.wait(Duration::from_millis(500)).only_sent(), ringing);
    let prack =
        |cseq, number: u32| in_dialog("PRACK", cseq, &ringing, &format!("RAck: {number} 1 INVITE\n"), "");
    assert_eq!(bench.receive(&prack(2, number + 1)).statuses(), [481]);
    bench.endpoint.accept(leg, b"v=1\r\n".to_vec(), bench.now).unwrap();
    assert!(bench.outputs().sent.is_empty(), "the answer is not acknowledged yet");
    assert_eq!(bench.endpoint.accept(leg, Vec::new(), bench.now), Err(Error::WrongState));
    let outputs = bench.receive(&prack(3, number));
    assert_eq!(outputs.statuses(), [200, 200]);
    assert!(matches!(outputs.events.as_slice(), [Event::Pracked { .. }]));
    assert!(outputs.sent[1].ends_with("\n\n"), "the answer is not said again");
    assert_eq!(bench.receive(&prack(3, number)).statuses(), [200], "again");
}

#[test]
fn a_prack_may_bring_an_offer() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "Require: 100rel\n", "v=0\n"));
    let leg = bench.endpoint.legs.find("b8e30eb68636cc1e").unwrap();
    bench.endpoint.ring(leg, 183, Some(b"v=1\r\n".to_vec()), bench.now).unwrap();
    let ringing = bench.outputs().only_sent();
    let rack = format!("RAck: {} 1 INVITE\n", header(&ringing, "RSeq"));
    let outputs = bench.receive(&in_dialog("PRACK", 2, &ringing, &rack, "v=2\n"));
    assert!(outputs.sent.is_empty());
    assert!(matches!(outputs.events.as_slice(), [Event::Pracked { .. }, Event::Offer { .. }]), "{outputs:?}");
    bench.endpoint.accept(leg, Vec::new(), bench.now).unwrap();
    assert!(bench.outputs().sent.is_empty(), "its offer is not answered yet");
    bench.endpoint.answer_offer(leg, Ok(b"v=3\r\n".to_vec()), bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [200, 200]);
}

#[test]
fn a_reliable_18x_nobody_acknowledges_ends_the_call() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "Require: 100rel\n", "v=0\n"));
    let leg = bench.endpoint.legs.find("b8e30eb68636cc1e").unwrap();
    bench.endpoint.ring(leg, 180, None, bench.now).unwrap();
    let outputs = bench.wait(Duration::from_secs(33));
    assert_eq!((outputs.statuses().last(), ended(&outputs)), (Some(&504), Some(By::NoAck)));
    bench.assert_idle();
}

#[test]
fn what_an_invite_is_asked_to_change() {
    for (status, headers, reliable, name, value) in [
        ("420 Bad Extension", "Unsupported: 100rel\n", Reliable::Supported, "Supported", ""),
        ("421 Extension Required", "Require: 100rel\n", Reliable::Off, "Supported", "100rel"),
        ("421 Extension Required", "Require: timer\n", Reliable::Off, "Supported", "timer"),
        ("422 Too Small", "Min-SE: 3600\n", Reliable::Off, "Session-Expires", "3600;refresher=uas"),
    ] {
        let mut bench = Bench::new();
        let (_, sent) = bench.invite(Invite { reliable, ..invite() });
        let outputs = bench.receive(&response(&sent, status, "a", headers, ""));
        assert_eq!(outputs.methods(), ["ACK", "INVITE"], "{status}");
        assert_eq!(header(&outputs.sent[1], name), value, "{status}");
    }
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(Invite { reliable: Reliable::Required, ..invite() });
    assert_eq!(header(&sent, "Require"), "100rel");
    let refused = bench.receive(&response(&sent, "420 Bad Extension", "a", "Unsupported: 100rel\n", ""));
    assert!(matches!(refused.events.as_slice(), [Event::Failed { .. }]));
}

#[test]
fn what_we_ask_a_caller_to_change() {
    let config = || Config {
        reliable: Reliable::Required,
        session_timer: timer(1_800, Refresher::Uas),
        ..Config::default()
    };
    let refused = Bench::with(config()).receive(&request("INVITE", "", "v=0\n"));
    assert_eq!((refused.statuses(), header(&refused.sent[0], "Require")), (vec![421], "100rel"));
    let headers = "Supported: timer, 100rel\nSession-Expires: 60\n";
    let refused = Bench::with(config()).receive(&request("INVITE", headers, "v=0\n"));
    assert_eq!((refused.statuses(), header(&refused.sent[0], "Min-SE")), (vec![422], "90"));
}

#[test]
fn the_refresher_refreshes_by_update_or_else_by_reinvite() {
    for (allow, method) in [(ALLOW, "UPDATE"), ("Allow: INVITE, ACK, BYE, CANCEL\n", "INVITE")] {
        let mut bench = Bench::new();
        let invite = Invite { session_timer: timer(600, Refresher::Uac), ..invite() };
        let headers = format!("{allow}Session-Expires: 600;refresher=uac\n");
        let (_, sent) = established(&mut bench, invite, &headers);
        assert_eq!(header(&sent, "Session-Expires"), "600;refresher=uac");
        let refresh = bench.wait(Duration::from_secs(300)).only_sent();
        assert!(refresh.starts_with(method), "{refresh}");
        assert_eq!(header(&refresh, "Session-Expires"), "600;refresher=uac");
        let answer = response(&refresh, "200 OK", "a", "Session-Expires: 600;refresher=uac\n", "v=1\n");
        match (method, bench.receive(&answer).events.as_slice()) {
            // Only an offer is answered.
            ("UPDATE", []) => {}
            ("INVITE", [Event::Refreshed { body, .. }]) => assert_eq!(body, b"v=1\r\n"),
            (_, events) => panic!("{method}: {events:?}"),
        }
        assert_eq!(bench.wait(Duration::from_secs(300)).methods()[0], method);
        let outputs = bench.wait(Duration::from_secs(40));
        assert_eq!(ended(&outputs), Some(By::Lost), "nobody answers");
        bench.assert_idle();
    }
}

#[test]
fn a_session_the_other_side_lets_go_ends() {
    let mut bench = Bench::new();
    let invite = Invite { session_timer: timer(600, Refresher::Uas), ..invite() };
    let (_, sent) = established(&mut bench, invite, "Session-Expires: 600;refresher=uas\n");
    bench.wait(Duration::from_secs(500));
    let headers = "Supported: timer\nSession-Expires: 600;refresher=uac\n";
    let refreshed = bench.receive(&from_callee(&sent, "UPDATE", 1, headers, "")).only_sent();
    assert_eq!(header(&refreshed, "Session-Expires"), "600;refresher=uac");
    assert_eq!(ended(&bench.wait(Duration::from_secs(567))), None);
    let outputs = bench.wait(Duration::from_secs(2));
    assert_eq!((outputs.methods()[0], ended(&outputs)), ("BYE", Some(By::Lost)));
    bench.assert_idle();
}

#[test]
fn offers_that_meet_wait_for_one_another() {
    let mut bench = Bench::new();
    let (leg, sent) = established(&mut bench, invite(), "");
    bench.endpoint.reinvite(leg, b"v=2\r\n".to_vec(), bench.now).unwrap();
    let ours = bench.outputs().only_sent();
    assert_eq!(bench.endpoint.reinvite(leg, Vec::new(), bench.now), Err(Error::WrongState));
    assert_eq!(bench.receive(&from_callee(&sent, "INVITE", 1, "", "v=3\n")).statuses(), [491]);
    assert_eq!(bench.receive(&response(&ours, "491 Request Pending", "a", "", "")).methods(), ["ACK"]);
    let outputs = bench.wait(Duration::from_millis(2_099));
    assert!(outputs.methods().is_empty(), "who began the call waits longer");
    let outputs = bench.wait(Duration::from_millis(1_901));
    let again = outputs.sent.into_iter().find(|message| message.starts_with("INVITE ")).unwrap();
    let outputs = bench.receive(&response(&again, "200 OK", "a", CONTACT, "v=4\n"));
    assert_eq!(outputs.methods(), ["ACK"]);
    assert!(matches!(outputs.events.as_slice(), [Event::Reoffered { result: Ok(_), .. }]));
    bench.endpoint.reinvite(leg, b"v=5\r\n".to_vec(), bench.now).unwrap();
    let ours = bench.outputs().only_sent();
    let refused = bench.receive(&response(&ours, "488 Not Acceptable Here", "a", "", ""));
    assert!(matches!(refused.events.as_slice(), [Event::Reoffered { result: Err(488), .. }]));
    bench.endpoint.reinvite(leg, b"v=6\r\n".to_vec(), bench.now).unwrap();
    let ours = bench.outputs().only_sent();
    let gone = bench.receive(&response(&ours, "481 No Call", "a", "", ""));
    assert_eq!((gone.methods(), ended(&gone)), (vec!["ACK", "BYE"], Some(By::Lost)));
    bench.assert_idle();
}

#[test]
fn a_transfer_they_ask_for() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    let refer_to = "Refer-To: <sip:b@h?Replaces=c%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>\nReferred-By: <sip:r@h>\n";
    let outputs = bench.receive(&in_dialog("REFER", 2, &ok, refer_to, ""));
    let [Event::Refer { refer_to: uri, replaces, referred_by, .. }] = outputs.events.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!((uri.as_str(), referred_by.as_deref()), ("sip:b@h", Some("<sip:r@h>")));
    assert_eq!(replaces.as_ref().unwrap().call_id, "c@h");
    assert_eq!(bench.receive(&in_dialog("REFER", 3, &ok, refer_to, "")).statuses(), [491]);
    bench.endpoint.accept_refer(leg, bench.now).unwrap();
    let outputs = bench.outputs();
    assert_eq!((outputs.statuses(), outputs.methods()), (vec![202], vec!["NOTIFY"]));
    assert_eq!(header(&outputs.sent[1], "Event"), "refer;id=2");
    assert_eq!(header(&outputs.sent[1], "Subscription-State"), "active;expires=180");
    bench.endpoint.notify_refer(leg, 200, bench.now).unwrap();
    let last = bench.outputs().only_sent();
    assert_eq!(header(&last, "Subscription-State"), "terminated;reason=noresource");
    assert!(last.ends_with("\n\nSIP/2.0 200 OK\n"), "{last}");
    assert_eq!(bench.endpoint.notify_refer(leg, 200, bench.now), Err(Error::WrongState));
    bench.receive(&in_dialog("REFER", 4, &ok, "Refer-To: <sip:b@h>\n", ""));
    bench.endpoint.reject_refer(leg, 603, bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [603]);
    assert_eq!(bench.receive(&in_dialog("REFER", 5, &ok, "Refer-To: <tel:+1>\n", "")).statuses(), [416]);
}

#[test]
fn a_transfer_we_ask_for() {
    let mut bench = Bench::new();
    let (leg, sent) = established(&mut bench, invite(), "");
    assert!(bench.endpoint.refer(leg, "tel:+1", bench.now).is_err());
    bench.endpoint.refer(leg, "sip:b@h", bench.now).unwrap();
    let refer = bench.outputs().only_sent();
    assert_eq!(header(&refer, "Refer-To"), "<sip:b@h>");
    assert_eq!(bench.endpoint.refer(leg, "sip:b@h", bench.now), Err(Error::WrongState));
    bench.receive(&response(&refer, "202 Accepted", "a", "", ""));
    for (cseq, state, body, status) in [
        (1, "active;expires=60", "SIP/2.0 180 Ringing\n", 180),
        (2, "terminated;reason=noresource", "SIP/2.0 486 Busy Here\n", 486),
    ] {
        let headers = format!("Event: refer\nSubscription-State: {state}\n");
        let outputs = bench.receive(&from_callee(&sent, "NOTIFY", cseq, &headers, body));
        assert_eq!(outputs.statuses(), [200]);
        assert!(
            matches!(outputs.events.as_slice(), [Event::ReferProgress { status: s, .. }] if *s == status)
        );
    }
    assert_eq!(bench.receive(&from_callee(&sent, "NOTIFY", 3, "Event: refer\n", "")).statuses(), [481]);
    assert_eq!(bench.receive(&from_callee(&sent, "NOTIFY", 4, "Event: dialog\n", "")).statuses(), [489]);
}

#[test]
fn info_goes_out_in_the_dialog() {
    let mut bench = Bench::new();
    let (leg, _) = established(&mut bench, invite(), "");
    bench.endpoint.info(leg, "application/dtmf-relay", b"Signal=5\r\n".to_vec(), bench.now).unwrap();
    let info = bench.outputs().only_sent();
    assert_eq!((header(&info, "CSeq"), header(&info, "Content-Type")), ("2 INFO", "application/dtmf-relay"));
    assert!(bench.endpoint.info(leg, "a\r\nb", Vec::new(), bench.now).is_err());
    bench.receive(&response(&info, "200 OK", "a", "", ""));
}

#[test]
fn a_redirection_says_where_to() {
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(invite());
    let headers = "Contact: <sip:later@h>;q=0.2, <sip:first@h>\nContact: <sip:next@h>;q=0.7\n";
    let outputs = bench.receive(&response(&sent, "302 Moved", "a", headers, ""));
    let [Event::Failed { failure, .. }] = outputs.events.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((failure.kind, failure.status), (FailureKind::Status, Some(302)));
    assert_eq!(failure.contacts, ["sip:first@h", "sip:next@h", "sip:later@h"]);
}

#[test]
fn an_ack_with_another_cseq_counts_for_the_first_answer() {
    let mut bench = Bench::new();
    let (_, ok) = bench.answered();
    let acked = bench.receive(&in_dialog("ACK", 2, &ok, "", ""));
    assert!(matches!(acked.events.as_slice(), [Event::Acked { .. }]));
}

#[test]
fn our_own_invite_that_comes_back_is_a_loop_or_a_spiral() {
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(Invite { route: Vec::new(), ..invite() });
    let back = sent.replacen("Via: ", "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp\nVia: ", 1);
    assert_eq!(bench.receive(&back).statuses(), [482]);
    let aimed = back.replacen("INVITE sip:+12025550123@", "INVITE sip:100@", 1);
    assert_eq!(bench.receive(&aimed).statuses(), [100]);
}

#[test]
fn two_that_hang_up_at_once_both_get_a_200() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    bench.endpoint.hang_up(leg, None, bench.now);
    let bye = bench.outputs().sent.remove(0);
    assert_eq!(bench.receive(&in_dialog("BYE", 2, &ok, "", "")).statuses(), [200]);
    bench.receive(&response(&bye, "200 OK", "", "", ""));
    assert_eq!(bench.receive(&in_dialog("BYE", 3, &ok, "", "")).statuses(), [481]);
    bench.assert_idle();
}

#[test]
fn a_saved_leg_is_ended_by_another_endpoint() {
    let mut before = Bench::new();
    let (leg, sent) = before.invite(invite());
    let calling = before.endpoint.save(leg).unwrap();
    before.receive(&response(&sent, "200 OK", "a", CONTACT, "v=1\n"));
    let answered = before.endpoint.save(leg).unwrap();
    assert_eq!(answered.path, super::path());

    let mut bench = Bench::new();
    bench.endpoint.end_saved(answered.clone(), None, None, bench.now).unwrap();
    let bye = bench.outputs().only_sent();
    assert!(bye.starts_with("BYE sip:callee@192.0.2.9:5060 "), "{bye}");
    assert_eq!(header(&bye, "From"), header(&sent, "From"));
    assert!(header(&bye, "To").ends_with(";tag=a"));
    let outputs = bench.receive(&response(&bye, "200 OK", "", "", ""));
    assert!(
        matches!(outputs.events.as_slice(), [Event::SavedEnded { call_id }] if *call_id == answered.call_id)
    );

    bench.endpoint.end_saved(calling.clone(), None, None, bench.now).unwrap();
    let cancel = bench.outputs().only_sent();
    assert!(cancel.starts_with("CANCEL ") && header(&cancel, "Via") == header(&sent, "Via"));
    let crossing = bench.receive(&response(&sent, "200 OK", "a", CONTACT, "v=1\n"));
    assert_eq!(crossing.methods(), ["ACK", "BYE"]);
    let outputs = bench.receive(&response(&crossing.sent[1], "200 OK", "", "", ""));
    assert!(matches!(outputs.events.as_slice(), [Event::SavedEnded { .. }]));
    bench.assert_idle();

    bench.endpoint.end_saved(calling, None, None, bench.now).unwrap();
    bench.outputs();
    let outputs = bench.receive(&response(&sent, "487 Request Terminated", "a", "", ""));
    assert!(matches!(outputs.events.as_slice(), [Event::SavedEnded { .. }]));
    bench.assert_idle();
    let bad = crate::Saved { local_tag: "x".into(), ..answered };
    assert!(bench.endpoint.end_saved(bad, None, None, bench.now).is_err());
}
