//! A flow as it is ordered: the steps of a call, as every face says them and as the store keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use call::Verb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refused::Refused;

/// Steps in one list.
pub const MOST_STEPS: usize = 50;
/// Steps in all of a flow, branches and prompts included.
const MOST_IN_ALL: usize = 500;
/// How deep branches may lie in branches.
const MOST_DEPTH: usize = 8;
/// Second legs in all of a flow: each is checked and its host looked up before anybody is dialled.
const MOST_DIALS: usize = 20;
/// The longest pause, seconds.
const MAX_PAUSE: f32 = 3600.0;
/// What may be sent at once.
const MOST_DIGITS: usize = 128;

/// One step of a flow: what happens once the call is answered, one step after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({ "say": { "text": "Good morning." } }))]
pub enum Step {
    /// Speaks a text.
    Say {
        /// 1 to 5,000 bytes.
        text: String,
        /// A voice of the speech engine.
        voice: Option<String>,
        /// A language tag such as `en-US`.
        language: Option<String>,
    },
    /// Plays an uploaded file.
    Play {
        /// Such as `uploads/audio_1640995200000.mp3`.
        file: String,
    },
    /// Says nothing for a while.
    Pause {
        /// 0 to 3,600.
        #[schema(minimum = 0, maximum = 3600)]
        seconds: f32,
    },
    /// Presses keys.
    Digits {
        /// `0`-`9`, `*`, `#`, `A`-`D`; `w` waits half a second.
        #[schema(example = "1w2#", min_length = 1, max_length = 128, pattern = "^[0-9*#A-Da-dWw]+$")]
        send: String,
    },
    /// Asks for digits: an IVR.
    Gather(Gather),
    /// Records what the other side says into a file of its own.
    Record(Record),
    /// Calls somebody else and joins both.
    Dial(Dial),
    /// Ends the call.
    Hangup {},
}

/// What is said while digits are asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Prompt {
    /// Speaks a text.
    Say {
        /// 1 to 5,000 bytes.
        text: String,
        /// A voice of the speech engine.
        voice: Option<String>,
        /// A language tag such as `en-US`.
        language: Option<String>,
    },
    /// Plays an uploaded file.
    Play {
        /// Such as `uploads/audio_1640995200000.mp3`.
        file: String,
    },
    /// Says nothing for a while.
    Pause {
        /// 0 to 3,600.
        #[schema(minimum = 0, maximum = 3600)]
        seconds: f32,
    },
}

/// Asks for digits. The first key stops the prompts. The event `gathered` brings the digits and why they ended:
/// `finish_key`, `max_digits`, `timeout`, `too_few`, `no_match` or `stopped`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({
    "prompts": [{ "say": { "text": "For sales press one, for support press two." } }], "max_digits": 1,
    "branches": { "1": [{ "dial": { "to": "+12025550123" } }], "2": [{ "say": { "text": "Please hold." } }] },
    "otherwise": [{ "say": { "text": "Goodbye." } }],
}))]
pub struct Gather {
    /// What is said first, at most 50 steps.
    #[schema(max_items = 50)]
    pub prompts: Vec<Prompt>,
    /// How many digits are wanted at least.
    #[schema(minimum = 1, maximum = 64)]
    pub min_digits: u8,
    /// So many end it.
    #[schema(minimum = 1, maximum = 64)]
    pub max_digits: u8,
    /// The key that ends it and is not one of the digits; null: none does.
    #[schema(pattern = "^[0-9*#A-D]$")]
    pub finish_on: Option<char>,
    /// Seconds to wait for the first digit, from the end of the prompts.
    #[schema(minimum = 0.1, maximum = 300)]
    pub timeout_s: f32,
    /// Seconds to wait for each further digit.
    #[schema(minimum = 0.1, maximum = 60)]
    pub between_s: f32,
    /// How often to ask in all.
    #[schema(minimum = 1, maximum = 10)]
    pub tries: u8,
    /// What to do next, by the digits; then the flow goes on. Where there are any, other digits count as a failed try.
    #[schema(no_recursion)]
    pub branches: BTreeMap<String, Vec<Step>>,
    /// What to do when no try brought usable digits; then the flow goes on.
    #[schema(no_recursion, max_items = 50)]
    pub otherwise: Vec<Step>,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            prompts: Vec::new(),
            min_digits: 1,
            max_digits: 16,
            finish_on: Some('#'),
            timeout_s: 5.0,
            between_s: 3.0,
            tries: 1,
            branches: BTreeMap::new(),
            otherwise: Vec::new(),
        }
    }
}

