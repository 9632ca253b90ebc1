//! `trunkline demo`: the server, and one call to the simulated phone network to see and hear it work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::call::recording_path;
use super::{say, show_key};
use crate::app::{self, App};
use crate::config::Config;
use crate::flow::Step;
use crate::originate::{Order, originate};
use crate::progress::{Follow, Narrator};
use crate::refused::Refused;

/// The simulated callee that answers and listens.
const CALLEE: &str = "+12025550123";
/// The example customer's own number.
const CALLER: &str = "+15551234567";
const WORDS: &str =
    "Hello! This is trunkline, placing its first call. If you can hear this, everything works.";

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    app::serve_with(config, show_key, demonstrate).await
}

/// Places the demonstration call, shows its progress, and says how to place the next one.
pub async fn demonstrate(app: Arc<App>) {
    say(&format!("trunkline {} is up: HTTP on {}", env!("CARGO_PKG_VERSION"), base(&app)));
    say(&listening(app.switch.address(), app.switch.tls_address()));
    match place(&app).await {
        Ok(()) => {}
        Err(refused) => say(&format!("The demonstration call was not placed: {refused}")),
    }
    say(&next_call(&base(&app), app.made_key, &command(&app.config)));
}

async fn place(app: &Arc<App>) -> Result<(), Refused> {
    say(&format!("Calling {CALLEE} on the simulated phone network (nobody's phone rings):"));
    let order = Order {
        account: 0,
        face: "demo",
        from: Some(CALLER.to_owned()),
        to: CALLEE.to_owned(),
        flow: vec![Step::Say { text: WORDS.to_owned(), voice: None, language: None }],
        // Named, so that a real trunk set as default is never dialled by a demonstration.
        trunk: Some("sim".to_owned()),
        record: true,
        ring_timeout: None,
        max_duration: None,
        metadata: Default::default(),
        once: None,
    };
    let call = originate(app, order).await?.call;
    let mut follow = Follow::start(app, &call, 0).await?;
    let mut narrator = Narrator::default();
    while let Some(event) = follow.next().await {
        if let Some(line) = narrator.line(event.at, &event.kind, &event.detail) {
            say(&line);
        }
    }
    let call = app.store.call(None, call.id).await?;
    if let Some(name) = call.and_then(|call| call.recording) {
        say(&format!(
            "Recording (left: the callee, right: trunkline): {}",
            recording_path(&app.config.data_dir, &name)
        ));
    }
    Ok(())
}

/// How this machine reaches the HTTP API.
fn base(app: &App) -> String {
    app.config.public_url.clone().unwrap_or_else(|| format!("http://{}", reachable(app.http_address)))
}

/// A listener on every address is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        false => address,
    }
}

/// How the command line is called here, so that it finds this server.
fn command(config: &Config) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "trunkline".to_owned());
    match config.data_dir == Config::default().data_dir {
        true => program,
        false => format!("{program} --data-dir {}", config.data_dir.display()),
    }
}

/// Where SIP is spoken, and over what.
fn listening(sip: SocketAddr, sips: Option<SocketAddr>) -> String {
    let plain = format!("SIP on {sip} (UDP, TCP, ws://{})", reachable(sip));
    match sips {
        Some(sips) => format!("{plain} and {sips} (TLS, wss://{})", reachable(sips)),
        None => plain,
    }
}

fn next_call(base: &str, made_key: bool, command: &str) -> String {
    let key = match made_key {
        true => "The operator's key stands above: export it there too.\n".to_owned(),
        false => format!(
            "The operator's key was shown at the first start; this makes another:\n\n  \
             export TRUNKLINE_KEY=$({command} keys create)\n"
        ),
    };
    format!(
        "\n{key}
The next call, from a second terminal:

  curl -X POST {base}/api/calls/initiate \\
    -H \"X-API-Key: $TRUNKLINE_KEY\" -H \"Content-Type: application/json\" \\
    -d '{{\"fromNumber\":\"{CALLER}\",\"toNumber\":\"{CALLEE}\",\"text\":\"Hello from my own call.\"}}'

The server goes on serving; Ctrl-C stops it."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_call_can_be_pasted() {
        let first = next_call("http://127.0.0.1:3000", true, "trunkline");
        insta::assert_snapshot!(first.trim_start(), @r#"
        The operator's key stands above: export it there too.

        The next call, from a second terminal:

          curl -X POST http://127.0.0.1:3000/api/calls/initiate \
            -H "X-API-Key: $TRUNKLINE_KEY" -H "Content-Type: application/json" \
            -d '{"fromNumber":"+15551234567","toNumber":"+12025550123","text":"Hello from my own call."}'

        The server goes on serving; Ctrl-C stops it.
        "#);
        let again = next_call("http://127.0.0.1:3000", false, "trunkline");
        assert!(again.contains("export TRUNKLINE_KEY=$(trunkline keys create)"), "{again}");
    }

    #[test]
    fn what_is_listened_on_is_said() {
        let [sip, sips] = ["0.0.0.0:5060", "0.0.0.0:5061"].map(|address| address.parse().unwrap());
        insta::assert_snapshot!(listening(sip, None), @"SIP on 0.0.0.0:5060 (UDP, TCP, ws://127.0.0.1:5060)");
        insta::assert_snapshot!(listening(sip, Some(sips)), @"SIP on 0.0.0.0:5060 (UDP, TCP, ws://127.0.0.1:5060) and 0.0.0.0:5061 (TLS, wss://127.0.0.1:5061)");
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        for (listen, reach) in [
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("[::]:3000", "127.0.0.1:3000"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reach);
        }
    }
}
