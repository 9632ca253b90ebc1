//! Files of tests.

use std::path::Path;

use call::Destination;
use serde::Deserialize;

use crate::flow::{self, Step};
use crate::sim::Directory;
use crate::sim::directory::{Own, one_line};
use crate::sim::script::Script;

/// Where a callee that stands in the test itself is called.
const OWN_CALLEE: &str = "callee";
/// The largest file, bytes.
const MOST_BYTES: usize = 1 << 20;
/// The longest call of a test, seconds: virtual time costs real time, too.
const LONGEST_S: u32 = 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    callee: Vec<Own>,
    #[serde(default)]
    test: Vec<Test>,
}

/// One call, and what is expected of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What people call it.
    pub name: String,
    /// The number called.
    #[serde(default)]
    pub to: String,
    /// Or what the callee does.
    callee: Option<Vec<String>>,
    /// What happens on the call, as in `/v1/calls`.
    pub flow: Vec<Step>,
    /// How long it may ring, seconds.
    #[serde(default = "ring_timeout")]
    pub ring_timeout_s: u32,
    /// How long it may last, seconds.
    #[serde(default = "max_duration")]
    pub max_duration_s: u32,
    /// By which the network loses, doubles and delays what it carries; none: it does not.
    pub network_seed: Option<u64>,
    /// What is expected.
    pub expect: Expect,
}

fn ring_timeout() -> u32 {
    60
}

fn max_duration() -> u32 {
    600
}

/// What is expected of a call; what is left out is not looked at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The final state.
    pub state: Option<String>,
    /// The code of the cause.
    pub cause: Option<String>,
    /// Texts that are said, in this order; others may be said between them.
    pub says: Option<Vec<String>>,
    /// What each `gather` brought.
    pub gathered: Option<Vec<String>>,
    /// The keys the callee heard.
    pub digits: Option<String>,
    /// Kinds of events, in this order; others may come between them. A word behind the kind stands in the detail.
    pub events: Option<Vec<String>>,
    /// The least and the most the call lasts from its answer, seconds.
    pub duration_s: Option<[f64; 2]>,
    /// What the callee hears at the least, seconds of sound.
    pub heard_s: Option<f64>,
    /// Whether a second leg and the first one heard one another.
    pub joined: Option<bool>,
}

/// Reads the tests of a file, and who answers their calls: the callees of the file, then those of `own`.
///
/// # Errors
/// One line that says what is wrong where.
pub fn read(path: &Path, own: &[Own]) -> Result<(Vec<Test>, Directory), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text, own).map_err(|error| format!("{}: {error}", path.display()))
}

pub(super) fn parse(text: &str, own: &[Own]) -> Result<(Vec<Test>, Directory), String> {
    if text.len() > MOST_BYTES {
        return Err(format!("is larger than {MOST_BYTES} bytes"));
    }
    let File { callee, mut test } = toml::from_str(text).map_err(|error| one_line(text, &error))?;
    if test.is_empty() {
        return Err("there is no [[test]] in it".into());
    }
    let all: Vec<Own> = callee.iter().chain(own).cloned().collect();
    let directory = Directory::new(&all).map_err(|error| error.to_string())?;
    for (n, test) in test.iter_mut().enumerate() {
        let named = format!("[[test]] {} ({})", n + 1, test.name);
        test.check().map_err(|error| format!("{named}: {error}"))?;
    }
    Ok((test, directory))
}

impl Test {
    fn check(&mut self) -> Result<(), String> {
        match (&self.callee, self.to.is_empty()) {
            (None, false) => number(&self.to).map_err(|error| format!("to: {error}"))?,
            (Some(_), true) => self.to = OWN_CALLEE.into(),
            _ => return Err("give either to or callee".into()),
        }
        self.own_callee().map_err(|error| format!("callee, {error}"))?;
        flow::check(&self.flow).map_err(|refused| refused.message)?;
        if self.expect == Expect::default() {
            return Err("expect is empty, so nothing would be tested".into());
        }
        if let Some(state) = &self.expect.state
            && !state.parse::<call::State>().is_ok_and(call::State::is_final)
        {
            return Err(format!(
                "expect.state: {state:?} is no final state; there are completed, busy, failed, no-answer, canceled"
            ));
        }
        if let Some([least, most]) = self.expect.duration_s
            && !(least >= 0.0 && least <= most)
        {
            return Err(format!(
                "expect.duration_s: [{least}, {most}] holds for no call; write the least, then the most, in seconds"
            ));
        }
        for (key, value, most) in
            [("ring_timeout_s", self.ring_timeout_s, 600), ("max_duration_s", self.max_duration_s, LONGEST_S)]
        {
            if !(1..=most).contains(&value) {
                return Err(format!("{key} must be 1 to {most}"));
            }
        }
        Ok(())
    }

    /// The callee that stands in the test itself, if one does.
    fn own_callee(&self) -> Result<Option<Script>, crate::sim::script::ScriptError> {
        self.callee.as_ref().map(|lines| Script::parse(lines)).transpose()
    }

    /// Who answers in this test.
    pub(super) fn directory(&self, directory: &Directory) -> Directory {
        let mut directory = directory.clone();
        if let Ok(Some(script)) = self.own_callee() {
            directory.add(OWN_CALLEE, script);
        }
        directory
    }
}

fn number(to: &str) -> Result<(), String> {
    Destination::parse(to, |_| false).map(drop).map_err(|error| error.to_string())
}
