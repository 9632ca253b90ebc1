use crate::lex;

/// The `;name=value` parameters of a header value or a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Params<'a> {
    text: &'a str,
}

impl<'a> Params<'a> {
    /// Parameters in `text`, which starts after the first semicolon.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// Each parameter; a flag has no value. Values keep their quotes.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        lex::separated(self.text, b';').filter(|part| !part.is_empty()).map(|part| {
            match part.split_once('=') {
                Some((name, value)) => (lex::trim(name), Some(lex::trim(value))),
                None => (part, None),
            }
        })
    }

    /// The value of `name` (any case); an empty string for a flag.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or(""))
    }

    /// Whether each parameter has a name; `;;` and `;=x` are errors.
    pub(crate) fn is_well_formed(self) -> bool {
        self.text.is_empty()
            || lex::separated(self.text, b';')
                .all(|part| lex::is_token(lex::trim(part.split_once('=').map_or(part, |(name, _)| name))))
    }
}
