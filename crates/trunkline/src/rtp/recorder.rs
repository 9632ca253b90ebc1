//! Recordings: one thread writes all files, so that no disk ever stops a packet.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use media::Recorder;

use super::{Closed, Event, MediaId, Segment, Sink};
use crate::recordings;

/// Messages waiting for the disk, about one a second for each recording; beyond, sound is dropped and the
/// recording says so.
const QUEUE: usize = 16_384;
/// Samples a second in ms: 8 kHz.
const FRAMES_A_MS: u64 = 8;

/// A file being written: a leg's recording, or one of its segments.
pub(super) type Track = (MediaId, Option<u32>);

enum Message {
    Open(Track, PathBuf),
    Frames(Track, Vec<i16>),
    End(Track, Told, Sink),
}

/// What is told once a file is whole.
pub(super) enum Told {
    Closed(Box<Closed>),
    Segment(Box<Segment>),
}

impl Told {
    pub(super) fn event(self, (id, item): Track) -> Event {
        match self {
            Told::Closed(closed) => Event::Closed(id, closed),
            Told::Segment(segment) => Event::Recorded(id, item.unwrap_or_default(), segment),
        }
    }
}

/// The way to the recording thread.
#[derive(Clone)]
pub(super) struct Disk(Sender<Message>);

/// Starts the recording thread; it ends when the last [`Disk`] is gone.
pub(super) fn start() -> io::Result<Disk> {
    let (sender, receiver) = bounded(QUEUE);
    thread::Builder::new().name("recorder".into()).spawn(move || write(&receiver))?;
    Ok(Disk(sender))
}

impl Disk {
    /// Begins a file; false when the disk is too far behind.
    pub(super) fn open(&self, track: Track, path: PathBuf) -> bool {
        self.0.try_send(Message::Open(track, path)).is_ok()
    }

    /// Appends samples, interleaved stereo for a leg's recording, mono for a segment; false when the disk is too far
    /// behind and the sound is lost.
    pub(super) fn frames(&self, track: Track, frames: Vec<i16>) -> bool {
        self.0.try_send(Message::Frames(track, frames)).is_ok()
    }

    /// Finishes the file, then tells `sink`. Gives both back when the queue is full.
    pub(super) fn end(&self, track: Track, told: Told, sink: Sink) -> Result<(), (Told, Sink)> {
        self.0.try_send(Message::End(track, told, sink)).map_err(|full| match full.into_inner() {
            Message::End(_, told, sink) => (told, sink),
            Message::Open(..) | Message::Frames(..) => unreachable!("only an End was offered"),
        })
    }
}

/// A file and what writes it, or why that failed.
type Open = (PathBuf, Result<Recorder<BufWriter<File>>, String>);

fn write(messages: &Receiver<Message>) {
    let mut open: HashMap<Track, Open> = HashMap::new();
    for message in messages {
        match message {
            Message::Open(track, path) => {
                let file = File::create_new(&path).map(BufWriter::new).map_err(|e| e.to_string());
                let recorder = file.and_then(|file| {
                    let recorder = if track.1.is_some() { Recorder::mono(file) } else { Recorder::new(file) };
                    recorder.map_err(|e| {
                        // Without even a header (a full disk) nothing in it could ever be played.
                        let _ = std::fs::remove_file(&path);
                        e.to_string()
                    })
                });
                open.insert(track, (path, recorder));
            }
            Message::Frames(track, frames) => {
                let Some((_, entry)) = open.get_mut(&track) else { continue };
                let Ok(recorder) = entry else { continue };
                if let Err(error) = recorder.write(&frames).and_then(|()| recorder.flush()) {
                    *entry = Err(error.to_string());
                }
            }
            Message::End(track, mut told, sink) => {
                let finished = open
                    .remove(&track)
                    .map(|(path, entry)| (path, entry.and_then(|r| r.finish().map_err(|e| e.to_string()))));
                let (length, failed) = match &mut told {
                    Told::Closed(closed) => (&mut closed.recorded_ms, &mut closed.recording_error),
                    Told::Segment(segment) => (&mut segment.ms, &mut segment.error),
                };
                match finished {
                    Some((_, Ok(frames))) => *length = Some(frames / FRAMES_A_MS),
                    Some((path, Err(error))) => {
                        tracing::error!(%error, "a recording could not be written");
                        // What was written before is still a recording.
                        *length = recordings::measure(&path).ok().flatten();
                        *failed = Some(error);
                    }
                    None => {}
                }
                // The reader drains this queue in every wake-up; waiting for it costs no packet.
                let _ = sink.events.send(told.event(track));
                let _ = sink.waker.wake();
            }
        }
    }
}
