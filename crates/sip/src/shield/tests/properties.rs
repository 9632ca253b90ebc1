use proptest::prelude::*;

use super::*;

/// What others do.
#[derive(Clone, Debug)]
enum Deed {
    Send(&'static str, Path, usize),
    Note(Evidence<'static>, Path, usize),
    Success(Path),
    Up(Path),
    Down(Path),
    Wait(u32),
}

fn remotes(address: &'static str) -> impl Strategy<Value = String> {
    (1u16..20).prop_map(move |port| format!("{address}:{}", 5_000 + port))
}

fn paths(remote: impl Strategy<Value = String>) -> impl Strategy<Value = Path> {
    let transport =
        prop_oneof![4 => Just(Transport::Udp), 1 => Just(Transport::Tcp), 1 => Just(Transport::Wss)];
    (transport, remote).prop_map(|(transport, remote)| path(transport, &remote))
}

fn spoofable() -> impl Strategy<Value = Evidence<'static>> {
    prop_oneof![
        Just(CLAIMED),
        Just(Evidence::UnknownUser { proven: false }),
        Just(Evidence::Anonymous),
        Just(Evidence::UnknownDestination),
        Just(Evidence::Garbage),
        Just(Evidence::Scanner),
        Just(Evidence::Method),
        Just(Evidence::TooMany),
        Just(Evidence::HalfOpen),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence<'static>> {
    prop_oneof![3 => spoofable(), 1 => Just(PROVEN), 1 => Just(Evidence::UnknownUser { proven: true })]
}

fn text() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![REGISTER, INVITE, OPTIONS, ACK, BYE, REFER, RESPONSE, SCANNER, "", "hello"])
}

fn deeds(path: impl Strategy<Value = Path> + 'static) -> impl Strategy<Value = Vec<Deed>> {
    let path = path.boxed();
    let deed = prop_oneof![
        4 => (text(), path.clone(), 1usize..200).prop_map(|(text, path, times)| Deed::Send(text, path, times)),
        4 => (evidence(), path.clone(), 1usize..50).prop_map(|(what, path, times)| Deed::Note(what, path, times)),
        1 => path.clone().prop_map(Deed::Success),
        1 => path.clone().prop_map(Deed::Up),
        1 => path.prop_map(Deed::Down),
        2 => (0u32..120_000).prop_map(Deed::Wait),
    ];
    proptest::collection::vec(deed, 0..60)
}

impl World {
    fn does(&mut self, deed: &Deed) {
        match deed {
            Deed::Send(text, path, times) => (0..*times).for_each(|_| _ = self.admit(text, path)),
            Deed::Note(evidence, path, times) => self.note(path, *evidence, *times),
            Deed::Success(path) => self.shield.note_success("a@example.com", path, self.now),
            Deed::Up(path) => self.shield.flow_up(Some("x@example.com"), path),
            Deed::Down(path) => self.shield.flow_down(Some("x@example.com"), path, self.now),
            Deed::Wait(millis) => self.wait(f64::from(*millis) / 1_000.0),
        }
    }
}

fn anywhere() -> impl Strategy<Value = String> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>())
            .prop_map(|(address, port)| SocketAddr::from((address, port)).to_string()),
        (any::<[u16; 8]>(), any::<u16>())
            .prop_map(|(address, port)| SocketAddr::from((address, port)).to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_grows_beyond_its_bound(
        deeds in proptest::collection::vec((text(), evidence(), paths(anywhere()), 0u32..2_000), 0..600),
    ) {
        let mut world = World::with(Settings { sources: 64, blocks: 16, users: 32, ..Settings::default() });
        for (n, (text, evidence, path, wait)) in deeds.iter().enumerate() {
            let user = format!("{n}@example.com");
            let evidence = match *evidence {
                Evidence::WrongPassword { proven, .. } => Evidence::WrongPassword { user: &user, proven },
                other => other,
            };
            world.admit(text, path);
            world.note(path, evidence, 1);
            world.shield.note_success(&user, path, world.now);
            world.does(&Deed::Wait(*wait));
            let stats = world.shield.stats();
            prop_assert!(stats.sources <= 64 && stats.blocks <= 16 && stats.guessed <= 32 && stats.homes <= 32);
        }
    }

    #[test]
    fn a_trunk_is_never_kept_out_by_evidence(
        deeds in proptest::collection::vec((evidence(), 1usize..100, 0u32..10_000), 0..60),
    ) {
        let mut world = World::new();
        let trunk = udp("198.51.100.7:5060");
        world.shield.set_trunks(&["198.51.100.0/24".parse().unwrap()]);
        for (evidence, times, wait) in deeds {
            world.does(&Deed::Note(evidence, trunk, times));
            prop_assert!(world.passes(INVITE, &trunk) && world.passes(SCANNER, &trunk));
            world.does(&Deed::Wait(wait));
        }
    }

    #[test]
    fn a_phones_address_is_never_kept_out_by_what_can_be_forged(
        deeds in proptest::collection::vec((spoofable(), 1u16..20, 1usize..100, 100u32..10_000), 0..60),
    ) {
        let mut world = World::new();
        world.shield.flow_up(Some("b@example.com"), &udp("203.0.113.5:40000"));
        for (evidence, port, times, wait) in deeds {
            let other = udp(&format!("203.0.113.5:{port}"));
            world.does(&Deed::Note(evidence, other, times));
            world.does(&Deed::Wait(wait));
            prop_assert!(world.passes(REGISTER, &other) && world.passes(BYE, &other));
            prop_assert!(world.passes(REGISTER, &udp("203.0.113.5:40000")));
        }
    }

    #[test]
    fn a_known_flow_passes_whatever_others_behind_its_address_do(
        deeds in deeds(paths(remotes("203.0.113.5"))),
    ) {
        let mut world = World::new();
        let flow = udp("203.0.113.5:40000");
        world.shield.flow_up(Some("b@example.com"), &flow);
        for deed in &deeds {
            world.does(deed);
            world.wait(0.04);
            prop_assert!(world.passes(REGISTER, &flow) && world.passes(INVITE, &flow) && world.passes(BYE, &flow));
        }
    }

    #[test]
    fn everybody_gets_clear_again(deeds in deeds(paths(remotes("203.0.113.5"))), pardoned: bool) {
        let mut world = World::new();
        deeds.iter().for_each(|deed| world.does(deed));
        if pardoned {
            world.shield.pardon("203.0.113.0/24".parse().unwrap());
        } else {
            world.wait(3_600.0 + 600.0);
        }
        world.wait(2.0);
        let left = world.shield.list(10, world.now);
        prop_assert!(left.is_empty(), "{left:?}");
        for port in 5_000..5_020 {
            let path = udp(&format!("203.0.113.5:{port}"));
            prop_assert!(world.passes(REGISTER, &path));
        }
    }
}
