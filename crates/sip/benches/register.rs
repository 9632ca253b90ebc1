//! What it costs to refresh a registration: reading the REGISTER, checking its credentials, changing the binding and
//! writing the header fields of the 200.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sip::digest::{Algorithm, Client, Credentials, Known, Server, Verdict};
use sip::location::{Limits, Locations};
use sip::{Name, Path, Transport, View};

const USERS: u64 = 100_000;
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

fn register(user: u64, cseq: u32, authorization: &str) -> String {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.7:5060;branch=z9hG4bK-{cseq};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:{user}@example.com>;tag=as58f4201b\r\n\
         To: <sip:{user}@example.com>\r\n\
         Call-ID: 7d5b0f5b1f3c4f1a0c9e8a7b6c5d{user}@10.0.0.7\r\n\
         CSeq: {cseq} REGISTER\r\n\
         User-Agent: Example Phone 18.4\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, MESSAGE\r\n\
         Supported: path, outbound\r\n\
         Contact: <sip:{user}@10.0.0.7:5060;ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{user:012}>\"\r\n\
         Expires: 3600\r\n\
         Authorization: {authorization}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[allow(clippy::disallowed_methods, reason = "it needs a first instant")]
fn refresh(criterion: &mut Criterion) {
    let (now, limits) = (Instant::now(), Limits::default());
    let remote = (SOURCE, 31_000).into();
    let path = Path::new(Transport::Udp, ([192, 0, 2, 1], 5060).into(), remote);
    let mut locations = Locations::new(7);
    for user in 0..USERS {
        if let Ok(view) = View::parse(register(user, 1, "none").as_bytes()) {
            let _ = locations.register(user, &view, path, &limits, now);
        }
    }
    let mut server = Server::new([7; 32]);
    let ha1 = Algorithm::Md5.ha1("alice", "example.com", "secret");
    let known = Known { algorithm: Algorithm::Md5, ha1: &ha1 };
    let mut client = Client::new(Credentials {
        username: "alice".into(),
        password: "secret".into(),
        realm: None,
        algorithm: Algorithm::Md5,
    });
    let challenge = server.challenge("example.com", Algorithm::Md5, SOURCE, now, false);
    client.challenged([challenge.as_str()].into_iter());
    let mut count = 1;
    let mut next = || {
        count += 1;
        let answer = client.authorize("REGISTER", "sip:example.com", b"", "0a4f113b").unwrap_or_default();
        let user = u64::from(count) * 7_919 % USERS;
        (user, register(user, count, &answer))
    };
    criterion.bench_function("register/refresh", |bencher| {
        bencher.iter_batched(
            &mut next,
            |(user, text)| {
                let view = View::parse(black_box(text.as_bytes())).ok()?;
                view.check().ok()?;
                let header = view.header(Name::Authorization)?;
                let verdict = server.verify(header, "REGISTER", b"", SOURCE, now, |_, _| Some(known));
                assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
                let registered = locations.register(user, &view, path, &limits, now).ok()?;
                assert_eq!(registered.changes.len(), 1);
                Some(registered)
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("register/verify", |bencher| {
        bencher.iter_batched(
            &mut next,
            |(_, text)| {
                let view = View::parse(text.as_bytes()).ok()?;
                let header = view.header(Name::Authorization)?;
                Some(server.verify(black_box(header), "REGISTER", b"", SOURCE, now, |_, _| Some(known)))
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("register/challenge", |bencher| {
        bencher.iter(|| server.challenge(black_box("example.com"), Algorithm::Md5, SOURCE, now, false));
    });
}

criterion_group!(benches, refresh);
criterion_main!(benches);
