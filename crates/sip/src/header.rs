/// Header fields the stack reads itself, and others that have a compact form; a [`Key`] names any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the header fields")]
pub enum Name {
    Allow,
    AllowEvents,
    Authorization,
    CSeq,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    Event,
    From,
    Identity,
    MaxForwards,
    MinSe,
    ProxyAuthenticate,
    ProxyAuthorization,
    RAck,
    RSeq,
    Reason,
    RecordRoute,
    ReferTo,
    ReferredBy,
    Replaces,
    Require,
    RetryAfter,
    Route,
    SessionExpires,
    Subject,
    SubscriptionState,
    Supported,
    To,
    Unsupported,
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
                ("k", Self::Supported),
                ("s", Self::Subject),
                ("o", Self::Event),
                ("u", Self::AllowEvents),
                ("r", Self::ReferTo),
                ("b", Self::ReferredBy),
                ("x", Self::SessionExpires),
                ("y", Self::Identity),
            ],
            2 => &[("To", Self::To)],
            3 => &[("Via", Self::Via)],
            4 => &[("From", Self::From), ("CSeq", Self::CSeq), ("RSeq", Self::RSeq), ("RAck", Self::RAck)],
            5 => &[("Allow", Self::Allow), ("Route", Self::Route), ("Event", Self::Event)],
            6 => &[("Reason", Self::Reason), ("Min-SE", Self::MinSe)],
            7 => &[
                ("Call-ID", Self::CallId),
                ("Contact", Self::Contact),
                ("Require", Self::Require),
                ("Subject", Self::Subject),
            ],
            8 => &[("Identity", Self::Identity), ("Refer-To", Self::ReferTo), ("Replaces", Self::Replaces)],
            9 => &[("Supported", Self::Supported)],
            11 => &[
                ("Retry-After", Self::RetryAfter),
                ("Referred-By", Self::ReferredBy),
                ("Unsupported", Self::Unsupported),
            ],
            12 => &[
                ("Max-Forwards", Self::MaxForwards),
                ("Content-Type", Self::ContentType),
                ("Record-Route", Self::RecordRoute),
                ("Allow-Events", Self::AllowEvents),
            ],
            13 => &[("Authorization", Self::Authorization)],
            14 => &[("Content-Length", Self::ContentLength)],
            15 => &[("Session-Expires", Self::SessionExpires)],
            16 => &[("Content-Encoding", Self::ContentEncoding), ("WWW-Authenticate", Self::WwwAuthenticate)],
            18 => &[
                ("Proxy-Authenticate", Self::ProxyAuthenticate),
                ("Subscription-State", Self::SubscriptionState),
            ],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, name) in [
            ("v", Some(Name::Via)),
            ("VIA", Some(Name::Via)),
            ("K", Some(Name::Supported)),
            ("call-id", Some(Name::CallId)),
            ("www-authenticate", Some(Name::WwwAuthenticate)),
            ("Vias", None),
            ("", None),
        ] {
            assert_eq!(Name::of(text), name, "{text}");
        }
    }
}
