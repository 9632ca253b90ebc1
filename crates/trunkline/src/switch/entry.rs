//! One live call as the loop keeps it: the engine's state machine and what it is attached to.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::{Call, Outcome};
use media::Clip;
use media::sdp::{Local, Negotiated};
use serde_json::{Value, json};
use sip::LegId;
use tokio::sync::oneshot;

use super::turns::OnTrunk;
use super::{Dial, Placed};
use crate::id::Id;
use crate::refused::Refused;
use crate::rtp::{Closed, Heard, MediaId};
use crate::store::CallEvent;
use crate::time::now_ms;

/// How long a finished call waits for the last word of its media.
pub(super) const LAST_WORD: Duration = Duration::from_secs(3);

pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) account: i64,
    pub(super) call: Call,
    pub(super) silence: Option<Duration>,
    pub(super) clips: Vec<Clip>,
    pub(super) dials: Vec<Dial>,
    pub(super) recording: Option<(PathBuf, String)>,
    pub(super) recorded: Option<String>,
    pub(super) attempt: usize,
    pub(super) on_trunk: Option<OnTrunk>,
    pub(super) leg: Option<LegId>,
    pub(super) media: Option<Line>,
    pub(super) closed: Option<Box<Closed>>,
    pub(super) heard: Option<Heard>,
    pub(super) outcome: Option<(Outcome, Instant)>,
    pub(super) placed: Option<oneshot::Sender<Result<Placed, Refused>>>,
    pub(super) sequence: i64,
}

/// The media of the current leg.
pub(super) struct Line {
    pub(super) id: MediaId,
    pub(super) local: Local,
    pub(super) negotiated: Option<Negotiated>,
    /// We made an offer in a 2xx to a re-INVITE without one; the ACK brings the answer.
    pub(super) offered_late: bool,
}

impl Entry {
    /// The next event of this call.
    pub(super) fn event(&mut self, kind: &str, detail: Value) -> CallEvent {
        self.sequence += 1;
        let (call, account) = (self.id, self.account);
        CallEvent { call, account, sequence: self.sequence, at: now_ms(), kind: kind.into(), detail }
    }

    /// What people call the trunk of an attempt.
    pub(super) fn trunk_name(&self, progress: &call::Progress) -> Option<String> {
        let call::Progress::Attempt { n, .. } = progress else { return None };
        self.dials.get(n.checked_sub(1)?)?.trunk.as_ref().map(|(_, name)| name.clone())
    }

    /// When the loop has to look at this call again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.outcome {
            Some((_, at)) => Some(*at + LAST_WORD),
            None => self.call.poll_timeout(),
        }
    }

    /// Whether nothing more will be learnt about an ended call.
    pub(super) fn is_complete(&self) -> bool {
        let Some((outcome, _)) = &self.outcome else { return false };
        let simulated = self.dials.get(outcome.attempt).is_some_and(|dial| dial.simulated);
        let report_due = simulated && outcome.answered.is_some() && self.heard.is_none();
        self.media.is_none() && !report_due
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
