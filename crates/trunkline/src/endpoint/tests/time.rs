//! What a connection may take its time for, on a clock that is set forward.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Serves a while at a later time, with nothing new coming.
fn pass(bench: &mut Bench, late: Duration) {
    bench.late = late;
    for _ in 0..4 {
        bench.turn();
    }
}

#[test]
fn who_says_nothing_is_let_go() {
    let mut bench = Bench::new();
    let mut silent = connect(bench.tcp());
    let mut silent_tls = connect(bench.tls());
    bench.until(|endpoint| endpoint.stats().accepted == 2);
    pass(&mut bench, 9 * SECOND);
    assert_eq!((bench.endpoint.stats().tcp, bench.endpoint.stats().tls), (1, 1));
    pass(&mut bench, 11 * SECOND);
    assert_eq!((bench.endpoint.stats().tcp, bench.endpoint.stats().tls), (1, 0), "no handshake");
    assert_eq!(bench.endpoint.stats().handshakes_failed, 1);
    pass(&mut bench, 29 * SECOND);
    assert_eq!(bench.endpoint.stats().tcp, 1);
    pass(&mut bench, 31 * SECOND);
    assert_eq!(bench.endpoint.stats().tcp, 0, "no first message");
    assert!(is_closed(&mut silent) && is_closed(&mut silent_tls));
}

#[test]
fn a_message_that_began_must_end() {
    let upgraded = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: sip\r\n\r\n";
    let first = options("TCP", 1);
    for (whole, begun) in [
        ("", &b"OPT"[..]),
        ("", b"G"),
        ("", b"GET / HTTP/1.1\r\nHost: x"),
        (&*first, b"OPTIONS sip:here.test SIP/2.0\r\n"),
        ("\r\n\r\n", b"O"),
        // A frame of thousands of bytes.
        (upgraded, b"\x81\xfe"),
    ] {
        let mut bench = Bench::new();
        let mut stream = connect(bench.tcp());
        stream.write_all(whole.as_bytes()).unwrap();
        bench.until(|endpoint| endpoint.stats().accepted == 1);
        pass(&mut bench, SECOND);
        for (late, piece) in [(2, begun), (6, b"x"), (10, b"x"), (11, b"x")] {
            stream.write_all(piece).unwrap();
            pass(&mut bench, late * SECOND);
            let stats = bench.endpoint.stats();
            assert_eq!(stats.tcp + stats.ws, 1, "{begun:?} after {late} s");
        }
        // A byte now and then wins no time.
        let _ = stream.write_all(b"x");
        pass(&mut bench, 13 * SECOND);
        let stats = bench.endpoint.stats();
        assert_eq!(stats.tcp + stats.ws, 0, "{begun:?}");
    }
}

#[test]
fn a_connection_in_use_stays_for_an_hour() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    let mut stream = bench.serve(move || {
        let mut stream = connect(address);
        assert!(ask(&mut stream, "TCP", 1).starts_with(OK));
        stream
    });
    pass(&mut bench, 3500 * SECOND);
    let mut stream = bench.serve(move || {
        // A keep-alive is traffic (RFC 5626 section 3.5.1).
        stream.write_all(b"\r\n\r\n").unwrap();
        let mut pong = [0; 2];
        stream.read_exact(&mut pong).unwrap();
        assert_eq!(pong, *b"\r\n");
        stream
    });
    // The end of a line that nothing follows begins no message.
    stream.write_all(b"\r\n").unwrap();
    for late in [7000, 7020, 10_500] {
        pass(&mut bench, late * SECOND);
        assert_eq!(bench.endpoint.stats().tcp, 1, "after {late} s");
    }
    pass(&mut bench, 10_700 * SECOND);
    assert_eq!(bench.endpoint.stats().tcp, 0);
}

#[test]
fn a_silent_websocket_is_asked_whether_it_is_there() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    let open = move || {
        let stream = connect(address);
        tungstenite::client(super::web::request("ws://here.test"), stream).unwrap().0
    };
    let mut there = bench.serve(open);
    let _gone = bench.serve(open);
    assert_eq!(bench.endpoint.stats().ws, 2);
    for late in [31, 62, 93, 124] {
        pass(&mut bench, late * SECOND);
        there = bench.serve(move || {
            assert_eq!(there.read().unwrap(), tungstenite::Message::Ping("".into()), "after {late} s");
            // Reading answered it.
            let _ = there.flush();
            there
        });
        let open = if late < 90 { 2 } else { 1 };
        assert_eq!(bench.endpoint.stats().ws, open, "after {late} s");
    }
}
