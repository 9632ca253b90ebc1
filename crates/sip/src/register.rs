use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::Path;
use crate::digest::Credentials;
use crate::endpoint::{FailureKind, Outside};
use crate::header::Name;
use crate::message::{Message, View};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::uri::Uri;

/// The first wait after a failure (RFC 5626 section 4.5), doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait after a failure that may pass by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(1800);
/// The wait after a refusal that somebody must act on: often enough to notice, too seldom to get banned.
const REFUSED_WAIT: Duration = Duration::from_secs(3600);
/// The longest lifetime a registrar may ask for (423) or give, in seconds: a week.
const MAX_EXPIRES: u32 = 7 * 86_400;

/// Where and as whom to register.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// The way to the registrar, or to the proxy before it.
    pub path: Path,
    /// The Request-URI: the domain, such as `sip:example.com`.
    pub uri: String,
    /// The address of record, for To and From.
    pub address_of_record: String,
    /// Where we are to be reached: a URI without angle brackets.
    pub contact: String,
    /// The Call-ID of all requests; it should be random and stay the same while the process lives.
    pub call_id: String,
    /// The lifetime to ask for, in seconds.
    pub expires_s: u32,
    /// Route values of a proxy on the way; mostly none.
    pub route: Vec<String>,
    /// Answers challenges.
    pub credentials: Option<Credentials>,
}

/// Where a registration stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistrationState {
    /// The first REGISTER has not been answered yet.
    Registering,
    /// The registrar keeps our binding.
    Registered {
        /// Until when, if it is not refreshed; a refresh that failed so far changes nothing about that.
        until: Instant,
    },
    /// There is no binding; it is tried again.
    Failing {
        /// What went wrong last.
        trouble: Trouble,
        /// When it is tried again.
        retry_at: Instant,
    },
    /// The registrar will not have us as we are set up; it is tried again once an hour.
    Refused {
        /// What the registrar said.
        trouble: Trouble,
        /// When it is tried again.
        retry_at: Instant,
    },
    /// Closed: the binding is gone, or will run out.
    Closed,
}

/// What went wrong with a REGISTER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The status of the final response, if there was one.
    pub status: Option<u16>,
    /// Its reason phrase, or what happened instead.
    pub text: String,
}

/// Keeps one binding at a registrar alive (RFC 3261 section 10.2).
///
/// It sends nothing itself: what [`Self::poll_output`] returns goes to [`Endpoint::request`](crate::Endpoint::request)
/// and what comes of that back into [`Self::handle_response`]. One request is on its way at most.
#[derive(Debug)]
pub struct Registration {
    registrar: Registrar,
    rng: ChaCha20Rng,
    state: RegistrationState,
    /// The lifetime asked for, raised by a 423.
    expires_s: u32,
    /// When the next REGISTER is due.
    due: Option<Instant>,
    in_flight: bool,
    /// Failures in a row.
    failures: u32,
    /// Whether the registrar ever accepted us as we are set up.
    succeeded: bool,
    /// Whether the last answer was a 423 that was acted upon.
    too_brief: bool,
    closing: bool,
    service_route: Vec<String>,
    last_trouble: Option<Trouble>,
}

