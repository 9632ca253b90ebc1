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

#[test]
fn rtcp_goes_over_the_rtp_port_where_agreed_and_is_taken_there_anyway() {
    let now = Instant::now();
    for rtcp_mux in [false, true] {
        let agreed = Negotiated { rtcp_mux, ..negotiated(THERE) };
        let mut session = Session::new(Setup { negotiated: agreed, ..setup(THERE, 1) }, now);
        let mut out = [0; 1500];
        let send = session.poll_rtcp(now + Duration::from_secs(3), 1 << 40, &mut out).unwrap();
        let to = if rtcp_mux { THERE } else { THERE_RTCP };
        assert_eq!((send.to, send.from_rtp), (address(to), rtcp_mux));
        let bye = session.close(&mut out).unwrap();
        assert_eq!((bye.to, bye.from_rtp), (address(to), rtcp_mux));
        session.handle_rtp(&[0x80, 201, 0, 1, 0, 0, 0, 1], address(THERE), now);
        assert_eq!((session.stats().invalid, session.stats().packets_received), (0, 0));
    }
}

#[test]
fn extended_reports_and_feedback_are_read_over() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let extended = [0x80, 207, 0, 3, 0, 0, 0, 9, 7, 0, 0, 1, 1, 2, 3, 4];
    let feedback = [0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1];
    let bye = [0x81, 203, 0, 1, 0, 0, 0, 9];
    let compound = [&report[..], &extended, &feedback, &bye].concat();
    session.handle_rtcp(&compound, address(THERE_RTCP), now);
    assert_eq!(session.stats().invalid, 0);
    // Alone, an extended report is no compound (RFC 3550 A.2).
    session.handle_rtcp(&extended, address(THERE_RTCP), now);
    assert_eq!(session.stats().invalid, 1);
}

#[test]
fn a_report_that_lies_breaks_nothing() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    let mut out = [0; 1500];
    for n in 1..200 {
        session.tick(now + FRAME_TIME * n, &mut out);
    }
    session.poll_rtcp(now + FRAME_TIME * 200, 1 << 40, &mut out);
    for (lost, last_report, delay) in
        [(u32::MAX, u32::MAX, u32::MAX), (0x7FFF_FFFF, 1, 0), (0xFF80_0000, 0, u32::MAX), (0xFFFF_FFFF, 5, 7)]
    {
        let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1];
        for word in [lost, u32::MAX, u32::MAX, last_report, delay] {
            report.extend_from_slice(&word.to_be_bytes());
        }
        session.handle_rtcp(&report, address(THERE_RTCP), now + FRAME_TIME * 201);
        let stats = session.stats();
        assert!(stats.remote_mos.is_some_and(|mos| (1.0..=4.5).contains(&mos)), "{stats:?}");
        assert!(stats.round_trip_ms.is_none_or(|trip| (0.0..60_000.0).contains(&trip)), "{stats:?}");
    }
}

#[test]
fn the_quality_at_their_end_is_known_too() {
    let mut call = Call::new();
    call.run(800, 10);
    let (here, there) = (call.here.stats(), call.there.stats());
    let remote = here.remote_mos.expect("they reported");
    assert!((remote - there.mos).abs() < 0.3, "{remote} here, {} there", there.mos);
    assert!(remote < 4.0);
}

#[test]
fn sound_that_goes_one_way_only_is_told() {
    use crate::OneWay;
    let start = Instant::now();
    let mut session = session(THERE, start);
    let mut out = [0; 1500];
    for n in 0..49 {
        session.tick(start + FRAME_TIME * n, &mut out);
    }
    assert_eq!(session.stats().one_way(), None, "not yet");
    session.tick(start, &mut out);
    let stats = session.stats();
    assert_eq!(stats.one_way(), Some(OneWay::NothingCame));
    assert_eq!((stats.source, stats.last_heard), (None, None));
    let heard = start + Duration::from_secs(2);
    session.handle_rtp(&packet(1), address(THERE), heard);
    let stats = session.stats();
    assert_eq!(stats.one_way(), None);
    assert_eq!((stats.source, stats.last_heard), (Some(address(THERE)), Some(heard)));
    let nothing = [0x81, 201, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0xFF, 0, 0, 50];
    session.handle_rtcp(&[&nothing[..], &[0; 16]].concat(), address(THERE_RTCP), heard);
    assert_eq!(session.stats().one_way(), Some(OneWay::NothingArrived));
}
