use proptest::prelude::*;

use super::*;

#[test]
fn info_bodies_of_the_field_are_read() {
    for (content_type, body, digit) in [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", Some(('5', 160))),
        ("application/dtmf-relay", "Signal= *\nDuration= 250", Some(('*', 250))),
        ("Application/DTMF-Relay; charset=utf-8", "signal = #\r\nduration = 90\r\n", Some(('#', 90))),
        ("application/dtmf-relay", "Signal=11\r\nDuration=100", Some(('#', 100))),
        ("application/dtmf-relay", "Signal=d", Some(('D', 100))),
        ("application/dtmf-relay", "Signal=1\r\nDuration=0", Some(('1', 100))),
        ("application/dtmf-relay", "Signal=1\r\nDuration=4000000", Some(('1', 65_535))),
        ("application/dtmf-relay", "Signal=16\r\nDuration=100", None),
        ("application/dtmf-relay", "Signal=\r\n", None),
        ("application/dtmf-relay", "Duration=100", None),
        ("application/dtmf-relay", "5", None),
        ("application/dtmf", "7", Some(('7', 100))),
        ("application/dtmf", "10\r\n", Some(('*', 100))),
        ("application/dtmf", " # ", Some(('#', 100))),
        ("application/dtmf", "05", None),
        ("application/dtmf", "Signal=4\r\nDuration=80\r\n", Some(('4', 80))),
        ("application/dtmf", "", None),
        ("text/plain", "7", None),
        ("", "Signal=7", None),
    ] {
        assert_eq!(from_info(content_type, body.as_bytes()), digit, "{content_type}: {body:?}");
    }
}

#[test]
fn what_we_write_we_read() {
    for digit in DIGITS {
        let (content_type, body) = to_info(digit, 120).unwrap();
        assert_eq!(from_info(content_type, body.as_bytes()), Some((digit, 120)));
    }
    assert_eq!(to_info('w', 100), Err(DtmfError::NotADigit('w')));
    assert_eq!(to_info('a', 100).unwrap().1, "Signal=A\r\nDuration=100\r\n");
}

#[test]
fn only_one_way_of_sending_digits_counts_at_a_time() {
    let start = Instant::now();
    let mut floor = Floor::default();
    let mut admits = |ms, digit, by| floor.admits(digit, by, start + Duration::from_millis(ms));
    assert!(admits(0, '1', By::Inband));
    assert!(!admits(60, '1', By::Rfc4733), "the same digit once more");
    assert!(admits(500, '1', By::Inband), "pressed again");
    assert!(!admits(560, '1', By::Rfc4733));
    assert!(!admits(600, '1', By::Info));
    assert!(admits(2600, '2', By::Info), "after a while another may begin");
    assert_eq!(floor.pressed().collect::<String>(), "12");
    assert_eq!(floor.pressed().count(), 0);
}

proptest! {
    #[test]
    fn any_info_body_is_read_or_refused(
        content_type in prop_oneof!["application/dtmf(-relay)?", ".{0,30}"],
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "(Signal|Duration) ?= ?.{0,5}\r?\n?.{0,20}".prop_map(String::into_bytes),
        ],
    ) {
        if let Some((digit, ms)) = from_info(&content_type, &body) {
            prop_assert!(DIGITS.contains(&digit) && ms > 0);
        }
    }
}