impl Gather {
    /// What a call is told; `prompts`, `branches` and `otherwise` are rendered.
    pub(crate) fn verb(
        &self,
        prompts: Vec<Verb>,
        branches: Vec<(String, Vec<Verb>)>,
        otherwise: Vec<Verb>,
    ) -> Verb {
        Verb::Gather(Box::new(call::Gather {
            prompts,
            digits: self.min_digits.into()..=self.max_digits.into(),
            finish: self.finish_on,
            timeout: Duration::from_secs_f32(self.timeout_s),
            between: Duration::from_secs_f32(self.between_s),
            tries: self.tries.into(),
            branches,
            otherwise,
        }))
    }
}

/// Records what the other side says, mono, until silence, a key or the limit. The event `recorded` brings the file,
/// its length and why it ended: `silence`, `key`, `limit` or `stopped`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "max_s": 120, "end_silence_s": 4, "finish_on": "#" }))]
pub struct Record {
    /// Whether a beep comes first.
    pub beep: bool,
    /// The longest it may be, seconds.
    #[schema(minimum = 1, maximum = 7200)]
    pub max_s: u32,
    /// So many seconds without speech end it; null: silence does not.
    #[schema(minimum = 0.5, maximum = 600)]
    pub end_silence_s: Option<f32>,
    /// Any of these keys ends it.
    #[schema(max_length = 16, pattern = "^[0-9*#A-D]*$")]
    pub finish_on: String,
}

impl Default for Record {
    fn default() -> Self {
        Self { beep: true, max_s: 120, end_silence_s: Some(5.0), finish_on: "#".into() }
    }
}

impl Record {
    /// What a call is told.
    pub(crate) fn rules(&self) -> call::Record {
        call::Record {
            beep: self.beep,
            max: Duration::from_secs(self.max_s.into()),
            end_silence: self.end_silence_s.map(Duration::from_secs_f32),
            finish_keys: self.finish_on.clone(),
        }
    }
}

/// Calls somebody else and joins both until either hangs up. The flow goes on when the second leg fails or ends; the
/// event `dialed` brings its state and cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "+12025550123", "ring_timeout_s": 30 }))]
pub struct Dial {
    /// A number or a SIP address.
    #[schema(max_length = 255)]
    pub to: String,
    /// What the callee is shown; that of the call when left out.
    #[schema(max_length = 255)]
    pub from: Option<String>,
    /// A trunk's name or id; that of the call when left out.
    pub trunk: Option<String>,
    /// Seconds to let it ring; the server's setting when left out.
    #[schema(minimum = 1, maximum = 600)]
    pub ring_timeout_s: Option<u32>,
    /// Seconds after which both are parted; the server's setting when left out.
    #[schema(minimum = 1, maximum = 86400)]
    pub max_duration_s: Option<u32>,
    /// Whether the first side hears a ringing tone meanwhile.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub ringback: bool,
}

impl Dial {
    /// Calls somebody as the call itself would.
    pub fn to(to: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            from: None,
            trunk: None,
            ring_timeout_s: None,
            max_duration_s: None,
            ringback: true,
        }
    }
}

fn yes() -> bool {
    true
}

/// Refuses a flow that is too long, too deep, or has a value out of range; says which.
pub fn check(flow: &[Step]) -> Result<(), Refused> {
    if flow.is_empty() {
        return Err(Refused::bad("flow_empty", "There is nothing to do on the call."));
    }
    let mut counts = Counts::default();
    counts.list("flow", flow, 0)?;
    Ok(())
}

/// Refuses what cannot be sent as keys.
pub fn check_digits(send: &str) -> Result<(), Refused> {
    let known = |c: char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d' | 'w' | 'W');
    if (1..=MOST_DIGITS).contains(&send.len()) && send.chars().all(known) {
        return Ok(());
    }
    Err(Refused::bad("invalid_digits", format!("These keys cannot be sent: 1 to {MOST_DIGITS} are taken."))
        .hint("Use 0-9, *, #, A-D, and w for half a second of pause."))
}

#[derive(Default)]
struct Counts {
    steps: usize,
    dials: usize,
}

