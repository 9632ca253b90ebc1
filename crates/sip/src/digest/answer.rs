use std::borrow::Cow;

use super::Algorithm;
use crate::lex;

/// The answer to a challenge that an Authorization value is, read in place: values with their quotes.
#[derive(Default)]
pub struct Answer<'a> {
    pub username: &'a str,
    pub realm: &'a str,
    pub nonce: &'a str,
    pub uri: &'a str,
    pub response: &'a str,
    pub algorithm: Option<&'a str>,
    pub qop: Option<&'a str>,
    pub nc: Option<&'a str>,
    pub cnonce: Option<&'a str>,
}

impl<'a> Answer<'a> {
    /// Reads `Digest name=value, …`. Of a name given twice the first counts. `None` without what every answer has.
    pub fn parse(header: &'a str) -> Option<Self> {
        let (scheme, rest) = lex::trim(header).split_once(lex::is_space)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut answer = Self::default();
        for (name, value) in lex::values(rest).filter_map(|item| item.split_once('=')) {
            answer.set(lex::trim(name), lex::trim(value));
        }
        let Self { username, realm, nonce, uri, response, .. } = &answer;
        let has_all = [username, nonce, uri, response].iter().all(|field| !field.is_empty());
        (has_all && !realm.is_empty()).then_some(answer)
    }

    fn set(&mut self, name: &str, value: &'a str) {
        let required = |field: &mut &'a str| {
            if field.is_empty() {
                *field = value;
            }
        };
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        // The length decides first, as with header fields.
        match name.len() {
            2 if is("nc") => drop(self.nc.get_or_insert(value)),
            3 if is("uri") => required(&mut self.uri),
            3 if is("qop") => drop(self.qop.get_or_insert(value)),
            5 if is("realm") => required(&mut self.realm),
            5 if is("nonce") => required(&mut self.nonce),
            6 if is("cnonce") => drop(self.cnonce.get_or_insert(value)),
            8 if is("username") => required(&mut self.username),
            8 if is("response") => required(&mut self.response),
            9 if is("algorithm") => drop(self.algorithm.get_or_insert(value)),
            _ => {}
        }
    }

    /// The algorithm answered with; none if it is unknown.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.map_or(Some(Algorithm::Md5), |token| Algorithm::of(&text(token)))
    }
}

/// What a quoted string says; other text as it is. Only escapes cost a copy.
pub fn text(value: &str) -> Cow<'_, str> {
    match value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        Some(_) => Cow::Owned(lex::unquote(value)),
        None => Cow::Borrowed(value),
    }
}
