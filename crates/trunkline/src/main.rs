//! The `trunkline` command.

use std::process::ExitCode;

/// Gives back what the calls of a busy hour had; the system's keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    trunkline::cli::run()
}
