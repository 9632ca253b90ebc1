//! Offer and answer (RFC 3264).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::description::{Description, Media};
use super::write::{self, Line};
use super::{
    Direction, Dtmf, Format, Local, Negotiated, SdpError, Srtp, TELEPHONE_EVENT, TELEPHONE_EVENT_48, sdes,
};
use crate::dtmf::By;
use crate::srtp::Crypto;
use crate::web::Agreed;
use crate::{Codec, SAMPLE_RATE};

/// Our offer: our codecs by preference, `telephone-event`, and keys if we are to encrypt.
pub fn offer(local: &Local) -> String {
    describe(local, &ours(local), &[None])
}

/// A later offer within the same call: payload types keep their meaning and m-lines their places (RFC 3264
/// section 8).
pub fn reoffer(local: &Local, agreed: &Negotiated) -> String {
    describe(local, &again(local, agreed), &agreed.places)
}

/// What we list in a later offer.
pub(super) fn again(local: &Local, agreed: &Negotiated) -> Vec<(u8, Format)> {
    let mut formats = agreed.formats.clone();
    let is_known = |format: &Format| formats.iter().any(|(_, known)| known == format);
    let more: Vec<_> = ours(local).into_iter().filter(|(_, format)| !is_known(format)).collect();
    for (payload_type, format) in more {
        let is_taken = |taken: u8| formats.iter().any(|(known, _)| *known == taken);
        let free = std::iter::once(payload_type).chain(96..128).find(|free| !is_taken(*free));
        formats.extend(free.map(|free| (free, format)));
    }
    // What is not (or no longer) ours to speak is left out, and each format is listed once.
    let mut listed: Vec<(u8, Format)> = Vec::new();
    for (payload_type, format) in formats {
        let is_ours = match format {
            Format::Audio(codec) => local.codecs.contains(&codec),
            Format::Event(_) => local.dtmf == By::Rfc4733,
            Format::ComfortNoise => false,
        };
        if is_ours && !listed.iter().any(|(_, known)| *known == format) {
            listed.push((payload_type, format));
        }
    }
    // The codec in use stays the first.
    listed.sort_by_key(|(_, format)| *format != Format::Audio(agreed.codec));
    listed
}

fn describe(local: &Local, formats: &[(u8, Format)], places: &[Option<String>]) -> String {
    let mut sdp = write::session(local, "0 0");
    for place in places {
        match place {
            Some(refused) => write::refused(&mut sdp, refused),
            None => {
                let crypto = match &local.srtp {
                    Srtp::Off => Vec::new(),
                    Srtp::Optional(keys) | Srtp::Required(keys) => sdes::offer(keys),
                };
                let proto = if matches!(local.srtp, Srtp::Required(_)) { "RTP/SAVP" } else { "RTP/AVP" };
                let direction = local.direction;
                write::audio(
                    &mut sdp,
                    local,
                    &Line { proto, formats, crypto: &crypto, direction, rtcp_mux: false },
                );
            }
        }
    }
    sdp
}

/// What we list, with the payload types we choose.
pub(super) fn ours(local: &Local) -> Vec<(u8, Format)> {
    let audio = local.codecs.iter().map(|&codec| (codec.payload_type(), Format::Audio(codec)));
    let has = |hz: u32| local.dtmf == By::Rfc4733 && local.codecs.iter().any(|codec| codec.clock() == hz);
    let events = [(TELEPHONE_EVENT, SAMPLE_RATE), (TELEPHONE_EVENT_48, 48_000)];
    let events = events.into_iter().filter(|(_, hz)| has(*hz)).map(|(type_, hz)| (type_, Format::Event(hz)));
    audio.chain(events).collect()
}

/// Our answer to their offer, and what is thereby agreed on.
///
/// Of the m-lines for audio we can use the first is taken, one that is encrypted before one that is not; all others
/// are refused with port 0. The common codecs are listed in *their* order (RFC 3264 6.1) but for [`Local::prefers`], and
/// the first of them is what we send. The direction mirrors theirs (or as much of it as [`Local::direction`] allows), payload types are
/// theirs. Of their keys the first that we can use is taken; one with an MKI is not.
///
/// # Errors
/// Any [`SdpError`]; there is then nothing to answer but SIP's 488 (or 400 for what is no SDP).
pub fn answer(offer: &[u8], local: &Local) -> Result<(String, Negotiated), SdpError> {
    let offer = Description::parse(offer)?;
    let (chosen, media) = choose(&offer, local, |media| sdes::answer(media, local))?;
    let crypto = sdes::answer(media, local);
    let keys = crypto.as_ref().map(|(_, crypto)| crypto.clone());
    let mut negotiated = agree(&offer, media, local, local.prefers, keys, None)?;
    negotiated.rtcp_mux = media.rtcp_mux;
    let events = listed_events(media, &negotiated).map(|(type_, hz)| (type_, Format::Event(hz)));
    let events = events.filter(|_| local.dtmf == By::Rfc4733);
    let mut formats: Vec<_> = audio(media, local).chain(events).collect();
    formats.sort_by_key(|(_, format)| *format != Format::Audio(negotiated.codec));
    let lines: Vec<String> = crypto.iter().map(|(tag, crypto)| sdes::line(*tag, crypto)).collect();
    negotiated.places = places(&offer, chosen);
    let mut sdp = write::session(local, &offer.timing);
    for place in &negotiated.places {
        match place {
            Some(refused) => write::refused(&mut sdp, refused),
            None => write::audio(
                &mut sdp,
                local,
                &Line {
                    proto: &media.proto,
                    formats: &formats,
                    crypto: &lines,
                    direction: negotiated.direction,
                    rtcp_mux: media.rtcp_mux,
                },
            ),
        }
    }
    Ok((sdp, negotiated))
}

