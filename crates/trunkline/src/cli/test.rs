//! `trunkline test`: call flows against the simulated network, without a server and without waiting.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::say;
use crate::config::Config;
use crate::lab::{self, Report};
use crate::sim::directory;

const EXAMPLES: &str = "\
A file holds [[test]] tables: name, to (a number of the simulated network) or callee (a script), flow (the steps of
POST /v1/calls) and expect. docs/simulated-network.md explains each; examples/flows.toml shows them.

Ends with 0 if all is as expected, with 1 if not, with 2 if a file cannot be used.";

/// Arguments of `trunkline test`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Files of tests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> ExitCode {
    let own = match &config.sim_callees {
        Some(path) => {
            directory::read(path).map_err(|error| format!("sim_callees: {}: {error}", path.display()))
        }
        None => Ok(Vec::new()),
    };
    let own = match own {
        Ok(own) => own,
        Err(error) => return complain(&error),
    };
    // All files are read first: a slip in the last one shall not be found behind a long run.
    let mut read = Vec::with_capacity(arguments.files.len());
    for file in &arguments.files {
        match lab::read(file, &own) {
            Ok((tests, directory)) => read.push((file, tests, directory)),
            Err(error) => return complain(&error),
        }
    }
    let mut reports = Vec::new();
    for (file, tests, directory) in &read {
        let folder = file.parent().unwrap_or(Path::new("."));
        for test in tests {
            let report = lab::run(test, directory, folder);
            if !arguments.json {
                tell(&report);
            }
            reports.push(report);
        }
    }
    let failed = reports.iter().filter(|report| !report.passed).count();
    if arguments.json {
        let all = json!({ "passed": reports.len() - failed, "failed": failed, "tests": reports });
        say(&all.to_string());
    } else {
        let real_ms: f64 = reports.iter().map(|report| report.real_ms).sum();
        say(&format!("{} passed, {failed} failed, in {real_ms:.0} ms", reports.len() - failed));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(error: &str) -> ExitCode {
    eprintln!("trunkline: {error}");
    ExitCode::from(2)
}

/// A line; where something is wrong, what it is and how the call went.
fn tell(report: &Report) {
    let mark = if report.passed { "ok  " } else { "FAIL" };
    let seconds = report.virtual_ms as f64 / 1000.0;
    say(&format!("{mark}  {}  ({seconds:.1} s of call in {:.1} ms)", report.name, report.real_ms));
    if report.passed {
        return;
    }
    for failure in &report.failures {
        say(&format!("        {failure}"));
    }
    for told in &report.events {
        let at = told.at_ms as f64 / 1000.0;
        say(&format!("        {at:8.3} s  {:<14} {}", told.kind, told.detail));
    }
}
