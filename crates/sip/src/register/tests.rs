use super::*;
use crate::Transport;

const SECOND: Duration = Duration::from_secs(1);

fn registrar() -> Registrar {
    Registrar {
        path: Path::new(Transport::Udp, ([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 9], 5060).into()),
        uri: "sip:example.com".into(),
        address_of_record: "sip:me@example.com".into(),
        contact: "sip:me@192.0.2.1:5060".into(),
        call_id: "registration-1".into(),
        expires_s: 300,
        route: Vec::new(),
        credentials: None,
    }
}

/// A registration whose registrar is the test itself.
struct Bench {
    registration: Registration,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { registration: Registration::new(registrar(), 1, now), start: now, now }
    }

    /// Waits for the next REGISTER: how long that took, in seconds, and the Expires it asks for.
    fn next(&mut self) -> Option<(u64, String)> {
        let from = self.now;
        for _ in 0..10 {
            if let Some(outside) = self.registration.poll_output(self.now) {
                assert_eq!(outside.contact.as_deref(), Some("<sip:me@192.0.2.1:5060>"));
                return Some(((self.now - from).as_secs(), outside.headers[0].1.clone()));
            }
            self.now = self.now.max(self.registration.poll_timeout()?);
            self.registration.handle_timeout(self.now);
        }
        panic!("{:?} wakes for nothing", self.registration);
    }

    fn answer(&mut self, status: &str, headers: &str) -> &RegistrationState {
        let text = format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        self.outcome(Ok(Message::parse(text.into_bytes().into()).unwrap()))
    }

    fn outcome(&mut self, result: Result<Message, FailureKind>) -> &RegistrationState {
        self.registration.handle_response(&result, self.now);
        self.registration.state()
    }

    /// How long the binding lasts from now, in seconds.
    fn lifetime(&self) -> Option<u64> {
        match self.registration.state() {
            RegistrationState::Registered { until } => Some((*until - self.now).as_secs()),
            _ => None,
        }
    }
}

#[test]
fn our_bindings_own_lifetime_counts() {
    for (headers, lifetime) in [
        ("Contact: <sip:me@192.0.2.1:5060>;expires=120\r\n", Some(120)),
        ("Contact: <sip:me@192.0.2.1:5060>\r\nExpires: 90\r\n", Some(90)),
        ("Contact: <sip:me@192.0.2.1:5060>\r\n", Some(300)),
        ("Expires: 60\r\n", Some(60)),
        ("", Some(300)),
        // Other bindings of the same address of record are not ours.
        (
            "Contact: <sip:phone@198.51.100.7>;expires=9, <sip:me@192.0.2.1:5060>;expires=100\r\nExpires: 7\r\n",
            Some(100),
        ),
        ("Contact: <sip:me@198.51.100.7:1>;expires=9, <sip:me@192.0.2.1:5060>;expires=100\r\n", Some(100)),
        // Rewritten on the way through a NAT.
        ("Contact: <sip:me@203.0.113.5:41234;transport=udp>;expires=80\r\n", Some(80)),
        ("Contact: <sip:me@192.0.2.1:5060>;expires=99999999\r\n", Some(604_800)),
        ("Contact: <sip:phone@198.51.100.7>;expires=60\r\n", None),
        ("Contact: <sip:me@192.0.2.1:5060>;expires=0\r\n", None),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.next(), Some((0, "300".into())));
        bench.answer("200 OK", headers);
        assert_eq!(bench.lifetime(), lifetime, "{headers}");
    }
}

#[test]
fn it_is_refreshed_before_it_runs_out() {
    let mut bench = Bench::new();
    bench.next();
    for _ in 0..20 {
        bench.answer("200 OK", "Contact: <sip:me@192.0.2.1:5060>;expires=1000\r\n");
        let (after, expires) = bench.next().unwrap();
        assert!((750..=900).contains(&after) && expires == "300", "{after}");
        assert!(bench.lifetime().is_some());
    }
}

#[test]
fn failures_are_repeated_ever_more_slowly() {
    let mut bench = Bench::new();
    bench.next();
    for most in [30, 60, 120, 240, 480, 960, 1800, 1800] {
        bench.outcome(Err(FailureKind::Timeout));
        assert!(matches!(bench.registration.state(), RegistrationState::Failing { .. }));
        let (after, _) = bench.next().unwrap();
        assert!((most / 2..=most).contains(&after), "{after} of {most}");
    }
    bench.answer("200 OK", "");
    bench.next();
    bench.answer("500 Server Error", "");
    assert!(bench.next().unwrap().0 <= 30, "a success starts anew");
    bench.answer("503 Service Unavailable", "Retry-After: 600 (maintenance)\r\n");
    assert!((600..=660).contains(&bench.next().unwrap().0));
}

