//! What messages look like on the wire.

use super::{Bench, header, in_dialog, invite, request, response};
use crate::digest::{Algorithm, Credentials};
use crate::{Reason, ReasonProtocol};

const OK_HEADERS: &str = "Contact: <sip:callee@192.0.2.9:5062>\n\
    Record-Route: <sip:p2.example.com;lr>, <sip:192.0.2.9:5070;lr>\n";

fn reason() -> Option<Reason> {
    Some(Reason { cause: 16, protocol: ReasonProtocol::Q850, text: Some("Normal call clearing".into()) })
}

#[test]
fn invite_() {
    let (_, sent) = Bench::new().invite(invite());
    insta::assert_snapshot!(sent, @r#"
    INVITE sip:+12025550123@sip.example.com SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc0d5701d327d6c4b;rport
    Max-Forwards: 70
    Route: <sip:proxy.example.com;lr>
    From: "Jo \"J\" Doe" <sip:+13125550100@example.net>;tag=b8e30eb68636cc1e
    To: <sip:+12025550123@sip.example.com>
    Call-ID: 9da7d0a463ac9d6e0d034dd0c0171b73
    CSeq: 1 INVITE
    Contact: <sip:trunkline@192.0.2.1:5060>
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY
    Accept: application/sdp
    User-Agent: trunkline
    P-Asserted-Identity: <sip:+13125550100@example.net>
    Content-Type: application/sdp
    Content-Length: 5

    v=0
    "#);
}

#[test]
fn ack_of_a_refusal_and_invite_with_credentials() {
    let mut bench = Bench::new();
    let credentials = Credentials {
        username: "alice".into(),
        password: "secret".into(),
        realm: None,
        algorithm: Algorithm::Md5,
    };
    let (_, first) = bench.invite(crate::Invite { credentials: Some(credentials), ..invite() });
    let challenge =
        "Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"abc\", qop=\"auth\", opaque=\"o\"\n";
    let outputs = bench.receive(&response(&first, "407 Proxy Authentication Required", "p", challenge, ""));
    let [ack, second] = outputs.sent.as_slice() else { panic!("{outputs:?}") };
    insta::assert_snapshot!(ack, @r#"
    ACK sip:+12025550123@sip.example.com SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc0d5701d327d6c4b;rport
    Max-Forwards: 70
    Route: <sip:proxy.example.com;lr>
    From: "Jo \"J\" Doe" <sip:+13125550100@example.net>;tag=b8e30eb68636cc1e
    To: <sip:+12025550123@sip.example.com>;tag=p
    Call-ID: 9da7d0a463ac9d6e0d034dd0c0171b73
    CSeq: 1 ACK
    Content-Length: 0
    "#);
    insta::assert_snapshot!(second, @r#"
    INVITE sip:+12025550123@sip.example.com SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK525ba4ae8d69fb04;rport
    Max-Forwards: 70
    Route: <sip:proxy.example.com;lr>
    From: "Jo \"J\" Doe" <sip:+13125550100@example.net>;tag=b8e30eb68636cc1e
    To: <sip:+12025550123@sip.example.com>
    Call-ID: 9da7d0a463ac9d6e0d034dd0c0171b73
    CSeq: 2 INVITE
    Contact: <sip:trunkline@192.0.2.1:5060>
    Proxy-Authorization: Digest username="alice", realm="example.com", nonce="abc", uri="sip:+12025550123@sip.example.com", response="57b27cb0b1d962daa0cab36e18b9e558", algorithm=MD5, qop=auth, nc=00000001, cnonce="cc6d04dd0f6f8be9", opaque="o"
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY
    Accept: application/sdp
    User-Agent: trunkline
    P-Asserted-Identity: <sip:+13125550100@example.net>
    Content-Type: application/sdp
    Content-Length: 5

    v=0
    "#);
}

#[test]
fn ack_of_an_answer_and_bye() {
    let mut bench = Bench::new();
    let (leg, sent) = bench.invite(invite());
    let mut outputs = bench.receive(&response(&sent, "200 OK", "callee", OK_HEADERS, "v=0\n"));
    insta::assert_snapshot!(outputs.sent.remove(0), @r#"
    ACK sip:callee@192.0.2.9:5062 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK525ba4ae8d69fb04;rport
    Max-Forwards: 70
    Route: <sip:192.0.2.9:5070;lr>
    Route: <sip:p2.example.com;lr>
    From: "Jo \"J\" Doe" <sip:+13125550100@example.net>;tag=b8e30eb68636cc1e
    To: <sip:+12025550123@sip.example.com>;tag=callee
    Call-ID: 9da7d0a463ac9d6e0d034dd0c0171b73
    CSeq: 1 ACK
    Content-Length: 0
    "#);
    bench.endpoint.hang_up(leg, reason(), bench.now);
    let mut outputs = bench.outputs();
    insta::assert_snapshot!(outputs.sent.remove(0), @r#"
    BYE sip:callee@192.0.2.9:5062 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKcc6d04dd0f6f8be9;rport
    Max-Forwards: 70
    Route: <sip:192.0.2.9:5070;lr>
    Route: <sip:p2.example.com;lr>
    From: "Jo \"J\" Doe" <sip:+13125550100@example.net>;tag=b8e30eb68636cc1e
    To: <sip:+12025550123@sip.example.com>;tag=callee
    Call-ID: 9da7d0a463ac9d6e0d034dd0c0171b73
    CSeq: 2 BYE
    Reason: Q.850;cause=16;text="Normal call clearing"
    User-Agent: trunkline
    Content-Length: 0
    "#);
}

#[test]
fn cancel() {
    let mut bench = Bench::new();
    let (leg, sent) = bench.invite(invite());
    bench.receive(&response(&sent, "180 Ringing", "callee", "", ""));
    bench.endpoint.hang_up(leg, reason(), bench.now);
    insta::assert_snapshot!(bench.outputs().only_sent(), @r#"
    CANCEL sip:+12025550123@sip.example.com SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc0d5701d327d6c4b;rport
    Max-Forwards: 70
    Route: <sip:proxy.example.com;lr>
    From: "Jo \"J\" Doe" <sip:+13125550100@example.net>;tag=b8e30eb68636cc1e
    To: <sip:+12025550123@sip.example.com>
    Call-ID: 9da7d0a463ac9d6e0d034dd0c0171b73
    CSeq: 1 CANCEL
    Reason: Q.850;cause=16;text="Normal call clearing"
    Content-Length: 0
    "#);
}

#[test]
fn ok() {
    let mut bench = Bench::new();
    let (_, ok) = bench.answered();
    insta::assert_snapshot!(ok, @r#"
    SIP/2.0 200 OK
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-INVITE-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=b8e30eb68636cc1e
    Call-ID: call-1
    CSeq: 1 INVITE
    Server: trunkline
    Contact: <sip:100@192.0.2.1:5060>
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY
    Accept: application/sdp
    Content-Type: application/sdp
    Content-Length: 5

    v=0
    "#);
}

#[test]
fn bye_of_the_callee() {
    let mut bench = Bench::new();
    let (leg, _) = bench.established();
    bench.endpoint.hang_up(leg, None, bench.now);
    insta::assert_snapshot!(bench.outputs().sent.remove(0), @r#"
    BYE sip:caller@192.0.2.9:5060 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc0d5701d327d6c4b;rport
    Max-Forwards: 70
    From: <sip:100@192.0.2.1>;tag=b8e30eb68636cc1e
    To: <sip:caller@example.net>;tag=them
    Call-ID: call-1
    CSeq: 1 BYE
    User-Agent: trunkline
    Content-Length: 0
    "#);
}

#[test]
fn no_such_dialog() {
    let mut bench = Bench::new();
    let sent = bench
        .receive(&request("BYE", "", "").replace("<sip:100@192.0.2.1>\n", "<sip:100@192.0.2.1>;tag=x\n"));
    insta::assert_snapshot!(sent.only_sent(), @r#"
    SIP/2.0 481 Call/Transaction Does Not Exist
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-BYE-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=x
    Call-ID: call-1
    CSeq: 1 BYE
    Server: trunkline
    Content-Length: 0
    "#);
}

#[test]
fn unsupported_extension() {
    let sent = Bench::new().receive(&request("INVITE", "Require: 100rel, gruu, path\n", "v=0\n"));
    insta::assert_snapshot!(sent.only_sent(), @r#"
    SIP/2.0 420 Bad Extension
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-INVITE-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=5d398d0a0cd13028
    Call-ID: call-1
    CSeq: 1 INVITE
    Server: trunkline
    Unsupported: gruu, path
    Content-Length: 0
    "#);
}

#[test]
fn options() {
    let sent = Bench::new().receive(&request("OPTIONS", "", ""));
    insta::assert_snapshot!(sent.only_sent(), @r#"
    SIP/2.0 200 OK
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-OPTIONS-1;received=192.0.2.9;rport=5060
    From: <sip:caller@example.net>;tag=them
    To: <sip:100@192.0.2.1>;tag=06c62c0b0183d594
    Call-ID: call-1
    CSeq: 1 OPTIONS
    Server: trunkline
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY
    Accept: application/sdp
    Accept-Encoding: identity
    Supported: 100rel, timer
    Content-Length: 0
    "#);
}

#[test]
fn credentials_are_repeated_in_the_ack_and_counted_on_in_the_bye() {
    let mut bench = Bench::new();
    let credentials =
        Credentials { username: "a".into(), password: "b".into(), realm: None, algorithm: Algorithm::Md5 };
    let (leg, first) = bench.invite(crate::Invite { credentials: Some(credentials), ..invite() });
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\n";
    let mut outputs = bench.receive(&response(&first, "401 Unauthorized", "p", challenge, ""));
    let second = outputs.sent.remove(1);
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(&second, "From"), header(&first, "From"));
    let ack = bench.receive(&response(&second, "200 OK", "callee", OK_HEADERS, "")).sent.remove(0);
    assert_eq!(header(&ack, "Authorization"), header(&second, "Authorization"));
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    bench.endpoint.hang_up(leg, None, bench.now);
    let bye = bench.outputs().sent.remove(0);
    assert!(header(&bye, "Authorization").contains("nc=00000002"), "{bye}");
    assert_eq!(header(&bye, "CSeq"), "3 BYE");
    // The nonce was good for one call only: the BYE is sent once more.
    let challenge = challenge.replace("\"n\"", "\"m\"");
    let again = bench.receive(&response(&bye, "401 Unauthorized", "", &challenge, "")).only_sent();
    assert_eq!(header(&again, "CSeq"), "4 BYE");
    assert!(header(&again, "Authorization").contains("nonce=\"m\""), "{again}");
    let refused = bench.receive(&response(&again, "401 Unauthorized", "", &challenge, ""));
    assert!(refused.sent.is_empty());
    bench.assert_idle();
}

#[test]
fn in_dialog_requests_are_told_apart_by_cseq() {
    let mut bench = Bench::new();
    let (_, ok) = bench.established();
    assert_eq!(bench.receive(&in_dialog("OPTIONS", 9, &ok, "", "")).statuses(), [200]);
    assert_eq!(bench.receive(&in_dialog("OPTIONS", 8, &ok, "", "")).statuses(), [500]);
    assert_eq!(bench.receive(&in_dialog("OPTIONS", 20, &ok, "", "")).statuses(), [200]);
}
