use std::borrow::Cow;

use bytes::Bytes;

use crate::error::ParseError;
use crate::header::{Key, Name};
use crate::lex;
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::via::Via;

/// One header field's place in the message: 10 bytes, so that a whole index stays small enough to live on the
/// stack.
#[derive(Clone, Copy, Default)]
struct Field {
    known: Option<Name>,
    name_at: u16,
    name_len: u16,
    value_at: u16,
    value_len: u16,
}

#[derive(Clone, Copy)]
enum StartLine<'a> {
    Request { method: Method<'a>, uri: &'a str, version: &'a str },
    Response { status: u16, reason: &'a str },
}

/// A message read in place: where each header field stands, and nothing more. Values are parsed when asked for;
/// nothing is allocated.
///
/// Parsing is lenient: it fails only where no answer would be possible anyway. [`View::check`] says what is
/// wrong with a request and how to answer it.
#[derive(Clone)]
pub struct View<'a> {
    start: StartLine<'a>,
    bytes: &'a [u8],
    head: &'a str,
    count: usize,
    fields: [Field; View::MAX_HEADERS],
    junk: bool,
    crowded: bool,
}

impl<'a> View<'a> {
    /// The most header fields a message may have.
    pub const MAX_HEADERS: usize = 128;

    /// Reads the start line and finds the header fields. Lines may end in CRLF or a bare LF; what ends with its
    /// last header field has no body. Bytes before the start line are not skipped.
    ///
    /// # Errors
    /// What cannot be told from noise: no start line, no end of the header, a header that is not UTF-8 or has
    /// more than 128 fields or 65,535 bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let view = Self::read(bytes)?;
        if view.crowded { Err(ParseError::TooManyHeaders) } else { Ok(view) }
    }

    /// The same, but of too many header fields the first are kept: what an answer needs stands there.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let head = match head_end(bytes) {
            Some(end) => bytes.get(..end).unwrap_or(bytes),
            None if bytes.ends_with(b"\n") => bytes,
            None => return Err(ParseError::Incomplete),
        };
        if head.len() > usize::from(u16::MAX) {
            return Err(ParseError::TooLarge);
        }
        let head = std::str::from_utf8(head).map_err(|_| ParseError::Encoding)?;
        let (first, _) = head.split_once('\n').ok_or(ParseError::StartLine)?;
        let start = StartLine::parse(first.strip_suffix('\r').unwrap_or(first))?;
        let fields = [Field::default(); Self::MAX_HEADERS];
        let mut view = Self { start, bytes, head, count: 0, fields, junk: false, crowded: false };
        view.index(first.len() + 1)?;
        Ok(view)
    }

    /// Fills the index from the lines after `start`.
    fn index(&mut self, start: usize) -> Result<(), ParseError> {
        let bytes = self.head.as_bytes();
        let mut line_at = start;
        while let Some(line) = bytes.get(line_at..).filter(|line| !line.is_empty()) {
            // A line goes on where the next one starts with white space (RFC 3261 section 7.3.1).
            let mut len = 0;
            while let Some(lf) = line.get(len..).and_then(|tail| memchr::memchr(b'\n', tail)) {
                len += lf + 1;
                if !matches!(line.get(len), Some(b' ' | b'\t')) {
                    break;
                }
            }
            let len = if len == 0 { line.len() } else { len };
            let text = self.head.get(line_at..line_at + len).unwrap_or("");
            if !lex::trim(text).is_empty() {
                self.index_line(text, line_at)?;
            }
            line_at += len;
        }
        Ok(())
    }

    fn index_line(&mut self, line: &str, line_at: usize) -> Result<(), ParseError> {
        let Some((name, value)) =
            memchr::memchr(b':', line.as_bytes()).and_then(|at| line.split_at_checked(at))
        else {
            self.junk = true;
            return Ok(());
        };
        let value = value.get(1..).unwrap_or("").trim_ascii_end();
        let trimmed = value.trim_ascii_start();
        let value_at = line_at + name.len() + 1 + (value.len() - trimmed.len());
        let name = name.trim_ascii_end();
        self.junk |= name.is_empty();
        let Some(slot) = self.fields.get_mut(self.count) else {
            self.crowded = true;
            return Ok(());
        };
        *slot = Field {
            known: Name::of(name),
            name_at: offset(line_at)?,
            name_len: offset(name.len())?,
            value_at: offset(value_at)?,
            value_len: offset(trimmed.len())?,
        };
        self.count += 1;
        Ok(())
    }

    fn text(&self, at: u16, len: u16) -> &'a str {
        self.head.get(usize::from(at)..usize::from(at) + usize::from(len)).unwrap_or("")
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// A request's method.
    pub fn method(&self) -> Option<Method<'a>> {
        match self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// A request's URI, as it stands there.
    pub fn request_uri(&self) -> Option<&'a str> {
        match self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// A request's SIP version; `SIP/2.0` for a response, which parses with no other.
    pub(crate) fn version(&self) -> &'a str {
        match self.start {
            StartLine::Request { version, .. } => version,
            StartLine::Response { .. } => "SIP/2.0",
        }
    }

    /// A response's status, 100 to 699.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Response { status, .. } => Some(status),
            StartLine::Request { .. } => None,
        }
    }

    /// A response's reason phrase, often empty; empty for a request.
    pub fn reason(&self) -> &'a str {
        match self.start {
            StartLine::Response { reason, .. } => reason,
            StartLine::Request { .. } => "",
        }
    }

    /// The first field called `name`, without white space around it. Folded lines are left folded.
    pub fn header<'n>(&self, name: impl Into<Key<'n>>) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// Every field called `name`, in order.
    pub fn headers<'n>(&self, name: impl Into<Key<'n>>) -> impl Iterator<Item = &'a str> {
        let key = name.into();
        self.fields
            .iter()
            .take(self.count)
            .filter(move |field| match key {
                Key::Known(name) => field.known == Some(name),
                Key::Text(name) => {
                    field.known.is_none()
                        && self.text(field.name_at, field.name_len).eq_ignore_ascii_case(name)
                }
            })
            .map(|field| self.text(field.value_at, field.value_len))
    }

    /// Every value of every field called `name`: comma-separated ones one by one, with respect for quotes and
    /// angle brackets.
    pub fn values<'n>(&self, name: impl Into<Key<'n>>) -> impl Iterator<Item = &'a str> {
        self.headers(name).flat_map(lex::values)
    }

    /// All fields in order, by the names the message gives them.
    pub fn all_headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields.iter().take(self.count).map(|field| {
            (self.text(field.name_at, field.name_len), self.text(field.value_at, field.value_len))
        })
    }

    /// The Via values that can be read, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Via<'a>> {
        self.values(Name::Via).filter_map(|value| Via::parse(value).ok())
    }

    /// The topmost Via, when it can be read.
    pub fn top_via(&self) -> Option<Via<'a>> {
        Via::parse(self.values(Name::Via).next()?).ok()
    }

    /// From, when it can be read.
    pub fn from(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(Name::From)?).ok()
    }

    /// To, when it can be read.
    pub fn to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(Name::To)?).ok()
    }

    /// The first Contact, when it can be read; `*` cannot.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.values(Name::Contact).next()?).ok()
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&'a str> {
        self.header(Name::CallId)
    }

    /// CSeq, when it can be read.
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        CSeq::parse(self.header(Name::CSeq)?)
    }

    /// The media type of the body, without parameters.
    pub fn content_type(&self) -> Option<&'a str> {
        self.header(Name::ContentType).map(|value| lex::split_params(value).0)
    }

    /// The body: as long as Content-Length says, or all that is there when it says nothing or too much.
    pub fn body(&self) -> &'a [u8] {
        let rest = self.rest();
        self.content_length().and_then(Result::ok).and_then(|length| rest.get(..length)).unwrap_or(rest)
    }

    /// What follows the header, however long the body says it is.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.head.len()..).unwrap_or_default()
    }

    /// All bytes the view was parsed from.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Content-Length, which is bad when it is no number or given twice with two values.
    pub(crate) fn content_length(&self) -> Option<Result<usize, ParseError>> {
        let mut lengths = self.headers(Name::ContentLength);
        let first = lengths.next()?;
        if lengths.any(|other| other != first) || !first.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Err(ParseError::ContentLength));
        }
        Some(first.parse().map_err(|_| ParseError::ContentLength))
    }

    /// Whether it has more header fields than are read.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Whether there was a header line without a name or a colon.
    pub(crate) fn has_junk(&self) -> bool {
        self.junk
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.all_headers()).finish()
    }
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a str) -> Result<Self, ParseError> {
        if let Some((version, rest)) = line.split_once(' ').filter(|(first, _)| first.starts_with("SIP/")) {
            let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let status = status.parse().ok().filter(|_| status.len() == 3 && version == "SIP/2.0");
            return match status {
                Some(status @ 100..=699) => Ok(Self::Response { status, reason }),
                _ => Err(ParseError::StartLine),
            };
        }
        // What stands between the first and the last word is the URI, even if it holds spaces: a check refuses
        // that later, with an answer.
        let (method, rest) = line.split_once(' ').ok_or(ParseError::StartLine)?;
        let (uri, version) = rest.trim_end().rsplit_once(' ').ok_or(ParseError::StartLine)?;
        if !lex::is_token(method) || !version.starts_with("SIP/") {
            return Err(ParseError::StartLine);
        }
        Ok(Self::Request { method: Method::new(method), uri, version })
    }
}

