//! The tap at the signalling sockets: every message passes, those of calls stay on tape.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Frame, Framer, Input, Path};

use super::tape::Tape;
use super::why::why;
use super::{Evidence, Keeper, Outcome, Reel, Sound, Unmasked, Why};
use crate::id::Id;
use crate::time::now_ms;

/// How long after a call its tapes run on, for what ends it on the wire.
const TAIL: Duration = Duration::from_secs(1);
/// Tapes of dialogs that no call has asked for: the oldest go first.
const MOST_UNHELD: usize = 256;
/// Legs of one call that are kept: a hunt may try many.
const MOST_LEGS: usize = 16;
/// Connections whose bytes are put together.
const MOST_STREAMS: usize = 16_384;
/// The longest message of a stream that is followed.
const MOST_MESSAGE: usize = 64 * 1024;

/// Tapes of the dialogs that go on, by Call-ID. Owned by the loop that owns the sockets.
pub struct Tap {
    tapes: HashMap<Box<[u8]>, Tape>,
    /// In the order in which they began; some are held meanwhile.
    unheld: VecDeque<Box<[u8]>>,
    calls: HashMap<Id, Vec<Box<[u8]>>>,
    /// Tapes that calls may hold.
    most: usize,
    held: usize,
    streams: HashMap<Path, Framer>,
    ending: VecDeque<(Instant, Ending)>,
    keeper: Keeper,
}

/// What is known of a call once it is over.
pub struct Ending {
    /// The call.
    pub call: Id,
    /// Whose it is.
    pub account: i64,
    /// Whether it did not go as it should.
    pub failed: bool,
    /// What its legs sounded like.
    pub sound: Vec<Sound>,
}

impl Tap {
    /// A tap for so many legs at once, whose calls go to `keeper`.
    pub fn new(most: usize, keeper: Keeper) -> Self {
        Self {
            tapes: HashMap::new(),
            unheld: VecDeque::new(),
            calls: HashMap::new(),
            most,
            held: 0,
            streams: HashMap::new(),
            ending: VecDeque::new(),
            keeper,
        }
    }

    /// What the endpoint is told.
    pub fn input(&mut self, input: &Input<'_>, now: Instant) {
        match *input {
            Input::Datagram { path, bytes } | Input::Message { path, bytes } => {
                self.pass(&path, false, bytes.trim_ascii_start(), None, now);
            }
            Input::Stream { path, bytes } => self.stream(path, bytes, now),
            Input::Closed { path } => drop(self.streams.remove(&path)),
            Input::SendFailed { .. } => {}
        }
    }

    /// What the endpoint sends.
    pub fn sent(&mut self, path: &Path, bytes: &Bytes, now: Instant) {
        self.pass(path, true, bytes, Some(bytes), now);
    }

    fn stream(&mut self, path: Path, bytes: &[u8], now: Instant) {
        if !self.streams.contains_key(&path) && self.streams.len() >= MOST_STREAMS {
            return;
        }
        let framer = self.streams.entry(path).or_insert_with(|| Framer::new(MOST_MESSAGE));
        framer.push(bytes);
        while let Some(framer) = self.streams.get_mut(&path) {
            match framer.next_frame() {
                Ok(Some(Frame::Message(message))) => self.pass(&path, false, &message, None, now),
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => return,
                // The endpoint closes it for the same reason.
                Err(_) => drop(self.streams.remove(&path)),
            }
        }
    }

    fn pass(&mut self, path: &Path, sent: bool, bytes: &[u8], shared: Option<&Bytes>, now: Instant) {
        let Some(call_id) = field(bytes, b"call-id", b'i') else { return };
        if let Some(tape) = self.tapes.get_mut(call_id) {
            return tape.push(path, sent, bytes, shared, now);
        }
        if begins_dialog(bytes) {
            self.unhold_oldest();
            self.unheld.push_back(call_id.into());
            let tape = self.tapes.entry(call_id.into()).or_default();
            tape.push(path, sent, bytes, shared, now);
        }
    }

    fn unhold_oldest(&mut self) {
        if self.unheld.len() < MOST_UNHELD {
            return;
        }
        let Some(oldest) = self.unheld.pop_front() else { return };
        if self.tapes.get(&oldest).is_some_and(|tape| !tape.held) {
            self.tapes.remove(&oldest);
        }
    }

    /// Keeps the tape of a dialog for its call, whose leg it is; to be said before or soon after its INVITE. `party`
    /// names who is at the other end.
    pub fn hold(&mut self, call: Id, call_id: &str, role: &'static str, party: &str) {
        let key: Box<[u8]> = call_id.as_bytes().into();
        let legs = self.calls.get(&call).map_or(0, Vec::len);
        let is_held = self.tapes.get(&key).is_some_and(|tape| tape.held);
        if is_held || self.held >= self.most || legs >= MOST_LEGS {
            return;
        }
        self.held += 1;
        self.tapes.entry(key.clone()).or_default().name(role, party);
        self.calls.entry(call).or_default().push(key);
    }

