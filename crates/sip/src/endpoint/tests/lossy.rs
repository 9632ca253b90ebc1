//! Whole calls through a network that loses, doubles, delays, reorders and goes dark: all ends come to rest and agree
//! on what happened. Then the same with one part of the stack broken at a time: somebody must notice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{By, Config, Event, FailureKind, LegId};
use super::network::Pair;
use crate::digest::{Algorithm, Credentials, Known, Server};
use crate::sabotage::{Part, sabotage};
use crate::{Name, Refresher, Reliable, SessionTimer, Transport};

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// Ringing, an answer or a refusal, hang-ups from both sides; digest.
    Plain,
    /// The same over TCP, in pieces.
    Stream,
    /// Two phones ring, both may answer.
    Forked,
    /// 18x are acknowledged.
    Reliable,
    /// Both sides offer anew and send INFO, often at the same moment; some users never answer an offer.
    Reoffers,
    /// Session timers, too short at first.
    Timers,
    /// The network dies.
    Dark,
    /// Long ringing, late hang-ups.
    Slow,
}

const KINDS: [Kind; 8] = [
    Kind::Plain,
    Kind::Stream,
    Kind::Forked,
    Kind::Reliable,
    Kind::Reoffers,
    Kind::Timers,
    Kind::Dark,
    Kind::Slow,
];

/// Seeds of each kind: 10,000 in all.
const SEEDS: u64 = 1_250;

/// What a user will do to a leg.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Ring(u16),
    Accept,
    Reject,
    HangUp,
    Reinvite,
    Update,
    Info,
}

/// What one side learnt of the call.
#[derive(Default, Debug)]
struct Story {
    legs: usize,
    ends: usize,
    answered: bool,
    acked: Option<Instant>,
    failed: Option<FailureKind>,
    ended: Option<(By, Instant)>,
    rang: Option<Instant>,
    hung_up: Option<Instant>,
    /// 18x that are to be acknowledged, and those that were.
    reliable_rings: usize,
    /// Whether the first 18x brought an answer, which a 2xx may not overtake.
    described: bool,
    ringing: usize,
    pracked: usize,
    offers: usize,
    reoffered: Vec<Result<(), u16>>,
    /// What it said last of its session, and what the other side did.
    local: String,
    remote: String,
    offering: String,
    said: usize,
    infos: Vec<u32>,
    timed: bool,
}

struct Scene {
    kind: Kind,
    pair: Pair,
    agenda: BTreeMap<(Instant, u64), (usize, LegId, Action)>,
    planned: u64,
    stories: Vec<Story>,
    digest: Option<Server>,
    start: Instant,
    /// Whether 18x are acknowledged.
    reliable: bool,
    /// Whether users leave offers unanswered.
    deaf: bool,
    faults: Vec<String>,
}

