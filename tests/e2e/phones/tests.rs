//! The phones against Kamailio: they themselves work before anything of ours stands between them.
//!
//! Kamailio leaves the media to the phones, so each kind of media is paired with itself only.

use tempfile::TempDir;

use super::baresip::{Baresip, Setup, Transport};
use super::browser::{Browser, Library};
use super::kamailio::{Kamailio, PASSWORD};
use super::linphonec::Linphonec;
use super::pairings::{Make, attended_transfer, connect, pairings};
use super::sipsak::Sipsak;
use super::{Event, Media, Phone};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Every make among `makes` with every other one.
fn pair(makes: &[Make]) {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    pairings(&office.registrar, |_| PASSWORD.to_owned(), makes);
}

#[test]
fn phones_with_plain_media() {
    let tcp = Setup { transport: Transport::Tcp, ..Setup::default() };
    pair(&[Make::Baresip(tcp), Make::Linphonec(Transport::Udp)]);
}

#[test]
fn phones_with_keys_in_the_sdp() {
    pair(&[Make::Baresip(Setup { transport: Transport::Tls, media: Media::Sdes, ..Setup::default() })]);
}

#[test]
fn phones_with_dtls_and_ice() {
    let setup = Setup { media: Media::Dtls, ..Setup::default() };
    pair(&[Make::Baresip(setup), Make::Browser(Library::JsSip, &["PCMU"])]);
}

#[test]
fn phones_of_two_libraries() {
    pair(&[Make::Browser(Library::JsSip, &["PCMU"]), Make::Browser(Library::SipJs, &["PCMU"])]);
}

#[test]
fn baresip_registers_over_every_transport() {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let setup = Setup { transport, ..Setup::default() };
        let line = office.line("alice", 440.0);
        let Some(alice) = Baresip::start(folder.path(), line, &office.registrar, &setup) else { return };
        alice.register();
    }
}

#[test]
fn linphonec_registers_over_udp_and_tcp() {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    for transport in [Transport::Udp, Transport::Tcp] {
        let line = office.line("carol", 440.0);
        let Some(carol) = Linphonec::start(folder.path(), line, &office.registrar, transport) else { return };
        carol.register();
    }
}

#[test]
fn sipsak_asks_and_registers() {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    let Some(sipsak) = Sipsak::find() else { return };
    assert!(sipsak.options(&office.registrar));
    assert!(sipsak.register(folder.path(), &office.registrar, &office.line("sid", 440.0)));
    assert!(!sipsak.register(
        folder.path(),
        &office.registrar,
        &office.registrar.line("sid", "wrong", 440.0)
    ));
}

#[test]
fn a_wrong_password_is_noticed_by_every_make() {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    let line = |user| office.registrar.line(user, "wrong", 440.0);
    let refused = |phone: &dyn Phone| {
        phone.start_registration();
        crate::tool::wait_for("a refusal", super::LIMIT, || {
            phone.events().iter().any(|event| matches!(event, Event::Refused(_))).then_some(())
        });
        assert!(!phone.events().contains(&Event::Registered));
    };
    let setup = Setup::default();
    let Some(alice) = Baresip::start(folder.path(), line("alice"), &office.registrar, &setup) else { return };
    refused(&alice);
    let Some(carol) = Linphonec::start(folder.path(), line("carol"), &office.registrar, Transport::Udp)
    else {
        return;
    };
    refused(&carol);
    let Some(browser) = Browser::start(folder.path()) else { return };
    refused(&browser.phone(line("wendy"), &office.registrar, Library::JsSip, &[]));
}

/// What only browsers do: Opus, a network that changes in the call, a transfer that is announced.
#[test]
fn browsers_among_themselves() {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    let Some(browser) = Browser::start(folder.path()) else { return };
    let phone = |user, hz| {
        let phone = browser.phone(office.line(user, hz), &office.registrar, Library::JsSip, &["opus"]);
        phone.register();
        phone
    };
    let (wendy, walter, wilma) = (phone("wendy", 440.0), phone("walter", 650.0), phone("wilma", 900.0));
    connect(&wendy, &walter);
    let stats = wendy.stats();
    assert_eq!((&stats["codec"], &stats["dtls"]), (&"audio/opus".into(), &"connected".into()), "{stats}");

    wendy.reconnect();
    wendy.hears(650.0);
    walter.hears(440.0);

    wendy.hang_up();
    walter.wait_ended();
    assert!(attended_transfer(&wendy, &walter, &wilma));
}

#[test]
fn linphonec_asks_before_it_transfers() {
    let folder = folder();
    let Some(office) = Kamailio::start(folder.path()) else { return };
    let mut phones = Vec::new();
    for (user, hz) in [("carol", 440.0), ("carlos", 650.0), ("caren", 900.0)] {
        let line = office.line(user, hz);
        let Some(phone) = Linphonec::start(folder.path(), line, &office.registrar, Transport::Udp) else {
            return;
        };
        phones.push(phone);
    }
    phones.iter().for_each(Phone::register);
    assert!(attended_transfer(&phones[0], &phones[1], &phones[2]));
}
