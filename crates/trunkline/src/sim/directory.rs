//! Who answers at which number.

use std::path::Path;

use serde::Deserialize;

use super::script::{Script, ScriptError};

/// What callees say that listen.
pub const GREETING: &str = "Hello. This is the simulated phone network. I am listening.";
/// The largest file of own callees, bytes.
const MOST_BYTES: u64 = 1 << 20;
/// Own callees.
const MOST_CALLEES: usize = 1000;

/// A callee everybody has.
pub struct Known {
    /// The last digits of its number; empty: any other number.
    pub suffix: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// What it does.
    pub script: &'static [&'static str],
}

const fn known(suffix: &'static str, what: &'static str, script: &'static [&'static str]) -> Known {
    Known { suffix, what, script }
}

/// The table everybody sees, as it stands in docs/simulated-network.md.
pub const TABLE: &[Known] = &[
    known("0101", "is busy (486)", &["reject 486"]),
    known("0102", "rings and never answers", &["ring"]),
    known("0103", "declines (603)", &["ring 300ms", "reject 603"]),
    known(
        "0104",
        "rings 3 s, then answers, greets and listens",
        &["ring 3s", "answer", "say \"Hello. This is the simulated phone network. I am listening.\""],
    ),
    known("0105", "answers and echoes what it hears", &["answer", "echo"]),
    known(
        "0106",
        "hangs up mid-sentence, 2 s after answering",
        &[
            "ring 300ms",
            "answer",
            "say \"Hello. This is the simulated phone network. I am listening.\" for 2s",
            "hang up",
        ],
    ),
    known("0107", "does not exist (404)", &["reject 404"]),
    known(
        "0108",
        "voicemail: greets, beeps, records until you hang up",
        &[
            "ring 1s",
            "answer",
            "say \"Nobody can take your call. Please leave a message after the beep.\"",
            "beep",
            "record",
        ],
    ),
    known(
        "0109",
        "an IVR that wants a digit: 1 sales, 2 support, 0 hangs up, else it asks again",
        &[
            "ring 500ms",
            "answer",
            "say \"For sales, press one. For support, press two.\"",
            "expect 1 digit within 5s",
            "when 1 say \"You have reached sales.\"",
            "when 2 say \"You have reached support.\"",
            "when 0 hang up",
            "otherwise say \"That is not a choice.\"",
            "otherwise repeat",
            "listen",
        ],
    ),
    known(
        "0110",
        "an announcement before it answers (183 with early media), then greets",
        &[
            "early media",
            "say \"Your call is being connected.\"",
            "answer",
            "say \"Hello. This is the simulated phone network. I am listening.\"",
        ],
    ),
    known(
        "0111",
        "an announcement (183 with early media) and never an answer",
        &[
            "early media",
            "say \"The person you have called is not available.\"",
            "tone congestion 3s",
            "repeat",
        ],
    ),
    known("0112", "has moved (302)", &["redirect sip:+12025550123@sim.trunkline"]),
    known(
        "0113",
        "is out of service (503) for one call, takes the next one, and so on",
        &[
            "reject 503 once",
            "ring 500ms",
            "answer",
            "say \"Hello. This is the simulated phone network. I am listening.\"",
        ],
    ),
    known(
        "0114",
        "talks over a line that loses every tenth packet",
        &[
            "ring 500ms",
            "loss 10%",
            "answer",
            "say \"I am losing every tenth word, or so it seems to me. Can you still understand what I say?\"",
            "repeat",
        ],
    ),
    known(
        "0115",
        "talks over a line with up to 60 ms of jitter",
        &[
            "ring 500ms",
            "jitter 60ms",
            "answer",
            "say \"My packets come when they want to. Can you still understand what I say?\"",
            "repeat",
        ],
    ),
    known(
        "0116",
        "hears you, but nothing of it arrives (one-way audio)",
        &[
            "ring 500ms",
            "one-way",
            "answer",
            "say \"Hello. This is the simulated phone network. I am listening.\"",
            "repeat",
        ],
    ),
    known(
        "0117",
        "hangs on: answers your BYE 3 s late and talks on meanwhile",
        &[
            "ring 500ms",
            "late bye 3s",
            "answer",
            "say \"And another thing. There is so much more to tell, so do not hang up yet.\"",
            "repeat",
        ],
    ),
    known(
        "0118",
        "puts you on hold for 3 s and takes you back (re-INVITE)",
        &[
            "ring 500ms",
            "answer",
            "say \"One moment, please.\"",
            "hold 3s",
            "resume",
            "say \"Thank you for waiting.\"",
        ],
    ),
    known(
        "0119",
        "presses 1 2 3 # one second after it answered",
        &["ring 500ms", "answer", "press 1 2 3 # after 1s"],
    ),
    known("0120", "answers and stays silent", &["ring 500ms", "answer", "silence"]),
    known(
        "0121",
        "talks until you hang up",
        &[
            "ring 500ms",
            "answer",
            "say \"Let me tell you everything about the simulated phone network. It never gets tired of talking.\"",
            "repeat",
        ],
    ),
    known("0126", "rings 2 s, then is busy (486)", &["ring 2s", "reject 486"]),
    known(
        "0127",
        "answers slowly, after 20 s",
        &["ring 20s", "answer", "say \"Hello. This is the simulated phone network. I am listening.\""],
    ),
    known(
        "0128",
        "a fax machine: its answer tone (2100 Hz) for 3 s, then silence",
        &["ring 1s", "answer", "tone fax 3s", "listen"],
    ),
    known(
        "",
        "rings half a second, answers, greets, listens and reports what it heard",
        &["ring 500ms", "answer", "say \"Hello. This is the simulated phone network. I am listening.\""],
    ),
];

