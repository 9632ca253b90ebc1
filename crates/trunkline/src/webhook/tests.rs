//! The deliverer with endpoints that are slow, broken, busy, gone, or elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::*;
use crate::store::{DeliveryFilter, MasterKey, NewWebhook};

const POLICY: Policy =
    Policy { first_retry: Duration::from_millis(1), attempts: 4, max_age: Duration::from_secs(3600) };

/// What an endpoint does with its n-th request, counted from 1.
type Script = fn(usize) -> Response;

#[derive(Clone, Debug)]
struct Seen {
    headers: HashMap<String, String>,
    body: Value,
}

#[derive(Clone)]
struct Place {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
    hangs: bool,
}

impl Place {
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(place): State<Place>, headers: HeaderMap, body: Bytes) -> Response {
    let count = {
        let mut seen = place.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let headers =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        seen.push(Seen { headers: headers.collect(), body: serde_json::from_slice(&body).unwrap() });
        seen.len()
    };
    if place.hangs {
        std::future::pending::<()>().await;
    }
    (place.script)(count)
}

async fn place(script: Script, hangs: bool) -> (Place, String) {
    let place = Place { seen: Arc::default(), script, hangs };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().fallback(take).with_state(place.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (place, url)
}

struct House {
    store: Store,
    _folder: tempfile::TempDir,
    stop: Option<(watch::Sender<bool>, tokio::task::JoinHandle<()>)>,
}

impl House {
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("x.db").display());
        let store = Store::open(&url, &MasterKey::parse(&"a1".repeat(32)).unwrap()).await.unwrap();
        store.bootstrap(true, None).await.unwrap();
        Self { store, _folder: folder, stop: None }
    }

    fn deliver(&mut self, internal: bool) {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(deliver(self.store.clone(), Outward { internal }, POLICY, stopped));
        self.stop = Some((stop, task));
    }

    async fn stop(&mut self) {
        if let Some((stop, task)) = self.stop.take() {
            stop.send(true).unwrap();
            task.await.unwrap();
        }
    }

    async fn endpoint(&self, account: i64, url: &str) -> WebhookRow {
        let events = vec!["*".to_owned()];
        let new = NewWebhook { account, url: url.to_owned(), events, ..NewWebhook::default() };
        self.store.create_webhook(new).await.unwrap()
    }

    /// The states of the endpoint's deliveries, once none is pending.
    async fn settled(&self, webhook: &WebhookRow) -> Vec<String> {
        let filter = DeliveryFilter { webhook: Some(webhook.id), ..DeliveryFilter::default() };
        for _ in 0..1000 {
            let rows = self.store.deliveries(None, &filter).await.unwrap();
            if !rows.is_empty() && rows.iter().all(|row| row.state != "pending") {
                return rows.into_iter().map(|row| row.state).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the deliveries never settle");
    }
}

fn fine(_: usize) -> Response {
    "ok".into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_with_the_same_id_and_body() {
    let mut house = House::build().await;
    let (there, url) =
        place(|n| if n < 3 { StatusCode::INTERNAL_SERVER_ERROR.into_response() } else { fine(n) }, false)
            .await;
    let webhook = house.endpoint(1, &url).await;
    let delivery = house.store.test_webhook(&webhook).await.unwrap();
    house.deliver(true);
    assert_eq!(house.settled(&webhook).await, ["delivered"]);
    let seen = there.seen();
    assert_eq!(seen.len(), 3);
    for (n, request) in (1..).zip(&seen) {
        assert_eq!(request.headers["webhook-id"], delivery.id.with("msg"));
        assert_eq!(request.headers["webhook-attempt"], n.to_string());
        assert_eq!(request.body, seen[0].body);
        let now: i64 = request.headers["webhook-timestamp"].parse().unwrap();
        let again = message::signatures(
            &webhook,
            &delivery.id.with("msg"),
            now * 1000,
            request.body.to_string().as_bytes(),
        );
        assert_eq!(request.headers["webhook-signature"], again);
    }
    assert_eq!(seen[0].body["type"], "webhook.test");
    let (_, attempts) = house.store.delivery(None, delivery.id).await.unwrap().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(200)]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_works_is_given_up_and_can_be_replayed_after_a_restart() {
    let mut house = House::build().await;
    let broken: Script = |_| (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response();
    let (there, url) = place(broken, false).await;
    let webhook = house.endpoint(1, &url).await;
    house.store.test_webhook(&webhook).await.unwrap();
    house.deliver(true);
    assert_eq!(house.settled(&webhook).await, ["dead"], "a redirect is followed nowhere");
    assert_eq!(there.seen().len(), 4);
    house.stop().await;
    let (mended, url) = place(fine, false).await;
    assert!(house.store.update_webhook(&WebhookRow { url, ..webhook.clone() }).await.unwrap());
    assert_eq!(house.store.replay_dead(&webhook, 0).await.unwrap(), 1);
    house.deliver(true);
    assert_eq!(house.settled(&webhook).await, ["delivered"]);
    let (before, after) = (there.seen(), mended.seen());
    assert_eq!(after[0].headers["webhook-id"], before[0].headers["webhook-id"]);
    assert_eq!(after[0].headers["webhook-attempt"], "5");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_hangs_holds_up_nobody_else() {
    let mut house = House::build().await;
    let (hanging, hanging_url) = place(fine, true).await;
    let (quick, quick_url) = place(fine, false).await;
    let stuck = house.endpoint(1, &hanging_url).await;
    let (same, other) = (house.endpoint(1, &quick_url).await, house.endpoint(0, &quick_url).await);
    for _ in 0..30 {
        house.store.test_webhook(&stuck).await.unwrap();
    }
    house.deliver(true);
    for _ in 0..30 {
        house.store.test_webhook(&same).await.unwrap();
        house.store.test_webhook(&other).await.unwrap();
    }
    // Far less than the time one attempt may take.
    let settled = async { (house.settled(&same).await.len(), house.settled(&other).await.len()) };
    let settled = tokio::time::timeout(Duration::from_secs(12), settled).await.unwrap();
    assert_eq!((settled, quick.seen().len()), ((30, 30), 60));
    assert!(hanging.seen().len() <= PER_ENDPOINT, "{}", hanging.seen().len());
    if let Some((_, task)) = house.stop.take() {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_disables_and_busy_is_left_alone() {
    let mut house = House::build().await;
    let (gone, gone_url) = place(|_| StatusCode::GONE.into_response(), false).await;
    let busy: Script = |n| match n {
        1 => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", HeaderValue::from_static("1"))]).into_response()
        }
        n => fine(n),
    };
    let (busy, busy_url) = place(busy, false).await;
    let (gone_row, busy_row) = (house.endpoint(1, &gone_url).await, house.endpoint(1, &busy_url).await);
    for webhook in [&gone_row, &busy_row] {
        house.store.test_webhook(webhook).await.unwrap();
    }
    let begin = std::time::Instant::now();
    house.deliver(true);
    assert_eq!(house.settled(&gone_row).await, ["dead"]);
    assert_eq!(gone.seen().len(), 1);
    let disabled = house.store.webhook(None, gone_row.id).unwrap();
    assert!(!disabled.enabled && disabled.disabled_why.is_some());
    assert_eq!(house.settled(&busy_row).await, ["delivered"]);
    assert_eq!(busy.seen().len(), 2);
    assert!(begin.elapsed() >= Duration::from_secs(1), "it asked for a second");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_addresses_are_not_called_whatever_they_are_named() {
    let mut house = House::build().await;
    let (there, url) = place(fine, false).await;
    let port = url.rsplit(':').next().unwrap().to_owned();
    let literal = house.endpoint(1, &url).await;
    // As a name that led outside when the endpoint was made would lead inside now.
    let name = house.endpoint(1, &format!("http://localhost:{port}")).await;
    for webhook in [&literal, &name] {
        house.store.test_webhook(webhook).await.unwrap();
    }
    house.deliver(false);
    assert_eq!(house.settled(&literal).await, ["dead"]);
    assert_eq!(house.settled(&name).await, ["dead"]);
    assert!(there.seen().is_empty());
    house.stop().await;
}
