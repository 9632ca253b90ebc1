//! What happens by itself: expiry, pings, closed connections, a restart.

use super::*;

#[test]
fn what_runs_out_is_removed_and_told() {
    let mut desk = Desk::new();
    desk.register(&["Contact: <sip:a@10.0.0.7>;expires=60, <sip:b@10.0.0.7>;expires=90"]).unwrap();
    assert_eq!(desk.locations.poll_timeout(), Some(desk.now + Duration::from_secs(60)));
    desk.wait(59);
    assert_eq!((desk.contacts().len(), desk.changes()), (2, vec![]));
    desk.wait(1);
    assert_eq!(desk.contacts(), [("sip:b@10.0.0.7", 30)]);
    assert_eq!(desk.changes(), [Change::Removed { user: 1, key: 1 }]);
    // A REGISTER that comes before the timer finds it gone as well.
    desk.now += Duration::from_secs(30);
    assert_eq!(listed(&desk.register(&[]).unwrap()), [""; 0]);
    assert_eq!(desk.changes(), [Change::Removed { user: 1, key: 2 }]);
    assert_eq!((desk.locations.counts(), desk.locations.poll_timeout()), (Counts::default(), None));
}

#[test]
fn a_closed_connection_loses_what_came_over_it() {
    let mut desk = Desk { path: wss(1), ..Desk::new() };
    desk.register(&["Contact: <sip:a@x.invalid>", "Contact: <sip:b@x.invalid>"]).unwrap();
    let other = request("two", 1, &["Contact: <sip:c@x.invalid>"]);
    desk.locations.register(2, &other.view(), wss(1), &desk.limits, desk.now).unwrap();
    assert_eq!(desk.locations.lost(wss(2)), [0; 0]);
    assert_eq!(desk.locations.lost(wss(1)), [1, 2]);
    assert_eq!(desk.locations.lost(wss(1)), [0; 0], "once");
    assert!(desk.locations.bindings(1).all(Binding::is_lost));
    assert_eq!(desk.contacts().len(), 2, "they are still listed");
    let counts = desk.locations.counts();
    assert_eq!((counts.lost, counts.transports), (3, [0, 0, 0, 0, 3]));
    desk.path = wss(3);
    desk.register(&["Contact: <sip:a@x.invalid>"]).unwrap();
    let alive: Vec<_> = desk.locations.bindings(1).filter(|b| !b.is_lost()).map(Binding::contact).collect();
    assert_eq!(alive, ["sip:a@x.invalid"]);
    assert_eq!(desk.locations.lost(wss(3)), [1]);
}

#[test]
fn a_restart_loses_connections_alone() {
    let mut desk = Desk::new();
    let mut stored = Vec::new();
    for (path, contact) in [(udp("10.0.0.7:5060"), "a"), (wss(1), "b")] {
        desk.path = path;
        for change in desk.register(&[&format!("Contact: <sip:{contact}@h>")]).unwrap().changes {
            let Change::Saved(saved) = change else { panic!("{change:?}") };
            stored.push(*saved);
        }
    }
    let mut after = Desk { now: desk.now + Duration::from_secs(50), ..Desk::new() };
    for saved in &stored {
        let saved = Saved { expires_s: saved.expires_s - 50, ..saved.clone() };
        after.locations.restore(saved, after.now).unwrap();
    }
    let state: Vec<_> = after.locations.bindings(1).map(|b| (b.contact(), b.is_lost())).collect();
    assert_eq!(state, [("sip:b@h", true), ("sip:a@h", false)]);
    assert_eq!(after.contacts(), [("sip:b@h", 3_550), ("sip:a@h", 3_550)]);
    assert_eq!(after.changes(), []);
    // The order of requests holds beyond the restart; a new binding gets a new name.
    after.path = wss(1);
    let key = |changes: &[Change]| match changes {
        [Change::Saved(saved)] => saved.key,
        other => panic!("{other:?}"),
    };
    after.cseq = 1;
    assert_eq!(after.again(&["Contact: <sip:b@h>"]).unwrap_err().status, 500);
    assert_eq!(after.locations.lost(wss(1)), [0; 0]);
    after.cseq = 2;
    assert_eq!(key(&after.register(&["Contact: <sip:b@h>"]).unwrap().changes), 2);
    assert_eq!(after.locations.lost(wss(1)), [1], "it had revived");
    assert_eq!(key(&after.register(&["Contact: <sip:c@h>"]).unwrap().changes), 3);
    for (contact, route) in [("", ""), ("tel:+1", ""), ("sip:a@h", "x"), ("sip:a>@h", "")] {
        let bad = Saved { contact: contact.into(), route: route.into(), ..stored[0].clone() };
        assert!(after.locations.restore(bad, after.now).is_err(), "{contact} {route}");
    }
}

#[test]
fn a_deleted_user_is_nowhere() {
    let mut desk = Desk::new();
    desk.register(&["Contact: <sip:a@h>, <sip:b@h>"]).unwrap();
    desk.locations.remove(1);
    desk.locations.remove(2);
    assert_eq!((desk.contacts().len(), desk.changes().len()), (0, 2));
}

#[test]
fn only_what_is_behind_a_nat_is_pinged() {
    for (path, contact, pinged) in [
        (udp("198.51.100.7:31000"), "<sip:a@10.0.0.7:5060>", true),
        (udp("10.0.0.7:5060"), "<sip:a@10.0.0.7:5060>", false),
        (udp("10.0.0.7:5060"), "<sip:a@10.0.0.7>", false),
        (udp("10.0.0.7:5061"), "<sip:a@10.0.0.7>", true),
        (udp("10.0.0.7:5060"), "<sip:a@phone.example.com>", true),
        (wss(1), "<sip:a@x.invalid>", false),
    ] {
        let mut desk = Desk { path, ..Desk::new() };
        desk.register(&[&format!("Contact: {contact}")]).unwrap();
        assert_eq!(desk.locations.poll_ping(desk.now + Duration::from_millis(24_999)), None);
        let late = desk.now + Duration::from_secs(30);
        let ping = desk.locations.poll_ping(late);
        assert_eq!(ping.map(|ping| ping.target.path), pinged.then_some(path), "{contact}");
        assert_eq!(desk.locations.poll_ping(late), None, "once");
    }
}

#[test]
fn three_pings_without_an_answer_lose_a_binding() {
    let mut desk = Desk { path: udp("198.51.100.7:31000"), ..Desk::new() };
    desk.register(&["Contact: <sip:a@10.0.0.7>"]).unwrap();
    for (ok, lost) in [
        (false, false),
        (false, false),
        (true, false),
        (false, false),
        (false, false),
        (false, true),
        (false, true),
        (true, false),
        (false, false),
        (false, false),
        (false, true),
    ] {
        desk.now += Duration::from_secs(30);
        let ping = desk.locations.poll_ping(desk.now).unwrap();
        desk.locations.pong(ping.user, ping.key, ok);
        let is_lost = desk.locations.bindings(1).all(Binding::is_lost);
        assert_eq!((is_lost, desk.locations.counts().lost), (lost, usize::from(lost)));
    }
    desk.register(&["Contact: <sip:a@10.0.0.7>"]).unwrap();
    assert_eq!(desk.locations.counts().lost, 0);
    desk.locations.pong(1, 99, false);
    desk.locations.pong(9, 1, false);
}
