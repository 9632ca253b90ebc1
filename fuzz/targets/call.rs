//! A call: whatever happens to its legs and its sound, in any order, it ends exactly once, its states only move
//! forward, and nobody is dialled again once somebody has been rung.
#![no_main]

use std::time::{Duration, Instant};

use call::{Call, Input, Output, Spec, State};
use libfuzzer_sys::fuzz_target;
use trunkline_fuzz::{Script, input, spec};

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script::new(bytes);
    let mut now = Instant::now();
    let spec: Spec = spec(&mut script);
    let mut call = Call::outbound(spec, now);
    let (mut state, mut finished, mut rang) = (State::Queued, 0, false);
    let mut drain = |call: &mut Call, rang: bool| {
        while let Some(output) = call.poll_output() {
            assert_eq!(finished, 0, "something follows the end");
            match output {
                Output::State { state: next } => {
                    assert!(next.rank() > state.rank() || next == State::Queued, "{state} before {next}");
                    state = next;
                }
                Output::Dial { .. } => assert!(!rang, "dialled after somebody was rung"),
                Output::Finished(_) => finished += 1,
                _ => {}
            }
        }
        finished
    };
    drain(&mut call, rang);
    while !script.is_over() {
        match script.byte() % 8 {
            0 => {
                let until = now + script.time();
                while let Some(due) = call.poll_timeout().filter(|due| *due <= until) {
                    now = now.max(due);
                    call.handle_timeout(now);
                    drain(&mut call, rang);
                }
                now = until;
            }
            _ => {
                let input = input(&mut script);
                let rings = matches!(input, Input::Ringing { .. } | Input::Answered)
                    || matches!(&input, Input::LegFailed(failure) if failure.provisional);
                rang |= rings;
                call.handle_input(input, now);
                drain(&mut call, rang);
            }
        }
    }
    call.handle_input(trunkline_fuzz::hang_up(), now);
    for _ in 0..8 {
        now += Duration::from_secs(10);
        call.handle_timeout(now);
    }
    assert_eq!(drain(&mut call, rang), 1, "a call ends exactly once");
    assert_eq!(call.poll_timeout(), None);
});
