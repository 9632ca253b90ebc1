//! `trunkline sip`: what the SIP server is doing.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::{say, text};
use crate::config::Config;

/// What to do with it.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Take registrations and calls again
    Start,
    /// Refuse new registrations and calls with 503; calls that are up go on
    Stop,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = Client::new(config)?;
    let (method, path): (_, &[&str]) = match arguments.verb {
        None => (Method::GET, &["v1", "sip"]),
        Some(Verb::Start) => (Method::POST, &["v1", "sip", "start"]),
        Some(Verb::Stop) => (Method::POST, &["v1", "sip", "stop"]),
    };
    say(&show(&client.ask(method, path, None).await?));
    Ok(ExitCode::SUCCESS)
}

fn show(sip: &Value) -> String {
    let number = |pointer: &str| sip.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let pairs = |pointer: &str| {
        let pairs = sip.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        let pairs = pairs.filter(|(_, value)| value.as_u64() != Some(0));
        let shown: Vec<String> = pairs
            .map(|(name, value)| match value.as_str() {
                Some(text) => format!("{name} {text}"),
                None => format!("{name} {value}"),
            })
            .collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    };
    [
        format!("The SIP server is {} (since {}).", text(sip, "state"), text(sip, "started_at")),
        format!("  Listens      {}", pairs("/addresses")),
        format!("  Calls        {} ({} legs)", number("/calls"), number("/legs")),
        format!(
            "  Phones       {} of {} users, {} lost ({})",
            number("/registrations/phones"),
            number("/registrations/users"),
            number("/registrations/lost"),
            pairs("/registrations/by_transport")
        ),
        format!(
            "  Connections  {} (accepted {}, refused {}, failed handshakes {})",
            pairs("/connections/open"),
            number("/connections/accepted"),
            number("/connections/refused"),
            number("/connections/handshakes_failed")
        ),
        format!("  Received     {}; {}", pairs("/received/requests"), pairs("/received/responses")),
        format!("  Sent         {}; {}", pairs("/sent/requests"), pairs("/sent/responses")),
        format!(
            "  Again        {} received, {} sent; timeouts {}, no SIP {}",
            number("/received/retransmissions"),
            number("/sent/retransmissions"),
            number("/timeouts"),
            number("/parse_errors")
        ),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_figures_are_shown() {
        let sip = json!({
            "state": "running", "started_at": "2026-01-01T00:00:00.000Z",
            "addresses": { "udp": "192.0.2.10:5060", "ws": "192.0.2.10:5060" }, "calls": 2, "legs": 4,
            "registrations": { "phones": 3, "users": 2, "lost": 0, "by_transport": { "udp": 2, "tcp": 0, "ws": 1 } },
            "connections": { "open": { "ws": 1, "tcp": 0 }, "accepted": 7, "refused": 0, "handshakes_failed": 0 },
            "received": { "requests": { "REGISTER": 12 }, "responses": { "2xx": 4 }, "retransmissions": 0 },
            "sent": { "requests": {}, "responses": { "2xx": 6, "4xx": 6 }, "retransmissions": 1 },
            "timeouts": 0, "parse_errors": 0,
        });
        insta::assert_snapshot!(show(&sip), @r#"
        The SIP server is running (since 2026-01-01T00:00:00.000Z).
          Listens      udp 192.0.2.10:5060, ws 192.0.2.10:5060
          Calls        2 (4 legs)
          Phones       3 of 2 users, 0 lost (udp 2, ws 1)
          Connections  ws 1 (accepted 7, refused 0, failed handshakes 0)
          Received     REGISTER 12; 2xx 4
          Sent         none; 2xx 6, 4xx 6
          Again        0 received, 1 sent; timeouts 0, no SIP 0
        "#);
    }
}
