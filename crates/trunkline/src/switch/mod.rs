//! The call loop: runs every [`call::Call`], carries out its commands, reports what happens.
//!
//! One thread owns the SIP sockets, the calls and their timers; it decides nothing, it obeys `Call`. The
//! rest of the process talks to it through one bounded queue.

mod admission;
mod describe;
mod dialing;
mod ending;
mod entry;
mod inbound;
mod legs;
mod line;
mod live;
mod requests;
mod run;
mod saved;
mod sound;
mod transfer;
mod trusted;
mod turns;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use mio::{Token, Waker};
use serde::Serialize;
use sip::Shield;
use sip::shield::{Prefix, Shielded};
use tokio::sync::oneshot;

pub use admission::Slot;
pub use live::Live;
pub use transfer::{Party, Referral, Transfer};
pub use turns::Load;

pub use describe::EVENT_KINDS;
pub(crate) use describe::describe;
pub(crate) use legs::{is_held, leg_end, leg_failure, q850, reason};

use admission::{Admission, overloaded, stopping};
use trusted::Trusted;

use crate::callers::{Callers, Registrars};
use crate::dns::Resolver;
use crate::endpoint::{self, Doors, Endpoint, Listen, Trust, Upgraded};
use crate::id::Id;
use crate::insight::{Keeper, Tap, Unmasked};
use crate::receive::Arrival;
use crate::refused::Refused;
use crate::registrar::{Registrar, user_key};
use crate::rtp::{self, Heard, Media};
use crate::store::bindings::Bindings;
use crate::store::{SavedLeg, Store};
use crate::time::now_ms;
use crate::trunk::TrunkSettings;

/// Commands waiting for the loop; beyond, new calls are refused.
const COMMANDS: usize = 4096;
const WAKER: Token = Token(0);
const SIP: usize = 1;

/// A call to place: everything is looked up, rendered and resolved.
pub struct Place {
    /// The call's id, already in the store with its first event.
    pub id: Id,
    /// The account it belongs to.
    pub account: i64,
    /// Flow, attempts and limits.
    pub spec: call::Spec,
    /// The clips the flow names, by index.
    pub clips: Vec<media::Clip>,
    /// How to reach each attempt of the route of `spec` and of those of its flow, by the route's id, in the same order.
    pub routes: Vec<Vec<Dial>>,
    /// Where to record to, and the file's name as the store keeps it.
    pub recording: Option<(PathBuf, String)>,
    /// Its place among the calls there may be.
    pub slot: Slot,
}

/// One attempt in SIP's terms.
#[derive(Clone)]
pub struct Dial {
    /// Where to send the INVITE; the text says why there is nowhere.
    pub target: Result<Target, String>,
    /// The Request-URI.
    pub request_uri: String,
    /// The name beside the From URI.
    pub from_display: Option<String>,
    /// The From URI.
    pub from_uri: String,
    /// The To URI.
    pub to_uri: String,
    /// The user part of our Contact.
    pub contact_user: Option<String>,
    /// Route values, the next hop first.
    pub route: Vec<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Answers to a challenge.
    pub credentials: Option<sip::digest::Credentials>,
    /// The trunk, for the record: id and name.
    pub trunk: Option<(Id, String)>,
    /// How the trunk wants to be spoken to; the defaults where there is none.
    pub settings: TrunkSettings,
    /// Whether the callee is simulated and will report what it heard.
    pub simulated: bool,
    /// Where it is a phone of ours: over which flow it is reached, and whose it is.
    pub phone: Option<(sip::Path, Id)>,
}

impl Dial {
    fn limits(&self) -> call::Limits {
        self.settings.limits()
    }
}

/// A resolved peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// UDP, TCP or TLS.
    pub transport: sip::Transport,
    /// Address and port.
    pub remote: SocketAddr,
    /// Whom the peer's certificate must be for; TLS only.
    pub server_name: Option<Arc<str>>,
}

