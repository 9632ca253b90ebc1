//! Legs on their way: ports bound, sound offered, the INVITE sent, and what of it outlives a crash.

use std::net::IpAddr;
use std::time::Instant;

use call::{Cause, LegFailure, LegInput};
use media::Codec;
use media::dtmf::By;
use media::sdp::{self, Local, Srtp};
use media::srtp::Keys;
use sip::LegId;

use super::Placed;
use super::entry::{Entry, LegKey, Line};
use super::legs::reason;
use super::run::{Loop, Parts};
use super::saved::to_json;
use crate::rtp::MediaId;
use crate::store::Write;
use crate::time::now_ms;
use crate::trunk::{CodecName, DtmfMode, SrtpMode, TrunkSettings};

impl Loop {
    /// Ends a leg as it stands, by CANCEL or BYE.
    pub(super) fn hang_up_leg(&mut self, at: LegKey, cause: &Cause, now: Instant) {
        if !self.leave_queue(at, now)
            && let Some(leg) = self.calls.get(at.call).and_then(|entry| entry.leg(at)?.sip)
        {
            self.parts.endpoint.sip().hang_up(leg, reason(cause), now);
        }
        if self.calls.get(at.call).is_some_and(|entry| !entry.call.awaits(at.n)) {
            self.forget_leg(at, now);
        }
    }

    pub(super) fn send_invite(&mut self, at: LegKey, now: Instant) {
        match self.invite(at, now) {
            Ok(sip) => {
                self.by_leg.insert(sip, at);
                let call_id = self.parts.endpoint.sip().call_id(sip).unwrap_or_default().to_owned();
                let Some(entry) = self.calls.get_mut(at.call) else { return };
                let Some(leg) = entry.leg_mut(at) else { return };
                leg.sip = Some(sip);
                leg.flow = self.parts.endpoint.sip().path_of(sip);
                if let (Some(path), Some(shield)) = (leg.flow, self.parts.endpoint.shield()) {
                    shield.flow_up(None, &path);
                }
                let role = if leg.role == call::Leg::First { "first" } else { "second" };
                if let Some(tap) = self.parts.endpoint.tap() {
                    let trunk = entry.dial(at).and_then(|dial| dial.trunk.as_ref());
                    tap.hold(entry.id, &call_id, role, trunk.map_or("", |(_, name)| name));
                }
                let Some(leg) = entry.leg_mut(at) else { return };
                if leg.role == call::Leg::First {
                    let trunk = entry.dial(at).and_then(|dial| dial.trunk.clone());
                    let write = Write::Attempt { call: entry.id, sip_call_id: call_id.clone(), trunk };
                    if let Some(reply) = entry.placed.take() {
                        let _ = reply.send(Ok(Placed { sip_call_id: call_id }));
                    }
                    self.write(write);
                }
                self.save_leg(at);
            }
            Err(failure) => {
                self.forget_leg(at, now);
                self.tell_leg(at, LegInput::Failed(failure), now);
            }
        }
    }

    fn invite(&mut self, at: LegKey, now: Instant) -> Result<LegId, LegFailure> {
        let gone = || unsent(call::FailureKind::Transport, "the attempt is gone");
        let parts = &mut self.parts;
        let entry = self.calls.get_mut(at.call).ok_or_else(gone)?;
        let dial = entry.dial(at).ok_or_else(gone)?;
        let target = dial.target.clone().map_err(|why| unsent(call::FailureKind::Dns(why), ""))?;
        let transport =
            |error: &dyn std::fmt::Display| unsent(call::FailureKind::Transport, &error.to_string());
        let path = match dial.phone {
            Some((path, _)) => path,
            None => parts.endpoint.path(&target).map_err(|e| transport(&e))?,
        };
        let phone = dial.phone.map(|(_, user)| user);
        let local = path.local.ip();
        let (id, local) = open(parts, entry, local, &dial.settings)
            .map_err(|why| unsent(call::FailureKind::Media(why), ""))?;
        let invite = sip::Invite {
            from_display: dial.from_display.clone(),
            contact_user: dial.contact_user.clone(),
            route: dial.route.clone(),
            headers: dial.headers.clone(),
            body: sdp::offer(&local).into_bytes(),
            credentials: dial.credentials.clone(),
            session_timer: dial.settings.timer(),
            reliable: dial.settings.reliable(),
            guarded: phone.is_some(),
            ..sip::Invite::new(path, dial.request_uri.as_str(), dial.from_uri.as_str(), dial.to_uri.as_str())
        };
        if let Some(leg) = entry.leg_mut(at) {
            leg.media = Some(Line { id, local, negotiated: None, offered_late: false });
            leg.user = phone;
        }
        self.by_media.insert(id, at);
        parts.endpoint.sip().invite(invite, now).map_err(|e| transport(&e))
    }

    /// Keeps what it takes to end this leg after a crash.
    pub(super) fn save_leg(&mut self, at: LegKey) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        let call = entry.id;
        let Some(leg) = entry.leg_mut(at) else { return };
        if let Some(saved) = leg.sip.and_then(|sip| self.parts.endpoint.sip().save(sip)) {
            leg.saved = Some(saved.call_id.clone());
            self.write(Write::Leg { call, saved: to_json(&saved, &self.parts.endpoint) });
        }
    }

    /// The leg is over on both sides: nothing of it needs to be kept.
    pub(super) fn unsave_leg(&mut self, at: LegKey) {
        let Some(entry) = self.calls.get_mut(at.call) else { return };
        let call = entry.id;
        if let Some(sip_call_id) = entry.leg_mut(at).and_then(|leg| leg.saved.take()) {
            self.write(Write::LegEnded { call, sip_call_id });
        }
    }
}

/// Binds ports for a leg of this call. All of its legs live on one loop, so that they can be joined there.
pub(super) fn open(
    parts: &Parts,
    entry: &Entry,
    addr: IpAddr,
    settings: &TrunkSettings,
) -> Result<(MediaId, Local), String> {
    let beside = entry.legs.iter().find_map(|leg| Some(leg.media.as_ref()?.id)).or(entry.main);
    let opened = match beside {
        Some(other) => parts.media.open_beside(other, &parts.sink),
        None => parts.media.open(&parts.sink),
    };
    let (id, port) = opened.map_err(|error| {
        tracing::error!(%error, "no RTP port can be had");
        error.to_string()
    })?;
    match local(settings, addr, port) {
        Ok(local) => Ok((id, local)),
        Err(error) => {
            parts.media.close(id);
            Err(error.to_string())
        }
    }
}

/// What we say about ourselves, as the other side wants it.
fn local(settings: &TrunkSettings, addr: IpAddr, port: u16) -> Result<Local, getrandom::Error> {
    let codecs = settings.codecs.iter().map(|codec| match codec {
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::G722 => Codec::G722,
        CodecName::Opus => Codec::Opus,
    });
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
            SrtpMode::None => Srtp::Off,
            SrtpMode::Optional => Srtp::Optional(keys()?),
            SrtpMode::Required => Srtp::Required(keys()?),
        },
        ..Local::new(addr, port, codecs.collect(), now_ms().unsigned_abs())
    })
}

/// An attempt that came to nothing before anything was sent.
pub(super) fn unsent(kind: call::FailureKind, phrase: &str) -> LegFailure {
    LegFailure {
        kind,
        status: None,
        phrase: phrase.into(),
        q850: None,
        provisional: false,
        sent: false,
        challenged: false,
        had_credentials: false,
    }
}
