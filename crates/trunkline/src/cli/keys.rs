//! `trunkline keys`: makes, lists, rotates and revokes API keys.

use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::{say, table};
use crate::config::Config;

/// What to do with keys.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key; it is shown this once, alone on standard output
    #[command(after_help = "Example:\n  export TRUNKLINE_KEY=$(trunkline keys create --name my-shell)")]
    Create {
        /// What it is for
        #[arg(long, default_value = "command line")]
        name: String,
        /// What it may do, such as calls:write or usage:read (may be repeated); everything if left out
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// From where it may be used: an address or a range (may be repeated); from anywhere if left out
        #[arg(long = "source", value_name = "RANGE")]
        sources: Vec<String>,
        /// When it ends, such as 2030-01-01T00:00:00Z; never if left out
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Let it act for the operator, who sees every account
        #[arg(long)]
        operator: bool,
        /// The account it belongs to; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
    /// List all keys
    List,
    /// Exchange a key for a new one, shown this once; the old one goes on for a while
    Rotate {
        /// Its id, as `keys list` shows it
        id: String,
        /// For how long the old one goes on, in seconds; a day if left out
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u32>,
    },
    /// Revoke a key: it opens nothing any more
    Revoke {
        /// Its id, as `keys list` shows it
        id: String,
    },
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Create { name, scopes, sources, expires_at, operator, account } => {
            let order = json!({
                "name": name, "scopes": scopes, "sources": sources, "operator": operator, "account": account,
                "expires_at": expires_at,
            });
            show(&client.ask(Method::POST, &["v1", "keys"], Some(&order)).await?)?;
        }
        Command::Rotate { id, overlap } => {
            let order = json!({ "overlap_s": overlap });
            show(&client.ask(Method::POST, &["v1", "keys", &id, "rotate"], Some(&order)).await?)?;
        }
        Command::List => {
            let list = client.ask(Method::GET, &["v1", "keys"], None).await?;
            let rows: Vec<_> =
                list.get("data").and_then(Value::as_array).into_iter().flatten().map(row).collect();
            say(&table(
                &["id", "name", "account", "begins with", "may", "from", "last used", "state"],
                &rows,
            ));
        }
        Command::Revoke { id } => {
            client.ask(Method::DELETE, &["v1", "keys", &id], None).await?;
            say(&format!("{id} is revoked."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A new key, alone on standard output.
fn show(made: &Value) -> Result<(), Failure> {
    let key = made.get("key").and_then(Value::as_str);
    say(key.ok_or_else(|| Failure::Broken("the answer has no key".into()))?);
    eprintln!("Keep it: it is stored hashed and cannot be shown again.");
    Ok(())
}

fn row(key: &Value) -> Vec<String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |name: &str, none: &str| {
        let items = key.get(name).and_then(Value::as_array).into_iter().flatten();
        let items: Vec<&str> = items.filter_map(Value::as_str).collect();
        if items.is_empty() { none.to_owned() } else { items.join(" ") }
    };
    let operator = key.get("operator").and_then(Value::as_bool) == Some(true);
    let account = key.get("account").and_then(Value::as_i64).unwrap_or_default();
    vec![
        text("id"),
        text("name"),
        if operator { "operator".to_owned() } else { account.to_string() },
        text("prefix"),
        list("scopes", "everything"),
        list("sources", "anywhere"),
        Some(text("last_used_at")).filter(|at| !at.is_empty()).unwrap_or_else(|| "never".to_owned()),
        match (text("revoked_at").as_str(), text("expires_at").as_str()) {
            ("", "") => "good".to_owned(),
            ("", end) if end.parse::<Timestamp>().is_ok_and(|end| end <= Timestamp::now()) => {
                "ended".to_owned()
            }
            ("", end) => format!("good until {end}"),
            _ => "revoked".to_owned(),
        },
    ]
}
