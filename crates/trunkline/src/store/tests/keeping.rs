//! Retention, backup.

use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn what_is_old_is_removed(url: &str) {
    let store = start(url).await;
    let folder = tempfile::tempdir().unwrap();
    let ago = |days: i64| now_ms() - days * 24 * 3600 * 1000;
    let made = |days: i64, ended: bool, file: &str| {
        let (row, first) = call_row(1);
        std::fs::write(folder.path().join(file), "RIFF").unwrap();
        let created_at = ago(days);
        let row = CallRow { created_at, ended_at: ended.then_some(created_at), ..row };
        (row, first, file.to_owned())
    };
    let calls = [
        made(400, true, "ancient.wav"),
        made(100, true, "old.wav"),
        made(40, true, "month.wav"),
        made(1, true, "new.wav"),
        made(500, false, "running.wav"),
    ];
    for (row, first, file) in &calls {
        store.create_call(row, first, None).await.unwrap();
        let step = format!("step-{file}");
        std::fs::write(folder.path().join(&step), "RIFF").unwrap();
        for (number, file) in [(OWN, file), (2, &step)] {
            let (call, file, at) = (row.id, file.clone(), row.created_at);
            store.record(Write::Recording { call, number, file, at }).unwrap();
        }
    }
    for (row, ..) in &calls {
        assert!(store.keep_insight(row.id, row.account, row.created_at, row.id.to_string()));
        assert!(store.keep_insight(row.id, row.account, row.created_at, "a second one".into()));
    }
    store.flush().await;
    let [(ancient, ..), (old, ..), (month, ..), (new, ..), (running, ..)] = &calls;
    let webhook = NewWebhook {
        account: 1,
        url: "https://example.com/".into(),
        events: vec!["*".into()],
        ..NewWebhook::default()
    };
    let webhook = store.create_webhook(webhook).await.unwrap();
    let delivery = store.test_webhook(&webhook).await.unwrap();

    assert_eq!(store.sweep(&Keep::default(), folder.path()).await.unwrap(), Swept::default(), "forever");
    let keep = Keep {
        calls: Some(365 * DAY),
        recordings: Some(30 * DAY),
        events: Some(90 * DAY),
        pending: Some(4 * DAY),
    };
    let swept = store.sweep(&keep, folder.path()).await.unwrap();
    assert_eq!(swept.deliveries, 0);
    assert!(swept.calls >= 1 && swept.recordings >= 6 && swept.events >= 1, "{swept:?}");
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["new.wav", "running.wav", "step-new.wav", "step-running.wav"]);
    assert_eq!(store.call(None, ancient.id).await.unwrap(), None);
    assert_eq!(store.insight(ancient.id).await.unwrap(), None);
    assert_eq!(store.insight(old.id).await.unwrap(), Some(old.id.to_string()));
    for (row, recording, events) in
        [(old, None, 0), (month, None, 1), (new, Some("new.wav"), 1), (running, Some("running.wav"), 1)]
    {
        let kept = store.call(None, row.id).await.unwrap().unwrap();
        assert_eq!(kept.recording.as_deref(), recording);
        assert_eq!(store.recordings_of(row.id).await.unwrap().len(), if recording.is_some() { 2 } else { 0 });
        assert_eq!(store.events(row.id).await.unwrap().len(), events);
    }
    let again = store.sweep(&keep, folder.path()).await.unwrap();
    assert_eq!(again, Swept::default(), "nothing is left to do");

    // A delivery that nobody tries any more is given up, then forgotten.
    let soon = Keep { pending: Some(Duration::ZERO), ..Keep::default() };
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.sweep(&soon, folder.path()).await.unwrap();
    assert_eq!(store.delivery(None, delivery.id).await.unwrap().unwrap().0.state, "dead");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let soon = Keep { events: Some(Duration::ZERO), ..Keep::default() };
    assert!(store.sweep(&soon, folder.path()).await.unwrap().deliveries >= 1);
    assert_eq!(store.delivery(None, delivery.id).await.unwrap(), None);
    store.delete_webhook(None, webhook.id).await.unwrap();
    store.record(end(running, State::Completed, 2)).unwrap();
    store.flush().await;
}

#[tokio::test]
async fn a_copy_made_while_calls_are_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("live.db").display());
    let store = start(&url).await;
    store.bootstrap(false, Some(&secret("operator-key"))).await.unwrap();
    let mut rows = Vec::new();
    let target = folder.path().join("copy.db");
    for n in 0..50 {
        let (row, first) = call_row(0);
        store.create_call(&row, &first, None).await.unwrap();
        rows.push(row);
        if n == 24 {
            assert_eq!(copy_database(&url, &target).await.unwrap(), Some(()));
        }
    }
    assert!(copy_database(&url, &target).await.is_err(), "never over what is there");
    let copy = format!("sqlite://{}", target.display());
    Store::fits(&copy, &master()).await.unwrap();
    let wrong = MasterKey::parse(&"b2".repeat(32)).unwrap();
    assert!(matches!(Store::fits(&copy, &wrong).await, Err(StoreError::MasterKey)));
    let copy = start(&copy).await;
    assert!(copy.authenticate("operator-key", None).unwrap().operator);
    for (n, row) in rows.iter().enumerate() {
        let kept = copy.call(None, row.id).await.unwrap();
        assert_eq!(kept.as_ref(), (n < 25).then_some(row));
    }
    assert_eq!(copy_database("postgres://localhost/x", &target).await.unwrap(), None);
}