impl Scene {
    fn new(kind: Kind, seed: u64) -> Self {
        let (transport, bad_percent) =
            if kind == Kind::Stream { (Transport::Tcp, 0) } else { (Transport::Udp, 20) };
        let has_timer = match kind {
            Kind::Timers => true,
            Kind::Dark => seed.is_multiple_of(2),
            _ => false,
        };
        let reliable =
            kind == Kind::Reliable || (matches!(kind, Kind::Dark | Kind::Forked) && seed.is_multiple_of(3));
        let refresher = if seed.is_multiple_of(4) { Refresher::Uac } else { Refresher::Uas };
        let timer = |expires_s, min_se_s| SessionTimer { expires_s, min_se_s, refresher };
        let callee = Config {
            reliable: if reliable { Reliable::Supported } else { Reliable::Off },
            session_timer: has_timer.then_some(timer(200, if seed.is_multiple_of(3) { 120 } else { 90 })),
            ..Config::default()
        };
        let mut configs = vec![Config::default(), callee.clone()];
        if kind == Kind::Forked {
            configs.push(callee);
        }
        let sides = configs.len();
        let mut pair = Pair::new(seed, transport, bad_percent, configs);
        let start = pair.now;
        if kind == Kind::Dark {
            pair.dark_at = Some(start + pair.random_ms(30_000));
        }
        let with_digest = matches!(kind, Kind::Plain | Kind::Stream) && pair.random(2) == 0;
        let deaf = matches!(kind, Kind::Reoffers | Kind::Dark) && pair.random(4) == 0;
        let mut scene = Self {
            kind,
            pair,
            agenda: BTreeMap::new(),
            planned: 0,
            stories: (0..sides).map(|_| Story::default()).collect(),
            digest: with_digest.then(|| Server::new([3; 32])),
            start,
            reliable,
            deaf,
            faults: Vec::new(),
        };
        let mut invite = super::invite();
        invite.path = scene.pair.path(0, 1);
        invite.route = Vec::new();
        invite.body = b"v=0.0".to_vec();
        invite.reliable = if reliable { Reliable::Supported } else { Reliable::Off };
        invite.session_timer = has_timer.then_some(timer(90, 90)).filter(|_| !seed.is_multiple_of(5));
        invite.credentials = Some(Credentials {
            username: "alice".into(),
            password: "secret".into(),
            realm: None,
            algorithm: Algorithm::Md5,
        });
        let leg = scene.pair.sides[0].invite(invite, start).unwrap();
        scene.stories[0] = Story {
            legs: 1,
            local: "v=0.0".into(),
            offering: "v=0.0".into(),
            timed: has_timer,
            ..Story::default()
        };
        let patience = match kind {
            Kind::Plain | Kind::Stream | Kind::Reliable if scene.pair.random(3) == 0 => (0, 6_000),
            Kind::Reoffers => (120_000, 10_000),
            Kind::Timers => (400_000, 300_000),
            Kind::Dark if has_timer => (900_000, 1_000),
            Kind::Slow if scene.pair.random(4) == 0 => (0, 600),
            Kind::Slow => (20_000, 60_000),
            Kind::Forked => (40_000, 20_000),
            _ => (0, 60_000),
        };
        scene.plan(patience, 0, leg, Action::HangUp);
        scene
    }

    /// Plans an action at a random time within `range` ms from `from` ms on.
    fn plan(&mut self, (from, range): (u64, u64), side: usize, leg: LegId, action: Action) {
        let at = self.pair.now + Duration::from_millis(from) + self.pair.random_ms(range);
        self.planned += 1;
        self.agenda.insert((at, self.planned), (side, leg, action));
    }

    /// Plays the call to its end; what was wrong with it, if anything was.
    fn run(mut self) -> Result<Vec<Story>, String> {
        for _step in 0..20_000 {
            for (side, event) in self.pair.events() {
                if self.pair.loud {
                    eprintln!("{:?} side {side}: {event:?}", self.pair.now - self.start);
                }
                self.on_event(side, event);
            }
            self.act();
            let limit = self.agenda.first_key_value().map(|((at, _), _)| *at);
            if !self.pair.step(limit, self.start) {
                return self.judge();
            }
            if self.pair.now - self.start > Duration::from_secs(2_000) {
                break;
            }
        }
        Err("does not come to rest".into())
    }

