mod floods;
mod properties;
mod rules;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::Transport;

/// A shield in virtual time.
struct World {
    shield: Shield,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Self { shield: Shield::new(settings, [3; 32], now), now }
    }

    fn wait(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn admit(&mut self, text: &str, path: &Path) -> Verdict {
        self.shield.admit(&Peek::of(text.as_bytes(), path), self.now)
    }

    fn passes(&mut self, text: &str, path: &Path) -> bool {
        self.admit(text, path) == Verdict::Pass
    }

    fn note(&mut self, path: &Path, evidence: Evidence<'_>, times: usize) {
        for _ in 0..times {
            self.shield.note(path, evidence, self.now);
        }
    }

    fn listed(&mut self, address: &str) -> Option<Shielded> {
        let prefix: Prefix = address.parse().unwrap();
        self.shield.list(usize::MAX, self.now).into_iter().find(|listed| listed.source == prefix)
    }

    fn level(&mut self, address: &str) -> Level {
        self.listed(address).map_or(Level::Clear, |listed| listed.level)
    }
}

fn path(transport: Transport, remote: &str) -> Path {
    Path::new(transport, "192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap())
}

fn udp(remote: &str) -> Path {
    path(Transport::Udp, remote)
}

fn udp_from(remote: SocketAddr) -> Path {
    Path::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), remote)
}

const REGISTER: &str = "REGISTER sip:example.com SIP/2.0\r\nTo: <sip:a@example.com>\r\n\r\n";
const INVITE: &str = "INVITE sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>\r\n\r\n";
const OPTIONS: &str = "OPTIONS sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>\r\n\r\n";
const ACK: &str = "ACK sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>\r\n\r\n";
const BYE: &str = "BYE sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>;tag=1\r\n\r\n";
const REFER: &str = "REFER sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>\r\n\r\n";
const RESPONSE: &str = "SIP/2.0 200 OK\r\n\r\n";
const SCANNER: &str = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: Friendly-Scanner 1\r\n\r\n";

const PROVEN: Evidence<'static> = Evidence::WrongPassword { user: "a@example.com", proven: true };
const CLAIMED: Evidence<'static> = Evidence::WrongPassword { user: "a@example.com", proven: false };
