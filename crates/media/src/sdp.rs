//! SDP (RFC 8866) and its offer/answer model (RFC 3264) for one audio stream over plain RTP.

mod description;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

pub use self::description::{Description, Media, Rtpmap};
use crate::Codec;

/// The payload type we offer for `telephone-event/8000`.
pub(crate) const TELEPHONE_EVENT: u8 = 101;

/// What we say about ourselves.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where we want to receive.
    pub addr: IpAddr,
    /// Our RTP port; RTCP is the port above it.
    pub port: u16,
    /// What we speak, by preference.
    pub codecs: Vec<Codec>,
    /// `o=` session id, the same for the whole call.
    pub session_id: u64,
    /// `o=` version, one more for each description that differs from the last (RFC 3264 section 8).
    pub version: u64,
    /// What we would like to do; an answer keeps of it what the offer allows.
    pub direction: Direction,
}

/// Which way media flows, from the side of whoever says it (RFC 8866 section 6.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Direction {
    /// Both ways; what a description without a direction means.
    #[default]
    SendRecv,
    /// Sends, wants to receive nothing.
    SendOnly,
    /// Receives, sends nothing.
    RecvOnly,
    /// Neither; the stream is on hold.
    Inactive,
}

impl Direction {
    /// The direction of one who does or does not send and receive.
    pub const fn of(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// Whether whoever says this sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether whoever says this receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// As the attribute is written.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// What offer and answer agreed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Negotiated {
    /// What we send, and expect.
    pub codec: Codec,
    /// Its RTP payload type.
    pub payload_type: u8,
    /// Their `a=fmtp` of it, after the payload type; empty if there is none.
    pub fmtp: String,
    /// What else they may send without asking, by payload type: the further formats in common (RFC 3264 6.1).
    pub others: Vec<(u8, Codec)>,
    /// The payload type of `telephone-event/8000` (RFC 4733), if they take it.
    pub dtmf: Option<u8>,
    /// Where their RTP port is; an unspecified address (`c=0.0.0.0`) means on hold (RFC 3264 8.4).
    pub remote: SocketAddr,
    /// Where their RTCP port is: `a=rtcp` (RFC 3605), or the port above RTP.
    pub remote_rtcp: SocketAddr,
    /// The packet length they ask for, in ms: 10 to 60; 20 if they ask for none or another. We send what of it is a
    /// multiple of 20 ms, at least 20: `ptime` is a wish, everyone takes up to 200 ms (RFC 3551 4.2).
    pub ptime_ms: u8,
    /// From our side.
    pub direction: Direction,
}

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not begin with `v=0`.
    #[error("the body is no SDP: it does not begin with v=0")]
    NotSdp,
    /// More than 64 KiB or 64 m-lines.
    #[error("the SDP is too large: at most 64 KiB and 64 m-lines are read")]
    TooLarge,
    /// A line that cannot be read.
    #[error("the SDP has a broken line: {0:?}")]
    Line(String),
    /// No m-line for audio.
    #[error("the SDP has no audio")]
    NoAudio,
    /// The audio has port 0.
    #[error("the other side refuses audio (port 0)")]
    Refused,
    /// The audio is not plain RTP.
    #[error("the audio is not plain RTP: {0}, expected RTP/AVP")]
    Transport(String),
    /// None of our codecs is among theirs.
    #[error("no common codec: they speak {theirs}")]
    NoCommonCodec {
        /// What they list, by name.
        theirs: String,
    },
    /// The audio has no `c=`, nor has the session.
    #[error("the SDP does not say where to send to: no c= line")]
    NoAddress,
    /// A hostname in `c=`. Resolving it would make media wait for DNS.
    #[error("the SDP names a host instead of an IP address: {0}")]
    Hostname(String),
}

