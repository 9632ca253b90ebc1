//! Calls with a browser, over a network that loses and delays, in virtual time.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod browser;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use browser::Browser;
use media::dtmf::By;
use media::sdp::{Direction, Local, Negotiated};
use media::web::{self, Credentials, Identity, Output, Transport};
use media::{Clip, Codec, Event, Session, Setup};
use str0m::config::DtlsVersion;

const HERE: &str = "192.0.2.1:20000";
const THERE: &str = "198.51.100.2:50000";
const ELSEWHERE: &str = "203.0.113.9:50001";

/// One way of the network.
const DELAY: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_millis(10);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Our end of the call.
struct Gateway {
    local: Local,
    web: web::Local,
    transport: Transport,
    session: Option<Session>,
    agreed: Option<Negotiated>,
    events: Vec<Event>,
    heard: Vec<i16>,
    /// New keys came so often.
    keyed: u32,
    failed: Vec<String>,
}

impl Gateway {
    fn new(codecs: &[Codec]) -> Gateway {
        let (certificate, key) = browser::certificate();
        let identity = Identity::new(certificate, key).unwrap();
        let credentials = Credentials::new([3; Credentials::RANDOM]);
        let here = address(HERE);
        Gateway {
            local: Local::new(here.ip(), here.port(), codecs.to_vec(), 7),
            web: web::Local {
                credentials: credentials.clone(),
                fingerprint: identity.fingerprint(),
                addresses: vec![],
            },
            transport: Transport::new(identity, credentials),
            session: None,
            agreed: None,
            events: vec![],
            heard: vec![],
            keyed: 0,
            failed: vec![],
        }
    }

    fn agree(&mut self, negotiated: Negotiated, now: Instant) {
        self.transport.update(negotiated.web.as_ref().unwrap());
        match &mut self.session {
            Some(session) => session.update(negotiated.clone(), now),
            None => {
                let setup = Setup {
                    negotiated: negotiated.clone(),
                    ssrc: browser::SSRC,
                    sequence: 100,
                    timestamp: 1,
                    cname: "leg@example.com".to_owned(),
                    record: false,
                    silence_after: Some(Duration::from_secs(5)),
                };
                self.session = Some(Session::new(setup, now));
            }
        }
        self.agreed = Some(negotiated);
    }

    fn answer(&mut self, offer: &str, now: Instant) -> String {
        let fresh = Credentials::new([self.local.version as u8 + 9; Credentials::RANDOM]);
        self.local.version += 1;
        let before = self.agreed.as_ref();
        let (answer, negotiated) =
            web::answer(offer.as_bytes(), &self.local, &self.web, before, fresh).unwrap();
        self.agree(negotiated, now);
        answer
    }
}

struct World {
    now: Instant,
    here: Gateway,
    there: Browser,
    /// When it arrives, from where to where.
    in_flight: VecDeque<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    /// One of so many is lost; none of 0.
    lose: u32,
    random: u32,
    /// What came to us from where, since it was last asked.
    sources: Vec<SocketAddr>,
}

impl World {
    fn new(codecs: &[Codec], version: DtlsVersion) -> World {
        let now = Instant::now();
        World {
            now,
            here: Gateway::new(codecs),
            there: Browser::new(address(THERE), version, now),
            in_flight: VecDeque::new(),
            lose: 0,
            random: 1,
            sources: vec![],
        }
    }

    /// They call us.
    fn called(codecs: &[Codec], version: DtlsVersion) -> World {
        let mut world = World::new(codecs, version);
        let offer = world.there.offer();
        let answer = world.here.answer(&offer, world.now);
        world.there.accept(&answer, world.now);
        world
    }

