//! A URI, a destination as people type it, and a number: read, judged, never trusted.
#![no_main]

use call::{Destination, Number, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(uri) = sip::Uri::parse(text) {
        let _ = (uri.socket_addr(), uri.params.iter().count());
    }
    let policy =
        Policy { countries: vec!["US".into()], default_region: Some("US".into()), ..Policy::default() };
    match Destination::parse(text, |_| false) {
        Ok(Destination::Pstn(number)) => {
            // What is allowed is not an emergency number, however it is written.
            if call::policy::check(&policy, &number).is_ok() {
                assert!(!matches!(number.digits(), "911" | "112"), "{text}");
            }
        }
        Ok(Destination::Sip(uri)) => drop(call::policy::check_uri(&policy, &uri)),
        Ok(Destination::User(_)) | Err(_) => {}
    }
    if let Ok(number) = Number::parse(text) {
        assert!(number.digits().bytes().all(|digit| digit.is_ascii_digit()));
    }
});
