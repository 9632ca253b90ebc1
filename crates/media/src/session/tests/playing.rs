use super::*;
use crate::FRAME;

/// The longest run of samples below 1 % of full scale, in ms.
fn longest_gap(samples: &[i16]) -> usize {
    samples.split(|sample| sample.unsigned_abs() > 327).map(<[i16]>::len).max().unwrap_or(0) / 8
}

#[test]
fn a_tone_is_heard_and_recorded_whole_at_both_ends() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let agreed = |remote| Negotiated { codec, payload_type: codec.payload_type(), ..negotiated(remote) };
        let mut call = Call::with(
            Setup { negotiated: agreed(THERE), ..setup(THERE, 1) },
            Setup { negotiated: agreed(HERE), ..setup(HERE, 2) },
        );
        call.here.play(7, Clip::tone(1004.0, 3000, 0.5), call.now);
        call.there.play(8, Clip::tone(440.0, 3000, 0.5), call.now);
        call.run(150, 0);
        assert_eq!(call.here_events, [Event::FirstMedia, Event::Played { id: 7, whole: true }]);
        for (name, samples, hz) in [
            ("sent here", channel(&call.here_recorded, 1), 1004.0),
            ("heard there", channel(&call.there_recorded, 0), 1004.0),
            ("sent there", channel(&call.there_recorded, 1), 440.0),
            ("heard here", channel(&call.here_recorded, 0), 440.0),
        ] {
            assert_eq!(samples.len(), 24_000, "{name}");
            let onset = samples.iter().position(|sample| sample.unsigned_abs() > 327).expect(name);
            assert!(onset <= 60 * 8, "{name}: heard {onset} samples late");
            assert!(longest_gap(&samples[onset..]) < 2, "{name}");
            for second in samples[onset..].chunks_exact(4000) {
                let (heard, level) = tone::frequency(second).expect(name);
                assert!((heard - hz).abs() < hz / 100.0 && (level - 0.5).abs() < 0.02, "{name}: {heard} Hz");
            }
        }
    }
}

#[test]
fn clips_and_pauses_follow_one_another_without_a_gap() {
    let mut call = Call::new();
    // Neither is a whole number of frames.
    call.here.play(1, Clip::tone(500.0, 110, 0.5), call.now);
    call.here.play(2, Clip::from_samples(vec![]), call.now);
    call.here.play(3, Clip::tone(500.0, 130, 0.5), call.now);
    call.here.pause(4, Duration::from_millis(250), call.now);
    call.here.play(5, Clip::tone(500.0, 100, 0.5), call.now);
    call.run(40, 0);
    let sent = channel(&call.here_recorded, 1);
    assert!(longest_gap(&sent[..240 * 8]) < 2);
    assert!((249..=252).contains(&longest_gap(&sent[..590 * 8])));
    let over: Vec<_> = call.here_events.iter().filter(|event| **event != Event::FirstMedia).collect();
    assert_eq!(over.len(), 5);
    for (event, id) in over.into_iter().zip(1..) {
        assert_eq!(*event, Event::Played { id, whole: true });
    }
}

#[test]
fn stopping_drops_the_queue_and_sends_silence() {
    let mut call = Call::new();
    call.here.play(1, Clip::tone(500.0, 5000, 0.5), call.now);
    call.here.pause(2, Duration::from_secs(1), call.now);
    call.here.digits(3, "1", call.now).unwrap();
    call.run(10, 0);
    call.here.stop();
    call.run(10, 0);
    let dropped: Vec<_> = (1..=3).map(|id| Event::Played { id, whole: false }).collect();
    assert_eq!(call.here_events[1..], dropped);
    assert_eq!(call.here.stats().packets_sent, 20);
    assert!(channel(&call.here_recorded, 1)[10 * FRAME..].iter().all(|sample| *sample == 0));
}

#[test]
fn echo_sends_back_what_is_heard_unless_something_is_queued() {
    let mut call = Call::new();
    call.there.echo(true);
    call.here.play(1, Clip::tone(700.0, 1000, 0.5), call.now);
    call.run(60, 0);
    let (hz, _) = tone::frequency(&channel(&call.here_recorded, 0)[2000..]).expect("an echo");
    assert!((hz - 700.0).abs() < 7.0, "{hz}");
    call.there.pause(2, Duration::from_secs(1), call.now);
    call.here.play(3, Clip::tone(700.0, 500, 0.5), call.now);
    call.run(25, 0);
    let since = call.here_recorded.len() - 2 * 20 * FRAME;
    assert!(channel(&call.here_recorded[since..], 0).iter().all(|sample| sample.unsigned_abs() < 10));
}

