//! One live call as the loop keeps it: the engine's state machine and what it is attached to.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::{Call, ClipId, Outcome};
use media::{Clip, Codec};
use serde_json::{Value, json};
use sip::LegId;
use tokio::sync::oneshot;

use super::line::Line;
use super::transfer::Told;
use super::turns::OnTrunk;
use super::{Dial, Placed, Slot};
use crate::id::Id;
use crate::refused::Refused;
use crate::rtp::{Closed, Heard, MediaId};
use crate::store::CallEvent;
use crate::time::now_ms;
use crate::trunk::TrunkSettings;

/// How long a finished call waits for the last word of its media.
pub(super) const LAST_WORD: Duration = Duration::from_secs(3);
/// Legs beside the first one whose figures a call keeps: each transfer brings another.
const MOST_OTHERS: usize = 8;
/// The ids of clips that came in during a call begin here.
const FIRST_INSERTED: u32 = 1 << 31;

/// Names a leg: of which call, and by its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LegKey {
    pub(super) call: usize,
    pub(super) n: u32,
}

pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) account: i64,
    pub(super) call: Call,
    pub(super) silence: Option<Duration>,
    pub(super) clips: Clips,
    /// How to reach each attempt, by route.
    pub(super) routes: Vec<Vec<Dial>>,
    pub(super) recording: Option<(PathBuf, String)>,
    pub(super) recorded: Option<String>,
    /// The transfer that was asked for last.
    pub(super) transfer: Option<Told>,
    /// Silence is recorded in its place.
    pub(super) paused: bool,
    /// The legs that are up, or on their way: mostly one or two.
    pub(super) legs: Vec<Leg>,
    /// The media of the first leg, whose last word is the call's.
    pub(super) main: Option<MediaId>,
    /// Keys that are being pressed by INFO.
    pub(super) keys: VecDeque<Keys>,
    pub(super) closed: Option<Box<Closed>>,
    /// The media of other legs whose last word is waited for too.
    pub(super) closing: Vec<(MediaId, call::Leg)>,
    /// The figures of other legs that are over.
    pub(super) others: Vec<(call::Leg, media::Stats)>,
    pub(super) heard: Option<Heard>,
    pub(super) outcome: Option<(Outcome, Instant)>,
    pub(super) placed: Option<oneshot::Sender<Result<Placed, Refused>>>,
    pub(super) sequence: i64,
    pub(super) slot: Option<Slot>,
}

/// One leg: its SIP dialog and its media, as far as there are any.
pub(super) struct Leg {
    pub(super) n: u32,
    /// The role it was placed for.
    pub(super) role: call::Leg,
    pub(super) route: u32,
    pub(super) attempt: usize,
    pub(super) on_trunk: Option<OnTrunk>,
    pub(super) sip: Option<LegId>,
    /// The Call-ID under which its dialog was kept for a crash.
    pub(super) saved: Option<String>,
    pub(super) media: Option<Line>,
    /// What a forked leg said of its sound before it was answered: it is heard only if it is the one that answers.
    pub(super) early: Vec<u8>,
    /// Of a leg that came in.
    pub(super) incoming: Option<Box<Incoming>>,
    /// Whose phone it is.
    pub(super) user: Option<Id>,
    /// What the shield knows it by.
    pub(super) flow: Option<sip::Path>,
    /// Whether it refused the media that phones like it mostly take, and is offered the other kind.
    pub(super) is_other: bool,
}

impl Leg {
    pub(super) fn new(n: u32, role: call::Leg, route: u32, attempt: usize) -> Self {
        Self {
            n,
            role,
            route,
            attempt,
            on_trunk: None,
            sip: None,
            saved: None,
            media: None,
            early: Vec::new(),
            incoming: None,
            user: None,
            flow: None,
            is_other: false,
        }
    }
}

/// What an incoming leg brought.
pub(super) struct Incoming {
    /// Their SDP; empty where they want an offer of ours.
    pub(super) offer: Vec<u8>,
    /// Our SDP, once we have said it.
    pub(super) answer: Vec<u8>,
    /// Where it came from, and which address of ours they see.
    pub(super) path: sip::Path,
    /// How they want to be spoken to.
    pub(super) settings: TrunkSettings,
}

