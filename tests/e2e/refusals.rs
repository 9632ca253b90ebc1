//! Destinations that a real trunk never gets: the carrier hears nothing, the caller is told why.

use serde_json::json;

use crate::peers::sipp::Sipp;
use crate::server::Server;

#[test]
fn real_trunks_carry_the_allowed_countries_only() {
    let mut server = Server::for_trunks();
    let Some(carrier) = Sipp::start(server.folder(), "answer", "udp", &[]) else { return };
    server.trunk(carrier.port, json!({}));
    for (number, code) in [
        ("+442079460000", "destination_not_allowed"),
        ("+12042345678", "destination_not_allowed"), // Canada shares +1
        ("+18765551234", "destination_not_allowed"), // as does Jamaica
        ("+19005550123", "premium_blocked"),
        ("+881612345678", "satellite_blocked"),
        ("+870773123456", "satellite_blocked"),
    ] {
        let body = json!({ "fromNumber": "+12025550100", "toNumber": number, "text": "Hello." });
        let reply = server.post("/api/calls/initiate", body);
        assert!([400, 403].contains(&reply.status), "{number}: {} {}", reply.status, reply.text());
        let reply = reply.json();
        assert_eq!(reply["code"], code, "{number}: {reply}");
        assert!(reply["error"].as_str().is_some_and(|text| text.contains(' ')), "{reply}");
    }
    for number in ["911", "112", "+1911", "sip:112", "sip:911@127.0.0.1", "911@localhost"] {
        let body = json!({ "fromNumber": "+12025550100", "toNumber": number, "text": "Hello." });
        let reply = server.post("/api/calls/initiate", body).expect(403).json();
        assert_eq!(reply["code"], "emergency_not_supported", "{number}: {reply}");
    }
    assert_eq!(server.history_len(), 0, "nobody was dialled");
    assert_eq!(carrier.messages(), "");
}

#[test]
fn the_simulated_network_takes_every_number() {
    let server = Server::simulated();
    for number in ["+442079460000", "+19005550123", "+881612345678", "1234567"] {
        let id = server.say_to(number);
        server.post(&format!("/api/calls/end/{id}"), json!({})).expect(200);
    }
}
