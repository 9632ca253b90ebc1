//! Requests the driver decides about: nothing is kept before its word.

use super::super::{Config, Event, LegId};
use super::{Bench, Outputs, in_dialog, request};
use crate::{Asking, Error};

fn bench() -> Bench {
    Bench::with(Config { asks: true, ..Config::default() })
}

/// A REGISTER of alice's.
pub fn register(headers: &str) -> String {
    request("REGISTER", headers, "").replace("sip:100@192.0.2.1 SIP", "sip:example.com SIP")
}

/// The one request a bench asks about; nothing was sent.
pub fn asking(outputs: Outputs) -> Asking {
    assert!(outputs.sent.is_empty(), "{outputs:?}");
    match <[Event; 1]>::try_from(outputs.events) {
        Ok([Event::Request { asking, .. } | Event::Stranger { asking, .. }]) => asking,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    /// Receives an INVITE and admits it.
    pub fn admitted(&mut self, guarded: bool) -> LegId {
        let asking = asking(self.receive(&request("INVITE", "", "v=0\n")));
        let leg = match guarded {
            true => self.endpoint.admit_guarded(asking, self.now),
            false => self.endpoint.admit(asking, self.now),
        };
        assert_eq!(self.outputs().statuses(), [100]);
        leg.unwrap()
    }
}

#[test]
fn an_invite_is_shown_and_then_admitted() {
    let mut bench = bench();
    let leg = bench.admitted(false);
    // It comes again: the transaction answers by itself.
    assert_eq!(bench.receive(&request("INVITE", "", "v=0\n")).statuses(), [100]);
    bench.endpoint.accept(leg, b"v=0\r\n".to_vec(), bench.now).unwrap();
    let ok = bench.outputs().only_sent();
    assert!(matches!(bench.receive(&in_dialog("ACK", 1, &ok, "", "")).events[..], [Event::Acked { .. }]));
    assert_eq!(bench.receive(&in_dialog("BYE", 2, &ok, "", "")).statuses(), [200]);
    bench.assert_idle();
}

#[test]
fn nothing_is_kept_of_what_is_not_admitted() {
    let mut bench = bench();
    for method in ["INVITE", "REGISTER"] {
        let body = if method == "INVITE" { "v=0\n" } else { "" };
        let dropped = asking(bench.receive(&request(method, "", body)));
        drop(dropped);
        let first = asking(bench.receive(&request(method, "", body)));
        bench.endpoint.reply(first, 403, &[]).unwrap();
        let first = bench.outputs().only_sent();
        let again = asking(bench.receive(&request(method, "", body)));
        bench.endpoint.reply(again, 403, &[]).unwrap();
        assert_eq!(bench.outputs().only_sent(), first, "the same tag for the same request");
    }
    assert_eq!(bench.receive(&request("ACK", "", "")).sent, [""; 0]);
    assert_eq!(bench.receive(&request("CANCEL", "", "")).statuses(), [481]);
    assert_eq!((bench.endpoint.stats().legs, bench.endpoint.stats().transactions), (0, 0));
    assert_eq!(bench.endpoint.poll_timeout(), None);
}

#[test]
fn a_challenge_on_the_wire() {
    let mut bench = bench();
    let asked = asking(bench.receive(&register("Expires: 3600\n")));
    let challenge = r#"Digest realm="example.com", nonce="n", algorithm=MD5, qop="auth""#;
    bench.endpoint.reply(asked, 401, &[("WWW-Authenticate", challenge)]).unwrap();
    insta::assert_snapshot!(bench.outputs().only_sent(), @r#"
    SIP/2.0 401 Unauthorized
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-REGISTER-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=3a7ca27e5c3259b2
    Call-ID: call-1
    CSeq: 1 REGISTER
    Server: trunkline
    WWW-Authenticate: Digest realm="example.com", nonce="n", algorithm=MD5, qop="auth"
    Content-Length: 0
    "#);
}

#[test]
fn options_tell_of_it() {
    let options = bench().receive(&request("OPTIONS", "", "")).only_sent();
    insta::assert_snapshot!(options, @r#"
    SIP/2.0 200 OK
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-OPTIONS-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=06c62c0b0183d594
    Call-ID: call-1
    CSeq: 1 OPTIONS
    Server: trunkline
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, REGISTER
    Accept: application/sdp
    Accept-Encoding: identity
    Supported: 100rel, outbound, path, replaces, timer
    Content-Length: 0
    "#);
}

#[test]
fn what_is_wrong_is_refused_without_asking() {
    for (method, headers, body, status) in [
        ("INVITE", "Require: x\n", "v=0\n", 420),
        ("INVITE", "Max-Forwards: 0\n", "v=0\n", 400),
        ("INVITE", "Content-Encoding: gzip\n", "v=0\n", 415),
        ("INVITE", "Supported: timer\nSession-Expires: 10\n", "v=0\n", 422),
        ("INVITE", "Contact: <sip:a@b>;;\n", "v=0\n", 400),
        ("REGISTER", "Require: gruu\n", "", 420),
        ("REGISTER", "Contact: sip:a@b?x=y\n", "", 400),
        ("REGISTER", "Call-ID: two\n", "", 400),
        ("PUBLISH", "", "", 405),
        ("REFER", "Refer-To: <sip:a@b>\n", "", 403),
        ("BYE", "", "", 481),
    ] {
        let outputs = bench().receive(&request(method, headers, body));
        assert_eq!((outputs.statuses(), outputs.events.len()), (vec![status], 0), "{method} {headers}");
    }
    for headers in ["Require: path, outbound\n", "Require: replaces\n", "Contact: *\nExpires: 0\n"] {
        asking(bench().receive(&register(headers)));
    }
    assert_eq!(Bench::new().receive(&register("")).statuses(), [405], "where nobody asks");
}

#[test]
fn there_is_room_or_not() {
    for (max_legs, max_transactions, error) in
        [(0, 9, Error::TooManyLegs), (9, 0, Error::TooManyTransactions)]
    {
        let mut bench = Bench::with(Config { asks: true, max_legs, max_transactions, ..Config::default() });
        let asked = asking(bench.receive(&request("INVITE", "", "v=0\n")));
        assert_eq!(bench.endpoint.admit(asked, bench.now), Err(error));
        let refusal = bench.outputs().only_sent();
        assert!(refusal.starts_with("SIP/2.0 503 ") && refusal.contains("\nRetry-After: 5\n"), "{refusal}");
    }
}

#[test]
fn an_invite_becomes_one_leg() {
    let mut bench = bench();
    let asked = asking(bench.receive(&request("INVITE", "", "v=0\n")));
    // The same one along another way, before the first was decided about.
    let other = request("INVITE", "", "v=0\n").replace("INVITE-1", "INVITE-2");
    let other = asking(bench.receive(&other));
    bench.endpoint.admit(asked.clone(), bench.now).unwrap();
    assert_eq!(bench.outputs().statuses(), [100]);
    assert_eq!(bench.endpoint.admit(asked, bench.now), Err(Error::WrongState));
    assert_eq!(bench.endpoint.admit(other, bench.now), Err(Error::WrongState));
    assert_eq!(bench.outputs().statuses(), [482]);
}

#[test]
fn replies_that_do_not_fit() {
    let evil = Error::ControlCharacter("header");
    for (method, status, header, result) in [
        ("INVITE", 200, ("X-A", "b"), Err(Error::BadStatus(200))),
        ("INVITE", 700, ("X-A", "b"), Err(Error::BadStatus(700))),
        ("INVITE", 302, ("Contact", "<sip:a@b>"), Ok(())),
        ("REGISTER", 200, ("Contact", "<sip:a@b>"), Ok(())),
        ("REGISTER", 180, ("X-A", "b"), Err(Error::BadStatus(180))),
        ("REGISTER", 200, ("X-A", "b\r\nX-B: c"), Err(evil)),
        ("REGISTER", 200, ("Via", "b"), Err(Error::BadHeader("Via".into()))),
    ] {
        let mut bench = bench();
        let body = if method == "INVITE" { "v=0\n" } else { "" };
        let asked = asking(bench.receive(&request(method, "", body)));
        assert_eq!(bench.endpoint.reply(asked, status, &[header]), result, "{method} {status}");
        assert_eq!(bench.outputs().sent.len(), usize::from(result.is_ok()));
    }
    let mut bench = bench();
    let asked = asking(bench.receive(&register("")));
    assert_eq!(bench.endpoint.admit(asked, bench.now), Err(Error::BadMethod("REGISTER".into())));
}

#[test]
fn a_registration_on_the_wire() {
    let mut bench = bench();
    let mut locations = crate::location::Locations::new(7);
    let limits = crate::location::Limits::default();
    let mut register = |headers: &str| {
        let Ok([Event::Request { asking, request, path }]) =
            <[Event; 1]>::try_from(bench.receive(&register(headers)).events)
        else {
            panic!("not asked about {headers}")
        };
        let (status, headers) = match locations.register(1, &request.view(), path, &limits, bench.now) {
            Ok(registered) => (200, registered.headers),
            Err(refusal) => (refusal.status, refusal.headers),
        };
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        bench.endpoint.reply(asking, status, &headers).unwrap();
        bench.outputs().only_sent()
    };
    insta::assert_snapshot!(register("Expires: 30\n"), @r#"
    SIP/2.0 423 Interval Too Brief
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-REGISTER-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=3a7ca27e5c3259b2
    Call-ID: call-1
    CSeq: 1 REGISTER
    Server: trunkline
    Min-Expires: 60
    Content-Length: 0
    "#);
    insta::assert_snapshot!(register("Contact: <sip:b@192.0.2.9>;q=0.5\nExpires: 600\n"), @r#"
    SIP/2.0 200 OK
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-REGISTER-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=3a7ca27e5c3259b2
    Call-ID: call-1
    CSeq: 1 REGISTER
    Server: trunkline
    Contact: <sip:caller@192.0.2.9:5060>;expires=600
    Contact: <sip:b@192.0.2.9>;q=0.500;expires=600
    Content-Length: 0
    "#);
}
