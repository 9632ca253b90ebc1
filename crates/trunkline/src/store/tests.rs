//! One suite, run on both databases.

mod gone;
mod keeping;
mod outbox;
mod recordings;
mod speed;

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
    keys(url).await;
    trunks(url).await;
    provider(url).await;
    a_call_from_start_to_end(url).await;
    states_only_move_forward(url).await;
    lists(url).await;
    once(url).await;
    the_feed_of_an_account(url).await;
    sums(url).await;
    keys_end(url).await;
    what_an_account_may_do(url).await;
    a_crash(url).await;
    recordings::what_a_crash_left_is_made_whole(url).await;
    outbox::endpoints(url).await;
    outbox::deliveries_stand_in_the_transaction_of_their_event(url).await;
    outbox::later_events_wait_for_earlier_ones(url).await;
    outbox::the_dead_are_listed_and_replayed(url).await;
    recordings::each_file_is_a_row(url).await;
    keeping::what_is_old_is_removed(url).await;
    a_bad_write_spoils_no_other(url).await;
    a_full_queue_sheds_new_calls_first(url).await;
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

async fn keys(url: &str) {
    let store = start(url).await;
    let new = |name: &str| NewKey { account: 1, name: name.into(), ..NewKey::default() };
    let tied = NewKey {
        scopes: vec!["calls:read".into()],
        sources: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..new("tied")
    };
    let (row, key) = store.create_key(tied).await.unwrap();
    assert!(key.expose().starts_with(&row.prefix) && row.prefix.len() == 8);
    let from = |address: &str| store.authenticate(key.expose(), Some(address.parse().unwrap()));
    let identity = from("192.0.2.7").unwrap();
    assert!(identity.may("calls:read") && !identity.may("calls:write") && identity.reach() == Some(1));
    assert_eq!(from("::ffff:192.0.2.7"), Ok(identity));
    assert!(from("2001:db8::1").is_ok());
    assert_eq!(from("198.51.100.1"), Err(AuthError::Source));
    assert_eq!(store.authenticate(key.expose(), None), Err(AuthError::Source));
    for wrong in ["", "tl_", &key.expose()[..42], &format!("{}x", key.expose())] {
        assert_eq!(store.authenticate(wrong, None), Err(AuthError::Unknown), "{wrong}");
    }

    store.flush().await;
    let listed = store.keys(Some(1)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].last_used_at.is_some());
    assert_eq!(KeyRow { last_used_at: None, ..listed[0].clone() }, row);
    let stored = sqlx::query("SELECT * FROM keys WHERE account = 1").fetch_one(&store.0.reads).await.unwrap();
    assert_eq!(stored.try_get::<String, _>("hash").unwrap(), hex::encode(keys::hash(key.expose())));

    assert!(!store.revoke_key(Some(0), row.id).await.unwrap(), "another account's key is not to be seen");
    assert!(store.revoke_key(Some(1), row.id).await.unwrap());
    assert!(!store.revoke_key(Some(1), row.id).await.unwrap());
    assert_eq!(from("192.0.2.7"), Err(AuthError::Revoked));

    let operator = store.keys(Some(OPERATOR)).await.unwrap().remove(0);
    let refused = Refused::from(store.revoke_key(None, operator.id).await.unwrap_err());
    assert_eq!((refused.status, refused.code), (409, "last_operator_key"));
    let bad = [
        new(""),
        new("bell\u{7}"),
        NewKey { scopes: vec!["everything".into()], ..new("x") },
        NewKey { operator: true, ..new("x") },
        NewKey { account: 99, ..new("x") },
    ];
    for key in bad {
        assert_eq!(Refused::from(store.create_key(key.clone()).await.unwrap_err()).status, 400, "{key:?}");
    }
}

