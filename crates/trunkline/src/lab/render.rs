//! A flow made ready without an engine: speech is a tone of its length, second legs go to the same network.

use std::path::Path;
use std::time::Duration;

use call::{Attempt, AttemptKind, ClipId, Route, RouteId, Strategy, TrunkKind, Verb};
use media::{Clip, Tone};

use crate::flow::{Dial, Gather, Prompt, Step};
use crate::sim::voice::murmur;

/// How long a file is taken to be that does not lie beside the tests.
const UNKNOWN_FILE: Duration = Duration::from_secs(3);
/// The longest file.
const LONGEST_FILE: Duration = Duration::from_secs(600);

/// A flow as the engine takes it.
pub(super) struct Rendered {
    pub(super) verbs: Vec<Verb>,
    pub(super) clips: Vec<Clip>,
    /// Who is called by each second leg.
    pub(super) routes: Vec<String>,
}

/// Renders a flow; files are looked for in `folder`.
pub(super) fn render(flow: &[Step], folder: &Path, longest: Duration) -> Rendered {
    let mut renderer = Renderer { folder, longest, clips: Vec::new(), routes: Vec::new() };
    let verbs = renderer.steps(flow);
    Rendered { verbs, clips: renderer.clips, routes: renderer.routes }
}

/// The one attempt to call a number of the network.
pub(super) fn attempt(to: &str) -> Attempt {
    Attempt {
        trunk: None,
        kind: AttemptKind::Trunk(TrunkKind::Simulated),
        destination: to.to_owned(),
        caller_id: None,
        strategy: Strategy::SipInvite,
    }
}

struct Renderer<'a> {
    folder: &'a Path,
    longest: Duration,
    clips: Vec<Clip>,
    routes: Vec<String>,
}

impl Renderer<'_> {
    fn steps(&mut self, steps: &[Step]) -> Vec<Verb> {
        let mut verbs = Vec::with_capacity(steps.len());
        for step in steps {
            verbs.push(match step {
                Step::Say { text, .. } => self.say(text),
                Step::Play { file } => self.play(file),
                Step::Pause { seconds } => Verb::Pause(Duration::from_secs_f32(*seconds)),
                Step::Digits { send } => Verb::Digits(send.clone()),
                Step::Gather(gather) => self.gather(gather),
                Step::Record(record) => Verb::Record(record.rules()),
                Step::Dial(dial) => self.dial(dial),
                Step::Hangup {} => Verb::Hangup,
            });
        }
        verbs
    }

    fn keep(&mut self, clip: Clip) -> ClipId {
        self.clips.push(clip);
        ClipId(self.clips.len() as u32 - 1)
    }

    fn say(&mut self, text: &str) -> Verb {
        Verb::Say { clip: self.keep(murmur(text)), text: text.to_owned() }
    }

    fn play(&mut self, file: &str) -> Verb {
        let name = Path::new(file).file_name().unwrap_or_default();
        let bytes = std::fs::read(self.folder.join(name)).ok();
        let clip = bytes.and_then(|bytes| Clip::decode(bytes, LONGEST_FILE).ok());
        let clip = clip.unwrap_or_else(|| Clip::tone(440.0, UNKNOWN_FILE.as_millis() as u32, 0.3));
        Verb::Play { clip: self.keep(clip), name: file.to_owned() }
    }

    fn gather(&mut self, gather: &Gather) -> Verb {
        let prompts = gather.prompts.iter().map(|prompt| match prompt {
            Prompt::Say { text, .. } => self.say(text),
            Prompt::Play { file } => self.play(file),
            Prompt::Pause { seconds } => Verb::Pause(Duration::from_secs_f32(*seconds)),
        });
        let prompts = prompts.collect();
        let branches =
            gather.branches.iter().map(|(digits, steps)| (digits.clone(), self.steps(steps))).collect();
        let otherwise = self.steps(&gather.otherwise);
        gather.verb(prompts, branches, otherwise)
    }

    fn dial(&mut self, dial: &Dial) -> Verb {
        self.routes.push(dial.to.trim().to_owned());
        let seconds =
            |value: Option<u32>, else_: Duration| value.map_or(else_, |s| Duration::from_secs(s.into()));
        Verb::Dial(Box::new(call::Dial {
            to: dial.to.trim().to_owned(),
            // Route 0 is the call's own.
            route: Route::in_order(
                RouteId(self.routes.len() as u32),
                vec![attempt(&dial.to)],
                seconds(dial.ring_timeout_s, Duration::from_secs(60)),
            ),
            max_duration: seconds(dial.max_duration_s, self.longest),
            ringback: dial.ringback.then(|| self.keep(media::tone::tones("", Tone::Ringback))),
            is_final: false,
        }))
    }
}
