//! An offer and an answer: refused with a reason, or agreed on; our answer to any offer can be read by ourselves. The
//! same for a browser's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::sdp;
use media::web::{self, Credentials};

fuzz_target!(|bytes: &[u8]| {
    let us = trunkline_fuzz::local();
    if let Ok((answer, agreed)) = sdp::answer(bytes, &us) {
        sdp::Description::parse(answer.as_bytes()).expect("what we answer can be read");
        let again = sdp::reoffer(&us, &agreed);
        sdp::Description::parse(again.as_bytes()).expect("what we offer again can be read");
    }
    let _ = sdp::accept(&us, bytes).map_err(|error| error.to_string());

    let ours = trunkline_fuzz::web();
    let fresh = Credentials::new([2; Credentials::RANDOM]);
    if let Ok((answer, agreed)) = web::answer(bytes, &us, &ours, None, fresh.clone()) {
        assert!(web::is_web(answer.as_bytes()), "what we answer is a browser's");
        assert!(web::is_web(web::reoffer(&us, &ours, &agreed).as_bytes()), "what we offer again is, too");
        let _ = web::answer(bytes, &us, &ours, Some(&agreed), fresh);
    }
    let _ = web::accept(&us, &ours, None, bytes).map_err(|error| error.to_string());
});