async fn trunks(url: &str) {
    let store = start(url).await;
    let new = |name: &str| NewTrunk {
        account: 1,
        name: name.into(),
        host: "sip.example.com".into(),
        username: Some("me".into()),
        password: Some(secret("pa55 wörd")),
        is_default: true,
        ..NewTrunk::default()
    };
    let first = store.create_trunk(new("first")).await.unwrap();
    let second = store.create_trunk(NewTrunk { transport: "tcp".into(), ..new("second") }).await.unwrap();
    let defaults = |store: &Store| -> Vec<String> {
        store.trunks(1).into_iter().filter(|trunk| trunk.is_default).map(|trunk| trunk.name).collect()
    };
    assert_eq!(defaults(&store), ["second"], "a new default takes that from the others");
    assert_eq!(store.trunks(1)[0], second, "and stands first");
    assert_eq!(start(url).await.trunk(Some(1), first.id).unwrap().password, Some(secret("pa55 wörd")));
    let sealed = sqlx::query("SELECT password FROM trunks WHERE name = 'first'");
    let sealed: String = sealed.fetch_one(&store.0.reads).await.unwrap().try_get("password").unwrap();
    assert!(sealed.starts_with("v1:") && !sealed.contains("pa55"), "{sealed}");

    assert_eq!(Refused::from(store.create_trunk(new("first")).await.unwrap_err()).code, "trunk_exists");
    let settings = TrunkSettings {
        proxy: Some("edge.example.com:5070".into()),
        calls_per_second: Some(0.5),
        register: true,
        ..TrunkSettings::default()
    };
    let changed =
        TrunkRow { name: "renamed".into(), password: None, priority: -3, settings, ..second.clone() };
    assert!(store.update_trunk(&changed).await.unwrap());
    assert_eq!(start(url).await.trunk(None, second.id), Some(changed));
    assert!(!store.update_trunk(&TrunkRow { id: Id::new().unwrap(), ..first.clone() }).await.unwrap());
    assert!(store.trunk(Some(0), first.id).is_none(), "another account's trunk is not to be seen");
    assert!(!store.delete_trunk(Some(0), first.id).await.unwrap());
    for id in [first.id, second.id] {
        assert!(store.delete_trunk(Some(1), id).await.unwrap());
    }
    let bad = [
        new(""),
        new("a/b"),
        new("provider"),
        NewTrunk { host: "sip:example.com".into(), ..new("x") },
        NewTrunk { host: "exa mple".into(), ..new("x") },
        NewTrunk { host: String::new(), ..new("x") },
        NewTrunk { port: 0, ..new("x") },
        NewTrunk { transport: "sctp".into(), ..new("x") },
        NewTrunk { digest: "sha-512".into(), ..new("x") },
        NewTrunk { number_form: "e.164".into(), ..new("x") },
        NewTrunk { prefix: Some("9;drop".into()), ..new("x") },
        NewTrunk { caller_id: Some("\"x\" <sip:y>".into()), ..new("x") },
        NewTrunk { username: Some("a\r\nb".into()), ..new("x") },
        NewTrunk { settings: TrunkSettings { channels: Some(0), ..TrunkSettings::default() }, ..new("x") },
        NewTrunk {
            username: None,
            settings: TrunkSettings { register: true, ..TrunkSettings::default() },
            ..new("x")
        },
    ];
    for trunk in bad {
        assert_eq!(
            Refused::from(store.create_trunk(trunk.clone()).await.unwrap_err()).code,
            "invalid_trunk",
            "{trunk:?}"
        );
    }
    assert!(store.create_trunk(NewTrunk { host: "[2001:db8::1]".into(), ..new("v6") }).await.is_ok());
    let v6 = store.trunks(1)[0].id;
    store.delete_trunk(None, v6).await.unwrap();

    // A row from before there were settings.
    let old = store.create_trunk(new("old")).await.unwrap();
    let set =
        |text: &'static str| sqlx::query("UPDATE trunks SET settings = $1 WHERE name = 'old'").bind(text);
    set("{}").execute(&store.0.writes).await.unwrap();
    assert_eq!(start(url).await.trunk(None, old.id).unwrap().settings, TrunkSettings::default());
    store.delete_trunk(None, old.id).await.unwrap();
}

