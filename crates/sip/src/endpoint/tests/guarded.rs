//! Legs of phones: where they live, and who may speak for them.

use super::super::{Config, Event, Input, Invite, LegId};
use super::asking::asking;
use super::{Bench, header, in_dialog, invite, path, request, response};
use crate::{By, Path, Reason, ReasonProtocol, Replaces, Transport};

fn bench() -> Bench {
    Bench::with(Config { asks: true, ..Config::default() })
}

/// The same phone behind another address.
fn elsewhere() -> Path {
    Path { remote: "203.0.113.5:40000".parse().unwrap(), ..path() }
}

fn web(port: u16) -> Path {
    let remote = ([203, 0, 113, 5], port).into();
    Path::new(Transport::Wss, "192.0.2.1:443".parse().unwrap(), remote)
}

/// A call of a phone behind a NAT, answered and ACKed: the leg and our 2xx.
fn established(bench: &mut Bench, guarded: bool) -> (LegId, String) {
    let invite = request("INVITE", "", "v=0\n").replace("caller@192.0.2.9:5060", "caller@10.0.0.7:5060");
    let asked = asking(bench.receive(&invite));
    let leg = match guarded {
        true => bench.endpoint.admit_guarded(asked, bench.now).unwrap(),
        false => bench.endpoint.admit(asked, bench.now).unwrap(),
    };
    bench.outputs();
    bench.endpoint.accept(leg, b"v=0\r\n".to_vec(), bench.now).unwrap();
    let ok = bench.outputs().only_sent();
    bench.receive(&in_dialog("ACK", 1, &ok, "", ""));
    (leg, ok)
}

#[test]
fn requests_go_to_the_flow() {
    for (guarded, remote) in [(true, "192.0.2.9:5060"), (false, "10.0.0.7:5060")] {
        let mut bench = bench();
        let (leg, _) = established(&mut bench, guarded);
        bench.endpoint.reinvite(leg, vec![b'x'; 2_000], bench.now).unwrap();
        let outputs = bench.outputs();
        let transport = if guarded { Transport::Udp } else { Transport::Tcp };
        assert_eq!(outputs.paths[0].transport, transport, "a large one stays on the flow");
        bench.endpoint.hang_up(leg, None, bench.now);
        let outputs = bench.outputs();
        assert_eq!(outputs.paths[0].remote, remote.parse().unwrap());
        assert!(outputs.sent[0].starts_with("BYE sip:caller@10.0.0.7:5060 SIP/2.0\n"), "{outputs:?}");
    }
}

#[test]
fn our_own_call_goes_to_the_flow() {
    let mut bench = bench();
    let (leg, sent) = bench.invite(Invite { guarded: true, route: Vec::new(), ..invite() });
    let contact = "Contact: <sip:callee@10.0.0.7:5062>\n";
    bench.receive(&response(&sent, "180 Ringing", "callee", contact, ""));
    let ack = bench.receive(&response(&sent, "200 OK", "callee", contact, "v=0\n"));
    let late = bench.receive(&response(&sent, "200 OK", "another", contact, "v=0\n"));
    assert_eq!(late.methods(), ["ACK", "BYE"]);
    bench.endpoint.hang_up(leg, None, bench.now);
    let bye = bench.outputs();
    for paths in [ack.paths, late.paths, bye.paths] {
        assert!(paths.iter().all(|to| *to == path()), "{paths:?}");
    }
}

#[test]
fn a_stranger_is_not_obeyed() {
    let mut bench = bench();
    let (leg, ok) = established(&mut bench, true);
    for (cseq, method) in
        [(2, "BYE"), (3, "INVITE"), (4, "UPDATE"), (5, "INFO"), (6, "REFER"), (7, "OPTIONS")]
    {
        let body = if method == "INVITE" { "v=0\n" } else { "" };
        let text = in_dialog(method, cseq, &ok, "Refer-To: <sip:x@y>\n", body);
        let outputs = bench.receive_from(elsewhere(), &text);
        assert!(
            matches!(outputs.events[..], [Event::Stranger { leg: l, path, .. }] if l == leg && path == elsewhere()),
            "{method}: {outputs:?}"
        );
        bench.endpoint.reply(asking(outputs), 401, &[("WWW-Authenticate", "Digest realm=\"r\"")]).unwrap();
        assert_eq!(bench.outputs().statuses(), [401]);
    }
    // What has no answer does no harm.
    assert!(bench.receive_from(elsewhere(), &in_dialog("ACK", 3, &ok, "", "")).events.is_empty());
    assert_eq!(bench.endpoint.path_of(leg), Some(path()));
    // An old CSeq is no matter: what was not carried out does not count.
    assert_eq!(bench.receive(&in_dialog("BYE", 2, &ok, "", "")).statuses(), [200]);
    bench.assert_idle();
}