/// The m-lines in their order: `None` where the audio is, for the others what refuses them.
pub(super) fn places(theirs: &Description, chosen: usize) -> Vec<Option<String>> {
    let refused = |media: &Media| format!("{} 0 {} {}", media.kind, media.proto, media.formats.join(" "));
    let lines = theirs.media.iter().enumerate();
    lines.map(|(index, media)| (index != chosen).then(|| refused(media))).collect()
}

/// Their answer to our offer. (After [`reoffer`] too: what the payload types meant then is taken over by the caller's
/// next [`Negotiated`] only as far as they repeat it.)
///
/// # Errors
/// Any [`SdpError`]; the call is then to be ended (ACK and BYE).
pub fn accept(local: &Local, answer: &[u8]) -> Result<Negotiated, SdpError> {
    let answer = Description::parse(answer)?;
    let (chosen, media) = choose(&answer, local, |media| sdes::accept(media, local))?;
    let crypto = sdes::accept(media, local).map(|(_, crypto)| crypto);
    let mut negotiated = agree(&answer, media, local, None, crypto, None)?;
    negotiated.places = places(&answer, chosen);
    take_ours(&mut negotiated, local);
    Ok(negotiated)
}

/// What we offered is always taken: they are told our types, but may answer with some of their own (RFC 3264 6.1).
pub(super) fn take_ours(negotiated: &mut Negotiated, local: &Local) {
    for (payload_type, format) in ours(local) {
        if !negotiated.formats.iter().any(|(known, _)| *known == payload_type) {
            negotiated.formats.push((payload_type, format));
        }
    }
}

/// The first m-line we can use, encrypted ones before others; if there is none, what is wrong with the first audio.
fn choose<'a>(
    description: &'a Description,
    local: &Local,
    crypto: impl Fn(&Media) -> Option<(u32, Crypto)>,
) -> Result<(usize, &'a Media), SdpError> {
    // Whether it is encrypted.
    let usable = |media: &Media| {
        if media.port == 0 {
            return Err(SdpError::Refused);
        }
        let is_secure = match &media.proto[..] {
            "RTP/AVP" | "RTP/AVPF" => false,
            "RTP/SAVP" | "RTP/SAVPF" => true,
            other => return Err(SdpError::Transport(other.to_owned())),
        };
        let is_encrypted = crypto(media).is_some();
        match &local.srtp {
            Srtp::Off if is_secure => return Err(SdpError::Encrypted(media.proto.clone())),
            Srtp::Optional(_) | Srtp::Required(_) if is_secure && !is_encrypted => {
                return Err(SdpError::NoKeys);
            }
            Srtp::Required(_) if !is_encrypted => return Err(SdpError::NotEncrypted),
            _ => {}
        }
        if audio(media, local).next().is_none() {
            return Err(SdpError::NoCommonCodec { theirs: names(media) });
        }
        Ok(is_encrypted)
    };
    let mut wrong = SdpError::NoAudio;
    let mut plain = None;
    for (index, media) in description.media.iter().enumerate().filter(|(_, media)| media.kind == "audio") {
        match usable(media) {
            Ok(true) => return Ok((index, media)),
            Ok(false) => plain = plain.or(Some((index, media))),
            Err(error) if wrong == SdpError::NoAudio => wrong = error,
            Err(_) => {}
        }
    }
    plain.ok_or(wrong)
}

/// Their formats that we speak, in their order.
pub(super) fn audio(media: &Media, local: &Local) -> impl Iterator<Item = (u8, Format)> + Clone {
    media.payload_types().filter_map(|payload_type| {
        let codec = match media.rtpmap(payload_type) {
            Some(map) => Codec::from_rtpmap(&map.name, map.clock),
            None => Codec::from_payload_type(payload_type),
        }?;
        local.codecs.contains(&codec).then_some((payload_type, Format::Audio(codec)))
    })
}

