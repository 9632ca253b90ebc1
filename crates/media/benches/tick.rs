//! What 20 ms of one call cost: a packet in, a tick of a session that plays and records, a packet out.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use media::sdp::{Direction, Dtmf, Format, Negotiated};
use media::{Clip, Codec, FRAME_TIME, Session, Setup};

fn tick(criterion: &mut Criterion) {
    let remote = SocketAddr::from(([198, 51, 100, 2], 4000));
    let negotiated = Negotiated {
        codec: Codec::Pcmu,
        payload_type: 0,
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
        cname: "bench".to_owned(),
        record: true,
        silence_after: None,
    };
    let mut session = Session::new(setup, now);
    let clip = Clip::tone(440.0, 60_000, 0.5);
    let mut out = [0; 1500];
    criterion.bench_function("receive, tick and record 20 ms", |bencher| {
        bencher.iter(|| {
            if session.poll_event().is_some() || session.stats().packets_sent == 0 {
                session.play(1, clip.clone(), now);
            }
            now += FRAME_TIME;
            if let Some(send) = session.tick(now, &mut out) {
                session.handle_rtp(out.get(..send.len).unwrap_or_default(), send.to, now);
            }
            black_box(session.recorded());
            session.clear_recorded();
        });
    });
}

criterion_group!(benches, tick);
criterion_main!(benches);
