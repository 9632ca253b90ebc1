mod flows;
mod hunts;
mod inbound;
mod property;
mod second;
mod transfers;

use super::*;
use crate::cause::{FailureKind, LegFailure};
use crate::flow::{ClipId, RouteId};
use crate::route::{Attempt, AttemptKind, Strategy as Placing, TrunkKind};

/// A call under virtual time, with what it put out.
struct Run {
    call: Call,
    start: Instant,
    now: Instant,
    outputs: Vec<Output>,
}

impl Run {
    fn new(spec: Spec) -> Self {
        let now = Instant::now();
        Self::with(Call::outbound(spec, now), now)
    }

    fn inbound(spec: Spec) -> Self {
        let now = Instant::now();
        Self::with(Call::inbound(spec, now), now)
    }

    fn with(call: Call, now: Instant) -> Self {
        let mut run = Run { call, start: now, now, outputs: Vec::new() };
        run.drain();
        run
    }

    fn drain(&mut self) {
        self.outputs.extend(std::iter::from_fn(|| self.call.poll_output()));
    }

    fn input(&mut self, input: Input) {
        let input = match input {
            Input::Leg { n: FIRST, what } => Input::Leg { n: self.last_dialled(Leg::First), what },
            Input::Leg { n: SECOND, what } => Input::Leg { n: self.last_dialled(Leg::Second), what },
            input => input,
        };
        self.call.handle_input(input, self.now);
        self.drain();
    }

    fn leg(&mut self, n: u32, what: LegInput) {
        self.input(Input::Leg { n, what });
    }

    /// The leg dialled last in this role; of an incoming call the first is 0.
    fn last_dialled(&self, role: Leg) -> u32 {
        let dialled = self.outputs.iter().rev().find_map(|output| match output {
            Output::Dial { n, leg, .. } if *leg == role => Some(*n),
            _ => None,
        });
        dialled.unwrap_or_default()
    }

    /// Lets time pass, waking the call whenever it asked for it.
    fn wait(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(due) = self.call.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.outputs.iter().find_map(|output| match output {
            Output::Finished(outcome) => Some(outcome),
            _ => None,
        })
    }

    /// What it did, one word or two per output, and the outcome with its time.
    fn told(&self) -> String {
        let lines: Vec<String> = self
            .outputs
            .iter()
            .map(|output| match output {
                Output::Dial { n, leg: Leg::First, attempt, .. } => format!("dial {n}: attempt {attempt}"),
                Output::Dial { n, leg: Leg::Second, route, attempt } => {
                    format!("dial second {n}: route {} attempt {attempt}", route.0)
                }
                Output::Answer { n } => format!("answer {n}"),
                Output::Ring { n, early_media: false } => format!("ring {n}"),
                Output::Ring { n, early_media: true } => format!("ring {n} with early media"),
                Output::Reject { n, cause } => format!("reject {n}: {} {}", cause.refusal(), cause.code),
                Output::HangUp { n, cause } => format!("hang up {n}: {}", cause.code),
                Output::Play { n, id, clip } => format!("play {id} to {n}: clip {}", clip.0),
                Output::Pause { n, id, length } => format!("pause {id} to {n}: {length:?}"),
                Output::StopMedia { n } => format!("stop media of {n}"),
                Output::Digits { n, id, digits } => format!("digits {id} to {n}: {digits}"),
                Output::Record { n, id, rules } => format!("record {id} of {n}: {:?}", rules.max),
                Output::StopRecord { n, id } => format!("stop record {id} of {n}"),
                Output::Join { one, other } => format!("join {one} and {other}"),
                Output::Part { one, other } => format!("part {one} and {other}"),
                Output::TransferProgress { n, status } => format!("tell {n} of the transfer: {status}"),
                Output::State { state } => format!("-> {state}"),
                Output::Progress(progress) => format!("   {progress}"),
                Output::Finished(outcome) => format!(
                    "finished: {} {} by {} after {:?}",
                    outcome.state,
                    outcome.cause.code,
                    outcome.cause.by.as_str(),
                    outcome.ended - self.start
                ),
            })
            .collect();
        lines.join("\n")
    }

