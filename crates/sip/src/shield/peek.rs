use std::net::SocketAddr;

use crate::method::Method;
use crate::{Path, Transport, lex};

/// Bytes of a header looked at.
const MAX_HEAD: usize = 4_096;
/// Lines of a header looked at.
const MAX_LINES: usize = 64;
/// The longest method.
const MAX_METHOD: usize = 32;
/// What every STUN message has in its bytes 4 to 7 (RFC 8489 section 5).
const STUN_COOKIE: &[u8] = &[0x21, 0x12, 0xa4, 0x42];

/// What can be told of a message at a glance: enough to decide whether it is worth parsing. Nothing is allocated, and
/// the work is bounded whatever comes.
#[derive(Clone, Copy, Debug)]
pub struct Peek<'a> {
    pub(super) transport: Transport,
    pub(super) remote: SocketAddr,
    pub(super) kind: Kind<'a>,
    /// The User-Agent of a request.
    pub(super) agent: Option<&'a [u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// A connection that is asked for.
    Connection,
    /// A keep-alive: empty lines (RFC 5626 section 3.5.1), zeros as phones send them, or STUN (section 3.5.2).
    KeepAlive,
    /// A request. `within`: it has a To tag, or belongs to an INVITE that passed already (ACK and CANCEL).
    Request { method: Method<'a>, within: bool },
    /// A response.
    Response,
    /// Nothing of these.
    Garbage,
}

impl<'a> Peek<'a> {
    /// Looks at a datagram, or at a message of a stream.
    pub fn of(bytes: &'a [u8], path: &Path) -> Self {
        let mut peek = Self::connection(path);
        let head = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        // Empty lines before a message are skipped (RFC 3261 section 7.5).
        let blank = head.iter().take(8).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let Some(head) = head.get(blank..).filter(|head| !is_keep_alive(head)) else {
            peek.kind = Kind::KeepAlive;
            return peek;
        };
        let (first, rest) =
            head.split_at_checked(memchr::memchr(b'\n', head).unwrap_or(head.len())).unwrap_or((head, &[]));
        peek.kind = match method(first) {
            _ if first.starts_with(b"SIP/") => Kind::Response,
            None => Kind::Garbage,
            Some(method) => {
                let (has_tag, agent) = fields(rest.get(1..).unwrap_or_default());
                peek.agent = agent;
                let within = has_tag || matches!(method, Method::Ack | Method::Cancel);
                Kind::Request { method, within }
            }
        };
        peek
    }

    /// Somebody who wants to connect: ask before the handshake, which costs more than any message.
    pub fn connection(path: &Path) -> Self {
        Self { transport: path.transport, remote: path.remote, kind: Kind::Connection, agent: None }
    }

    /// Whether it is a response, or a request in a dialog.
    pub(super) fn is_within(&self) -> bool {
        matches!(self.kind, Kind::Response | Kind::KeepAlive | Kind::Request { within: true, .. })
    }

    /// The method of a request, and INVITE of what belongs to one.
    pub(super) fn method(&self) -> Option<Method<'a>> {
        match self.kind {
            Kind::Request { method: Method::Ack | Method::Cancel, .. } => Some(Method::Invite),
            Kind::Request { method, .. } => Some(method),
            _ => None,
        }
    }
}

fn is_keep_alive(bytes: &[u8]) -> bool {
    let is_zeros = bytes.len() <= 4 && bytes.iter().all(|byte| *byte == 0);
    is_zeros || (bytes.first().is_some_and(|first| *first < 4) && bytes.get(4..8) == Some(STUN_COOKIE))
}

/// The method of a request line.
fn method(line: &[u8]) -> Option<Method<'_>> {
    let space = line.iter().take(MAX_METHOD + 1).position(|byte| *byte == b' ')?;
    let (method, rest) = line.split_at_checked(space)?;
    let version = rest.get(memchr::memrchr(b' ', rest.trim_ascii_end())?..)?;
    let method = std::str::from_utf8(method).ok().filter(|method| lex::is_token(method))?;
    version.starts_with(b" SIP/").then(|| Method::new(method))
}

