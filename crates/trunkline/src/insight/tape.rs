//! What is kept of one leg's signalling: the beginning whole, and the newest of the rest.

use std::time::Instant;

use bytes::Bytes;
use sip::Path;

use super::{Leg, Message};

/// Bytes of memory that a leg's tape may take, as it counts them.
pub const MOST_BYTES: usize = 16 * 1024;
/// Of those, what the beginning of the dialog may have for good: what follows pushes out its like, never this.
const SETUP: usize = MOST_BYTES / 2;
/// A message above this is kept without its body.
const MOST_MESSAGE: usize = 6 * 1024;
/// What a note costs beside its message.
const OVERHEAD: usize = size_of::<Note>();
/// Times of retransmissions that are kept; further ones are counted.
const MOST_TIMES: usize = 12;
/// Different pairs of addresses on one tape.
const MOST_PATHS: usize = 8;
/// The last messages among which a repeated one is looked for.
const RECENT: usize = 12;

/// The messages of one Call-ID.
#[derive(Debug, Default)]
pub(super) struct Tape {
    paths: Vec<Path>,
    notes: Vec<Note>,
    bytes: usize,
    /// How many notes belong to the beginning.
    setup: usize,
    left_out: u32,
    /// Whether a call has asked for it.
    pub(super) held: bool,
    role: &'static str,
    party: String,
}

/// One message, however often it was sent.
#[derive(Debug)]
struct Note {
    at: Instant,
    bytes: Bytes,
    /// Its whole length, in bytes.
    length: usize,
    path: u8,
    sent: bool,
    repeats: u32,
    again: Vec<Instant>,
}

impl Note {
    fn cost(&self) -> usize {
        OVERHEAD + self.bytes.len()
    }
}

impl Tape {
    pub(super) fn name(&mut self, role: &'static str, party: &str) {
        self.held = true;
        self.role = role;
        party.clone_into(&mut self.party);
    }

    /// Takes down a message; `shared` are the same bytes where somebody else keeps them anyway.
    pub(super) fn push(
        &mut self,
        path: &Path,
        sent: bool,
        bytes: &[u8],
        shared: Option<&Bytes>,
        now: Instant,
    ) {
        let mut recent = self.notes.iter_mut().rev().take(RECENT);
        if let Some(same) =
            recent.find(|note| note.sent == sent && note.length == bytes.len() && is_same(note, bytes))
        {
            same.repeats = same.repeats.saturating_add(1);
            if same.again.len() < MOST_TIMES {
                same.again.push(now);
            }
            return;
        }
        let Some(path) = self.path(path) else {
            self.left_out = self.left_out.saturating_add(1);
            return;
        };
        let kept = match shared {
            Some(shared) if bytes.len() <= MOST_MESSAGE => shared.clone(),
            _ => Bytes::copy_from_slice(shortened(bytes)),
        };
        let length = bytes.len();
        let note = Note { at: now, bytes: kept, length, path, sent, repeats: 0, again: Vec::new() };
        self.make_room(note.cost());
        self.bytes += note.cost();
        if self.setup == self.notes.len() && self.bytes <= SETUP && self.left_out == 0 {
            self.setup += 1;
        }
        self.notes.push(note);
    }