/// Keys on their way by INFO, one after another.
pub(super) struct Keys {
    pub(super) at: LegKey,
    pub(super) id: u32,
    digits: VecDeque<char>,
    pub(super) due: Instant,
}

impl Keys {
    /// How long each key is said to be pressed.
    pub(super) const LENGTH: Duration = Duration::from_millis(160);
    /// From one key to the next.
    const SPACING: Duration = Duration::from_millis(250);
    /// What `w` waits.
    const WAIT: Duration = Duration::from_millis(500);

    pub(super) fn new(at: LegKey, id: u32, digits: String, now: Instant) -> Self {
        Self { at, id, digits: digits.chars().collect(), due: now }
    }

    /// Takes the next one: a key, or none of a pause; `None` at the end.
    pub(super) fn next(&mut self, now: Instant) -> Option<Option<char>> {
        let digit = self.digits.pop_front()?;
        let pauses = digit.eq_ignore_ascii_case(&'w');
        self.due = now + if pauses { Self::WAIT } else { Self::SPACING };
        Some((!pauses).then_some(digit))
    }
}

/// The sounds of a call: those of its flow, and those that came in and have not been played yet.
pub(super) struct Clips {
    flow: Vec<Clip>,
    inserted: HashMap<u32, Clip>,
    next: u32,
}

impl Clips {
    pub(super) fn new(flow: Vec<Clip>) -> Self {
        Self { flow, inserted: HashMap::new(), next: FIRST_INSERTED }
    }

    /// Keeps a sound until it is played.
    pub(super) fn insert(&mut self, clip: Clip) -> ClipId {
        let id = self.next;
        self.next = id.wrapping_add(1).max(FIRST_INSERTED);
        self.inserted.insert(id, clip);
        ClipId(id)
    }

    /// Keeps a sound that is played again and again.
    pub(super) fn keep(&mut self, clip: Clip) -> ClipId {
        self.flow.push(clip);
        ClipId(self.flow.len() as u32 - 1)
    }

    /// The sound to be played now.
    pub(super) fn take(&mut self, id: ClipId) -> Option<Clip> {
        self.inserted.remove(&id.0).or_else(|| self.flow.get(id.0 as usize).cloned())
    }
}

impl Entry {
    /// The next event of this call.
    pub(super) fn event(&mut self, kind: &str, detail: Value) -> CallEvent {
        debug_assert!(super::EVENT_KINDS.contains(&kind), "the kind {kind} cannot be asked for");
        self.sequence += 1;
        let (call, account) = (self.id, self.account);
        CallEvent { call, account, sequence: self.sequence, at: now_ms(), kind: kind.into(), detail }
    }

