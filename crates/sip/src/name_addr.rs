use crate::error::ParseError;
use crate::lex;
use crate::params::Params;
use crate::uri::Uri;

/// A name-addr or addr-spec with its header parameters: From, To, Contact, Route (RFC 3261 section 20.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameAddr<'a> {
    /// The display name as it stands there, quotes included.
    pub display: Option<&'a str>,
    /// The URI's text, of any scheme.
    pub uri: &'a str,
    /// The header parameters.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Parses one value.
    ///
    /// # Errors
    /// [`ParseError::NameAddr`] without a URI, or with an unclosed quote or angle bracket.
    pub fn parse(value: &'a str) -> Result<Self, ParseError> {
        let value = lex::trim(value);
        if !lex::is_balanced(value) {
            return Err(ParseError::NameAddr);
        }
        let (display, uri, params) =
            match lex::find_outside(value, b'<').and_then(|at| value.split_at_checked(at)) {
                Some((display, rest)) => {
                    let (uri, params) = rest.split_once('>').ok_or(ParseError::NameAddr)?;
                    let params = lex::trim(params);
                    let params = match params.strip_prefix(';') {
                        Some(params) => params,
                        None if params.is_empty() => "",
                        None => return Err(ParseError::NameAddr),
                    };
                    (Some(lex::trim(display)).filter(|d| !d.is_empty()), uri.get(1..).unwrap_or(""), params)
                }
                // Without brackets parameters are the header's, and the URI may hold no comma or question mark
                // (RFC 3261 section 20).
                None => {
                    let (uri, params) = lex::split_params(value);
                    if uri.contains(['?', ',']) {
                        return Err(ParseError::NameAddr);
                    }
                    (None, uri, params)
                }
            };
        let uri = lex::trim(uri);
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        if !scheme.is_some_and(lex::is_token) || uri.contains(lex::is_space) {
            return Err(ParseError::NameAddr);
        }
        Ok(Self { display, uri, params: Params::new(params) })
    }

    /// The URI's parts.
    ///
    /// # Errors
    /// [`ParseError::Uri`] when it is no SIP URI.
    pub fn sip_uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri)
    }

    /// The display name as people read it: without quotes and escapes.
    pub fn display_name(&self) -> Option<String> {
        self.display.map(lex::unquote)
    }

    /// The tag parameter of From and To.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        for (value, display, uri, tag) in [
            (r#""A \"B\" <c>" <sip:a@h;x=1>;tag=t1"#, Some(r#"A "B" <c>"#), "sip:a@h;x=1", Some("t1")),
            ("Bell Labs <sip:b@h>", Some("Bell Labs"), "sip:b@h", None),
            ("sip:c@h;tag=2", None, "sip:c@h", Some("2")),
            ("< sip:d@h > ; TAG = 3", None, "sip:d@h", Some("3")),
            ("\r\n <tel:+1>", None, "tel:+1", None),
        ] {
            let parsed = NameAddr::parse(value).unwrap();
            assert_eq!(parsed.display_name().as_deref(), display, "{value}");
            assert_eq!((parsed.uri, parsed.tag()), (uri, tag), "{value}");
        }
    }

    #[test]
    fn refused() {
        for value in
            ["", "*", "<sip:a@h", "\"a <sip:a@h>", "<sip:a@h> x", "<>", "alice", "<sip:a b@h>", "sip:a@h?b=c"]
        {
            assert_eq!(NameAddr::parse(value), Err(ParseError::NameAddr), "{value:?}");
        }
    }
}
