use std::time::Instant;

use super::Endpoint;
use super::leg::{LegId, State, Usage};
use super::transactions::{ClientKey, Purpose};
use super::uac::MAX_FORKS;
use super::within::Request;
use crate::dialog::Dialog;
use crate::header::Name;
use crate::lex;
use crate::message::View;
use crate::method::Method;
use crate::sabotage::{Part, broken};

/// An early dialog of ours: one phone that rings (RFC 3261 section 12.1.2).
pub struct Early {
    pub usage: Usage,
    /// The last reliable 18x it sent.
    pub rseq: Option<u32>,
}

impl Endpoint {
    /// Takes in who rings, and acknowledges what is to be (RFC 3262 section 4). False for a response that came
    /// before, or before its time: nobody is to hear of it.
    pub(super) fn on_early(&mut self, id: LegId, key: ClientKey, view: &View<'_>, now: Instant) -> bool {
        let Some(tag) = view.to().and_then(|to| to.tag()) else { return true };
        let Some(fork) = self.fork(id, key, view, tag) else { return true };
        learn_allow(&mut fork.usage, view);
        let is_reliable = lists(view, Name::Require, "100rel");
        let number = view.header(Name::RSeq).filter(|_| is_reliable).and_then(|number| number.parse().ok());
        let Some(number) = number else { return true };
        let last = fork.rseq.filter(|_| !broken(Part::PrackOnce));
        match last {
            Some(last) if number <= last => {
                self.stats.retransmissions_in += 1;
                return false;
            }
            // One between was lost: it comes again first.
            Some(last) if number > last + 1 => {
                self.stats.absorbed += 1;
                return false;
            }
            _ => {}
        }
        fork.rseq = Some(number);
        fork.usage.agreed |= !view.body().is_empty();
        let Some(State::Calling(calling)) = self.legs.get(id).map(|leg| &leg.state) else { return true };
        let rack = format!("{number} {} INVITE", calling.cseq);
        if !broken(Part::Prack) && !self.is_full() {
            self.send_within(id, Request::new(Method::Prack, Some(tag)).with("RAck", rack), now);
        }
        true
    }

    /// The early dialog with `tag`, a new one if need be.
    fn fork(&mut self, id: LegId, key: ClientKey, view: &View<'_>, tag: &str) -> Option<&mut Early> {
        let State::Calling(calling) = &mut self.legs.get_mut(id)?.state else { return None };
        let is_of = |fork: &Early| fork.usage.dialog.remote_tag.as_deref() == Some(tag);
        if let Some(index) = calling.forks.iter().position(is_of) {
            return calling.forks.get_mut(index);
        }
        if calling.forks.len() >= MAX_FORKS {
            return None;
        }
        let transaction = &self.clients.get(&key)?.transaction;
        let request = View::parse(transaction.request()).ok()?;
        let mut dialog = Dialog::from_answer(&request, view, transaction.path())?;
        dialog.pinned = calling.invite.guarded;
        let usage = Usage { described: calling.invite.body.clone().into(), ..Usage::new(dialog) };
        calling.forks.push(Early { usage, rseq: None });
        calling.forks.last_mut()
    }

    /// Takes out the dialog that a 2xx confirms; those of other forks are left with the INVITE, in case they
    /// answer too.
    pub(super) fn confirm(&mut self, id: LegId, key: ClientKey, view: &View<'_>, dialog: Dialog) -> Usage {
        let mut usage = Usage::new(dialog);
        if let Some(State::Calling(calling)) = self.legs.get_mut(id).map(|leg| &mut leg.state) {
            usage.described = std::mem::take(&mut calling.invite.body).into();
            let forks = std::mem::take(&mut calling.forks);
            let (won, lost): (Vec<Early>, Vec<Early>) =
                forks.into_iter().partition(|fork| fork.usage.dialog.remote_tag == usage.dialog.remote_tag);
            if let Some(early) = won.into_iter().next() {
                usage = early.usage;
                usage.dialog.confirm(view);
            }
            if let Some(Purpose::Invite { lost: kept, .. }) =
                self.clients.get_mut(&key).map(|client| &mut client.purpose)
            {
                *kept = lost.into_iter().map(|fork| fork.usage.dialog).collect();
            }
        }
        usage.agreed = true;
        learn_allow(&mut usage, view);
        usage
    }
}

/// Learns whether the other side takes UPDATE from a message that says what it takes.
pub fn learn_allow(usage: &mut Usage, view: &View<'_>) {
    if view.header(Name::Allow).is_some() {
        usage.allows_update = view.values(Name::Allow).any(|method| method == "UPDATE");
    }
}

/// Whether a header field lists a token, in any case.
pub fn lists(view: &View<'_>, name: Name, token: &str) -> bool {
    view.headers(name).flat_map(lex::values).any(|value| value.eq_ignore_ascii_case(token))
}
