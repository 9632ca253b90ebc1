//! Recordings: one thread writes all files, so that no disk ever stops a packet.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use media::Recorder;

use super::{Closed, Event, MediaId, Sink};

/// Messages waiting for the disk, about one a second for each recording; beyond, sound is dropped and the
/// recording says so.
const QUEUE: usize = 16_384;
/// Samples a second in ms: 8 kHz.
const FRAMES_A_MS: u64 = 8;

enum Message {
    Open(MediaId, PathBuf),
    Frames(MediaId, Vec<i16>),
    End(MediaId, Box<Closed>, Sink),
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
    pub(super) fn open(&self, id: MediaId, path: PathBuf) -> bool {
        self.0.try_send(Message::Open(id, path)).is_ok()
    }

    /// Appends interleaved stereo; false when the disk is too far behind and the sound is lost.
    pub(super) fn frames(&self, id: MediaId, frames: Vec<i16>) -> bool {
        self.0.try_send(Message::Frames(id, frames)).is_ok()
    }

    /// Finishes the file, then tells `sink`. Gives both back when the queue is full.
    pub(super) fn end(
        &self,
        id: MediaId,
        closed: Box<Closed>,
        sink: Sink,
    ) -> Result<(), (Box<Closed>, Sink)> {
        self.0.try_send(Message::End(id, closed, sink)).map_err(|full| match full.into_inner() {
            Message::End(_, closed, sink) => (closed, sink),
            Message::Open(..) | Message::Frames(..) => unreachable!("only an End was offered"),
        })
    }
}

type Open = Result<Recorder<BufWriter<File>>, String>;

fn write(messages: &Receiver<Message>) {
    let mut open: HashMap<MediaId, Open> = HashMap::new();
    for message in messages {
        match message {
            Message::Open(id, path) => {
                let file = File::create_new(&path).map(BufWriter::new).map_err(|e| e.to_string());
                let recorder = file.and_then(|file| {
                    Recorder::new(file).map_err(|e| {
                        // Without even a header (a full disk) nothing in it could ever be played.
                        let _ = std::fs::remove_file(&path);
                        e.to_string()
                    })
                });
                open.insert(id, recorder);
            }
            Message::Frames(id, frames) => {
                let Some(entry) = open.get_mut(&id) else { continue };
                let Ok(recorder) = entry else { continue };
                if let Err(error) = recorder.write(&frames).and_then(|()| recorder.flush()) {
                    *entry = Err(error.to_string());
                }
            }
            Message::End(id, mut closed, sink) => {
                let finished =
                    open.remove(&id).map(|entry| entry.and_then(|r| r.finish().map_err(|e| e.to_string())));
                match finished {
                    Some(Ok(frames)) => closed.recorded_ms = Some(frames / FRAMES_A_MS),
                    Some(Err(error)) => {
                        tracing::error!(%error, "a recording could not be written");
                        closed.recording_error = Some(error);
                    }
                    None => {}
                }
                // The reader drains this queue in every wake-up; waiting for it costs no packet.
                let _ = sink.events.send(Event::Closed(id, closed));
                let _ = sink.waker.wake();
            }
        }
    }
}
