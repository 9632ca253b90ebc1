//! A trunk known by name only: DNS says where its servers are, and a call goes to the next one where one is out.

use serde_json::{Value, json};

use crate::peers::dns::Zone;
use crate::peers::sipp::Sipp;
use crate::ports;
use crate::server::Server;

const CALLEE: &str = "+12025550123";

/// A server that asks `zone`.
fn server(zone: &Zone) -> Server {
    Server::setup()
        .env("TRUNKLINE_COUNTRIES", "US")
        .env("TRUNKLINE_DNS_SERVERS", zone.address.to_string())
        .start()
}

fn by_name(transport: &str) -> Value {
    json!({
        "name": "carrier", "host": "carrier.test", "transport": transport, "caller_id": "+12025550100",
        "default": true,
    })
}

fn attempts(server: &Server, id: &str) -> usize {
    server.events(id).iter().filter(|(kind, _)| kind == "attempt").count()
}

#[test]
fn the_second_server_gets_the_call_where_the_first_refuses_the_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(callee) = Sipp::start(folder.path(), "answer", "tcp", &[]) else { return };
    let nobody = ports::take(1);
    let zone = Zone::start(&format!(
        "_sip._tcp.carrier.test SRV 10 1 {nobody} one.carrier.test\n\
         _sip._tcp.carrier.test SRV 20 1 {} two.carrier.test\n\
         one.carrier.test A 127.0.0.1\n\
         two.carrier.test A 127.0.0.1",
        callee.port
    ));
    let server = server(&zone);
    server.post("/v1/trunks", by_name("tcp")).expect(201);
    let id = server.say_to(CALLEE);
    server.wait_for_end(&id, "completed");
    callee.finishes_content();
    assert_eq!(attempts(&server, &id), 2);
    let srv = zone.asked().iter().filter(|asked| asked.as_str() == "SRV _sip._tcp.carrier.test").count();
    assert_eq!(srv, 1);
}

#[test]
fn the_second_server_gets_the_call_where_the_first_is_out_of_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let busy = Sipp::start(folder.path(), "refuse", "udp", &[("refusal", "503 Service Unavailable")]);
    let (Some(busy), Some(callee)) = (busy, Sipp::start(folder.path(), "answer", "udp", &[])) else { return };
    let zone = Zone::start(&format!(
        "_sip._udp.carrier.test SRV 10 1 {} one.carrier.test\n\
         _sip._udp.carrier.test SRV 20 1 {} two.carrier.test\n\
         one.carrier.test A 127.0.0.1\n\
         two.carrier.test A 127.0.0.1",
        busy.port, callee.port
    ));
    let server = server(&zone);
    server.post("/v1/trunks", by_name("udp")).expect(201);
    let id = server.say_to(CALLEE);
    server.wait_for_end(&id, "completed");
    busy.finishes_content();
    callee.finishes_content();
    assert_eq!(attempts(&server, &id), 2);
}

#[test]
fn a_name_that_leads_nowhere_is_said_to() {
    let zone = Zone::start("");
    let server = server(&zone);
    server.post("/v1/trunks", by_name("udp")).expect(201);
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    let text = call["cause"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("carrier.test cannot be resolved: there is no such name"), "{call:#}");
}

#[test]
fn a_connection_that_is_refused_is_said_to_be() {
    let mut server = Server::for_trunks();
    server.trunk(ports::take(1), json!({ "transport": "tls" }));
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    let text = call["cause"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("the connection was refused"), "{call:#}");
}
