use super::*;
use crate::codec::Encoder;
use crate::tone;

/// Seeded, so that a failure can be had again.
struct Random(u32);

impl Random {
    /// 0 to `below`, exclusive.
    fn below(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % below
    }
}

/// The packets of a sound: sequence, timestamp, payload.
fn packets(codec: Codec, sound: &[i16], samples: usize) -> Vec<(u16, u32, Vec<u8>)> {
    let mut encoder = Encoder::new(codec, "useinbandfec=1");
    let unit = codec.clock() / SAMPLE_RATE;
    (0u32..)
        .zip(sound.chunks_exact(samples))
        .map(|(n, piece)| {
            let mut out = [0; 1500];
            let len = encoder.encode(piece, &mut out).expect("a payload");
            (n as u16, (n * samples as u32 * unit).wrapping_sub(5000), out[..len].to_vec())
        })
        .collect()
}

fn insert(
    playout: &mut Playout,
    codec: Codec,
    (sequence, timestamp, payload): &(u16, u32, Vec<u8>),
) -> Placed {
    let talkspurt = *sequence == 0;
    playout.insert(Arrived { codec, sequence: *sequence, timestamp: *timestamp, talkspurt }, payload)
}

fn play(playout: &mut Playout, frames: usize) -> Vec<i16> {
    let mut played = vec![];
    for _ in 0..frames {
        let mut frame = [0; FRAME];
        playout.play(&mut frame);
        played.extend_from_slice(&frame);
    }
    played
}

/// Packets of 20 ms that come as many ms late as `late` says (`None`: never); what is heard, and how many were late.
fn network(codec: Codec, sound: &[i16], mut late: impl FnMut(u32) -> Option<u32>) -> (Vec<i16>, usize) {
    let mut arrivals: Vec<_> = (0..)
        .zip(packets(codec, sound, FRAME))
        .filter_map(|(n, packet)| Some((n * 20 + late(n)?, packet)))
        .collect();
    arrivals.sort_by_key(|(ms, _)| *ms);
    let mut arrivals = arrivals.into_iter().peekable();
    let mut playout = Playout::new(codec);
    let (mut heard, mut too_late) = (vec![], 0);
    for ms in (0..sound.len() as u32 / 8).step_by(20) {
        while let Some((_, packet)) = arrivals.next_if(|(at, _)| *at <= ms) {
            too_late += usize::from(insert(&mut playout, codec, &packet) == Placed::Late);
        }
        heard.extend(play(&mut playout, 1));
    }
    (heard, too_late)
}

/// The largest step from one sample to the next.
fn roughness(samples: &[i16]) -> u32 {
    samples.array_windows().map(|&[a, b]| u32::from(a.abs_diff(b))).max().unwrap_or(0)
}

/// The longest run of samples below 1 % of full scale, in ms.
fn longest_gap(samples: &[i16]) -> usize {
    samples.split(|sample| sample.unsigned_abs() > 327).map(<[i16]>::len).max().unwrap_or(0) / 8
}

#[test]
fn plays_in_order_whatever_the_order_of_arrival() {
    let sound: Vec<i16> = tone::sine(440.0, 120, 0.5);
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
        let sent = packets(codec, &sound, FRAME);
        let whole = {
            let mut decoder = Decoder::default();
            let mut whole = vec![0; sound.len()];
            for ((.., payload), room) in sent.iter().zip(whole.chunks_exact_mut(FRAME)) {
                decoder.decode(codec, payload, room);
            }
            whole
        };
        let mut playout = Playout::new(codec);
        for n in [0, 2, 1, 1, 3, 5, 4, 0] {
            assert_eq!(insert(&mut playout, codec, &sent[n]), Placed::InTime, "{codec:?} packet {n}");
        }
        let played = play(&mut playout, 7);
        assert_eq!(played[..DELAY], [0; DELAY], "{codec:?}");
        assert!(played[DELAY..DELAY + 720] == whole[..720], "{codec:?}");
    }
}

