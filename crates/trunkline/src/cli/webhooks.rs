//! `trunkline webhooks`: where events are delivered to, and what became of them.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::{data, say, table, text};
use crate::config::Config;

/// What to do with webhook endpoints.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an endpoint; its secret is shown this once, alone on standard output
    Add {
        /// Where to POST to
        url: String,
        /// call.queued, call.ringing, call.answered or call.finished (may be repeated); all if left out
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// The account it belongs to; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
    /// List the endpoints of an account
    List {
        /// The account; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
    /// Enable an endpoint again
    Enable {
        /// Its id, as `webhooks list` shows it
        id: String,
    },
    /// Give an endpoint a new secret, shown this once; for a day the old one signs too
    Rotate {
        /// Its id
        id: String,
    },
    /// Send a test event
    Test {
        /// Its id
        id: String,
    },
    /// Delete an endpoint and what was to be delivered to it
    Remove {
        /// Its id
        id: String,
    },
    /// List the newest deliveries
    Deliveries {
        /// Only those that were given up
        #[arg(long)]
        dead: bool,
        /// Only those to this endpoint
        #[arg(long, value_name = "ID")]
        webhook: Option<String>,
    },
    /// Deliver once more: one delivery (msg_…), or all that was given up for an endpoint (webhook_…)
    Replay {
        /// The id of either
        id: String,
    },
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Add { url, events, description, account } => {
            let events = if events.is_empty() { vec!["*".to_owned()] } else { events };
            let order =
                json!({ "url": url, "events": events, "description": description, "account": account });
            let made = client.ask(Method::POST, &["v1", "webhooks"], Some(&order)).await?;
            show_secret(&made)?;
        }
        Command::List { account } => {
            let mut query = Vec::new();
            query.extend(account.map(|account| ("account", account.to_string())));
            let list = client.list(&["v1", "webhooks"], &query).await?;
            let rows: Vec<_> = data(&list).map(webhook_row).collect();
            say(&table(&["id", "url", "events", "state"], &rows));
        }
        Command::Enable { id } => {
            let change = json!({ "enabled": true });
            client.ask(Method::PATCH, &["v1", "webhooks", &id], Some(&change)).await?;
            say(&format!("{id} is enabled."));
        }
        Command::Rotate { id } => {
            let rotated = client.ask(Method::POST, &["v1", "webhooks", &id, "rotate"], None).await?;
            show_secret(&rotated)?;
        }
        Command::Test { id } => {
            let delivery = client.ask(Method::POST, &["v1", "webhooks", &id, "test"], None).await?;
            say(&format!(
                "{} is on its way; `trunkline webhooks deliveries` shows it.",
                text(&delivery, "id")
            ));
        }
        Command::Remove { id } => {
            client.ask(Method::DELETE, &["v1", "webhooks", &id], None).await?;
            say(&format!("{id} is gone."));
        }
        Command::Deliveries { dead, webhook } => {
            let mut query = Vec::new();
            query.extend(dead.then(|| ("state", "dead".to_owned())));
            query.extend(webhook.map(|id| ("webhook", id)));
            let list = client.list(&["v1", "deliveries"], &query).await?;
            let rows: Vec<_> = data(&list).map(delivery_row).collect();
            say(&table(&["id", "webhook", "type", "state", "attempts", "at"], &rows));
        }
        Command::Replay { id } if id.starts_with("msg_") => {
            client.ask(Method::POST, &["v1", "deliveries", &id, "replay"], None).await?;
            say(&format!("{id} is on its way again."));
        }
        Command::Replay { id } => {
            let replayed = client.ask(Method::POST, &["v1", "webhooks", &id, "replay"], None).await?;
            let count = replayed.get("replayed").and_then(Value::as_u64).unwrap_or_default();
            say(&format!("{count} are on their way again."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_secret(answer: &Value) -> Result<(), Failure> {
    let secret = answer.get("secret").and_then(Value::as_str);
    say(secret.ok_or_else(|| Failure::Broken("the answer has no secret".into()))?);
    let id = answer.get("webhook").map(|webhook| text(webhook, "id")).unwrap_or_default();
    eprintln!("{id}: keep the secret, it is not shown again. It checks the header webhook-signature.");
    Ok(())
}

fn webhook_row(webhook: &Value) -> Vec<String> {
    let events = webhook.get("events").and_then(Value::as_array).into_iter().flatten();
    let events: Vec<&str> = events.filter_map(Value::as_str).collect();
    let state = match webhook.get("enabled").and_then(Value::as_bool) {
        Some(true) => "enabled".to_owned(),
        _ => format!("disabled {}", text(webhook, "disabled_why")).trim_end().to_owned(),
    };
    vec![text(webhook, "id"), text(webhook, "url"), events.join(" "), state]
}

fn delivery_row(delivery: &Value) -> Vec<String> {
    let attempts = delivery.get("attempts").and_then(Value::as_i64).unwrap_or_default();
    vec![
        text(delivery, "id"),
        text(delivery, "webhook"),
        text(delivery, "type"),
        text(delivery, "state"),
        attempts.to_string(),
        text(delivery, "created_at"),
    ]
}