/// Our offer: our codecs by preference, `telephone-event/8000` as 101, 20 ms.
pub fn offer(local: &Local) -> String {
    let formats = local.codecs.iter().map(|&codec| (codec.payload_type(), codec));
    let mut sdp = session(local, "0 0");
    audio(&mut sdp, local, "RTP/AVP", formats, Some(TELEPHONE_EVENT), local.direction);
    sdp
}

/// Our answer to their offer, and what is thereby agreed on.
///
/// The first m-line of plain RTP audio that shares a codec with us is taken, all others are refused with port 0. The
/// common codecs are listed in *their* order (RFC 3264 6.1), and the first of them is what we send. The direction
/// mirrors theirs (or as much of it as [`Local::direction`] allows), `telephone-event` has their payload type.
///
/// # Errors
/// Any [`SdpError`]; there is then nothing to answer but SIP's 488 (or 400 for what is no SDP).
pub fn answer(offer: &[u8], local: &Local) -> Result<(String, Negotiated), SdpError> {
    let offer = Description::parse(offer)?;
    let (chosen, media) = choose(&offer, local)?;
    let negotiated = agree(&offer, media, local)?;
    let mut sdp = session(local, &offer.timing);
    for (index, media) in offer.media.iter().enumerate() {
        if index == chosen {
            audio(&mut sdp, local, &media.proto, common(media, local), negotiated.dtmf, negotiated.direction);
        } else {
            line(&mut sdp, format_args!("m={} 0 {} {}", media.kind, media.proto, media.formats.join(" ")));
        }
    }
    Ok((sdp, negotiated))
}

/// Their answer to our offer.
///
/// # Errors
/// Any [`SdpError`]; the call is then to be ended (ACK and BYE).
pub fn accept(local: &Local, answer: &[u8]) -> Result<Negotiated, SdpError> {
    let answer = Description::parse(answer)?;
    let (_, media) = choose(&answer, local)?;
    agree(&answer, media, local)
}

/// The first m-line we can use; if there is none, what is wrong with the first audio.
fn choose<'a>(description: &'a Description, local: &Local) -> Result<(usize, &'a Media), SdpError> {
    let is_usable = |media: &Media| match media {
        Media { port: 0, .. } => Err(SdpError::Refused),
        Media { proto, .. } if !matches!(&proto[..], "RTP/AVP" | "RTP/AVPF") => {
            Err(SdpError::Transport(proto.clone()))
        }
        _ if common(media, local).next().is_none() => Err(SdpError::NoCommonCodec { theirs: names(media) }),
        _ => Ok(()),
    };
    let mut wrong = SdpError::NoAudio;
    for (index, media) in description.media.iter().enumerate().filter(|(_, media)| media.kind == "audio") {
        match is_usable(media) {
            Ok(()) => return Ok((index, media)),
            Err(error) if wrong == SdpError::NoAudio => wrong = error,
            Err(_) => {}
        }
    }
    Err(wrong)
}

/// Their formats that we speak, in their order.
fn common(media: &Media, local: &Local) -> impl Iterator<Item = (u8, Codec)> + Clone {
    media.payload_types().filter_map(|payload_type| {
        let codec = match media.rtpmap(payload_type) {
            Some(map) => Codec::from_rtpmap(&map.name, map.clock),
            None => Codec::from_payload_type(payload_type),
        }?;
        local.codecs.contains(&codec).then_some((payload_type, codec))
    })
}

