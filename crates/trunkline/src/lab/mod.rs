//! `trunkline test`: call flows against the simulated network, under a virtual clock.
//!
//! The call engine, both SIP endpoints, the callees and the media sessions are the ones that run in the server; what is
//! missing is sockets, threads and the clock. Messages and packets go from one side to the other in memory, and where
//! nothing is due the time is moved on, so a call of a minute takes milliseconds. Speech is a tone of its length.

mod file;
mod gateway;
mod judge;
mod network;
mod render;
#[cfg(test)]
mod tests;
mod wires;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

pub use file::{Expect, Test, read};

use crate::sim::Directory;

/// What happened at a moment of a call, as the events of the API tell it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Since the call was placed, ms.
    pub at_ms: u64,
    /// As in the API.
    pub kind: String,
    /// As in the API.
    pub detail: Value,
}

/// How a test went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Whether all is as expected.
    pub passed: bool,
    /// What is not.
    pub failures: Vec<String>,
    /// How long the call was, ms.
    pub virtual_ms: u64,
    /// How long that took, ms.
    pub real_ms: f64,
    /// The final state; none if the call did not end.
    pub state: Option<&'static str>,
    /// Why it ended.
    pub cause: Option<&'static str>,
    /// Everything that was told.
    pub events: Vec<Told>,
}

/// Runs one test; files it plays are looked for in `folder`.
pub fn run(test: &Test, directory: &Directory, folder: &Path) -> Report {
    let began = Instant::now();
    let ran = world::call(test, directory, folder);
    let failures = judge::judge(&test.expect, &ran);
    Report {
        name: test.name.clone(),
        passed: failures.is_empty(),
        failures,
        virtual_ms: ms(ran.took),
        real_ms: (began.elapsed().as_secs_f64() * 1e5).round() / 100.0,
        state: ran.outcome.as_ref().map(|outcome| outcome.state.as_str()),
        cause: ran.outcome.as_ref().map(|outcome| outcome.cause.code),
        events: ran.told,
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
