//! Whatever happens, in whatever order: the call ends once, no leg is forgotten, and nobody is rung twice.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::flow::{Dial, Gather, Record, Round, Then};

#[derive(Clone, Debug)]
enum Step {
    /// Something happens to a leg: the one so many before the one placed last.
    Leg(u32, LegInput),
    Hangup(HangupReason),
    Played(u32, bool),
    /// The sound or recording started last is over.
    Over(bool),
    Insert,
    Stop,
    /// The leg so many before the one placed last has the other one called on.
    Transfer(u32, Dial),
    GiveAway(u32),
    TakeOver(u32),
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
    let reason = prop_oneof![Just(HangupReason::Api), Just(HangupReason::Shutdown)];
    let ms = |range| Strategy::prop_map(range, Duration::from_millis);
    prop_oneof![
        24 => (back(), any_leg_input()).prop_map(|(back, what)| Step::Leg(back, what)),
        1 => reason.prop_map(Step::Hangup),
        2 => (0u32..4, any::<bool>()).prop_map(|(id, whole)| Step::Played(id, whole)),
        8 => any::<bool>().prop_map(Step::Over),
        1 => Just(Step::Insert),
        1 => Just(Step::Stop),
        4 => (back(), any_dial()).prop_map(|(back, dial)| Step::Transfer(back, dial)),
        1 => back().prop_map(Step::GiveAway),
        2 => back().prop_map(Step::TakeOver),
        2 => ms(0u64..100_000).prop_map(Step::Wait),
    ]
}

/// How many legs were placed after the one that is meant: mostly none.
fn back() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(0), 4 => Just(1), 2 => Just(2), 1 => 0u32..6]
}

fn any_dial() -> impl Strategy<Value = Dial> {
    let seconds = || (0u64..20).prop_map(Duration::from_secs);
    (any_route(), seconds()).prop_map(|(route, max_duration)| Dial {
        to: "somebody".to_owned(),
        route,
        max_duration,
        ringback: Some(ClipId(3)),
        is_final: false,
    })
}

fn any_route() -> impl Strategy<Value = Route> {
    let then = prop_oneof![Just(Then::IfUnrung), Just(Then::Always)];
    let round =
        (prop_oneof![3 => 1usize..2, 1 => 0usize..4], 0u64..90, then).prop_map(|(attempts, s, then)| Round {
            attempts: vec![attempt("t"); attempts],
            ring_timeout: Duration::from_secs(s),
            then,
        });
    let rounds = prop::collection::vec(round, 0..4);
    rounds.prop_map(|rounds| Route { id: RouteId(1), rounds })
}

