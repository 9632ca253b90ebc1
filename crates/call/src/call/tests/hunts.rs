//! Rounds of attempts: several phones at once, one group after another.

use super::second::{dial, failed};
use super::*;
use crate::flow::{Dial, Round, Then};

fn round(phones: &[&str], then: Then) -> Round {
    let attempts = phones.iter().map(|phone| attempt(phone)).collect();
    Round { attempts, ring_timeout: Duration::from_secs(20), then }
}

fn route(rounds: Vec<Round>) -> Route {
    Route { id: RouteId(0), rounds }
}

fn ringing() -> LegInput {
    LegInput::Ringing { early_media: false }
}

#[test]
fn the_first_answer_wins_and_the_others_are_told_so() {
    let phones = route(vec![round(&["desk", "mobile", "browser"], Then::Always)]);
    let mut run = Run::new(Spec::new(Vec::new(), phones));
    run.leg(0, ringing());
    run.leg(2, failed(404));
    run.leg(1, LegInput::Ringing { early_media: true });
    run.leg(1, LegInput::Answered);
    // It crossed our CANCEL: hung up already, and nobody's.
    run.leg(0, LegInput::Answered);
    run.leg(1, LegInput::MediaReady);
    run.leg(1, LegInput::Ended { by: LegEnd::Remote, q850: None });
    insta::assert_snapshot!(run.told(), @"
    -> queued
       3 attempts at once
       attempt 1 of 3 over desk
    dial 0: attempt 0
       attempt 2 of 3 over mobile
    dial 1: attempt 1
       attempt 3 of 3 over browser
    dial 2: attempt 2
    -> ringing
       attempt failed: This number does not exist (404).
    hang up 0: completed_elsewhere
    -> in-progress
       flow done
    -> completed
    finished: completed normal by callee after 0ns
    ");
    assert_eq!(run.outcome().unwrap().attempt, 1);
    let hung_up = run.outputs.iter().find_map(|output| match output {
        Output::HangUp { cause, .. } => Some(cause),
        _ => None,
    });
    assert!(hung_up.unwrap().is_completed_elsewhere());
}

#[test]
fn a_group_in_order_goes_on_after_no_answer_and_busy() {
    let groups = vec![
        round(&["desk"], Then::Always),
        round(&["a", "b"], Then::Always),
        round(&[], Then::Always),
        round(&["voicemail"], Then::Always),
    ];
    let mut run = Run::new(Spec::new(Vec::new(), route(groups)));
    run.leg(0, ringing());
    run.wait(Duration::from_secs(20));
    run.leg(1, failed(486));
    run.leg(2, failed(480));
    run.leg(3, failed(404));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 4 over desk
    dial 0: attempt 0
    -> ringing
    hang up 0: no_answer
       attempt failed: Nobody answered within 20 s.
       2 attempts at once
       attempt 2 of 4 over a
    dial 1: attempt 1
       attempt 3 of 4 over b
    dial 2: attempt 2
       attempt failed: The line is busy.
       attempt failed: The callee cannot be reached at the moment.
       attempt 4 of 4 over voicemail
    dial 3: attempt 3
    -> busy
    finished: busy busy by callee after 20s
    ");
}

#[test]
fn a_trunk_is_followed_only_where_nobody_was_rung() {
    for (what, attempts) in [
        (vec![failed(503)], 2),
        (vec![ringing(), failed(503)], 1),
        (vec![failed(486)], 1),
        (vec![failed(480)], 1),
    ] {
        let mut run = Run::new(spec());
        what.clone().into_iter().for_each(|what| run.leg(0, what));
        let dialled = run.outputs.iter().filter(|output| matches!(output, Output::Dial { .. })).count();
        assert_eq!(dialled, attempts, "{what:?}");
    }
}

#[test]
fn the_most_telling_end_of_a_fork_counts() {
    for (ends, code) in [
        ([Some(404), Some(486), Some(503)], "busy"),
        ([Some(480), Some(404), Some(503)], "unavailable"),
        ([Some(404), Some(503), Some(302)], "unallocated_number"),
        ([Some(500), Some(503), Some(302)], "redirected"),
        ([Some(480), None, Some(503)], "no_answer"),
        ([None, None, None], "no_answer"),
        ([Some(486), Some(486), None], "busy"),
    ] {
        let mut run = Run::new(Spec::new(Vec::new(), route(vec![round(&["a", "b", "c"], Then::Always)])));
        for (n, end) in (0..).zip(ends) {
            run.leg(n, ringing());
            end.into_iter().for_each(|status| run.leg(n, failed(status)));
        }
        run.wait(Duration::from_secs(60));
        assert_eq!(run.ended().1, code, "{ends:?}");
    }
}

#[test]
fn a_refusal_for_all_ends_everything() {
    let rounds = vec![round(&["a", "b"], Then::Always), round(&["c"], Then::Always)];
    let mut run = Run::new(Spec::new(Vec::new(), route(rounds)));
    run.leg(0, failed(603));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       2 attempts at once
       attempt 1 of 3 over a
    dial 0: attempt 0
       attempt 2 of 3 over b
    dial 1: attempt 1
    hang up 1: declined
    -> failed
    finished: failed declined by callee after 0ns
    ");
}

#[test]
fn a_fork_is_bounded() {
    let phones: Vec<&str> = vec!["phone"; 40];
    let run = Run::new(Spec::new(Vec::new(), route(vec![round(&phones, Then::Always)])));
    let dialled = run.outputs.iter().filter(|output| matches!(output, Output::Dial { .. })).count();
    assert_eq!(dialled, 16);
}

#[test]
fn a_second_leg_forks_too_and_a_hang_up_ends_all() {
    let phones = Route { id: RouteId(2), rounds: vec![round(&["desk", "mobile"], Then::Always)] };
    let flow = vec![Verb::Dial(Box::new(Dial { route: phones, ..dial() }))];
    let mut run = answered(Spec::new(flow, in_order(vec![attempt("t")])));
    run.leg(2, LegInput::Ringing { early_media: true });
    run.input(api_hangup());
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 1 over t
    dial 0: attempt 0
    -> in-progress
       dialing +12025550199
       2 attempts at once
       attempt 1 of 2 over desk
    dial second 1: route 2 attempt 0
       attempt 2 of 2 over mobile
    dial second 2: route 2 attempt 1
       the second leg rings
    play 0 to 0: clip 3
    hang up 1: first_leg_ended
    hang up 2: first_leg_ended
    stop media of 0
       second leg canceled: The call it belonged to had ended.
    hang up 0: hangup
    ");
}
