//! A SIP message: whatever is read from it, nothing panics, and a message that is accepted reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::{Message, Reason, View};

fuzz_target!(|bytes: &[u8]| {
    let Ok(view) = View::parse(bytes) else { return };
    let _ = (view.check(), view.body(), view.cseq(), view.call_id(), view.content_type(), view.request_uri());
    for address in [view.from(), view.to(), view.contact()].into_iter().flatten() {
        let _ = (address.sip_uri(), address.display_name(), address.params.iter().count());
    }
    for via in view.vias() {
        let _ = (via.unique_branch(), via.params.iter().count());
    }
    for (name, _) in view.all_headers() {
        for value in view.values(name) {
            let _ = Reason::parse(value);
            sip::digest::Challenge::parse_all(value).for_each(drop);
        }
    }
    let message =
        Message::parse(bytes::Bytes::copy_from_slice(bytes)).expect("what a view reads, a message reads");
    assert_eq!(message.view().all_headers().count(), view.all_headers().count());
    assert_eq!(message.body(), view.body());
});