fn any_leg_input() -> impl Strategy<Value = LegInput> {
    let end =
        prop_oneof![Just(LegEnd::Remote), Just(LegEnd::Canceled), Just(LegEnd::NoAck), Just(LegEnd::Expired)];
    prop_oneof![
        1 => prop_oneof![Just(LegInput::Trying), Just(LegInput::Waiting), Just(LegInput::Dialed)],
        2 => any::<bool>().prop_map(|early_media| LegInput::Ringing { early_media }),
        6 => Just(LegInput::Answered),
        3 => any_failure().prop_map(LegInput::Failed),
        1 => (end, any::<Option<u8>>()).prop_map(|(by, q850)| LegInput::Ended { by, q850 }),
        6 => Just(LegInput::MediaReady),
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
        6 => any_dial().prop_map(|dial| Verb::Dial(Box::new(dial))),
        1 => Just(Verb::Answer),
        1 => Just(Verb::Reject(486)),
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

/// The id that the sound or recording started last has.
fn last(run: &Run, id: impl Fn(&Output) -> Option<u32>) -> u32 {
    run.outputs.iter().rev().find_map(id).unwrap_or_default()
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

/// Follows the legs of a call and what has to hold of them.
#[derive(Default)]
struct Judge {
    /// How many outputs it has seen.
    seen: usize,
    /// Legs that are neither hung up, failed, ended nor given away; each with the search it was placed by.
    alive: HashMap<u32, u32>,
    /// The number the next leg has at least.
    next: u32,
    pairs: HashSet<(u32, u32)>,
    /// The current search for somebody who answers, and those that somebody answered, or rang in.
    search: u32,
    answered: HashSet<u32>,
    rang: HashSet<u32>,
    /// Whether all routes have it that nobody is called once somebody was rung.
    is_strict: bool,
}

impl Judge {
    fn over(&mut self, n: u32) -> bool {
        self.pairs.retain(|(one, other)| *one != n && *other != n);
        self.alive.remove(&n).is_some()
    }

    fn told(&mut self, n: u32, what: &LegInput) {
        let Some(search) = self.alive.get(&n).copied() else { return };
        match what {
            LegInput::Answered => drop(self.answered.insert(search)),
            LegInput::Ringing { .. } => drop(self.rang.insert(search)),
            LegInput::Failed(failure) => {
                if failure.provisional {
                    self.rang.insert(search);
                }
                self.over(n);
            }
            LegInput::Ended { .. } => drop(self.over(n)),
            _ => {}
        }
    }

    fn look(&mut self, run: &Run) -> Result<(), TestCaseError> {
        for output in run.outputs.iter().skip(self.seen) {
            self.judge(output, &run.told())?;
        }
        self.seen = run.outputs.len();
        Ok(())
    }

    fn judge(&mut self, output: &Output, told: &str) -> Result<(), TestCaseError> {
        let is_joined =
            |judge: &Judge, n: &u32| judge.pairs.iter().any(|(one, other)| one == n || other == n);
        match output {
            Output::Progress(Progress::Dialing { .. } | Progress::Transferring { .. }) => self.search += 1,
            Output::Dial { n, .. } => {
                prop_assert!(!self.answered.contains(&self.search), "dialled after the answer:\n{}", told);
                let is_again = self.is_strict && self.rang.contains(&self.search);
                prop_assert!(!is_again, "dialled after ringing:\n{}", told);
                prop_assert!(self.alive.insert(*n, self.search).is_none(), "leg {} twice:\n{}", n, told);
                self.next = self.next.max(n + 1);
            }
            Output::HangUp { n, .. } | Output::Reject { n, .. } => {
                prop_assert!(self.over(*n), "leg {} was over:\n{}", n, told);
            }
            Output::Join { one, other } => {
                let are_alive = self.alive.contains_key(one) && self.alive.contains_key(other);
                prop_assert!(are_alive, "joined with nobody:\n{}", told);
                prop_assert!(!is_joined(self, one) && !is_joined(self, other), "joined twice:\n{}", told);
                self.pairs.insert((*one, *other));
            }
            Output::Part { one, other } => {
                prop_assert!(self.pairs.remove(&(*one, *other)), "not joined:\n{}", told);
            }
            Output::Answer { n } | Output::Ring { n, .. } | Output::TransferProgress { n, .. } => {
                prop_assert!(self.alive.contains_key(n), "told nobody:\n{}", told);
            }
            Output::Finished(_) => prop_assert!(self.alive.is_empty(), "{:?} left:\n{}", self.alive, told),
            _ => {}
        }
        Ok(())
    }
}

impl Run {
    fn step(&mut self, step: Step, judge: &mut Judge) {
        let leg = |back: u32| judge.next.saturating_sub(1 + back);
        match step {
            Step::Leg(back, what) => {
                let n = leg(back);
                judge.told(n, &what);
                self.leg(n, what);
            }
            Step::Hangup(cause) => self.input(Input::Hangup { by: HangupBy::Caller, cause }),
            Step::Played(id, whole) => self.input(Input::Played { id, whole }),
            Step::Over(true) => self.input(Input::Played { id: last(self, sound), whole: true }),
            Step::Over(false) => self.input(Input::Recorded { id: last(self, recording) }),
            Step::Insert => drop(self.call.insert(Verb::Digits("9".to_owned()), self.now)),
            Step::Stop => drop(self.call.stop(self.now)),
            Step::Transfer(back, dial) => drop(self.call.transfer(leg(back), dial, self.now)),
            Step::GiveAway(back) => {
                if let Ok(given) = self.call.give_away(leg(back), self.now) {
                    judge.over(given);
                }
            }
            Step::TakeOver(back) => {
                if let Ok(taken) = self.call.take_over(leg(back)) {
                    judge.next = taken + 1;
                    judge.alive.insert(taken, u32::MAX);
                }
            }
            Step::Wait(length) => self.wait(length),
        }
        self.drain();
    }

    fn count(&self, is: impl Fn(&Output) -> bool) -> usize {
        self.outputs.iter().filter(|output| is(output)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn whatever_happens_the_call_ends_once_and_for_good(
        steps in prop::collection::vec(any_step(), 0..60),
        mut flow in prop::collection::vec(any_verb(), 0..6),
        mut route in any_route(),
        is_inbound in any::<bool>(),
        joins in any::<bool>(),
        is_strict in any::<bool>(),
        hold_after_flow in any::<bool>(),
    ) {
        let first = Dial { to: "them".to_owned(), route: route.clone(), max_duration: Duration::MAX, ringback: None, is_final: false };
        if joins {
            flow.insert(0, Verb::Dial(Box::new(first)));
        }
        if is_strict {
            flow.iter_mut().for_each(make_strict);
            strictly(&mut route);
        }
        let spec = Spec { hold_after_flow, ..Spec::new(flow, route) };
        let mut judge = Judge { is_strict, ..Judge::default() };
        if is_inbound {
            judge.alive.insert(0, u32::MAX);
            judge.next = 1;
        }
        let mut run = if is_inbound { Run::inbound(spec) } else { Run::new(spec) };
        judge.look(&run)?;
        let mut steps = steps;
        if joins {
            // Mostly so far that there is something to transfer.
            let up = |n| [Step::Leg(n, LegInput::Answered), Step::Leg(n, LegInput::MediaReady)];
            let first = if is_inbound { vec![] } else { up(0).to_vec() };
            steps.splice(0..0, first.into_iter().chain(up(0)).chain(up(1)));
        }
        for mut step in steps {
            if let (true, Step::Transfer(_, dial)) = (is_strict, &mut step) {
                strictly(&mut dial.route);
            }
            run.step(step, &mut judge);
            judge.look(&run)?;
        }
        run.input(api_hangup());
        run.wait(Duration::from_secs(10));
        judge.look(&run)?;

        prop_assert_eq!(run.count(|output| matches!(output, Output::Finished(_))), 1, "{}", run.told());
        prop_assert!(matches!(run.outputs.last(), Some(Output::Finished(_))));
        prop_assert_eq!(run.call.poll_timeout(), None);
        // Each dial is told to have ended, once, and so is each transfer unless the call ends first.
        let told = |is: fn(&Progress) -> bool| {
            run.count(|output| matches!(output, Output::Progress(progress) if is(progress)))
        };
        let dialled = told(|progress| matches!(progress, Progress::Dialing { .. }));
        let ended = told(|progress| matches!(progress, Progress::Dialed { .. }));
        prop_assert_eq!(dialled, ended, "{}", run.told());

        let states: Vec<State> = run.outputs.iter().filter_map(|output| match output {
            Output::State { state } => Some(*state),
            _ => None,
        }).collect();
        prop_assert!(states.windows(2).all(|pair| pair[0].rank() < pair[1].rank()), "{:?}", states);
        let Some(outcome) = run.outcome() else { return Ok(()) };
        prop_assert_eq!(states.last(), Some(&outcome.state));
        prop_assert!(outcome.state.is_final());
        prop_assert!(outcome.state != State::Completed || outcome.answered.is_some(), "{}", run.told());
    }
}

fn strictly(route: &mut Route) {
    route.rounds.iter_mut().for_each(|round| round.then = Then::IfUnrung);
}

fn make_strict(verb: &mut Verb) {
    match verb {
        Verb::Dial(dial) => strictly(&mut dial.route),
        Verb::Gather(gather) => {
            gather.branches.iter_mut().flat_map(|(_, flow)| flow).for_each(make_strict);
            gather.otherwise.iter_mut().for_each(make_strict);
        }
        _ => {}
    }
}
