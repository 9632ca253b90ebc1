//! The words of each reason a call ends for.

/// A reason without the particulars of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    /// Its stable key.
    pub code: &'static str,
    /// The Q.850 cause it stands for; `None` where the SIP status decides.
    pub q850: Option<u8>,
    /// What happened.
    pub text: &'static str,
    /// What to try.
    pub hint: Option<&'static str>,
}

const fn reason(
    code: &'static str,
    q850: Option<u8>,
    text: &'static str,
    hint: Option<&'static str>,
) -> Reason {
    Reason { code, q850, text, hint }
}

// What a carrier or callee answered; their Q.850 comes from the status.
pub(crate) const AMBIGUOUS: Reason = reason(
    "ambiguous",
    None,
    "The number matches more than one destination.",
    Some("Give the whole number with its country code."),
);
pub(crate) const BLOCKED_BY_NETWORK: Reason = reason(
    "blocked_by_network",
    None,
    "A network blocked the call before it reached the callee.",
    Some("Register the caller ID with the analytics companies of the callee's country, or use another one."),
);
pub(crate) const BUSY: Reason = reason("busy", Some(17), "The line is busy.", Some("Call again later."));
pub(crate) const CANCELED: Reason =
    reason("canceled", Some(16), "The call was ended before it was answered.", None);
pub(crate) const CARRIER_AUTH: Reason = reason(
    "carrier_auth",
    None,
    "The carrier refused the trunk's credentials.",
    Some("Check the trunk's username, password and domain with the carrier."),
);
pub(crate) const CARRIER_AUTH_MISSING: Reason = reason(
    "carrier_auth",
    None,
    "The carrier asks for credentials and the trunk has none.",
    Some("Set the trunk's username and password."),
);
pub(crate) const CARRIER_CONGESTION: Reason = reason(
    "carrier_congestion",
    None,
    "The carrier has no free line at the moment.",
    Some("Call again later, or add a second trunk."),
);
pub(crate) const CARRIER_ERROR: Reason = reason(
    "carrier_error",
    None,
    "The carrier reported an error of its own.",
    Some("Call again; if it persists, ask the carrier with the status shown."),
);
pub(crate) const CARRIER_FORBIDDEN: Reason = reason(
    "carrier_forbidden",
    None,
    "The carrier does not allow this call.",
    Some(
        "Check with the carrier that the caller ID is yours, the country is enabled and no limit is reached.",
    ),
);
pub(crate) const CARRIER_PAYMENT: Reason = reason(
    "carrier_payment",
    None,
    "The carrier account has no credit.",
    Some("Top up the account at the carrier."),
);
pub(crate) const CARRIER_TIMEOUT: Reason = reason(
    "carrier_timeout",
    None,
    "The carrier waited in vain for the network behind it.",
    Some("Call again later, or add a second trunk."),
);
pub(crate) const DECLINED: Reason = reason("declined", None, "The call was declined.", None);
pub(crate) const DESTINATION_OUT_OF_ORDER: Reason = reason(
    "destination_out_of_order",
    None,
    "The callee's line or network is out of order.",
    Some("Call again later."),
);
pub(crate) const INVALID_NUMBER: Reason = reason(
    "invalid_number",
    None,
    "The number is incomplete or not written as the carrier wants it.",
    Some("Check the number and the trunk's number form."),
);
pub(crate) const MEDIA_INCOMPATIBLE: Reason = reason(
    "media_incompatible",
    None,
    "There is no audio codec or encryption that both sides know.",
    Some(
        "Compare the trunk's codecs and srtp with what the other side allows; G.711 without encryption suits most.",
    ),
);
pub(crate) const NO_RESPONSE: Reason = reason(
    "no_response",
    None,
    "The other side did not respond.",
    Some("Check the trunk's host, port and transport, and that a firewall lets SIP through."),
);
pub(crate) const NOT_SUPPORTED: Reason = reason(
    "not_supported",
    None,
    "The other side does not support this kind of call.",
    Some("Ask the carrier whether the trunk may place voice calls."),
);
pub(crate) const NUMBER_CHANGED: Reason = reason(
    "number_changed",
    None,
    "The number has changed or is no longer in service.",
    Some("Find the new number."),
);
pub(crate) const PROTOCOL_ERROR: Reason = reason(
    "protocol_error",
    None,
    "The other side could not make sense of our request.",
    Some("Check the trunk's domain and transport; if they are right, report this with the SIP messages."),
);
pub(crate) const REDIRECTED: Reason = reason(
    "redirected",
    None,
    "The other side redirects the call elsewhere, which is not followed.",
    Some("Call the new address itself."),
);
pub(crate) const ROUTING_LOOP: Reason = reason(
    "routing_loop",
    None,
    "The call went in circles between servers.",
    Some("Check that the trunk's host is the carrier and not this server."),
);
pub(crate) const STIR_SHAKEN: Reason = reason(
    "stir_shaken",
    None,
    "The caller ID's signature was refused or is missing.",
    Some("Use a caller ID that the carrier signs for you."),
);
pub(crate) const UNALLOCATED_NUMBER: Reason = reason(
    "unallocated_number",
    None,
    "This number does not exist.",
    Some("Check the number and the trunk's number form."),
);
pub(crate) const UNAVAILABLE: Reason =
    reason("unavailable", None, "The callee cannot be reached at the moment.", Some("Call again later."));
