//! Requests within a call.

use std::time::Duration;

use super::super::{By, Event};
use super::{Bench, header, in_dialog};
use crate::Error;

#[test]
fn a_reinvite_is_offered_answered_and_acked() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    let moved =
        in_dialog("INVITE", 2, &ok, "", "v=2\n").replace("caller@192.0.2.9:5060", "caller@192.0.2.50:5066");
    let outputs = bench.receive(&moved);
    assert_eq!(outputs.statuses(), [100]);
    assert!(matches!(outputs.events.as_slice(), [Event::Offer { body, .. }] if body == b"v=2\r\n"));
    assert_eq!(bench.receive(&moved).statuses(), [100], "again");
    bench.endpoint.answer_offer(leg, Ok(b"v=3\r\n".to_vec()), bench.now).unwrap();
    let accepted = bench.outputs().only_sent();
    assert_eq!(bench.endpoint.answer_offer(leg, Err(488), bench.now), Err(Error::WrongState));
    assert_eq!(bench.wait(Duration::from_millis(500)).only_sent(), accepted);
    assert_eq!(bench.receive(&in_dialog("ACK", 2, &accepted, "", "")).events.len(), 1);
    bench.endpoint.hang_up(leg, None, bench.now);
    let outputs = bench.outputs();
    assert!(outputs.sent[0].starts_with("BYE sip:caller@192.0.2.50:5066 "), "{}", outputs.sent[0]);
    assert_eq!(outputs.paths[0].remote, "192.0.2.50:5066".parse().unwrap());
    bench.assert_idle();
}

/// That of the first answer may come again; a number that nobody has used yet can only mean this one.
#[test]
fn an_ack_that_counts_on_is_taken_and_an_old_one_is_not() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    bench.receive(&in_dialog("INVITE", 2, &ok, "", "v=2\n"));
    bench.endpoint.answer_offer(leg, Ok(b"v=3\r\n".to_vec()), bench.now).unwrap();
    let accepted = bench.outputs().only_sent();
    assert!(bench.receive(&in_dialog("ACK", 1, &ok, "", "")).events.is_empty());
    assert_eq!(bench.wait(Duration::from_millis(500)).only_sent(), accepted);
    let outputs = bench.receive(&in_dialog("ACK", 3, &accepted, "", ""));
    assert!(matches!(outputs.events.as_slice(), [Event::Acked { .. }]), "{outputs:?}");
    assert!(bench.wait(Duration::from_secs(40)).sent.is_empty());
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    let moved =
        in_dialog("INVITE", 2, &ok, "", "v=2\n").replace("caller@192.0.2.9:5060", "caller@192.0.2.50:5066");
    bench.receive(&moved);
    assert_eq!(bench.endpoint.answer_offer(leg, Err(200), bench.now), Err(Error::BadStatus(200)));
    bench.endpoint.answer_offer(leg, Err(488), bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [488]);
    assert_eq!(bench.receive(&moved).statuses(), [488], "again");
    bench.endpoint.hang_up(leg, None, bench.now);
    assert!(bench.outputs().sent[0].starts_with("BYE sip:caller@192.0.2.9:5060 "));
    bench.assert_idle();
}

#[test]
fn one_offer_at_a_time() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.answered();
    let early = bench.receive(&in_dialog("INVITE", 2, &ok, "", "v=2\n"));
    assert_eq!(early.statuses(), [500], "our 200 is not ACKed yet");
    assert!(header(&early.sent[0], "Retry-After").parse::<u32>().unwrap() <= 10);
    bench.receive(&in_dialog("ACK", 1, &ok, "", ""));
    assert_eq!(bench.receive(&in_dialog("INVITE", 3, &ok, "", "v=2\n")).statuses(), [100]);
    assert_eq!(bench.receive(&in_dialog("UPDATE", 4, &ok, "", "v=3\n")).statuses(), [500]);
    bench.endpoint.hang_up(leg, None, bench.now);
    let outputs = bench.outputs();
    assert_eq!((outputs.statuses(), outputs.methods()), (vec![487], vec!["BYE"]));
    bench.assert_idle();
}