    /// Does what is due on the agenda.
    fn act(&mut self) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.pair.now) {
            let (side, leg, action) = entry.remove();
            let (endpoint, now) = (&mut self.pair.sides[side], self.pair.now);
            let story = &mut self.stories[side];
            let body = format!("v={side}.{}", story.said + 1);
            // The leg may be gone by now: then nothing happens.
            match action {
                Action::Ring(status) => {
                    let body = (status == 183).then(|| story.local.clone().into_bytes());
                    if endpoint.ring(leg, status, body, now).is_ok() {
                        story.described |= self.reliable && status == 183 && story.rang.is_none();
                        story.rang = Some(now);
                        story.reliable_rings += usize::from(self.reliable);
                    }
                }
                Action::Accept => {
                    let _ = endpoint.accept(leg, story.local.clone().into_bytes(), now);
                }
                Action::Reject => drop(endpoint.reject(leg, 486, &[], now)),
                Action::HangUp => {
                    story.hung_up = Some(now);
                    endpoint.hang_up(leg, None, now);
                }
                Action::Info => {
                    story.said += 1;
                    let _ = endpoint.info(leg, "text/plain", story.said.to_string().into_bytes(), now);
                }
                Action::Reinvite | Action::Update => {
                    let offered = match action {
                        Action::Update => endpoint.update(leg, body.clone().into_bytes(), now),
                        _ => endpoint.reinvite(leg, body.clone().into_bytes(), now),
                    };
                    if offered.is_ok() {
                        story.said += 1;
                        story.offers += 1;
                        story.offering = body;
                    }
                }
            }
        }
    }

    fn talk(&mut self, side: usize, leg: LegId) {
        match self.kind {
            Kind::Reoffers => {
                for action in [Action::Reinvite, Action::Update, Action::Info, Action::Info, Action::Info] {
                    self.plan((0, 3_000), side, leg, action);
                }
                self.plan((0, 20_000), side, leg, Action::Reinvite);
            }
            Kind::Dark => {
                let (action, other) = (Action::Reinvite, Action::Update);
                let action = if self.pair.random(2) == 0 { action } else { other };
                self.plan((0, 10_000), side, leg, action);
            }
            _ => {}
        }
    }

    fn on_event(&mut self, side: usize, event: Event) {
        let now = self.pair.now;
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        let story = &mut self.stories[side];
        match event {
            Event::Incoming { leg, request, path } => {
                story.legs += 1;
                story.local = format!("v={side}.0");
                story.remote = text(request.body());
                if let Some(digest) = &mut self.digest {
                    let source = path.remote.ip();
                    let ha1 = Algorithm::Md5.ha1("alice", "example.com", "secret");
                    let known = Known { algorithm: Algorithm::Md5, ha1: &ha1 };
                    let header = request.view().header(Name::ProxyAuthorization);
                    let verdict = header
                        .map(|header| digest.verify(header, "INVITE", b"", source, now, |_, _| Some(known)));
                    let Some(verdict) = verdict else {
                        let challenge = digest.challenge("example.com", Algorithm::Md5, source, now, false);
                        let headers = [("Proxy-Authenticate", challenge.as_str())];
                        self.pair.sides[side].reject(leg, 407, &headers, now).unwrap();
                        return;
                    };
                    assert!(matches!(verdict, crate::digest::Verdict::Accepted { .. }), "{verdict:?}");
                }
                self.answer_somehow(side, leg);
            }
            Event::Answered { leg, body } => {
                story.answered = true;
                story.local = story.offering.clone();
                if !body.is_empty() {
                    story.remote = text(&body);
                }
                self.talk(side, leg);
            }
            Event::Acked { leg, .. } => {
                if story.acked.is_none() {
                    if story.described && story.pracked == 0 {
                        self.faults.push("answered before the answer in a 183 was acknowledged".into());
                    }
                    self.stories[side].acked = Some(now);
                    self.talk(side, leg);
                }
            }
            Event::Pracked { .. } => story.pracked += 1,
            Event::Ringing { body, .. } => {
                story.ringing += 1;
                if !body.is_empty() {
                    story.remote = text(&body);
                }
            }
            Event::Offer { leg, body } => {
                if !self.deaf {
                    story.said += 1;
                    let answer = format!("v={side}.{}", story.said);
                    (story.local, story.remote) = (answer.clone(), text(&body));
                    let _ = self.pair.sides[side].answer_offer(leg, Ok(answer.into_bytes()), now);
                }
            }
            Event::Reoffered { result, .. } => {
                if let Ok(body) = &result {
                    (story.local, story.remote) = (story.offering.clone(), text(body));
                }
                story.reoffered.push(result.map(drop));
            }
            Event::Info { body, .. } => story.infos.push(text(&body).parse().unwrap()),
            Event::Failed { failure, .. } => {
                story.ends += 1;
                story.failed = Some(failure.kind);
            }
            Event::Ended { ended, .. } => {
                story.ends += 1;
                story.ended = Some((ended.by, now));
            }
            Event::Trying { .. } => {}
            event => panic!("{event:?}"),
        }
    }

    /// Plans what a callee does.
    fn answer_somehow(&mut self, side: usize, leg: LegId) {
        let ringing = if self.reliable { 183 } else { 180 };
        let (answer, talk) = match self.kind {
            Kind::Reoffers | Kind::Timers => ((1_000, 3_000), (1_000_000, 1)),
            Kind::Forked => ((3_000, 5_000), (60_000, 20_000)),
            Kind::Dark => ((2_000, 20_000), (1_000_000, 1)),
            Kind::Slow => ((35_000, 30_000), (100_000, 20_000)),
            Kind::Reliable => ((0, 8_000), (40_000, 20_000)),
            _ => ((0, 8_000), (0, 30_000)),
        };
        self.plan((0, 3_000), side, leg, Action::Ring(ringing));
        if self.reliable {
            self.plan((0, 3_000), side, leg, Action::Ring(180));
        }
        // Of two phones one at least answers.
        let refuses = match self.kind {
            Kind::Reoffers | Kind::Timers | Kind::Forked => false,
            Kind::Dark => self.pair.random(3) == 0,
            _ => self.pair.random(3) == 0,
        };
        let is_patient = self.kind == Kind::Dark && self.reliable && self.pair.random(2) == 0;
        match (refuses, is_patient) {
            (_, true) => self.plan((200_000, 1_000), side, leg, Action::Reject),
            (true, _) => self.plan(answer, side, leg, Action::Reject),
            (false, _) => self.plan(answer, side, leg, Action::Accept),
        }
        self.plan(talk, side, leg, Action::HangUp);
    }

    /// Whether all ends came to rest and agree.
    fn judge(mut self) -> Result<Vec<Story>, String> {
        let stats: Vec<_> = self.pair.sides.iter().map(|side| side.stats()).collect();
        let mut faults = std::mem::take(&mut self.faults);
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        expect(stats.iter().all(|s| (s.legs, s.transactions) == (0, 0)), "a leg or transaction is left");
        let (caller, callees) = self.stories.split_first().unwrap();
        for story in &self.stories {
            expect(story.ends == story.legs, "one end a leg");
            expect(story.infos.is_sorted(), "INFO out of order");
        }
        if self.kind == Kind::Dark {
            for story in &self.stories {
                let by = story.ended.map(|(by, _)| by);
                let dark = self.pair.dark_at.unwrap();
                let late = story.ended.is_some_and(|(_, at)| at > dark + Duration::from_secs(400));
                expect(!(caller.timed && late && by == Some(By::Local)), "a dead session goes on");
                let unheard = story.rang.is_some_and(|at| self.reliable && at > dark);
                expect(!(unheard && story.acked.is_none() && late), "18x that nobody acknowledges");
                let gave_up = story.ended.zip(story.rang).is_some_and(|((by, at), rang)| {
                    by == By::Local && rang > dark && at > rang + Duration::from_secs(100)
                });
                expect(!(self.reliable && gave_up), "a reliable 18x into the dark");
            }
        } else {
            // A phone whose answer came too late is left alone by the caller.
            let judged = if self.kind == Kind::Forked { &stats[..1] } else { &stats[..] };
            expect(judged.iter().all(|s| s.timeouts == 0), "a message got no answer");
            for story in &self.stories {
                let lost = story.ended.is_some_and(|(by, _)| matches!(by, By::Lost | By::NoAck));
                // Nobody acknowledges what another phone's answer overtook: a proxy would have cancelled it.
                let overtaken = self.kind == Kind::Forked && story.acked.is_none() && caller.answered;
                let lost = lost && !overtaken;
                expect(!lost, "a call was given up");
                let kind = story.failed;
                expect(!matches!(kind, Some(FailureKind::Timeout | FailureKind::Transport)), "no answer");
            }
            Self::judge_ends(caller, callees, &mut expect);
        }
        if self.reliable && self.kind != Kind::Dark && callees.len() == 1 {
            let callee = &callees[0];
            expect(caller.ringing <= callee.reliable_rings, "an 18x was told twice");
            expect(callee.pracked <= callee.reliable_rings, "more PRACKs than 18x");
            expect(!caller.answered || callee.pracked > 0 || !callee.described, "no PRACK");
        }
        if matches!(self.kind, Kind::Reoffers | Kind::Timers) && caller.answered {
            for story in &self.stories {
                expect(story.offers == story.reoffered.len(), "an offer without result");
                expect(self.deaf || story.reoffered.iter().all(Result::is_ok), "an offer was refused");
            }
            let agree = caller.local == callees[0].remote && caller.remote == callees[0].local;
            expect(self.deaf || agree, "they agreed on different things");
        }
        if faults.is_empty() { Ok(self.stories) } else { Err(format!("{faults:?} {:#?}", self.stories)) }
    }

    fn judge_ends(caller: &Story, callees: &[Story], expect: &mut impl FnMut(bool, &str)) {
        let acked: Vec<&Story> = callees.iter().filter(|callee| callee.acked.is_some()).collect();
        let canceled = caller.failed == Some(FailureKind::Canceled);
        let refused = caller.failed == Some(FailureKind::Status);
        // A BYE that overtakes the ACK stands for it.
        let overtaken = |callee: &Story| callee.ended.is_some_and(|(by, _)| by == By::Remote);
        let heard = !acked.is_empty() || callees.iter().any(overtaken);
        expect(!caller.answered || heard, "answered, but nobody was acknowledged");
        expect(acked.is_empty() || caller.answered || canceled, "acknowledged, but not answered");
        expect(!refused || acked.is_empty(), "refused, and acknowledged");
        let refusals = callees.iter().filter(|callee| callee.acked.is_none() && callee.legs > 0);
        expect(!refused || refusals.count() > 0, "refused, but nobody did");
        let any_canceled = callees.iter().any(|c| c.ended.is_some_and(|(by, _)| by == By::Canceled));
        expect(!any_canceled || canceled, "cancelled, but nobody did");
        expect(
            !refused || callees.iter().all(|c| c.ended.is_none_or(|(by, _)| by == By::Local)),
            "refused, and ended otherwise",
        );
        if let (true, [callee]) = (caller.answered, callees)
            && let (Some((ours, at)), Some((theirs, then))) = (caller.ended, callee.ended)
        {
            let apart = if at > then { at - then } else { then - at };
            let both = ours == By::Local && theirs == By::Local && apart < Duration::from_secs(20);
            let one = matches!((ours, theirs), (By::Local, By::Remote) | (By::Remote, By::Local));
            expect(one || both, "they differ on who hung up");
        }
        if acked.len() > 1 {
            let dropped = acked.iter().any(|callee| {
                callee
                    .ended
                    .zip(callee.acked)
                    .is_some_and(|((by, at), acked)| by == By::Remote && at < acked + Duration::from_secs(15))
            });
            expect(dropped, "both phones of a fork stay on the line");
        }
        if canceled {
            let talked = acked
                .iter()
                .any(|callee| callee.ended.is_some_and(|(by, _)| by != By::Remote && by != By::Local));
            expect(!talked, "a cancelled call was answered and not hung up");
            for callee in acked {
                let soon = callee
                    .ended
                    .zip(callee.acked)
                    .is_some_and(|((_, at), acked)| at < acked + Duration::from_secs(15));
                expect(soon, "a cancelled call lives on");
            }
            let waited = |callee: &Story| {
                let end = callee.acked.or(callee.ended.map(|(_, at)| at));
                end.zip(caller.hung_up).is_some_and(|(end, hung_up)| end > hung_up + Duration::from_secs(20))
            };
            expect(!callees.iter().any(waited), "a cancelled call went on ringing");
        }
    }
}