#[test]
fn on_hold_nothing_is_sent_and_the_queue_waits() {
    for (name, direction, remote) in [
        ("recvonly", Direction::RecvOnly, THERE),
        ("inactive", Direction::Inactive, THERE),
        ("0.0.0.0", Direction::SendRecv, "0.0.0.0:4000"),
    ] {
        let mut now = Instant::now();
        let mut session = session(THERE, now);
        let mut out = [0; 1500];
        session.play(1, Clip::tone(500.0, 100, 0.5), now);
        session.update(Negotiated { direction, ..negotiated(remote) }, now);
        for _ in 0..100 {
            now += FRAME_TIME;
            assert_eq!(session.tick(now, &mut out), None, "{name}");
        }
        assert_eq!(events(&mut session), [], "{name}");
        session.update(negotiated(THERE), now);
        let mut headers = vec![];
        for _ in 0..5 {
            let send = session.tick(now, &mut out).expect(name);
            headers.push(rtp::Packet::parse(&out[..send.len]).unwrap().header);
        }
        // The clock went on, the sequence did not; the first packet after the gap starts a talkspurt.
        assert_eq!(
            (headers[0].sequence, headers[0].marker, headers[1].marker),
            (65_530, true, false),
            "{name}"
        );
        assert_eq!(headers[0].timestamp, (u32::MAX - 1000).wrapping_add(100 * 160), "{name}");
        assert_eq!(events(&mut session), [Event::Played { id: 1, whole: true }], "{name}");
        assert_eq!(session.stats().unrecorded, 0);
    }
}

#[test]
fn packets_are_as_long_as_they_ask_for() {
    for ptime_ms in [10, 20, 30, 40, 50, 60] {
        let here = Setup { negotiated: Negotiated { ptime_ms, ..negotiated(THERE) }, ..setup(THERE, 1) };
        let mut call = Call::with(here, setup(HERE, 2));
        call.here.play(1, Clip::tone(600.0, 1000, 0.5), call.now);
        call.here.digits(2, "5", call.now).unwrap();
        call.run(90, 0);
        let stats = call.there.stats();
        assert_eq!((stats.lost, stats.late, stats.invalid), (0, 0, 0), "{ptime_ms} ms");
        let heard = channel(&call.there_recorded, 0);
        let onset = heard.iter().position(|sample| sample.unsigned_abs() > 327).expect("a tone");
        assert!(longest_gap(&heard[onset..onset + 7900]) < 2, "{ptime_ms} ms");
        assert!(
            call.there_events.contains(&Event::Digit { digit: '5', ms: 100, by: By::Rfc4733 }),
            "{ptime_ms} ms"
        );
        let audio = (stats.octets_received - 7 * 4) / (stats.packets_received - 7);
        assert_eq!(audio, u64::from(ptime_ms) * 8, "{ptime_ms} ms");
    }
}

#[test]
fn loss_lowers_the_score_and_is_counted() {
    let mut last = f32::MAX;
    for lose in [0, 100, 20, 10, 4, 2] {
        let mut call = Call::new();
        call.run(1500, lose);
        let (stats, sent) = (call.there.stats(), call.here.stats().packets_sent);
        assert!(stats.mos < last, "one of {lose}: {} after {last}", stats.mos);
        last = stats.mos;
        // What was lost before the first packet or after the last that came cannot be known.
        let missing = sent - stats.packets_received;
        assert!(stats.lost <= missing && stats.lost + 5 >= missing, "one of {lose}: {stats:?}");
    }
    assert!((1.0..2.0).contains(&last), "half of the packets lost: {last}");
}

