//! Where the users of a registrar are (RFC 3261 section 10, RFC 3327, RFC 5626): the table of their bindings.
//!
//! ```text
//! REGISTER + now ──> Locations::register ──> Registered: what to store, and the 200's header fields
//! now ─────────────> Locations::handle_timeout ─> Locations::poll_change, Locations::poll_ping
//! ```
//!
//! Who a user is, and whether the request is theirs, was settled before. Like the endpoint, it owns no socket, clock
//! or store: the driver calls [`Locations::handle_timeout`] at [`Locations::poll_timeout`] and then takes out every
//! change and every ping; it stores changes and answers after that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use slab::Slab;

mod binding;
mod plan;
#[cfg(test)]
mod tests;

pub use binding::{Binding, Saved, Target};

use crate::endpoint::Keyed;
use crate::error::ParseError;
use crate::message::View;
use crate::name_addr::NameAddr;
use crate::refusal::Refusal;
use crate::{Path, Transport};
use plan::{Plan, Step, Wanted};

/// How long a User-Agent is kept, in bytes.
const MAX_USER_AGENT: usize = 128;

/// The time between two pings: a NAT forgets a flow after 30 s of silence (RFC 5626 section 4.4.2).
const PING_AFTER: Duration = Duration::from_secs(25);

/// How far pings are spread, in milliseconds.
const PING_SPREAD_MS: u64 = 5_000;

/// Pings in a row without an answer after which a binding is lost.
const MAX_UNANSWERED: u8 = 3;

/// How long and how many bindings may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The shortest binding, in seconds; shorter ones are refused with 423. Over 3,600 counts as 3,600.
    pub min_expires_s: u32,
    /// The longest binding, in seconds; longer ones are cut.
    pub max_expires_s: u32,
    /// How long a binding lasts that says nothing of it, in seconds.
    pub default_expires_s: u32,
    /// The most bindings of one user; beyond, lost ones make room, and then a REGISTER is refused with 403.
    pub max_bindings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_expires_s: 60, max_expires_s: 7_200, default_expires_s: 3_600, max_bindings: 10 }
    }
}

/// What is to be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A binding is new, or is this now.
    Saved(Box<Saved>),
    /// A binding is gone.
    Removed {
        /// Whose it was.
        user: u64,
        /// Its name.
        key: u64,
    },
}

/// What a REGISTER came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// What to store before the 200 is sent; nothing when the REGISTER only asked, or came again.
    pub changes: Vec<Change>,
    /// The header fields of the 200: a Contact for each binding with the seconds it still lasts, Path, Require.
    pub headers: Vec<(&'static str, String)>,
}

/// A ping that is due: an OPTIONS to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ping {
    /// Whose binding it is for.
    pub user: u64,
    /// The binding.
    pub key: u64,
    /// Where it goes.
    pub target: Target,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Bindings, lost ones included.
    pub bindings: usize,
    /// Users with a binding.
    pub users: usize,
    /// Bindings that are lost.
    pub lost: usize,
    /// Bindings by the transport of their flow, in the order of [`Transport`].
    pub transports: [usize; 5],
}

/// The bindings of every user.
pub struct Locations {
    bindings: Slab<Binding>,
    /// The bindings of a user, the most wanted first, of those the newest.
    users: HashMap<u64, Vec<usize>, Keyed>,
    /// What goes over each open connection.
    flows: BTreeSet<(Path, usize)>,
    expiries: BTreeSet<(Instant, usize)>,
    pings: BTreeSet<(Instant, usize)>,
    changes: VecDeque<Change>,
    next_key: u64,
    hash: Keyed,
    rolls: u64,
    counts: Counts,
}

impl Locations {
    /// An empty table. `seed` spreads pings and keys hashes.
    pub fn new(seed: u64) -> Self {
        let hash = Keyed(seed);
        Self {
            bindings: Slab::new(),
            users: HashMap::with_hasher(hash),
            flows: BTreeSet::new(),
            expiries: BTreeSet::new(),
            pings: BTreeSet::new(),
            changes: VecDeque::new(),
            next_key: 1,
            hash,
            rolls: 0,
            counts: Counts::default(),
        }
    }

    /// Carries out a REGISTER of `user` that came along `path`: all of it or, with a refusal, nothing. One that was
    /// carried out before changes nothing and is answered as it was.
    ///
    /// # Errors
    /// The response to send: 400, 403 for too many bindings, 423 for too short ones, 500 for a request that a later
    /// one of the same Call-ID overtook.
    pub fn register(
        &mut self,
        user: u64,
        request: &View<'_>,
        path: Path,
        limits: &Limits,
        now: Instant,
    ) -> Result<Registered, Refusal> {
        self.handle_timeout(now);
        let plan = self.plan(user, request, path.transport.is_reliable(), limits)?;
        let mut changes = Vec::with_capacity(plan.steps.len());
        if !plan.is_idle() {
            for &slot in &plan.evicted {
                changes.extend(self.remove_slot(slot));
            }
            let user_agent = request.header("User-Agent").filter(|name| !name.contains(char::is_control));
            let user_agent = user_agent.map(|name| cut(name, MAX_USER_AGENT));
            for step in &plan.steps {
                changes.extend(self.carry_out(user, step, &plan, user_agent, path, now));
            }
        }
        Ok(self.registered(user, changes, &plan, now))
    }

