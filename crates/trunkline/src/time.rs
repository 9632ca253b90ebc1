//! The wall clock, as the store keeps it.

/// Unix time in ms.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
