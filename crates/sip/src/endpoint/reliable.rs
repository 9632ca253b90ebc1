use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::early::lists;
use super::event::{By, Event};
use super::leg::{Carrier, Incoming, LegId, Offer, State, Unacked};
use super::reply::{Reply, phrase};
use super::transactions::ServerKey;
use super::uas::{RESERVED, check_offer};
use super::{ALLOW, Endpoint, Reliable, SDP, check_headers};
use crate::Path;
use crate::error::Error;
use crate::header::Name;
use crate::message::View;
use crate::method::Method;
use crate::refusal::Refusal;
use crate::sabotage::{Part, broken};
use crate::transaction::Kind;

/// The most 18x that wait for the PRACK of one before them.
const MAX_WAITING: usize = 8;

/// An 18x to be sent.
struct Ringing {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// The 18x to one incoming call (RFC 3262 section 3).
pub struct Reliably {
    /// Whether they are to be acknowledged.
    wanted: bool,
    /// Whether the INVITE brought an offer, so that the first body of ours answers it.
    offered: bool,
    rseq: u32,
    /// The one on its way, and whether it has a body.
    unacked: Option<(Unacked, bool)>,
    waiting: VecDeque<Ringing>,
    /// A 2xx that may not go before the PRACK of an answer.
    held: Option<Vec<u8>>,
}

impl Reliably {
    /// The 18x an INVITE wants, when we want `ours`; `random` starts their count.
    ///
    /// # Errors
    /// 421, when we insist on what the caller does not know.
    pub fn new(invite: &View<'_>, ours: Reliable, random: u64) -> Result<Self, Refusal> {
        let required = lists(invite, Name::Require, "100rel");
        let known = required || lists(invite, Name::Supported, "100rel");
        if ours == Reliable::Required && !known {
            return Err(Refusal::new(421).with("Require", "100rel"));
        }
        Ok(Self {
            wanted: required || (known && ours != Reliable::Off),
            offered: !invite.body().is_empty(),
            rseq: u32::try_from(random >> 34).unwrap_or_default(),
            unacked: None,
            waiting: VecDeque::new(),
            held: None,
        })
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.unacked.as_ref().map(|(unacked, _)| unacked.deadline())
    }

    /// What is still sent goes along `path`.
    pub fn move_to(&mut self, path: Path) {
        self.unacked.iter_mut().for_each(|(unacked, _)| unacked.path = path);
    }

    /// Whether a 2xx was given that waits.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The number of an 18x still on its way.
    pub fn overtaken(&self) -> Option<u32> {
        self.unacked.as_ref().map(|(unacked, _)| unacked.number)
    }

