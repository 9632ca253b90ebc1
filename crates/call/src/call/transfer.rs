//! One of two joined legs sends the other on to somebody else: by a call of ours (REFER, RFC 3515), or by handing over
//! a leg of another call (Replaces, RFC 3891).

use std::time::Instant;

use super::bridge::Stage;
use super::hunt::{End, Hunt};
use super::input::LegInput;
use super::output::{Leg, Output, Outputs, Progress};
use super::party::Party;
use super::{Call, NotNow, Phase};
use crate::cause::{Cause, HangupBy, because, reason};
use crate::flow::Dial;
use crate::state::State;

/// A second leg being replaced. Who waits for it is the first leg meanwhile, whatever it was before.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Who asked for it, until they hang up.
    from: Option<Party>,
    /// Whether that was the first leg.
    was_first: bool,
    /// When the time of those who were joined was up.
    until: Option<Instant>,
}

impl Transfer {
    /// Tells who asked for it how far it is.
    pub(super) fn tell(&self, status: u16, out: &mut Outputs) {
        if let Some(from) = &self.from {
            out.push(Output::TransferProgress { n: from.n, status });
        }
    }

    /// Hangs up who asked for it.
    pub(super) fn hang_up(self, cause: &Cause, out: &mut Outputs) {
        if let Some(from) = self.from {
            out.push(Output::HangUp { n: from.n, cause: cause.clone() });
        }
    }
}

impl Call {
    /// The leg `n`, joined with another one, sends that one on to somebody else. Until somebody answers, `n` may stay
    /// or hang up; if nobody does, both are joined again where `n` is still there, or else the call ends. What was
    /// left of the flow is dropped where it was run for `n`.
    ///
    /// # Errors
    /// `n` is not joined with anybody, or there is no way to call.
    pub fn transfer(&mut self, n: u32, dial: Dial, now: Instant) -> Result<(), NotNow> {
        let (first, second, until) = self.pair(n)?;
        if dial.route.attempts() == 0 {
            return Err(NotNow::NoWay);
        }
        let was_first = n == first.n;
        self.out.push(Output::Part { one: first.n, other: second.n });
        self.out.progress(Progress::Transferring { to: dial.to });
        let (from, waits) = if was_first { (first, second) } else { (second, first) };
        let transfer = Transfer { from: Some(from), was_first, until };
        transfer.tell(100, &mut self.out);
        let hunt = Hunt::new(dial.route, Leg::Second, &mut self.out, now).map_err(|_| NotNow::NoWay)?;
        self.first = waits;
        if let Phase::Bridging(bridge) = &mut self.phase {
            (bridge.longest, bridge.ringback) = (dial.max_duration, dial.ringback);
            (bridge.rang, bridge.early, bridge.joined) = (false, None, None);
            bridge.transfer = Some(transfer);
            bridge.stage = Stage::Hunting(hunt);
        }
        Ok(())
    }

    /// The leg `m`, joined with another one, hands that one over to another call: its number is returned, nothing more
    /// about it is wanted here, and this call ends as completed.
    ///
    /// # Errors
    /// `m` is not joined with anybody.
    pub fn give_away(&mut self, m: u32, now: Instant) -> Result<u32, NotNow> {
        let (first, second, _) = self.pair(m)?;
        let (stays, goes) = if m == first.n { (first, second) } else { (second, first) };
        let cause = because(reason::TRANSFERRED, stays.by);
        self.out.progress(Progress::Dialed { state: State::Completed, cause: cause.clone() });
        self.phase = Phase::Connecting;
        self.first = stays;
        self.hang_up(State::Completed, cause, now);
        Ok(goes.n)
    }

    /// The leg `n`, joined with another one, is replaced by a leg that another call gave away, which is answered. The
    /// number it has from now on is returned; tell `MediaReady` of it once it can be joined here.
    ///
    /// # Errors
    /// `n` is not joined with anybody.
    pub fn take_over(&mut self, n: u32) -> Result<u32, NotNow> {
        let (first, second, until) = self.pair(n)?;
        let new = Party::answered(self.out.leg(), HangupBy::Callee);
        self.out.push(Output::Part { one: first.n, other: second.n });
        self.out.progress(Progress::Transferred);
        self.out.push(Output::HangUp { n, cause: because(reason::TRANSFERRED, HangupBy::System) });
        let taken = new.n;
        if n == first.n {
            self.first = second;
            self.drop_flow();
        }
        if let Phase::Bridging(bridge) = &mut self.phase {
            bridge.joined = None;
            bridge.stage = Stage::Talking { second: new, until };
        }
        Ok(taken)
    }

