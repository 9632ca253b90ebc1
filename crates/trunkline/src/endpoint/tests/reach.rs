//! Who is let in, and who can be reached.

use sip::{Event, FailureKind, Method, Outside};

use super::*;
use crate::switch::Target;

#[test]
fn one_too_many_is_closed_at_once() {
    let limits = Limits { connections: 2, per_source: 0 };
    let mut bench = Bench::with(limits, Trust::none());
    let address = bench.tcp();
    let kept = bench.serve(move || {
        let mut kept = [connect(address), connect(address)];
        for (number, stream) in kept.iter_mut().enumerate() {
            assert!(ask(stream, "TCP", number).starts_with(OK));
        }
        assert!(is_closed(&mut connect(address)));
        kept
    });
    let stats = bench.endpoint.stats();
    assert_eq!((stats.tcp, stats.accepted, stats.refused), (2, 2, 1));
    let [one, _other] = kept;
    drop(one);
    bench.until(|endpoint| endpoint.stats().tcp == 1);
    bench.serve(move || assert!(ask(&mut connect(address), "TCP", 3).starts_with(OK), "there is room again"));
}

#[test]
fn a_flood_is_taken_in_turns() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    let _flood: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    let mut ready = Events::with_capacity(64);
    bench.poll.poll(&mut ready, Some(PATIENCE)).unwrap();
    for event in &ready {
        bench.endpoint.handle_ready(event, bench.now());
    }
    assert_eq!(bench.endpoint.stats().accepted, 64);
    assert!(bench.endpoint.has_backlog(), "no readiness will announce the others");
    bench.until(|endpoint| endpoint.stats().accepted == 100);
}

/// What becomes of a request on a path.
fn outcome(bench: &mut Bench, path: Path) -> Result<(), String> {
    let uri = "sip:a@there.test;transport=tcp";
    let request = Outside::new(Method::Options, path, uri, "sip:me@here.test", uri);
    let now = bench.now();
    bench.endpoint.sip().request(request, now).unwrap();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match bench.endpoint.poll_event(bench.now()) {
            Some(Event::Response { result: Ok(_), .. }) => return Ok(()),
            Some(Event::Response { result: Err(FailureKind::Transport), trouble, .. }) => {
                return Err(trouble);
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
        let mut ready = Events::with_capacity(64);
        bench.poll.poll(&mut ready, Some(Duration::from_millis(5))).unwrap();
        for event in &ready {
            bench.endpoint.handle_ready(event, bench.now());
        }
    }
    panic!("nothing became of it");
}

const GONE: &str = "the phone's connection is gone";

#[test]
fn a_phone_is_reached_over_its_own_connection_or_not_at_all() {
    for secure in [false, true] {
        let mut bench = Bench::new();
        let (address, roots) = (if secure { bench.tls() } else { bench.tcp() }, bench.roots());
        let stream = bench.serve(move || {
            let mut stream: Box<dyn Wire> = match secure {
                true => Box::new(connect_tls(address, client(roots))),
                false => Box::new(connect(address)),
            };
            assert!(ask(&mut stream, "TCP", 1).starts_with(OK));
            stream
        });
        let (transport, remote) = (if secure { Transport::Tls } else { Transport::Tcp }, stream.own());
        let path = Path::new(transport, address, remote);
        let answering = std::thread::spawn(move || {
            let mut stream = stream;
            let request = sip::Message::parse(read_message(&mut stream).into_bytes().into()).unwrap();
            let mut response = String::from("SIP/2.0 200 OK\r\n");
            for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
                response.push_str(&format!("{name}: {}\r\n", request.header(name).unwrap()));
            }
            stream.write_all(format!("{response}Content-Length: 0\r\n\r\n").as_bytes()).unwrap();
            stream.flush().unwrap();
            stream
        });
        assert_eq!(outcome(&mut bench, path), Ok(()));
        drop(answering.join().unwrap());
        bench.until(|endpoint| endpoint.stats().tcp + endpoint.stats().tls == 0);
        let why = outcome(&mut bench, path).unwrap_err();
        assert!(why == GONE, "{why}");
        if !secure {
            // Somebody says that the address can be connected to, so that is tried.
            let target = Target { transport, remote, server_name: None };
            let path = bench.endpoint.path(&target).unwrap();
            assert_eq!(outcome(&mut bench, path), Err("the connection was refused".into()));
        }
    }
}

#[test]
fn nobody_connects_to_a_browser() {
    let mut bench = Bench::new();
    for transport in [Transport::Ws, Transport::Wss] {
        let path = Path::new(transport, bench.tcp(), "127.0.0.1:9".parse().unwrap());
        assert_eq!(outcome(&mut bench, path), Err(GONE.into()));
    }
}

/// A client's connection of either kind.
trait Wire: Read + Write + Send {
    fn own(&self) -> SocketAddr;
}

impl Wire for TcpStream {
    fn own(&self) -> SocketAddr {
        self.local_addr().unwrap()
    }
}

impl Wire for TlsStream {
    fn own(&self) -> SocketAddr {
        self.sock.local_addr().unwrap()
    }
}
