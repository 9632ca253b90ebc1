//! Sound that goes one way only, breaks off or cannot be understood; calls that are lost while it is there.

use serde_json::json;

use super::{KEYED, PCMU, answered, judge, peer, trunk};
use crate::peers::wire::Sends;
use crate::server::Server;

/// The tag is that of no suite in our offer.
const UNUSABLE: &str = "[port] RTP/SAVP 0\r\na=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:[key]\r\n";
const LISTENS: &str = "[port] RTP/AVP 0\r\na=recvonly\r\n";

#[test]
fn what_sound_goes_wrong() {
    let long = || json!({ "flow": [{ "pause": { "seconds": 20 } }] });
    let timer = "Require: timer\r\nSession-Expires: 10;refresher=uac\r\n";
    let rows = [
        answered(PCMU, Sends::Packets(0), "", &[], ""),
        answered(
            PCMU,
            Sends::Nothing,
            "no_sound_came",
            &["We sent [sent] packets of sound and received 0: theirs did not reach us"],
            "let UDP through to rtp_ports",
        ),
        answered(
            PCMU,
            Sends::Packets(18),
            "sound_of_another_codec",
            &["We sent [sent] packets", "none of the codecs agreed on"],
            "one codec only",
        ),
        answered(LISTENS, Sends::Nothing, "sound_on_hold", &["We sent [sent] packets", "(a=recvonly)"], "ask the other side"),
        answered(
            KEYED,
            Sends::Packets(0),
            "sound_not_decrypted",
            &["We sent [sent] packets of sound and received 0 that could be decrypted", "do not fit the keys"],
            "srtp to none",
        )
        .order(json!({ "trunk": "keyed" })),
        answered(
            PCMU,
            Sends::Packets(0),
            "no_common_codec",
            &["We offered PCMU, PCMA encrypted by SDES, and they answered with PCMU."],
            "srtp",
        )
        .order(json!({ "trunk": "keyed" })),
        answered(
            UNUSABLE,
            Sends::Nothing,
            "media_failed",
            &["encrypts audio with no key that can be used", "AES_CM_128_HMAC_SHA1_32)"],
            "srtp",
        )
        .order(json!({ "trunk": "keyed" })),
        answered(
            PCMU,
            Sends::AndHearsNothing,
            "no_sound_arrived",
            &["They report that none of the [sent] packets of sound we sent arrived."],
            "let UDP through from this server",
        )
        .order(json!({ "flow": [{ "pause": { "seconds": 3 } }] })),
        answered(PCMU, Sends::Some(25), "sound_broke_off", &["at first (","packets), then no more"], "lost its network")
            .order(long()),
        answered(PCMU, Sends::Nothing, "no_sound_came", &["We sent [sent] packets of sound and received 0"], "rtp_ports")
            .order(long()),
        answered(PCMU, Sends::Packets(0), "max_duration", &["longest duration of 2 s"], "Raise the longest duration")
            .order(json!({ "max_duration_s": 2, "flow": [{ "pause": { "seconds": 20 } }] })),
        answered(
            PCMU,
            Sends::Packets(0),
            "session_expired",
            &["We asked [tries] times whether the call is still up (UPDATE, session timer), and nothing came back."],
            "session timer off",
        )
        .later(timer, "nothing")
        .order(long()),
        answered(
            PCMU,
            Sends::Packets(0),
            "session_expired",
            &["no longer confirmed that the call is up (session timer)"],
            "session timer off",
        )
        .later("Require: timer\r\nSession-Expires: 10;refresher=uas\r\n", "")
        .order(long()),
        answered(
            PCMU,
            Sends::Packets(0),
            "call_forgotten",
            &["no longer know of the call (481 Gone, to our UPDATE)"],
            "started anew",
        )
        .later(timer, "481 Gone")
        .order(long()),
    ];
    let mut server =
        Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_SILENCE_TIMEOUT", "4s").start();
    let peer = peer(&rows);
    let port = peer.address.port();
    trunk(&mut server, "carrier", "127.0.0.1", port, json!({}));
    let keyed = json!({ "settings": { "srtp": "required", "srtp_over_plain": true } });
    trunk(&mut server, "keyed", "127.0.0.1", port, keyed);
    judge(&server, peer.address, &rows);
}
