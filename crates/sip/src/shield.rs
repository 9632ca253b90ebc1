//! What stands between the sockets and the [`Endpoint`](crate::Endpoint): scanners, floods and who guesses passwords are
//! slowed and then ignored, before anything is parsed.
//!
//! ```text
//! packet ──> Peek::of ──> Shield::admit ──> Verdict::Pass ──> Endpoint::handle_input
//!                            │    ^
//!                       Drop ┘    └── note (what was wrong), note_success, flow_up, flow_down, set_trunks, pressure
//! ```
//!
//! Whom it lets through, and how much of it:
//!
//! - **Trunks**: a generous rate for each prefix. Evidence against them is listed and changes nothing.
//! - **Known flows** (address, port and transport of a binding or of a dialog): a generous rate for each, whatever others
//!   behind the same address do. Only proven guessing from that very flow slows it.
//! - **Addresses of phones**, on other ports: limited. Only what is proven counts against them, and then the ports that
//!   misbehaved are ignored and all others slowed, so that an honest phone behind the same address can still register.
//! - **Strangers**: a low rate; all evidence counts against their datagrams, only what is proven against their streams,
//!   whose addresses cannot be forged. The ports that misbehaved are ignored; of others behind that address a trickle
//!   passes. All strangers together have a rate as well, so that a flood from forged addresses costs a bounded part of
//!   the processor and takes nothing from anybody who is known.
//!
//! A flood itself is no reason to ignore anybody soon: dropping what is over the rate costs as little as ignoring it.
//!
//! What cannot be had: who forges datagrams from a known flow's or a trunk's address *and* port, at more than its
//! rate, takes its place. Phones and trunks over TCP or TLS are safe from that.
//!
//! Memory: one entry for each binding and dialog, and bounded tables for all others ([`Settings::sources`]), taken as
//! they come and given back when they were quiet for an hour: 7 MB under a flood from forged addresses, 27 MB where
//! there is evidence against every one of them.

use std::time::{Duration, Instant};

mod bucket;
mod evidence;
mod peek;
mod prefix;
mod settings;
mod source;
mod standing;
mod table;
#[cfg(test)]
mod tests;
mod trunks;
mod users;

pub use bucket::Rate;
pub use evidence::{Counts, Evidence, Reason, Why};
pub use peek::Peek;
pub use prefix::{NotAPrefix, Prefix};
pub use settings::{Settings, Weights};
pub use standing::Level;

use crate::Path;
use crate::method::Method;
use bucket::Bucket;
use peek::Kind;
use prefix::bits;
use source::Sources;
use standing::nanos;
use table::{Keys, Map};
use trunks::Trunks;
use users::Users;

/// Blocks get this part of the proven evidence against their sources, and are only ever slowed: who owns many IPv6
/// networks is found out, a neighbour is not punished for one.
const BLOCK_PART: f32 = 1.0 / 8.0;
/// Under [`Pressure::Busy`] strangers together get this part of their rate.
const BUSY_PART: u32 = 8;
/// The most [`Shield::list`] lists.
const MAX_LISTED: usize = 1_000;
/// After how many packets a little memory is given back; a divisor of 256.
const SWEEP_EVERY: u8 = 16;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on to the endpoint.
    Pass,
    /// It is dropped without an answer. A connection on which this comes may be closed.
    Drop(Reason),
}

/// How far behind the driver is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Pressure {
    /// Not at all.
    #[default]
    Calm,
    /// Strangers together get an eighth of their rate.
    Busy,
    /// Strangers get nothing; trunks, known flows and addresses of phones go on as ever.
    Overrun,
}

/// Whose a listed source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Nobody's that is known.
    Stranger,
    /// Phones are registered there, or were.
    Phone,
    /// A trunk's: whatever is listed, it is let through.
    Trunk,
}

/// A source there is evidence against.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shielded {
    /// An address, an IPv6 /64, or a block of sources (/24, /48).
    pub source: Prefix,
    /// Whose it is.
    pub owner: Owner,
    /// How its datagrams are treated; always clear for a trunk.
    pub level: Level,
    /// Points of all evidence, also of what is not obeyed.
    pub score: f32,
    /// What was seen.
    pub why: Counts,
    /// Since when.
    pub since: Instant,
    /// When the level ends if nothing more is seen.
    pub until: Option<Instant>,
}

