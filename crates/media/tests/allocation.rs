//! A call's media costs no allocation per packet once its buffers have grown.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::sdp::{Direction, Dtmf, Format, Negotiated};
use media::{Clip, Codec, FRAME_TIME, Session, Setup};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted per thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn a_second_of_playing_receiving_recording_and_reporting_allocates_nothing() {
    let remote = SocketAddr::from(([198, 51, 100, 2], 4000));
    let negotiated = Negotiated {
        codec: Codec::Pcma,
        payload_type: 8,
        clock: 8000,
        fmtp: String::new(),
        dtmf: Dtmf::Rfc4733(101),
        event_clock: 8000,
        formats: vec![(0, Format::Audio(Codec::Pcmu)), (101, Format::Event(8000))],
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), 4001),
        rtcp_mux: false,
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: None,
        places: vec![None],
    };
    let mut now = Instant::now();
    let setup = Setup {
        negotiated,
        ssrc: 1,
        sequence: 0,
        timestamp: 0,
        cname: "call@example.com".to_owned(),
        record: true,
        silence_after: Some(Duration::from_secs(5)),
    };
    let mut session = Session::new(setup, now);
    session.play(1, Clip::tone(440.0, 60_000, 0.5), now);
    let mut second = |session: &mut Session| {
        let before = ALLOCATIONS.get();
        let mut out = [0; 1500];
        for _ in 0..50 {
            now += FRAME_TIME;
            let send = session.tick(now, &mut out).expect("a packet");
            session.handle_rtp(&out[..send.len], remote, now);
            while session.poll_event().is_some() {}
            if let Some(send) = session.poll_rtcp(now, 1 << 40, &mut out) {
                session.handle_rtcp(&out[..send.len], send.to, now);
            }
        }
        session.clear_recorded();
        ALLOCATIONS.get() - before
    };
    assert!(second(&mut session) > 0, "the recording grows in the first second, and is counted");
    for n in 1..20 {
        assert_eq!(second(&mut session), 0, "in second {n}");
    }
}
