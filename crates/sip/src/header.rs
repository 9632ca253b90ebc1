/// Header fields the stack reads itself; a [`Key`] names any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the header fields")]
pub enum Name {
    Accept,
    Authorization,
    CSeq,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    Date,
    Event,
    From,
    MaxForwards,
    ProxyAuthenticate,
    ProxyAuthorization,
    Reason,
    RecordRoute,
    Require,
    RetryAfter,
    Route,
    To,
    Via,
    WwwAuthenticate,
}

impl Name {
    /// The header field a message calls `text`: any case, long or compact form (RFC 3261 section 7.3.3).
    pub fn of(text: &str) -> Option<Self> {
        // The length decides first: most fields are told apart without comparing them to each name.
        let candidates: &[(&str, Self)] = match text.len() {
            1 => &[
                ("v", Self::Via),
                ("f", Self::From),
                ("t", Self::To),
                ("i", Self::CallId),
                ("m", Self::Contact),
                ("l", Self::ContentLength),
                ("c", Self::ContentType),
                ("e", Self::ContentEncoding),
                ("o", Self::Event),
            ],
            2 => &[("To", Self::To)],
            3 => &[("Via", Self::Via)],
            4 => &[("From", Self::From), ("CSeq", Self::CSeq), ("Date", Self::Date)],
            5 => &[("Route", Self::Route), ("Event", Self::Event)],
            6 => &[("Accept", Self::Accept), ("Reason", Self::Reason)],
            7 => &[("Call-ID", Self::CallId), ("Contact", Self::Contact), ("Require", Self::Require)],
            11 => &[("Retry-After", Self::RetryAfter)],
            12 => &[
                ("Max-Forwards", Self::MaxForwards),
                ("Content-Type", Self::ContentType),
                ("Record-Route", Self::RecordRoute),
            ],
            13 => &[("Authorization", Self::Authorization)],
            14 => &[("Content-Length", Self::ContentLength)],
            16 => &[("Content-Encoding", Self::ContentEncoding), ("WWW-Authenticate", Self::WwwAuthenticate)],
            18 => &[("Proxy-Authenticate", Self::ProxyAuthenticate)],
            19 => &[("Proxy-Authorization", Self::ProxyAuthorization)],
            _ => &[],
        };
        candidates.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, name)| name)
    }
}

/// What a header field is looked up by: a [`Name`], or any text.
#[derive(Clone, Copy, Debug)]
pub enum Key<'n> {
    /// A field the stack knows, in all its spellings.
    Known(Name),
    /// Any other field, compared without case.
    Text(&'n str),
}

impl From<Name> for Key<'_> {
    fn from(name: Name) -> Self {
        Self::Known(name)
    }
}

impl<'n> From<&'n str> for Key<'n> {
    fn from(text: &'n str) -> Self {
        Name::of(text).map_or(Self::Text(text), Self::Known)
    }
}
