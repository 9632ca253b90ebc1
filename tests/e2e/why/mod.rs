//! "Why did it fail": each cause that the ladder can name is provoked on the wire and told in words that help.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::wire::{Act, KEY, Peer, Sends};
use crate::server::{FINAL, Server};
use crate::tool;

mod carrier;
mod incoming;
mod nat;
mod reach;
mod restart;
mod sound;

const PASSWORD: &str = "why-password-0815";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

// SDP from its m-line's port on.
const PCMU: &str = "[port] RTP/AVP 0\r\n";
const G729: &str = "[port] RTP/AVP 18\r\n";
const KEYED: &str = "[port] RTP/SAVP 0\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:[key]\r\n";

/// A call and what is to be told of it; empty where nothing was wrong. `[peer]` stands for the peer's address, `[sent]`
/// for the packets that were sent on the leg with trouble, `[tries]` for how often the message was that was repeated
/// most, `[number]` for the number.
struct Row {
    act: Act,
    order: Value,
    code: &'static str,
    says: &'static [&'static str],
    fix: &'static str,
}

/// One that is refused with this status line.
fn refused(
    status: &'static str,
    code: &'static str,
    says: &'static [&'static str],
    fix: &'static str,
) -> Row {
    let act = Act { status, ..Act::default() };
    Row { act, order: json!({}), code, says, fix }
}

/// One that is answered with this SDP and this sound.
fn answered(
    sdp: &'static str,
    sound: Sends,
    code: &'static str,
    says: &'static [&'static str],
    fix: &'static str,
) -> Row {
    let act = Act { status: "200 OK", sdp, sound, ..Act::default() };
    Row { act, order: json!({}), code, says, fix }
}

impl Row {
    fn headers(mut self, headers: &'static str) -> Self {
        self.act.headers = headers;
        self
    }

    fn sdp(mut self, sdp: &'static str) -> Self {
        self.act.sdp = sdp;
        self
    }

    fn later(mut self, headers: &'static str, later: &'static str) -> Self {
        (self.act.headers, self.act.later) = (headers, later);
        self
    }

    /// What the order says beside whom to call.
    fn order(mut self, order: Value) -> Self {
        self.order = order;
        self
    }
}

/// The number that belongs to a row.
fn number(row: usize) -> String {
    format!("+1202556{row:04}")
}

