//! The command line: `serve` and `demo` are the server, the other commands talk to it.
//!
//! They reach a running server through the Unix socket in its data folder, which only its owner may open, so
//! they need no key. Progress and results go to standard output, complaints to standard error.

mod accounts;
mod backup;
mod call;
mod check;
mod client;
pub mod demo;
mod doctor;
mod insight;
mod keys;
mod numbers;
mod sim;
mod test;
mod trunks;
mod users;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  trunkline demo                                    start, place one call to the simulated network, keep serving
  trunkline call +12025550123 --say \"Hello.\"        call from a second terminal and watch the call
  trunkline keys create --name billing              make an API key
  trunkline trunks add acme --host sip.example.com --username 4915 --password-file - --default
                                                    go out through your own SIP provider from now on
  trunkline users add alice                         let a phone register, and call to and from it
  trunkline test flows.toml                         try call flows in milliseconds, without a server
  trunkline doctor                                  find out what is wrong, and what to do

Settings stand in trunkline.toml (each key is explained there) and in the environment as TRUNKLINE_<KEY>, which
wins. Nothing needs to be set for a first call.";

/// A programmable voice gateway: any carrier, one calling API.
#[derive(Parser)]
#[command(name = "trunkline", version, about, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    /// The settings file; ./trunkline.toml if it is there
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server keeps everything, and its socket; ./data unless set
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Run the server and place one demonstration call to the simulated phone network
    Demo,
    /// Call a number or SIP address and watch the call
    Call(call::Arguments),
    /// Show what was said on a call's SIP legs, and why it failed
    Ladder(insight::Ladder),
    /// Write a call's SIP messages to standard output, as a capture file for tshark, Wireshark or sngrep
    Pcap(insight::Pcap),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Add, list and remove SIP users, for phones that register here
    #[command(subcommand)]
    Users(users::Command),
    /// Add, list and remove numbers, and say where calls to them go
    #[command(subcommand)]
    Numbers(numbers::Command),
    /// Add and list accounts, each with users, numbers and trunks of its own
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Add, list and remove the SIP providers that calls go out through
    #[command(subcommand)]
    Trunks(trunks::Command),
    /// Say where events are delivered to, and see what became of them
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// Copy everything needed to go on elsewhere into a new folder, also while the server runs
    Backup(backup::Backup),
    /// Put a backup into an empty data folder
    Restore(backup::Restore),
    /// Run call flows against the simulated network under a virtual clock, for CI
    Test(test::Arguments),
    /// List who answers at which number of the simulated network
    Sim,
    /// Check settings, folders, ports, speech engines and trunks, and say what to do
    Doctor,
    /// Check the settings only; ends with 0 if they can be used, else with 1
    Check,
}

/// Runs the command given on the command line.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Whoever makes a TLS connection later finds this provider; a second installation is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = match load(&cli) {
        Ok(config) => config,
        Err(error) => return complain(&error.into()),
    };
    // HTTP and the database need few: every thread woken for another costs more than it brings, and calls come first.
    let workers = crate::threads::processors().div_ceil(2);
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(&error.into()),
        };
    runtime.block_on(execute(cli.command, config)).unwrap_or_else(|error| complain(&error))
}

fn load(cli: &Cli) -> Result<Config, crate::config::ConfigError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(cli.config.as_deref(), environment)?;
    if let Some(folder) = &cli.data_dir {
        config.data_dir.clone_from(folder);
    }
    Ok(config)
}

