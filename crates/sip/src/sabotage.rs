//! Breaks one part at a time, so that tests can show that each is missed. Outside tests nothing is ever broken and
//! the question costs nothing.

/// A timer, a retransmission or a step of a state machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// An INVITE is sent again (timer A).
    TimerA,
    /// An INVITE without any response ends (timer B).
    TimerB,
    /// A refused INVITE is forgotten (timer D).
    TimerD,
    /// Another request is sent again (timer E).
    TimerE,
    /// Another request without final response ends (timer F).
    TimerF,
    /// A refusal of an INVITE is sent again (timer G).
    TimerG,
    /// A refusal nobody acknowledges is forgotten (timer H).
    TimerH,
    /// An acknowledged refusal is forgotten (timer I).
    TimerI,
    /// An answered request is forgotten (timer J).
    TimerJ,
    /// A request that got its answer is forgotten (timer K).
    TimerK,
    /// An INVITE that was accepted is forgotten (timer L).
    TimerL,
    /// An INVITE of ours that was accepted is forgotten (timer M).
    TimerM,
    /// A provisional response stops timers A and B.
    Proceeding,
    /// A request that comes again is answered again.
    AnswerAgain,
    /// A refusal that comes again is acknowledged again.
    AckRefusalAgain,
    /// A 2xx that comes again is acknowledged again.
    AckAnswerAgain,
    /// The ACK of a refusal stops it.
    AckStopsRefusal,
    /// The ACK of a 2xx stops it.
    AckStopsAnswer,
    /// A 2xx to INVITE is sent again until it is acknowledged.
    AnswerRepeats,
    /// A call whose 2xx nobody acknowledges ends.
    AnswerGivesUp,
    /// A CANCEL waits for a provisional response, and is sent then.
    CancelWaits,
    /// A cancelled INVITE without final response ends.
    CancelGivesUp,
    /// A 2xx that crosses a CANCEL is hung up.
    CrossingBye,
    /// What another branch of a fork answers is hung up.
    ForkBye,
    /// A BYE of the caller's waits for no ACK, one of the callee's does.
    ByeWaits,
    /// A reliable 18x is acknowledged.
    Prack,
    /// A reliable 18x that comes again is not told again.
    PrackOnce,
    /// A reliable 18x is sent again until it is acknowledged.
    ReliableRepeats,
    /// A call whose reliable 18x nobody acknowledges ends.
    ReliableGivesUp,
    /// A PRACK stops its 18x.
    PrackStops,
    /// A 2xx waits for the PRACK of an answer.
    AnswerHeld,
    /// An offer that meets one of ours is refused.
    Glare,
    /// An offer that was refused for that is made again.
    GlareRetry,
    /// An offer that came too early is made again.
    TooEarlyRetry,
    /// A re-INVITE nobody answers is cancelled.
    ReinviteGivesUp,
    /// A re-INVITE still open when its call ends is given up.
    ReinviteLeft,
    /// A request with an old CSeq is refused.
    CSeqOrder,
    /// The session is refreshed.
    Refresh,
    /// A session that was refreshed starts anew.
    Refreshed,
    /// A session nobody refreshes ends.
    SessionExpires,
    /// Too short a session is asked for again, longer.
    MinSe,
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Part>> = const { std::cell::Cell::new(None) };
}

/// Whether a part does not work.
#[cfg(test)]
pub fn broken(part: Part) -> bool {
    BROKEN.get() == Some(part)
}

/// Whether a part does not work: never outside tests.
#[cfg(not(test))]
#[inline(always)]
pub const fn broken(_: Part) -> bool {
    false
}

/// Breaks a part in this thread, or mends all.
#[cfg(test)]
pub fn sabotage(part: Option<Part>) {
    BROKEN.set(part);
}
