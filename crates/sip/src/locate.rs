//! Where a request goes: the DNS procedures of RFC 3263 section 4, without the DNS.
//!
//! A [`Locator`] asks questions and takes answers until [`Locator::finish`] lists the candidates in the order they are
//! to be tried in.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::Transport;
use crate::uri::{Host, Uri};

/// Candidates listed at the most.
const MAX_CANDIDATES: usize = 32;
/// Questions asked for one target at the most: a hostile zone must not keep us asking.
const MAX_QUESTIONS: usize = 32;

/// One place to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// The name a TLS certificate must be for: the one that was asked for, not what DNS led to (RFC 5922
    /// section 4).
    pub name: String,
}

/// What to look for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// A host name or a literal address, without brackets.
    pub host: String,
    /// The port, where one is named: then there is no SRV.
    pub port: Option<u16>,
    /// The transport, where one is named: then there is no NAPTR.
    pub transport: Option<Transport>,
    /// Whether only TLS will do: a `sips` URI.
    pub secure: bool,
}

impl Destination {
    /// Where a request to a URI goes. None where it names a transport that is not spoken, or `sips` over UDP.
    pub fn of(uri: &Uri<'_>) -> Option<Self> {
        let transport = match uri.params.get("transport") {
            Some(value) => Some(Transport::of_param(value).filter(|transport| !transport.is_web())?),
            None => None,
        };
        // `sips` with transport=tcp means TLS over TCP (RFC 3261 section 26.2.2).
        let transport = match (uri.secure, transport) {
            (true, Some(Transport::Udp)) => return None,
            (true, Some(_)) => Some(Transport::Tls),
            (_, transport) => transport,
        };
        let host = uri.params.get("maddr").filter(|maddr| !maddr.is_empty());
        let host = match (host, uri.host) {
            (Some(maddr), _) => maddr.trim_start_matches('[').trim_end_matches(']').to_owned(),
            (None, Host::Ip(ip)) => ip.to_string(),
            (None, Host::Domain(name)) => name.to_owned(),
        };
        Some(Self { host, port: uri.port, transport, secure: uri.secure })
    }
}

/// A question to DNS. Names have no final dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Question {
    /// NAPTR records of a domain.
    Naptr(String),
    /// SRV records, such as of `_sip._udp.example.com`.
    Srv(String),
    /// A and AAAA records of a host.
    Addresses(String),
}

/// What DNS answered; [`Answer::None`] where there is nothing or the question failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// No such records.
    None,
    /// NAPTR records, in any order.
    Naptr(Vec<Naptr>),
    /// SRV records, in any order.
    Srv(Vec<Srv>),
    /// Addresses, the preferred first.
    Addresses(Vec<IpAddr>),
}

/// A NAPTR record (RFC 3403), as far as SIP reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naptr {
    /// Lower goes first.
    pub order: u16,
    /// Among equal orders, lower goes first.
    pub preference: u16,
    /// Only `s` counts: the replacement has SRV records.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub service: String,
    /// Where to look next.
    pub replacement: String,
}

/// A SRV record (RFC 2782).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    /// Lower goes first.
    pub priority: u16,
    /// Among equal priorities, the share of requests that tries this one first.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; empty for "not offered here".
    pub target: String,
}

/// Finds the way to one destination.
#[derive(Debug)]
pub struct Locator {
    destination: Destination,
    /// Transports we speak, the preferred first.
    spoken: Vec<Transport>,
    rng: ChaCha20Rng,
    questions: VecDeque<Question>,
    asked: usize,
    /// SRV names by rank: which is tried first, and over what.
    services: Vec<(String, Transport)>,
    srv: BTreeMap<String, Vec<Srv>>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Host, port and transport in the order to be tried in, once that is known.
    hosts: Vec<(String, u16, Transport)>,
    outstanding: usize,
}

impl Locator {
    /// Starts looking. `spoken` are the transports that may be used, the preferred first; `seed` decides between
    /// SRV records of equal priority.
    pub fn new(destination: Destination, spoken: &[Transport], seed: u64) -> Self {
        let secure = destination.secure;
        let spoken = spoken.iter().copied().filter(|t| !secure || *t == Transport::Tls).collect();
        let mut locator = Self {
            destination,
            spoken,
            rng: ChaCha20Rng::seed_from_u64(seed),
            questions: VecDeque::new(),
            asked: 0,
            services: Vec::new(),
            srv: BTreeMap::new(),
            addresses: BTreeMap::new(),
            hosts: Vec::new(),
            outstanding: 0,
        };
        locator.begin();
        locator
    }

    /// The next question; call until `None`, then again after each answer. Questions may be asked at the same time.
    pub fn poll_question(&mut self) -> Option<Question> {
        let question = self.questions.pop_front()?;
        self.outstanding += 1;
        Some(question)
    }

    /// Takes in the answer to a question that was polled.
    pub fn handle_answer(&mut self, question: &Question, answer: Answer) {
        self.outstanding = self.outstanding.saturating_sub(1);
        match (question, answer) {
            (Question::Naptr(_), answer) => {
                let records = if let Answer::Naptr(records) = answer { records } else { Vec::new() };
                self.on_naptr(records);
            }
            (Question::Srv(name), answer) => {
                let records = if let Answer::Srv(records) = answer { records } else { Vec::new() };
                self.srv.insert(name.clone(), records);
                if self.services.iter().all(|(name, _)| self.srv.contains_key(name)) {
                    self.on_all_srv();
                }
            }
            (Question::Addresses(host), answer) => {
                let found = if let Answer::Addresses(found) = answer { found } else { Vec::new() };
                self.addresses.insert(host.clone(), found);
            }
        }
    }

