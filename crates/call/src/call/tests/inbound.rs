//! Calls that come in: answered for their flow, put through, refused, given up.

use super::second::{dial, failed, gone};
use super::*;
use crate::flow::Dial;

fn to(flow: Vec<Verb>) -> Run {
    Run::inbound(Spec::new(flow, Route::default()))
}

fn put_through() -> Verb {
    Verb::Dial(Box::new(Dial { route: in_order(vec![attempt("phone")]), ..dial() }))
}

fn say(text: &str) -> Verb {
    Verb::Say { clip: ClipId(1), text: text.to_owned() }
}

fn canceled() -> LegInput {
    LegInput::Ended { by: LegEnd::Canceled, q850: None }
}

fn up(run: &mut Run, n: u32) {
    run.leg(n, LegInput::Answered);
    run.leg(n, LegInput::MediaReady);
}

#[test]
fn rings_talks_and_ends_with_the_callee() {
    let mut run = to(vec![put_through()]);
    run.leg(1, LegInput::Trying);
    run.leg(1, LegInput::Ringing { early_media: false });
    run.leg(1, LegInput::Ringing { early_media: false });
    run.wait(Duration::from_secs(5));
    up(&mut run, 1);
    up(&mut run, 0);
    run.leg(0, LegInput::Digit('5'));
    run.leg(1, LegInput::Digit('6'));
    run.wait(Duration::from_secs(10));
    run.leg(1, gone());
    run.leg(0, gone());
    insta::assert_snapshot!(run.told(), @"
    -> queued
       incoming call
       dialing +12025550199
       attempt 1 of 1 over phone
    dial second 1: route 0 attempt 0
       the second leg rings
    ring 0
    -> ringing
       the second leg answered
    answer 0
    -> in-progress
    join 0 and 1
       the other side pressed 5
    digits 0 to 1: 5
       the second leg pressed 6
    digits 1 to 0: 6
       second leg completed: The other side hung up.
    hang up 0: normal
    -> completed
    finished: completed normal by callee after 15s
    ");
    let outcome = run.outcome().unwrap();
    assert_eq!(outcome.answered, Some(run.start + Duration::from_secs(5)));
}

#[test]
fn the_caller_hangs_up() {
    let mut run = to(vec![put_through()]);
    up(&mut run, 1);
    up(&mut run, 0);
    run.leg(0, gone());
    let end = "finished: completed normal by caller after 0ns";
    assert!(run.told().ends_with(end) && run.told().contains("hang up 1: first_leg_ended"), "{}", run.told());
}

#[test]
fn the_caller_gives_up_and_every_phone_stops_ringing() {
    let mut run = to(vec![put_through()]);
    run.leg(1, LegInput::Ringing { early_media: false });
    run.leg(0, canceled());
    insta::assert_snapshot!(run.told(), @"
    -> queued
       incoming call
       dialing +12025550199
       attempt 1 of 1 over phone
    dial second 1: route 0 attempt 0
       the second leg rings
    ring 0
    -> ringing
    hang up 1: first_leg_ended
       second leg canceled: The call it belonged to had ended.
    -> canceled
    finished: canceled canceled by caller after 0ns
    ");
}

#[test]
fn early_media_is_heard_before_the_answer() {
    let mut run = to(vec![put_through()]);
    run.leg(1, LegInput::Ringing { early_media: false });
    run.leg(1, LegInput::Ringing { early_media: true });
    run.leg(0, LegInput::MediaReady);
    up(&mut run, 1);
    run.leg(0, LegInput::Answered);
    run.leg(1, gone());
    insta::assert_snapshot!(run.told(), @"
    -> queued
       incoming call
       dialing +12025550199
       attempt 1 of 1 over phone
    dial second 1: route 0 attempt 0
       the second leg rings
    ring 0
    -> ringing
    ring 0 with early media
       early media
    join 0 and 1
       the second leg answered
    answer 0
    -> in-progress
       second leg completed: The other side hung up.
    hang up 0: normal
    ");
}

#[test]
fn a_greeting_answers_and_then_the_ringing_tone_is_ours() {
    let mut run = to(vec![say("Welcome"), put_through(), say("Nobody is in")]);
    up(&mut run, 0);
    run.input(Input::Played { id: 0, whole: true });
    run.leg(1, LegInput::Ringing { early_media: false });
    run.leg(1, failed(486));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       incoming call
    answer 0
    -> in-progress
       saying: Welcome
    play 0 to 0: clip 1
       dialing +12025550199
       attempt 1 of 1 over phone
    dial second 1: route 0 attempt 0
       the second leg rings
    play 1 to 0: clip 3
    stop media of 0
       second leg busy: The line is busy.
       saying: Nobody is in
    play 2 to 0: clip 1
    ");
}

#[test]
fn voicemail_answers_after_nobody_did() {
    let mut run = to(vec![put_through(), say("After the beep")]);
    run.leg(1, LegInput::Ringing { early_media: false });
    run.wait(Duration::from_secs(60));
    up(&mut run, 0);
    insta::assert_snapshot!(run.told(), @"
    -> queued
       incoming call
       dialing +12025550199
       attempt 1 of 1 over phone
    dial second 1: route 0 attempt 0
       the second leg rings
    ring 0
    -> ringing
    hang up 1: no_answer
       second leg no-answer: Nobody answered within 60 s.
    answer 0
    -> in-progress
       saying: After the beep
    play 0 to 0: clip 1
    ");
}

#[test]
fn refusals() {
    use State::{Busy, Canceled, Failed, NoAnswer};
    let rings = LegInput::Ringing { early_media: false };
    for (flow, inputs, seconds, status, state, code) in [
        (vec![], vec![], 0, 480, NoAnswer, "unanswered"),
        (vec![Verb::Hangup], vec![], 0, 603, Failed, "rejected"),
        (vec![Verb::Reject(486)], vec![], 0, 486, Busy, "rejected"),
        (vec![Verb::Reject(404)], vec![], 0, 404, Failed, "rejected"),
        (vec![Verb::Reject(200)], vec![], 0, 400, Failed, "rejected"),
        (vec![put_through()], vec![failed(486)], 0, 486, Busy, "busy"),
        (vec![put_through()], vec![failed(603)], 0, 603, Failed, "declined"),
        (vec![put_through()], vec![failed(401)], 0, 403, Failed, "carrier_auth"),
        (vec![put_through()], vec![failed(404)], 0, 404, Failed, "unallocated_number"),
        (vec![put_through()], vec![rings], 60, 480, NoAnswer, "no_answer"),
        (vec![put_through()], vec![], 60, 480, Failed, "no_response"),
        (vec![put_through(), Verb::Reject(600)], vec![failed(503)], 0, 600, Busy, "rejected"),
        (vec![put_through()], vec![LegInput::MediaFailed("none".into())], 0, 488, Failed, "media_failed"),
    ] {
        let mut run = to(flow);
        inputs.into_iter().for_each(|what| run.leg(1, what));
        run.wait(Duration::from_secs(seconds));
        run.leg(0, gone());
        let told = run.told();
        assert!(told.contains(&format!("reject 0: {status} {code}\n")), "{told}");
        assert_eq!(run.ended(), (state, code), "{told}");
    }
    let mut run = to(vec![put_through()]);
    run.input(api_hangup());
    run.leg(0, gone());
    assert_eq!(run.ended(), (Canceled, "canceled"));
    // What cannot be heard is refused as such.
    let mut run = to(vec![say("Hello")]);
    run.leg(0, LegInput::MediaFailed("no codec".into()));
    assert!(run.told().contains("reject 0: 488 media_failed"), "{}", run.told());
}

#[test]
fn limits_hold_for_calls_that_come_in_too() {
    let mut run = to(vec![Verb::Answer, Verb::Pause(Duration::from_secs(100_000))]);
    up(&mut run, 0);
    assert!(run.told().contains("-> in-progress\n   pausing"), "{}", run.told());
    run.leg(0, LegInput::Silent { after: Duration::from_secs(29) });
    run.wait(Duration::from_secs(5 * 60 * 60));
    assert_eq!(run.ended(), (State::Completed, "max_duration"));

    let mut run = to(vec![Verb::Answer, Verb::Pause(Duration::from_secs(100_000))]);
    up(&mut run, 0);
    run.leg(0, LegInput::Silent { after: Duration::from_secs(30) });
    run.leg(0, gone());
    assert_eq!(run.ended(), (State::Completed, "rtp_silence"));

    let mut run = to(vec![put_through()]);
    assert_eq!(run.call.insert(say("Early"), run.now), Err(NotNow::NotAnswered));
    assert_eq!(run.call.stop(run.now), Err(NotNow::NotAnswered));
    run.input(Input::Hangup { by: HangupBy::System, cause: HangupReason::Shutdown });
    run.leg(0, gone());
    assert_eq!(run.ended(), (State::Canceled, "shutdown"));
}