/// Their payload types for `telephone-event`, with their rates.
pub(super) fn events(media: &Media) -> impl Iterator<Item = (u8, u32)> + Clone {
    media.payload_types().filter_map(|payload_type| {
        let map = media.rtpmap(payload_type)?;
        map.name.eq_ignore_ascii_case("telephone-event").then_some((payload_type, map.clock))
    })
}

/// Those of them an answer lists: at the rate of the codec, or the one there is.
fn listed_events(media: &Media, negotiated: &Negotiated) -> impl Iterator<Item = (u8, u32)> {
    let hz = negotiated.event_clock;
    events(media).filter(move |(_, clock)| *clock == hz).take(1)
}

/// Their formats by name, for people.
pub(super) fn names(media: &Media) -> String {
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

/// The codecs we know that a description lists for its audio, in its order.
pub fn codecs(sdp: &[u8]) -> Vec<Codec> {
    let Ok(description) = Description::parse(sdp) else { return Vec::new() };
    let all = Local::new(Ipv4Addr::UNSPECIFIED.into(), 0, Codec::ALL.to_vec(), 0);
    let media = description.media.iter().find(|media| media.kind == "audio");
    media.map(|media| speakable(media, &all).map(|(_, codec)| codec).collect()).unwrap_or_default()
}

/// Their codecs that we speak, in their order.
pub(super) fn speakable(media: &Media, local: &Local) -> impl Iterator<Item = (u8, Codec)> + Clone {
    audio(media, local).filter_map(|(payload_type, format)| match format {
        Format::Audio(codec) => Some((payload_type, codec)),
        Format::Event(_) | Format::ComfortNoise => None,
    })
}

/// What their m-line says, seen from our side: we send what we prefer, or the first codec of theirs.
pub(super) fn agree(
    theirs: &Description,
    media: &Media,
    local: &Local,
    prefers: Option<Codec>,
    crypto: Option<Crypto>,
    web: Option<Agreed>,
) -> Result<Negotiated, SdpError> {
    let mut codecs = speakable(media, local);
    let preferred = codecs.clone().find(|(_, codec)| Some(*codec) == prefers);
    let first = preferred.or_else(|| codecs.next());
    let (payload_type, codec) = first.ok_or_else(|| SdpError::NoCommonCodec { theirs: names(media) })?;
    let address = match address(theirs, media) {
        // A browser says by ICE where it is.
        Err(_) if web.is_some() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        address => address?,
    };
    let (rtcp_port, rtcp_host) = media
        .rtcp
        .as_ref()
        .filter(|(port, _)| *port != 0)
        .cloned()
        .unwrap_or((media.port.saturating_add(1), None));
    let rtcp_address =
        rtcp_host.and_then(|host| host.parse().ok()).filter(|host: &IpAddr| !host.is_unspecified());
    let direction = media.direction.or(theirs.direction).unwrap_or_default();
    let is_reachable = web.is_some() || !address.is_unspecified();
    let clock = codec.clock();
    let event = events(media).find(|(_, hz)| *hz == clock).or_else(|| events(media).next());
    let ptime = media.ptime.filter(|ptime| (10..=60).contains(ptime)).unwrap_or(20);
    let maxptime = media.maxptime.filter(|max| *max >= 10).unwrap_or(60);
    let all_events = events(media).map(|(type_, hz)| (type_, Format::Event(hz)));
    Ok(Negotiated {
        codec,
        payload_type,
        clock,
        fmtp: media.fmtp(payload_type).to_owned(),
        dtmf: match (local.dtmf, event) {
            (By::Info, _) => Dtmf::Info,
            (By::Rfc4733, Some((payload_type, _))) => Dtmf::Rfc4733(payload_type),
            (By::Rfc4733, None) | (By::Inband, _) => Dtmf::Inband,
        },
        event_clock: event.map_or(clock, |(_, hz)| hz),
        formats: audio(media, local).chain(all_events).collect(),
        remote: SocketAddr::new(address, media.port),
        remote_rtcp: SocketAddr::new(rtcp_address.unwrap_or(address), rtcp_port),
        rtcp_mux: false,
        ptime_ms: ptime.min(maxptime).min(60) as u8,
        direction: Direction::of(
            local.direction.sends() && direction.receives() && is_reachable,
            local.direction.receives() && direction.sends(),
        ),
        crypto,
        web,
        places: Vec::new(),
    })
}

/// Where they want to receive, as `c=` says.
fn address(theirs: &Description, media: &Media) -> Result<IpAddr, SdpError> {
    let host = media.connection.as_ref().or(theirs.connection.as_ref()).ok_or(SdpError::NoAddress)?;
    host.parse().map_err(|_| SdpError::Hostname(host.clone()))
}
