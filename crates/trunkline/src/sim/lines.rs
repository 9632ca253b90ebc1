//! The callees' media over real RTP.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use media::sdp::Negotiated;
use media::{Clip, Rules, Setup};

use super::exchange::Lines;
use super::random;
use crate::id::Id;
use crate::rtp::{Impairment, Media, MediaId, Sink};

/// Voicemails kept; the oldest goes when another one comes.
const MOST_MESSAGES: usize = 100;

/// Lines of the media loops.
pub(super) struct RtpLines {
    media: Media,
    sink: Sink,
    address: IpAddr,
    /// Whose call a line is, until its last word.
    calls: HashMap<MediaId, Option<Id>>,
    voicemail: PathBuf,
    messages: VecDeque<PathBuf>,
    recorded: u64,
}

impl RtpLines {
    /// `address` is where the network listens; messages are recorded to `voicemail`.
    pub(super) fn new(media: Media, sink: Sink, address: IpAddr, voicemail: PathBuf) -> Self {
        let address = if media.address().is_unspecified() { address } else { media.address() };
        let (calls, messages) = (HashMap::new(), VecDeque::new());
        Self { media, sink, address, calls, voicemail, messages, recorded: 0 }
    }

    /// A line has said its last word: whose call it was.
    pub(super) fn closed(&mut self, line: MediaId) -> Option<Id> {
        self.calls.remove(&line).flatten()
    }
}

impl Lines for RtpLines {
    type Line = MediaId;

    fn open(&mut self, call: Option<Id>) -> Option<(MediaId, IpAddr, u16)> {
        let (line, port) = self.media.open(&self.sink).ok()?;
        self.calls.insert(line, call);
        Some((line, self.address, port))
    }

    fn start(&mut self, line: MediaId, negotiated: Negotiated) -> Result<(), u16> {
        let [a, b, c, d, e, f, g, h, i, j] = random().map_err(|_| 500_u16)?;
        let setup = Setup {
            negotiated,
            ssrc: u32::from_be_bytes([a, b, c, d]),
            sequence: u16::from_be_bytes([e, f]),
            timestamp: u32::from_be_bytes([g, h, i, j]),
            cname: "sim".into(),
            record: false,
            silence_after: None,
        };
        self.media.start_session(line, setup, None, true).map_err(|_| 503)
    }

    fn update(&mut self, line: MediaId, negotiated: Negotiated) {
        let _ = self.media.update(line, negotiated);
    }

    fn play(&mut self, line: MediaId, id: u32, clip: Clip) {
        let _ = self.media.play(line, id, clip);
    }

    fn stop(&mut self, line: MediaId) {
        let _ = self.media.stop(line);
    }

    fn press(&mut self, line: MediaId, id: u32, keys: &str) {
        let _ = self.media.digits(line, id, keys.to_owned());
    }

    fn info(&mut self, line: MediaId, key: char, ms: u16) {
        let _ = self.media.info(line, key, ms);
    }

    fn echo(&mut self, line: MediaId) {
        let _ = self.media.echo(line);
    }

    fn record(&mut self, line: MediaId, id: u32, longest: Duration) {
        self.recorded += 1;
        let call = self.calls.get(&line).copied().flatten();
        let name = call.map_or_else(|| format!("message-{}", self.recorded), |call| call.to_string());
        let file = format!("{name}.wav");
        let path = self.voicemail.join(&file);
        self.messages.push_back(path.clone());
        if self.messages.len() > MOST_MESSAGES
            && let Some(oldest) = self.messages.pop_front()
        {
            let _ = std::fs::remove_file(oldest);
        }
        let rules = Rules { beep: false, max: longest, end_silence: None, end_keys: String::new() };
        let _ = self.media.record(line, id, rules, path, file);
    }

    fn impair(&mut self, line: MediaId, how: Impairment) {
        // Lines of a run are numbered from one, so that the same calls lose the same packets.
        let _ = self.media.impair(line, how, line.number());
    }

    fn close(&mut self, line: MediaId) {
        self.media.close(line);
    }
}
