//! The phones at trunkline itself: they register, call one another, and what each hears is judged.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::baresip::{Baresip, Setup, Transport};
use super::browser::{Browser, Library, WebPhone};
use super::linphonec::Linphonec;
use super::pairings::{Make, attended_transfer, connect, pairings};
use super::{Event, Line, Media, Phone, Registrar};
use crate::order::place;
use crate::server::{self, Server};
use crate::sound;
use crate::tool::wait_for;

/// Every user's password.
const PASSWORD: &str = "phone-password-4711";
const DOMAIN: &str = "office.test";

/// A server with users.
struct Office {
    server: Server,
    registrar: Registrar,
}

impl Office {
    fn start() -> Self {
        Self::of(Server::setup())
    }

    fn of(setup: server::Setup) -> Self {
        let mut server = setup.env("TRUNKLINE_SIP_DOMAIN", DOMAIN).start();
        server.secret(PASSWORD);
        let sip = server.sip();
        let registrar = Registrar {
            sip,
            tls: Some((sip.ip(), sip.port() + 1).into()),
            ws: server.url("/ws").replace("http", "ws"),
            domain: DOMAIN.to_owned(),
            joins_media: true,
            transfers: true,
        };
        Self { server, registrar }
    }

    /// Makes a user.
    #[track_caller]
    fn user(&self, name: &str, more: Value) {
        let mut user = json!({ "username": name, "password": PASSWORD });
        if let (Some(user), Value::Object(more)) = (user.as_object_mut(), more) {
            user.extend(more);
        }
        self.server.post("/v1/users", user).expect(201);
    }

    /// A user's line.
    fn line(&self, name: &str, hz: f64) -> Line {
        self.registrar.line(name, PASSWORD, hz)
    }

    /// A registered baresip of a user that there is.
    fn baresip(&self, name: &str, hz: f64, setup: &Setup) -> Option<Baresip> {
        let phone = Baresip::start(self.server.folder(), self.line(name, hz), &self.registrar, setup)?;
        phone.register();
        Some(phone)
    }

    /// Two users with a baresip each.
    fn two(&self) -> Option<(Baresip, Baresip)> {
        self.user("alice", json!({}));
        self.user("bob", json!({}));
        let setup = Setup::default();
        Some((self.baresip("alice", 440.0, &setup)?, self.baresip("bob", 650.0, &setup)?))
    }

    /// A user with a registered phone in a browser, which speaks these codecs only.
    fn web(&self, browser: &Rc<Browser>, name: &str, hz: f64, codecs: &[&str]) -> WebPhone {
        self.user(name, json!({}));
        let phone = browser.phone(self.line(name, hz), &self.registrar, Library::JsSip, codecs);
        phone.register();
        phone
    }

    /// Every make among `makes` calls every other one.
    #[track_caller]
    fn pair(makes: &[Make]) {
        Self::of(Server::setup().rtp_ports(128)).pairs(makes);
    }

    /// The same, browsers over TLS.
    #[track_caller]
    fn pair_over_tls(makes: &[Make]) {
        let mut office = Self::of(Server::setup().rtp_ports(128));
        office.registrar.ws = office.registrar.tls.map(|tls| format!("wss://{tls}")).expect("a TLS port");
        office.pairs(makes);
    }

    #[track_caller]
    fn pairs(&self, makes: &[Make]) {
        let password = |user: &str| {
            self.user(user, json!({}));
            PASSWORD.to_owned()
        };
        pairings(&self.registrar, password, makes);
    }
}

#[test]
fn phones_of_every_make_call_each_other() {
    let tcp = Setup { transport: Transport::Tcp, ..Setup::default() };
    Office::pair(&[Make::Baresip(tcp), Make::Linphonec(Transport::Udp), Make::Browser(Library::JsSip, &[])]);
}

#[test]
fn phones_with_all_kinds_of_media_call_each_other() {
    let sdes = Setup { transport: Transport::Tls, media: Media::Sdes, ..Setup::default() };
    Office::pair_over_tls(&[
        Make::Baresip(Setup::default()),
        Make::Baresip(sdes),
        Make::Browser(Library::SipJs, &["opus"]),
    ]);
}

#[test]
fn phones_register_over_every_transport() {
    let office = Office::start();
    office.user("alice", json!({}));
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let setup = Setup { transport, ..Setup::default() };
        if office.baresip("alice", 440.0, &setup).is_none() {
            return;
        }
    }
    office.user("carol", json!({ "algorithm": "SHA-256" }));
    let carol = office.line("carol", 440.0);
    let Some(carol) = Linphonec::start(office.server.folder(), carol, &office.registrar, Transport::Tcp)
    else {
        return;
    };
    carol.register();
}

#[test]
fn a_wrong_password_is_refused() {
    let office = Office::start();
    office.user("alice", json!({}));
    let line = office.registrar.line("alice", "wrong", 440.0);
    let Some(alice) = Baresip::start(office.server.folder(), line, &office.registrar, &Setup::default())
    else {
        return;
    };
    alice.start_registration();
    wait_for("a refusal", super::LIMIT, || {
        alice.events().iter().any(|event| matches!(event, Event::Refused(_))).then_some(())
    });
    assert!(!alice.events().contains(&Event::Registered));
}

