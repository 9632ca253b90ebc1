use super::*;
use crate::FRAME;

#[test]
fn two_calls_are_joined_whatever_their_codecs() {
    let law = |codec: Codec, remote| Negotiated {
        codec,
        payload_type: codec.payload_type(),
        formats: vec![(codec.payload_type(), crate::sdp::Format::Audio(codec))],
        ..negotiated(remote)
    };
    let of = |codec, remote, ssrc| Setup { negotiated: law(codec, remote), ..setup(remote, ssrc) };
    let mut left = Call::with(of(Codec::Pcmu, THERE, 1), of(Codec::Pcmu, HERE, 2));
    let mut right = Call::with(of(Codec::Pcma, THERE, 3), of(Codec::Pcma, HERE, 4));
    left.here.live(true);
    right.here.live(true);
    left.there.play(1, Clip::tone(600.0, 2000, 0.4), left.now);
    right.there.play(1, Clip::tone(900.0, 2000, 0.4), right.now);
    for _ in 0..100 {
        left.run(1, 0);
        right.here.feed(left.here.heard());
        right.run(1, 0);
        left.here.feed(right.here.heard());
    }
    for (call, hz) in [(&left, 900.0), (&right, 600.0)] {
        let heard = channel(&call.there_recorded, 0);
        let onset = heard.iter().position(|sample| sample.unsigned_abs() > 327).expect("sound");
        assert!(onset <= 160 * 8, "{onset} samples late");
        let (frequency, level) = tone::frequency(&heard[onset + 160..15_000]).expect("a tone");
        assert!((frequency - hz).abs() < 5.0 && (level - 0.4).abs() < 0.02, "{frequency} Hz");
    }
}

#[test]
fn a_prompt_goes_first_and_what_is_fed_meanwhile_is_not_kept() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    session.feed(&[1; FRAME]);
    session.live(true);
    session.play(1, Clip::tone(500.0, 200, 0.5), now);
    for n in 0..20 {
        session.feed(&[5000; FRAME]);
        session.tick(now + FRAME_TIME * n, &mut [0; 1500]);
    }
    let sent = channel(session.recorded(), 1);
    assert!(tone::frequency(&sent[..1600]).is_some_and(|(hz, _)| (hz - 500.0).abs() < 5.0));
    assert!(sent[1600..].iter().all(|sample| (4700..5300).contains(sample)));
    session.live(false);
    session.clear_recorded();
    session.tick(now + FRAME_TIME * 20, &mut [0; 1500]);
    assert!(channel(session.recorded(), 1).iter().all(|sample| sample.unsigned_abs() < 16), "no longer live");
}

#[test]
fn what_is_fed_too_fast_loses_the_oldest_and_too_slow_is_silence() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    session.live(true);
    (1..=10).for_each(|n| session.feed(&[n * 1000; FRAME]));
    session.feed(&[20_000; 40]);
    for n in 0..6 {
        session.tick(now + FRAME_TIME * n, &mut [0; 1500]);
    }
    let sent = channel(session.recorded(), 1);
    let near = |sample: i16, n: i16| (i32::from(sample) - i32::from(n) * 1000).abs() < 500;
    assert!(near(sent[0], 7) && near(sent[119], 7) && near(sent[120], 8), "{:?}", &sent[115..125]);
    assert!(sent[4 * FRAME..].iter().all(|sample| sample.unsigned_abs() < 16));
}

#[test]
fn what_nobody_hears_is_counted_and_what_somebody_hears_again_is_played() {
    let quiet = |remote, ssrc| Setup { record: false, ..setup(remote, ssrc) };
    let mut call = Call::with(quiet(THERE, 1), setup(HERE, 2));
    call.here.deaf(true);
    call.there.play(1, Clip::tone(600.0, 5000, 0.4), call.now);
    call.run(100, 0);
    assert!(call.here.heard().iter().all(|sample| *sample == 0));
    let stats = call.here.stats();
    assert!(stats.packets_received >= 99 && stats.lost == 0 && stats.late == 0, "{stats:?}");
    assert!(stats.mos > 4.0, "{stats:?}");
    call.here.record_segment(
        9,
        Rules { beep: false, max: Duration::from_secs(60), end_silence: None, end_keys: String::new() },
    );
    call.run(100, 0);
    let heard = call.here.segment();
    let (frequency, level) = tone::frequency(&heard[1600..12_000]).expect("a tone");
    assert!((frequency - 600.0).abs() < 5.0 && (level - 0.4).abs() < 0.02, "{frequency} Hz");
}

