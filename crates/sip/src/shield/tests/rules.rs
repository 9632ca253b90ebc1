use super::*;

/// Whose the address is that evidence comes from.
#[derive(Clone, Copy, Debug)]
enum At {
    Stranger,
    /// A phone is registered there, over UDP from port 40000.
    Phone,
    Trunk,
}

/// How many of 20 REGISTERs within a moment pass from the port that misbehaved, and from another.
fn after(at: At, transport: Transport, evidence: Evidence<'_>, times: usize) -> (usize, usize) {
    let mut world = World::new();
    match at {
        At::Stranger => {}
        At::Phone => world.shield.flow_up(Some("b@example.com"), &udp("203.0.113.5:40000")),
        At::Trunk => world.shield.set_trunks(&["203.0.113.0/28".parse().unwrap()]),
    }
    let (same, other) = (path(transport, "203.0.113.5:5066"), path(transport, "203.0.113.5:6000"));
    world.note(&same, evidence, times);
    world.wait(1.0);
    let mut count = |path: &Path| (0..20).filter(|_| world.passes(REGISTER, path)).count();
    (count(&same), count(&other))
}

#[test]
fn what_evidence_does() {
    use Transport::{Tcp, Udp, Wss};
    // 20 REGISTERs empty the bucket of a stranger, whichever port they come from.
    for (at, transport, evidence, times, passed) in [
        (At::Stranger, Udp, PROVEN, 4, (20, 0)),
        (At::Stranger, Udp, PROVEN, 6, (2, 2)),
        (At::Stranger, Udp, PROVEN, 15, (0, 1)),
        (At::Stranger, Udp, CLAIMED, 6, (2, 2)),
        (At::Stranger, Udp, CLAIMED, 15, (0, 1)),
        (At::Stranger, Udp, Evidence::Scanner, 1, (0, 1)),
        (At::Stranger, Udp, Evidence::HalfOpen, 9, (20, 0)),
        (At::Stranger, Udp, Evidence::HalfOpen, 11, (2, 2)),
        (At::Stranger, Udp, Evidence::TooMany, 1_000, (20, 0)),
        (At::Stranger, Udp, Evidence::TooMany, 4_000, (0, 1)),
        (At::Stranger, Tcp, CLAIMED, 15, (0, 1)),
        (At::Stranger, Wss, Evidence::UnknownDestination, 5, (2, 2)),
        (At::Phone, Udp, PROVEN, 4, (20, 20)),
        (At::Phone, Udp, PROVEN, 6, (2, 2)),
        (At::Phone, Udp, PROVEN, 15, (0, 2)),
        (At::Phone, Udp, CLAIMED, 1_000, (20, 20)),
        (At::Phone, Udp, Evidence::Scanner, 1_000, (20, 20)),
        (At::Phone, Udp, Evidence::UnknownUser { proven: false }, 1_000, (20, 20)),
        (At::Phone, Tcp, CLAIMED, 15, (0, 2)),
        (At::Trunk, Udp, PROVEN, 1_000, (20, 20)),
        (At::Trunk, Udp, Evidence::Scanner, 1_000, (20, 20)),
    ] {
        assert_eq!(
            after(at, transport, evidence, times),
            passed,
            "{at:?} {transport:?} {times} x {evidence:?}"
        );
    }
}