/// Their formats by name, for people.
fn names(media: &Media) -> String {
    let name = |format: &String| {
        let map = format.parse().ok().and_then(|payload_type| media.rtpmap(payload_type));
        match (map, &format[..]) {
            (Some(map), _) => map.name.clone(),
            // Static types (RFC 3551 table 4) that are seen in the field.
            (None, "0") => Codec::Pcmu.name().to_owned(),
            (None, "8") => Codec::Pcma.name().to_owned(),
            (None, "3") => "GSM".to_owned(),
            (None, "9") => "G722".to_owned(),
            (None, "18") => "G729".to_owned(),
            (None, other) => other.to_owned(),
        }
    };
    media.formats.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What their m-line says, seen from our side.
fn agree(theirs: &Description, media: &Media, local: &Local) -> Result<Negotiated, SdpError> {
    let mut formats = common(media, local);
    let (payload_type, codec) =
        formats.next().ok_or_else(|| SdpError::NoCommonCodec { theirs: names(media) })?;
    let host = media.connection.as_ref().or(theirs.connection.as_ref()).ok_or(SdpError::NoAddress)?;
    let address: IpAddr = host.parse().map_err(|_| SdpError::Hostname(host.clone()))?;
    let (rtcp_port, rtcp_host) = media
        .rtcp
        .as_ref()
        .filter(|(port, _)| *port != 0)
        .cloned()
        .unwrap_or((media.port.saturating_add(1), None));
    let rtcp_address =
        rtcp_host.and_then(|host| host.parse().ok()).filter(|host: &IpAddr| !host.is_unspecified());
    let direction = media.direction.or(theirs.direction).unwrap_or_default();
    let is_reachable = !address.is_unspecified();
    Ok(Negotiated {
        codec,
        payload_type,
        fmtp: String::new(),
        others: formats.collect(),
        dtmf: media.payload_types().find(|&payload_type| {
            media.rtpmap(payload_type).is_some_and(|map| {
                map.name.eq_ignore_ascii_case("telephone-event") && map.clock == crate::SAMPLE_RATE
            })
        }),
        remote: SocketAddr::new(address, media.port),
        remote_rtcp: SocketAddr::new(rtcp_address.unwrap_or(address), rtcp_port),
        ptime_ms: media.ptime.filter(|ptime| (10..=60).contains(ptime)).map_or(20, |ptime| ptime as u8),
        direction: Direction::of(
            local.direction.sends() && direction.receives() && is_reachable,
            local.direction.receives() && direction.sends(),
        ),
    })
}

/// The session part of a description of ours.
fn session(local: &Local, timing: &str) -> String {
    let Local { addr, session_id, version, .. } = local;
    let family = if addr.is_ipv4() { "IP4" } else { "IP6" };
    let mut sdp = String::with_capacity(400);
    line(&mut sdp, format_args!("v=0"));
    line(&mut sdp, format_args!("o=- {session_id} {version} IN {family} {addr}"));
    line(&mut sdp, format_args!("s=-"));
    line(&mut sdp, format_args!("c=IN {family} {addr}"));
    line(&mut sdp, format_args!("t={timing}"));
    sdp
}

/// Our m-line.
fn audio(
    sdp: &mut String,
    local: &Local,
    proto: &str,
    codecs: impl Iterator<Item = (u8, Codec)> + Clone,
    dtmf: Option<u8>,
    direction: Direction,
) {
    let formats: String =
        codecs.clone().map(|(format, _)| format).chain(dtmf).map(|format| format!(" {format}")).collect();
    line(sdp, format_args!("m=audio {} {proto}{formats}", local.port));
    for (format, codec) in codecs {
        let channels = if codec.channels() == 1 { "" } else { "/2" };
        line(sdp, format_args!("a=rtpmap:{format} {}/{}{channels}", codec.name(), codec.clock()));
        if let Some(fmtp) = codec.fmtp() {
            line(sdp, format_args!("a=fmtp:{format} {fmtp}"));
        }
    }
    if let Some(dtmf) = dtmf {
        line(sdp, format_args!("a=rtpmap:{dtmf} telephone-event/{}", crate::SAMPLE_RATE));
        line(sdp, format_args!("a=fmtp:{dtmf} 0-15"));
    }
    line(sdp, format_args!("a=ptime:20"));
    line(sdp, format_args!("a=rtcp:{}", local.port.saturating_add(1)));
    line(sdp, format_args!("a={}", direction.name()));
}

fn line(sdp: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(sdp, "{line}\r\n");
}

#[cfg(test)]
mod tests;
