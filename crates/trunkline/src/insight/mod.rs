//! Call insight: what was said on a call's SIP legs and what its sound was like, as a ladder, as a capture file, and
//! in plain words why it failed.
//!
//! While a call lasts the [`Tap`] at the signalling sockets keeps its messages as they are: nothing is parsed but the
//! Call-ID. Once it is over the [`Keeper`] masks, packs and stores them, beside the call's way. [`ladder`], [`pcap`] and
//! [`why`] read what was kept.

mod keeper;
pub mod ladder;
mod mask;
mod pack;
pub mod pcap;
mod sdp;
mod tap;
mod tape;
#[cfg(test)]
mod testing;
mod text;
pub mod why;

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use keeper::{Keeper, Which};
pub use ladder::Ladder;
pub use tap::{Ending, Tap};
pub use tape::MOST_BYTES;
pub use why::{Evidence, Outcome, Why};

use crate::id::Id;

/// All that is known of one call's signalling and sound. Secrets in it are masked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reel {
    /// The call.
    pub call: Id,
    /// Whose it is.
    pub account: i64,
    /// Its legs, in the order in which they began.
    pub legs: Vec<Leg>,
    /// What was heard and sent, by leg.
    pub sound: Vec<Sound>,
}

/// The same as it stood on the wire, passwords' digests and media keys included: for nobody's eyes before
/// [`Unmasked::mask`].
pub struct Unmasked(Reel);

impl Unmasked {
    /// Puts an x in the place of each byte of a secret.
    pub fn mask(mut self) -> Reel {
        for message in self.0.legs.iter_mut().flat_map(|leg| &mut leg.messages) {
            if let Some(masked) = mask::mask(&message.bytes) {
                message.bytes = masked.into();
            }
        }
        self.0
    }
}

/// One SIP leg.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    /// Its Call-ID.
    pub call_id: String,
    /// `first`, `second`: which leg of the call it is or was tried for.
    pub role: String,
    /// Who is at the other end: a trunk's name, a user's; may be empty.
    pub party: String,
    /// What was said, in order.
    pub messages: Vec<Message>,
    /// How many messages were not kept.
    pub left_out: u32,
}

/// A message of a leg. Times are Unix microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// When it went or came first.
    pub at: i64,
    /// When it was repeated, the first times.
    pub again: Vec<i64>,
    /// How often it was repeated.
    pub repeats: u32,
    /// Whether we sent it.
    pub sent: bool,
    /// How it was carried.
    pub transport: sip::Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// The message, or the beginning of one that was too long.
    pub bytes: Bytes,
    /// How long it was, in bytes.
    pub length: usize,
}

impl Message {
    /// The message, if it can be read.
    fn read(&self) -> Option<sip::Message> {
        sip::Message::parse(self.bytes.clone()).ok()
    }

    /// Whether its body is missing.
    fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }
}

/// What one leg sounded like, counted in RTP packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "leg": "first", "sent": 412, "received": 0, "lost": 0, "foreign": 0, "undecryptable": 0, "invalid": 0,
    "unheard": false, "source": null,
}))]
pub struct Sound {
    /// Which leg: `first` or `second`.
    pub leg: String,
    /// Packets we sent.
    pub sent: u64,
    /// Packets that came and were right.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets from an address that was not theirs.
    pub foreign: u64,
    /// Packets that were not encrypted with the keys agreed on.
    pub undecryptable: u64,
    /// Packets that were no RTP of a codec agreed on.
    pub invalid: u64,
    /// Whether they report that nothing of ours arrived.
    pub unheard: bool,
    /// Where theirs came from.
    pub source: Option<String>,
}

impl Sound {
    /// What the counters of a leg's session say.
    pub fn of(leg: &str, stats: &media::Stats) -> Self {
        Self {
            leg: leg.to_owned(),
            sent: stats.packets_sent,
            received: stats.packets_received,
            lost: stats.lost,
            foreign: stats.foreign,
            undecryptable: stats.unauthentic,
            invalid: stats.invalid,
            unheard: stats.one_way() == Some(media::OneWay::NothingArrived),
            source: stats.source.map(|source| source.to_string()),
        }
    }

    /// Whether sound went one way only, over at least a second.
    pub fn is_one_way(&self) -> bool {
        self.sent >= why::A_SECOND && (self.received == 0 || self.unheard)
    }
}
