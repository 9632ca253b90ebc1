//! Who asks: a request is tied to a user or to a trunk, and so to one account, or it is nobody's.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use call::Number;
use sip::digest::{Algorithm, Known, Server, Verdict};
use sip::{Host, Name, NameAddr, Path, Uri, View};
use zeroize::Zeroizing;

use crate::id::Id;
use crate::refused::Refused;
use crate::store::{Directory, Found, NumberRow, OPERATOR, TrunkRow, UserRow};

/// Whom credentials prove.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A user of ours.
    User(Arc<UserRow>),
    /// A trunk that calls in with a password.
    Trunk(Arc<TrunkRow>),
}

/// What the credentials of a request prove.
#[derive(Clone, Debug)]
pub enum Proof {
    /// Who sent it.
    Of(Holder),
    /// Who sent it, by an answer that was given before: the same request again.
    Again(Holder),
    /// Nothing, for there are none of ours.
    Missing,
    /// Nothing any more: the nonce is old. Whose they are is known.
    Stale,
    /// Nothing: they are wrong.
    Wrong(Wrong),
}

/// Credentials that are wrong.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// The user name they are for.
    pub name: String,
    /// Whether there is such a user.
    pub is_known: bool,
    /// Whether they answer a challenge of ours to this very address.
    pub is_proven: bool,
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A user of ours.
    User(Arc<UserRow>),
    /// A trunk, for a number of its account.
    Trunk(Arc<TrunkRow>, Arc<NumberRow>),
}

impl Caller {
    /// Whose call it is.
    pub fn account(&self) -> i64 {
        match self {
            Self::User(user) => user.account,
            Self::Trunk(trunk, _) => trunk.account,
        }
    }
}

/// Why a call is not let in.
#[derive(Clone, Debug)]
pub enum Unknown {
    /// Whoever it is has to say a password: the realm, the algorithm, and whether only the nonce was too old.
    Challenge {
        /// The realm of the account that is meant.
        realm: String,
        /// What the user is asked with.
        algorithm: Algorithm,
        /// Whether the password itself was right.
        stale: bool,
        /// What was wrong, where a password came.
        wrong: Option<Wrong>,
    },
    /// A trunk of ours calls a number that no account of it has.
    Number,
    /// Several accounts could be meant.
    Ambiguous,
    /// Nobody we know.
    Stranger,
}

/// Where the trunks' registrars are: calls to the contacts that we registered come from there.
#[derive(Default)]
pub struct Registrars(Mutex<HashMap<Id, IpAddr>>);

impl Registrars {
    /// A trunk is registered there now, or no longer anywhere.
    pub fn set(&self, trunk: Id, at: Option<IpAddr>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            Some(at) => drop(all.insert(trunk, at)),
            None => drop(all.remove(&trunk)),
        }
    }

    /// Where they are.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    fn at(&self, source: IpAddr) -> Vec<Id> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, at)| **at == source).map(|(id, _)| *id).collect()
    }
}

/// Ties requests to users and trunks.
pub struct Callers {
    directory: Directory,
    digest: Server,
    registrars: Arc<Registrars>,
    /// The host names that mean this server and no account in particular.
    domain: String,
}

impl Callers {
    /// `key` is secret and of this process; `domain` is the server's own.
    pub fn new(directory: Directory, registrars: Arc<Registrars>, key: [u8; 32], domain: String) -> Self {
        Self { directory, digest: Server::new(key), registrars, domain }
    }

    /// The value of WWW-Authenticate.
    pub fn challenge(
        &self,
        realm: &str,
        algorithm: Algorithm,
        path: &Path,
        now: Instant,
        stale: bool,
    ) -> String {
        self.digest.challenge(realm, algorithm, path.remote.ip(), now, stale)
    }