    /// We call them.
    fn calling(codecs: &[Codec], setup: &str) -> World {
        let mut world = World::new(codecs, DtlsVersion::Dtls12);
        let offer = web::offer(&world.here.local, &world.here.web).replace("actpass", setup);
        let answer = world.there.answer(&offer, world.now);
        let negotiated = web::accept(&world.here.local, &world.here.web, None, answer.as_bytes()).unwrap();
        world.here.agree(negotiated, world.now);
        world
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if self.lose == 0 || !(self.random >> 16).is_multiple_of(self.lose) {
            self.in_flight.push_back((self.now + DELAY, from, to, bytes));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut step = 0;
        while self.now < end {
            self.now += STEP;
            step += 1;
            while self.in_flight.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, from, to, bytes) = self.in_flight.pop_front().unwrap();
                if to == address(HERE) {
                    self.sources.push(from);
                    self.arrive(&bytes, from);
                } else if to == self.there.address {
                    self.there.receive(&bytes, from, self.now);
                }
            }
            self.there.wake(self.now);
            self.shake();
            if step % 2 == 0 {
                self.there.tick(self.now);
                self.tick();
            }
            while let Some((from, to, bytes)) = self.there.poll() {
                self.send(from, to, bytes);
            }
        }
    }

    fn arrive(&mut self, bytes: &[u8], from: SocketAddr) {
        let mut out = [0; 1500];
        if !Transport::is_for(bytes) {
            if let Some(session) = &mut self.here.session {
                session.handle_rtp(bytes, from, self.now);
            }
        } else if web::username(bytes).is_some() {
            let before = self.here.transport.remote();
            if let Some(len) = self.here.transport.handle_stun(bytes, from, &mut out) {
                self.send(address(HERE), from, out[..len].to_vec());
            }
            let after = self.here.transport.remote();
            if let (Some(session), Some(remote)) = (&mut self.here.session, after.filter(|_| after != before))
            {
                session.send_to(remote);
            }
        } else {
            self.here.transport.handle_dtls(bytes, self.now);
        }
        self.shake();
    }

    fn shake(&mut self) {
        let mut out = [0; 1500];
        while let Some(output) = self.here.transport.poll(self.now, &mut out) {
            match output {
                Output::Send { len, to } => self.send(address(HERE), to, out[..len].to_vec()),
                Output::Keys(crypto) => {
                    self.here.keyed += 1;
                    self.here.session.as_mut().unwrap().secure(&crypto);
                }
                Output::Failed(error) => self.here.failed.push(error.to_string()),
            }
        }
    }

    fn tick(&mut self) {
        let Some(session) = &mut self.here.session else { return };
        let mut out = [0; 1500];
        let mut sent = vec![];
        let mut packet = session.tick(self.now, &mut out);
        while let Some(send) = packet {
            sent.push((send.to, out[..send.len].to_vec()));
            packet = session.more(&mut out);
        }
        if let Some(send) = session.poll_rtcp(self.now, 1 << 40, &mut out) {
            sent.push((send.to, out[..send.len].to_vec()));
        }
        self.here.heard.extend_from_slice(session.heard());
        self.here.events.extend(std::iter::from_fn(|| session.poll_event()));
        for (to, bytes) in sent {
            self.send(address(HERE), to, bytes);
        }
    }

    fn ours(&mut self) -> &mut Session {
        self.here.session.as_mut().unwrap()
    }

    fn theirs(&mut self) -> &mut Session {
        self.there.session.as_mut().unwrap()
    }

    /// A tone each way is heard at the other end.
    fn speaks(&mut self) {
        let now = self.now;
        self.theirs().play(1, Clip::tone(440.0, 1000, 0.5), now);
        self.ours().play(1, Clip::tone(1000.0, 1000, 0.5), now);
        self.here.heard.clear();
        self.there.heard.clear();
        self.run(Duration::from_millis(1400));
        assert_tone(&self.here.heard, 440.0);
        assert_tone(&self.there.heard, 1000.0);
    }
}

/// Most of what was heard is this tone.
fn assert_tone(heard: &[i16], hz: f64) {
    let loud: Vec<i16> = heard.chunks(160).filter(|frame| rms(frame) > 2000.0).flatten().copied().collect();
    assert!(loud.len() > 5600, "{hz} Hz: only {} samples of sound", loud.len());
    let middle = &loud[800..loud.len() - 800];
    let crossings = middle.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    let found = crossings as f64 * 8000.0 / middle.len() as f64;
    assert!((found - hz).abs() < hz * 0.05, "{found} Hz in the place of {hz}");
}

fn rms(frame: &[i16]) -> f64 {
    (frame.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / frame.len() as f64).sqrt()
}

#[test]
fn sound_goes_both_ways() {
    for (codecs, version) in [
        (&[Codec::Pcmu, Codec::Opus][..], DtlsVersion::Dtls12),
        (&[Codec::Opus, Codec::Pcmu], DtlsVersion::Dtls12),
        (&[Codec::Pcma], DtlsVersion::Dtls13),
    ] {
        let mut world = World::called(codecs, version);
        assert_eq!(world.here.agreed.as_ref().unwrap().codec, codecs[0]);
        world.run(Duration::from_secs(2));
        assert!(world.there.is_connected, "{codecs:?} {version}: {:?}", world.here.failed);
        world.speaks();
        // Behind the time for which the handshake is kept.
        world.run(Duration::from_secs(65));
        assert_eq!(world.here.transport.poll_timeout(), None);
        let stats = world.ours().stats();
        assert_eq!((stats.lost, stats.invalid, stats.unauthentic, stats.foreign), (0, 0, 0, 0), "{codecs:?}");
        assert_eq!(stats.source, Some(address(THERE)));
        assert!(stats.packets_received > 300 && stats.mos > 4.0, "{stats:?}");
        assert_eq!(world.here.keyed, 1);
        // Their receiver report about us came.
        assert!(stats.remote_mos.is_some(), "{stats:?}");
    }
}

