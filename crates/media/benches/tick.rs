//! What 20 ms of one call cost: a packet in, a tick of a session that plays and records, a packet out.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use media::sdp::{Direction, Dtmf, Format, Negotiated};
use media::srtp::{Crypto, Key, Suite};
use media::{Clip, Codec, FRAME_TIME, Session, Setup};

fn negotiated(codec: Codec) -> Negotiated {
    let remote = SocketAddr::from(([198, 51, 100, 2], 4000));
    Negotiated {
        codec,
        payload_type: codec.payload_type(),
        clock: codec.clock(),
        fmtp: codec.fmtp().unwrap_or_default().to_owned(),
        dtmf: Dtmf::Rfc4733(101),
        event_clock: 8000,
        formats: vec![(codec.payload_type(), Format::Audio(codec)), (101, Format::Event(8000))],
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), 4001),
        rtcp_mux: false,
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: None,
        web: None,
        places: vec![None],
    }
}

fn tick(criterion: &mut Criterion) {
    for (name, codec, lose, suite) in [
        ("receive, tick and record 20 ms", Codec::Pcmu, u32::MAX, None),
        ("receive, tick and record 20 ms of A-law, 5 % lost", Codec::Pcma, 20, None),
        ("receive, tick and record 20 ms of G.722", Codec::G722, u32::MAX, None),
        ("receive, tick and record 20 ms of Opus", Codec::Opus, u32::MAX, None),
        ("receive, tick and record 20 ms by AES-GCM", Codec::Pcmu, u32::MAX, Some(Suite::AeadAes128Gcm)),
        (
            "receive, tick and record 20 ms by AES-GCM of 256 bits",
            Codec::Pcmu,
            u32::MAX,
            Some(Suite::AeadAes256Gcm),
        ),
        ("receive, tick and record 20 ms by AES-CM", Codec::Pcmu, u32::MAX, Some(Suite::AesCm128HmacSha1_80)),
    ] {
        // Both ways the same key: the session hears itself.
        let crypto = suite.and_then(|suite| {
            let key = [28, 30, 44].iter().find_map(|len| Key::new(suite, &vec![7; *len]))?;
            Some(Crypto { suite, ours: key.clone(), theirs: key })
        });
        let mut now = Instant::now();
        let setup = Setup {
            negotiated: Negotiated { crypto, ..negotiated(codec) },
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
        let mut n = 0_u32;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                if session.poll_event().is_some() || session.stats().packets_sent == 0 {
                    session.play(1, clip.clone(), now);
                }
                now += FRAME_TIME;
                n += 1;
                if let Some(send) = session.tick(now, &mut out)
                    && !n.is_multiple_of(lose)
                {
                    session.handle_rtp(out.get(..send.len).unwrap_or_default(), send.to, now);
                }
                black_box(session.recorded());
                session.clear_recorded();
            });
        });
    }
}

criterion_group!(benches, tick);
criterion_main!(benches);
