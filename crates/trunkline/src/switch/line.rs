//! The media of a leg: its ports, and what is said of them in offers and answers, to a phone or to a browser.

use std::net::IpAddr;

use media::Codec;
use media::dtmf::By;
use media::sdp::{self, Local, Negotiated, Srtp};
use media::srtp::Keys;
use media::web;

use crate::rtp::{Media, MediaId, Sink};
use crate::time::now_ms;
use crate::trunk::{CodecName, DtmfMode, SrtpMode, TrunkSettings};

/// The media of a leg.
pub(super) struct Line {
    pub(super) id: MediaId,
    local: Local,
    /// What a browser has to know beside.
    web: Option<web::Local>,
    pub(super) negotiated: Option<Negotiated>,
    /// We made an offer in a 2xx to an INVITE without one; the ACK brings the answer.
    pub(super) offered_late: bool,
}

/// What a line is opened for.
pub(super) struct Wanted<'a> {
    /// The media it may be joined with: both live on one loop then.
    pub(super) beside: Option<MediaId>,
    /// Where the other side is to send to.
    pub(super) addr: IpAddr,
    /// How the other side wants to be spoken to.
    pub(super) settings: &'a TrunkSettings,
    /// Whether it is a browser.
    pub(super) is_web: bool,
    /// What is spoken on the other side of the call, the most wanted first.
    pub(super) spoken: Vec<Codec>,
}

impl Line {
    /// Binds the ports of a leg, or gives it a place on the port that browsers share.
    pub(super) fn open(media: &Media, sink: &Sink, wanted: &Wanted<'_>) -> Result<Self, String> {
        let opened = match (wanted.is_web, wanted.beside) {
            (false, Some(other)) => media.open_beside(other, sink).map(|(id, port)| (id, port, None)),
            (false, None) => media.open(sink).map(|(id, port)| (id, port, None)),
            (true, other) => {
                let line = match other {
                    Some(other) => media.open_web_beside(other, sink),
                    None => media.open_web(sink),
                };
                line.map(|line| (line.id, line.port, Some(line.local)))
            }
        };
        let (id, port, web) = opened.map_err(|error| {
            tracing::error!(%error, "no RTP port can be had");
            error.to_string()
        })?;
        match local(wanted, port) {
            Ok(local) => Ok(Self { id, local, web, negotiated: None, offered_late: false }),
            Err(error) => {
                media.close(id);
                Err(error.to_string())
            }
        }
    }

    /// Our offer: the first one, or a later one that keeps what was agreed on.
    pub(super) fn offer(&self) -> Vec<u8> {
        let sdp = match (&self.web, &self.negotiated) {
            (None, None) => sdp::offer(&self.local),
            (None, Some(agreed)) => sdp::reoffer(&self.kept(agreed), agreed),
            (Some(web), None) => web::offer(&self.local, web),
            (Some(web), Some(agreed)) => web::reoffer(&self.local, web, agreed),
        };
        sdp.into_bytes()
    }

    /// What is encrypted stays so.
    fn kept(&self, agreed: &Negotiated) -> Local {
        let mut local = self.local.clone();
        local.srtp = match local.srtp {
            Srtp::Optional(keys) if agreed.crypto.is_some() => Srtp::Required(keys),
            srtp => srtp,
        };
        local
    }

    /// Our answer to their offer, and what is agreed on by it. What is spoken already stays, should they offer it still;
    /// otherwise `prefers` is chosen.
    pub(super) fn answer(
        &self,
        offer: &[u8],
        prefers: Option<Codec>,
    ) -> Result<(Vec<u8>, Negotiated), String> {
        let before = self.negotiated.as_ref();
        let prefers = before.map(|agreed| agreed.codec).or(prefers);
        let local = Local { prefers, ..self.local.clone() };
        let answered = match &self.web {
            None => sdp::answer(offer, &local),
            Some(web) => {
                let fresh = Media::credentials().map_err(|error| error.to_string())?;
                web::answer(offer, &local, web, before, fresh)
            }
        };
        answered.map(|(answer, agreed)| (answer.into_bytes(), agreed)).map_err(|error| error.to_string())
    }

    /// What their answer to our offer agrees on.
    pub(super) fn accept(&self, answer: &[u8]) -> Result<Negotiated, String> {
        let accepted = match &self.web {
            None => sdp::accept(&self.local, answer),
            Some(web) => web::accept(&self.local, web, self.negotiated.as_ref(), answer),
        };
        accepted.map_err(|error| error.to_string())
    }

    /// What is said next differs from what was said last (RFC 3264 section 8).
    pub(super) fn says_anew(&mut self) {
        self.local.version += 1;
    }
}

/// What we say about ourselves, as the other side wants it.
fn local(wanted: &Wanted<'_>, port: u16) -> Result<Local, getrandom::Error> {
    let Wanted { settings, spoken, .. } = wanted;
    let codecs = settings.codecs.iter().map(|codec| match codec {
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::G722 => Codec::G722,
        CodecName::Opus => Codec::Opus,
    });
    let mut codecs: Vec<Codec> = codecs.collect();
    codecs.sort_by_key(|codec| spoken.iter().position(|it| it == codec).unwrap_or(usize::MAX));
    let keys = || {
        let mut random = [0; Keys::RANDOM];
        getrandom::fill(&mut random).map(|()| Keys::new(random))
    };
    Ok(Local {
        dtmf: match settings.dtmf {
            DtmfMode::Rfc4733 => By::Rfc4733,
            DtmfMode::Info => By::Info,
            DtmfMode::Inband => By::Inband,
        },
        srtp: match settings.srtp {
            // A browser's keys come by DTLS.
            _ if wanted.is_web => Srtp::Off,
            SrtpMode::None => Srtp::Off,
            SrtpMode::Optional => Srtp::Optional(keys()?),
            SrtpMode::Required => Srtp::Required(keys()?),
        },
        ..Local::new(wanted.addr, port, codecs, now_ms().unsigned_abs())
    })
}
