//! A held call costs little memory, and gives it back.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test, helpers included")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use sip::location::{Limits, Locations};
use sip::{Config, Endpoint, Event, Input, Output, Path, Transport, View};

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: isize) {
    HELD.with(|held| held.set(held.get() + sign * bytes.cast_signed()));
}

// SAFETY: everything is left to the system's allocator; counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls held at once.
const CALLS: usize = 1_000;

/// The most bytes a held leg may cost, its SDP of 300 bytes and its place in the tables included.
const LEG_BYTES: isize = 3_000;

#[test]
fn a_held_leg_costs_little_and_gives_it_back() {
    let path = Path::new(Transport::Udp, ([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 9], 5060).into());
    let mut endpoint = Endpoint::new(Config::default(), [7; 32]);
    let mut now = Instant::now();
    let idle = HELD.get();
    let mut legs = Vec::with_capacity(CALLS);
    let receive = |endpoint: &mut Endpoint, text: String, now| {
        endpoint.handle_input(Input::Datagram { path, bytes: text.as_bytes() }, now);
    };
    for call in 0..CALLS {
        let head = format!(
            "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{call};rport\r\nFrom: <sip:caller@example.net>;tag=t{call}\r\n\
             Call-ID: call-{call}@example.net\r\nContact: <sip:caller@192.0.2.9>\r\nContent-Length: 0\r\n"
        );
        let to = "To: <sip:100@192.0.2.1>";
        let invite = format!("INVITE sip:100@192.0.2.1 SIP/2.0\r\n{head}{to}\r\nCSeq: 1 INVITE\r\n\r\n");
        receive(&mut endpoint, invite, now);
        let mut tag = String::new();
        while let Some(output) = endpoint.poll_output() {
            if let Output::Event(Event::Incoming { leg, .. }) = output {
                endpoint.accept(leg, vec![b'v'; 300], now).unwrap();
                legs.push(leg);
            } else if let Output::Send { bytes, .. } = output
                && let Ok(message) = sip::Message::parse(bytes)
                && let Some(found) = message.view().to().and_then(|to| to.tag())
            {
                tag = found.to_owned();
            }
        }
        let head = head.replace("z9hG4bK", "z9hG4bKack");
        receive(
            &mut endpoint,
            format!("ACK sip:100@192.0.2.1 SIP/2.0\r\n{head}{to};tag={tag}\r\nCSeq: 1 ACK\r\n\r\n"),
            now,
        );
        while endpoint.poll_output().is_some() {}
    }
    // The transactions of the INVITEs end.
    now += Duration::from_secs(40);
    endpoint.handle_timeout(now);
    while endpoint.poll_output().is_some() {}
    assert_eq!((endpoint.stats().legs, endpoint.stats().transactions), (CALLS, 0));
    let each = (HELD.get() - idle) / CALLS.cast_signed();
    eprintln!("{each} bytes a held leg");
    assert!((200..LEG_BYTES).contains(&each), "{each} bytes a leg");

    for leg in legs {
        endpoint.hang_up(leg, None, now);
        while endpoint.poll_output().is_some() {}
    }
    now += Duration::from_secs(40);
    while endpoint.poll_timeout().is_some_and(|at| at <= now) {
        endpoint.handle_timeout(now);
        while endpoint.poll_output().is_some() {}
    }
    let left = HELD.get() - idle;
    assert!(left < 64 * 1_024, "{left} bytes left");
}

/// Bindings held at once.
const BINDINGS: u64 = 100_000;

/// The most bytes a binding may cost, its texts of 150 bytes and its place in the tables included.
const BINDING_BYTES: isize = 1_000;

#[test]
fn a_binding_costs_little_and_gives_it_back() {
    let (now, limits) = (Instant::now(), Limits::default());
    let idle = HELD.get();
    let mut locations = Locations::new(7);
    for user in 0..BINDINGS {
        let remote = (user.to_be_bytes()[4..].first_chunk::<4>().copied().unwrap(), 40_000).into();
        let (transport, port) = if user % 2 == 0 { (Transport::Udp, 5060) } else { (Transport::Wss, 443) };
        let path = Path::new(transport, ([192, 0, 2, 1], port).into(), remote);
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nCall-ID: 7d5b0f5b1f3c4f1a0c9e8a7b6c5d{user:04x}@10.0.0.7\r\n\
             CSeq: 1 REGISTER\r\nUser-Agent: Example Phone 18.4\r\n\
             Contact: <sip:{user}@10.0.0.7:5060;ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{user:012x}>\"\r\n\r\n"
        );
        let view = View::parse(text.as_bytes()).unwrap();
        locations.register(user, &view, path, &limits, now).unwrap();
    }
    let each = (HELD.get() - idle) / BINDINGS.cast_signed() as isize;
    assert!(each < BINDING_BYTES, "{each} bytes a binding");
    locations.handle_timeout(now + Duration::from_secs(7_200));
    while locations.poll_change().is_some() {}
    assert_eq!(locations.counts().bindings, 0);
}