fn offset(at: usize) -> Result<u16, ParseError> {
    u16::try_from(at).map_err(|_| ParseError::TooLarge)
}

/// Where the empty line that ends the header ends.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|lf| match bytes.get(lf + 1..)? {
        [b'\n', ..] => Some(lf + 2),
        [b'\r', b'\n', ..] => Some(lf + 3),
        _ => None,
    })
}

/// `bytes` with a header that is UTF-8: one that is not is taken for Latin-1, so that a stray byte in a display
/// name does not cost the whole message. The body is left alone.
pub(crate) fn as_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (head, rest) = bytes.split_at_checked(head_end(bytes).unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
    if std::str::from_utf8(head).is_ok() {
        return Cow::Borrowed(bytes);
    }
    let mut transcoded = head.iter().copied().map(char::from).collect::<String>().into_bytes();
    transcoded.extend_from_slice(rest);
    Cow::Owned(transcoded)
}

/// CSeq: a request's number and method (RFC 3261 section 20.16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The request's method, also in its responses.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let (number, method) = value.split_once(lex::is_space)?;
        let method = lex::trim(method);
        let number = number.parse().ok().filter(|number| *number < 1 << 31)?;
        lex::is_token(method).then_some(Self { number, method: Method::new(method) })
    }
}

/// A message that owns its bytes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
}

impl Message {
    /// Keeps `bytes` if they are a message; see [`View::parse`]. A header that is not UTF-8 is taken for Latin-1.
    ///
    /// # Errors
    /// As [`View::parse`].
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        let bytes = match as_utf8(&bytes) {
            Cow::Borrowed(_) => bytes,
            Cow::Owned(transcoded) => transcoded.into(),
        };
        View::parse(&bytes)?;
        Ok(Self { bytes })
    }

    /// Reads the message in place.
    pub fn view(&self) -> View<'_> {
        match View::parse(&self.bytes) {
            Ok(view) => view,
            Err(_) => unreachable!("parsed when it was made, unchanged since"),
        }
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.view().body()
    }

    /// The first header field called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.view().header(name)
    }

    /// The whole message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
