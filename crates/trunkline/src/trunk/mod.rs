//! How one trunk wants to be spoken to: everything in which carriers differ, with defaults that suit most.
//!
//! Kept as one JSON document beside the trunk's row; [`TrunkSettings::check`] says in words what cannot be used.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::secret::Secret;

mod check;
mod host;
mod invite;

pub use host::{HostError, check_host, host_port};
pub use invite::{Lines, lines, next_hop, own_uri, peer_uri, route, targets};

/// How a carrier is spoken to, where it differs from its host, port and credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({
    "proxy": "edge.carrier.example:5070", "request_domain": "acme.carrier.example", "register": true,
    "codecs": ["pcma", "pcmu"], "channels": 10, "calls_per_second": 1.0, "ping_s": 30,
}))]
pub struct TrunkSettings {
    /// Where requests are sent instead of the trunk's host: `host` or `host:port` of an outbound proxy.
    #[schema(max_length = 260)]
    pub proxy: Option<String>,
    /// The domain of the Request-URI and To, where it is not the trunk's host.
    #[schema(max_length = 253)]
    pub request_domain: Option<String>,
    /// The domain of From and of the asserted identity, where it is not that of the Request-URI.
    #[schema(max_length = 253)]
    pub from_domain: Option<String>,
    /// The one digest realm that credentials are given to; null: whatever realm the carrier names.
    #[schema(max_length = 128)]
    pub realm: Option<String>,
    /// How the carrier writes the numbers of calls that come in.
    pub inbound_number_form: InboundForm,
    /// How the caller's number is asserted to the carrier; From carries it always.
    pub identity: Identity,
    /// `id` withholds the caller's number from whoever is called (RFC 3323); the carrier still learns it.
    pub privacy: Privacy,
    /// Whether a call that shows another number than the trunk's `caller_id` names that one in Diversion (RFC 5806).
    pub diversion: bool,
    /// What is offered, best first; each once.
    #[schema(min_items = 1, max_items = 4)]
    pub codecs: Vec<CodecName>,
    /// How keys are sent.
    pub dtmf: DtmfMode,
    /// Whether sound is encrypted (SDES-SRTP, RFC 4568). Anything but `none` needs transport `tls`, or `srtp_over_plain`.
    pub srtp: SrtpMode,
    /// Allows SRTP keys to travel over signalling that is not encrypted.
    pub srtp_over_plain: bool,
    /// Session timers (RFC 4028).
    pub session_timer: SessionTimer,
    /// Reliable provisional responses, 100rel (RFC 3262).
    pub reliable_provisional: ReliableProvisional,
    /// Seconds between OPTIONS that ask whether the carrier is there, 5 to 3600; null: it is not asked.
    #[schema(minimum = 5, maximum = 3600)]
    pub ping_s: Option<u32>,
    /// Whether we register our address with the carrier; needs a user name.
    pub register: bool,
    /// The lifetime asked for a registration, seconds; the carrier's own word counts.
    #[schema(minimum = 60, maximum = 86400)]
    pub register_expires_s: u32,
    /// Calls at once; further ones wait their turn. null: no limit.
    #[schema(minimum = 1, maximum = 100000)]
    pub channels: Option<u32>,
    /// Calls started in a second, 0.01 to 1000; further ones wait their turn. null: no limit.
    #[schema(minimum = 0.01, maximum = 1000)]
    pub calls_per_second: Option<f32>,
    /// How long a call may wait for `channels` and `calls_per_second`, seconds; 0 refuses at once.
    #[schema(maximum = 3600)]
    pub queue_s: u32,
    /// What calls that come in from the carrier are recognised by.
    pub inbound: Inbound,
}

/// What calls that come in are recognised by: everything that is given must fit. Without any, none come in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "sources": ["198.51.100.0/24"], "username": null, "tls_name": null }))]
pub struct Inbound {
    /// Addresses and ranges that its calls come from.
    #[serde(deserialize_with = "check::sources")]
    #[schema(value_type = Vec<String>, max_items = 100)]
    pub sources: Vec<IpNet>,
    /// The digest user its calls present.
    #[schema(max_length = 64)]
    pub username: Option<String>,
    /// That user's password, 12 to 128 characters; never shown again, and needed again only with another user name.
    #[serde(skip_serializing)]
    #[schema(value_type = Option<String>, write_only)]
    pub password: Option<Secret>,
    /// The name in its certificate, where its calls come over TLS.
    #[schema(max_length = 253)]
    pub tls_name: Option<String>,
}

