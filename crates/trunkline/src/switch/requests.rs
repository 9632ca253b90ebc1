//! Requests that begin something: who sends them, and what becomes of them.

use std::time::Instant;

use sip::digest::Algorithm;
use sip::shield::Evidence;
use sip::{Asking, LegId, Message, Path, View};
use tokio::sync::oneshot;

use super::admission::CALL_RETRY_S;
use super::inbound::Arrival as Leg;
use super::run::Loop;
use super::{Answer, Place};
use crate::callers::{self, Caller, Holder, Proof, Unknown, Wrong};
use crate::id::Id;
use crate::receive::Arrival;
use crate::refused::Refused;
use crate::registrar::{Flow, written};
use crate::store::UserRow;
use crate::trunk::{SrtpMode, TrunkSettings};

/// Seconds after which a phone asks again that came while there was too much to do.
const BUSY_RETRY_S: u32 = 5;

/// A REGISTER that was carried out and is answered once it is on disk.
pub(super) struct Registering {
    number: u64,
    asking: Asking,
    headers: Vec<(&'static str, String)>,
}

/// A call that came in, until it is known what happens to it.
pub(super) struct Waiting {
    path: Path,
    offer: Vec<u8>,
    settings: TrunkSettings,
    user: Option<Id>,
}

impl Loop {
    pub(super) fn request(&mut self, asking: Asking, request: &Message, path: Path, now: Instant) {
        if let Some(seconds) = self.parts.admission.closed() {
            return self.reply(asking, 503, &[("Retry-After", seconds.to_string())]);
        }
        match request.view().method() {
            Some(sip::Method::Register) => self.register(asking, request, path, now),
            Some(sip::Method::Invite) => self.invited(asking, request, path, now),
            _ => {}
        }
    }

    fn register(&mut self, asking: Asking, request: &Message, path: Path, now: Instant) {
        let view = request.view();
        // What a refusal costs is little beside a challenge, a check and a commit.
        if view.header(sip::Name::Authorization).is_none() && !self.parts.admission.admits_phone(now) {
            return self.reply(asking, 503, &[("Retry-After", BUSY_RETRY_S.to_string())]);
        }
        if !self.may_try(&view, &path, now) {
            return;
        }
        let user = match self.callers.prove(&view, &path, now) {
            Proof::Of(Holder::User(user)) => user,
            Proof::Again(Holder::User(user)) => {
                return match self.registrar.repeat(&user, &view, path, now) {
                    Some(registered) => self.reply(asking, 200, &registered.headers),
                    None => self.challenge(asking, request, &path, true, now),
                };
            }
            // A trunk calls in; it has no phones.
            Proof::Of(Holder::Trunk(_)) | Proof::Again(Holder::Trunk(_)) => {
                return self.reply(asking, 403, &[]);
            }
            Proof::Stale => return self.challenge(asking, request, &path, true, now),
            Proof::Missing => return self.challenge(asking, request, &path, false, now),
            Proof::Wrong(wrong) => {
                self.note_wrong(&wrong, &path, now);
                return self.challenge(asking, request, &path, false, now);
            }
        };
        self.note_right(&user, &path, now);
        // Nobody registers for somebody else.
        if !view.header(sip::Name::To).is_some_and(|to| self.callers.is_own_address(&user, to, &path)) {
            return self.reply(asking, 403, &[]);
        }
        let limit = self.parts.store.account(user.account).and_then(|account| account.max_registrations);
        match self.registrar.register(&user, limit, &view, path, now) {
            Err(refusal) => self.reply(asking, refusal.status, &refusal.headers),
            Ok(registered) if registered.changes.is_empty() => {
                self.reply(asking, 200, &registered.headers);
            }
            Ok(registered) => {
                self.tell_flows(now);
                let changes = registered.changes.into_iter().map(written).collect();
                match self.bindings.write(changes) {
                    Some(number) => {
                        let headers = registered.headers;
                        self.registering.push_back(Registering { number, asking, headers });
                    }
                    None => self.reply(asking, 503, &[("Retry-After", "5".to_owned())]),
                }
            }
        }
    }

    /// Answers the registrations that are on disk.
    pub(super) fn answer_registered(&mut self) {
        while let Some(committed) = self.bindings.poll() {
            while self.registering.front().is_some_and(|it| it.number <= committed.upto) {
                let Some(Registering { asking, headers, .. }) = self.registering.pop_front() else { break };
                match committed.whole {
                    true => self.reply(asking, 200, &headers),
                    false => self.reply(asking, 503, &[("Retry-After", "10".to_owned())]),
                }
            }
        }
    }

