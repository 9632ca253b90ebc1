//! `trunkline check`: whether the settings can be used.

use std::process::ExitCode;

use super::say;
use crate::config::Config;

/// The settings have been read by now; what is left is whether they fit together.
pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    config.check(config.provider.iter().map(|provider| provider.host.as_str()))?;
    crate::app::directory(config)?;
    say("The settings can be used.");
    Ok(ExitCode::SUCCESS)
}