impl Inbound {
    /// Whether anything is said of calls that come in.
    pub fn is_given(&self) -> bool {
        !self.sources.is_empty() || self.username.is_some() || self.tls_name.is_some()
    }
}

impl Default for TrunkSettings {
    fn default() -> Self {
        Self {
            proxy: None,
            request_domain: None,
            from_domain: None,
            realm: None,
            inbound_number_form: InboundForm::default(),
            identity: Identity::default(),
            privacy: Privacy::default(),
            diversion: false,
            codecs: vec![CodecName::Pcmu, CodecName::Pcma],
            dtmf: DtmfMode::default(),
            srtp: SrtpMode::default(),
            srtp_over_plain: false,
            session_timer: SessionTimer::default(),
            reliable_provisional: ReliableProvisional::default(),
            ping_s: None,
            register: false,
            register_expires_s: 3600,
            channels: None,
            calls_per_second: None,
            queue_s: 30,
            inbound: Inbound::default(),
        }
    }
}

/// A closed list of words, as the API, the command line and the settings write them. `tt`, for utoipa does not see
/// through a `literal`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

pub(crate) use words;

words! {
    /// How a carrier writes the numbers of calls that come in.
    InboundForm {
        /// Told from the number itself: `+` and `00` are international, the rest is E.164 without `+`.
        #[default]
        Auto = "auto",
        /// `+12025550123`
        PlusE164 = "+e164",
        /// `12025550123`
        E164 = "e164",
        /// `2025550123`, read by the server's `region`
        National = "national",
    }
}

words! {
    /// How the caller's number is asserted.
    Identity {
        /// By From alone.
        From = "from",
        /// By P-Asserted-Identity too (RFC 3325).
        #[default]
        Pai = "pai",
        /// By Remote-Party-ID too, which older carriers read.
        Rpid = "rpid",
    }
}

words! {
    /// Whether the caller's number is withheld from whoever is called.
    Privacy {
        /// It is shown.
        #[default]
        None = "none",
        /// It is withheld: anonymous From, `Privacy: id`.
        Id = "id",
    }
}

words! {
    /// A codec.
    CodecName {
        /// G.711 μ-law.
        #[default]
        Pcmu = "pcmu",
        /// G.711 A-law.
        Pcma = "pcma",
        /// G.722, wideband.
        G722 = "g722",
        /// Opus (RFC 7587).
        Opus = "opus",
    }
}

words! {
    /// How keys are sent.
    DtmfMode {
        /// As events in RTP (RFC 4733).
        #[default]
        Rfc4733 = "rfc4733",
        /// In INFO requests (`application/dtmf-relay`).
        Info = "info",
        /// As tones in the sound.
        Inband = "inband",
    }
}

words! {
    /// Whether sound is encrypted.
    SrtpMode {
        /// It is not.
        #[default]
        None = "none",
        /// It is where the carrier can.
        Optional = "optional",
        /// It is, or there is no call.
        Required = "required",
    }
}

impl SrtpMode {
    /// What is left to offer to whoever refuses this.
    pub fn other(self) -> Self {
        match self {
            Self::Required => Self::None,
            Self::None | Self::Optional => Self::Required,
        }
    }
}

words! {
    /// Who refreshes a session (RFC 4028).
    Refresher {
        /// We do.
        Local = "local",
        /// The carrier does.
        #[default]
        Remote = "remote",
    }
}

words! {
    /// Reliable provisional responses (RFC 3262).
    ReliableProvisional {
        /// Not spoken of.
        Off = "off",
        /// Offered.
        #[default]
        Supported = "supported",
        /// Demanded; a carrier that cannot refuses the call with 420.
        Required = "required",
    }
}

