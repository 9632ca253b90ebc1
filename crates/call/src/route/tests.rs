use super::*;

fn trunk(id: &str, kind: TrunkKind, priority: i32) -> Trunk {
    Trunk {
        id: id.to_owned(),
        name: format!("{id} telecom"),
        kind,
        form: NumberForm::PlusE164,
        prefix: None,
        caller_id: None,
        priority,
        enabled: true,
        is_default: false,
    }
}

fn default(trunk: Trunk) -> Trunk {
    Trunk { is_default: true, ..trunk }
}

fn disabled(trunk: Trunk) -> Trunk {
    Trunk { enabled: false, ..trunk }
}

fn us() -> Policy {
    Policy { countries: vec!["US".to_owned()], default_region: Some("US".to_owned()), ..Policy::default() }
}

fn request(destination: &Destination) -> Request<'_> {
    Request { destination, caller_id: None, trunk: None, direct: false }
}

fn number(text: &str) -> Destination {
    Destination::Pstn(Number::parse(text).unwrap())
}

fn sip(uri: &str) -> Destination {
    Destination::Sip(uri.to_owned())
}

/// The trunks tried, or the code of the refusal.
fn order(request: &Request<'_>, trunks: &[Trunk]) -> String {
    match plan(request, &us(), trunks) {
        Ok(attempts) => {
            let names: Vec<_> =
                attempts.iter().map(|attempt| attempt.trunk.as_deref().unwrap_or("-")).collect();
            names.join(" ")
        }
        Err(refusal) => refusal.code().to_owned(),
    }
}

#[test]
fn trunks_in_order_and_of_one_kind() {
    use TrunkKind::{Simulated, Sip};
    let a = || trunk("a", Sip, 10);
    let b = || trunk("b", Sip, 5);
    let sim = || trunk("sim", Simulated, 1);
    let destination = number("+12025550123");
    for (trunks, expected) in [
        (vec![], "no_trunk"),
        (vec![a(), b()], "b a"),
        (vec![default(a()), b()], "a b"),
        (vec![default(a()), b(), sim()], "a b"),
        (vec![a(), b(), default(sim())], "sim"),
        (vec![default(sim())], "sim"),
        (vec![sim()], "no_trunk"),
        (vec![a(), sim()], "a"),
        (vec![disabled(a()), sim()], "no_trunk"),
        (vec![disabled(a()), b()], "b"),
        (vec![disabled(default(a())), b(), sim()], "b"),
        (vec![disabled(default(a())), sim()], "no_trunk"),
        (vec![a(), disabled(default(sim()))], "no_trunk"),
        (vec![disabled(a())], "no_trunk"),
    ] {
        assert_eq!(order(&request(&destination), &trunks), expected, "{trunks:#?}");
    }
}

#[test]
fn a_named_trunk_is_the_only_one() {
    let trunks = [
        default(trunk("a", TrunkKind::Sip, 0)),
        disabled(trunk("b", TrunkKind::Sip, 0)),
        trunk("sim", TrunkKind::Simulated, 0),
    ];
    let destination = number("+12025550123");
    for (wanted, expected) in [
        ("a", "a"),
        ("a telecom", "a"),
        ("sim", "sim"),
        ("b", "trunk_disabled"),
        ("c", "unknown_trunk"),
        ("", "unknown_trunk"),
    ] {
        let request = Request { trunk: Some(wanted), ..request(&destination) };
        assert_eq!(order(&request, &trunks), expected, "{wanted}");
    }
}

#[test]
fn policy_governs_real_trunks_only() {
    let real = [trunk("a", TrunkKind::Sip, 0)];
    let simulated = [default(trunk("sim", TrunkKind::Simulated, 0))];
    for (text, over_real) in [
        ("+1234567890", "destination_unclassified"),
        ("+46700123456", "destination_not_allowed"),
        ("+19002345678", "premium_blocked"),
        ("+870773111632", "satellite_blocked"),
        ("+19115550123", "emergency_not_supported"),
    ] {
        let destination = number(text);
        assert_eq!(order(&request(&destination), &real), over_real, "{text}");
        assert_eq!(order(&request(&destination), &simulated), "sim", "{text}");
    }
}

