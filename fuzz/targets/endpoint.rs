//! A whole endpoint: datagrams, streams, answers to what it sent, verbs and time in any order. Whatever came, once
//! every leg is hung up and time has passed, it is idle; and each leg ends exactly once. Where it asks, every call is
//! admitted and everybody may register.
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sip::location::{Limits, Locations};
use sip::{
    Asking, Config, Endpoint, Event, Input, LegId, Message, Method, Output, Outside, Path, Transport, View,
};
use trunkline_fuzz::Script;

struct Bench {
    endpoint: Endpoint,
    locations: Locations,
    now: Instant,
    live: BTreeSet<LegId>,
    sent: Vec<Bytes>,
}

impl Bench {
    /// Registers whoever asks, and admits whatever else does.
    fn decide(&mut self, asking: Asking, request: &Message, path: Path) {
        let view = request.view();
        if view.method() != Some(Method::Register) {
            let guarded = request.body().len() % 2 == 0;
            let endpoint = &mut self.endpoint;
            let leg = match guarded {
                true => endpoint.admit_guarded(asking, self.now),
                false => endpoint.admit(asking, self.now),
            };
            self.live.extend(leg);
            return;
        }
        let limits = Limits { max_bindings: 4, ..Limits::default() };
        let (status, headers) = match self.locations.register(1, &view, path, &limits, self.now) {
            Ok(registered) => (200, registered.headers),
            Err(refusal) => (refusal.status, refusal.headers),
        };
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.endpoint.reply(asking, status, &headers).expect("an answer that can be sent");
        assert!(self.locations.bindings(1).count() <= 4);
        for binding in self.locations.bindings(1) {
            sip::Uri::parse(&binding.target().request_uri).expect("a URI that can be called");
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    // A pong (RFC 5626 section 3.5.1) is no message.
                    if let Err(error) = View::parse(&bytes)
                        && &bytes[..] != b"\r\n"
                    {
                        panic!("{error} in what was sent: {}", String::from_utf8_lossy(&bytes));
                    }
                    self.sent.push(bytes);
                }
                Output::Event(Event::Incoming { leg, .. }) => assert!(self.live.insert(leg)),
                Output::Event(Event::Request { asking, request, path }) => {
                    self.decide(asking, &request, path)
                }
                Output::Event(Event::Stranger { asking, leg, .. }) => {
                    // Its leg may have ended since.
                    let admitted = self.endpoint.admit(asking, self.now);
                    assert!(admitted.is_err() || admitted == Ok(leg));
                }
                Output::Event(Event::Failed { leg, .. } | Event::Ended { leg, .. }) => {
                    assert!(self.live.remove(&leg), "a leg ended twice, or never began");
                }
                _ => {}
            }
        }
        let surplus = self.sent.len().saturating_sub(64);
        self.sent.drain(..surplus);
    }

    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn leg(&self, n: u8) -> Option<LegId> {
        self.live.iter().nth(usize::from(n) % self.live.len().max(1)).copied()
    }
}

fn path(transport: Transport) -> Path {
    Path::new(transport, ([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 2], 5060).into())
}

/// A response to `request` as its receiver would write it, with `extra` headers and a body.
fn response(request: &[u8], status: u16, tag: u8, extra: &[u8]) -> Option<Vec<u8>> {
    let view = View::parse(request).ok().filter(View::is_request)?;
    let mut text = format!("SIP/2.0 {status} X\r\n").into_bytes();
    for (name, value) in view.all_headers() {
        let tagged = name.eq_ignore_ascii_case("to") && !value.contains(";tag=") && tag % 8 != 0;
        if ["via", "from", "to", "call-id", "cseq"].iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            text.extend(format!("{name}: {value}").as_bytes());
            if tagged {
                text.extend(format!(";tag=t{}", tag % 8).as_bytes());
            }
            text.extend(b"\r\n");
        }
    }
    text.extend(b"Contact: <sip:them@192.0.2.2>\r\n");
    text.extend(extra);
    Some(text)
}

const EXTRAS: [&[u8]; 8] = [
    b"Content-Length: 0\r\n\r\n",
    b"Require: 100rel\r\nRSeq: 1\r\nContent-Length: 0\r\n\r\n",
    b"Require: 100rel\r\nRSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    b"Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    b"Session-Expires: 90;refresher=uas\r\nRequire: timer\r\nContent-Length: 0\r\n\r\n",
    b"Min-SE: 3600\r\nContent-Length: 0\r\n\r\n",
    b"WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n",
    b"Proxy-Authenticate: Digest realm=\"r\", nonce=\"m\", stale=true\r\nContent-Length: 0\r\n\r\n",
];

