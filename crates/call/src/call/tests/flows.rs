//! Asking for digits, recording, pressing keys, and verbs that come in during a call.

use super::*;
use crate::flow::{Gather, Record};

fn say(text: &str) -> Verb {
    Verb::Say { clip: ClipId(1), text: text.to_owned() }
}

fn gather() -> Gather {
    Gather {
        prompts: vec![say("Press a key"), Verb::Pause(Duration::from_secs(1))],
        digits: 1..=4,
        finish: Some('#'),
        timeout: Duration::from_secs(5),
        between: Duration::from_secs(2),
        tries: 1,
        branches: Vec::new(),
        otherwise: Vec::new(),
    }
}

fn asking(gather: Gather) -> Run {
    answered(Spec::new(vec![Verb::Gather(Box::new(gather)), say("Thanks")], in_order(vec![attempt("t")])))
}

/// What it did since it was answered, without its end.
fn flow_of(run: &Run) -> String {
    let told = run.told();
    let told = told.split_once("-> in-progress\n").map_or("", |(_, rest)| rest);
    told.split_once("\nhang up").map_or(told, |(flow, _)| flow).to_owned()
}

#[test]
fn the_first_key_stops_the_prompt() {
    let mut run = asking(gather());
    run.input(first(LegInput::Digit('1')));
    run.input(Input::Played { id: 0, whole: false });
    run.wait(Duration::from_secs(1));
    run.input(first(LegInput::Digit('2')));
    run.wait(Duration::from_secs(3));
    insta::assert_snapshot!(flow_of(&run), @r#"
       asking for digits (1)
       saying: Press a key
    play 0 to 0: clip 1
       the other side pressed 1
    stop media of 0
       the other side pressed 2
       digits "12" (timeout)
       saying: Thanks
    play 1 to 0: clip 1
    "#);
}

#[test]
fn digits_end_by_key_by_number_and_by_time() {
    for (keys, seconds, digits, why) in [
        ("12#", 0, "12", "finish_key"),
        ("1234", 0, "1234", "max_digits"),
        ("12", 3, "12", "timeout"),
        ("", 20, "", "timeout"),
        ("#", 0, "", "too_few"),
    ] {
        let mut run = asking(gather());
        run.input(Input::Played { id: 0, whole: true });
        run.input(Input::Played { id: 1, whole: true });
        for key in keys.chars() {
            run.input(first(LegInput::Digit(key)));
        }
        run.wait(Duration::from_secs(seconds));
        let told = format!("digits {digits:?} ({why})");
        assert!(run.told().contains(&told), "{keys}: {}", run.told());
        assert!(run.told().contains("saying: Thanks"), "{keys}: {}", run.told());
    }
}

#[test]
fn a_menu_asks_again_and_takes_the_branch() {
    let branches =
        vec![("1".to_owned(), vec![say("Sales")]), ("2".to_owned(), vec![say("Support"), Verb::Hangup])];
    let menu = Gather {
        prompts: vec![say("Menu")],
        digits: 1..=1,
        tries: 2,
        branches,
        otherwise: vec![say("Bye")],
        ..gather()
    };
    let mut run = asking(menu.clone());
    run.input(first(LegInput::Digit('7')));
    run.input(first(LegInput::Digit('2')));
    run.input(Input::Played { id: 2, whole: true });
    run.wait(Duration::from_secs(1));
    insta::assert_snapshot!(flow_of(&run), @r#"
       asking for digits (1)
       saying: Menu
    play 0 to 0: clip 1
       the other side pressed 7
    stop media of 0
       asking for digits (2)
       saying: Menu
    play 1 to 0: clip 1
       the other side pressed 2
    stop media of 0
       digits "2" (max_digits)
       saying: Support
    play 2 to 0: clip 1
       flow done
    "#);

    let mut run = asking(menu);
    run.input(first(LegInput::Digit('7')));
    run.input(Input::Played { id: 1, whole: true });
    run.wait(Duration::from_secs(5));
    run.input(Input::Played { id: 2, whole: true });
    run.input(Input::Played { id: 3, whole: true });
    insta::assert_snapshot!(flow_of(&run), @r#"
       asking for digits (1)
       saying: Menu
    play 0 to 0: clip 1
       the other side pressed 7
    stop media of 0
       asking for digits (2)
       saying: Menu
    play 1 to 0: clip 1
       digits "" (timeout)
       saying: Bye
    play 2 to 0: clip 1
       saying: Thanks
    play 3 to 0: clip 1
       flow done
    "#);
}

#[test]
fn a_gather_without_prompts_waits_at_once() {
    let mut run = asking(Gather { prompts: Vec::new(), ..gather() });
    run.wait(Duration::from_secs(5));
    assert!(run.told().contains("digits \"\" (timeout)"), "{}", run.told());
}

#[test]
fn a_recording_of_its_own() {
    let record = Record {
        beep: true,
        max: Duration::from_secs(60),
        end_silence: Some(Duration::from_secs(3)),
        finish_keys: "#".to_owned(),
    };
    let flow = vec![say("After the beep"), Verb::Record(record), Verb::Digits("1w2".to_owned())];
    let mut run = answered(Spec::new(flow, in_order(vec![attempt("t")])));
    run.input(Input::Played { id: 0, whole: true });
    run.input(first(LegInput::Digit('4')));
    run.input(first(LegInput::Digit('#')));
    run.input(Input::Recorded { id: 1 });
    run.input(Input::Played { id: 2, whole: true });
    insta::assert_snapshot!(flow_of(&run), @"
       saying: After the beep
    play 0 to 0: clip 1
       recording
    record 1 of 0: 60s
       the other side pressed 4
       the other side pressed #
    stop record 1 of 0
       sending digits 1w2
    digits 2 to 0: 1w2
       flow done
    ");
}

#[test]
fn verbs_that_come_in_are_next_and_stop_drops_what_is_under_way() {
    let mut run = answered(Spec { hold_after_flow: true, ..spec() });
    let insert = |run: &mut Run, verb| {
        let result = run.call.insert(verb, run.now);
        run.drain();
        result
    };
    assert_eq!(insert(&mut run, say("One")), Ok(()));
    assert_eq!(insert(&mut run, say("Two")), Ok(()));
    for id in 0..5 {
        run.input(Input::Played { id, whole: true });
    }
    assert_eq!(insert(&mut run, say("Held")), Ok(()));
    assert_eq!(run.call.stop(run.now), Ok(()));
    run.drain();
    assert_eq!(run.call.stop(run.now), Err(NotNow::NothingToStop));
    insta::assert_snapshot!(flow_of(&run), @"
       saying: Hello
    play 0 to 0: clip 7
       saying: One
    play 1 to 0: clip 1
       saying: Two
    play 2 to 0: clip 1
       pausing for 1000 ms
    pause 3 to 0: 1s
       playing bell.wav
    play 4 to 0: clip 9
       flow done
       saying: Held
    play 5 to 0: clip 1
    stop media of 0
       stopped
       flow done
    ");
    for _ in 0..MOST_INSERTED {
        let _ = insert(&mut run, say("More"));
    }
    assert_eq!(insert(&mut run, say("More")), Ok(()));
    assert_eq!(insert(&mut run, say("More")), Err(NotNow::TooMuch));
    run.input(api_hangup());
    assert_eq!(insert(&mut run, say("Late")), Err(NotNow::Ending));
}

#[test]
fn nothing_is_taken_before_the_answer() {
    let mut run = Run::new(spec());
    assert_eq!(run.call.insert(say("Early"), run.now), Err(NotNow::NotAnswered));
    assert_eq!(run.call.stop(run.now), Err(NotNow::NotAnswered));
    run.input(first(LegInput::Answered));
    assert_eq!(run.call.insert(say("First"), run.now), Ok(()));
    assert_eq!(run.call.stop(run.now), Err(NotNow::NothingToStop));
    run.input(first(LegInput::MediaReady));
    assert!(run.told().contains("saying: First"), "{}", run.told());
}

#[test]
fn stop_ends_digits_and_recordings_too() {
    let record =
        Record { beep: false, max: Duration::from_secs(9), end_silence: None, finish_keys: String::new() };
    let flow = vec![Verb::Gather(Box::new(gather())), Verb::Record(record), say("Done")];
    let mut run = answered(Spec::new(flow, in_order(vec![attempt("t")])));
    assert_eq!(run.call.stop(run.now), Ok(()));
    assert_eq!(run.call.stop(run.now), Ok(()));
    run.drain();
    run.input(Input::Recorded { id: 1 });
    insta::assert_snapshot!(flow_of(&run), @r#"
       asking for digits (1)
       saying: Press a key
    play 0 to 0: clip 1
    stop media of 0
       digits "" (stopped)
       recording
    record 1 of 0: 9s
    stop record 1 of 0
       saying: Done
    play 2 to 0: clip 1
    "#);
}
