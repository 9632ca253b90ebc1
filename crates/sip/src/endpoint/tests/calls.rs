//! Calls from INVITE to the end, one turn of events a test.

use std::time::Duration;

use super::super::{By, Config, Event, Failure, FailureKind, Input};
use super::{Bench, Outputs, header, in_dialog, invite, path, request, response};
use crate::digest::{Algorithm, Credentials};
use crate::{Error, Invite, Path, Transport};

const CONTACT: &str = "Contact: <sip:callee@192.0.2.9:5060>\n";

fn failure(outputs: &Outputs) -> &Failure {
    match outputs.events.as_slice() {
        [Event::Failed { failure, .. }] => failure,
        other => panic!("{other:?}"),
    }
}

fn ended(outputs: &Outputs) -> By {
    match outputs.events.as_slice() {
        [.., Event::Ended { ended, .. }] => ended.by,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_carries_what_it_said() {
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(invite());
    bench.receive(&response(&sent, "183 Session Progress", "x", "", ""));
    let headers =
        "Retry-After: 120 (later);duration=60\nReason: SIP;cause=503, Q.850;cause=34;text=\"No circuit\"\n";
    let refused = bench.receive(&response(&sent, "503 Full", "x", headers, ""));
    let failure = failure(&refused);
    assert_eq!(
        (failure.kind, failure.status, failure.phrase.as_str()),
        (FailureKind::Status, Some(503), "Full")
    );
    assert_eq!((failure.retry_after_s, failure.reason.as_ref().unwrap().cause), (Some(120), 34));
    assert!(failure.provisional && failure.sent && !failure.challenged);
    assert_eq!(refused.methods(), ["ACK"]);
    // The refusal again: its ACK was lost.
    assert_eq!(bench.receive(&response(&sent, "503 Full", "x", "", "")).methods(), ["ACK"]);
    bench.assert_idle();
}

#[test]
fn no_answer_at_all_fails_after_timer_b() {
    let mut bench = Bench::new();
    bench.invite(invite());
    let outputs = bench.wait(Duration::from_millis(31_999));
    // 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s.
    assert_eq!(outputs.methods().len(), 6);
    let outputs = bench.wait(Duration::from_millis(1));
    assert_eq!(failure(&outputs).kind, FailureKind::Timeout);
    assert!(failure(&outputs).sent && !failure(&outputs).provisional);
    bench.assert_idle();
}

#[test]
fn an_answer_that_cannot_be_read_is_none() {
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(invite());
    let answer = response(&sent, "200 OK", "x", CONTACT, "v=0\n").replace("To: <", "To: \"<");
    let outputs = bench.receive(&answer);
    assert!(outputs.sent.is_empty() && outputs.events.is_empty());
    assert_eq!(failure(&bench.wait(Duration::from_secs(32))).kind, FailureKind::Timeout);
    bench.assert_idle();
}

#[test]
fn a_transport_that_never_sent_says_so() {
    let mut bench = Bench::new();
    bench.invite(invite());
    bench.endpoint.handle_input(Input::SendFailed { path: path(), reason: "" }, bench.now);
    let outputs = bench.outputs();
    assert_eq!(failure(&outputs).kind, FailureKind::Transport);
    assert!(!failure(&outputs).sent);
    bench.assert_idle();

    bench.invite(invite());
    bench.wait(Duration::from_millis(600));
    bench.endpoint.handle_input(Input::SendFailed { path: path(), reason: "" }, bench.now);
    assert!(failure(&bench.outputs()).sent, "the first copy went out");
    bench.assert_idle();
}

#[test]
fn a_second_refusal_of_credentials_is_final() {
    let credentials =
        Credentials { username: "a".into(), password: "b".into(), realm: None, algorithm: Algorithm::Md5 };
    let fresh = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\n";
    let stale = "WWW-Authenticate: Digest realm=\"r\", nonce=\"m\", stale=true\n";
    for (challenges, tries) in [(vec![fresh, fresh], 2), (vec![fresh, stale, stale], 3)] {
        let mut bench = Bench::new();
        let (_, mut sent) = bench.invite(Invite { credentials: Some(credentials.clone()), ..invite() });
        for (index, challenge) in challenges.iter().enumerate() {
            let mut outputs = bench.receive(&response(&sent, "401 Unauthorized", "t", challenge, ""));
            if index + 1 == tries {
                assert!(failure(&outputs).challenged);
                assert_eq!((failure(&outputs).status, outputs.methods()), (Some(401), vec!["ACK"]));
            } else {
                assert_eq!(outputs.methods(), ["ACK", "INVITE"]);
                sent = outputs.sent.remove(1);
            }
        }
        bench.assert_idle();
    }
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new();
    let (leg, sent) = bench.invite(invite());
    bench.endpoint.hang_up(leg, None, bench.now);
    assert!(bench.outputs().sent.is_empty());
    let mut outputs = bench.receive(&response(&sent, "100 Trying", "", "", ""));
    assert!(matches!(outputs.events.as_slice(), [Event::Trying { .. }]));
    let cancel = outputs.sent.remove(0);
    assert!(cancel.starts_with("CANCEL "));
    bench.receive(&response(&cancel, "200 OK", "x", "", ""));
    let outputs = bench.receive(&response(&sent, "487 Request Terminated", "x", "", ""));
    assert_eq!((failure(&outputs).kind, failure(&outputs).status), (FailureKind::Canceled, Some(487)));
    bench.assert_idle();
}

#[test]
fn a_cancelled_call_nobody_ends_is_given_up() {
    let mut bench = Bench::new();
    let (leg, sent) = bench.invite(invite());
    bench.receive(&response(&sent, "180 Ringing", "x", "", ""));
    bench.wait(Duration::from_secs(120));
    bench.endpoint.hang_up(leg, None, bench.now);
    let outputs = bench.wait(Duration::from_secs(32));
    assert_eq!(failure(&outputs).kind, FailureKind::Canceled);
    bench.assert_idle();
}

#[test]
fn an_answer_that_crosses_a_cancel_is_acked_and_hung_up() {
    let mut bench = Bench::new();
    let (leg, sent) = bench.invite(invite());
    bench.receive(&response(&sent, "180 Ringing", "x", "", ""));
    bench.endpoint.hang_up(leg, None, bench.now);
    assert_eq!(bench.outputs().methods(), ["CANCEL"]);
    let outputs = bench.receive(&response(&sent, "200 OK", "x", CONTACT, "v=0\n"));
    assert_eq!(outputs.methods(), ["ACK", "BYE"]);
    assert_eq!(failure(&outputs).kind, FailureKind::Canceled);
    bench.assert_idle();
}

#[test]
fn a_fork_that_answers_second_is_hung_up() {
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(invite());
    let first = bench.receive(&response(&sent, "200 OK", "one", CONTACT, "v=0\n"));
    assert!(matches!(first.events.as_slice(), [Event::Answered { .. }]));
    let again = bench.receive(&response(&sent, "200 OK", "one", CONTACT, "v=0\n"));
    assert_eq!(again.only_sent(), first.sent[0]);
    let second = bench.receive(&response(&sent, "200 OK", "two", CONTACT, "v=0\n"));
    assert_eq!((second.methods(), second.events.len()), (vec!["ACK", "BYE"], 0));
    assert!(header(&second.sent[1], "To").ends_with(";tag=two"));
}

#[test]
fn requests_in_a_dialog_go_where_it_says() {
    let to = |address: &str, transport| Path { remote: address.parse().unwrap(), transport, ..path() };
    let udp = |address| to(address, Transport::Udp);
    for (headers, uri, hop) in [
        ("Contact: <sip:c@192.0.2.77:5088>\n", "sip:c@192.0.2.77:5088", udp("192.0.2.77:5088")),
        (
            "Contact: <sip:c@192.0.2.77;transport=tcp>\n",
            "sip:c@192.0.2.77;transport=tcp",
            to("192.0.2.77:5060", Transport::Tcp),
        ),
        ("Contact: <sip:c@host.example.com>\n", "sip:c@host.example.com", path()),
        (
            "Record-Route: <sip:a.example.com;lr>, <sip:192.0.2.5;lr>\nContact: <sip:c@h>\n",
            "sip:c@h",
            udp("192.0.2.5:5060"),
        ),
        // A strict router takes the Request-URI's place.
        ("Record-Route: <sip:192.0.2.5>\nContact: <sip:c@h>\n", "sip:192.0.2.5", udp("192.0.2.5:5060")),
        ("", "sip:+12025550123@sip.example.com", path()),
    ] {
        let mut bench = Bench::new();
        let (_, sent) = bench.invite(invite());
        let outputs = bench.receive(&response(&sent, "200 OK", "x", headers, ""));
        assert!(outputs.sent[0].starts_with(&format!("ACK {uri} SIP/2.0\n")), "{}", outputs.sent[0]);
        assert_eq!(outputs.paths, [hop], "{headers}");
    }
}

#[test]
fn a_bad_invite_is_refused_whole() {
    let mut bench = Bench::new();
    let bad: [fn(&mut Invite); 11] = [
        |i| i.request_uri = "sip:a@h\r\nX: y".into(),
        |i| i.request_uri = "tel:+1".into(),
        |i| i.from_uri = "sip:a@h>;tag=1".into(),
        |i| i.to_uri = "sip:".into(),
        |i| i.from_display = Some("a\nb".into()),
        |i| i.contact_user = Some("a@b".into()),
        |i| i.contact_user = Some("a>b".into()),
        |i| i.route = vec!["sip:proxy".into()],
        |i| i.headers = vec![("X-A".into(), "1\r\nX-B: 2".into())],
        |i| i.headers = vec![("v".into(), "SIP/2.0/UDP h".into())],
        |i| i.headers = vec![("X A".into(), "1".into())],
    ];
    for (index, spoil) in bad.iter().enumerate() {
        let mut invite = invite();
        spoil(&mut invite);
        assert!(bench.endpoint.invite(invite, bench.now).is_err(), "{index}");
    }
    assert!(bench.outputs().sent.is_empty());
    bench.assert_idle();
}

#[test]
fn an_incoming_call_rings_and_is_refused() {
    let mut bench = Bench::new();
    let leg = bench.incoming();
    assert_eq!(bench.endpoint.ring(leg, 200, None, bench.now), Err(Error::BadStatus(200)));
    bench.endpoint.ring(leg, 180, None, bench.now).unwrap();
    let ringing = bench.outputs().only_sent();
    assert_eq!(bench.receive(&request("INVITE", "", "v=0\n")).only_sent(), ringing, "the INVITE came again");
    let breaking = [("Warning", "x\r\ny")];
    assert!(bench.endpoint.reject(leg, 486, &breaking, bench.now).is_err());
    bench.endpoint.reject(leg, 486, &[("Retry-After", "30")], bench.now).unwrap();
    let outputs = bench.outputs();
    assert_eq!((outputs.statuses(), ended(&outputs)), (vec![486], By::Local));
    assert_eq!(header(&outputs.sent[0], "To"), header(&ringing, "To"));
    assert_eq!(header(&outputs.sent[0], "Retry-After"), "30");
    assert_eq!(bench.wait(Duration::from_millis(500)).statuses(), [486], "timer G");
    let ack = request("ACK", "", "").replace("z9hG4bK-ACK", "z9hG4bK-INVITE");
    assert!(bench.receive(&ack).sent.is_empty());
    assert!(bench.wait(Duration::from_secs(4)).sent.is_empty());
    assert_eq!(bench.endpoint.accept(leg, Vec::new(), bench.now), Err(Error::NoSuchLeg));
    bench.endpoint.hang_up(leg, None, bench.now);
    bench.assert_idle();
}

#[test]
fn hanging_up_refuses_a_call_that_was_not_answered() {
    for (reason, status) in [
        (None, 480),
        (Some(crate::Reason::parse("SIP;cause=603").unwrap()), 603),
        (Some(crate::Reason::parse("Q.850;cause=486").unwrap()), 480),
    ] {
        let mut bench = Bench::new();
        let leg = bench.incoming();
        bench.endpoint.hang_up(leg, reason.clone(), bench.now);
        let outputs = bench.outputs();
        assert_eq!((outputs.statuses(), ended(&outputs)), (vec![status], By::Local));
        let written = reason.map(|reason| reason.to_string()).unwrap_or_default();
        assert_eq!(header(&outputs.sent[0], "Reason"), written);
    }
}

#[test]
fn a_200_is_sent_until_it_is_acked() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.answered();
    assert_eq!(bench.endpoint.accept(leg, Vec::new(), bench.now), Err(Error::WrongState));
    assert_eq!(bench.wait(Duration::from_millis(1_600)).sent, [ok.clone(), ok.clone()]);
    assert!(bench.receive(&request("INVITE", "", "v=0\n")).sent.is_empty());
    let acked = bench.receive(&in_dialog("ACK", 1, &ok, "", "v=1\n"));
    assert!(matches!(acked.events.as_slice(), [Event::Acked { body, .. }] if body == b"v=1\r\n"));
    assert!(bench.wait(Duration::from_secs(30)).sent.is_empty());
    assert!(bench.receive(&in_dialog("ACK", 1, &ok, "", "v=1\n")).events.is_empty(), "only the first counts");
}

#[test]
fn a_200_nobody_acks_ends_the_call() {
    let mut bench = Bench::new();
    bench.answered();
    let outputs = bench.wait(Duration::from_secs(32));
    assert_eq!((outputs.methods(), ended(&outputs)), (vec!["BYE"], By::NoAck));
    assert_eq!(outputs.statuses().len(), 10);
    bench.assert_idle();
}

#[test]
fn hanging_up_before_the_ack_waits_for_it() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.answered();
    bench.endpoint.hang_up(leg, None, bench.now);
    assert!(bench.outputs().sent.is_empty());
    let outputs = bench.receive(&in_dialog("ACK", 1, &ok, "", ""));
    assert_eq!((outputs.methods(), ended(&outputs)), (vec!["BYE"], By::Local));
}

