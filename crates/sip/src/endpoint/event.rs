use bytes::Bytes;

use crate::message::Message;
use crate::reason::Reason;
use crate::{Asking, LegId, Path, Replaces, RequestId};

/// What the driver tells the endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// One UDP datagram. Keep-alives (CRLF) and STUN are ignored.
    Datagram {
        /// Where it came from and what to answer as.
        path: Path,
        /// The datagram.
        bytes: &'a [u8],
    },
    /// Some bytes of the TCP connection that `path.local` and `path.remote` identify, however cut.
    Stream {
        /// The connection.
        path: Path,
        /// The next bytes.
        bytes: &'a [u8],
    },
    /// One whole WebSocket message of the connection that `path.local` and `path.remote` identify (RFC 7118).
    Message {
        /// The connection.
        path: Path,
        /// The message.
        bytes: &'a [u8],
    },
    /// That connection ended. Requests on it without any response fail at once.
    Closed {
        /// The connection.
        path: Path,
    },
    /// The driver could not send or connect: every client transaction on that path fails.
    SendFailed {
        /// The path of the [`Output::Send`].
        path: Path,
        /// What went wrong, for people; may be empty.
        reason: &'a str,
    },
}

/// What the endpoint tells the driver.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send `bytes`. Over TCP and TLS the driver connects when there is no connection yet; over WebSocket it cannot.
    Send {
        /// From where to where.
        path: Path,
        /// One whole message.
        bytes: Bytes,
    },
    /// The stream holds garbage, or is one too many: close it.
    Close {
        /// The connection.
        path: Path,
    },
    /// Something happened to a leg or a request.
    Event(Event),
}

