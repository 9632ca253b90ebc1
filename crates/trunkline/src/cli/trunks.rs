//! `trunkline trunks`: adds, lists and removes SIP providers.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::{say, table};
use crate::config::Config;

/// What to do with trunks.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a SIP provider
    #[command(after_help = "Example (asks for the password):\n  trunkline trunks add acme --host \
                            sip.example.com --username 4915 --password-file - --caller-id +12025550100 --default")]
    Add(Box<Add>),
    /// List the trunks
    List,
    /// Remove a trunk; calls on it go on
    Remove {
        /// Its name or id
        name: String,
    },
    /// Let calls go out through this trunk unless they name another
    Default {
        /// Its name or id
        name: String,
    },
}

/// A SIP provider.
#[derive(Args)]
pub(super) struct Add {
    /// A name of your own: letters, digits, `.`, `_`, `-`
    name: String,
    /// The provider's host name or address
    #[arg(long)]
    host: String,
    /// The provider's SIP port
    #[arg(long, default_value_t = 5060, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How SIP travels
    #[arg(long, default_value = "udp", value_parser = ["udp", "tcp"])]
    transport: String,
    /// The user name the provider gave you
    #[arg(long)]
    username: Option<String>,
    /// A file with the password in its first line; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The digest algorithm; sha-256 only where the provider asks for it
    #[arg(long, default_value = "md5", value_parser = ["md5", "sha-256"])]
    digest: String,
    /// How the provider wants numbers written
    #[arg(long, default_value = "+e164", value_parser = ["+e164", "e164", "national", "as-given"])]
    number_form: String,
    /// Digits to dial before each number
    #[arg(long)]
    prefix: Option<String>,
    /// The number callees see when a call does not say it
    #[arg(long, value_name = "NUMBER")]
    caller_id: Option<String>,
    /// Lower is tried first, after the default trunk
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Let calls go out through it unless they name another
    #[arg(long)]
    default: bool,
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Add(add) => {
            let password = add.password_file.as_deref().map(password).transpose()?;
            let order = json!({
                "name": add.name, "host": add.host, "port": add.port, "transport": add.transport,
                "username": add.username, "password": password, "digest": add.digest,
                "number_form": add.number_form, "prefix": add.prefix, "caller_id": add.caller_id,
                "priority": add.priority, "default": add.default,
            });
            client.ask(Method::POST, &["v1", "trunks"], Some(&order)).await?;
            let default = if add.default { " and is the default" } else { "" };
            say(&format!("{} is added{default}.", add.name));
        }
        Command::List => {
            let list = client.ask(Method::GET, &["v1", "trunks"], None).await?;
            let rows: Vec<_> =
                list.get("data").and_then(Value::as_array).into_iter().flatten().map(row).collect();
            say(&table(&["name", "kind", "host", "user", "caller id", "default", "enabled"], &rows));
        }
        Command::Remove { name } => {
            client.ask(Method::DELETE, &["v1", "trunks", &name], None).await?;
            say(&format!("{name} is removed."));
        }
        Command::Default { name } => {
            let change = json!({ "default": true });
            client.ask(Method::PATCH, &["v1", "trunks", &name], Some(&change)).await?;
            say(&format!("Calls go out through {name} from now on."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(trunk: &Value) -> Vec<String> {
    let text = |name: &str| trunk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let yes = |name: &str| match trunk.get(name).and_then(Value::as_bool) {
        Some(true) => "yes".to_owned(),
        _ => "no".to_owned(),
    };
    let simulated = text("kind") == "simulated";
    let port = trunk.get("port").and_then(Value::as_u64).unwrap_or_default();
    let host =
        if simulated { String::new() } else { format!("{}:{port}/{}", text("host"), text("transport")) };
    vec![
        text("name"),
        text("kind"),
        host,
        text("username"),
        text("caller_id"),
        yes("default"),
        yes("enabled"),
    ]
}

/// The first line of a file, or of standard input; a terminal is asked without showing what is typed.
fn password(file: &Path) -> anyhow::Result<String> {
    let mut line = String::new();
    if file != Path::new("-") {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        line.push_str(text.lines().next().unwrap_or_default());
    } else if std::io::stdin().is_terminal() {
        eprint!("Password: ");
        echo(false);
        let read = std::io::stdin().lock().read_line(&mut line);
        echo(true);
        eprintln!();
        read?;
    } else {
        std::io::stdin().lock().take(4096).read_to_string(&mut line)?;
        line = line.lines().next().unwrap_or_default().to_owned();
    }
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    anyhow::ensure!(!line.is_empty(), "the password is empty");
    Ok(line)
}

/// Whether the terminal shows what is typed; where it cannot be told, it does.
fn echo(on: bool) {
    let _ = std::process::Command::new("stty").arg(if on { "echo" } else { "-echo" }).status();
}
