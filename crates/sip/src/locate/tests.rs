use super::*;

const ALL: &[Transport] = &[Transport::Udp, Transport::Tcp, Transport::Tls];

fn to(uri: &str) -> Destination {
    Destination::of(&Uri::parse(uri).unwrap()).unwrap()
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight, port, target: target.into() }
}

/// Answers from a zone in text: `naptr order preference service replacement`, `srv name priority weight port target`,
/// `host name address…`.
fn answer(zone: &str, question: &Question) -> Answer {
    let lines = zone.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match question {
        Question::Naptr(_) => Answer::Naptr(
            lines
                .filter(|line| line.first() == Some(&"naptr"))
                .map(|line| Naptr {
                    order: line[1].parse().unwrap(),
                    preference: line[2].parse().unwrap(),
                    flags: "s".into(),
                    service: line[3].into(),
                    replacement: line[4].into(),
                })
                .collect(),
        ),
        Question::Srv(name) => Answer::Srv(
            lines
                .filter(|line| line.first() == Some(&"srv") && line[1] == name)
                .map(|line| {
                    let [priority, weight, port] = [2, 3, 4].map(|at: usize| line[at].parse().unwrap());
                    srv(priority, weight, port, line[5])
                })
                .collect(),
        ),
        Question::Addresses(host) => {
            let addresses = lines.filter(|line| line.first() == Some(&"host") && line[1] == host);
            let found: Vec<IpAddr> =
                addresses.flat_map(|line| line[2..].to_vec()).map(|ip| ip.parse().unwrap()).collect();
            if found.is_empty() { Answer::None } else { Answer::Addresses(found) }
        }
    }
}

fn locate(destination: Destination, spoken: &[Transport], zone: &str, seed: u64) -> Vec<String> {
    let mut locator = Locator::new(destination, spoken, seed);
    while let Some(question) = locator.poll_question() {
        let answer = answer(zone, &question);
        locator.handle_answer(&question, answer);
    }
    assert!(locator.is_done());
    locator.finish().iter().map(|found| format!("{} {}", found.transport.param(), found.address)).collect()
}

const ZONE: &str = "\
    naptr 10 50 SIPS+D2T _sips._tcp.example.com.
    naptr 20 50 SIP+D2T _sip._tcp.example.com
    naptr 20 40 SIP+D2U _sip._udp.example.com
    naptr 5 1 SIP+D2S _sip._sctp.example.com
    srv _sips._tcp.example.com 1 1 5061 a.example.com
    srv _sip._tcp.example.com 1 1 5060 a.example.com.
    srv _sip._udp.example.com 20 1 5070 b.example.com
    srv _sip._udp.example.com 10 1 5080 a.example.com
    host a.example.com 192.0.2.1 2001:db8::1
    host b.example.com 192.0.2.2
    host example.com 192.0.2.9";

#[test]
fn rfc3263_section_4() {
    let udp = &[Transport::Udp][..];
    for (uri, spoken, found) in [
        // A literal address, with or without port and transport.
        ("sip:192.0.2.7", ALL, vec!["udp 192.0.2.7:5060"]),
        ("sip:192.0.2.7:5062;transport=tcp", ALL, vec!["tcp 192.0.2.7:5062"]),
        ("sip:[2001:db8::7];transport=tls", ALL, vec!["tls [2001:db8::7]:5061"]),
        ("sips:192.0.2.7", ALL, vec!["tls 192.0.2.7:5061"]),
        // A port: addresses only.
        ("sip:example.com:5070", ALL, vec!["udp 192.0.2.9:5070"]),
        ("sips:example.com:5071;transport=tcp", ALL, vec!["tls 192.0.2.9:5071"]),
        // A transport: SRV, then addresses.
        ("sip:Example.COM;transport=TCP", ALL, vec!["tcp 192.0.2.1:5060", "tcp [2001:db8::1]:5060"]),
        ("sip:b.example.com;transport=tls", ALL, vec!["tls 192.0.2.2:5061"]),
        // Neither: NAPTR in order, as far as we speak it.
        (
            "sip:example.com",
            ALL,
            vec![
                "tls 192.0.2.1:5061",
                "tls [2001:db8::1]:5061",
                "udp 192.0.2.1:5080",
                "udp [2001:db8::1]:5080",
                "udp 192.0.2.2:5070",
                "tcp 192.0.2.1:5060",
                "tcp [2001:db8::1]:5060",
            ],
        ),
        ("sip:example.com", udp, vec!["udp 192.0.2.1:5080", "udp [2001:db8::1]:5080", "udp 192.0.2.2:5070"]),
        ("sips:example.com", ALL, vec!["tls 192.0.2.1:5061", "tls [2001:db8::1]:5061"]),
        (
            "sip:192.0.2.7;maddr=example.com;transport=udp",
            udp,
            vec!["udp 192.0.2.1:5080", "udp [2001:db8::1]:5080", "udp 192.0.2.2:5070"],
        ),
        // Nothing there, or nothing we speak.
        ("sip:nowhere.example.com", ALL, vec!["tls 192.0.2.1:5061"; 0]),
        ("sips:example.com", udp, vec![]),
        ("sip:example.com;transport=tls", udp, vec![]),
    ] {
        let zone = if uri.contains("nowhere") { "" } else { ZONE };
        assert_eq!(locate(to(uri), spoken, zone, 1), found, "{uri}");
    }
    assert_eq!(Destination::of(&Uri::parse("sip:a;transport=sctp").unwrap()), None);
    assert_eq!(Destination::of(&Uri::parse("sips:a;transport=udp").unwrap()), None);
}