async fn provider(url: &str) {
    let store = start(url).await;
    let first = |account| store.trunks(account).remove(0);
    let given =
        Provider { host: "sip.example.com".into(), password: Some(secret("one")), ..Provider::default() };
    store.set_provider(Some(&given)).await.unwrap();
    for account in [0, 1] {
        let trunk = first(account);
        assert_eq!((&*trunk.name, trunk.is_default, trunk.enabled), ("provider", true, true));
    }
    let id = first(0).id;
    let own = NewTrunk {
        account: 1,
        name: "own".into(),
        host: "192.0.2.1".into(),
        is_default: true,
        ..NewTrunk::default()
    };
    let own = store.create_trunk(own).await.unwrap();
    let given = Provider {
        host: "sip2.example.com".into(),
        port: Some(5070),
        password: Some(secret("two")),
        ..given
    };
    store.set_provider(Some(&given)).await.unwrap();
    let trunk = first(0);
    assert_eq!(
        (trunk.id, &*trunk.host, trunk.port, trunk.password),
        (id, "sip2.example.com", 5070, Some(secret("two")))
    );
    assert_eq!(first(1).id, own.id, "an account's own default trunk stays");
    store.delete_trunk(None, own.id).await.unwrap();

    store.set_provider(None).await.unwrap();
    assert_eq!((&*first(0).name, first(0).is_default), ("sim", true));
    assert!(!store.trunks(1).iter().any(|trunk| trunk.is_default), "nothing stands in for a deleted trunk");
    for account in [0, 1] {
        let provider = store.trunks(account).into_iter().find(|trunk| trunk.name == "provider").unwrap();
        assert!(!provider.enabled && !provider.is_default);
        store.delete_trunk(None, provider.id).await.unwrap();
    }
}

async fn a_call_from_start_to_end(url: &str) {
    let store = start(url).await;
    let (row, first) = call_row(1);
    store.create_call(&row, &first, None).await.unwrap();
    assert_eq!(store.call(Some(1), row.id).await.unwrap(), Some(row.clone()));
    assert_eq!(store.call(Some(0), row.id).await.unwrap(), None);
    assert_eq!(store.call(None, Id::new().unwrap()).await.unwrap(), None);
    let trunk = Id::new().unwrap();
    let leg =
        Write::Attempt { call: row.id, sip_call_id: "abc@host".into(), trunk: Some((trunk, "sim".into())) };
    let writes = [
        leg,
        state(&row, 2, State::Ringing, 2000),
        state(&row, 3, State::InProgress, 4000),
        Write::Event(event(&row, 4, "say")),
        end(&row, State::Completed, 5),
    ];
    for write in writes {
        store.record(write).unwrap();
    }
    store.flush().await;
    let call = store.call(None, row.id).await.unwrap().unwrap();
    assert_eq!(call.duration_ms(), Some(5000));
    let expected = CallRow {
        trunk: Some(trunk),
        trunk_name: Some("sim".into()),
        sip_call_id: Some("abc@host".into()),
        state: State::Completed,
        cause_code: Some("normal".into()),
        cause_text: Some("They hung up.".into()),
        sip_status: Some(200),
        q850: Some(16),
        hangup_by: Some("callee".into()),
        recording: None,
        ringing_at: Some(2000),
        answered_at: Some(4000),
        ended_at: Some(9000),
        quality: Some(json!({"mos": 4.4})),
        heard: Some(json!({"hz": 440})),
        ..row.clone()
    };
    assert_eq!(call, expected);
    let events = store.events(row.id).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| &*event.kind).collect();
    assert_eq!(kinds, ["state", "state", "state", "say", "finished"]);
    assert_eq!(events[0], first);
}

async fn states_only_move_forward(url: &str) {
    let store = start(url).await;
    let (row, first) = call_row(0);
    store.create_call(&row, &first, None).await.unwrap();
    let mut told = store.subscribe();
    for write in [state(&row, 2, State::InProgress, 3), state(&row, 3, State::Ringing, 4)] {
        store.record(write).unwrap();
    }
    assert_eq!(told.recv().await.unwrap().sequence, 2);
    let known = store.call(None, row.id).await.unwrap().unwrap();
    assert_eq!(known.state, State::InProgress, "what is told can be read");
    let late = state(&row, 6, State::InProgress, 5);
    for write in [end(&row, State::Failed, 4), end(&row, State::Completed, 5), late] {
        store.record(write).unwrap();
    }
    store.flush().await;
    let call = store.call(None, row.id).await.unwrap().unwrap();
    assert_eq!((call.state, call.answered_at), (State::Failed, Some(3)), "the first end counts");
    let events = store.events(row.id).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.kind == "finished").count(), 1, "and is told once");
}

