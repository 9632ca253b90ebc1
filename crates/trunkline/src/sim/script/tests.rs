use super::*;

fn steps(line: &str) -> Vec<Step> {
    // Whatever a line may need before it.
    for before in [&[][..], &["answer"][..], &["answer", "hold"][..], &["answer", "expect 1 digit"][..]] {
        let lines: Vec<&str> = before.iter().copied().chain([line]).collect();
        let skipped = Script::parse(before).map_or(0, |script| script.steps.len());
        if let Ok(script) = Script::parse(&lines) {
            return script.steps.iter().skip(skipped).cloned().collect();
        }
    }
    panic!("{line}: {}", Script::parse(&["answer", "expect 1 digit", line]).unwrap_err());
}

fn error<S: AsRef<str>>(lines: &[S]) -> String {
    Script::parse(lines).unwrap_err().to_string()
}

#[test]
fn each_step_is_read() {
    let s = Duration::from_secs;
    let text = |text: &str| Sound::Text(text.into());
    for (line, read) in [
        ("ring", vec![Step::Progress(180)]),
        ("Ring 2s", vec![Step::Progress(180), Step::Wait(s(2))]),
        ("progress", vec![Step::Progress(183)]),
        ("progress 182", vec![Step::Progress(182)]),
        ("early media", vec![Step::EarlyMedia]),
        ("answer", vec![Step::Answer]),
        ("reject 486", vec![Step::Reject { status: 486, times: None }]),
        ("reject 503 once", vec![Step::Reject { status: 503, times: Some(1) }]),
        ("reject 503 3 times", vec![Step::Reject { status: 503, times: Some(3) }]),
        ("redirect sip:a@b", vec![Step::Redirect("sip:a@b".into())]),
        ("say \"Hello, you.\"", vec![Step::Play { sound: text("Hello, you."), limit: None }]),
        ("say \"Hello\" for 1.5s", vec![Step::Play { sound: text("Hello"), limit: Some(s(3) / 2) }]),
        ("beep", vec![Step::Play { sound: Sound::Beep, limit: None }]),
        ("tone 440hz", vec![Step::Play { sound: Sound::Tone(440.0), limit: Some(s(1)) }]),
        (
            "tone ringback for 4s",
            vec![Step::Play { sound: Sound::Network(Tone::Ringback), limit: Some(s(4)) }],
        ),
        ("wait 500ms", vec![Step::Wait(s(1) / 2)]),
        ("listen", vec![Step::Listen]),
        ("silence 3s", vec![Step::Wait(s(3))]),
        ("echo", vec![Step::Echo]),
        ("record 10s", vec![Step::Record(s(10))]),
        ("voicemail", vec![Step::Record(s(600))]),
        ("press 12w3 #", vec![Step::Press("12w3#".into())]),
        ("press 1 after 500ms", vec![Step::Wait(s(1) / 2), Step::Press("1".into())]),
        ("expect 4 digits", vec![Step::Expect { count: 4, within: s(10) }]),
        ("expect 1 digit within 5s", vec![Step::Expect { count: 1, within: s(5) }]),
        (
            "when 1 beep",
            vec![Step::When {
                keys: "1".into(),
                step: Box::new(Step::Play { sound: Sound::Beep, limit: None }),
            }],
        ),
        (
            "otherwise hang up after 1s",
            vec![Step::Otherwise(Box::new(Step::Wait(s(1)))), Step::Otherwise(Box::new(Step::HangUp))],
        ),
        ("hold 3s", vec![Step::Hold, Step::Wait(s(3))]),
        ("resume", vec![Step::Resume]),
        ("repeat", vec![Step::Repeat]),
        ("hang up", vec![Step::HangUp]),
        ("late bye", vec![Step::LateBye(s(2))]),
        ("late bye 1m", vec![Step::LateBye(s(60))]),
        ("loss 10%", vec![Step::Impair(Worse::Loss(0.1))]),
        ("jitter 60ms", vec![Step::Impair(Worse::Jitter(Duration::from_millis(60)))]),
        ("one-way", vec![Step::Impair(Worse::Loss(1.0))]),
    ] {
        assert_eq!(steps(line), read, "{line}");
    }
}

#[test]
fn errors_say_where_what_and_what_would_do() {
    for (lines, told) in [
        (
            &["ring", "anwser"][..],
            "line 2, word 1: \"anwser\" is not understood here; expected one of ring, ",
        ),
        (
            &["ring 2 s"],
            "line 1, word 2: \"2\" is not understood here; expected a time such as 500ms, 2s or 1m.",
        ),
        (&["ring 2s now"], "line 1, word 3: \"now\" is not understood here; expected nothing more."),
        (
            &["reject 302"],
            "line 1, word 2: \"302\" is not understood here; expected a status from 400 to 699.",
        ),
        (
            &["answer", "say Hello"],
            "line 2, word 2: \"Hello\" is not understood here; expected a text in quotation",
        ),
        (&["answer", "say \"Hello"], "line 2, word 2: the closing quotation mark is missing."),
        (&["answer", "press"], "line 2, word 2: something is missing; expected keys: 0-9, *, #, A-D"),
        (&["answer", "expect 4"], "line 2, word 3: something is missing; expected digits."),
        (&["loss 110%"], "line 1, word 2: \"110%\" is not understood here; expected a share such as 10%."),
        (&["jitter 2s"], "line 1, word 2: \"2s\" is not understood here; expected a time up to 300ms."),
        (&["say \"Hello\""], "line 1: this needs answer or early media first."),
        (&["answer", "ring"], "line 2: this comes before the answer only."),
        (&["reject 486", "answer"], "line 2: this step is never reached."),
        (&["answer", "hang up", "beep"], "line 3: this step is never reached."),
        (&["answer", "when 1 beep"], "line 2: this needs an expect first."),
        (&["answer", "resume"], "line 2: it is not on hold; hold first."),
        (&["early media", "hold"], "line 2: only an answered call can be held."),
        (&[""], "line 1, word 1: something is missing; expected a step: ring, "),
        (&[], "line 1: no step; there are: ring, "),
    ] {
        let error = error(lines);
        assert!(error.starts_with(told), "{lines:?}: {error}");
    }
    assert!(error(&vec!["ring"; 201]).starts_with("line 201: a script has at most 200 steps"));
}

#[test]
fn what_is_said_is_known_beforehand() {
    let script =
        Script::parse(&["answer", "say \"a\"", "expect 1 digit", "when 1 say \"b\"", "beep"]).unwrap();
    assert_eq!(script.texts().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(script.refusals(), None);
    assert_eq!(Script::parse(&["reject 503 twice", "answer"]).unwrap().refusals(), Some(2));
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_written_panics(lines in proptest::collection::vec("[ -~]{0,40}", 0..4)) {
        let _ = Script::parse(&lines);
    }
}
