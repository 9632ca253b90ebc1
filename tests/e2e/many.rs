//! A hundred calls at once, each with a tone of its own.

use std::time::Duration;

use crate::server::{FINAL, Server};
use crate::sound::{self, Sound};

const CALLS: u32 = 100;
const SECONDS: f64 = 4.0;

/// Tones 27 Hz apart, so that a neighbour's is told from one's own.
fn hz(index: u32) -> f64 {
    300.0 + 27.0 * f64::from(index)
}

#[track_caller]
fn holds_only(channel: &Sound, hz: f64, what: &str) {
    let tone = channel.active();
    assert!((SECONDS * 0.97..SECONDS * 1.03).contains(&tone.seconds()), "{what}: {} s", tone.seconds());
    let found = tone.frequency().unwrap_or_else(|| panic!("{what} is silent"));
    assert!((found / hz - 1.0).abs() < 0.01, "{what}: {hz} Hz became {found} Hz");
    assert!(tone.share_of(hz) > 0.97, "{what}: only {:.3} of it is its own tone", tone.share_of(hz));
    let throughout = tone.share_throughout(hz);
    assert!(throughout > 0.97, "{what}: throughout, only {throughout:.3} of it is its own tone");
    assert!(tone.longest_gap_ms() <= 40.0, "{what}: a gap of {} ms", tone.longest_gap_ms());
}

#[test]
fn a_hundred_calls_at_once_keep_their_own_tone() {
    let server = Server::setup().rtp_ports(1000).alone().start();
    let files: Vec<String> =
        (0..CALLS).map(|index| server.upload("tone.wav", sound::tone_wav(hz(index), SECONDS))).collect();
    let ids: Vec<String> = std::thread::scope(|scope| {
        // Ten at a time, so that all are up together.
        let placing: Vec<_> = files
            .chunks(10)
            .enumerate()
            .map(|(tens, files)| {
                let server = &server;
                scope.spawn(move || {
                    let number = |ones: usize| format!("+1202{:03}0105", 200 + tens * 10 + ones);
                    let call = |(ones, file): (usize, &String)| server.play_to(&number(ones), file);
                    files.iter().enumerate().map(call).collect::<Vec<_>>()
                })
            })
            .collect();
        placing.into_iter().flat_map(|calls| calls.join().expect("ten calls placed")).collect()
    });
    let at_once = server.get("/health").expect(200).json()["calls"].as_u64().unwrap_or_default();
    assert!(at_once > 80, "{at_once} calls at once");
    for (index, id) in ids.iter().enumerate() {
        let call = server.wait_for_state(id, &FINAL, Duration::from_secs(30));
        assert_eq!(call["status"], "completed", "call {index}: {call:#}");
    }
    for (index, id) in (0..).zip(&ids) {
        let recording = server.recording(id);
        holds_only(&recording.sent, hz(index), &format!("call {index}, sent"));
        holds_only(&recording.heard, hz(index), &format!("call {index}, heard"));
    }
}