#[test]
fn packets_of_any_length_are_played_alike_even_where_it_changes_on_the_way() {
    let sound = tone::sine(1004.0, 1200, 0.5);
    for codec in Codec::ALL {
        for lengths in [&[80][..], &[160], &[240], &[320], &[400], &[480], &[160, 480, 80, 240]] {
            // Opus knows no packets of 30 and 50 ms.
            if codec == Codec::Opus && lengths.iter().any(|len| [240, 400].contains(len)) {
                continue;
            }
            let mut encoder = Encoder::new(codec, "");
            let mut playout = Playout::new(codec);
            let (mut heard, mut at) = (vec![], 0);
            for (n, len) in (0..).zip(lengths.iter().cycle()) {
                let Some(piece) = sound.get(at..at + len) else { break };
                let mut out = [0; 1500];
                let bytes = encoder.encode(piece, &mut out).unwrap();
                let timestamp = at as u32 * codec.clock() / SAMPLE_RATE;
                insert(&mut playout, codec, &(n, timestamp, out[..bytes].to_vec()));
                at += len;
                while heard.len() + FRAME <= at {
                    heard.extend(play(&mut playout, 1));
                }
            }
            let steady = &heard[800..];
            assert!(longest_gap(steady) < 2, "{codec:?} {lengths:?}: a gap of {} ms", longest_gap(steady));
            let (hz, level) = tone::frequency(steady).expect("a tone");
            assert!(
                (hz - 1004.0).abs() < 5.0 && (level - 0.5).abs() < 0.1,
                "{codec:?} {lengths:?}: {hz} {level}"
            );
        }
    }
}

#[test]
fn a_tone_through_loss_keeps_its_pitch_and_level_and_does_not_click() {
    for codec in Codec::ALL {
        for seed in 1..6 {
            let mut random = Random(seed);
            let sound = tone::sine(437.0, 10_000, 0.5);
            let (clean, _) = network(codec, &sound, |_| Some(0));
            let (heard, late) = network(codec, &sound, |_| (random.below(20) > 0).then_some(0));
            assert_eq!(late, 0);
            let rough = roughness(&heard[1600..]);
            let name = format!("{codec:?} seed {seed}");
            assert!(rough < roughness(&clean[1600..]) * 2, "{name}: a click of {rough}");
            assert!(longest_gap(&heard[1600..]) < 30, "{name}: a gap of {} ms", longest_gap(&heard[1600..]));
            for second in heard[1600..].chunks_exact(8000) {
                let (hz, level) = tone::frequency(second).expect(&name);
                assert!((hz - 437.0).abs() < 5.0 && (level - 0.5).abs() < 0.06, "{name}: {hz} Hz at {level}");
            }
        }
    }
}

#[test]
fn what_stays_away_fades_within_60_ms_and_comes_back_without_a_click() {
    for codec in Codec::ALL {
        let sound = tone::sine(437.0, 2000, 0.5);
        let smooth = roughness(&network(codec, &sound, |_| Some(0)).0[1600..]);
        // 200 ms from 1 s on are lost.
        let (heard, _) = network(codec, &sound, |n| (!(50..60).contains(&n)).then_some(0));
        let lost = &heard[8000 + DELAY..9600 + DELAY];
        assert!(tone::rms(&lost[..80]) > 0.3, "{codec:?}: {}", tone::rms(&lost[..80]));
        assert!(lost[500..1400].iter().all(|sample| *sample == 0), "{codec:?} is not silent after 60 ms");
        assert!(roughness(&heard[1600..]) < smooth * 2, "{codec:?}: {}", roughness(&heard[1600..]));
        assert!(tone::rms(&heard[11_000..12_000]) > 0.3, "{codec:?} does not come back");
    }
}

#[test]
fn jitter_makes_the_delay_grow_once_and_then_loses_nothing() {
    for (most, codec) in [(40, Codec::Pcmu), (80, Codec::Pcma), (120, Codec::G722), (120, Codec::Opus)] {
        let mut random = Random(most);
        let sound = tone::sine(437.0, 20_000, 0.5);
        let (heard, late) = network(codec, &sound, |_| Some(random.below(most)));
        assert!(late <= 5, "{codec:?} with {most} ms: {late} late");
        let settled = &heard[40_000..];
        assert!(longest_gap(settled) < 3, "{codec:?} with {most} ms: a gap of {} ms", longest_gap(settled));
        assert!(roughness(settled) < 9000, "{codec:?} with {most} ms: {}", roughness(settled));
        for second in settled.chunks_exact(8000) {
            let (hz, level) = tone::frequency(second).expect("a tone");
            assert!((hz - 437.0).abs() < 5.0 && (level - 0.5).abs() < 0.06, "{codec:?}: {hz} Hz at {level}");
        }
    }
}