    /// What the credentials of a request prove.
    pub fn prove(&mut self, request: &View<'_>, path: &Path, now: Instant) -> Proof {
        let method = request.method().map(sip::Method::as_str).unwrap_or_default();
        let hint = self.account_meant(request);
        let (mut stale, mut wrong) = (false, None);
        let given = request.headers(Name::Authorization).chain(request.headers(Name::ProxyAuthorization));
        // Credentials of other servers on the way may stand beside ours.
        for header in given.take(4) {
            let (found, mut named) = (OnceCell::new(), None);
            let directory = &self.directory;
            let verdict =
                self.digest.verify(header, method, request.body(), path.remote.ip(), now, |realm, name| {
                    named = Some(name.to_owned());
                    let found = found.get_or_init(|| find(directory, realm, name, hint).and_then(with_ha1));
                    found.as_ref().map(|(_, algorithm, ha1)| Known { algorithm: *algorithm, ha1 })
                });
            match (verdict, found.into_inner().flatten()) {
                (Verdict::Accepted { .. }, Some((holder, ..))) => return Proof::Of(holder),
                (Verdict::Again { .. }, Some((holder, ..))) => return Proof::Again(holder),
                (Verdict::Stale, _) => stale = true,
                (_, holder) => {
                    let is_proven = self.digest.is_for(header, path.remote.ip());
                    let is_known = holder.is_some();
                    wrong = named.map(|name| Wrong { name, is_known, is_proven }).or(wrong);
                }
            }
        }
        match (stale, wrong) {
            (true, _) => Proof::Stale,
            (false, Some(wrong)) => Proof::Wrong(wrong),
            (false, None) => Proof::Missing,
        }
    }

    /// How whoever sent the request is to be asked for a password: the realm of the account that is meant.
    pub fn asks(&self, request: &View<'_>) -> (String, Algorithm) {
        let user = from_user(request);
        let user = user.as_deref().and_then(|name| match self.account_meant(request) {
            Some(account) => self.directory.user(account, name),
            None => match self.directory.user_anywhere(name) {
                Found::One(user) => Some(user),
                Found::Nothing | Found::Several => None,
            },
        });
        let account = user.as_ref().map(|user| user.account).or_else(|| self.account_meant(request));
        let realm = self.directory.realm(account.unwrap_or(OPERATOR));
        let algorithm = user.map_or(Algorithm::Md5, |user| user.algorithm.into());
        (realm.unwrap_or_else(|| self.domain.clone()), algorithm)
    }

    /// Who sent an INVITE. `names` are those of the certificate it came under.
    pub fn caller(
        &mut self,
        request: &View<'_>,
        path: &Path,
        names: &[String],
        now: Instant,
    ) -> Result<Caller, Unknown> {
        let challenge = |this: &Self, stale, wrong| {
            let (realm, algorithm) = this.asks(request);
            Unknown::Challenge { realm, algorithm, stale, wrong }
        };
        match self.prove(request, path, now) {
            Proof::Of(Holder::User(user)) | Proof::Again(Holder::User(user)) => {
                return Ok(Caller::User(user));
            }
            Proof::Of(Holder::Trunk(trunk)) | Proof::Again(Holder::Trunk(trunk)) => {
                if !fits(&trunk, path, names) {
                    return Err(Unknown::Stranger);
                }
                let number = self.number(&trunk, request).ok_or(Unknown::Number)?;
                return Ok(Caller::Trunk(trunk, number));
            }
            Proof::Stale => return Err(challenge(self, true, None)),
            Proof::Wrong(wrong) => return Err(challenge(self, false, Some(wrong))),
            Proof::Missing => {}
        }
        let candidates = self.candidates(request, path, names);
        if !candidates.is_empty() {
            return self.choose(&candidates, request);
        }
        match self.is_home(request, path) {
            true => Err(challenge(self, false, None)),
            false => Err(Unknown::Stranger),
        }
    }

