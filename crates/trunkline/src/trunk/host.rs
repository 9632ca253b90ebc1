//! What can be a host: checked alike wherever one is given, and refused with what to write instead.

use std::net::{IpAddr, Ipv6Addr};

/// The longest name there is (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;
/// The longest part of a name between dots.
const LONGEST_LABEL: usize = 63;

/// Why a text is no host. `Display` goes on after the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing at all.
    #[error("is empty: give a host name such as sip.example.com, or an IP address")]
    Empty,
    /// No name is that long.
    #[error("is longer than {LONGEST} characters: give one host name or IP address")]
    TooLong,
    /// Line breaks, tabs, NUL and the like.
    #[error("contains a control character: remove line breaks and tabs")]
    ControlCharacter,
    /// A URI, or an address with a user; and the host in it.
    #[error("is {given:?}, which is more than a host: give the host alone{}", such_as(host))]
    Uri {
        /// What was given.
        given: String,
        /// The host in it, if it is one.
        host: Option<String>,
    },
    /// A host with its port.
    #[error("is {given:?}, which names a port too: give {host} alone; a trunk's port is set by `port`")]
    Port {
        /// What was given.
        given: String,
        /// The part before the port.
        host: String,
    },
    /// A port that is none.
    #[error("is {0:?}, whose port is none: write host:port with a port from 1 to 65535")]
    BadPort(String),
    /// Letters outside ASCII.
    #[error(
        "is {0:?}: write names with other letters than a to z in their ASCII form, which begins with xn--"
    )]
    NotAscii(String),
    /// Blanks, slashes and the like.
    #[error("is {0:?}: a host name has letters, digits, dots, hyphens and underscores only")]
    Characters(String),
    /// Two dots in a row, or a hyphen where none may be.
    #[error(
        "is {0:?}: each part of a host name between dots has 1 to {LONGEST_LABEL} characters and neither begins nor \
         ends with a hyphen"
    )]
    Label(String),
    /// Digits and dots, or brackets, that are no address.
    #[error("is {0:?}, which is no IP address: write it like 192.0.2.1 or 2001:db8::1")]
    Address(String),
}

fn such_as(host: &Option<String>) -> String {
    host.as_ref().map(|host| format!(", such as {host}")).unwrap_or_default()
}

