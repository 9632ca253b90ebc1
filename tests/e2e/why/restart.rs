//! Calls that the server itself ends.

use std::time::Duration;

use serde_json::json;

use super::{PCMU, answered, check, number, order, peer, trunk};
use crate::peers::wire::Sends;
use crate::server::{FINAL, Server};

#[test]
fn what_ends_with_the_server() {
    let rows = [answered(PCMU, Sends::Packets(0), "", &[], "")];
    let peer = peer(&rows);
    let mut server =
        Server::setup().env("TRUNKLINE_COUNTRIES", "US").env("TRUNKLINE_DRAIN_GRACE", "1s").start();
    trunk(&mut server, "carrier", "127.0.0.1", peer.address.port(), json!({}));
    let long = json!({ "flow": [{ "pause": { "seconds": 60 } }] });
    let talk = |server: &Server| {
        let id = order(server, &number(0), &long);
        server.wait_for_state(&id, &["in-progress"], Duration::from_secs(5));
        id
    };
    let asked = talk(&server);
    server.process().signal("TERM");
    server.process().wait(Duration::from_secs(10));
    server.start();
    let killed = talk(&server);
    server.kill();
    server.start();
    for (id, code, says, fix) in [
        (asked, "shutdown", "shut down during the call", "Call again"),
        (killed, "server_restarted", "The server stopped while the call was going on", ""),
    ] {
        server.wait_for_state(&id, &FINAL, Duration::from_secs(5));
        check(&server, &id, code, &[says], fix, "", &number(0));
    }
}