#[track_caller]
fn trunk(server: &mut Server, name: &str, host: &str, port: u16, more: Value) {
    let mut body = json!({
        "name": name, "host": host, "port": port, "caller_id": "+12025550100", "default": name == "carrier",
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    server.post("/v1/trunks", body).expect(201);
}

/// Orders a call; its id.
#[track_caller]
fn order(server: &Server, to: &str, more: &Value) -> String {
    let mut body = json!({
        "to": to, "from": "+12025550100", "trunk": "carrier", "flow": [{ "pause": { "seconds": 1.6 } }],
        "ring_timeout_s": 15,
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more.clone());
    }
    let reply = server.post("/v1/calls", body).expect(201).json();
    reply["id"].as_str().expect("an id").to_owned()
}

/// Orders all at once, then looks at what is told of each.
#[track_caller]
fn judge(server: &Server, peer: SocketAddr, rows: &[Row]) {
    let ids: Vec<String> =
        rows.iter().enumerate().map(|(n, row)| order(server, &number(n), &row.order)).collect();
    for (n, (id, row)) in ids.iter().zip(rows).enumerate() {
        server.wait_for_state(id, &FINAL, Duration::from_secs(30));
        check(server, id, row.code, row.says, row.fix, &peer.to_string(), &number(n));
    }
}

/// Looks at the ladder of a call, as JSON and as text; the ladder.
#[track_caller]
fn check(server: &Server, id: &str, code: &str, says: &[&str], fix: &str, peer: &str, number: &str) -> Value {
    let path = format!("/v1/calls/{id}/ladder");
    let ladder = server.get(&path).expect(200).json();
    let drawn = server.get(&format!("{path}?format=text")).expect(200).text();
    let why = &ladder["why"];
    if code.is_empty() {
        assert!(why.is_null() && !drawn.contains("\nwhy "), "{why:#}\n{drawn}");
    } else {
        assert_eq!(why["code"], code, "{number}: {why:#}\n{drawn}");
        let text = why["text"].as_str().expect("a text");
        let one_way =
            ladder["sound"].as_array().and_then(|all| all.iter().find(|sound| sound["received"] == 0));
        let sent =
            one_way.or(ladder["sound"].get(0)).map(|sound| sound["sent"].to_string()).unwrap_or_default();
        let repeats =
            ladder["messages"].as_array().and_then(|all| all.iter().map(|it| it["repeats"].as_u64()).max());
        let tries = (repeats.flatten().unwrap_or_default() + 1).to_string();
        for part in says {
            let part = part
                .replace("[tries]", &tries)
                .replace("[peer]", peer)
                .replace("[sent]", &sent)
                .replace("[number]", number);
            assert!(text.contains(&part), "{part:?} is not in {text:?}\n{drawn}");
        }
        assert!(why["fix"].as_str().unwrap_or_default().contains(fix), "{fix:?} is not in {why:#}");
        assert!(drawn.contains(&format!("why   {text}\n")), "{drawn}");
        assert!(fix.is_empty() || drawn.contains("\nfix   "), "{drawn}");
    }
    let all = ladder.to_string() + &drawn;
    for secret in [PASSWORD, KEY] {
        assert!(!all.contains(secret), "{secret} is shown");
    }
    for shown in all.match_indices("response=").map(|(at, _)| &all[at + 9..]) {
        assert!(
            shown.trim_start_matches(['\\', '"']).starts_with("xxxx"),
            "an answer to a challenge is shown"
        );
    }
    ladder
}

/// A peer for these rows.
fn peer(rows: &[Row]) -> Peer {
    Peer::start(LOOPBACK, rows.iter().enumerate().map(|(n, row)| (number(n), row.act)).collect())
}

/// The newest call to a number that came in, once it is over.
#[track_caller]
fn came_in(server: &Server, to: &str) -> String {
    let to = to.replace('+', "%2B");
    tool::wait_for("the call that came in, and its end", Duration::from_secs(40), || {
        let list = server.get("/v1/calls?limit=200").expect(200).json();
        let calls = list["data"].as_array()?;
        let call = calls.iter().find(|call| call["to"] == to.replace("%2B", "+") && call["face"] == "sip")?;
        let is_over = FINAL.contains(&call["status"].as_str()?);
        is_over.then(|| call["id"].as_str().unwrap_or_default().to_owned())
    })
}

/// A trunk that may call in from `source`.
#[track_caller]
fn trunk_in(server: &mut Server, host: IpAddr, port: u16, source: &str) {
    let settings = json!({ "settings": { "inbound": { "sources": [source] } } });
    trunk(server, "carrier", &host.to_string(), port, settings);
}

/// Words in quotes that look like the name of a cause.
fn names(source: &str) -> Vec<&str> {
    let is_name = |word: &&str| {
        word.contains('_')
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && !word.starts_with('_')
    };
    source.split('"').filter(is_name).collect()
}

#[test]
fn no_explanation_goes_without_a_call() {
    let told = [
        include_str!("../../../crates/trunkline/src/insight/why.rs"),
        include_str!("../../../crates/trunkline/src/insight/why/sound.rs"),
    ];
    let calls = [
        include_str!("carrier.rs"),
        include_str!("incoming.rs"),
        include_str!("nat.rs"),
        include_str!("reach.rs"),
        include_str!("restart.rs"),
        include_str!("sound.rs"),
    ]
    .concat();
    let causes = names(include_str!("../../../crates/call/src/cause/reason.rs"));
    let found: Vec<&str> =
        told.iter().flat_map(|source| names(source)).filter(|name| !causes.contains(name)).collect();
    assert!(found.len() > 25, "{found:?}");
    let missing: Vec<&&str> = found.iter().filter(|name| !calls.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "nothing provokes {missing:?}");
}
