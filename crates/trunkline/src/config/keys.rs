//! The table of keys and how their values are read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{Config, ConfigError, EngineChoice, LogFormat, Provider, Sips};
use crate::insight::Which;
use crate::secret::Secret;
use crate::trunk;

/// One setting. Its variable is `TRUNKLINE_` and the name in capitals, dots as underscores.
pub(super) struct Key {
    /// As in the file; keys of a table have its name and a dot before theirs.
    pub(super) name: &'static str,
    /// An older or wider-known variable of the same meaning; weaker than `TRUNKLINE_…`.
    alias: Option<&'static str>,
    /// For the error: "expected …".
    expected: &'static str,
    set: Set,
}

/// How a value is put in, or not understood.
enum Set {
    Whole(fn(&mut Config, &str) -> Option<()>),
    /// Entry by entry, so that an error shows the one that is wrong.
    List(fn(&mut Config) -> &mut Vec<String>, fn(&str) -> Option<String>),
}

impl Key {
    const fn new(
        name: &'static str,
        expected: &'static str,
        set: fn(&mut Config, &str) -> Option<()>,
    ) -> Self {
        Self { name, alias: None, expected, set: Set::Whole(set) }
    }

    const fn list(
        name: &'static str,
        expected: &'static str,
        place: fn(&mut Config) -> &mut Vec<String>,
        read: fn(&str) -> Option<String>,
    ) -> Self {
        Self { name, alias: None, expected, set: Set::List(place, read) }
    }

    const fn alias(self, variable: &'static str) -> Self {
        Self { alias: Some(variable), ..self }
    }