impl Registration {
    /// A registration whose first REGISTER is due at once. `seed` spreads refreshes and retries.
    pub fn new(registrar: Registrar, seed: u64, now: Instant) -> Self {
        Self {
            expires_s: registrar.expires_s.clamp(1, MAX_EXPIRES),
            registrar,
            rng: ChaCha20Rng::seed_from_u64(seed),
            state: RegistrationState::Registering,
            due: Some(now),
            in_flight: false,
            failures: 0,
            succeeded: false,
            too_brief: false,
            closing: false,
            service_route: Vec::new(),
            last_trouble: None,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> &RegistrationState {
        &self.state
    }

    /// What went wrong last, even while the binding still lives; none after a success.
    pub fn last_trouble(&self) -> Option<&Trouble> {
        self.last_trouble.as_ref()
    }

    /// The Route values that requests through this registrar must start with (RFC 3608).
    pub fn service_route(&self) -> &[String] {
        &self.service_route
    }

    /// Goes another way from the next REGISTER on, such as to the next address of the registrar.
    pub fn set_path(&mut self, path: Path) {
        self.registrar.path = path;
    }

    /// Registers anew at once, with other settings perhaps: what was refused before may now be taken.
    pub fn restart(&mut self, registrar: Registrar, now: Instant) {
        self.expires_s = registrar.expires_s.clamp(1, MAX_EXPIRES);
        self.registrar = registrar;
        (self.failures, self.succeeded, self.closing) = (0, false, false);
        self.due = Some(now);
    }

    /// Takes the binding away and ends. A REGISTER that is on its way is waited for first.
    pub fn close(&mut self, now: Instant) {
        if std::mem::replace(&mut self.closing, true) || self.state == RegistrationState::Closed {
            return;
        }
        let is_bound = matches!(self.state, RegistrationState::Registered { .. });
        match is_bound || self.in_flight {
            true => self.due = Some(now),
            false => self.end(),
        }
    }

    /// When [`Self::handle_timeout`] and then [`Self::poll_output`] are next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lapses = match self.state {
            RegistrationState::Registered { until } => Some(until),
            _ => None,
        };
        [self.due.filter(|_| !self.in_flight), lapses].into_iter().flatten().min()
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let RegistrationState::Registered { until } = self.state
            && until <= now
        {
            let lapsed =
                || Trouble { status: None, text: "the binding ran out before it was refreshed".into() };
            let trouble = self.last_trouble.clone().unwrap_or_else(lapsed);
            self.state = RegistrationState::Failing { trouble, retry_at: self.due.unwrap_or(now) };
        }
    }

    /// The REGISTER that is due, if one is.
    pub fn poll_output(&mut self, now: Instant) -> Option<Outside> {
        if self.in_flight || self.due.is_none_or(|due| due > now) {
            return None;
        }
        (self.in_flight, self.due) = (true, None);
        let Registrar { path, uri, address_of_record, contact, call_id, route, credentials, .. } =
            &self.registrar;
        let expires_s = if self.closing { 0 } else { self.expires_s };
        Some(Outside {
            contact: Some(format!("<{contact}>")),
            call_id: Some(call_id.clone()),
            route: route.clone(),
            headers: vec![
                ("Expires".into(), expires_s.to_string()),
                // RFC 3327: proxies on the way may put themselves on the way back.
                ("Supported".into(), "path".into()),
            ],
            credentials: credentials.clone(),
            ..Outside::new(Method::Register, *path, uri, address_of_record, address_of_record)
        })
    }

    /// Takes in what became of the last REGISTER.
    pub fn handle_response(&mut self, result: &Result<Message, FailureKind>, now: Instant) {
        if !std::mem::take(&mut self.in_flight) {
            return;
        }
        let was_brief = std::mem::take(&mut self.too_brief);
        let view = match result {
            Ok(message) => message.view(),
            Err(kind) => {
                let text = match kind {
                    FailureKind::Timeout => "the registrar did not answer",
                    _ => "the registrar could not be reached",
                };
                return self.failed(Trouble { status: None, text: text.into() }, None, now);
            }
        };
        let status = view.status().unwrap_or(500);
        let trouble = |text: &str| Trouble { status: Some(status), text: text.to_owned() };
        match status {
            200..300 if self.closing && self.due.is_none() => self.end(),
            200..300 => match self.granted(&view) {
                Some(expires_s) => self.bound(expires_s, &view, now),
                None => self.failed(trouble("the registrar kept no binding of ours"), None, now),
            },
            423 if !was_brief && !self.closing => {
                match min_expires(&view).filter(|min| *min > self.expires_s) {
                    Some(min) => {
                        (self.expires_s, self.too_brief, self.due) = (min, true, Some(now));
                    }
                    None => self.failed(trouble(view.reason()), None, now),
                }
            }
            // What only another setting can change, unless it worked before with these.
            401 | 403 | 404 | 407 if !self.succeeded => self.refused(trouble(view.reason()), now),
            _ => self.failed(trouble(view.reason()), retry_after(&view), now),
        }
    }