/// Waits for the end of a call that was not answered, and says why it ended.
#[track_caller]
fn refusal(caller: &dyn Phone) -> String {
    caller.wait_ended();
    assert!(!caller.events().iter().any(|event| matches!(event, Event::Established(_))));
    caller.reason().unwrap_or_default()
}

#[test]
fn calls_that_are_not_answered() {
    let office = Office::of(Server::setup().env("TRUNKLINE_RING_TIMEOUT", "3s"));
    let Some((alice, bob)) = office.two() else { return };
    office.user("nobody", json!({}));
    let rings = || {
        alice.call(&bob.line().uri());
        bob.wait_incoming();
        alice.wait_ringing();
    };
    let start = Instant::now();
    alice.call("sip:nobody@office.test");
    assert!(refusal(&alice).contains("480"), "{:?}", alice.reason());
    assert!(start.elapsed() < Duration::from_secs(2), "who is not there is not waited for");
    alice.call("sip:stranger@office.test");
    assert!(refusal(&alice).contains("404"), "{:?}", alice.reason());

    rings();
    bob.hang_up();
    assert!(refusal(&alice).contains("486"), "{:?}", alice.reason());

    rings();
    alice.hang_up();
    refusal(&alice);
    bob.wait_ended();

    rings();
    assert!(refusal(&alice).contains("480"), "{:?}", alice.reason());
    bob.wait_ended();
}

#[test]
fn linphonec_asks_before_it_transfers() {
    let office = Office::start();
    let mut phones = Vec::new();
    for (user, hz) in [("carol", 440.0), ("carlos", 650.0), ("caren", 900.0)] {
        office.user(user, json!({}));
        let line = office.line(user, hz);
        let started = Linphonec::start(office.server.folder(), line, &office.registrar, Transport::Udp);
        let Some(phone) = started else { return };
        phone.register();
        phones.push(phone);
    }
    assert!(attended_transfer(&phones[0], &phones[1], &phones[2]));
}

#[test]
fn a_browser_asks_before_it_transfers() {
    let office = Office::start();
    let Some(browser) = Browser::start(office.server.folder()) else { return };
    let phone = |name: &str, hz: f64| office.web(&browser, name, hz, &[]);
    let (wendy, walter, wilma) = (phone("wendy", 440.0), phone("walter", 650.0), phone("wilma", 900.0));
    assert!(attended_transfer(&wendy, &walter, &wilma));
}

#[test]
fn the_first_of_two_phones_to_answer_takes_the_call() {
    let office = Office::start();
    let Some((alice, bob)) = office.two() else { return };
    let tcp = Setup { transport: Transport::Tcp, ..Setup::default() };
    let Some(desk) = office.baresip("bob", 900.0, &tcp) else { return };
    alice.call(&bob.line().uri());
    bob.wait_incoming();
    desk.wait_incoming();
    alice.wait_ringing();
    desk.answer();
    bob.wait_ended();
    alice.wait_established();
    alice.hears(900.0);
    desk.hears(440.0);
    desk.hang_up();
    alice.wait_ended();
}

#[test]
fn a_phone_calls_into_the_world() {
    let office = Office::start();
    let Some((alice, _)) = office.two() else { return };
    alice.call("sip:+12025550105@office.test");
    alice.wait_established();
    // It echoes what it hears.
    alice.hears(440.0);
    alice.hang_up();
    alice.wait_ended();
    let calls = office.server.get("/v1/calls").expect(200).json();
    let call = &calls["data"][0];
    assert!(call.is_object(), "{calls:#}");
    assert_eq!((&call["to"], &call["status"]), (&json!("+12025550105"), &json!("completed")), "{call:#}");
}

#[test]
fn a_flow_calls_a_phone() {
    let office = Office::start();
    let Some((alice, _)) = office.two() else { return };
    let tone = office.server.upload("tone.wav", sound::tone_wav(800.0, 30.0));
    let flow = json!([{ "say": { "text": "Hello Alice." } }, { "play": { "file": tone } }]);
    let call = place(&office.server, "alice", flow);
    alice.wait_incoming();
    alice.answer();
    alice.wait_established();
    alice.hears(800.0);
    alice.hang_up();
    alice.wait_ended();
    office.server.wait_for_end(&call, "completed");
}

#[test]
fn browsers_keep_their_codec_and_change_their_network() {
    let office = Office::start();
    let Some(browser) = Browser::start(office.server.folder()) else { return };
    let wendy = office.web(&browser, "wendy", 440.0, &[]);
    let walter = office.web(&browser, "walter", 650.0, &[]);
    connect(&wendy, &walter);
    let stats = wendy.stats();
    assert_eq!((&stats["codec"], &stats["dtls"]), (&"audio/opus".into(), &"connected".into()), "{stats}");
    wendy.reconnect();
    wendy.hears(650.0);
    walter.hears(440.0);
    walter.hang_up();
    wendy.wait_ended();

    // What both can speak needs no transcoding.
    office.user("bob", json!({}));
    let Some(bob) = office.baresip("bob", 900.0, &Setup { codecs: "PCMA", ..Setup::default() }) else {
        return;
    };
    connect(&wendy, &bob);
    assert_eq!(wendy.stats()["codec"], "audio/PCMA");
    wendy.hang_up();
    bob.wait_ended();
}
