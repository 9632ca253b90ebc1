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
