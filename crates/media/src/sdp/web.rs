//! Offer and answer with a browser: ICE (RFC 8839), DTLS-SRTP (RFC 5763), BUNDLE (RFC 9143), as RFC 8829 has them.
//!
//! We are lite (RFC 8445 section 2.5): we name host candidates, never look at theirs, and so need not wait for any.

use std::net::IpAddr;

use super::description::{Description, Media};
use super::exchange::{self, again, agree, audio, events, names, ours, places, speakable};
use super::write::{self, Line};
use super::{Format, Local as Sound, Negotiated, SdpError};
use crate::dtmf::By;
use crate::web::{Credentials, Fingerprint};

/// What our descriptions say; those of others are read with any `RTP/SAVP` in it.
const PROTO: &str = "UDP/TLS/RTP/SAVPF";

/// What identifies our audio where it is ours to choose.
const MID: &str = "0";

/// The priority of a host candidate with nothing to prefer among several (RFC 8445 5.1.2.1); each further one is less.
const PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// What we say about ourselves to a browser, beside [`crate::sdp::Local`], whose address and port are our first
/// candidate.
#[derive(Clone, Debug)]
pub struct Local {
    /// Our ICE credentials at the beginning of the call.
    pub credentials: Credentials,
    /// Our certificate's.
    pub fingerprint: Fingerprint,
    /// Where else the same port can be reached.
    pub addresses: Vec<IpAddr>,
}

/// Who begins the DTLS handshake: the client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `a=setup:active`.
    Client,
    /// `a=setup:passive`.
    Server,
}

impl Role {
    const fn setup(self) -> &'static str {
        match self {
            Role::Client => "active",
            Role::Server => "passive",
        }
    }
}

/// What ICE and DTLS are to go by, as offer and answer agreed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// Our credentials from now on: new ones after an ICE restart.
    pub ours: Credentials,
    /// Theirs, which tell an ICE restart.
    pub theirs: Credentials,
    /// Their certificate's.
    pub fingerprint: Fingerprint,
    /// Our part in the handshake.
    pub role: Role,
    /// What identifies the audio among the m-lines (RFC 5888), and whether it is bundled.
    mid: Option<String>,
    is_bundled: bool,
}

/// The attributes of ICE and DTLS, of a session or one m-line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<Fingerprint>,
    setup: Option<String>,
    mid: Option<String>,
    is_bundle_only: bool,
}

impl Attributes {
    /// Takes over an attribute; one that is broken is read over, as one that is unknown.
    pub(super) fn take(&mut self, name: &str, value: &str) {
        let value = value.trim();
        // What may be in it is written back to them, or compared.
        let token = || Some(value.to_owned()).filter(|value| is_token(value));
        match name {
            "ice-ufrag" => self.ufrag = token(),
            "ice-pwd" => self.pwd = token(),
            "fingerprint" => self.fingerprint = Fingerprint::parse(value).or(self.fingerprint),
            "setup" => self.setup = token(),
            "mid" => self.mid = token(),
            "bundle-only" => self.is_bundle_only = true,
            _ => {}
        }
    }
}

