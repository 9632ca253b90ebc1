//! What serde says of a body or a query, in words for people who do not write Rust.

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// What serde writes where it read a word of a query, and what is meant.
const SAYINGS: &[(&str, &str)] = &[
    ("invalid digit found in string", "it is no whole number"),
    ("cannot parse integer from empty string", "it is no whole number"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
    ("provided string was not `true` or `false`", "it is neither true nor false"),
    ("unknown variant", "unknown value"),
    ("invalid type: map", "invalid type: an object"),
    ("invalid type: sequence", "invalid type: a list"),
    ("invalid type: unit variant", "invalid type: a word alone"),
    ("invalid type: floating point", "invalid type: the number"),
    ("invalid value: map", "invalid value: an object"),
];

/// Types, as serde names them behind `expected`.
const TYPES: &[(&str, &str)] = &[
    ("struct ", "an object"),
    ("tuple ", "a list"),
    ("a map", "an object"),
    ("a sequence", "a list"),
    ("map with a single key", "an object with one key"),
    ("u", "a whole number, 0 or more"),
    ("i", "a whole number"),
    ("f", "a number"),
];

/// `reason` without Rust's words.
pub(super) fn plain(reason: &str) -> String {
    let reason = SAYINGS.iter().fold(reason.to_owned(), |text, (said, meant)| text.replace(said, meant));
    let Some((given, expected)) = reason.rsplit_once(", expected ") else { return reason };
    let is = |name: &str| match name {
        // Of u8 to f64: a letter and digits.
        "u" | "i" | "f" => {
            let width = expected.strip_prefix(name);
            width.is_some_and(|width| !width.is_empty() && width.bytes().all(|b| b.is_ascii_digit()))
        }
        name => expected.starts_with(name),
    };
    match TYPES.iter().find(|(name, _)| is(name)) {
        Some((_, meant)) => format!("{given}, expected {meant}"),
        None => reason,
    }
}

/// The field at a path, short enough to be read; `None` for the whole.
pub(super) fn place(path: &Path) -> Option<String> {
    const MOST: usize = 120;
    let text = path.to_string();
    match text.char_indices().nth(MOST) {
        _ if text == "." => None,
        None => Some(format!("`{text}`")),
        Some((end, _)) => Some(format!("`{}…`", text.get(..end).unwrap_or_default())),
    }
}

/// What has another number of keys than one where one is wanted: a step of a flow, a prompt.
pub(super) fn keys_at(body: &Value, path: &Path) -> Option<String> {
    let found = path.iter().try_fold(body, |value, segment| match segment {
        Segment::Seq { index } => value.get(index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { variant } => value.get(variant),
        Segment::Unknown => None,
    });
    let keys: Vec<&str> = found?.as_object()?.keys().map(String::as_str).collect();
    match keys.as_slice() {
        [] => Some("it is empty; one key is expected, which says what to do".into()),
        [_] => None,
        keys => Some(format!("it has the keys {}; one is expected, so make a step of each", keys.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rust_is_spoken() {
        for (said, meant) in [
            ("limit: invalid digit found in string", "limit: it is no whole number"),
            ("unknown variant `up`, expected `a` or `b`", "unknown value `up`, expected `a` or `b`"),
            ("invalid type: integer `5`, expected a string", "invalid type: integer `5`, expected a string"),
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number, 0 or more",
            ),
            ("invalid type: string \"a\", expected f32", "invalid type: string \"a\", expected a number"),
            ("invalid type: map, expected a sequence", "invalid type: an object, expected a list"),
            ("invalid type: null, expected struct NewCall", "invalid type: null, expected an object"),
            ("unknown field `u8`, expected `u16`", "unknown field `u8`, expected `u16`"),
            ("missing field `to`", "missing field `to`"),
        ] {
            assert_eq!(plain(said), meant);
        }
    }
}