async fn lists(url: &str) {
    let store = start(url).await;
    let mut made = Vec::new();
    for (n, to) in
        ["+442071838750", "+12025550123", "sip:a@example.com"].into_iter().cycle().take(9).enumerate()
    {
        let (row, first) = call_row(1);
        // Some within the same millisecond: the order must be complete all the same.
        let row =
            CallRow { to: to.into(), from: Some("7000".into()), created_at: 50_000 + n as i64 / 2, ..row };
        store.create_call(&row, &first, None).await.unwrap();
        made.push(row);
    }
    store.record(end(&made[0], State::Busy, 2)).unwrap();
    store.flush().await;
    made.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.id)));
    let made: Vec<Id> = made.iter().map(|row| row.id).collect();
    let from = CallFilter { from: Some("7000".into()), limit: 4, ..CallFilter::default() };
    let mut seen = Vec::new();
    let mut filter = from.clone();
    loop {
        let page = store.calls(Some(1), &filter).await.unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        filter.after = Some(last.place());
        seen.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(seen, made);
    assert!(store.calls(Some(0), &from).await.unwrap().is_empty());
    assert_eq!(store.calls(None, &from).await.unwrap().len(), 4);
    let to = CallFilter { to: Some("+442071838750".into()), ..from.clone() };
    assert_eq!(store.calls(Some(1), &to).await.unwrap().len(), 3);
    let busy = CallFilter { state: Some(State::Busy), ..CallFilter::default() };
    assert_eq!(store.calls(Some(1), &busy).await.unwrap().len(), 1);
    let hostile = CallFilter { to: Some("' OR 1=1 --".into()), ..CallFilter::default() };
    assert!(store.calls(None, &hostile).await.unwrap().is_empty());
}

async fn once(url: &str) {
    let store = start(url).await;
    let ask = |key: &str, what: &str| Some(Once::new(key, &[b"/v1/calls", what.as_bytes()]));
    let create = async |account: i64, once: &Option<Once>| {
        let (row, first) = call_row(account);
        (row.id, store.create_call(&row, &first, once.as_ref()).await)
    };
    let code = |error: StoreError| match error {
        StoreError::Refused(refused) => refused.code,
        other => panic!("{other}"),
    };
    let (first, made) = create(1, &ask("a", "x")).await;
    assert_eq!(made.unwrap(), Created::New);
    assert_eq!(store.replayed(1, &ask("a", "x").unwrap()).await.unwrap(), Some(first));
    let (again, replayed) = create(1, &ask("a", "x")).await;
    assert_eq!(replayed.unwrap(), Created::Replayed(first));
    assert!(
        store.call(None, again).await.unwrap().is_none() && store.events(again).await.unwrap().is_empty()
    );
    assert_eq!(code(create(1, &ask("a", "y")).await.1.unwrap_err()), "idempotency_key_reused");
    assert_eq!(code(store.replayed(1, &ask("a", "y").unwrap()).await.unwrap_err()), "idempotency_key_reused");
    // Other accounts and other keys have nothing to do with it.
    assert_eq!(create(0, &ask("a", "y")).await.1.unwrap(), Created::New);
    assert_eq!(create(1, &ask("b", "x")).await.1.unwrap(), Created::New);
    // Asked at the same time, most of it in one transaction.
    let same = ask("c", "x");
    let all = futures_util::future::join_all((0..20).map(|_| create(1, &same))).await;
    let new = all.iter().filter(|(_, made)| matches!(made, Ok(Created::New))).count();
    assert_eq!(new, 1);
    // What came to nothing may be asked again, and what is a day old is forgotten.
    store.record(Write::Forget { call: first }).unwrap();
    store.flush().await;
    assert_eq!(create(1, &ask("a", "y")).await.1.unwrap(), Created::New);
    sqlx::query("UPDATE idempotency SET created_at = created_at - 86400001 WHERE name = 'b'")
        .execute(&store.0.writes)
        .await
        .unwrap();
    assert_eq!(store.replayed(1, &ask("b", "x").unwrap()).await.unwrap(), None);
    assert_eq!(create(1, &ask("d", "x")).await.1.unwrap(), Created::New);
    let left = sqlx::query("SELECT name FROM idempotency WHERE name = 'b'").fetch_all(&store.0.reads).await;
    assert!(left.unwrap().is_empty());
}

