//! A second leg: dialled, heard ringing, joined, ended, at every moment.

use super::*;
use crate::flow::Dial;

fn to(attempts: Vec<Attempt>) -> Route {
    Route::in_order(RouteId(4), attempts, Duration::from_secs(20))
}

pub(super) fn dial() -> Dial {
    Dial {
        to: "+12025550199".to_owned(),
        route: to(vec![attempt("first"), attempt("second")]),
        max_duration: Duration::from_secs(600),
        ringback: Some(ClipId(3)),
        is_final: false,
    }
}

fn dialing(dial: Dial) -> Run {
    let after = Verb::Say { clip: ClipId(1), text: "That was all".to_owned() };
    answered(Spec::new(vec![Verb::Dial(Box::new(dial)), after], in_order(vec![attempt("t")])))
}

impl Run {
    pub(super) fn second(&mut self, what: LegInput) {
        self.leg(SECOND, what);
    }
}

pub(super) fn failed(status: u16) -> LegInput {
    let Input::Leg { what, .. } = refused(status) else { unreachable!("refused makes a failure") };
    what
}

pub(super) fn gone() -> LegInput {
    LegInput::Ended { by: LegEnd::Remote, q850: None }
}

/// What it did since it was answered.
fn flow_of(run: &Run) -> String {
    run.told().split_once("-> in-progress\n").map_or(String::new(), |(_, rest)| rest.to_owned())
}

#[test]
fn rings_talks_and_ends() {
    let mut run = dialing(dial());
    run.second(LegInput::Trying);
    run.second(LegInput::Ringing { early_media: false });
    run.second(LegInput::Ringing { early_media: false });
    run.input(Input::Played { id: 1, whole: true });
    run.second(LegInput::Answered);
    run.second(LegInput::MediaReady);
    run.input(first(LegInput::Digit('5')));
    run.second(LegInput::Digit('6'));
    run.wait(Duration::from_secs(60));
    run.second(gone());
    insta::assert_snapshot!(flow_of(&run), @"
       dialing +12025550199
       attempt 1 of 2 over first
    dial second 1: route 4 attempt 0
       the second leg rings
    play 0 to 0: clip 3
    stop media of 0
       the second leg answered
    join 0 and 1
       the other side pressed 5
    digits 1 to 1: 5
       the second leg pressed 6
    digits 2 to 0: 6
       second leg completed: The other side hung up.
       saying: That was all
    play 3 to 0: clip 1
    ");
}

#[test]
fn the_second_trunk_takes_over_and_early_media_is_heard() {
    let mut run = dialing(dial());
    run.second(failed(503));
    run.second(LegInput::Answered);
    run.second(LegInput::Ringing { early_media: true });
    run.second(LegInput::Answered);
    run.second(LegInput::MediaReady);
    insta::assert_snapshot!(flow_of(&run), @"
       dialing +12025550199
       attempt 1 of 2 over first
    dial second 1: route 4 attempt 0
       attempt failed: The carrier has no free line at the moment (503).
       attempt 2 of 2 over second
    dial second 2: route 4 attempt 1
       the second leg answered
    join 0 and 2
    ");
}

#[test]
fn every_end_of_a_second_leg() {
    let ringing = || LegInput::Ringing { early_media: false };
    let up = |more: Vec<LegInput>| [vec![LegInput::Answered, LegInput::MediaReady], more].concat();
    let lost = |by| LegInput::Ended { by, q850: None };
    for (inputs, end) in [
        (vec![failed(486)], "busy: The line is busy"),
        (vec![failed(404)], "failed: This number does not exist (404)."),
        (vec![ringing(), failed(503)], "failed: The carrier has no free line at the moment (503)."),
        (vec![ringing()], "no-answer: Nobody answered within 20 s."),
        (vec![], "failed: The trunk never answered: nothing came back within 20 s."),
        (vec![gone()], "failed: The call broke off before it was answered."),
        (up(vec![gone()]), "completed: The other side hung up."),
        (up(vec![lost(LegEnd::NoAck)]), "failed: The other side answered but never confirmed it."),
        (up(vec![]), "completed: The call reached its longest duration of 600 s."),
        (
            up(vec![LegInput::MediaFailed("no port".to_owned())]),
            "failed: The sound of the call could not be sent or received (no port).",
        ),
        (
            up(vec![LegInput::Silent { after: Duration::from_secs(30) }]),
            "completed: No audio came from the other side for 30 s.",
        ),
    ] {
        let mut run = dialing(Dial { route: to(vec![attempt("t")]), ..dial() });
        for input in inputs.clone() {
            run.second(input);
        }
        run.wait(Duration::from_secs(700));
        let told = run.told();
        assert!(told.contains(&format!("second leg {end}")), "{inputs:?}:\n{told}");
        assert!(told.contains("saying: That was all"), "the flow goes on after {inputs:?}:\n{told}");
        assert_eq!(run.call.state(), State::InProgress, "{inputs:?}");
    }
}

#[test]
fn the_first_leg_takes_the_second_with_it() {
    for (inputs, end) in [
        (vec![], "second leg canceled"),
        (vec![LegInput::Answered, LegInput::MediaReady], "second leg completed"),
    ] {
        let mut run = dialing(dial());
        for input in inputs {
            run.second(input);
        }
        run.input(remote_hangup());
        assert!(run.told().contains("hang up 1: first_leg_ended"), "{}", run.told());
        assert!(run.told().contains(end), "{}", run.told());
        assert_eq!(run.ended(), (State::Completed, "normal"));
    }
}

#[test]
fn stop_hangs_the_second_leg_up_and_goes_on() {
    let mut run = dialing(dial());
    run.second(LegInput::Ringing { early_media: false });
    assert_eq!(run.call.stop(run.now), Ok(()));
    run.drain();
    insta::assert_snapshot!(flow_of(&run), @"
       dialing +12025550199
       attempt 1 of 2 over first
    dial second 1: route 4 attempt 0
       the second leg rings
    play 0 to 0: clip 3
    hang up 1: stopped
    stop media of 0
       second leg canceled: It was stopped by request.
       saying: That was all
    play 1 to 0: clip 1
    ");
}

#[test]
fn without_a_way_the_flow_goes_on() {
    let run = dialing(Dial { route: Route::default(), ..dial() });
    assert!(run.told().contains("second leg failed: There was no way"), "{}", run.told());
    assert!(run.told().contains("saying: That was all"), "{}", run.told());
}