#[test]
fn the_caller_cancels() {
    let mut bench = Bench::new();
    bench.incoming();
    let cancel = request("CANCEL", "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\n", "")
        .replace("z9hG4bK-CANCEL", "z9hG4bK-INVITE");
    let outputs = bench.receive(&cancel);
    assert_eq!((outputs.statuses(), ended(&outputs)), (vec![200, 487], By::Canceled));
    assert_eq!(header(&outputs.sent[0], "To"), header(&outputs.sent[1], "To"));
    assert_eq!(bench.receive(&cancel).statuses(), [200], "again");
    let unknown = request("CANCEL", "", "");
    assert_eq!(bench.receive(&unknown).statuses(), [481]);
    bench.assert_idle();
}

#[test]
fn the_caller_hangs_up_while_it_rings() {
    let mut bench = Bench::new();
    let leg = bench.incoming();
    bench.endpoint.ring(leg, 183, Some(b"v=0\r\n".to_vec()), bench.now).unwrap();
    let ringing = bench.outputs().only_sent();
    let outputs = bench.receive(&in_dialog("BYE", 2, &ringing, "", ""));
    assert_eq!((outputs.statuses(), ended(&outputs)), (vec![200, 487], By::Remote));
    bench.assert_idle();
}

#[test]
fn full_tables_shed_new_calls() {
    let mut bench = Bench::with(Config { max_legs: 1, ..Config::default() });
    let (leg, _) = bench.established();
    let other = request("INVITE", "", "v=0\n").replace("call-1", "call-2").replace("-1;rport", "-2;rport");
    let shed = bench.receive(&other);
    assert_eq!((shed.statuses(), header(&shed.sent[0], "Retry-After")), (vec![503], "5"));
    assert_eq!(bench.endpoint.invite(invite(), bench.now), Err(Error::TooManyLegs));
    bench.endpoint.hang_up(leg, None, bench.now);
    bench.outputs();
    assert_eq!(bench.receive(&other).statuses(), [100]);
    let mut bench = Bench::with(Config { max_transactions: 0, ..Config::default() });
    assert_eq!(bench.receive(&other).statuses(), [503]);
    assert_eq!(bench.endpoint.invite(invite(), bench.now), Err(Error::TooManyTransactions));
}

#[test]
fn an_invite_that_came_two_ways_is_merged() {
    let mut bench = Bench::new();
    bench.incoming();
    let copy = request("INVITE", "", "v=0\n").replace("-1;rport", "-other;rport");
    assert_eq!(bench.receive(&copy).statuses(), [482]);
}