    /// The call is over: soon its tapes go to the keeper.
    pub fn finish(&mut self, ending: Ending, now: Instant) {
        self.ending.push_back((now + TAIL, ending));
    }

    /// What is known of a call so far; none where it is not one of those that go on, or went on until just now.
    pub fn copy(&self, call: Id, now: Instant) -> Option<Unmasked> {
        let ending = self.ending.iter().map(|(_, ending)| ending).find(|ending| ending.call == call);
        let (account, sound) =
            ending.map(|ending| (ending.account, ending.sound.clone())).unwrap_or_default();
        let legs = self.calls.get(&call);
        if ending.is_none() && legs.is_none() {
            return None;
        }
        let wall = wall(now);
        let leg = |key: &[u8]| Some(self.tapes.get(key)?.leg(&String::from_utf8_lossy(key), &wall));
        let legs = legs.into_iter().flatten().filter_map(|key| leg(key)).collect();
        Some(Unmasked(Reel { call, account, legs, sound }))
    }

    /// What the messages of a call say of its end beyond its cause; for few calls, since it reads them all.
    pub fn why(&self, call: Id, outcome: &Outcome, sound: &[Sound], now: Instant) -> Option<Why> {
        let Unmasked(reel) = self.copy(call, now)?;
        why(&Evidence { outcome: Some(outcome), legs: &reel.legs, sound })
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ending.front().map(|(due, _)| *due)
    }

    /// Hands over the calls whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.ending.front().is_some_and(|(due, _)| *due <= now) {
            self.hand_over(now);
        }
    }

    /// Hands over all calls that are over: the process ends.
    pub fn close(&mut self, now: Instant) {
        while !self.ending.is_empty() {
            self.hand_over(now);
        }
    }

    fn hand_over(&mut self, now: Instant) {
        let Some((_, ending)) = self.ending.front() else { return };
        let (call, failed) = (ending.call, ending.failed);
        let copy = self.copy(call, now);
        self.ending.pop_front();
        for key in self.calls.remove(&call).into_iter().flatten() {
            self.held -= usize::from(self.tapes.remove(&key).is_some());
        }
        if let Some(reel) = copy {
            self.keeper.keep(reel, failed);
        }
    }
}

/// Unix microseconds of instants up to `now`.
fn wall(now: Instant) -> impl Fn(Instant) -> i64 {
    let base = now_ms() * 1000;
    move |at| base - i64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(0)
}

/// Whether this is an INVITE outside a dialog.
fn begins_dialog(message: &[u8]) -> bool {
    let has_tag = |to: &[u8]| to.windows(5).any(|part| part.eq_ignore_ascii_case(b";tag="));
    message.starts_with(b"INVITE ") && field(message, b"to", b't').is_some_and(|to| !has_tag(to))
}