    /// The trunks that a call without credentials may come from.
    fn candidates(&self, request: &View<'_>, path: &Path, names: &[String]) -> Vec<Arc<TrunkRow>> {
        let source = path.remote.ip();
        let mut found = self.directory.trunks_by_source(source);
        found.extend(names.iter().flat_map(|name| self.directory.trunks_by_tls_name(name)));
        // Who is to say a password has not said one.
        found.retain(|trunk| trunk.settings.inbound.username.is_none() && fits(trunk, path, names));
        let called = request_user(request).unwrap_or_default();
        let registered = self.registrars.at(source).into_iter().filter_map(|id| self.directory.trunk(id));
        found.extend(registered.filter(|trunk| trunk.username.as_deref() == Some(&called)).map(Arc::new));
        found.sort_by_key(|trunk| trunk.id);
        found.dedup_by_key(|trunk| trunk.id);
        found
    }

    /// The one of them whose account has the number that is called.
    fn choose(&self, candidates: &[Arc<TrunkRow>], request: &View<'_>) -> Result<Caller, Unknown> {
        let with_number = |trunk: &Arc<TrunkRow>| Some((trunk.clone(), self.number(trunk, request)?));
        let mut fitting: Vec<_> = candidates.iter().filter_map(with_number).collect();
        if fitting.len() > 1
            && let Some(account) =
                request_host(request).and_then(|host| self.directory.account_of_domain(&host))
        {
            fitting.retain(|(trunk, _)| trunk.account == account);
        }
        let Some((trunk, number)) = fitting.first().cloned() else { return Err(Unknown::Number) };
        match fitting.iter().all(|(other, _)| other.account == trunk.account) {
            true => Ok(Caller::Trunk(trunk, number)),
            false => Err(Unknown::Ambiguous),
        }
    }

    /// The number of the trunk's account that is called: some carriers put what they registered into the Request-URI
    /// and the number into To.
    fn number(&self, trunk: &TrunkRow, request: &View<'_>) -> Option<Arc<NumberRow>> {
        let region = self.directory.region(trunk.account);
        let called = request.header("P-Called-Party-ID").and_then(user_part);
        let to = request.header(Name::To).and_then(user_part);
        let mut texts = request_user(request).into_iter().chain(called).chain(to);
        texts.find_map(|text| {
            let number = own_number(&self.directory, trunk.account, &text, region.as_deref())?;
            number.trunk.is_none_or(|only| only == trunk.id).then_some(number)
        })
    }

    /// The account whose domain the request names: where it comes from, or where it goes.
    fn account_meant(&self, request: &View<'_>) -> Option<i64> {
        let from = request.header(Name::From).and_then(uri_host);
        let hosts = from.into_iter().chain(request_host(request));
        hosts.into_iter().find_map(|host| self.directory.account_of_domain(&host))
    }

    /// Whether the sender says it is one of our users: then it is asked for a password.
    fn is_home(&self, request: &View<'_>, path: &Path) -> bool {
        request.header(Name::From).and_then(uri_host).is_some_and(|host| self.is_own_host(&host, path))
    }

    /// Whether a host means this server: a domain of an account, the server's own, or its address.
    pub fn is_own_host(&self, host: &str, path: &Path) -> bool {
        let is_address = || host.trim_matches(['[', ']']).parse() == Ok(path.local.ip());
        host.eq_ignore_ascii_case(&self.domain)
            || host.eq_ignore_ascii_case("localhost")
            || is_address()
            || self.directory.account_of_domain(host).is_some()
    }

    /// Whether an address, the To of a REGISTER, is the user's own.
    pub fn is_own_address(&self, user: &UserRow, value: &str, path: &Path) -> bool {
        let Some((name, host)) = user_part(value).zip(uri_host(value)) else { return false };
        let is_domain = match self.directory.account_of_domain(&host) {
            Some(account) => account == user.account,
            None => {
                self.is_own_host(&host, path) || self.directory.realm(user.account).as_deref() == Some(&host)
            }
        };
        is_domain && *name == *user.username
    }
}