    fn variable(&self) -> String {
        format!("TRUNKLINE_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Values that an error must not repeat; a database's address may hold a password.
    fn is_secret(&self) -> bool {
        ["master_key", "bootstrap_key", "database_url", "turn_secret"].contains(&self.name)
            || self.name.ends_with("password")
            || self.name.ends_with("api_key")
    }

    fn apply(&self, config: &mut Config, place: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        if value.is_empty() {
            return Ok(());
        }
        let wrong = |value: &str| ConfigError::Value {
            place: place.into(),
            key: key.into(),
            given: if self.is_secret() { "***".into() } else { format!("{value:?}") },
            expected: self.expected,
        };
        match self.set {
            Set::Whole(set) => set(config, value).ok_or_else(|| wrong(value)),
            Set::List(list, read) => {
                let entries = value.split(',').map(str::trim);
                *list(config) =
                    entries.map(|entry| read(entry).ok_or_else(|| wrong(entry))).collect::<Result<_, _>>()?;
                Ok(())
            }
        }
    }
}

const ADDRESS: &str = "an IP address and port such as 127.0.0.1:3000";
const BOOLEAN: &str = "0 or 1, true or false";
const TIME: &str = "a time above zero with its unit: 500ms, 30s, 5m or 4h";
const KEEP: &str = "a time above zero with its unit such as 12h or 90d, or forever";
const COUNTRIES: &str = "ISO 3166 codes of countries such as US or GB (* for all)";
const REGION: &str = "the ISO 3166 code of one country such as US or GB";
const PREFIXES: &str = "beginnings of numbers such as +4930, or !+4930 to refuse them (* for all)";
const ORIGINS: &str = "origins of pages such as https://phone.example.com, without a path";
const TURN: &str = "addresses such as turn:turn.example.com:3478, turns:… or stun:…";
const NETWORKS: &str = "addresses and ranges such as 198.51.100.7, 2001:db8::/48";
const RATE: &str = "a number from 1 to 1000000";
const TEXT: &str = "text without blanks or control characters";
const HTTP: &str = "an address that begins with http:// or https://";

/// Every key, in the order of `trunkline.toml`.
pub(super) const KEYS: &[Key] = &[
    Key::new("http_listen", ADDRESS, |c, v| parse(&mut c.http_listen, v)),
    Key::new("sip_listen", ADDRESS, |c, v| parse(&mut c.sip_listen, v)),
    Key::new("sips_listen", "an IP address and port such as 0.0.0.0:5061, or off", |c, v| {
        let sips = if v == "off" { Sips::Off } else { Sips::At(v.parse().ok()?) };
        put(&mut c.sips_listen, sips)
    }),
    Key::new("rtp_ports", "a range of at least two ports such as 16384-32767, from 1024 on", |c, v| {
        let (first, last) = v.split_once('-')?;
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        // RTP takes the even port and RTCP the odd one after it (RFC 3550 section 11).
        (first >= 1024 && last > first.next_multiple_of(2)).then(|| c.rtp_ports = first..=last)
    }),
    Key::new("external_ip", "an IP address", |c, v| v.parse().ok().map(|ip| c.external_ip = Some(ip))),
    Key::new(
        "dns_servers",
        "IP addresses with or without a port, such as [\"9.9.9.9\", \"127.0.0.1:5300\"]",
        |c, v| {
            let one = |v: &str| v.parse().ok().or_else(|| Some(SocketAddr::new(v.parse().ok()?, 53)));
            let list: Option<Vec<SocketAddr>> = v.split(',').map(|v| one(v.trim())).collect();
            list.map(|list| c.dns_servers = list)
        },
    ),
    Key::new("tls_ca_file", "a PEM file", |c, v| put(&mut c.tls_ca_file, Some(v.into()))),
    Key::new("tls_cert_file", "a PEM file", |c, v| put(&mut c.tls_cert_file, Some(v.into()))),
    Key::new("tls_key_file", "a PEM file", |c, v| put(&mut c.tls_key_file, Some(v.into()))),
    Key::list("web_origins", ORIGINS, |c| &mut c.web_origins, origin),
    Key::list("turn_urls", TURN, |c| &mut c.turn_urls, turn),
    Key::new("turn_secret", TEXT, |c, v| word(v).map(|v| c.turn_secret = Some(secret(&v)))),
    Key::new("shield", BOOLEAN, |c, v| boolean(&mut c.shield, v)),
    Key::list("shield_trusted", NETWORKS, |c| &mut c.shield_trusted, network),
    Key::new("sip_connections", "a number from 1 to 1000000", |c, v| {
        let connections = v.parse().ok()?;
        (1..=1_000_000).contains(&connections).then(|| c.sip_connections = connections)
    }),
    Key::new("sip_connections_per_source", "a number from 0 (no limit) to 1000000", |c, v| {
        let connections = v.parse().ok()?;
        (0..=1_000_000).contains(&connections).then(|| c.sip_connections_per_source = connections)
    }),
    Key::new("sip_domain", "a domain or IP address, without sip: and port", |c, v| {
        trunk::check_host(v).ok()?;
        put(&mut c.sip_domain, v.into())
    }),
    Key::new("public_url", HTTP, |c, v| http(v).map(|v| c.public_url = Some(v))),
    Key::new("demo", BOOLEAN, |c, v| boolean(&mut c.demo, v)),
    Key::new("data_dir", "a folder", |c, v| put(&mut c.data_dir, v.into())),
    Key::new("database_url", "an address that begins with sqlite:// or postgres://", |c, v| {
        let known = ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| v.starts_with(scheme));
        known.then(|| c.database_url = Some(v.into()))
    }),
    Key::new("master_key", "32 bytes in hex or base64", |c, v| {
        crate::store::MasterKey::parse(v).ok()?;
        put(&mut c.master_key, Some(secret(v)))
    }),
    Key::new("master_key_file", "a file", |c, v| put(&mut c.master_key_file, Some(v.into()))),
    Key::new("bootstrap_key", "at least 8 letters, digits or punctuation characters, no blanks", |c, v| {
        (v.len() >= 8 && v.len() <= 256 && v.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| c.bootstrap_key = Some(secret(v)))
    }),
    Key::new("allow_internal_http", BOOLEAN, |c, v| boolean(&mut c.allow_internal_http, v)),
    Key::list("countries", COUNTRIES, |c| &mut c.countries, call::policy::country),
    Key::list("prefixes", PREFIXES, |c| &mut c.prefixes, prefix),
    Key::new("region", REGION, |c, v| call::policy::region(v).map(|v| c.region = Some(v))),
    Key::new("sim_listen", ADDRESS, |c, v| parse(&mut c.sim_listen, v)),
    Key::new("sim_callees", "a TOML file", |c, v| put(&mut c.sim_callees, Some(v.into()))),
    Key::new("max_calls", "a number from 1 to 100000", |c, v| {
        let calls = v.parse().ok()?;
        (1..=100_000).contains(&calls).then(|| c.max_calls = calls)
    }),
    Key::new("requests_per_second", RATE, |c, v| rate(&mut c.requests_per_second, v)),
    Key::new("wrong_keys_per_minute", RATE, |c, v| rate(&mut c.wrong_keys_per_minute, v)),
    Key::new("ring_timeout", TIME, |c, v| duration(&mut c.ring_timeout, v)),
    Key::new("max_duration", TIME, |c, v| duration(&mut c.max_duration, v)),
    Key::new("silence_timeout", TIME, |c, v| duration(&mut c.silence_timeout, v)),
    Key::new("drain_grace", TIME, |c, v| duration(&mut c.drain_grace, v)),
    Key::new("keep_calls", KEEP, |c, v| keep(&mut c.keep_calls, v)),
    Key::new("keep_recordings", KEEP, |c, v| keep(&mut c.keep_recordings, v)),
    Key::new("keep_events", KEEP, |c, v| keep(&mut c.keep_events, v)),
    Key::new("insight", "all, failed or off", |c, v| {
        let which = match v {
            "all" => Which::All,
            "failed" => Which::Failed,
            "off" => Which::Off,
            _ => return None,
        };
        put(&mut c.insight, which)
    }),
    Key::new("webhook_retry", TIME, |c, v| duration(&mut c.webhook_retry, v)),
    Key::new("webhook_attempts", "a number from 1 to 100", |c, v| {
        let attempts = v.parse().ok()?;
        (1..=100).contains(&attempts).then(|| c.webhook_attempts = attempts)
    }),
    Key::new("webhook_max_age", TIME, |c, v| duration(&mut c.webhook_max_age, v)),
    Key::new(
        "log",
        "a level (error, warn, info, debug, trace) or a filter such as info,trunkline=debug",
        |c, v| {
            v.parse::<tracing_subscriber::filter::EnvFilter>().ok()?;
            put(&mut c.log, v.into())
        },
    ),
    Key::new("log_format", "text or json", |c, v| {
        let format = match v {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return None,
        };
        put(&mut c.log_format, format)
    }),
    Key::new("provider.host", "a host name or IP address, without sip: and port", |c, v| {
        trunk::check_host(v).ok()?;
        put(&mut provider(c).host, v.into())
    })
    .alias("SIP_PROVIDER_HOST"),
    Key::new("provider.port", "a port from 1 to 65535", |c, v| {
        let port = v.parse().ok().filter(|port| *port != 0)?;
        put(&mut provider(c).port, Some(port))
    })
    .alias("SIP_PROVIDER_PORT"),
    Key::new("provider.transport", "udp, tcp or tls", |c, v| {
        let transport = v.to_ascii_lowercase();
        ["udp", "tcp", "tls"].contains(&&*transport).then(|| provider(c).transport = transport)
    })
    .alias("SIP_TRANSPORT"),
    Key::new("provider.username", TEXT, |c, v| word(v).map(|v| provider(c).username = Some(v)))
        .alias("SIP_USERNAME"),
    Key::new("provider.password", "text without control characters", |c, v| {
        (!v.chars().any(char::is_control)).then(|| provider(c).password = Some(secret(v)))
    })
    .alias("SIP_PASSWORD"),
    Key::new("provider.caller_id", "a number such as +12025550123", |c, v| {
        word(v).map(|v| provider(c).caller_id = Some(v))
    })
    .alias("SIP_CALLER_ID"),
    Key::new("provider.proxy", "a host or host:port, without sip:", |c, v| setting(c, "proxy", v.into()))
        .alias("SIP_OUTBOUND_PROXY"),
    Key::new("provider.request_domain", "a domain or IP address", |c, v| {
        setting(c, "request_domain", v.into())
    }),
    Key::new("provider.from_domain", "a domain or IP address", |c, v| setting(c, "from_domain", v.into()))
        .alias("SIP_FROM_DOMAIN"),
    Key::new("provider.realm", "a digest realm", |c, v| setting(c, "realm", v.into())).alias("SIP_REALM"),
    Key::new("provider.register", BOOLEAN, |c, v| {
        let mut register = false;
        boolean(&mut register, v)?;
        setting(c, "register", register.into())
    })
    .alias("SIP_REGISTER"),
    Key::new("provider.ping_s", "seconds from 5 to 3600", |c, v| {
        setting(c, "ping_s", v.parse::<u32>().ok()?.into())
    }),
    Key::new("provider.identity", "from, pai or rpid", |c, v| setting(c, "identity", v.into())),
    Key::new("provider.codecs", "a list of pcmu, pcma, g722, opus", |c, v| {
        setting(c, "codecs", v.split(',').map(str::trim).collect())
    }),
    Key::new("provider.dtmf", "rfc4733, info or inband", |c, v| setting(c, "dtmf", v.into())),
    Key::new("provider.srtp", "none, optional or required", |c, v| setting(c, "srtp", v.into())),
    Key::new("provider.channels", "a number from 1 to 100000", |c, v| {
        setting(c, "channels", v.parse::<u32>().ok()?.into())
    }),
    Key::new("provider.calls_per_second", "a number from 0.01 to 1000", |c, v| {
        setting(c, "calls_per_second", v.parse::<f32>().ok()?.into())
    }),
    Key::new("speech.engine", "auto, flite, espeak, google or openai", |c, v| {
        let engine = match v {
            "auto" => EngineChoice::Auto,
            "flite" => EngineChoice::Flite,
            "espeak" => EngineChoice::Espeak,
            "google" => EngineChoice::Google,
            "openai" => EngineChoice::Openai,
            _ => return None,
        };
        put(&mut c.speech.engine, engine)
    }),
    Key::new("speech.voice", TEXT, |c, v| word(v).map(|v| c.speech.voice = Some(v))),
    Key::new("speech.language", "a language tag such as en-US", |c, v| {
        crate::speech::language_tag(v).then(|| c.speech.language = v.into())
    }),
    Key::new("speech.google_api_key", TEXT, |c, v| {
        word(v).map(|v| c.speech.google_api_key = Some(secret(&v)))
    })
    .alias("GOOGLE_API_KEY"),
    Key::new("speech.google_url", HTTP, |c, v| http(v).map(|v| c.speech.google_url = v)),
    Key::new("speech.openai_api_key", TEXT, |c, v| {
        word(v).map(|v| c.speech.openai_api_key = Some(secret(&v)))
    })
    .alias("OPENAI_API_KEY"),
    Key::new("speech.openai_url", HTTP, |c, v| http(v).map(|v| c.speech.openai_url = v)),
    Key::new("speech.openai_model", TEXT, |c, v| word(v).map(|v| c.speech.openai_model = v)),
];

/// `TRUNKLINE_…` variables that are not settings of the server: those of the command line and of the tests.
const OTHER_VARIABLES: &[&str] = &["TRUNKLINE_CONFIG", "TRUNKLINE_KEY", "TRUNKLINE_URL", "TRUNKLINE_CORPORA"];

/// Puts what the file says into `config`.
pub(super) fn apply_file(config: &mut Config, path: &Path, text: &str) -> Result<(), ConfigError> {
    let table = text.parse::<toml::Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let message = error.message().replace('\n', ", ");
        ConfigError::Syntax { path: path.into(), message: format!("line {line}: {message}") }
    })?;
    let place = path.display().to_string();
    for (name, value) in flat(&table) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let near = near(&name, KEYS.iter().map(|key| key.name.to_owned()));
            return Err(ConfigError::Unknown { place, kind: "key", given: name, near });
        };
        key.apply(config, &place, &name, &value)?;
    }
    Ok(())
}

