use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::early::learn_allow;
use super::event::Event;
use super::leg::{LegId, State, Usage};
use super::session_timer::Session;
use super::transactions::ClientKey;
use super::uac::retry_after;
use super::within::Request;
use super::{Endpoint, SDP};
use crate::dialog;
use crate::error::Error;
use crate::message::View;
use crate::method::Method;
use crate::sabotage::{Part, broken};

/// The most often an offer is made again because it met another.
const MAX_TRIES: u8 = 32;

/// The most often it is made again because it may have been overtaken.
const MAX_OVERTAKEN: u8 = 3;

/// The longest Retry-After of a 500 that is waited for, in seconds: those of an overlap are below
/// (RFC 3261 section 14.2).
const MAX_RETRY_AFTER_S: u32 = 10;

/// A re-INVITE or UPDATE of ours, until it has its answer.
pub struct Reoffer {
    method: Method<'static>,
    body: Bytes,
    /// The request on its way; none while it waits for its turn.
    pub transaction: Option<ClientKey>,
    /// When it is sent, or when a re-INVITE on its way is cancelled.
    at: Option<Instant>,
    tries: u8,
    /// Whether only the session timer wanted it.
    refresh: bool,
    /// What the user wants to offer as soon as a refresh is over.
    next: Option<(Method<'static>, Bytes)>,
}

impl Reoffer {
    pub fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// Whether an offer of theirs meets it.
    pub fn is_in_the_way(&self) -> bool {
        self.transaction.is_some() && (self.method == Method::Invite || !self.body.is_empty())
    }
}

impl Endpoint {
    /// Offers `body` in a re-INVITE of an answered call. [`Event::Reoffered`] follows, unless the leg ends. While
    /// another offer is on its way in either direction ours waits for its turn.
    ///
    /// # Errors
    /// The leg is gone or not answered, or an earlier offer of ours has no answer yet.
    pub fn reinvite(&mut self, leg: LegId, body: Vec<u8>, now: Instant) -> Result<(), Error> {
        self.remote_tag(leg)?;
        self.reoffer(leg, Method::Invite, body, now)
    }

    /// Offers `body` in an UPDATE (RFC 3311), which may also go before the call is answered, once a reliable 18x
    /// settled the first offer. [`Event::Reoffered`] follows, unless the leg ends.
    ///
    /// # Errors
    /// The leg is gone, the first offer is not settled, an earlier offer of ours has no answer yet, or the other
    /// side does not allow UPDATE.
    pub fn update(&mut self, leg: LegId, body: Vec<u8>, now: Instant) -> Result<(), Error> {
        self.reoffer(leg, Method::Update, body, now)
    }

    fn reoffer(
        &mut self,
        leg: LegId,
        method: Method<'static>,
        body: Vec<u8>,
        now: Instant,
    ) -> Result<(), Error> {
        let state = &mut self.legs.get_mut(leg).ok_or(Error::NoSuchLeg)?.state;
        let usage = talking(state).ok_or(Error::WrongState)?;
        if method == Method::Update && !usage.allows_update {
            return Err(Error::WrongState);
        }
        match &mut usage.ours {
            None => self.start_reoffer(leg, method, body.into(), false, now),
            Some(ours) if ours.refresh && ours.next.is_none() => ours.next = Some((method, body.into())),
            Some(_) => return Err(Error::WrongState),
        }
        Ok(())
    }

    pub(super) fn start_reoffer(
        &mut self,
        leg: LegId,
        method: Method<'static>,
        body: Bytes,
        refresh: bool,
        now: Instant,
    ) {
        let Some(usage) = self.legs.get_mut(leg).and_then(|leg| talking(&mut leg.state)) else { return };
        let ours = Reoffer { method, body, transaction: None, at: Some(now), tries: 0, refresh, next: None };
        usage.ours = Some(Box::new(ours));
        self.on_reoffer_due(leg, now);
        self.arm_leg(leg);
    }

