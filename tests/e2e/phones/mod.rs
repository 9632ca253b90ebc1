//! Real phones: they register somewhere, call each other, and what they hear is judged.
//!
//! A test speaks to all of them with the words of [`Phone`]; where they register is a [`Registrar`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sound::{RATE, Sound};
use crate::tool::wait_for;

pub mod baresip;
pub mod browser;
pub mod ear;
pub mod kamailio;
pub mod linphonec;
mod page_server;
pub mod pairings;
pub mod sipsak;

mod tests;
mod trunkline;

/// How long anything that phones do by themselves may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where phones register and what they call through.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// SIP over UDP and TCP.
    pub sip: SocketAddr,
    /// SIP over TLS, if it is spoken.
    pub tls: Option<SocketAddr>,
    /// SIP over WebSocket, such as `ws://127.0.0.1:8080/ws`.
    pub ws: String,
    /// The host part of its users' addresses.
    pub domain: String,
    /// Each leg has media of its own, so that a phone with SRTP can speak with one without; a proxy leaves the media
    /// to the phones.
    pub joins_media: bool,
    /// Whether phones may send each other on (REFER).
    pub transfers: bool,
}

/// Who a phone is.
#[derive(Clone, Debug)]
pub struct Line {
    pub user: String,
    pub password: String,
    pub domain: String,
    /// The tone it plays into every call, in Hz.
    pub hz: f64,
}

impl Registrar {
    /// A user of its domain.
    pub fn line(&self, user: &str, password: &str, hz: f64) -> Line {
        Line { user: user.to_owned(), password: password.to_owned(), domain: self.domain.clone(), hz }
    }
}

impl Line {
    /// Its address of record.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

/// What protects the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// RTP as it is.
    Plain,
    /// SRTP, its keys in the SDP (RFC 4568); nothing else is taken.
    Sdes,
    /// SRTP keyed by DTLS (RFC 5764), the way found by ICE (RFC 8445).
    Dtls,
}

/// What a phone says has happened; calls go by the phone's own names for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Registered,
    /// The registration was refused, in the phone's words.
    Refused(String),
    /// A call came in and rings here.
    Incoming(String),
    /// Our call rings at the other end.
    Ringing(String),
    Established(String),
    /// A call is over, in the phone's words.
    Ended(String, String),
    /// The other side pressed a key.
    Digit(char),
}

/// How far a call is that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Incoming,
    Ringing,
    Established,
}

/// A phone of whatever make. Most verbs only start something; `wait_…` says when it has happened.
pub trait Phone {
    /// Who it is.
    fn line(&self) -> &Line;
    /// What it has said so far.
    fn events(&self) -> Vec<Event>;
    /// What it has heard so far, by call.
    fn heard(&self) -> BTreeMap<String, Sound>;

    fn start_registration(&self);
    fn call(&self, uri: &str);
    fn answer(&self);
    fn hang_up(&self);
    /// Puts the call on hold; waits until the other side has agreed.
    fn hold(&self);
    /// Takes it off hold; waits likewise.
    fn resume(&self);
    /// Sends keys as telephone events (RFC 4733).
    fn press(&self, digits: &str);
    /// Sends the other side of the call to `uri` (RFC 3515).
    fn blind_transfer(&self, uri: &str);
    /// Joins the other sides of its two calls (RFC 3891); `false` where this make cannot.
    fn attended_transfer(&self) -> bool {
        false
    }

    /// The keys it received in the call that came last.
    fn digits(&self) -> String {
        let mut digits = String::new();
        for event in self.events() {
            match event {
                Event::Established(_) => digits.clear(),
                Event::Digit(digit) => digits.push(digit),
                _ => {}
            }
        }
        digits
    }

    /// Registers and waits for the registrar's consent.
    #[track_caller]
    fn register(&self) {
        self.start_registration();
        wait_for(&format!("the registration of {}", self.line().user), LIMIT, || {
            let events = self.events();
            let refused = events.iter().find(|event| matches!(event, Event::Refused(_)));
            assert!(refused.is_none(), "{}: {refused:?}", self.line().user);
            events.contains(&Event::Registered).then_some(())
        });
    }

    /// Waits until a call rings here.
    #[track_caller]
    fn wait_incoming(&self) {
        self.wait_state("an incoming call", &[State::Incoming]);
    }

    /// Waits until its call rings at the other end.
    #[track_caller]
    fn wait_ringing(&self) {
        self.wait_state("a ringing call", &[State::Ringing]);
    }

    /// Waits until it has one call, and that is answered.
    #[track_caller]
    fn wait_established(&self) {
        self.wait_state("one answered call", &[State::Established]);
    }

