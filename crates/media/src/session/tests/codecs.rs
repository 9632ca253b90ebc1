use super::*;
use crate::sdp::Format;

fn speaking(codec: Codec, remote: &str) -> Negotiated {
    Negotiated {
        codec,
        payload_type: codec.payload_type(),
        clock: codec.clock(),
        fmtp: codec.fmtp().unwrap_or_default().to_owned(),
        formats: vec![(codec.payload_type(), Format::Audio(codec)), (101, Format::Event(8000))],
        ..negotiated(remote)
    }
}

fn call(codec: Codec) -> Call {
    Call::with(
        Setup { negotiated: speaking(codec, THERE), ..setup(THERE, 1) },
        Setup { negotiated: speaking(codec, HERE), ..setup(HERE, 2) },
    )
}

/// The longest run of samples below 1 % of full scale, in ms.
fn longest_gap(samples: &[i16]) -> usize {
    samples.split(|sample| sample.unsigned_abs() > 327).map(<[i16]>::len).max().unwrap_or(0) / 8
}

#[test]
fn every_codec_carries_a_tone_both_ways_without_a_gap() {
    for codec in Codec::ALL {
        let mut call = call(codec);
        call.here.play(7, Clip::tone(1004.0, 3000, 0.5), call.now);
        call.there.play(8, Clip::tone(440.0, 3000, 0.3), call.now);
        call.run(150, 0);
        for (name, samples, hz, level) in [
            ("there", channel(&call.there_recorded, 0), 1004.0, 0.5),
            ("here", channel(&call.here_recorded, 0), 440.0, 0.3),
        ] {
            let onset = samples.iter().position(|sample| sample.unsigned_abs() > 327).expect(name);
            assert!(onset <= 65 * 8, "{codec:?} {name}: heard {onset} samples late");
            assert!(longest_gap(&samples[onset..]) < 2, "{codec:?} {name}");
            for second in samples[onset + 200..].chunks_exact(4000) {
                let (heard, loudness) = tone::frequency(second).expect(name);
                assert!((heard - hz).abs() < 5.0, "{codec:?} {name}: {heard} Hz");
                assert!((loudness / level - 1.0).abs() < 0.15, "{codec:?} {name}: level {loudness}");
            }
        }
        let stats = call.here.stats();
        assert_eq!((stats.lost, stats.late, stats.invalid), (0, 0, 0), "{codec:?}");
        assert!(stats.max_jitter_ms < 1.0, "{codec:?}: {} ms", stats.max_jitter_ms);
    }
}

#[test]
fn every_codec_and_packet_length_comes_through_with_digits_in_between() {
    for codec in Codec::ALL {
        for ptime_ms in [10, 20, 30, 40, 50, 60] {
            let agreed = Negotiated { ptime_ms, ..speaking(codec, THERE) };
            let there = Setup { negotiated: speaking(codec, HERE), ..setup(HERE, 2) };
            let mut call = Call::with(Setup { negotiated: agreed, ..setup(THERE, 1) }, there);
            call.here.play(1, Clip::tone(600.0, 1000, 0.5), call.now);
            call.here.digits(2, "5", call.now).unwrap();
            call.run(100, 0);
            let name = format!("{codec:?} {ptime_ms} ms");
            let stats = call.there.stats();
            assert_eq!((stats.lost, stats.late, stats.invalid), (0, 0, 0), "{name}: {stats:?}");
            let heard = channel(&call.there_recorded, 0);
            let onset = heard.iter().position(|sample| sample.unsigned_abs() > 327).expect("a tone");
            // Opus begins softly.
            let gap = longest_gap(&heard[onset + 100..onset + 7600]);
            assert!(gap < 2, "{name}: a gap of {gap} ms");
            assert!(
                call.there_events.iter().any(|event| matches!(event, Event::Digit { digit: '5', .. })),
                "{name}"
            );
            let sent_ms = match (codec, ptime_ms) {
                (Codec::Opus, 30) => 20,
                (Codec::Opus, 50) => 40,
                _ => u64::from(ptime_ms),
            };
            // 2 s, less a digit of 160 ms and what had to wait for its packet to be full.
            let audio_ms = (stats.packets_received - 7) * sent_ms;
            assert!((1700..=1900).contains(&audio_ms), "{name}: {audio_ms} ms of audio");
        }
    }
}

