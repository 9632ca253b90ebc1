use super::bucket::Bucket;
use super::evidence::{Counts, Reason, Why};
use super::peek::{Kind, Peek};
use super::prefix::Prefix;
use super::settings::Settings;
use super::standing::{Level, Standing, nanos};
use super::table::{Keep, Keys, Map, Table};

/// What is known of a source, or of a block of them.
pub struct Source {
    pub prefix: Prefix,
    /// From all evidence. Obeyed by strangers' datagrams.
    all: Standing,
    /// From what is proven. Obeyed by streams, and at addresses of phones.
    proven: Standing,
    /// Requests outside dialogs.
    open: Bucket,
    /// Such requests from ports that misbehaved.
    shut: Bucket,
    /// All else.
    within: Bucket,
    pub counts: Counts,
    /// When the evidence counted began.
    pub since: u64,
    /// Until when it is remembered that somebody gave a right password.
    vouched_until: u64,
    forgiven_at: u64,
}

impl Source {
    fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            all: Standing::default(),
            proven: Standing::default(),
            open: Bucket::default(),
            shut: Bucket::default(),
            within: Bucket::default(),
            counts: Counts::default(),
            since: 0,
            vouched_until: 0,
            forgiven_at: 0,
        }
    }

    pub fn standing(&self, only_proven: bool) -> &Standing {
        if only_proven { &self.proven } else { &self.all }
    }

    /// Points of all evidence, whether it is obeyed or not.
    pub fn points(&self, settings: &Settings, now: u64) -> f32 {
        self.all.points(settings, now)
    }

    /// Whether nothing at all is heard from there. Over an address that cannot be forged, or where phones are, only
    /// what is proven counts.
    fn is_shut(&self, packet: &Peek<'_>, only_proven: bool, now: u64) -> bool {
        let standing = self.standing(only_proven);
        standing.level(now) == Level::Ignored && standing.has_misbehaved_from(packet.remote.port())
    }

    fn admit(
        &mut self,
        packet: &Peek<'_>,
        is_phone: bool,
        settings: &Settings,
        now: u64,
    ) -> Result<(), Reason> {
        let only_proven = is_phone || packet.transport.is_reliable();
        let standing = self.standing(only_proven);
        let misbehaved = standing.has_misbehaved_from(packet.remote.port());
        let (bucket, rate, reason) = match standing.level(now) {
            Level::Ignored if !is_phone => (&mut self.open, settings.trickle, Reason::Ignored),
            Level::Clear if packet.is_within() => {
                (&mut self.within, settings.stranger_within, Reason::TooMany)
            }
            Level::Clear if is_phone => (&mut self.open, settings.shared, Reason::TooMany),
            Level::Clear => (&mut self.open, settings.stranger, Reason::TooMany),
            // ACKs and BYEs of what passed still get through.
            _ if packet.is_within() => (&mut self.within, settings.stranger, Reason::Slowed),
            _ if misbehaved => (&mut self.shut, settings.slowed, Reason::Slowed),
            _ => (&mut self.open, settings.slowed, Reason::Slowed),
        };
        bucket.take(rate, now).then_some(()).ok_or(reason)
    }

    /// Counts a piece of evidence; a run of it begins anew when the last has faded.
    pub fn count(&mut self, why: Why, settings: &Settings, now: u64) {
        if self.all.level(now) == Level::Clear && self.points(settings, now) < 1.0 {
            (self.since, self.counts) = (now, Counts::default());
        }
        self.counts.add(why);
    }

    pub fn charge(&mut self, points: f32, port: u16, proven: bool, settings: &Settings, now: u64) {
        self.all.charge(points, port, settings, now);
        if proven {
            self.proven.charge(points, port, settings, now);
        }
    }

    /// Slows at the most: for blocks, and for trunks, where not even that is obeyed.
    pub fn charge_mildly(&mut self, points: f32, settings: &Settings, now: u64) {
        self.all.charge_mildly(points, settings, now);
        self.proven.charge_mildly(points, settings, now);
    }

    pub fn vouch(&mut self, port: u16, settings: &Settings, now: u64) {
        self.vouched_until = now.saturating_add(nanos(settings.remember));
        // Once in a while only: whoever has one account must not pay with it for guessing others.
        if now >= self.forgiven_at {
            self.forgiven_at = now.saturating_add(nanos(settings.half_life));
            self.all.forgive(settings.forgiven, port, settings, now);
            self.proven.forgive(settings.forgiven, port, settings, now);
        }
    }

    /// Begins anew.
    pub fn pardon(&mut self) {
        let vouched_until = self.vouched_until;
        *self = Self { vouched_until, ..Self::new(self.prefix) };
    }
}

impl Keep for Source {
    fn keep_until(&self) -> u64 {
        let buckets = [self.open, self.shut, self.within].map(Bucket::full_at);
        let busy_until = buckets.into_iter().fold(self.vouched_until, u64::max);
        busy_until.max(self.all.clear_at()).max(self.proven.clear_at())
    }
}

/// An address where phones are registered. It is never evicted: there are no more of them than bindings.
struct Home {
    bindings: u32,
    source: Source,
}

/// The sources: phones', the busiest others, and the blocks of the rest.
pub struct Sources {
    homes: Map<Home>,
    strangers: Table<Source>,
    blocks: Table<Source>,
}

impl Sources {
    pub fn new(settings: &Settings) -> Self {
        let (strangers, blocks) = (Table::new(settings.sources), Table::new(settings.blocks));
        Self { homes: Map::default(), strangers, blocks }
    }

