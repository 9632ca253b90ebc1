//! `kill -9` at a random moment under two hundred calls, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection;

use crate::http::{self, Body};
use crate::receiver::Receiver;
use crate::server::{FINAL, Server, Setup};
use crate::sound;
use crate::tool::{self, wait_for};

/// Calls that are started in each round.
const CALLS: usize = 200;

/// 5 unless `TRUNKLINE_TEST_CRASH_ROUNDS` says otherwise.
fn rounds() -> u32 {
    let asked = std::env::var("TRUNKLINE_TEST_CRASH_ROUNDS").ok();
    asked.map_or(5, |text| text.parse().expect("a number of rounds"))
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("randomness");
    u64::from_ne_bytes(bytes) % below
}

fn setup() -> Setup {
    Server::setup()
        .rtp_ports(2400)
        .alone()
        .env("TRUNKLINE_ALLOW_INTERNAL_HTTP", "1")
        .env("TRUNKLINE_WEBHOOK_RETRY", "50ms")
}

#[test]
fn on_sqlite_every_acknowledged_call_ends_once() {
    crash(setup());
}

#[test]
fn on_postgresql_every_acknowledged_call_ends_once() {
    let Ok(url) = std::env::var("TRUNKLINE_TEST_POSTGRES") else {
        return tool::skip("set TRUNKLINE_TEST_POSTGRES to the address of a PostgreSQL database");
    };
    let name = format!("crash_{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&url).await.expect("PostgreSQL");
        for statement in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("a database");
        }
    });
    let (server, _) = url.rsplit_once('/').expect("an address with a database");
    crash(setup().env("TRUNKLINE_DATABASE_URL", format!("{server}/{name}")));
}

fn crash(setup: Setup) {
    let mut server = setup.start();
    let receiver = Receiver::start();
    server.post("/v1/webhooks", json!({ "url": receiver.url })).expect(201);
    let tone = server.upload("tone.wav", sound::tone_wav(440.0, 1.0));
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds() {
        let delay = Duration::from_millis(200 + random(3000));
        let fresh = place_until_killed(&mut server, &tone, delay);
        let what = format!("round {round}, killed after {delay:?} with {} calls", fresh.len());
        eprintln!("{what}");
        acknowledged.extend(fresh);
        server.start();
        every_call_ended_once(&server, &acknowledged, &what);
        every_event_arrives(&server, &receiver, &acknowledged, &what);
    }
}

/// Starts calls as fast as they are taken and kills the server in the midst of it; the calls it acknowledged.
fn place_until_killed(server: &mut Server, tone: &str, delay: Duration) -> BTreeSet<String> {
    let (url, key) = (server.url("/v1/calls"), format!("Bearer {}", server.key));
    let (placed, next, killed) = (Mutex::new(BTreeSet::new()), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !killed.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= CALLS {
                        return;
                    }
                    // Some ring for ever, some are busy, most answer and echo.
                    let end = ["0105", "0102", "0105", "0101"][n % 4];
                    let order = json!({ "to": format!("+1202555{end}"), "play": tone });
                    let reply = http::try_send("POST", &url, &[("Authorization", &key)], Body::Json(order));
                    let taken = reply.ok().filter(|reply| reply.status == 201);
                    if let Some(id) = taken.and_then(|reply| Some(reply.json()["id"].as_str()?.to_owned())) {
                        placed.lock().expect("the calls").insert(id);
                    }
                }
            });
        }
        std::thread::sleep(delay);
        server.kill();
        killed.store(true, Ordering::Relaxed);
    });
    placed.into_inner().expect("the calls")
}

#[track_caller]
fn every_call_ended_once(server: &Server, acknowledged: &BTreeSet<String>, what: &str) {
    let mut seen = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/calls?limit=200{after}")).expect(200).json();
        for call in page["data"].as_array().expect("calls") {
            let id = call["id"].as_str().expect("an id").to_owned();
            let state = call["status"].as_str().unwrap_or_default().to_owned();
            assert!(FINAL.contains(&state.as_str()), "{what}: {call:#}");
            assert!(call["ended_at"].is_string(), "{what}: {call:#}");
            assert!(seen.insert(id, state).is_none(), "{what}: listed twice: {call:#}");
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    for id in acknowledged {
        assert!(seen.contains_key(id), "{what}: the call {id} was acknowledged and is gone");
    }
    // A dozen of them in full: one end each, and it is the last event.
    for id in acknowledged.iter().rev().step_by(acknowledged.len().div_ceil(12).max(1)) {
        let ends: Vec<Value> = server
            .events(id)
            .into_iter()
            .filter(|(kind, _)| kind == "finished")
            .map(|(_, event)| event)
            .collect();
        assert_eq!(ends.len(), 1, "{what}: {id}: {ends:#?}");
    }
}

/// Each event of each acknowledged call arrives, in order; what arrives again has the id it had before, and says that
/// it is a repeat.
#[track_caller]
fn every_event_arrives(server: &Server, receiver: &Receiver, acknowledged: &BTreeSet<String>, what: &str) {
    wait_for("all webhooks to be delivered", Duration::from_secs(60), || {
        let pending = server.get("/v1/deliveries?state=pending&limit=1").expect(200).json();
        pending["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let dead = server.get("/v1/deliveries?state=dead").expect(200).json();
    assert_eq!(dead["data"], json!([]), "{what}");
    let rank = |kind: &str| {
        let order = ["call.queued", "call.ringing", "call.answered", "call.finished"];
        order.iter().position(|known| *known == kind).unwrap_or_else(|| panic!("{what}: an event {kind}"))
    };
    let mut told: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for received in receiver.received() {
        assert!(received.signature.starts_with("v1,"), "{received:?}");
        let (call, rank) = (received.call().to_owned(), rank(received.kind()));
        let known = told.entry(call).or_default();
        match known.iter().find(|(known, _)| *known == rank) {
            Some((_, id)) => {
                assert_eq!(*id, received.id, "{what}: told twice under two ids");
                assert!(received.attempt > 1, "{what}: a repeat that does not say so: {received:?}");
            }
            None => {
                let last = known.last().map(|(rank, _)| *rank);
                assert!(last.is_none_or(|last| last < rank), "{what}: out of order: {received:?}");
                known.push((rank, received.id));
            }
        }
    }
    for id in acknowledged {
        let known = told.get(id).map(Vec::as_slice).unwrap_or_default();
        let (first, last) = (known.first().map(|(rank, _)| *rank), known.last().map(|(rank, _)| *rank));
        assert_eq!((first, last), (Some(0), Some(3)), "{what}: {id} was told {known:?}");
    }
}
