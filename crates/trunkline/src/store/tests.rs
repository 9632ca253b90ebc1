//! One suite, run on both databases.

mod access;
mod calls;
mod crash;
mod gone;
mod keeping;
mod outbox;
mod recordings;
mod sip_server;
mod speed;
mod trunks;
mod writer;

use std::sync::Arc;

use call::{State, TrunkKind};
use serde_json::json;
use sqlx::Row;

use super::*;
use crate::config::Provider;
use crate::secret::Secret;
use crate::time::now_ms;
use crate::trunk::TrunkSettings;

fn master() -> MasterKey {
    MasterKey::parse(&"a1".repeat(32)).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn call_row(account: i64) -> (CallRow, CallEvent) {
    let row = CallRow {
        id: Id::new().unwrap(),
        account,
        direction: "outbound".into(),
        face: "v1".into(),
        from: None,
        to: "+12025550123".into(),
        kind: "PSTN".into(),
        trunk: None,
        trunk_name: None,
        state: State::Queued,
        cause_code: None,
        cause_text: None,
        cause_hint: None,
        sip_status: None,
        q850: None,
        hangup_by: None,
        sip_call_id: None,
        audio_file: None,
        text: Some("Grüße".into()),
        flow: json!([{"say": "Grüße"}]),
        recording: None,
        created_at: now_ms(),
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        quality: None,
        heard: None,
        metadata: [("order".to_owned(), "4711".to_owned())].into(),
    };
    let event = event(&row, 1, "state");
    (row, event)
}

fn event(row: &CallRow, sequence: i64, kind: &str) -> CallEvent {
    let detail = json!({"n": sequence});
    CallEvent { call: row.id, account: row.account, sequence, at: now_ms(), kind: kind.into(), detail }
}

fn state(row: &CallRow, sequence: i64, state: State, at: i64) -> Write {
    Write::State { state, event: CallEvent { at, ..event(row, sequence, "state") } }
}

fn end(row: &CallRow, state: State, sequence: i64) -> Write {
    Write::Finish(Box::new(Finish {
        call: row.id,
        state,
        cause_code: Some("normal".into()),
        cause_text: Some("They hung up.".into()),
        cause_hint: None,
        sip_status: Some(200),
        q850: Some(16),
        hangup_by: Some("callee".into()),
        ringing_at: None,
        answered_at: None,
        ended_at: 9000,
        quality: Some(json!({"mos": 4.4})),
        heard: Some(json!({"hz": 440})),
        recorded_ms: Some(8000),
        event: event(row, sequence, "finished"),
    }))
}

/// Opens the database, as a process that starts does.
async fn start(url: &str) -> Store {
    Store::open(url, &master()).await.unwrap()
}

async fn suite(url: &str) {
    first_start(url).await;
    wrong_master_key(url).await;
    access::keys(url).await;
    trunks::trunks(url).await;
    trunks::provider(url).await;
    sip_server::accounts(url).await;
    sip_server::users(url).await;
    sip_server::groups_and_numbers(url).await;
    sip_server::trunks_that_call_in(url).await;
    calls::a_call_from_start_to_end(url).await;
    calls::states_only_move_forward(url).await;
    calls::lists(url).await;
    calls::once(url).await;
    calls::the_feed_of_an_account(url).await;
    calls::sums(url).await;
    access::keys_end(url).await;
    access::what_an_account_may_do(url).await;
    crash::what_was_up_is_ended(url).await;
    crash::what_a_crash_left_is_made_whole(url).await;
    outbox::endpoints(url).await;
    outbox::deliveries_stand_in_the_transaction_of_their_event(url).await;
    outbox::later_events_wait_for_earlier_ones(url).await;
    outbox::the_dead_are_listed_and_replayed(url).await;
    recordings::each_file_is_a_row(url).await;
    keeping::what_is_old_is_removed(url).await;
    writer::a_bad_write_spoils_no_other(url).await;
    writer::a_full_queue_sheds_new_calls_first(url).await;
}

async fn first_start(url: &str) {
    let store = start(url).await;
    assert!(store.healthy().await);
    let key = store.bootstrap(true, None).await.unwrap().new_key.unwrap();
    assert!(key.expose().starts_with("tl_") && key.expose().len() == 43);
    let operator = store.authenticate(key.expose(), None).unwrap();
    assert!(
        operator.operator
            && operator.account == OPERATOR
            && operator.may("keys")
            && operator.reach().is_none()
    );
    assert_eq!(store.account(1).unwrap().name, "ACME Corp");
    for account in [0, 1] {
        let trunks = store.trunks(account);
        assert_eq!(trunks.len(), 1);
        assert!(trunks[0].name == "sim" && trunks[0].kind == TrunkKind::Simulated && trunks[0].is_default);
    }
    let other = start(url).await;
    assert_eq!(other.bootstrap(true, Some(&secret("ignored-by-now"))).await.unwrap().new_key, None);
    assert_eq!(other.authenticate("ignored-by-now", None), Err(AuthError::Unknown));
    assert_eq!(other.authenticate(key.expose(), None).unwrap().key, operator.key);
    // Without the demonstration the simulated network is no way out; with it again, it is.
    other.bootstrap(false, None).await.unwrap();
    assert!(!other.trunks(0)[0].enabled);
    other.bootstrap(true, None).await.unwrap();
    assert!(other.trunks(0)[0].enabled);
}

async fn wrong_master_key(url: &str) {
    let wrong = MasterKey::parse(&"b2".repeat(32)).unwrap();
    assert!(matches!(Store::open(url, &wrong).await, Err(StoreError::MasterKey)));
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    suite(&format!("sqlite://{}/a folder/trunk%20line.db", folder.path().display())).await;
    assert!(folder.path().join("a folder/trunk%20line.db").exists());
}

#[tokio::test]
async fn on_postgresql() {
    let Ok(url) = std::env::var("TRUNKLINE_TEST_POSTGRES") else {
        let why = "set TRUNKLINE_TEST_POSTGRES to the address of an empty PostgreSQL database";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped: {why}");
        eprintln!("SKIP: {why}");
        return;
    };
    suite(&url).await;
}

#[tokio::test]
async fn an_address_must_name_a_database() {
    for url in ["", "trunkline.db", "mysql://x/y", "sqlite:", "sqlite::memory:"] {
        assert!(matches!(Store::open(url, &master()).await, Err(StoreError::Address)), "{url}");
    }
}
