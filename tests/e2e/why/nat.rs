//! Addresses that lead nowhere from outside, and answers that are never confirmed.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use serde_json::json;

use super::{LOOPBACK, PCMU, answered, came_in, check, judge, number, refused, trunk, trunk_in};
use crate::peers::wire::{Caller, Peer, Sends, Then};
use crate::ports;
use crate::server::Server;
use crate::tool;

const BEHIND_NAT: &str = "[port] RTP/AVP 0\r\nc=IN IP4 10.0.0.7\r\n";

/// The test below, within a network of its own in which addresses are not loopback.
const INSIDE: &str = "why::nat::inside_a_network_of_its_own";

#[test]
fn what_stands_behind_nat_and_what_nobody_confirms() {
    let network = "ip link set lo up && for a in 192.168.7.1 192.168.7.2 203.0.113.9 10.0.0.7; do ip addr add $a/32 dev lo; done";
    let is_possible = Command::new("unshare").args(["-rn", "sh", "-c", network]).output();
    let inside = match is_possible.is_ok_and(|output| output.status.success()) {
        false => {
            tool::skip("no network of its own can be had (unshare -rn, ip of iproute2)");
            None
        }
        true => {
            let run = format!("{network} && exec \"$0\" \"$@\"");
            let own = std::env::current_exe().expect("this program");
            let mut command = Command::new("unshare");
            command.args(["-rn", "sh", "-c", &run]).arg(own);
            command.args([INSIDE, "--exact", "--ignored", "--nocapture"]);
            Some(std::thread::spawn(move || command.output().expect("unshare runs")))
        }
    };
    // Meanwhile somebody on loopback never confirms our answer.
    let mut server = Server::for_trunks();
    trunk_in(&mut server, LOOPBACK, ports::take(1), "127.0.0.1/32");
    unconfirmed(
        &server,
        server.sip(),
        (LOOPBACK, Sends::Packets(0)),
        &["We answered ", " times within ", "no ACK came"],
        "advertised SIP address",
    );
    if let Some(inside) = inside {
        let output = inside.join().expect("it ended");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    }
}

/// Calls in and never confirms the answer.
#[track_caller]
fn unconfirmed(server: &Server, sip: SocketAddr, from: (IpAddr, Sends), says: &[&str], fix: &str) {
    let (ip, sound) = from;
    let route = json!([{ "flow": [{ "pause": { "seconds": 60 } }] }]);
    server.post("/v1/numbers", json!({ "number": number(0), "route": route })).expect(201);
    let user = ("+12025580000".to_owned(), None);
    let caller = Caller { to: number(0), from: user, sdp: PCMU, sound, then: Then::NeverConfirms };
    caller.call(ip, sip).join().expect("a caller that is content");
    let id = came_in(server, &number(0));
    check(server, &id, "no_ack", says, fix, "", &number(0));
}

#[test]
#[ignore = "run by another test, within a network of its own"]
fn inside_a_network_of_its_own() {
    let public: IpAddr = "203.0.113.9".parse().expect("an address");
    let external = "Set external_ip";
    let rows = [
        refused("", "nothing_came_back", &["to [peer] over UDP, and nothing came back"], external)
            .order(json!({ "ring_timeout_s": 2 })),
        answered(
            PCMU,
            Sends::Nothing,
            "sound_to_private_address",
            &[
                "We sent [sent] packets of sound and received 0",
                "send it to 192.168.7.1:",
                "inside our own network",
            ],
            external,
        ),
        answered(
            BEHIND_NAT,
            Sends::AndHearsNothing,
            "sound_to_their_private_address",
            &["none of the [sent] packets", "to 10.0.0.7:", "inside their own network"],
            "its public address",
        )
        .order(json!({ "flow": [{ "pause": { "seconds": 3 } }] })),
        refused(
            "",
            "no_connection",
            &["No connection to 198.51.100.7:5060 over TCP could be made: Network is"],
            "firewall",
        )
        .order(json!({ "trunk": "away" })),
    ];
    let own: SocketAddr = ([192, 168, 7, 1], ports::take(2)).into();
    let mut server = Server::setup()
        .env("TRUNKLINE_COUNTRIES", "US")
        .env("TRUNKLINE_SIP_LISTEN", own.to_string())
        .env("TRUNKLINE_SILENCE_TIMEOUT", "4s")
        .start();
    let acts = rows.iter().enumerate().map(|(n, row)| (number(n), row.act)).collect();
    let peer = Peer::start(public, acts);
    trunk_in(&mut server, public, peer.address.port(), "203.0.113.9/32");
    trunk(&mut server, "away", "198.51.100.7", 5060, json!({ "transport": "tcp" }));
    let says = ["We answered ", "We told them to reach us at sip:", "192.168.7.1", "inside our own network"];
    std::thread::scope(|scope| {
        scope.spawn(|| unconfirmed(&server, own, (public, Sends::Nothing), &says, external));
        judge(&server, peer.address, &rows);
    });
}
