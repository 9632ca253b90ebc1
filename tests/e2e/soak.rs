//! A long run at a steady rate, through the simulated network: memory flat, nothing leaked. `make soak` runs it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::Server;
use crate::sound;

/// How each call goes, by the last digits of its number; most are answered and listen to three seconds of sound.
const NUMBERS: [&str; 8] = [
    "+12025550123",
    "+12025550124",
    "+12025550125",
    "+12025550101",
    "+12025550105",
    "+12025550103",
    "+12025550106",
    "+12025550104",
];

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// What the process holds at a moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    rss_mb: f64,
    descriptors: usize,
    threads: usize,
    calls: f64,
    legs: f64,
    transactions: f64,
}

fn held(server: &mut Server) -> Held {
    let pid = server.process().id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of its status");
        line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).expect("a number")
    };
    let metrics = server.get("/metrics").expect(200).text();
    let gauge = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}:\n{metrics}"))
    };
    Held {
        rss_mb: field("VmRSS:") / 1024.0,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count(),
        threads: field("Threads:") as usize,
        calls: gauge("trunkline_calls"),
        legs: gauge("trunkline_sip_legs"),
        transactions: gauge("trunkline_sip_transactions"),
    }
}

#[test]
#[ignore = "runs for SOAK_SECONDS (1800): make soak"]
fn nothing_grows_and_nothing_leaks() {
    let seconds = setting("SOAK_SECONDS", 1800);
    let rate = setting("SOAK_RATE", 20);
    let mut server = Server::setup()
        .rtp_ports(8000)
        .env("TRUNKLINE_MAX_CALLS", "1000")
        .env("TRUNKLINE_LOG", "warn")
        .alone()
        .start();
    let file = server.upload("tone.wav", sound::tone_wav(700.0, 3.0));
    let before = held(&mut server);
    println!("before: {before:?}");

    let start = Instant::now();
    let (mut placed, mut refused) = (0u64, 0u64);
    let mut warm: Option<Held> = None;
    let mut next_look = Duration::from_secs(10);
    while start.elapsed() < Duration::from_secs(seconds) {
        let due = Duration::from_nanos(1_000_000_000 / rate * (placed + refused));
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let to = NUMBERS[(placed as usize) % NUMBERS.len()];
        let order =
            json!({ "to": to, "play": file, "record": placed.is_multiple_of(4), "ring_timeout_s": 5 });
        match server.post("/v1/calls", order).status {
            201 => placed += 1,
            _ => refused += 1,
        }
        if start.elapsed() >= next_look {
            let now = held(&mut server);
            println!("{:>5} s: {placed} placed, {refused} refused, {now:?}", start.elapsed().as_secs());
            // The first fifth fills caches and pools.
            if warm.is_none() && start.elapsed().as_secs() * 5 >= seconds {
                warm = Some(now);
            }
            next_look += Duration::from_secs((seconds / 60).max(10));
        }
    }
    let warm = warm.expect("long enough to warm up");
    let last = held(&mut server);
    let quiet = Instant::now();
    let mut after = last;
    // Transactions linger for 32 s (RFC 3261 timers), ports for a few seconds.
    while quiet.elapsed() < Duration::from_secs(60)
        && (after.calls, after.legs, after.transactions) != (0.0, 0.0, 0.0)
    {
        std::thread::sleep(Duration::from_secs(1));
        after = held(&mut server);
    }
    std::thread::sleep(Duration::from_secs(5));
    let after = held(&mut server);
    println!("warm: {warm:?}\nlast: {last:?}\nafter: {after:?}\n{placed} placed, {refused} refused");

    assert_eq!(refused, 0, "half the load it can carry is refused");
    assert_eq!((after.calls, after.legs, after.transactions), (0.0, 0.0, 0.0));
    assert!(last.rss_mb < warm.rss_mb * 1.15 + 8.0, "memory grows: {warm:?}, {last:?}");
    assert!(after.descriptors <= before.descriptors + 16, "descriptors leak: {before:?}, {after:?}");
    assert!(after.threads <= before.threads + 8, "threads leak: {before:?}, {after:?}");
    // Every call has ended, each once, and is on record.
    let metrics = server.get("/metrics").expect(200).text();
    let finished: f64 = metrics
        .lines()
        .filter_map(|line| {
            line.strip_prefix("trunkline_calls_finished_total{")?.rsplit(' ').next()?.parse::<f64>().ok()
        })
        .sum();
    assert_eq!(finished as u64, placed, "{metrics}");
    let open: Value = server.get("/v1/calls?status=in-progress").expect(200).json();
    assert_eq!(open["data"].as_array().map_or(0, Vec::len), 0, "{open:#}");
}