    fn ended(&self) -> (State, &'static str) {
        let outcome = self.outcome().expect("the call is over");
        (outcome.state, outcome.cause.code)
    }
}

/// The leg dialled last as the first one, or as the second one.
const FIRST: u32 = u32::MAX - 1;
const SECOND: u32 = u32::MAX - 2;

fn first(what: LegInput) -> Input {
    Input::Leg { n: FIRST, what }
}

fn in_order(attempts: Vec<Attempt>) -> Route {
    Route::in_order(RouteId(0), attempts, Duration::from_secs(60))
}

fn attempt(trunk: &str) -> Attempt {
    Attempt {
        trunk: Some(trunk.to_owned()),
        kind: AttemptKind::Trunk(TrunkKind::Sip),
        destination: "+12025550123".to_owned(),
        caller_id: None,
        strategy: Placing::SipInvite,
    }
}

fn flow() -> Vec<Verb> {
    vec![
        Verb::Say { clip: ClipId(7), text: "Hello".to_owned() },
        Verb::Pause(Duration::from_secs(1)),
        Verb::Play { clip: ClipId(9), name: "bell.wav".to_owned() },
    ]
}

fn spec() -> Spec {
    Spec::new(flow(), in_order(vec![attempt("first"), attempt("second")]))
}

fn refused(status: u16) -> Input {
    first(LegInput::Failed(LegFailure {
        kind: FailureKind::Status,
        status: Some(status),
        phrase: String::new(),
        q850: None,
        provisional: false,
        sent: true,
        challenged: false,
        had_credentials: false,
    }))
}

fn held() -> Input {
    first(LegInput::Failed(LegFailure {
        kind: FailureKind::PacedOut,
        status: None,
        phrase: String::new(),
        q850: None,
        provisional: false,
        sent: false,
        challenged: false,
        had_credentials: false,
    }))
}

#[test]
fn waiting_for_the_trunk_is_no_ringing() {
    let mut run = Run::new(spec());
    run.input(first(LegInput::Waiting));
    run.wait(Duration::from_secs(600));
    run.input(first(LegInput::Dialed));
    run.input(first(LegInput::Trying));
    run.wait(Duration::from_secs(60));
    run.wait(Duration::from_secs(5));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 2 over first
    dial 0: attempt 0
       waiting for the trunk
    hang up 0: no_answer
    -> no-answer
    finished: no-answer no_answer by system after 665s
    ");
}

#[test]
fn who_waited_in_vain_tries_the_next_trunk_and_then_says_why() {
    let mut run = Run::new(spec());
    run.input(first(LegInput::Waiting));
    run.input(held());
    run.input(held());
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 2 over first
    dial 0: attempt 0
       waiting for the trunk
       attempt failed: The call waited too long for its turn on the trunk.
       attempt 2 of 2 over second
    dial 1: attempt 1
    -> failed
    finished: failed paced_out by system after 0ns
    ");
    let outcome = run.outcome().expect("it is over");
    assert!(outcome.cause.hint.is_some_and(|hint| hint.contains("calls_per_second")));
}

fn remote_hangup() -> Input {
    first(LegInput::Ended { by: LegEnd::Remote, q850: Some(16) })
}

fn api_hangup() -> Input {
    Input::Hangup { by: HangupBy::Caller, cause: HangupReason::Api }
}

fn answered(spec: Spec) -> Run {
    let mut run = Run::new(spec);
    run.input(first(LegInput::Answered));
    run.input(first(LegInput::MediaReady));
    run
}

