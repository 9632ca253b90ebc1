//! RFC 3261 section 10.3, RFC 3327, RFC 5626.

use super::*;

/// A refusal as its status and header fields.
fn told(refusal: Refusal) -> String {
    let headers = refusal.headers.iter().map(|(name, value)| format!("; {name}: {value}"));
    format!("{}{}", refusal.status, headers.collect::<String>())
}

/// A refusal that explains itself.
fn because(status: u16, words: &str) -> String {
    format!("{status}; Warning: 399 trunkline \"{words}\"")
}

#[test]
fn each_contact_says_how_long() {
    let mut desk = Desk::new();
    for (headers, contacts) in [
        (vec![], vec![]),
        (vec!["Contact: <sip:a@h>"], vec![("sip:a@h", 3_600)]),
        (vec!["Contact: <sip:a@h>", "Expires: 60"], vec![("sip:a@h", 60)]),
        (vec!["Contact: <sip:a@h>;expires=120", "Expires: 60"], vec![("sip:a@h", 120)]),
        (vec!["Contact: <sip:a@h>;expires=9999999999"], vec![("sip:a@h", 7_200)]),
        (vec!["Contact: <sip:a@h>;expires=soon"], vec![("sip:a@h", 3_600)]),
        (vec!["Contact: <sip:a@h>", "Expires: -1"], vec![("sip:a@h", 3_600)]),
        (vec!["Contact: sip:b@h;expires=90"], vec![("sip:b@h", 90), ("sip:a@h", 3_600)]),
        (vec!["Contact: sip:b@H;expires=0, <sip:c@h>"], vec![("sip:c@h", 3_600), ("sip:a@h", 3_600)]),
        (vec![], vec![("sip:c@h", 3_600), ("sip:a@h", 3_600)]),
        (vec!["Contact: <sip:x@h>", "Expires: 0"], vec![("sip:c@h", 3_600), ("sip:a@h", 3_600)]),
        (vec!["Contact: *", "Expires: 0"], vec![]),
        (vec!["Contact: *", "Expires: 0"], vec![]),
    ] {
        desk.register(&headers).unwrap();
        assert_eq!(desk.contacts(), contacts, "{headers:?}");
    }
}

