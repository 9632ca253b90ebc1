use bytes::Bytes;

use crate::lex;

/// Writes a message. A value can never break out of its line: CR, LF and NUL become spaces.
#[derive(Clone, Debug)]
pub struct Builder {
    text: Vec<u8>,
}

impl Builder {
    /// Starts a request.
    pub fn request(method: &str, uri: &str) -> Self {
        let mut builder = Self { text: Vec::with_capacity(1024) };
        builder.write(method).write(" ").write(uri).raw(" SIP/2.0\r\n");
        builder
    }

    /// Starts a response.
    pub fn response(status: u16, phrase: &str) -> Self {
        let mut builder = Self { text: Vec::with_capacity(1024) };
        builder.raw("SIP/2.0 ").write(&status.to_string()).write(" ").write(phrase).raw("\r\n");
        builder
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.write(name).raw(":");
        if !value.is_empty() {
            self.raw(" ").write(value);
        }
        self.raw("\r\n");
        self
    }

    /// Adds a header field once for each value.
    pub fn headers<V: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = V>) -> Self {
        values.into_iter().fold(self, |builder, value| builder.header(name, value.as_ref()))
    }

    /// Adds whole header lines made by [`Self::into_lines`].
    pub(crate) fn lines(mut self, lines: &[u8]) -> Self {
        self.text.extend_from_slice(lines);
        self
    }

    /// A builder that only collects header lines.
    pub(crate) fn only_lines() -> Self {
        Self { text: Vec::with_capacity(512) }
    }

    /// The header lines collected so far.
    pub(crate) fn into_lines(self) -> Vec<u8> {
        self.text
    }

    /// Ends the message with a body, or without one if it is empty.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Bytes {
        if !body.is_empty() {
            self = self.header("Content-Type", content_type);
        }
        self = self.header("Content-Length", &body.len().to_string());
        self.raw("\r\n");
        self.text.extend_from_slice(body);
        self.text.into()
    }

    /// Ends the message without a body.
    pub fn end(self) -> Bytes {
        self.body("", b"")
    }

    fn raw(&mut self, text: &str) -> &mut Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    fn write(&mut self, text: &str) -> &mut Self {
        if lex::breaks_line(text) {
            let clean = text.bytes().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b });
            self.text.extend(clean);
            self
        } else {
            self.raw(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_in_their_line() {
        let message = Builder::request("OPTIONS", "sip:a@h\r\nX: y")
            .header("Subject", "a\r\n b\0c\nEvil: yes")
            .header("Supported", "")
            .body("text/plain", b"hi");
        insta::assert_snapshot!(String::from_utf8(message.to_vec()).unwrap().replace('\r', ""), @r#"
        OPTIONS sip:a@h  X: y SIP/2.0
        Subject: a   b c Evil: yes
        Supported:
        Content-Type: text/plain
        Content-Length: 2

        hi
        "#);
    }
}