#[test]
fn a_call_from_dial_to_goodbye() {
    let mut run = Run::new(spec());
    run.wait(Duration::from_secs(1));
    run.input(first(LegInput::Ringing { early_media: true }));
    run.input(first(LegInput::Ringing { early_media: true }));
    run.wait(Duration::from_secs(2));
    run.input(first(LegInput::Answered));
    run.input(first(LegInput::MediaReady));
    run.input(Input::Played { id: 0, whole: true });
    run.input(Input::Played { id: 0, whole: true });
    run.input(first(LegInput::Digit('5')));
    run.input(Input::Played { id: 1, whole: true });
    run.input(Input::Played { id: 2, whole: true });
    run.wait(Duration::from_secs(1));
    run.input(first(LegInput::Ended { by: LegEnd::Remote, q850: None }));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 2 over first
    dial 0: attempt 0
    -> ringing
       early media
    -> in-progress
       saying: Hello
    play 0 to 0: clip 7
       pausing for 1000 ms
    pause 1 to 0: 1s
       the other side pressed 5
       playing bell.wav
    play 2 to 0: clip 9
       flow done
    hang up 0: flow_done
    -> completed
    finished: completed flow_done by system after 4s
    ");
    let outcome = run.outcome().unwrap();
    assert_eq!(outcome.ringing, Some(run.start + Duration::from_secs(1)));
    assert_eq!(outcome.answered, Some(run.start + Duration::from_secs(3)));
}

#[test]
fn the_second_trunk_takes_over() {
    let mut run = Run::new(spec());
    run.input(first(LegInput::MediaReady));
    run.input(refused(503));
    run.input(first(LegInput::Answered));
    run.input(remote_hangup());
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 2 over first
    dial 0: attempt 0
       attempt failed: The carrier has no free line at the moment (503).
       attempt 2 of 2 over second
    dial 1: attempt 1
    -> in-progress
    -> completed
    finished: completed normal by callee after 0ns
    ");
    assert_eq!(run.outcome().unwrap().attempt, 1);
}

#[test]
fn endings() {
    use State::{Busy, Canceled, Completed, Failed, NoAnswer};
    let ringing = || first(LegInput::Ringing { early_media: false });
    let shutdown = || Input::Hangup { by: HangupBy::System, cause: HangupReason::Shutdown };
    let silent = |s| first(LegInput::Silent { after: Duration::from_secs(s) });
    let no_media = || first(LegInput::MediaFailed("no port".to_owned()));
    let lost = |by| first(LegInput::Ended { by, q850: None });
    let up = |more: Vec<Input>| [vec![first(LegInput::Answered), first(LegInput::MediaReady)], more].concat();
    for (inputs, state, code) in [
        (vec![refused(486)], Busy, "busy"),
        (vec![refused(404)], Failed, "unallocated_number"),
        (vec![refused(503), refused(503)], Failed, "carrier_congestion"),
        (vec![ringing(), refused(503)], Failed, "carrier_congestion"),
        (vec![ringing()], NoAnswer, "no_answer"),
        (vec![first(LegInput::Trying)], NoAnswer, "no_answer"),
        (vec![], Failed, "no_response"),
        (vec![api_hangup()], Canceled, "canceled"),
        (vec![api_hangup(), first(LegInput::Answered), remote_hangup()], Canceled, "canceled"),
        (vec![api_hangup(), refused(486)], Canceled, "canceled"),
        (vec![api_hangup(), refused(503)], Canceled, "canceled"),
        (vec![ringing(), shutdown()], Canceled, "shutdown"),
        (vec![no_media()], Failed, "media_failed"),
        (vec![remote_hangup()], Failed, "leg_lost"),
        (up(vec![remote_hangup()]), Completed, "normal"),
        (up(vec![api_hangup()]), Completed, "hangup"),
        (up(vec![api_hangup(), lost(LegEnd::NoAck)]), Completed, "hangup"),
        (up(vec![shutdown()]), Completed, "shutdown"),
        (up(vec![no_media()]), Failed, "media_failed"),
        (up(vec![lost(LegEnd::NoAck)]), Failed, "no_ack"),
        (up(vec![lost(LegEnd::Transport)]), Failed, "connection_lost"),
        (up(vec![lost(LegEnd::Expired)]), Failed, "session_expired"),
        (up(vec![refused(486)]), Failed, "busy"),
        (up(vec![silent(30)]), Completed, "rtp_silence"),
        (up(vec![silent(29)]), Completed, "max_duration"),
        (up(vec![]), Completed, "max_duration"),
        (vec![first(LegInput::Answered)], Completed, "max_duration"),
    ] {
        let mut run = Run::new(spec());
        for input in inputs.clone() {
            run.input(input);
        }
        run.wait(Duration::from_secs(5 * 60 * 60));
        assert_eq!(run.ended(), (state, code), "{inputs:?}");
    }
}

