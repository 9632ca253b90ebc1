//! Structured logs on standard error. Secrets have types that print as `***`; full numbers are never logged.

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Sends logs to standard error as the settings say. The filter is `tracing`'s; one that cannot be read is an
/// error that names the key.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|e| anyhow::anyhow!("log: {:?} is not a log filter ({e}); use error, warn, info or debug", config.log))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logs cannot be started: {e}"))
}