#[test]
fn a_reinvite_can_be_cancelled() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    bench.receive(&in_dialog("INVITE", 2, &ok, "", "v=2\n"));
    let cancel = in_dialog("CANCEL", 2, &ok, "", "").replace("z9hG4bK-CANCEL", "z9hG4bK-INVITE");
    let outputs = bench.receive(&cancel);
    assert_eq!((outputs.statuses(), outputs.events.len()), (vec![200, 487], 0));
    assert_eq!(bench.endpoint.answer_offer(leg, Ok(Vec::new()), bench.now), Err(Error::WrongState));
}

#[test]
fn update_with_and_without_an_offer() {
    let mut bench = Bench::new();
    let (leg, ok) = bench.established();
    let refresh = bench.receive(&in_dialog("UPDATE", 2, &ok, "", ""));
    assert_eq!((refresh.statuses(), refresh.events.len()), (vec![200], 0));
    let outputs = bench.receive(&in_dialog("UPDATE", 3, &ok, "", "v=2\n"));
    assert!(outputs.sent.is_empty() && matches!(outputs.events.as_slice(), [Event::Offer { .. }]));
    bench.endpoint.answer_offer(leg, Ok(b"v=3\r\n".to_vec()), bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [200]);
    assert!(bench.wait(Duration::from_secs(5)).sent.is_empty(), "no ACK is waited for");
}

#[test]
fn bye_is_answered_again_after_the_leg_is_gone() {
    let mut bench = Bench::new();
    let (_, ok) = bench.established();
    let bye = in_dialog("BYE", 2, &ok, "Reason: Q.850;cause=16\n", "");
    let outputs = bench.receive(&bye);
    assert_eq!(outputs.statuses(), [200]);
    let [Event::Ended { ended, .. }] = outputs.events.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((ended.by, ended.reason.as_ref().unwrap().cause), (By::Remote, 16));
    assert_eq!(bench.receive(&bye).statuses(), [200]);
    assert_eq!(bench.receive(&in_dialog("BYE", 3, &ok, "", "")).statuses(), [481]);
    bench.assert_idle();
}

#[test]
fn other_methods() {
    let mut bench = Bench::new();
    let (_, ok) = bench.established();
    let info = in_dialog("INFO", 2, &ok, "", "Signal=5\n")
        .replace("application/sdp", "application/dtmf-relay;charset=utf-8");
    let outputs = bench.receive(&info);
    let [Event::Info { content_type, body, .. }] = outputs.events.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((content_type.as_str(), body.as_slice()), ("application/dtmf-relay", &b"Signal=5\r\n"[..]));
    let again = bench.receive(&info);
    assert_eq!((again.statuses(), again.events.len()), (vec![200], 0));
    for (cseq, method, status) in [
        (3, "SUBSCRIBE", 489),
        (4, "NOTIFY", 489),
        (5, "REFER", 400),
        (6, "MESSAGE", 405),
        (7, "PRACK", 481),
        (8, "FOO", 501),
        (9, "OPTIONS", 200),
    ] {
        assert_eq!(bench.receive(&in_dialog(method, cseq, &ok, "", "")).statuses(), [status], "{method}");
    }
    let required = in_dialog("INFO", 10, &ok, "Require: x\n", "");
    assert_eq!(bench.receive(&required).statuses(), [420]);
    let stranger = in_dialog("INFO", 11, &ok, "", "").replace("tag=them", "tag=other");
    assert_eq!(bench.receive(&stranger).statuses(), [481]);
    let text = in_dialog("INVITE", 12, &ok, "", "hi\n").replace("application/sdp", "text/plain");
    assert_eq!(bench.receive(&text).statuses(), [415]);
}

#[test]
fn before_our_invite_is_answered() {
    let mut bench = Bench::new();
    let (_, sent) = bench.invite(super::invite());
    let to_us = |method: &str, cseq| {
        in_dialog(method, cseq, "", "", if method == "UPDATE" { "v=0\n" } else { "" })
            .replace("To: \n", &format!("To: {}\n", header(&sent, "From")))
            .replace("Call-ID: call-1", &format!("Call-ID: {}", header(&sent, "Call-ID")))
    };
    for (method, status) in [("UPDATE", 491), ("BYE", 481), ("OPTIONS", 200), ("INFO", 200)] {
        assert_eq!(bench.receive(&to_us(method, 1)).statuses(), [status], "{method}");
    }
}