fn is_token(value: &str) -> bool {
    (1..=256).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a description is a browser's: its audio asks for keys from DTLS.
pub fn is_web(sdp: &[u8]) -> bool {
    Description::parse(sdp).is_ok_and(|description| {
        description.media.iter().any(|media| media.kind == "audio" && is_usable(&description, media))
    })
}

fn is_usable(description: &Description, media: &Media) -> bool {
    let has_print = |web: &Attributes| web.fingerprint.is_some();
    let asks = media.proto.contains("TLS/RTP")
        || (media.proto.contains("RTP/SAVP") && (has_print(&media.web) || has_print(&description.web)));
    asks && (media.port != 0 || media.web.is_bundle_only)
}

/// Our offer: our codecs by preference, `telephone-event`, one candidate for each address.
pub fn offer(local: &Sound, web: &Local) -> String {
    let said = Said {
        credentials: &web.credentials,
        setup: "actpass",
        mid: Some(MID),
        is_bundled: true,
        formats: &ours(local),
    };
    describe(local, web, &said, "0 0", &[None])
}

/// A later offer within the same call: no ICE restart, the same handshake.
pub fn reoffer(local: &Sound, web: &Local, negotiated: &Negotiated) -> String {
    let Some(agreed) = &negotiated.web else { return offer(local, web) };
    let said = Said {
        credentials: &agreed.ours,
        // Whoever answers keeps its part (RFC 8842 section 5.3).
        setup: "actpass",
        mid: agreed.mid.as_deref(),
        is_bundled: agreed.is_bundled,
        formats: &again(local, negotiated),
    };
    describe(local, web, &said, "0 0", &negotiated.places)
}

/// Our answer to their offer, and what is thereby agreed on.
///
/// The first m-line for audio over DTLS is taken, all others are refused. Unlike [`crate::sdp::answer`] the common
/// codecs are listed in the order of [`crate::sdp::Local::codecs`], behind [`crate::sdp::Local::prefers`]. `before` is what the last exchange agreed on; `fresh` are our credentials should
/// they restart ICE (RFC 8839 section 4.4.3), and are used for nothing else.
///
/// # Errors
/// Any [`SdpError`]; there is then nothing to answer but SIP's 488 (or 400 for what is no SDP).
pub fn answer(
    offer: &[u8],
    local: &Sound,
    web: &Local,
    before: Option<&Negotiated>,
    fresh: Credentials,
) -> Result<(String, Negotiated), SdpError> {
    let offer = Description::parse(offer)?;
    let (chosen, media) = choose(&offer, local)?;
    let before = before.and_then(|negotiated| negotiated.web.as_ref());
    let agreed = agreed(&offer, media, web, before, fresh)?;
    let preferred = by_preference(media, local);
    let first = preferred.first().map(|(_, codec)| *codec);
    let mut negotiated = agree(&offer, media, local, first, None, Some(agreed))?;
    negotiated.rtcp_mux = true;
    negotiated.places = places(&offer, chosen);
    let Some(agreed) = &negotiated.web else { return Err(SdpError::NoAudio) };
    let clocks: Vec<u32> = preferred.iter().map(|(_, codec)| codec.clock()).collect();
    let events = events(media).filter(|(_, hz)| local.dtmf == By::Rfc4733 && clocks.contains(hz));
    let mut formats: Vec<_> =
        preferred.iter().map(|(type_, codec)| (*type_, Format::Audio(*codec))).collect();
    formats.extend(events.map(|(type_, hz)| (type_, Format::Event(hz))));
    let said = Said {
        credentials: &agreed.ours,
        setup: agreed.role.setup(),
        mid: agreed.mid.as_deref(),
        is_bundled: agreed.is_bundled,
        formats: &formats,
    };
    let local = Sound { direction: negotiated.direction, ..local.clone() };
    Ok((describe(&local, web, &said, &offer.timing, &negotiated.places), negotiated))
}

/// Their answer to our [`offer`], or with `before` to our [`reoffer`].
///
/// # Errors
/// Any [`SdpError`]; the call is then to be ended (ACK and BYE).
pub fn accept(
    local: &Sound,
    web: &Local,
    before: Option<&Negotiated>,
    answer: &[u8],
) -> Result<Negotiated, SdpError> {
    let answer = Description::parse(answer)?;
    let (chosen, media) = choose(&answer, local)?;
    let before = before.and_then(|negotiated| negotiated.web.as_ref());
    let ours = before.map_or(&web.credentials, |before| &before.ours).clone();
    // It was ours to restart ICE, and we do not.
    let mut agreed = agreed(&answer, media, web, before, ours.clone())?;
    agreed.ours = ours;
    // Theirs is the order that counts: they answer with what they have chosen.
    let mut negotiated = agree(&answer, media, local, None, None, Some(agreed))?;
    negotiated.rtcp_mux = true;
    negotiated.places = places(&answer, chosen);
    exchange::take_ours(&mut negotiated, local);
    Ok(negotiated)
}

/// The first m-line we can use; if there is none, what is wrong with the first audio.
fn choose<'a>(theirs: &'a Description, local: &Sound) -> Result<(usize, &'a Media), SdpError> {
    let usable = |media: &Media| {
        if media.port == 0 && !media.web.is_bundle_only {
            return Err(SdpError::Refused);
        }
        if !is_usable(theirs, media) {
            return Err(SdpError::Lacks(PROTO));
        }
        if !media.rtcp_mux {
            return Err(SdpError::Lacks("a=rtcp-mux"));
        }
        if audio(media, local).next().is_none() {
            return Err(SdpError::NoCommonCodec { theirs: names(media) });
        }
        Ok(())
    };
    let mut wrong = SdpError::NoAudio;
    for (index, media) in theirs.media.iter().enumerate().filter(|(_, media)| media.kind == "audio") {
        match usable(media) {
            Ok(()) => return Ok((index, media)),
            Err(error) if wrong == SdpError::NoAudio => wrong = error,
            Err(_) => {}
        }
    }
    Err(wrong)
}

