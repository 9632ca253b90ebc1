//! Carriers that cannot be reached: names, connections, certificates.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde_json::json;

use super::{check, number, order, trunk};
use crate::peers::dns::Zone;
use crate::peers::tls::Authority;
use crate::ports;
use crate::server::{FINAL, Server};

/// Accepts connections over TCP, takes what comes first, says something to it where there is something to say, and
/// closes; after so many of them nobody listens there any more.
fn closing(says: &'static str, connections: usize) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buffer = [0; 8192];
            let length = stream.read(&mut buffer).unwrap_or_default();
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            let lines = request.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
            let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
            let _ = stream.write_all(says.replace("[lines]", &lines).as_bytes());
        }
    });
    port
}

/// A carrier that cannot be reached, and what is to be told of it.
struct Way {
    host: String,
    transport: &'static str,
    port: u16,
    code: &'static str,
    says: Vec<String>,
    fix: &'static str,
}

fn way(
    host: &str,
    transport: &'static str,
    port: u16,
    code: &'static str,
    says: &[&str],
    fix: &'static str,
) -> Way {
    let says = says.iter().map(ToString::to_string).collect();
    Way { host: host.to_owned(), transport, port, code, says, fix }
}

#[test]
fn what_cannot_be_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let stranger = Authority::new(elsewhere.path(), "stranger");
    let long = format!("{}.test", ["a-label-of-a-name-that-is-long-enough"; 6].join("."));
    let zone = Zone::start(
        "empty.test SRV 10 5 5060 nobody.test\n\
         six.test AAAA ::1\n\
         far.test A 203.0.113.9\n\
         here.test A 127.0.0.1\n",
    );
    let nobody = ports::take(1);
    let nobody_at = format!("127.0.0.1:{nobody}");
    let named = |name: &str| authority.callee(name, 2000..=2999).port;
    let rows = [
        way(
            "nobody.test",
            "udp",
            5060,
            "name_unknown",
            &["The name nobody.test is not known to DNS"],
            "spelling",
        ),
        way(&long, "udp", 5060, "name_unknown", &[&long, "is not known to DNS"], "spelling"),
        way(
            "empty.test",
            "udp",
            5060,
            "name_without_address",
            &["empty.test is known to DNS, but has no address"],
            "host",
        ),
        way(
            "six.test",
            "udp",
            5060,
            "name_of_another_kind",
            &["six.test has no address of the kind SIP is bound to (127.0.0.1"],
            "sip_listen",
        ),
        way(
            "far.test",
            "udp",
            5060,
            "bound_to_loopback",
            &["far.test cannot be reached while SIP is bound to 127.0.0.1"],
            "sip_listen",
        ),
        way(
            "a.silent.test",
            "udp",
            5060,
            "name_server_silent",
            &["a.silent.test could not be looked up", "did not answer"],
            "dns_servers",
        ),
        way(
            "a.broken.test",
            "udp",
            5060,
            "name_server_failed",
            &["a.broken.test could not be looked up"],
            "dns_servers",
        ),
        way(
            "here.test",
            "tls",
            named("other.test"),
            "certificate_of_another_name",
            &["is for other.test, not for here.test"],
            "Set the trunk's host",
        ),
        way(
            "here.test",
            "tls",
            stranger.callee("here.test", 2000..=2999).port,
            "certificate_issuer_unknown",
            &["issuer is not known"],
            "tls_ca_file",
        ),
        way(
            "here.test",
            "tls",
            authority.callee("here.test", 2000..=2020).port,
            "certificate_expired",
            &["has expired"],
            "renew",
        ),
        way(
            "here.test",
            "tls",
            authority.callee("here.test", 2900..=2999).port,
            "certificate_not_yet_valid",
            &["not valid yet"],
            "clock",
        ),
        way(
            "here.test",
            "tls",
            closing("HTTP/1.1 400 Bad Request\r\n\r\n", 9),
            "tls_failed",
            &["No encrypted connection"],
            "5061",
        ),
        way(
            "here.test",
            "tls",
            nobody,
            "connection_refused",
            &[&nobody_at, "refused"],
            "Nothing listens there",
        ),
        way(
            "127.0.0.1",
            "tcp",
            nobody,
            "connection_refused",
            &[&nobody_at, "over TCP", "refused"],
            "Nothing listens there",
        ),
        way(
            "127.0.0.1",
            "tcp",
            closing("", 9),
            "connection_closed",
            &["The connection to 127.0.0.1:", "over TCP was made, and then closed"],
            "Something else may listen there",
        ),
    ];
    let mut server = Server::setup()
        .env("TRUNKLINE_COUNTRIES", "US")
        .env("TRUNKLINE_DNS_SERVERS", zone.address.to_string())
        .env("TRUNKLINE_TLS_CA_FILE", authority.file.display().to_string())
        .start();
    for (n, way) in rows.iter().enumerate() {
        trunk(&mut server, &format!("trunk{n}"), &way.host, way.port, json!({ "transport": way.transport }));
    }
    // A name that nobody looks up for us keeps the order waiting.
    let ids: Vec<String> = std::thread::scope(|scope| {
        let server = &server;
        let place = |n: usize| order(server, &number(n), &json!({ "trunk": format!("trunk{n}") }));
        let orders: Vec<_> = (0..rows.len()).map(|n| scope.spawn(move || place(n))).collect();
        orders.into_iter().map(|order| order.join().expect("an order")).collect()
    });
    for (n, (id, way)) in ids.iter().zip(&rows).enumerate() {
        server.wait_for_state(id, &FINAL, Duration::from_secs(20));
        let says: Vec<&str> = way.says.iter().map(String::as_str).collect();
        check(&server, id, way.code, &says, way.fix, "", &number(n));
    }

    // One rings, then the carrier is gone; the next call finds that out for both.
    let port = closing(
        "SIP/2.0 180 Ringing\r\n[lines]Contact: <sip:peer@127.0.0.1>\r\nContent-Length: 0\r\n\r\n",
        1,
    );
    trunk(&mut server, "leaving", "127.0.0.1", port, json!({ "transport": "tcp" }));
    let rings = order(&server, &number(90), &json!({ "trunk": "leaving" }));
    server.wait_for_state(&rings, &["ringing"], Duration::from_secs(5));
    let next = order(&server, &number(91), &json!({ "trunk": "leaving" }));
    for (id, code, says, fix) in [
        (
            next,
            "connection_refused",
            &["No connection to [peer] over TCP"] as &[&str],
            "Nothing listens there",
        ),
        (
            rings,
            "connection_lost",
            &["[peer] over TCP took the call (180 Ringing), and then the connection was lost"],
            "call again",
        ),
    ] {
        server.wait_for_state(&id, &FINAL, Duration::from_secs(5));
        check(&server, &id, code, says, fix, &format!("127.0.0.1:{port}"), "");
    }
}
