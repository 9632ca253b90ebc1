use std::fmt;

use crate::lex;
use crate::params::Params;

/// Why a request or a call ended: one value of a Reason header (RFC 3326).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// A SIP status or a Q.850 cause, as `protocol` says.
    pub cause: u16,
    /// What `cause` is counted in.
    pub protocol: ReasonProtocol,
    /// Words for people.
    pub text: Option<String>,
}

/// The protocol values of RFC 3326 section 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReasonProtocol {
    /// A SIP status code.
    Sip,
    /// An ITU-T Q.850 cause.
    Q850,
}

impl Reason {
    /// Parses one value, such as `Q.850;cause=16;text="Terminated"`. `None` for other protocols or without a
    /// cause.
    pub fn parse(value: &str) -> Option<Self> {
        let (protocol, params) = lex::split_params(value);
        let protocol = match protocol {
            p if p.eq_ignore_ascii_case("Q.850") => ReasonProtocol::Q850,
            p if p.eq_ignore_ascii_case("SIP") => ReasonProtocol::Sip,
            _ => return None,
        };
        let params = Params::new(params);
        let cause = params.get("cause")?.parse().ok()?;
        let text = params.get("text").map(lex::unquote).filter(|text| !text.is_empty());
        Some(Self { cause, protocol, text })
    }

    /// The most telling of a message's values: Q.850 before SIP.
    pub(crate) fn most_telling<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut sip = None;
        for reason in values.filter_map(Self::parse) {
            match reason.protocol {
                ReasonProtocol::Q850 => return Some(reason),
                ReasonProtocol::Sip => sip = sip.or(Some(reason)),
            }
        }
        sip
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            ReasonProtocol::Sip => "SIP",
            ReasonProtocol::Q850 => "Q.850",
        };
        write!(f, "{protocol};cause={}", self.cause)?;
        match &self.text {
            Some(text) => write!(f, ";text={}", lex::quote(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_and_written() {
        let written = r#"Q.850;cause=16;text="Normal \"clearing\"""#;
        let reason = Reason::parse(written).unwrap();
        assert_eq!((reason.cause, reason.protocol), (16, ReasonProtocol::Q850));
        assert_eq!(reason.text.as_deref(), Some(r#"Normal "clearing""#));
        assert_eq!(reason.to_string(), written);
        assert_eq!(Reason::parse("SIP ;cause=200").unwrap().to_string(), "SIP;cause=200");
        for bad in ["", "X.25;cause=1", "SIP", "SIP;cause=", "SIP;cause=99999", "Q.850;text=\"x\""] {
            assert_eq!(Reason::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn q850_wins() {
        let values = ["SIP;cause=603", "Preemption;cause=1", "Q.850;cause=21"];
        assert_eq!(Reason::most_telling(values.into_iter()).unwrap().cause, 21);
        assert_eq!(Reason::most_telling(values.into_iter().take(2)).unwrap().cause, 603);
    }
}
