use proptest::prelude::*;

use super::*;

fn parse(input: &str) -> Result<Destination, NumberError> {
    Destination::parse(input, |name| ["user123", "1001", "test_user_123"].contains(&name))
}

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

#[test]
fn kinds_of_destinations() {
    let pstn = |text: &str| Ok(Destination::Pstn(Number(text.to_owned())));
    let sip = |text: &str| Ok(Destination::Sip(text.to_owned()));
    let user = |text: &str| Ok(Destination::User(text.to_owned()));
    for (input, expected) in [
        ("+12025550123", pstn("+12025550123")),
        ("+1234567890", pstn("+1234567890")),
        ("1234567890", pstn("1234567890")),
        ("+1987654321", pstn("+1987654321")),
        ("+0987654321", pstn("+0987654321")),
        ("+15551234567", pstn("+15551234567")),
        ("447700900123", pstn("447700900123")),
        ("+46700000000", pstn("+46700000000")),
        ("+4600100100", pstn("+4600100100")),
        ("0124-5550147", pstn("01245550147")),
        ("09555500187", pstn("09555500187")),
        ("5550147", pstn("5550147")),
        (" +1 (202) 555-01.23 ", pstn("+12025550123")),
        ("tel:+1-202-555-0123", pstn("+12025550123")),
        ("123456789012345", pstn("123456789012345")),
        ("sip:+46700123456@provider.com", sip("sip:+46700123456@provider.com")),
        ("SIPS:bob@[2001:db8::1]:5061;transport=tls", sip("SIPS:bob@[2001:db8::1]:5061;transport=tls")),
        ("sip:example.com", sip("sip:example.com")),
        ("alice@example.com", sip("sip:alice@example.com")),
        ("user123", user("user123")),
        ("1001", user("1001")),
    ] {
        assert_eq!(parse(input), expected, "{input}");
    }
}

#[test]
fn refused_destinations() {
    use NumberError::*;
    for (input, expected) in [
        ("", Empty),
        ("   ", Empty),
        ("+", Unknown),
        ("1002", TooShort),
        ("123456", TooShort),
        ("+123456", TooShort),
        ("1234567890123456", TooManyDigits),
        ("+1234567890123456", TooManyDigits),
        ("1-800-FLOWERS", Unknown),
        ("tel:+1-201-555-0123;ext=5", Unknown),
        ("++12025550123", Unknown),
        ("1202+5550123", Unknown),
        ("nobody", Unknown),
        ("٠١٢٣٤٥٦٧٨٩", NotAscii),
        ("+1202555０123", NotAscii),
        ("+12025550123\r\nVia: x", ControlCharacter),
        ("+12025550123\n", ControlCharacter),
        ("a\0b@example.com", ControlCharacter),
        ("sip:", SipAddress),
        ("sip:@example.com", SipAddress),
        ("sip:alice@", SipAddress),
        ("sip:a@b@c", SipAddress),
        ("sip:al ice@example.com", SipAddress),
        ("\"x\" <sip:a@b>", SipAddress),
        ("sip:a@b>;tag=1", SipAddress),
        ("@example.com", SipAddress),
        ("mailto:alice@example.com", SipAddress),
        ("http://alice@example.com", SipAddress),
        ("911", Emergency),
        ("9-1-1", Emergency),
        ("112", Emergency),
        ("+1911", Emergency),
        ("+44999", Emergency),
        ("+911 12", Emergency),
    ] {
        assert_eq!(parse(input), Err(expected), "{input:?}");
    }
    assert_eq!(parse(&"1".repeat(256)), Err(TooLong));
    assert_eq!(parse(&"é".repeat(255)), Err(NotAscii));
}

#[test]
fn errors_have_a_code_and_say_what_to_do() {
    assert_eq!(NumberError::Emergency.code(), "emergency_not_supported");
    assert_eq!(NumberError::TooShort.code(), "invalid_number_format");
    insta::assert_snapshot!(NumberError::TooManyDigits, @"A phone number has at most 15 digits: give one number with its country code, such as +12025550123.");
}