#[test]
fn whoever_begins_the_handshake() {
    for setup in ["actpass", "passive", "active"] {
        let mut world = World::calling(&[Codec::Opus], setup);
        world.run(Duration::from_secs(2));
        assert!(world.there.is_connected, "{setup}: {:?}", world.here.failed);
        world.speaks();
    }
}

#[test]
fn a_greeting_waits_for_the_handshake() {
    let mut world = World::called(&[Codec::Pcmu], DtlsVersion::Dtls12);
    let now = world.now;
    world.ours().play(1, Clip::tone(700.0, 1000, 0.5), now);
    world.run(Duration::from_secs(3));
    assert_tone(&world.there.heard, 700.0);
    let played = world.here.events.iter().filter(|event| matches!(event, Event::Played { whole: true, .. }));
    assert_eq!(played.count(), 1);
}

#[test]
fn digits_go_both_ways() {
    for codec in [Codec::Pcmu, Codec::Opus] {
        let mut world = World::called(&[codec], DtlsVersion::Dtls12);
        world.run(Duration::from_secs(2));
        let now = world.now;
        world.theirs().digits(1, "12#", now).unwrap();
        world.ours().digits(1, "4*", now).unwrap();
        world.run(Duration::from_secs(2));
        let digits = |events: &[Event]| -> String {
            let digit = |event: &Event| match event {
                Event::Digit { digit, by: By::Rfc4733, .. } => Some(*digit),
                _ => None,
            };
            events.iter().filter_map(digit).collect()
        };
        assert_eq!(digits(&world.here.events), "12#", "{codec:?}");
        let theirs: Vec<Event> = std::iter::from_fn(|| world.theirs().poll_event()).collect();
        assert_eq!(digits(&theirs), "4*", "{codec:?}");
    }
}

#[test]
fn a_bad_network_is_got_over() {
    let mut world = World::new(&[Codec::Pcmu], DtlsVersion::Dtls12);
    world.lose = 5;
    let offer = world.there.offer();
    let answer = world.here.answer(&offer, world.now);
    world.there.accept(&answer, world.now);
    world.run(Duration::from_secs(10));
    assert!(world.there.is_connected, "{:?}", world.here.failed);
    world.lose = 50;
    world.speaks();
}

#[test]
fn hold_and_resume() {
    use str0m::media::Direction as Theirs;
    let mut world = World::called(&[Codec::Pcmu], DtlsVersion::Dtls12);
    world.run(Duration::from_secs(2));
    for (theirs, ours) in [
        (Theirs::SendOnly, Direction::RecvOnly),
        (Theirs::Inactive, Direction::Inactive),
        (Theirs::RecvOnly, Direction::SendOnly),
        (Theirs::SendRecv, Direction::SendRecv),
    ] {
        let offer = world.there.direct(theirs);
        let answer = world.here.answer(&offer, world.now);
        assert!(answer.contains(&format!("a={}\r\n", ours.name())), "{answer}");
        world.there.accept(&answer, world.now);
        assert_eq!(world.here.agreed.as_ref().unwrap().direction, ours);
        let sent = world.ours().stats().packets_sent;
        world.run(Duration::from_secs(1));
        assert_eq!(world.ours().stats().packets_sent > sent + 10, ours.sends(), "{theirs:?}");
    }
    world.speaks();
    assert_eq!(world.here.keyed, 1, "one handshake is enough");
    // And by us, who change nothing but the direction.
    let held = Local { direction: Direction::SendOnly, ..world.here.local.clone() };
    let before = world.here.agreed.clone().unwrap();
    let offer = web::reoffer(&held, &world.here.web, &before);
    let answer = world.there.answer(&offer, world.now);
    let negotiated = web::accept(&held, &world.here.web, Some(&before), answer.as_bytes()).unwrap();
    assert_eq!(negotiated.direction, Direction::SendOnly);
    let (then, now) = (before.web.unwrap(), negotiated.web.clone().unwrap());
    assert_eq!((then.ours, then.role, then.fingerprint), (now.ours, now.role, now.fingerprint));
    let now = world.now;
    world.here.agree(negotiated, now);
    world.ours().play(2, Clip::tone(1000.0, 1000, 0.5), now);
    world.there.heard.clear();
    world.run(Duration::from_millis(1400));
    assert_tone(&world.there.heard, 1000.0);
    assert_eq!(world.here.keyed, 1);
}