async fn execute(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => {
            crate::logs::start(&config)?;
            crate::app::serve_with(config, show_key, async |_| {}).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Demo => {
            crate::logs::start(&config)?;
            demo::run(config).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Call(arguments) => call::run(&config, arguments).await,
        Command::Ladder(arguments) => insight::ladder(&config, arguments).await,
        Command::Pcap(arguments) => insight::pcap(&config, arguments).await,
        Command::Keys(command) => keys::run(&config, command).await,
        Command::Users(command) => users::run(&config, command).await,
        Command::Numbers(command) => numbers::run(&config, command).await,
        Command::Accounts(command) => accounts::run(&config, command).await,
        Command::Trunks(command) => trunks::run(&config, command).await,
        Command::Webhooks(command) => webhooks::run(&config, command).await,
        Command::Backup(what) => backup::backup(&config, what).await,
        Command::Restore(what) => backup::restore(&config, what).await,
        Command::Test(arguments) => Ok(test::run(&config, &arguments)),
        Command::Sim => sim::run(&config),
        Command::Doctor => Ok(doctor::run(&config).await),
        Command::Check => check::run(&config),
    }
}

/// One line on standard error; 2 when the server refused, else 1.
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("trunkline: {error:#}");
    match error.downcast_ref::<client::Failure>() {
        Some(client::Failure::Refused { .. }) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// A line on standard output; a reader that has gone away is no reason to stop.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Rows as columns as wide as their widest cell.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// The rows of a list.
fn data(list: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    list.get("data").and_then(serde_json::Value::as_array).into_iter().flatten()
}

/// A field's text; empty where there is none.
fn text(value: &serde_json::Value, name: &str) -> String {
    value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// Shows the key that the very first start has made: nobody can see it again.
fn show_key(key: &crate::secret::Secret) {
    say(&format!(
        "This is the operator's API key. It is shown this once; keep it:\n\n  export TRUNKLINE_KEY={}\n",
        key.expose()
    ));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read_or_refused() {
        let good = [
            "trunkline serve --config other.toml",
            "trunkline --data-dir /srv/trunkline demo",
            "trunkline call +12025550123 --say Hello",
            "trunkline call sip:bob@example.com --play greeting.mp3 --from +15551234567 --trunk acme --no-record",
            "trunkline keys create --name billing --scope calls:read --scope calls:write --source 192.0.2.0/24",
            "trunkline ladder call_65a1f0c2a4b1c2d3e4f50601",
            "trunkline pcap call_65a1f0c2a4b1c2d3e4f50601",
            "trunkline keys list",
            "trunkline keys revoke key_65a1f0c2a4b1c2d3e4f50601",
            "trunkline trunks add acme --host sip.example.com --username u --password-file - --default",
            "trunkline trunks default sim",
            "trunkline trunks set acme channels=10 codecs=pcma,pcmu",
            "trunkline trunks set acme --set channels=10 --port 5070 --password-file - --default",
            "trunkline users add alice --display-name Alice --caller-id +12025550100 --account 1",
            "trunkline users add",
            "trunkline users list --account 1",
            "trunkline users password alice --password-file -",
            "trunkline users remove alice --account 1",
            "trunkline numbers add +12025550100 --user alice --timeout 20 --voicemail",
            "trunkline numbers add +12025550100 --say Hello",
            "trunkline numbers add +12025550100 --group sales --trunk acme --account 1",
            "trunkline numbers list",
            "trunkline numbers remove +12025550100",
            "trunkline accounts add Beta --domain beta.example.com",
            "trunkline accounts list",
            "trunkline webhooks add https://example.com/hook --event call.finished --event call.answered",
            "trunkline webhooks deliveries --dead",
            "trunkline webhooks replay msg_65a1f0c2a4b1c2d3e4f50601",
            "trunkline backup /srv/backup --recordings",
            "trunkline restore /srv/backup --data-dir /srv/trunkline",
            "trunkline test flows.toml more.toml --json",
            "trunkline sim",
            "trunkline doctor",
            "trunkline check",
        ];
        for line in good {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        let bad = [
            "trunkline",
            "trunkline call",
            "trunkline call +12025550123",
            "trunkline call +12025550123 --say Hello --play a.mp3",
            "trunkline ladder",
            "trunkline keys revoke",
            "trunkline trunks add acme",
            "trunkline webhooks add",
            "trunkline users remove",
            "trunkline numbers add",
            "trunkline numbers add +12025550100 --user alice --group sales",
            "trunkline accounts add",
            "trunkline backup",
            "trunkline restore",
            "trunkline test",
            "trunkline trunks add acme --host a --transport sctp",
            "trunkline trunks add acme --host a --port 0",
            "trunkline trunks set acme --port 0",
            "trunkline trunks set acme --set channels",
        ];
        for line in bad {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["sim".into(), "yes".into()], vec!["provider".into(), String::new()]];
        insta::assert_snapshot!(table(&["name", "default"], &rows), @"
        name      default
        sim       yes
        provider
        ");
    }
}
