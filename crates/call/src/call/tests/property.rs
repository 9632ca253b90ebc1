//! Whatever happens, in whatever order: the call ends once, and nobody is rung twice.

use proptest::prelude::*;

use super::*;
use crate::flow::{Dial, Gather, Record, RouteId};

#[derive(Clone, Debug)]
enum Step {
    Input(Input),
    /// Something happens to the second leg placed last.
    Second(LegInput),
    /// The sound or recording started last is over.
    Over(bool),
    Insert,
    Stop,
    Wait(Duration),
}

fn any_failure() -> impl Strategy<Value = LegFailure> {
    let kind = prop_oneof![
        4 => Just(FailureKind::Status),
        1 => Just(FailureKind::Timeout),
        1 => Just(FailureKind::Transport),
        1 => Just(FailureKind::Canceled),
        1 => Just(FailureKind::Dns("gone".to_owned())),
        1 => Just(FailureKind::Media("none".to_owned())),
    ];
    let status = prop_oneof![Just(Some(503)), Just(Some(408)), Just(None), (0u16..=999).prop_map(Some)];
    (kind, status, any::<Option<u8>>(), any::<bool>(), any::<bool>()).prop_map(
        |(kind, status, q850, provisional, sent)| LegFailure {
            kind,
            status,
            phrase: "phrase".to_owned(),
            q850,
            provisional,
            sent,
            challenged: false,
            had_credentials: false,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![Just(LegEnd::Remote), Just(LegEnd::NoAck), Just(LegEnd::Transport)];
    let reason = prop_oneof![Just(HangupReason::Api), Just(HangupReason::Shutdown)];
    let input = prop_oneof![
        2 => any::<bool>().prop_map(|early_media| Input::Ringing { early_media }),
        2 => Just(Input::Answered),
        4 => any_failure().prop_map(Input::LegFailed),
        1 => (end, any::<Option<u8>>()).prop_map(|(by, q850)| Input::LegEnded { by, q850 }),
        3 => Just(Input::MediaReady),
        4 => (0u32..4, any::<bool>()).prop_map(|(id, whole)| Input::Played { id, whole }),
        1 => (0u64..40).prop_map(|s| Input::Silent { after: Duration::from_secs(s) }),
        1 => Just(Input::MediaFailed("broke".to_owned())),
        1 => reason.prop_map(|cause| Input::Hangup { by: HangupBy::Caller, cause }),
        1 => Just(Input::Digit('1')),
        1 => Just(Input::Digit('#')),
        1 => prop_oneof![Just(Input::Trying), Just(Input::Waiting), Just(Input::Dialed)],
        1 => (0u32..9).prop_map(|id| Input::Recorded { id }),
    ];
    prop_oneof![
        4 => input.prop_map(Step::Input),
        6 => any_leg_input().prop_map(Step::Second),
        6 => any::<bool>().prop_map(Step::Over),
        1 => Just(Step::Insert),
        1 => Just(Step::Stop),
        2 => (0u64..100_000).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

fn any_leg_input() -> impl Strategy<Value = LegInput> {
    let end = prop_oneof![Just(LegEnd::Remote), Just(LegEnd::NoAck), Just(LegEnd::Expired)];
    prop_oneof![
        1 => prop_oneof![Just(LegInput::Trying), Just(LegInput::Waiting), Just(LegInput::Dialed)],
        2 => any::<bool>().prop_map(|early_media| LegInput::Ringing { early_media }),
        3 => Just(LegInput::Answered),
        4 => any_failure().prop_map(LegInput::Failed),
        1 => (end, any::<Option<u8>>()).prop_map(|(by, q850)| LegInput::Ended { by, q850 }),
        3 => Just(LegInput::MediaReady),
        1 => Just(LegInput::MediaFailed("broke".to_owned())),
        1 => (0u64..40).prop_map(|s| LegInput::Silent { after: Duration::from_secs(s) }),
        2 => Just(LegInput::Digit('5')),
    ]
}

fn any_verb() -> impl Strategy<Value = Verb> {
    let seconds = || (0u64..20).prop_map(Duration::from_secs);
    let leaf = prop_oneof![
        3 => Just(Verb::Say { clip: ClipId(7), text: "Hello".to_owned() }),
        1 => seconds().prop_map(Verb::Pause),
        1 => Just(Verb::Digits("1w2".to_owned())),
        1 => Just(Verb::Hangup),
        1 => seconds().prop_map(|max| Verb::Record(Record {
            beep: true, max, end_silence: None, finish_keys: "#".to_owned(),
        })),
        4 => (0usize..3, seconds(), seconds()).prop_map(|(attempts, ring_timeout, max_duration)| {
            Verb::Dial(Box::new(Dial {
                to: "somebody".to_owned(),
                route: RouteId(1),
                attempts: vec![attempt("t"); attempts],
                ring_timeout,
                max_duration,
                ringback: Some(ClipId(3)),
            }))
        }),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let flow = prop::collection::vec(inner, 0..3);
        (flow.clone(), flow.clone(), flow, 1usize..4, 1u32..3).prop_map(
            |(prompts, one, otherwise, most, tries)| {
                Verb::Gather(Box::new(Gather {
                    prompts,
                    digits: 1..=most,
                    finish: Some('#'),
                    timeout: Duration::from_secs(5),
                    between: Duration::from_secs(2),
                    tries,
                    branches: vec![("1".to_owned(), one)],
                    otherwise,
                }))
            },
        )
    })
}

/// The id that the sound, recording or second leg started last has.
fn last(run: &Run, id: impl Fn(&Output) -> Option<u32>) -> Option<u32> {
    run.outputs.iter().rev().find_map(id)
}

fn sound(output: &Output) -> Option<u32> {
    match output {
        Output::Play { id, .. } | Output::Pause { id, .. } | Output::Digits { id, .. } => Some(*id),
        _ => None,
    }
}

fn recording(output: &Output) -> Option<u32> {
    if let Output::Record { id, .. } = output { Some(*id) } else { None }
}

fn leg(output: &Output) -> Option<u32> {
    if let Output::DialSecond { n, .. } = output { Some(*n) } else { None }
}

impl Run {
    fn step(&mut self, step: Step) {
        match step {
            Step::Input(input) => self.input(input),
            Step::Second(what) => {
                let n = last(self, leg).unwrap_or_default();
                self.input(Input::Second { n, what });
            }
            Step::Over(true) => {
                let id = last(self, sound).unwrap_or_default();
                self.input(Input::Played { id, whole: true });
            }
            Step::Over(false) => {
                let id = last(self, recording).unwrap_or_default();
                self.input(Input::Recorded { id });
            }
            Step::Insert => {
                let _ = self.call.insert(Verb::Digits("9".to_owned()), self.now);
                self.drain();
            }
            Step::Stop => {
                let _ = self.call.stop(self.now);
                self.drain();
            }
            Step::Wait(length) => self.wait(length),
        }
    }

    fn count(&self, is: impl Fn(&Output) -> bool) -> usize {
        self.outputs.iter().filter(|output| is(output)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn whatever_happens_the_call_ends_once_and_for_good(
        steps in prop::collection::vec(any_step(), 0..60),
        flow in prop::collection::vec(any_verb(), 0..6),
        attempts in 0usize..4,
        answered in any::<bool>(),
        hold_after_flow in any::<bool>(),
    ) {
        let attempts = vec![attempt("t"); attempts];
        let mut run = Run::new(Spec { hold_after_flow, ..Spec::new(flow, attempts) });
        let mut steps = steps;
        if answered {
            steps.splice(0..0, [Step::Input(Input::Answered), Step::Input(Input::MediaReady)]);
        }
        // Whether the first leg, or the second one placed last, may have rung anybody.
        let (mut rang, mut second_rang) = (false, None);
        for step in steps {
            let dials = run.count(|output| matches!(output, Output::Dial { .. }));
            let second = last(&run, leg);
            match &step {
                Step::Input(input) => {
                    rang |= matches!(input, Input::Ringing { .. } | Input::Answered)
                        || matches!(input, Input::LegFailed(failure) if failure.provisional);
                }
                Step::Second(LegInput::Ringing { .. } | LegInput::Answered) => second_rang = second,
                Step::Second(LegInput::Failed(failure)) if failure.provisional => second_rang = second,
                _ => {}
            }
            let tells = run.outputs.len();
            run.step(step);
            let after = run.count(|output| matches!(output, Output::Dial { .. }));
            prop_assert!(after == dials || !rang, "dialled after ringing:\n{}", run.told());
            // A further attempt of the same dial follows only where nobody can have rung.
            let again = run.outputs[tells..].iter().any(|output| {
                matches!(output, Output::DialSecond { attempt, .. } if *attempt > 0)
            });
            prop_assert!(!again || second.is_none() || second_rang != second, "second:\n{}", run.told());
        }
        run.input(api_hangup());
        run.wait(Duration::from_secs(10));

        prop_assert_eq!(run.count(|output| matches!(output, Output::Finished(_))), 1, "{}", run.told());
        prop_assert!(matches!(run.outputs.last(), Some(Output::Finished(_))));
        prop_assert_eq!(run.call.poll_timeout(), None);
        // Each dial is told to have ended, once.
        let dialled = run.count(|output| matches!(output, Output::Progress(Progress::Dialing { .. })));
        let ended = run.count(|output| matches!(output, Output::Progress(Progress::Dialed { .. })));
        prop_assert_eq!(dialled, ended, "{}", run.told());

        let states: Vec<State> = run.outputs.iter().filter_map(|output| match output {
            Output::State { state } => Some(*state),
            _ => None,
        }).collect();
        prop_assert!(states.windows(2).all(|pair| pair[0].rank() < pair[1].rank()), "{:?}", states);
        let Some(outcome) = run.outcome() else { return Ok(()) };
        prop_assert_eq!(states.last(), Some(&outcome.state));
        prop_assert!(outcome.state.is_final());
    }
}
