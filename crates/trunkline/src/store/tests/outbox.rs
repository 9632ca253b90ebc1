//! Webhook endpoints and the outbox.

use super::*;

async fn endpoint(store: &Store, account: i64, events: &[&str]) -> WebhookRow {
    let new = NewWebhook {
        account,
        url: "https://example.com/hook".into(),
        events: events.iter().map(|&event| event.to_owned()).collect(),
        ..NewWebhook::default()
    };
    store.create_webhook(new).await.unwrap()
}

fn state_event(row: &CallRow, sequence: i64, state: State) -> CallEvent {
    CallEvent { detail: json!({ "state": state.as_str() }), ..event(row, sequence, "state") }
}

/// As the deliverer does it.
async fn attempt(store: &Store, due: &Due, verdict: Verdict) {
    let number = due.row.attempts + 1;
    store.claim(Claim { delivery: due.row.id, number, at: 1000 }).await.unwrap();
    let (status, error) = match verdict {
        Verdict::Delivered => (Some(204), None),
        _ => (None, Some("no connection".to_owned())),
    };
    let outcome = Outcome {
        delivery: due.row.id,
        webhook: due.row.webhook,
        of: due.row.of,
        number,
        at: 2000,
        ms: 7,
        status,
        error,
        verdict,
    };
    store.settle_attempt(outcome).await.unwrap();
}

fn kinds(due: &[Due]) -> Vec<&str> {
    due.iter().map(|due| due.row.kind.as_str()).collect()
}

pub(super) async fn endpoints(url: &str) {
    let store = start(url).await;
    let made = endpoint(&store, 1, &["call.finished"]).await;
    assert!(made.secret.expose().starts_with("whsec_") && made.secret.expose().len() == 50);
    let stored = sqlx::query("SELECT secret FROM webhooks").fetch_one(&store.0.reads).await.unwrap();
    let stored: String = stored.try_get("secret").unwrap();
    assert!(stored.starts_with("v1:"), "{stored}");
    assert_eq!(start(url).await.webhook(Some(1), made.id), Some(made.clone()));
    assert_eq!(store.webhook(Some(0), made.id), None, "another account's endpoint is not to be seen");

    let rotated = store.rotate_webhook(Some(1), made.id).await.unwrap().unwrap();
    assert_ne!(rotated.secret, made.secret);
    assert_eq!(rotated.old_secret.as_ref().map(|(old, _)| old), Some(&made.secret));
    assert_eq!(start(url).await.webhook(None, made.id), Some(rotated.clone()));
    assert_eq!(store.rotate_webhook(Some(0), made.id).await.unwrap(), None);

    store.disable_webhook(made.id, "it answered 410 Gone").await.unwrap();
    let disabled = store.webhook(None, made.id).unwrap();
    assert!(!disabled.enabled && disabled.disabled_why.is_some());
    let changed = WebhookRow { enabled: true, events: vec!["*".into()], description: "x".into(), ..disabled };
    assert!(store.update_webhook(&changed).await.unwrap());
    let changed = store.webhook(None, made.id).unwrap();
    assert!(changed.enabled && changed.disabled_why.is_none() && changed.secret == rotated.secret);

    let twice = ["call.finished", "call.queued", "call.finished"].map(str::to_owned).to_vec();
    assert!(store.update_webhook(&WebhookRow { events: twice, ..changed }).await.unwrap());
    assert_eq!(store.webhook(None, made.id).unwrap().events, ["call.finished", "call.queued"], "each once");

    let new = |events: &[&str]| NewWebhook {
        account: 1,
        url: "https://example.com/".into(),
        events: events.iter().map(|&event| event.to_owned()).collect(),
        ..NewWebhook::default()
    };
    let bad = [
        new(&[]),
        new(&["call.exploded"]),
        NewWebhook { account: 99, ..new(&["*"]) },
        NewWebhook { description: "bell\u{7}".into(), ..new(&["*"]) },
        NewWebhook { url: format!("https://example.com/{}", "x".repeat(2048)), ..new(&["*"]) },
    ];
    for webhook in bad {
        assert_eq!(
            Refused::from(store.create_webhook(webhook.clone()).await.unwrap_err()).status,
            400,
            "{webhook:?}"
        );
    }
    assert!(!store.delete_webhook(Some(0), made.id).await.unwrap());
    assert!(store.delete_webhook(Some(1), made.id).await.unwrap());
    assert!(store.webhooks(None).is_empty());
    let made = store.create_webhook(new(&["call.ringing"; 9])).await.unwrap();
    assert_eq!(made.events, ["call.ringing"], "each once");
    store.delete_webhook(None, made.id).await.unwrap();
    for _ in 0..20 {
        endpoint(&store, 1, &["*"]).await;
    }
    assert_eq!(Refused::from(store.create_webhook(new(&["*"])).await.unwrap_err()).code, "too_many_webhooks");
    for webhook in store.webhooks(Some(1)) {
        store.delete_webhook(None, webhook.id).await.unwrap();
    }
}

