//! Settings that cannot be used: one line that names the key, exit code 1, before anything is served.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::ports;
use crate::server::{Server, TRUNKLINE};
use crate::tool::Process;

/// `trunkline serve` that must not start; its one line.
#[track_caller]
fn refuses_to_start(folder: &Path, env: &[(&str, &str)]) -> String {
    let log = folder.join("refused.log");
    let (http, sip, rtp) = (ports::take(1), ports::take(2), ports::take(32));
    let mut command = Command::new(TRUNKLINE);
    command
        .arg("serve")
        .current_dir(folder)
        .env("TRUNKLINE_HTTP_LISTEN", format!("127.0.0.1:{http}"))
        .env("TRUNKLINE_SIP_LISTEN", format!("127.0.0.1:{sip}"))
        .env("TRUNKLINE_RTP_PORTS", format!("{rtp}-{}", rtp + 31))
        .envs(env.iter().copied());
    let mut process = Process::start("trunkline", &mut command, &log);
    let status = process.wait(Duration::from_secs(10));
    let said = process.log();
    assert_eq!(status.code(), Some(1), "{env:?}: {said}");
    let complaints: Vec<&str> = said.lines().filter(|line| line.starts_with("trunkline: ")).collect();
    assert_eq!(complaints.len(), 1, "one line, for {env:?}:\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    complaints[0].to_owned()
}

#[test]
fn unknown_names_and_wrong_values_name_the_key() {
    for (name, value, expected) in [
        ("TRUNKLINE_HTPP_LISTEN", "127.0.0.1:3000", "TRUNKLINE_HTTP_LISTEN"),
        ("TRUNKLINE_RTP_PORT", "16384-32767", "TRUNKLINE_RTP_PORTS"),
        ("TRUNKLINE_HTTP_LISTEN", "localhost", "TRUNKLINE_HTTP_LISTEN"),
        ("TRUNKLINE_RTP_PORTS", "20000", "TRUNKLINE_RTP_PORTS"),
        ("TRUNKLINE_DEMO", "perhaps", "TRUNKLINE_DEMO"),
        ("TRUNKLINE_EXTERNAL_IP", "example.com", "TRUNKLINE_EXTERNAL_IP"),
        ("SIP_PROVIDER_PORT", "99999", "SIP_PROVIDER_PORT"),
        ("SIP_USERNAME", "gateway", "SIP_PROVIDER_HOST"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let line = refuses_to_start(folder.path(), &[(name, value)]);
        assert!(line.contains(expected), "{name}={value}: {line}");
    }
}

#[test]
fn the_settings_file_is_checked_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("trunkline.toml"), "http_listn = \"127.0.0.1:3000\"\n").unwrap();
    let line = refuses_to_start(folder.path(), &[]);
    assert!(line.contains("http_listn") && line.contains("http_listen"), "{line}");
    std::fs::write(folder.path().join("trunkline.toml"), "demo = = 1\n").unwrap();
    let line = refuses_to_start(folder.path(), &[]);
    assert!(line.contains("trunkline.toml"), "{line}");
}

#[test]
fn a_port_in_use_is_one_line_that_names_the_key() {
    // The port behind it may be somebody else's at the moment.
    const NO_TLS: (&str, &str) = ("TRUNKLINE_SIPS_LISTEN", "off");
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refuses_to_start(folder.path(), &[("TRUNKLINE_HTTP_LISTEN", &address)]);
    assert!(line.contains("http_listen") && line.contains(&address), "{line}");
    let line = refuses_to_start(folder.path(), &[("TRUNKLINE_SIP_LISTEN", &address), NO_TLS]);
    assert!(line.contains("sip_listen") && line.contains(&address), "TCP: {line}");
    let line = refuses_to_start(folder.path(), &[("TRUNKLINE_SIPS_LISTEN", &address)]);
    assert!(line.contains("sips_listen") && line.contains(&address), "TLS: {line}");

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refuses_to_start(folder.path(), &[("TRUNKLINE_SIP_LISTEN", &address), NO_TLS]);
    assert!(line.contains("sip_listen") && line.contains(&address), "UDP: {line}");
}

#[test]
fn a_certificate_that_cannot_be_used_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = ("TRUNKLINE_TLS_CERT_FILE", "TRUNKLINE_TLS_KEY_FILE");
    let line = refuses_to_start(folder.path(), &[(chain, "/nowhere/c.pem"), (key, "/nowhere/k.pem")]);
    assert!(
        line.contains("tls_cert_file") && line.contains("/nowhere/c.pem") && line.contains(chain),
        "{line}"
    );
    let line = refuses_to_start(folder.path(), &[(chain, "/nowhere/c.pem")]);
    assert!(line.contains(chain) && line.contains(key), "{line}");
}

#[test]
fn a_trunk_beyond_loopback_needs_sip_beyond_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let line = refuses_to_start(
        folder.path(),
        &[
            ("SIP_PROVIDER_HOST", "sip.yourprovider.com"),
            ("SIP_USERNAME", "u"),
            ("SIP_PASSWORD", "never-shown-4711"),
        ],
    );
    assert!(line.contains("sip.yourprovider.com") && line.contains("sip_listen"), "{line}");
    assert!(!line.contains("never-shown-4711"));
}

#[test]
fn a_wrong_master_key_is_a_start_up_error() {
    let mut server = Server::simulated();
    server.trunk(ports::take(1), serde_json::json!({ "username": "u", "password": "sealed-password-1" }));
    server.kill();
    let data = server.data();
    let wrong = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let line = refuses_to_start(
        server.folder(),
        &[("TRUNKLINE_DATA_DIR", data.to_str().unwrap()), ("TRUNKLINE_MASTER_KEY", wrong)],
    );
    assert!(line.to_lowercase().contains("master") && !line.contains(wrong), "{line}");
    // With its own key it is as before.
    server.start();
    assert!(server.get("/v1/trunks").expect(200).text().contains("carrier"));
}

#[test]
fn without_the_demonstration_there_is_no_simulated_network() {
    let server = Server::setup().env("TRUNKLINE_DEMO", "0").start();
    let trunks = server.get("/v1/trunks").expect(200).json();
    assert_eq!(trunks["data"], serde_json::json!([]));
    let body =
        serde_json::json!({ "fromNumber": "+12025550100", "toNumber": "+12025550123", "text": "Hello." });
    let reply = server.post("/api/calls/initiate", body).expect(400).json();
    assert_eq!(reply["code"], "no_trunk", "{reply}");
}
