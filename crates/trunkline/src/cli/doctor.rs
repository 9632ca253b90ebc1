//! `trunkline doctor`: looks at everything a call needs and says in plain words what to do.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Failure};
use super::say;
use crate::config::{Config, EngineChoice};
use crate::endpoint::{Certificates, Files, Trust};

/// How long a host name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// What was found, one line each.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    failed: bool,
}

impl Findings {
    fn good(&mut self, what: impl AsRef<str>) {
        self.lines.push(format!("ok     {}", what.as_ref()));
    }

    fn warn(&mut self, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.lines.push(format!("warn   {}\n       {}", what.as_ref(), advice.as_ref()));
    }

    fn fail(&mut self, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.failed = true;
        self.lines.push(format!("FAIL   {}\n       {}", what.as_ref(), advice.as_ref()));
    }
}

/// Ends with 1 if something keeps calls from working.
pub(super) async fn run(config: &Config) -> ExitCode {
    let mut found = Findings::default();
    settings(config, &mut found);
    folder(&config.data_dir, &mut found);
    engines(config, &mut found);
    let trunks = match server(config, &mut found).await {
        Some(client) => trunks(&client, &mut found).await,
        None => {
            ports(config, &mut found);
            certificate(config, &mut found);
            config.provider.iter().map(|it| ("provider".to_owned(), it.host.clone(), it.port())).collect()
        }
    };
    for (name, host, port) in trunks {
        resolves(&name, &host, port, &mut found).await;
    }
    for line in &found.lines {
        say(line);
    }
    say(if found.failed { "Something has to be done." } else { "Calls can be placed." });
    if found.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn settings(config: &Config, found: &mut Findings) {
    match config.check(config.provider.iter().map(|provider| provider.host.as_str())) {
        Ok(()) => found.good("settings can be used"),
        Err(error) => {
            found.fail(error.to_string(), "Change that key in trunkline.toml or in the environment.")
        }
    }
}

fn folder(folder: &Path, found: &mut Findings) {
    let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display().to_string();
    let mode = match std::fs::metadata(folder) {
        Ok(about) if about.is_dir() => about.permissions().mode(),
        Ok(_) => return found.fail(format!("{shown} is no folder"), "Set data_dir to a folder."),
        Err(_) => {
            return found.good(format!("data folder {shown} is not there yet; the first start makes it"));
        }
    };
    if let Err(error) = tempfile::tempfile_in(folder) {
        let advice = "Run trunkline as the folder's owner, or set data_dir to a folder of your own.";
        return found.fail(format!("data folder {shown} cannot be written to: {error}"), advice);
    }
    match mode & 0o077 {
        0 => found.good(format!("data folder {shown} can be written to and is private")),
        _ => found.warn(
            format!("data folder {shown} is open to other users"),
            format!("Close it: chmod 700 {shown}"),
        ),
    }
    let key = folder.join("master.key");
    if std::fs::metadata(&key).is_ok_and(|about| about.permissions().mode() & 0o077 != 0) {
        let key = key.display();
        found.fail(format!("{key} can be read by other users"), format!("Close it: chmod 600 {key}"));
    }
}

fn engines(config: &Config, found: &mut Findings) {
    let flite = program("flite");
    let espeak = program("espeak-ng");
    let install = "Install both speech engines: sudo apt-get install flite espeak-ng";
    let missing = "and nothing can be said on calls (playing files works)";
    match config.speech.engine {
        EngineChoice::Google if config.speech.google_api_key.is_none() => {
            found.fail(
                "speech engine google has no key",
                "Set GOOGLE_API_KEY, or engine = \"auto\" in [speech].",
            );
        }
        EngineChoice::Google => found.good("speech: Google"),
        EngineChoice::Openai => found.good(format!("speech: {}", config.speech.openai_url)),
        EngineChoice::Auto if config.speech.google_api_key.is_some() => found.good("speech: Google"),
        EngineChoice::Flite if flite.is_none() => {
            found.fail(format!("flite is not installed {missing}"), install)
        }
        EngineChoice::Espeak if espeak.is_none() => {
            found.fail(format!("espeak-ng is not installed {missing}"), install);
        }
        EngineChoice::Auto => match (&flite, &espeak) {
            (None, None) => {
                found.fail(format!("neither flite nor espeak-ng is installed {missing}"), install)
            }
            (None, Some(_)) => found.warn("flite is not installed; espeak-ng speaks English too", install),
            (Some(_), None) => found.warn("espeak-ng is not installed; only English can be spoken", install),
            (Some(_), Some(_)) => found.good("speech: flite for English, espeak-ng for other languages"),
        },
        EngineChoice::Flite => found.good("speech: flite"),
        EngineChoice::Espeak => found.good("speech: espeak-ng"),
    }
}

/// Where a program lies, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The running server, if there is one.
async fn server(config: &Config, found: &mut Findings) -> Option<Client> {
    let client = Client::new(config).ok()?;
    match client.health().await {
        Ok(health) if health.get("status").and_then(Value::as_str) == Some("ok") => {
            let calls = health.get("calls").and_then(Value::as_u64).unwrap_or(0);
            found.good(format!("the server runs; calls right now: {calls}"));
            Some(client)
        }
        Ok(_) => {
            let advice = "Look into its log; most often the disk is full or the database server is away.";
            found.fail("the server runs, but its database does not answer", advice);
            Some(client)
        }
        Err(Failure::NoServer(_)) => {
            found.good("no server runs here right now; `trunkline serve` starts it");
            None
        }
        Err(error) => {
            found.fail(error.to_string(), "Stop the server and start it again.");
            None
        }
    }
}

/// Whether a server could start: each address can be bound.
fn ports(config: &Config, found: &mut Findings) {
    let mut port = |key: &str, address: SocketAddr, bound: std::io::Result<()>| match bound {
        Ok(()) => found.good(format!("{key}: {address} is free")),
        Err(error) => found.fail(
            format!("{key}: {address} cannot be used: {error}"),
            format!("Stop what uses it, or set {key} (TRUNKLINE_{}) to another address.", key.to_uppercase()),
        ),
    };
    let tcp = |address| TcpListener::bind(address).map(drop);
    let udp = |address| UdpSocket::bind(address).map(drop);
    port("http_listen", config.http_listen, tcp(config.http_listen));
    port("sip_listen", config.sip_listen, udp(config.sip_listen).and_then(|()| tcp(config.sip_listen)));
    if let Some(address) = config.sips_listen() {
        port("sips_listen", address, tcp(address));
    }
    let rtp = SocketAddr::new(config.sip_listen.ip(), *config.rtp_ports.start());
    let free = config.rtp_ports.clone().any(|port| udp(SocketAddr::new(rtp.ip(), port)).is_ok());
    port("rtp_ports", rtp, if free { Ok(()) } else { Err(std::io::ErrorKind::AddrInUse.into()) });
}

/// Whether the certificate of the settings can be used.
fn certificate(config: &Config, found: &mut Findings) {
    let (Some(chain), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else { return };
    let files = Files { chain: chain.clone(), key: key.clone() };
    match Certificates::load(files, Trust::none()) {
        Ok(_) => found.good(format!("tls_cert_file: {} can be used", chain.display())),
        Err(error) => found.fail(
            format!("the TLS certificate cannot be used: {error}"),
            "Set tls_cert_file to a PEM file with the whole chain and tls_key_file to its key, or remove both.",
        ),
    }
}

/// The enabled SIP trunks as the server knows them.
async fn trunks(client: &Client, found: &mut Findings) -> Vec<(String, String, u16)> {
    let list = match client.ask(Method::GET, &["v1", "trunks"], None).await {
        Ok(list) => list,
        Err(error) => {
            found.fail(format!("the trunks cannot be read: {error}"), "Look into the server's log.");
            return Vec::new();
        }
    };
    let all: Vec<Value> = list.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let enabled = |trunk: &&Value| trunk.get("enabled").and_then(Value::as_bool) == Some(true);
    let text =
        |trunk: &Value, key: &str| trunk.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match all.iter().filter(enabled).find(|it| it.get("default").and_then(Value::as_bool) == Some(true)) {
        Some(default) => found.good(format!("calls go out through {}", text(default, "name"))),
        None => found.fail(
            "no trunk is the default, so calls have no way out",
            "Choose one: trunkline trunks default NAME",
        ),
    }
    let real = all.iter().filter(enabled).filter(|trunk| text(trunk, "kind") == "sip");
    let port =
        |trunk: &Value| trunk.get("port").and_then(Value::as_u64).and_then(|it| u16::try_from(it).ok());
    real.map(|trunk| (text(trunk, "name"), text(trunk, "host"), port(trunk).unwrap_or(5060))).collect()
}

async fn resolves(name: &str, host: &str, port: u16, found: &mut Findings) {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::time::timeout(LOOKUP, tokio::net::lookup_host((bare, port))).await {
        Ok(Ok(mut addresses)) => match addresses.next() {
            Some(address) => found.good(format!("trunk {name}: {host} is {}", address.ip())),
            None => found.fail(format!("trunk {name}: {host} has no address"), "Check the host's spelling."),
        },
        Ok(Err(error)) => found.fail(
            format!("trunk {name}: {host} cannot be resolved: {error}"),
            "Check the host's spelling and this machine's name server (/etc/resolv.conf).",
        ),
        Err(_) => found.fail(
            format!("trunk {name}: nobody answers who {host} is"),
            "Check this machine's name server (/etc/resolv.conf) and its network.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_open_to_others_and_a_readable_master_key_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        mode(folder.path(), 0o700);
        let mut found = Findings::default();
        super::folder(folder.path(), &mut found);
        assert!(!found.failed && found.lines[0].starts_with("ok"), "{:?}", found.lines);

        mode(folder.path(), 0o755);
        let key = folder.path().join("master.key");
        std::fs::write(&key, "00").unwrap();
        mode(&key, 0o644);
        let mut found = Findings::default();
        super::folder(folder.path(), &mut found);
        assert!(found.lines[0].contains("chmod 700"), "{:?}", found.lines);
        assert!(found.failed && found.lines[1].contains("chmod 600"), "{:?}", found.lines);
    }

    #[test]
    fn ports_in_use_name_the_key_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { http_listen: taken.local_addr().unwrap(), ..Config::default() };
        let mut found = Findings::default();
        ports(&config, &mut found);
        assert!(found.failed && found.lines[0].contains("TRUNKLINE_HTTP_LISTEN"), "{:?}", found.lines);
    }

    #[tokio::test]
    async fn a_host_that_is_none_is_found() {
        let mut found = Findings::default();
        resolves("acme", "no-such-host.invalid", 5060, &mut found).await;
        assert!(found.failed && found.lines[0].contains("acme"), "{:?}", found.lines);
    }
}