#[test]
fn a_binding_outlives_a_refresh_that_failed() {
    let mut bench = Bench::new();
    bench.next();
    bench.answer("200 OK", "");
    bench.next();
    bench.answer("503 Service Unavailable", "Retry-After: 500\r\n");
    assert!(bench.lifetime().is_some());
    assert_eq!(bench.registration.last_trouble().unwrap().status, Some(503));
    bench.now = bench.start + SECOND * 301;
    bench.registration.handle_timeout(bench.now);
    match bench.registration.state() {
        RegistrationState::Failing { trouble, retry_at } => {
            assert_eq!((trouble.status, trouble.text.as_str()), (Some(503), "Service Unavailable"));
            assert!(*retry_at > bench.now);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_longer_lifetime_is_asked_for_once() {
    let mut bench = Bench::new();
    bench.next();
    bench.answer("423 Interval Too Brief", "Min-Expires: 3600\r\n");
    assert_eq!(bench.next(), Some((0, "3600".into())));
    bench.answer("423 Interval Too Brief", "Min-Expires: 7200\r\n");
    assert!(bench.next().unwrap().0 >= 15, "not at once again");
    for headers in ["", "Min-Expires: 1\r\n", "Min-Expires: x\r\n", "Min-Expires: 999999999\r\n"] {
        let mut bench = Bench::new();
        bench.next();
        bench.answer("423 Interval Too Brief", headers);
        assert!(bench.next().unwrap().0 >= 15, "{headers}");
    }
}

#[test]
fn a_refusal_is_final_until_it_ever_worked() {
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found", "407 Proxy Authentication Required"]
    {
        let mut bench = Bench::new();
        bench.next();
        assert!(matches!(bench.answer(status, ""), RegistrationState::Refused { .. }), "{status}");
        assert!((3240..=3960).contains(&bench.next().unwrap().0), "{status}");
        bench.answer("200 OK", "");
        bench.next();
        bench.answer(status, "");
        assert!((15..=30).contains(&bench.next().unwrap().0), "{status}: it worked before");
    }
}

#[test]
fn other_settings_are_tried_at_once() {
    let mut bench = Bench::new();
    bench.next();
    bench.answer("403 Forbidden", "");
    bench.registration.restart(Registrar { expires_s: 60, ..registrar() }, bench.now);
    assert_eq!(bench.next(), Some((0, "60".into())));
    bench.answer("200 OK", "");
    assert_eq!(bench.lifetime(), Some(60));
    // Also while a request is on its way.
    bench.next();
    bench.registration.restart(registrar(), bench.now);
    bench.answer("200 OK", "");
    assert_eq!(bench.next(), Some((0, "300".into())));
}

#[test]
fn service_route_is_kept_while_registered() {
    let mut bench = Bench::new();
    bench.next();
    bench.answer("200 OK", "Service-Route: <sip:edge.example.com;lr>, <sip:home.example.com;lr>\r\n");
    assert_eq!(
        bench.registration.service_route(),
        ["<sip:edge.example.com;lr>", "<sip:home.example.com;lr>"]
    );
    bench.registration.close(bench.now);
    bench.next();
    bench.answer("200 OK", "");
    assert!(bench.registration.service_route().is_empty());
}

#[test]
fn closing_takes_the_binding_away() {
    // Registered.
    let mut bench = Bench::new();
    bench.next();
    bench.answer("200 OK", "");
    bench.registration.close(bench.now);
    bench.registration.close(bench.now);
    assert_eq!(bench.next(), Some((0, "0".into())));
    assert_eq!(bench.answer("200 OK", ""), &RegistrationState::Closed);
    assert_eq!((bench.next(), bench.registration.poll_timeout()), (None, None));
    // With a REGISTER on its way.
    let mut bench = Bench::new();
    bench.next();
    bench.registration.close(bench.now);
    bench.answer("200 OK", "");
    assert_eq!(bench.next(), Some((0, "0".into())));
    assert_eq!(bench.outcome(Err(FailureKind::Timeout)), &RegistrationState::Closed);
    assert_eq!(bench.next(), None);
    // Never registered.
    let mut bench = Bench::new();
    bench.registration.close(bench.now);
    assert_eq!(bench.registration.state(), &RegistrationState::Closed);
    assert_eq!(bench.next(), None);
}
