//! The sound of a peer that has none itself: says a tone over RTP (PCMU) and keeps what it hears.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ports;
use crate::sound::{Sound, tone_ulaw};

/// Speaks to whoever speaks to it; silent once dropped.
pub struct Voice {
    pub port: u16,
    pub hz: f64,
    heard: Arc<Mutex<Sound>>,
    over: Arc<AtomicBool>,
}

impl Voice {
    /// Begins to listen; a tone of `hz` is its answer to the first packet.
    pub fn start(hz: f64) -> Self {
        let port = ports::take(2);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a port for sound");
        let (heard, over) = (Arc::new(Mutex::new(Sound(Vec::new()))), Arc::new(AtomicBool::new(false)));
        let (kept, ends) = (heard.clone(), over.clone());
        std::thread::spawn(move || speak(&socket, &tone_ulaw(hz, 1.0), &kept, &ends));
        Self { port, hz, heard, over }
    }

    /// What it has heard so far, in the order it came.
    pub fn heard(&self) -> Sound {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// `tone` is a second, of whole periods.
fn speak(socket: &UdpSocket, tone: &[u8], heard: &Mutex<Sound>, over: &AtomicBool) {
    let (mut sequence, mut peer, mut due) = (0u16, None, Instant::now());
    let mut packet = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).expect("a time-out");
        if let Ok((length, from)) = socket.recv_from(&mut packet) {
            peer = Some(from);
            if length > 12 && packet[1] & 0x7f == 0 {
                let samples = packet[12..length].iter().map(|byte| linear(*byte));
                heard.lock().unwrap_or_else(PoisonError::into_inner).0.extend(samples);
            }
        }
        if Instant::now() < due {
            continue;
        }
        due += Duration::from_millis(20);
        let Some(peer) = peer else { continue };
        let mut out = vec![0x80, 0];
        out.extend(sequence.to_be_bytes());
        out.extend((u32::from(sequence) * 160).to_be_bytes());
        out.extend(peer.port().to_be_bytes());
        out.extend([4, 7]);
        let start = usize::from(sequence % 50) * 160;
        out.extend(&tone[start..start + 160]);
        // Nobody may be there any more.
        let _ = socket.send_to(&out, peer);
        sequence = sequence.wrapping_add(1);
    }
}

/// The inverse of the continuous µ-law curve.
fn linear(byte: u8) -> f64 {
    let magnitude = f64::from(!byte & 0x7f) / 127.0;
    let level = ((1.0 + 255.0f64).powf(magnitude) - 1.0) / 255.0;
    if !byte & 0x80 != 0 { -level } else { level }
}
