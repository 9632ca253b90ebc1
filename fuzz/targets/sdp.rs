//! An offer and an answer: refused with a reason, or agreed on; our answer to any offer can be read by ourselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::sdp;

fuzz_target!(|bytes: &[u8]| {
    let us = trunkline_fuzz::local();
    if let Ok((answer, agreed)) = sdp::answer(bytes, &us) {
        sdp::Description::parse(answer.as_bytes()).expect("what we answer can be read");
        let again = sdp::reoffer(&us, &agreed);
        sdp::Description::parse(again.as_bytes()).expect("what we offer again can be read");
    }
    let _ = sdp::accept(&us, bytes).map_err(|error| error.to_string());
});