/// The value of a header field, found without reading the others: by its name in small letters or its compact form.
fn field<'a>(message: &'a [u8], name: &[u8], compact: u8) -> Option<&'a [u8]> {
    let mut rest = message;
    loop {
        rest = rest.get(memchr::memchr(b'\n', rest)? + 1..)?;
        let first = rest.first()?.to_ascii_lowercase();
        if matches!(first, b'\r' | b'\n') {
            return None;
        }
        if first != compact && Some(&first) != name.first() {
            continue;
        }
        let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len()))?;
        let Some((found, value)) = memchr::memchr(b':', line).and_then(|at| line.split_at_checked(at)) else {
            continue;
        };
        let found = found.trim_ascii_end();
        if found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(&[compact]) {
            return Some(value.get(1..)?.trim_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Script, call_id_of};
    use super::*;

    fn tap(most: usize) -> Tap {
        Tap::new(most, Keeper::none())
    }

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 12])
    }

    fn path() -> Path {
        Path::new(sip::Transport::Udp, "192.0.2.1:5060".parse().unwrap(), "192.0.2.9:5060".parse().unwrap())
    }

    fn invite(call_id: &str, to: &str) -> Bytes {
        format!("INVITE sip:a@b SIP/2.0\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\r\n").into()
    }

    fn messages(tap: &Tap, call: Id, now: Instant) -> Vec<usize> {
        let reel = tap.copy(call, now).map(Unmasked::mask);
        reel.map(|reel| reel.legs.iter().map(|leg| leg.messages.len()).collect()).unwrap_or_default()
    }

    #[test]
    fn a_field_is_found_in_any_form_and_not_in_the_body() {
        for (message, found) in [
            ("A\r\nCall-ID: x@y\r\n\r\n", Some("x@y")),
            ("A\r\ncall-id:x\r\n\r\n", Some("x")),
            ("A\r\nVia: 1\r\ni : x y \r\n\r\n", Some("x y")),
            ("A\r\nIn-Reply-To: z\r\nCALL-ID\t: x\n\n", Some("x")),
            ("A\r\nContent-Length: 5\r\n\r\nCall-ID: x\r\n", None),
            ("A\r\nCall-IDs: x\r\n\r\n", None),
            ("A\r\nCall-ID", None),
            ("A", None),
            ("", None),
        ] {
            let value = field(message.as_bytes(), b"call-id", b'i');
            assert_eq!(value, found.map(str::as_bytes), "{message:?}");
        }
    }

    #[test]
    fn a_tape_begins_with_an_invite_outside_a_dialog() {
        let now = Instant::now();
        for (message, begins) in [
            (invite("a", "<sip:a@b>"), true),
            (invite("a", "<sip:a@b>;tag=1"), false),
            (Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\nTo: <sip:a>\r\nCall-ID: a\r\n\r\n"), false),
            (Bytes::from_static(b"SIP/2.0 200 OK\r\nTo: <sip:a>\r\nCall-ID: a\r\n\r\n"), false),
        ] {
            let mut tap = tap(4);
            tap.input(&Input::Datagram { path: path(), bytes: &message }, now);
            assert_eq!(tap.tapes.len(), usize::from(begins), "{message:?}");
        }
    }

    #[test]
    fn both_legs_of_a_call_are_kept_until_a_moment_after_its_end() {
        let now = Instant::now();
        let mut tap = tap(4);
        let call = id(1);
        // One came in and is held then; one goes out and is held before.
        tap.input(&Input::Datagram { path: path(), bytes: &invite("in", "<sip:a@b>") }, now);
        tap.hold(call, "in", "first", "alice");
        tap.hold(call, "out", "second", "acme");
        tap.sent(&path(), &invite("out", "<sip:a@b>"), now);
        assert_eq!(messages(&tap, call, now), [1, 1]);
        let sound = vec![Sound { sent: 5, ..Sound::default() }];
        tap.finish(Ending { call, account: 3, failed: false, sound }, now);
        let bye = Bytes::from_static(b"BYE sip:a SIP/2.0\r\nCall-ID: out\r\n\r\n");
        tap.sent(&path(), &bye, now);
        assert_eq!(messages(&tap, call, now), [1, 2]);
        assert_eq!(tap.copy(call, now).unwrap().mask().sound[0].sent, 5);
        tap.handle_timeout(now);
        assert_eq!(tap.poll_timeout(), Some(now + TAIL));
        tap.handle_timeout(now + TAIL);
        assert_eq!(messages(&tap, call, now), Vec::<usize>::new());
        assert_eq!((tap.tapes.len(), tap.calls.len(), tap.held), (0, 0, 0));
    }

    #[test]
    fn a_call_without_a_message_is_handed_over_too() {
        let now = Instant::now();
        let mut tap = tap(4);
        tap.finish(Ending { call: id(1), account: 0, failed: true, sound: Vec::new() }, now);
        assert!(tap.copy(id(1), now).is_some());
        tap.close(now);
        assert!(tap.copy(id(1), now).is_none());
    }

    #[test]
    fn strangers_push_out_strangers_only() {
        let now = Instant::now();
        let mut tap = tap(2);
        tap.hold(id(1), "ours", "first", "");
        for n in 0..2000 {
            tap.input(&Input::Datagram { path: path(), bytes: &invite(&format!("x{n}"), "<sip:a@b>") }, now);
        }
        assert_eq!(tap.tapes.len(), MOST_UNHELD + 1);
        assert!(tap.unheld.len() <= MOST_UNHELD);
        tap.sent(&path(), &invite("ours", "<sip:a@b>"), now);
        assert_eq!(messages(&tap, id(1), now), [1]);
        // Beyond what there may be, nothing more is held.
        for n in 0..100 {
            tap.hold(id(2), &format!("y{n}"), "second", "");
        }
        assert_eq!(tap.held, 2);
    }

    #[test]
    fn messages_of_a_stream_are_put_together() {
        let now = Instant::now();
        let mut tap = tap(4);
        tap.hold(id(1), "s", "first", "");
        let message = b"INVITE sip:a SIP/2.0\r\nTo: <sip:a>\r\nCall-ID: s\r\nContent-Length: 4\r\n\r\nbody";
        let twice =
            [&b"\r\n\r\n"[..], message, b"BYE sip:a SIP/2.0\r\nCall-ID: s\r\nContent-Length: 0\r\n\r\n"]
                .concat();
        for part in twice.chunks(7) {
            tap.input(&Input::Stream { path: path(), bytes: part }, now);
        }
        assert_eq!(messages(&tap, id(1), now), [2]);
        tap.input(&Input::Closed { path: path() }, now);
        assert!(tap.streams.is_empty());
    }

    #[test]
    fn a_whole_dialog_passes() {
        let script = Script::answered();
        let now = Instant::now();
        let mut tap = tap(4);
        tap.hold(id(1), call_id_of(&script), "first", "acme");
        script.play(&mut tap, now);
        assert_eq!(messages(&tap, id(1), now), [script.len()]);
    }
}
