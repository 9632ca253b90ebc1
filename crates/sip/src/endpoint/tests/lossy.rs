use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{By, Ended, Event, FailureKind, LegId};
use super::network::Pair;
use crate::digest::{Algorithm, Credentials, Server};
use crate::{Name, Transport};

/// What a user will do to a leg.
enum Action {
    Ring,
    Accept,
    Reject,
    HangUp,
}

/// What one side learnt of the call.
#[derive(Default, Debug)]
struct Story {
    legs: usize,
    ends: usize,
    answered: bool,
    acked: bool,
    refused: bool,
    canceled: bool,
    gave_up: bool,
}

/// One call through a network that loses, doubles, delays and reorders, with users who act at random times.
struct Scene {
    pair: Pair,
    agenda: BTreeMap<(Instant, u64), (usize, LegId, Action)>,
    planned: u64,
    stories: [Story; 2],
    digest: Option<Server>,
}

impl Scene {
    fn plan(&mut self, in_ms: u64, side: usize, leg: LegId, action: Action) {
        let at = self.pair.now + self.pair.random_ms(in_ms);
        self.planned += 1;
        self.agenda.insert((at, self.planned), (side, leg, action));
    }

    fn run(seed: u64) -> [Story; 2] {
        let (transport, bad_percent) =
            if seed.is_multiple_of(5) { (Transport::Tcp, 0) } else { (Transport::Udp, 20) };
        let mut pair = Pair::new(seed, transport, bad_percent);
        let with_digest = pair.random(2) == 0;
        let path = pair.path_from(0);
        let credentials = Credentials {
            username: "alice".into(),
            password: "secret".into(),
            realm: None,
            algorithm: Algorithm::Md5,
        };
        let mut invite = super::invite();
        invite.path = path;
        invite.route = Vec::new();
        invite.credentials = Some(credentials);
        let leg = pair.sides[0].invite(invite, pair.now).unwrap();
        let digest = with_digest.then(|| Server::new([3; 32], "example.com", Algorithm::Md5));
        let stories = [Story { legs: 1, ..Story::default() }, Story::default()];
        let mut scene = Self { pair, agenda: BTreeMap::new(), planned: 0, stories, digest };
        // Some callers are impatient; all end the call one day.
        let patience_ms = if scene.pair.random(3) == 0 { 6_000 } else { 60_000 };
        scene.plan(patience_ms, 0, leg, Action::HangUp);
        let start = scene.pair.now;
        loop {
            for (side, event) in scene.pair.events() {
                scene.on_event(side, event);
            }
            scene.act();
            let limit = scene.agenda.first_key_value().map(|((at, _), _)| *at);
            if !scene.pair.step(limit) {
                break;
            }
            assert!(scene.pair.now - start < Duration::from_secs(600), "does not come to rest");
        }
        assert!(
            scene.is_idle(),
            "legs or transactions left: {:?}",
            scene.pair.sides.each_ref().map(|s| s.stats())
        );
        scene.stories
    }

    fn is_idle(&self) -> bool {
        self.pair.sides.iter().all(|side| (side.stats().legs, side.stats().transactions) == (0, 0))
    }

    /// Does what is due on the agenda.
    fn act(&mut self) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.pair.now) {
            let (side, leg, action) = entry.remove();
            let (endpoint, now) = (&mut self.pair.sides[side], self.pair.now);
            // The leg may be gone by now: then nothing happens.
            let _ = match action {
                Action::Ring => endpoint.ring(leg, 180, None, now),
                Action::Accept => endpoint.accept(leg, b"v=0\r\n".to_vec(), now),
                Action::Reject => endpoint.reject(leg, 486, &[], now),
                Action::HangUp => {
                    endpoint.hang_up(leg, None, now);
                    Ok(())
                }
            };
        }
    }

    fn on_event(&mut self, side: usize, event: Event) {
        match event {
            Event::Incoming { leg, request, path } => {
                self.stories[side].legs += 1;
                if let Some(digest) = &mut self.digest {
                    let (source, now) = (path.remote.ip(), self.pair.now);
                    let ha1 = |_: &str| Some(Algorithm::Md5.ha1("alice", "example.com", "secret"));
                    let header = request.view().header(Name::ProxyAuthorization);
                    let verdict = header.map(|header| digest.verify(header, "INVITE", b"", source, now, ha1));
                    let Some(verdict) = verdict else {
                        let challenge = digest.challenge(source, now, false);
                        let headers = [("Proxy-Authenticate", challenge.as_str())];
                        self.pair.sides[side].reject(leg, 407, &headers, now).unwrap();
                        return;
                    };
                    assert!(matches!(verdict, crate::digest::Verdict::Accepted { .. }), "{verdict:?}");
                }
                self.plan(3_000, side, leg, Action::Ring);
                match self.pair.random(3) {
                    0 => self.plan(8_000, side, leg, Action::Reject),
                    _ => self.plan(8_000, side, leg, Action::Accept),
                }
                self.plan(30_000, side, leg, Action::HangUp);
            }
            Event::Answered { .. } => self.stories[side].answered = true,
            Event::Acked { .. } => self.stories[side].acked = true,
            Event::Failed { failure, .. } => {
                let story = &mut self.stories[side];
                story.ends += 1;
                story.canceled = failure.kind == FailureKind::Canceled;
                story.refused = failure.kind == FailureKind::Status;
                assert_ne!(failure.kind, FailureKind::Transport);
            }
            Event::Ended { ended: Ended { by, .. }, .. } => {
                self.stories[side].ends += 1;
                self.stories[side].gave_up |= by == By::NoAck;
            }
            Event::Ringing { .. } | Event::Trying { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn both_sides_agree_and_come_to_rest() {
    let (mut answered, mut refused, mut canceled) = (0, 0, 0);
    for seed in 0..600 {
        let outcome = std::panic::catch_unwind(|| {
            let [caller, callee] = Scene::run(seed);
            assert_eq!((caller.ends, callee.ends), (caller.legs, callee.legs), "one end a leg");
            assert!(!callee.gave_up, "the ACK got through");
            assert!(!caller.answered || callee.acked, "{caller:?} {callee:?}");
            assert!(!callee.acked || caller.answered || caller.canceled, "{caller:?} {callee:?}");
            assert!(!caller.refused || !callee.acked, "{caller:?} {callee:?}");
            caller
        });
        let Ok(caller) = outcome else { panic!("seed {seed}") };
        answered += usize::from(caller.answered);
        refused += usize::from(caller.refused);
        canceled += usize::from(caller.canceled);
    }
    // All kinds of call were played.
    assert!(answered > 100 && refused > 50 && canceled > 50, "{answered} {refused} {canceled}");
}