    /// Sends an offer whose turn has come, or cancels one that nobody answers.
    pub(super) fn on_reoffer_due(&mut self, leg: LegId, now: Instant) {
        let lifetime = self.timing.lifetime();
        let wait = self.glare_wait(leg);
        let Some(state) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return };
        let (is_open, headers) = match state {
            State::Established(call) => {
                (call.unacked.is_none(), call.session.as_ref().map(Session::headers).unwrap_or_default())
            }
            _ => (true, Vec::new()),
        };
        let Some(usage) = waiting(state, now) else { return };
        let (remote_tag, is_free) = (usage.dialog.remote_tag.clone(), usage.theirs.is_none() && is_open);
        let Some(ours) = &mut usage.ours else { return };
        ours.at = None;
        if let Some(key) = ours.transaction {
            if !broken(Part::ReinviteGivesUp) {
                self.cancel_invite(key, None, now);
            }
            return;
        }
        let is_offer = ours.method == Method::Invite || !ours.body.is_empty();
        if is_offer && !is_free {
            ours.at = Some(now + wait);
            return;
        }
        ours.at = (ours.method == Method::Invite).then(|| now + lifetime);
        let request = Request::new(ours.method, remote_tag.as_deref()).body(SDP, ours.body.clone());
        let request = headers.into_iter().fold(request, |request, (name, value)| request.with(name, value));
        let key = self.send_within(leg, request, now);
        let Some(state) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return };
        if let Some(ours) = state.usage(remote_tag.as_deref()).and_then(|usage| usage.ours.as_mut()) {
            ours.transaction = key;
        }
    }

    /// How long an offer waits that met another: who began the call waits longer (RFC 3261 section 14.1).
    fn glare_wait(&mut self, leg: LegId) -> Duration {
        let began = match self.legs.get(leg).map(|leg| &leg.state) {
            Some(State::Established(call)) => call.usage.dialog.is_ours,
            Some(State::Calling(_)) => true,
            _ => false,
        };
        let steps = u64::from(self.rng.next_u32() % if began { 191 } else { 201 });
        Duration::from_millis(if began { 2_100 } else { 0 } + steps * 10)
    }

    /// An offer goes on as another transaction, with credentials.
    pub(super) fn replace_key(&mut self, leg: LegId, old: ClientKey, new: Option<ClientKey>) {
        let Some(leg) = self.legs.get_mut(leg) else { return };
        for ours in leg.state.usages().filter_map(|usage| usage.ours.as_mut()) {
            if ours.transaction == Some(old) {
                ours.transaction = new;
            }
        }
        if let State::Established(call) = &mut leg.state
            && let (Some(referring), Some(new)) = (&mut call.referring, new)
        {
            referring.replace_key(old, new);
        }
    }

    /// Takes in what became of our re-INVITE or UPDATE.
    pub(super) fn on_reoffer_result(
        &mut self,
        id: LegId,
        key: ClientKey,
        status: u16,
        view: Option<&View<'_>>,
        now: Instant,
    ) {
        let wait = self.glare_wait(id);
        let Some(state) = self.legs.get_mut(id).map(|leg| &mut leg.state) else { return };
        let is_of = |usage: &&mut Usage| usage.ours.as_ref().is_some_and(|o| o.transaction == Some(key));
        let Some(usage) = state.usages().find(is_of) else { return };
        let Some(mut ours) = usage.ours.take() else { return };
        let wait = match (status, view.and_then(retry_after)) {
            (491, _) if !broken(Part::GlareRetry) => Some(wait),
            (500, Some(seconds)) if seconds <= MAX_RETRY_AFTER_S && !broken(Part::TooEarlyRetry) => {
                // A whole second more: two that wait for each other must not come at the same moment.
                Some(Duration::from_secs(seconds.into()) + wait / 4)
            }
            // A request sent later overtook it: its CSeq had become old.
            (500, None) if ours.tries < MAX_OVERTAKEN && !broken(Part::TooEarlyRetry) => Some(wait),
            // It takes re-INVITE but no UPDATE.
            (405 | 501, _) if ours.refresh && ours.method == Method::Update => {
                usage.allows_update = false;
                (ours.method, ours.body) = (Method::Invite, usage.described.clone());
                Some(Duration::ZERO)
            }
            _ => None,
        };
        if let Some(wait) = wait.filter(|_| ours.tries < MAX_TRIES) {
            (ours.tries, ours.transaction, ours.at) = (ours.tries + 1, None, Some(now + wait));
            usage.ours = Some(ours);
            return self.arm_leg(id);
        }
        if status < 300 {
            if let Some(target) = view.and_then(dialog::target) {
                target.clone_into(&mut usage.dialog.remote_target);
            }
            if !ours.body.is_empty() {
                usage.described = ours.body.clone();
            }
            if let Some(view) = view {
                learn_allow(usage, view);
            }
        }
        if let State::Established(call) = state
            && let Some(session) = &mut call.session
        {
            match (status, view) {
                (..300, Some(view)) => call.session = Session::agreed(view, session.min_se_s, now),
                (422, Some(view)) => {
                    let min_se_s = super::session_timer::min_se(view);
                    if let Some(min_se_s) = min_se_s.filter(|min| *min > session.interval_s) {
                        (session.interval_s, session.min_se_s) = (min_se_s, min_se_s);
                        (ours.tries, ours.transaction, ours.at) = (ours.tries + 1, None, Some(now));
                        call.usage.ours = Some(ours);
                        return self.arm_leg(id);
                    }
                    session.refresh_later(now);
                }
                _ => session.refresh_later(now),
            }
        }
        self.arm_leg(id);
        match status {
            // The other side knows the call no longer, or is not there (RFC 3261 section 12.2.1.2).
            408 | 481 => self.lose(id, now),
            _ if ours.refresh => {
                let answer = view.filter(|_| status < 300 && !ours.body.is_empty()).map(View::body);
                if let Some(body) = answer.filter(|body| !body.is_empty()) {
                    self.emit(Event::Refreshed { leg: id, body: body.to_vec() });
                }
                if let Some((method, body)) = ours.next {
                    self.start_reoffer(id, method, body, false, now);
                }
            }
            ..300 => {
                let body = view.map(|view| view.body().to_vec()).unwrap_or_default();
                self.emit(Event::Reoffered { leg: id, result: Ok(body) });
            }
            _ => self.emit(Event::Reoffered { leg: id, result: Err(status) }),
        }
    }
}

/// The dialog of a leg in which an offer may be made: of forks, the one that answered the first offer.
fn talking(state: &mut State) -> Option<&mut Usage> {
    state.usages().find(|usage| usage.agreed)
}

/// The dialog whose offer is due.
fn waiting(state: &mut State, now: Instant) -> Option<&mut Usage> {
    let is_due =
        |usage: &&mut Usage| usage.ours.as_ref().and_then(|ours| ours.at).is_some_and(|at| at <= now);
    state.usages().find(is_due)
}
