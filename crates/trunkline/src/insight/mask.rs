//! An x in the place of each byte of a secret, so that every length in a message stays true, and keys stay base64.

/// Parameters of credentials that let a password be guessed.
const CREDENTIALS: &[&[u8]] = &[b"response", b"cnonce", b"rspauth"];

/// The message without its secrets: what answers a digest challenge, keys of media (RFC 4568, RFC 8866 section 5.12)
/// and passwords of ICE. None where it has none.
pub(super) fn mask(message: &[u8]) -> Option<Vec<u8>> {
    let mut masked = None;
    let mut at = 0;
    while let Some(rest) = message.get(at..).filter(|rest| !rest.is_empty()) {
        let length = line(rest);
        for (from, to) in secrets(rest.get(..length).unwrap_or(rest)) {
            let bytes = masked.get_or_insert_with(|| message.to_vec());
            if let Some(secret) = bytes.get_mut(at + from..at + to) {
                secret.iter_mut().filter(|byte| **byte != b'=').for_each(|byte| *byte = b'x');
            }
        }
        at += length;
    }
    masked
}

/// The length of the first line, with those that it goes on in.
fn line(bytes: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = bytes.get(length..).unwrap_or_default();
        let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else { return bytes.len() };
        let end = end + if rest.get(end..).is_some_and(|rest| rest.starts_with(b"\r\n")) { 2 } else { 1 };
        length += end;
        if !matches!(bytes.get(length), Some(b' ' | b'\t')) {
            return length;
        }
    }
}

/// Where the secrets of a line are.
fn secrets(line: &[u8]) -> Vec<(usize, usize)> {
    let after = |prefix: &[u8]| {
        line.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| prefix.len())
    };
    let end = line.trim_ascii_end().len();
    if let Some(from) = after(b"a=ice-pwd:").or_else(|| after(b"k=")) {
        return vec![(from, end)];
    }
    if after(b"a=crypto:").is_some() {
        return keys(line, end);
    }
    let Some(colon) = memchr::memchr(b':', line) else { return Vec::new() };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if is(b"Authorization") || is(b"Proxy-Authorization") {
        return credentials(line, colon + 1, end, true);
    }
    if is(b"Authentication-Info") || is(b"Proxy-Authentication-Info") {
        return credentials(line, colon + 1, end, false);
    }
    Vec::new()
}

/// Each `inline:` to the end of its key.
fn keys(line: &[u8], end: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = find(line, at, b"inline:") {
        let from = start + b"inline:".len();
        let rest = line.get(from..end).unwrap_or_default();
        let length = rest.iter().position(|b| b"|; \t".contains(b)).unwrap_or(rest.len());
        found.push((from, from + length));
        at = from + length;
    }
    found
}

fn find(line: &[u8], from: usize, part: &[u8]) -> Option<usize> {
    let rest = line.get(from..)?;
    rest.windows(part.len()).position(|found| found.eq_ignore_ascii_case(part)).map(|at| from + at)
}

/// The values that matter in `Digest name=value, …`; of any other scheme all of it.
fn credentials(line: &[u8], from: usize, end: usize, has_scheme: bool) -> Vec<(usize, usize)> {
    let skip = |at: usize, of: &[u8]| {
        let rest = line.get(at..end).unwrap_or_default();
        at + rest.iter().position(|b| !of.contains(b)).unwrap_or(rest.len())
    };
    let mut at = skip(from, b" \t\r\n");
    if has_scheme {
        let rest = line.get(at..end).unwrap_or_default();
        let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let is_digest = rest.get(..length).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Digest"));
        at = skip(at + length, b" \t\r\n");
        if !is_digest {
            return vec![(at, end)];
        }
    }
    let mut found = Vec::new();
    loop {
        at = skip(at, b" \t\r\n,");
        let rest = line.get(at..end).unwrap_or_default();
        let Some(equals) = memchr::memchr(b'=', rest) else { break };
        let name = rest.get(..equals).unwrap_or_default().trim_ascii();
        let value = skip(at + equals + 1, b" \t\r\n");
        let rest = line.get(value..end).unwrap_or_default();
        let (inner, length) = match rest.first() {
            Some(b'"') => (1, quoted(rest)),
            _ => (0, rest.iter().position(|b| b", \t\r\n".contains(b)).unwrap_or(rest.len())),
        };
        if CREDENTIALS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            found.push((value + inner, (value + length - inner).max(value + inner)));
        }
        at = value + length;
    }
    found
}

