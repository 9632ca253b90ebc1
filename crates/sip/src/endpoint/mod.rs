use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

mod asking;
mod auth;
mod config;
mod early;
mod event;
mod flow;
mod hash;
mod in_dialog;
mod input;
mod leg;
mod outside;
mod refer;
mod reliable;
mod reoffer;
mod reply;
mod saved;
mod session_timer;
mod size;
#[cfg(test)]
mod tests;
mod timers;
mod transactions;
mod uac;
mod uas;
mod within;

pub use asking::Asking;
pub use config::{Config, Refresher, Reliable, SessionTimer, Stats};
pub use event::{By, Ended, Event, Failure, FailureKind, Input, Output};
pub use leg::{Invite, LegId};
pub use outside::{Outside, RequestId};
pub use saved::Saved;

use crate::error::Error;
use crate::framer::{Framer, Progress};
use crate::method::Method;
use crate::reason::Reason;
use crate::sabotage::{Part, broken};
use crate::timing::Timing;
use crate::transaction::{ClientTransaction, Due, Kind};
use crate::{Path, header, lex};
pub(crate) use hash::Keyed;
use leg::{Leg, Legs, State};
use outside::Series;
use reply::phrase;
use size::UdpOnly;
use timers::{Target, Timers};
use transactions::{Client, ClientKey, Purpose, ServerId, Servers};

/// The methods a dialog or a caller may use with us.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY";

/// The same and REGISTER, for an endpoint whose driver takes it.
const ALLOW_ASKING: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, REGISTER";

/// The extensions we have.
const SUPPORTED: &str = "100rel, timer";

/// Those of an endpoint that takes registrations, whose driver carries out Replaces.
const SUPPORTED_ASKING: &str = "100rel, outbound, path, replaces, timer";

/// The one body we read as an offer or an answer.
const SDP: &str = "application/sdp";

/// The user agent: every leg, dialog and transaction of one signalling loop.
///
/// Requests outside dialogs other than INVITE (and REGISTER, where [`Config::asks`] is set) are answered without keeping anything, so they cannot fill a table
/// (RFC 3261 section 8.2.7).
pub struct Endpoint {
    config: Config,
    timing: Timing,
    rng: ChaCha20Rng,
    /// Keys the To tags of answers nothing is kept for.
    tag_key: [u8; 32],
    legs: Legs,
    clients: HashMap<ClientKey, Client, Keyed>,
    servers: Servers,
    streams: HashMap<Path, Framer, Keyed>,
    timers: Timers,
    outside: Series,
    udp_only: UdpOnly,
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Endpoint {
    /// An endpoint without legs. `seed` feeds tags, branches and Call-IDs, which must not be guessable.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut tag_key = [0; 32];
        rng.fill_bytes(&mut tag_key);
        let hash = Keyed(tag_key.iter().fold(0, |key, byte| key << 8 ^ key >> 56 ^ u64::from(*byte)));
        Self {
            timing: config.timing(),
            config,
            rng,
            tag_key,
            legs: Legs::new(hash),
            clients: HashMap::with_hasher(hash),
            servers: Servers::new(hash),
            streams: HashMap::with_hasher(hash),
            timers: Timers::new(hash),
            outside: Series::default(),
            udp_only: UdpOnly::default(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes in what the driver received.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        match input {
            // Either holds one message, or a keep-alive.
            Input::Datagram { path, bytes } | Input::Message { path, bytes } => {
                self.on_datagram(path, bytes, now);
            }
            Input::Stream { path, bytes } => self.on_stream(path, bytes, now),
            Input::Closed { path } => {
                self.streams.remove(&path);
                self.fail_path(path, "the connection was closed", ClientTransaction::is_unanswered, now);
            }
            Input::SendFailed { path, reason } => {
                self.back_to_udp(path, now);
                self.fail_path(path, reason, ClientTransaction::is_pending, now);
            }
        }
    }

    /// Does what is due; call it at [`Self::poll_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(target) = self.timers.pop_due(now) {
            match target {
                Target::Client(key) => self.on_client_due(key, now),
                Target::Server(id) => self.on_server_due(id, now),
                Target::Leg(id) => self.on_leg_due(id, now),
            }
        }
    }

    /// What to do next; call until `None` after each other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is next due; never while the endpoint is idle.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Counts, cheap to read.
    pub fn stats(&self) -> Stats {
        Stats { legs: self.legs.len(), transactions: self.clients.len() + self.servers.len(), ..self.stats }
    }

    /// How far the stream of a connection has come; nothing of one that never sent a byte, or garbage.
    pub fn progress(&self, path: &Path) -> Option<Progress> {
        self.streams.get(path).map(Framer::progress)
    }

