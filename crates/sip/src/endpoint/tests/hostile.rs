//! What nobody should send.

use proptest::prelude::*;

use super::super::{Config, Endpoint, Event, Input, Output};
use super::{Bench, header, in_dialog, invite, path, request, response};
use crate::message::{Message, View};
use crate::{Path, Transport};

/// Reads all there is to read.
fn read(bytes: &[u8]) {
    let Ok(view) = View::parse(bytes) else { return };
    let _ = (view.check(), view.body(), view.cseq(), view.call_id(), view.content_type());
    let addresses = [view.from(), view.to(), view.contact()];
    for address in addresses.into_iter().flatten() {
        let _ = (address.sip_uri(), address.display_name(), address.params.iter().count());
    }
    for via in view.vias() {
        let _ = (via.unique_branch(), via.params.iter().count());
    }
    for name in ["Route", "Authorization", "Reason", "X-Other"] {
        view.values(name).for_each(|value| {
            let _ = crate::Reason::parse(value);
            crate::digest::Challenge::parse_all(value).for_each(drop);
        });
    }
    assert!(Message::parse(bytes::Bytes::copy_from_slice(bytes)).is_ok());
}

/// Hands bytes to an endpoint with calls in every state, whole and as a stream; whatever that does, hanging up
/// leaves nothing behind.
fn hand_over(bytes: &[u8]) {
    let mut bench = Bench::new();
    let (calling, sent) = bench.invite(invite());
    bench.receive(&response(&sent, "180 Ringing", "x", "", ""));
    let (established, _) = bench.established();
    let mut legs = vec![calling, established];
    let stream = Path { transport: Transport::Tcp, ..path() };
    for input in [
        Input::Datagram { path: path(), bytes },
        Input::Stream { path: stream, bytes },
        Input::Closed { path: stream },
        Input::SendFailed { path: path(), reason: "" },
    ] {
        bench.endpoint.handle_input(input, bench.now);
    }
    while let Some(output) = bench.endpoint.poll_output() {
        if let Output::Event(Event::Incoming { leg, .. }) = output {
            legs.push(leg);
        }
    }
    legs.into_iter().for_each(|leg| bench.endpoint.hang_up(leg, None, bench.now));
    bench.assert_idle();
}

fn torture() -> impl Strategy<Value = Vec<u8>> {
    let messages = super::torture::MESSAGES.iter().map(|(_, _, _, bytes)| bytes.to_vec());
    let ours = [request("INVITE", "Require: x\n", "v=0\n"), in_dialog("BYE", 2, "", "", "")];
    let all: Vec<Vec<u8>> = messages.chain(ours.map(String::into_bytes)).collect();
    prop::sample::select(all)
}

prop_compose! {
    /// A message with some bytes changed, cut out, or doubled.
    fn mutated()(
        bytes in torture(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4, 0..20usize), 1..8),
    ) -> Vec<u8> {
        edits.into_iter().fold(bytes, |mut bytes, (at, byte, kind, len)| {
            if bytes.is_empty() {
                return bytes;
            }
            let at = at.index(bytes.len());
            let end = (at + len).min(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.drain(at..end)),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
            bytes
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read(&bytes);
        hand_over(&bytes);
    }

    #[test]
    fn mutated_messages_do_no_harm(bytes in mutated()) {
        read(&bytes);
        hand_over(&bytes);
    }

    #[test]
    fn any_cut_of_a_stream_is_the_same(bytes in mutated(), cut in any::<prop::sample::Index>()) {
        let stream = Path { transport: Transport::Tcp, ..path() };
        let run = |parts: &[&[u8]]| {
            let mut endpoint = Endpoint::new(Config::default(), [9; 32]);
            let now = std::time::Instant::now();
            for bytes in parts {
                endpoint.handle_input(Input::Stream { path: stream, bytes }, now);
            }
            std::iter::from_fn(|| endpoint.poll_output()).map(|output| format!("{output:?}")).collect::<Vec<_>>()
        };
        let (head, tail) = bytes.split_at(cut.index(bytes.len().max(1)).min(bytes.len()));
        let whole = run(&[&bytes]);
        // After a close the rest of the connection would be another stream.
        if !whole.iter().any(|output| output.starts_with("Close")) {
            prop_assert_eq!(run(&[head, tail]), whole);
        }
    }
}

#[test]
fn keep_alives_and_stun_are_ignored() {
    let mut bench = Bench::new();
    for bytes in [&b"\r\n\r\n"[..], b"\r\n", b"", b"\0", b"\x00\x01\x00\x00\x21\x12\xa4\x42"] {
        bench.endpoint.handle_input(Input::Datagram { path: path(), bytes }, bench.now);
    }
    let outputs = bench.outputs();
    assert!(outputs.sent.is_empty() && outputs.events.is_empty());
    assert_eq!(bench.endpoint.stats().parse_errors, 0);
}

#[test]
fn a_ping_on_a_stream_gets_a_pong_and_garbage_a_close() {
    let mut endpoint = Endpoint::new(Config::default(), [1; 32]);
    let (now, path) = (std::time::Instant::now(), Path { transport: Transport::Tcp, ..path() });
    endpoint.handle_input(Input::Stream { path, bytes: b"\r\n\r\n" }, now);
    assert!(matches!(endpoint.poll_output(), Some(Output::Send { bytes, .. }) if &bytes[..] == b"\r\n"));
    endpoint.handle_input(Input::Stream { path, bytes: b"GET / HTTP/1.1\r\n\r\n" }, now);
    assert!(matches!(endpoint.poll_output(), Some(Output::Close { path: closed }) if closed == path));
    assert_eq!(endpoint.stats().parse_errors, 1);
}

/// Of a response what counts might stand behind the fields that are read.
#[test]
fn what_has_too_many_header_fields_is_refused() {
    let mut bench = Bench::new();
    for (count, status) in [(View::MAX_HEADERS - 8, 200), (View::MAX_HEADERS, 513), (5_000, 513)] {
        let request = request("OPTIONS", &"X: 1\n".repeat(count), "");
        assert_eq!(bench.receive(&request).statuses(), [status], "{count}");
    }
    let (_, sent) = bench.invite(invite());
    let answer = response(&sent, "200 OK", "a", &"X: 1\n".repeat(View::MAX_HEADERS), "v=1\n");
    let outputs = bench.receive(&answer);
    assert!(outputs.sent.is_empty() && outputs.events.is_empty(), "{outputs:?}");
}

#[test]
fn a_latin_1_display_name_costs_nothing_else() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "", "v=0\n")
        .replace("<sip:caller@example.net>", "\"J?rg\" <sip:caller@example.net>");
    let bytes: Vec<u8> =
        invite.replace('\n', "\r\n").bytes().map(|byte| if byte == b'?' { 0xfc } else { byte }).collect();
    bench.endpoint.handle_input(Input::Datagram { path: path(), bytes: &bytes }, bench.now);
    let outputs = bench.outputs();
    let [Event::Incoming { request, .. }] = outputs.events.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(request.view().from().unwrap().display_name().as_deref(), Some("Jürg"));
    assert_eq!((request.header("call-id"), request.body()), (Some("call-1"), &b"v=0\r\n"[..]));
}

