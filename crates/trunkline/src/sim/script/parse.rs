//! Reads scripts.

use std::fmt;
use std::time::Duration;

use media::Tone;

use super::{MOST_STEPS, Sound, Step, Worse};

/// The longest time a step may name.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most jitter: more would need more packets kept than a callee keeps.
const MOST_JITTER: Duration = Duration::from_millis(300);
/// The latest BYE: a minute is longer than anybody repeats theirs.
const LATEST_BYE: Duration = Duration::from_secs(60);
/// The longest text, in bytes.
const MOST_TEXT: usize = 1000;
/// Keys in one step.
const MOST_KEYS: usize = 64;
/// How long keys are waited for where nothing else is said.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a BYE stays unanswered where nothing else is said: its sender repeats it twice.
const LATE_BYE: Duration = Duration::from_secs(2);
/// How long a voicemail may be where nothing else is said.
const MESSAGE: Duration = Duration::from_secs(600);

/// The words that begin a step, as errors list them.
const KNOWN: &str = "ring, progress, early media, answer, reject, redirect, say, beep, tone, wait, listen, silence, \
                     echo, record, press, expect, when, otherwise, hold, resume, repeat, hang up, late bye, loss, \
                     jitter, one-way";

const TIME: &str = "a time such as 500ms, 2s or 1m";
const KEYS: &str = "keys: 0-9, *, #, A-D, and w for half a second of pause";

/// Why a script cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The step, from 1.
    pub line: usize,
    /// The word in it, from 1; none where the step as a whole is out of place.
    pub word: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word {
            Some(word) => write!(f, "line {}, word {word}: {}", self.line, self.message),
            None => write!(f, "line {}: {}", self.line, self.message),
        }
    }
}

impl std::error::Error for ScriptError {}

pub(super) fn script<S: AsRef<str>>(lines: &[S]) -> Result<Vec<Step>, ScriptError> {
    let (mut steps, mut so_far) = (Vec::new(), SoFar::default());
    for (n, line) in lines.iter().enumerate() {
        let mut words = Words::new(n + 1, line.as_ref())?;
        let read = words.steps()?;
        words.end()?;
        for step in &read {
            so_far.take(step).map_err(|message| words.whole(message))?;
        }
        steps.extend(read);
        if steps.len() > MOST_STEPS {
            return Err(words.whole(format!("a script has at most {MOST_STEPS} steps.")));
        }
    }
    match steps.is_empty() {
        true => Err(ScriptError { line: 1, word: None, message: format!("no step; there are: {KNOWN}.") }),
        false => Ok(steps),
    }
}

/// How far the call has come, to tell what cannot be done yet or any more.
#[derive(Default)]
struct SoFar {
    has_sound: bool,
    is_answered: bool,
    is_held: bool,
    has_expected: bool,
    is_over: bool,
}

impl SoFar {
    fn take(&mut self, step: &Step) -> Result<(), &'static str> {
        if self.is_over {
            return Err("this step is never reached.");
        }
        let (before, sound) =
            ("this comes before the answer only.", "this needs answer or early media first.");
        match step {
            Step::Progress(_) | Step::EarlyMedia | Step::Answer if self.is_answered => return Err(before),
            Step::Reject { .. } | Step::Redirect(_) if self.is_answered => return Err(before),
            Step::EarlyMedia => self.has_sound = true,
            Step::Answer => (self.has_sound, self.is_answered) = (true, true),
            Step::Reject { times: None, .. } | Step::Redirect(_) | Step::HangUp => self.is_over = true,
            Step::Play { .. } | Step::Press(_) | Step::Echo | Step::Record(_) | Step::Repeat
                if !self.has_sound =>
            {
                return Err(sound);
            }
            Step::Expect { .. } if !self.has_sound => return Err(sound),
            Step::Hold if !self.is_answered => return Err("only an answered call can be held."),
            Step::Hold if self.is_held => return Err("it is on hold already; resume first."),
            Step::Resume if !self.is_held => return Err("it is not on hold; hold first."),
            Step::Hold => self.is_held = true,
            Step::Resume => self.is_held = false,
            Step::Expect { .. } => self.has_expected = true,
            Step::When { .. } | Step::Otherwise(_) if !self.has_expected => {
                return Err("this needs an expect first.");
            }
            Step::When { step, .. } | Step::Otherwise(step) => {
                let was_held = self.is_held;
                self.take(step)?;
                // What ends the call in one branch does not end it in the others.
                (self.is_over, self.is_held) = (false, was_held);
            }
            Step::Repeat | Step::Listen => self.is_over = true,
            _ => {}
        }
        Ok(())
    }
}

/// The words of one line.
struct Words {
    line: usize,
    words: Vec<Word>,
    at: usize,
}

struct Word {
    text: String,
    is_quoted: bool,
}