/// What happened to a leg, or to a request outside dialogs.
#[derive(Clone, Debug)]
pub enum Event {
    /// An INVITE outside a dialog or a REGISTER, where [`Config::asks`](crate::Config::asks) is set; nothing was sent
    /// or kept. [`admit`](crate::Endpoint::admit) or [`reply`](crate::Endpoint::reply), an INVITE at once; or drop it.
    Request {
        /// What to decide about.
        asking: Asking,
        /// The request.
        request: Message,
        /// Where it came from.
        path: Path,
    },
    /// A request in the dialog of a guarded leg came over another flow than the leg's; nothing was sent or kept.
    /// [`admit`](crate::Endpoint::admit) it if its sender proves who it is, else [`reply`](crate::Endpoint::reply).
    Stranger {
        /// What to decide about.
        asking: Asking,
        /// The leg whose dialog it names.
        leg: LegId,
        /// The request.
        request: Message,
        /// Where it came from.
        path: Path,
    },
    /// An INVITE outside a dialog, where [`Config::asks`](crate::Config::asks) is not set; 100 was sent.
    Incoming {
        /// The new leg.
        leg: LegId,
        /// The INVITE.
        request: Message,
        /// Where it came from.
        path: Path,
    },
    /// Our INVITE got a 100: the next hop works on it. It comes once for each INVITE sent, so again after a challenge.
    Trying {
        /// The leg.
        leg: LegId,
    },
    /// Our INVITE got a 180, 181, 182 or 183; of several phones when it was forked. One that is to be acknowledged
    /// was (RFC 3262).
    Ringing {
        /// The leg.
        leg: LegId,
        /// 180 to 183.
        status: u16,
        /// An SDP answer when there is early media, otherwise empty.
        body: Vec<u8>,
    },
    /// Our INVITE got a 2xx; the ACK was sent. Another 2xx of a forked INVITE is hung up without a word.
    Answered {
        /// The leg.
        leg: LegId,
        /// The SDP answer; empty when a reliable 18x brought it already.
        body: Vec<u8>,
    },
    /// Our INVITE came to nothing. The leg is gone.
    Failed {
        /// The leg that was.
        leg: LegId,
        /// Why.
        failure: Failure,
    },
    /// Our 200 was ACKed.
    Acked {
        /// The leg.
        leg: LegId,
        /// The SDP answer when the offer was ours, otherwise mostly empty.
        body: Vec<u8>,
    },
    /// A reliable 18x of ours was acknowledged.
    Pracked {
        /// The leg.
        leg: LegId,
        /// The SDP answer when the offer was ours, otherwise empty.
        body: Vec<u8>,
    },
    /// A re-INVITE, UPDATE or PRACK in the dialog brings an offer: reply with [`Endpoint::answer_offer`](crate::Endpoint::answer_offer).
    Offer {
        /// The leg.
        leg: LegId,
        /// The SDP offer; empty when the other side wants one from us.
        body: Vec<u8>,
    },
    /// What came of [`reinvite`](crate::Endpoint::reinvite) or [`update`](crate::Endpoint::update); glare was
    /// settled inside.
    Reoffered {
        /// The leg.
        leg: LegId,
        /// The SDP answer, or the final status, 300 to 699: then what was agreed before still holds.
        result: Result<Vec<u8>, u16>,
    },
    /// A re-INVITE that only refreshed the session timer was answered: our session is as it was, the other side's may
    /// have changed with this answer (RFC 3264 section 8).
    Refreshed {
        /// The leg.
        leg: LegId,
        /// The SDP answer, never empty.
        body: Vec<u8>,
    },
    /// The other side wants this leg to call somebody else (RFC 3515): reply with
    /// [`accept_refer`](crate::Endpoint::accept_refer) or [`reject_refer`](crate::Endpoint::reject_refer).
    Refer {
        /// The leg.
        leg: LegId,
        /// The URI to call, without a Replaces header in it.
        refer_to: String,
        /// The call that the new one takes the place of.
        replaces: Option<Replaces>,
        /// The value of Referred-By (RFC 3892).
        referred_by: Option<String>,
    },
    /// How far a [`refer`](crate::Endpoint::refer) of ours has come. 200 and above is the last word.
    ReferProgress {
        /// The leg.
        leg: LegId,
        /// The status of their call, or the one they refused the REFER with: 100 to 699.
        status: u16,
    },
    /// An INFO in the dialog; 200 was sent.
    Info {
        /// The leg.
        leg: LegId,
        /// The media type, without parameters; may be empty.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// An established or incoming leg is over, by either side. The leg is gone. After a
    /// [`hang_up`](crate::Endpoint::hang_up) it comes when the BYE or the refusal is sent.
    Ended {
        /// The leg that was.
        leg: LegId,
        /// By whom and why.
        ended: Ended,
    },
    /// What became of a [`request`](crate::Endpoint::request): its one final response, or none.
    Response {
        /// The request.
        id: RequestId,
        /// The final response, after challenges were answered; or why there is none: a time-out, or the transport.
        result: Result<Message, FailureKind>,
        /// What the transport said when it could not carry the request; else empty.
        trouble: String,
    },
    /// What [`end_saved`](crate::Endpoint::end_saved) was to end is over, or nobody answers for it.
    SavedEnded {
        /// Its Call-ID.
        call_id: String,
    },
}

/// Why our INVITE came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of end it was.
    pub kind: FailureKind,
    /// The final status, when one was received: 300 to 699.
    pub status: Option<u16>,
    /// The reason phrase of that status, or what the transport said when it failed; may be empty.
    pub phrase: String,
    /// The Reason header that came with it.
    pub reason: Option<Reason>,
    /// Retry-After, in seconds.
    pub retry_after_s: Option<u32>,
    /// Where a 3xx points to instead: URIs, the most wanted first, eight at most.
    pub contacts: Vec<String>,
    /// Whether any 101 to 199 was seen: somebody's phone may have rung.
    pub provisional: bool,
    /// Whether anything may have reached the other side.
    pub sent: bool,
    /// Whether the other side asked for credentials.
    pub challenged: bool,
}

/// What kind of end an INVITE came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// The other side refused.
    Status,
    /// The other side never answered (timer B).
    Timeout,
    /// The transport could not carry it.
    Transport,
    /// We hung up.
    Canceled,
}

/// How a leg ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// By whom.
    pub by: By,
    /// The Reason header of the other side's BYE or CANCEL, or the reason given to `hang_up`.
    pub reason: Option<Reason>,
}

/// Who or what ended a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The other side's BYE.
    Remote,
    /// Our own hang-up or refusal.
    Local,
    /// Nobody acknowledged our 200, or our reliable 18x.
    NoAck,
    /// The other side is gone: it knows the call no longer, or the session timer ran out (RFC 4028).
    Lost,
    /// The caller's CANCEL.
    Canceled,
}
