//! What the messages of a leg say when they are read with a question in mind.

use sip::{Method, Name, NameAddr, View};

use super::Outcome;
use crate::insight::ladder::plain;
use crate::insight::sdp::{Sdp, is_private};
use crate::insight::{Leg, Message};

/// So many answers that nobody confirms are not lost by chance.
const NO_CHANCE: u32 = 3;

/// A leg, read.
#[derive(Default)]
pub(super) struct Facts<'a> {
    messages: Vec<Seen<'a>>,
}

/// One message, read.
struct Seen<'a> {
    message: &'a Message,
    sip: sip::Message,
}

impl Seen<'_> {
    fn view(&self) -> View<'_> {
        self.sip.view()
    }

    fn is(&self, method: Method<'_>) -> bool {
        self.view().method() == Some(method)
    }

    /// The status of a response to a request of this method.
    fn status_of(&self, method: Method<'_>) -> Option<u16> {
        let view = self.view();
        view.status().filter(|_| view.cseq().is_some_and(|cseq| cseq.method == method))
    }

    /// From its first time to its last, in ms.
    fn within(&self) -> i64 {
        (self.message.again.last().copied().unwrap_or(self.message.at) - self.message.at) / 1000
    }

    fn count(&self) -> u32 {
        self.message.repeats + 1
    }
}

/// Something sent, perhaps again and again.
pub(super) struct Tries {
    pub(super) count: u32,
    /// In ms.
    pub(super) within: i64,
    pub(super) method: String,
    pub(super) ours: bool,
}

/// A final response that is no success.
pub(super) struct Refusal<'a> {
    seen: &'a Seen<'a>,
    pub(super) status: u16,
}

impl<'a> Facts<'a> {
    /// Of the leg that decided: the caller's where it is about that, else the last that ended with the outcome's status, else the last that said anything.
    pub(super) fn of(legs: &'a [Leg], outcome: &Outcome) -> Self {
        let read: Vec<Self> =
            legs.iter().map(Self::read).filter(|facts| !facts.messages.is_empty()).collect();
        let decided = |facts: &Self| {
            outcome.sip.is_some()
                && facts.refusal().or_else(|| facts.own_refusal()).map(|refusal| refusal.status)
                    == outcome.sip
        };
        let lost = |facts: &Self| {
            outcome.code == "session_expired"
                && (facts.forgotten().is_some() || facts.unanswered_refresh().is_some())
        };
        // What the other side said explains more than what we made of it.
        let theirs = read.iter().rposition(|facts| facts.is_outgoing() && decided(facts));
        let is_about_the_caller = ["no_ack", "canceled"].contains(&outcome.code.as_str());
        let caller = read.iter().rposition(|facts| is_about_the_caller && !facts.is_outgoing());
        let at = caller
            .or_else(|| read.iter().rposition(lost))
            .or(theirs)
            .or_else(|| read.iter().rposition(decided))
            .or(read.len().checked_sub(1));
        at.and_then(|at| read.into_iter().nth(at)).unwrap_or_default()
    }

    /// Of one leg.
    pub(super) fn read(leg: &'a Leg) -> Self {
        let read = |message: &'a Message| Some(Seen { message, sip: message.read()? });
        Self { messages: leg.messages.iter().filter_map(read).collect() }
    }

    /// Whether we call on this leg.
    pub(super) fn is_outgoing(&self) -> bool {
        self.messages.first().is_some_and(|seen| seen.message.sent)
    }

