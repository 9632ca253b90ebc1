//! What it costs to look at a message and to decide on it, by who sends it.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use sip::shield::{Evidence, Peek, Settings, Shield};
use sip::{Path, Transport};

const REGISTER: &[u8] = b"REGISTER sip:example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bK4e1c9b0d7a3f;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice Example\" <sip:alice@example.com>;tag=as58f4201b\r\n\
    To: \"Alice Example\" <sip:alice@example.com>\r\n\
    Call-ID: 7d5b0f5b1f3c4f1a0c9e8a7b6c5d4e3f@192.168.1.20\r\n\
    CSeq: 102 REGISTER\r\n\
    Contact: <sip:alice@192.168.1.20:5060>;expires=300\r\n\
    Authorization: Digest username=\"alice\", realm=\"example.com\", nonce=\"5f3e2d1c0b9a8f7e6d5c4b3a\",\
    uri=\"sip:example.com\", response=\"6629fae49393a05397450978507c4ef1\", algorithm=MD5\r\n\
    User-Agent: Example Phone 18.4\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r\n\
    Content-Length: 0\r\n\
    \r\n";

fn path(remote: impl Into<SocketAddr>) -> Path {
    Path::new(Transport::Udp, ([192, 0, 2, 1], 5060).into(), remote.into())
}

/// The `n`th of the senders of a flood.
fn forged(n: u32) -> Path {
    path((n.wrapping_mul(2_654_435_761).to_be_bytes(), 5060))
}

#[expect(clippy::disallowed_methods, reason = "a bench needs a first instant")]
fn admit(criterion: &mut Criterion) {
    let mut now = Instant::now();
    let mut shield = Shield::new(Settings::default(), [7; 32], now);
    let trunks: Vec<_> = (0..100).filter_map(|n| format!("198.51.{n}.0/24").parse().ok()).collect();
    shield.set_trunks(&trunks);
    for n in 0..10_000u32 {
        shield.flow_up(
            Some(&format!("{n}@example.com")),
            &path(((0x0a00_0000 + n / 4).to_be_bytes(), n as u16)),
        );
    }
    // The tables are as full as they get.
    for n in 0..200_000 {
        shield.note(&forged(n), Evidence::Garbage, now);
    }
    let mut group = criterion.benchmark_group("shield");
    group.bench_function("peek", |bencher| {
        bencher.iter(|| black_box(Peek::of(black_box(REGISTER), &path(([1, 2, 3, 4], 5)))))
    });

    let ignored = path(([203, 0, 113, 1], 5060));
    for n in 0..20 {
        let path = path(([203, 0, 113, 1], 5060 + n % 4));
        shield.note(&path, Evidence::Scanner, now);
    }
    let mut n = 0u32;
    let mut bench = |name: &str, step: Duration, who: &dyn Fn(u32) -> Path| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                n = n.wrapping_add(1);
                now += step;
                shield.admit(&Peek::of(black_box(REGISTER), black_box(&who(n))), now)
            });
        });
    };
    let fast = Duration::from_nanos(100);
    bench("ignored", fast, &|_| ignored);
    bench("trunk", fast, &|n| path(([198, 51, (n % 100) as u8, 1], 5060)));
    let flow = |n: u32| n.wrapping_mul(7_919) % 10_000;
    bench("flow", Duration::from_micros(10), &|n| {
        path(((0x0a00_0000 + flow(n) / 4).to_be_bytes(), flow(n) as u16))
    });
    bench("one stranger", fast, &|_| path(([203, 0, 113, 9], 5060)));
    bench("flood of forged addresses", fast, &forged);
    group.finish();
}

criterion_group!(benches, admit);
criterion_main!(benches);
