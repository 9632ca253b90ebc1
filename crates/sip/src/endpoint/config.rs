use std::time::Duration;

use crate::Transport;
use crate::method::Method;
use crate::timing::Timing;

/// How an [`Endpoint`](crate::Endpoint) behaves, and how large it may grow.
#[derive(Clone, Debug)]
pub struct Config {
    /// Written into User-Agent and Server.
    pub user_agent: String,
    /// Round-trip time estimate, 500 ms (RFC 3261 table 4).
    pub t1: Duration,
    /// The longest retransmission interval, 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network, 5 s.
    pub t4: Duration,
    /// The most legs at once; beyond, an INVITE is answered 503 with Retry-After.
    pub max_legs: usize,
    /// The most transactions at once; beyond, an INVITE is answered 503 with Retry-After.
    pub max_transactions: usize,
    /// The most stream connections at once; bytes on further ones are answered with a close.
    pub max_streams: usize,
    /// The longest message on a stream, in bytes.
    pub max_message: usize,
    /// Requests longer than this, in bytes, take TCP where UDP was asked for, and UDP after all where TCP is
    /// refused (RFC 3261 section 18.1.1). `None` leaves every request on the transport asked for.
    pub max_datagram: Option<usize>,
    /// Whether 18x to incoming calls are acknowledged (RFC 3262). Where the caller requires it they always are.
    pub reliable: Reliable,
    /// The session timer asked of callers (RFC 4028). Without one, what a caller asks for is still done.
    pub session_timer: Option<SessionTimer>,
    /// Whether the driver decides about INVITE outside dialogs and REGISTER: both become
    /// [`Event::Request`](crate::Event::Request) and nothing is kept of them before. If not, an INVITE becomes a leg
    /// at once and REGISTER is refused.
    pub asks: bool,
}

/// Whether provisional responses are to be acknowledged (RFC 3262).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reliable {
    /// Not offered; done all the same where the other side requires it.
    #[default]
    Off,
    /// Offered: the other side decides.
    Supported,
    /// Insisted on: who does not know it is refused, or refuses.
    Required,
}

/// A session timer as it is asked for (RFC 4028): a call whose other side falls silent ends after `expires_s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionTimer {
    /// The interval wanted, in seconds; 90 at least. 1,800 is usual.
    pub expires_s: u32,
    /// The shortest interval accepted, in seconds; 90 at least.
    pub min_se_s: u32,
    /// Who is asked to refresh.
    pub refresher: Refresher,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self { expires_s: 1_800, min_se_s: 90, refresher: Refresher::Uas }
    }
}

/// Who keeps a session timer from running out (RFC 4028 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    /// Who sent the INVITE: we, for a call of ours.
    Uac,
    /// Who answered it.
    Uas,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            user_agent: "trunkline".to_owned(),
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            max_legs: 10_000,
            max_transactions: 100_000,
            max_streams: 10_000,
            max_message: 64 * 1024,
            max_datagram: Some(1300),
            reliable: Reliable::Off,
            session_timer: None,
            asks: false,
        }
    }
}

impl Config {
    pub(super) fn timing(&self) -> Timing {
        Timing { t1: self.t1, t2: self.t2, t4: self.t4 }
    }
}

/// What an endpoint holds and has seen. `legs` and `transactions` are of this moment, all others only grow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Legs that exist.
    pub legs: usize,
    /// Client and server transactions that exist.
    pub transactions: usize,
    /// Requests that arrived, retransmissions included.
    pub requests_in: u64,
    /// Requests sent, retransmissions included.
    pub requests_out: u64,
    /// Requests that arrived, by method, in the order of [`Self::METHODS`].
    pub methods_in: [u64; 14],
    /// Requests sent, likewise.
    pub methods_out: [u64; 14],
    /// Messages that arrived, by transport, in the order of [`Self::TRANSPORTS`].
    pub messages_in: [u64; 5],
    /// Messages sent, likewise.
    pub messages_out: [u64; 5],
    /// Responses that arrived, by class: index 0 is 1xx, index 5 is 6xx.
    pub responses_in: [u64; 6],
    /// Responses sent, by class: index 0 is 1xx, index 5 is 6xx.
    pub responses_out: [u64; 6],
    /// Requests and responses that arrived again.
    pub retransmissions_in: u64,
    /// Requests and responses sent again.
    pub retransmissions_out: u64,
    /// Datagrams and streams that held no SIP message.
    pub parse_errors: u64,
    /// Requests of ours that got no final response in time (timers B and F), and refusals of ours that got no ACK
    /// (timer H).
    pub timeouts: u64,
    /// Messages that were SIP but were absorbed: stray responses, bad ACKs, and what no answer can reach.
    pub absorbed: u64,
}

impl Stats {
    /// The methods requests are counted by; the last stands for all others.
    pub const METHODS: [&'static str; 14] = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "INFO",
        "UPDATE",
        "PRACK",
        "REFER",
        "NOTIFY",
        "SUBSCRIBE",
        "MESSAGE",
        "other",
    ];

    /// The classes responses are counted by.
    pub const CLASSES: [&'static str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

    /// The transports messages are counted by.
    pub const TRANSPORTS: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

    pub(super) fn count_in(&mut self, method: Option<Method<'_>>, transport: Transport) {
        count(&mut self.messages_in, transport as usize);
        if let Some(method) = method {
            self.requests_in += 1;
            count(&mut self.methods_in, index(method));
        }
    }

    pub(super) fn count_out(&mut self, method: Option<Method<'_>>, transport: Transport) {
        count(&mut self.messages_out, transport as usize);
        if let Some(method) = method {
            self.requests_out += 1;
            count(&mut self.methods_out, index(method));
        }
    }
}

/// Where a method is counted.
fn index(method: Method<'_>) -> usize {
    match method {
        Method::Invite => 0,
        Method::Ack => 1,
        Method::Bye => 2,
        Method::Cancel => 3,
        Method::Options => 4,
        Method::Register => 5,
        Method::Info => 6,
        Method::Update => 7,
        Method::Prack => 8,
        Method::Refer => 9,
        Method::Notify => 10,
        Method::Subscribe => 11,
        Method::Message => 12,
        Method::Publish | Method::Other(_) => 13,
    }
}

fn count(counts: &mut [u64], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_and_transport_is_counted_in_its_place() {
        for (at, name) in Stats::METHODS.into_iter().enumerate() {
            assert_eq!(index(Method::new(name)), at, "{name}");
        }
        for (at, transport) in Stats::TRANSPORTS.into_iter().enumerate() {
            assert_eq!(transport as usize, at, "{transport:?}");
        }
    }
}