/// Session timers (RFC 4028): a call whose other side has vanished is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionTimer {
    /// Whether they are asked for; one the carrier asks for is kept in any case.
    pub enabled: bool,
    /// Session-Expires, seconds; not below `min_se_s`.
    #[schema(minimum = 90, maximum = 86400)]
    pub expires_s: u32,
    /// Min-SE, seconds.
    #[schema(minimum = 90, maximum = 86400)]
    pub min_se_s: u32,
    /// Who refreshes.
    pub refresher: Refresher,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self { enabled: true, expires_s: 1800, min_se_s: 90, refresher: Refresher::Remote }
    }
}

impl TrunkSettings {
    /// How phones of ours are spoken to. Over TLS sound is encrypted too, unless the phone refuses that.
    pub fn for_phone(transport: sip::Transport) -> Self {
        let srtp = if transport == sip::Transport::Tls { SrtpMode::Required } else { SrtpMode::None };
        let mut codecs = vec![CodecName::Pcmu, CodecName::Pcma, CodecName::G722, CodecName::Opus];
        // What a browser speaks best; it stands the loss of the networks they are in.
        if matches!(transport, sip::Transport::Ws | sip::Transport::Wss) {
            codecs.rotate_right(1);
        }
        Self { codecs, srtp, ..Self::default() }
    }

    /// Reads settings as JSON; the error names the key, what is wrong with it and what would do.
    pub fn parse(document: Value) -> Result<Self, String> {
        serde_path_to_error::deserialize(document).map_err(|error| {
            let path = error.path().to_string();
            let key = if path == "." { String::new() } else { format!(".{path}") };
            format!("settings{key}: {}.", error.inner())
        })
    }

    /// These settings with what `change` gives in place of theirs; of `session_timer` each key by itself.
    pub fn changed(&self, change: &Map<String, Value>) -> Result<Self, String> {
        let mut document = serde_json::to_value(self).map_err(|error| format!("settings: {error}."))?;
        merge(&mut document, change);
        Self::parse(document)
    }

    /// What holds calls back.
    pub fn limits(&self) -> call::Limits {
        call::Limits {
            channels: self.channels,
            per_second: self.calls_per_second,
            queue: Duration::from_secs(self.queue_s.into()),
        }
    }

    /// The session timer to ask for.
    pub fn timer(&self) -> Option<sip::SessionTimer> {
        let SessionTimer { enabled, expires_s, min_se_s, refresher } = self.session_timer;
        let refresher = match refresher {
            Refresher::Local => sip::Refresher::Uac,
            Refresher::Remote => sip::Refresher::Uas,
        };
        enabled.then_some(sip::SessionTimer { expires_s, min_se_s, refresher })
    }

    /// What is said of reliable provisional responses.
    pub fn reliable(&self) -> sip::Reliable {
        match self.reliable_provisional {
            ReliableProvisional::Off => sip::Reliable::Off,
            ReliableProvisional::Supported => sip::Reliable::Supported,
            ReliableProvisional::Required => sip::Reliable::Required,
        }
    }

    /// The domain of Request-URI and To, for a trunk with this host.
    pub fn request_domain<'a>(&'a self, host: &'a str) -> &'a str {
        self.request_domain.as_deref().unwrap_or(host)
    }

    /// The domain of From, for a trunk with this host.
    pub fn from_domain<'a>(&'a self, host: &'a str) -> &'a str {
        self.from_domain.as_deref().unwrap_or_else(|| self.request_domain(host))
    }
}

/// The port of a transport where none is given (RFC 3261 section 19.1.2).
pub fn default_port(transport: &str) -> u16 {
    if transport == "tls" { 5061 } else { 5060 }
}

/// The transport by its name.
pub fn transport(name: &str) -> sip::Transport {
    sip::Transport::of_param(name).unwrap_or(sip::Transport::Udp)
}

/// A host as URIs write it: IPv6 addresses in brackets.
pub fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

fn merge(document: &mut Value, change: &Map<String, Value>) {
    let Value::Object(fields) = document else { return };
    for (key, value) in change {
        match (fields.get_mut(key), value) {
            (Some(inner @ Value::Object(_)), Value::Object(change)) => merge(inner, change),
            _ => drop(fields.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::row as tests_row;