/// Runs the seeds of one kind; all kinds of ends must have been played.
fn play(kind: Kind) {
    let (mut answered, mut failed) = (0, 0);
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| Scene::new(kind, seed).run());
        let stories = match outcome.unwrap_or_else(|_| Err("it panicked".into())) {
            Ok(stories) => stories,
            Err(fault) => panic!(
                "{kind:?} seed {seed}: {fault}\nreplay it, every message shown: \
                 SEED={kind:?}:{seed} cargo test -p sip --lib one_seed -- --nocapture"
            ),
        };
        answered += usize::from(stories[0].answered);
        failed += usize::from(stories[0].failed.is_some());
    }
    assert!(answered > 100, "{kind:?}: {answered} answered");
    let may_fail = !matches!(kind, Kind::Reoffers | Kind::Timers | Kind::Forked);
    assert!(!may_fail || failed > 50, "{kind:?}: {failed} failed");
}

macro_rules! plays {
    ($($name:ident $kind:expr;)*) => { $(#[test] fn $name() { play($kind); })* };
}

plays! {
    plain_calls Kind::Plain;
    calls_over_a_stream Kind::Stream;
    forked_calls Kind::Forked;
    reliable_ringing Kind::Reliable;
    offers_that_meet Kind::Reoffers;
    session_timers Kind::Timers;
    the_network_goes_dark Kind::Dark;
    slow_calls Kind::Slow;
}

/// Replays the seed that `SEED` names, such as `Forked:17`, with every message and event.
#[test]
fn one_seed() {
    let Ok(wanted) = std::env::var("SEED") else { return };
    let (kind, seed) = wanted.split_once(':').expect("SEED is Kind:number");
    let kind = KINDS.into_iter().find(|known| format!("{known:?}") == kind).expect("a known kind");
    let mut scene = Scene::new(kind, seed.parse().expect("a number"));
    scene.pair.loud = true;
    let outcome = scene.run();
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

/// Each part, and the kind of call in which its loss shows.
const PARTS: &[(Part, Kind)] = &[
    (Part::TimerA, Kind::Plain),
    (Part::TimerB, Kind::Dark),
    (Part::TimerD, Kind::Plain),
    (Part::TimerE, Kind::Plain),
    (Part::TimerF, Kind::Dark),
    (Part::TimerG, Kind::Plain),
    (Part::TimerH, Kind::Dark),
    (Part::TimerI, Kind::Plain),
    (Part::TimerJ, Kind::Plain),
    (Part::TimerK, Kind::Plain),
    (Part::TimerL, Kind::Plain),
    (Part::TimerM, Kind::Plain),
    (Part::Proceeding, Kind::Slow),
    (Part::AnswerAgain, Kind::Plain),
    (Part::AckRefusalAgain, Kind::Plain),
    (Part::AckAnswerAgain, Kind::Plain),
    (Part::AckStopsRefusal, Kind::Plain),
    (Part::AckStopsAnswer, Kind::Timers),
    (Part::AnswerRepeats, Kind::Plain),
    (Part::AnswerGivesUp, Kind::Dark),
    (Part::CancelWaits, Kind::Slow),
    (Part::CancelGivesUp, Kind::Dark),
    (Part::CrossingBye, Kind::Plain),
    (Part::ForkBye, Kind::Forked),
    (Part::ByeWaits, Kind::Plain),
    (Part::Prack, Kind::Reliable),
    (Part::PrackOnce, Kind::Reliable),
    (Part::ReliableRepeats, Kind::Reliable),
    (Part::ReliableGivesUp, Kind::Dark),
    (Part::PrackStops, Kind::Reliable),
    (Part::AnswerHeld, Kind::Reliable),
    (Part::Glare, Kind::Reoffers),
    (Part::GlareRetry, Kind::Reoffers),
    (Part::TooEarlyRetry, Kind::Reoffers),
    (Part::ReinviteGivesUp, Kind::Reoffers),
    (Part::ReinviteLeft, Kind::Dark),
    (Part::CSeqOrder, Kind::Reoffers),
    (Part::Refresh, Kind::Timers),
    (Part::Refreshed, Kind::Timers),
    (Part::SessionExpires, Kind::Dark),
    (Part::MinSe, Kind::Timers),
];

#[test]
fn each_part_is_missed_when_it_is_broken() {
    let mut unnoticed = Vec::new();
    for (part, kind) in PARTS {
        sabotage(Some(*part));
        let fails = |seed| !matches!(std::panic::catch_unwind(|| Scene::new(*kind, seed).run()), Ok(Ok(_)));
        if !(0..SEEDS).any(fails) {
            unnoticed.push(part);
        }
        sabotage(None);
    }
    assert!(unnoticed.is_empty(), "nobody notices when these are broken: {unnoticed:?}");
}
