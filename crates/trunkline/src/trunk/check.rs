//! What settings cannot be used, and what would do instead.

use super::{SrtpMode, TrunkSettings, check_host, host_port};

impl TrunkSettings {
    /// Whether a trunk with this transport and user name can go by these settings; the text names the key, what is
    /// wrong and what is allowed.
    pub fn check(&self, transport: &str, username: Option<&str>) -> Result<(), String> {
        self.check_names()?;
        self.check_media(transport)?;
        self.check_times()?;
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
