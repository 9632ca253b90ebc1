//! Long texts in parts that an engine takes.

/// `text` in parts of at most `most` bytes, cut after sentences where that is possible, else at blanks, else between
/// characters.
pub(super) fn split(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while rest.len() > most {
        let whole = (0..=most).rev().find(|at| rest.is_char_boundary(*at) && *at > 0);
        // Not even one character fits: it goes alone.
        let whole = whole.unwrap_or_else(|| rest.chars().next().map_or(rest.len(), char::len_utf8));
        let window = rest.get(..whole).unwrap_or(rest);
        let sentence = window.char_indices().rev().find(|(at, c)| {
            let end = at + c.len_utf8();
            matches!(c, '。' | '！' | '？' | '\n')
                || (matches!(c, '.' | '!' | '?' | '…' | '।')
                    && rest.get(end..).is_some_and(|after| after.starts_with(char::is_whitespace)))
        });
        let blank = || window.char_indices().rev().find(|(at, c)| *at > 0 && c.is_whitespace());
        let cut = sentence.or_else(blank).map_or(whole, |(at, c)| at + c.len_utf8());
        let (part, after) = rest.split_at_checked(cut).unwrap_or((rest, ""));
        parts.push(part.trim_end());
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::split;

    #[test]
    fn cuts_where_a_speaker_would_breathe() {
        let table: [(&str, usize, &[&str]); 7] = [
            ("One. Two! Three?", 10, &["One. Two!", "Three?"]),
            ("Version 1.5 is out. Now", 20, &["Version 1.5 is out.", "Now"]),
            ("no sentence ends here", 12, &["no sentence", "ends here"]),
            ("nowheretocutatall", 6, &["nowher", "etocut", "atall"]),
            ("你好。再见。", 9, &["你好。", "再见。"]),
            ("नमस्ते। फिर", 22, &["नमस्ते।", "फिर"]),
            ("short", 100, &["short"]),
        ];
        for (text, most, parts) in table {
            assert_eq!(split(text, most), parts, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_too_long(text in "\\PC{0,300}", most in 4usize..80) {
            let parts = split(&text, most);
            prop_assert!(parts.iter().all(|part| part.len() <= most));
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(bare(&parts.concat()), bare(&text));
        }
    }
}
