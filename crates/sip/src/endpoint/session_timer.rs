use std::time::{Duration, Instant};

use super::config::{Refresher, SessionTimer};
use super::early::lists;
use super::leg::{LegId, State};
use super::{Endpoint, Method};
use crate::header::Name;
use crate::lex;
use crate::message::View;
use crate::params::Params;
use crate::refusal::Refusal;
use crate::sabotage::{Part, broken};

/// The shortest Min-SE (RFC 4028 section 5), in seconds.
const MIN_SE_S: u32 = 90;

/// The shortest interval we keep, whatever the other side says, in seconds.
const SHORTEST_S: u32 = 10;

/// What a request says of session timers (RFC 4028).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Asked {
    expires_s: Option<u32>,
    refresher: Option<Refresher>,
    min_se_s: u32,
    /// Whether its sender knows session timers.
    supported: bool,
}

impl Asked {
    pub fn of(request: &View<'_>) -> Self {
        let (expires_s, refresher) = terms(request).unzip();
        Self {
            expires_s,
            refresher: refresher.flatten(),
            min_se_s: min_se(request).unwrap_or(MIN_SE_S),
            supported: lists(request, Name::Supported, "timer") || lists(request, Name::Require, "timer"),
        }
    }

    /// Refuses an interval that is too short (section 9).
    pub fn check(&self, min_se_s: u32) -> Result<(), Refusal> {
        match self.expires_s {
            Some(expires_s) if expires_s < min_se_s && self.supported => {
                Err(Refusal::new(422).with("Min-SE", min_se_s.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// What a 2xx says to it, and the session that begins: as asked, as it was before, or as we wish.
    pub fn answer(
        &self,
        before: Option<&Session>,
        wish: Option<SessionTimer>,
        now: Instant,
    ) -> (Vec<(&'static str, String)>, Option<Session>) {
        let wanted_s = before.map(|session| session.interval_s).or(wish.map(|wish| wish.expires_s));
        let Some(interval_s) = self.expires_s.or(wanted_s.map(|s| s.max(self.min_se_s))) else {
            return (Vec::new(), None);
        };
        let refresher = match (self.refresher, self.supported) {
            (Some(refresher), true) => refresher,
            (None, true) => match before {
                Some(session) if session.ours => Refresher::Uas,
                Some(_) => Refresher::Uac,
                None => wish.map_or(Refresher::Uac, |wish| wish.refresher),
            },
            // Who does not know session timers cannot keep one going.
            (_, false) => Refresher::Uas,
        };
        let mut headers = vec![("Supported", "timer".to_owned())];
        if refresher == Refresher::Uac {
            headers.push(("Require", "timer".to_owned()));
        }
        headers.push(("Session-Expires", format!("{interval_s};refresher={}", token(refresher))));
        let session = Session::new(interval_s, MIN_SE_S, refresher == Refresher::Uas, now);
        (headers, Some(session))
    }
}

/// A session that ends unless it is refreshed.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub interval_s: u32,
    pub min_se_s: u32,
    /// Whether we refresh it.
    pub ours: bool,
    refresh_at: Option<Instant>,
    expires_at: Instant,
}

impl Session {
    fn new(interval_s: u32, min_se_s: u32, ours: bool, now: Instant) -> Self {
        let interval_s = interval_s.max(SHORTEST_S);
        let interval = Duration::from_secs(interval_s.into());
        // The BYE goes before the time is up (section 10).
        let expires_at = now + interval - (interval / 3).min(Duration::from_secs(32));
        Self { interval_s, min_se_s, ours, refresh_at: ours.then(|| now + interval / 2), expires_at }
    }

    /// The session that the 2xx to our request begins; none if the other side wants none.
    pub fn agreed(answer: &View<'_>, min_se_s: u32, now: Instant) -> Option<Self> {
        let (interval_s, refresher) = terms(answer)?;
        Some(Self::new(interval_s, min_se_s, refresher != Some(Refresher::Uas), now))
    }

    pub fn deadline(&self) -> Instant {
        self.refresh_at.unwrap_or(self.expires_at).min(self.expires_at)
    }

    /// Header fields of a request that refreshes it (section 7.4).
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let refresher = if self.ours { Refresher::Uac } else { Refresher::Uas };
        session_headers(self.interval_s, self.min_se_s, refresher)
    }

    /// Tries a refresh that failed again, later.
    pub fn refresh_later(&mut self, now: Instant) {
        if self.ours && self.refresh_at.is_none() {
            let left = self.expires_at.saturating_duration_since(now);
            self.refresh_at = Some(now + (left / 2).max(Duration::from_secs(1)));
        }
    }
}

impl SessionTimer {
    /// Header fields of an INVITE that asks for it.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let min_se_s = self.min_se_s.max(MIN_SE_S);
        session_headers(self.expires_s.max(min_se_s), min_se_s, self.refresher)
    }

    /// Takes in the Min-SE of a 422; false if it asks for nothing new.
    pub(super) fn raise(&mut self, refusal: &View<'_>) -> bool {
        let Some(min_se_s) = min_se(refusal).filter(|min| *min > self.expires_s) else { return false };
        (self.min_se_s, self.expires_s) = (min_se_s, min_se_s);
        !broken(Part::MinSe)
    }
}

fn session_headers(expires_s: u32, min_se_s: u32, refresher: Refresher) -> Vec<(&'static str, String)> {
    let mut headers = vec![("Session-Expires", format!("{expires_s};refresher={}", token(refresher)))];
    if min_se_s > MIN_SE_S {
        headers.push(("Min-SE", min_se_s.to_string()));
    }
    headers
}

impl Endpoint {
    /// The shortest session interval we take, in seconds.
    pub(super) fn min_se_s(&self) -> u32 {
        self.config.session_timer.map_or(MIN_SE_S, |timer| timer.min_se_s.max(MIN_SE_S))
    }

    /// Refreshes the session, or hangs up where nobody did.
    pub(super) fn on_session_due(&mut self, leg: LegId, now: Instant) {
        let Some(State::Established(call)) = self.legs.get_mut(leg).map(|leg| &mut leg.state) else { return };
        let Some(session) = &mut call.session else { return };
        if session.expires_at <= now {
            if broken(Part::SessionExpires) {
                call.session = None;
                return;
            }
            return self.lose(leg, now);
        }
        if session.refresh_at.is_none_or(|at| at > now) {
            return;
        }
        session.refresh_at = None;
        if broken(Part::Refresh) {
            return;
        }
        if call.usage.ours.is_some() {
            // An offer on its way refreshes too.
            return session.refresh_later(now);
        }
        let (method, body) = match call.usage.allows_update {
            true => (Method::Update, bytes::Bytes::new()),
            false => (Method::Invite, call.usage.described.clone()),
        };
        self.start_reoffer(leg, method, body, true, now);
    }
}

/// Session-Expires: the interval in seconds, and who refreshes.
fn terms(view: &View<'_>) -> Option<(u32, Option<Refresher>)> {
    let (interval, params) = lex::split_params(view.header(Name::SessionExpires)?);
    let refresher = match Params::new(params).get("refresher") {
        Some(role) if role.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
        Some(role) if role.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
        _ => None,
    };
    Some((interval.parse().ok()?, refresher))
}

pub fn min_se(view: &View<'_>) -> Option<u32> {
    lex::split_params(view.header(Name::MinSe)?).0.parse().ok()
}

fn token(refresher: Refresher) -> &'static str {
    match refresher {
        Refresher::Uac => "uac",
        Refresher::Uas => "uas",
    }
}
