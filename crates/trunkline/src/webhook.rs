//! The deliverer: takes what waits in the outbox to the endpoints, in the order of each call's events.
//!
//! Everything it must not forget stands in the database; what it keeps in memory is which endpoints to look at
//! next and what is under way.

mod message;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use policy::Policy;

use crate::id::Id;
use crate::outward::Outward;
use crate::store::{Claim, Due, Outcome, Store, Verdict, WebhookRow};
use crate::time::now_ms;

/// How long one attempt may take in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read, so that its connection can be used again; more closes it.
const MOST_ANSWER: usize = 16 * 1024;
/// Attempts under way at once: to one endpoint, for one account, in all. A slow endpoint holds up nobody else.
const PER_ENDPOINT: usize = 4;
const PER_ACCOUNT: usize = 16;
const IN_ALL: usize = 96;
/// When to look again after the database did not answer.
const STORE_FAILED: Duration = Duration::from_secs(2);

/// One endpoint that something waits for.
struct Lane {
    /// When to look into the outbox.
    look_at: Instant,
    /// The endpoint asked to be left alone until then.
    paused_until: Option<Instant>,
    under_way: HashSet<Id>,
}

/// How one attempt went.
struct Done {
    webhook: Id,
    delivery: Id,
    /// How long the endpoint asked to be left alone.
    pause: Option<Duration>,
}

struct Deliverer {
    store: Store,
    client: Client,
    outward: Outward,
    policy: Policy,
    lanes: HashMap<Id, Lane>,
    running: JoinSet<Done>,
    accounts: HashMap<i64, usize>,
}

/// Delivers until `stopped` turns true; attempts under way then have as long as they need, at most 15 s.
pub async fn deliver(store: Store, outward: Outward, policy: Policy, mut stopped: watch::Receiver<bool>) {
    let client = match outward.client(PATIENCE) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "no HTTP client can be made: webhooks are not delivered");
            return;
        }
    };
    let mut deliverer = Deliverer {
        store,
        client,
        outward,
        policy,
        lanes: HashMap::new(),
        running: JoinSet::new(),
        accounts: HashMap::new(),
    };
    let waiting = loop {
        match deliverer.store.waiting_webhooks().await {
            Ok(waiting) => break waiting,
            Err(error) => tracing::warn!(%error, "the outbox cannot be read"),
        }
        tokio::time::sleep(STORE_FAILED).await;
    };
    deliverer.wake(waiting);
    while !*stopped.borrow() {
        let next = deliverer.next();
        tokio::select! {
            woken = deliverer.store.woken() => deliverer.wake(woken),
            Some(done) = deliverer.running.join_next() => deliverer.done(done.ok()),
            () = tokio::time::sleep_until(next) => {}
            _ = stopped.changed() => break,
        }
        deliverer.look().await;
    }
    while deliverer.running.join_next().await.is_some() {}
}

impl Deliverer {
    fn wake(&mut self, webhooks: impl IntoIterator<Item = Id>) {
        let now = Instant::now();
        for webhook in webhooks {
            let lane = self.lanes.entry(webhook).or_insert_with(|| Lane {
                look_at: now,
                paused_until: None,
                under_way: HashSet::new(),
            });
            lane.look_at = lane.look_at.min(lane.paused_until.unwrap_or(now).max(now));
        }
    }

    /// When the first endpoint is to be looked at; not before something ends where all places are taken.
    fn next(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(3600);
        if self.running.len() >= IN_ALL {
            return idle;
        }
        self.lanes.values().map(|lane| lane.look_at).min().unwrap_or(idle)
    }

    fn done(&mut self, done: Option<Done>) {
        let Some(done) = done else { return };
        let now = Instant::now();
        let Some(lane) = self.lanes.get_mut(&done.webhook) else { return };
        lane.under_way.remove(&done.delivery);
        if let Some(pause) = done.pause {
            let until = now + pause;
            lane.paused_until = Some(lane.paused_until.map_or(until, |known| known.max(until)));
        }
        lane.look_at = lane.paused_until.unwrap_or(now).max(now);
    }

