//! Who talks with somebody sends them on: to whom is looked up elsewhere (REFER, RFC 3515), or is on the line with the
//! same user already (Replaces, RFC 3891).

use std::time::Instant;

use call::{ClipId, LegInput, NotNow, Progress, RouteId};
use media::Clip;
use serde_json::{Value, json};
use sip::{LegId, Name, Replaces, View};

use super::Dial;
use super::entry::{Entry, LegKey};
use super::live::not_now;
use super::run::Loop;
use crate::callers;
use crate::id::Id;
use crate::receive::dialled;
use crate::refused::Refused;
use crate::store::Write;

/// The ways to somebody that a call keeps: each transfer adds one.
const MOST_ROUTES: usize = 64;
/// What a REFER is answered with that cannot be carried out as things stand.
const DECLINED: u16 = 603;
/// The dialog that a REFER names is none of the sender's.
const NO_DIALOG: u16 = 481;

/// A user on a call wants whoever is on it too sent on to somebody else.
#[derive(Clone, Debug)]
pub struct Referral {
    /// The leg that asks.
    pub leg: LegId,
    /// The account of the call.
    pub account: i64,
    /// Whose phone asks.
    pub user: Id,
    /// To whom: a name or number, or a URI whose host is not ours.
    pub to: String,
    /// Who is sent on.
    pub party: Party,
}

/// Somebody on a call.
#[derive(Clone, Debug, Default)]
pub struct Party {
    /// Whose phone it is, if it is one of ours.
    pub user: Option<Id>,
    /// The number or name it has, as far as known.
    pub address: Option<String>,
    /// Whether it is not to be shown (RFC 3323).
    pub withheld: bool,
}

/// Where somebody is sent on to: looked up, rendered and resolved.
pub struct Transfer {
    /// The ways there; the id of its route is given by the call, and its ringback is one of `clips`.
    pub dial: call::Dial,
    /// How to go each way, in the same order.
    pub dials: Vec<Dial>,
    /// What whoever waits hears.
    pub clips: Vec<Clip>,
    /// The user who asked for it; none: the API.
    pub by: Option<String>,
}

/// What is told of the transfer that was asked for last.
pub(super) struct Told {
    /// The user who asked for it.
    by: Option<String>,
    /// The role of who is sent on.
    sent: call::Leg,
    /// The call that the other leg came from.
    from: Option<Id>,
}

impl Entry {
    /// The detail of a step's event, with who transfers whom.
    pub(super) fn told(&self, progress: &Progress, mut detail: Value) -> Value {
        let is_transfer = matches!(
            progress,
            Progress::Transferring { .. } | Progress::Transferred | Progress::TransferFailed { .. }
        );
        if let (true, Some(told), Some(detail)) = (is_transfer, &self.transfer, detail.as_object_mut()) {
            detail.insert("by".into(), json!(told.by));
            detail.insert("leg".into(), role_name(told.sent).into());
            if let Some(from) = told.from {
                detail.insert("call".into(), from.with("call").into());
            }
        }
        detail
    }
}

impl Loop {
    /// A leg asks for a transfer.
    pub(super) fn refer(
        &mut self,
        at: LegKey,
        leg: LegId,
        refer_to: &str,
        replaces: Option<&Replaces>,
        now: Instant,
    ) {
        let done = match replaces {
            Some(replaces) => self.refer_to_leg(at, leg, replaces, now),
            None => self.refer_to_somebody(at, leg, refer_to, now),
        };
        if let Err(status) = done {
            tracing::info!(status, "a transfer was refused");
            let _ = self.parts.endpoint.sip().reject_refer(leg, status, now);
        }
    }

    /// Nothing is answered until it is known where it leads.
    fn refer_to_somebody(&mut self, at: LegKey, leg: LegId, refer_to: &str, now: Instant) -> Result<(), u16> {
        let path = self.parts.endpoint.sip().path_of(leg).ok_or(NO_DIALOG)?;
        let entry = self.calls.get(at.call).ok_or(NO_DIALOG)?;
        // What a trunk asks for would be paid by the account.
        let user = entry.leg(at).and_then(|leg| leg.user).ok_or(DECLINED)?;
        let (first, second) = entry.call.joined().map_err(|_| DECLINED)?;
        let other = match at.n {
            n if n == first => second,
            n if n == second => first,
            _ => return Err(DECLINED),
        };
        let account = entry.account;
        let uri = refer_to.split('?').next().unwrap_or(refer_to);
        let to = dialled(uri, |host| self.callers.is_own_host(host, &path));
        let party = self.party(LegKey { n: other, ..at });
        let referral = Referral { leg, account, user, to, party };
        if let Some(transfer) = self.parts.shared.refer(referral) {
            self.referred(leg, transfer, now);
        }
        Ok(())
    }