pub(super) async fn deliveries_stand_in_the_transaction_of_their_event(url: &str) {
    let store = start(url).await;
    let (all, last) = (endpoint(&store, 1, &["*"]).await, endpoint(&store, 1, &["call.finished"]).await);
    let foreign = endpoint(&store, 0, &["*"]).await;
    let (row, _) = call_row(1);
    store.create_call(&row, &state_event(&row, 1, State::Queued), None).await.unwrap();
    store.record(Write::Event(state_event(&row, 2, State::Ringing))).unwrap();
    store.record(Write::Event(event(&row, 3, "say"))).unwrap();
    store.record(Write::Event(state_event(&row, 4, State::InProgress))).unwrap();
    store.record(end(&row, State::Completed, 5)).unwrap();
    store.record(end(&row, State::Failed, 6)).unwrap();
    store.flush().await;
    assert_eq!(store.woken().await, [all.id, last.id].into());
    let list = async |webhook: &WebhookRow| {
        let filter = DeliveryFilter { webhook: Some(webhook.id), ..DeliveryFilter::default() };
        let mut rows = store.deliveries(Some(1), &filter).await.unwrap();
        rows.sort_by_key(|row| row.of);
        rows
    };
    let told = list(&all).await;
    let kinds: Vec<&str> = told.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["call.queued", "call.ringing", "call.answered", "call.finished"], "each once");
    assert!(told.iter().all(|row| row.state == "pending" && row.attempts == 0));
    assert_eq!(list(&last).await.len(), 1);
    assert!(list(&foreign).await.is_empty());
    assert!(store.deliveries(Some(0), &DeliveryFilter::default()).await.unwrap().is_empty());
    let of_call = DeliveryFilter { call: Some(row.id), limit: 3, ..DeliveryFilter::default() };
    let page = store.deliveries(Some(1), &of_call).await.unwrap();
    let rest = DeliveryFilter { after: page.last().map(|row| row.id), ..of_call };
    assert_eq!((page.len(), store.deliveries(Some(1), &rest).await.unwrap().len()), (3, 2));
    // What is disabled is told nothing.
    store.disable_webhook(all.id, "asked").await.unwrap();
    let (row, _) = call_row(1);
    store.create_call(&row, &state_event(&row, 1, State::Queued), None).await.unwrap();
    assert_eq!(list(&all).await.len(), 4);
    store.record(end(&row, State::Canceled, 2)).unwrap();
    store.flush().await;
    for webhook in [all, last, foreign] {
        store.delete_webhook(None, webhook.id).await.unwrap();
    }
    assert!(store.deliveries(None, &DeliveryFilter::default()).await.unwrap().is_empty());
}