#[test]
fn the_codec_may_change_on_the_way_and_the_sound_goes_on() {
    for (from, to) in [
        (Codec::Pcmu, Codec::Pcma),
        (Codec::Pcmu, Codec::G722),
        (Codec::G722, Codec::Opus),
        (Codec::Opus, Codec::Pcmu),
    ] {
        let mut call = call(from);
        call.here.play(1, Clip::tone(600.0, 5000, 0.5), call.now);
        call.run(100, 0);
        // Whoever asks for the change sends it a little earlier than the other one knows of it.
        let (here, there) = (speaking(to, THERE), speaking(to, HERE));
        call.there.update(there, call.now);
        call.here.update(here, call.now);
        call.run(100, 0);
        let heard = channel(&call.there_recorded, 0);
        let onset = heard.iter().position(|sample| sample.unsigned_abs() > 327).expect("a tone");
        let gap = longest_gap(&heard[onset..]);
        assert!(gap < 45, "{from:?} to {to:?}: a gap of {gap} ms");
        let (hz, level) = tone::frequency(&heard[heard.len() - 4000..]).expect("a tone");
        assert!(
            (hz - 600.0).abs() < 6.0 && (level - 0.5).abs() < 0.1,
            "{from:?} to {to:?}: {hz} Hz at {level}"
        );
        assert_eq!(call.there.stats().invalid, 0, "{from:?} to {to:?}");
    }
}

#[test]
fn hold_and_back_loses_nothing_but_the_time() {
    for codec in Codec::ALL {
        let mut call = call(codec);
        call.here.play(1, Clip::tone(600.0, 2000, 0.5), call.now);
        call.run(50, 0);
        let held = Negotiated { direction: Direction::RecvOnly, ..speaking(codec, THERE) };
        call.here.update(held, call.now);
        call.run(500, 0);
        let silence = call.there_recorded.len() - 2 * 450 * crate::FRAME;
        assert!(channel(&call.there_recorded[silence..], 0).iter().all(|sample| *sample == 0), "{codec:?}");
        call.here.update(speaking(codec, THERE), call.now);
        let resumed = call.there_recorded.len();
        call.run(70, 0);
        let heard = channel(&call.there_recorded[resumed..], 0);
        let sounding = heard.iter().filter(|sample| sample.unsigned_abs() > 327).count();
        assert!((7600..=9000).contains(&sounding), "{codec:?}: {sounding} samples of the second second");
        assert!(call.here_events.contains(&Event::Played { id: 1, whole: true }), "{codec:?}");
    }
}

#[test]
fn comfort_noise_is_played_and_counted_as_valid() {
    let mut now = Instant::now();
    let mut session = session(THERE, now);
    let mut out = [0; 1500];
    let mut heard = vec![];
    for n in 0..200u16 {
        let mut bytes = packet(n);
        if n >= 50 {
            // RFC 3389: -50 dBov, and a spectrum nobody looks at.
            bytes.truncate(12);
            bytes[1] = 13;
            bytes.extend([50, 1, 2, 3]);
        }
        // One of four while they are silent.
        if n < 50 || n % 4 == 0 {
            session.handle_rtp(&bytes, address(THERE), now);
        }
        now += FRAME_TIME;
        session.tick(now, &mut out);
        heard.extend_from_slice(session.heard());
    }
    let stats = session.stats();
    assert_eq!((stats.invalid, stats.late), (0, 0));
    let noise = -20.0 * tone::rms(&heard[80 * 160..]).log10();
    assert!((noise - 50.0).abs() < 1.0, "-{noise} dBov");
}
