//! What matters of a session description.

use std::net::IpAddr;

use media::sdp::{Description, Media};
use serde::Serialize;
use utoipa::ToSchema;

/// Static payload types (RFC 3551) and their names.
const STATIC: &[(u8, &str)] =
    &[(0, "PCMU"), (3, "GSM"), (4, "G723"), (8, "PCMA"), (9, "G722"), (13, "CN"), (15, "G728"), (18, "G729")];

/// The audio of an offer or answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "codecs": ["PCMU", "PCMA"], "address": "192.0.2.1", "port": 16384, "direction": "sendrecv", "encryption": null,
}))]
pub struct Sdp {
    /// Codecs, the preferred first; keys and comfort noise left out.
    pub codecs: Vec<String>,
    /// Where sound shall be sent.
    pub address: String,
    /// And the port; 0 refuses.
    pub port: u16,
    /// `sendrecv`, `sendonly`, `recvonly` or `inactive`.
    pub direction: String,
    /// `sdes`, `dtls`, or null for plain RTP.
    pub encryption: Option<String>,
}

impl Sdp {
    /// The first audio of a description, if it has one.
    pub fn read(body: &[u8]) -> Option<Self> {
        let description = Description::parse(body).ok()?;
        let audio = description.media.iter().find(|media| media.kind == "audio")?;
        let direction = audio.direction.or(description.direction);
        let address = audio.connection.clone().or(description.connection.clone());
        let has = |part: &str| String::from_utf8_lossy(body).lines().any(|line| line.starts_with(part));
        let encryption = if has("a=fingerprint:") {
            Some("dtls")
        } else if has("a=crypto:") {
            Some("sdes")
        } else {
            None
        };
        let mut codecs: Vec<String> = Vec::new();
        for codec in audio.formats.iter().filter_map(|format| codec(audio, format)) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        Some(Self {
            codecs,
            address: address.unwrap_or_default(),
            port: audio.port,
            direction: direction.unwrap_or(media::sdp::Direction::SendRecv).name().to_owned(),
            encryption: encryption.map(Into::into),
        })
    }

    /// The address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// In a few words, as in `PCMU PCMA 192.0.2.1:16384 sendrecv`.
    pub fn words(&self) -> String {
        let address = match self.ip() {
            Some(ip) => std::net::SocketAddr::new(ip, self.port).to_string(),
            None => format!("{}:{}", self.address, self.port),
        };
        let encryption = self.encryption.as_deref().map(|how| format!(" {how}")).unwrap_or_default();
        match self.port {
            0 => "audio refused".into(),
            _ => format!("{} {address} {}{encryption}", self.codecs.join(" "), self.direction),
        }
    }
}

/// What a format is called; none for what is no speech.
fn codec(audio: &Media, format: &str) -> Option<String> {
    let payload_type: u8 = format.parse().ok()?;
    let name = match audio.rtpmap(payload_type) {
        Some(map) => map.name.clone(),
        None => STATIC.iter().find(|(number, _)| *number == payload_type)?.1.to_owned(),
    };
    let silent = ["telephone-event", "CN", "red"];
    (!silent.iter().any(|other| name.eq_ignore_ascii_case(other))).then_some(name)
}

/// Whether an address leads nowhere outside its own network.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_told_in_a_line() {
        let table = [
            (
                "c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
                "PCMA PCMU 192.0.2.1:16384 sendrecv",
            ),
            (
                "t=0 0\r\na=sendonly\r\nm=audio 4000 RTP/SAVP 18\r\nc=IN IP6 2001:db8::1\r\na=crypto:1 A inline:x\r\n",
                "G729 [2001:db8::1]:4000 sendonly sdes",
            ),
            (
                "c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 2 RTP/AVP 99\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 110\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\na=fingerprint:sha-256 AA\r\na=inactive\r\n",
                "opus 192.0.2.1:9 inactive dtls",
            ),
            ("c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n", "audio refused"),
        ];
        for (rest, words) in table {
            let sdp = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{rest}");
            assert_eq!(Sdp::read(sdp.as_bytes()).map(|sdp| sdp.words()).as_deref(), Some(words), "{rest}");
        }
        assert_eq!(Sdp::read(b"v=0\r\nt=0 0\r\n"), None);
        assert_eq!(Sdp::read(b"\xff\x00"), None);
    }

    #[test]
    fn addresses_that_lead_nowhere_outside() {
        for (ip, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("169.254.1.1", true),
            ("127.0.0.1", true),
            ("192.0.2.1", false),
            ("100.128.0.1", false),
            ("8.8.8.8", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }
}
