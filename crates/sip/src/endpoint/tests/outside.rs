//! Requests outside dialogs.

use std::time::Duration;

use super::*;
use crate::digest::{Algorithm, Credentials};
use crate::{Error, FailureKind, Message, Method, Outside, RequestId};

fn options() -> Outside {
    Outside::new(Method::Options, path(), "sip:example.com", "sip:me@example.com", "sip:example.com")
}

fn register() -> Outside {
    Outside {
        contact: Some("<sip:me@192.0.2.1:5060>".into()),
        call_id: Some("registration-1".into()),
        credentials: Some(Credentials {
            username: "me".into(),
            password: "secret".into(),
            realm: None,
            algorithm: Algorithm::Md5,
        }),
        headers: vec![("Expires".into(), "300".into())],
        ..Outside::new(
            Method::Register,
            path(),
            "sip:example.com",
            "sip:me@example.com",
            "sip:me@example.com",
        )
    }
}

impl Bench {
    fn ask(&mut self, request: Outside) -> (RequestId, String) {
        let id = self.endpoint.request(request, self.now).unwrap();
        (id, self.outputs().only_sent())
    }
}

/// The one response among events.
fn only_response(outputs: &Outputs) -> (RequestId, &Result<Message, FailureKind>, &str) {
    match outputs.events.as_slice() {
        [Event::Response { id, result, trouble }] => (*id, result, trouble),
        other => panic!("{other:?}"),
    }
}

fn status(outputs: &Outputs) -> u16 {
    only_response(outputs).1.as_ref().unwrap().view().status().unwrap()
}

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"\n";

#[test]
fn a_request_as_it_is_written() {
    let mut bench = Bench::new();
    let (_, sent) = bench.ask(register());
    insta::assert_snapshot!(sent, @"
    REGISTER sip:example.com SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc0d5701d327d6c4b;rport
    Max-Forwards: 70
    From: <sip:me@example.com>;tag=b8e30eb68636cc1e
    To: <sip:me@example.com>
    Call-ID: registration-1
    CSeq: 1 REGISTER
    Contact: <sip:me@192.0.2.1:5060>
    User-Agent: trunkline
    Expires: 300
    Content-Length: 0
    ");
}

#[test]
fn ipv6_addresses_stand_in_brackets() {
    let mut bench = Bench::new();
    let path = Path {
        local: "[2001:db8::1]:5061".parse().unwrap(),
        remote: "[2001:db8::9]:5061".parse().unwrap(),
        transport: Transport::Tls,
        ..path()
    };
    let (_, sent) = bench.ask(Outside { path, ..options() });
    assert!(header(&sent, "Via").starts_with("SIP/2.0/TLS [2001:db8::1]:5061;branch="), "{sent}");
    bench.endpoint.invite(Invite { path, ..invite() }, bench.now).unwrap();
    let invite = bench.outputs().only_sent();
    assert_eq!(header(&invite, "Contact"), "<sip:trunkline@[2001:db8::1]:5061;transport=tls>");
}

#[test]
fn a_response_is_reported_once_and_nothing_stays() {
    let mut bench = Bench::new();
    let (id, sent) = bench.ask(options());
    assert!(bench.receive(&response(&sent, "100 Trying", "", "", "")).events.is_empty());
    let outputs = bench.receive(&response(&sent, "200 OK", "them", "", ""));
    assert_eq!((only_response(&outputs).0, status(&outputs)), (id, 200));
    assert!(bench.receive(&response(&sent, "200 OK", "them", "", "")).events.is_empty());
    bench.assert_idle();
}

#[test]
fn no_response_and_a_broken_transport_are_told_apart() {
    let mut bench = Bench::new();
    bench.ask(options());
    let outputs = bench.wait(Duration::from_secs(33));
    assert!(matches!(only_response(&outputs).1, Err(FailureKind::Timeout)), "{outputs:?}");
    assert_eq!(outputs.sent.len(), 10, "sent again by timer E");

    bench.ask(options());
    bench.endpoint.handle_input(Input::SendFailed { path: path(), reason: "no route" }, bench.now);
    let outputs = bench.outputs();
    assert!(matches!(only_response(&outputs), (_, Err(FailureKind::Transport), "no route")), "{outputs:?}");
    bench.assert_idle();
}

#[test]
fn challenges_are_answered_and_the_nonce_is_used_again() {
    let mut bench = Bench::new();
    let (_, first) = bench.ask(register());
    let second = bench.receive(&response(&first, "401 Unauthorized", "t", CHALLENGE, "")).only_sent();
    assert!(second.contains("nonce=\"n1\"") && second.contains("nc=00000001"), "{second}");
    bench.receive(&response(&second, "200 OK", "t", "", ""));

    let (_, third) = bench.ask(register());
    assert!(third.contains("nonce=\"n1\"") && third.contains("nc=00000002"), "{third}");
    let cseqs: Vec<&str> = [&first, &second, &third].map(|sent| header(sent, "CSeq")).to_vec();
    assert_eq!(cseqs, ["1 REGISTER", "2 REGISTER", "3 REGISTER"]);
    assert_eq!(header(&first, "From"), header(&third, "From"));

    let stale = CHALLENGE.replace("n1", "n2").replace('\n', ", stale=true\n");
    let fourth = bench.receive(&response(&third, "401 Unauthorized", "t", &stale, "")).only_sent();
    assert!(fourth.contains("nonce=\"n2\"") && fourth.contains("nc=00000001"), "{fourth}");
    let info = "Authentication-Info: nextnonce=\"n3\"\n";
    bench.receive(&response(&fourth, "200 OK", "t", info, ""));
    let (_, fifth) = bench.ask(register());
    assert!(fifth.contains("nonce=\"n3\"") && fifth.contains("nc=00000001"), "{fifth}");

    // A second refusal of fresh credentials is final.
    let refused = CHALLENGE.replace("n1", "n4");
    let sixth = bench.receive(&response(&fifth, "401 Unauthorized", "t", &refused, "")).only_sent();
    assert_eq!(status(&bench.receive(&response(&sixth, "401 Unauthorized", "t", &refused, ""))), 401);

    // Other credentials start without what the old ones knew.
    let mut other = register();
    other.credentials.as_mut().unwrap().password = "another".into();
    let (_, seventh) = bench.ask(other);
    assert!(!seventh.contains("Authorization"), "{seventh}");
    assert_eq!(header(&seventh, "CSeq"), "7 REGISTER");
}

#[test]
fn what_makes_no_request_is_refused() {
    let mut bench = Bench::new();
    for (request, error) in [
        (Outside { method: Method::Invite, ..options() }, Error::BadMethod("INVITE".into())),
        (Outside { method: Method::Other("A B"), ..options() }, Error::BadMethod("A B".into())),
        (Outside { request_uri: "example.com".into(), ..options() }, Error::BadUri { field: "request_uri" }),
        (Outside { contact: Some("*".into()), ..options() }, Error::BadUri { field: "contact" }),
        (Outside { call_id: Some("a\r\nb".into()), ..options() }, Error::ControlCharacter("call_id")),
        (
            Outside { headers: vec![("CSeq".into(), "1".into())], ..options() },
            Error::BadHeader("CSeq".into()),
        ),
    ] {
        assert_eq!(bench.endpoint.request(request, bench.now), Err(error));
    }
    bench.assert_idle();
}

#[test]
fn no_more_than_max_transactions() {
    let mut bench = Bench::with(Config { max_transactions: 1, ..Config::default() });
    bench.ask(options());
    assert_eq!(bench.endpoint.request(options(), bench.now), Err(Error::TooManyTransactions));
}
