//! DTMF as RTP events (RFC 4733).

/// Why digits cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtmfError {
    /// Not one of `0`-`9`, `*`, `#`, `A`-`D`, `w`.
    #[error("{0:?} is no DTMF digit: use 0-9, *, #, A-D, or w for half a second of pause")]
    NotADigit(char),
    /// The other side did not offer or accept `telephone-event`.
    #[error("the other side takes no DTMF over RTP (no telephone-event in its SDP)")]
    NotNegotiated,
}