impl Words {
    fn new(line: usize, text: &str) -> Result<Self, ScriptError> {
        let (mut words, mut rest) = (Vec::new(), text.trim_start());
        while !rest.is_empty() {
            let (word, after, is_quoted) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let Some((word, after)) = quoted.split_once('"') else {
                        let message = "the closing quotation mark is missing.".into();
                        return Err(ScriptError { line, word: Some(words.len() + 1), message });
                    };
                    (word, after, true)
                }
                None => {
                    let (word, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
                    (word, after, false)
                }
            };
            words.push(Word { text: word.to_owned(), is_quoted });
            rest = after.trim_start();
        }
        Ok(Self { line, words, at: 0 })
    }

    /// What is wrong with the word that comes next.
    fn wrong(&self, expected: &str) -> ScriptError {
        let message = match self.words.get(self.at) {
            Some(word) => format!("{:?} is not understood here; expected {expected}.", word.text),
            None => format!("something is missing; expected {expected}."),
        };
        ScriptError { line: self.line, word: Some(self.at + 1), message }
    }

    fn whole(&self, message: impl Into<String>) -> ScriptError {
        ScriptError { line: self.line, word: None, message: message.into() }
    }

    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).filter(|word| !word.is_quoted).map(|word| word.text.as_str())
    }

    /// Takes the next word if it is this one.
    fn is(&mut self, wanted: &str) -> bool {
        let found = self.peek().is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(found);
        found
    }

    /// Takes the next word if it can be read.
    fn read<T>(&mut self, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, ScriptError> {
        let Some(value) = self.peek().and_then(read) else { return Err(self.wrong(expected)) };
        self.at += 1;
        Ok(value)
    }

    fn must_be(&mut self, wanted: &str) -> Result<(), ScriptError> {
        if self.is(wanted) { Ok(()) } else { Err(self.wrong(wanted)) }
    }

    fn end(&self) -> Result<(), ScriptError> {
        if self.at < self.words.len() { Err(self.wrong("nothing more")) } else { Ok(()) }
    }

    fn time(&mut self) -> Result<Duration, ScriptError> {
        self.read(TIME, time)
    }

    /// A time, if anything comes at all.
    fn some_time(&mut self) -> Result<Option<Duration>, ScriptError> {
        if self.at < self.words.len() { self.time().map(Some) } else { Ok(None) }
    }

    /// A time behind this word, if that comes.
    fn time_after(&mut self, word: &str) -> Result<Option<Duration>, ScriptError> {
        if self.is(word) { self.time().map(Some) } else { Ok(None) }
    }

    /// The steps that one line is.
    fn steps(&mut self) -> Result<Vec<Step>, ScriptError> {
        let Some(first) = self.peek().map(str::to_ascii_lowercase) else {
            return Err(self.wrong(&format!("a step: {KNOWN}")));
        };
        self.at += 1;
        Ok(match &*first {
            "ring" => with_wait(Step::Progress(180), self.some_time()?),
            "progress" => {
                let status = |word: &str| word.parse().ok().filter(|status| (180..=183).contains(status));
                match self.peek() {
                    None => vec![Step::Progress(183)],
                    Some(_) => vec![Step::Progress(self.read("180, 181, 182 or 183", status)?)],
                }
            }
            "early" => {
                self.must_be("media")?;
                vec![Step::EarlyMedia]
            }
            "answer" => vec![Step::Answer],
            "reject" => vec![self.reject()?],
            "redirect" => {
                let known = |word: &str| {
                    let is_uri = ["sip:", "sips:", "tel:"].iter().any(|scheme| word.starts_with(scheme));
                    (is_uri && !word.contains(['<', '>', ','])).then(|| word.to_owned())
                };
                vec![Step::Redirect(self.read("a URI such as sip:+12025550123@example.com", known)?)]
            }
            "say" => {
                let text = self.quoted()?;
                vec![Step::Play { sound: Sound::Text(text), limit: self.time_after("for")? }]
            }
            "beep" => vec![Step::Play { sound: Sound::Beep, limit: None }],
            "tone" => {
                let sound =
                    self.read("a tone: 20hz to 3900hz, ringback, busy, dial, congestion or fax", tone)?;
                self.is("for");
                let limit = self.some_time()?.unwrap_or(Duration::from_secs(1));
                vec![Step::Play { sound, limit: Some(limit) }]
            }
            "wait" => vec![Step::Wait(self.time()?)],
            "listen" | "silence" => vec![self.some_time()?.map_or(Step::Listen, Step::Wait)],
            "echo" => vec![Step::Echo],
            "record" | "voicemail" => vec![Step::Record(self.some_time()?.unwrap_or(MESSAGE))],
            "press" => {
                let keys = self.keys()?;
                let wait = self.time_after("after")?.map(Step::Wait);
                wait.into_iter().chain([Step::Press(keys)]).collect()
            }
            "expect" => {
                let count = |word: &str| word.parse().ok().filter(|count| (1..=MOST_KEYS).contains(count));
                let count = self.read(&format!("how many digits, 1 to {MOST_KEYS}"), count)?;
                if !self.is("digit") {
                    self.must_be("digits")?;
                }
                vec![Step::Expect { count, within: self.time_after("within")?.unwrap_or(WITHIN) }]
            }
            "when" => {
                let keys = self.read(KEYS, |word| keys(word, "").filter(|keys| keys.len() <= MOST_KEYS))?;
                let step = |step| Step::When { keys: keys.clone(), step: Box::new(step) };
                self.branch()?.into_iter().map(step).collect()
            }
            "otherwise" => self.branch()?.into_iter().map(|step| Step::Otherwise(Box::new(step))).collect(),
            "hold" => with_wait(Step::Hold, self.some_time()?),
            "resume" => vec![Step::Resume],
            "repeat" => vec![Step::Repeat],
            "hang" => {
                self.must_be("up")?;
                let wait = self.time_after("after")?.map(Step::Wait);
                wait.into_iter().chain([Step::HangUp]).collect()
            }
            "late" => {
                self.must_be("bye")?;
                let time = |word: &str| time(word).filter(|time| *time <= LATEST_BYE);
                let late = match self.peek() {
                    None => LATE_BYE,
                    Some(_) => self.read("a time up to 1m", time)?,
                };
                vec![Step::LateBye(late)]
            }
            "loss" => {
                let share = |word: &str| {
                    let percent: f32 = word.strip_suffix('%')?.parse().ok()?;
                    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
                };
                vec![Step::Impair(Worse::Loss(self.read("a share such as 10%", share)?))]
            }
            "jitter" => {
                let time = |word: &str| time(word).filter(|time| *time <= MOST_JITTER);
                vec![Step::Impair(Worse::Jitter(self.read("a time up to 300ms", time)?))]
            }
            "one-way" => vec![Step::Impair(Worse::Loss(1.0))],
            _ => {
                self.at -= 1;
                return Err(self.wrong(&format!("one of {KNOWN}")));
            }
        })
    }

    /// What a `when` or `otherwise` does.
    fn branch(&mut self) -> Result<Vec<Step>, ScriptError> {
        if matches!(self.peek(), Some("when" | "otherwise" | "expect" | "answer")) {
            return Err(self.wrong("another step: those that ask or branch stand alone"));
        }
        self.steps()
    }

    fn reject(&mut self) -> Result<Step, ScriptError> {
        let status = |word: &str| word.parse().ok().filter(|status| (400..=699).contains(status));
        let status = self.read("a status from 400 to 699", status)?;
        let times = if self.is("once") {
            Some(1)
        } else if self.is("twice") {
            Some(2)
        } else if self.peek().is_some() {
            let times = |word: &str| word.parse().ok().filter(|times| (1..=100).contains(times));
            let times = self.read("once, twice, or 1 to 100 times", times)?;
            self.must_be("times")?;
            Some(times)
        } else {
            None
        };
        Ok(Step::Reject { status, times })
    }

    fn quoted(&mut self) -> Result<String, ScriptError> {
        match self.words.get(self.at) {
            Some(Word { text, is_quoted: true }) if (1..=MOST_TEXT).contains(&text.len()) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(self.wrong(&format!("a text in quotation marks, 1 to {MOST_TEXT} bytes"))),
        }
    }

    /// All words that are keys, as one.
    fn keys(&mut self) -> Result<String, ScriptError> {
        let mut all = self.read(KEYS, |word| keys(word, "wW"))?;
        while self.peek().is_some_and(|word| !word.eq_ignore_ascii_case("after")) {
            all.push_str(&self.read(KEYS, |word| keys(word, "wW"))?);
        }
        if all.len() > MOST_KEYS { Err(self.whole(format!("at most {MOST_KEYS} keys."))) } else { Ok(all) }
    }
}

fn with_wait(step: Step, wait: Option<Duration>) -> Vec<Step> {
    std::iter::once(step).chain(wait.map(Step::Wait)).collect()
}

fn time(word: &str) -> Option<Duration> {
    let unit = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = word.split_at(unit);
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
    (time <= LONGEST).then_some(time)
}

fn tone(word: &str) -> Option<Sound> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ringback" => Sound::Network(Tone::Ringback),
        "busy" => Sound::Network(Tone::Busy),
        "dial" => Sound::Network(Tone::Dial),
        "congestion" => Sound::Network(Tone::Congestion),
        // What a fax machine answers with (ITU-T T.30, CED).
        "fax" => Sound::Tone(2100.0),
        other => {
            let hz: f32 = other.strip_suffix("hz")?.parse().ok()?;
            Sound::Tone(Some(hz).filter(|hz| (20.0..=3900.0).contains(hz))?)
        }
    })
}

fn keys(word: &str, also: &str) -> Option<String> {
    let is_key = |c: char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D') || also.contains(c);
    (!word.is_empty() && word.chars().all(is_key)).then(|| word.to_owned())
}
