//! `trunkline accounts`: adds and lists the tenants of this server.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::{data, say, table, text};
use crate::config::Config;

/// What to do with accounts.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an account
    Add {
        /// What you call it
        name: String,
        /// A SIP domain of its own, a host name; its users' passwords stay bound to it
        #[arg(long)]
        domain: Option<String>,
    },
    /// List the accounts
    List,
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Add { name, domain } => {
            let order = json!({ "name": name, "domain": domain });
            let made = client.ask(Method::POST, &["v1", "accounts"], Some(&order)).await?;
            let id = made.get("id").and_then(Value::as_i64).unwrap_or_default();
            say(&format!("Account {id} is made. Its first key: trunkline keys create --account {id}"));
        }
        Command::List => {
            let mut rows = Vec::new();
            let mut after = None;
            loop {
                let mut query = vec![("limit", "200".to_owned())];
                query.extend(after.map(|after| ("after", after)));
                let page = client.list(&["v1", "accounts"], &query).await?;
                rows.extend(data(&page).map(row));
                match page.get("next").and_then(Value::as_str) {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            rows.reverse();
            say(&table(&["id", "name", "domain", "realm"], &rows));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(account: &Value) -> Vec<String> {
    let id = account.get("id").and_then(Value::as_i64).unwrap_or_default();
    vec![id.to_string(), text(account, "name"), text(account, "domain"), text(account, "realm")]
}