#[test]
fn delay_that_is_not_needed_is_taken_off() {
    let sound = tone::sine(437.0, 10_000, 0.5);
    let sent = packets(Codec::Pcmu, &sound, FRAME);
    let mut playout = Playout::new(Codec::Pcmu);
    let mut heard = vec![];
    // The first packet was 100 ms late, all others are in time.
    sent[..6].iter().for_each(|packet| assert_eq!(insert(&mut playout, Codec::Pcmu, packet), Placed::InTime));
    for packet in &sent[6..300] {
        insert(&mut playout, Codec::Pcmu, packet);
        heard.extend(play(&mut playout, 1));
    }
    let ahead = playout.samples_between(playout.next.unwrap(), sent[300].1) + playout.ready() as i32;
    assert!((0..=MAX_SLACK + 160).contains(&ahead), "{ahead}");
    assert!(roughness(&heard[240..]) < 9000, "cut with a click of {}", roughness(&heard[240..]));
    assert!(longest_gap(&heard[240..]) < 2);
}

#[test]
fn after_jitter_the_delay_shrinks_again() {
    let mut random = Random(3);
    let sound = tone::sine(437.0, 30_000, 0.5);
    let (heard, _) = network(Codec::Pcmu, &sound, |n| Some(if n < 500 { random.below(120) } else { 0 }));
    // Silence at the end of the sound would show the delay; the phase of the tone does not. So count what was played.
    let mut marked = sound.clone();
    marked[200_000..].fill(0);
    let mut random = Random(3);
    let (ended, _) = network(Codec::Pcmu, &marked, |n| Some(if n < 500 { random.below(120) } else { 0 }));
    let last = ended.iter().rposition(|sample| sample.unsigned_abs() > 327).unwrap() - 200_000;
    assert!((80..=MAX_SLACK as usize + 160).contains(&last), "{last} samples behind");
    assert!(longest_gap(&heard[40_000..]) < 3);
}

#[test]
fn a_faster_and_a_slower_clock_are_followed_for_an_hour() {
    for (name, per_thousand) in [("fast", 999), ("slow", 1001)] {
        let mut playout = Playout::new(Codec::Pcmu);
        let (mut late, mut sent) = (0u32, 0u32);
        for tick in 0..180_000u32 {
            while sent * per_thousand <= tick * 1000 {
                let packet = (sent as u16, sent * 160, vec![0x20; 160]);
                late += u32::from(insert(&mut playout, Codec::Pcmu, &packet) == Placed::Late);
                sent += 1;
            }
            play(&mut playout, 1);
            let ahead = playout.samples_between(playout.next.unwrap(), sent * 160) + playout.ready() as i32;
            assert!((-480..=640).contains(&ahead), "{name} clock: {ahead} samples ahead at {tick}");
        }
        assert_eq!(late, 0, "{name} clock");
    }
}

#[test]
fn drift_is_followed_without_clicks() {
    for per_thousand in [999, 1001] {
        let sound = tone::sine(437.0, 60_000, 0.5);
        let sent = packets(Codec::Pcma, &sound, FRAME);
        let mut playout = Playout::new(Codec::Pcma);
        let (mut heard, mut n) = (vec![], 0);
        for tick in 0..2900 {
            while n * per_thousand <= tick * 1000 {
                insert(&mut playout, Codec::Pcma, &sent[n]);
                n += 1;
            }
            heard.extend(play(&mut playout, 1));
        }
        assert!(roughness(&heard[400..]) < 9000, "{per_thousand}: {}", roughness(&heard[400..]));
        assert!(longest_gap(&heard[400..]) < 3, "{per_thousand}");
    }
}

