//! `trunkline ladder` and `trunkline pcap`: what was said on a call's SIP legs.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::client::Client;
use crate::config::Config;

/// Which call to draw.
#[derive(Args)]
pub(super) struct Ladder {
    /// The call's id, as `trunkline call` shows it
    #[arg(value_name = "ID")]
    id: String,
}

/// Which call to write.
#[derive(Args)]
#[command(
    after_help = "Example:\n  trunkline pcap call_65a1f0c2a4b1c2d3e4f50617 > call.pcap && tshark -r call.pcap"
)]
pub(super) struct Pcap {
    /// The call's id, as `trunkline call` shows it
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) async fn ladder(config: &Config, Ladder { id }: Ladder) -> anyhow::Result<ExitCode> {
    let text = Client::new(config)?.fetch(&["v1", "calls", &id, "ladder"], &[("format", "text")]).await?;
    write(&text)
}

pub(super) async fn pcap(config: &Config, Pcap { id }: Pcap) -> anyhow::Result<ExitCode> {
    if std::io::stdout().is_terminal() {
        bail!("a capture file is nothing for a terminal: add > call.pcap");
    }
    let file = Client::new(config)?.fetch(&["v1", "calls", &id, "pcap"], &[]).await?;
    write(&file)
}

fn write(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(bytes).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}
