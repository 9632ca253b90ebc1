//! A loop with a real socket, and a browser at the other end of it.

#[path = "../../../media/tests/browser/mod.rs"]
mod browser;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use media::sdp::Local;
use media::{Clip, Codec, FRAME_TIME, Setup, web};
use str0m::config::DtlsVersion;

use super::*;
use browser::Browser;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Long before this everything has happened.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with a socket.
struct There {
    browser: Browser,
    socket: UdpSocket,
    next: Instant,
}

impl There {
    fn new() -> Self {
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let now = Instant::now();
        let browser = Browser::new(socket.local_addr().unwrap(), DtlsVersion::Dtls12, now);
        Self { browser, socket, next: now }
    }

    fn run(&mut self, what: &str, is_done: impl Fn(&Browser) -> bool) {
        let start = Instant::now();
        while !is_done(&self.browser) {
            assert!(start.elapsed() < PATIENCE, "{what}");
            let mut packet = [0; 1500];
            let received = self.socket.recv_from(&mut packet);
            let now = Instant::now();
            if let Ok((n, from)) = received {
                self.browser.receive(&packet[..n], from, now);
            }
            self.browser.wake(now);
            while self.next <= now {
                self.next += FRAME_TIME;
                self.browser.tick(now);
            }
            while let Some((_, to, bytes)) = self.browser.poll() {
                self.socket.send_to(&bytes, to).unwrap();
            }
        }
    }
}

fn loudest(heard: &[i16]) -> u16 {
    heard.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default()
}

#[test]
fn a_browser_is_a_leg_and_two_share_a_port() {
    let poll = mio::Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let (sink, events) = Sink::new(waker);
    let media = Media::start(LOOPBACK, 31_000..=31_999, 1).unwrap();
    let mut theirs = Vec::new();
    for n in 1..=2 {
        let line = media.open_web(&sink).unwrap();
        let local = Local::new(LOOPBACK, line.port, vec![Codec::Pcmu, Codec::Opus], n);
        let mut there = There::new();
        let offer = there.browser.offer();
        let fresh = Media::credentials().unwrap();
        let (answer, negotiated) = web::answer(offer.as_bytes(), &local, &line.local, None, fresh).unwrap();
        assert_eq!(answer.matches("a=candidate").count(), 1, "{answer}");
        let setup = Setup {
            negotiated: negotiated.clone(),
            ssrc: browser::SSRC,
            sequence: 1,
            timestamp: 1,
            cname: "leg".to_owned(),
            record: false,
            silence_after: None,
        };
        media.start_session(line.id, setup, None, false).unwrap();
        there.browser.accept(&answer, Instant::now());
        theirs.push((line, local, negotiated, there));
    }
    let (first, second) = (&theirs[0].0, &theirs[1].0);
    assert_eq!(first.port, second.port);
    media.echo(first.id).unwrap();
    media.play(second.id, 5, Clip::tone(440.0, 60_000, 0.5)).unwrap();
    for (.., there) in &mut theirs {
        there.run("no connection", |browser| browser.is_connected);
        there.browser.heard.clear();
        let now = Instant::now();
        there.browser.session.as_mut().unwrap().play(1, Clip::tone(440.0, 60_000, 0.5), now);
        there.run("nothing heard", |browser| loudest(&browser.heard) > 5000);
    }
    // The first goes elsewhere: another socket, another pair.
    let (line, local, negotiated, there) = &mut theirs[0];
    there.socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    there.socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let moved: SocketAddr = there.socket.local_addr().unwrap();
    let offer = there.browser.move_to(moved);
    let fresh = Media::credentials().unwrap();
    let (answer, negotiated) =
        web::answer(offer.as_bytes(), local, &line.local, Some(&*negotiated), fresh).unwrap();
    media.update(line.id, negotiated).unwrap();
    there.browser.accept(&answer, Instant::now());
    there.browser.heard.clear();
    there.run("silence after moving", |browser| loudest(&browser.heard) > 5000);
    for (line, ..) in &theirs {
        media.close(line.id);
    }
    for _ in 0..2 {
        let closed = loop {
            match events.recv_timeout(PATIENCE).unwrap() {
                Event::Closed(id, closed) => break (id, closed),
                Event::Session(..) | Event::Recorded(..) => {}
            }
        };
        assert!(closed.1.stats.packets_received > 0 && closed.1.stats.unauthentic == 0, "{closed:?}");
        if closed.0 == theirs[0].0.id {
            assert_eq!(closed.1.stats.source, Some(moved));
        }
    }
    media.exit();
}
