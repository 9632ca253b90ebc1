//! The lexical rules header values share (RFC 3261 section 25.1). Folded lines stay in values as they came, so
//! CR and LF count as white space here.

/// White space, including what is left of a folded line.
pub fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// `text` without white space around it.
pub fn trim(text: &str) -> &str {
    text.trim_ascii()
}

/// Whether `text` is a token: the characters of methods, header and parameter names.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

/// Whether `text` would break out of a line it is written into.
pub fn breaks_line(text: &str) -> bool {
    text.contains(['\r', '\n', '\0'])
}

/// Where `wanted` first stands outside quoted strings and angle brackets.
pub fn find_outside(text: &str, wanted: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr3(wanted, b'"', b'<', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&wanted) {
            return Some(at);
        }
        at = end_of_enclosure(bytes, at)?;
    }
}

/// Where what opens at `open`, a quoted string or an angle bracket, is closed again: the place after that.
fn end_of_enclosure(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    if bytes.get(open) == Some(&b'<') {
        return Some(at + memchr::memchr(b'>', bytes.get(at..)?)? + 1);
    }
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes.get(at) {
            Some(b'"') => return Some(at + 1),
            // The escaped character means nothing.
            _ => at += 2,
        }
    }
}

/// The comma-separated values of `text`, each trimmed; empty ones are left out.
pub fn values(text: &str) -> impl Iterator<Item = &str> {
    separated(text, b',').filter(|value| !value.is_empty())
}

/// The parts of `text` between separators, each trimmed, empty ones included.
pub fn separated(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let part = match find_outside(text, separator).and_then(|at| text.split_at_checked(at)) {
            Some((part, tail)) => {
                rest = tail.get(1..);
                part
            }
            None => {
                rest = None;
                text
            }
        };
        Some(trim(part))
    })
}

/// Splits `value;params` into both, without the first semicolon.
pub fn split_params(text: &str) -> (&str, &str) {
    match find_outside(text, b';').and_then(|at| text.split_at_checked(at)) {
        Some((value, params)) => (trim(value), params.get(1..).unwrap_or("")),
        None => (trim(text), ""),
    }
}

/// Whether every quoted string and angle bracket that opens also closes.
pub fn is_balanced(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(open) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'<', rest)) {
        match end_of_enclosure(bytes, at + open) {
            Some(end) => at = end,
            None => return false,
        }
    }
    true
}

/// What a quoted string says; other text as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut said = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        said.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    said
}

/// `text` with its `%` escapes decoded; `None` if one is broken, or hides what would break out of a line.
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !breaks_line(text))
}

/// `text` as a quoted string.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_respect_quotes_and_brackets() {
        let text = "\"a, \\\"b\" <sip:x,y@h>;p=\"1,2\" ,\r\n <sip:z>,,";
        let expected = ["\"a, \\\"b\" <sip:x,y@h>;p=\"1,2\"", "<sip:z>"];
        assert_eq!(values(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn quoted_strings_round_trip() {
        for text in ["", "plain", r#"a "b" \c"#, "ü"] {
            assert_eq!(unquote(&quote(text)), text);
        }
    }

    #[test]
    fn escapes() {
        for (text, decoded) in [
            ("a%20%2b%C3%BC", Some("a +ü")),
            ("%", None),
            ("%4", None),
            ("%+4", None),
            ("%0d%0a", None),
            ("%ff", None),
        ] {
            assert_eq!(unescape(text).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn balance() {
        for (text, balanced) in
            [("\"a\" <b>", true), ("\"a <b>", false), ("<a", false), (r#""a\"" <b>"#, true), ("a", true)]
        {
            assert_eq!(is_balanced(text), balanced, "{text}");
        }
    }
}
