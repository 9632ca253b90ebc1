use proptest::prelude::*;

use super::*;

/// What may come over the network, and how many frames pass before it.
#[derive(Clone, Debug)]
enum Input {
    Rtp { header: rtp::Header, payload: Vec<u8> },
    Bytes(Vec<u8>),
}

fn input() -> impl Strategy<Value = (u8, Input)> {
    let near_or_far = prop_oneof![0u32..2000, any::<u32>()];
    let payload_type = prop_oneof![Just(0u8), Just(8), Just(101), 0u8..128];
    let payload = proptest::collection::vec(any::<u8>(), 0..600);
    let packet = (any::<bool>(), payload_type, any::<u16>(), near_or_far, 0u32..2, payload).prop_map(
        |(marker, payload_type, sequence, timestamp, ssrc, payload)| {
            // Mostly in sequence, so that more than strays are looked at.
            let sequence = if sequence < 50_000 { sequence % 50 } else { sequence };
            let header = rtp::Header { marker, payload_type, sequence, timestamp, ssrc };
            Input::Rtp { header, payload }
        },
    );
    let bytes = proptest::collection::vec(any::<u8>(), 0..60).prop_map(Input::Bytes);
    (0u8..4, prop_oneof![9 => packet, 1 => bytes])
}

proptest! {
    #[test]
    fn anything_may_arrive(inputs in proptest::collection::vec(input(), 1..100)) {
        let mut now = Instant::now();
        let mut session = session(THERE, now);
        session.echo(true);
        session.record_segment(1, Rules {
            beep: true,
            max: Duration::from_secs(1),
            end_silence: Some(Duration::from_secs(1)),
            end_keys: "#".to_owned(),
        });
        let mut out = [0; 1500];
        for (frames, input) in inputs {
            for _ in 0..frames {
                now += FRAME_TIME;
                session.tick(now, &mut out);
                session.poll_rtcp(now, 1 << 40, &mut out);
            }
            match input {
                Input::Rtp { header, payload } => {
                    let bytes = [&header.to_bytes()[..], &payload].concat();
                    session.handle_rtp(&bytes, address(THERE), now);
                }
                Input::Bytes(bytes) => {
                    session.handle_rtp(&bytes, address(THERE), now);
                    session.handle_rtcp(&bytes, address(THERE_RTCP), now);
                }
            }
            let stats = session.stats();
            prop_assert!(stats.mos == 0.0 || (1.0..=4.5).contains(&stats.mos));
            prop_assert!(stats.jitter_ms <= stats.max_jitter_ms);
            events(&mut session);
        }
    }
}
