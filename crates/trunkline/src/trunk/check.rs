//! What settings cannot be used, and what would do instead.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::{Inbound, SrtpMode, TrunkSettings, check_host, host_port};
use crate::secret::Secret;

/// The most addresses and ranges of one trunk.
const MOST_SOURCES: usize = 100;

/// Addresses and ranges, as texts; of a range only the part that counts is kept.
pub(super) fn sources<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: &String| {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(|net: IpNet| net.trunc()).map_err(|_| {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
            serde::de::Error::custom(format!("{shown:?} is no address or range such as 198.51.100.0/24"))
        })
    };
    texts.iter().map(read).collect()
}

impl Inbound {
    fn check(&self) -> Result<(), String> {
        if self.sources.len() > MOST_SOURCES {
            return Err(format!(
                "settings.inbound.sources: {MOST_SOURCES} addresses and ranges are the most."
            ));
        }
        if let Some(net) = self.sources.iter().find(|net| net.prefix_len() == 0) {
            return Err(format!(
                "settings.inbound.sources: {net} is everybody; name the carrier's own addresses."
            ));
        }
        let name = self.username.as_deref();
        let known = |b: u8| b.is_ascii_graphic() && !b"\"\\:".contains(&b);
        if name.is_some_and(|name| !(1..=64).contains(&name.len()) || !name.bytes().all(known)) {
            return Err(
                "settings.inbound.username: a user name has 1 to 64 characters without blanks, quotation \
                        marks, backslashes and colons."
                    .into(),
            );
        }
        match self.password.as_ref().map(Secret::expose) {
            Some(_) if name.is_none() => {
                return Err(
                    "settings.inbound.password: it belongs to a user; set settings.inbound.username too."
                        .into(),
                );
            }
            Some(text)
                if !(12..=128).contains(&text.chars().count()) || text.chars().any(char::is_control) =>
            {
                return Err(
                    "settings.inbound.password: a password has 12 to 128 characters, none of them a control \
                            character."
                        .into(),
                );
            }
            _ => {}
        }
        match &self.tls_name {
            Some(name) => check_host(name).map_err(|why| format!("settings.inbound.tls_name {why}.")),
            None => Ok(()),
        }
    }
}

impl TrunkSettings {
    /// Whether a trunk with this transport and user name can go by these settings; the text names the key, what is
    /// wrong and what is allowed.
    pub fn check(&self, transport: &str, username: Option<&str>) -> Result<(), String> {
        self.check_names()?;
        self.check_media(transport)?;
        self.check_times()?;
        self.inbound.check()?;
        if self.register && username.is_none_or(str::is_empty) {
            return Err(
                "settings.register: a trunk registers under its user name, and this one has none; set username (and \
                 password), or register to false."
                    .into(),
            );
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), String> {
        if let Some(proxy) = &self.proxy {
            host_port(proxy).map_err(|why| format!("settings.proxy {why}."))?;
        }
        for (key, given) in [("request_domain", &self.request_domain), ("from_domain", &self.from_domain)] {
            if let Some(given) = given {
                check_host(given).map_err(|why| format!("settings.{key} {why}."))?;
            }
        }
        match self.realm.as_deref() {
            Some(realm)
                if realm.is_empty()
                    || realm.len() > 128
                    || realm.chars().any(|c| c.is_control() || "\"\\".contains(c)) =>
            {
                Err("settings.realm: a realm has 1 to 128 characters, none of them a quotation mark, backslash or \
                     control character."
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn check_media(&self, transport: &str) -> Result<(), String> {
        if self.codecs.is_empty() {
            return Err("settings.codecs: name at least one of pcmu, pcma, g722, opus.".into());
        }
        for (n, codec) in self.codecs.iter().enumerate() {
            if self.codecs.iter().skip(n + 1).any(|other| other == codec) {
                return Err(format!(
                    "settings.codecs: {} stands there twice; name each once.",
                    codec.as_str()
                ));
            }
        }
        if self.srtp != SrtpMode::None && transport != "tls" && !self.srtp_over_plain {
            return Err(format!(
                "settings.srtp: {} would send the keys readable over {transport}; set transport to tls, or \
                 settings.srtp_over_plain to true if the way to the carrier is protected otherwise.",
                self.srtp.as_str()
            ));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        let timer = self.session_timer;
        let ranges = [
            ("session_timer.expires_s", timer.expires_s, 90..=86_400),
            ("session_timer.min_se_s", timer.min_se_s, 90..=86_400),
            ("ping_s", self.ping_s.unwrap_or(5), 5..=3600),
            ("register_expires_s", self.register_expires_s, 60..=86_400),
            ("channels", self.channels.unwrap_or(1), 1..=100_000),
            ("queue_s", self.queue_s, 0..=3600),
        ];
        for (key, given, allowed) in ranges {
            if !allowed.contains(&given) {
                let (least, most) = (allowed.start(), allowed.end());
                return Err(format!(
                    "settings.{key}: {given} is out of range; {least} to {most} are allowed."
                ));
            }
        }
        if timer.expires_s < timer.min_se_s {
            return Err(format!(
                "settings.session_timer.expires_s: {} is below session_timer.min_se_s, which is {}.",
                timer.expires_s, timer.min_se_s
            ));
        }
        match self.calls_per_second {
            Some(rate) if !(0.01..=1000.0).contains(&rate) => {
                Err(format!("settings.calls_per_second: {rate} is out of range; 0.01 to 1000 are allowed."))
            }
            _ => Ok(()),
        }
    }
}
