//! How the deliverer learns that something waits, and says what became of it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::deliveries::{Claim, Outcome};
use super::writer::Job;
use super::{Store, StoreError};
use crate::id::Id;

/// The endpoints that something new waits for. Bounded by the endpoints there are.
#[derive(Default)]
pub(super) struct Outbox {
    woken: Mutex<HashSet<Id>>,
    notify: Notify,
}

impl Outbox {
    pub(super) fn wake(&self, webhooks: impl IntoIterator<Item = Id>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = woken.len();
        woken.extend(webhooks);
        if woken.len() > before {
            self.notify.notify_one();
        }
    }

    fn take(&self) -> HashSet<Id> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Waits until something new waits for endpoints, and says for which. Cancel safe.
    pub(crate) async fn woken(&self) -> HashSet<Id> {
        loop {
            let woken = self.0.outbox.take();
            if !woken.is_empty() {
                return woken;
            }
            self.0.outbox.notify.notified().await;
        }
    }

    /// Notes that an attempt begins: committed before anything is sent, so that a repeat after a crash counts as one.
    pub(crate) async fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        let (done, committed) = oneshot::channel();
        self.settle(Job::Claim { claim, done }, committed).await
    }

    /// Notes how an attempt ended.
    pub(crate) async fn settle_attempt(&self, outcome: Outcome) -> Result<(), StoreError> {
        let (done, committed) = oneshot::channel();
        self.settle(Job::Outcome { outcome, done }, committed).await
    }

    async fn settle(&self, job: Job, committed: oneshot::Receiver<()>) -> Result<(), StoreError> {
        let stopped = || StoreError::Write("the writer has stopped".into());
        self.0.queue.send(job).await.map_err(|_| stopped())?;
        committed.await.map_err(|_| stopped())
    }
}
