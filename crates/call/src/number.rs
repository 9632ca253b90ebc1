//! What the caller typed: a phone number, a SIP address or a user's name.

use std::fmt;

use crate::{emergency, numbering};

/// The longest destination taken, in characters.
const MAX_LENGTH: usize = 255;
/// What people put between digits.
const SEPARATORS: [char; 5] = [' ', '-', '(', ')', '.'];

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A telephone number: 7 to 15 digits.
    Pstn(Number),
    /// A SIP URI, with its scheme (`sip:` is added to `user@domain`).
    Sip(String),
    /// The name or extension of a user of ours.
    User(String),
}

/// Why a destination was refused before anything was planned. Each says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Nothing but white space.
    #[error(
        "The destination is empty: give a phone number such as +12025550123 or a SIP address such as sip:alice@example.com."
    )]
    Empty,
    /// More than 255 characters.
    #[error("The destination is longer than 255 characters: give one phone number or one SIP address.")]
    TooLong,
    /// Line breaks, tabs, NUL and the like.
    #[error("The destination contains a control character: remove line breaks and tabs.")]
    ControlCharacter,
    /// Digits or letters outside ASCII.
    #[error(
        "The destination contains characters outside ASCII: write it with the digits 0 to 9 and plain letters."
    )]
    NotAscii,
    /// Two to six digits that name no user.
    #[error(
        "A phone number has at least 7 digits and no user has this extension: give the whole number with its country code, such as +12025550123."
    )]
    TooShort,
    /// More than 15 digits (ITU-T E.164 section 6.2.1).
    #[error(
        "A phone number has at most 15 digits: give one number with its country code, such as +12025550123."
    )]
    TooManyDigits,
    /// An emergency number of some country.
    #[error(
        "This is an emergency number and emergency calls are not supported here: dial it from a telephone."
    )]
    Emergency,
    /// A SIP address without a host, or with characters that must be escaped (RFC 3261 section 19.1).
    #[error("This is not a valid SIP address: write it as sip:name@host, without spaces or angle brackets.")]
    SipAddress,
    /// Neither number, nor address, nor user.
    #[error(
        "This is neither a phone number (digits only, no letters), nor a SIP address, nor the name of a user: write it like +12025550123 or sip:alice@example.com."
    )]
    Unknown,
}

impl NumberError {
    /// The stable code of this error in replies.
    pub fn code(&self) -> &'static str {
        match self {
            NumberError::Emergency => "emergency_not_supported",
            _ => "invalid_number_format",
        }
    }
}

