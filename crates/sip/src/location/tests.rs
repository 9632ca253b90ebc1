use std::time::{Duration, Instant};

use super::*;
use crate::Builder;
use crate::message::Message;

mod many;
mod model;
mod registering;
mod time;

/// A table with one user's phone talking to it.
pub struct Desk {
    pub locations: Locations,
    pub limits: Limits,
    pub now: Instant,
    pub path: Path,
    pub call_id: String,
    pub cseq: u32,
}

pub fn udp(remote: &str) -> Path {
    Path::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap())
}

pub fn wss(port: u16) -> Path {
    let remote = ([203, 0, 113, 5], port).into();
    Path::new(Transport::Wss, "192.0.2.1:443".parse().unwrap(), remote)
}

/// A REGISTER with further header lines.
pub fn request(call_id: &str, cseq: u32, headers: &[&str]) -> Message {
    let lines = headers.iter().filter_map(|line| line.split_once(": "));
    let builder = Builder::request("REGISTER", "sip:example.com")
        .header("Via", "SIP/2.0/UDP 10.0.0.7:5060;branch=z9hG4bKa")
        .header("From", "<sip:alice@example.com>;tag=1")
        .header("To", "<sip:alice@example.com>")
        .header("Call-ID", call_id)
        .header("CSeq", &format!("{cseq} REGISTER"));
    Message::parse(lines.fold(builder, |builder, (name, value)| builder.header(name, value)).end()).unwrap()
}

impl Desk {
    pub fn new() -> Self {
        Self {
            locations: Locations::new(7),
            limits: Limits::default(),
            now: Instant::now(),
            path: udp("10.0.0.7:5060"),
            call_id: "one".into(),
            cseq: 0,
        }
    }

    /// A REGISTER of user 1 with the next CSeq.
    pub fn register(&mut self, headers: &[&str]) -> Result<Registered, Refusal> {
        self.cseq += 1;
        self.again(headers)
    }

    /// One with the same CSeq as the last.
    pub fn again(&mut self, headers: &[&str]) -> Result<Registered, Refusal> {
        let message = request(&self.call_id, self.cseq, headers);
        self.locations.register(1, &message.view(), self.path, &self.limits, self.now)
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.locations.handle_timeout(self.now);
    }

    /// The contacts of user 1 and how long they last.
    pub fn contacts(&self) -> Vec<(&str, u32)> {
        self.locations.bindings(1).map(|b| (b.contact(), b.expires_s(self.now))).collect()
    }

    pub fn changes(&mut self) -> Vec<Change> {
        std::iter::from_fn(|| self.locations.poll_change()).collect()
    }
}

/// The Contact values of an answer.
pub fn listed(registered: &Registered) -> Vec<&str> {
    let contacts = registered.headers.iter().filter(|(name, _)| *name == "Contact");
    contacts.map(|(_, value)| value.as_str()).collect()
}