    /// The lifetime of our binding, in seconds; none if the registrar lists others but not ours.
    fn granted(&self, view: &View<'_>) -> Option<u32> {
        let header = view.header("Expires").and_then(|value| value.parse().ok());
        let contacts: Vec<NameAddr<'_>> =
            view.values(Name::Contact).filter_map(|value| NameAddr::parse(value).ok()).collect();
        let default = header.unwrap_or(self.expires_s);
        let ours = match contacts.as_slice() {
            // Registrars that list nothing are in use.
            [] => return Some(default).filter(|expires_s| *expires_s > 0),
            contacts => contacts
                .iter()
                .filter(|contact| is_ours(&self.registrar.contact, contact))
                .max_by_key(|contact| contact.uri == self.registrar.contact)?,
        };
        let expires_s = ours.params.get("expires").and_then(|value| value.parse().ok()).unwrap_or(default);
        (expires_s > 0).then_some(expires_s.min(MAX_EXPIRES))
    }

    fn bound(&mut self, expires_s: u32, view: &View<'_>, now: Instant) {
        let lifetime = Duration::from_secs(expires_s.into());
        self.state = RegistrationState::Registered { until: now + lifetime };
        self.service_route = view.values("Service-Route").map(str::to_owned).collect();
        (self.failures, self.succeeded, self.last_trouble) = (0, true, None);
        // Early enough for a lost refresh to be repeated, spread so that many trunks do not come at once.
        let refresh_at = now + lifetime.mul_f64(0.75 + 0.15 * self.random());
        // Closed or restarted meanwhile, it is due already.
        self.due = self.due.or(Some(refresh_at));
    }

    fn failed(&mut self, trouble: Trouble, retry_after: Option<Duration>, now: Instant) {
        if self.closing && self.due.is_none() {
            return self.end();
        }
        let doubled = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        // RFC 5626 section 4.5: between half of it and all of it. A registrar's own word is a minimum.
        let jittered = doubled.mul_f64(0.5 + 0.5 * self.random());
        let wait = match retry_after {
            Some(after) => after.min(LONGEST_WAIT).mul_f64(1.0 + 0.1 * self.random()),
            None => jittered,
        };
        self.wait(trouble, now + wait, |trouble, retry_at| RegistrationState::Failing { trouble, retry_at });
    }

    fn refused(&mut self, trouble: Trouble, now: Instant) {
        if self.closing {
            return self.end();
        }
        let wait = REFUSED_WAIT.mul_f64(0.9 + 0.2 * self.random());
        self.wait(trouble, now + wait, |trouble, retry_at| RegistrationState::Refused { trouble, retry_at });
    }

    fn wait(
        &mut self,
        trouble: Trouble,
        retry_at: Instant,
        state: impl FnOnce(Trouble, Instant) -> RegistrationState,
    ) {
        self.last_trouble = Some(trouble.clone());
        if self.closing {
            return self.end();
        }
        // A restart that came meanwhile is due already.
        let retry_at = self.due.unwrap_or(retry_at);
        self.due = Some(retry_at);
        // A binding that has not run out yet still brings calls.
        if !matches!(self.state, RegistrationState::Registered { .. }) {
            self.state = state(trouble, retry_at);
        }
    }

    fn end(&mut self) {
        self.state = RegistrationState::Closed;
        (self.due, self.in_flight) = (None, false);
        self.service_route.clear();
    }

    /// A number from 0 up to 1.
    fn random(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Whether a listed contact is the one we sent. Registrars behind NAT rewrite host and port, so the user must do where
/// the whole is not the same.
fn is_ours(sent: &str, listed: &NameAddr<'_>) -> bool {
    let (Ok(sent), Ok(listed)) = (Uri::parse(sent), listed.sip_uri()) else { return false };
    sent.user == listed.user
}

/// The seconds of Min-Expires, if they are sensible.
fn min_expires(view: &View<'_>) -> Option<u32> {
    view.header("Min-Expires")?.parse().ok().filter(|min| (1..=MAX_EXPIRES).contains(min))
}

fn retry_after(view: &View<'_>) -> Option<Duration> {
    let value = view.header(Name::RetryAfter)?;
    let seconds: u64 = value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(Duration::from_secs(seconds.max(1)))
}

#[cfg(test)]
mod tests;