#[test]
fn what_gives_itself_away() {
    let mut world = World::new();
    world.shield.flow_up(Some("b@example.com"), &udp("203.0.113.5:40000"));
    world.shield.set_trunks(&["198.51.100.0/24".parse().unwrap()]);
    for (text, remote, verdict) in [
        (SCANNER, "203.0.113.1:5060", Verdict::Drop(Reason::Scanner)),
        ("hello", "203.0.113.2:5060", Verdict::Drop(Reason::Garbage)),
        (REFER, "203.0.113.3:5060", Verdict::Drop(Reason::Method)),
        (BYE, "203.0.113.4:5060", Verdict::Pass),
        ("\r\n\r\n", "203.0.113.4:5060", Verdict::Pass),
        (SCANNER, "203.0.113.5:6000", Verdict::Drop(Reason::Scanner)),
        (REFER, "203.0.113.5:6000", Verdict::Pass),
        (SCANNER, "203.0.113.5:40000", Verdict::Pass),
        (REFER, "203.0.113.5:40000", Verdict::Pass),
        (SCANNER, "198.51.100.1:5060", Verdict::Pass),
        ("hello", "198.51.100.1:5060", Verdict::Pass),
    ] {
        assert_eq!(world.admit(text, &udp(remote)), verdict, "{remote}: {text}");
    }
    assert_eq!(world.level("203.0.113.1"), Level::Ignored);
    assert_eq!(world.admit(OPTIONS, &udp("203.0.113.1:5060")), Verdict::Drop(Reason::Ignored));
    assert_eq!(world.level("203.0.113.5"), Level::Clear);
    let stats = world.shield.stats();
    assert_eq!((stats.dropped(Reason::Scanner), stats.dropped(Reason::Ignored)), (2, 1));
    assert_eq!((stats.passed, stats.flows, stats.homes), (7, 1, 1));
}

#[test]
fn acks_and_byes_have_a_bucket_of_their_own() {
    let mut world = World::new();
    let (stranger, flow) = (udp("203.0.113.1:5060"), udp("203.0.113.5:40000"));
    world.shield.flow_up(None, &flow);
    for (path, open, within) in [(&stranger, 20, 100), (&flow, 100, 400)] {
        assert_eq!((0..500).filter(|_| world.passes(INVITE, path)).count(), open);
        let texts = [ACK, BYE, RESPONSE, "\r\n\r\n"].iter().cycle().take(500);
        assert_eq!(texts.filter(|text| world.passes(text, path)).count(), within);
    }
    // Half a second after they were slowed, the ACK of what passed before still does.
    world.wait(5.0);
    world.note(&stranger, CLAIMED, 6);
    assert!(world.passes(ACK, &stranger));
    assert_eq!((0..100).filter(|_| world.passes(INVITE, &stranger)).count(), 2);
}

#[test]
fn a_known_flow_that_guesses_is_slowed_and_no_other() {
    let mut world = World::new();
    let (bad, good) = (udp("203.0.113.5:40000"), udp("203.0.113.5:40001"));
    world.shield.flow_up(Some("b@example.com"), &bad);
    world.shield.flow_up(Some("c@example.com"), &good);
    world.note(&bad, CLAIMED, 100);
    assert_eq!((0..30).filter(|_| world.passes(REGISTER, &bad)).count(), 30);
    world.note(&bad, PROVEN, 100);
    world.wait(3.0);
    assert_eq!((0..30).filter(|_| world.passes(REGISTER, &bad)).count(), 2);
    assert_eq!((0..30).filter(|_| world.passes(REGISTER, &good)).count(), 30);
    assert_eq!((0..30).filter(|_| world.passes(BYE, &bad)).count(), 30);
}

#[test]
fn ignoring_grows_and_is_forgotten() {
    let mut world = World::new();
    let guesser = udp("203.0.113.1:5060");
    for expected in [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        world.note(&guesser, PROVEN, 20);
        let listed = world.listed("203.0.113.1").unwrap();
        assert_eq!((listed.level, listed.owner), (Level::Ignored, Owner::Stranger));
        assert_eq!(listed.until, Some(world.now + Duration::from_secs(expected)));
        assert!(!world.passes(REGISTER, &guesser));
        world.wait(expected as f64);
        assert!(world.passes(REGISTER, &guesser), "after {expected} s");
    }
    world.wait(3_601.0);
    world.note(&guesser, PROVEN, 20);
    assert_eq!(world.listed("203.0.113.1").unwrap().until, Some(world.now + Duration::from_secs(30)));
}