#[test]
fn e164_and_region() {
    for (text, home, e164, region) in [
        ("+12025550123", None, Some("+12025550123"), Some("US")),
        ("2025550123", Some("US"), Some("+12025550123"), Some("US")),
        ("2025550123", Some("us"), Some("+12025550123"), Some("US")),
        ("2025550123", None, None, None),
        ("2025550123", Some("nonsense"), None, None),
        ("+46700123456", None, Some("+46700123456"), Some("SE")),
        // The second zero would be lost on the way through libphonenumber.
        ("+4600100100", Some("SE"), Some("+4600100100"), None),
        ("+0987654321", Some("US"), None, None),
        ("+1234567890", Some("US"), Some("+1234567890"), None),
        ("+15551234567", Some("US"), Some("+15551234567"), None),
        // Read as a number of the wrong country it would be rewritten; it stays as it is.
        ("447700900123", Some("US"), None, None),
        ("447700900123", Some("IN"), None, None),
        ("919560080000", Some("IN"), Some("+919560080000"), Some("IN")),
        ("09560080000", Some("IN"), Some("+919560080000"), Some("IN")),
        ("0124-5550147", Some("IN"), Some("+911245550147"), Some("IN")),
        ("5550147", Some("US"), None, None),
        ("+390612345678", None, Some("+390612345678"), Some("IT")),
        ("+18764567890", None, Some("+18764567890"), Some("JM")),
        ("+80012345678", None, Some("+80012345678"), Some("001")),
    ] {
        assert_eq!(number(text).e164(home).as_deref(), e164, "{text} in {home:?}");
        assert_eq!(number(text).region(home).as_deref(), region, "{text} in {home:?}");
    }
}

#[test]
fn forms() {
    use NumberForm::*;
    for (form, text, home, written) in [
        (PlusE164, "+442079460123", Some("GB"), "+442079460123"),
        (PlusE164, "02079460123", Some("GB"), "+442079460123"),
        (PlusE164, "02079460123", None, "02079460123"),
        (E164, "+442079460123", None, "442079460123"),
        (E164, "02079460123", Some("GB"), "442079460123"),
        (National, "+442079460123", Some("gb"), "02079460123"),
        (National, "+919560080000", Some("IN"), "09560080000"),
        (National, "+442079460123", Some("US"), "+442079460123"),
        (National, "+442079460123", None, "+442079460123"),
        (National, "+12025550123", Some("US"), "2025550123"),
        (AsGiven, "+442079460123", Some("GB"), "+442079460123"),
        (AsGiven, "02079460123", Some("GB"), "02079460123"),
        (PlusE164, "+4600100100", Some("SE"), "+4600100100"),
        (PlusE164, "1234567890", Some("US"), "1234567890"),
    ] {
        assert_eq!(form.write(&number(text), home), written, "{form:?} {text} {home:?}");
    }
}

#[test]
fn logs_see_no_whole_number() {
    assert_eq!(number("+12025550123").masked(), "+1202*****23");
    assert_eq!(format!("{:?}", number("5550147")), "Number(5550*47)");
    assert_eq!(number("+12025550123").to_string(), "+12025550123");
}

#[test]
fn user_part_of_an_address() {
    for (uri, user) in [
        ("sip:911@example.com", Some("911")),
        ("sip:%2b1900%35550123;phone-context=x:pw@example.com", Some("+19005550123")),
        ("sip:alice:secret@example.com", Some("alice")),
        ("sip:50%@example.com", Some("50%")),
        ("sip:50%zz%4@example.com", Some("50%zz%4")),
        ("sip:example.com", None),
    ] {
        assert_eq!(sip_user(uri).as_deref(), user, "{uri}");
    }
}

#[test]
fn what_a_switch_may_dial_for_a_user_part() {
    for (user, numbers) in [
        ("911", &["911"][..]),
        ("+1 (202) 555-0123", &["+12025550123"]),
        ("911#2", &["9112", "911"]),
        ("*67911", &["911"]),
        ("#31#+4912345678", &["+4912345678"]),
        ("*67*82911", &["911"]),
        ("*72", &[""]),
        ("alice", &[]),
        ("line 911", &[]),
        ("", &[""]),
    ] {
        assert_eq!(dialled(user), numbers, "{user}");
    }
    assert!(Destination::parse("sip:911%00@example.com", |_| false).is_err());
}

proptest! {
    #[test]
    fn parsing_never_panics(input in ".{0,300}", user in any::<bool>()) {
        let _ = Destination::parse(&input, |_| user);
        let _ = sip_user(&input);
        let _ = dialled(&input);
    }

    #[test]
    fn a_number_is_kept_as_given(text in r"\+?[0-9]{7,15}") {
        let parsed = Destination::parse(&text, |_| true);
        prop_assert_eq!(parsed, Ok(Destination::Pstn(Number(text.clone()))));
        if text.starts_with('+') && !text.starts_with("+0") {
            prop_assert_eq!(NumberForm::PlusE164.write(&number(&text), Some("SE")), text);
        }
    }

    #[test]
    fn two_to_six_digits_are_never_a_number(text in r"\+?[0-9]{2,6}") {
        prop_assert!(Destination::parse(&text, |_| false).is_err());
    }

    #[test]
    fn an_accepted_address_is_safe_in_a_header(input in r#"(sip:)?[a-z0-9@:;<>" \r\n%]{1,30}"#) {
        if let Ok(Destination::Sip(uri)) = Destination::parse(&input, |_| false) {
            prop_assert!(uri.chars().all(|c| c.is_ascii_graphic() && c != '<' && c != '>'));
        }
    }
}
