//! `trunkline users`: who registers phones here.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Client, Failure};
use super::trunks::password_line;
use super::{data, say, table, text};
use crate::config::Config;

/// What to do with users.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a user and show what to type into the phone; the password is shown this once
    Add(Box<Add>),
    /// List the newest users of an account
    List {
        /// The account; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
    /// Give a user another password, shown this once; the old one opens nothing any more
    Password {
        /// User name or id
        user: String,
        /// A file with the password in its first line; `-` reads it from standard input; one is made if left out
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The account; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
    /// Remove a user; calls that are up go on
    Remove {
        /// User name or id
        user: String,
        /// The account; the operator's own if left out
        #[arg(long, value_name = "NUMBER")]
        account: Option<i64>,
    },
}

/// A user to be made.
#[derive(Args)]
pub(super) struct Add {
    /// What the phone registers as: a name, or an extension of 2 to 6 digits; made up if left out
    username: Option<String>,
    /// What those called see beside the number
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What your own systems call the user
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// A number it may show (may be repeated); the first where it names none
    #[arg(long = "caller-id", value_name = "NUMBER")]
    caller_ids: Vec<String>,
    /// Whom it may call [default: account]
    #[arg(long, value_parser = ["account", "internal", "none"])]
    may_call: Option<String>,
    /// Let callers who are not answered leave a message
    #[arg(long)]
    voicemail: bool,
    /// A file with the password in its first line; `-` reads it from standard input; one is made if left out
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The account; the operator's own if left out
    #[arg(long, value_name = "NUMBER")]
    account: Option<i64>,
}

impl Add {
    /// As the API takes it.
    fn document(self) -> anyhow::Result<Value> {
        let password = self.password_file.as_deref().map(password_line).transpose()?;
        let given = json!({
            "username": self.username, "password": password, "display_name": self.display_name,
            "external_id": self.external_id, "caller_ids": self.caller_ids, "may_call": self.may_call,
            "voicemail": self.voicemail, "account": self.account,
        });
        let given = given.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        Ok(given.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>().into())
    }
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Add(add) => {
            let made = client.ask(Method::POST, &["v1", "users"], Some(&add.document()?)).await?;
            say(&phone(&made)?);
        }
        Command::List { account } => {
            let mut query = vec![("limit", "200".to_owned())];
            query.extend(whose(account));
            let list = client.list(&["v1", "users"], &query).await?;
            let rows: Vec<_> = data(&list).map(row).collect();
            say(&table(&["user name", "name", "address", "may call", "external id", "enabled"], &rows));
            if list.get("next").is_some_and(|next| !next.is_null()) {
                eprintln!("There are more; GET /v1/users shows all.");
            }
        }
        Command::Password { user, password_file, account } => {
            let password = password_file.as_deref().map(password_line).transpose()?;
            let path = &["v1", "users", &user, "password"];
            let body = password.map_or_else(|| json!({}), |password| json!({ "password": password }));
            say(&phone(&client.ask_with(Method::POST, path, &whose(account), Some(&body)).await?)?);
        }
        Command::Remove { user, account } => {
            client.ask_with(Method::DELETE, &["v1", "users", &user], &whose(account), None).await?;
            say(&format!("{user} is removed."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The account as a query.
pub(super) fn whose(account: Option<i64>) -> Vec<(&'static str, String)> {
    account.map(|account| ("account", account.to_string())).into_iter().collect()
}

/// What is typed into a phone, under the names phones have for it.
fn phone(made: &Value) -> Result<String, Failure> {
    let lacks = || Failure::Broken("the answer has no user".into());
    let user = made.get("user").ok_or_else(lacks)?;
    let sip = user.get("sip").ok_or_else(lacks)?;
    let transports = sip.get("transports").and_then(Value::as_array).into_iter().flatten();
    let transports: Vec<String> = transports.filter_map(Value::as_str).map(str::to_uppercase).collect();
    let mut lines = vec![
        "Type this into the phone:".to_owned(),
        format!("  User name   {}", text(user, "username")),
        format!("  Password    {}", text(made, "password")),
        format!("  Domain      {}", text(sip, "domain")),
        format!("  Server      {}   (outbound proxy, if it asks)", text(sip, "server")),
        format!("  Transport   {}", transports.join(" or ")),
        format!("  Address     {}", text(sip, "uri")),
        "The password is stored as hashes and cannot be shown again.".to_owned(),
    ];
    let warning = text(sip, "warning");
    if !warning.is_empty() {
        lines.push(format!("Note: {warning}"));
    }
    Ok(lines.join("\n"))
}

fn row(user: &Value) -> Vec<String> {
    let enabled = user.get("enabled").and_then(Value::as_bool) == Some(true);
    vec![
        text(user, "username"),
        text(user, "display_name"),
        user.get("sip").map(|sip| text(sip, "uri")).unwrap_or_default(),
        text(user, "may_call"),
        text(user, "external_id"),
        if enabled { "yes" } else { "no" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_phone_asks_for_is_shown() {
        let made = json!({
            "user": {
                "username": "alice",
                "sip": {
                    "uri": "sip:alice@acme.example.com", "domain": "acme.example.com", "server": "192.0.2.10:5060",
                    "transports": ["udp", "tcp"], "warning": "SIP listens on loopback.",
                },
            },
            "password": "pT4kVwq8ZmXy7bRdH2nJcF5s",
        });
        insta::assert_snapshot!(phone(&made).unwrap(), @r"
        Type this into the phone:
          User name   alice
          Password    pT4kVwq8ZmXy7bRdH2nJcF5s
          Domain      acme.example.com
          Server      192.0.2.10:5060   (outbound proxy, if it asks)
          Transport   UDP or TCP
          Address     sip:alice@acme.example.com
        The password is stored as hashes and cannot be shown again.
        Note: SIP listens on loopback.
        ");
        assert!(phone(&json!({})).is_err());
    }
}
