//! A call's insight as one compact text: JSON, deflated, in base64, so that any database keeps it.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde::{Deserialize, Serialize};

use super::{Leg, Message, Reel, Sound};
use crate::id::Id;

/// How hard to press, 0 to 10: SIP repeats itself so much that more brings little.
const LEVEL: i32 = 1;
/// The most that is unpacked, in bytes: more legs than a call may have, each as large as it may be.
const MOST: usize = 4 * 1024 * 1024;

/// What is kept. A message of SIP is text mostly, but need not be: each byte is one character.
#[derive(Serialize, Deserialize)]
struct Packed {
    legs: Vec<PackedLeg>,
    sound: Vec<Sound>,
}

#[derive(Serialize, Deserialize)]
struct PackedLeg {
    call_id: String,
    role: String,
    party: String,
    left_out: u32,
    ways: Vec<(String, SocketAddr, SocketAddr)>,
    messages: Vec<PackedMessage>,
}

/// When, by which of the ways, sent or not, how often again and when, its whole length, and the message.
#[derive(Serialize, Deserialize)]
struct PackedMessage(i64, usize, bool, u32, Vec<i64>, usize, String);

/// What deflates; made once, for its tables are large.
pub(super) struct Packer(Box<CompressorOxide>);

impl Packer {
    pub(super) fn new() -> Self {
        // Raw deflate, without a header.
        Self(Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, 0, 0))))
    }

    /// Packs all but the names of call and account, which stand beside it.
    pub(super) fn pack(&mut self, reel: &Reel) -> String {
        let packed = Packed { legs: reel.legs.iter().map(pack_leg).collect(), sound: reel.sound.clone() };
        // Maps with keys of text and plain values are always JSON.
        let json = serde_json::to_vec(&packed).unwrap_or_default();
        let mut deflated = Vec::with_capacity(json.len() / 4);
        self.0.reset();
        compress_to_output(&mut self.0, &json, TDEFLFlush::Finish, |piece| {
            deflated.extend_from_slice(piece);
            true
        });
        BASE64.encode(deflated)
    }
}

/// What a [`Packer`] made; `None` where it is anything else.
pub(super) fn unpack(call: Id, account: i64, text: &str) -> Option<Reel> {
    let deflated = BASE64.decode(text).ok()?;
    let json = decompress_to_vec_with_limit(&deflated, MOST).ok()?;
    let packed: Packed = serde_json::from_slice(&json).ok()?;
    let legs = packed.legs.into_iter().map(unpack_leg).collect::<Option<_>>()?;
    Some(Reel { call, account, legs, sound: packed.sound })
}

fn pack_leg(leg: &Leg) -> PackedLeg {
    let mut ways = Vec::new();
    let message = |message: &Message| {
        let way = (message.transport.param().to_owned(), message.local, message.remote);
        let at = ways.iter().position(|known| *known == way).unwrap_or_else(|| {
            ways.push(way);
            ways.len() - 1
        });
        let text = match std::str::from_utf8(&message.bytes) {
            Ok(ascii) if ascii.is_ascii() => ascii.to_owned(),
            _ => message.bytes.iter().copied().map(char::from).collect(),
        };
        let again = message.again.clone();
        PackedMessage(message.at, at, message.sent, message.repeats, again, message.length, text)
    };
    let messages = leg.messages.iter().map(message).collect();
    PackedLeg {
        call_id: leg.call_id.clone(),
        role: leg.role.clone(),
        party: leg.party.clone(),
        left_out: leg.left_out,
        messages,
        ways,
    }
}

fn unpack_leg(leg: PackedLeg) -> Option<Leg> {
    let message = |PackedMessage(at, way, sent, repeats, again, length, text)| {
        let (transport, local, remote) = leg.ways.get(way)?;
        let transport = sip::Transport::of_param(transport)?;
        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<_>>>()?;
        let (local, remote) = (*local, *remote);
        Some(Message { at, again, repeats, sent, transport, local, remote, bytes: bytes.into(), length })
    };
    let messages = leg.messages.into_iter().map(message).collect::<Option<_>>()?;
    Some(Leg { call_id: leg.call_id, role: leg.role, party: leg.party, messages, left_out: leg.left_out })
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec;

    use super::super::testing::Script;
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_whole() {
        let mut leg = Script::answered().leg("first", "acme");
        leg.messages[0].bytes = (0..=255).collect::<Vec<u8>>().into();
        leg.messages[0].again = vec![5, 6];
        let sound =
            vec![Sound { leg: "first".into(), sent: 412, source: Some("a".into()), ..Sound::default() }];
        let call = Id::from_bytes([7; 12]);
        let reel = Reel { call, account: 3, legs: vec![leg.clone(), leg], sound };
        let mut packer = Packer::new();
        for _ in 0..3 {
            assert_eq!(unpack(call, 3, &packer.pack(&reel)).as_ref(), Some(&reel));
        }
    }

    #[test]
    fn it_is_small() {
        let leg = Script::answered().leg("first", "acme");
        let plain: usize = leg.messages.iter().map(|message| message.bytes.len()).sum();
        let reel = Reel { call: Id::NIL, account: 0, legs: vec![leg], sound: Vec::new() };
        let text = Packer::new().pack(&reel);
        assert!(text.len() * 3 < plain, "{} of {plain}", text.len());
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "x", "AAAA", "////"] {
            assert_eq!(unpack(Id::NIL, 0, text), None, "{text}");
        }
        let bomb = BASE64.encode(compress_to_vec(&vec![b' '; MOST + 1], 9));
        assert_eq!(unpack(Id::NIL, 0, &bomb), None);
    }
}
