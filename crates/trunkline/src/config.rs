//! Settings: `trunkline.toml`, overruled by the environment; checked whole before any port is bound.
//!
//! Every key stands once, in `keys.rs`; the file, the variables and the list of nearest names all come from it.

mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::endpoint::Limits;
use crate::insight::Which;
use crate::secret::Secret;
use crate::trunk::TrunkSettings;
use crate::turn;

/// The file read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "trunkline.toml";

/// Everything that can be set. `Default` is what an empty file and an empty environment give.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the HTTP API listens.
    pub http_listen: SocketAddr,
    /// Where SIP listens, over UDP and TCP; RTP binds the same address.
    pub sip_listen: SocketAddr,
    /// Where SIP listens over TLS; see [`Config::sips_listen`].
    pub sips_listen: Sips,
    /// UDP ports for RTP (even) and RTCP (odd).
    pub rtp_ports: RangeInclusive<u16>,
    /// The address told to peers outside, where it is not the one the kernel picks.
    pub external_ip: Option<IpAddr>,
    /// Name servers asked instead of the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// A PEM file with further certificate authorities for TLS towards trunks.
    pub tls_ca_file: Option<PathBuf>,
    /// A PEM file with this server's certificate chain.
    pub tls_cert_file: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    pub tls_key_file: Option<PathBuf>,
    /// Origins of pages that may open a WebSocket; empty: all.
    pub web_origins: Vec<String>,
    /// STUN and TURN servers that browsers may use.
    pub turn_urls: Vec<String>,
    /// What is shared with the TURN servers; credentials are made from it.
    pub turn_secret: Option<Secret>,
    /// Whether who scans and guesses is shut out.
    pub shield: bool,
    /// Who never is.
    pub shield_trusted: Vec<String>,
    /// TCP, TLS and WebSocket connections of SIP at once.
    pub sip_connections: usize,
    /// Those of them from one address; 0 is no limit.
    pub sip_connections_per_source: usize,
    /// The SIP domain of this server.
    pub sip_domain: String,
    /// Whether the first start creates the simulated network and the example customer.
    pub demo: bool,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// `sqlite://…` or `postgres://…`; see [`Config::database_url`].
    pub database_url: Option<String>,
    /// The key that seals credentials, in hex or base64; wins over the file.
    pub master_key: Option<Secret>,
    /// Where that key is kept; see [`Config::master_key_file`].
    pub master_key_file: Option<PathBuf>,
    /// On the first start this becomes the operator's key.
    pub bootstrap_key: Option<Secret>,
    /// How the world reaches the HTTP API, without a trailing slash.
    pub public_url: Option<String>,
    /// Whether internal addresses may be fetched.
    pub allow_internal_http: bool,
    /// Countries that may be called (ISO 3166 alpha-2, `*` is all); empty: the country of the trunk's caller ID.
    pub countries: Vec<String>,
    /// Beginnings of numbers that may be called, or with `!` may not; see [`call::Prefix`].
    pub prefixes: Vec<String>,
    /// The country by which national numbers are read.
    pub region: Option<String>,
    /// The simulated network's own UDP socket.
    pub sim_listen: SocketAddr,
    /// A TOML file with callees of one's own for the simulated network.
    pub sim_callees: Option<PathBuf>,
    /// Calls at once.
    pub max_calls: usize,
    /// API requests of one key in a second.
    pub requests_per_second: u32,
    /// Requests with a wrong key from one address in a minute.
    pub wrong_keys_per_minute: u32,
    /// How long a destination may ring.
    pub ring_timeout: Duration,
    /// How long a call may last.
    pub max_duration: Duration,
    /// A call from which no RTP comes for so long is hung up.
    pub silence_timeout: Duration,
    /// How long calls may go on after SIGTERM.
    pub drain_grace: Duration,
    /// How long calls are kept after their end; `None` is forever.
    pub keep_calls: Option<Duration>,
    /// How long recordings are kept.
    pub keep_recordings: Option<Duration>,
    /// How long events of calls, and webhook deliveries that are over, are kept.
    pub keep_events: Option<Duration>,
    /// Of which calls the SIP messages are kept.
    pub insight: Which,
    /// The wait after a webhook's first failure; the later ones grow with it.
    pub webhook_retry: Duration,
    /// How often a webhook is tried in all.
    pub webhook_attempts: u32,
    /// How old a webhook may become before it is given up.
    pub webhook_max_age: Duration,
    /// Log filter, as `tracing` reads it.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The default trunk, as given in the environment.
    pub provider: Option<Provider>,
    /// Text to speech.
    pub speech: SpeechConfig,
}