    /// Waits until it has two calls, both answered.
    #[track_caller]
    fn wait_both_established(&self) {
        self.wait_state("two answered calls", &[State::Established; 2]);
    }

    /// Waits until it has no call, and has had one.
    #[track_caller]
    fn wait_ended(&self) {
        self.wait_state("the end of its calls", &[]);
        assert!(self.reason().is_some(), "{} had no call", self.line().user);
    }

    /// Why its last call ended, in its own words.
    fn reason(&self) -> Option<String> {
        self.events().into_iter().rev().find_map(|event| match event {
            Event::Ended(_, reason) => Some(reason),
            _ => None,
        })
    }

    #[track_caller]
    fn wait_state(&self, what: &str, wanted: &[State]) {
        wait_for_or(
            LIMIT,
            || states(&self.events()) == wanted,
            || format!("{} waited in vain for {what}: {:#?}", self.line().user, self.events()),
        );
    }

    /// Waits until it hears this tone and nothing else.
    #[track_caller]
    fn hears(&self, hz: f64) {
        let before = self.heard();
        let last = Cell::new(None);
        wait_for_or(
            LIMIT,
            || {
                self.heard().into_iter().any(|(call, sound)| {
                    let known = before.get(&call).map_or(0, |sound| sound.0.len());
                    let new = &sound.0[known.min(sound.0.len())..];
                    // What came last, all of it later than the question.
                    let Some(end) = new.len().checked_sub(RATE as usize * 3 / 10) else { return false };
                    let end = Sound(new[end..].to_vec());
                    last.set(end.frequency().map(|found| (found, end.share_throughout(hz), end.rms())));
                    last.get().is_some_and(|(found, share, level)| {
                        (found / hz - 1.0).abs() < 0.02 && share > 0.8 && level > 0.05
                    })
                })
            },
            || {
                format!(
                    "{} does not hear {hz} Hz; frequency, share and level: {:?}",
                    self.line().user,
                    last.get()
                )
            },
        );
    }

    /// Waits until it has heard nothing for 400 ms.
    #[track_caller]
    fn hears_nothing(&self) {
        let length = |heard: &BTreeMap<String, Sound>, call: &str| heard.get(call).map_or(0, |s| s.0.len());
        let mut before = self.heard();
        let mut since = Instant::now();
        wait_for_or(
            LIMIT,
            || {
                let now = self.heard();
                let loud = now.iter().any(|(call, sound)| {
                    let new = sound.0.iter().skip(length(&before, call));
                    new.into_iter().any(|sample| sample.abs() > 0.05)
                });
                if loud {
                    (before, since) = (now, Instant::now());
                }
                since.elapsed() > Duration::from_millis(400)
            },
            || format!("{} still hears something", self.line().user),
        );
    }

    /// Whether it learns of keys by ear alone.
    fn has_only_ears(&self) -> bool {
        false
    }
}

/// Presses keys on one phone and waits until the other one has received exactly these. Who has only ears may miss one
/// when it gets no processor for a while: it is told again, up to three times.
#[track_caller]
fn press_for(one: &dyn Phone, other: &dyn Phone, digits: &str) {
    for n in 1.. {
        one.press(digits);
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let heard = other.digits();
            if heard == digits || (other.has_only_ears() && heard.ends_with(digits)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        assert!(
            other.has_only_ears() && n < 3,
            "{} was sent {digits:?} and received {:?}",
            other.line().user,
            other.digits()
        );
    }
}

/// The calls that are not over, oldest first.
fn states(events: &[Event]) -> Vec<State> {
    let mut calls: Vec<(&str, State)> = Vec::new();
    for event in events {
        let (id, state) = match event {
            Event::Incoming(id) => (id, Some(State::Incoming)),
            Event::Ringing(id) => (id, Some(State::Ringing)),
            Event::Established(id) => (id, Some(State::Established)),
            Event::Ended(id, _) => (id, None),
            _ => continue,
        };
        let known = calls.iter().position(|(known, _)| known == id);
        match (known, state) {
            (Some(known), Some(state)) => calls[known].1 = state,
            (Some(known), None) => drop(calls.remove(known)),
            (None, Some(state)) => calls.push((id, state)),
            (None, None) => {}
        }
    }
    calls.into_iter().map(|(_, state)| state).collect()
}

/// Waits for something with a message made only when it did not come.
#[track_caller]
fn wait_for_or(limit: Duration, mut ready: impl FnMut() -> bool, why: impl FnOnce() -> String) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < limit, "after {limit:?}: {}", why());
        std::thread::sleep(Duration::from_millis(40));
    }
}
