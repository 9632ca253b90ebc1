use super::bucket::Bucket;
use super::evidence::{Counts, Reason, Why};
use super::peek::{Kind, Peek};
use super::prefix::Prefix;
use super::settings::Settings;
use super::standing::{Level, Standing, nanos};
use super::table::{Keep, Keys, Map, Table};

/// What is known of a source, or of a block of them: one cache line, for there may be as many as somebody can forge
/// addresses, and most of those leave no evidence.
pub struct Source {
    pub prefix: Prefix,
    /// Requests outside dialogs.
    open: Bucket,
    /// All else.
    within: Bucket,
    /// Until when it is remembered that somebody gave a right password.
    vouched_until: u64,
    record: Option<Box<Record>>,
}

/// The evidence against a source.
#[derive(Default)]
struct Record {
    /// From all evidence. Obeyed by strangers' datagrams.
    all: Standing,
    /// From what is proven. Obeyed by streams, and at addresses of phones.
    proven: Standing,
    /// Requests outside dialogs from ports that misbehaved.
    shut: Bucket,
    counts: Counts,
    since: u64,
    forgiven_at: u64,
}

impl Source {
    fn new(prefix: Prefix) -> Self {
        let (open, within) = (Bucket::default(), Bucket::default());
        Self { prefix, open, within, vouched_until: 0, record: None }
    }

    /// How it is treated: from all evidence, or only from what is proven.
    pub fn standing(&self, only_proven: bool) -> &Standing {
        match &self.record {
            None => &Standing::CLEAR,
            Some(record) if only_proven => &record.proven,
            Some(record) => &record.all,
        }
    }

    /// Points of all evidence, whether it is obeyed or not.
    pub fn points(&self, settings: &Settings, now: u64) -> f32 {
        self.standing(false).points(settings, now)
    }

    /// What was seen, since when.
    pub fn seen(&self) -> (Counts, u64) {
        self.record.as_ref().map_or_else(Default::default, |record| (record.counts, record.since))
    }

    fn admit(
        &mut self,
        packet: &Peek<'_>,
        is_phone: bool,
        settings: &Settings,
        now: u64,
    ) -> Result<(), Reason> {
        // Over an address that cannot be forged, or where phones are, only what is proven counts.
        let standing = self.standing(is_phone || packet.transport.is_reliable());
        let (level, misbehaved) = (standing.level(now), standing.has_misbehaved_from(packet.remote.port()));
        if level == Level::Ignored && misbehaved {
            return Err(Reason::Ignored);
        }
        suspect(packet, is_phone, settings)?;
        let shut = self.record.as_mut().map(|record| &mut record.shut).filter(|_| misbehaved);
        let (bucket, rate, reason) = match level {
            Level::Ignored if !is_phone => (&mut self.open, settings.trickle, Reason::Ignored),
            Level::Clear if packet.is_within() => {
                (&mut self.within, settings.stranger_within, Reason::TooMany)
            }
            Level::Clear if is_phone => (&mut self.open, settings.shared, Reason::TooMany),
            Level::Clear => (&mut self.open, settings.stranger, Reason::TooMany),
            // ACKs and BYEs of what passed still get through.
            _ if packet.is_within() => (&mut self.within, settings.stranger, Reason::Slowed),
            _ => (shut.unwrap_or(&mut self.open), settings.slowed, Reason::Slowed),
        };
        bucket.take(rate, now).then_some(()).ok_or(reason)
    }

    /// Decides on a packet of a block whose sources are not told apart.
    fn share(&mut self, packet: &Peek<'_>, settings: &Settings, now: u64) -> Result<bool, Reason> {
        let (bucket, rate) = match packet.is_within() {
            true => (&mut self.within, settings.stranger_within),
            false => (&mut self.open, settings.stranger),
        };
        bucket.take(rate, now).then_some(false).ok_or(Reason::Crowd)
    }

    /// Counts a piece of evidence; a run of it begins anew when the last has faded.
    pub fn count(&mut self, why: Why, settings: &Settings, now: u64) {
        let is_new = self.standing(false).level(now) == Level::Clear && self.points(settings, now) < 1.0;
        let record = self.record.get_or_insert_default();
        if is_new {
            (record.since, record.counts) = (now, Counts::default());
        }
        record.counts.add(why);
    }

    pub fn charge(&mut self, points: f32, port: u16, proven: bool, settings: &Settings, now: u64) {
        let record = self.record.get_or_insert_default();
        record.all.charge(points, port, settings, now);
        if proven {
            record.proven.charge(points, port, settings, now);
        }
    }

    /// Slows at the most: for blocks, and for trunks, where not even that is obeyed.
    pub fn charge_mildly(&mut self, points: f32, settings: &Settings, now: u64) {
        let record = self.record.get_or_insert_default();
        record.all.charge_mildly(points, settings, now);
        record.proven.charge_mildly(points, settings, now);
    }

    pub fn vouch(&mut self, port: u16, settings: &Settings, now: u64) {
        self.vouched_until = now.saturating_add(nanos(settings.remember));
        // Once in a while only: whoever has one account must not pay with it for guessing others.
        if let Some(record) = self.record.as_mut().filter(|record| now >= record.forgiven_at) {
            record.forgiven_at = now.saturating_add(nanos(settings.half_life));
            record.all.forgive(settings.forgiven, port, settings, now);
            record.proven.forgive(settings.forgiven, port, settings, now);
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
        let busy_until = self.open.full_at().max(self.within.full_at()).max(self.vouched_until);
        let Some(record) = &self.record else { return busy_until };
        busy_until.max(record.shut.full_at()).max(record.all.clear_at()).max(record.proven.clear_at())
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
            source.admit(packet, is_phone, settings, now)?;
            if is_phone || self.blocks.len() == 0 {
                return Ok(is_phone);
            }
            let block = self.blocks.get_mut(keys.prefix(Prefix::block(address)));
            let Some(block) = block.filter(|block| block.standing(true).slowed_until() > now) else {
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

    /// Gives back, bit by bit, the memory of those who did nothing for as long as misbehaviour is remembered.
    pub fn sweep(&mut self, settings: &Settings, now: u64) {
        if let Some(then) = now.checked_sub(nanos(settings.longest)) {
            self.strangers.sweep(then);
            self.blocks.sweep(then);
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
