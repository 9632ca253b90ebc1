use super::*;

#[path = "../../../../tests/e2e/peers/dns.rs"]
mod zone;

use zone::Zone;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn resolver(zone: &Zone) -> Resolver {
    Resolver::new(&[zone.address], LOOPBACK).unwrap()
}

async fn find(resolver: &Resolver, uri: &str) -> Result<Vec<String>, String> {
    let destination = Destination::of(&sip::Uri::parse(uri).unwrap()).unwrap();
    let targets = resolver.find(destination).await?;
    let text = |target: &Target| {
        let name = target.server_name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {}{name}", target.transport.param(), target.remote)
    };
    Ok(targets.iter().map(text).collect())
}

const ZONE: &str = "\
    carrier.test NAPTR 10 10 SIPS+D2T _sips._tcp.carrier.test\n\
    carrier.test NAPTR 20 10 SIP+D2U _sip._udp.carrier.test\n\
    _sips._tcp.carrier.test SRV 1 1 5061 a.test\n\
    _sip._udp.carrier.test SRV 20 1 5070 b.test\n\
    _sip._udp.carrier.test SRV 10 1 5080 a.test\n\
    a.test A 127.0.0.2\n\
    a.test AAAA ::1\n\
    b.test A 127.0.0.3\n\
    six.test AAAA ::1\n\
    outside.test A 192.0.2.1";

#[tokio::test]
async fn naptr_srv_and_addresses_lead_to_targets() {
    let zone = Zone::start(ZONE);
    let resolver = resolver(&zone);
    for (uri, expected) in [
        (
            "sip:carrier.test",
            Ok(vec!["tls 127.0.0.2:5061 carrier.test", "udp 127.0.0.2:5080", "udp 127.0.0.3:5070"]),
        ),
        ("sips:carrier.test", Ok(vec!["tls 127.0.0.2:5061 carrier.test"])),
        ("sip:a.test;transport=tcp", Ok(vec!["tcp 127.0.0.2:5060"])),
        ("sip:B.test:5099", Ok(vec!["udp 127.0.0.3:5099"])),
        ("sip:127.0.0.9:5062;transport=tcp", Ok(vec!["tcp 127.0.0.9:5062"])),
        ("sip:nobody.test", Err("nobody.test cannot be resolved: there is no such name")),
        (
            "sip:six.test",
            Err("six.test has no address of the kind SIP is bound to (127.0.0.1; setting sip_listen)"),
        ),
        (
            "sip:outside.test",
            Err("outside.test cannot be reached while SIP is bound to 127.0.0.1 (setting sip_listen)"),
        ),
    ] {
        let expected =
            expected.map(|list| list.into_iter().map(str::to_owned).collect()).map_err(str::to_owned);
        assert_eq!(find(&resolver, uri).await, expected, "{uri}");
    }
}

#[tokio::test]
async fn answers_are_kept_those_that_say_no_too() {
    let zone = Zone::start(ZONE);
    let resolver = resolver(&zone);
    for _ in 0..3 {
        assert!(find(&resolver, "sip:carrier.test").await.is_ok());
        assert!(find(&resolver, "sip:nobody.test").await.is_err());
    }
    let mut asked = zone.asked();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all, "each question was asked once: {asked:?}");
}

#[tokio::test]
async fn targets_that_failed_come_last_for_a_while() {
    let zone = Zone::start(ZONE);
    let resolver = resolver(&zone);
    let found = resolver.locate("carrier.test", None, Some(Transport::Udp)).await.unwrap();
    resolver.clone().failed(&found[0]);
    let after = resolver.locate("carrier.test", None, Some(Transport::Udp)).await.unwrap();
    assert_eq!(after, [found[1].clone(), found[0].clone()]);
    let later = resolver.failed_last(found.clone(), Instant::now() + AVOIDED);
    assert_eq!(later, found, "forgotten");
}

#[tokio::test]
async fn a_silent_name_server_is_named_as_the_trouble() {
    let silent = std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let resolver = Resolver::new(&[silent.local_addr().unwrap()], LOOPBACK).unwrap();
    let error = find(&resolver, "sip:carrier.test:5060").await.unwrap_err();
    assert_eq!(error, "carrier.test cannot be resolved: the name server did not answer");
    // What needs no name server still works.
    assert!(find(&resolver, "sip:127.0.0.1").await.is_ok());
}
