//! Calls that come in, from a trunk or a phone, and what becomes of them.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{G729, KEYED, LOOPBACK, PASSWORD, PCMU, came_in, check, number, trunk, trunk_in};
use crate::peers::wire::{Act, Caller, Peer, Sends, Then};
use crate::ports;
use crate::server::Server;

/// A call that comes in: where its number leads, what the caller does, and what is to be told.
struct In {
    route: Value,
    /// The user who calls; none: the trunk.
    user: Option<&'static str>,
    sdp: &'static str,
    sound: Sends,
    then: Then,
    code: &'static str,
    says: &'static [&'static str],
    fix: &'static str,
}

fn led(route: Value, code: &'static str, says: &'static [&'static str], fix: &'static str) -> In {
    In { route, user: None, sdp: PCMU, sound: Sends::Packets(0), then: Then::Waits, code, says, fix }
}

#[test]
fn what_calls_that_come_in_fail_of() {
    let acts: Vec<(String, Act)> = [
        ("180 Ringing", ""),
        ("403 Forbidden", ""),
        ("486 Busy Here", ""),
        ("200 OK", PCMU),
        ("200 OK", PCMU),
        ("200 OK", PCMU),
    ]
    .iter()
    .enumerate()
    .map(|(n, (status, sdp))| {
        let sound = [Sends::Nothing, Sends::Some(25), Sends::Packets(0)][n.saturating_sub(3)];
        (format!("+1202557{n:04}"), Act { status, sdp, sound, ..Act::default() })
    })
    .collect();
    let called: Vec<String> = acts.iter().map(|(number, _)| number.clone()).collect();
    let mut server =
        Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_SILENCE_TIMEOUT", "4s").start();
    server.secret(PASSWORD);
    let peer = Peer::start(LOOPBACK, acts);
    trunk_in(&mut server, LOOPBACK, peer.address.port(), "127.0.0.1/32");
    let nobody = ports::take(1);
    trunk(&mut server, "nobody", "127.0.0.1", nobody, json!({ "transport": "tcp" }));
    for user in ["alice", "bob", "carol"] {
        server.post("/v1/users", json!({ "username": user, "password": PASSWORD })).expect(201);
    }
    let phone = Act { status: "488 Not Acceptable Here", ..Act::default() };
    let _phone = Peer::phone(server.sip(), "carol", PASSWORD, phone);
    let dial = |n: usize, seconds: u32| json!([{ "dial": called[n], "timeout_s": seconds }]);
    let flow = |steps: Value| json!([{ "flow": steps }]);
    let rows = [
        led(
            json!([{ "reject": { "status": 603 } }]),
            "refused_by_us",
            &["to \"[number]\" (603 Decline)"],
            "change the route",
        ),
        led(json!([{ "user": "bob" }]), "unanswered", &["nobody to ring", "registered"], "Register a phone"),
        In {
            sdp: G729,
            ..led(
                flow(json!([{ "pause": { "seconds": 1 } }])),
                "no_common_codec",
                &["offered G729, of which we may use nothing (488 Not Acceptable Here)"],
                "codecs",
            )
        },
        In {
            sdp: KEYED,
            ..led(
                flow(json!([{ "pause": { "seconds": 1 } }])),
                "no_common_codec",
                &["offered PCMU encrypted by SDES", "encryption is off here"],
                "srtp",
            )
        },
        led(dial(0, 2), "no_answer", &["It rang for 2 s"], "ring longer"),
        In {
            then: Then::GivesUp(Duration::from_millis(1200)),
            ..led(dial(0, 20), "caller_gave_up", &["The caller gave up after "], "")
        },
        led(dial(1, 10), "forbidden", &["(403 Forbidden)", "From was sip:+1202556"], "caller ID"),
        In { user: Some("alice"), ..led(dial(2, 10), "busy", &["busy (486 Busy Here)"], "later") },
        led(
            json!([{ "user": "carol" }]),
            "no_common_codec",
            &["We offered ", "(488 Not Acceptable Here)"],
            "srtp",
        ),
        led(
            flow(json!([{ "dial": { "to": called[2], "trunk": "nobody" } }])),
            "connection_refused",
            &["refused"],
            "Nothing listens there",
        ),
        In {
            sound: Sends::Nothing,
            ..led(
                flow(json!([{ "pause": { "seconds": 2 } }])),
                "no_sound_came",
                &["We sent [sent] packets of sound and received 0"],
                "rtp_ports",
            )
        },
        led(
            dial(3, 10),
            "no_sound_came",
            &["We sent [sent] packets of sound to the callee and received 0"],
            "rtp_ports",
        ),
        led(
            dial(4, 10),
            "sound_broke_off",
            &["Sound came from the callee at first (", "packets), then no more"],
            "lost its network",
        ),
        In {
            sound: Sends::Nothing,
            ..led(
                dial(5, 10),
                "no_sound_came",
                &["We sent [sent] packets of sound to the caller and received 0"],
                "rtp_ports",
            )
        },
    ];
    let calls: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(n, row)| {
            server.post("/v1/numbers", json!({ "number": number(n), "route": row.route })).expect(201);
            let from = match row.user {
                Some(user) => (user.to_owned(), Some(PASSWORD)),
                None => (format!("+1202558{n:04}"), None),
            };
            let caller = Caller { to: number(n), from, sdp: row.sdp, sound: row.sound, then: row.then };
            // A phone is not where the trunk is.
            let ip = if row.user.is_some() { Ipv4Addr::new(127, 0, 0, 2).into() } else { LOOPBACK };
            caller.call(ip, server.sip())
        })
        .collect();
    for (n, (row, call)) in rows.iter().zip(calls).enumerate() {
        call.join().expect("a caller that is content");
        let id = came_in(&server, &number(n));
        let ladder = check(&server, &id, row.code, row.says, row.fix, "", &number(n));
        // Both sides of those that talked are counted.
        if row.says.iter().any(|part| part.contains("the call")) && row.code.contains("sound") {
            let legs: Vec<&str> = ladder["sound"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|sound| sound["leg"].as_str())
                .collect();
            assert_eq!(legs, ["first", "second"], "{ladder:#}");
            let drawn = server.get(&format!("/v1/calls/{id}/ladder?format=text")).expect(200).text();
            for line in ["sound first leg: ", "sound second leg: "] {
                assert!(drawn.contains(line), "{drawn}");
            }
        }
    }
}
