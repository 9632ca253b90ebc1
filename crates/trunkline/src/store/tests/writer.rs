//! The writer: groups, bad writes, a full queue.

use super::*;

pub(super) async fn a_bad_write_spoils_no_other(url: &str) {
    let store = start(url).await;
    let (good, first) = call_row(0);
    let (homeless, its_first) = call_row(4711);
    let (a, b, c) = tokio::join!(
        store.create_call(&good, &first, None),
        store.create_call(&homeless, &its_first, None),
        store.create_call(&good, &first, None),
    );
    assert!(a.is_ok());
    assert!(matches!(b, Err(StoreError::Write(_))), "there is no such account");
    assert!(c.is_err(), "there is one such call already");
    assert!(store.call(None, good.id).await.unwrap().is_some());
    assert!(store.healthy().await);
    store.record(end(&good, State::Canceled, 2)).unwrap();
    // Nobody waits for a call that came in, and it is kept.
    let (came_in, first) = call_row(0);
    store.record_call(came_in.clone(), first).unwrap();
    store.flush().await;
    store.record(end(&came_in, State::Completed, 2)).unwrap();
    store.flush().await;
    let kept = store.call(None, came_in.id).await.unwrap();
    assert!(kept.is_some_and(|row| row.state == State::Completed));
}

pub(super) async fn a_full_queue_sheds_new_calls_first(url: &str) {
    let store = start(url).await;
    let (row, first) = call_row(0);
    store.create_call(&row, &first, None).await.unwrap();
    // The writer cannot start on these before this task waits for something: the test runs on one thread.
    let stalled = store.0.writes.acquire().await.unwrap();
    let mut taken = 0;
    let refused = loop {
        let (new, first) = call_row(0);
        let attempt = store.create_call(&new, &first, None);
        if let Ok(result) = tokio::time::timeout(Duration::ZERO, attempt).await {
            break result.unwrap_err();
        }
        for _ in 0..1000 {
            taken += i64::from(store.record(Write::Event(event(&row, 2 + taken, "say"))).is_ok());
        }
    };
    assert_eq!(Refused::from(refused).status, 503);
    while store.record(Write::Event(event(&row, 2 + taken, "say"))).is_ok() {
        taken += 1;
    }
    let refused = Write::Event(event(&row, 1, "say"));
    assert_eq!(store.record(refused.clone()), Err(Full(Box::new(refused))));
    assert!(taken > 8000, "{taken}");
    drop(stalled);
    store.flush().await;
    assert_eq!(store.events(row.id).await.unwrap().len() as i64, 1 + taken);
    assert!(store.record(state(&row, 2 + taken, State::Ringing, 1)).is_ok());
    store.flush().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_committed_in_groups() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(start(&format!("sqlite://{}/x.db", folder.path().display())).await);
    store.bootstrap(false, Some(&secret("operator-key"))).await.unwrap();
    assert!(
        store.trunks(0).is_empty() && store.account(1).is_none(),
        "nothing of the demonstration is there"
    );
    assert!(store.authenticate("operator-key", None).unwrap().operator);
    let calls = (0..200).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let (row, first) = call_row(0);
            store.create_call(&row, &first, None).await.unwrap();
            store.record(end(&row, State::Completed, 2)).unwrap();
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    store.flush().await;
    let completed = CallFilter { state: Some(State::Completed), limit: 200, ..CallFilter::default() };
    assert_eq!(store.calls(None, &completed).await.unwrap().len(), 200);
}
