use super::bucket::Bucket;
use super::settings::Settings;
use super::standing::{Score, nanos};
use super::table::{Keep, Keys, Map, Table};

/// Somebody whose password is guessed.
struct Guessed {
    score: Score,
    until: u64,
    tries: Bucket,
}

impl Keep for Guessed {
    fn keep_until(&self) -> u64 {
        self.until
    }
}

/// A user at a source, remembered until then.
struct Home(u64);

impl Keep for Home {
    fn keep_until(&self) -> u64 {
        self.0
    }
}

/// Who is guessed from many sources at once, and where each user is at home. Names are kept as keys only.
pub struct Users {
    guessed: Table<Guessed>,
    /// Where users are registered now: bounded by the bindings.
    here: Map<u32>,
    /// Where they were.
    homes: Table<Home>,
}

impl Users {
    pub fn new(settings: &Settings) -> Self {
        let (guessed, homes) = (Table::new(settings.users), Table::new(settings.users));
        Self { guessed, here: Map::default(), homes }
    }

    pub fn up(&mut self, home: u64) {
        let count = self.here.entry(home).or_default();
        *count = count.saturating_add(1);
    }

    pub fn down(&mut self, home: u64, settings: &Settings, now: u64) {
        let Some(count) = self.here.get_mut(&home) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.here.remove(&home);
            self.remember(home, settings, now);
        }
    }

    /// Remembers where a user gave the right password.
    pub fn remember(&mut self, home: u64, settings: &Settings, now: u64) {
        let until = now.saturating_add(nanos(settings.remember));
        if let Some(known) = self.homes.claim(home, u64::MAX, || Home(until)) {
            known.0 = until;
        }
    }

    fn is_home(&self, home: u64, now: u64) -> bool {
        self.here.contains_key(&home) || self.homes.get(home).is_some_and(|home| home.0 > now)
    }

    /// A wrong password for a user from a source.
    pub fn wrong(&mut self, user: u64, source: u64, keys: Keys, settings: &Settings, now: u64) {
        if self.is_home(keys.home(user, source), now) {
            return;
        }
        let new = || Guessed { score: Score::default(), until: 0, tries: Bucket::default() };
        let Some(guessed) = self.guessed.claim(user, now, new) else { return };
        let half_life = nanos(settings.guess_half_life);
        guessed.score.add(1.0, 4.0 * settings.guesses, half_life, now);
        guessed.until = guessed.score.below_at(settings.guesses, half_life);
    }

    /// Whether a user may be tried from a source.
    pub fn may_try(&mut self, user: u64, source: u64, keys: Keys, settings: &Settings, now: u64) -> bool {
        let is_home = self.is_home(keys.home(user, source), now);
        let guessed = self.guessed.get_mut(user).filter(|guessed| guessed.until > now);
        guessed.is_none_or(|guessed| is_home || guessed.tries.take(settings.guessed, now))
    }

    /// How many users are guessed, and how many homes are remembered.
    pub fn len(&self) -> (usize, usize) {
        (self.guessed.len(), self.homes.len() + self.here.len())
    }

    pub fn pardon(&mut self, user: u64) {
        self.guessed.remove(user);
    }

    pub fn pardon_all(&mut self) {
        self.guessed.clear();
    }
}