/// What a [`Shield`] holds and has done. `sources`, `blocks`, `flows`, `guessed` and `homes` are of this moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Sources counted one by one.
    pub sources: usize,
    /// Blocks of sources.
    pub blocks: usize,
    /// Known flows.
    pub flows: usize,
    /// Users wrong passwords are counted for.
    pub guessed: usize,
    /// Places users are or were registered at.
    pub homes: usize,
    /// Packets let through.
    pub passed: u64,
    /// Tries refused by [`Shield::may_try`].
    pub tries_refused: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Stats {
    /// Packets dropped for a reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }
}

/// A flow that is known.
#[derive(Default)]
struct Flow {
    /// Bindings and dialogs on it.
    count: u32,
    open: Bucket,
    within: Bucket,
    slowed_until: u64,
}

/// Lets in who is known and keeps out who is not wanted. Every operation but the list and the pardons takes the same
/// time whatever it holds.
pub struct Shield {
    settings: Settings,
    /// Moments are counted from here, in nanoseconds.
    epoch: Instant,
    keys: Keys,
    trunks: Trunks,
    flows: Map<Flow>,
    sources: Sources,
    users: Users,
    /// All strangers together: REGISTERs, other requests outside dialogs, and the rest; of datagrams, then of streams.
    crowd: [Bucket; 6],
    /// Counts packets, to sweep now and then.
    turn: u8,
    pressure: Pressure,
    stats: Stats,
}

impl Shield {
    /// A shield that knows nobody. `seed` is secret and random: it keeps others from aiming at collisions.
    pub fn new(settings: Settings, seed: [u8; 32], now: Instant) -> Self {
        Self {
            epoch: now,
            keys: Keys::new(seed),
            trunks: Trunks::default(),
            flows: Map::default(),
            sources: Sources::new(&settings),
            users: Users::new(&settings),
            crowd: [Bucket::default(); 6],
            turn: 0,
            pressure: Pressure::Calm,
            stats: Stats::default(),
            settings,
        }
    }

    /// Decides on a packet before it is parsed: each datagram, each message of a stream, and each connection before its
    /// handshake ([`Peek::connection`]).
    pub fn admit(&mut self, packet: &Peek<'_>, now: Instant) -> Verdict {
        let now = self.moment(now);
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(SWEEP_EVERY) {
            self.sources.sweep(&self.settings, now);
        }
        let Err(reason) = self.judge(packet, now) else {
            self.stats.passed += 1;
            return Verdict::Pass;
        };
        if let Some(count) = self.stats.dropped.get_mut(reason as usize) {
            *count += 1;
        }
        if let Some(why) = reason.evidence() {
            self.charge(packet.transport, packet.remote, why, packet.transport.is_reliable(), now);
        }
        Verdict::Drop(reason)
    }

    fn judge(&mut self, packet: &Peek<'_>, now: u64) -> Result<(), Reason> {
        let (address, settings) = (bits(packet.remote.ip()), &self.settings);
        let is_within = packet.is_within();
        if let Some(trunk) = self.trunks.find(address) {
            let is_let = match is_within {
                true => trunk.within.take(settings.trunk_within, now),
                false => trunk.open.take(settings.trunk, now),
            };
            return is_let.then_some(()).ok_or(Reason::Known);
        }
        let key = self.keys.flow(address, packet.remote.port(), packet.transport);
        if let Some(flow) = self.flows.get_mut(&key) {
            let is_let = match is_within {
                true => flow.within.take(settings.flow_within, now),
                false if flow.slowed_until > now => flow.open.take(settings.slowed, now),
                false => flow.open.take(settings.flow, now),
            };
            return is_let.then_some(()).ok_or(Reason::Known);
        }
        let is_phone = self.sources.admit(packet, self.keys, settings, now)?;
        if is_phone { Ok(()) } else { self.let_in(packet, now) }
    }

