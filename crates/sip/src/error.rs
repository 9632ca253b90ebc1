use thiserror::Error;

/// Why bytes are no SIP message, or a piece of one is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ParseError {
    /// The first line is neither a request line nor a status line (RFC 3261 section 7).
    #[error("no SIP start line")]
    StartLine,
    /// No empty line ends the header.
    #[error("the header does not end")]
    Incomplete,
    /// The header is not UTF-8 (RFC 3261 section 25.1).
    #[error("the header is not UTF-8")]
    Encoding,
    /// More than [`View::MAX_HEADERS`](crate::View::MAX_HEADERS) header fields.
    #[error("too many header fields")]
    TooManyHeaders,
    /// The header is longer than 65,535 bytes, or a stream's message is over its limit.
    #[error("message too large")]
    TooLarge,
    /// A stream's message does not say how long its body is (RFC 3261 section 18.3).
    #[error("Content-Length is missing or bad")]
    ContentLength,
    /// Not a URI.
    #[error("malformed URI")]
    Uri,
    /// Not a name-addr or addr-spec.
    #[error("malformed address")]
    NameAddr,
    /// Not a Via value.
    #[error("malformed Via")]
    Via,
    /// Not a challenge or credentials.
    #[error("malformed digest")]
    Digest,
}

/// Why the endpoint did not do what it was asked; nothing was sent.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    /// A field would break out of its line: it holds CR, LF or NUL.
    #[error("control character in {0}")]
    ControlCharacter(&'static str),
    /// A field that must be a SIP URI is none.
    #[error("{field} is no SIP URI")]
    BadUri {
        /// Which field.
        field: &'static str,
    },
    /// A header name that is no token, or one the stack writes itself.
    #[error("header {0:?} cannot be set")]
    BadHeader(String),
    /// A method that makes or belongs to a dialog, where none is meant.
    #[error("{0} is no request outside dialogs")]
    BadMethod(String),
    /// `Config::max_legs` legs exist.
    #[error("too many legs")]
    TooManyLegs,
    /// `Config::max_transactions` transactions exist.
    #[error("too many transactions")]
    TooManyTransactions,
    /// The leg ended, or never was.
    #[error("no such leg")]
    NoSuchLeg,
    /// The leg exists but the verb does not fit its state.
    #[error("the leg is in another state")]
    WrongState,
    /// The status is outside the range the verb allows.
    #[error("status {0} cannot be sent here")]
    BadStatus(u16),
    /// A field of a saved leg cannot be read.
    #[error("a saved leg has a bad {0}")]
    BadSaved(&'static str),
}
