//! Who is listened to whatever comes from there: the settings' addresses and those of the trunks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use sip::Shield;
use sip::shield::{Prefix, Rate, Settings};

use crate::callers::Registrars;
use crate::store::Directory;

/// How often it is looked whether the trunks have changed.
const EVERY: Duration = Duration::from_secs(1);

/// Requests a second from one trunk, and all else from it.
const TRUNK: u32 = 20_000;
const TRUNK_WITHIN: u32 = 100_000;

/// The shield's settings: what a trunk sends too much is refused with 503 by admission, which tells the trunk, and not
/// dropped before.
pub(super) fn settings() -> Settings {
    Settings {
        trunk: Rate::per_second(TRUNK, TRUNK),
        trunk_within: Rate::per_second(TRUNK_WITHIN, TRUNK_WITHIN),
        ..Settings::default()
    }
}

/// The addresses a shield never blocks.
pub(super) struct Trusted {
    always: Vec<Prefix>,
    directory: Directory,
    registrars: Arc<Registrars>,
    told: Option<Vec<Prefix>>,
    next: Option<Instant>,
}

impl Trusted {
    pub(super) fn new(always: Vec<Prefix>, directory: Directory, registrars: Arc<Registrars>) -> Self {
        Self { always, directory, registrars, told: None, next: None }
    }

    /// Tells the shield what has changed.
    pub(super) fn tell(&mut self, shield: &mut Shield, now: Instant) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + EVERY);
        let trunks = self.directory.trunk_sources().into_iter().filter_map(prefix);
        let registrars = self.registrars.addresses().into_iter().filter_map(whole);
        let mut all: Vec<Prefix> = self.always.iter().copied().chain(trunks).chain(registrars).collect();
        all.sort_unstable();
        all.dedup();
        if self.told.as_ref() != Some(&all) {
            shield.set_trunks(&all);
            self.told = Some(all);
        }
    }
}

fn prefix(net: IpNet) -> Option<Prefix> {
    Prefix::new(net.addr(), net.prefix_len())
}

fn whole(address: IpAddr) -> Option<Prefix> {
    prefix(IpNet::from(address))
}