    /// Whether there is room for one more stranger.
    fn let_in(&mut self, packet: &Peek<'_>, now: u64) -> Result<(), Reason> {
        let rate = match self.pressure {
            Pressure::Calm => self.settings.crowd,
            Pressure::Busy => self.settings.crowd.divided(BUSY_PART),
            Pressure::Overrun => return Err(Reason::Pressure),
        };
        let lane = match packet.kind {
            Kind::Request { method: Method::Register, within: false } => 0,
            _ if packet.is_within() => 2,
            _ => 1,
        };
        let lane = if packet.transport.is_reliable() { lane + 3 } else { lane };
        let is_let = self.crowd.get_mut(lane).is_some_and(|bucket| bucket.take(rate, now));
        is_let.then_some(()).ok_or(Reason::Crowd)
    }

    /// Tells what was wrong with something that was let through.
    pub fn note(&mut self, path: &Path, evidence: Evidence<'_>, now: Instant) {
        let now = self.moment(now);
        let proven = evidence.is_proven() || path.transport.is_reliable();
        self.charge(path.transport, path.remote, evidence.why(), proven, now);
        if let Evidence::WrongPassword { user, .. } = evidence
            && proven
        {
            let source = self.keys.prefix(Prefix::source(path.remote.ip()));
            self.users.wrong(self.keys.user(user), source, self.keys, &self.settings, now);
        }
    }

    fn charge(
        &mut self,
        transport: crate::Transport,
        remote: std::net::SocketAddr,
        why: Why,
        proven: bool,
        now: u64,
    ) {
        let (settings, keys, points) = (&self.settings, self.keys, self.settings.weights.of(why));
        let (address, port) = (bits(remote.ip()), remote.port());
        let is_trunk = self.trunks.find(address).is_some();
        let source = self.sources.claim(Prefix::source(remote.ip()), keys, now);
        if let Some((source, _)) = source {
            source.count(why, settings, now);
            if is_trunk {
                source.charge_mildly(points, settings, now);
                return;
            }
            source.charge(points, port, proven, settings, now);
            let slowed_until = source.standing(true).slowed_until();
            if let Some(flow) = self.flows.get_mut(&keys.flow(address, port, transport))
                && proven
            {
                flow.slowed_until = slowed_until;
            }
        }
        // What is dropped for its rate is dropped; only guessing and probing tell of a block.
        if proven && !is_trunk && why != Why::TooMany {
            let block = self.sources.claim_block(Prefix::block(remote.ip()), keys, now);
            if let Some(block) = block {
                block.count(why, settings, now);
                block.charge_mildly(points * BLOCK_PART, settings, now);
            }
        }
    }

    /// Tells that somebody at `path` gave `user`'s right password, with a nonce that was made for that address.
    pub fn note_success(&mut self, user: &str, path: &Path, now: Instant) {
        let now = self.moment(now);
        let prefix = Prefix::source(path.remote.ip());
        if let Some((source, _)) = self.sources.claim(prefix, self.keys, now) {
            source.vouch(path.remote.port(), &self.settings, now);
        }
        let home = self.keys.home(self.keys.user(user), self.keys.prefix(prefix));
        self.users.remember(home, &self.settings, now);
    }

    /// Whether `user`, as it is registered, may be tried from `path`: ask once for each request that would
    /// be challenged or checked, for any name, there or not. Where it is not so, no answer is sent. Whoever is guessed from
    /// many sources can always be tried from where that user is at home.
    pub fn may_try(&mut self, user: &str, path: &Path, now: Instant) -> bool {
        let now = self.moment(now);
        let source = self.keys.prefix(Prefix::source(path.remote.ip()));
        let may = self.users.may_try(self.keys.user(user), source, self.keys, &self.settings, now);
        self.stats.tries_refused += u64::from(!may);
        may
    }

    /// Sets the addresses of all trunks, in place of those set before. What is within another prefix shares its rate.
    pub fn set_trunks(&mut self, prefixes: &[Prefix]) {
        self.trunks = Trunks::new(prefixes);
    }

