//! Who is registered, and where calls to them go: the bindings of all users, in memory and on disk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sip::location::{Change, Counts, Limits, Locations, Ping, Registered, Saved, Target};
use sip::{Path, Refusal, Transport, View};

use crate::id::Id;
use crate::store::UserRow;
use crate::store::bindings::{self, Kept};
use crate::time::now_ms;

/// Where one phone of a user is.
#[derive(Clone, Debug)]
pub struct Phone {
    /// The URI it registered.
    pub contact: String,
    /// What it calls itself.
    pub user_agent: Option<String>,
    /// How it is reached.
    pub transport: Transport,
    /// Its address as we see it.
    pub remote: SocketAddr,
    /// Seconds its registration still lasts.
    pub expires_s: u32,
    /// Whether its connection is gone, or it no longer answers: calls pass it by until it registers again.
    pub is_lost: bool,
}

/// The bindings; clones share them.
#[derive(Clone)]
pub struct Registrar(Arc<Mutex<Table>>);

struct Table {
    locations: Locations,
    /// Bindings of each account, and whose account a user with bindings is of.
    accounts: HashMap<i64, usize>,
    owners: HashMap<u64, (i64, usize)>,
    /// What phones are reached over, by binding, and what has changed of it.
    flows: HashMap<u64, (Arc<str>, Path)>,
    changed: Vec<Flow>,
}

/// A change of what a user's phones are reached over.
#[derive(Clone, Debug)]
pub enum Flow {
    /// One more binding lives on it.
    Up {
        /// The user name.
        user: Arc<str>,
        /// The flow.
        path: Path,
    },
    /// One less.
    Down {
        /// The user name.
        user: Arc<str>,
        /// The flow.
        path: Path,
    },
}

impl Registrar {
    /// A registrar with what was kept of users that there still are: `owner` says of which account they are, and their
    /// names.
    pub fn new(
        seed: u64,
        kept: Vec<Kept>,
        owner: impl Fn(u64) -> Option<(i64, Arc<str>)>,
        now: Instant,
    ) -> Self {
        let mut table = Table {
            locations: Locations::new(seed),
            accounts: HashMap::new(),
            owners: HashMap::new(),
            flows: HashMap::new(),
            changed: Vec::new(),
        };
        let at = now_ms();
        let mut unreadable = 0_usize;
        for kept in kept {
            let user = kept.user as u64;
            let Some((account, name)) = owner(user) else { continue };
            let saved = read(&kept, at);
            let change = saved.clone().map(|saved| Change::Saved(Box::new(saved)));
            match saved.and_then(|saved| table.locations.restore(saved, now).ok()) {
                Some(()) => {
                    table.recount(user, account);
                    change.iter().for_each(|change| table.follow(change, Some(&name)));
                }
                None => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::warn!(
                unreadable,
                "some registrations of before cannot be read: their phones register anew"
            );
        }
        Self(Arc::new(Mutex::new(table)))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a REGISTER of `user`; at most `limit` bindings for its whole account.
    ///
    /// # Errors
    /// What to answer instead.
    pub fn register(
        &self,
        user: &UserRow,
        limit: Option<u32>,
        request: &View<'_>,
        path: Path,
        now: Instant,
    ) -> Result<Registered, Refusal> {
        let mut table = self.table();
        let key = user_key(user.id);
        let up = table.accounts.get(&user.account).copied().unwrap_or_default();
        let own = table.owners.get(&key).map_or(0, |(_, count)| *count);
        let mut limits = limits(user);
        if let Some(limit) = limit {
            // What the account has left is what the user may have beside its own.
            let left = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(up);
            limits.max_bindings = limits.max_bindings.min(own + left);
        }
        let registered = table.locations.register(key, request, path, &limits, now)?;
        if !registered.changes.is_empty() {
            table.recount(key, user.account);
            registered.changes.iter().for_each(|change| table.follow(change, Some(&user.username)));
        }
        Ok(registered)
    }

    /// The answer to a REGISTER that changes nothing; `None` for any other.
    pub fn repeat(&self, user: &UserRow, request: &View<'_>, path: Path, now: Instant) -> Option<Registered> {
        self.table().locations.repeat(user_key(user.id), request, path, &limits(user), now)
    }

    /// Where calls to a user go, the most wanted place first; without those that are lost.
    pub fn targets(&self, user: Id) -> Vec<Target> {
        let table = self.table();
        let bindings = table.locations.bindings(user_key(user));
        bindings.filter(|binding| !binding.is_lost()).map(|binding| binding.target()).collect()
    }

    /// The phones of a user.
    pub fn phones(&self, user: Id, now: Instant) -> Vec<Phone> {
        let table = self.table();
        let bindings = table.locations.bindings(user_key(user));
        bindings
            .map(|binding| Phone {
                contact: binding.contact().to_owned(),
                user_agent: binding.user_agent().map(ToOwned::to_owned),
                transport: binding.flow().transport,
                remote: binding.flow().remote,
                expires_s: binding.expires_s(now),
                is_lost: binding.is_lost(),
            })
            .collect()
    }

    /// Forgets all phones of a user that is no more; true if there were any.
    pub fn forget(&self, user: Id) -> bool {
        let mut table = self.table();
        let key = user_key(user);
        let Some((account, _)) = table.owners.get(&key).copied() else { return false };
        table.locations.remove(key);
        table.recount(key, account);
        true
    }

    /// A connection is gone: the phones that registered over it cannot be reached.
    pub fn lost(&self, path: Path) {
        self.table().locations.lost(path);
    }

    /// Bindings of an account.
    pub fn count(&self, account: i64) -> usize {
        self.table().accounts.get(&account).copied().unwrap_or_default()
    }

    /// How many there are in all.
    pub fn counts(&self) -> Counts {
        self.table().locations.counts()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.table().locations.poll_timeout()
    }

    /// Removes what ran out: what is to be written of it and of the users that were forgotten, and the phones to be pinged.
    pub fn handle_timeout(&self, now: Instant) -> (Vec<bindings::Change>, Vec<Ping>) {
        let mut table = self.table();
        table.locations.handle_timeout(now);
        let mut changes = Vec::new();
        while let Some(change) = table.locations.poll_change() {
            if let Change::Removed { user, .. } = &change
                && let Some((account, _)) = table.owners.get(user).copied()
            {
                table.recount(*user, account);
            }
            table.follow(&change, None);
            changes.push(written(change));
        }
        let mut pings = Vec::new();
        while let Some(ping) = table.locations.poll_ping(now) {
            pings.push(ping);
        }
        (changes, pings)
    }

    /// What has changed of the flows of phones since this was last asked.
    pub fn take_flows(&self) -> Vec<Flow> {
        std::mem::take(&mut self.table().changed)
    }

    /// What became of a ping.
    pub fn pong(&self, user: u64, key: u64, is_there: bool) {
        self.table().locations.pong(user, key, is_there);
    }
}

impl Table {
    /// Notes over which flow a binding lives now.
    fn follow(&mut self, change: &Change, user: Option<&Arc<str>>) {
        let (key, now) = match change {
            Change::Removed { key, .. } => (*key, None),
            Change::Saved(saved) => (saved.key, Some(Path::new(saved.transport, saved.local, saved.remote))),
        };
        let before = match now.zip(user) {
            Some((path, user)) => self.flows.insert(key, (user.clone(), path)),
            None => self.flows.remove(&key),
        };
        if before.as_ref().map(|(_, path)| *path) == now {
            return;
        }
        let down = before.map(|(user, path)| Flow::Down { user, path });
        let up = now.zip(user).map(|(path, user)| Flow::Up { user: user.clone(), path });
        self.changed.extend(up.into_iter().chain(down));
    }

    /// Counts a user's bindings anew.
    fn recount(&mut self, user: u64, account: i64) {
        let count = self.locations.bindings(user).count();
        let before = self.owners.get(&user).map_or(0, |(_, count)| *count);
        match count {
            0 => drop(self.owners.remove(&user)),
            _ => drop(self.owners.insert(user, (account, count))),
        }
        let all = self.accounts.entry(account).or_default();
        *all = (*all + count).saturating_sub(before);
        if *all == 0 {
            self.accounts.remove(&account);
        }
    }
}

/// A user's number in the table: the random part of its id.
pub fn user_key(id: Id) -> u64 {
    let [_, _, _, _, random @ ..] = *id.as_bytes();
    u64::from_be_bytes(random)
}

fn limits(user: &UserRow) -> Limits {
    let max_bindings = usize::try_from(user.max_bindings).unwrap_or(usize::MAX);
    Limits { max_bindings, ..Limits::default() }
}

/// A binding as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Line {
    contact: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    route: String,
    call_id: String,
    cseq: u32,
    q: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(default)]
    reg_id: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    transport: String,
    local: SocketAddr,
    remote: SocketAddr,
}