/// Where SIP listens over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sips {
    /// On the port after that of `sip_listen`.
    NextPort,
    /// Nowhere.
    Off,
    /// On an address of its own.
    At(SocketAddr),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A SIP provider given in the settings (`SIP_PROVIDER_HOST` and its companions).
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Host name or address.
    pub host: String,
    /// SIP port; see [`Provider::port`].
    pub port: Option<u16>,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// User name of the digest.
    pub username: Option<String>,
    /// Password of the digest.
    pub password: Option<Secret>,
    /// The number shown to those called, where the call names none.
    pub caller_id: Option<String>,
    /// How it wants to be spoken to.
    pub settings: TrunkSettings,
}

impl Provider {
    /// Its SIP port: 5060 unless set, 5061 over TLS.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(crate::trunk::default_port(&self.transport))
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: None,
            transport: "udp".into(),
            username: None,
            password: None,
            caller_id: None,
            settings: TrunkSettings::default(),
        }
    }
}

/// Which text-to-speech engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// Google where its key is set, else the offline engines.
    Auto,
    /// flite, English only.
    Flite,
    /// espeak-ng.
    Espeak,
    /// Google Cloud Text-to-Speech.
    Google,
    /// OpenAI, or any server that speaks its `/v1/audio/speech`.
    Openai,
}

/// Settings of text to speech.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechConfig {
    /// Which engine.
    pub engine: EngineChoice,
    /// Google Cloud API key.
    pub google_api_key: Option<Secret>,
    /// Where Google's API is.
    pub google_url: String,
    /// Key of the OpenAI-compatible server; local ones often want none.
    pub openai_api_key: Option<Secret>,
    /// Where the OpenAI-compatible server is, without `/v1`.
    pub openai_url: String,
    /// The model asked of it.
    pub openai_model: String,
    /// Voice where a call names none; the engine's own default where this is not set either.
    pub voice: Option<String>,
    /// Language where a call names none (BCP 47).
    pub language: String,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self {
            engine: EngineChoice::Auto,
            google_api_key: None,
            google_url: "https://texttospeech.googleapis.com".into(),
            openai_api_key: None,
            openai_url: "https://api.openai.com".into(),
            openai_model: "gpt-4o-mini-tts".into(),
            voice: None,
            language: "en-US".into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let limits = Limits::default();
        Self {
            http_listen: loopback(3000),
            sip_listen: loopback(5060),
            sips_listen: Sips::NextPort,
            rtp_ports: 16384..=32767,
            external_ip: None,
            dns_servers: Vec::new(),
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            web_origins: Vec::new(),
            turn_urls: Vec::new(),
            turn_secret: None,
            shield: true,
            shield_trusted: vec!["127.0.0.1".into(), "::1".into()],
            sip_connections: limits.connections,
            sip_connections_per_source: limits.per_source,
            sip_domain: "localhost".into(),
            demo: true,
            data_dir: "./data".into(),
            database_url: None,
            master_key: None,
            master_key_file: None,
            bootstrap_key: None,
            public_url: None,
            allow_internal_http: false,
            countries: Vec::new(),
            prefixes: Vec::new(),
            region: None,
            sim_listen: loopback(0),
            sim_callees: None,
            max_calls: 1000,
            requests_per_second: 1000,
            wrong_keys_per_minute: 60,
            ring_timeout: Duration::from_secs(60),
            max_duration: Duration::from_secs(4 * 3600),
            silence_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_secs(30),
            keep_calls: Some(days(365)),
            keep_recordings: Some(days(30)),
            keep_events: Some(days(90)),
            insight: Which::All,
            webhook_retry: Duration::from_secs(5),
            webhook_attempts: 10,
            webhook_max_age: days(4),
            log: "info".into(),
            log_format: LogFormat::Text,
            provider: None,
            speech: SpeechConfig::default(),
        }
    }
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

/// Why the settings cannot be used: one line that says which key, what was given, what is expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and what is wrong with it.
        message: String,
    },
    /// There is no such key.
    #[error("{place}: unknown {kind} {given}{}", nearest(near))]
    Unknown {
        /// The file, or "environment".
        place: String,
        /// "key" or "variable".
        kind: &'static str,
        /// What was given.
        given: String,
        /// The nearest known name, if one is near.
        near: Option<String>,
    },
    /// A value that cannot be used.
    #[error("{place}: {key} is {given}; expected {expected}")]
    Value {
        /// The file, or "environment".
        place: String,
        /// The key or variable.
        key: String,
        /// What was given; `***` where it is a secret.
        given: String,
        /// What would do.
        expected: &'static str,
    },
    /// Something about the provider was given, but not where it is.
    #[error(
        "a SIP provider is given without its host; set SIP_PROVIDER_HOST (or host in [provider]), or remove the rest"
    )]
    ProviderHost,
    /// A certificate without its key, or a key without its certificate.
    #[error("{given} is set, but not {missing}; a certificate is of use with its key only")]
    Certificate {
        /// The key that is set.
        given: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// A relay without what its credentials are made from.
    #[error(
        "turn_urls (TRUNKLINE_TURN_URLS) has a TURN server, but turn_secret (TRUNKLINE_TURN_SECRET) is not set; \
         it is coturn's static-auth-secret"
    )]
    Turn,
    /// The provider's keys do not go together.
    #[error("[provider] {0}")]
    Provider(String),
    /// A trunk that cannot be reached from the loopback interface.
    #[error(
        "trunk {trunk} is outside this machine, but {key} is {listen}, which only this machine can reach; \
         set {key} to 0.0.0.0:{} (SIP and RTP both bind its address)", listen.port()
    )]
    Loopback {
        /// The trunk's host.
        trunk: String,
        /// The key to change.
        key: &'static str,
        /// What it is.
        listen: SocketAddr,
    },
}

