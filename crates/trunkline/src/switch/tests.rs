//! Calls that come in, over real sockets: caller and phones are sockets that this test reads and writes.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use call::{Attempt, AttemptKind, Round, Route, RouteId, Spec, Strategy, Then, Verb};
use crossbeam_channel::bounded;
use mio::{Events, Poll, Waker};

use super::admission::Admission;
use super::inbound::Arrival;
use super::run::{Loop, Parts};
use super::{Dial, Place, SIP, Shared, Target, WAKER};
use crate::callers::Callers;
use crate::dns::Resolver;
use crate::endpoint::{Endpoint, Listen, Trust};
use crate::id::Id;
use crate::registrar::Registrar;
use crate::rtp::{self, Media};
use crate::store::bindings::Bindings;
use crate::store::{MasterKey, Store};
use crate::trunk::TrunkSettings;

const PATIENCE: Duration = Duration::from_secs(10);

/// A call loop that is turned by hand, and takes in whatever comes with one flow.
struct House {
    looped: Loop,
    address: SocketAddr,
    admission: Arc<Admission>,
    phones: Vec<Phone>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn build(phones: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("db").display());
        let store = Store::open(&url, &MasterKey::parse(&"a1".repeat(32)).unwrap()).await.unwrap();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listen = Listen { address: loopback, external: None, tcp: false };
        let registry = poll.registry().try_clone().unwrap();
        let endpoint =
            Endpoint::bind(listen, sip::Config::default(), Trust::none(), [7; 32], registry, SIP).unwrap();
        let (sink, media_events) = rtp::Sink::new(waker.clone());
        let admission = Admission::new(10);
        let (bindings, kept) = Bindings::open(&folder.path().join("bindings.db"), 0, waker).unwrap();
        let registrar = Registrar::new(1, kept, |_| None, Instant::now());
        let callers =
            Callers::new(store.directory().clone(), Default::default(), [1; 32], "localhost".into());
        Self {
            address: endpoint.address(),
            looped: Loop::new(
                Parts {
                    poll,
                    endpoint,
                    commands: bounded(1).1,
                    media: Media::start(loopback.ip(), 30_000..=40_000, 1).unwrap(),
                    sink,
                    media_events,
                    store,
                    resolver: Resolver::new(&[], loopback.ip()).unwrap(),
                    shared: Arc::new(Shared::default()),
                    admission: admission.clone(),
                    recordings: folder.path().to_owned(),
                },
                callers,
                registrar,
                bindings,
                None,
            ),
            admission,
            phones: (0..phones).map(|_| Phone::new()).collect(),
            _folder: folder,
        }
    }

    /// One turn of the loop: whoever calls is put through to all phones at once.
    fn turn(&mut self) {
        let mut ready = Events::with_capacity(64);
        self.looped.parts.poll.poll(&mut ready, Some(Duration::from_millis(5))).unwrap();
        let now = Instant::now();
        self.looped.parts.endpoint.read_on(now);
        self.looped.parts.endpoint.handle_timeout(now);
        while let Some(event) = self.looped.parts.endpoint.poll_event(now) {
            match event {
                sip::Event::Incoming { leg, request, path } => {
                    let offer = request.body().to_vec();
                    let settings = TrunkSettings::default();
                    let place = self.place();
                    self.looped.arrive(Arrival { leg, path, offer, settings, user: None }, place, now);
                }
                event => self.looped.sip_event(event, now),
            }
        }
        while let Ok(event) = self.looped.parts.media_events.try_recv() {
            self.looped.media_event(event, now);
        }
    }

    fn place(&self) -> Place {
        let attempts = self.phones.iter().map(|_| Attempt {
            trunk: None,
            kind: AttemptKind::User,
            destination: "phone".into(),
            caller_id: None,
            strategy: Strategy::SipInvite,
        });
        let ring_timeout = Duration::from_secs(20);
        let round = Round { attempts: attempts.collect(), ring_timeout, then: Then::Always };
        let dial = Verb::Dial(Box::new(call::Dial {
            to: "phone".into(),
            route: Route { id: RouteId(1), rounds: vec![round] },
            max_duration: Duration::from_secs(60),
            ringback: None,
            is_final: false,
        }));
        Place {
            id: Id::new().unwrap(),
            account: 1,
            spec: Spec::new(vec![dial], Route::default()),
            clips: Vec::new(),
            routes: vec![Vec::new(), self.phones.iter().map(|phone| phone.dial(self.address)).collect()],
            recording: None,
            slot: self
                .admission
                .admit(1, &call::Quota::default(), Instant::now())
                .unwrap_or_else(|_| panic!()),
        }
    }

    fn phones(&self) -> Vec<Phone> {
        self.phones.iter().map(|phone| Phone(phone.0.try_clone().unwrap())).collect()
    }

    /// Turns until this phone has got a message that begins so, and returns it.
    fn until(&mut self, phone: &Phone, start: &str) -> String {
        let began = Instant::now();
        let mut got = Vec::new();
        while began.elapsed() < PATIENCE {
            self.turn();
            while let Some(message) = phone.receive() {
                if message.starts_with(start) {
                    return message;
                }
                got.push(message);
            }
        }
        panic!("no {start}, but {got:?}");
    }
}

/// A socket that speaks SIP as this test has it say.
struct Phone(UdpSocket);