/// Refuses what is neither a host name nor an IP address by itself.
pub fn check_host(text: &str) -> Result<(), HostError> {
    match parts(text)? {
        (host, None) => check_bare(host, text),
        (host, Some(_)) => {
            check_bare(host, text)?;
            Err(HostError::Port { given: text.to_owned(), host: host.to_owned() })
        }
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port` taken apart; the host without brackets.
pub fn host_port(text: &str) -> Result<(String, Option<u16>), HostError> {
    let (host, port) = parts(text)?;
    check_bare(host, text)?;
    let read = |port: &str| port.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.map(|port| read(port).ok_or_else(|| HostError::BadPort(text.to_owned()))).transpose()?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

/// Host and port as they were written, of what has no more than these.
fn parts(text: &str) -> Result<(&str, Option<&str>), HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(HostError::ControlCharacter);
    }
    // Room for a port.
    if text.len() > LONGEST + ":65535".len() {
        return Err(HostError::TooLong);
    }
    if let Some(rest) = beyond_host(text) {
        let host = rest.split(['/', ';', '?', '>']).next().unwrap_or(rest);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let host = host_port(host).ok().map(|(host, _)| host);
        return Err(HostError::Uri { given: text.to_owned(), host });
    }
    if text.parse::<Ipv6Addr>().is_ok() || (text.starts_with('[') && text.ends_with(']')) {
        return Ok((text, None));
    }
    Ok(text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

/// What follows the scheme where there is one, or all where other signs of a URI are.
fn beyond_host(text: &str) -> Option<&str> {
    if let Some((_, rest)) = text.split_once("://") {
        return Some(rest);
    }
    let scheme = text.split_once(':').filter(|(scheme, _)| {
        ["sip", "sips", "tel", "<sip", "<sips"].iter().any(|known| known.eq_ignore_ascii_case(scheme))
    });
    match scheme {
        Some((_, rest)) => Some(rest),
        None => text.contains(['@', ';', '?']).then_some(text),
    }
}

/// A host without port; `given` is what the error shows.
fn check_bare(host: &str, given: &str) -> Result<(), HostError> {
    let given = || given.to_owned();
    if host.is_empty() {
        return Err(HostError::Empty);
    }
    if host.len() > LONGEST {
        return Err(HostError::TooLong);
    }
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if host.contains([':', '[', ']']) {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address = inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
        return if is_address { Ok(()) } else { Err(HostError::Address(given())) };
    }
    if !host.is_ascii() {
        return Err(HostError::NotAscii(given()));
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(HostError::Characters(given()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !name.split('.').all(is_label) {
        return Err(HostError::Label(given()));
    }
    // No top-level domain is a number (RFC 1123 section 2.1), so this was meant as an address.
    match name.rsplit('.').next().unwrap_or(name).bytes().all(|b| b.is_ascii_digit()) {
        true => Err(HostError::Address(given())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_or_refused_with_what_to_write() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(130);
        for (text, said) in [
            ("sip.example.com", ""),
            ("sip.example.com.", ""),
            ("localhost", ""),
            ("pbx_1", ""),
            ("192.0.2.1", ""),
            ("2001:db8::1", ""),
            ("[2001:db8::1]", ""),
            ("3com.example", ""),
            ("", "is empty"),
            (" ", "is \" \": a host name has letters"),
            ("foo bar", "is \"foo bar\": a host name has letters"),
            ("http://x", "give the host alone, such as x"),
            ("https://sip.example.com:5061/path", "give the host alone, such as sip.example.com"),
            ("sip:alice@example.com;transport=tcp", "give the host alone, such as example.com"),
            ("SIP:example.com", "give the host alone, such as example.com"),
            ("alice@example.com", "give the host alone, such as example.com"),
            ("example.com;lr", "give the host alone, such as example.com"),
            ("sip:", "give the host alone"),
            ("host:5060", "names a port too: give host alone; a trunk's port is set by `port`"),
            ("[2001:db8::1]:5060", "names a port too: give [2001:db8::1] alone"),
            ("host:", "names a port too"),
            ("a/b", "a host name has letters"),
            ("a\r\nX: y", "contains a control character"),
            ("a\0", "contains a control character"),
            ("münchen.example", "xn--"),
            ("a..example", "each part of a host name"),
            (".example", "each part of a host name"),
            ("-a.example", "each part of a host name"),
            (long.as_str(), "each part of a host name"),
            (longer.as_str(), "is longer than 253 characters"),
            ("999.1.1.1", "is no IP address"),
            ("10.0.0", "is no IP address"),
            ("5060", "is no IP address"),
            ("[::1", "is no IP address"),
            ("[192.0.2.1]", "is no IP address"),
        ] {
            let why = check_host(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(why.is_empty(), said.is_empty(), "{text:?}: {why}");
            assert!(why.contains(said), "{text:?}: {why}");
        }
    }

    #[test]
    fn hosts_and_ports_are_taken_apart() {
        for (text, expected) in [
            ("edge.example", Some(("edge.example", None))),
            ("edge.example:5070", Some(("edge.example", Some(5070)))),
            ("192.0.2.1:5070", Some(("192.0.2.1", Some(5070)))),
            ("2001:db8::1", Some(("2001:db8::1", None))),
            ("[2001:db8::1]", Some(("2001:db8::1", None))),
            ("[2001:db8::1]:5061", Some(("2001:db8::1", Some(5061)))),
            ("[edge]:5060", None),
            ("[::1]5060", None),
            ("edge:", None),
            ("edge:0", None),
            ("edge:70000", None),
            (":5060", None),
            ("", None),
            ("edge;lr", None),
            ("sip:edge", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_port(text).ok(), expected, "{text}");
        }
    }

    proptest::proptest! {
        /// What is taken as a host can stand in a URI.
        #[test]
        fn a_host_can_stand_in_a_uri(text in "[a-z0-9.:\\-_\\[\\]@/ ]{0,20}") {
            if check_host(&text).is_ok() {
                let uri = format!("sip:x@{}", super::super::bracketed(text.as_str()));
                proptest::prop_assert!(sip::Uri::parse(&uri).is_ok(), "{}", uri);
            }
        }
    }
}