#[test]
fn addresses_go_direct_or_to_the_simulated_network() {
    let real = [trunk("a", TrunkKind::Sip, 0)];
    let simulated = [default(trunk("sim", TrunkKind::Simulated, 0))];
    let address = sip("sip:alice@example.com");
    let direct = Request { direct: true, ..request(&address) };
    assert_eq!(order(&direct, &real), "-");
    assert_eq!(order(&direct, &[]), "-");
    assert_eq!(order(&request(&address), &real), "sip_address_not_allowed");
    assert_eq!(order(&request(&address), &simulated), "sim");
    assert_eq!(order(&Request { trunk: Some("a"), ..request(&address) }, &real), "a");

    let emergency = sip("sip:911@example.com");
    assert_eq!(order(&Request { direct: true, ..request(&emergency) }, &[]), "emergency_not_supported");
    for trunks in [&real, &simulated] {
        assert_eq!(order(&request(&emergency), trunks), "emergency_not_supported");
        assert_eq!(order(&request(&sip("sip:112")), trunks), "emergency_not_supported");
    }
    let premium = sip("sip:+19002345678@a.example");
    assert_eq!(order(&Request { direct: true, ..request(&premium) }, &real), "premium_blocked");
    assert_eq!(order(&Request { trunk: Some("a"), ..request(&premium) }, &real), "premium_blocked");

    let user = Destination::User("1001".to_owned());
    let attempts = plan(&request(&user), &us(), &real).unwrap();
    assert_eq!((attempts[0].kind, attempts[0].destination.as_str()), (AttemptKind::User, "1001"));
}

#[test]
fn numbers_are_written_as_the_trunk_wants_them() {
    let trunks = [
        default(Trunk {
            form: NumberForm::E164,
            prefix: Some("12345678*".to_owned()),
            caller_id: Some("12025550199".to_owned()),
            ..trunk("flow", TrunkKind::Sip, 0)
        }),
        trunk("plain", TrunkKind::Sip, 0),
    ];
    let destination = number("(202) 555-0123");
    let with = Request { caller_id: Some("+12025550100"), ..request(&destination) };
    let written = |request: &Request<'_>| -> Vec<(String, Option<String>)> {
        let attempts = plan(request, &us(), &trunks).unwrap();
        attempts.into_iter().map(|attempt| (attempt.destination, attempt.caller_id)).collect()
    };
    insta::assert_debug_snapshot!((written(&request(&destination)), written(&with)), @r#"
    (
        [
            (
                "12345678*12025550123",
                Some(
                    "12025550199",
                ),
            ),
            (
                "+12025550123",
                None,
            ),
        ],
        [
            (
                "12345678*12025550123",
                Some(
                    "12025550100",
                ),
            ),
            (
                "+12025550123",
                Some(
                    "+12025550100",
                ),
            ),
        ],
    )
    "#);
}

#[test]
fn the_next_trunk_only_where_nobody_rang() {
    let failure = |kind, status, provisional, sent| LegFailure {
        kind,
        status,
        phrase: String::new(),
        q850: None,
        provisional,
        sent,
        challenged: false,
        had_credentials: false,
    };
    for status in 300..700 {
        let refused = failure(FailureKind::Status, Some(status), false, true);
        assert_eq!(may_try_next(&refused), [408, 500, 502, 503, 504].contains(&status), "{status}");
        assert!(!may_try_next(&LegFailure { provisional: true, ..refused }), "{status} after ringing");
    }
    for (kind, sent, expected) in [
        (FailureKind::Transport, false, true),
        (FailureKind::Transport, true, false),
        (FailureKind::Dns("no such host".to_owned()), false, true),
        (FailureKind::NoChannel, false, true),
        (FailureKind::PacedOut, false, true),
        (FailureKind::Timeout, true, false),
        (FailureKind::Canceled, true, false),
        (FailureKind::Media("no port".to_owned()), false, false),
    ] {
        assert_eq!(may_try_next(&failure(kind.clone(), None, false, sent)), expected, "{kind:?} {sent}");
    }
}
