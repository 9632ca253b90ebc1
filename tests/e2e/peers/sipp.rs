//! SIPp as callee and as caller: it plays a scenario once and judges what it is sent.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::tool::{self, Process, wait_for};
use crate::{ports, sound};

/// A SIPp with one call.
pub struct Sipp {
    pub port: u16,
    process: Process,
    errors: std::path::PathBuf,
    messages: std::path::PathBuf,
    scenario: String,
}

impl Sipp {
    /// Starts `scenario` (a file in `peers/scenarios`), each `[name]` of `values` replaced in it; `None` where
    /// SIPp is not installed. Its tone, where it has one, is 1004 Hz.
    pub fn start(folder: &Path, scenario: &str, transport: &str, values: &[(&str, &str)]) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../../tests/e2e/peers/scenarios/{scenario}.xml"));
        let mut text = std::fs::read_to_string(source).expect("the scenario");
        for (name, value) in values {
            text = text.replace(&format!("[{name}]"), value);
        }
        Self::play(folder, scenario, &text, transport, ports::take(1), None)
    }

    /// Plays the scenario in `text` at `port`: waits for a call, or calls `target`.
    pub fn play(
        folder: &Path,
        scenario: &str,
        text: &str,
        transport: &str,
        port: u16,
        target: Option<SocketAddr>,
    ) -> Option<Self> {
        let program = tool::find("sipp", "sip-tester")?;
        let media_port = ports::take(4);
        // A port may serve for two scenarios, one after the other.
        let file = |ending: &str| folder.join(format!("sipp-{scenario}-{port}.{ending}"));

        let tone = file("ulaw");
        std::fs::write(&tone, sound::tone_ulaw(1004.0, 20.0)).expect("a file for the tone");
        let text = text.replace("[tone]", &tone.display().to_string());
        std::fs::write(file("xml"), text).expect("a file for the scenario");

        let (errors, messages) = (file("errors"), file("messages"));
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .arg("-sf")
            .arg(file("xml"))
            .args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", "1", "-nostdin"])
            .args(["-t", if transport == "tcp" { "t1" } else { "u1" }])
            .args(["-p", &port.to_string(), "-mp", &media_port.to_string()])
            .args(["-timeout", "58s", "-timeout_error"])
            .args(target.map(|target| target.to_string()))
            .arg("-trace_err")
            .arg("-error_file")
            .arg(&errors)
            .arg("-trace_msg")
            .arg("-message_file")
            .arg(&messages);
        let mut process = Process::start("sipp", &mut command, &file("log"));
        // A caller may be through already.
        if target.is_none() {
            wait_for("SIPp's socket", Duration::from_secs(5), || {
                assert!(process.is_running(), "SIPp ended at its start: {}", process.log());
                is_bound(port, transport).then_some(())
            });
        }
        Some(Self { port, process, errors, messages, scenario: scenario.to_owned() })
    }

    /// Waits until it is through; fails the test unless everything came as the scenario has it.
    #[track_caller]
    pub fn finishes_content(self) {
        self.finishes_content_in(Duration::from_secs(25));
    }

    /// The same for a scenario that takes longer.
    #[track_caller]
    pub fn finishes_content_in(mut self, limit: Duration) {
        let start = Instant::now();
        while self.process.is_running() && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        // One that still waits is not content either, and shows for what.
        self.process.kill();
        let status = self.process.wait(limit);
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        assert!(
            status.success(),
            "SIPp ({}) is not content ({status}):\n{}\n--- what it sent and received:\n{}",
            self.scenario,
            read(&self.errors),
            read(&self.messages)
        );
    }

    /// Everything it sent and received so far.
    pub fn messages(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.messages).unwrap_or_default()).into_owned()
    }
}

/// Whether someone holds the port; for UDP the kernel's table says so without sending anything.
pub fn is_bound(port: u16, transport: &str) -> bool {
    let table = std::fs::read_to_string(format!("/proc/net/{transport}")).unwrap_or_default();
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|local| local.ends_with(&wanted))
}