impl Phone {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn dial(&self, from: SocketAddr) -> Dial {
        let uri = format!("sip:phone@{}", self.address());
        Dial {
            target: Ok(Target::udp(self.address())),
            request_uri: uri.clone(),
            from_display: None,
            from_uri: format!("sip:us@{from}"),
            to_uri: uri,
            contact_user: None,
            route: Vec::new(),
            headers: Vec::new(),
            credentials: None,
            trunk: None,
            settings: TrunkSettings::default(),
            simulated: false,
            phone: None,
        }
    }

    fn receive(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let (length, _) = self.0.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn sdp(&self) -> String {
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
            .into()
    }

    fn call(&self, to: SocketAddr, method: &str, cseq: u32, tag: &str, body: &str) {
        let us = self.address();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let message = format!(
            "{method} sip:100@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:caller@{us}>;tag=a\r\nTo: <sip:100@{to}>{tag}\r\nCall-ID: in@{us}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:caller@{us}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        self.0.send_to(message.as_bytes(), to).unwrap();
    }

    fn respond(&self, to: SocketAddr, request: &str, status: &str, body: &str) {
        let headers: HashMap<&str, &str> = request.lines().filter_map(|line| line.split_once(": ")).collect();
        let tag = if headers["To"].contains("tag=") { "" } else { ";tag=b" };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let message = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:phone@{}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            headers["Via"],
            headers["From"],
            headers["To"],
            headers["Call-ID"],
            headers["CSeq"],
            self.address(),
            body.len(),
        );
        self.0.send_to(message.as_bytes(), to).unwrap();
    }
}

fn to_tag(response: &str) -> String {
    let to = response.lines().find(|line| line.starts_with("To: ")).unwrap();
    format!(";tag={}", to.rsplit("tag=").next().unwrap())
}

#[tokio::test]
async fn a_call_that_comes_in_rings_all_phones_and_one_takes_it() {
    let mut house = House::build(2).await;
    let (caller, us) = (Phone::new(), house.address);
    let phones = house.phones();
    caller.call(us, "INVITE", 1, "", &caller.sdp());
    let invites: Vec<String> = phones.iter().map(|phone| house.until(phone, "INVITE")).collect();
    for (phone, invite) in phones.iter().zip(&invites) {
        phone.respond(us, invite, "180 Ringing", "");
    }
    house.until(&caller, "SIP/2.0 180");
    phones[1].respond(us, &invites[1], "200 OK", &phones[1].sdp());
    let canceled = house.until(&phones[0], "CANCEL");
    assert!(canceled.contains("Reason: SIP;cause=200;text=\"Call completed elsewhere\""), "{canceled}");
    house.until(&phones[1], "ACK");
    let answer = house.until(&caller, "SIP/2.0 200");
    assert!(answer.contains("m=audio"), "{answer}");
    caller.call(us, "ACK", 1, &to_tag(&answer), "");
    assert_eq!(house.looped.by_media.len(), 2, "the one that was not taken has no sound");
    // The caller hangs up, and with it the phone.
    caller.call(us, "BYE", 2, &to_tag(&answer), "");
    house.until(&caller, "SIP/2.0 200");
    house.until(&phones[1], "BYE");
    let began = Instant::now();
    while !house.looped.calls.is_empty() && began.elapsed() < PATIENCE {
        house.turn();
    }
    assert!(
        house.looped.calls.is_empty() && house.looped.by_leg.is_empty() && house.looped.by_media.is_empty()
    );
}

#[tokio::test]
async fn a_caller_without_an_offer_gets_one_with_the_answer() {
    let mut house = House::build(1).await;
    let (caller, us) = (Phone::new(), house.address);
    let phone = house.phones().remove(0);
    caller.call(us, "INVITE", 1, "", "");
    let invite = house.until(&phone, "INVITE");
    phone.respond(us, &invite, "183 Session Progress", &phone.sdp());
    assert!(!house.until(&caller, "SIP/2.0 180").contains("m=audio"));
    phone.respond(us, &invite, "200 OK", &phone.sdp());
    let answer = house.until(&caller, "SIP/2.0 200");
    assert!(answer.contains("m=audio"), "{answer}");
    caller.call(us, "ACK", 1, &to_tag(&answer), &caller.sdp());
    house.until(&phone, "ACK");
    // Once this is answered, what came before it has been read.
    phone.call(us, "OPTIONS", 9, "", "");
    house.until(&phone, "SIP/2.0 200");
    let entry = house.looped.calls.iter().next().unwrap().1;
    assert!(entry.legs.iter().all(|leg| leg.media.as_ref().is_some_and(|line| line.negotiated.is_some())));
}

#[tokio::test]
async fn early_media_and_refusals_reach_the_caller() {
    let mut house = House::build(1).await;
    let (caller, us) = (Phone::new(), house.address);
    let phone = house.phones().remove(0);
    caller.call(us, "INVITE", 1, "", &caller.sdp());
    let invite = house.until(&phone, "INVITE");
    phone.respond(us, &invite, "183 Session Progress", &phone.sdp());
    assert!(house.until(&caller, "SIP/2.0 183").contains("m=audio"));
    phone.respond(us, &invite, "486 Busy Here", "");
    let refused = house.until(&caller, "SIP/2.0 486");
    assert!(refused.contains("Reason: Q.850;cause=17"), "{refused}");
}

mod transfers;
