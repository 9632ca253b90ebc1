//! Reading a session description (RFC 8866).

use super::sdes::{self, Offered};
use super::web::Attributes;
use super::{Direction, SdpError};

/// The longest description that is read, in bytes.
const MAX_LEN: usize = 64 * 1024;

/// The most m-lines that are read.
const MAX_MEDIA: usize = 64;

/// A parsed session description: what of it matters for audio, with every m-line kept.
///
/// Lines may end in CRLF, LF or CR; unknown lines and attributes are read over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The address of the session's `c=`, as written.
    pub connection: Option<String>,
    /// The value of `t=`; an answer has that of its offer (RFC 3264 section 6).
    pub timing: String,
    /// The session's direction, for media that say none.
    pub direction: Option<Direction>,
    /// The m-lines in their order.
    pub media: Vec<Media>,
    /// What it says of ICE and DTLS for all media.
    pub(super) web: Attributes,
    /// The mids of the first `a=group:BUNDLE` (RFC 9143); empty if there is none.
    pub(super) bundle: Vec<String>,
}

/// One m-line and the attributes below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `image`…
    pub kind: String,
    /// 0 means refused or not wanted.
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`…
    pub proto: String,
    /// The formats as written; payload types for RTP.
    pub formats: Vec<String>,
    /// The address of its own `c=`, as written.
    pub connection: Option<String>,
    /// Its own direction.
    pub direction: Option<Direction>,
    /// `a=rtpmap`.
    pub rtpmaps: Vec<Rtpmap>,
    /// `a=ptime` in ms, if it is a whole number.
    pub ptime: Option<u16>,
    /// `a=maxptime` in ms, if it is a whole number.
    pub maxptime: Option<u16>,
    /// `a=rtcp`: port, and the address if it has one (RFC 3605).
    pub rtcp: Option<(u16, Option<String>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=fmtp`: payload type and parameters.
    pub(super) fmtps: Vec<(u8, String)>,
    /// Those `a=crypto` (RFC 4568) that we can use.
    pub(super) crypto: Vec<Offered>,
    /// What it says of ICE and DTLS.
    pub(super) web: Attributes,
}

/// What a payload type stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtpmap {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding name, e.g. `PCMU`.
    pub name: String,
    /// In Hz.
    pub clock: u32,
}

impl Description {
    /// Reads a description of at most 64 KiB and 64 m-lines.
    ///
    /// # Errors
    /// [`SdpError::NotSdp`], [`SdpError::TooLarge`], or [`SdpError::Line`] with the line that is broken.
    pub fn parse(sdp: &[u8]) -> Result<Description, SdpError> {
        if sdp.len() > MAX_LEN {
            return Err(SdpError::TooLarge);
        }
        let text = String::from_utf8_lossy(sdp);
        let mut lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
        if lines.next().is_none_or(|line| line.trim_end() != "v=0") {
            return Err(SdpError::NotSdp);
        }
        let mut description = Description {
            connection: None,
            timing: "0 0".to_owned(),
            direction: None,
            media: Vec::new(),
            web: Attributes::default(),
            bundle: Vec::new(),
        };
        for line in lines {
            let broken = || SdpError::Line(line.chars().take(100).collect());
            let (type_, value) = line.split_once('=').ok_or_else(broken)?;
            let is_full = description.media.len() == MAX_MEDIA;
            match (type_, description.media.last_mut()) {
                ("m", _) if is_full => return Err(SdpError::TooLarge),
                ("m", _) => description.media.push(Media::parse(value).ok_or_else(broken)?),
                ("c", Some(media)) => media.connection = Some(address(value).ok_or_else(broken)?),
                ("c", None) => description.connection = Some(address(value).ok_or_else(broken)?),
                ("t", None) => description.timing = timing(value).ok_or_else(broken)?,
                ("a", Some(media)) => media.attribute(value),
                ("a", None) => description.attribute(value),
                _ => {}
            }
        }
        Ok(description)
    }

    /// Takes over an attribute of the session.
    fn attribute(&mut self, value: &str) {
        self.direction = Direction::parse(value).or(self.direction);
        let (name, value) = value.split_once(':').unwrap_or((value.trim(), ""));
        let mut fields = value.split_whitespace();
        if name == "group" && fields.next() == Some("BUNDLE") && self.bundle.is_empty() {
            self.bundle = fields.take(MAX_MEDIA).map(str::to_owned).collect();
        }
        self.web.take(name, value);
    }
}

