//! A call's media costs no allocation per packet once its buffers have grown.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use media::sdp::{Direction, Dtmf, Format, Negotiated};
use media::srtp::{Crypto, Key, Suite};
use media::{Clip, Codec, FRAME_TIME, Session, Setup};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that are allocated now.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counted per thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.set(HELD.get() + layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as i64);
        // SAFETY: `pointer` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)), 4000);

fn setup(codec: Codec, record: bool) -> Setup {
    Setup {
        negotiated: negotiated(codec),
        ssrc: 1,
        sequence: 0,
        timestamp: 0,
        cname: "call@example.com".to_owned(),
        record,
        silence_after: Some(Duration::from_secs(5)),
    }
}

fn negotiated(codec: Codec) -> Negotiated {
    Negotiated {
        codec,
        payload_type: codec.payload_type(),
        clock: codec.clock(),
        fmtp: codec.fmtp().unwrap_or_default().to_owned(),
        dtmf: Dtmf::Rfc4733(101),
        event_clock: 8000,
        formats: vec![(codec.payload_type(), Format::Audio(codec)), (101, Format::Event(8000))],
        remote: REMOTE,
        remote_rtcp: SocketAddr::new(REMOTE.ip(), 4001),
        rtcp_mux: false,
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: None,
        web: None,
        places: vec![None],
    }
}

/// A second of a call with itself that loses one packet in `lose` (0: none).
fn second(session: &mut Session, now: &mut Instant, lose: u32) {
    let mut out = [0; 1500];
    for n in 1..=50 {
        *now += FRAME_TIME;
        // What joined calls say; another one does not take it.
        session.feed(&[700; 160]);
        let send = session.tick(*now, &mut out).expect("a packet");
        if lose == 0 || n % lose != 0 {
            session.handle_rtp(&out[..send.len], REMOTE, *now);
        }
        while session.poll_event().is_some() {}
        if let Some(send) = session.poll_rtcp(*now, 1 << 40, &mut out) {
            session.handle_rtcp(&out[..send.len], send.to, *now);
        }
    }
    session.clear_recorded();
}

#[test]
fn a_second_of_playing_receiving_recording_and_reporting_allocates_nothing() {
    for (codec, lose) in Codec::ALL.into_iter().flat_map(|codec| [(codec, 0), (codec, 7)]) {
        let mut now = Instant::now();
        let mut session = Session::new(setup(codec, true), now);
        session.play(1, Clip::tone(440.0, 60_000, 0.5), now);
        let mut allocations = || {
            let before = ALLOCATIONS.get();
            second(&mut session, &mut now, lose);
            ALLOCATIONS.get() - before
        };
        assert!(allocations() > 0, "the recording grows in the first second, and is counted");
        for n in 1..20 {
            assert_eq!(allocations(), 0, "{codec:?} in second {n}, one packet of {lose} lost");
        }
    }
}

#[test]
fn encryption_tones_and_joined_calls_allocate_nothing_per_packet() {
    for suite in Suite::ALL.into_iter().chain([Suite::AeadAes256Gcm]) {
        let key = [28, 30, 44].iter().find_map(|len| Key::new(suite, &vec![7; *len])).expect("a key");
        let crypto = Some(Crypto { suite, ours: key.clone(), theirs: key });
        let negotiated = Negotiated { crypto, dtmf: Dtmf::Inband, ..negotiated(Codec::Pcmu) };
        let mut now = Instant::now();
        let mut session = Session::new(Setup { negotiated, ..setup(Codec::Pcmu, true) }, now);
        session.live(true);
        for n in 0..20 {
            let before = ALLOCATIONS.get();
            second(&mut session, &mut now, 0);
            assert!(n == 0 || ALLOCATIONS.get() == before, "{suite:?} in second {n}");
        }
        let stats = session.stats();
        assert_eq!((stats.unauthentic, stats.packets_received), (0, 1000), "{suite:?}");
    }
}

/// What libopus takes by itself (31 KB an encoder, 18 KB a decoder) is not seen by this allocator.
#[test]
fn a_held_call_takes_little_memory_and_gives_it_back() {
    for (codec, record, most) in [
        (Codec::Pcmu, false, 12_000),
        (Codec::Pcma, true, 80_000),
        (Codec::G722, false, 12_000),
        (Codec::Opus, false, 12_000),
    ] {
        let clip = Clip::tone(440.0, 60_000, 0.5);
        let before = HELD.get();
        let mut now = Instant::now();
        let mut session = Box::new(Session::new(setup(codec, record), now));
        session.play(1, clip.clone(), now);
        (0..20).for_each(|n| second(&mut session, &mut now, n % 8));
        let held = HELD.get() - before;
        assert!(held <= most, "{codec:?}, recorded: {record}: {held} bytes");
        drop(session);
        assert_eq!(HELD.get() - before, 0, "{codec:?}");
        println!("{codec:?}, recorded: {record}: {held} bytes");
    }
}
