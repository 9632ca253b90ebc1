//! What a carrier says no with, or does not say at all.

use std::time::Duration;

use serde_json::json;

use super::{G729, PASSWORD, PCMU, answered, judge, number, order, peer, refused, trunk};
use crate::peers::wire::Sends;
use crate::server::{FINAL, Server};
use crate::tool;

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"acme\", nonce=\"n1\", algorithm=MD5\r\n";
const REFUSED: &str = "0 RTP/AVP 0\r\n";

#[test]
fn what_a_carrier_refuses() {
    let rows = [
        refused(
            "401 Unauthorized",
            "credentials_missing",
            &["for \"acme\" (401 Unauthorized)", "we gave none", "From was sip:+12025550100@127.0.0.1"],
            "username and password",
        )
        .headers(CHALLENGE),
        refused(
            "401 Unauthorized",
            "credentials_refused",
            &["the user \"4930\" for \"acme\"", "(401 Unauthorized)", "From was sip:+12025550100@127.0.0.1"],
            "Check the trunk's username and password",
        )
        .headers(CHALLENGE)
        .order(json!({ "trunk": "known" })),
        refused(
            "401 Unauthorized",
            "credentials_for_another_realm",
            &["for \"acme\" (401 Unauthorized)", "another realm"],
            "Set the trunk's realm",
        )
        .headers(CHALLENGE)
        .order(json!({ "trunk": "elsewhere" })),
        refused(
            "403 Forbidden",
            "forbidden",
            &["(403 Forbidden)", "From was sip:+12025550100@127.0.0.1"],
            "caller ID is yours",
        ),
        refused(
            "438 Invalid Identity Header",
            "stir_shaken",
            &["(438 ", "From was "],
            "a caller ID that the carrier signs",
        ),
        refused("608 Rejected", "blocked_by_network", &["(608 Rejected)", "From was "], "analytics"),
        refused("603 Network Blocked", "blocked_by_network", &["(603 Network Blocked)"], "analytics"),
        refused(
            "404 Not Found",
            "number_unknown",
            &["do not know \"[number]\"", "(404 Not Found)"],
            "country code",
        ),
        refused(
            "484 Address Incomplete",
            "number_unknown",
            &["\"[number]\"", "(484 Address Incomplete)"],
            "prefix",
        ),
        refused("485 Ambiguous", "ambiguous", &["more than one", "(485 Ambiguous)"], "whole number"),
        refused(
            "488 Not Acceptable Here",
            "no_common_codec",
            &["We offered PCMU, PCMA", "(488 Not Acceptable Here: Media type not available)"],
            "codecs and srtp",
        )
        .headers("Warning: 304 acme.test \"Media type not available\"\r\n"),
        refused(
            "606 Not Acceptable",
            "no_common_codec",
            &["We offered PCMU, PCMA", "They have G729."],
            "codecs",
        )
        .sdp(G729),
        answered(
            G729,
            Sends::Nothing,
            "no_common_codec",
            &["We offered PCMU, PCMA, and they answered with G729."],
            "codecs",
        ),
        answered(
            REFUSED,
            Sends::Nothing,
            "media_failed",
            &["(the other side refuses audio (port 0))"],
            "G.711",
        ),
        answered("", Sends::Nothing, "media_failed", &["the body is no SDP"], "G.711"),
        refused("408 Request Timeout", "network_behind_silent", &["(408 Request Timeout)"], "second trunk"),
        refused("504 Server Time-out", "network_behind_silent", &["(504 Server Time-out)"], "second trunk"),
        refused(
            "302 Moved Temporarily",
            "redirected",
            &["to sip:else@example.com (302 Moved Temporarily)"],
            "Call the new address",
        )
        .headers("Contact: <sip:else@example.com>\r\n"),
        refused("486 Busy Here", "busy", &["busy (486 Busy Here)"], "later"),
        refused("603 Decline", "declined", &["declined (603 Decline)"], ""),
        refused("607 Unwanted", "unwanted", &["blocks calls", "(607 Unwanted)"], ""),
        refused("480 Temporarily Unavailable", "unavailable", &["(480 Temporarily Unavailable)"], "later"),
        refused(
            "503 Service Unavailable",
            "carrier_congestion",
            &["(503 Service Unavailable)"],
            "after 30 s",
        )
        .headers("Retry-After: 30\r\n"),
        refused(
            "500 Server Internal Error",
            "carrier_error",
            &["(500 Server Internal Error)"],
            "ask the carrier",
        ),
        refused("402 Payment Required", "carrier_payment", &["(402 Payment Required)"], "Top up"),
        refused("410 Gone", "number_changed", &["(410 Gone)"], "new number"),
        refused("501 Not Implemented", "not_supported", &["(501 Not Implemented)"], "voice calls"),
        refused("400 Bad Request", "protocol_error", &["(400 Bad Request)"], "domain and transport"),
        refused("482 Loop Detected", "routing_loop", &["(482 Loop Detected)"], "not this server"),
        refused("502 Bad Gateway", "destination_out_of_order", &["(502 Bad Gateway)"], "later"),
        refused("487 Request Terminated", "canceled", &["ended before it was answered"], ""),
        refused(
            "",
            "nothing_came_back",
            &["We sent INVITE [tries] times within ", "to [peer] over UDP", "nothing came back"],
            "firewall",
        )
        .order(json!({ "ring_timeout_s": 2 })),
        refused(
            "100 Trying",
            "went_silent",
            &["[peer] over UDP took the call (100 Trying)", "nothing more"],
            "number's form",
        )
        .order(json!({ "ring_timeout_s": 2 })),
        refused("180 Ringing", "no_answer", &["It rang for 2 s, and nobody answered."], "ring longer")
            .order(json!({ "ring_timeout_s": 2 })),
        refused("180 Ringing", "canceled", &["ended on our side after "], ""),
        refused("180 Ringing", "trunk_full", &["All channels"], "channels")
            .order(json!({ "trunk": "narrow", "ring_timeout_s": 2 })),
        refused("180 Ringing", "paced_out", &["too long for its turn"], "calls_per_second")
            .order(json!({ "trunk": "slow", "ring_timeout_s": 2 })),
    ];
    let mut server = Server::setup().env("TRUNKLINE_COUNTRIES", "US").rtp_ports(256).start();
    server.secret(PASSWORD);
    let peer = peer(&rows);
    let port = peer.address.port();
    let known = json!({ "username": "4930", "password": PASSWORD });
    trunk(&mut server, "carrier", "127.0.0.1", port, json!({}));
    trunk(&mut server, "known", "127.0.0.1", port, known.clone());
    let settings = json!({ "settings": { "realm": "other" }, "username": "4930", "password": PASSWORD });
    trunk(&mut server, "elsewhere", "127.0.0.1", port, settings);
    trunk(&mut server, "narrow", "127.0.0.1", port, json!({ "settings": { "channels": 1, "queue_s": 0 } }));
    trunk(
        &mut server,
        "slow",
        "127.0.0.1",
        port,
        json!({ "settings": { "calls_per_second": 0.01, "queue_s": 1 } }),
    );
    // Those that take the only channel, and the first turn.
    let before: Vec<String> = ["narrow", "slow"]
        .map(|trunk| order(&server, &number(rows.len() - 1), &json!({ "trunk": trunk, "ring_timeout_s": 6 })))
        .into();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let canceled = rows.iter().position(|row| row.says == ["ended on our side after "]).unwrap();
            let found = tool::wait_for("the call that is ended", Duration::from_secs(10), || {
                let list =
                    server.get(&format!("/v1/calls?to=%2B{}", &number(canceled)[1..])).expect(200).json();
                let call = list["data"].get(0).filter(|call| call["status"] == "ringing");
                call.and_then(|call| Some(call["id"].as_str()?.to_owned()))
            });
            server.post(&format!("/api/calls/end/{found}"), json!({})).expect(200);
        });
        judge(&server, peer.address, &rows);
    });
    for id in before {
        server.wait_for_state(&id, &FINAL, Duration::from_secs(10));
    }
}

#[test]
fn ports_that_are_all_in_use() {
    let row = answered(
        PCMU,
        Sends::Packets(0),
        "media_failed",
        &["no RTP port is free (setting rtp_ports)"],
        "rtp_ports",
    );
    let rows = [row];
    let mut server = Server::setup().env("TRUNKLINE_COUNTRIES", "US").rtp_ports(2).start();
    let peer = peer(&rows);
    trunk(&mut server, "carrier", "127.0.0.1", peer.address.port(), json!({}));
    let first = order(&server, &number(0), &json!({}));
    server.wait_for_state(&first, &["in-progress"], Duration::from_secs(5));
    judge(&server, peer.address, &rows);
    server.wait_for_end(&first, "completed");
}