#[test]
fn a_right_password_forgives_a_little_and_seldom() {
    let mut world = World::new();
    let person = udp("203.0.113.1:5060");
    world.note(&person, PROVEN, 6);
    assert_eq!(world.level("203.0.113.1"), Level::Slowed);
    world.shield.note_success("a@example.com", &person, world.now);
    assert_eq!(world.level("203.0.113.1"), Level::Clear);
    // Whoever has an account guesses others no faster for it.
    let mut guesses = 0;
    while world.level("203.0.113.1") != Level::Ignored {
        world.note(&person, PROVEN, 1);
        world.shield.note_success("a@example.com", &person, world.now);
        guesses += 1;
    }
    assert_eq!(guesses, 12);
}

#[test]
fn a_user_guessed_from_everywhere() {
    let mut world = World::new();
    let (home, away) = (udp("203.0.113.1:5060"), udp("203.0.113.2:5060"));
    world.shield.note_success("a@example.com", &home, world.now);
    world.shield.flow_up(Some("b@example.com"), &home);
    for n in 0..40 {
        let guesser = udp(&format!("198.51.100.{n}:5060"));
        assert!(world.shield.may_try("a@example.com", &guesser, world.now) || n >= 21);
        world.note(&guesser, PROVEN, 1);
        world.note(&guesser, CLAIMED, 1);
        assert_eq!(world.level(&format!("198.51.100.{n}")), Level::Clear);
    }
    let tries = |world: &mut World, user, path: &Path| {
        (0..100).filter(|_| world.shield.may_try(user, path, world.now)).count()
    };
    world.wait(30.0);
    for (user, path, expected) in [
        ("a@example.com", &home, 100),
        ("a@example.com", &away, 2),
        ("b@example.com", &away, 100),
        ("nobody@example.com", &away, 100),
    ] {
        assert_eq!(tries(&mut world, user, path), expected, "{user} at {path:?}");
    }
    assert_eq!(world.shield.stats().tries_refused, 98 + 17);
    world.shield.pardon_user("a@example.com");
    assert_eq!(tries(&mut world, "a@example.com", &away), 100);

    // Mistyping at home makes nobody a guessed one, and a binding that is over leaves a home.
    world.shield.flow_down(Some("b@example.com"), &home, world.now);
    let mistyped = Evidence::WrongPassword { user: "b@example.com", proven: true };
    world.note(&home, mistyped, 100);
    assert_eq!(tries(&mut world, "b@example.com", &away), 100);
    world.note(&away, mistyped, 100);
    assert_eq!(tries(&mut world, "b@example.com", &away), 2);
    assert_eq!(tries(&mut world, "b@example.com", &home), 100);
}

#[test]
fn who_owns_many_networks_is_slowed_as_one() {
    let mut world = World::new();
    let at = |n: u16| path(Transport::Tcp, &format!("[2001:db8:1:{n:x}::1]:5060"));
    for n in 0..60 {
        world.note(&at(n), PROVEN, 4);
    }
    assert_eq!(world.level("2001:db8:1::/48"), Level::Slowed);
    world.wait(1.0);
    assert_eq!((100..200).filter(|n| world.passes(REGISTER, &at(*n))).count(), 20);
    assert!(world.passes(REGISTER, &path(Transport::Tcp, "[2001:db8:2::1]:5060")));
    // A phone in one of them is none of it.
    world.shield.note_success("a@example.com", &at(300), world.now);
    assert_eq!((0..50).filter(|_| world.passes(REGISTER, &at(300))).count(), 50);
    assert_eq!(world.shield.pardon("2001:db8:1:1::/64".parse().unwrap()), 2);
    assert_eq!(world.level("2001:db8:1::/48"), Level::Clear);
}