pub(super) async fn later_events_wait_for_earlier_ones(url: &str) {
    let store = start(url).await;
    let webhook = endpoint(&store, 1, &["*"]).await;
    let (row, _) = call_row(1);
    store.create_call(&row, &state_event(&row, 1, State::Queued), None).await.unwrap();
    store.record(Write::Event(state_event(&row, 2, State::Ringing))).unwrap();
    store.record(end(&row, State::Busy, 3)).unwrap();
    store.flush().await;
    assert_eq!(start(url).await.waiting_webhooks().await.unwrap(), [webhook.id], "known after a restart");
    let now = now_ms() + 1000;
    let due = store.due(webhook.id, now, 10).await.unwrap();
    assert_eq!(kinds(&due), ["call.queued"]);
    let (told, call) = due[0].event.as_ref().unwrap();
    assert_eq!((told.sequence, &call.to), (1, &row.to));
    assert!(store.due(webhook.id, 0, 10).await.unwrap().is_empty(), "not before its time");

    attempt(&store, &due[0], Verdict::Retry { due_at: now + 60_000 }).await;
    assert!(store.due(webhook.id, now, 10).await.unwrap().is_empty(), "the later ones wait with it");
    assert_eq!(store.next_due(webhook.id, now).await.unwrap(), Some(now + 60_000));
    let due = store.due(webhook.id, now + 60_000, 10).await.unwrap();
    assert_eq!((kinds(&due), due[0].row.tries, due[0].row.attempts), (vec!["call.queued"], 1, 1));
    attempt(&store, &due[0], Verdict::Delivered).await;
    let (done, attempts) = store.delivery(Some(1), due[0].row.id).await.unwrap().unwrap();
    assert_eq!((&*done.state, done.attempts, done.ended_at), ("delivered", 2, Some(2000)));
    let first =
        AttemptRow { number: 1, at: 1000, ms: Some(7), status: None, error: Some("no connection".into()) };
    let second = AttemptRow { number: 2, status: Some(204), error: None, ..first.clone() };
    assert_eq!(attempts, [first, second]);

    let due = store.due(webhook.id, now + 60_000, 10).await.unwrap();
    assert_eq!(kinds(&due), ["call.ringing"]);
    // Begun, and the server died: the next attempt is the second.
    store.claim(Claim { delivery: due[0].row.id, number: 1, at: 1000 }).await.unwrap();
    let due = start(url).await.due(webhook.id, now + 60_000, 10).await.unwrap();
    assert_eq!((kinds(&due), due[0].row.attempts), (vec!["call.ringing"], 1));
    attempt(&store, &due[0], Verdict::Dead).await;
    let (_, attempts) = store.delivery(Some(1), due[0].row.id).await.unwrap().unwrap();
    assert_eq!((attempts[0].ms, attempts[1].ms), (None, Some(7)));
    let due = store.due(webhook.id, now + 60_000, 10).await.unwrap();
    assert_eq!(kinds(&due), ["call.finished"], "one that was given up lets the next go");
    assert_eq!(due[0].event.as_ref().unwrap().1.state, State::Busy);
    assert_eq!(store.delivery(Some(0), due[0].row.id).await.unwrap(), None, "not another account's");
    store.delete_webhook(None, webhook.id).await.unwrap();
}

pub(super) async fn the_dead_are_listed_and_replayed(url: &str) {
    let store = start(url).await;
    let webhook = endpoint(&store, 1, &["*"]).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(store.test_webhook(&webhook).await.unwrap());
    }
    assert!(made.iter().all(|row| row.kind == TEST && row.of.is_none()));
    let due = store.due(webhook.id, now_ms(), 10).await.unwrap();
    assert_eq!(due.len(), 3, "tests wait for nothing");
    assert!(due.iter().all(|due| due.event.is_none()));
    attempt(&store, &due[0], Verdict::Dead).await;
    attempt(&store, &due[1], Verdict::Dead).await;
    attempt(&store, &due[2], Verdict::Delivered).await;
    let dead = DeliveryFilter { state: Some("dead".into()), ..DeliveryFilter::default() };
    assert_eq!(store.deliveries(Some(1), &dead).await.unwrap().len(), 2);
    assert!(!store.replay_delivery(Some(0), due[2].row.id).await.unwrap(), "not another account's");
    assert!(store.replay_delivery(Some(1), due[2].row.id).await.unwrap());
    assert!(!store.replay_delivery(Some(1), due[2].row.id).await.unwrap(), "it is on its way already");
    assert_eq!(store.replay_dead(&webhook, now_ms() + 1000).await.unwrap(), 0);
    assert_eq!(store.replay_dead(&webhook, 0).await.unwrap(), 2);
    let again = store.due(webhook.id, now_ms(), 10).await.unwrap();
    let (mut before, mut after): (Vec<_>, Vec<_>) =
        (due.iter().map(|due| due.row.id).collect(), again.iter().map(|due| due.row.id).collect());
    before.sort();
    after.sort();
    assert_eq!(before, after, "under the same ids");
    assert!(again.iter().all(|due| due.row.tries == 0 && due.row.attempts == 1));
    store.delete_webhook(None, webhook.id).await.unwrap();
}