impl Target {
    /// A peer over UDP.
    pub fn udp(remote: SocketAddr) -> Self {
        Self { transport: sip::Transport::Udp, remote, server_name: None }
    }
}

/// What became of a request outside calls.
#[derive(Debug)]
pub struct Answer {
    /// The final response, or why there is none.
    pub result: Result<sip::Message, sip::FailureKind>,
    /// What the transport said when it could not carry the request; else empty.
    pub trouble: String,
}

impl Answer {
    fn none(trouble: String) -> Self {
        Self { result: Err(sip::FailureKind::Transport), trouble }
    }

    /// Why there is no response, in words without a full stop.
    pub fn why(&self) -> String {
        let told = match &self.result {
            Err(sip::FailureKind::Timeout) => "no answer came",
            _ => "no connection could be made",
        };
        match self.trouble.trim_end_matches('.') {
            "" => told.into(),
            trouble => trouble.into(),
        }
    }
}

/// A call that was taken.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The SIP Call-ID of the first leg; empty when not even an INVITE could be sent.
    pub sip_call_id: String,
}

/// The loop's figures.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Status {
    /// Calls that have not ended.
    pub calls: usize,
    /// SIP legs.
    pub legs: usize,
    /// SIP transactions.
    pub transactions: usize,
}

/// What the SIP server has seen since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SipStats {
    /// Messages.
    pub sip: sip::Stats,
    /// Connections.
    pub connections: endpoint::Stats,
    /// What the shield counts, where there is one.
    pub shield: Option<sip::shield::Stats>,
}

pub(crate) enum Command {
    Place(Box<Place>, Instant, oneshot::Sender<Result<Placed, Refused>>),
    HangUp(Id, oneshot::Sender<bool>),
    Live(Id, Live, oneshot::Sender<Result<(), Refused>>),
    Party(Id, call::Leg, oneshot::Sender<Result<Party, Refused>>),
    Heard(Id, Heard),
    Limit(Id, call::Limits),
    Insight(Id, oneshot::Sender<Option<Unmasked>>),
    Shielded(usize, oneshot::Sender<Option<Vec<Shielded>>>),
    Pardon(Option<Prefix>, oneshot::Sender<usize>),
    PardonUser(Box<str>),
    Path(Target, oneshot::Sender<io::Result<sip::Path>>),
    Ask(Box<sip::Outside>, oneshot::Sender<Answer>),
    Received(sip::LegId, Box<Result<Place, Refused>>),
    Referred(sip::LegId, Box<Result<Transfer, Refused>>),
    AdoptWeb(Upgraded),
    HangUpAll,
    Exit,
}

/// The way to the call loop.
#[derive(Clone)]
pub struct Switch {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    keeper: Keeper,
    address: SocketAddr,
    tcp_address: Option<SocketAddr>,
    tls_address: Option<SocketAddr>,
    registrar: Registrar,
}

#[derive(Default)]
pub(crate) struct Shared {
    calls: AtomicUsize,
    legs: AtomicUsize,
    transactions: AtomicUsize,
    sip: Mutex<SipStats>,
    loads: Mutex<HashMap<Id, Load>>,
    receive: OnceLock<Receive>,
    refer: OnceLock<Refer>,
}

/// Says what happens to a call that came in: at once, or later by [`Switch::received`].
pub type Receive = Box<dyn Fn(Arrival) -> Option<Result<Place, Refused>> + Send + Sync>;

/// Says where a transfer leads: at once, or later by [`Switch::referred`].
pub type Refer = Box<dyn Fn(Referral) -> Option<Result<Transfer, Refused>> + Send + Sync>;

impl Shared {
    fn refer(&self, referral: Referral) -> Option<Result<Transfer, Refused>> {
        match self.refer.get() {
            Some(refer) => refer(referral),
            None => Some(Err(stopping())),
        }
    }