    /// Whether everything is known: no question is left, and none unanswered.
    pub fn is_done(&self) -> bool {
        self.questions.is_empty() && self.outstanding == 0
    }

    /// The candidates in the order they are to be tried in; empty where the destination does not exist.
    pub fn finish(self) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for (host, port, transport) in &self.hosts {
            let name = self.destination.host.trim_end_matches('.').to_owned();
            let found = match host.parse::<IpAddr>() {
                Ok(ip) => vec![ip],
                Err(_) => self.addresses.get(&key(host)).cloned().unwrap_or_default(),
            };
            for ip in found {
                let address = SocketAddr::new(ip, *port);
                let candidate = Candidate { transport: *transport, address, name: name.clone() };
                if !candidates.contains(&candidate) {
                    candidates.push(candidate);
                }
            }
        }
        candidates.truncate(MAX_CANDIDATES);
        candidates
    }

    /// RFC 3263 section 4.1 and 4.2: what is there to be asked.
    fn begin(&mut self) {
        let Destination { host, port, transport, secure } = self.destination.clone();
        let default = match secure {
            true => Some(Transport::Tls),
            // UDP where nothing else is said, if it is spoken at all.
            false => {
                Some(Transport::Udp).filter(|udp| self.spoken.contains(udp)).or(self.spoken.first().copied())
            }
        };
        let Some(default) = transport.or(default).filter(|transport| self.spoken.contains(transport)) else {
            return;
        };
        let is_literal = host.parse::<IpAddr>().is_ok();
        match (is_literal, port, transport) {
            (true, ..) | (_, Some(_), _) => {
                self.hosts.push((host.clone(), port.unwrap_or(default.default_port()), default));
                if !is_literal {
                    self.ask(Question::Addresses(key(&host)));
                }
            }
            (false, None, Some(transport)) => self.ask_services(vec![(service(&host, transport), transport)]),
            (false, None, None) => self.ask(Question::Naptr(key(&host))),
        }
    }

    fn on_naptr(&mut self, mut records: Vec<Naptr>) {
        records.sort_by_key(|record| (record.order, record.preference));
        let usable = records.iter().filter_map(|record| {
            let transport = match record.service.to_ascii_uppercase().as_str() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            let is_srv = record.flags.eq_ignore_ascii_case("s") && !record.replacement.is_empty();
            (is_srv && self.spoken.contains(&transport)).then(|| (key(&record.replacement), transport))
        });
        let services: Vec<(String, Transport)> = usable.collect();
        match services.is_empty() {
            false => self.ask_services(services),
            // Without NAPTR, SRV is asked for each transport we speak.
            true => {
                let host = self.destination.host.clone();
                let each = self.spoken.iter().map(|transport| (service(&host, *transport), *transport));
                self.ask_services(each.collect());
            }
        }
    }

    fn ask_services(&mut self, services: Vec<(String, Transport)>) {
        for (name, transport) in services {
            if !self.services.iter().any(|(known, _)| *known == name) {
                self.ask(Question::Srv(name.clone()));
                self.services.push((name, transport));
            }
        }
    }

    fn on_all_srv(&mut self) {
        let mut is_listed = false;
        for (name, transport) in std::mem::take(&mut self.services) {
            let records = self.srv.remove(&name).unwrap_or_default();
            // Even "." as the only target says that there are such records (RFC 2782).
            is_listed |= !records.is_empty();
            for record in self.ordered(records) {
                let host = record.target.trim_end_matches('.');
                if !host.is_empty() && record.port != 0 {
                    self.hosts.push((key(host), record.port, transport));
                }
            }
        }
        if !is_listed {
            // No SRV at all: the host itself, on the default port (RFC 3263 section 4.2).
            let Destination { host, transport, secure, .. } = self.destination.clone();
            let fallback = if secure { Transport::Tls } else { Transport::Udp };
            let transport = transport
                .or(Some(fallback).filter(|transport| self.spoken.contains(transport)))
                .or(self.spoken.first().copied());
            if let Some(transport) = transport {
                self.hosts.push((key(&host), transport.default_port(), transport));
            }
        }
        self.hosts.truncate(MAX_CANDIDATES);
        let mut hosts: Vec<String> = self.hosts.iter().map(|(host, ..)| host.clone()).collect();
        hosts.sort();
        hosts.dedup();
        for host in hosts {
            if host.parse::<IpAddr>().is_err() {
                self.ask(Question::Addresses(host));
            }
        }
    }

    /// The order of RFC 2782: by priority, and within one at random by weight.
    fn ordered(&mut self, mut records: Vec<Srv>) -> Vec<Srv> {
        // What has no weight stands first, so that it is chosen only where the lot falls on zero.
        records.sort_by_key(|record| (record.priority, record.weight));
        let mut ordered = Vec::with_capacity(records.len());
        while let Some(first) = records.first() {
            let priority = first.priority;
            let group = records.iter().take_while(|record| record.priority == priority);
            let total: u64 = group.map(|record| u64::from(record.weight)).sum();
            let lot = self.rng.next_u64() % (total + 1);
            let mut sum = 0;
            let chosen = records.iter().position(|record| {
                sum += u64::from(record.weight);
                sum >= lot
            });
            ordered.push(records.remove(chosen.unwrap_or(0)));
        }
        ordered
    }

    fn ask(&mut self, question: Question) {
        if self.asked < MAX_QUESTIONS {
            self.asked += 1;
            self.questions.push_back(question);
        }
    }
}

/// The SRV name of a domain's SIP service.
fn service(host: &str, transport: Transport) -> String {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls | Transport::Ws | Transport::Wss => "_sips._tcp",
    };
    format!("{prefix}.{}", key(host))
}

/// A name as it is compared: in lower case, without the final dot.
fn key(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
