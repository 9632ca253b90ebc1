use super::*;

fn policy(countries: &[&str], home: Option<&str>) -> Policy {
    Policy {
        countries: countries.iter().map(|&country| country.to_owned()).collect(),
        prefixes: Vec::new(),
        default_region: home.map(str::to_owned),
    }
}

fn code(result: Result<(), Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |()| "ok")
}

#[test]
fn numbers() {
    for (countries, home, number, expected) in [
        // The account's own countries, whichever way the number is written.
        (&["US"][..], Some("US"), "+12025550123", "ok"),
        (&["us"], None, "+12025550123", "ok"),
        (&["US"], Some("US"), "2025550123", "ok"),
        (&["US"], None, "2025550123", "destination_unclassified"),
        (&["SE"], Some("US"), "+12025550123", "destination_not_allowed"),
        (&[], Some("US"), "+12025550123", "destination_not_allowed"),
        (&["IN"], Some("IN"), "0124-5550147", "ok"),
        (&["*"], None, "+46700123456", "ok"),
        // +1 is not one country.
        (&["US"], Some("US"), "+18764567890", "destination_not_allowed"),
        (&["US"], Some("US"), "+18092345678", "destination_not_allowed"),
        (&["US"], Some("US"), "+12684601234", "destination_not_allowed"),
        (&["US", "JM"], Some("US"), "+18764567890", "ok"),
        // Numbers nobody allocates.
        (&["US"], Some("US"), "+1234567890", "destination_unclassified"),
        (&["US"], Some("US"), "+15551234567", "destination_unclassified"),
        (&["US"], Some("US"), "+0987654321", "destination_unclassified"),
        (&["GB"], Some("GB"), "447700900123", "destination_unclassified"),
        (&["*"], Some("US"), "+1234567890", "ok"),
        // Premium, shared cost, personal numbers, universal access.
        (&["*"], None, "+19002345678", "premium_blocked"),
        (&["GB"], Some("GB"), "+449098790123", "premium_blocked"),
        (&["GB"], Some("GB"), "09098790123", "premium_blocked"),
        (&["GB"], Some("GB"), "+447012345678", "premium_blocked"),
        (&["*"], None, "+979123456789", "premium_blocked"),
        // Satellite and international networks.
        (&["*"], None, "+870773111632", "satellite_blocked"),
        (&["*"], None, "+881612345678", "satellite_blocked"),
        (&["*"], None, "+88213123456", "satellite_blocked"),
        (&["*"], None, "+883510012345", "satellite_blocked"),
        (&["*"], None, "+878101234567", "satellite_blocked"),
        (&["*"], None, "+888123456789", "satellite_blocked"),
        (&["*"], None, "+80812345678", "satellite_blocked"),
        (&["*"], Some("SE"), "00881612345678", "satellite_blocked"),
        (&["*"], None, "00881612345678", "satellite_blocked"),
        (&["*"], Some("US"), "011881612345678", "satellite_blocked"),
        (&["US"], Some("US"), "+80012345678", "destination_not_allowed"),
        (&["US", "001"], Some("US"), "+80012345678", "ok"),
        (&["*"], None, "+80012345678", "ok"),
        // Emergencies dressed up as numbers.
        (&["*"], None, "+9681444", "emergency_not_supported"),
        (&["*"], Some("US"), "9115550123", "emergency_not_supported"),
        (&["*"], Some("us"), "9112345", "emergency_not_supported"),
        (&["*"], None, "+19115550123", "emergency_not_supported"),
    ] {
        let result = check(&policy(countries, home), &Number::parse(number).unwrap());
        assert_eq!(code(result), expected, "{number} from {home:?} with {countries:?}");
    }
}

#[test]
fn the_longest_prefix_decides() {
    for (countries, prefixes, number, expected) in [
        (&[][..], &["+4930"][..], "+493012345678", "ok"),
        (&[], &["+4930"], "+4989123456", "destination_not_allowed"),
        (&["DE"], &["!+4930"], "+493012345678", "destination_not_allowed"),
        (&["DE"], &["!+4930"], "+4989123456", "ok"),
        (&["DE"], &["!+4930", "+4930123"], "+493012345678", "ok"),
        (&["DE"], &["+4930123", "!+4930"], "+493098765432", "destination_not_allowed"),
        (&["DE"], &["+4930", "!+4930"], "+493012345678", "destination_not_allowed"),
        (&[], &["*"], "+46700123456", "ok"),
        (&[], &["*", "!+46"], "+46700123456", "destination_not_allowed"),
        // However it is written.
        (&[], &["+1202"], "2025550123", "ok"),
        (&[], &["+1202"], "0012025550123", "destination_unclassified"),
        // What nobody allocates is taken by its written beginning only.
        (&[], &["+1555"], "+15551234567", "ok"),
        (&[], &["+44"], "447700900123", "destination_unclassified"),
        // Dear numbers are called only where they are named whole; emergency numbers never.
        (&[], &["+1900"], "+19002345678", "premium_blocked"),
        (&[], &["+19002345678"], "+19002345678", "ok"),
        (&[], &["+881"], "+881612345678", "satellite_blocked"),
        (&[], &["+881612345678"], "+881612345678", "ok"),
        (&[], &["+19115550123"], "+19115550123", "emergency_not_supported"),
    ] {
        let mut policy = policy(countries, Some("US"));
        policy.prefixes = prefixes.iter().map(|text| Prefix::parse(text).unwrap()).collect();
        let result = check(&policy, &Number::parse(number).unwrap());
        assert_eq!(code(result), expected, "{number} with {countries:?} {prefixes:?}");
    }
}