#[test]
fn follows_a_sender_whose_clock_jumped() {
    for (name, jump) in [("forward", 1_000_000), ("back", 0u32.wrapping_sub(1_000_000))] {
        let mut playout = Playout::new(Codec::Pcmu);
        insert(&mut playout, Codec::Pcmu, &(0, 0, vec![0x20; 160]));
        play(&mut playout, 4);
        let placed: Vec<_> = (0..6)
            .map(|n| {
                let packet = (n + 1, jump.wrapping_add(u32::from(n) * 160), vec![0x10; 160]);
                insert(&mut playout, Codec::Pcmu, &packet)
            })
            .collect();
        assert!(placed.ends_with(&[Placed::InTime; 3]), "{name}: {placed:?}");
        assert!(play(&mut playout, 8).contains(&crate::g711::decode_ulaw(0x10)), "{name}");
    }
}

#[test]
fn a_talkspurt_may_start_where_the_last_one_ended() {
    let mut playout = Playout::new(Codec::Pcmu);
    insert(&mut playout, Codec::Pcmu, &(0, 0, vec![0x20; 160]));
    play(&mut playout, 100);
    let header = Arrived { codec: Codec::Pcmu, sequence: 1, timestamp: 160, talkspurt: true };
    assert_eq!(playout.insert(header, &[0x20; 160]), Placed::InTime);
    assert!(play(&mut playout, 4).contains(&crate::g711::decode_ulaw(0x20)));
}

#[test]
fn a_pause_that_is_told_is_noise_as_loud_as_they_say_and_no_made_up_speech() {
    let sound = tone::sine(437.0, 400, 0.5);
    let sent = packets(Codec::Pcmu, &sound, FRAME);
    for (level, dbov) in [(50, Some(50.0)), (127, None)] {
        let mut playout = Playout::new(Codec::Pcmu);
        let mut heard = vec![];
        for packet in &sent[..10] {
            insert(&mut playout, Codec::Pcmu, packet);
            heard.extend(play(&mut playout, 1));
        }
        playout.pause(level);
        heard.extend(play(&mut playout, 50));
        let pause = &heard[2400..];
        match dbov {
            Some(dbov) => assert!((-20.0 * tone::rms(pause).log10() - dbov).abs() < 1.0),
            None => assert!(pause.iter().all(|sample| *sample == 0)),
        }
        let (_, timestamp, payload) = &sent[10];
        insert(&mut playout, Codec::Pcmu, &(11, timestamp.wrapping_add(8000), payload.clone()));
        assert!(tone::rms(&play(&mut playout, 2)[DELAY..]) > 0.2, "speech comes back");
    }
}

#[test]
fn silence_that_was_not_sent_is_no_loss() {
    let sound = tone::sine(437.0, 400, 0.5);
    let sent = packets(Codec::Pcmu, &sound, FRAME);
    let mut playout = Playout::new(Codec::Pcmu);
    // The second packet follows the first by sequence, but 100 ms later by timestamp.
    let (_, timestamp, payload) = &sent[0];
    insert(&mut playout, Codec::Pcmu, &sent[0]);
    insert(&mut playout, Codec::Pcmu, &(1, timestamp.wrapping_add(160 + 800), payload.clone()));
    let heard = play(&mut playout, 8);
    assert!(heard[DELAY + 160 + OVERLAP..DELAY + 160 + 800].iter().all(|sample| *sample == 0));
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut playout = Playout::new(Codec::Pcmu);
    let mut random = Random(7);
    for n in 0..20_000u32 {
        let codec = Codec::ALL[random.below(4) as usize];
        let payload: Vec<u8> = (0..random.below(1600)).map(|_| random.below(256) as u8).collect();
        // Mostly near, sometimes at the far end of what a timestamp can be.
        let timestamp = random.below(5000) * 80 + random.below(4) / 3 * random.below(8) * 0x2000_0000;
        insert(&mut playout, codec, &(n as u16, timestamp, payload));
        if random.below(3) == 0 {
            play(&mut playout, 1);
        }
        assert!(playout.sound.capacity() <= 8192, "{} samples", playout.sound.capacity());
    }
}