pub(crate) const UNWANTED: Reason =
    reason("unwanted", None, "The callee blocks calls from this caller.", None);

// What happened on our side.
pub(crate) const CARRIER_TLS: Reason = reason(
    "carrier_tls",
    Some(38),
    "No encrypted connection to the carrier could be made.",
    Some(
        "Check that the trunk's host is the name in the carrier's certificate, and its port for TLS (mostly 5061).",
    ),
);
pub(crate) const CARRIER_UNREACHABLE: Reason = reason(
    "carrier_unreachable",
    Some(38),
    "No connection to the carrier could be made.",
    Some("Check the trunk's host, port and transport, and the firewall."),
);
pub(crate) const CARRIER_UNRESOLVED: Reason = reason(
    "carrier_unresolved",
    Some(38),
    "The carrier's host name could not be resolved.",
    Some("Check the spelling of the trunk's host and the machine's DNS."),
);
pub(crate) const COMPLETED_ELSEWHERE: Reason =
    reason("completed_elsewhere", None, "The call was answered elsewhere.", None);
pub(crate) const CONNECTION_LOST: Reason = reason(
    "connection_lost",
    Some(41),
    "The connection to the other side was lost during the call.",
    Some("Check the network between this server and the carrier."),
);
pub(crate) const FIRST_LEG_ENDED: Reason =
    reason("first_leg_ended", Some(16), "The call it belonged to had ended.", None);
pub(crate) const FLOW_DONE: Reason =
    reason("flow_done", Some(16), "Everything was said and played, and the call was ended.", None);
pub(crate) const LEG_LOST: Reason =
    reason("leg_lost", Some(41), "The call broke off before it was answered.", Some("Call again."));
pub(crate) const MAX_DURATION: Reason = reason(
    "max_duration",
    Some(16),
    "The call reached its longest duration.",
    Some("Raise the longest duration if calls may last longer."),
);
pub(crate) const MEDIA_FAILED: Reason = reason(
    "media_failed",
    Some(41),
    "The sound of the call could not be sent or received.",
    Some(
        "Check that the other side speaks G.711 (PCMU, PCMA), and that rtp_ports are free and open in the firewall.",
    ),
);
pub(crate) const NO_ACK: Reason = reason(
    "no_ack",
    Some(102),
    "The other side answered but never confirmed it.",
    Some("Check that the advertised SIP address can be reached from the other side."),
);
pub(crate) const NO_ANSWER: Reason =
    reason("no_answer", Some(19), "Nobody answered.", Some("Call again later, or let it ring longer."));
pub(crate) const NO_ATTEMPT: Reason = reason(
    "no_attempt",
    Some(3),
    "There was no way to place this call.",
    Some("Add a trunk, or enable one."),
);
pub(crate) const NORMAL: Reason = reason("normal", Some(16), "The other side hung up.", None);
pub(crate) const HANGUP: Reason = reason("hangup", Some(16), "The call was ended by request.", None);
pub(crate) const PACED_OUT: Reason = reason(
    "paced_out",
    Some(42),
    "The call waited too long for its turn on the trunk.",
    Some("Place fewer calls a second, or raise the trunk's calls_per_second or queue_s."),
);
pub(crate) const REJECTED: Reason = reason("rejected", None, "The call was refused as its flow says.", None);
pub(crate) const RTP_SILENCE: Reason = reason(
    "rtp_silence",
    Some(16),
    "No audio came from the other side.",
    Some("Check that the advertised RTP address and ports can be reached from outside."),
);
pub(crate) const SESSION_EXPIRED: Reason = reason(
    "session_expired",
    Some(102),
    "The other side no longer confirmed that the call is up (session timer).",
    Some("Check the network between this server and the carrier, or switch the trunk's session timer off."),
);
pub(crate) const SHUTDOWN: Reason =
    reason("shutdown", Some(41), "The server was shut down during the call.", Some("Call again."));
pub(crate) const STOPPED: Reason = reason("stopped", Some(16), "It was stopped by request.", None);
pub(crate) const TRUNK_FULL: Reason = reason(
    "trunk_full",
    Some(34),
    "All channels of the trunk are in use.",
    Some("Call again when a call has ended, raise the trunk's channels, or add a second trunk."),
);
pub(crate) const TRANSFERRED: Reason =
    reason("transferred", Some(16), "The other side was transferred to somebody else.", None);
pub(crate) const UNANSWERED: Reason = reason(
    "unanswered",
    Some(19),
    "There was nobody to ring: no phone of whom the call leads to is registered, or its webhook said nothing.",
    Some("Register a phone of that user, or let voicemail follow in the number's route."),
);
