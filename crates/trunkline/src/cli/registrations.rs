//! `trunkline registrations`: the phones that are registered.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::users::whose;
use super::{data, say, table, text};
use crate::config::Config;

/// Which of them.
#[derive(Args)]
pub(super) struct Arguments {
    /// Only the phones of this user (name or id)
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Forget this phone: it is not called until it registers again
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    forget: Option<String>,
    /// The account; the operator's own if left out
    #[arg(long, value_name = "NUMBER")]
    account: Option<i64>,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    let Arguments { user, forget, account } = arguments;
    if let Some(id) = forget {
        client.ask_with(Method::DELETE, &["v1", "registrations", &id], &whose(account), None).await?;
        say(&format!("{id} is forgotten."));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let mut query = vec![("limit", "200".to_owned())];
        query.extend(whose(account));
        query.extend(user.clone().map(|user| ("user", user)));
        query.extend(after.map(|after| ("after", after)));
        let page = client.list(&["v1", "registrations"], &query).await?;
        rows.extend(data(&page).map(row));
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    match rows.is_empty() {
        true => say("No phone is registered."),
        false => say(&table(&["user", "phone", "over", "from", "until", "state", "id"], &rows)),
    }
    Ok(ExitCode::SUCCESS)
}

fn row(phone: &Value) -> Vec<String> {
    let columns = ["user", "user_agent", "transport", "source", "expires_at", "state", "id"];
    columns.map(|name| text(phone, name)).to_vec()
}