    /// Starts what is due, the endpoints that wait longest first.
    async fn look(&mut self) {
        let now = Instant::now();
        let mut due: Vec<(Instant, Id)> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.look_at <= now)
            .map(|(id, lane)| (lane.look_at, *id))
            .collect();
        due.sort_unstable();
        self.accounts.clear();
        for (id, lane) in &self.lanes {
            if let Some(webhook) = self.store.webhook(None, *id) {
                *self.accounts.entry(webhook.account).or_default() += lane.under_way.len();
            }
        }
        for (_, id) in due {
            let Some(webhook) = self.store.webhook(None, id).filter(|webhook| webhook.enabled) else {
                // Deleted or disabled: whoever enables it again wakes it.
                self.lanes.retain(|lane, kept| *lane != id || !kept.under_way.is_empty());
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.look_at = now + Duration::from_secs(3600);
                }
                continue;
            };
            if let Err(error) = self.start(webhook).await {
                tracing::warn!(%error, "the outbox cannot be read");
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.look_at = now + STORE_FAILED;
                }
            }
        }
    }

    async fn start(&mut self, webhook: WebhookRow) -> Result<(), crate::store::StoreError> {
        let Some(lane) = self.lanes.get(&webhook.id) else { return Ok(()) };
        let taken = lane.under_way.len();
        let of_account = self.accounts.get(&webhook.account).copied().unwrap_or(0);
        let free = PER_ENDPOINT
            .saturating_sub(taken)
            .min(PER_ACCOUNT.saturating_sub(of_account))
            .min(IN_ALL.saturating_sub(self.running.len()));
        let now_at = now_ms();
        // What is under way still counts as waiting in the database.
        let limit = i64::try_from(free + taken).unwrap_or(i64::MAX);
        let found = if free == 0 { Vec::new() } else { self.store.due(webhook.id, now_at, limit).await? };
        let fresh: Vec<Due> =
            found.into_iter().filter(|due| !lane.under_way.contains(&due.row.id)).take(free).collect();
        let all_started = fresh.len() < free;
        let next = if all_started { self.store.next_due(webhook.id, now_at).await? } else { None };
        let now = Instant::now();
        let shared = Arc::new(webhook);
        let Some(lane) = self.lanes.get_mut(&shared.id) else { return Ok(()) };
        let idle = now + Duration::from_secs(3600);
        lane.look_at = match next {
            Some(at) => {
                now + Duration::from_millis(u64::try_from(at - now_at).unwrap_or(0))
                    .max(Duration::from_millis(1))
            }
            // The places are taken: the next end of an attempt looks again.
            None if free == 0 && taken == 0 => now + Duration::from_millis(100),
            None => idle,
        };
        *self.accounts.entry(shared.account).or_default() += fresh.len();
        lane.under_way.extend(fresh.iter().map(|due| due.row.id));
        if next.is_none() && fresh.is_empty() && lane.under_way.is_empty() && free > 0 {
            self.lanes.remove(&shared.id);
        }
        for due in fresh {
            let attempt = Attempt {
                store: self.store.clone(),
                client: self.client.clone(),
                outward: self.outward,
                policy: self.policy,
                webhook: shared.clone(),
                due,
            };
            self.running.spawn(attempt.run());
        }
        Ok(())
    }
}

/// One delivery, tried once.
struct Attempt {
    store: Store,
    client: Client,
    outward: Outward,
    policy: Policy,
    webhook: Arc<WebhookRow>,
    due: Due,
}

/// What an endpoint answered.
struct Answer {
    status: Option<StatusCode>,
    error: Option<String>,
    retry_after: Option<Duration>,
}

impl Attempt {
    async fn run(self) -> Done {
        let (webhook, delivery) = (self.webhook.id, self.due.row.id);
        let pause = match self.attempt().await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, %delivery, "a webhook delivery cannot be recorded");
                None
            }
        };
        Done { webhook, delivery, pause }
    }

    async fn attempt(&self) -> Result<Option<Duration>, crate::store::StoreError> {
        let row = &self.due.row;
        let number = row.attempts + 1;
        self.store.claim(Claim { delivery: row.id, number, at: now_ms() }).await?;
        let start = std::time::Instant::now();
        let answer = self.send(number).await;
        let ms = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now = now_ms();
        let verdict = match answer.status {
            Some(status) if status.is_success() => Verdict::Delivered,
            Some(StatusCode::GONE) => Verdict::Dead,
            _ => self.policy.verdict(row, now, answer.retry_after),
        };
        let (outcome, retry_in_s) = match verdict {
            Verdict::Delivered => ("delivered", None),
            Verdict::Retry { due_at } => ("retry", Some((due_at - now) / 1000)),
            Verdict::Dead => ("dead", None),
        };
        if verdict != Verdict::Delivered {
            let status = answer.status.map(|status| status.as_u16());
            let error = answer.error.as_deref();
            tracing::info!(webhook = %self.webhook.id, delivery = %row.id, number, status, error, outcome, retry_in_s, "a webhook was not taken");
        }
        metrics::counter!("trunkline_webhook_attempts_total", "outcome" => outcome).increment(1);
        if answer.status == Some(StatusCode::GONE) {
            self.store.disable_webhook(self.webhook.id, "it answered 410 Gone").await?;
        }
        let outcome = Outcome {
            delivery: row.id,
            webhook: self.webhook.id,
            of: row.of,
            number,
            at: now,
            ms,
            status: answer.status.map(|status| status.as_u16()),
            error: answer.error,
            verdict,
        };
        self.store.settle_attempt(outcome).await?;
        let busy =
            matches!(answer.status, Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE));
        Ok(answer.retry_after.filter(|_| busy))
    }

    async fn send(&self, number: i64) -> Answer {
        let failed = |error: String| Answer { status: None, error: Some(error), retry_after: None };
        let url = match self.outward.check(&self.webhook.url) {
            Ok(url) => url,
            Err(refused) => return failed(refused.message),
        };
        let body = match message::body(&self.due) {
            Some(body) => body,
            None => return failed("the call it tells about is no longer kept".into()),
        };
        let now = now_ms();
        let id = self.due.row.id.with("msg");
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", (now / 1000).to_string())
            .header("webhook-signature", message::signatures(&self.webhook, &id, now, &body))
            .header("webhook-attempt", number.to_string())
            .body(body);
        let mut reply = match request.send().await {
            Ok(reply) => reply,
            Err(error) => return failed(why(error)),
        };
        let status = reply.status();
        let retry_after = policy::retry_after(reply.headers(), now);
        let mut read = 0;
        while let Ok(Some(chunk)) = reply.chunk().await {
            read += chunk.len();
            if read > MOST_ANSWER {
                break;
            }
        }
        let error = (!status.is_success()).then(|| format!("it answered {status}"));
        Answer { status: Some(status), error, retry_after }
    }
}

/// What kept a request from being answered, down to the root; without the address, which may hold a secret.
fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", PATIENCE.as_secs());
    }
    let error = error.without_url();
    let mut root: &dyn std::error::Error = &error;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    let text: String = root.to_string().chars().take(200).collect();
    match error.is_connect() {
        true => format!("no connection: {text}"),
        false => text,
    }
}