/// Their formats that we speak, in our order.
fn by_preference(media: &Media, local: &Sound) -> Vec<(u8, crate::Codec)> {
    let mut formats: Vec<_> = speakable(media, local).collect();
    formats.sort_by_key(|(_, codec)| {
        (Some(*codec) != local.prefers, local.codecs.iter().position(|ours| ours == codec))
    });
    formats
}

/// What they say of ICE and DTLS. Of bundled media only one m-line need say it (RFC 9143 7.1.2).
fn agreed(
    theirs: &Description,
    media: &Media,
    web: &Local,
    before: Option<&Agreed>,
    fresh: Credentials,
) -> Result<Agreed, SdpError> {
    let is_bundled = media.web.mid.as_ref().is_some_and(|mid| theirs.bundle.contains(mid));
    let bundled = theirs.media.iter().map(|media| &media.web).filter(|_| is_bundled);
    let said: Vec<&Attributes> = [&media.web, &theirs.web].into_iter().chain(bundled).collect();
    let ufrag = said.iter().find_map(|web| web.ufrag.clone()).ok_or(SdpError::Lacks("a=ice-ufrag"))?;
    let pwd = said.iter().find_map(|web| web.pwd.clone()).ok_or(SdpError::Lacks("a=ice-pwd"))?;
    let fingerprint = said.iter().find_map(|web| web.fingerprint);
    let fingerprint = fingerprint.ok_or(SdpError::Lacks("a=fingerprint by SHA-256"))?;
    let setup = said.iter().find_map(|web| web.setup.as_deref());
    let theirs = Credentials { ufrag, pwd };
    // Whose certificate stays keeps its part, unless told otherwise (RFC 8842 section 5).
    let kept = before.filter(|before| before.fingerprint == fingerprint).map(|before| before.role);
    Ok(Agreed {
        ours: match before {
            None => web.credentials.clone(),
            Some(before) if before.theirs == theirs => before.ours.clone(),
            Some(_) => fresh,
        },
        theirs,
        fingerprint,
        role: match setup {
            Some("passive") => Role::Client,
            Some("active") => Role::Server,
            _ => kept.unwrap_or(Role::Server),
        },
        mid: media.web.mid.clone(),
        is_bundled,
    })
}

/// What differs from one description of ours to another.
struct Said<'a> {
    credentials: &'a Credentials,
    setup: &'a str,
    mid: Option<&'a str>,
    is_bundled: bool,
    formats: &'a [(u8, Format)],
}

fn describe(local: &Sound, web: &Local, said: &Said<'_>, timing: &str, places: &[Option<String>]) -> String {
    let mut sdp = write::session(local, timing);
    write::attribute(&mut sdp, "ice-lite");
    if let Some(mid) = said.mid.filter(|_| said.is_bundled) {
        write::attribute(&mut sdp, format_args!("group:BUNDLE {mid}"));
    }
    for place in places {
        match place {
            Some(refused) => write::refused(&mut sdp, refused),
            None => {
                let line = Line {
                    proto: PROTO,
                    formats: said.formats,
                    crypto: &[],
                    direction: local.direction,
                    rtcp_mux: true,
                };
                write::audio(&mut sdp, local, &line);
                secure(&mut sdp, local, web, said);
            }
        }
    }
    sdp
}

/// The attributes of ICE and DTLS of our m-line.
fn secure(sdp: &mut String, local: &Sound, web: &Local, said: &Said<'_>) {
    if let Some(mid) = said.mid {
        write::attribute(sdp, format_args!("mid:{mid}"));
    }
    // A browser hands its page a stream only where one is named (RFC 8830).
    write::attribute(sdp, "msid:trunkline audio");
    write::attribute(sdp, format_args!("ice-ufrag:{}", said.credentials.ufrag));
    write::attribute(sdp, format_args!("ice-pwd:{}", said.credentials.pwd));
    write::attribute(sdp, format_args!("fingerprint:{}", web.fingerprint));
    write::attribute(sdp, format_args!("setup:{}", said.setup));
    let others = web.addresses.iter().filter(|address| **address != local.addr);
    for (n, address) in (1u32..).zip(std::iter::once(&local.addr).chain(others)) {
        // Its local preference is in the middle 16 bits.
        let priority = PRIORITY.saturating_sub((n - 1) << 8);
        let port = local.port;
        write::attribute(sdp, format_args!("candidate:{n} 1 udp {priority} {address} {port} typ host"));
    }
    write::attribute(sdp, "end-of-candidates");
}

#[cfg(test)]
mod tests;