fuzz_target!(|input: &[u8]| {
    let config =
        Config { max_legs: 8, max_transactions: 64, max_streams: 4, max_message: 8192, ..Config::default() };
    let asks = input.first().is_some_and(|first| first % 2 == 0);
    let mut bench = Bench {
        endpoint: Endpoint::new(Config { asks, ..config }, [7; 32]),
        locations: Locations::new(7),
        now: Instant::now(),
        live: BTreeSet::new(),
        sent: Vec::new(),
    };
    let mut script = Script::new(input);
    while !script.is_over() {
        let step = script.byte();
        let now = bench.now;
        let endpoint = &mut bench.endpoint;
        match step % 20 {
            0 => endpoint
                .handle_input(Input::Datagram { path: path(Transport::Udp), bytes: script.bytes() }, now),
            1 => endpoint
                .handle_input(Input::Stream { path: path(Transport::Tcp), bytes: script.bytes() }, now),
            2 => {
                let (n, status) = (script.byte(), 100 + script.number() % 600);
                let (tag, extra) = (script.byte(), EXTRAS[usize::from(script.byte() % 8)]);
                let sent = bench.sent.iter().rev().nth(usize::from(n % 64)).cloned();
                if let Some(bytes) = sent.and_then(|sent| response(&sent, status, tag, extra)) {
                    bench
                        .endpoint
                        .handle_input(Input::Datagram { path: path(Transport::Udp), bytes: &bytes }, now);
                }
            }
            3 => {
                if bench.live.len() < 8
                    && let Ok(leg) = endpoint.invite(trunkline_fuzz::invite(path(Transport::Udp)), now)
                {
                    bench.live.insert(leg);
                }
            }
            4 => bench.pass(script.time()),
            5 => endpoint.handle_input(Input::Closed { path: path(Transport::Tcp) }, now),
            6 => {
                // One of its own messages comes back: a loop, or a retransmission of what it answered.
                let n = usize::from(script.byte() % 64);
                if let Some(bytes) = bench.sent.iter().rev().nth(n).cloned() {
                    bench
                        .endpoint
                        .handle_input(Input::Datagram { path: path(Transport::Udp), bytes: &bytes }, now);
                }
            }
            12 => endpoint
                .handle_input(Input::SendFailed { path: path(Transport::Tcp), reason: "refused" }, now),
            13 => {
                let uri = "sip:them@192.0.2.2";
                let request = Outside {
                    call_id: Some("the-same".into()),
                    credentials: trunkline_fuzz::invite(path(Transport::Udp)).credentials,
                    body: vec![b'x'; usize::from(script.number() % 1500)],
                    content_type: "text/plain".into(),
                    ..Outside::new(Method::Message, path(Transport::Udp), uri, uri, uri)
                };
                drop(endpoint.request(request, now));
            }
            verb => {
                let Some(leg) = bench.leg(script.byte()) else { continue };
                let endpoint = &mut bench.endpoint;
                match verb {
                    7 => endpoint.hang_up(leg, None, now),
                    8 => drop(endpoint.accept(leg, b"v=0\r\n".to_vec(), now)),
                    14 => drop(endpoint.reinvite(leg, b"v=0\r\n".to_vec(), now)),
                    15 => drop(endpoint.update(leg, b"v=0\r\n".to_vec(), now)),
                    16 => drop(endpoint.info(leg, "application/dtmf-relay", b"Signal=1".to_vec(), now)),
                    18 => endpoint.move_leg(leg, path(Transport::Wss)),
                    19 => drop(endpoint.ring_with(leg, 183, &[("X-A", "b")], Some(b"v=0\r\n".to_vec()), now)),
                    17 => drop(endpoint.refer(leg, "sip:other@192.0.2.3", now)),
                    9 => drop(endpoint.reject(leg, 400 + script.number() % 300, &[], now)),
                    10 => drop(endpoint.answer_offer(leg, Ok(b"v=0\r\n".to_vec()), now)),
                    _ => drop(endpoint.ring(leg, 180 + u16::from(script.byte() % 4), None, now)),
                }
            }
        }
        bench.drain();
        assert!(bench.endpoint.stats().legs <= 8);
    }
    bench.locations.remove(1);
    assert_eq!(bench.locations.poll_timeout(), None);
    for leg in bench.live.clone() {
        bench.endpoint.hang_up(leg, None, bench.now);
    }
    bench.drain();
    bench.pass(Duration::from_secs(300));
    let stats = bench.endpoint.stats();
    assert_eq!((stats.legs, stats.transactions, bench.live.len()), (0, 0, 0), "something is left behind");
});
