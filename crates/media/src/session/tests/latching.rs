use super::*;

const NAT: &str = "203.0.113.7:61000";
const THIEF: &str = "203.0.113.66:9";

/// What came when, and where we send to afterwards.
fn follow(steps: &[(u64, &str, &str)]) -> Session {
    let start = Instant::now();
    let mut session = session(THERE, start);
    for (n, (ms, from, to)) in (0..).zip(steps) {
        let now = start + Duration::from_millis(*ms);
        session.handle_rtp(&packet(n), address(from), now);
        let send = session.tick(now, &mut [0; 1500]).expect("a packet");
        assert_eq!(send.to, address(to), "step {n}");
    }
    session
}

#[test]
fn sends_to_the_sdp_until_something_comes() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    session.handle_rtp(b"no RTP", address(NAT), now);
    assert_eq!(session.tick(now, &mut [0; 1500]).unwrap().to, address(THERE));
}

#[test]
fn follows_the_first_source_through_nat() {
    let session = follow(&[(0, NAT, NAT), (20, NAT, NAT), (5000, NAT, NAT)]);
    assert_eq!((session.stats().packets_received, session.stats().foreign), (3, 0));
}

#[test]
fn the_address_of_the_sdp_may_take_over_within_a_second() {
    let session = follow(&[(0, THIEF, THIEF), (500, THERE, THERE), (520, THIEF, THERE), (540, THERE, THERE)]);
    assert_eq!((session.stats().packets_received, session.stats().foreign), (3, 1));
}

#[test]
fn nobody_takes_over_later() {
    let session =
        follow(&[(0, NAT, NAT), (20, THIEF, NAT), (1500, THIEF, NAT), (1520, THERE, NAT), (1540, NAT, NAT)]);
    assert_eq!((session.stats().packets_received, session.stats().foreign), (2, 3));
    // What foreigners send is neither heard nor counted as loss.
    assert!(session.stats().lost <= 3);
}

#[test]
fn a_re_invite_starts_latching_again() {
    let mut session = follow(&[(0, NAT, NAT)]);
    let now = Instant::now() + Duration::from_secs(60);
    session.update(negotiated("198.51.100.9:6000"), now);
    assert_eq!(session.tick(now, &mut [0; 1500]).unwrap().to, address("198.51.100.9:6000"));
    session.handle_rtp(&packet(1), address(THIEF), now);
    session.handle_rtp(&packet(2), address("198.51.100.9:6000"), now);
    assert_eq!(session.tick(now, &mut [0; 1500]).unwrap().to, address("198.51.100.9:6000"));
}

#[test]
fn comfort_noise_is_media_but_hardly_sound() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    let header = rtp::Header { marker: false, payload_type: 13, sequence: 1, timestamp: 0, ssrc: 9 };
    session.handle_rtp(&[&header.to_bytes()[..], &[60]].concat(), address(NAT), now);
    let stats = session.stats();
    assert_eq!((stats.packets_received, stats.invalid, stats.source), (1, 0, Some(address(NAT))));
    for n in 1..5 {
        session.tick(now + FRAME_TIME * n, &mut [0; 1500]);
        assert!(session.heard().iter().all(|sample| sample.unsigned_abs() < 200));
    }
}
