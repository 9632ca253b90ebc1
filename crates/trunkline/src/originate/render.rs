//! A flow made ready: speech rendered, files loaded, second legs checked and looked up, so that nothing can fail once
//! the phone rings.

use std::time::Duration;

use call::{ClipId, Destination, Route, RouteId, Verb};
use media::{Clip, Tone};

use super::{Shows, caller_id, destination, longest, plan, ways};
use crate::app::App;
use crate::flow::{Dial, Gather, Prompt, Step};
use crate::refused::Refused;
use crate::store::{Account, TrunkRow};
use crate::switch;

/// What the call's record shows of its flow.
#[derive(Default)]
pub(crate) struct Shown {
    file: Option<String>,
    pub(super) text: Option<String>,
}

impl Shown {
    /// What is played first, as document 0 names it.
    pub(super) fn audio_file(&self, created_at: i64) -> Option<String> {
        self.file.clone().or_else(|| self.text.as_ref().map(|_| format!("tts_{created_at}.wav")))
    }
}

/// Whose ringing tone is heard by whoever waits.
#[derive(Clone, Copy)]
pub(crate) enum Hears<'a> {
    /// That of the country of this number; of any other address's, the account's own.
    Of(&'a str),
    /// That of a country.
    In(&'a str),
}

/// Makes flows ready; what it gathers is handed to the switch with the verbs.
pub(crate) struct Renderer<'a> {
    app: &'a App,
    account: &'a Account,
    trunks: &'a [TrunkRow],
    caller: Shows,
    trunk: Option<&'a str>,
    hears: Hears<'a>,
    pub(crate) clips: Vec<Clip>,
    /// How to reach the attempts of each second leg.
    pub(crate) routes: Vec<Vec<switch::Dial>>,
    pub(crate) shown: Shown,
    ringback: Option<ClipId>,
}

impl<'a> Renderer<'a> {
    /// Second legs show `caller` and go over `trunk` unless they say otherwise.
    pub(crate) fn new(
        app: &'a App,
        account: &'a Account,
        trunks: &'a [TrunkRow],
        caller: Shows,
        trunk: Option<&'a str>,
        hears: Hears<'a>,
    ) -> Self {
        let (clips, routes, shown) = (Vec::new(), Vec::new(), Shown::default());
        Self { app, account, trunks, caller, trunk, hears, clips, routes, shown, ringback: None }
    }
}

impl Renderer<'_> {
    /// What the steps of a flow become.
    pub(crate) async fn steps(&mut self, steps: &[Step]) -> Result<Vec<Verb>, Refused> {
        let mut verbs = Vec::with_capacity(steps.len());
        for step in steps {
            verbs.push(match step {
                Step::Say { text, voice, language } => self.say(text, voice, language).await?,
                Step::Play { file } => self.play(file).await?,
                Step::Pause { seconds } => Verb::Pause(Duration::from_secs_f32(*seconds)),
                Step::Digits { send } => Verb::Digits(send.clone()),
                // Boxed, for branches have steps of their own.
                Step::Gather(gather) => Box::pin(self.gather(gather)).await?,
                Step::Record(record) => Verb::Record(record.rules()),
                Step::Dial(dial) => Verb::Dial(Box::new(self.dial(dial).await?)),
                Step::Hangup {} => Verb::Hangup,
            });
        }
        Ok(verbs)
    }

    async fn say(
        &mut self,
        text: &str,
        voice: &Option<String>,
        language: &Option<String>,
    ) -> Result<Verb, Refused> {
        let spoken = self.app.speech.say(text, voice.as_deref(), language.as_deref()).await?;
        self.shown.text.get_or_insert_with(|| text.to_owned());
        Ok(Verb::Say { clip: self.keep(spoken.clip), text: text.to_owned() })
    }

    async fn play(&mut self, file: &str) -> Result<Verb, Refused> {
        let clip = self.app.uploads.load(file).await?;
        self.shown.file.get_or_insert_with(|| file.to_owned());
        Ok(Verb::Play { clip: self.keep(clip), name: file.to_owned() })
    }

    fn keep(&mut self, clip: Clip) -> ClipId {
        self.clips.push(clip);
        ClipId(self.clips.len() as u32 - 1)
    }

    async fn gather(&mut self, gather: &Gather) -> Result<Verb, Refused> {
        let mut prompts = Vec::with_capacity(gather.prompts.len());
        for prompt in &gather.prompts {
            prompts.push(match prompt {
                Prompt::Say { text, voice, language } => self.say(text, voice, language).await?,
                Prompt::Play { file } => self.play(file).await?,
                Prompt::Pause { seconds } => Verb::Pause(Duration::from_secs_f32(*seconds)),
            });
        }
        let mut branches = Vec::with_capacity(gather.branches.len());
        for (digits, steps) in &gather.branches {
            branches.push((digits.clone(), self.steps(steps).await?));
        }
        let otherwise = self.steps(&gather.otherwise).await?;
        Ok(gather.verb(prompts, branches, otherwise))
    }

    /// A second leg goes through the same checks as the first one, before anybody is dialled.
    pub(crate) async fn dial(&mut self, dial: &Dial) -> Result<call::Dial, Refused> {
        let to = destination(self.app.store.directory(), self.account.id, &dial.to)?;
        let own = dial.from.as_deref().map(caller_id).transpose()?;
        let caller = match own {
            Some(number) => Shows { number: Some(number), ..Shows::default() },
            None => self.caller.clone(),
        };
        let trunk = dial.trunk.as_deref().or(self.trunk);
        let attempts = plan(self.app, self.account, trunk, &to, caller.number.as_deref(), self.trunks)?;
        let config = &self.app.config;
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let ring_timeout = seconds(dial.ring_timeout_s).unwrap_or(config.ring_timeout);
        let found = ways(self.app, None, self.account, &caller, attempts, self.trunks, ring_timeout).await?;
        self.routes.push(found.dials);
        Ok(call::Dial {
            to: dial.to.trim().to_owned(),
            // Route 0 is the call's own.
            route: Route { id: RouteId(self.routes.len() as u32), rounds: found.rounds },
            max_duration: longest(seconds(dial.max_duration_s), config, self.account),
            ringback: dial.ringback.then(|| self.ringback()),
            is_final: false,
        })
    }

    /// One turn of the ringing tone, made once for all of the flow's second legs.
    fn ringback(&mut self) -> ClipId {
        if let Some(clip) = self.ringback {
            return clip;
        }
        let own = || self.account.region.clone().or_else(|| self.app.config.region.clone());
        let clip = self.keep(ringback(self.hears, own()));
        self.ringback = Some(clip);
        clip
    }
}

/// One turn of the ringing tone; `region` is the account's own country.
fn ringback(hears: Hears<'_>, region: Option<String>) -> Clip {
    let country = match hears {
        Hears::In(country) => Some(country.to_owned()),
        Hears::Of(address) => match Destination::parse(address, |_| false) {
            Ok(Destination::Pstn(number)) => number.region(region.as_deref()),
            _ => region,
        },
    };
    media::tone::tones(country.as_deref().unwrap_or_default(), Tone::Ringback)
}