/// Two far ends and the two joined sessions between them, packet by packet.
struct Bridge {
    now: Instant,
    left: [Session; 2],
    right: [Session; 2],
    heard: [Vec<i16>; 2],
    /// What the right far end was sent: header and payload.
    sent: Vec<(rtp::Header, Vec<u8>)>,
}

impl Bridge {
    fn new(left: Setup, right: Setup) -> Self {
        let now = Instant::now();
        let far = |ssrc| Session::new(setup(HERE, ssrc), now);
        let near = |mut setup: Setup| {
            setup.record = false;
            let mut session = Session::new(setup, now);
            session.deaf(true);
            session.live(true);
            session
        };
        let (left, right) = ([far(11), near(left)], [far(12), near(right)]);
        let mut bridge = Self { now, left, right, heard: Default::default(), sent: vec![] };
        bridge.pair();
        bridge
    }

    fn pair(&mut self) {
        let ([_, left], [_, right]) = (&mut self.left, &mut self.right);
        left.pair(right);
    }

    fn run(&mut self, frames: u32) {
        let mut out = [0; 1500];
        for _ in 0..frames {
            self.now += FRAME_TIME;
            for from_left in [true, false] {
                let (here, there) = match from_left {
                    true => (&mut self.left, &mut self.right),
                    false => (&mut self.right, &mut self.left),
                };
                let ([far, near], [other_far, other_near]) = (here, there);
                let sent = &mut self.sent;
                let mut deliver = |packet: &[u8], to: &mut Session, now| {
                    let parsed = rtp::Packet::parse(packet).unwrap();
                    if from_left {
                        sent.push((parsed.header, parsed.payload.to_vec()));
                    }
                    assert!(to.handle_rtp(packet, address(HERE), now).is_none());
                };
                let len = far.tick(self.now, &mut out).map(|send| send.len);
                if let Some(len) = len {
                    let packet = out[..len].to_vec();
                    if let Some(relayed) = near.handle_rtp(&packet, address(THERE), self.now)
                        && let Some(send) = other_near.forward(relayed, &mut out)
                    {
                        assert_eq!(send.to, address(THERE));
                        deliver(&out[..send.len], other_far, self.now);
                    }
                }
                if let Some(send) = near.tick(self.now, &mut out) {
                    // What the near one sends by itself goes to its own far end.
                    assert!(far.handle_rtp(&out[..send.len], address(HERE), self.now).is_none());
                }
                if near.is_speaking(self.now) {
                    other_near.feed(near.heard());
                }
                let heard = &mut self.heard[usize::from(!from_left)];
                heard.extend(channel(far.recorded(), 0));
                far.clear_recorded();
            }
        }
    }
}

#[test]
fn the_same_codec_on_both_sides_goes_through_as_it_is() {
    let mut bridge = Bridge::new(setup(THERE, 21), setup(THERE, 22));
    bridge.left[0].play(1, Clip::tone(600.0, 2000, 0.4), bridge.now);
    bridge.right[0].play(1, Clip::tone(900.0, 2000, 0.4), bridge.now);
    bridge.run(100);
    for (heard, hz) in bridge.heard.iter().zip([900.0, 600.0]) {
        let onset = heard.iter().position(|sample| sample.unsigned_abs() > 327).expect("sound");
        assert!(onset <= 160 * 4, "{onset} samples late");
        let (frequency, _) = tone::frequency(&heard[onset + 160..15_000]).expect("a tone");
        assert!((frequency - hz).abs() < 5.0, "{frequency} Hz");
    }
    // One packet for one, as one stream of ours.
    assert_eq!(bridge.sent.len(), 100);
    let numbers: Vec<u16> = bridge.sent.iter().map(|(header, _)| header.sequence).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    assert!(bridge.sent.iter().all(|(header, _)| header.ssrc == 22 && header.payload_type == 0));
    assert_eq!(bridge.sent.iter().filter(|(header, _)| header.marker).count(), 1);
    let stats = bridge.right[1].stats();
    assert_eq!((stats.packets_sent, stats.lost), (100, 0));
}

#[test]
fn a_prompt_interrupts_what_goes_through_and_the_stream_stays_one() {
    let mut bridge = Bridge::new(setup(THERE, 21), setup(THERE, 22));
    bridge.left[0].play(1, Clip::tone(600.0, 4000, 0.4), bridge.now);
    bridge.run(50);
    bridge.right[1].play(7, Clip::tone(1200.0, 400, 0.4), bridge.now);
    bridge.run(150);
    let tail = &bridge.heard[1];
    let at = |ms: usize| tone::frequency(&tail[ms * 8..ms * 8 + 1600]).map(|(hz, _)| hz.round());
    assert!(at(500).is_some_and(|hz| (hz - 600.0).abs() < 5.0));
    assert!(at(1200).is_some_and(|hz| (hz - 1200.0).abs() < 5.0), "{:?}", at(1200));
    assert!(at(2000).is_some_and(|hz| (hz - 600.0).abs() < 5.0));
    assert_eq!(bridge.right[0].stats().lost, 0, "the numbers go on");
}