    /// The two legs that are joined: the first one, and the other.
    ///
    /// # Errors
    /// Nobody is joined.
    pub fn joined(&self) -> Result<(u32, u32), NotNow> {
        let (first, second, _) = self.pair(self.first.n)?;
        Ok((first.n, second.n))
    }

    /// The two joined legs, of which `n` is one, and until when they may talk.
    fn pair(&self, n: u32) -> Result<(Party, Party, Option<Instant>), NotNow> {
        match &self.phase {
            Phase::Closing { .. } | Phase::Ending { .. } | Phase::Over => Err(NotNow::Ending),
            Phase::Bridging(bridge) => match &bridge.stage {
                Stage::Talking { second, until } if bridge.joined == Some(second.n) => {
                    let is_one = n == self.first.n || n == second.n;
                    let is_up = is_one && self.first.is_answered;
                    is_up.then(|| (self.first.clone(), second.clone(), *until)).ok_or(NotNow::NotJoined)
                }
                _ => Err(NotNow::NotJoined),
            },
            _ => Err(NotNow::NotJoined),
        }
    }

    /// Something happened to who asked for the transfer: only their end matters.
    pub(super) fn referrer(&mut self, n: u32, what: &LegInput) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        let Some(transfer) = &mut bridge.transfer else { return };
        let is_over = matches!(what, LegInput::Ended { .. } | LegInput::Failed(_));
        if is_over && transfer.from.take_if(|from| from.n == n).is_some() && transfer.was_first {
            self.drop_flow();
        }
    }

    /// Whoever was called answered: who asked for it is done.
    pub(super) fn transferred(&mut self) {
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        let Some(transfer) = bridge.transfer.take() else { return };
        self.out.progress(Progress::Transferred);
        transfer.tell(200, &mut self.out);
        let was_first = transfer.was_first;
        transfer.hang_up(&because(reason::TRANSFERRED, HangupBy::System), &mut self.out);
        if was_first {
            self.drop_flow();
        }
    }

    /// Nobody answered: who asked for it and who waited are joined again, or the call ends.
    pub(super) fn transfer_failed(&mut self, (state, cause): End, now: Instant) {
        self.quiet();
        let Phase::Bridging(bridge) = &mut self.phase else { return };
        let Some(transfer) = bridge.transfer.take() else { return };
        self.out.progress(Progress::TransferFailed { cause: cause.clone() });
        transfer.tell(cause.refusal(), &mut self.out);
        let Some(from) = transfer.from else {
            self.out.progress(Progress::Dialed { state, cause: cause.clone() });
            self.phase = Phase::Connecting;
            return self.hang_up(State::Completed, cause, now);
        };
        let second = match transfer.was_first {
            true => std::mem::replace(&mut self.first, from),
            false => from,
        };
        (bridge.early, bridge.joined) = (None, None);
        bridge.stage = Stage::Talking { second, until: transfer.until };
        self.join();
    }

    /// Who waited for the transfer hung up, and who asked for it is the first leg again, if it was: whether that is so.
    pub(super) fn is_left_by_waiting(&mut self) -> bool {
        let Phase::Bridging(bridge) = &mut self.phase else { return false };
        let Some(transfer) = bridge.transfer.as_mut().filter(|transfer| transfer.was_first) else {
            return false;
        };
        let Some(from) = transfer.from.take() else { return false };
        let cause = because(reason::FIRST_LEG_ENDED, HangupBy::System);
        self.out.push(Output::TransferProgress { n: from.n, status: cause.refusal() });
        self.out.progress(Progress::TransferFailed { cause: cause.clone() });
        self.quiet();
        if let Phase::Bridging(bridge) = &mut self.phase {
            bridge.transfer = None;
            if let Stage::Hunting(hunt) = &mut bridge.stage {
                hunt.hang_up(&cause, &mut self.out);
            }
        }
        self.first = from;
        true
    }

    /// The flow was run for somebody who is gone.
    fn drop_flow(&mut self) {
        self.flow.clear();
        self.inserted.clear();
        self.hold_after_flow = false;
    }
}