fn nearest(near: &Option<String>) -> impl fmt::Display {
    near.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl Config {
    /// Reads `file` (or [`DEFAULT_FILE`] if that is there), then the variables of `env`, which win.
    ///
    /// Keys are `TRUNKLINE_<KEY>` in the environment (`TRUNKLINE_SPEECH_ENGINE` for `engine` in `[speech]`);
    /// `SIP_PROVIDER_HOST`, `SIP_PROVIDER_PORT`, `SIP_USERNAME`, `SIP_PASSWORD`, `SIP_TRANSPORT`, `SIP_CALLER_ID`,
    /// `SIP_OUTBOUND_PROXY`, `SIP_FROM_DOMAIN`, `SIP_REALM`, `SIP_REGISTER`, `GOOGLE_API_KEY` and `OPENAI_API_KEY` are read too. An empty value is the default.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => keys::apply_file(&mut config, path, &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::Read { path: path.into(), error }),
        }
        keys::apply_environment(&mut config, env)?;
        let (cert, key) =
            ("tls_cert_file (TRUNKLINE_TLS_CERT_FILE)", "tls_key_file (TRUNKLINE_TLS_KEY_FILE)");
        match (&config.tls_cert_file, &config.tls_key_file) {
            (Some(_), None) => return Err(ConfigError::Certificate { given: cert, missing: key }),
            (None, Some(_)) => return Err(ConfigError::Certificate { given: key, missing: cert }),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if config.turn_secret.is_none() && config.turn_urls.iter().any(|url| turn::needs_credentials(url)) {
            return Err(ConfigError::Turn);
        }
        if let Some(provider) = &config.provider {
            if provider.host.is_empty() {
                return Err(ConfigError::ProviderHost);
            }
            let checked = provider.settings.check(&provider.transport, provider.username.as_deref());
            checked.map_err(ConfigError::Provider)?;
        }
        Ok(config)
    }

    /// Refuses trunks outside this machine while SIP and RTP are bound to loopback. `hosts` are those of the
    /// enabled SIP trunks. Where a name leads that own name servers know, only a call finds out.
    pub fn check<'a>(&self, hosts: impl IntoIterator<Item = &'a str>) -> Result<(), ConfigError> {
        if !self.sip_listen.ip().is_loopback() {
            return Ok(());
        }
        let may_be_here = |host: &str| !self.dns_servers.is_empty() && bare(host).parse::<IpAddr>().is_err();
        match hosts.into_iter().find(|host| !is_loopback(host) && !may_be_here(host)) {
            Some(host) => Err(ConfigError::Loopback {
                trunk: host.into(),
                key: "sip_listen (TRUNKLINE_SIP_LISTEN)",
                listen: self.sip_listen,
            }),
            None => Ok(()),
        }
    }

    /// Where SIP listens over TLS, if it does: the address of `sip_listen` and the port after it, unless set. Where the
    /// system chooses one port, it chooses the other too.
    pub fn sips_listen(&self) -> Option<SocketAddr> {
        match (self.sips_listen, self.sip_listen.port()) {
            (Sips::Off, _) => None,
            (Sips::At(address), _) => Some(address),
            (Sips::NextPort, 0) => Some(self.sip_listen),
            (Sips::NextPort, port) => {
                port.checked_add(1).map(|port| SocketAddr::new(self.sip_listen.ip(), port))
            }
        }
    }

    /// The digest realm of accounts that are made without a domain of their own.
    pub fn realm(&self) -> String {
        match self.sip_domain.as_str() {
            "localhost" => crate::store::REALM.to_owned(),
            domain => domain.to_ascii_lowercase(),
        }
    }

    /// Where the database is: `sqlite://<data_dir>/trunkline.db` unless set.
    pub fn database_url(&self) -> String {
        let default = || format!("sqlite://{}", self.data_dir.join("trunkline.db").display());
        self.database_url.clone().unwrap_or_else(default)
    }

    /// Where the master key is kept: `<data_dir>/master.key` unless set.
    pub fn master_key_file(&self) -> PathBuf {
        self.master_key_file.clone().unwrap_or_else(|| self.data_dir.join("master.key"))
    }
}

/// Whether a trunk's host is this machine, as far as its name says (RFC 6761 section 6.3 for `localhost`).
pub fn is_loopback(host: &str) -> bool {
    match bare(host).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