#[test]
fn who_falls_silent_is_heard_again_and_the_way_is_kept_open() {
    let mut bridge = Bridge::new(setup(THERE, 21), setup(THERE, 22));
    bridge.run(20);
    let before = bridge.right[1].stats().packets_sent;
    // The left side sends nothing for two seconds.
    let held = Negotiated { direction: Direction::RecvOnly, ..negotiated(HERE) };
    bridge.left[0].update(held, bridge.now);
    bridge.run(100);
    let meanwhile = bridge.right[1].stats().packets_sent - before;
    assert_eq!(meanwhile, 2, "packets of silence");
    bridge.left[0].update(negotiated(HERE), bridge.now);
    bridge.left[0].play(1, Clip::tone(700.0, 2000, 0.4), bridge.now);
    bridge.run(100);
    let tail = &bridge.heard[1][130 * 160..];
    assert!(tone::frequency(&tail[4000..12_000]).is_some_and(|(hz, _)| (hz - 700.0).abs() < 5.0));
    assert_eq!(bridge.right[0].stats().lost, 0);
}

#[test]
fn what_is_recorded_or_of_another_codec_does_not_go_through() {
    let alaw = Negotiated {
        codec: Codec::Pcma,
        payload_type: 8,
        formats: vec![(8, Format::Audio(Codec::Pcma))],
        ..negotiated(THERE)
    };
    let mut other = Bridge::new(setup(THERE, 21), Setup { negotiated: alaw, ..setup(THERE, 22) });
    let first = packet(0);
    assert!(other.left[1].handle_rtp(&first, address(THERE), other.now).is_none());
    let mut recorded = Bridge::new(setup(THERE, 21), setup(THERE, 22));
    recorded.right[1] = Session::new(setup(THERE, 22), recorded.now);
    recorded.right[1].live(true);
    recorded.pair();
    assert!(recorded.left[1].handle_rtp(&first, address(THERE), recorded.now).is_none());
}

#[test]
fn a_key_follows_what_went_through_without_a_hole() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    let (mut out, mut last) = ([0; 1500], 0);
    for sequence in 0..5_u16 {
        let timestamp = u32::from(sequence) * 160;
        let header = rtp::Header { marker: false, payload_type: 0, sequence, timestamp, ssrc: 9 };
        let relayed = Relayed(rtp::Packet { header, payload: &[0; 160] });
        let sent = session.forward(relayed, &mut out).expect("it goes through");
        last = rtp::Packet::parse(&out[..sent.len]).unwrap().header.timestamp;
        assert!(session.tick(now + FRAME_TIME * u32::from(sequence), &mut out).is_none());
    }
    session.digits(1, "5", now).unwrap();
    let sent = session.tick(now + FRAME_TIME * 5, &mut out).expect("the key");
    assert_eq!(rtp::Packet::parse(&out[..sent.len]).unwrap().header.timestamp, last.wrapping_add(160));
}

proptest::proptest! {
    /// Whatever comes in whatever order, what goes out is one stream of ours: no number twice.
    #[test]
    fn what_goes_through_keeps_one_stream(
        steps in proptest::collection::vec((0..400_u16, 0..3_u8, proptest::bool::weighted(0.1)), 1..200),
        start in proptest::prelude::any::<u16>(),
    ) {
        let now = Instant::now();
        let mut session = session(THERE, now);
        let (mut came, mut seen) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let mut out = [0; 1500];
        for (number, ssrc, ticks) in steps {
            if !came.insert((number, ssrc)) {
                continue;
            }
            let header = rtp::Header {
                marker: false,
                payload_type: 0,
                sequence: start.wrapping_add(number),
                timestamp: u32::from(number) * 160,
                ssrc: u32::from(ssrc),
            };
            let relayed = Relayed(rtp::Packet { header, payload: &[0; 160] });
            let sent = session.forward(relayed, &mut out).map(|send| send.len);
            for len in sent.into_iter().chain(ticks.then(|| session.tick(now, &mut out)).flatten().map(|s| s.len)) {
                let packet = rtp::Packet::parse(&out[..len]).unwrap();
                proptest::prop_assert_eq!(packet.header.ssrc, 1);
                proptest::prop_assert!(seen.insert(packet.header.sequence), "a number was used twice");
            }
        }
    }
}