/// Puts what the environment says into `config`.
pub(super) fn apply_environment(
    config: &mut Config,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let variables: BTreeMap<String, String> = env.collect();
    let place = "environment";
    for key in KEYS {
        let own = key.variable();
        let given = [key.alias, Some(&*own)].into_iter().flatten();
        for (name, value) in given.filter_map(|name| variables.get_key_value(name)) {
            key.apply(config, place, name, value)?;
        }
    }
    let known = |name: &str| {
        OTHER_VARIABLES.contains(&name)
            || name.starts_with("TRUNKLINE_TEST_")
            || KEYS.iter().any(|key| key.variable() == name)
    };
    match variables.into_keys().find(|name| name.starts_with("TRUNKLINE_") && !known(name)) {
        Some(given) => {
            let near = near(&given, KEYS.iter().map(Key::variable));
            Err(ConfigError::Unknown { place: place.into(), kind: "variable", given, near })
        }
        None => Ok(()),
    }
}

/// The file as `name` → text, tables as `table.name`; lists joined by commas.
fn flat(table: &toml::Table) -> Vec<(String, String)> {
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => {
            let items = list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            items.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    let mut entries = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) if inner.is_empty() => {
                // An empty table sets nothing, but its name must be known.
                let known = KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(t, _)| t == name));
                if !known {
                    entries.push((name.clone(), String::new()));
                }
            }
            toml::Value::Table(inner) => {
                entries.extend(inner.iter().map(|(key, value)| (format!("{name}.{key}"), text(value))));
            }
            other => entries.push((name.clone(), text(other))),
        }
    }
    entries
}