    /// Whether a 2xx has to wait; then it is kept.
    pub fn hold(&mut self, body: &mut Vec<u8>, is_answering: bool) -> bool {
        let describes = self.unacked.as_ref().is_some_and(|(_, has_body)| *has_body);
        let must_wait = (describes || is_answering) && !broken(Part::AnswerHeld);
        if must_wait {
            self.held = Some(std::mem::take(body));
            self.waiting.clear();
        }
        must_wait
    }
}

impl Endpoint {
    /// Answers an incoming leg provisionally, with 180, 181, 182 or 183 and perhaps early media. Where the caller
    /// wants that, it is sent until it is acknowledged ([`Event::Pracked`]), one after the other; a call that
    /// acknowledges none in 64 T1 is refused.
    ///
    /// # Errors
    /// The leg is gone or answered already, more than eight wait, or the status is another.
    pub fn ring(
        &mut self,
        leg: LegId,
        status: u16,
        body: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(), Error> {
        self.ring_with(leg, status, &[], body, now)
    }

    /// As [`Self::ring`], with further header fields.
    ///
    /// # Errors
    /// As [`Self::ring`]; or a header would break its line or is one the stack writes.
    pub fn ring_with(
        &mut self,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<(), Error> {
        if !(180..=183).contains(&status) {
            return Err(Error::BadStatus(status));
        }
        check_headers(headers.iter().copied(), RESERVED)?;
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let ringing = Ringing { status, headers, body: body.unwrap_or_default().into() };
        let Incoming { reliably, .. } = self.incoming_mut(leg)?;
        if reliably.wanted && reliably.unacked.is_some() {
            if reliably.waiting.len() >= MAX_WAITING {
                return Err(Error::WrongState);
            }
            reliably.waiting.push_back(ringing);
            return Ok(());
        }
        self.send_ringing(leg, ringing, now);
        Ok(())
    }

    /// Whether the 18x of an incoming leg are acknowledged. Then the first of them has to bring the offer that an
    /// INVITE without one asks for, and its PRACK the answer (RFC 3262 section 5).
    pub fn rings_reliably(&self, leg: LegId) -> bool {
        self.incoming(leg).is_ok_and(|incoming| incoming.reliably.wanted)
    }

    fn send_ringing(&mut self, leg: LegId, ringing: Ringing, now: Instant) {
        let Ringing { status, headers, body } = ringing;
        let Ok(Incoming { reply, usage, reliably, .. }) = self.incoming(leg) else { return };
        let mut builder = self
            .response(reply, status, phrase(status))
            .header("Contact", &usage.dialog.contact)
            .header("Allow", ALLOW);
        let (wanted, number, path) = (reliably.wanted, reliably.rseq + 1, reply.path);
        if wanted {
            builder = builder.header("Require", "100rel").header("RSeq", &number.to_string());
        }
        builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
        let response = builder.body(SDP, &body);
        let timing = self.timing;
        let Ok(Incoming { server, reliably, usage, .. }) = self.incoming_mut(leg) else { return };
        let (server, has_body) = (*server, !body.is_empty());
        if has_body {
            usage.described = body;
        }
        if wanted {
            reliably.rseq = number;
            let unacked = Unacked::provisional(path, response.clone(), number, &timing, now);
            reliably.unacked = Some((unacked, has_body));
        }
        self.respond(server, status, response, now);
        self.arm_leg(leg);
    }

    /// Sends a reliable 18x again that waits for its PRACK, or gives the call up.
    pub(super) fn on_reliable_due(&mut self, leg: LegId, now: Instant) {
        let Ok(Incoming { reliably, .. }) = self.incoming_mut(leg) else { return };
        let Some((unacked, _)) = &mut reliably.unacked else { return };
        if unacked.is_given_up(now) {
            self.finish_incoming(leg, 504, &[], now);
            return self.end(leg, By::NoAck, None, now);
        }
        if unacked.is_due(now) && !broken(Part::ReliableRepeats) {
            let (path, response) = (unacked.path, unacked.bytes.clone());
            self.send_again(path, response);
        }
    }

    /// Answers a PRACK: with 481 where no 18x waits for it. One that brings an offer waits for the user.
    pub(super) fn on_prack(
        &mut self,
        leg: LegId,
        view: &View<'_>,
        key: ServerKey,
        reply: Reply,
        now: Instant,
    ) {
        let number = acknowledged(view);
        let body = view.body();
        let unmatched = Refusal::new(481);
        let (was_answer, offered) = match self.legs.get_mut(leg).map(|leg| &mut leg.state) {
            Some(State::Established(call)) if number.is_some() && call.overtaken == number.map(|n| n.0) => {
                call.overtaken = None;
                return self.answer(view, key, &reply, 200, self.plain_ok(&reply), now);
            }
            Some(State::Incoming(incoming)) => {
                let Incoming { reliably, cseq, .. } = &mut **incoming;
                let expected = reliably.unacked.as_ref().map(|(unacked, _)| (unacked.number, *cseq));
                match number {
                    Some(number) if expected == Some(number) => {}
                    _ => return self.answer_refusal(view, key, &reply, &unmatched, now),
                }
                let has_body = reliably.unacked.as_ref().is_some_and(|(_, has_body)| *has_body);
                (has_body, reliably.offered)
            }
            _ => return self.answer_refusal(view, key, &reply, &unmatched, now),
        };
        if let Err(refusal) = check_offer(view) {
            return self.answer_refusal(view, key, &reply, &refusal, now);
        }
        let Ok(Incoming { reliably, usage, .. }) = self.incoming_mut(leg) else { return };
        if !broken(Part::PrackStops) {
            reliably.unacked = None;
        }
        let agreed_before = usage.agreed;
        usage.agreed |= was_answer && (offered || !body.is_empty());
        let is_offer = !body.is_empty() && usage.agreed && (offered || agreed_before);
        self.arm_leg(leg);
        self.emit(Event::Pracked { leg, body: if is_offer { Vec::new() } else { body.to_vec() } });
        if is_offer && !self.is_full() {
            let asked = super::session_timer::Asked::default();
            let server = self.start_server(view, key, Kind::NonInvite, &reply);
            let answer_by = Some(now + self.timing.patience());
            let offer = Offer { server, reply, carrier: Carrier::Prack, target: None, asked, answer_by };
            if let Ok(Incoming { usage, .. }) = self.incoming_mut(leg) {
                usage.theirs = Some(Box::new(offer));
            }
            self.arm_leg(leg);
            self.emit(Event::Offer { leg, body: body.to_vec() });
        } else {
            self.answer(view, key, &reply, 200, self.plain_ok(&reply), now);
        }
        self.go_on_ringing(leg, now);
    }

    /// Sends what waited for a PRACK: the next 18x, or the 2xx.
    pub(super) fn go_on_ringing(&mut self, leg: LegId, now: Instant) {
        let Ok(Incoming { reliably, usage, .. }) = self.incoming_mut(leg) else { return };
        if reliably.unacked.is_some() || usage.theirs.is_some() {
            return;
        }
        if let Some(body) = reliably.held.take() {
            return self.accept_now(leg, body, now);
        }
        if let Some(ringing) = reliably.waiting.pop_front() {
            self.send_ringing(leg, ringing, now);
        }
    }

    fn plain_ok(&self, reply: &Reply) -> Bytes {
        self.response(reply, 200, phrase(200)).end()
    }
}

/// The RSeq and CSeq a PRACK names (RFC 3262 section 7.2).
fn acknowledged(prack: &View<'_>) -> Option<(u32, u32)> {
    let mut words = prack.header(Name::RAck)?.split_ascii_whitespace();
    let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next().map(Method::new) == Some(Method::Invite) && words.next().is_none()).then_some(numbers)
}
