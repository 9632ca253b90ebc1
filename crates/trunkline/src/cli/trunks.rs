//! `trunkline trunks`: adds, changes, tests, lists and removes SIP providers.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

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
    /// Change a trunk; what is not named stays
    #[command(
        after_help = "Example:\n  trunkline trunks set acme --port 5070 channels=10 calls_per_second=1 codecs=pcma,pcmu \
                            session_timer.enabled=false\nAn empty value goes back to none: proxy="
    )]
    Set(Box<Set>),
    /// Show a trunk with its settings, registration and health
    Show {
        /// Its name or id
        name: String,
    },
    /// Try a trunk step by step: DNS, connection, OPTIONS, REGISTER. Nobody is called
    Test {
        /// Its name or id
        name: String,
    },
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
    #[command(flatten)]
    fields: Fields,
}

/// A change to one.
#[derive(Args)]
pub(super) struct Set {
    /// Its name or id
    name: String,
    /// The provider's host name or address
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// As --set: name, host, port, transport, username, digest, number_form, prefix, caller_id, priority, default,
    /// enabled, or a setting (see the API's TrunkSettings)
    #[arg(value_name = "KEY=VALUE", value_parser = change)]
    changes: Vec<Change>,
}

/// What can be said of a new trunk and of one that is there.
#[derive(Args, Default)]
pub(super) struct Fields {
    /// The provider's SIP port [default: 5060, over tls 5061]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// How SIP travels [default: udp]
    #[arg(long, value_parser = ["udp", "tcp", "tls"])]
    transport: Option<String>,
    /// The user name the provider gave you
    #[arg(long)]
    username: Option<String>,
    /// A file with the password in its first line; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file with the password of the user that calls in (settings inbound.username), as --password-file
    #[arg(long, value_name = "FILE")]
    inbound_password_file: Option<PathBuf>,
    /// The digest algorithm; sha-256 only where the provider asks for it [default: md5]
    #[arg(long, value_parser = ["md5", "sha-256"])]
    digest: Option<String>,
    /// How the provider wants numbers written [default: +e164]
    #[arg(long, value_parser = ["+e164", "e164", "national", "as-given"])]
    number_form: Option<String>,
    /// Digits to dial before each number
    #[arg(long)]
    prefix: Option<String>,
    /// The number callees see when a call does not say it
    #[arg(long, value_name = "NUMBER")]
    caller_id: Option<String>,
    /// Lower is tried first, after the default trunk [default: 10]
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Let calls go out through it unless they name another
    #[arg(long)]
    default: bool,
    /// A setting, such as register=true, channels=10 or codecs=pcma,pcmu; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = change)]
    set: Vec<Change>,
}

/// One `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    key: String,
    value: Value,
}

/// Fields of the trunk itself; every other key is one of its settings.
const FIELDS: &[&str] = &[
    "name",
    "host",
    "port",
    "transport",
    "username",
    "digest",
    "number_form",
    "prefix",
    "caller_id",
    "priority",
    "default",
    "enabled",
];
/// Keys whose value is text, whatever it looks like.
const TEXTS: &[&str] = &[
    "name",
    "host",
    "transport",
    "username",
    "digest",
    "number_form",
    "prefix",
    "caller_id",
    "proxy",
    "request_domain",
    "from_domain",
    "realm",
    "inbound_number_form",
    "identity",
    "privacy",
    "dtmf",
    "srtp",
    "reliable_provisional",
    "session_timer.refresher",
    "inbound.username",
    "inbound.tls_name",
];

fn change(text: &str) -> Result<Change, String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE, such as channels=10")?;
    let key = key.trim().trim_start_matches("settings.").to_owned();
    let value = match value.trim() {
        "" if key == "inbound.sources" => Value::Array(Vec::new()),
        "" => Value::Null,
        list if ["codecs", "inbound.sources"].contains(&key.as_str()) => {
            list.split(',').map(str::trim).collect::<Value>()
        }
        text if TEXTS.contains(&key.as_str()) => text.into(),
        // The server says what it expected where this is neither a number nor true or false.
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    Ok(Change { key, value })
}

/// The changes as the API takes them: fields, and settings in their own object.
fn document(changes: impl IntoIterator<Item = Change>) -> Map<String, Value> {
    let (mut fields, mut settings) = (Map::new(), Map::new());
    for Change { key, value } in changes {
        match key.split_once('.') {
            _ if FIELDS.contains(&key.as_str()) => drop(fields.insert(key, value)),
            Some((outer, inner)) => {
                let outer = settings.entry(outer).or_insert_with(|| json!({}));
                if let Value::Object(outer) = outer {
                    outer.insert(inner.to_owned(), value);
                }
            }
            None => drop(settings.insert(key, value)),
        }
    }
    if !settings.is_empty() {
        fields.insert("settings".into(), settings.into());
    }
    fields
}

