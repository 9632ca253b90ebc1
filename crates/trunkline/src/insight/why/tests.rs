use sip::Transport;

use super::super::testing::{Script, sdp};
use super::*;

fn outcome(status: &str, code: &str, text: &str, sip: Option<u16>) -> Outcome {
    Outcome { status: status.into(), code: code.into(), text: text.into(), hint: Some("Hint.".into()), sip }
}

fn told(outcome: &Outcome, legs: &[Leg], sound: &[Sound]) -> String {
    match why(&Evidence { outcome: Some(outcome), legs, sound }) {
        Some(Why { code, text, fix }) => format!("{code}: {text}\n    -> {}\n", fix.unwrap_or_default()),
        None => "nothing\n".into(),
    }
}

/// An INVITE and one final response to it.
fn refused(status: &str, headers: &str, body: &str) -> Vec<Leg> {
    let script = Script::udp().request(0, "INVITE", 1, "", &sdp("192.0.2.1", 16384, "8 0", ""));
    let script =
        script.response(30, "100 Trying", "1 INVITE", "", "").response(90, status, "1 INVITE", headers, body);
    vec![script.request(91, "ACK", 1, "", "").leg("first", "acme")]
}

fn incoming(status: &str) -> Vec<Leg> {
    let script = Script::udp().incoming().request(0, "INVITE", 1, "", &sdp("203.0.113.9", 4000, "18 4", ""));
    vec![script.response(2, status, "1 INVITE", "", "").request(3, "ACK", 1, "", "").leg("first", "")]
}

fn failed(code: &str, text: &str, sip: u16) -> Outcome {
    outcome("failed", code, text, Some(sip))
}

