//! What a leg's media was like: counters, jitter, an estimate of how it sounded.

/// The state of a leg's media so far.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Stats {
    /// RTP packets we sent.
    pub packets_sent: u64,
    /// Payload bytes we sent (without RTP headers).
    pub octets_sent: u64,
    /// Valid RTP packets that came from the right source, duplicates included.
    pub packets_received: u64,
    /// Payload bytes in them.
    pub octets_received: u64,
    /// Packets that never came: expected less received (RFC 3550 A.3), duplicates not counted as received.
    pub lost: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Packets from a source we do not listen to.
    pub foreign: u64,
    /// Packets that were no RTP, or of a payload type that was not agreed on.
    pub invalid: u64,
    /// Interarrival jitter now, in ms (RFC 3550 A.8).
    pub jitter_ms: f32,
    /// The largest it has been, in ms.
    pub max_jitter_ms: f32,
    /// Time to them and back, in ms, from LSR and DLSR of their reports (RFC 3550 6.4.1).
    pub round_trip_ms: Option<f32>,
    /// The fraction of our packets they lost in their last interval, in 1/256.
    pub remote_lost: Option<u8>,
    /// The jitter they measured last, in ms.
    pub remote_jitter_ms: Option<f32>,
    /// Estimated mean opinion score of what we received, 1 to 4.5; 0 while there is nothing to judge.
    pub mos: f32,
    /// Recorded frames (1/8000 s) dropped because nobody took them out in time.
    pub unrecorded: u64,
}

/// Estimated mean opinion score.
pub fn mos(_loss: f32, _delay_ms: f32) -> f32 {
    todo!()
}
