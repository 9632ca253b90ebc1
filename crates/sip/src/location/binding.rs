use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::plan::Wanted;
use crate::lex;
use crate::name_addr::NameAddr;
use crate::uri::Uri;
use crate::{Path, Transport};

/// One place a user registered at.
#[derive(Clone, Debug)]
pub struct Binding {
    pub(super) user: u64,
    pub(super) key: u64,
    pub(super) contact: Box<str>,
    /// Path values, joined by commas.
    pub(super) route: Option<Box<str>>,
    pub(super) call_id: Box<str>,
    pub(super) cseq: u32,
    pub(super) q: u16,
    /// 0 stands for none.
    pub(super) reg_id: u32,
    pub(super) instance: Option<Box<str>>,
    pub(super) user_agent: Option<Box<str>>,
    pub(super) flow: Path,
    pub(super) expires_at: Instant,
    pub(super) ping_at: Option<Instant>,
    pub(super) unanswered: u8,
    pub(super) lost: bool,
}

/// A binding as it is stored: plain data. The Call-ID and CSeq are those of its last REGISTER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Whose it is.
    pub user: u64,
    /// Names it among all bindings.
    pub key: u64,
    /// The registered URI.
    pub contact: String,
    /// Path values, joined by commas, the nearest to us first (RFC 3327); may be empty.
    pub route: String,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// How much it is wanted, 0 to 1,000.
    pub q: u16,
    /// Which device it is (RFC 5626), without quotes.
    pub instance: Option<String>,
    /// Which of the device's flows it is; 0 for none.
    pub reg_id: u32,
    /// User-Agent, cut.
    pub user_agent: Option<String>,
    /// How long it still lasts, in seconds.
    pub expires_s: u32,
    /// How its flow is carried.
    pub transport: Transport,
    /// Our side of its flow.
    pub local: SocketAddr,
    /// The other side of its flow, as we see it.
    pub remote: SocketAddr,
}

/// Where a request to a binding goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The Request-URI: the registered contact.
    pub request_uri: String,
    /// What to send it on: the flow the phone registered over. Of a phone behind a proxy that named itself by an
    /// address, over UDP, that address.
    pub path: Path,
    /// Route values (RFC 3327), mostly none.
    pub route: Vec<String>,
}

impl Binding {
    /// Whose it is.
    pub fn user(&self) -> u64 {
        self.user
    }

    /// Names it among all bindings, for as long as it lasts.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The registered URI.
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// Which device it is (RFC 5626).
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// What the phone calls itself, 128 bytes at most.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// How much it is wanted, 0 to 1,000.
    pub fn q(&self) -> u16 {
        self.q
    }

    /// The flow it registered over.
    pub fn flow(&self) -> Path {
        self.flow
    }

    /// Whether its connection is closed, or three pings in a row had no answer: calls to it need not be tried.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// When it ends.
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// How long it still lasts, in seconds, rounded up.
    pub fn expires_s(&self, now: Instant) -> u32 {
        let left = self.expires_at.saturating_duration_since(now);
        u32::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
    }

    /// Where a request to it goes.
    pub fn target(&self) -> Target {
        let routes = || self.route.iter().flat_map(|route| lex::values(route));
        let hop = routes().next().and_then(|route| NameAddr::parse(route).ok());
        let hop = hop.and_then(|route| route.sip_uri().ok()?.socket_addr());
        let remote = hop.filter(|_| self.flow.transport == Transport::Udp).unwrap_or(self.flow.remote);
        Target {
            request_uri: without_headers(&self.contact).to_owned(),
            path: Path { remote, ..self.flow },
            route: routes().map(str::to_owned).collect(),
        }
    }

    pub(super) fn restored(saved: Saved, now: Instant) -> Self {
        let text = |text: String| text.into_boxed_str();
        Self {
            user: saved.user,
            key: saved.key,
            contact: text(saved.contact),
            route: Some(saved.route).filter(|route| !route.is_empty()).map(text),
            call_id: text(saved.call_id),
            cseq: saved.cseq,
            q: saved.q,
            reg_id: saved.reg_id,
            instance: saved.instance.map(text),
            user_agent: saved.user_agent.map(text),
            flow: Path::new(saved.transport, saved.local, saved.remote),
            expires_at: now + Duration::from_secs(saved.expires_s.into()),
            ping_at: None,
            unanswered: 0,
            lost: saved.transport.is_reliable(),
        }
    }

    pub(super) fn saved(&self, now: Instant) -> Saved {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Saved {
            user: self.user,
            key: self.key,
            contact: self.contact.to_string(),
            route: text(&self.route).unwrap_or_default(),
            call_id: self.call_id.to_string(),
            cseq: self.cseq,
            q: self.q,
            instance: text(&self.instance),
            reg_id: self.reg_id,
            user_agent: text(&self.user_agent),
            expires_s: self.expires_s(now),
            transport: self.flow.transport,
            local: self.flow.local,
            remote: self.flow.remote,
        }
    }

    /// Whether a contact of a REGISTER means this flow of this device.
    pub(super) fn is_same_flow(&self, wanted: &Wanted<'_>) -> bool {
        self.reg_id != 0 && self.reg_id == wanted.reg_id && self.instance.as_deref() == wanted.instance
    }

    /// Whether a contact of a REGISTER means this place; flows of one device may share it.
    pub(super) fn is_same_place(&self, wanted: &Wanted<'_>) -> bool {
        (self.reg_id == 0 || wanted.reg_id == 0)
            && (*self.contact == *wanted.contact
                || Uri::parse(&self.contact).is_ok_and(|uri| uri.is_equivalent(&wanted.uri)))
    }

    /// Whether it is the same device, which now registers another contact.
    pub(super) fn is_same_device(&self, wanted: &Wanted<'_>) -> bool {
        wanted.instance.is_some()
            && self.instance.as_deref() == wanted.instance
            && self.reg_id == wanted.reg_id
    }

    /// Whether only packets of ours keep its flow open: it is a datagram's, and ends elsewhere than its Contact says.
    pub(super) fn needs_pings(&self) -> bool {
        let contact = Uri::parse(&self.contact).ok().and_then(|uri| uri.socket_addr());
        self.flow.transport == Transport::Udp && self.route.is_none() && contact != Some(self.flow.remote)
    }

    /// Its Contact value in a 200.
    pub(super) fn contact_value(&self, now: Instant) -> String {
        let mut value = String::with_capacity(self.contact.len() + 80);
        let _ = write!(value, "<{}>", self.contact);
        if self.q != 1_000 {
            let _ = write!(value, ";q={}.{:03}", self.q / 1_000, self.q % 1_000);
        }
        if let Some(instance) = &self.instance {
            let _ = write!(value, ";+sip.instance=\"{instance}\"");
        }
        if self.reg_id != 0 {
            let _ = write!(value, ";reg-id={}", self.reg_id);
        }
        let _ = write!(value, ";expires={}", self.expires_s(now));
        value
    }
}

/// A URI as it may stand in a request line: without the header fields behind its question mark.
fn without_headers(contact: &str) -> &str {
    let headers = Uri::parse(contact).ok().and_then(|uri| uri.headers);
    headers.map_or(contact, |headers| {
        contact.strip_suffix(headers).and_then(|rest| rest.strip_suffix('?')).unwrap_or(contact)
    })
}