    /// Answers a request for good.
    fn reply(&mut self, asking: Asking, status: u16, headers: &[(&'static str, String)]) {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Err(error) = self.parts.endpoint.sip().reply(asking, status, &headers) {
            tracing::debug!(%error, "a request could not be answered");
        }
    }

    fn challenge(&mut self, asking: Asking, request: &Message, path: &Path, stale: bool, now: Instant) {
        let (realm, algorithm) = self.callers.asks(&request.view());
        self.ask_for_password(asking, &realm, algorithm, path, stale, now);
    }

    fn ask_for_password(
        &mut self,
        asking: Asking,
        realm: &str,
        algorithm: Algorithm,
        path: &Path,
        stale: bool,
        now: Instant,
    ) {
        let value = self.callers.challenge(realm, algorithm, path, now, stale);
        self.reply(asking, 401, &[("WWW-Authenticate", value)]);
    }

    fn invited(&mut self, asking: Asking, request: &Message, path: Path, now: Instant) {
        let view = request.view();
        if !self.may_try(&view, &path, now) {
            return;
        }
        let names = self.parts.endpoint.identity(&path).unwrap_or_default().to_vec();
        let caller = match self.callers.caller(&view, &path, &names, now) {
            Ok(caller) => caller,
            Err(Unknown::Challenge { realm, algorithm, stale, wrong }) => {
                wrong.iter().for_each(|wrong| self.note_wrong(wrong, &path, now));
                return self.ask_for_password(asking, &realm, algorithm, &path, stale, now);
            }
            Err(Unknown::Number) => {
                self.note(&path, Evidence::UnknownDestination, now);
                return self.reply(asking, 404, &[]);
            }
            Err(Unknown::Ambiguous) => {
                tracing::warn!(
                    source = %path.remote,
                    "a call could be of several accounts: their trunks cannot be told apart"
                );
                return self.reply(asking, 404, &[]);
            }
            Err(Unknown::Stranger) => {
                self.note(&path, Evidence::Anonymous, now);
                return self.reply(asking, 403, &[]);
            }
        };
        if !self.parts.admission.admits_call(now) {
            return self.reply(asking, 503, &[("Retry-After", CALL_RETRY_S.to_string())]);
        }
        if let Some(status) = self.refuses_replaces(&view) {
            return self.reply(asking, status, &[]);
        }
        let (admitted, settings, user) = match &caller {
            Caller::User(user) => {
                self.note_right(user, &path, now);
                if user.max_calls.is_some_and(|most| self.calling.get(&user.id).is_some_and(|up| *up >= most))
                {
                    tracing::info!(user = %user.id, "a user has as many calls up as it may (max_calls)");
                    return self.reply(asking, 503, &[("Retry-After", "5".to_owned())]);
                }
                let admitted = self.parts.endpoint.sip().admit_guarded(asking, now);
                // Whether sound is encrypted is for the phone to say that calls.
                let settings = TrunkSettings::for_phone(path.transport);
                (admitted, TrunkSettings { srtp: SrtpMode::Optional, ..settings }, Some(user.id))
            }
            Caller::Trunk(trunk, _) => {
                (self.parts.endpoint.sip().admit(asking, now), trunk.settings.clone(), None)
            }
        };
        let Ok(leg) = admitted else { return };
        let Ok(id) = Id::new() else {
            return self.parts.endpoint.sip().hang_up(leg, None, now);
        };
        let arrival = Arrival::of(id, leg, caller, &view, |host| self.callers.is_own_host(host, &path));
        let offer = view.body().to_vec();
        user.iter().for_each(|user| *self.calling.entry(*user).or_default() += 1);
        self.waiting.insert(leg, Waiting { path, offer, settings, user });
        if let Some(place) = self.parts.shared.receive(arrival) {
            self.received(leg, place, now);
        }
    }

    /// Whether somebody may be asked for a password, or have one checked, as the user it says it is.
    fn may_try(&mut self, request: &View<'_>, path: &Path, now: Instant) -> bool {
        let name = callers::from_user(request).unwrap_or_default();
        self.parts.endpoint.shield().is_none_or(|shield| shield.may_try(&name, path, now))
    }

    fn note(&mut self, path: &Path, evidence: Evidence<'_>, now: Instant) {
        if let Some(shield) = self.parts.endpoint.shield() {
            shield.note(path, evidence, now);
        }
    }

    fn note_wrong(&mut self, wrong: &Wrong, path: &Path, now: Instant) {
        let proven = wrong.is_proven || path.transport != sip::Transport::Udp;
        let evidence = match wrong.is_known {
            true => Evidence::WrongPassword { user: &wrong.name, proven },
            false => Evidence::UnknownUser { proven },
        };
        self.note(path, evidence, now);
    }

    fn note_right(&mut self, user: &UserRow, path: &Path, now: Instant) {
        if let Some(shield) = self.parts.endpoint.shield() {
            shield.note_success(&user.username, path, now);
        }
    }

    /// Tells the shield which flows phones are reached over now.
    pub(super) fn tell_flows(&mut self, now: Instant) {
        let flows = self.registrar.take_flows();
        let Some(shield) = self.parts.endpoint.shield() else { return };
        for flow in flows {
            match flow {
                Flow::Up { user, path } => shield.flow_up(Some(&user), &path),
                Flow::Down { user, path } => shield.flow_down(Some(&user), &path, now),
            }
        }
    }

    /// A user has one call less.
    pub(super) fn no_longer_calling(&mut self, user: Option<Id>) {
        let Some((user, up)) = user.and_then(|user| Some((user, self.calling.get_mut(&user)?))) else {
            return;
        };
        *up = up.saturating_sub(1);
        if *up == 0 {
            self.calling.remove(&user);
        }
    }

    /// The caller gave up before it was known what happens to the call.
    pub(super) fn gave_up(&mut self, leg: LegId) {
        let waiting = self.waiting.remove(&leg);
        self.no_longer_calling(waiting.and_then(|waiting| waiting.user));
    }

    /// It is known what happens to a call that came in.
    pub(super) fn received(&mut self, leg: LegId, place: Result<Place, Refused>, now: Instant) {
        // The caller may have given up in the meantime.
        let Some(Waiting { path, offer, settings, user }) = self.waiting.remove(&leg) else { return };
        match place {
            Ok(place) => self.arrive(Leg { leg, path, offer, settings, user }, place, now),
            Err(refused) => {
                self.no_longer_calling(user);
                let status = callers::sip_status(&refused);
                let retry = refused.retry_after.map(|seconds| seconds.to_string());
                let headers: Vec<(&str, &str)> =
                    retry.iter().map(|seconds| ("Retry-After", seconds.as_str())).collect();
                tracing::info!(status, code = refused.code, reason = refused.message, "a call was refused");
                let _ = self.parts.endpoint.sip().reject(leg, status, &headers, now);
            }
        }
    }

    /// A request in a phone's dialog came from elsewhere: its user has to prove that it is the same.
    pub(super) fn stranger(
        &mut self,
        asking: Asking,
        leg: LegId,
        request: &Message,
        path: Path,
        now: Instant,
    ) {
        let owner = self.by_leg.get(&leg).and_then(|at| self.calls.get(at.call)?.leg(*at)?.user);
        let proven = match self.callers.prove(&request.view(), &path, now) {
            Proof::Of(Holder::User(user)) | Proof::Again(Holder::User(user)) => Some(user.id),
            Proof::Stale => return self.challenge(asking, request, &path, true, now),
            _ => None,
        };
        match (proven, owner) {
            (Some(proven), Some(owner)) if proven == owner => {
                let _ = self.parts.endpoint.sip().admit(asking, now);
            }
            (Some(_), _) => self.reply(asking, 403, &[]),
            (None, _) => self.challenge(asking, request, &path, false, now),
        }
    }

    /// Removes registrations that ran out and pings phones behind NAT.
    pub(super) fn keep_registrations(&mut self, now: Instant) {
        if self.registrar.poll_timeout(now).is_none_or(|at| at > now) {
            return;
        }
        let (changes, pings) = self.registrar.handle_timeout(now);
        self.tell_flows(now);
        if !changes.is_empty() && self.bindings.write(changes).is_none() {
            // They have run out: the next start finds that, too.
            tracing::debug!("registrations that ran out are not written");
        }
        for ping in pings {
            let uri = ping.target.request_uri;
            let own = format!("sip:{}", ping.target.path.local);
            let mut options =
                sip::Outside::new(sip::Method::Options, ping.target.path, uri.clone(), own, uri);
            options.route = ping.target.route;
            match self.parts.endpoint.sip().request(options, now) {
                Ok(id) => drop(self.pinged.insert(id, (ping.user, ping.key))),
                Err(_) => self.registrar.pong(ping.user, ping.key, false),
            }
        }
    }

    /// The answer to a request of ours outside calls.
    pub(super) fn responded(
        &mut self,
        id: sip::RequestId,
        result: Result<Message, sip::FailureKind>,
        trouble: String,
    ) {
        if let Some((user, key)) = self.pinged.remove(&id) {
            return self.registrar.pong(user, key, result.is_ok());
        }
        let reply: Option<oneshot::Sender<Answer>> = self.asked.remove(&id);
        if let Some(reply) = reply {
            let _ = reply.send(Answer { result, trouble });
        }
    }
}
