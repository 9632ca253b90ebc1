use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::ParseError;
use crate::lex;
use crate::params::Params;

/// A `sip:` or `sips:` URI (RFC 3261 section 19.1), read in place. Escapes are left as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri<'a> {
    /// Whether the scheme is `sips`.
    pub secure: bool,
    /// What stands before the `@`, without the password.
    pub user: Option<&'a str>,
    /// The deprecated password.
    pub password: Option<&'a str>,
    /// The host.
    pub host: Host<'a>,
    /// The port, when it is given.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What follows a `?`: header fields for a request made from this URI.
    pub headers: Option<&'a str>,
}

/// The host part of a URI or Via.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host<'a> {
    /// A literal address.
    Ip(IpAddr),
    /// A name to be resolved.
    Domain(&'a str),
}

impl<'a> Uri<'a> {
    /// Parses a whole URI.
    ///
    /// # Errors
    /// [`ParseError::Uri`] for another scheme, and for white space, angle brackets, quotes or control
    /// characters anywhere in it.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let (scheme, rest) = text.split_once(':').ok_or(ParseError::Uri)?;
        let secure = match scheme {
            s if s.eq_ignore_ascii_case("sip") => false,
            s if s.eq_ignore_ascii_case("sips") => true,
            _ => return Err(ParseError::Uri),
        };
        if rest.chars().any(|c| lex::is_space(c) || c.is_control() || matches!(c, '<' | '>' | '"')) {
            return Err(ParseError::Uri);
        }
        // A user part may hold ';' and '?', so the '@' is looked for first; a password or parameter may not
        // hold one unescaped.
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').ok_or(info)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        if user.is_some_and(str::is_empty) {
            return Err(ParseError::Uri);
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = Host::parse_with_port(hostport).ok_or(ParseError::Uri)?;
        Ok(Self { secure, user, password, host, port, params: Params::new(params), headers })
    }

    /// Whether both name the same resource (RFC 3261 section 19.1.4). A parameter that only one of them has makes no
    /// difference, but for user, ttl, method, maddr and transport.
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        let (user, password) = (same_text(self.user, other.user), same_text(self.password, other.password));
        let host = match (self.host, other.host) {
            (Host::Ip(one), Host::Ip(other)) => one == other,
            (Host::Domain(one), Host::Domain(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        };
        (self.secure, self.port) == (other.secure, other.port)
            && user
            && password
            && host
            && fits(self.params, other.params)
            && fits(other.params, self.params)
            && same_headers(self.headers, other.headers)
    }

    /// Where a request to this URI goes when its host is a literal address; the port defaults to 5060.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port.unwrap_or(5060))),
            Host::Domain(_) => None,
        }
    }
}

/// Parameters that make a difference even where only one URI has them.
const TELLING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

/// Whether no parameter of `one` speaks against `other`.
fn fits(one: Params<'_>, other: Params<'_>) -> bool {
    one.iter().all(|(name, value)| match other.get(name) {
        Some(other) => {
            let lower = |text: &'_ str| text.to_ascii_lowercase();
            let value = value.unwrap_or_default();
            value.eq_ignore_ascii_case(other) || characters(&lower(value)).eq(characters(&lower(other)))
        }
        None => !TELLING.iter().any(|telling| name.eq_ignore_ascii_case(telling)),
    })
}

/// The same header fields, in any order.
fn same_headers(one: Option<&str>, other: Option<&str>) -> bool {
    let sorted = |text: &str| {
        let mut fields: Vec<String> = text.split('&').map(str::to_owned).collect();
        fields.sort_unstable();
        fields
    };
    one == other || one.zip(other).is_some_and(|(one, other)| sorted(one) == sorted(other))
}

fn same_text(one: Option<&str>, other: Option<&str>) -> bool {
    one == other || one.zip(other).is_some_and(|(one, other)| characters(one).eq(characters(other)))
}

/// The characters of a part of a URI. What is escaped is the same as what is not, unless it is reserved: then it is
/// counted above all bytes.
fn characters(text: &str) -> impl Iterator<Item = u16> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        let escaped = (first == b'%').then(|| Some((digit(0)?, digit(1)?))).flatten();
        let Some((high, low)) = escaped else { return Some(first.into()) };
        rest = tail.get(2..).unwrap_or_default();
        let byte = u8::try_from(high * 16 + low).unwrap_or_default();
        let is_reserved = b";/?:@&=+$,".contains(&byte);
        Some(u16::from(byte) + if is_reserved { 256 } else { 0 })
    })
}

impl<'a> Host<'a> {
    /// Parses `host` or `host:port`; an IPv6 address stands in brackets.
    pub(crate) fn parse_with_port(text: &'a str) -> Option<(Self, Option<u16>)> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (Self::Ip(address.into()), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (lex::trim(host), Some(lex::trim(port))),
                None => (text, None),
            };
            let host = match host.parse::<Ipv4Addr>() {
                Ok(address) => Self::Ip(address.into()),
                Err(_) if is_domain(host) => Self::Domain(host),
                Err(_) => return None,
            };
            (host, port)
        };
        match port {
            Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
            None => Some((host, None)),
        }
    }
}

/// Whether `text` has the characters of a host name. Underscores are not in the grammar but in use.
fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let uri = Uri::parse("sip:alice;x?y:secret@[2001:db8::1]:5080;transport=tcp;lr?Subject=a").unwrap();
        assert_eq!((uri.user, uri.password), (Some("alice;x?y"), Some("secret")));
        assert_eq!(uri.socket_addr(), Some("[2001:db8::1]:5080".parse().unwrap()));
        assert_eq!(uri.params.get("Transport"), Some("tcp"));
        assert_eq!(uri.params.get("lr"), Some(""));
        assert_eq!(uri.headers, Some("Subject=a"));

        let uri = Uri::parse("SIPS:example.com").unwrap();
        assert!(uri.secure);
        assert_eq!((uri.host, uri.port, uri.user), (Host::Domain("example.com"), None, None));
        assert_eq!(uri.socket_addr(), None);
    }

    #[test]
    fn equivalence() {
        for (one, other, same) in [
            // RFC 3261 section 19.1.4.
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true),
            ("sip:alice@h;x=1;method=REGISTER?a=b&c=d", "sip:alice@h;method=REGISTER?c=d&a=b", true),
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
            ("sip:bob@biloxi.com:6000;transport=tcp", "sip:bob@biloxi.com:6000", false),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false),
            ("sips:a@h", "sip:a@h", false),
            ("sip:a:x@h", "sip:a:y@h", false),
            ("sip:h", "sip:a@h", false),
            ("sip:a%3Bb@h", "sip:a;b@h", false),
            ("sip:a%@h", "sip:a%25@h", true),
        ] {
            let [a, b] = [one, other].map(|text| Uri::parse(text).unwrap());
            assert_eq!((a.is_equivalent(&b), b.is_equivalent(&a)), (same, same), "{one} {other}");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "sip",
            "sip:",
            "tel:+1",
            "sip:@h",
            "sip:a@",
            "sip:a@h:0",
            "sip:a@h:65536",
            "sip:a@h:x",
            "sip:a b@h",
            "sip:a@h\r\nX: y",
            "<sip:a@h>",
            "sip:a@[::1",
            "sip:a@[::1]x",
            "sip:a@h,b",
        ] {
            assert_eq!(Uri::parse(text), Err(ParseError::Uri), "{text:?}");
        }
    }
}