/// The known name nearest to `given`, if it is near enough to be meant.
fn near(given: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let scored = known.map(|name| (strsim::normalized_damerau_levenshtein(given, &name), name));
    scored.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

fn provider(config: &mut Config) -> &mut Provider {
    config.provider.get_or_insert_default()
}

/// Sets one of the provider's trunk settings; what depends on its other keys is checked once all are read.
fn setting(config: &mut Config, key: &str, value: serde_json::Value) -> Option<()> {
    let provider = provider(config);
    let settings = provider.settings.changed(&serde_json::Map::from_iter([(key.to_owned(), value)])).ok()?;
    // As if over TLS and with a user name, which may come later.
    settings.check("tls", Some("-")).ok()?;
    put(&mut provider.settings, settings)
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn put<T>(slot: &mut T, value: T) -> Option<()> {
    *slot = value;
    Some(())
}

fn parse(slot: &mut SocketAddr, value: &str) -> Option<()> {
    put(slot, value.parse().ok()?)
}

fn boolean(slot: &mut bool, value: &str) -> Option<()> {
    *slot = match value {
        "1" | "true" => true,
        "0" | "false" => false,
        _ => return None,
    };
    Some(())
}

fn rate(slot: &mut u32, value: &str) -> Option<()> {
    put(slot, value.parse().ok().filter(|rate| (1..=1_000_000).contains(rate))?)
}

fn word(value: &str) -> Option<String> {
    (!value.chars().any(|c| c.is_control() || c.is_whitespace())).then(|| value.to_owned())
}

fn http(value: &str) -> Option<String> {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"))?;
    (!rest.is_empty() && !rest.starts_with('/')).then_some(())?;
    word(value.trim_end_matches('/'))
}

fn origin(value: &str) -> Option<String> {
    let origin = value.to_ascii_lowercase();
    let (scheme, host) = origin.split_once("://")?;
    let fits = !scheme.is_empty() && !host.is_empty() && !host.contains('/');
    fits.then(|| word(&origin)).flatten()
}

fn turn(value: &str) -> Option<String> {
    word(value).filter(|url| crate::turn::is_url(url))
}

fn network(value: &str) -> Option<String> {
    value.parse().ok().map(|network: sip::shield::Prefix| network.to_string())
}

fn prefix(value: &str) -> Option<String> {
    call::Prefix::parse(value).map(|prefix| prefix.to_string())
}

fn duration(slot: &mut Duration, value: &str) -> Option<()> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at_checked(digits)?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit_ms: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    *slot = Duration::from_millis(number.checked_mul(unit_ms)?);
    Some(())
}

fn keep(slot: &mut Option<Duration>, value: &str) -> Option<()> {
    if value == "forever" {
        return put(slot, None);
    }
    let mut time = Duration::ZERO;
    match value.strip_suffix('d') {
        Some(days) => {
            let days: u64 = days.trim().parse().ok().filter(|days| (1..=36_500).contains(days))?;
            time = Duration::from_secs(days * 24 * 3600);
        }
        None => duration(&mut time, value)?,
    }
    put(slot, Some(time))
}
