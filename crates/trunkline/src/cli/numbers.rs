//! `trunkline numbers`: where calls to them go.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::users::whose;
use super::{data, say, table, text};
use crate::config::Config;

/// What to do with numbers.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a number and say where calls to it go
    #[command(
        after_help = "Example:\n  trunkline numbers add +12025550100 --user alice --timeout 20 --voicemail\nRoutes \
                            of more targets, flows and other refusals are set with PATCH /v1/numbers/{id}."
    )]
    Add(Box<Add>),
    /// List the newest numbers of an account
    List {
        /// The account; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
    /// Remove a number; calls that are up go on
    Remove {
        /// The number, or its id
        number: String,
        /// The account; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
}

/// A number to be added.
#[derive(Args)]
pub(super) struct Add {
    /// The number, best with + and country code
    number: String,
    /// What you call it
    #[arg(long, default_value = "")]
    name: String,
    /// Only calls from this trunk are for it
    #[arg(long)]
    trunk: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Seconds to let it ring
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Who is not answered may leave a message
    #[arg(long, conflicts_with_all = ["say", "webhook"])]
    voicemail: bool,
    /// The account; the operator's own if left out
    #[arg(long, value_name = "NUMBER")]
    account: Option<i64>,
}

/// Where calls go.
#[derive(Args)]
#[group(multiple = false)]
struct Target {
    /// Ring the phones of this user
    #[arg(long)]
    user: Option<String>,
    /// Ring this group
    #[arg(long)]
    group: Option<String>,
    /// Forward to this number
    #[arg(long, value_name = "NUMBER")]
    dial: Option<String>,
    /// Ask this URL what to do
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Answer, say this and hang up
    #[arg(long, value_name = "TEXT")]
    say: Option<String>,
}

impl Add {
    /// As the API takes it.
    fn document(self) -> Value {
        let Target { user, group, dial, webhook, say } = self.target;
        let named = [("user", user), ("group", group), ("dial", dial), ("webhook", webhook)];
        let mut target: Map<String, Value> =
            named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
        target.extend(say.map(|text| ("flow".to_owned(), json!([{ "say": { "text": text } }]))));
        target.extend(self.timeout.map(|seconds| ("timeout_s".to_owned(), json!(seconds))));
        let mut route = Vec::new();
        if !target.is_empty() {
            route.push(Value::Object(target));
        }
        if self.voicemail {
            route.push(json!({ "voicemail": {} }));
        }
        let mut order = json!({ "number": self.number, "name": self.name, "route": route });
        if let Value::Object(order) = &mut order {
            order.extend(self.trunk.map(|trunk| ("trunk".to_owned(), json!(trunk))));
            order.extend(self.account.map(|account| ("account".to_owned(), json!(account))));
        }
        order
    }
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Add(add) => {
            let made = client.ask(Method::POST, &["v1", "numbers"], Some(&add.document())).await?;
            say(&format!("{} is added: {}.", text(&made, "number"), route(&made)));
        }
        Command::List { account } => {
            let mut query = vec![("limit", "200".to_owned())];
            query.extend(whose(account));
            let list = client.list(&["v1", "numbers"], &query).await?;
            let rows: Vec<_> = data(&list).map(row).collect();
            say(&table(&["id", "number", "name", "trunk", "calls go to"], &rows));
            if list.get("next").is_some_and(|next| !next.is_null()) {
                eprintln!("There are more; GET /v1/numbers shows all.");
            }
        }
        Command::Remove { number, account } => {
            client.ask_with(Method::DELETE, &["v1", "numbers", &number], &whose(account), None).await?;
            say(&format!("{number} is removed."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(number: &Value) -> Vec<String> {
    let id = number.get("id").and_then(Value::as_i64).unwrap_or_default();
    vec![id.to_string(), text(number, "number"), text(number, "name"), text(number, "trunk"), route(number)]
}

/// A route in a few words.
fn route(number: &Value) -> String {
    let targets = number.get("route").and_then(Value::as_array).into_iter().flatten();
    let targets: Vec<String> = targets.filter_map(target).collect();
    if targets.is_empty() { "nobody yet, calls are refused".to_owned() } else { targets.join(", then ") }
}

fn target(target: &Value) -> Option<String> {
    let fields = target.as_object()?;
    let (word, value) = fields.iter().find(|(key, _)| *key != "timeout_s")?;
    let seconds = fields.get("timeout_s").and_then(Value::as_u64);
    let seconds = seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
    Some(match value.as_str() {
        Some(name) => format!("{word} {name}{seconds}"),
        None => format!("{word}{seconds}"),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        add: Add,
    }

    #[test]
    fn options_become_a_route() {
        for (line, order, shown) in [
            (
                "x +12025550100 --user alice --timeout 20 --voicemail --trunk acme --account 1",
                json!({
                    "number": "+12025550100", "name": "", "trunk": "acme", "account": 1,
                    "route": [{ "user": "alice", "timeout_s": 20 }, { "voicemail": {} }],
                }),
                "user alice for 20 s, then voicemail",
            ),
            (
                "x +12025550100 --say Hello",
                json!({
                    "number": "+12025550100", "name": "", "route": [{ "flow": [{ "say": { "text": "Hello" } }] }],
                }),
                "flow",
            ),
            (
                "x +12025550100",
                json!({ "number": "+12025550100", "name": "", "route": [] }),
                "nobody yet, calls are refused",
            ),
        ] {
            let made = Line::try_parse_from(line.split(' ')).unwrap().add.document();
            assert_eq!(made, order, "{line}");
            assert_eq!(route(&made), shown, "{line}");
        }
    }
}