    /// A binding of `user` came to be on a flow, or, with no user, a dialog: to be told once for each.
    pub fn flow_up(&mut self, user: Option<&str>, path: &Path) {
        let flow = self.flows.entry(self.flow_key(path)).or_default();
        flow.count = flow.count.saturating_add(1);
        let Some(user) = user else { return };
        let prefix = Prefix::source(path.remote.ip());
        self.sources.home_up(prefix, self.keys);
        self.users.up(self.keys.home(self.keys.user(user), self.keys.prefix(prefix)));
    }

    /// What [`Shield::flow_up`] told of is over. A phone's address is remembered ([`Settings::remember`]).
    pub fn flow_down(&mut self, user: Option<&str>, path: &Path, now: Instant) {
        let (now, key) = (self.moment(now), self.flow_key(path));
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.count = flow.count.saturating_sub(1);
        if flow.count == 0 {
            self.flows.remove(&key);
        }
        let Some(user) = user else { return };
        let prefix = Prefix::source(path.remote.ip());
        self.sources.home_down(prefix, self.keys, &self.settings, now);
        let home = self.keys.home(self.keys.user(user), self.keys.prefix(prefix));
        self.users.down(home, &self.settings, now);
    }

    fn flow_key(&self, path: &Path) -> u64 {
        self.keys.flow(bits(path.remote.ip()), path.remote.port(), path.transport)
    }

    /// Tells how far behind the driver is.
    pub fn pressure(&mut self, pressure: Pressure) {
        self.pressure = pressure;
    }

    /// The sources there is evidence against, those ignored and those with the highest score first; `limit` of them at
    /// the most, and never over 1,000. It looks at everything: for people, not for packets.
    pub fn list(&mut self, limit: usize, now: Instant) -> Vec<Shielded> {
        let now = self.moment(now);
        let (settings, trunks, epoch) = (&self.settings, &mut self.trunks, self.epoch);
        let instant = |at| epoch + Duration::from_nanos(at);
        let mut listed = Vec::new();
        for (source, is_phone) in self.sources.all(now) {
            let standing = source.standing(is_phone);
            let score = source.points(settings, now);
            if score < 1.0 && standing.level(now) == Level::Clear {
                continue;
            }
            let (why, since) = source.seen();
            let is_trunk = trunks.find(source.prefix.first()).is_some();
            listed.push(Shielded {
                source: source.prefix,
                owner: match (is_trunk, is_phone) {
                    (true, _) => Owner::Trunk,
                    (_, true) => Owner::Phone,
                    _ => Owner::Stranger,
                },
                level: if is_trunk { Level::Clear } else { standing.level(now) },
                score,
                why,
                since: instant(since),
                until: standing.until(now).filter(|_| !is_trunk).map(instant),
            });
            // The list stays short while it is made.
            if listed.len() >= 2 * MAX_LISTED {
                keep_worst(&mut listed, limit);
            }
        }
        keep_worst(&mut listed, limit);
        listed
    }

    /// Begins anew with the sources in `prefix` and the blocks that hold it: an address, a network, or what
    /// [`Shield::list`] said. How many they were.
    pub fn pardon(&mut self, prefix: Prefix) -> usize {
        // Flows do not know whose they are; a slowed one that guesses on is slowed again.
        self.flows.values_mut().for_each(|flow| flow.slowed_until = 0);
        self.sources.pardon(prefix)
    }

    /// Forgets the wrong passwords for a user.
    pub fn pardon_user(&mut self, user: &str) {
        self.users.pardon(self.keys.user(user));
    }

    /// Forgets all evidence.
    pub fn pardon_all(&mut self) {
        self.flows.values_mut().for_each(|flow| flow.slowed_until = 0);
        self.sources.pardon_all();
        self.users.pardon_all();
    }

    /// What it holds and has done.
    pub fn stats(&self) -> Stats {
        let ((sources, blocks), (guessed, homes)) = (self.sources.len(), self.users.len());
        Stats { sources, blocks, flows: self.flows.len(), guessed, homes, ..self.stats }
    }

    fn moment(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

fn keep_worst(listed: &mut Vec<Shielded>, limit: usize) {
    listed.sort_unstable_by(|a, b| (b.level.cmp(&a.level)).then(b.score.total_cmp(&a.score)));
    listed.truncate(limit.min(MAX_LISTED));
}