    pub(super) fn leg(&self, at: LegKey) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.n == at.n)
    }

    pub(super) fn leg_mut(&mut self, at: LegKey) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.n == at.n)
    }

    /// How a leg was dialled.
    pub(super) fn dial(&self, at: LegKey) -> Option<&Dial> {
        let leg = self.leg(at).filter(|leg| leg.incoming.is_none())?;
        self.routes.get(leg.route as usize)?.get(leg.attempt)
    }

    /// How whoever is on a leg wants to be spoken to.
    pub(super) fn settings(&self, at: LegKey) -> Option<&TrunkSettings> {
        let incoming = self.leg(at)?.incoming.as_ref().map(|incoming| &incoming.settings);
        incoming.or_else(|| Some(&self.dial(at)?.settings))
    }

    /// Media that another leg's may be joined with.
    pub(super) fn beside(&self) -> Option<MediaId> {
        self.legs.iter().find_map(|leg| Some(leg.media.as_ref()?.id)).or(self.main)
    }

    /// What is spoken on the other legs.
    pub(super) fn agreed(&self, at: LegKey) -> Option<Codec> {
        let mut others = self.legs.iter().filter(|leg| leg.n != at.n);
        others.find_map(|leg| Some(leg.media.as_ref()?.negotiated.as_ref()?.codec))
    }

    /// What is spoken on the other legs, then what they have offered.
    pub(super) fn spoken(&self, at: LegKey) -> Vec<Codec> {
        let others = self.legs.iter().filter(|leg| leg.n != at.n);
        let offered = others.filter_map(|leg| leg.incoming.as_ref());
        let offered = offered.flat_map(|incoming| media::sdp::codecs(&incoming.offer));
        self.agreed(at).into_iter().chain(offered).collect()
    }

    /// Whether others ring for the same role as this leg.
    pub(super) fn is_forked(&self, at: LegKey) -> bool {
        let role = self.leg(at).map(|leg| leg.role);
        // Who waits for a transfer has that role, too, and has sound.
        let rings = |leg: &Leg| leg.media.as_ref().is_none_or(|line| line.negotiated.is_none());
        self.legs.iter().any(|leg| leg.n != at.n && Some(leg.role) == role && rings(leg))
    }

    /// What people call the trunk of an attempt.
    pub(super) fn trunk_name(&self, progress: &call::Progress) -> Option<String> {
        let call::Progress::Attempt { trunk: Some(trunk), .. } = progress else { return None };
        let mut trunks = self.routes.iter().flatten().filter_map(|dial| dial.trunk.as_ref());
        trunks.find(|(id, _)| id.to_string() == *trunk).map(|(_, name)| name.clone())
    }

    /// When the loop has to look at this call again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.outcome {
            Some((_, at)) => Some(*at + LAST_WORD),
            None => {
                let keys = self.keys.front().map(|keys| keys.due);
                self.call.poll_timeout().into_iter().chain(keys).min()
            }
        }
    }

    /// Whether the last word of this media is waited for: of the first leg, and of others that had sound.
    pub(super) fn awaits(&mut self, line: &Line, role: call::Leg) -> bool {
        if self.main == Some(line.id) {
            return true;
        }
        let has_room = self.closing.len() + self.others.len() < MOST_OTHERS;
        let is_awaited = line.negotiated.is_some() && has_room;
        if is_awaited {
            self.closing.push((line.id, role));
        }
        is_awaited
    }

    /// Takes in the last word of a leg's media.
    pub(super) fn hear_last_word(&mut self, id: MediaId, closed: Box<Closed>) {
        if self.main.take_if(|main| *main == id).is_some() {
            self.closed = Some(closed);
        } else if let Some(at) = self.closing.iter().position(|(closing, _)| *closing == id) {
            let (_, role) = self.closing.remove(at);
            self.others.push((role, closed.stats));
        }
    }

    /// Whether nothing more will be learnt about an ended call.
    pub(super) fn is_complete(&self) -> bool {
        let Some((outcome, _)) = &self.outcome else { return false };
        let dial = self.routes.first().and_then(|dials| dials.get(outcome.attempt));
        let simulated = dial.is_some_and(|dial| dial.simulated);
        let report_due = simulated && outcome.answered.is_some() && self.heard.is_none();
        self.main.is_none() && self.closing.is_empty() && !report_due
    }

    /// The figures a caller cares about.
    pub(super) fn quality(&self) -> Option<Value> {
        let stats = &self.closed.as_ref()?.stats;
        let expected = stats.packets_received + stats.lost;
        let loss = if expected == 0 { 0.0 } else { 100.0 * stats.lost as f64 / expected as f64 };
        let rounded = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
        Some(json!({
            "packets_sent": stats.packets_sent,
            "packets_received": stats.packets_received,
            "packets_lost": stats.lost,
            "loss_percent": (loss * 100.0).round() / 100.0,
            "jitter_ms": rounded(stats.jitter_ms),
            "round_trip_ms": stats.round_trip_ms.map(rounded),
            "mos": rounded(stats.mos),
        }))
    }
}

/// The Unix time in ms of an instant that lies before `now`.
pub(super) fn wall(at: Instant, now: Instant) -> i64 {
    now_ms() - i64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(0)
}