    /// The answer to a REGISTER that changes nothing: it was carried out before, only asks, or removes what is not
    /// there. `None` for any other. It tells a retransmission from a replay where the credentials of both are the
    /// same ([`Verdict::Again`](crate::digest::Verdict::Again)).
    pub fn repeat(
        &self,
        user: u64,
        request: &View<'_>,
        path: Path,
        limits: &Limits,
        now: Instant,
    ) -> Option<Registered> {
        let plan = self.plan(user, request, path.transport.is_reliable(), limits).ok()?;
        plan.is_idle().then(|| self.registered(user, Vec::new(), &plan, now))
    }

    fn registered(&self, user: u64, changes: Vec<Change>, plan: &Plan<'_>, now: Instant) -> Registered {
        let mut headers: Vec<(&'static str, String)> =
            self.bindings(user).map(|binding| ("Contact", binding.contact_value(now))).collect();
        headers.extend(plan.route.clone().map(|route| ("Path", route)));
        if plan.outbound {
            headers.push(("Require", "outbound".to_owned()));
        }
        Registered { changes, headers }
    }

    fn carry_out(
        &mut self,
        user: u64,
        step: &Step<'_>,
        plan: &Plan<'_>,
        user_agent: Option<&str>,
        path: Path,
        now: Instant,
    ) -> Option<Change> {
        let Some(wanted) = &step.wanted else { return self.remove_slot(step.slot?) };
        let mut binding = match step.slot {
            Some(slot) => self.take(slot)?,
            None => self.fresh(user, wanted, path, now),
        };
        replace(&mut binding.contact, wanted.contact);
        replace(&mut binding.call_id, plan.call_id);
        replace_some(&mut binding.route, plan.route.as_deref());
        replace_some(&mut binding.instance, wanted.instance);
        replace_some(&mut binding.user_agent, user_agent);
        (binding.cseq, binding.q, binding.reg_id) = (plan.cseq, wanted.q, wanted.reg_id);
        (binding.flow, binding.lost, binding.unanswered) = (path, false, 0);
        binding.expires_at = now + Duration::from_secs(wanted.expires_s.into());
        binding.ping_at = binding.needs_pings().then(|| now + self.pause());
        let saved = binding.saved(now);
        self.put(binding);
        Some(Change::Saved(Box::new(saved)))
    }

    fn fresh(&mut self, user: u64, wanted: &Wanted<'_>, flow: Path, now: Instant) -> Binding {
        let key = self.next_key;
        self.next_key += 1;
        Binding {
            user,
            key,
            contact: wanted.contact.into(),
            route: None,
            call_id: "".into(),
            cseq: 0,
            q: wanted.q,
            reg_id: 0,
            instance: None,
            user_agent: None,
            flow,
            expires_at: now,
            ping_at: None,
            unanswered: 0,
            lost: false,
        }
    }

    /// Puts a stored binding back; do so before the first [`Self::register`]. One over a connection is lost, until
    /// its phone registers again; nothing else of the table changes.
    ///
    /// # Errors
    /// Its contact or route cannot be read: it is left out.
    pub fn restore(&mut self, saved: Saved, now: Instant) -> Result<(), ParseError> {
        NameAddr::parse(&format!("<{}>", saved.contact))?.sip_uri()?;
        for route in crate::lex::values(&saved.route) {
            NameAddr::parse(route)?.sip_uri()?;
        }
        self.next_key = self.next_key.max(saved.key.saturating_add(1));
        let mut binding = Binding::restored(saved, now);
        binding.ping_at = binding.needs_pings().then(|| now + self.pause());
        self.put(binding);
        Ok(())
    }

    /// Removes every binding of a user; [`Self::poll_change`] tells.
    pub fn remove(&mut self, user: u64) {
        for slot in self.slots(user).collect::<Vec<_>>() {
            let change = self.remove_slot(slot);
            self.changes.extend(change);
        }
    }

    /// A connection was closed: what was registered over it is lost. Returns whose it was, each once.
    pub fn lost(&mut self, path: Path) -> Vec<u64> {
        let slots: Vec<usize> =
            self.flows.range((path, 0)..=(path, usize::MAX)).map(|(_, slot)| *slot).collect();
        let mut users = Vec::new();
        for slot in slots {
            self.flows.remove(&(path, slot));
            users.extend(self.set_lost(slot, true));
        }
        users.sort_unstable();
        users.dedup();
        users
    }

    /// The bindings of a user, the most wanted first, of those the newest.
    pub fn bindings(&self, user: u64) -> impl Iterator<Item = &Binding> {
        self.slots(user).filter_map(|slot| self.bindings.get(slot))
    }

    /// How many there are, cheap to read.
    pub fn counts(&self) -> Counts {
        Counts { bindings: self.bindings.len(), users: self.users.len(), ..self.counts }
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_ping`] are next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = |order: &BTreeSet<(Instant, usize)>| order.first().map(|(at, _)| *at);
        first(&self.expiries).into_iter().chain(first(&self.pings)).min()
    }

    /// Removes what ran out; [`Self::poll_change`] tells.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(_, slot)) = self.expiries.first().filter(|(at, _)| *at <= now) {
            let change = self.remove_slot(slot);
            self.changes.extend(change);
        }
    }

    /// What changed by itself and is to be stored; call until `None` after [`Self::handle_timeout`],
    /// [`Self::register`] and [`Self::remove`].
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// A ping that is due; call until `None`. Only bindings whose UDP flow ends elsewhere than their Contact says are
    /// pinged, since only a NAT has to be kept open: every 25 to 30 s each, evenly spread.
    pub fn poll_ping(&mut self, now: Instant) -> Option<Ping> {
        let &(at, slot) = self.pings.first().filter(|(at, _)| *at <= now)?;
        self.pings.remove(&(at, slot));
        let next = now + self.pause();
        let binding = self.bindings.get_mut(slot)?;
        binding.ping_at = Some(next);
        self.pings.insert((next, slot));
        Some(Ping { user: binding.user, key: binding.key, target: binding.target() })
    }

    /// What became of a ping: any answer is `ok`. After three in a row without, the binding is lost until one is
    /// answered or its phone registers again.
    pub fn pong(&mut self, user: u64, key: u64, ok: bool) {
        let of_key = |slot: &usize| self.bindings.get(*slot).is_some_and(|binding| binding.key == key);
        let Some(slot) = self.slots(user).find(of_key) else { return };
        let Some(binding) = self.bindings.get_mut(slot).filter(|b| b.flow.transport == Transport::Udp) else {
            return;
        };
        binding.unanswered = if ok { 0 } else { binding.unanswered.saturating_add(1) };
        let lost = binding.unanswered >= MAX_UNANSWERED;
        self.set_lost(slot, lost);
    }

    fn slots(&self, user: u64) -> impl Iterator<Item = usize> {
        self.users.get(&user).into_iter().flatten().copied()
    }

    /// Says whether a binding is lost; returns whose it is.
    fn set_lost(&mut self, slot: usize, lost: bool) -> Option<u64> {
        let binding = self.bindings.get_mut(slot)?;
        match (binding.lost, lost) {
            (false, true) => self.counts.lost += 1,
            (true, false) => self.counts.lost -= 1,
            _ => {}
        }
        binding.lost = lost;
        Some(binding.user)
    }

    fn pause(&mut self) -> Duration {
        self.rolls += 1;
        PING_AFTER + Duration::from_millis(self.hash.hash_one(self.rolls) % PING_SPREAD_MS)
    }

    /// Adds a binding to every order.
    fn put(&mut self, binding: Binding) {
        let (user, q, flow) = (binding.user, binding.q, binding.flow);
        let (expires_at, ping_at, lost) = (binding.expires_at, binding.ping_at, binding.lost);
        let slot = self.bindings.insert(binding);
        self.expiries.insert((expires_at, slot));
        self.pings.extend(ping_at.map(|at| (at, slot)));
        if flow.transport.is_reliable() && !lost {
            self.flows.insert((flow, slot));
        }
        self.counts.lost += usize::from(lost);
        if let Some(count) = self.counts.transports.get_mut(flow.transport as usize) {
            *count += 1;
        }
        let slots = self.users.entry(user).or_default();
        let is_before = |other: &usize| self.bindings.get(*other).is_some_and(|other| other.q > q);
        let at = slots.iter().position(|other| !is_before(other)).unwrap_or(slots.len());
        slots.insert(at, slot);
    }

    /// Takes a binding out of every order.
    fn take(&mut self, slot: usize) -> Option<Binding> {
        let binding = self.bindings.try_remove(slot)?;
        self.expiries.remove(&(binding.expires_at, slot));
        if let Some(at) = binding.ping_at {
            self.pings.remove(&(at, slot));
        }
        self.flows.remove(&(binding.flow, slot));
        self.counts.lost -= usize::from(binding.lost);
        if let Some(count) = self.counts.transports.get_mut(binding.flow.transport as usize) {
            *count -= 1;
        }
        if let Some(slots) = self.users.get_mut(&binding.user) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.users.remove(&binding.user);
            }
        }
        Some(binding)
    }

    fn remove_slot(&mut self, slot: usize) -> Option<Change> {
        let Binding { user, key, .. } = self.take(slot)?;
        if self.bindings.is_empty() {
            // Memory goes back after a burst.
            self.bindings.shrink_to_fit();
            self.users.shrink_to_fit();
        }
        Some(Change::Removed { user, key })
    }
}

/// Sets a text, anew only where it is another.
fn replace(text: &mut Box<str>, new: &str) {
    if **text != *new {
        *text = new.into();
    }
}

fn replace_some(text: &mut Option<Box<str>>, new: Option<&str>) {
    if text.as_deref() != new {
        *text = new.map(Into::into);
    }
}

/// The front of a text, `max` bytes at most.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
