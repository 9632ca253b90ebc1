//! Where a peer is: the name lookups behind [`sip::locate`], cached by their time to live.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver as Lookups, TokioResolver};
use sip::Transport;
use sip::locate::{Answer, Candidate, Destination, Locator, Naptr, Question, Srv};

use crate::switch::Target;

/// What is spoken, the preferred first.
const SPOKEN: &[Transport] = &[Transport::Udp, Transport::Tcp, Transport::Tls];
/// How long all questions about one peer may take.
const LONGEST: Duration = Duration::from_secs(10);
/// How long one name server may take for one question; it is asked twice.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Answers kept, those that say "no such name" included.
const CACHE: u64 = 4096;
/// The longest an answer is kept, whatever its record says.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// The longest the absence of a record is kept.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(60);
/// How long a target that failed is tried last.
const AVOIDED: Duration = Duration::from_secs(60);
/// Targets remembered as failed; beyond, the memory starts anew.
const MAX_FAILED: usize = 1024;

/// Finds peers. Clones share their cache.
#[derive(Clone)]
pub struct Resolver {
    lookups: Arc<TokioResolver>,
    listen: IpAddr,
    failed: Arc<Mutex<HashMap<(Transport, SocketAddr), Instant>>>,
}

impl Resolver {
    /// A resolver for a server whose SIP sockets are bound to `listen`. `servers` are asked instead of those of
    /// the system, where there are any.
    ///
    /// # Errors
    /// The resolver cannot be built; it opens no socket yet.
    pub fn new(servers: &[SocketAddr], listen: IpAddr) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match servers {
            // Without a readable resolv.conf there is still the hosts file.
            [] => TokioResolver::builder(provider.clone()).unwrap_or_else(|error| {
                tracing::warn!(%error, "the system's name servers are not known; only the hosts file is read");
                Lookups::builder_with_config(ResolverConfig::from_name_servers(Vec::new()), provider)
            }),
            servers => {
                let servers = servers.iter().copied().map(name_server).collect();
                Lookups::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
            }
        };
        adjust(builder.options_mut());
        let lookups = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { lookups: Arc::new(lookups), listen, failed: Arc::default() })
    }

    /// Where requests to a host go (RFC 3263), in the order to be tried in: targets that failed lately come last. The
    /// error says why there is nowhere to go.
    pub async fn locate(
        &self,
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
    ) -> Result<Vec<Target>, String> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        self.find(Destination { host, port, transport, secure: false }).await
    }

    /// As [`Self::locate`], for a destination that a URI names.
    pub async fn find(&self, destination: Destination) -> Result<Vec<Target>, String> {
        let host = destination.host.clone();
        let (candidates, trouble) = match tokio::time::timeout(LONGEST, self.ask(destination)).await {
            Ok(found) => found,
            Err(_) => (Vec::new(), Some(format!("the name server did not answer within {LONGEST:?}"))),
        };
        if candidates.is_empty() {
            let why = trouble.unwrap_or_else(|| "it has no address".into());
            return Err(format!("{host} cannot be resolved: {why}"));
        }
        let usable = self.usable(&host, candidates)?;
        Ok(self.failed_last(usable, Instant::now()))
    }

    /// Takes note that a target could not be reached, did not answer, or said 503: for a minute others go first.
    pub fn failed(&self, target: &Target) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MAX_FAILED {
            failed.clear();
        }
        failed.insert((target.transport, target.remote), Instant::now() + AVOIDED);
    }

    /// Every candidate, and what went wrong last.
    async fn ask(&self, destination: Destination) -> (Vec<Candidate>, Option<String>) {
        let mut seed = [0; 8];
        // Without randomness the shares of SRV weights are off, and nothing else.
        let _ = getrandom::fill(&mut seed);
        let mut locator = Locator::new(destination, SPOKEN, u64::from_le_bytes(seed));
        let mut trouble = None;
        let mut asked = FuturesUnordered::new();
        loop {
            while let Some(question) = locator.poll_question() {
                asked.push(async move {
                    let answer = self.answer(&question).await;
                    (question, answer)
                });
            }
            let Some((question, answer)) = asked.next().await else { break };
            let answer = answer.unwrap_or_else(|why| {
                trouble = Some(why);
                Answer::None
            });
            locator.handle_answer(&question, answer);
        }
        (locator.finish(), trouble)
    }

    async fn answer(&self, question: &Question) -> Result<Answer, String> {
        match question {
            // Service names are whole: the system's search list is for host names.
            Question::Naptr(name) => {
                let records = self.lookups.lookup(format!("{name}."), RecordType::NAPTR).await;
                let records = records.map_err(|error| explain(&error))?;
                let read = records.answers().iter().filter_map(|record| match &record.data {
                    RData::NAPTR(naptr) => Some(Naptr {
                        order: naptr.order,
                        preference: naptr.preference,
                        flags: String::from_utf8_lossy(&naptr.flags).into_owned(),
                        service: String::from_utf8_lossy(&naptr.services).into_owned(),
                        replacement: naptr.replacement.to_ascii(),
                    }),
                    _ => None,
                });
                Ok(Answer::Naptr(read.collect()))
            }
            Question::Srv(name) => {
                let records = self.lookups.lookup(format!("{name}."), RecordType::SRV).await;
                let records = records.map_err(|error| explain(&error))?;
                let read = records.answers().iter().filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: srv.target.to_ascii(),
                    }),
                    _ => None,
                });
                Ok(Answer::Srv(read.collect()))
            }
            Question::Addresses(host) => {
                let found = self.lookups.lookup_ip(host.as_str()).await.map_err(|error| explain(&error))?;
                Ok(Answer::Addresses(found.iter().collect()))
            }
        }
    }

    /// The candidates that can be reached from the address SIP is bound to.
    fn usable(&self, host: &str, candidates: Vec<Candidate>) -> Result<Vec<Target>, String> {
        let listen = self.listen;
        let of_family = candidates.into_iter().filter(|it| it.address.is_ipv4() == listen.is_ipv4());
        let of_family: Vec<Candidate> = of_family.collect();
        if of_family.is_empty() {
            return Err(format!(
                "{host} has no address of the kind SIP is bound to ({listen}; setting sip_listen)"
            ));
        }
        let reachable =
            of_family.into_iter().filter(|it| !listen.is_loopback() || it.address.ip().is_loopback());
        let targets: Vec<Target> = reachable.map(Target::from).collect();
        if targets.is_empty() {
            return Err(format!(
                "{host} cannot be reached while SIP is bound to {listen} (setting sip_listen)"
            ));
        }
        Ok(targets)
    }

    fn failed_last(&self, targets: Vec<Target>, now: Instant) -> Vec<Target> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, until| *until > now);
        let (last, mut first): (Vec<Target>, Vec<Target>) =
            targets.into_iter().partition(|target| failed.contains_key(&(target.transport, target.remote)));
        first.extend(last);
        first
    }
}

impl From<Candidate> for Target {
    fn from(candidate: Candidate) -> Self {
        let Candidate { transport, address, name } = candidate;
        let server_name = (transport == Transport::Tls).then(|| name.into());
        Self { transport, remote: address, server_name }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn adjust(options: &mut ResolverOpts) {
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.cache_size = CACHE;
    options.positive_max_ttl = Some(MAX_TTL);
    options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

/// A failed lookup in words.
fn explain(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            "there is no such name".into()
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => {
            "it has no address".into()
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            format!("the name server said {}", none.response_code)
        }
        NetError::Timeout => "the name server did not answer".into(),
        NetError::NoConnections => "no name server can be reached".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