#[test]
fn a_proven_stranger_moves_the_leg() {
    let mut bench = bench();
    let (leg, ok) = established(&mut bench, true);
    let asked = asking(bench.receive_from(elsewhere(), &in_dialog("INVITE", 2, &ok, "", "v=0\n")));
    assert_eq!(bench.endpoint.admit(asked.clone(), bench.now), Ok(leg));
    let outputs = bench.outputs();
    assert_eq!((outputs.statuses(), outputs.paths[0]), (vec![100], elsewhere()));
    assert!(matches!(outputs.events[..], [Event::Offer { .. }]), "{outputs:?}");
    assert!(bench.endpoint.admit(asked, bench.now).is_err(), "it was carried out");
    bench.endpoint.answer_offer(leg, Ok(b"v=0\r\n".to_vec()), bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [200]);
    assert!(matches!(
        bench.receive_from(elsewhere(), &in_dialog("ACK", 2, &ok, "", "")).events[..],
        [Event::Acked { .. }]
    ));
    let stale = bench.receive(&in_dialog("BYE", 3, &ok, "", ""));
    assert!(matches!(stale.events[..], [Event::Stranger { .. }]), "where it was is now elsewhere");
    bench.endpoint.hang_up(leg, None, bench.now);
    assert_eq!(bench.outputs().paths, [elsewhere()]);
}

#[test]
fn a_stranger_whose_leg_is_gone() {
    let mut bench = bench();
    let (leg, ok) = established(&mut bench, true);
    let asked = asking(bench.receive_from(elsewhere(), &in_dialog("BYE", 2, &ok, "", "")));
    bench.receive(&in_dialog("BYE", 3, &ok, "", ""));
    assert!(bench.endpoint.admit(asked, bench.now).is_err());
    assert_eq!((bench.outputs().statuses(), bench.endpoint.path_of(leg)), (vec![481], None));
}

#[test]
fn a_browser_comes_back_over_another_connection() {
    let mut bench = bench();
    let message = |bench: &mut Bench, path, text: &str| {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        bench.endpoint.handle_input(Input::Message { path, bytes: &bytes }, bench.now);
        bench.outputs()
    };
    let over = |text: String| {
        text.replace("SIP/2.0/UDP 192.0.2.9:5060", "SIP/2.0/WSS x.invalid")
            .replace("caller@192.0.2.9:5060", "caller@x.invalid;transport=ws")
    };
    let asked = asking(message(&mut bench, web(1), &over(request("INVITE", "", "v=0\n"))));
    let leg = bench.endpoint.admit_guarded(asked, bench.now).unwrap();
    bench.outputs();
    bench.endpoint.ring(leg, 180, None, bench.now).unwrap();
    assert_eq!(bench.outputs().paths, [web(1)]);
    bench.endpoint.handle_input(Input::Closed { path: web(1) }, bench.now);
    bench.endpoint.move_leg(leg, web(2));
    bench.endpoint.accept(leg, b"v=0\r\n".to_vec(), bench.now).unwrap();
    let outputs = bench.outputs();
    assert_eq!(outputs.paths, [web(2)]);
    let ok = outputs.only_sent();
    let again = message(&mut bench, web(2), &over(request("INVITE", "", "v=0\n")));
    assert!(again.events.is_empty());
    message(&mut bench, web(2), &over(in_dialog("ACK", 1, &ok, "", "")));
    bench.endpoint.handle_input(Input::Closed { path: web(2) }, bench.now);
    assert!(bench.outputs().events.is_empty(), "it lives on");
    bench.endpoint.info(leg, "application/dtmf-relay", b"Signal=1".to_vec(), bench.now).unwrap();
    assert_eq!(bench.outputs().paths, [web(2)]);
    bench.endpoint.handle_input(Input::SendFailed { path: web(2), reason: "closed" }, bench.now);
    assert!(bench.outputs().events.is_empty(), "even so");
    let bye = message(&mut bench, web(3), &over(in_dialog("BYE", 2, &ok, "", "")));
    bench.endpoint.admit(asking(bye), bench.now).unwrap();
    let outputs = bench.outputs();
    assert_eq!((outputs.statuses(), &outputs.paths[..]), (vec![200], &[web(3)][..]));
    assert!(matches!(&outputs.events[..], [Event::Ended { ended, .. }] if ended.by == By::Remote));
    bench.assert_idle();
}