async fn the_feed_of_an_account(url: &str) {
    let store = start(url).await;
    let newest = store.newest_event().await.unwrap();
    let (ours, first) = call_row(1);
    store.create_call(&ours, &first, None).await.unwrap();
    let (theirs, other) = call_row(0);
    store.create_call(&theirs, &other, None).await.unwrap();
    for (row, sequence, kind) in [(&ours, 2, "say"), (&theirs, 2, "say"), (&ours, 3, "finished")] {
        store.record(Write::Event(event(row, sequence, kind))).unwrap();
    }
    store.flush().await;
    let read = async |filter: EventFilter, limit: u32| {
        let filter = EventFilter { after: filter.after.max(newest), ..filter };
        store.feed(&filter, limit).await.unwrap()
    };
    let all = read(EventFilter::default(), 100).await;
    assert_eq!(all.len(), 5);
    assert!(all.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal) && all[0].ordinal > newest);
    assert_eq!(all[4].ordinal, store.newest_event().await.unwrap());
    let kinds = |events: &[Placed]| -> Vec<String> {
        events.iter().map(|placed| placed.event.kind.clone()).collect()
    };
    let own = EventFilter { account: Some(1), ..EventFilter::default() };
    assert_eq!(kinds(&read(own.clone(), 100).await), ["state", "say", "finished"]);
    let page = read(own.clone(), 2).await;
    let rest = read(EventFilter { after: page[1].ordinal, ..own.clone() }, 2).await;
    assert_eq!((page.len(), kinds(&rest)), (2, vec!["finished".to_owned()]));
    let say = EventFilter { kind: Some("say".into()), ..EventFilter::default() };
    assert_eq!(read(say, 100).await.len(), 2);
    assert_eq!(read(EventFilter { call: Some(theirs.id), ..EventFilter::default() }, 100).await.len(), 2);
    let later = EventFilter { since: Some(now_ms() + 60_000), ..EventFilter::default() };
    assert!(read(later, 100).await.is_empty());
}

async fn sums(url: &str) {
    let store = start(url).await;
    // A day long ago, of which nothing else is.
    let day = 86_400_000 * 300;
    for (at, state, answered, ended) in [
        (1, State::Completed, Some(1000), 61_001),
        (2, State::Completed, Some(1000), 60_000),
        (3, State::Busy, None, 2000),
        (86_400_000, State::Completed, Some(0), 1),
    ] {
        let (row, first) = call_row(1);
        let row = CallRow {
            state,
            trunk_name: Some("acme".into()),
            created_at: day + at,
            answered_at: answered.map(|ms: i64| day + at + ms),
            ended_at: Some(day + at + ended),
            ..row
        };
        store.create_call(&row, &first, None).await.unwrap();
    }
    let sums = store.usage(Some(1), (day, day + 86_400_001), 86_400_000, 100).await.unwrap();
    let told: Vec<_> = sums
        .iter()
        .map(|row| (row.start - day, row.state, row.calls, row.answered, row.talk_ms, row.minutes))
        .collect();
    assert_eq!(
        told,
        [
            (0, State::Busy, 1, 0, 0, 0),
            (0, State::Completed, 2, 2, 119_001, 3),
            (86_400_000, State::Completed, 1, 1, 1, 1),
        ]
    );
    assert!(sums.iter().all(|row| row.trunk.as_deref() == Some("acme") && row.direction == "outbound"));
    assert!(store.usage(Some(0), (day, day + 86_400_001), 3_600_000, 100).await.unwrap().is_empty());
    assert_eq!(store.usage(None, (day, day + 86_400_001), 3_600_000, 1).await.unwrap().len(), 1);
}

async fn keys_end(url: &str) {
    let store = start(url).await;
    let soon = now_ms() + 60_000;
    let new = NewKey { account: 1, name: "ends".into(), expires_at: Some(soon), ..NewKey::default() };
    let (row, key) = store.create_key(new.clone()).await.unwrap();
    assert_eq!(store.authenticate(key.expose(), None).unwrap().expires_at, Some(soon));
    assert!(row.is_live(soon - 1) && !row.is_live(soon));
    store.expire_key(row.id, soon + 1).await.unwrap();
    assert_eq!(store.key(Some(1), row.id).await.unwrap().unwrap().expires_at, Some(soon), "never later");
    store.expire_key(row.id, 1).await.unwrap();
    assert_eq!(store.authenticate(key.expose(), None).unwrap_err(), AuthError::Expired);
    assert!(store.key(Some(0), row.id).await.unwrap().is_none(), "another account's");
    assert!(store.create_key(NewKey { expires_at: Some(1), ..new }).await.is_err());
}