    /// Who plays this role in a call whose two legs are joined.
    pub(super) fn party_of(&mut self, id: Id, role: call::Leg) -> Result<Party, Refused> {
        let key = self.by_id.get(&id).copied();
        let entry = key.and_then(|key| Some((key, self.calls.get(key)?)));
        let (key, entry) = entry.ok_or_else(|| not_now(NotNow::Ending))?;
        let (first, second) = entry.call.joined().map_err(not_now)?;
        let n = match role {
            call::Leg::First => first,
            call::Leg::Second => second,
        };
        Ok(self.party(LegKey { call: key, n }))
    }

    /// Who is on a leg.
    fn party(&mut self, at: LegKey) -> Party {
        let Some(leg) = self.calls.get(at.call).and_then(|entry| entry.leg(at)) else {
            return Party::default();
        };
        let user = leg.user;
        let uri = leg.sip.and_then(|sip| self.parts.endpoint.sip().remote_uri(sip));
        let address = uri.and_then(|uri| callers::user_part(&format!("<{uri}>")));
        let withheld = address.as_deref().is_some_and(|user| user.eq_ignore_ascii_case("anonymous"));
        Party { user, address, withheld }
    }

    /// What an INVITE is refused with that is to take the place of another call (RFC 3891 section 3): transfers are
    /// carried out here, so no phone has to do it.
    pub(super) fn refuses_replaces(&mut self, invite: &View<'_>) -> Option<u16> {
        let replaces = Replaces::parse(invite.header(Name::Replaces)?);
        let named = replaces.and_then(|replaces| self.parts.endpoint.sip().find_dialog(&replaces));
        Some(named.map_or(NO_DIALOG, |_| DECLINED))
    }

    /// It is known where a transfer leads.
    pub(super) fn referred(&mut self, leg: LegId, transfer: Result<Transfer, Refused>, now: Instant) {
        // Who asked may have hung up in the meantime.
        let Some(&at) = self.by_leg.get(&leg) else { return };
        if let Err(refused) = transfer.and_then(|transfer| self.send_on(at, transfer, now)) {
            let status = match (refused.status, refused.code) {
                (409, code) if code != "user_not_registered" => DECLINED,
                _ => callers::sip_status(&refused),
            };
            tracing::info!(status, code = refused.code, reason = refused.message, "a transfer was refused");
            let _ = self.parts.endpoint.sip().reject_refer(leg, status, now);
        }
    }

    /// Sends whoever plays this role in a call on to somebody else.
    pub(super) fn send_on_role(
        &mut self,
        key: usize,
        role: call::Leg,
        transfer: Transfer,
        now: Instant,
    ) -> Result<(), Refused> {
        let joined = self.calls.get(key).map_or(Err(NotNow::Ending), |entry| entry.call.joined());
        let (first, second) = joined.map_err(not_now)?;
        let by = if role == call::Leg::First { second } else { first };
        self.send_on(LegKey { call: key, n: by }, transfer, now)
    }

    /// The leg `at` sends the other one on.
    fn send_on(&mut self, at: LegKey, transfer: Transfer, now: Instant) -> Result<(), Refused> {
        let Some(entry) = self.calls.get_mut(at.call) else { return Err(not_now(NotNow::Ending)) };
        let (first, _) = entry.call.joined().map_err(not_now)?;
        if entry.routes.len() >= MOST_ROUTES {
            let message = "This call has been transferred too often.";
            return Err(Refused::new(409, "too_many_transfers", message).hint("Place another call."));
        }
        let Transfer { mut dial, dials, mut clips, by } = transfer;
        dial.route.id = RouteId(entry.routes.len() as u32);
        dial.ringback = dial.ringback.and_then(|ClipId(n)| {
            let n = n as usize;
            (n < clips.len()).then(|| entry.clips.keep(clips.swap_remove(n)))
        });
        entry.routes.push(dials);
        let sent = if at.n == first { call::Leg::Second } else { call::Leg::First };
        entry.transfer = Some(Told { by, sent, from: None });
        let begun = entry.call.transfer(at.n, dial, now).map_err(not_now);
        self.step(at.call, now);
        begun
    }