#[test]
fn what_goes_on_is_counted() {
    let mut bench = bench();
    let (leg, ok) = established(&mut bench, true);
    bench.endpoint.info(leg, "text/plain", b"x".to_vec(), bench.now).unwrap();
    bench.receive(&in_dialog("PUBLISH", 2, &ok, "", ""));
    bench.receive_from(web(1), &request("REGISTER", "", ""));
    let stats = bench.endpoint.stats();
    let told = |counts: [u64; 14]| -> Vec<(&str, u64)> {
        crate::Stats::METHODS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    };
    assert_eq!(told(stats.methods_in), [("INVITE", 1), ("ACK", 1), ("REGISTER", 1), ("other", 1)]);
    assert_eq!(told(stats.methods_out), [("INFO", 1)]);
    assert_eq!((stats.messages_in, stats.messages_out), ([3, 0, 0, 0, 1], [4, 0, 0, 0, 0]));
    assert_eq!((stats.requests_in, stats.requests_out), (4, 1));
}

#[test]
fn our_call_follows_its_phone() {
    let mut bench = bench();
    let (leg, sent) = bench.invite(Invite { guarded: true, path: web(1), route: Vec::new(), ..invite() });
    bench.receive_from(web(1), &response(&sent, "180 Ringing", "callee", "", ""));
    bench.endpoint.handle_input(Input::Closed { path: web(1) }, bench.now);
    assert!(bench.outputs().events.is_empty(), "it may come back");
    bench.endpoint.move_leg(leg, web(2));
    assert_eq!(bench.endpoint.path_of(leg), Some(web(2)));
    let elsewhere =
        Reason { cause: 200, protocol: ReasonProtocol::Sip, text: Some("Call completed elsewhere".into()) };
    bench.endpoint.hang_up(leg, Some(elsewhere), bench.now);
    let outputs = bench.outputs();
    assert_eq!((outputs.methods(), &outputs.paths[..]), (vec!["CANCEL"], &[web(2)][..]));
    assert_eq!(header(&outputs.sent[0], "Reason"), r#"SIP;cause=200;text="Call completed elsewhere""#);
}

#[test]
fn a_cancel_that_waited_says_why_too() {
    let mut bench = bench();
    let (leg, sent) = bench.invite(invite());
    let reason = Reason { cause: 200, protocol: ReasonProtocol::Sip, text: None };
    bench.endpoint.hang_up(leg, Some(reason), bench.now);
    let outputs = bench.receive(&response(&sent, "100 Trying", "", "", ""));
    assert_eq!(header(&outputs.sent[0], "Reason"), "SIP;cause=200");
}

#[test]
fn a_leg_is_found_by_its_dialog() {
    let mut bench = bench();
    let (incoming, ok) = established(&mut bench, true);
    let (calling, sent) = bench.invite(invite());
    bench.receive(&response(&sent, "180 Ringing", "one", "", ""));
    bench.receive(&response(&sent, "180 Ringing", "two", "", ""));
    let tag = |message: &str, name| header(message, name).rsplit_once("tag=").unwrap().1.to_owned();
    let (ours, call_id) = (tag(&ok, "To"), header(&sent, "Call-ID"));
    for (call_id, to_tag, from_tag, found) in [
        ("call-1", ours.as_str(), "them", Some(incoming)),
        ("call-2", &ours, "them", None),
        ("call-1", &ours, "they", None),
        ("call-1", "them", &ours, None),
        (call_id, &tag(&sent, "From"), "two", Some(calling)),
        (call_id, &tag(&sent, "From"), "three", None),
    ] {
        let value = format!("{call_id};to-tag={to_tag};from-tag={from_tag}");
        assert_eq!(bench.endpoint.find_dialog(&Replaces::parse(&value).unwrap()), found, "{value}");
    }
    assert_eq!(bench.endpoint.remote_uri(incoming), Some("sip:caller@example.net"));
    assert_eq!(bench.endpoint.remote_uri(calling), Some("sip:+12025550123@sip.example.com"));
}

#[test]
fn ringing_with_headers() {
    let mut bench = bench();
    let leg = bench.admitted(true);
    let alert = [("Alert-Info", "<urn:alert:source:external>")];
    bench.endpoint.ring_with(leg, 183, &alert, Some(b"v=0\r\n".to_vec()), bench.now).unwrap();
    insta::assert_snapshot!(bench.outputs().only_sent(), @r#"
    SIP/2.0 183 Session Progress
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-INVITE-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=b8e30eb68636cc1e
    Call-ID: call-1
    CSeq: 1 INVITE
    Server: trunkline
    Contact: <sip:100@192.0.2.1:5060>
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY
    Alert-Info: <urn:alert:source:external>
    Content-Type: application/sdp
    Content-Length: 5

    v=0
    "#);
    assert!(bench.endpoint.ring_with(leg, 180, &[("To", "x")], None, bench.now).is_err());
    bench.endpoint.reject(leg, 480, &[("Retry-After", "5")], bench.now).unwrap();
    assert_eq!(header(&bench.outputs().sent[0], "Retry-After"), "5");
}
