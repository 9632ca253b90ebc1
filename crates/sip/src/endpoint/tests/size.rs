//! Requests too large for a datagram (RFC 3261 section 18.1.1).

use std::time::Duration;

use super::*;
use crate::FailureKind;

fn large() -> Invite {
    Invite { body: vec![b'x'; 1300], ..invite() }
}

fn tcp() -> Path {
    Path { transport: Transport::Tcp, ..path() }
}

fn refuse(bench: &mut Bench) -> Outputs {
    bench.endpoint.handle_input(Input::SendFailed { path: tcp(), reason: "refused" }, bench.now);
    bench.outputs()
}

#[test]
fn a_large_request_goes_over_tcp_and_its_call_stays_there() {
    let mut bench = Bench::new();
    bench.endpoint.invite(large(), bench.now).unwrap();
    let outputs = bench.outputs();
    assert_eq!(outputs.paths, [tcp()]);
    let invite = outputs.only_sent();
    assert!(header(&invite, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060;"), "{invite}");
    let contact = "Contact: <sip:callee@192.0.2.9>\n";
    let ok = response(&invite, "200 OK", "them", contact, "v=0\n").replace('\n', "\r\n");
    bench.endpoint.handle_input(Input::Stream { path: tcp(), bytes: ok.as_bytes() }, bench.now);
    let outputs = bench.outputs();
    assert_eq!((outputs.methods(), &outputs.paths), (vec!["ACK"], &vec![tcp()]));
}

#[test]
fn what_went_over_tcp_is_cancelled_there_after_a_crash() {
    let mut before = Bench::new();
    let leg = before.endpoint.invite(large(), before.now).unwrap();
    let invite = before.outputs().only_sent();
    let over_tcp = before.endpoint.save(leg).unwrap();
    assert_eq!(over_tcp.path, tcp());
    refuse(&mut before);
    assert_eq!(before.endpoint.save(leg).unwrap().path, path(), "it goes over UDP now");

    let mut bench = Bench::new();
    bench.endpoint.end_saved(over_tcp, None, None, bench.now).unwrap();
    let outputs = bench.outputs();
    assert_eq!((outputs.methods(), &outputs.paths), (vec!["CANCEL"], &vec![tcp()]));
    assert_eq!(header(&outputs.only_sent(), "Via"), header(&invite, "Via"));
}

#[test]
fn where_tcp_is_refused_it_goes_over_udp_after_all() {
    let mut bench = Bench::new();
    let leg = bench.endpoint.invite(large(), bench.now).unwrap();
    let over_tcp = bench.outputs().only_sent();
    let outputs = refuse(&mut bench);
    assert_eq!(outputs.paths, [path()]);
    let over_udp = outputs.only_sent();
    assert_eq!(over_udp, over_tcp.replace("SIP/2.0/TCP", "SIP/2.0/UDP"));
    assert_eq!(bench.wait(Duration::from_millis(500)).paths, [path()], "timer A runs");

    // Known for a while: the next one does not knock again.
    bench.endpoint.invite(large(), bench.now).unwrap();
    assert_eq!(bench.outputs().paths, [path()]);
    bench.wait(Duration::from_secs(601));
    bench.endpoint.invite(large(), bench.now).unwrap();
    assert_eq!(bench.outputs().paths, [tcp()]);

    let _ = leg;
    let failed = bench.wait(Duration::from_secs(40)).events;
    assert!(
        matches!(failed.as_slice(), [Event::Failed { failure, .. }] if failure.kind == FailureKind::Timeout)
    );
    bench.assert_idle();
}

#[test]
fn a_failure_after_an_answer_is_a_failure() {
    let mut bench = Bench::new();
    bench.endpoint.invite(large(), bench.now).unwrap();
    let invite = bench.outputs().only_sent();
    let trying = response(&invite, "180 Ringing", "t", "", "").replace('\n', "\r\n");
    bench.endpoint.handle_input(Input::Stream { path: tcp(), bytes: trying.as_bytes() }, bench.now);
    bench.outputs();
    match refuse(&mut bench).events.as_slice() {
        [Event::Failed { failure, .. }] => {
            assert_eq!((failure.kind, failure.phrase.as_str()), (FailureKind::Transport, "refused"));
            assert!(failure.provisional && failure.sent);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_requests_and_other_settings_stay_with_udp() {
    for (config, invite) in
        [(Config::default(), invite()), (Config { max_datagram: None, ..Config::default() }, large())]
    {
        let mut bench = Bench::with(config);
        bench.endpoint.invite(invite, bench.now).unwrap();
        assert_eq!(bench.outputs().paths, [path()]);
    }
}