    /// The Call-ID of a leg.
    pub fn call_id(&self, leg: LegId) -> Option<&str> {
        self.legs.get(leg).map(|leg| leg.call_id.as_str())
    }

    /// Ends a leg in whatever state it is; nothing happens if it is gone.
    ///
    /// A call of ours without final answer is cancelled, which takes until the other side agrees: a provisional
    /// response has to come first, and a 2xx that crosses the CANCEL is ACKed and followed by BYE. An incoming
    /// call is refused with the status of a SIP `reason`, or 480. An established call gets a BYE, after the ACK of
    /// our 2xx where that is outstanding. [`Event::Failed`] or [`Event::Ended`] says when it is done.
    pub fn hang_up(&mut self, leg: LegId, reason: Option<Reason>, now: Instant) {
        match self.legs.get(leg).map(|leg| &leg.state) {
            Some(State::Calling(_)) => self.cancel(leg, reason, now),
            Some(State::Incoming(_)) => self.decline(leg, reason, now),
            Some(State::Established(_)) => self.leave(leg, reason, now),
            None => {}
        }
    }

    fn on_client_due(&mut self, key: ClientKey, now: Instant) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        match client.transaction.on_timeout(&self.timing, now) {
            Due::Nothing => {}
            Due::Retransmit => {
                let (path, request) = (client.transaction.path(), client.transaction.request().clone());
                self.send_again(path, request);
            }
            Due::TimedOut | Due::Finished => return self.end_client(key, FailureKind::Timeout, "", now),
        }
        self.arm_client(key);
    }

    /// Ends a client transaction. A leg that still waits for it got no final response, or none it could read.
    fn end_client(&mut self, key: ClientKey, kind: FailureKind, trouble: &str, now: Instant) {
        self.timers.set(Target::Client(key), None);
        let Some(client) = self.clients.remove(&key) else { return };
        if self.clients.is_empty() {
            // Memory goes back after a burst.
            self.clients.shrink_to_fit();
        }
        self.stats.timeouts += u64::from(client.transaction.is_pending());
        match client.purpose {
            Purpose::Invite { leg, orphan, .. } => {
                let sent = kind != FailureKind::Transport
                    || !client.transaction.is_unanswered()
                    || !client.transaction.is_first_transmission(&self.timing);
                self.fail_calling(leg, key, kind, sent, trouble, now);
                self.saved_ended(orphan.map(|orphan| orphan.call_id));
            }
            Purpose::Bye(farewell) => self.bye_ended(&farewell),
            Purpose::Outside(asked) => self.finish_outside(*asked, Err(kind), trouble),
            Purpose::Settled => {}
            purpose if client.transaction.is_pending() => self.fail_within(purpose, key, kind, now),
            Purpose::Reinvite { .. } | Purpose::Within { .. } => {}
        }
    }

    /// Fails the client transactions on `path` that are still `waiting`.
    fn fail_path(
        &mut self,
        path: Path,
        trouble: &str,
        waiting: impl Fn(&ClientTransaction) -> bool,
        now: Instant,
    ) {
        let on_path = |client: &Client| client.transaction.path() == path && waiting(&client.transaction);
        let mut failed: Vec<ClientKey> =
            self.clients.iter().filter(|(_, client)| on_path(client)).map(|(key, _)| *key).collect();
        failed.sort_unstable();
        for key in failed {
            self.end_client(key, FailureKind::Transport, trouble, now);
        }
    }

    fn on_server_due(&mut self, id: ServerId, now: Instant) {
        let Some(server) = self.servers.get_mut(id) else { return };
        match server.transaction.on_timeout(&self.timing, now) {
            Due::Retransmit => {
                let path = server.transaction.path();
                if let Some(response) = server.transaction.response().cloned() {
                    self.send_again(path, response);
                }
            }
            Due::Nothing => {}
            due @ (Due::TimedOut | Due::Finished) => {
                self.stats.timeouts += u64::from(due == Due::TimedOut);
                self.servers.remove(id);
            }
        }
        self.arm_server(id);
    }

    fn on_leg_due(&mut self, id: LegId, now: Instant) {
        self.on_answer_due(id, now);
        self.on_reliable_due(id, now);
        self.on_offer_due(id, now);
        self.on_reoffer_due(id, now);
        self.on_session_due(id, now);
        self.arm_leg(id);
    }

    /// Sends a 2xx again that waits for its ACK, or gives the call up.
    fn on_answer_due(&mut self, id: LegId, now: Instant) {
        let Some(State::Established(call)) = self.legs.get_mut(id).map(|leg| &mut leg.state) else { return };
        let Some(unacked) = &mut call.unacked else { return };
        if unacked.is_given_up(now) {
            let (by, reason) = match call.hang_up.take() {
                Some(reason) => (By::Local, reason),
                None => (By::NoAck, None),
            };
            return self.say_bye(id, by, reason, now);
        }
        if unacked.is_due(now) && !broken(Part::AnswerRepeats) {
            let (path, response) = (unacked.path, unacked.bytes.clone());
            self.send_again(path, response);
        }
    }

    fn arm_client(&mut self, key: ClientKey) {
        let at = self.clients.get(&key).and_then(|client| client.transaction.deadline());
        self.timers.set(Target::Client(key), at);
    }

    fn arm_server(&mut self, id: ServerId) {
        let at = self.servers.get_mut(id).and_then(|server| server.transaction.deadline());
        self.timers.set(Target::Server(id), at);
    }

    fn arm_leg(&mut self, id: LegId) {
        let at = self.legs.get_mut(id).and_then(|leg| {
            let own = match &leg.state {
                State::Calling(_) => [None; 2],
                State::Incoming(incoming) => [incoming.reliably.deadline(), None],
                State::Established(call) => [
                    call.unacked.as_ref().map(|unacked| unacked.deadline()),
                    call.session.as_ref().map(|session| session.deadline()),
                ],
            };
            let offers = leg.state.usages().flat_map(|usage| {
                let theirs = usage.theirs.as_ref().and_then(|offer| offer.answer_by);
                [usage.ours.as_ref().and_then(|ours| ours.deadline()), theirs]
            });
            offers.flatten().chain(own.into_iter().flatten()).min()
        });
        self.timers.set(Target::Leg(id), at);
    }

    fn send(&mut self, path: Path, bytes: Bytes) {
        let method = match bytes.strip_prefix(b"SIP/2.0 ").and_then(|rest| rest.first()) {
            Some(class) => {
                count_class(&mut self.stats.responses_out, class.wrapping_sub(b'0').into());
                None
            }
            None => bytes.split(|byte| *byte == b' ').next().and_then(|name| std::str::from_utf8(name).ok()),
        };
        self.stats.count_out(method.map(Method::new), path.transport);
        self.outputs.push_back(Output::Send { path, bytes });
    }

    fn send_again(&mut self, path: Path, bytes: Bytes) {
        self.stats.retransmissions_out += 1;
        self.send(path, bytes);
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Removes a leg and says so.
    fn end(&mut self, id: LegId, by: By, reason: Option<Reason>, now: Instant) {
        if self.remove_leg(id, now).is_some() {
            self.emit(Event::Ended { leg: id, ended: Ended { by, reason } });
        }
    }

    /// Removes a leg; what was open in it is answered or given up.
    fn remove_leg(&mut self, id: LegId, now: Instant) -> Option<Leg> {
        self.timers.set(Target::Leg(id), None);
        let mut leg = self.legs.remove(id)?;
        for usage in leg.state.usages() {
            if let Some(offer) = usage.theirs.take() {
                let response = self.response(&offer.reply, 487, phrase(487)).end();
                self.respond(offer.server, 487, response, now);
            }
            let key = usage.ours.as_ref().and_then(|ours| ours.transaction);
            if let Some((key, client)) = key.and_then(|key| Some((key, self.clients.get_mut(&key)?)))
                && client.transaction.kind() == Kind::Invite
                && !broken(Part::ReinviteLeft)
            {
                client.transaction.give_up_at(now + self.timing.lifetime());
                self.arm_client(key);
            }
        }
        if let State::Established(call) = &mut leg.state
            && let Some(referred) = call.referred.take()
        {
            self.drop_referred(*referred, 487, now);
        }
        Some(leg)
    }

    fn is_full(&self) -> bool {
        self.clients.len() + self.servers.len() >= self.config.max_transactions
    }

    fn random_hex(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }
}

/// Counts a response whose status starts with `class`.
fn count_class(counts: &mut [u64; 6], class: u16) {
    if let Some(count) = usize::from(class).checked_sub(1).and_then(|index| counts.get_mut(index)) {
        *count += 1;
    }
}

/// Refuses text that would break out of its header line.
fn check_text<'t>(field: &'static str, texts: impl IntoIterator<Item = &'t str>) -> Result<(), Error> {
    match texts.into_iter().any(lex::breaks_line) {
        true => Err(Error::ControlCharacter(field)),
        false => Ok(()),
    }
}

/// Refuses header fields that would break their line, and those in `reserved`.
fn check_headers<'t>(
    headers: impl IntoIterator<Item = (&'t str, &'t str)>,
    reserved: &[header::Name],
) -> Result<(), Error> {
    for (name, value) in headers {
        check_text("header", [name, value])?;
        let is_reserved = header::Name::of(name).is_some_and(|name| reserved.contains(&name));
        if is_reserved || !lex::is_token(name) {
            return Err(Error::BadHeader(name.to_owned()));
        }
    }
    Ok(())
}
