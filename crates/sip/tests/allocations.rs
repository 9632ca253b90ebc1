//! Reading a message allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sip::{Name, View};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn reading_a_message_allocates_nothing() {
    let vias = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n".repeat(View::MAX_HEADERS - 5);
    let message = format!(
        "INVITE sip:a@192.0.2.1 SIP/2.0\r\n{vias}From: \"A\" <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
         Call-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.1>\r\n\r\n"
    );
    let before = ALLOCATIONS.get();
    let view = View::parse(message.as_bytes()).unwrap();
    assert_eq!(view.check(), Ok(()));
    assert_eq!(view.vias().count(), View::MAX_HEADERS - 5);
    assert_eq!(view.from().and_then(|from| from.tag()), Some("1"));
    assert!(view.contact().unwrap().sip_uri().is_ok() && view.cseq().is_some());
    assert_eq!(view.header(Name::CallId), view.header("call-id"));
    assert_eq!(ALLOCATIONS.get(), before);

    let one_more = message.replacen("Via:", "X: y\r\nVia:", 1);
    assert!(View::parse(one_more.as_bytes()).is_err());
}
