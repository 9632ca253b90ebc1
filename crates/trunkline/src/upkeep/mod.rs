//! What trunks need while nobody calls: registrations kept alive, OPTIONS sent, and what came of both.
//!
//! One task a trunk for each; [`Upkeep::refresh`] starts and ends them as the stored trunks say.

mod health;
mod keep;
mod probe;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use call::TrunkKind;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use utoipa::ToSchema;

pub use health::{Health, Reach};
pub use probe::{Check, CheckName};

use crate::callers::Registrars;
use crate::dns::Resolver;
use crate::endpoint::Trust;
use crate::id::Id;
use crate::store::{Store, TrunkRow};
use crate::switch::Switch;

/// How long a registration may take to be taken back.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a trunk's registration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationWord {
    /// The trunk does not register.
    #[default]
    None,
    /// The first REGISTER is on its way.
    Registering,
    /// The carrier knows where we are.
    Registered,
    /// It does not; it is tried again by itself.
    Failing,
    /// The carrier will not have us like this; it is tried again once an hour, and when the trunk is changed.
    Refused,
}

/// A trunk's registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrationStatus {
    /// Where it stands.
    pub state: RegistrationWord,
    /// Until when the carrier keeps it, Unix ms.
    pub expires_at: Option<i64>,
    /// The last status that was not 2xx, while it matters.
    pub last_status: Option<u16>,
    /// What went wrong last, while it matters.
    pub text: Option<String>,
    /// The Route values that calls over it begin with (RFC 3608).
    pub service_route: Vec<String>,
}

/// What is known of a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its registration.
    pub registration: RegistrationStatus,
    /// Whether its carrier is there.
    pub health: Health,
}

type Board = Arc<Mutex<HashMap<Id, Known>>>;

/// What it takes to ask a carrier something.
#[derive(Clone)]
pub struct Means {
    /// Sends it.
    pub switch: Switch,
    /// Says where to.
    pub resolver: Resolver,
    /// Says whom to believe over TLS.
    pub trust: Trust,
    /// Told where trunks are registered.
    pub registrars: Arc<Registrars>,
}

/// Keeps all trunks.
pub struct Upkeep {
    means: Means,
    store: Store,
    board: Board,
    kept: Mutex<HashMap<Id, Kept>>,
}

struct Kept {
    as_of: Wants,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What of a trunk decides how it is kept; anything else may change without a new registration.
#[derive(Clone, PartialEq)]
struct Wants(TrunkRow);

impl Wants {
    fn of(row: &TrunkRow) -> Option<Self> {
        let needed = row.settings.register || row.settings.ping_s.is_some();
        if !(row.enabled && row.kind == TrunkKind::Sip && needed) {
            return None;
        }
        let mut row = row.clone();
        // What only calls go by.
        let settings = &mut row.settings;
        (settings.channels, settings.calls_per_second, settings.queue_s) = (None, None, 0);
        (settings.codecs, settings.session_timer) = Default::default();
        (settings.identity, settings.privacy, settings.dtmf, settings.srtp) = Default::default();
        (settings.reliable_provisional, settings.inbound_number_form) = Default::default();
        (settings.diversion, settings.srtp_over_plain) = (false, false);
        (row.caller_id, row.prefix, row.priority, row.is_default) = (None, None, 0, false);
        row.number_form.clear();
        row.name.clear();
        Some(Self(row))
    }
}

impl Upkeep {
    /// Keeps nothing yet.
    pub fn new(means: Means, store: Store) -> Self {
        Self { means, store, board: Board::default(), kept: Mutex::default() }
    }

    /// What is known of a trunk.
    pub fn known(&self, trunk: Id) -> Known {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).get(&trunk).cloned().unwrap_or_default()
    }

    /// Whether calls should rather go elsewhere.
    pub fn is_down(&self, trunk: Id) -> bool {
        self.known(trunk).health.reach == Reach::Down
    }

    /// Starts, ends and restarts what the stored trunks ask for, and hands their limits on. To be called inside a tokio
    /// runtime, whenever a trunk was made, changed or removed.
    pub fn refresh(&self) {
        let rows: Vec<TrunkRow> =
            self.store.accounts().iter().flat_map(|account| self.store.trunks(account.id)).collect();
        for row in &rows {
            self.means.switch.limit(row.id, row.settings.limits());
        }
        let mut wanted: HashMap<Id, Wants> =
            rows.iter().filter_map(|row| Some((row.id, Wants::of(row)?))).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<Id> =
            kept.iter().filter(|(id, it)| wanted.get(id) != Some(&it.as_of)).map(|(id, _)| *id).collect();
        let mut before = HashMap::new();
        for id in ended {
            before.extend(kept.remove(&id).map(|it| (id, it)));
        }
        wanted.retain(|id, _| !kept.contains_key(id));
        for (id, wants) in wanted {
            let (stop, stopped) = watch::channel(false);
            // What was registered under the old settings is taken back before the new ones are used.
            let after = before.remove(&id).map(Kept::end);
            let keep = keep::keep(
                wants.0.clone(),
                self.means.clone(),
                Slot { id, board: self.board.clone() },
                stopped,
            );
            let task = tokio::spawn(async move {
                if let Some(after) = after {
                    after.await;
                }
                keep.await;
            });
            kept.insert(id, Kept { as_of: wants, stop, tasks: vec![task] });
        }
        for (id, old) in before {
            let slot = Slot { id, board: self.board.clone() };
            tokio::spawn(async move {
                old.end().await;
                slot.clear();
            });
        }
    }

    /// Tries a trunk step by step; the steps after one that leaves them nothing to try are left out. Nobody is called.
    pub async fn probe(&self, row: &TrunkRow) -> Vec<Check> {
        probe::probe(row, &self.means).await
    }

    /// Takes all registrations back and ends; at most two seconds.
    pub async fn stop(&self) {
        let kept: Vec<Kept> =
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, it)| it).collect();
        futures_util::future::join_all(kept.into_iter().map(Kept::end)).await;
    }
}

impl Kept {
    async fn end(self) {
        let _ = self.stop.send(true);
        for mut task in self.tasks {
            if tokio::time::timeout(FAREWELL, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// A trunk's place on the board.
#[derive(Clone)]
struct Slot {
    id: Id,
    board: Board,
}

impl Slot {
    fn write(&self, change: impl FnOnce(&mut Known)) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        change(board.entry(self.id).or_default());
    }

    fn clear(&self) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
