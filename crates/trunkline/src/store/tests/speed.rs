//! How much the writer sustains; `cargo test --release -p trunkline speed -- --ignored --nocapture` says it.

use std::time::Instant;

use super::*;

const CALLS: usize = 20_000;

/// What a call of the simulated network writes from order to end.
fn writes(row: &CallRow) -> Vec<Write> {
    let id = format!("{}@127.0.0.1", row.id);
    let saved = json!({ "call_id": id, "local_tag": "a1b2c3d4", "remote_tag": "e5f6a7b8", "cseq": 1,
        "local_uri": "<sip:+12025550100@127.0.0.1>", "remote_uri": "<sip:+12025550123@sim.invalid>" });
    let told = |sequence, kind: &str| Write::Event(event(row, sequence, kind));
    vec![
        Write::Attempt { call: row.id, sip_call_id: id, trunk: None },
        Write::Leg { call: row.id, saved: saved.clone() },
        told(2, "attempt"),
        state(row, 3, State::Ringing, now_ms()),
        state(row, 4, State::InProgress, now_ms()),
        Write::Leg { call: row.id, saved },
        Write::Recording { call: row.id, number: OWN, file: format!("{}.wav", row.id), at: now_ms() },
        told(5, "recording"),
        told(6, "say"),
        told(7, "flow-done"),
        told(8, "quality"),
        told(9, "heard"),
        end(row, State::Completed, 10),
    ]
}

async fn sustained(url: &str) -> f64 {
    let store = start(url).await;
    store.bootstrap(false, Some(&secret("operator-key"))).await.unwrap();
    let begin = Instant::now();
    for _ in 0..CALLS / 100 {
        // A hundred callers wait for their commit at a time, as they do over HTTP.
        let rows: Vec<_> = (0..100).map(|_| call_row(0)).collect();
        futures_util::future::join_all(rows.iter().map(|(row, first)| store.create_call(row, first, None)))
            .await;
        for write in rows.iter().flat_map(|(row, _)| writes(row)) {
            let mut write = write;
            while let Err(full) = store.record(write) {
                write = *full.0;
                tokio::task::yield_now().await;
            }
        }
    }
    store.flush().await;
    CALLS as f64 / begin.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn the_writer_sustains_a_thousand_calls_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let rate = sustained(&format!("sqlite://{}/x.db", folder.path().display())).await;
    eprintln!("SQLite: {rate:.0} calls/s");
    assert!(rate > 1000.0, "{rate:.0} calls/s");
    if let Ok(url) = std::env::var("TRUNKLINE_TEST_POSTGRES") {
        eprintln!("PostgreSQL: {:.0} calls/s", sustained(&url).await);
    }
}

const USERS: u32 = 100_000;

/// Bytes of memory that are this process's own.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_hundred_thousand_users() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/x.db", folder.path().display());
    let store = start(&url).await;
    store.bootstrap(false, Some(&secret("operator-key"))).await.unwrap();
    let new = |n: u32| NewUser {
        username: Some(format!("user_{n}")),
        external_id: Some(format!("customer-{n}")),
        display_name: Some(format!("Customer {n}")),
        ..NewUser::default()
    };
    let (before, begin) = (resident(), Instant::now());
    for n in 0..USERS {
        store.create_user(new(n)).await.unwrap();
    }
    eprintln!("made: {:.2} ms a user", begin.elapsed().as_secs_f64() * 1000.0 / f64::from(USERS));
    let begin = Instant::now();
    for n in USERS..USERS + 1000 {
        store.create_user(new(n)).await.unwrap();
    }
    eprintln!("the last thousand: {:.2} ms a user", begin.elapsed().as_secs_f64());
    eprintln!("{} MB", (resident() - before) / 1_000_000);
    drop(store);
    let begin = Instant::now();
    let store = start(&url).await;
    eprintln!("loaded in {:?}", begin.elapsed());
    let begin = Instant::now();
    for n in 0..USERS {
        let user = store.directory().user_in_realm("trunkline", &format!("user_{n}"));
        assert!(matches!(user, Found::One(_)), "{n}");
    }
    eprintln!("looked up: {:?} each", begin.elapsed() / USERS);
}