/// A number of an account as it may be written: with or without `+`, or as in `region`.
pub fn own_number(
    directory: &Directory,
    account: i64,
    text: &str,
    region: Option<&str>,
) -> Option<Arc<NumberRow>> {
    let number = Number::parse(text).ok()?;
    let whole = directory.number(account, &format!("+{}", number.digits()));
    whole.or_else(|| directory.number(account, &number.e164(region)?))
}

/// Whether a call shows all that its trunk's settings ask for beside a password.
fn fits(trunk: &TrunkRow, path: &Path, names: &[String]) -> bool {
    let inbound = &trunk.settings.inbound;
    let source = path.remote.ip().to_canonical();
    let is_source = inbound.sources.is_empty() || inbound.sources.iter().any(|net| net.contains(&source));
    let is_named = |wanted: &String| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    is_source && inbound.tls_name.as_ref().is_none_or(is_named)
}

/// The SIP status that says a refusal (RFC 3261 section 21).
pub fn sip_status(refused: &Refused) -> u16 {
    match (refused.status, refused.code) {
        (_, "user_not_registered") => 480,
        (400, "invalid_number_format") => 484,
        (400, _) => 404,
        (status @ (403 | 404), _) => status,
        (429 | 503, _) => 503,
        _ => 500,
    }
}

fn find(directory: &Directory, realm: &str, name: &str, hint: Option<i64>) -> Option<Holder> {
    let user = match directory.user_in_realm(realm, name) {
        Found::One(user) => Some(user),
        // The same name in several accounts of one realm: only the domain tells them apart.
        Found::Several => hint.and_then(|account| directory.user(account, name)),
        Found::Nothing => None,
    };
    match user {
        Some(user) => user.enabled.then_some(Holder::User(user)),
        None => match directory.trunks_by_user(realm, name).as_slice() {
            [trunk] => Some(Holder::Trunk(trunk.clone())),
            _ => None,
        },
    }
}

/// Whoever it is, and what proves it.
fn with_ha1(holder: Holder) -> Option<(Holder, Algorithm, Zeroizing<String>)> {
    let (algorithm, ha1) = match &holder {
        Holder::User(user) => (user.algorithm.into(), user.ha1.hex(user.algorithm.into())),
        Holder::Trunk(trunk) => (Algorithm::Md5, trunk.inbound_ha1.as_ref()?.hex(Algorithm::Md5)),
    };
    Some((holder, algorithm, Zeroizing::new(ha1?)))
}

fn sip_uri(value: &str) -> Option<Uri<'_>> {
    NameAddr::parse(value).ok()?.sip_uri().ok()
}

/// The user part of an address, without escapes and parameters of its own (`+1202;phone-context=…`).
pub fn user_part(value: &str) -> Option<String> {
    let address = NameAddr::parse(value).ok()?;
    let user = match address.uri.split_once(':') {
        Some((scheme, number)) if scheme.eq_ignore_ascii_case("tel") => number,
        _ => address.sip_uri().ok()?.user?,
    };
    let user = user.split(';').next().unwrap_or(user);
    Some(call::unescape(user))
}

fn uri_host(value: &str) -> Option<String> {
    Some(host_text(sip_uri(value)?.host))
}

/// A host as it is compared.
pub fn host_text(host: Host<'_>) -> String {
    match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.to_ascii_lowercase(),
    }
}

/// The user name that the sender gives itself.
pub fn from_user(request: &View<'_>) -> Option<String> {
    request.header(Name::From).and_then(user_part)
}

/// The user part of the Request-URI.
pub fn request_user(request: &View<'_>) -> Option<String> {
    let uri = request.request_uri()?;
    user_part(&format!("<{uri}>"))
}

fn request_host(request: &View<'_>) -> Option<String> {
    Some(host_text(Uri::parse(request.request_uri()?).ok()?.host))
}