    /// How many sources and blocks are held.
    pub fn len(&self) -> (usize, usize) {
        (self.homes.len() + self.strangers.len(), self.blocks.len())
    }

    /// What is known of where a packet comes from, and whether phones are there. `None` where there is no room.
    pub fn claim(&mut self, prefix: Prefix, keys: Keys, now: u64) -> Option<(&mut Source, bool)> {
        let key = keys.prefix(prefix);
        if let Some(home) = self.homes.get_mut(&key) {
            return Some((&mut home.source, true));
        }
        let source = self.strangers.claim(key, now, || Source::new(prefix))?;
        let is_phone = source.vouched_until > now;
        Some((source, is_phone))
    }

    /// The block of an address, which is counted where its sources are too many.
    pub fn claim_block(&mut self, prefix: Prefix, keys: Keys, now: u64) -> Option<&mut Source> {
        self.blocks.claim(keys.prefix(prefix), now, || Source::new(prefix))
    }

    /// Decides on a stranger's packet; `Ok(true)` where phones are at its address.
    pub fn admit(
        &mut self,
        packet: &Peek<'_>,
        keys: Keys,
        settings: &Settings,
        now: u64,
    ) -> Result<bool, Reason> {
        let address = packet.remote.ip();
        if let Some((source, is_phone)) = self.claim(Prefix::source(address), keys, now) {
            if source.is_shut(packet, is_phone || packet.transport.is_reliable(), now) {
                return Err(Reason::Ignored);
            }
            suspect(packet, is_phone, settings)?;
            source.admit(packet, is_phone, settings, now)?;
            if is_phone || self.blocks.len() == 0 {
                return Ok(is_phone);
            }
            let block = self.blocks.get_mut(keys.prefix(Prefix::block(address)));
            let Some(block) = block.filter(|block| block.proven.slowed_until() > now) else {
                return Ok(false);
            };
            return block.share(packet, settings, now);
        }
        suspect(packet, false, settings)?;
        match self.claim_block(Prefix::block(address), keys, now) {
            Some(block) => block.share(packet, settings, now),
            None => Ok(false),
        }
    }

    pub fn home_up(&mut self, prefix: Prefix, keys: Keys) {
        let key = keys.prefix(prefix);
        let strangers = &mut self.strangers;
        let home = self.homes.entry(key).or_insert_with(|| {
            let source = strangers.remove(key).unwrap_or_else(|| Source::new(prefix));
            Home { bindings: 0, source }
        });
        home.bindings = home.bindings.saturating_add(1);
    }

    pub fn home_down(&mut self, prefix: Prefix, keys: Keys, settings: &Settings, now: u64) {
        let key = keys.prefix(prefix);
        let Some(home) = self.homes.get_mut(&key) else { return };
        home.bindings = home.bindings.saturating_sub(1);
        if home.bindings > 0 {
            return;
        }
        if let Some(Home { mut source, .. }) = self.homes.remove(&key) {
            source.vouched_until = now.saturating_add(nanos(settings.remember));
            let _ = self.strangers.claim(key, u64::MAX, || source);
        }
    }

    /// All of them, and whether phones are there.
    pub fn all(&self, now: u64) -> impl Iterator<Item = (&Source, bool)> {
        let homes = self.homes.values().map(|home| (&home.source, true));
        let strangers = self.strangers.values().map(move |source| (source, source.vouched_until > now));
        homes.chain(strangers).chain(self.blocks.values().map(|block| (block, false)))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        let homes = self.homes.values_mut().map(|home| &mut home.source);
        homes.chain(self.strangers.values_mut()).chain(self.blocks.values_mut())
    }

    /// Begins anew with those in `prefix`, and with the blocks that hold it. How many they were.
    pub fn pardon(&mut self, prefix: Prefix) -> usize {
        let touched = |source: &&mut Source| {
            prefix.contains(source.prefix.address()) || source.prefix.contains(prefix.address())
        };
        self.all_mut().filter(touched).map(Source::pardon).count()
    }

    pub fn pardon_all(&mut self) {
        self.all_mut().for_each(Source::pardon);
        self.blocks.clear();
    }
}

impl Source {
    /// Decides on a packet of a block whose sources are not told apart.
    fn share(&mut self, packet: &Peek<'_>, settings: &Settings, now: u64) -> Result<bool, Reason> {
        let (bucket, rate) = match packet.is_within() {
            true => (&mut self.within, settings.stranger_within),
            false => (&mut self.open, settings.stranger),
        };
        bucket.take(rate, now).then_some(false).ok_or(Reason::Crowd)
    }
}

/// Refuses what gives itself away.
fn suspect(packet: &Peek<'_>, is_phone: bool, settings: &Settings) -> Result<(), Reason> {
    if packet.kind == Kind::Garbage {
        return Err(Reason::Garbage);
    }
    let begins = |agent: &[u8], list: &String| {
        agent.get(..list.len()).is_some_and(|start| start.eq_ignore_ascii_case(list.as_bytes()))
    };
    if packet.agent.is_some_and(|agent| settings.agents.iter().any(|list| begins(agent, list))) {
        return Err(Reason::Scanner);
    }
    // A phone may come back with another port, in the middle of whatever it did.
    let is_refused = !is_phone
        && !packet.is_within()
        && packet.method().is_some_and(|method| settings.methods.iter().any(|list| list == method.as_str()));
    if is_refused { Err(Reason::Method) } else { Ok(()) }
}
