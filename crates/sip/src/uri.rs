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

    /// Where a request to this URI goes when its host is a literal address; the port defaults to 5060.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port.unwrap_or(5060))),
            Host::Domain(_) => None,
        }
    }
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