#[test]
fn prefixes_are_read_and_written_alike() {
    for text in ["*", "+1", "+4930", "!+1900", "+123456789012345"] {
        assert_eq!(Prefix::parse(text).map(|prefix| prefix.to_string()).as_deref(), Some(text));
    }
    for text in ["", "+", "49", "!*", "!", "+49a", "++49", "+1234567890123456", "+049", " +49"] {
        assert_eq!(Prefix::parse(text), None, "{text}");
    }
}

#[test]
fn addresses() {
    for (home, uri, expected) in [
        (None, "sip:911@example.com", "emergency_not_supported"),
        (None, "sip:9-1-1@example.com", "emergency_not_supported"),
        (None, "sip:(9.1%201)@example.com", "emergency_not_supported"),
        (None, "sip:9%2D1%2D1%23@example.com", "emergency_not_supported"),
        (None, "sip:911#@example.com", "emergency_not_supported"),
        (None, "sip:911%232@example.com", "emergency_not_supported"),
        (None, "sip:*67911@example.com", "emergency_not_supported"),
        (None, "sip:%2331%23911@example.com", "emergency_not_supported"),
        (None, "sip:911?X=1@example.com", "emergency_not_supported"),
        (None, "sip:911&@example.com", "emergency_not_supported"),
        (None, "sip:SOS@example.com", "emergency_not_supported"),
        (None, "sip:9.1.1", "emergency_not_supported"),
        (None, "sip:+882161234567%23@example.com", "satellite_blocked"),
        (None, "sip:*67+882161234567@example.com", "satellite_blocked"),
        (None, "sip:112@example.com", "emergency_not_supported"),
        (None, "sip:%39%31%31@example.com", "emergency_not_supported"),
        (None, "sip:+1911@example.com", "emergency_not_supported"),
        (None, "sip:112", "emergency_not_supported"),
        (None, "sips:911:5061;transport=tls", "emergency_not_supported"),
        (None, "sip:alice@112", "ok"),
        (None, "sip:100@example.com", "ok"),
        (Some("IN"), "sip:100@example.com", "emergency_not_supported"),
        (Some("US"), "sip:alice@example.com", "ok"),
        (Some("US"), "sip:example.com", "ok"),
        (Some("US"), "sip:+19002345678@example.com", "premium_blocked"),
        (Some("US"), "sip:%2B19002345678;x=y@example.com", "premium_blocked"),
        (Some("US"), "sip:+46700123456@example.com", "destination_not_allowed"),
        (Some("US"), "sip:+12025550123@example.com", "ok"),
    ] {
        let result = check_uri(&policy(&["US"], home), uri);
        assert_eq!(code(result), expected, "{uri} from {home:?}");
    }
}

#[test]
fn a_refusal_names_what_to_change() {
    let number = Number::parse("+46700123456").unwrap();
    insta::assert_snapshot!(
        check(&policy(&["US", "CA"], None), &number).unwrap_err(),
        @r#"Calls to SE are not allowed: this account may call US, CA. Add SE to the setting "countries" to allow them."#
    );
    let blocked = Policy { prefixes: vec![Prefix::parse("!+467").unwrap()], ..policy(&["SE"], None) };
    insta::assert_snapshot!(
        check(&blocked, &number).unwrap_err(),
        @r#"Calls to numbers that begin with +467 are refused by the entry "!+467" of the setting "prefixes"."#
    );
    insta::assert_snapshot!(
        check(&policy(&[], None), &number).unwrap_err(),
        @r#"Calls to SE are not allowed: this account may call no country yet. Add SE to the setting "countries" to allow them."#
    );
}

#[test]
fn countries_are_those_that_exist() {
    for (text, expected) in [
        ("US", Some("US")),
        ("de", Some("DE")),
        ("XK", Some("XK")),
        ("001", Some("001")),
        ("*", Some("*")),
        ("XX", None),
        ("UK", None),
        ("ZZ", None),
        ("USA", None),
        ("1", None),
        ("", None),
        ("ÄÖ", None),
    ] {
        assert_eq!(country(text).as_deref(), expected, "{text}");
    }
    assert_eq!((region("us").as_deref(), region("001"), region("*")), (Some("US"), None, None));
}
