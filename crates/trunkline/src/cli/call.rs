//! `trunkline call`: places a call and shows how it goes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::say;
use crate::config::Config;
use crate::progress::Narrator;
use crate::upload::LARGEST;

const CODES: &str = "\
Ends with:
  0  completed: the call was answered and has ended
  1  no server runs, or it went away
  2  refused: the command or the number is wrong; nobody was dialled
  3  busy
  4  no answer
  5  failed; the cause is shown
  6  canceled before it was answered (Ctrl-C)

Examples:
  trunkline call +12025550123 --say \"Your table is ready.\"
  trunkline call +12025550123 --play greeting.mp3 --from +15551234567
  trunkline call sip:bob@example.com --say \"Hello, Bob.\" --no-record
Ctrl-C hangs the call up; a second one leaves it to itself.";

/// Whom to call and what to say.
#[derive(Args)]
#[command(after_help = CODES)]
pub(super) struct Arguments {
    /// A number such as +12025550123, or a SIP address
    #[arg(value_name = "NUMBER")]
    to: String,
    #[command(flatten)]
    content: Content,
    /// The number the callee shall see; the trunk's caller ID if left out
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// The trunk to go out through; the default trunk if left out
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// Do not record the call
    #[arg(long)]
    no_record: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Content {
    /// Say this once the call is answered
    #[arg(long, value_name = "TEXT")]
    say: Option<String>,
    /// Play this sound file (WAV, MP3, FLAC or OGG) once the call is answered, or one uploaded before (uploads/…)
    #[arg(long, value_name = "FILE")]
    play: Option<PathBuf>,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    let play = match &arguments.content.play {
        Some(file) => Some(stored(&client, file).await?),
        None => None,
    };
    let mut order = json!({ "to": arguments.to, "record": !arguments.no_record });
    let optional = [
        ("say", arguments.content.say),
        ("play", play),
        ("from", arguments.from),
        ("trunk", arguments.trunk),
    ];
    for (field, value) in optional {
        if let (Some(value), Some(order)) = (value, order.as_object_mut()) {
            order.insert(field.to_owned(), value.into());
        }
    }
    let call = client.ask(Method::POST, &["v1", "calls"], Some(&order)).await?;
    let id = text(&call, "id").context("the server's answer has no call id")?;
    say(&format!("{id} to {}", arguments.to));
    follow(&client, &id, &config.data_dir).await
}

/// A local file is given to the server first; another name is one it knows already.
async fn stored(client: &Client, file: &Path) -> anyhow::Result<String> {
    if tokio::fs::metadata(file).await.is_ok_and(|about| !about.is_file() || about.len() > LARGEST as u64) {
        let detail = format!("{} is no file of at most {} MiB", file.display(), LARGEST / (1024 * 1024));
        return Err(Failure::Refused { detail, hint: None }.into());
    }
    match tokio::fs::read(file).await {
        Ok(bytes) => Ok(client.upload(file, bytes).await?),
        Err(_) if file.starts_with("uploads") => Ok(file.to_string_lossy().into_owned()),
        Err(error) => {
            Err(Failure::Refused { detail: format!("{}: {error}", file.display()), hint: None }.into())
        }
    }
}

/// Shows a call until it has ended; Ctrl-C hangs it up.
async fn follow(client: &Client, id: &str, data_dir: &Path) -> anyhow::Result<ExitCode> {
    let mut events = client.events(id).await?;
    let mut narrator = Narrator::default();
    let mut interrupted = false;
    let mut recording = None;
    let mut status = String::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => {
                if std::mem::replace(&mut interrupted, true) {
                    return Ok(ExitCode::from(130));
                }
                say("           hanging up");
                client.ask(Method::POST, &["v1", "calls", id, "hangup"], None).await?;
                continue;
            }
        };
        let Some(event) = event else { break };
        let detail = event.get("detail").unwrap_or(&Value::Null);
        let at = text(&event, "at").and_then(|at| at.parse::<jiff::Timestamp>().ok()).unwrap_or_default();
        let kind = text(&event, "kind").unwrap_or_default();
        if kind == "finished" {
            recording = text(detail, "recording");
            status = text(detail, "state").unwrap_or_default();
        }
        if let Some(line) = narrator.line(at.as_millisecond(), &kind, detail) {
            say(&line);
        }
    }
    if let Some(name) = recording {
        say(&format!("recording: {}", recording_path(data_dir, &name)));
    }
    exit_code(&status)
        .ok_or_else(|| Failure::Broken("the connection ended before the call did".into()).into())
}

/// Where a recording lies, whole, so that it can be copied from the terminal.
pub(super) fn recording_path(data_dir: &Path, name: &str) -> String {
    let path = data_dir.join("recordings").join(name);
    std::path::absolute(&path).unwrap_or(path).display().to_string()
}

fn exit_code(status: &str) -> Option<ExitCode> {
    let state: call::State = status.parse().ok()?;
    Some(match state {
        call::State::Completed => ExitCode::SUCCESS,
        call::State::Busy => ExitCode::from(3),
        call::State::NoAnswer => ExitCode::from(4),
        call::State::Failed => ExitCode::from(5),
        call::State::Canceled => ExitCode::from(6),
        call::State::Queued | call::State::Ringing | call::State::InProgress => return None,
    })
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
}