    fn receive(&self, arrival: Arrival) -> Option<Result<Place, Refused>> {
        match self.receive.get() {
            Some(receive) => receive(arrival),
            None => Some(Err(stopping())),
        }
    }
}

/// What the loop needs besides its sockets.
pub struct Setup {
    /// SIP sockets.
    pub listen: Listen,
    /// TLS, WebSocket, and how many connections there may be.
    pub doors: Doors,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Told which targets failed.
    pub resolver: Resolver,
    /// Media loops.
    pub media: Media,
    /// Where final states and events go.
    pub store: Store,
    /// Calls at once.
    pub max_calls: usize,
    /// The folder of recordings.
    pub recordings: PathBuf,
    /// Legs that a crash left open on the other side: to be ended.
    pub saved: Vec<SavedLeg>,
    /// The file that registrations are kept in.
    pub bindings: PathBuf,
    /// Where the trunks' registrars are.
    pub registrars: Arc<Registrars>,
    /// The server's own SIP domain.
    pub domain: String,
    /// Who is listened to whatever it does; none: no shield at all.
    pub trusted: Option<Vec<Prefix>>,
    /// Where the messages of calls go once they are over.
    pub keeper: Keeper,
}

impl Switch {
    /// Binds the SIP sockets and starts the loop.
    pub fn start(setup: Setup) -> io::Result<(Self, JoinHandle<()>)> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let config = sip::Config {
            user_agent: concat!("trunkline/", env!("CARGO_PKG_VERSION")).into(),
            max_legs: setup.max_calls.saturating_mul(2).max(64),
            asks: true,
            ..sip::Config::default()
        };
        let max_legs = config.max_legs;
        let registry = poll.registry().try_clone()?;
        let mut endpoint =
            Endpoint::bind_with(setup.listen, setup.doors, config, setup.trust, seed, registry, SIP)?;
        let (address, tcp_address) = (endpoint.address(), endpoint.tcp_address());
        let tls_address = endpoint.tls_address();
        if setup.keeper.is_on() {
            endpoint.set_tap(Tap::new(max_legs.saturating_mul(2), setup.keeper.clone()));
        }
        let (commands, receiver) = bounded(COMMANDS);
        let (sink, media_events) = rtp::Sink::new(waker.clone());
        let (bindings, kept) = Bindings::open(&setup.bindings, now_ms(), waker.clone())?;
        let directory = setup.store.directory().clone();
        let owners = directory.owners(user_key);
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let rolls = key.iter().fold(0, |rolls: u64, byte| rolls << 8 ^ rolls >> 56 ^ u64::from(*byte));
        let registrar = Registrar::new(rolls, kept, |user| owners.get(&user).cloned(), Instant::now());
        let trusted =
            setup.trusted.map(|always| Trusted::new(always, directory.clone(), setup.registrars.clone()));
        if trusted.is_some() {
            endpoint.guard(Shield::new(trusted::settings(), key, Instant::now()));
        }
        let callers = Callers::new(directory, setup.registrars, key, setup.domain);
        let shared = Arc::new(Shared::default());
        let admission = Admission::new(setup.max_calls);
        let parts = run::Parts {
            poll,
            endpoint,
            commands: receiver,
            media: setup.media,
            sink,
            media_events,
            store: setup.store,
            resolver: setup.resolver,
            shared: shared.clone(),
            admission: admission.clone(),
            recordings: setup.recordings,
        };
        let mut looped = run::Loop::new(parts, callers, registrar.clone(), bindings, trusted);
        looped.end_saved(setup.saved, Instant::now());
        let thread = std::thread::Builder::new().name("switch".into()).spawn(move || {
            crate::threads::go_first();
            looped.run();
        })?;
        let keeper = setup.keeper;
        let switch =
            Self { commands, waker, shared, admission, keeper, address, tcp_address, tls_address, registrar };
        Ok((switch, thread))
    }

    /// Where SIP listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where SIP over TCP listens, and over WebSocket at the same port.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp_address
    }

    /// The sources that the shield has something against, the busiest first; none where there is no shield.
    pub async fn shielded(&self, limit: usize) -> Option<Vec<Shielded>> {
        let (reply, list) = oneshot::channel();
        self.send(Command::Shielded(limit, reply)).ok()?;
        list.await.ok()?
    }

    /// Forgets what the shield has against a source, or against all; of how many.
    pub async fn pardon(&self, source: Option<Prefix>) -> usize {
        let (reply, pardoned) = oneshot::channel();
        match self.send(Command::Pardon(source, reply)) {
            Ok(()) => pardoned.await.unwrap_or_default(),
            Err(_) => 0,
        }
    }

    /// Lets the shield forget the wrong passwords for a user, who has another one now: phones that are told it get in
    /// from anywhere.
    pub fn pardon_user(&self, name: &str) {
        let _ = self.send(Command::PardonUser(name.into()));
    }

    /// Where SIP over TLS listens, and over secure WebSocket at the same port.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Takes over a WebSocket that speaks SIP.
    pub fn adopt_web(&self, upgraded: Upgraded) -> Result<(), Refused> {
        self.send(Command::AdoptWeb(upgraded))
    }

    /// Starts a call; answers once the first INVITE is on its way or the call was refused.
    pub async fn place(&self, place: Place) -> Result<Placed, Refused> {
        let (reply, placed) = oneshot::channel();
        self.send(Command::Place(Box::new(place), Instant::now(), reply))?;
        placed.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Takes a place for a new call of `account`, to be handed over in [`Place`]; or says why there is none.
    pub fn admit(&self, account: i64, quota: &call::Quota) -> Result<Slot, Refused> {
        if !self.admission.admits_call(Instant::now()) {
            return Err(overloaded());
        }
        self.slot(account, quota)
    }

    /// As [`Self::admit`] for a call that came in, which the call loop has let in already.
    pub fn slot(&self, account: i64, quota: &call::Quota) -> Result<Slot, Refused> {
        self.admission.admit(account, quota, Instant::now())
    }

    /// Ends a call in whatever state it is; false when it is not live.
    pub async fn hang_up(&self, call: Id) -> bool {
        let (reply, done) = oneshot::channel();
        self.send(Command::HangUp(call, reply)).is_ok() && done.await.unwrap_or(false)
    }

    /// From now on `receive` says what happens to calls that come in; until then they are refused.
    pub fn on_arrival(&self, receive: Receive) {
        let _ = self.shared.receive.set(receive);
    }

    /// What happens to a call that came in, where it could not be said at once.
    pub fn received(&self, leg: sip::LegId, place: Result<Place, Refused>) {
        // The loop is stopping, or has thousands of orders waiting: the caller gives up.
        let _ = self.send(Command::Received(leg, Box::new(place)));
    }

    /// From now on `refer` says where transfers lead; until then they are refused.
    pub fn on_referral(&self, refer: Refer) {
        let _ = self.shared.refer.set(refer);
    }

    /// Where a transfer leads, where it could not be said at once.
    pub fn referred(&self, leg: sip::LegId, transfer: Result<Transfer, Refused>) {
        // The loop is stopping, or has thousands of orders waiting: who asked hears of a time-out.
        let _ = self.send(Command::Referred(leg, Box::new(transfer)));
    }

    /// Who is registered.
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// Does something on a call that is up; refused with 409 where the call is not in a state for it.
    pub async fn act(&self, call: Id, live: Live) -> Result<(), Refused> {
        let (reply, done) = oneshot::channel();
        self.send(Command::Live(call, live, reply))?;
        done.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Who is on a leg of a call whose two legs talk; refused with 409 where they do not.
    pub async fn party(&self, call: Id, leg: call::Leg) -> Result<Party, Refused> {
        let (reply, party) = oneshot::channel();
        self.send(Command::Party(call, leg, reply))?;
        party.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Takes what a simulated callee heard; it becomes part of the call's record.
    pub fn heard(&self, call: Id, heard: Heard) {
        let _ = self.send(Command::Heard(call, heard));
    }

    /// What was said so far on a call that goes on, or did until just now.
    pub async fn insight(&self, call: Id) -> Option<Unmasked> {
        let (reply, copy) = oneshot::channel();
        self.send(Command::Insight(call, reply)).ok()?;
        copy.await.ok()?
    }

    /// Where the messages of calls go once they are over.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Sets a trunk's limits for those who wait for it already.
    pub fn limit(&self, trunk: Id, limits: call::Limits) {
        let _ = self.send(Command::Limit(trunk, limits));
    }

    /// The way to a target: which address of ours it sees.
    pub async fn path(&self, target: Target) -> Result<sip::Path, String> {
        let (reply, path) = oneshot::channel();
        self.send(Command::Path(target, reply)).map_err(|refused| refused.message)?;
        match path.await {
            Ok(path) => path.map_err(|error| error.to_string()),
            Err(_) => Err(stopping().message),
        }
    }

    /// Sends a request outside calls, such as OPTIONS or REGISTER; answers once its final response has come, which may
    /// take half a minute.
    pub async fn ask(&self, request: sip::Outside) -> Answer {
        let (reply, answer) = oneshot::channel();
        match self.send(Command::Ask(Box::new(request), reply)) {
            Ok(()) => answer.await.unwrap_or_else(|_| Answer::none(stopping().message)),
            Err(refused) => Answer::none(refused.message),
        }
    }

    /// How many calls a trunk has.
    pub fn load(&self, trunk: Id) -> Load {
        self.shared.load(trunk)
    }

    /// Calls that have not ended.
    pub fn live(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// The loop's figures, at most a second old.
    pub fn status(&self) -> Status {
        Status {
            calls: self.live(),
            legs: self.shared.legs.load(Ordering::Relaxed),
            transactions: self.shared.transactions.load(Ordering::Relaxed),
        }
    }

    /// What the SIP server has seen, as of the loop's last turn.
    pub fn sip_stats(&self) -> SipStats {
        *self.shared.sip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the SIP server: new REGISTERs and calls get 503, in either direction. Calls that are up go on, phones stay
    /// registered.
    pub fn stop_sip(&self) {
        self.admission.stop(true);
    }

    /// Starts the SIP server again.
    pub fn start_sip(&self) {
        self.admission.stop(false);
    }

    /// Whether the SIP server takes calls and registrations.
    pub fn is_sip_running(&self) -> bool {
        self.admission.closed().is_none()
    }

    /// Calls of an account that are up.
    pub fn live_of(&self, account: i64) -> usize {
        self.admission.live(account)
    }

    /// Forgets all phones of a user, or the one of them with this key; true if there were any.
    pub fn forget(&self, user: Id, phone: Option<u64>) -> bool {
        let is_gone = self.registrar.forget(user, phone);
        if is_gone {
            // A loop that cannot be woken has ended.
            let _ = self.waker.wake();
        }
        is_gone
    }

    /// Refuses new calls, waits up to `grace` for the live ones to end, then hangs up the rest.
    pub async fn drain(&self, grace: Duration) {
        self.admission.drain();
        self.wait_idle(grace).await;
        if self.live() > 0 {
            let _ = self.send(Command::HangUpAll);
            self.wait_idle(Duration::from_secs(8)).await;
        }
        let _ = self.send(Command::Exit);
    }

    async fn wait_idle(&self, longest: Duration) {
        let idle = async {
            while self.live() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = tokio::time::timeout(longest, idle).await;
    }

    fn send(&self, command: Command) -> Result<(), Refused> {
        self.commands.try_send(command).map_err(|_| {
            Refused::new(503, "overloaded", "Too many requests are waiting for the call engine.")
                .retry_after(1)
        })?;
        self.waker.wake().map_err(|_| stopping())
    }
}

#[cfg(test)]
mod tests;
