//! Kamailio as the provider in between: digest, record-routing, a registered phone behind it.

use serde_json::json;

use crate::peers::baresip::Baresip;
use crate::peers::kamailio::{Kamailio, USER};
use crate::server::Server;
use crate::sound;

const CALLEE: &str = "+12025550123";
const PASSWORD: &str = "provider-password-0815";

fn through_the_provider(transport: &str) {
    let mut server = Server::for_trunks();
    let Some(provider) = Kamailio::start(server.folder(), PASSWORD) else { return };
    let Some(phone) = Baresip::registered(server.folder(), CALLEE, provider.port) else { return };
    server.trunk(provider.port, json!({ "transport": transport, "username": USER, "password": PASSWORD }));
    let file = server.upload("tone.wav", sound::tone_wav(1000.0, 4.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, "completed");
    let packets_sent = call["quality"]["packets_sent"].as_u64().expect("packets_sent");
    crate::baresip::both_ways(&phone, &server.recording(&id), 1000.0, 4.0, packets_sent);

    let log = provider.log();
    assert!(log.contains(&format!("accepted INVITE to {CALLEE} from +12025550100 by {transport}")), "{log}");
    for method in ["ACK", "BYE"] {
        assert!(log.contains(&format!("in-dialog {method}")), "{method} keeps to the route set:\n{log}");
    }
}

#[test]
fn a_call_over_udp() {
    through_the_provider("udp");
}

#[test]
fn a_call_over_tcp() {
    through_the_provider("tcp");
}

#[test]
fn a_wrong_password_and_an_unknown_number() {
    let mut server = Server::for_trunks();
    let Some(provider) = Kamailio::start(server.folder(), PASSWORD) else { return };
    server.trunk(provider.port, json!({ "username": USER, "password": "not-the-password" }));
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    assert_eq!(call["cause"]["code"], "carrier_auth", "{call:#}");
    assert!(call["cause"]["hint"].is_string(), "{call:#}");
    assert!(!provider.log().contains("accepted INVITE"));

    server.secret(PASSWORD);
    let patch = crate::http::Body::Json(json!({ "password": PASSWORD }));
    server.request("PATCH", "/v1/trunks/carrier", patch).expect(200);
    let id = server.say_to(CALLEE);
    let call = server.wait_for_end(&id, "failed");
    assert_eq!(call["cause"]["code"], "unallocated_number", "nobody is registered: {call:#}");
    assert!(provider.log().contains("accepted INVITE"));
}