/// A change as it is written.
pub fn written(change: Change) -> bindings::Change {
    match change {
        Change::Removed { user, key } => {
            bindings::Change::Remove { user: user as i64, name: key.to_string() }
        }
        Change::Saved(saved) => {
            let Saved { user, key, expires_s, .. } = *saved;
            let line = Line {
                contact: saved.contact,
                route: saved.route,
                call_id: saved.call_id,
                cseq: saved.cseq,
                q: saved.q,
                instance: saved.instance,
                reg_id: saved.reg_id,
                user_agent: saved.user_agent,
                transport: saved.transport.param().into(),
                local: saved.local,
                remote: saved.remote,
            };
            bindings::Change::Put(Kept {
                user: user as i64,
                name: key.to_string(),
                expires_at: now_ms() + i64::from(expires_s) * 1000,
                // A struct of texts and numbers always becomes JSON.
                binding: serde_json::to_string(&line).unwrap_or_default(),
            })
        }
    }
}

fn read(kept: &Kept, now_ms: i64) -> Option<Saved> {
    let line: Line = serde_json::from_str(&kept.binding).ok()?;
    let left_ms = kept.expires_at.checked_sub(now_ms).filter(|left| *left > 0)?;
    Some(Saved {
        user: kept.user as u64,
        key: kept.name.parse().ok()?,
        contact: line.contact,
        route: line.route,
        call_id: line.call_id,
        cseq: line.cseq,
        q: line.q,
        instance: line.instance,
        reg_id: line.reg_id,
        user_agent: line.user_agent,
        expires_s: u32::try_from((left_ms + 999) / 1000).ok()?,
        transport: Transport::of_param(&line.transport)?,
        local: line.local,
        remote: line.remote,
    })
}