    fn sent(&self) -> impl DoubleEndedIterator<Item = &Seen<'a>> {
        self.messages.iter().filter(|seen| seen.message.sent)
    }

    fn received(&self) -> impl DoubleEndedIterator<Item = &Seen<'a>> {
        self.messages.iter().filter(|seen| !seen.message.sent)
    }

    /// The other side's address.
    pub(super) fn address(&self) -> Option<String> {
        Some(self.messages.last()?.message.remote.to_string())
    }

    /// The same, and how it is reached.
    pub(super) fn remote(&self) -> Option<String> {
        let message = self.messages.last()?.message;
        Some(format!("{} over {}", message.remote, message.transport.param().to_ascii_uppercase()))
    }

    /// Who was called, and how: nobody where this is the caller's leg.
    pub(super) fn callee(&self) -> Option<String> {
        self.remote().filter(|_| self.is_outgoing())
    }

    /// Whether we told a private address to somebody outside.
    pub(super) fn hides(&self) -> bool {
        let ends = self.messages.last().map(|seen| (seen.message.local.ip(), seen.message.remote.ip()));
        ends.is_some_and(|(local, remote)| is_private(local) && !is_private(remote))
    }

    /// Whether they stand outside.
    pub(super) fn is_public(&self) -> bool {
        self.messages.last().is_some_and(|seen| !is_private(seen.message.remote.ip()))
    }

    /// What they refused our INVITE with.
    pub(super) fn refusal(&self) -> Option<Refusal<'_>> {
        last_refusal(self.received()).filter(|_| self.is_outgoing())
    }

    /// What we refused theirs with.
    pub(super) fn own_refusal(&self) -> Option<Refusal<'_>> {
        // A caller that gave up is told 487; a call that was tried elsewhere tells what came of that.
        last_refusal(self.sent()).filter(|refusal| !self.is_outgoing() && refusal.status != 487)
    }

    /// How often our last INVITE went out, and within what time.
    pub(super) fn invites(&self) -> Option<Tries> {
        tries(self.sent().rfind(|seen| seen.is(Method::Invite))?, 0)
    }

    /// How often we answered their INVITE again, for no ACK came.
    pub(super) fn unconfirmed_answer(&self) -> Option<Tries> {
        let is_answer = |seen: &&Seen<'_>| matches!(seen.status_of(Method::Invite), Some(200..300));
        let is_confirmed = self.received().any(|seen| seen.is(Method::Ack));
        let answer =
            self.sent().rfind(is_answer).filter(|seen| !is_confirmed && seen.count() >= NO_CHANCE)?;
        tries(answer, 0)
    }

    /// Whoever canceled, and after what time.
    pub(super) fn cancel(&self) -> Option<Tries> {
        let first = self.messages.first()?.message.at;
        let cancel = self.messages.iter().rfind(|seen| seen.is(Method::Cancel))?;
        tries(cancel, (cancel.message.at - first) / 1000)
    }

    /// A request of ours in the dialog that asks whether it lives and was never answered.
    pub(super) fn unanswered_refresh(&self) -> Option<Tries> {
        let asks = |seen: &&Seen<'_>| seen.is(Method::Update) || seen.is(Method::Invite);
        let asked = self.sent().rfind(asks)?;
        let cseq = asked.view().cseq()?;
        let is_answered = self.received().any(|seen| {
            let view = seen.view();
            view.status().is_some()
                && view.cseq().is_some_and(|of| (of.number, of.method) == (cseq.number, cseq.method))
        });
        (!is_answered).then(|| tries(asked, 0)).flatten()
    }

    /// A request of ours in the dialog that they answered as if there were none: its method, and their words.
    pub(super) fn forgotten(&self) -> Option<(String, String)> {
        let is_unknown = |seen: &&Seen<'_>| matches!(seen.view().status(), Some(408 | 481));
        let answer = self.received().rfind(is_unknown)?;
        let method = answer.view().cseq()?.method;
        let asks = matches!(method, Method::Invite | Method::Update | Method::Info);
        asks.then(|| (method.to_string(), words(answer)))
    }

    /// Their last provisional response, in words.
    pub(super) fn provisional(&self) -> Option<String> {
        let is_one = |seen: &&Seen<'_>| matches!(seen.status_of(Method::Invite), Some(100..200));
        self.received().rfind(is_one).map(words)
    }

    /// From the first ringing to whatever ended it, in ms.
    pub(super) fn rang(&self) -> Option<i64> {
        let rings = |seen: &Seen<'_>| matches!(seen.status_of(Method::Invite), Some(180..184));
        let at = self.messages.iter().position(rings)?;
        let from = self.messages.get(at)?.message.at;
        let end = self.messages.get(at + 1..)?.iter().find(|seen| {
            seen.is(Method::Cancel) || seen.status_of(Method::Invite).is_some_and(|status| status >= 300)
        })?;
        Some((end.message.at - from) / 1000)
    }

    /// The user that our last INVITE named in its credentials.
    pub(super) fn user(&self) -> Option<String> {
        user_of(self.sent().rfind(|seen| seen.is(Method::Invite))?)
    }

    /// Whom the INVITE was for: the user part of its Request-URI.
    pub(super) fn asked_for(&self) -> Option<String> {
        let invite = self.messages.iter().rfind(|seen| seen.is(Method::Invite))?;
        let uri = invite.view().request_uri()?;
        let (_, rest) = uri.split_once(':')?;
        Some(plain(rest.split_once('@').map_or(rest, |(user, _)| user)))
    }

    /// What they saw of us, as a sentence.
    pub(super) fn shown_as(&self) -> String {
        let invite = self.sent().rfind(|seen| seen.is(Method::Invite));
        let from = invite.and_then(|seen| seen.view().from().map(|from| plain(from.uri)));
        from.map(|from| format!("From was {from}.")).unwrap_or_default()
    }

    /// The address in our last Contact.
    pub(super) fn contact(&self) -> Option<String> {
        let contact = |seen: &Seen<'_>| Some(plain(seen.view().contact()?.uri));
        self.sent().rev().find_map(contact)
    }

    /// The last description we sent.
    pub(super) fn our_sdp(&self) -> Option<Sdp> {
        self.sent().rev().find_map(|seen| Sdp::read(seen.view().body()))
    }

    /// The last description they sent.
    pub(super) fn their_sdp(&self) -> Option<Sdp> {
        self.received().rev().find_map(|seen| Sdp::read(seen.view().body()))
    }

    /// Whether the call was answered on this leg.
    pub(super) fn is_answered(&self) -> bool {
        self.messages.iter().any(|seen| matches!(seen.status_of(Method::Invite), Some(200..300)))
    }
}