impl Media {
    /// `<kind> <port>[/<count>] <proto> <format>…`
    fn parse(value: &str) -> Option<Media> {
        // Fields are repeated in an answer that refuses them, so nothing strange may be in them.
        let mut fields = value
            .split_whitespace()
            .map(|field| field.bytes().all(|byte| byte.is_ascii_graphic()).then_some(field));
        let kind = fields.next()??.to_owned();
        let port = fields.next()??;
        let port = port.split_once('/').map_or(port, |(port, _)| port).parse().ok()?;
        let proto = fields.next()??.to_owned();
        let formats = fields.map(|field| field.map(str::to_owned)).collect::<Option<Vec<_>>>()?;
        (!formats.is_empty()).then_some(Media {
            kind,
            port,
            proto,
            formats,
            connection: None,
            direction: None,
            rtpmaps: Vec::new(),
            ptime: None,
            maxptime: None,
            rtcp: None,
            rtcp_mux: false,
            fmtps: Vec::new(),
            crypto: Vec::new(),
            web: Attributes::default(),
        })
    }

    /// Takes over an attribute; one that is broken is read over, as one that is unknown.
    fn attribute(&mut self, value: &str) {
        if let Some(direction) = Direction::parse(value) {
            self.direction = Some(direction);
            return;
        }
        let (name, value) = value.split_once(':').unwrap_or((value.trim(), ""));
        match name {
            "rtpmap" => self.rtpmaps.extend(Rtpmap::parse(value)),
            "ptime" => self.ptime = value.trim().parse().ok(),
            "maxptime" => self.maxptime = value.trim().parse().ok(),
            "rtcp" => self.rtcp = rtcp(value),
            "rtcp-mux" => self.rtcp_mux = true,
            "fmtp" => {
                let fmtp = value.trim().split_once(' ').and_then(|(payload_type, parameters)| {
                    Some((payload_type.parse().ok()?, parameters.trim().to_owned()))
                });
                self.fmtps.extend(fmtp);
            }
            "crypto" => self.crypto.extend(sdes::parse(value)),
            _ => self.web.take(name, value),
        }
    }

    /// What a format stands for: by its `a=rtpmap`, else `None`.
    pub fn rtpmap(&self, payload_type: u8) -> Option<&Rtpmap> {
        self.rtpmaps.iter().find(|map| map.payload_type == payload_type)
    }

    /// The parameters of a format by its `a=fmtp`; empty if there is none.
    pub fn fmtp(&self, payload_type: u8) -> &str {
        self.fmtps.iter().find(|(known, _)| *known == payload_type).map_or("", |(_, parameters)| parameters)
    }

    /// The payload types among the formats, in their order.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + Clone {
        self.formats
            .iter()
            .filter_map(|format| format.parse().ok())
            .filter(|payload_type| *payload_type < 128)
    }
}

impl Rtpmap {
    /// `<payload type> <name>/<clock>[/<channels>]`
    fn parse(value: &str) -> Option<Rtpmap> {
        let (payload_type, encoding) = value.trim().split_once(' ')?;
        let mut parts = encoding.trim().split('/');
        Some(Rtpmap {
            payload_type: payload_type.parse().ok()?,
            name: parts.next()?.to_owned(),
            clock: parts.next()?.parse().ok()?,
        })
    }
}

impl Direction {
    fn parse(attribute: &str) -> Option<Direction> {
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|direction| direction.name() == attribute.trim())
    }
}

/// `IN IP4 <address>[/<ttl>]`
fn address(value: &str) -> Option<String> {
    let mut fields = value.split_whitespace();
    let is_internet = fields.next()? == "IN" && matches!(fields.next()?, "IP4" | "IP6");
    fields.next()?.split('/').next().filter(|_| is_internet).map(str::to_owned)
}

/// `<start> <stop>`, both numbers.
fn timing(value: &str) -> Option<String> {
    let (start, stop) = value.trim().split_once(' ')?;
    let (start, stop) = (start.parse::<u64>().ok()?, stop.trim().parse::<u64>().ok()?);
    Some(format!("{start} {stop}"))
}

/// `<port> [IN IP4 <address>]`
fn rtcp(value: &str) -> Option<(u16, Option<String>)> {
    let value = value.trim();
    let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
    Some((port.parse().ok()?, address(rest)))
}
