//! Why an order was refused, in words a face can show.

use std::fmt;

/// A refusal: what was wrong, where, and what to do. Each face puts it into its own error shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// Stable, in snake_case; part of the API contract.
    pub code: &'static str,
    /// One sentence: what was wrong and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Seconds after which to try again (`Retry-After`).
    pub retry_after: Option<u32>,
}

impl Refused {
    /// A refusal with `status` and a stable `code`.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after: None }
    }

    /// 400: the request itself is wrong.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// 404: there is no such `thing`.
    pub fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(404, code, message)
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when to try again, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}