#[test]
fn refusals_change_nothing() {
    let mut desk = Desk::new();
    desk.register(&["Contact: <sip:a@h>"]).unwrap();
    let many = |count: usize, expires: &str| -> Vec<String> {
        (0..count).map(|n| format!("Contact: <sip:{n}@h>{expires}")).collect()
    };
    let (ten, twenty_one) = (many(10, ""), many(21, ";expires=0"));
    let long = format!("Contact: <sip:{}@h>", "a".repeat(2_000));
    let route = format!("Path: <sip:{}@h>", "a".repeat(2_000));
    let star = because(400, "Contact: * goes with Expires: 0, and alone");
    let rows: Vec<(Vec<&str>, String)> = vec![
        (vec!["Contact: *"], star.clone()),
        (vec!["Contact: *", "Expires: 1"], star.clone()),
        (vec!["Contact: *, <sip:b@h>", "Expires: 0"], star.clone()),
        (vec!["Contact: *", "Contact: *", "Expires: 0"], star),
        (vec!["Contact: <sip:b@h>, <tel:+1>"], because(400, "a Contact is no SIP URI")),
        (vec!["Contact: <sip:b@h>, <sip:"], because(400, "a Contact cannot be read")),
        (vec![&long], because(400, "a Contact is too long")),
        (vec!["Contact: <sip:b@h>", &route, "Supported: path"], because(400, "a header field is too long")),
        (vec!["Contact: <sip:b@h>", "Path: nobody"], because(400, "a Path cannot be read")),
        (vec!["Contact: <sip:b@h>, <sip:c@h>;expires=59"], "423; Min-Expires: 60".into()),
        (vec!["Contact: <sip:b@h>", "Expires: 1"], "423; Min-Expires: 60".into()),
        (ten.iter().map(String::as_str).collect(), because(403, "at most 10 bindings a user")),
        (twenty_one.iter().map(String::as_str).collect(), because(403, "too many contacts")),
        (
            vec![r#"Contact: <sip:b@h>;+sip.instance="<urn:x>";reg-id=1, <sip:c@h>"#],
            because(400, "one contact with a reg-id at a time"),
        ),
    ];
    for (headers, refusal) in rows {
        assert_eq!(told(desk.register(&headers).unwrap_err()), refusal, "{headers:?}");
        assert_eq!(desk.contacts(), [("sip:a@h", 3_600)]);
        assert_eq!(desk.changes(), []);
    }
}

#[test]
fn an_hour_is_never_too_brief() {
    let mut desk = Desk::new();
    desk.limits.min_expires_s = 7_000;
    let brief = desk.register(&["Contact: <sip:a@h>;expires=3599"]).unwrap_err();
    assert_eq!(told(brief), "423; Min-Expires: 7000");
    desk.register(&["Contact: <sip:a@h>;expires=3600"]).unwrap();
    desk.register(&["Contact: <sip:a@h>;expires=0"]).unwrap();
    assert_eq!(desk.contacts(), []);
}

#[test]
fn within_a_call_id_only_a_higher_cseq_counts() {
    let mut desk = Desk::new();
    let one = ["Contact: <sip:a@h>;expires=100"];
    desk.cseq = 4;
    desk.register(&one).unwrap();
    desk.wait(10);
    let again = desk.again(&one).unwrap();
    assert_eq!((again.changes.len(), listed(&again)), (0, vec!["<sip:a@h>;expires=90"]));
    // What else it brings this time changes nothing either.
    assert_eq!(desk.again(&["Contact: <sip:a@h>, <sip:b@h>"]).unwrap(), again);
    desk.cseq = 4;
    assert_eq!(told(desk.again(&one).unwrap_err()), because(500, "an older request of this Call-ID"));
    assert_eq!(desk.again(&["Contact: *", "Expires: 0"]).unwrap_err().status, 500);
    desk.cseq = 5;
    let star = desk.again(&["Contact: *", "Expires: 0"]).unwrap_err();
    assert_eq!(star.status, 500, "it cannot be the same request");
    // Another contact is another matter, and so is another Call-ID.
    desk.again(&["Contact: <sip:b@h>"]).unwrap();
    desk.call_id = "two".into();
    desk.cseq = 1;
    desk.again(&["Contact: <sip:a@h>;expires=0"]).unwrap();
    assert_eq!(desk.contacts(), [("sip:b@h", 3_600)]);
}

#[test]
fn a_repetition_is_told_from_news() {
    let mut desk = Desk::new();
    let mut repeats = |headers: &[&str], cseq| {
        let message = request(&desk.call_id, cseq, headers);
        let repeated = desk.locations.repeat(1, &message.view(), desk.path, &desk.limits, desk.now);
        desk.locations.register(1, &message.view(), desk.path, &desk.limits, desk.now).unwrap();
        repeated.map(|repeated| repeated.changes.len())
    };
    for (headers, cseq, repeated) in [
        (vec!["Contact: <sip:a@h>"], 1, None),
        (vec!["Contact: <sip:a@h>"], 1, Some(0)),
        (vec![], 2, Some(0)),
        (vec!["Contact: <sip:a@h>"], 2, None),
        (vec!["Contact: <sip:a@h>;expires=0"], 3, None),
        (vec!["Contact: <sip:a@h>;expires=0"], 3, Some(0)),
        (vec!["Contact: *", "Expires: 0"], 4, Some(0)),
    ] {
        assert_eq!(repeats(&headers, cseq), repeated, "{headers:?} {cseq}");
    }
}

#[test]
fn contacts_are_compared_as_uris() {
    let mut desk = Desk::new();
    desk.register(&["Contact: <sip:%61@10.0.0.7:5060;transport=udp;x=1>"]).unwrap();
    for (contact, count) in [
        ("<sip:a@10.0.0.7:5060;Transport=UDP>", 1),
        ("<sip:a@10.0.0.7:5060;transport=tcp>", 2),
        ("<sip:a@10.0.0.7;transport=udp>", 3),
        ("<sip:A@10.0.0.7:5060;transport=udp>", 4),
    ] {
        desk.register(&[&format!("Contact: {contact}")]).unwrap();
        assert_eq!(desk.contacts().len(), count, "{contact}");
    }
}

#[test]
fn a_device_replaces_its_own_flow() {
    let mut desk = Desk::new();
    let of = |contact: &str, instance: &str, more: &str| {
        format!("<sip:{contact}>;+sip.instance=\"<urn:uuid:{instance}>\"{more}")
    };
    for (contact, instance, more, contacts) in [
        ("a@h", "1", ";reg-id=1", vec!["sip:a@h"]),
        ("b@h", "1", ";reg-id=1", vec!["sip:b@h"]),
        ("b@h", "1", ";reg-id=2", vec!["sip:b@h", "sip:b@h"]),
        ("c@h", "2", ";reg-id=1", vec!["sip:c@h", "sip:b@h", "sip:b@h"]),
        ("d@h", "2", ";reg-id=1;expires=0", vec!["sip:b@h", "sip:b@h"]),
        // Without a reg-id a device is at one place at a time.
        ("e@h", "3", "", vec!["sip:e@h", "sip:b@h", "sip:b@h"]),
        ("f@h", "3", "", vec!["sip:f@h", "sip:b@h", "sip:b@h"]),
    ] {
        desk.register(&[&format!("Contact: {}", of(contact, instance, more))]).unwrap();
        let got: Vec<&str> = desk.contacts().iter().map(|c| c.0).collect();
        assert_eq!(got, contacts, "{contact} {instance}{more}");
    }
    // Several in one request are several places.
    desk.register(&[&format!("Contact: {}, {}", of("f@h", "3", ""), of("g@h", "3", ""))]).unwrap();
    assert_eq!(desk.contacts().len(), 4);
    // Without an instance a reg-id says nothing.
    let registered = desk.register(&["Contact: <sip:z@h>;reg-id=1"]).unwrap();
    assert_eq!(listed(&registered)[0], "<sip:z@h>;expires=3600");
}

#[test]
fn flows_are_kept_where_they_can_be() {
    let contact = r#"Contact: <sip:x@x.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1"#;
    let via = "Via: SIP/2.0/WSS y.invalid;branch=z9hG4bKb";
    for (path, headers, outbound) in [
        (wss(1), vec!["Supported: path, outbound"], true),
        (wss(1), vec!["Supported: path"], false),
        (wss(1), vec!["Supported: outbound", via], false),
        (wss(1), vec!["Supported: outbound", via, "Path: <sip:p;lr;ob>"], true),
        (wss(1), vec!["Supported: outbound", via, "Path: <sip:p;lr>"], false),
        // We answer no STUN, which would have to keep a flow of datagrams.
        (udp("10.0.0.7:5060"), vec!["Supported: outbound"], false),
    ] {
        let mut desk = Desk { path, ..Desk::new() };
        let registered = desk.register(&[&[contact][..], &headers].concat()).unwrap();
        assert_eq!(registered.headers.contains(&("Require", "outbound".into())), outbound, "{headers:?}");
        assert_eq!(listed(&desk.register(&["Contact: *", "Expires: 0"]).unwrap()), [""; 0]);
    }
}

#[test]
fn where_calls_go() {
    let (outside, proxy) = ("198.51.100.7:31000", "<sip:198.51.100.9;lr>");
    let path_of = |value: &str| format!("Path: {value}");
    let (one, two) = (path_of(proxy), path_of("<sip:198.51.100.9;lr>, <sip:q;lr>"));
    for (path, headers, uri, remote, route) in [
        (udp(outside), vec!["Contact: <sip:a@10.0.0.7:5060;ob>"], "sip:a@10.0.0.7:5060;ob", outside, vec![]),
        (udp(outside), vec!["Contact: <sip:a@h?Route=%3Csip:x%3E>"], "sip:a@h", outside, vec![]),
        (udp(outside), vec!["Contact: <sip:a?b@h?c>"], "sip:a?b@h", outside, vec![]),
        (
            udp(outside),
            vec!["Contact: <sip:a@h>", "Supported: path", &two],
            "sip:a@h",
            "198.51.100.9:5060",
            vec![proxy, "<sip:q;lr>"],
        ),
        (udp(outside), vec!["Contact: <sip:a@h>", &one], "sip:a@h", outside, vec![]),
        (
            wss(9),
            vec!["Contact: <sip:a@x.invalid>", "Supported: path", &one],
            "sip:a@x.invalid",
            "203.0.113.5:9",
            vec![proxy],
        ),
    ] {
        let mut desk = Desk { path, ..Desk::new() };
        desk.register(&headers).unwrap();
        let expected = Target {
            request_uri: uri.into(),
            path: Path { remote: remote.parse().unwrap(), ..path },
            route: route.into_iter().map(str::to_owned).collect(),
        };
        assert_eq!(desk.locations.bindings(1).next().unwrap().target(), expected, "{headers:?}");
    }
}

/// Header fields may be folded, and hold what breaks the line of another message.
#[test]
fn what_is_kept_stays_in_its_line() {
    let text = "REGISTER sip:example.com SIP/2.0\r\nCall-ID: one\r\nCSeq: 1 REGISTER\r\nSupported:\r\n path\r\n\
        User-Agent: a\r\n b\r\nPath: <sip:p;lr>\r\n ;x=\0,\r\n <sip:q;lr>\r\n\
        Contact:\r\n <sip:a@h>\r\n ;+sip.instance=\"<urn\r\n :x>\"\r\n ;expires\r\n =60\r\n\r\n";
    let mut desk = Desk::new();
    let register = |desk: &mut Desk, text: &str| {
        let view = crate::View::parse(text.as_bytes()).unwrap();
        desk.locations.register(1, &view, desk.path, &desk.limits, desk.now)
    };
    let registered = register(&mut desk, text).unwrap();
    let lines: Vec<&str> = registered.headers.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(lines, ["<sip:a@h>;expires=60", "<sip:p;lr>   ;x= , <sip:q;lr>"]);
    let binding = desk.locations.bindings(1).next().unwrap();
    assert_eq!((binding.instance(), binding.user_agent()), (None, None));
    assert_eq!(register(&mut desk, &text.replace("one", "o\0e")).unwrap_err().status, 400);
}

#[test]
fn the_most_wanted_comes_first() {
    let mut desk = Desk::new();
    for (contact, order) in [
        ("<sip:a@h>;q=0.5", "a"),
        ("<sip:b@h>", "ba"),
        ("<sip:c@h>;q=0.25", "bac"),
        ("<sip:d@h>;q=0.5", "bdac"),
        ("<sip:e@h>;q=1.0", "ebdac"),
        ("<sip:a@h>;q=0.5", "ebadc"),
        ("<sip:b@h>;q=0", "eadcb"),
        ("<sip:f@h>;q=much", "feadcb"),
    ] {
        desk.register(&[&format!("Contact: {contact}")]).unwrap();
        let got: String = desk.contacts().iter().map(|(uri, _)| &uri[4..5]).collect();
        assert_eq!(got, order, "{contact}");
    }
    let q: Vec<u16> = desk.locations.bindings(1).map(Binding::q).collect();
    assert_eq!(q, [1_000, 1_000, 500, 500, 250, 0]);
}

#[test]
fn the_lost_make_room() {
    let mut desk = Desk { path: wss(1), ..Desk::new() };
    desk.limits.max_bindings = 2;
    desk.register(&["Contact: <sip:a@x.invalid>"]).unwrap();
    desk.path = wss(2);
    desk.register(&["Contact: <sip:b@x.invalid>"]).unwrap();
    assert_eq!(desk.register(&["Contact: <sip:c@x.invalid>"]).unwrap_err().status, 403);
    assert_eq!(desk.locations.lost(wss(1)), [1]);
    let registered = desk.register(&["Contact: <sip:c@x.invalid>"]).unwrap();
    assert!(matches!(registered.changes[..], [Change::Removed { user: 1, key: 1 }, Change::Saved(_)]));
    let got: Vec<&str> = desk.contacts().iter().map(|c| c.0).collect();
    assert_eq!(got, ["sip:c@x.invalid", "sip:b@x.invalid"]);
    // One that goes as another comes needs no room.
    desk.register(&["Contact: <sip:b@x.invalid>;expires=0, <sip:d@x.invalid>"]).unwrap();
}

#[test]
fn what_is_stored() {
    let mut desk = Desk { path: udp("198.51.100.7:31000"), ..Desk::new() };
    let agent = format!("User-Agent: {}", "ü".repeat(100));
    let contact =
        r#"Contact: "A" <sip:a@10.0.0.7:5060>;q=0.7;+sip.instance="<urn:uuid:1>";audio;expires=600"#;
    let registered = desk.register(&[contact, "Supported: path", "Path: <sip:p;lr>", &agent]).unwrap();
    let saved = Saved {
        user: 1,
        key: 1,
        contact: "sip:a@10.0.0.7:5060".into(),
        route: "<sip:p;lr>".into(),
        call_id: "one".into(),
        cseq: 1,
        q: 700,
        instance: Some("<urn:uuid:1>".into()),
        reg_id: 0,
        user_agent: Some("ü".repeat(64)),
        expires_s: 600,
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "198.51.100.7:31000".parse().unwrap(),
    };
    assert_eq!(registered.changes, [Change::Saved(Box::new(saved))]);
    let lines = registered.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
    insta::assert_snapshot!(lines.collect::<String>(), @r#"
    Contact: <sip:a@10.0.0.7:5060>;q=0.700;+sip.instance="<urn:uuid:1>";expires=600
    Path: <sip:p;lr>
    "#);
}
