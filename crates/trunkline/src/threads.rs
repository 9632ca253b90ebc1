//! How many threads there are to be, and which go first.

/// The processors this process may use; at least 1.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Lets this thread run before others, as far as the system allows it (`CAP_SYS_NICE`, or a nice limit): audio that is
/// late is heard.
pub(crate) fn go_first() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "a thread keeps its ordinary priority");
    }
}

/// Before everything ordinary, behind what the system itself does in a hurry.
#[cfg(target_os = "linux")]
const NICE: i32 = -10;