    /// Joins whom the leg `at` talks with and whom the same user talks with on the leg that `replaces` names; both legs
    /// of the user end.
    fn refer_to_leg(&mut self, at: LegKey, leg: LegId, replaces: &Replaces, now: Instant) -> Result<(), u16> {
        let named = self.parts.endpoint.sip().find_dialog(replaces);
        let other = named.and_then(|leg| self.by_leg.get(&leg)).copied().ok_or(NO_DIALOG)?;
        let (one, two) = self.calls.get(at.call).zip(self.calls.get(other.call)).ok_or(NO_DIALOG)?;
        let account = one.account;
        // Another account's dialog is as good as none.
        if two.account != account {
            return Err(NO_DIALOG);
        }
        let user = one.leg(at).and_then(|leg| leg.user).ok_or(DECLINED)?;
        if two.leg(other).and_then(|leg| leg.user) != Some(user) || at.call == other.call {
            return Err(DECLINED);
        }
        if replaces.early_only {
            return Err(486);
        }
        let (remains, moves) = (one.partner(at).ok_or(DECLINED)?, two.partner(other).ok_or(DECLINED)?);
        // Either call may go on: rather the one whose figures and recording are those of who remains.
        let (stays, goes) = match two.worth(moves) > one.worth(remains) {
            true => (other, at),
            false => (at, other),
        };
        let media = |at: LegKey, entry: &Entry| entry.leg(at).and_then(|leg| Some(leg.media.as_ref()?.id));
        let medias = media(remains, one).zip(media(moves, two));
        if !medias.is_some_and(|(one, other)| one.is_beside(other)) {
            tracing::warn!("a transfer was refused: the legs live on different media loops");
            return Err(DECLINED);
        }
        let sip = self.parts.endpoint.sip();
        let _ = sip.accept_refer(leg, now).and_then(|()| sip.notify_refer(leg, 200, now));
        let by = self.parts.store.directory().user_by_id(account, user);
        self.hand_over(stays, goes, by.map(|user| user.username.to_string()), now);
        Ok(())
    }

    /// The leg that `goes` is joined with takes the place of the leg `stays`, whose call goes on; the other call ends.
    fn hand_over(&mut self, stays: LegKey, goes: LegKey, by: Option<String>, now: Instant) {
        let Some((kept, ended)) = self.calls.get2_mut(stays.call, goes.call) else { return };
        let (Ok((first, _)), Ok((other_first, _))) = (kept.call.joined(), ended.call.joined()) else {
            return;
        };
        let (Ok(n), Ok(m)) = (kept.call.take_over(stays.n), ended.call.give_away(goes.n, now)) else {
            return;
        };
        let sent = |first: bool| if first { call::Leg::Second } else { call::Leg::First };
        let (kept_id, ended_id) = (kept.id, ended.id);
        kept.transfer = Some(Told { by: by.clone(), sent: sent(stays.n == first), from: Some(ended_id) });
        ended.transfer = Some(Told { by, sent: sent(goes.n == other_first), from: Some(kept_id) });
        let (from, to) = (LegKey { n: m, ..goes }, LegKey { n, ..stays });
        self.part(goes, from, now);
        self.move_leg(from, to);
        let detail = self.calls.get(goes.call).map(|entry| entry.told(&Progress::Transferred, json!({})));
        self.report(goes.call, "transferred", detail.unwrap_or_default());
        self.step(stays.call, now);
        self.step(goes.call, now);
        self.tell_leg(to, LegInput::MediaReady, now);
    }

    /// A leg becomes one of another call; nothing of it is left in its own.
    fn move_leg(&mut self, from: LegKey, to: LegKey) {
        self.unsave_leg(from);
        let Some((old, new)) = self.calls.get2_mut(from.call, to.call) else { return };
        let Some(index) = old.legs.iter().position(|leg| leg.n == from.n) else { return };
        let dial = old.dial(from).cloned();
        let mut leg = old.legs.remove(index);
        old.keys.retain(|keys| keys.at != from);
        (leg.n, leg.role) = (to.n, call::Leg::Second);
        (leg.route, leg.attempt) = (new.routes.len() as u32, 0);
        new.routes.push(dial.into_iter().collect());
        if let Some(sip) = leg.sip {
            self.by_leg.insert(sip, to);
        }
        if let Some(line) = &leg.media {
            self.by_media.insert(line.id, to);
            if old.main.take_if(|main| *main == line.id).is_some() && old.recorded.is_some() {
                self.moved_recordings.insert(line.id, old.id);
            }
        }
        new.legs.push(leg);
        self.save_leg(to);
    }

    /// The recording of a call ended with the leg that had left it.
    pub(super) fn moved_recording_closed(&mut self, id: crate::rtp::MediaId, ms: Option<u64>) {
        if let (Some(call), Some(ms)) = (self.moved_recordings.remove(&id), ms) {
            self.write(Write::Recorded { call, number: crate::store::OWN, ms });
        }
    }
}

impl Entry {
    /// The leg that this one is joined with.
    fn partner(&self, at: LegKey) -> Option<LegKey> {
        match self.call.joined().ok()? {
            (first, second) if first == at.n => Some(LegKey { n: second, ..at }),
            (first, second) if second == at.n => Some(LegKey { n: first, ..at }),
            _ => None,
        }
    }

    /// How much of the call hangs on this leg: its figures, and its recording.
    fn worth(&self, at: LegKey) -> u8 {
        let media = self.leg(at).and_then(|leg| Some(leg.media.as_ref()?.id));
        match (media.is_some() && media == self.main, self.recorded.is_some()) {
            (true, true) => 2,
            (true, false) => 1,
            (false, _) => 0,
        }
    }
}

pub(super) fn role_name(role: call::Leg) -> &'static str {
    match role {
        call::Leg::First => "first",
        call::Leg::Second => "second",
    }
}
