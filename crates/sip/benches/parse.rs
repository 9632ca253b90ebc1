//! What it costs to read an INVITE of about 1.1 KB: the index alone, and what an endpoint reads of every request.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sip::{Name, View};
use std::hint::black_box;

const INVITE: &str = "INVITE sip:+12025550123@sip.example.com;user=phone SIP/2.0\r\n\
    Record-Route: <sip:198.51.100.20;lr;ftag=as58f4201b>\r\n\
    Via: SIP/2.0/UDP 198.51.100.20:5060;branch=z9hG4bKcydzigwkX;rport\r\n\
    Via: SIP/2.0/UDP 203.0.113.7:5060;received=203.0.113.7;branch=z9hG4bK4e1c9b0d;rport=5060\r\n\
    Max-Forwards: 69\r\n\
    From: \"Alice Example\" <sip:+13125550100@203.0.113.7>;tag=as58f4201b\r\n\
    To: <sip:+12025550123@sip.example.com>\r\n\
    Contact: <sip:+13125550100@203.0.113.7:5060;transport=udp>\r\n\
    Call-ID: 7d5b0f5b1f3c4f1a0c9e8a7b6c5d4e3f@203.0.113.7:5060\r\n\
    CSeq: 102 INVITE\r\n\
    User-Agent: Example Gateway 18.4\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r\n\
    Supported: replaces, timer\r\n\
    P-Asserted-Identity: \"Alice Example\" <sip:+13125550100@203.0.113.7>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 257\r\n\
    \r\n\
    v=0\r\n\
    o=root 1821 1821 IN IP4 203.0.113.7\r\n\
    s=Example\r\n\
    c=IN IP4 203.0.113.7\r\n\
    t=0 0\r\n\
    m=audio 11424 RTP/AVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\n\
    a=ptime:20\r\n\
    a=maxptime:150\r\n\
    a=sendrecv\r\n";

fn parse(criterion: &mut Criterion) {
    let bytes = INVITE.as_bytes();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("index", |bencher| bencher.iter(|| View::parse(black_box(bytes)).is_ok()));
    group.bench_function("typed", |bencher| {
        bencher.iter(|| {
            let view = View::parse(black_box(bytes)).ok()?;
            let from = view.from()?.tag()?.len();
            let route = view.values(Name::RecordRoute).count();
            Some((view.top_via()?.port, view.to()?, view.cseq()?.number, view.contact()?.uri, from, route))
        });
    });
    group.bench_function("check", |bencher| {
        let view = View::parse(bytes);
        bencher.iter(|| view.as_ref().is_ok_and(|view| black_box(view).check().is_ok()));
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
