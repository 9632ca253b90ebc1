use crate::Path;
use crate::digest::Credentials;

/// Names a leg. An id whose leg is gone stays harmless: verbs on it do nothing or return an error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId {
    pub(super) key: usize,
    pub(super) generation: u64,
}

/// An INVITE to be sent.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where it goes.
    pub path: Path,
    /// The Request-URI, such as `sip:+12025550123@sip.example.com`.
    pub request_uri: String,
    /// The display name of From, unquoted.
    pub from_display: Option<String>,
    /// The URI of From.
    pub from_uri: String,
    /// The URI of To.
    pub to_uri: String,
    /// The user part of Contact.
    pub contact_user: Option<String>,
    /// Route values, such as `<sip:proxy.example.com;lr>`. They set the header only; `path` says where it goes.
    pub route: Vec<String>,
    /// Further header fields. Those the stack writes itself are refused.
    pub headers: Vec<(String, String)>,
    /// The SDP offer; empty for none.
    pub body: Vec<u8>,
    /// Answers a 401 or 407.
    pub credentials: Option<Credentials>,
}
