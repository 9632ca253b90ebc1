//! `trunkline sim`: who answers at which number of the simulated network.

use super::{say, table};
use crate::config::Config;
use crate::sim::{TABLE, directory};

pub(super) fn run(config: &Config) -> anyhow::Result<std::process::ExitCode> {
    // Checked as the server does, so that what is shown is what would answer.
    crate::app::directory(config)?;
    let own = config.sim_callees.as_deref().map(directory::read).transpose()?.unwrap_or_default();
    let own = own.iter().map(|own| vec![own.number(), own.script().join("; ")]);
    let known = TABLE.iter().map(|known| {
        let number = if known.suffix.is_empty() { "any other" } else { known.suffix };
        vec![number.to_owned(), known.what.to_owned()]
    });
    say(&table(&["number ends in", "the callee"], &own.chain(known).collect::<Vec<_>>()));
    Ok(std::process::ExitCode::SUCCESS)
}
