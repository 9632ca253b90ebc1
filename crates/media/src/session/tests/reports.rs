use super::*;
use crate::rtcp;

#[test]
fn reports_tell_the_round_trip_and_their_loss() {
    let mut call = Call::new();
    call.run(1000, 10);
    for stats in [call.here.stats(), call.there.stats()] {
        let round_trip = stats.round_trip_ms.expect("a round trip");
        assert!((round_trip - 80.0).abs() < 1.0, "{round_trip} ms");
        let lost = f32::from(stats.remote_lost.expect("a report about us")) / 256.0;
        assert!((0.02..0.2).contains(&lost), "{lost}");
        assert!(stats.remote_jitter_ms.expect("a report about us") < 1.0);
        assert_eq!((stats.foreign, stats.invalid), (0, 0));
    }
}

#[test]
fn reports_go_out_after_2500_ms_and_then_every_5_s() {
    let start = Instant::now();
    let mut session = session(THERE, start);
    let mut times = vec![];
    for ms in (0..20_000).step_by(20) {
        let now = start + Duration::from_millis(ms);
        let mut out = [0; 1500];
        if ms < 10_000 {
            session.tick(now, &mut out);
        }
        if let Some(send) = session.poll_rtcp(now, 1 << 40, &mut out) {
            assert_eq!(send.to, address(THERE_RTCP));
            let is_sender = rtcp::parse(&out[..send.len])
                .unwrap()
                .any(|packet| matches!(packet, rtcp::Packet::Report { ssrc: 1, sender: Some(_), .. }));
            times.push((ms, is_sender));
        }
    }
    // Whoever sent nothing since the last report is a receiver.
    assert_eq!(times, [(2500, true), (7500, true), (12_500, true), (17_500, false)]);
}

#[test]
fn the_end_is_a_bye_behind_a_report() {
    let now = Instant::now();
    let mut out = [0; 1500];
    let send = session(THERE, now).close(&mut out).unwrap();
    assert_eq!(send.to, address(THERE_RTCP));
    let packets: Vec<_> = rtcp::parse(&out[..send.len]).unwrap().collect();
    assert!(matches!(packets[..], [rtcp::Packet::Report { .. }, rtcp::Packet::Other, rtcp::Packet::Bye]));
}

#[test]
fn on_hold_by_address_no_rtcp_goes_out() {
    let now = Instant::now();
    let mut session = session("0.0.0.0:4000", now);
    let mut out = [0; 1500];
    assert_eq!(session.poll_rtcp(now + Duration::from_secs(10), 1 << 40, &mut out), None);
    assert_eq!(session.close(&mut out), None);
}

#[test]
fn rtcp_of_foreigners_and_garbage_is_counted_and_ignored() {
    let now = Instant::now();
    let mut here = session(THERE, now);
    let mut out = [0; 1500];
    let send = session(HERE, now).close(&mut out).unwrap();
    here.handle_rtcp(&out[..send.len], address(THERE_RTCP), now);
    here.handle_rtcp(&out[..send.len], address("203.0.113.66:9"), now + Duration::from_secs(2));
    here.handle_rtcp(b"garbage", address(THERE_RTCP), now);
    assert_eq!((here.stats().foreign, here.stats().invalid), (1, 1));
}