impl Destination {
    /// Reads a destination. In order: a `sip:`, `sips:` or `tel:` URI; anything with an `@` (`sip:` is added); 7 to
    /// 15 digits, with or without `+`, once spaces, hyphens, dots and parentheses are taken out; a user by
    /// `is_user`. Two to six digits are an extension or an error, never a telephone number.
    pub fn parse(input: &str, is_user: impl Fn(&str) -> bool) -> Result<Destination, NumberError> {
        let input = presentable(input)?;
        if strip_scheme(input, "sip:").or_else(|| strip_scheme(input, "sips:")).is_some() {
            return sip_uri(input.to_owned());
        }
        if let Some(number) = strip_scheme(input, "tel:") {
            return Number::parse(number).map(Destination::Pstn);
        }
        if let Some((user, _)) = input.split_once('@') {
            // A colon here is another scheme (mailto:) or a password: neither is meant.
            return if user.is_empty() || user.contains(':') {
                Err(NumberError::SipAddress)
            } else {
                sip_uri(format!("sip:{input}"))
            };
        }
        match Number::parse(input) {
            Ok(number) => Ok(Destination::Pstn(number)),
            Err(_) if is_user(input) => Ok(Destination::User(input.to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// Trims the input and refuses what no destination contains.
fn presentable(input: &str) -> Result<&str, NumberError> {
    if input.chars().nth(MAX_LENGTH).is_some() {
        return Err(NumberError::TooLong);
    }
    if input.chars().any(char::is_control) {
        return Err(NumberError::ControlCharacter);
    }
    if !input.is_ascii() {
        return Err(NumberError::NotAscii);
    }
    Some(input.trim()).filter(|trimmed| !trimmed.is_empty()).ok_or(NumberError::Empty)
}

fn strip_scheme<'a>(input: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = input.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Checks the outline only; the SIP crate reads the URI in full before it is sent.
fn sip_uri(uri: String) -> Result<Destination, NumberError> {
    let address = uri.split_once(':').map_or("", |(_, address)| address);
    let (user, host) = match address.split_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, address),
    };
    if user.is_some_and(|user| unescape(user).chars().any(char::is_control)) {
        return Err(NumberError::ControlCharacter);
    }
    let clean = address.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | ',' | '\\'));
    let host_starts = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    if clean && host_starts && !host.contains('@') && user != Some("") {
        Ok(Destination::Sip(uri))
    } else {
        Err(NumberError::SipAddress)
    }
}

/// The user part of a SIP URI, unescaped, without password and parameters.
pub(crate) fn sip_user(uri: &str) -> Option<String> {
    let (_, address) = uri.split_once(':')?;
    let (userinfo, _) = address.split_once('@')?;
    let user = userinfo.split([':', ';']).next().unwrap_or(userinfo);
    Some(unescape(user))
}

/// The numbers that a switch may dial for the user part of a SIP URI, a leading `+` kept: whatever is no digit is what
/// people and exchanges leave out (`9-1-1`), `#` ends a number, and `*67` or `#31#` before it only say how to call. A
/// name, which has letters, is none.
pub(crate) fn dialled(user: &str) -> Vec<String> {
    let user = user.split(['?', '&', '=', '$', ',', '/', ';']).next().unwrap_or(user);
    let mut numbers = Vec::new();
    if user.chars().any(char::is_alphabetic) {
        return numbers;
    }
    let mut rest = user;
    while let Some(coded) = rest.trim_start().strip_prefix(['*', '#']) {
        let code = coded.chars().take_while(char::is_ascii_digit).take(2).count();
        let behind = coded.get(code..).unwrap_or_default();
        rest = behind.strip_prefix('#').unwrap_or(behind);
    }
    for number in [rest, rest.split(['*', '#']).next().unwrap_or(rest)] {
        let plus = number.trim_start_matches(SEPARATORS).starts_with('+');
        let digits = number.chars().filter(char::is_ascii_digit);
        let number: String = plus.then_some('+').into_iter().chain(digits).collect();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// What stands for the host of a SIP URI, without port, parameters and headers.
pub(crate) fn sip_host(uri: &str) -> Option<String> {
    let (_, address) = uri.split_once(':')?;
    let host = address.rsplit_once('@').map_or(address, |(_, host)| host);
    host.split([':', ';', '?']).next().map(str::to_owned)
}

/// Undoes `%2B` and the like (RFC 3261 section 19.1.2); a stray `%` stands for itself.
/// A user part of a URI without its escapes (RFC 3261 section 19.1.2).
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let escaped = after.split_at_checked(2).filter(|(hex, _)| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match escaped.and_then(|(hex, tail)| Some((u8::from_str_radix(hex, 16).ok()?, tail))) {
            Some((byte, tail)) => {
                plain.push(char::from(byte));
                rest = tail;
            }
            None => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// A telephone number: 7 to 15 digits, with a leading `+` if it was given with one.
///
/// It is kept as it was given, separators taken out. `Debug` and [`Number::masked`] hide the middle, for logs;
/// `Display` shows all of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number(String);

impl Number {
    /// Reads a number alone: `+12025550123`, `(202) 555-0123`, `00442079460123`.
    pub fn parse(input: &str) -> Result<Number, NumberError> {
        let text = presentable(input)?.replace(SEPARATORS, "");
        let (plus, digits) = match text.strip_prefix('+') {
            Some(digits) => (true, digits),
            None => (false, text.as_str()),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NumberError::Unknown);
        }
        match digits.len() {
            7..=15 => Ok(Number(text)),
            16.. => Err(NumberError::TooManyDigits),
            _ if emergency::is_emergency_anywhere(digits) => Err(NumberError::Emergency),
            _ if plus && emergency::is_international_emergency(digits) => Err(NumberError::Emergency),
            _ => Err(NumberError::TooShort),
        }
    }

    /// The number as it was given, separators taken out.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone, without `+`.
    pub fn digits(&self) -> &str {
        self.0.strip_prefix('+').unwrap_or(&self.0)
    }

    /// The number with `+` and country code (ITU-T E.164). One given with `+` is returned as it is; any other is
    /// read as dialled within `default_region` (ISO 3166), and is `None` unless that country's plan allocates it.
    pub fn e164(&self, default_region: Option<&str>) -> Option<String> {
        match self.0.strip_prefix('+') {
            Some(digits) => (!digits.starts_with('0')).then(|| self.0.clone()),
            None => self.allocation(default_region).map(|allocation| allocation.e164),
        }
    }

    /// The ISO 3166 code of the country this number is allocated in, `001` for international services. Countries
    /// that share a code, as those of `+1` do, are told apart. `None` when no numbering plan allocates it.
    pub fn region(&self, default_region: Option<&str>) -> Option<String> {
        self.allocation(default_region).map(|allocation| allocation.region)
    }

    pub(crate) fn allocation(&self, default_region: Option<&str>) -> Option<numbering::Allocation> {
        numbering::allocation(&self.0, default_region)
    }

    /// The first four and the last two digits, the rest as `*`: fit for logs.
    pub fn masked(&self) -> String {
        let last_shown = self.digits().len().saturating_sub(2);
        let plus = if self.0.starts_with('+') { "+" } else { "" };
        let digits = self.digits().chars().enumerate();
        plus.chars()
            .chain(digits.map(|(i, digit)| if i < 4 || i >= last_shown { digit } else { '*' }))
            .collect()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({})", self.masked())
    }
}

/// How a trunk wants numbers written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumberForm {
    /// `+12025550123`.
    #[default]
    PlusE164,
    /// `12025550123`.
    E164,
    /// As dialled within the country, trunk prefix included (`02079460123`); numbers of other countries, which
    /// have no such form, go as [`NumberForm::PlusE164`].
    National,
    /// As the caller gave it.
    AsGiven,
}

impl NumberForm {
    /// Writes a number for the trunk. One whose country is not known is written as it was given.
    pub fn write(self, number: &Number, default_region: Option<&str>) -> String {
        let e164 = || number.e164(default_region).unwrap_or_else(|| number.as_str().to_owned());
        match self {
            NumberForm::PlusE164 => e164(),
            NumberForm::E164 => e164().trim_start_matches('+').to_owned(),
            NumberForm::National => number
                .allocation(default_region)
                .filter(|found| default_region.is_some_and(|home| home.eq_ignore_ascii_case(&found.region)))
                .map_or_else(e164, |found| found.national),
            NumberForm::AsGiven => number.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