#[test]
fn without_naptr_each_transport_has_its_srv() {
    let zone = "srv _sip._tcp.example.com 1 1 5062 b\nhost b 192.0.2.2\nhost example.com 192.0.2.9";
    assert_eq!(locate(to("sip:example.com"), ALL, zone, 1), ["tcp 192.0.2.2:5062"]);
    let zone = "host example.com 192.0.2.9";
    assert_eq!(locate(to("sip:example.com"), ALL, zone, 1), ["udp 192.0.2.9:5060"]);
    // "." says that the service is not offered: RFC 2782.
    let zone = "srv _sip._udp.example.com 0 0 0 .\nhost example.com 192.0.2.9";
    assert_eq!(locate(to("sip:example.com;transport=udp"), ALL, zone, 1).len(), 0);
}

#[test]
fn weights_share_the_load() {
    let zone = "srv _sip._udp.h 1 30 1 a\nsrv _sip._udp.h 1 10 2 a\nsrv _sip._udp.h 1 0 3 a\n\
                srv _sip._udp.h 2 65535 4 a\nhost a 192.0.2.1";
    let mut first = [0_u32; 5];
    for seed in 0..4000 {
        let found = locate(to("sip:h;transport=udp"), ALL, zone, seed);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], "udp 192.0.2.1:4", "the lower priority is last");
        first[found[0].rsplit_once(':').unwrap().1.parse::<usize>().unwrap()] += 1;
        assert_eq!(found, locate(to("sip:h;transport=udp"), ALL, zone, seed), "the seed decides");
    }
    assert!((2700..3200).contains(&first[1]) && (800..1150).contains(&first[2]), "{first:?}");
    assert!((20..250).contains(&first[3]) && first[4] == 0, "{first:?}");
}

#[test]
fn a_certificate_is_for_the_name_that_was_asked_for() {
    let mut locator = Locator::new(to("sips:Example.com"), ALL, 1);
    while let Some(question) = locator.poll_question() {
        locator.handle_answer(&question, answer(ZONE, &question));
    }
    assert!(locator.finish().iter().all(|found| found.name == "Example.com"));
}

#[test]
fn a_zone_without_end_is_not_followed_without_end() {
    let mut locator = Locator::new(to("sip:h;transport=udp"), ALL, 1);
    let mut asked = 0;
    while let Some(question) = locator.poll_question() {
        asked += 1;
        let answer = match &question {
            Question::Addresses(_) => Answer::Addresses(vec![[192, 0, 2, 1].into(); 1000]),
            _ => Answer::Srv((0..5000).map(|n| srv(1, 1, 5060, &format!("host{n}.h"))).collect()),
        };
        locator.handle_answer(&question, answer);
    }
    assert!(asked <= MAX_QUESTIONS);
    assert!(locator.finish().len() <= MAX_CANDIDATES);
}

proptest::proptest! {
    /// Nothing is lost and nothing doubled, whatever the weights.
    #[test]
    fn ordering_is_a_permutation(records in proptest::collection::vec((0..3_u16, 0..5_u16, 1..9_u16), 0..12), seed: u64) {
        let records: Vec<Srv> = records.iter().map(|(p, w, port)| srv(*p, *w, *port, "h")).collect();
        let ordered = Locator::new(to("sip:192.0.2.1"), ALL, seed).ordered(records.clone());
        let sorted = |mut all: Vec<Srv>| {
            all.sort_by_key(|r| (r.priority, r.weight, r.port));
            all
        };
        proptest::prop_assert!(ordered.is_sorted_by_key(|record| record.priority));
        proptest::prop_assert_eq!(sorted(ordered), sorted(records));
    }
}