#[test]
fn responses_go_where_via_and_source_say() {
    let at = |address: &str| Path { remote: address.parse().unwrap(), ..path() };
    for (via, source, to, stamped) in [
        (
            "192.0.2.9:5062;branch=z9hG4bKa",
            "192.0.2.9:4000",
            "192.0.2.9:5062",
            "192.0.2.9:5062;branch=z9hG4bKa",
        ),
        (
            "h.example.com;branch=z9hG4bKa",
            "192.0.2.8:4000",
            "192.0.2.8:5060",
            "h.example.com;branch=z9hG4bKa;received=192.0.2.8",
        ),
        (
            "10.0.0.1;rport;branch=z9hG4bKa;received=1.2.3.4",
            "192.0.2.8:4000",
            "192.0.2.8:4000",
            "10.0.0.1;branch=z9hG4bKa;received=192.0.2.8;rport=4000",
        ),
        (
            "192.0.2.8;maddr=192.0.2.99;branch=z9hG4bKa",
            "192.0.2.8:4000",
            "192.0.2.8:5060",
            "192.0.2.8;maddr=192.0.2.99;branch=z9hG4bKa",
        ),
    ] {
        let options =
            request("OPTIONS", "", "").replace("192.0.2.9:5060;branch=z9hG4bK-OPTIONS-1;rport", via);
        let outputs = Bench::new().receive_from(at(source), &options);
        assert_eq!(outputs.paths, [at(to)], "{via}");
        assert_eq!(header(&outputs.sent[0], "Via"), format!("SIP/2.0/UDP {stamped}"));
    }
}

#[test]
fn a_copy_of_a_request_gets_the_same_answer() {
    let mut bench = Bench::new();
    let options = request("OPTIONS", "", "");
    let first = bench.receive(&options).only_sent();
    assert_eq!(bench.receive(&options).only_sent(), first);
    assert_eq!(bench.endpoint.stats().transactions, 0);
}

#[test]
fn strangers_are_refused_or_absorbed() {
    let mut bench = Bench::new();
    for (method, statuses) in [
        ("BYE", &[481][..]),
        ("CANCEL", &[481]),
        ("ACK", &[]),
        ("SUBSCRIBE", &[489]),
        ("REGISTER", &[405]),
        ("FOO", &[501]),
    ] {
        assert_eq!(bench.receive(&request(method, "", "")).statuses(), statuses, "{method}");
    }
    let stray =
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK0123456789abcdef\nCSeq: 1 INVITE\n\n";
    assert!(bench.receive(stray).sent.is_empty());
    let encoded = request("INVITE", "Content-Encoding: gzip\n", "v=0\n");
    assert_eq!(bench.receive(&encoded).statuses(), [415]);
    let looped = request("INVITE", "", "v=0\n").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(bench.receive(&looped).statuses(), [483]);
    bench.assert_idle();
}
