use super::*;

fn rules() -> Rules {
    Rules { beep: false, max: Duration::from_secs(60), end_silence: None, end_keys: String::new() }
}

/// Records at `here` until it ends, at most `frames`; what was recorded and the event of its end.
fn record(call: &mut Call, rules: Rules, frames: u32) -> (Vec<i16>, Option<Event>) {
    call.here.record_segment(3, rules);
    let mut recorded = vec![];
    for _ in 0..frames {
        call.run(1, 0);
        recorded.extend_from_slice(call.here.segment());
        call.here.clear_segment();
        if let Some(end) = call.here_events.iter().find(|event| matches!(event, Event::Recorded { .. })) {
            return (recorded, Some(end.clone()));
        }
    }
    (recorded, None)
}

/// Bursts of a low voice, with the pauses of speech between.
fn voice(bursts: usize) -> Clip {
    let burst = [tone::mix(&[(150.0, 0.2), (300.0, 0.1), (450.0, 0.1)], 300), vec![0; 200 * 8]].concat();
    Clip::from_samples(burst.repeat(bursts))
}

#[test]
fn a_beep_is_sent_and_not_recorded() {
    let mut call = Call::new();
    call.here.play(1, Clip::tone(800.0, 100, 0.5), call.now);
    call.there.echo(true);
    let beep = Rules { beep: true, max: Duration::from_millis(500), ..rules() };
    let (recorded, end) = record(&mut call, beep, 200);
    assert_eq!(end, Some(Event::Recorded { id: 3, ms: 500, why: Why::Max }));
    assert_eq!(recorded.len(), 4000);
    let sent = channel(&call.here_recorded, 1);
    let (hz, _) = tone::frequency(&sent[110 * 8..480 * 8]).expect("a beep");
    assert!((hz - 440.0).abs() < 5.0, "after the prompt: {hz} Hz");
}

#[test]
fn silence_after_speech_ends_it() {
    let mut call = Call::new();
    call.there.play(1, voice(6), call.now);
    let (recorded, end) =
        record(&mut call, Rules { end_silence: Some(Duration::from_secs(2)), ..rules() }, 1000);
    let Some(Event::Recorded { ms, why: Why::Silence, .. }) = end else { panic!("{end:?}") };
    // Three seconds of speech, the last 200 ms of them silent, and two of silence.
    assert!((4700..5300).contains(&ms), "{ms} ms");
    assert_eq!(recorded.len() as u64, ms * 8);
}

#[test]
fn silence_from_the_beginning_ends_it_and_noise_is_silence() {
    for level in [0.0, 0.005, 0.05, 0.3] {
        let mut call = Call::new();
        let mut random = 1u32;
        let noise = (0..8000 * 20).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((random >> 16) as i16) as f32 * level) as i16
        });
        call.there.play(1, Clip::from_samples(noise.collect()), call.now);
        let (_, end) = record(&mut call, Rules { end_silence: Some(Duration::from_secs(3)), ..rules() }, 900);
        let Some(Event::Recorded { ms, why: Why::Silence, .. }) = end else {
            panic!("level {level}: {end:?}")
        };
        assert!((3000..6500).contains(&ms), "noise of {level}: {ms} ms");
    }
}

#[test]
fn speech_of_others_is_not_cut_off_and_its_end_is_found() {
    let Some(corpus) = crate::testing::corpora("speech/spandsp") else { return };
    let file = std::fs::read(corpus.join("short_nb_voice.wav")).unwrap();
    let voice = Clip::decode(file, Duration::from_secs(60)).unwrap();
    for (gain, noise) in [(1.0, 0.0), (0.3, 0.0), (3.0, 0.0), (1.0, 20.0), (1.0, 60.0)] {
        let mut random = 1u32;
        let mut samples: Vec<i16> = voice.samples().iter().map(|s| (f32::from(*s) * gain) as i16).collect();
        samples.resize(samples.len() + 8000 * 10, 0);
        for sample in &mut samples {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = sample.saturating_add((((random >> 16) as i16) as f32 / 32768.0 * noise) as i16);
        }
        let mut call = Call::new();
        call.there.play(1, Clip::from_samples(samples), call.now);
        let (_, end) =
            record(&mut call, Rules { end_silence: Some(Duration::from_secs(2)), ..rules() }, 1200);
        let Some(Event::Recorded { ms, why: Why::Silence, .. }) = end else { panic!("{end:?}") };
        let speech = voice.duration().as_millis() as u64;
        assert!((speech..speech + 4000).contains(&ms), "gain {gain}, noise {noise}: {ms} ms of {speech}");
    }
}

#[test]
fn a_key_ends_it_only_if_it_is_one_of_those() {
    for (digits, why) in [("12#", Some(Why::Key('#'))), ("*", Some(Why::Key('*'))), ("12", None)] {
        let mut call = Call::new();
        call.there.digits(1, digits, call.now).unwrap();
        let (_, end) = record(&mut call, Rules { end_keys: "#*".to_owned(), ..rules() }, 60);
        let ended = end.map(|end| match end {
            Event::Recorded { why, .. } => why,
            other => panic!("{other:?}"),
        });
        assert_eq!(ended, why, "{digits}");
    }
}

#[test]
fn a_key_pressed_before_it_began_does_not_end_it() {
    let mut call = Call::new();
    call.there.digits(1, "#", call.now).unwrap();
    call.run(20, 0);
    let (_, end) = record(&mut call, Rules { end_keys: "#".to_owned(), ..rules() }, 60);
    assert_eq!(end, None);
}

#[test]
fn another_takes_its_place_and_stopping_stops() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    session.record_segment(1, rules());
    session.tick(now, &mut [0; 1500]);
    session.record_segment(2, rules());
    session.stop_segment();
    session.stop_segment();
    let why = Why::Stopped;
    assert_eq!(
        events(&mut session),
        [Event::Recorded { id: 1, ms: 20, why }, Event::Recorded { id: 2, ms: 0, why }]
    );
}

#[test]
fn what_nobody_takes_out_is_bounded_and_told() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    session.record_segment(1, rules());
    for n in 0..300 {
        session.tick(now + FRAME_TIME * n, &mut [0; 1500]);
        session.clear_recorded();
    }
    assert_eq!(session.segment().len(), 32_000);
    assert_eq!(session.stats().unrecorded, 300 * 160 - 32_000);
}

#[test]
fn a_paused_recording_is_silent_and_keeps_its_time() {
    let mut call = Call::new();
    call.here.play(1, Clip::tone(800.0, 3000, 0.5), call.now);
    call.there.play(1, Clip::tone(500.0, 3000, 0.5), call.now);
    call.run(50, 0);
    call.here.pause_recording();
    call.run(50, 0);
    call.here.resume_recording();
    call.run(50, 0);
    assert_eq!(call.here_recorded.len(), 2 * 24_000);
    let second = |n: usize| &call.here_recorded[n * 16_000..(n + 1) * 16_000];
    assert!(second(0).iter().any(|sample| *sample != 0));
    assert!(second(1).iter().all(|sample| *sample == 0));
    assert!(second(2).iter().any(|sample| *sample != 0));
    assert_eq!(call.here.stats().unrecorded, 0);
}

#[test]
fn a_key_during_the_beep_ends_it_before_it_began() {
    let mut call = Call::new();
    call.there.digits(7, "#", call.now).unwrap();
    let (recorded, end) = record(&mut call, Rules { beep: true, end_keys: "#".into(), ..rules() }, 200);
    assert_eq!(end, Some(Event::Recorded { id: 3, ms: 0, why: Why::Key('#') }));
    assert!(recorded.is_empty());
}
