use super::*;

/// When a REGISTER over UDP is sent, in seconds from the first (RFC 3261 timer E).
const REGISTER_SENT_AT: [f64; 10] = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5];

/// svcrack: a guess every 20 ms from one port, each second one a wrong password for a nonce it was given.
struct Guesser {
    path: Path,
    passed: usize,
}

impl Guesser {
    fn run(&mut self, world: &mut World, seconds: f64) {
        for _ in 0..(seconds * 50.0) as usize {
            if world.passes(REGISTER, &self.path) {
                self.passed += 1;
                if self.passed.is_multiple_of(2) {
                    world.note(&self.path, PROVEN, 1);
                }
            }
            world.wait(0.02);
        }
    }
}

#[test]
fn a_phone_behind_the_same_address_as_a_guesser() {
    let mut world = World::new();
    let mut guesser = Guesser { path: udp("203.0.113.5:5066"), passed: 0 };
    let flow = udp("203.0.113.5:40000");
    world.shield.flow_up(Some("b@example.com"), &flow);
    for minute in 0..30 {
        guesser.run(&mut world, 60.0);
        // The phone registers again where it was, and once it lost its port; with a challenge each.
        let moved = udp(&format!("203.0.113.5:{}", 41_000 + minute));
        for path in [&flow, &moved] {
            assert!(world.passes(REGISTER, path) && world.passes(REGISTER, path), "{path:?}, {minute} min");
        }
        world.shield.note_success("b@example.com", &moved, world.now);
    }
    assert!(guesser.passed < 400, "{} of 90,000 guesses", guesser.passed);
}

#[test]
fn a_new_phone_behind_the_same_address_as_a_guesser() {
    for start in [5.0, 40.0, 100.0, 333.0, 1_000.0] {
        let mut world = World::new();
        let mut guesser = Guesser { path: udp("203.0.113.5:5066"), passed: 0 };
        guesser.run(&mut world, start);
        let phone = udp("203.0.113.5:40000");
        for request in ["first", "with credentials"] {
            let mut at = 0.0;
            let passed = REGISTER_SENT_AT.into_iter().any(|next| {
                guesser.run(&mut world, next - at);
                at = next;
                world.passes(REGISTER, &phone)
            });
            assert!(passed && at < 10.0, "the {request}, after {start} s");
        }
        world.shield.note_success("b@example.com", &phone, world.now);
        world.shield.flow_up(Some("b@example.com"), &phone);
        guesser.run(&mut world, 10.0);
        assert!(world.passes(INVITE, &phone));
    }
}

#[test]
fn a_flood_from_one_address() {
    let mut world = World::new();
    let (flooder, trunk) = (udp("203.0.113.1:5060"), udp("198.51.100.7:5060"));
    let flow = udp("192.0.2.9:40000");
    world.shield.flow_up(Some("b@example.com"), &flow);
    world.shield.set_trunks(&["198.51.100.0/24".parse().unwrap()]);
    let (mut sent, mut passed) = (0, 0);
    for round in 0..200u32 {
        for _ in 0..1_000 {
            sent += 1;
            passed += usize::from(world.passes(REGISTER, &flooder));
            world.wait(0.000_05);
        }
        // Twenty rounds a second, and each other source asks twice a second.
        let neighbour = udp_from(SocketAddr::from(([203, 0, 113, 2 + (round % 10) as u8], 5060)));
        let stranger = udp_from(SocketAddr::from(([10, 0, 0, (round % 10) as u8], 5060)));
        for path in [&neighbour, &stranger, &flow, &trunk] {
            assert!(world.passes(REGISTER, path), "{path:?}");
            assert!(world.passes(INVITE, path) && world.passes(ACK, path), "{path:?}");
        }
    }
    assert!(passed * 100 < sent, "{passed} of {sent}");
    assert_eq!(world.level("203.0.113.1"), Level::Ignored);
}

#[test]
fn a_flood_from_forged_addresses() {
    let mut world = World::new();
    let (trunk, flow) = (udp("198.51.100.7:5060"), udp("192.0.2.9:40000"));
    world.shield.flow_up(Some("b@example.com"), &flow);
    world.shield.note_success("c@example.com", &udp("192.0.2.10:40000"), world.now);
    world.shield.set_trunks(&["198.51.100.0/24".parse().unwrap()]);
    let (mut passed, mut state) = (0, 1u32);
    for n in 0..500_000u32 {
        // 100,000 addresses all over the Internet, five times; 50,000 packets a second.
        state = if n.is_multiple_of(100_000) {
            1
        } else {
            state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
        };
        let forged = udp_from(SocketAddr::from((state.to_be_bytes(), 5060)));
        let text = if n.is_multiple_of(7) { SCANNER } else { INVITE };
        passed += usize::from(world.passes(text, &forged));
        world.wait(0.000_02);
        if n.is_multiple_of(5_000) {
            for path in [&flow, &udp("192.0.2.9:6000"), &udp("192.0.2.10:6000"), &trunk] {
                assert!(world.passes(INVITE, path) && world.passes(REGISTER, path), "{path:?}, packet {n}");
            }
            // Even strangers, as long as they do not come in the same way.
            assert!(world.passes(REGISTER, &udp("192.0.2.77:5060")), "packet {n}");
            assert!(world.passes(INVITE, &path(Transport::Wss, "192.0.2.78:50000")), "packet {n}");
        }
    }
    assert!(passed <= 2_000 + 10 * 2_000, "{passed} of 500,000 INVITEs");
    let stats = world.shield.stats();
    assert!(stats.sources <= 65_536 + 1 && stats.blocks <= 16_384, "{stats:?}");
    assert!(stats.sources > 60_000, "the table is used: {stats:?}");

    // After four quiet hours, in which only the phone was heard of, nothing of it is left.
    for _ in 0..2 * 16 * 8_192 {
        world.wait(0.055);
        assert!(world.passes(REGISTER, &flow));
    }
    let stats = world.shield.stats();
    assert!(stats.sources < 10 && stats.blocks == 0, "{stats:?}");
}
