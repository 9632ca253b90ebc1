//! What is asked of a call while it lasts.

use std::time::Instant;

use call::{NotNow, Verb};
use media::Clip;
use serde_json::json;

use super::Transfer;
use super::entry::Entry;
use super::run::Loop;
use crate::id::Id;
use crate::refused::Refused;

/// A verb for a call that is up.
pub enum Live {
    /// Speak, once what is under way is over.
    Say {
        /// The speech.
        clip: Clip,
        /// What is said.
        text: String,
    },
    /// Play, once what is under way is over.
    Play {
        /// The sound.
        clip: Clip,
        /// Its file's name.
        name: String,
    },
    /// Press keys, once what is under way is over.
    Digits(String),
    /// Drop what is under way.
    Stop,
    /// Send one of two joined sides on to somebody else.
    Transfer {
        /// Which.
        leg: call::Leg,
        /// To whom.
        to: Box<Transfer>,
    },
    /// Record silence from now on.
    PauseRecording,
    /// Record sound again.
    ResumeRecording,
}

impl Loop {
    pub(super) fn live(&mut self, id: Id, live: Live, now: Instant) -> Result<(), Refused> {
        let key = self.by_id.get(&id).copied();
        let entry = key.and_then(|key| Some((key, self.calls.get_mut(key)?)));
        let Some((key, entry)) = entry.filter(|(_, entry)| entry.outcome.is_none()) else {
            return Err(not_now(NotNow::Ending));
        };
        let verb = match live {
            Live::Stop => {
                let stopped = entry.call.stop(now).map_err(not_now);
                self.step(key, now);
                return stopped;
            }
            Live::Transfer { leg, to } => return self.send_on_role(key, leg, *to, now),
            Live::PauseRecording => return self.pause_recording(key, true),
            Live::ResumeRecording => return self.pause_recording(key, false),
            Live::Digits(digits) => Verb::Digits(digits),
            Live::Say { clip, text } => Verb::Say { clip: entry.clips.insert(clip), text },
            Live::Play { clip, name } => Verb::Play { clip: entry.clips.insert(clip), name },
        };
        let clip = match &verb {
            Verb::Say { clip, .. } | Verb::Play { clip, .. } => Some(*clip),
            _ => None,
        };
        let inserted = entry.call.insert(verb, now).map_err(not_now);
        if let (Err(_), Some(clip)) = (&inserted, clip) {
            drop(entry.clips.take(clip));
        }
        self.step(key, now);
        inserted
    }

    fn pause_recording(&mut self, key: usize, pause: bool) -> Result<(), Refused> {
        let entry = self.calls.get_mut(key);
        let Some(Entry { recorded: Some(_), main: Some(media), paused, .. }) = entry else {
            return Err(Refused::new(409, "not_recorded", "This call is not being recorded.")
                .hint("It was placed with `record: false`, or nobody has answered yet."));
        };
        // Asked again, nothing happens that could be told.
        if *paused == pause {
            return Ok(());
        }
        self.parts.media.pause_recording(*media, pause).map_err(|error| {
            Refused::new(503, "overloaded", error.to_string()).hint("Try again in a second.").retry_after(1)
        })?;
        *paused = pause;
        self.report(key, if pause { "recording-paused" } else { "recording-resumed" }, json!({}));
        Ok(())
    }
}

pub(super) fn not_now(why: NotNow) -> Refused {
    let (code, hint) = match why {
        NotNow::NotAnswered => ("call_not_answered", "Wait until its state is in-progress."),
        NotNow::Ending => ("call_ended", "Place another call."),
        NotNow::NothingToStop => ("nothing_to_stop", "There is nothing to do."),
        NotNow::NotJoined => ("nobody_to_transfer", "Wait until both sides talk."),
        NotNow::NoWay => ("no_route", "Name somebody who can be called."),
        NotNow::TooMuch => ("too_many_steps", "Wait until some of them are done, or stop what is under way."),
    };
    Refused::new(409, code, why.to_string()).hint(hint)
}