/// The length of a quoted string, its quotes included; all there is where it does not end.
fn quoted(rest: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_become_x_and_the_rest_stays() {
        let table = [
            (
                "Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:b\", response=\"0f9\", cnonce=\"xy\", qop=auth, nc=00000001",
                "Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:b\", response=\"xxx\", cnonce=\"xx\", qop=auth, nc=00000001",
            ),
            (
                "proxy-authorization : digest Response = \"a\\\"b\" ,CNONCE=tok,realm=\"response=x\"",
                "proxy-authorization : digest Response = \"xxxx\" ,CNONCE=xxx,realm=\"response=x\"",
            ),
            (
                "Authorization: Digest realm=\"r\",\r\n response=\"0f9\"",
                "Authorization: Digest realm=\"r\",\r\n response=\"xxx\"",
            ),
            ("Authorization: Digest response=\"0f9", "Authorization: Digest response=\"xxx"),
            ("Authorization: Basic YTpi", "Authorization: Basic xxxx"),
            ("Authorization: Bearer a.b c", "Authorization: Bearer xxxxx"),
            (
                "Authentication-Info: rspauth=\"0f\", cnonce=\"x\", nc=1",
                "Authentication-Info: rspauth=\"xx\", cnonce=\"x\", nc=1",
            ),
            (
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1j|2^20|1:4;inline:QUJD",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxxxxxxxxxx|2^20|1:4;inline:xxxx",
            ),
            ("a=ice-pwd:asd88fgpdd777uzjYhagZg", "a=ice-pwd:xxxxxxxxxxxxxxxxxxxxxx"),
            ("k=base64:aGVsbG8=", "k=xxxxxxxxxxxxxx="),
            ("a=ice-ufrag:8hhY", "a=ice-ufrag:8hhY"),
            ("a=fingerprint:sha-256 AA:BB", "a=fingerprint:sha-256 AA:BB"),
            (
                "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"",
                "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"",
            ),
            ("From: <sip:+12025550123@a>;tag=response=1", "From: <sip:+12025550123@a>;tag=response=1"),
        ];
        for (line, expected) in table {
            for end in ["", "\r\n", "\n"] {
                let message = format!("INVITE sip:a SIP/2.0\r\nVia: x\r\n{line}{end}");
                let masked = mask(message.as_bytes()).unwrap_or_else(|| message.clone().into_bytes());
                let expected = format!("INVITE sip:a SIP/2.0\r\nVia: x\r\n{expected}{end}");
                assert_eq!(String::from_utf8_lossy(&masked), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn lengths_and_line_ends_stay(message in "(Authorization: Digest |a=crypto:1 |inline:|response=|\"|\\\\|,|;|\r\n| |[a-z]{1,4}){0,30}") {
            if let Some(masked) = mask(message.as_bytes()) {
                prop_assert_eq!(masked.len(), message.len());
            }
        }

        #[test]
        fn whatever_stands_around_it_the_answer_to_a_challenge_is_gone(
            before in "[a-z]{1,8}=(\"[^\"\\\\\r\n]{0,12}\"|[a-z0-9]{1,8})", after in "[a-z]{1,8}=\"[^\"\\\\\r\n]{0,12}\"",
            space in "( |\r\n |\t){0,2}",
        ) {
            let message = format!("Authorization: Digest {before},{space}response={space}\"deadbeef\"{space},{after}\r\n");
            let masked = mask(message.as_bytes()).unwrap();
            prop_assert!(!masked.windows(8).any(|part| part == b"deadbeef"));
        }
    }
}
