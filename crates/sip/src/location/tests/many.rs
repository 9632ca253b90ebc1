//! A hundred thousand bindings.

use std::collections::BTreeSet;

use super::*;

const USERS: u64 = 100_000;

fn register(locations: &mut Locations, user: u64, cseq: u32, expires: u64, now: Instant) {
    let remote = ([198, 51, 100, 7], 1_024 + u16::try_from(user % 60_000).unwrap()).into();
    let path = Path::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), remote);
    let contact = format!("Contact: <sip:u{user}@10.0.0.7>;expires={expires}");
    let message = request(&format!("call-{user}"), cseq, &[&contact]);
    locations.register(user, &message.view(), path, &Limits::default(), now).unwrap();
}

#[test]
fn a_hundred_thousand_bindings_stay_in_order() {
    let (mut locations, start) = (Locations::new(1), Instant::now());
    let at = |ms: u64| start + Duration::from_millis(ms);
    // Ten each millisecond, lasting 60 to 159 s.
    for user in 0..USERS {
        register(&mut locations, user, 1, 60 + user % 100, at(user / 10));
    }
    assert_eq!(locations.counts().bindings, 100_000);
    // Everybody is pinged once within 30 s, never many at a time.
    let (mut pinged, mut most) = (BTreeSet::new(), 0);
    for ms in (0..=40_000).step_by(10) {
        let due: Vec<Ping> = std::iter::from_fn(|| locations.poll_ping(at(ms))).collect();
        most = most.max(due.len());
        pinged.extend(due.iter().map(|ping| ping.user));
    }
    assert_eq!(pinged.len(), 100_000);
    assert!(most < 200, "{most} pings in 10 ms");
    // Every other one comes again: a fifth of those to leave.
    for user in (0..USERS).step_by(2) {
        register(&mut locations, user, 2, if user % 10 == 0 { 0 } else { 7_200 }, at(50_000));
    }
    assert_eq!(locations.counts().bindings, 90_000);
    // Those that did not come end at their own time.
    let mut ended = BTreeSet::new();
    for second in 50..=170 {
        locations.handle_timeout(at(second * 1_000));
        while let Some(change) = locations.poll_change() {
            let Change::Removed { user, key } = change else { panic!("{change:?}") };
            assert_eq!(key, user + 1);
            let due_ms = user / 10 + (60 + user % 100) * 1_000;
            assert!(user % 2 == 1 && (second - 1) * 1_000 < due_ms && due_ms <= second * 1_000, "{user}");
            assert!(ended.insert(user));
        }
    }
    assert_eq!(ended.len(), 50_000);
    let transports = [40_000, 0, 0, 0, 0];
    assert_eq!(locations.counts(), Counts { bindings: 40_000, users: 40_000, lost: 0, transports });
    for user in 0..USERS {
        let alive = user % 2 == 0 && user % 10 != 0;
        assert_eq!(locations.bindings(user).count(), usize::from(alive));
        locations.remove(user);
    }
    assert_eq!((locations.counts(), locations.poll_timeout()), (Counts::default(), None));
}
