//! One live call as the loop keeps it: the engine's state machine and what it is attached to.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::{Call, ClipId, Outcome};
use media::Clip;
use media::sdp::{Local, Negotiated};
use serde_json::{Value, json};
use sip::LegId;
use tokio::sync::oneshot;

use super::turns::OnTrunk;
use super::{Dial, Placed, Slot};
use crate::id::Id;
use crate::refused::Refused;
use crate::rtp::{Closed, Heard, MediaId};
use crate::store::CallEvent;
use crate::time::now_ms;

/// How long a finished call waits for the last word of its media.
pub(super) const LAST_WORD: Duration = Duration::from_secs(3);
/// The ids of clips that came in during a call begin here.
const FIRST_INSERTED: u32 = 1 << 31;

/// Names a leg: of which call, and which of its second legs if it is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LegKey {
    pub(super) call: usize,
    pub(super) second: Option<u32>,
}

impl LegKey {
    pub(super) fn first(call: usize) -> Self {
        Self { call, second: None }
    }
}

pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) account: i64,
    pub(super) call: Call,
    pub(super) silence: Option<Duration>,
    pub(super) clips: Clips,
    pub(super) dials: Vec<Dial>,
    pub(super) routes: Vec<Vec<Dial>>,
    pub(super) recording: Option<(PathBuf, String)>,
    pub(super) recorded: Option<String>,
    /// Silence is recorded in its place.
    pub(super) paused: bool,
    pub(super) first: Leg,
    pub(super) second: Option<(u32, Leg)>,
    /// Keys that are being pressed by INFO.
    pub(super) keys: VecDeque<Keys>,
    pub(super) closed: Option<Box<Closed>>,
    pub(super) heard: Option<Heard>,
    pub(super) outcome: Option<(Outcome, Instant)>,
    pub(super) placed: Option<oneshot::Sender<Result<Placed, Refused>>>,
    pub(super) sequence: i64,
    pub(super) slot: Option<Slot>,
}

/// One leg: its SIP dialog and its media, as far as there are any.
#[derive(Default)]
pub(super) struct Leg {
    /// The route of a second leg.
    pub(super) route: u32,
    pub(super) attempt: usize,
    pub(super) on_trunk: Option<OnTrunk>,
    pub(super) sip: Option<LegId>,
    /// The Call-ID under which its dialog was kept for a crash.
    pub(super) saved: Option<String>,
    pub(super) media: Option<Line>,
}

/// The media of a leg.
pub(super) struct Line {
    pub(super) id: MediaId,
    pub(super) local: Local,
    pub(super) negotiated: Option<Negotiated>,
    /// We made an offer in a 2xx to a re-INVITE without one; the ACK brings the answer.
    pub(super) offered_late: bool,
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
        match at.second {
            None => Some(&self.first),
            Some(n) => self.second.as_ref().filter(|(second, _)| *second == n).map(|(_, leg)| leg),
        }
    }

    pub(super) fn leg_mut(&mut self, at: LegKey) -> Option<&mut Leg> {
        match at.second {
            None => Some(&mut self.first),
            Some(n) => self.second.as_mut().filter(|(second, _)| *second == n).map(|(_, leg)| leg),
        }
    }

    /// How a leg was dialled.
    pub(super) fn dial(&self, at: LegKey) -> Option<&Dial> {
        let leg = self.leg(at)?;
        let dials = match at.second {
            None => &self.dials,
            Some(_) => self.routes.get(leg.route as usize)?,
        };
        dials.get(leg.attempt)
    }

    /// What people call the trunk of an attempt.
    pub(super) fn trunk_name(&self, progress: &call::Progress) -> Option<String> {
        let call::Progress::Attempt { leg, n, trunk, .. } = progress else { return None };
        let attempt = n.checked_sub(1)?;
        let dial = match leg {
            call::Leg::First => self.dials.get(attempt)?,
            // The route of a second leg is known when it is dialled; its trunk is known now.
            call::Leg::Second => self
                .routes
                .iter()
                .flatten()
                .find(|dial| dial.trunk.as_ref().map(|(id, _)| id.to_string()) == *trunk)?,
        };
        dial.trunk.as_ref().map(|(_, name)| name.clone())
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

    /// Whether nothing more will be learnt about an ended call.
    pub(super) fn is_complete(&self) -> bool {
        let Some((outcome, _)) = &self.outcome else { return false };
        let simulated = self.dials.get(outcome.attempt).is_some_and(|dial| dial.simulated);
        let report_due = simulated && outcome.answered.is_some() && self.heard.is_none();
        self.first.media.is_none() && !report_due
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
