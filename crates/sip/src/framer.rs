use bytes::{Bytes, BytesMut};

use crate::error::ParseError;
use crate::message::head_end;

/// One piece of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A whole message.
    Message(Bytes),
    /// A double CRLF: a keep-alive that wants a single CRLF back (RFC 5626 section 3.5.1).
    Ping,
}

/// How far a stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Messages and keep-alives that came whole so far.
    pub whole: u64,
    /// Whether a further message has begun.
    pub begun: bool,
}

/// Cuts a stream into messages (RFC 3261 section 18.3).
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Where the search for the end of the header goes on.
    searched: usize,
    /// The length of the first message, once its header is there.
    length: Option<usize>,
    max_message: usize,
    whole: u64,
}

impl Framer {
    /// A framer for one connection that refuses messages over `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, length: None, max_message, whole: 0 }
    }

    /// Takes in the next bytes, however cut.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// The stream cannot be followed any further: a message is over the limit or does not say how long it is.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ParseError> {
        if self.length.is_none() {
            while self.buffer.starts_with(b"\r\n") || self.buffer.starts_with(b"\n") {
                if self.buffer.starts_with(b"\r\n\r\n") {
                    let _ = self.buffer.split_to(4);
                    self.whole += 1;
                    return Ok(Some(Frame::Ping));
                }
                // The second CRLF of a keep-alive may be on its way.
                if b"\r\n\r\n".starts_with(&self.buffer) {
                    return Ok(None);
                }
                let _ = self.buffer.split_to(if self.buffer.starts_with(b"\n") { 1 } else { 2 });
            }
            self.length = self.find_length()?;
        }
        match self.length {
            Some(length) if length > self.max_message => Err(ParseError::TooLarge),
            Some(length) if self.buffer.len() >= length => {
                self.length = None;
                self.searched = 0;
                self.whole += 1;
                Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())))
            }
            None if self.buffer.len() > self.max_message => Err(ParseError::TooLarge),
            _ => Ok(None),
        }
    }

    /// How far the stream has come. Line ends between messages begin none.
    pub fn progress(&self) -> Progress {
        let begun = self.length.is_some() || self.buffer.iter().any(|byte| !b"\r\n".contains(byte));
        Progress { whole: self.whole, begun }
    }

    fn find_length(&mut self) -> Result<Option<usize>, ParseError> {
        let Some(end) = self.buffer.get(self.searched..).and_then(head_end) else {
            // The end may begin in the last bytes: LF CR, with LF to come.
            self.searched = self.buffer.len().saturating_sub(2);
            return Ok(None);
        };
        let end = self.searched + end;
        let body = self.buffer.get(..end).map_or(Err(ParseError::Incomplete), content_length)?;
        Ok(Some(end.saturating_add(body)))
    }
}

/// Content-Length in a header that may be malformed otherwise.
fn content_length(head: &[u8]) -> Result<usize, ParseError> {
    let mut lengths = head.split(|&b| b == b'\n').filter_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|&b| b == b':')?)?;
        let name = name.trim_ascii();
        let named = name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l");
        named.then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    let length = lengths.next().ok_or(ParseError::ContentLength)?;
    let digits = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    if lengths.any(|other| other != length) {
        return Err(ParseError::ContentLength);
    }
    digits.and_then(|text| text.parse().ok()).ok_or(ParseError::ContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 5\r\n\r\nhello";
    const B: &[u8] = b"SIP/2.0 200 OK\nl : 0\n\n";

    fn frames(framer: &mut Framer) -> Result<Vec<Frame>, ParseError> {
        std::iter::from_fn(|| framer.next_frame().transpose()).collect()
    }

    #[test]
    fn any_cut_gives_the_same_frames() {
        let stream = [A, b"\r\n\r\n", B, b"\r\n", A].concat();
        let message = |bytes: &'static [u8]| Frame::Message(Bytes::from_static(bytes));
        let expected = [message(A), Frame::Ping, message(B), message(A)];
        for size in 1..=stream.len() {
            let mut framer = Framer::new(100);
            let mut got = Vec::new();
            for chunk in stream.chunks(size) {
                framer.push(chunk);
                got.extend(frames(&mut framer).unwrap());
            }
            assert_eq!(got, expected, "chunks of {size}");
            assert!(framer.buffer.is_empty());
        }
    }

    #[test]
    fn what_has_begun_is_known() {
        let mut framer = Framer::new(100);
        for (bytes, whole, begun) in [
            (&b"\r\n"[..], 0, false),
            (b"\r\nO", 1, true),
            (&A[1..], 2, false),
            (b"\r\n", 2, false),
            (&A[..A.len() - 1], 2, true),
            (b"oS", 3, true),
        ] {
            framer.push(bytes);
            frames(&mut framer).unwrap();
            assert_eq!(framer.progress(), Progress { whole, begun }, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_cannot_be_followed() {
        let endless = [b'x'; 101];
        for (stream, error) in [
            (&b"OPTIONS sip:a SIP/2.0\r\n\r\n"[..], ParseError::ContentLength),
            (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n", ParseError::ContentLength),
            (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: \r\n\r\n", ParseError::ContentLength),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n", ParseError::ContentLength),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 18446744073709551615\r\n\r\n", ParseError::TooLarge),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 99\r\n\r\n", ParseError::TooLarge),
            (&endless, ParseError::TooLarge),
        ] {
            let mut framer = Framer::new(100);
            framer.push(stream);
            assert_eq!(frames(&mut framer), Err(error), "{}", stream.escape_ascii());
        }
    }
}