/// A callee of one's own, as it stands in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// The whole number it answers at.
    number: Option<String>,
    /// Or the last digits.
    suffix: Option<String>,
    /// Its steps.
    script: Vec<String>,
}

/// A file of own callees.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    callee: Vec<Own>,
}

/// Why own callees cannot be used: one line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DirectoryError {
    /// The file cannot be read, or is not what it should be.
    #[error("{0}")]
    File(String),
    /// A callee that has no number, or too many.
    #[error("[[callee]] {n}: {what}")]
    Number {
        /// Which, from 1.
        n: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A script that is wrong.
    #[error("[[callee]] {n} ({number}): script, {error}")]
    Script {
        /// Which, from 1.
        n: usize,
        /// Its number or suffix.
        number: String,
        /// Where and what.
        error: ScriptError,
    },
}

/// All callees there are.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Number or suffix, whether it is the whole number, and the script; the first that fits answers.
    entries: Vec<(String, bool, Script)>,
}

/// Reads a file of own callees.
pub fn read(path: &Path) -> Result<Vec<Own>, DirectoryError> {
    let file = |error: &dyn std::fmt::Display| DirectoryError::File(error.to_string());
    let size = std::fs::metadata(path).map_err(|error| file(&error))?.len();
    if size > MOST_BYTES {
        return Err(DirectoryError::File(format!("is larger than {MOST_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| file(&error))?;
    let read: File = toml::from_str(&text).map_err(|error| DirectoryError::File(one_line(&text, &error)))?;
    Ok(read.callee)
}

/// What TOML has to say, with the line, in one line.
pub(crate) fn one_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message().replace('\n', ", "))
}

impl Directory {
    /// The callees everybody has, behind those of one's own: a whole number goes before an ending, a longer ending
    /// before a shorter one.
    ///
    /// # Errors
    /// The first of `own` that cannot be used.
    pub fn new(own: &[Own]) -> Result<Self, DirectoryError> {
        if own.len() > MOST_CALLEES {
            return Err(DirectoryError::File(format!("at most {MOST_CALLEES} callees are taken")));
        }
        let mut entries = Vec::with_capacity(own.len() + TABLE.len());
        for (n, own) in own.iter().enumerate() {
            entries.push(own.entry(n + 1)?);
        }
        entries.sort_by_key(|(number, is_whole, _)| (!is_whole, std::cmp::Reverse(number.len())));
        for (n, known) in TABLE.iter().enumerate() {
            let number = known.suffix.to_owned();
            let script = Script::parse(known.script).map_err(|error| DirectoryError::Script {
                n: n + 1,
                number: number.clone(),
                error,
            })?;
            entries.push((number, false, script));
        }
        Ok(Self { entries })
    }

    /// Adds a callee at one whole number, before all others.
    pub fn add(&mut self, number: &str, script: Script) {
        self.entries.insert(0, (digits(number), true, script));
    }

    /// What happens at the user part of a Request-URI.
    pub fn script(&self, user: &str) -> Script {
        let bare = digits(user);
        let fits = |number: &str, is_whole| match is_whole {
            true => bare == number,
            false => bare.ends_with(number) || number.is_empty(),
        };
        let found = self.entries.iter().find(|(number, is_whole, _)| fits(number, *is_whole));
        found.map_or_else(|| Script { steps: [].into() }, |(.., script)| script.clone())
    }

    /// Every text that is said.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> =
            self.entries.iter().flat_map(|(.., script)| script.texts().map(str::to_owned)).collect();
        texts.sort();
        texts.dedup();
        texts
    }
}

impl Own {
    /// Its number or suffix, for people.
    pub fn number(&self) -> String {
        self.number.as_ref().or(self.suffix.as_ref()).cloned().unwrap_or_default()
    }

    /// Its steps.
    pub fn script(&self) -> &[String] {
        &self.script
    }

    fn entry(&self, n: usize) -> Result<(String, bool, Script), DirectoryError> {
        let wrong = |what| DirectoryError::Number { n, what };
        let (number, is_whole) = match (&self.number, &self.suffix) {
            (Some(number), None) => (number, true),
            (None, Some(suffix)) => (suffix, false),
            _ => return Err(wrong("give either number or suffix")),
        };
        let bare = digits(number);
        let known = |c: char| c.is_ascii_digit() || "+-() ".contains(c);
        if bare.is_empty() || bare.len() > 15 || !number.chars().all(known) {
            return Err(wrong("a number or suffix has 1 to 15 digits, such as +12025550177 or 0177"));
        }
        let script = Script::parse(&self.script).map_err(|error| DirectoryError::Script {
            n,
            number: number.clone(),
            error,
        })?;
        Ok((bare, is_whole, script))
    }
}

/// The digits of a number; the text itself where it is none.
fn digits(user: &str) -> String {
    let bare: String = user.chars().filter(char::is_ascii_digit).collect();
    let is_number = user.chars().all(|c| c.is_ascii_digit() || "+-() ".contains(c));
    if is_number { bare } else { user.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Vec<Own> {
        toml::from_str::<File>(text).unwrap().callee
    }

    fn answers(directory: &Directory, user: &str, script: &[&str]) -> bool {
        directory.script(user) == Script::parse(script).unwrap()
    }

    #[test]
    fn own_callees_go_first_the_nearest_before_others() {
        let directory = Directory::new(&own(
            "[[callee]]\nsuffix = '77'\nscript = ['reject 480']\n[[callee]]\nsuffix = '0177'\nscript = ['reject 481']\n\
             [[callee]]\nnumber = '+1 (202) 555-0177'\nscript = ['reject 482']\n\
             [[callee]]\nsuffix = '0101'\nscript = ['ring', 'answer']",
        ))
        .unwrap();
        assert!(answers(&directory, "+12025550177", &["reject 482"]));
        assert!(answers(&directory, "12025550177", &["reject 482"]));
        assert!(answers(&directory, "+13035550177", &["reject 481"]));
        assert!(answers(&directory, "+13035550277", &["reject 480"]));
        assert!(answers(&directory, "+12025550101", &["ring", "answer"]));
        assert!(answers(&directory, "+12025550107", &["reject 404"]));
    }

    #[test]
    fn errors_name_the_callee_the_line_and_the_word() {
        for (text, told) in [
            ("[[callee]]\nscript = ['ring']", "[[callee]] 1: give either number or suffix"),
            (
                "[[callee]]\nnumber = 'bob'\nscript = ['ring']",
                "[[callee]] 1: a number or suffix has 1 to 15 digits, such as +12025550177 or 0177",
            ),
            (
                "[[callee]]\nsuffix = '1'\nscript = ['ring']\n[[callee]]\nsuffix = '0177'\nscript = ['ring', 'answer now']",
                "[[callee]] 2 (0177): script, line 2, word 2: \"now\" is not understood here; expected nothing more.",
            ),
        ] {
            assert_eq!(Directory::new(&own(text)).unwrap_err().to_string(), told);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callees.toml");
        std::fs::write(&path, "[[callee]]\nsufix = '1'\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with("line 2: unknown field `sufix`"), "{error}");
    }

    /// What the documentation shows is what there is.
    #[test]
    fn the_table_is_documented() {
        let documented = include_str!("../../../../docs/simulated-network.md");
        for known in TABLE.iter().filter(|known| !known.suffix.is_empty()) {
            let line = format!("| `{}` | {} |", known.suffix, known.what);
            assert!(documented.contains(&line), "docs/simulated-network.md lacks: {line}");
        }
        assert!(TABLE.iter().all(|known| !known.what.contains(GREETING)));
        assert!(Directory::new(&[]).unwrap().texts().contains(&GREETING.to_owned()));
    }
}