#[test]
fn names_certificates_and_connections() {
    let unsent = |code: &str, text: &str| told(&outcome("failed", code, text, None), &[], &[]);
    let dns = |why: &str| {
        unsent(
            "carrier_unresolved",
            &format!(
                "The carrier's host name could not be resolved (sip.acme.test cannot be resolved: {why})."
            ),
        )
    };
    let tls = |why: &str| {
        unsent("carrier_tls", &format!("No encrypted connection to the carrier could be made ({why})."))
    };
    let tcp = |why: &str| {
        unsent("carrier_unreachable", &format!("No connection to the carrier could be made ({why})."))
    };
    let all = [
        dns("there is no such name"),
        dns("it has no address"),
        dns("the name server did not answer"),
        dns("the name server said Server Failure"),
        unsent(
            "carrier_unresolved",
            "The carrier's host name could not be resolved (six.test has no address of the kind SIP is bound to (0.0.0.0:5060; setting sip_listen)).",
        ),
        tls("the certificate is for a.test, not for sip.acme.test"),
        tls("the certificate's issuer is not known; see setting tls_ca_file"),
        tls("the certificate has expired"),
        tls("the certificate is not valid yet"),
        tls("TLS failed: received fatal alert: HandshakeFailure"),
        tcp("the connection was refused"),
        tcp("Network is unreachable (os error 101)"),
        tcp("the connection was closed"),
        tls("the connection was refused"),
        unsent("carrier_unreachable", "No connection to the carrier could be made."),
    ];
    insta::assert_snapshot!(all.concat(), @"
    name_unknown: The name sip.acme.test is not known to DNS.
        -> Check its spelling in the trunk's host.
    name_without_address: The name sip.acme.test is known to DNS, but has no address.
        -> Check the trunk's host: the carrier may mean another name.
    name_server_silent: The name sip.acme.test could not be looked up: the name server did not answer.
        -> Check this machine's name servers, or name others in dns_servers.
    name_server_failed: The name sip.acme.test could not be looked up: the name server said Server Failure.
        -> Check this machine's name servers, or name others in dns_servers.
    name_of_another_kind: six.test has no address of the kind SIP is bound to (0.0.0.0:5060; setting sip_listen).
        -> Give sip_listen an address of that kind, or the trunk a host that has one of ours.
    certificate_of_another_name: No encrypted connection could be made: the certificate is for a.test, not for sip.acme.test.
        -> Set the trunk's host to the name that the certificate is for.
    certificate_issuer_unknown: No encrypted connection could be made: the certificate's issuer is not known; see setting tls_ca_file.
        -> If the carrier signs its certificates itself, name its authority's file in tls_ca_file.
    certificate_expired: No encrypted connection could be made: the certificate has expired.
        -> The carrier has to renew its certificate; check this machine's clock too.
    certificate_not_yet_valid: No encrypted connection could be made: the certificate is not valid yet.
        -> Check this machine's clock.
    tls_failed: No encrypted connection could be made: TLS failed: received fatal alert: HandshakeFailure.
        -> Check the trunk's host and its port for TLS (mostly 5061).
    connection_refused: No connection could be made: the connection was refused.
        -> Nothing listens there: check the trunk's host, port and transport.
    no_connection: No connection could be made: Network is unreachable (os error 101).
        -> Check the trunk's host, port and transport, and that a firewall lets the connection through.
    connection_closed: The connection was made, and then closed without a word.
        -> Something else may listen there, or the carrier does not expect this server: check the trunk's host, port and transport.
    connection_refused: No connection could be made: the connection was refused.
        -> Nothing listens there: check the trunk's host, port and transport.
    no_connection: No connection could be made.
        -> Check the trunk's host, port and transport, and that a firewall lets the connection through.
    ");
}

#[test]
fn what_they_refuse() {
    let credentials = "Authorization: Digest username=\"4930\", realm=\"acme\", response=\"x\"\r\n";
    let challenge = "WWW-Authenticate: Digest realm=\"acme\", nonce=\"n\"\r\n";
    let twice = Script::udp()
        .request(0, "INVITE", 1, "", "")
        .response(9, "401 Unauthorized", "1 INVITE", challenge, "")
        .request(10, "INVITE", 2, credentials, "")
        .response(19, "401 Unauthorized", "2 INVITE", challenge, "");
    let auth = failed("carrier_auth", "The carrier refused the trunk's credentials (401 Unauthorized).", 401);
    let forbidden = failed("carrier_forbidden", "The carrier does not allow this call (403 Forbidden).", 403);
    let warning = "Warning: 304 acme.test \"Media type not available\"\r\n";
    let incompatible = failed(
        "media_incompatible",
        "There is no audio codec that both sides know (488 Not Acceptable Here).",
        488,
    );
    let congestion = failed(
        "carrier_congestion",
        "The carrier has no free line at the moment (503 Service Unavailable).",
        503,
    );
    let redirected = failed("redirected", "The other side redirects the call elsewhere.", 302);
    let number = |status| failed("unallocated_number", "This number does not exist (404 Not Found).", status);
    let missing = failed(
        "carrier_auth",
        "The carrier asks for credentials and the trunk has none (401 Unauthorized).",
        401,
    );
    let all = [
        told(&auth, &[twice.leg("first", "acme")], &[]),
        told(&missing, &refused("401 Unauthorized", challenge, ""), &[]),
        told(&auth, &refused("401 Unauthorized", challenge, ""), &[]),
        told(&forbidden, &refused("403 Forbidden", "", ""), &[]),
        told(&number(404), &refused("404 Not Found", "", ""), &[]),
        told(&incompatible, &refused("488 Not Acceptable Here", warning, ""), &[]),
        told(
            &incompatible,
            &refused("488 Not Acceptable Here", "", &sdp("203.0.113.9", 4000, "18", "")),
            &[],
        ),
        told(&congestion, &refused("503 Service Unavailable", "Retry-After: 30 (busy)\r\n", ""), &[]),
        told(&congestion, &refused("503 Service Unavailable", "", ""), &[]),
        told(&redirected, &refused("302 Moved Temporarily", "Contact: <sip:else@acme.test>\r\n", ""), &[]),
        told(
            &outcome("busy", "busy", "The line is busy.", Some(486)),
            &refused("486 Busy Here", "", ""),
            &[],
        ),
        told(&failed("declined", "The call was declined.", 603), &refused("603 Decline", "", ""), &[]),
        told(
            &failed("carrier_payment", "The carrier account has no credit (402).", 402),
            &refused("402 Pay", "", ""),
            &[],
        ),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    credentials_refused: They refused the user "4930" for "acme", or its password (401 Unauthorized). From was sip:+4930123456@192.0.2.1.
        -> Check the trunk's username and password with the carrier; some want a from_domain or realm of their own.
    credentials_missing: They ask for a user and password for "acme" (401 Unauthorized), and we gave none. From was sip:+4930123456@192.0.2.1.
        -> Set the trunk's username and password.
    credentials_for_another_realm: They ask for a user and password for "acme" (401 Unauthorized), and those of the trunk are for another realm. From was sip:+4930123456@192.0.2.1.
        -> Set the trunk's realm to the one that they name, or to null.
    forbidden: The carrier does not allow this call (403 Forbidden). From was sip:+4930123456@192.0.2.1.
        -> Hint.
    number_unknown: They do not know "+12025550123", as we wrote it (404 Not Found).
        -> Check the number. If it is right, the carrier wants it written otherwise: with or without +, country code or prefix.
    no_common_codec: We offered PCMA, PCMU, which they refused (488 Not Acceptable Here: Media type not available).
        -> Compare the trunk's codecs and srtp with what the other side allows; G.711 without encryption suits most.
    no_common_codec: We offered PCMA, PCMU, which they refused (488 Not Acceptable Here). They have G729.
        -> Compare the trunk's codecs and srtp with what the other side allows; G.711 without encryption suits most.
    carrier_congestion: The carrier has no free line at the moment (503 Service Unavailable).
        -> Call again after 30 s, as they ask, or add a second trunk.
    carrier_congestion: The carrier has no free line at the moment (503 Service Unavailable).
        -> Hint.
    redirected: They send the call on to sip:203.0.113.9:5060, sip:else@acme.test (302 Moved Temporarily), which is not followed.
        -> Hint.
    busy: The line is busy (486 Busy Here).
        -> Hint.
    declined: The call was declined (603 Decline).
        -> Hint.
    carrier_payment: The carrier account has no credit (402).
        -> Hint.
    "#);
}

#[test]
fn what_does_not_come() {
    let silent = outcome("failed", "no_response", "The other side did not respond.", None);
    let tries = |script: Script| {
        let script = script.request(0, "INVITE", 1, "", &sdp("192.0.2.1", 16384, "8 0", ""));
        [500, 1500, 3500, 7500, 15500, 31500].into_iter().fold(script, Script::again)
    };
    let private = || Script::new("a@b", Transport::Udp, "192.168.1.5:5060", "203.0.113.9:5060");
    let trying = Script::udp().request(0, "INVITE", 1, "", "").response(20, "100 Trying", "1 INVITE", "", "");
    let answered = |script: Script| {
        let script =
            script.incoming().request(0, "INVITE", 1, "", "").response(100, "200 OK", "1 INVITE", "", "");
        [600, 1600, 3600, 7600].into_iter().fold(script, Script::again).leg("first", "")
    };
    let no_ack = outcome("failed", "no_ack", "The other side answered but never confirmed it.", None);
    let expired = outcome(
        "completed",
        "session_expired",
        "The other side no longer confirmed that the call is up.",
        None,
    );
    let update = Script::udp()
        .request(0, "INVITE", 1, "", "")
        .response(9, "200 OK", "1 INVITE", "", "")
        .request(10, "ACK", 1, "", "")
        .request(60_000, "UPDATE", 2, "", "")
        .again(60_500)
        .again(61_500);
    let given_up = Script::udp()
        .incoming()
        .request(0, "INVITE", 1, "", "")
        .response(10, "180 Ringing", "1 INVITE", "", "")
        .request(12_400, "CANCEL", 1, "", "")
        .response(12_401, "487 Request Terminated", "1 INVITE", "", "");
    let rang = Script::udp()
        .request(0, "INVITE", 1, "", "")
        .response(400, "180 Ringing", "1 INVITE", "", "")
        .request(45_400, "CANCEL", 1, "", "")
        .response(45_500, "487 Request Terminated", "1 INVITE", "", "");
    let canceled = outcome("canceled", "canceled", "The call was ended before it was answered.", None);
    let all = [
        told(&silent, &[tries(Script::udp()).leg("first", "")], &[]),
        told(&silent, &[tries(private()).leg("first", "")], &[]),
        told(&outcome("no-answer", "no_answer", "x", None), &[trying.leg("first", "")], &[]),
        told(
            &failed("no_response", "The other side did not respond.", 408),
            &refused("408 Request Timeout", "", ""),
            &[],
        ),
        told(&no_ack, &[answered(Script::udp())], &[]),
        told(&no_ack, &[answered(private())], &[]),
        told(&expired, &[update.leg("first", "")], &[]),
        told(&canceled, &[given_up.leg("first", "")], &[]),
        told(&canceled, &[rang.leg("first", "")], &[]),
        told(
            &outcome("no-answer", "no_answer", "Nobody answered within 45 s.", None),
            &[rang.leg("first", "")],
            &[],
        ),
    ];
    insta::assert_snapshot!(all.concat(), @"
    nothing_came_back: We sent INVITE 7 times within 32 s to 203.0.113.9:5060 over UDP, and nothing came back.
        -> Check the host and port, and that a firewall lets SIP through in both directions.
    nothing_came_back: We sent INVITE 7 times within 32 s to 203.0.113.9:5060 over UDP, and nothing came back.
        -> Set external_ip to this server's public address, and forward the SIP port and rtp_ports to it.
    went_silent: 203.0.113.9:5060 over UDP took the call (100 Trying) and then said nothing more.
        -> Hint.
    network_behind_silent: They waited in vain for the network behind them (408 Request Timeout).
        -> Call again later, or add a second trunk.
    no_ack: We answered 5 times within 8 s to 203.0.113.9:5060 over UDP, and it was never confirmed (no ACK came).
        -> Check that the advertised SIP address can be reached from the other side.
    no_ack: We answered 5 times within 8 s to 203.0.113.9:5060 over UDP, and it was never confirmed (no ACK came). We told them to reach us at sip:192.168.1.5:5060, an address inside our own network.
        -> Set external_ip to this server's public address, and forward the SIP port and rtp_ports to it.
    session_expired: We asked 3 times whether the call is still up (UPDATE, session timer), and nothing came back.
        -> Hint.
    caller_gave_up: The caller gave up after 12 s, before it was answered (CANCEL).
        -> 
    canceled: The call was ended on our side after 45 s, before it was answered.
        -> 
    no_answer: It rang for 45 s, and nobody answered.
        -> Hint.
    ");
}

#[test]
fn what_we_refuse() {
    let none = "The sound of the call could not be sent or received (no common codec: they speak G729).";
    let full = "The sound of the call could not be sent or received (no RTP port is free).";
    let all = [
        told(&outcome("failed", "media_failed", none, None), &incoming("488 Not Acceptable Here"), &[]),
        told(&outcome("failed", "media_failed", full, None), &incoming("488 Not Acceptable Here"), &[]),
        told(
            &failed("rejected", "The call was refused as its flow says.", 404),
            &incoming("404 Not Found"),
            &[],
        ),
        told(
            &outcome("failed", "trunk_full", "All channels are in use.", None),
            &incoming("503 Service Unavailable"),
            &[],
        ),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    no_common_codec: 203.0.113.9:5060 offered G729, G723, of which we may use nothing (488 Not Acceptable Here): no common codec: they speak G729.
        -> Compare the trunk's codecs and srtp with what the other side allows; G.711 without encryption suits most.
    media_failed: The sound of the call could not be sent or received (no RTP port is free).
        -> Hint.
    refused_by_us: We refused the call of 203.0.113.9:5060 to "+12025550123" (404 Not Found). The call was refused as its flow says.
        -> If it shall not be refused, change the route of the number.
    trunk_full: All channels are in use.
        -> Hint.
    "#);
}

#[test]
fn what_the_callee_says_explains_more_than_what_the_caller_is_told() {
    let busy = outcome("busy", "busy", "The line is busy.", Some(486));
    let mut legs = incoming("486 Busy Here");
    legs.extend(refused("486 Busy Here", "", "").into_iter().map(|leg| Leg { role: "second".into(), ..leg }));
    insta::assert_snapshot!(told(&busy, &legs, &[]), @"
    busy: The line is busy (486 Busy Here).
        -> Hint.
    ");
}

#[test]
fn sound_that_went_one_way() {
    let fine = outcome("completed", "normal", "The other side hung up.", None);
    let call = |ours: &str, theirs: &str, rest: &str| {
        let script = Script::udp().request(0, "INVITE", 1, "", &sdp(ours, 16384, "0", ""));
        let answer = sdp(theirs, 4000, "0", rest);
        vec![
            script
                .response(9, "200 OK", "1 INVITE", "", &answer)
                .request(10, "ACK", 1, "", "")
                .leg("first", ""),
        ]
    };
    let public = || call("192.0.2.1", "203.0.113.9", "");
    let counted = |received, change: fn(&mut Sound)| {
        let mut sound = Sound { leg: "first".into(), sent: 412, received, ..Sound::default() };
        change(&mut sound);
        vec![sound]
    };
    let silence = outcome("completed", "rtp_silence", "No audio came from the other side for 30 s.", None);
    let all = [
        told(&fine, &public(), &counted(0, |_| ())),
        told(&silence, &public(), &counted(0, |_| ())),
        told(&fine, &call("192.168.1.5", "203.0.113.9", ""), &counted(0, |_| ())),
        told(&fine, &call("192.0.2.1", "203.0.113.9", "a=inactive\r\n"), &counted(0, |_| ())),
        told(&fine, &public(), &counted(0, |sound| sound.undecryptable = 400)),
        told(&fine, &public(), &counted(0, |sound| sound.invalid = 400)),
        told(&fine, &public(), &counted(400, |sound| sound.unheard = true)),
        told(&fine, &call("192.0.2.1", "10.0.0.7", ""), &counted(400, |sound| sound.unheard = true)),
        told(&silence, &public(), &counted(90, |_| ())),
        told(&fine, &[], &counted(0, |_| ())),
    ];
    insta::assert_snapshot!(all.concat(), @"
    no_sound_came: We sent 412 packets of sound and received 0: theirs did not reach us, or they sent none.
        -> A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it stands behind NAT.
    no_sound_came: We sent 412 packets of sound and received 0: theirs did not reach us, or they sent none.
        -> A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it stands behind NAT.
    sound_to_private_address: We sent 412 packets of sound and received 0. We told them to send it to 192.168.1.5:16384, an address inside our own network.
        -> Set external_ip to this server's public address, and forward the SIP port and rtp_ports to it.
    sound_on_hold: We sent 412 packets of sound and received 0: the other side had said that it would send none (a=inactive).
        -> It was on hold: ask the other side why.
    sound_not_decrypted: We sent 412 packets of sound and received 0 that could be decrypted: 400 came that do not fit the keys agreed on.
        -> Set the trunk's srtp to none, or have the other side's encryption checked.
    sound_of_another_codec: We sent 412 packets of sound and received 0 that make sense: 400 came that are none of the codecs agreed on.
        -> Give the trunk one codec only, such as pcma.
    no_sound_arrived: They report that none of the 412 packets of sound we sent arrived.
        -> A firewall on the way or at the other side is likely: let UDP through from this server.
    sound_to_their_private_address: They report that none of the 412 packets of sound we sent arrived. They had told us to send it to 10.0.0.7:4000, an address inside their own network.
        -> The other side has to name its public address, or send sound from behind its NAT first.
    sound_broke_off: Sound came at first (90 packets), then no more, and the call was ended.
        -> The other side lost its network, or crashed without hanging up; nothing is wrong here.
    no_sound_came: We sent 412 packets of sound and received 0: theirs did not reach us, or they sent none.
        -> A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it stands behind NAT.
    ");
}

#[test]
fn a_call_that_went_well_has_no_why() {
    let fine = outcome("completed", "normal", "The other side hung up.", None);
    let sound = [Sound { leg: "first".into(), sent: 400, received: 399, ..Sound::default() }];
    assert_eq!(told(&fine, &[Script::answered().leg("first", "")], &sound), "nothing\n");
    // Too short to tell.
    let short = [Sound { leg: "first".into(), sent: 49, ..Sound::default() }];
    assert_eq!(told(&fine, &[], &short), "nothing\n");
    assert_eq!(why(&Evidence { outcome: None, legs: &[], sound: &sound }), None);
}

#[test]
fn codecs_of_an_answer_that_fits_nothing() {
    let failed =
        outcome("failed", "media_failed", "The sound of the call could not be sent or received.", None);
    let call = |formats: &str| {
        let script = Script::udp().request(0, "INVITE", 1, "", &sdp("192.0.2.1", 16384, "8 0", ""));
        vec![
            script
                .response(9, "200 OK", "1 INVITE", "", &sdp("203.0.113.9", 4000, formats, ""))
                .leg("first", ""),
        ]
    };
    let all = [told(&failed, &call("18"), &[]), told(&failed, &call("0"), &[])];
    insta::assert_snapshot!(all.concat(), @"
    no_common_codec: We offered PCMA, PCMU, and they answered with G729.
        -> Compare the trunk's codecs and srtp with what the other side allows; G.711 without encryption suits most.
    media_failed: The sound of the call could not be sent or received.
        -> Hint.
    ");
}

#[test]
fn both_sides_of_a_call_are_heard() {
    let fine = outcome("completed", "normal", "The other side hung up.", None);
    let silence = outcome("completed", "rtp_silence", "No audio came from the other side for 30 s.", None);
    let caller = Script::udp().incoming().request(0, "INVITE", 1, "", &sdp("203.0.113.9", 4000, "0", ""));
    let caller = caller.response(20, "200 OK", "1 INVITE", "", &sdp("192.0.2.1", 16390, "0", ""));
    let callee = Script::udp().request(1, "INVITE", 1, "", &sdp("192.0.2.1", 16384, "0", ""));
    let callee = callee.response(9, "200 OK", "1 INVITE", "", &sdp("203.0.113.9", 5000, "0", ""));
    let legs = [
        caller.request(21, "ACK", 1, "", "").leg("first", ""),
        callee.request(10, "ACK", 1, "", "").leg("second", "acme"),
    ];
    let counted = |first, second| {
        let of = |leg: &str, received| Sound { leg: leg.into(), sent: 412, received, ..Sound::default() };
        [of("first", first), of("second", second)]
    };
    let all = [
        told(&fine, &legs, &counted(400, 0)),
        told(&fine, &legs, &counted(0, 400)),
        told(&silence, &legs, &counted(400, 25)),
        told(&silence, &legs, &counted(25, 400)),
        told(&fine, &legs, &counted(400, 400)),
    ];
    insta::assert_snapshot!(all.concat(), @"
    no_sound_came: We sent 412 packets of sound to the callee and received 0: theirs did not reach us, or they sent none.
        -> A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it stands behind NAT.
    no_sound_came: We sent 412 packets of sound to the caller and received 0: theirs did not reach us, or they sent none.
        -> A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it stands behind NAT.
    sound_broke_off: Sound came from the callee at first (25 packets), then no more, and the call was ended.
        -> The other side lost its network, or crashed without hanging up; nothing is wrong here.
    sound_broke_off: Sound came from the caller at first (25 packets), then no more, and the call was ended.
        -> The other side lost its network, or crashed without hanging up; nothing is wrong here.
    nothing
    ");
}

#[test]
fn an_answer_that_never_arrived_explains_the_silence_behind_it() {
    let silence = outcome("completed", "rtp_silence", "No audio came from the other side for 30 s.", None);
    let answered = |times: &[u64]| {
        let script = Script::udp().incoming().request(0, "INVITE", 1, "", "");
        let script = script.response(100, "200 OK", "1 INVITE", "", "");
        vec![times.iter().fold(script, |script, at| script.again(*at)).leg("first", "")]
    };
    let sound = [Sound { leg: "first".into(), sent: 412, ..Sound::default() }];
    let all = [told(&silence, &answered(&[600, 1600]), &sound), told(&silence, &answered(&[600]), &sound)];
    insta::assert_snapshot!(all.concat(), @"
    no_ack: We answered 3 times within 2 s to 203.0.113.9:5060 over UDP, and it was never confirmed (no ACK came).
        -> Check that the advertised SIP address can be reached from the other side.
    no_sound_came: We sent 412 packets of sound and received 0: theirs did not reach us, or they sent none.
        -> A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it stands behind NAT.
    ");
}

#[test]
fn a_call_that_they_forgot() {
    let expired = outcome("failed", "session_expired", "The other side no longer confirmed it.", None);
    let script = Script::udp().request(0, "INVITE", 1, "", "").response(9, "200 OK", "1 INVITE", "", "");
    let script = script.request(10, "ACK", 1, "", "").request(900, "UPDATE", 2, "", "");
    let legs = [script.response(909, "481 Gone", "2 UPDATE", "", "").leg("first", "")];
    insta::assert_snapshot!(told(&expired, &legs, &[]), @"
    call_forgotten: They no longer know of the call (481 Gone, to our UPDATE).
        -> The other side lost the call, or was started anew; nothing is wrong here.
    ");
}
