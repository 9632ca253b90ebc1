//! Names of users and groups: dialled on phones, and written in URLs and beside ids.

use call::{Destination, NumberError};

use crate::id::Id;
use crate::refused::Refused;

/// Refuses what cannot be the user part of a SIP URI without escapes (RFC 3261 section 25.1), and what would be taken
/// for a telephone number or an id. `field` is named in the refusal.
pub(super) fn check_dialled(field: &str, name: &str, code: &'static str) -> Result<(), Refused> {
    let bad = |message: &str| Err(Refused::bad(code, format!("The field `{field}` {message}")));
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(known) {
        return bad(
            "must have 1 to 64 letters, digits or any of - _ . ! ~ * ' ( ) & = + $ , ; ? /, without blanks.",
        );
    }
    if Id::parse(name).is_some() {
        return bad("could be an id: give another.");
    }
    match Destination::parse(name, |_| false) {
        Err(NumberError::Unknown) => Ok(()),
        // A few extensions are an emergency number in some country (101); these are in most.
        Err(NumberError::Emergency) if ["112", "911", "999"].contains(&name) => {
            bad("is an emergency number: give another.")
        }
        Err(NumberError::TooShort | NumberError::Emergency)
            if name.len() >= 2 && name.bytes().all(|b| b.is_ascii_digit()) =>
        {
            Ok(())
        }
        _ => bad("could be a telephone number: an extension has 2 to 6 digits."),
    }
}

/// Users and groups of an account are dialled by one set of names.
pub(super) fn taken(what: &str, name: &str, code: &'static str) -> Refused {
    Refused::new(409, code, format!("The account has a {what} named {name:?} already."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_a_number_nor_an_id() {
        for name in ["alice", "101", "12", "999999", "user_1234567890", "a.b-c_d", "*97", "a+b", "sip"] {
            assert_eq!(check_dialled("username", name, "c"), Ok(()), "{name}");
        }
        for name in [
            "",
            "1",
            "911",
            "112",
            "1234567",
            "+12025550123",
            "202-555-0123",
            "+1",
            "a b",
            "a@b",
            "sip:a",
            "alice\r",
            "ä",
            "a\"b",
            "65a1f0c2a4b1c2d3e4f50617",
            "user_65a1f0c2a4b1c2d3e4f50617",
            &"a".repeat(65),
        ] {
            let refused = check_dialled("username", name, "c").unwrap_err();
            assert!(refused.message.starts_with("The field `username` "), "{name}: {refused}");
        }
    }
}
