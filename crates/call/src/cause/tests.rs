use super::*;

fn refused(status: u16) -> LegFailure {
    LegFailure {
        kind: FailureKind::Status,
        status: Some(status),
        phrase: String::new(),
        q850: None,
        provisional: false,
        sent: true,
        challenged: false,
        had_credentials: true,
    }
}

fn failed(kind: FailureKind) -> LegFailure {
    LegFailure { kind, status: None, ..refused(0) }
}

#[test]
fn every_status() {
    use State::{Busy, Canceled, Failed, NoAnswer};
    for (status, q850, state, code) in [
        (302, 23, Failed, "redirected"),
        (400, 41, Failed, "protocol_error"),
        (401, 21, Failed, "carrier_auth"),
        (402, 21, Failed, "carrier_payment"),
        (403, 21, Failed, "carrier_forbidden"),
        (404, 1, Failed, "unallocated_number"),
        (405, 63, Failed, "not_supported"),
        (406, 79, Failed, "media_incompatible"),
        (407, 21, Failed, "carrier_auth"),
        (408, 102, Failed, "no_response"),
        (410, 22, Failed, "number_changed"),
        (413, 127, Failed, "protocol_error"),
        (414, 127, Failed, "protocol_error"),
        (415, 79, Failed, "media_incompatible"),
        (416, 127, Failed, "protocol_error"),
        (420, 127, Failed, "protocol_error"),
        (421, 127, Failed, "protocol_error"),
        (428, 21, Failed, "stir_shaken"),
        (429, 21, Failed, "stir_shaken"),
        (437, 21, Failed, "stir_shaken"),
        (438, 21, Failed, "stir_shaken"),
        (480, 18, NoAnswer, "unavailable"),
        (481, 127, Failed, "protocol_error"),
        (482, 25, Failed, "routing_loop"),
        (483, 25, Failed, "routing_loop"),
        (484, 28, Failed, "invalid_number"),
        (485, 1, Failed, "ambiguous"),
        (486, 17, Busy, "busy"),
        (487, 16, Canceled, "canceled"),
        (488, 88, Failed, "media_incompatible"),
        (499, 127, Failed, "carrier_error"),
        (500, 41, Failed, "carrier_error"),
        (501, 79, Failed, "not_supported"),
        (502, 27, Failed, "destination_out_of_order"),
        (503, 34, Failed, "carrier_congestion"),
        (504, 102, Failed, "carrier_timeout"),
        (505, 127, Failed, "protocol_error"),
        (513, 127, Failed, "protocol_error"),
        (580, 47, Failed, "media_incompatible"),
        (599, 41, Failed, "carrier_error"),
        (600, 17, Busy, "busy"),
        (603, 21, Failed, "declined"),
        (604, 1, Failed, "unallocated_number"),
        (606, 88, Failed, "media_incompatible"),
        (607, 21, Failed, "unwanted"),
        (608, 21, Failed, "blocked_by_network"),
        (699, 31, Failed, "carrier_error"),
    ] {
        let (actual, cause) = from_failure(&refused(status));
        assert_eq!((actual, cause.code, cause.q850), (state, code, Some(q850)), "{status}");
        assert_eq!(cause.sip, Some(status));
        assert!(cause.text.contains('.') && cause.hint != Some(""), "{cause:?}");
    }
}

#[test]
fn q850_makes_a_vague_status_precise() {
    use State::{Busy, Failed, NoAnswer};
    for (status, q850, state, code) in [
        (503, 17, Busy, "busy"),
        (480, 17, Busy, "busy"),
        (480, 19, NoAnswer, "no_answer"),
        (500, 1, Failed, "unallocated_number"),
        (403, 20, NoAnswer, "unavailable"),
        (503, 16, Failed, "carrier_congestion"),
        (500, 127, Failed, "carrier_error"),
        (403, 21, Failed, "carrier_forbidden"),
        (486, 19, Busy, "busy"),
        (603, 1, Failed, "declined"),
        (407, 17, Failed, "carrier_auth"),
    ] {
        let (actual, cause) = from_failure(&LegFailure { q850: Some(q850), ..refused(status) });
        assert_eq!((actual, cause.code, cause.q850), (state, code, Some(q850)), "{status} with {q850}");
    }
}

#[test]
fn what_was_seen_before_matters() {
    let (state, _) = from_failure(&LegFailure { provisional: true, ..refused(408) });
    assert_eq!(state, State::NoAnswer);
    let (state, _) = from_failure(&LegFailure { provisional: true, ..failed(FailureKind::Timeout) });
    assert_eq!(state, State::NoAnswer);

    let (_, cause) = from_failure(&LegFailure { had_credentials: false, ..refused(407) });
    assert_eq!((cause.code, cause.hint), ("carrier_auth", Some("Set the trunk's username and password.")));

    let blocked = LegFailure { phrase: "Network Blocked".to_owned(), ..refused(603) };
    assert_eq!(from_failure(&blocked).1.code, "blocked_by_network");
    assert_eq!(from_failure(&refused(603)).1.by, HangupBy::Callee);
    assert_eq!(from_failure(&blocked).1.by, HangupBy::Carrier);
}

#[test]
fn failures_without_a_status() {
    let told: Vec<_> = [
        FailureKind::Timeout,
        FailureKind::Transport,
        FailureKind::Canceled,
        FailureKind::Dns("NXDOMAIN".to_owned()),
        FailureKind::Media("no free RTP port".to_owned()),
        FailureKind::NoChannel,
        FailureKind::PacedOut,
        FailureKind::Tls("the certificate is for another name".to_owned()),
    ]
    .into_iter()
    .map(|kind| from_failure(&failed(kind)))
    .map(|(state, cause)| format!("{state} {} {}: {}", cause.code, cause.by.as_str(), cause.text))
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    failed no_response carrier: The other side did not respond.
    failed carrier_unreachable system: No connection to the carrier could be made.
    canceled canceled caller: The call was ended before it was answered.
    failed carrier_unresolved system: The carrier's host name could not be resolved (NXDOMAIN).
    failed media_failed system: The sound of the call could not be sent or received (no free RTP port).
    failed trunk_full system: All channels of the trunk are in use.
    failed paced_out system: The call waited too long for its turn on the trunk.
    failed carrier_tls system: No encrypted connection to the carrier could be made (the certificate is for another name).
    ");
}

#[test]
fn the_carriers_words_are_kept_but_tamed() {
    let said = |phrase: &str| from_failure(&LegFailure { phrase: phrase.to_owned(), ..refused(403) }).1.text;
    insta::assert_snapshot!(said("D1\r\nEvil: header"), @"The carrier does not allow this call (403 D1  Evil: header).");
    assert_eq!(said(""), "The carrier does not allow this call (403).");
    assert!(said(&"x".repeat(5000)).len() < 400);
}