#[test]
fn the_call_survives_another_network() {
    let mut world = World::called(&[Codec::Opus, Codec::Pcmu], DtlsVersion::Dtls12);
    world.run(Duration::from_secs(2));
    world.speaks();
    let before = world.here.agreed.clone().unwrap().web.unwrap();
    let offer = world.there.move_to(address(ELSEWHERE));
    let answer = world.here.answer(&offer, world.now);
    let after = world.here.agreed.clone().unwrap().web.unwrap();
    assert_ne!(before.ours, after.ours, "new credentials");
    assert!(!answer.contains(before.ours.ufrag()), "{answer}");
    world.there.accept(&answer, world.now);
    world.run(Duration::from_secs(3));
    assert_eq!(world.here.transport.remote(), Some(address(ELSEWHERE)));
    assert_eq!(world.here.transport.credentials().count(), 1, "the old ones do not count any more");
    world.speaks();
    assert_eq!(world.here.keyed, 1, "the handshake is kept");
    assert_eq!(world.ours().stats().source, Some(address(ELSEWHERE)));
}

#[test]
fn nobody_else_is_answered() {
    let mut world = World::called(&[Codec::Pcmu], DtlsVersion::Dtls12);
    // A check for somebody else, or signed with another password.
    let mut other = Gateway::new(&[Codec::Pcmu]);
    other.transport = Transport::new(
        Identity::new(browser::certificate().0, browser::certificate().1).unwrap(),
        Credentials::new([4; Credentials::RANDOM]),
    );
    let mut out = [0; 1500];
    world.run(DELAY);
    let checks: Vec<_> = world.in_flight.drain(..).filter(|(_, _, to, _)| *to == address(HERE)).collect();
    assert!(!checks.is_empty());
    for (_, from, _, bytes) in checks {
        assert!(web::username(&bytes).is_some());
        assert_eq!(other.transport.handle_stun(&bytes, from, &mut out), None);
        assert_eq!(other.transport.remote(), None);
        assert!(world.here.transport.handle_stun(&bytes, from, &mut out).is_some());
    }
}

#[test]
fn another_certificate_than_the_sdp_says_is_nobody() {
    let mut world = World::new(&[Codec::Pcmu], DtlsVersion::Dtls12);
    let offer = world.there.offer();
    let line = offer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap();
    let last = if line.ends_with('0') { "1" } else { "0" };
    let forged = offer.replace(line, &format!("{}{last}", &line[..line.len() - 1]));
    let answer = world.here.answer(&forged, world.now);
    world.there.accept(&answer, world.now);
    world.run(Duration::from_secs(60));
    assert_eq!(world.here.keyed, 0);
    assert!(world.here.failed[0].contains("a=fingerprint"), "{:?}", world.here.failed);
    assert!(world.here.failed.len() <= 5, "{:?}", world.here.failed);
    assert_eq!(world.ours().stats().packets_sent, 0);
    // Whoever waits for media is told that there is none.
    assert!(world.here.events.iter().any(|event| matches!(event, Event::Silent { .. })));
}

#[test]
fn garbage_does_not_break_a_call() {
    let mut world = World::called(&[Codec::Pcmu], DtlsVersion::Dtls12);
    let mut random: u32 = 99;
    for _ in 0..150 {
        world.run(STEP);
        let copies: Vec<_> =
            world.in_flight.iter().filter(|(_, _, to, _)| *to == address(HERE)).cloned().collect();
        for (_, from, _, mut bytes) in copies {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (random >> 8) as usize % bytes.len();
            match random >> 30 {
                0 => bytes[at] ^= (random >> 4) as u8 | 1,
                1 => bytes.truncate(at),
                2 => bytes.extend_from_within(..),
                _ => bytes = random.to_be_bytes().repeat(at % 40),
            }
            // What is DTLS is let through as it is: before the keys there is nothing to tell it by.
            if !bytes.first().is_some_and(|first| (20..64).contains(first)) {
                world.arrive(&bytes, from);
            }
        }
    }
    assert!(world.there.is_connected);
    world.speaks();
    // Behind the handshake DTLS may be anything, too.
    for n in 0..2000u32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(n);
        let mut bytes = vec![20 + (random >> 24) as u8 % 44, 0xFE, 0xFD];
        bytes.extend(random.to_be_bytes().repeat(n as usize % 100));
        world.arrive(&bytes, address(THERE));
    }
    world.speaks();
    assert_eq!(world.here.keyed, 1);
}
