use crate::error::ParseError;
use crate::lex;
use crate::params::Params;
use crate::uri::Host;

/// One Via value (RFC 3261 section 20.42), read in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// The transport token: `UDP`, `TCP`, or any other.
    pub transport: &'a str,
    /// Who sent the request, as it says itself: host and perhaps port.
    pub sent_by: &'a str,
    /// The host of `sent_by`.
    pub host: Host<'a>,
    /// The port of `sent_by`.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport` and others.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// What branches made under RFC 3261 start with (section 8.1.1.7).
    pub const COOKIE: &'static str = "z9hG4bK";

    /// Parses one value. Any SIP version will do: a request of another is to be answered too.
    ///
    /// # Errors
    /// [`ParseError::Via`].
    pub fn parse(value: &'a str) -> Result<Self, ParseError> {
        let (sent, params) = lex::split_params(value);
        // The slashes of the sent-protocol may have white space around them.
        let mut parts = sent.splitn(3, '/').map(lex::trim);
        let (name, version, rest) = (parts.next(), parts.next(), parts.next());
        let (transport, sent_by) = rest.and_then(|r| r.split_once(lex::is_space)).ok_or(ParseError::Via)?;
        if !name.is_some_and(|n| n.eq_ignore_ascii_case("SIP")) || !version.is_some_and(lex::is_token) {
            return Err(ParseError::Via);
        }
        let sent_by = lex::trim(sent_by);
        let (host, port) = Host::parse_with_port(sent_by).ok_or(ParseError::Via)?;
        Ok(Self { transport, sent_by, host, port, params: Params::new(params) })
    }

    /// The branch, when there is one that RFC 3261 made unique: with the cookie and something after it.
    pub fn unique_branch(&self) -> Option<&'a str> {
        let branch = self.params.get("branch")?;
        let (cookie, unique) = branch.split_at_checked(Self::COOKIE.len())?;
        (cookie.eq_ignore_ascii_case(Self::COOKIE) && !unique.is_empty()).then_some(branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let via = Via::parse("SIP / 2.0 / UDP \r\n first.example.com : 4000;ttl=16;rport ;branch=z9hG4bKa")
            .unwrap();
        assert_eq!((via.transport, via.host), ("UDP", Host::Domain("first.example.com")));
        assert_eq!((via.port, via.params.get("rport")), (Some(4000), Some("")));
        assert_eq!(via.unique_branch(), Some("z9hG4bKa"));
        let via = Via::parse("SIP/2.0/TCP [2001:db8::9]:5060;branch=z9hG4bK").unwrap();
        assert_eq!(via.host, Host::Ip("2001:db8::9".parse().unwrap()));
        assert_eq!(via.unique_branch(), None);
    }

    #[test]
    fn refused() {
        for value in ["", "SIP/2.0/UDP", "HTTP/2.0/UDP h", "SIP/2.0/UDP h:0", "SIP/2.0 h"] {
            assert_eq!(Via::parse(value), Err(ParseError::Via), "{value:?}");
        }
    }
}