    /// Drops the oldest after the beginning. There is always enough: a message takes less than the other half.
    fn make_room(&mut self, cost: usize) {
        while self.bytes + cost > MOST_BYTES && self.setup < self.notes.len() {
            self.bytes -= self.notes.remove(self.setup).cost();
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn path(&mut self, path: &Path) -> Option<u8> {
        let known = self.paths.iter().position(|known| known == path);
        let at = known.or_else(|| {
            (self.paths.len() < MOST_PATHS).then(|| {
                self.paths.push(*path);
                self.paths.len() - 1
            })
        })?;
        u8::try_from(at).ok()
    }

    /// What is on it, with times of the wall: `wall` gives Unix microseconds.
    pub(super) fn leg(&self, call_id: &str, wall: impl Fn(Instant) -> i64) -> Leg {
        let message = |note: &Note| {
            let path = self.paths.get(usize::from(note.path))?;
            Some(Message {
                at: wall(note.at),
                again: note.again.iter().map(|at| wall(*at)).collect(),
                repeats: note.repeats,
                sent: note.sent,
                transport: path.transport,
                local: path.local,
                remote: path.remote,
                bytes: note.bytes.clone(),
                length: note.length,
            })
        };
        Leg {
            call_id: call_id.to_owned(),
            role: self.role.to_owned(),
            party: self.party.clone(),
            messages: self.notes.iter().filter_map(message).collect(),
            left_out: self.left_out,
        }
    }
}

fn is_same(note: &Note, bytes: &[u8]) -> bool {
    match note.bytes.len() == note.length {
        true => note.bytes == bytes,
        // Without its body: the head names the transaction.
        false => bytes.starts_with(&note.bytes),
    }
}

/// The head of a message that is too long, or the first of that.
fn shortened(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= MOST_MESSAGE {
        return bytes;
    }
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(MOST_MESSAGE, |at| at + 4);
    bytes.get(..head.min(MOST_MESSAGE)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn path(port: u16) -> Path {
        Path::new(sip::Transport::Udp, "192.0.2.1:5060".parse().unwrap(), ([192, 0, 2, 9], port).into())
    }

    fn message(method: &str, n: usize, body: usize) -> Vec<u8> {
        format!("{method} sip:a SIP/2.0\r\nCSeq: {n} {method}\r\n\r\n{}", "b".repeat(body)).into_bytes()
    }

    fn read(tape: &Tape, start: Instant) -> Leg {
        tape.leg("a", |at| i64::try_from(at.duration_since(start).as_micros()).unwrap())
    }

    #[test]
    fn what_is_sent_again_is_counted_with_its_times() {
        let start = Instant::now();
        let mut tape = Tape::default();
        let invite = message("INVITE", 1, 100);
        for ms in [0, 500, 1500] {
            tape.push(&path(5060), true, &invite, None, start + Duration::from_millis(ms));
        }
        // The same bytes the other way are another message.
        tape.push(&path(5060), false, &invite, None, start + Duration::from_millis(1600));
        let leg = read(&tape, start);
        let seen: Vec<_> = leg.messages.iter().map(|m| (m.sent, m.at, m.repeats, m.again.clone())).collect();
        assert_eq!(seen, [(true, 0, 2, vec![500_000, 1_500_000]), (false, 1_600_000, 0, vec![])]);
    }

    #[test]
    fn a_long_call_keeps_its_beginning_and_its_end() {
        let start = Instant::now();
        let mut tape = Tape::default();
        for n in 0..500 {
            tape.push(&path(5060), n % 2 == 0, &message("INFO", n, 300), None, start);
        }
        tape.push(&path(5060), false, &message("BYE", 501, 0), None, start);
        let leg = read(&tape, start);
        let numbers: Vec<_> =
            leg.messages.iter().map(|m| String::from_utf8_lossy(&m.bytes).into_owned()).collect();
        assert!(numbers[0].contains("CSeq: 0 INFO") && numbers[1].contains("CSeq: 1 INFO"));
        assert!(numbers.last().unwrap().starts_with("BYE"));
        assert_eq!(leg.messages.len() + leg.left_out as usize, 501);
        assert!(tape.bytes <= MOST_BYTES);
    }

    #[test]
    fn a_message_that_is_too_long_loses_its_body() {
        let start = Instant::now();
        let mut tape = Tape::default();
        let long = message("INVITE", 1, 20_000);
        tape.push(&path(5060), false, &long, Some(&Bytes::from(long.clone())), start);
        tape.push(&path(5060), false, &long, None, start);
        let leg = read(&tape, start);
        assert_eq!(leg.messages.len(), 1);
        let message = &leg.messages[0];
        assert_eq!((message.length, message.repeats), (long.len(), 1));
        assert!(message.bytes.ends_with(b"CSeq: 1 INVITE\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn whatever_comes_a_tape_stays_small(
            messages in prop::collection::vec((0..40_usize, 0..9000_usize, any::<bool>(), 1..20_u16), 1..200),
        ) {
            let now = Instant::now();
            let mut tape = Tape::default();
            for (n, body, sent, port) in &messages {
                tape.push(&path(*port), *sent, &message("INFO", *n, *body), None, now);
            }
            let leg = read(&tape, now);
            let cost: usize = tape.notes.iter().map(Note::cost).sum();
            prop_assert_eq!(cost, tape.bytes);
            prop_assert!(cost <= MOST_BYTES);
            let told: usize = leg.messages.iter().map(|m| 1 + m.repeats as usize).sum();
            prop_assert!(told + leg.left_out as usize <= messages.len());
        }
    }
}