async fn what_an_account_may_do(url: &str) {
    let store = start(url).await;
    let before = store.account(1).unwrap();
    let changed = Account {
        countries: vec!["US".into()],
        prefixes: vec!["+4930".into(), "!+1876".into()],
        region: Some("US".into()),
        max_calls: Some(5),
        calls_per_second: Some(2),
        max_duration_s: Some(600),
        ..before.clone()
    };
    assert!(store.update_account(&changed).await.unwrap());
    assert_eq!(store.account(1).unwrap(), changed);
    assert_eq!(start(url).await.account(1).unwrap(), changed);
    assert!(store.update_account(&before).await.unwrap());
    assert!(!store.update_account(&Account { id: 99, ..before }).await.unwrap());
}

async fn a_crash(url: &str) {
    let store = start(url).await;
    store.orphans().await.unwrap();
    let mut made = Vec::new();
    for _ in 0..3 {
        let (row, first) = call_row(0);
        store.create_call(&row, &first, None).await.unwrap();
        let id = format!("{}@host", row.id);
        store.record(Write::Leg { call: row.id, saved: json!({ "call_id": id, "cseq": 1 }) }).unwrap();
        made.push((row, id));
    }
    let [(ringing, ringing_leg), (talking, talking_leg), (done, _)] = &made[..] else { unreachable!() };
    store.record(state(ringing, 2, State::Ringing, ringing.created_at + 5)).unwrap();
    store.record(state(talking, 2, State::InProgress, talking.created_at + 10)).unwrap();
    let say = CallEvent { at: talking.created_at + 500, ..event(talking, 3, "say") };
    store.record(Write::Event(say)).unwrap();
    // A leg that moves is kept as it is now; one that ended, and those of a call that ended, are not.
    store
        .record(Write::Leg { call: talking.id, saved: json!({ "call_id": talking_leg, "cseq": 2 }) })
        .unwrap();
    let earlier = "earlier@host".to_owned();
    store.record(Write::Leg { call: talking.id, saved: json!({ "call_id": earlier }) }).unwrap();
    store.flush().await;
    store.record(Write::LegEnded { call: talking.id, sip_call_id: earlier }).unwrap();
    store.record(end(done, State::Completed, 2)).unwrap();
    store.flush().await;

    let after = start(url).await;
    let (count, mut legs) = after.orphans().await.unwrap();
    assert_eq!(count, 2);
    legs.sort_by_key(|leg| leg.saved["cseq"].as_i64());
    let leg = |row: &CallRow, id: &str, cseq| SavedLeg {
        sip_call_id: id.to_owned(),
        call: row.id,
        trunk: None,
        saved: json!({ "call_id": id, "cseq": cseq }),
    };
    assert_eq!(legs, [leg(ringing, ringing_leg, 1), leg(talking, talking_leg, 2)]);
    let (count, again) = after.orphans().await.unwrap();
    assert_eq!((count, again.len()), (0, 2), "the calls end once, the legs stay until they are ended");
    let call = after.call(None, ringing.id).await.unwrap().unwrap();
    assert_eq!((call.state, call.cause_code.as_deref()), (State::Failed, Some("server_restarted")));
    let call = after.call(None, talking.id).await.unwrap().unwrap();
    assert_eq!((call.state, call.cause_code.as_deref()), (State::Completed, Some("server_restarted")));
    assert_eq!(call.answered_at, Some(talking.created_at + 10));
    assert_eq!(call.ended_at, Some(talking.created_at + 500), "it ended when it was last heard of");
    let events = after.events(talking.id).await.unwrap();
    assert_eq!((events.len(), &*events[3].kind, events[3].sequence), (4, "finished", 4));
    for leg in legs {
        after.record(Write::LegEnded { call: leg.call, sip_call_id: leg.sip_call_id }).unwrap();
    }
    after.flush().await;
    assert!(after.orphans().await.unwrap().1.is_empty());
}

async fn a_bad_write_spoils_no_other(url: &str) {
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
    store.flush().await;
}

async fn a_full_queue_sheds_new_calls_first(url: &str) {
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
