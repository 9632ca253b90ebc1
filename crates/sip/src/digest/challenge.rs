use super::Algorithm;
use crate::lex;

/// One digest challenge of a WWW-Authenticate or Proxy-Authenticate value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// The protection domain.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// To be returned unchanged.
    pub opaque: Option<String>,
    /// The hash wanted.
    pub algorithm: Algorithm,
    /// The quality of protection to answer with: `auth`, or `auth-int` where only that is offered. Without any the
    /// answer is that of RFC 2069.
    pub(super) qop: Option<&'static str>,
    /// Whether the last answer failed for its old nonce only.
    pub stale: bool,
}

impl Challenge {
    /// The challenges in a header value that this crate can answer; a value may hold several.
    pub fn parse_all(value: &str) -> impl Iterator<Item = Self> {
        let mut groups: Vec<Vec<&str>> = Vec::new();
        for item in lex::values(value) {
            // A new challenge starts with its scheme: `Digest realm="x"`, where others are `name=value`.
            let scheme = item.split_once(lex::is_space).filter(|(first, _)| lex::is_token(first));
            match (scheme, groups.last_mut()) {
                (Some((scheme, _)), _) if !scheme.contains('=') => groups.push(vec![item]),
                (_, Some(group)) => group.push(item),
                (_, None) => {}
            }
        }
        groups.into_iter().filter_map(|group| Self::parse(&group))
    }

    fn parse(items: &[&str]) -> Option<Self> {
        let fields = Fields::parse(items)?;
        let algorithm = match fields.get("algorithm") {
            Some(token) => Algorithm::of(&token)?,
            None => Algorithm::Md5,
        };
        let qop = match fields.get("qop") {
            Some(offered) => {
                let is_offered = |qop: &&str| lex::values(&offered).any(|q| q.eq_ignore_ascii_case(qop));
                Some(["auth", "auth-int"].into_iter().find(is_offered)?)
            }
            None => None,
        };
        Some(Self {
            realm: fields.get("realm")?,
            nonce: fields.get("nonce")?,
            opaque: fields.get("opaque"),
            algorithm,
            qop,
            stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

/// The fields of a challenge or of credentials.
pub(super) struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    /// Reads `Digest name=value` and further `name=value` items.
    pub fn parse(items: &[&'a str]) -> Option<Self> {
        let (first, rest) = items.split_first()?;
        let (scheme, first) = first.split_once(lex::is_space)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        Some(Self::of(std::iter::once(first).chain(rest.iter().copied())))
    }

    /// Reads `name=value` items.
    pub fn of(items: impl Iterator<Item = &'a str>) -> Self {
        let field = |item: &'a str| {
            let (name, value) = item.split_once('=')?;
            Some((lex::trim(name), lex::trim(value)))
        };
        Self(items.filter_map(field).collect())
    }

    /// The value of `name`, unquoted.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| lex::unquote(value))
    }
}
