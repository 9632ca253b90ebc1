//! One of two joined legs sends the other on.

use super::second::{dial, failed, gone};
use super::*;
use crate::flow::Dial;

fn somebody() -> Dial {
    let route = Route::in_order(RouteId(9), vec![attempt("third")], Duration::from_secs(20));
    Dial { to: "third".to_owned(), route, ..dial() }
}

fn up(run: &mut Run, n: u32) {
    run.leg(n, LegInput::Answered);
    run.leg(n, LegInput::MediaReady);
}

/// A caller (0) put through to a callee (1), with something to say afterwards.
fn talking() -> Run {
    let route = in_order(vec![attempt("phone")]);
    let after = Verb::Say { clip: ClipId(1), text: "That was all".to_owned() };
    let flow = vec![Verb::Dial(Box::new(Dial { route, ..dial() })), after];
    let mut run = Run::inbound(Spec::new(flow, Route::default()));
    up(&mut run, 1);
    up(&mut run, 0);
    run
}

impl Run {
    fn transfer(&mut self, n: u32, dial: Dial) -> Result<(), NotNow> {
        let done = self.call.transfer(n, dial, self.now);
        self.drain();
        done
    }

    /// What it did since both were joined.
    fn since(&self) -> String {
        self.told().split_once("join 0 and 1\n").map_or(String::new(), |(_, rest)| rest.to_owned())
    }
}