#[test]
fn duplicates_and_reordering_do_no_harm() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    for n in [0, 2, 1, 1, 3, 5, 4, 3] {
        session.handle_rtp(&packet(n), address(THERE), now);
    }
    let stats = session.stats();
    assert_eq!((stats.packets_received, stats.duplicates, stats.lost, stats.late), (8, 2, 0, 0));
    let mut out = [0; 1500];
    let mut heard = vec![];
    for _ in 0..8 {
        session.tick(now, &mut out);
        heard.extend_from_slice(session.heard());
    }
    // Then what is made up in place of the seventh.
    let played = heard.iter().take(240 + 6 * FRAME).filter(|sample| **sample != 0).count();
    assert_eq!(played, 6 * FRAME);
}

#[test]
fn what_nobody_takes_out_is_dropped_after_four_seconds() {
    let mut now = Instant::now();
    let mut session = session(THERE, now);
    for _ in 0..250 {
        now += FRAME_TIME;
        session.tick(now, &mut [0; 1500]);
    }
    assert_eq!(session.recorded().len(), 4 * 8000 * 2);
    assert_eq!(session.stats().unrecorded, 8000);
    session.clear_recorded();
    session.tick(now, &mut [0; 1500]);
    assert_eq!(session.recorded().len(), 2 * FRAME);
}

#[test]
fn other_payload_types_and_broken_packets_are_invalid() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    let mut other = packet(1);
    other[1] = 96;
    for bytes in [&other[..], &packet(2)[..11], b"", b"OPTIONS sip:x SIP/2.0"] {
        session.handle_rtp(bytes, address(THERE), now);
    }
    let stats = session.stats();
    assert_eq!((stats.invalid, stats.packets_received, stats.mos), (4, 0, 0.0));
    assert_eq!(events(&mut session), []);
}

#[test]
fn silence_is_told_once_until_media_comes_again() {
    let start = Instant::now();
    let silence_after = Some(Duration::from_secs(1));
    let mut session = Session::new(Setup { silence_after, ..setup(THERE, 1) }, start);
    let tick_to = |session: &mut Session, ms: u64| {
        session.tick(start + Duration::from_millis(ms), &mut [0; 1500]);
        events(session)
    };
    let silent = |ms| Event::Silent { for_: Duration::from_millis(ms) };
    assert_eq!(tick_to(&mut session, 980), []);
    assert_eq!(tick_to(&mut session, 1000), [silent(1000)]);
    assert_eq!(tick_to(&mut session, 5000), []);
    session.handle_rtp(&packet(0), address(THERE), start + Duration::from_millis(5500));
    assert_eq!(tick_to(&mut session, 6480), [Event::FirstMedia]);
    assert_eq!(tick_to(&mut session, 6520), [silent(1020)]);
    // On hold nobody need send; afterwards the time starts anew.
    let held = Negotiated { direction: Direction::RecvOnly, ..negotiated(THERE) };
    session.update(held, start + Duration::from_millis(7000));
    assert_eq!(tick_to(&mut session, 60_000), []);
    session.update(negotiated(THERE), start + Duration::from_millis(60_000));
    assert_eq!(tick_to(&mut session, 60_980), []);
    assert_eq!(tick_to(&mut session, 61_000), [silent(1000)]);
}

#[test]
fn a_call_that_others_captured_is_played_whole() {
    let Some(corpus) = crate::testing::corpora("rtp/sipp-pcap") else { return };
    let packets = crate::testing::rtp_of(&corpus.join("g711a.pcap"));
    let mut now = Instant::now();
    let mut session = session(THERE, now);
    let (mut came, mut heard) = (0, vec![]);
    for packet in &packets {
        session.handle_rtp(packet, address(THERE), now);
        came += packet.len() - 12;
        while heard.len() + FRAME <= came {
            now += FRAME_TIME;
            session.tick(now, &mut [0; 1500]);
            heard.extend_from_slice(session.heard());
        }
    }
    let stats = session.stats();
    assert_eq!(stats.packets_received, packets.len() as u64);
    assert_eq!((stats.lost, stats.late, stats.invalid, stats.duplicates), (0, 0, 0, 0));
    let sent: Vec<_> =
        packets.iter().flat_map(|packet| &packet[12..]).map(|byte| crate::g711::decode_alaw(*byte)).collect();
    assert!(sent.len() > 8000);
    assert!(sent.starts_with(&heard[240..]), "what is heard differs from what was sent");
    assert!(heard.len() + FRAME > sent.len());
}
