//! Calls with a flow, and what is told of them.

use serde_json::{Value, json};

use crate::server::Server;

/// Places a call with a flow; its id.
#[track_caller]
pub fn place(server: &Server, to: &str, flow: Value) -> String {
    let order = json!({ "to": to, "from": "+12025550100", "flow": flow });
    let reply = server.post("/v1/calls", order).expect(201).json();
    reply["id"].as_str().unwrap().to_owned()
}

/// The details of a call's events of one kind.
pub fn details(server: &Server, id: &str, kind: &str) -> Vec<Value> {
    let events = server.events(id).into_iter();
    events.filter(|(found, _)| found == kind).map(|(_, event)| event["detail"].clone()).collect()
}