impl Counts {
    fn list(&mut self, place: &str, steps: &[Step], depth: usize) -> Result<(), Refused> {
        self.size(place, steps.len())?;
        if depth > MOST_DEPTH {
            return Err(Refused::bad(
                "flow_too_deep",
                format!("Branches lie at most {MOST_DEPTH} deep ({place})."),
            ));
        }
        steps.iter().enumerate().try_for_each(|(n, step)| self.step(&format!("{place}[{n}]"), step, depth))
    }

    fn size(&mut self, place: &str, steps: usize) -> Result<(), Refused> {
        self.steps += steps;
        if steps > MOST_STEPS {
            let text = format!("{place} has {steps} steps; {MOST_STEPS} are the most.");
            return Err(Refused::bad("flow_too_long", text));
        }
        if self.steps > MOST_IN_ALL {
            let text = format!("A flow has {MOST_IN_ALL} steps at the most, branches included.");
            return Err(Refused::bad("flow_too_long", text));
        }
        Ok(())
    }

    fn step(&mut self, place: &str, step: &Step, depth: usize) -> Result<(), Refused> {
        match step {
            Step::Say { .. } | Step::Play { .. } | Step::Hangup {} => Ok(()),
            Step::Pause { seconds } => pause(place, *seconds),
            Step::Digits { send } => check_digits(send),
            Step::Gather(gather) => self.gather(place, gather, depth),
            Step::Record(record) => {
                within(&format!("{place}.record.max_s"), record.max_s as f32, 1.0, 7200.0)?;
                if let Some(silence) = record.end_silence_s {
                    within(&format!("{place}.record.end_silence_s"), silence, 0.5, 600.0)?;
                }
                keys(&format!("{place}.record.finish_on"), &record.finish_on, 16)
            }
            Step::Dial(dial) => {
                self.dials += 1;
                if self.dials > MOST_DIALS {
                    let text = format!("A flow dials at most {MOST_DIALS} times.");
                    return Err(Refused::bad("flow_too_long", text));
                }
                for (field, value, most) in [
                    ("ring_timeout_s", dial.ring_timeout_s, 600.0),
                    ("max_duration_s", dial.max_duration_s, 86_400.0),
                ] {
                    if let Some(value) = value {
                        within(&format!("{place}.dial.{field}"), value as f32, 1.0, most)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn gather(&mut self, place: &str, gather: &Gather, depth: usize) -> Result<(), Refused> {
        let place = format!("{place}.gather");
        self.size(&format!("{place}.prompts"), gather.prompts.len())?;
        for prompt in &gather.prompts {
            if let Prompt::Pause { seconds } = prompt {
                pause(&format!("{place}.prompts"), *seconds)?;
            }
        }
        within(&format!("{place}.min_digits"), gather.min_digits.into(), 1.0, 64.0)?;
        within(&format!("{place}.max_digits"), gather.max_digits.into(), gather.min_digits.into(), 64.0)?;
        within(&format!("{place}.timeout_s"), gather.timeout_s, 0.1, 300.0)?;
        within(&format!("{place}.between_s"), gather.between_s, 0.1, 60.0)?;
        within(&format!("{place}.tries"), gather.tries.into(), 1.0, 10.0)?;
        let finish: String = gather.finish_on.into_iter().collect();
        keys(&format!("{place}.finish_on"), &finish, 1)?;
        self.size(&format!("{place}.branches"), gather.branches.len())?;
        for (digits, steps) in &gather.branches {
            keys(&format!("{place}.branches"), digits, 64)?;
            let length = usize::from(gather.min_digits)..=usize::from(gather.max_digits);
            if !length.contains(&digits.len()) || digits.chars().any(|digit| gather.finish_on == Some(digit))
            {
                let text = format!("{place}.branches: nobody can enter {digits:?}.");
                return Err(Refused::bad("invalid_branch", text)
                    .hint("Check min_digits, max_digits and finish_on against it."));
            }
            self.list(&format!("{place}.branches.{digits}"), steps, depth + 1)?;
        }
        self.list(&format!("{place}.otherwise"), &gather.otherwise, depth + 1)
    }
}

fn pause(place: &str, seconds: f32) -> Result<(), Refused> {
    if (0.0..=MAX_PAUSE).contains(&seconds) {
        return Ok(());
    }
    Err(Refused::bad("invalid_pause", format!("A pause lasts 0 to {MAX_PAUSE} seconds ({place}).")))
}

fn within(place: &str, value: f32, least: f32, most: f32) -> Result<(), Refused> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Refused::bad("out_of_range", format!("{place} must be {least} to {most}.")))
}

fn keys(place: &str, keys: &str, most: usize) -> Result<(), Refused> {
    let known = |c: char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D');
    if keys.len() <= most && keys.chars().all(known) {
        return Ok(());
    }
    Err(Refused::bad("invalid_digits", format!("{place} takes at most {most} of 0-9, *, #, A-D.")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn checked(flow: Value) -> Result<(), String> {
        let flow: Vec<Step> = from_value(flow).map_err(|error| error.to_string())?;
        check(&flow).map_err(|refused| format!("{}: {}", refused.code, refused.message))
    }

    #[test]
    fn what_is_ordered_is_kept_as_it_was_meant() {
        let flow = json!([
            { "say": { "text": "Hello", "voice": null, "language": null } },
            { "digits": { "send": "1w2#" } },
            { "hangup": {} },
        ]);
        let read: Vec<Step> = from_value(flow.clone()).unwrap();
        assert_eq!(to_value(&read).unwrap(), flow);
        let gather: Step =
            from_value(json!({ "gather": { "branches": { "1": [{ "hangup": {} }] } } })).unwrap();
        assert_eq!(from_value::<Step>(to_value(&gather).unwrap()).unwrap(), gather);
    }

    #[test]
    fn each_refusal_says_what_and_where() {
        let deep =
            (0..10).fold(json!([{ "hangup": {} }]), |inner, _| json!([{ "gather": { "otherwise": inner } }]));
        let long = vec![json!({ "hangup": {} }); 51];
        let many = vec![json!({ "gather": { "otherwise": vec![json!({ "hangup": {} }); 40] } }); 20];
        let dials = vec![json!({ "dial": { "to": "+12025550123" } }); 21];
        let depth =
            format!("flow_too_deep: Branches lie at most 8 deep (flow{}).", "[0].gather.otherwise".repeat(9));
        for (flow, told) in [
            (json!([]), "flow_empty: There is nothing to do on the call."),
            (
                json!([{ "pause": { "seconds": -1 } }]),
                "invalid_pause: A pause lasts 0 to 3600 seconds (flow[0]).",
            ),
            (
                json!([{ "digits": { "send": "1x" } }]),
                "invalid_digits: These keys cannot be sent: 1 to 128 are taken.",
            ),
            (
                json!([{ "digits": { "send": "" } }]),
                "invalid_digits: These keys cannot be sent: 1 to 128 are taken.",
            ),
            (
                json!([{ "gather": { "min_digits": 3, "max_digits": 2 } }]),
                "out_of_range: flow[0].gather.max_digits must be 3 to 64.",
            ),
            (json!([{ "gather": { "tries": 0 } }]), "out_of_range: flow[0].gather.tries must be 1 to 10."),
            (
                json!([{ "gather": { "max_digits": 1, "branches": { "12": [] } } }]),
                "invalid_branch: flow[0].gather.branches: nobody can enter \"12\".",
            ),
            (
                json!([{ "gather": { "branches": { "#": [] } } }]),
                "invalid_branch: flow[0].gather.branches: nobody can enter \"#\".",
            ),
            (
                json!([{ "gather": { "finish_on": "x" } }]),
                "invalid_digits: flow[0].gather.finish_on takes at most 1 of 0-9, *, #, A-D.",
            ),
            (json!([{ "record": { "max_s": 0 } }]), "out_of_range: flow[0].record.max_s must be 1 to 7200."),
            (
                json!([{ "dial": { "to": "+12025550123", "ring_timeout_s": 601 } }]),
                "out_of_range: flow[0].dial.ring_timeout_s must be 1 to 600.",
            ),
            (deep, depth.as_str()),
            (json!(long), "flow_too_long: flow has 51 steps; 50 are the most."),
            (json!(many), "flow_too_long: A flow has 500 steps at the most, branches included."),
            (json!(dials), "flow_too_long: A flow dials at most 20 times."),
        ] {
            assert_eq!(checked(flow.clone()), Err(told.to_owned()), "{flow}");
        }
        for unknown in [
            json!([{ "gather": { "prompts": [{ "dial": { "to": "x" } }] } }]),
            json!([{ "shout": {} }]),
            json!([{ "say": { "text": "Hello", "loud": true } }]),
        ] {
            let told = checked(unknown.clone()).expect_err("a refusal");
            assert!(told.contains("unknown"), "{unknown}: {told}");
        }
    }
}