/// Whether the To of a header has a tag, and its User-Agent.
fn fields(head: &[u8]) -> (bool, Option<&[u8]>) {
    let (mut has_tag, mut agent) = (None, None);
    let mut rest = head;
    for _ in 0..MAX_LINES {
        let Some(end) = memchr::memchr(b'\n', rest) else { break };
        match rest.first() {
            Some(b't' | b'T') if has_tag.is_none() => {
                has_tag = named(rest, b"To").or_else(|| named(rest, b"t")).map(tagged);
            }
            Some(b'u' | b'U') if agent.is_none() => agent = named(rest, b"User-Agent"),
            Some(b'\r' | b'\n') => break,
            _ => {}
        }
        if has_tag.is_some() && agent.is_some() {
            break;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    (has_tag.unwrap_or(false), agent)
}

/// The value of the field `rest` begins with, if it has that name.
fn named<'a>(rest: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = rest.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    // A line goes on where the next one starts with white space (RFC 3261 section 7.3.1).
    let mut ends = memchr::memchr_iter(b'\n', value).take(MAX_LINES);
    let end = ends.find(|end| !matches!(value.get(end + 1), Some(b' ' | b'\t'))).unwrap_or(value.len());
    value.get(..end).map(<[u8]>::trim_ascii)
}

/// Whether a To has a tag. A stranger may write one into any request: it then counts as one in a dialog, which is what
/// the endpoint refuses without keeping anything.
fn tagged(to: &[u8]) -> bool {
    // What stands before the last bracket is the URI and the display name.
    let params = memchr::memrchr(b'>', to).and_then(|at| to.get(at..)).unwrap_or(to);
    params.split(|byte| *byte == b';').skip(1).any(|param| {
        let name = param.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.len() < param.len() && name.trim_ascii().eq_ignore_ascii_case(b"tag")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path() -> Path {
        Path::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), "203.0.113.1:5060".parse().unwrap())
    }

    fn kind(bytes: &[u8]) -> Kind<'_> {
        Peek::of(bytes, &path()).kind
    }

    #[test]
    fn kinds() {
        let request = |method, within| Kind::Request { method, within };
        for (text, expected) in [
            ("INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n", request(Method::Invite, false)),
            ("\r\n\r\nINVITE sip:a@b SIP/2.0\r\n\r\n", request(Method::Invite, false)),
            ("INVITE sip:a@b SIP/7.0\r\nt: <sip:a@b>;tag=1\r\n\r\n", request(Method::Invite, true)),
            ("BYE sip:a@b SIP/2.0\nTO : sip:a@b ; Tag = 1\n\n", request(Method::Bye, true)),
            ("BYE sip:a@b SIP/2.0\r\nTo:\r\n <sip:a@b>\r\n\t;tag=1\r\n\r\n", request(Method::Bye, true)),
            ("BYE sip:a@b SIP/2.0\r\nTo: \"x;tag=1\" <sip:a@b;tag=1>\r\n\r\n", request(Method::Bye, false)),
            ("BYE sip:a@b SIP/2.0\r\nTo: <sip:a@b>;tagged=1;tag\r\n\r\n", request(Method::Bye, false)),
            ("BYE sip:a@b SIP/2.0\r\nTimestamp: 1\r\nTo: <sip:a>\r\n;tag=1\r\n", request(Method::Bye, false)),
            ("BYE sip:a@b SIP/2.0\r\n\r\nTo: <sip:a@b>;tag=1\r\n", request(Method::Bye, false)),
            ("ACK sip:a@b SIP/2.0\r\n\r\n", request(Method::Ack, true)),
            ("CANCEL sip:a@b SIP/2.0\r\n\r\n", request(Method::Cancel, true)),
            ("PING sip:a@b SIP/2.0", request(Method::Other("PING"), false)),
            ("SIP/2.0 200 OK\r\n\r\n", Kind::Response),
            ("", Kind::KeepAlive),
            ("\r\n\r\n", Kind::KeepAlive),
            ("\0\0\0\0", Kind::KeepAlive),
            ("\x00\x01\x00\x00\x21\x12", Kind::Garbage),
            ("GET / HTTP/1.1\r\n\r\n", Kind::Garbage),
            ("INVITE sip:a@b\r\n\r\n", Kind::Garbage),
            ("IN(ITE sip:a@b SIP/2.0\r\n\r\n", Kind::Garbage),
            (" INVITE sip:a@b SIP/2.0\r\n\r\n", Kind::Garbage),
        ] {
            assert_eq!(kind(text.as_bytes()), expected, "{}", text.escape_debug());
        }
        assert_eq!(kind(b"\x00\x01\x00\x00\x21\x12\xa4\x42............"), Kind::KeepAlive);
        assert_eq!(kind(&[b'A'; 100]), Kind::Garbage);
    }

    #[test]
    fn agents() {
        for (text, expected) in [
            ("OPTIONS sip:a SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", Some("friendly-scanner")),
            ("OPTIONS sip:a SIP/2.0\r\nTo: <sip:a>;tag=1\r\nuser-agent :\r\n  x y \r\n\r\n", Some("x y")),
            ("OPTIONS sip:a SIP/2.0\r\nUser-Agents: x\r\n\r\n", None),
            ("OPTIONS sip:a SIP/2.0\r\n\r\nUser-Agent: x\r\n", None),
        ] {
            let agent = Peek::of(text.as_bytes(), &path()).agent;
            assert_eq!(agent, expected.map(str::as_bytes), "{}", text.escape_debug());
        }
    }

    proptest! {
        #[test]
        fn a_tag_is_seen_as_the_parser_sees_it(
            name in "(\"[a-z;=]{0,5}\" )?", params in proptest::collection::vec("[a-z]{1,3}(=[a-z0-9]{1,3})?|tag=1", 0..3),
        ) {
            let params: String = params.iter().map(|param| format!(";{param}")).collect();
            let text = format!("BYE sip:a@b SIP/2.0\r\nTo: {name}<sip:a@b;x>{params}\r\n\r\n");
            let view = crate::View::parse(text.as_bytes()).unwrap();
            let within = view.to().is_some_and(|to| to.tag().is_some());
            prop_assert_eq!(kind(text.as_bytes()), Kind::Request { method: Method::Bye, within });
        }

        #[test]
        fn anything_can_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Peek::of(&bytes, &path());
        }

        #[test]
        fn what_the_parser_reads_is_no_garbage(text in "[A-Z]{1,8} [ -~]{1,20} SIP/[ -~]{1,4}\r\n(To: [ -~]{0,20}\r\n)?\r\n") {
            if crate::View::parse(text.as_bytes()).is_ok() {
                prop_assert!(!matches!(kind(text.as_bytes()), Kind::Garbage | Kind::KeepAlive));
            }
        }
    }
}
