//! What a callee does, as people write it down: a list of steps, one after another.

mod parse;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use media::Tone;

pub use parse::ScriptError;

/// Steps in one script, `hold 3s` and its like counted as two.
pub const MOST_STEPS: usize = 200;

/// One step, in the order they are carried out; each begins when the one before is over.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A provisional response: 180 to 183, without sound.
    Progress(u16),
    /// 183 with an answer to the offer: sound before the call is answered.
    EarlyMedia,
    /// Nothing for a while.
    Wait(Duration),
    /// Nothing until the other side hangs up.
    Listen,
    /// 200 OK.
    Answer,
    /// A refusal; with `times` only of so many calls, then one gets through, and so on.
    Reject { status: u16, times: Option<u32> },
    /// 302 with this Contact.
    Redirect(String),
    /// A sound, at the most for `limit`.
    Play { sound: Sound, limit: Option<Duration> },
    /// Keys, the way that was agreed on.
    Press(String),
    /// So many keys of the other side; fewer if `#` or the end of `within` comes first.
    Expect { count: usize, within: Duration },
    /// A step for those who pressed these keys.
    When { keys: String, step: Box<Step> },
    /// A step for those whose keys no `when` since the last `expect` had.
    Otherwise(Box<Step>),
    /// Puts the other side on hold.
    Hold,
    /// Takes it back.
    Resume,
    /// BYE.
    HangUp,
    /// The other side's BYE is not answered for so long.
    LateBye(Duration),
    /// What is sent arrives worse from now on.
    Impair(Worse),
    /// Sends back what it hears.
    Echo,
    /// Records what it hears, at the most for so long.
    Record(Duration),
    /// Goes back to what follows the answer.
    Repeat,
}

/// What becomes worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Worse {
    /// This share of packets is lost, 0 to 1.
    Loss(f32),
    /// Packets come up to this much later.
    Jitter(Duration),
}

/// What is heard.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sound {
    /// Speech.
    Text(String),
    /// A tone of so many Hz.
    Tone(f32),
    /// A tone of the telephone network, over and over.
    Network(Tone),
    /// The beep of an answering machine.
    Beep,
}

/// A script that was read and makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    pub(super) steps: Arc<[Step]>,
}

impl Script {
    /// Reads one step a line.
    ///
    /// # Errors
    /// The first line that is not understood, or cannot come where it stands.
    pub fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, ScriptError> {
        parse::script(lines).map(|steps| Self { steps: steps.into() })
    }

    /// The texts it says, for whoever renders speech.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::When { step, .. } | Step::Otherwise(step) => text(step),
            step => text(step),
        })
    }

    /// How many calls are refused before one gets through.
    pub(super) fn refusals(&self) -> Option<u32> {
        self.steps.iter().find_map(|step| match step {
            Step::Reject { times, .. } => *times,
            _ => None,
        })
    }
}

fn text(step: &Step) -> Option<&str> {
    match step {
        Step::Play { sound: Sound::Text(text), .. } => Some(text),
        _ => None,
    }
}