fn tries(seen: &Seen<'_>, within: i64) -> Option<Tries> {
    Some(Tries {
        count: seen.count(),
        within: if within == 0 { seen.within() } else { within },
        method: seen.view().method().map(|method| method.to_string()).unwrap_or_default(),
        ours: seen.message.sent,
    })
}

fn last_refusal<'a>(messages: impl DoubleEndedIterator<Item = &'a Seen<'a>>) -> Option<Refusal<'a>> {
    let mut finals = messages.filter_map(|seen| {
        let status = seen.status_of(Method::Invite).filter(|status| *status >= 200)?;
        Some(Refusal { seen, status })
    });
    finals.next_back().filter(|last| last.status >= 300)
}

/// The user name in the credentials of a request.
fn user_of(seen: &Seen<'_>) -> Option<String> {
    let view = seen.view();
    let value = view.header(Name::ProxyAuthorization).or_else(|| view.header(Name::Authorization))?;
    quoted(value, "username=\"")
}

/// What stands in quotes after `name`.
fn quoted(value: &str, name: &str) -> Option<String> {
    let (_, rest) = value.split_once(name)?;
    rest.split('"').next().map(plain)
}

fn words(seen: &Seen<'_>) -> String {
    let view = seen.view();
    let status = view.status().unwrap_or_default();
    plain(format!("{status} {}", view.reason()).trim_end())
}

impl Refusal<'_> {
    /// Status and reason phrase, and what a Warning adds.
    pub(super) fn words(&self) -> String {
        let warning = self.seen.view().header("Warning").and_then(|value| value.split('"').nth(1).map(plain));
        let words = words(self.seen);
        warning.map(|warning| format!("{words}: {warning}")).unwrap_or(words)
    }

    /// Whom the challenge names.
    pub(super) fn realm(&self) -> Option<String> {
        let view = self.seen.view();
        let value = view.header(Name::ProxyAuthenticate).or_else(|| view.header(Name::WwwAuthenticate))?;
        quoted(value, "realm=\"")
    }

    /// Seconds that they ask to wait.
    pub(super) fn retry_after(&self) -> Option<u32> {
        let view = self.seen.view();
        let value = view.header(Name::RetryAfter)?;
        value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Where they point to.
    pub(super) fn contacts(&self) -> Vec<String> {
        let view = self.seen.view();
        let contacts = view.values(Name::Contact).filter_map(|value| NameAddr::parse(value).ok());
        contacts.map(|contact| plain(contact.uri)).take(4).collect()
    }

    /// What they say they can do (RFC 3261 section 21.4.26).
    pub(super) fn sdp(&self) -> Option<Sdp> {
        Sdp::read(self.seen.view().body())
    }
}

/// A time in words: `400 ms`, `32 s`.
pub(super) fn seconds(ms: i64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{} s", (ms + 500) / 1000) }
}

/// How many of something: `1 time`, `7 times`.
pub(super) fn amount(count: u32, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}
