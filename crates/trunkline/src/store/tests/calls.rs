//! Calls: written, listed, summed up, ordered once.

use super::*;

pub(super) async fn a_call_from_start_to_end(url: &str) {
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

pub(super) async fn states_only_move_forward(url: &str) {
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

pub(super) async fn lists(url: &str) {
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

pub(super) async fn once(url: &str) {
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

pub(super) async fn the_feed_of_an_account(url: &str) {
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

pub(super) async fn sums(url: &str) {
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