impl Fields {
    /// What was given, as the API takes it; `more` comes behind the options and wins.
    fn document(self, more: Vec<Change>) -> anyhow::Result<Map<String, Value>> {
        let password = self.password_file.as_deref().map(password_line).transpose()?;
        let given = json!({
            "port": self.port, "transport": self.transport, "username": self.username, "password": password,
            "digest": self.digest, "number_form": self.number_form, "prefix": self.prefix,
            "caller_id": self.caller_id, "priority": self.priority, "default": self.default.then_some(true),
        });
        let given = given.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let mut all: Map<String, Value> = given.map(|(key, value)| (key.clone(), value.clone())).collect();
        let inbound = self.inbound_password_file.as_deref().map(password_line).transpose()?;
        let inbound =
            inbound.map(|password| Change { key: "inbound.password".into(), value: password.into() });
        all.extend(document(self.set.into_iter().chain(more).chain(inbound)));
        Ok(all)
    }
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    match command {
        Command::Add(add) => {
            let Add { name, host, fields } = *add;
            let default = if fields.default { " and is the default" } else { "" };
            let mut order = fields.document(Vec::new())?;
            order.extend([("name".to_owned(), json!(name)), ("host".to_owned(), json!(host))]);
            client.ask(Method::POST, &["v1", "trunks"], Some(&order.into())).await?;
            say(&format!("{name} is added{default}."));
        }
        Command::Set(set) => {
            let Set { name, host, fields, changes } = *set;
            let host = host.map(|host| Change { key: "host".into(), value: host.into() });
            let change = fields.document(host.into_iter().chain(changes).collect())?;
            anyhow::ensure!(
                !change.is_empty(),
                "nothing to change is named; give an option or KEY=VALUE, such as channels=10"
            );
            client.ask(Method::PATCH, &["v1", "trunks", &name], Some(&change.into())).await?;
            say(&format!("{name} is changed."));
        }
        Command::Show { name } => {
            let trunk = client.ask(Method::GET, &["v1", "trunks", &name], None).await?;
            say(&serde_json::to_string_pretty(&trunk)?);
        }
        Command::Test { name } => return test(&client, &name).await,
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

async fn test(client: &Client, name: &str) -> anyhow::Result<ExitCode> {
    let tried = client.ask(Method::POST, &["v1", "trunks", name, "test"], None).await?;
    let text = |step: &Value, key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for step in tried.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let ok = step.get("ok").and_then(Value::as_bool) == Some(true);
        let ms = step.get("ms").and_then(Value::as_u64).unwrap_or_default();
        let word = if ok { "ok" } else { "FAILED" };
        say(&format!("{:<9} {word:<6} {ms:>5} ms  {}", text(step, "step"), text(step, "detail")));
        if !ok {
            say(&format!("{:26}Try: {}", "", text(step, "hint")));
        }
    }
    let ok = tried.get("ok").and_then(Value::as_bool) == Some(true);
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
pub(super) fn password_line(file: &Path) -> anyhow::Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_the_apis_document() {
        let texts = [
            "host=sip.example.com",
            "port=5070",
            "prefix=00",
            "channels=10",
            "calls_per_second=0.5",
            "codecs=pcma, g722",
            "inbound.sources=198.51.100.0/24, 2001:db8::1",
            "inbound.username=1234",
            "realm=1234",
            "settings.register=true",
            "session_timer.enabled=false",
            "session_timer.expires_s=900",
            "proxy=",
        ];
        let changes: Vec<_> = texts.iter().map(|text| change(text).unwrap()).collect();
        let expected = json!({
            "host": "sip.example.com", "port": 5070, "prefix": "00",
            "settings": {
                "channels": 10, "calls_per_second": 0.5, "codecs": ["pcma", "g722"], "realm": "1234", "register": true,
                "inbound": { "sources": ["198.51.100.0/24", "2001:db8::1"], "username": "1234" },
                "session_timer": { "enabled": false, "expires_s": 900 }, "proxy": null,
            },
        });
        assert_eq!(Value::Object(document(changes)), expected);
        assert!(change("channels").is_err());
    }

    #[test]
    fn options_and_changes_are_one_document() {
        let fields = Fields {
            port: Some(5070),
            priority: Some(-1),
            default: true,
            set: vec![change("channels=10").unwrap()],
            ..Fields::default()
        };
        let more = ["channels=20", "name=other", "port=5080"].map(|text| change(text).unwrap()).to_vec();
        let expected = json!({
            "port": 5080, "priority": -1, "default": true, "name": "other", "settings": { "channels": 20 },
        });
        assert_eq!(Value::Object(fields.document(more).unwrap()), expected);
        assert!(Fields::default().document(Vec::new()).unwrap().is_empty());
    }
}
