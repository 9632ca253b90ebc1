use std::fmt;

use crate::lex;
use crate::params::Params;

/// Names the call a new one takes the place of: the Replaces header (RFC 3891).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of whoever receives the new INVITE.
    pub to_tag: String,
    /// The tag of the other side.
    pub from_tag: String,
    /// Whether it may be replaced only while it is not answered.
    pub early_only: bool,
}

impl Replaces {
    /// Parses a header value. `None` without a Call-ID and both tags.
    pub fn parse(value: &str) -> Option<Self> {
        let (call_id, params) = lex::split_params(value);
        let params = Params::new(params);
        let tag = |name| params.get(name).filter(|tag| lex::is_token(tag)).map(str::to_owned);
        (!call_id.is_empty()).then_some(Self {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.get("early-only").is_some(),
        })
    }

    /// Takes the Replaces header out of a Refer-To URI: the URI without it, and what it says.
    pub(crate) fn split_from(uri: &str) -> (String, Option<Self>) {
        let Some((base, headers)) = uri.split_once('?') else { return (uri.to_owned(), None) };
        let mut replaces = None;
        let mut others = String::new();
        for header in headers.split('&') {
            match header.split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("Replaces") => {
                    replaces = replaces.or_else(|| Self::parse(&lex::unescape(value)?));
                }
                _ => {
                    others.push(if others.is_empty() { '?' } else { '&' });
                    others.push_str(header);
                }
            }
        }
        (format!("{base}{others}"), replaces)
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call_id, to_tag, from_tag, early_only } = self;
        let early_only = if *early_only { ";early-only" } else { "" };
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}{early_only}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, written) in [
            ("98732@h ;from-tag=r33th4x0r ;to-tag=ff87ff", Some("98732@h;to-tag=ff87ff;from-tag=r33th4x0r")),
            ("a;to-tag=1;from-tag=2;early-only", Some("a;to-tag=1;from-tag=2;early-only")),
            ("a;to-tag=1", None),
            (";to-tag=1;from-tag=2", None),
        ] {
            assert_eq!(Replaces::parse(value).map(|r| r.to_string()).as_deref(), written, "{value}");
        }
    }

    #[test]
    fn within_a_refer_to() {
        for (uri, rest, call_id) in [
            ("sip:a@h", "sip:a@h", None),
            ("sip:a@h?Replaces=1%40h%3Bto-tag%3D2%3Bfrom-tag%3D3", "sip:a@h", Some("1@h")),
            ("sip:a@h?X=1&replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3&Y=2", "sip:a@h?X=1&Y=2", Some("1")),
            ("sip:a@h?Replaces=%zz", "sip:a@h", None),
        ] {
            let (left, replaces) = Replaces::split_from(uri);
            assert_eq!((left.as_str(), replaces.map(|r| r.call_id).as_deref()), (rest, call_id), "{uri}");
        }
    }
}