#[test]
fn nobody_answers() {
    let mut run = Run::new(spec());
    run.input(first(LegInput::Ringing { early_media: false }));
    run.wait(Duration::from_secs(59));
    assert_eq!(run.call.state(), State::Ringing);
    run.wait(Duration::from_secs(10));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 2 over first
    dial 0: attempt 0
    -> ringing
    hang up 0: no_answer
    -> no-answer
    finished: no-answer no_answer by system after 65s
    ");
    assert_eq!(run.outcome().unwrap().cause.text, "Nobody answered within 60 s.");
}

#[test]
fn an_answer_that_crosses_our_cancel_changes_nothing() {
    let mut run = Run::new(spec());
    run.input(first(LegInput::Trying));
    run.wait(Duration::from_secs(60));
    run.input(first(LegInput::Answered));
    run.input(remote_hangup());
    assert_eq!(run.ended(), (State::NoAnswer, "no_answer"));
    assert_eq!(run.outcome().unwrap().answered, None);
}

#[test]
fn without_an_attempt_it_fails_at_once() {
    let run = Run::new(Spec::new(flow(), Route::default()));
    insta::assert_snapshot!(run.told(), @r"
    -> queued
    -> failed
    finished: failed no_attempt by system after 0ns
    ");
    assert_eq!(run.call.poll_timeout(), None);
}

#[test]
fn the_line_is_held_after_the_flow_if_asked() {
    let mut run =
        answered(Spec { hold_after_flow: true, ..Spec::new(Vec::new(), in_order(vec![attempt("t")])) });
    run.wait(Duration::from_secs(60));
    assert_eq!(run.call.state(), State::InProgress);
    run.input(api_hangup());
    run.input(remote_hangup());
    assert_eq!(run.ended(), (State::Completed, "hangup"));
}

#[test]
fn the_hangup_verb_ends_a_call_that_would_be_held() {
    let flow = vec![Verb::Hangup, Verb::Pause(Duration::from_secs(1))];
    let mut run = answered(Spec { hold_after_flow: true, ..Spec::new(flow, in_order(vec![attempt("t")])) });
    run.wait(Duration::from_secs(10));
    insta::assert_snapshot!(run.told(), @"
    -> queued
       attempt 1 of 1 over t
    dial 0: attempt 0
    -> in-progress
       flow done
    hang up 0: flow_done
    -> completed
    finished: completed flow_done by system after 5.25s
    ");
}

#[test]
fn a_hang_up_stops_what_is_being_played() {
    let mut run = answered(spec());
    run.input(api_hangup());
    assert!(
        run.told().ends_with("play 0 to 0: clip 7\nstop media of 0\nhang up 0: hangup"),
        "{}",
        run.told()
    );
    let mut run = answered(spec());
    run.input(remote_hangup());
    let end = "stop media of 0\n-> completed\nfinished: completed normal by callee after 0ns";
    assert!(run.told().ends_with(end), "{}", run.told());
}

#[test]
fn silence_may_be_allowed() {
    let mut run = answered(Spec { silence_timeout: None, ..spec() });
    run.input(first(LegInput::Silent { after: Duration::from_secs(3600) }));
    assert_eq!(run.call.state(), State::InProgress);
}

#[test]
fn times_beyond_the_clock_are_no_limit() {
    let route = Route::in_order(RouteId(0), vec![attempt("t")], Duration::MAX);
    let endless = Spec { route, max_duration: Duration::MAX, ..spec() };
    let mut run = Run::new(endless);
    assert_eq!(run.call.poll_timeout(), None);
    run.input(first(LegInput::Answered));
    assert_eq!(run.call.poll_timeout(), None);
    run.input(remote_hangup());
    assert_eq!(run.ended(), (State::Completed, "normal"));
}

#[test]
fn a_wake_up_too_early_does_nothing() {
    let mut run = Run::new(spec());
    let before = run.told();
    run.call.handle_timeout(run.now + Duration::from_secs(59));
    run.drain();
    assert_eq!(run.told(), before);
}
