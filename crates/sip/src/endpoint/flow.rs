//! Where a leg lives: the flow of a guarded one, and what finds a leg from outside.

use super::Endpoint;
use super::leg::{Leg, LegId, State};
use super::transactions::Purpose;
use crate::name_addr::NameAddr;
use crate::{Path, Replaces};

impl Endpoint {
    /// Where requests of a leg come from and, of a guarded one, go to.
    pub fn path_of(&self, leg: LegId) -> Option<Path> {
        Some(match &self.legs.get(leg)?.state {
            State::Calling(calling) => calling.invite.path,
            State::Incoming(incoming) => incoming.usage.dialog.path,
            State::Established(call) => call.usage.dialog.path,
        })
    }

    /// The URI of the other side, as the From or To of the call has it.
    pub fn remote_uri(&self, leg: LegId) -> Option<&str> {
        let value = match &self.legs.get(leg)?.state {
            State::Calling(calling) => return Some(&calling.invite.to_uri),
            State::Incoming(incoming) => &incoming.usage.dialog.remote,
            State::Established(call) => &call.usage.dialog.remote,
        };
        NameAddr::parse(value).ok().map(|address| address.uri)
    }

    /// The leg that a Replaces names (RFC 3891 section 3): by its Call-ID, our tag and the other side's, where `0`
    /// stands for none. Whoever carries it out refuses with 481 where an INVITE of theirs is not answered yet, and
    /// with 486 where [`Replaces::early_only`] meets an answered one.
    pub fn find_dialog(&self, replaces: &Replaces) -> Option<LegId> {
        let id = self.legs.find(&replaces.to_tag)?;
        let leg = self.legs.get(id).filter(|leg| leg.call_id == replaces.call_id)?;
        let is_theirs = |tag: Option<&str>| tag.unwrap_or("0") == replaces.from_tag;
        let matches = match &leg.state {
            State::Calling(calling) => {
                calling.forks.iter().any(|fork| is_theirs(fork.usage.dialog.remote_tag.as_deref()))
            }
            State::Incoming(incoming) => is_theirs(incoming.usage.dialog.remote_tag.as_deref()),
            State::Established(call) => is_theirs(call.usage.dialog.remote_tag.as_deref()),
        };
        matches.then_some(id)
    }

    /// Moves a leg to another flow, as when its phone registered again over a new connection: what is still to be
    /// sent goes there. Nothing happens if the leg is gone.
    pub fn move_leg(&mut self, leg: LegId, path: Path) {
        let Some(Leg { state, .. }) = self.legs.get_mut(leg) else { return };
        for usage in state.usages() {
            usage.dialog.move_to(path);
            let server = usage.theirs.as_ref().and_then(|offer| self.servers.get_mut(offer.server));
            server.into_iter().for_each(|server| server.transaction.move_to(path));
        }
        match state {
            State::Calling(calling) => {
                calling.invite.path = path;
                if let Some(client) = self.clients.get_mut(&calling.transaction) {
                    client.transaction.move_to(path);
                }
            }
            State::Incoming(incoming) => {
                incoming.reply.path = path;
                incoming.reliably.move_to(path);
                if let Some(server) = self.servers.get_mut(incoming.server) {
                    server.transaction.move_to(path);
                }
            }
            State::Established(call) => call.unacked.iter_mut().for_each(|unacked| unacked.path = path),
        }
    }

    /// Whether what comes along `path` is not from where a guarded leg lives. Datagrams to another address of ours
    /// are from the same place, streams are not.
    pub(super) fn is_stranger(&self, leg: LegId, path: Path) -> bool {
        let flow = self.path_of(leg).filter(|_| self.legs.get(leg).is_some_and(|leg| leg.guarded));
        flow.is_some_and(|flow| match flow.transport.is_reliable() {
            true => flow != path,
            false => (flow.transport, flow.remote) != (path.transport, path.remote),
        })
    }

    /// Whether a request goes along its path whatever its size.
    pub(super) fn is_pinned(&self, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Invite { pinned, .. } => *pinned,
            Purpose::Reinvite { dialog, .. } => dialog.pinned,
            Purpose::Within { leg, .. } => self.legs.get(*leg).is_some_and(|leg| leg.guarded),
            Purpose::Bye(farewell) => farewell.dialog.pinned,
            Purpose::Settled | Purpose::Outside(_) => false,
        }
    }
}
