//! Masks, packs and stores what the tap hands over, beside the calls' way.

use tokio::sync::{mpsc, oneshot};

use super::pack::{self, Packer};
use super::{Reel, Unmasked};
use crate::id::Id;
use crate::store::{Store, StoreError};
use crate::time::now_ms;

/// Calls that may wait; those beyond are let go.
const QUEUE: usize = 256;

/// Of which calls the messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Of all.
    #[default]
    All,
    /// Of those that failed or whose sound went one way only.
    Failed,
    /// Of none, not even while they last.
    Off,
}

enum Job {
    Keep(Unmasked),
    Flush(oneshot::Sender<()>),
}

/// The way to the task that stores. Clones lead to the same one.
#[derive(Clone)]
pub struct Keeper {
    which: Which,
    jobs: Option<mpsc::Sender<Job>>,
}

impl Keeper {
    /// Starts the task; it ends with the last clone.
    pub fn start(store: Store, which: Which) -> Self {
        if which == Which::Off {
            return Self::none();
        }
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut packer = Packer::new();
            while let Some(job) = queue.recv().await {
                match job {
                    Job::Keep(reel) => keep(&store, &mut packer, &reel.mask()),
                    Job::Flush(done) => drop(done.send(())),
                }
                // Packing takes some 40 µs: requests are not to wait for a whole queue of it.
                tokio::task::yield_now().await;
            }
        });
        Self { which, jobs: Some(jobs) }
    }

    /// One that keeps nothing.
    pub fn none() -> Self {
        Self { which: Which::Off, jobs: None }
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.jobs.is_some()
    }

    /// Takes a call that is over, if it is one of those to be kept and there is time for it.
    pub(super) fn keep(&self, reel: Unmasked, failed: bool) {
        let wanted = match self.which {
            Which::All => true,
            Which::Failed => failed || reel.0.sound.iter().any(super::Sound::is_one_way),
            Which::Off => false,
        };
        let is_empty = reel.0.legs.is_empty() && reel.0.sound.is_empty();
        let Some(jobs) = self.jobs.as_ref().filter(|_| wanted && !is_empty) else { return };
        if jobs.try_send(Job::Keep(reel)).is_err() {
            metrics::counter!("trunkline_insights_dropped_total").increment(1);
        }
    }

    /// Waits until all that was handed over before is with the store.
    pub async fn flush(&self) {
        let Some(jobs) = &self.jobs else { return };
        let (done, flushed) = oneshot::channel();
        if jobs.send(Job::Flush(done)).await.is_ok() {
            // An error means that the task has ended: then nothing is left to wait for.
            let _ = flushed.await;
        }
    }
}

fn keep(store: &Store, packer: &mut Packer, reel: &Reel) {
    if !store.keep_insight(reel.call, reel.account, now_ms(), packer.pack(reel)) {
        metrics::counter!("trunkline_insights_dropped_total").increment(1);
    }
}

impl Reel {
    /// What is stored of a call.
    pub async fn stored(store: &Store, call: Id, account: i64) -> Result<Option<Self>, StoreError> {
        let Some(text) = store.insight(call).await? else { return Ok(None) };
        let reel = pack::unpack(call, account, &text);
        reel.map(Some).ok_or(StoreError::Value { field: "insights.data" })
    }
}