#[test]
fn the_callee_sends_the_caller_on() {
    let mut run = talking();
    assert_eq!(run.call.joined(), Ok((0, 1)));
    assert_eq!(run.transfer(1, somebody()), Ok(()));
    assert_eq!(run.call.joined(), Err(NotNow::NotJoined));
    run.leg(2, LegInput::Ringing { early_media: false });
    up(&mut run, 2);
    run.leg(0, LegInput::Digit('1'));
    run.leg(2, gone());
    insta::assert_snapshot!(run.since(), @"
    part 0 and 1
       transferring to third
    tell 1 of the transfer: 100
       attempt 1 of 1 over third
    dial second 2: route 9 attempt 0
       the second leg rings
    tell 1 of the transfer: 180
    play 0 to 0: clip 3
    stop media of 0
       the second leg answered
       transferred
    tell 1 of the transfer: 200
    hang up 1: transferred
    join 0 and 2
       the other side pressed 1
    digits 1 to 2: 1
       second leg completed: The other side hung up.
       saying: That was all
    play 2 to 0: clip 1
    ");
}

#[test]
fn the_caller_sends_the_callee_on_and_leaves() {
    let mut run = talking();
    assert_eq!(run.transfer(0, somebody()), Ok(()));
    run.leg(0, gone());
    run.leg(2, LegInput::Ringing { early_media: false });
    up(&mut run, 2);
    run.wait(Duration::from_secs(60));
    run.leg(1, gone());
    insta::assert_snapshot!(run.since(), @"
    part 0 and 1
       transferring to third
    tell 0 of the transfer: 100
       attempt 1 of 1 over third
    dial second 2: route 9 attempt 0
       the second leg rings
    play 0 to 1: clip 3
    stop media of 1
       the second leg answered
       transferred
    join 1 and 2
    hang up 2: first_leg_ended
       second leg completed: The call it belonged to had ended.
    -> completed
    finished: completed normal by callee after 60s
    ");
}

#[test]
fn a_transfer_that_fails_gives_them_back() {
    for n in [0, 1] {
        let mut run = talking();
        assert_eq!(run.transfer(n, somebody()), Ok(()));
        assert_eq!(run.transfer(n, somebody()), Err(NotNow::NotJoined));
        run.leg(2, failed(486));
        let told = run.since();
        assert!(told.contains(&format!("tell {n} of the transfer: 486\njoin 0 and 1")), "{told}");
        run.leg(1, gone());
        assert!(run.told().ends_with("saying: That was all\nplay 0 to 0: clip 1"), "{}", run.told());
    }
}

#[test]
fn who_left_does_not_come_back() {
    let mut run = talking();
    assert_eq!(run.transfer(1, somebody()), Ok(()));
    run.leg(1, gone());
    run.leg(2, failed(486));
    run.leg(0, gone());
    insta::assert_snapshot!(run.since(), @"
    part 0 and 1
       transferring to third
    tell 1 of the transfer: 100
       attempt 1 of 1 over third
    dial second 2: route 9 attempt 0
       transfer failed: The line is busy.
       second leg busy: The line is busy.
    hang up 0: busy
    -> completed
    finished: completed busy by callee after 0ns
    ");
}

#[test]
fn whoever_waits_may_hang_up() {
    // The caller waits: the call is over.
    let mut run = talking();
    assert_eq!(run.transfer(1, somebody()), Ok(()));
    run.leg(0, gone());
    assert_eq!(run.ended(), (State::Completed, "normal"));
    // The callee waits: who asked for it goes on with the flow.
    let mut run = talking();
    assert_eq!(run.transfer(0, somebody()), Ok(()));
    run.leg(1, gone());
    insta::assert_snapshot!(run.since(), @"
    part 0 and 1
       transferring to third
    tell 0 of the transfer: 100
       attempt 1 of 1 over third
    dial second 2: route 9 attempt 0
    tell 0 of the transfer: 480
       transfer failed: The call it belonged to had ended.
    hang up 2: first_leg_ended
       second leg completed: The other side hung up.
       saying: That was all
    play 0 to 0: clip 1
    ");
}

#[test]
fn a_transfer_can_be_stopped() {
    let mut run = talking();
    assert_eq!(run.transfer(0, somebody()), Ok(()));
    assert_eq!(run.call.stop(run.now), Ok(()));
    run.drain();
    insta::assert_snapshot!(run.since(), @"
    part 0 and 1
       transferring to third
    tell 0 of the transfer: 100
       attempt 1 of 1 over third
    dial second 2: route 9 attempt 0
    hang up 2: stopped
       transfer failed: It was stopped by request.
    tell 0 of the transfer: 480
    join 0 and 1
    ");
}

#[test]
fn nobody_is_transferred_who_is_not_joined() {
    let mut run = talking();
    assert_eq!(run.transfer(7, somebody()), Err(NotNow::NotJoined));
    let nowhere = Dial { route: Route::default(), ..somebody() };
    assert_eq!(run.transfer(1, nowhere), Err(NotNow::NoWay));
    run.input(api_hangup());
    assert_eq!(run.transfer(1, somebody()), Err(NotNow::Ending));
    let mut run = Run::inbound(Spec::new(vec![Verb::Dial(Box::new(somebody()))], Route::default()));
    assert_eq!(run.transfer(0, somebody()), Err(NotNow::NotJoined));
    up(&mut run, 1);
    assert_eq!(run.transfer(1, somebody()), Err(NotNow::NotJoined), "the caller is not answered yet");
    assert_eq!(run.call.give_away(1, run.now), Err(NotNow::NotJoined));
    assert_eq!(run.call.take_over(1), Err(NotNow::NotJoined));
}

#[test]
fn an_attended_transfer_moves_a_leg_from_one_call_to_the_other() {
    let (mut one, mut other) = (talking(), talking());
    assert_eq!(other.call.give_away(0, other.now), Ok(1));
    other.drain();
    other.leg(0, gone());
    insta::assert_snapshot!(other.since(), @"
       second leg completed: The other side was transferred to somebody else.
    hang up 0: transferred
    -> completed
    finished: completed transferred by caller after 0ns
    ");
    assert_eq!(one.call.take_over(1), Ok(2));
    one.drain();
    one.leg(2, LegInput::MediaReady);
    one.leg(0, gone());
    insta::assert_snapshot!(one.since(), @"
    part 0 and 1
       transferred
    hang up 1: transferred
    join 0 and 2
    hang up 2: first_leg_ended
       second leg completed: The call it belonged to had ended.
    -> completed
    finished: completed normal by caller after 0ns
    ");
}

#[test]
fn whoever_started_the_call_may_be_replaced() {
    let mut run = talking();
    assert_eq!(run.call.take_over(0), Ok(2));
    run.leg(2, LegInput::MediaReady);
    run.leg(2, LegInput::Digit('4'));
    run.leg(2, gone());
    run.leg(1, gone());
    insta::assert_snapshot!(run.since(), @"
    part 0 and 1
       transferred
    hang up 0: transferred
    join 1 and 2
       the second leg pressed 4
    digits 0 to 1: 4
       second leg completed: The other side hung up.
    hang up 1: normal
    -> completed
    finished: completed normal by callee after 0ns
    ");
}