#[test]
fn pressure_sheds_strangers_only() {
    let mut world = World::new();
    let flow = udp("203.0.113.5:40000");
    world.shield.flow_up(Some("b@example.com"), &flow);
    world.shield.set_trunks(&["198.51.100.0/24".parse().unwrap()]);
    for (pressure, strangers) in [(Pressure::Calm, 2_000), (Pressure::Busy, 250), (Pressure::Overrun, 0)] {
        world.wait(60.0);
        world.shield.pressure(pressure);
        let passed = (0..3_000u32).filter(|n| {
            let remote = SocketAddr::from(([10, 0, (n >> 8) as u8, *n as u8], 5060));
            world.passes(INVITE, &udp_from(remote))
        });
        assert_eq!(passed.count(), strangers, "{pressure:?}");
        for path in [&flow, &udp("203.0.113.5:6000"), &udp("198.51.100.7:5060")] {
            assert!(world.passes(INVITE, path), "{pressure:?}");
        }
        // A crowd of datagrams keeps no stream out, nor INVITEs a REGISTER.
        let other = world.passes(INVITE, &path(Transport::Tls, "192.0.2.77:5061"));
        let register = world.passes(REGISTER, &udp("192.0.2.77:5060"));
        assert_eq!((other, register), (strangers > 0, strangers > 0));
    }
}

#[test]
fn connections_are_counted_before_their_handshake() {
    let mut world = World::new();
    let ask = |world: &mut World, port: u16| {
        let path = path(Transport::Tls, &format!("203.0.113.1:{port}"));
        world.shield.admit(&Peek::connection(&path), world.now)
    };
    assert_eq!((1_000..1_100).filter(|port| ask(&mut world, *port) == Verdict::Pass).count(), 20);
    assert_eq!(ask(&mut world, 2_000), Verdict::Drop(Reason::TooMany));
}

#[test]
fn the_list_and_pardons() {
    let mut world = World::new();
    world.shield.flow_up(Some("b@example.com"), &udp("203.0.113.5:40000"));
    world.shield.set_trunks(&["198.51.100.0/24".parse().unwrap()]);
    world.note(&udp("203.0.113.1:5060"), CLAIMED, 6);
    world.note(&udp("203.0.113.2:5060"), Evidence::Scanner, 1);
    world.note(&udp("203.0.113.5:6000"), CLAIMED, 20);
    world.note(&udp("198.51.100.7:5060"), Evidence::Garbage, 3);
    world.wait(1.0);
    let (now, start) = (world.now, world.now - Duration::from_secs(1));
    let list: Vec<String> = world
        .shield
        .list(10, now)
        .iter()
        .map(|listed| {
            assert_eq!(listed.since, start);
            let why: Vec<String> =
                listed.why.seen().map(|(why, count)| format!("{} {count}", why.as_str())).collect();
            let until = listed.until.map_or(0, |until| until.duration_since(now).as_secs());
            let Shielded { source, owner, level, score, .. } = listed;
            format!("{source} {owner:?} {level:?} {until} s, {score:.1}: {}", why.join(", "))
        })
        .collect();
    insta::assert_snapshot!(list.join("\n"), @"
    203.0.113.2 Stranger Ignored 29 s, 59.3: scanner 1
    203.0.113.1 Stranger Slowed 14 s, 23.7: wrong_password 6
    203.0.113.5 Phone Clear 0 s, 79.1: wrong_password 20
    198.51.100.7 Trunk Clear 0 s, 11.9: garbage 3
    ");

    assert_eq!(world.shield.list(2, now).len(), 2);
    assert_eq!(world.shield.pardon("203.0.113.2".parse().unwrap()), 1);
    assert_eq!(world.level("203.0.113.2"), Level::Clear);
    assert!(world.passes(OPTIONS, &udp("203.0.113.2:5060")));
    assert_eq!(world.level("203.0.113.1"), Level::Slowed);
    world.shield.pardon_all();
    assert!(world.shield.list(10, now).is_empty());
}
