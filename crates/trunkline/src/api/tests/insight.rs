//! Ladders and capture files of calls to the simulated network.

use super::*;
use crate::insight::Which;

/// Places a call and answers its id.
async fn place(house: &House, to: &str) -> String {
    let body = json!({ "to": to, "flow": [{ "pause": { "seconds": 60 } }] });
    let answer = house.ask("POST", "/v1/calls", &body).await;
    answer.json()["id"].as_str().unwrap_or_else(|| panic!("{}", answer.json())).to_owned()
}

/// Waits for a call to come so far.
async fn until(house: &House, id: &str, status: &str) {
    let reached = async {
        while house.get(&format!("/v1/calls/{id}")).await.json()["status"] != status {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), reached).await.expect(status);
}

/// Waits until the call loop has handed a call over.
async fn handed_over(house: &House, id: &str) {
    let call = Id::parse(id).unwrap();
    let gone = async {
        while house.app.switch.insight(call).await.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("handed over");
}

async fn ladder(house: &House, id: &str) -> Value {
    house.get(&format!("/v1/calls/{id}/ladder")).await.json()
}

/// Who sent what, by the names of the columns.
fn said(ladder: &Value) -> Vec<String> {
    let name = |at: &Value| ladder["parties"][at.as_u64().unwrap() as usize]["name"].as_str().unwrap();
    let messages = ladder["messages"].as_array().unwrap().iter();
    messages.map(|m| format!("{}: {}", name(&m["from"]), m["label"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn what_was_said_is_shown_while_a_call_lasts_and_from_the_store_afterwards() {
    let house = House::build().await;
    let id = place(&house, "+12025550123").await;
    until(&house, &id, "in-progress").await;
    let live = ladder(&house, &id).await;
    assert_eq!(
        (&live["live"], &live["why"], &live["status"]),
        (&json!(true), &Value::Null, &json!("in-progress"))
    );
    assert_eq!(live["messages"][0]["sdp"]["direction"], "sendrecv");
    house.ask("POST", &format!("/v1/calls/{id}/hangup"), &json!({})).await;
    handed_over(&house, &id).await;
    let kept = ladder(&house, &id).await;
    assert_eq!((&kept["live"], &kept["why"]), (&json!(false), &Value::Null));
    insta::assert_snapshot!(said(&kept).join("\n"), @"
    trunkline: INVITE
    sim: 100 Trying
    sim: 407 Proxy Authentication Required
    trunkline: ACK
    trunkline: INVITE
    sim: 100 Trying
    sim: 180 Ringing
    sim: 200 OK
    trunkline: ACK
    trunkline: BYE
    sim: 200 OK (BYE)
    ");
    assert_eq!(kept["sound"][0]["leg"], "first");
    // Of the answer to the challenge nothing can be guessed, live or stored.
    for ladder in [&live, &kept] {
        let answer = ladder["messages"][4]["text"].as_str().unwrap();
        let (_, response) = answer.split_once(" response=\"").unwrap();
        assert!(response.starts_with(&"x".repeat(32)), "{answer}");
    }
    assert_eq!(said(&kept)[..said(&live).len()], said(&live));
}

#[tokio::test]
async fn a_failure_is_explained_in_json_and_in_a_diagram() {
    let house = House::build().await;
    let id = place(&house, "+12025550101").await;
    until(&house, &id, "busy").await;
    let shown = ladder(&house, &id).await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown["why"]).unwrap(), @r#"
    {
      "code": "busy",
      "fix": "Call again later.",
      "text": "The line is busy (486 Busy Here)."
    }
    "#);
    let path = format!("/v1/calls/{id}/ladder");
    let text = house.get(&format!("{path}?format=text")).await;
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    let text = String::from_utf8(text.bytes).unwrap();
    assert!(text.starts_with(&format!("{id}  busy\nwhy   ")) && text.contains("486 Busy Here ---"), "{text}");
    for (accept, format) in [
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain;q=0.9, */*", "text/plain; charset=utf-8"),
        ("*/*", "application/json"),
        ("application/json, text/plain", "application/json"),
    ] {
        let mut asked = request("GET", &path, KEY, "");
        asked.headers_mut().insert("accept", accept.parse().unwrap());
        assert_eq!(house.send(asked).await.header("content-type"), format, "{accept}");
    }
    assert_eq!(house.get(&format!("{path}?format=xml")).await.status, 400);
    let file = house.get(&format!("/v1/calls/{id}/pcap")).await;
    assert_eq!(file.header("content-type"), "application/vnd.tcpdump.pcap");
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"{id}.pcap\""));
    assert_eq!(file.bytes[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    assert!(file.bytes.windows(13).any(|part| part == b"486 Busy Here"));
}

#[tokio::test]
async fn nobody_sees_the_messages_of_another_account() {
    let house = House::build().await;
    let id = place(&house, "+12025550101").await;
    until(&house, &id, "busy").await;
    let (other, own) = (house.key(1, &["calls:read"]).await, house.key(0, &["calls:write"]).await);
    for what in ["ladder", "pcap"] {
        let path = format!("/v1/calls/{id}/{what}");
        let answer = house.send(request("GET", &path, &other, "")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (404, Some("call_not_found")),
            "{what}"
        );
        assert_eq!(house.send(request("GET", &path, &own, "")).await.status, 403, "{what}");
        assert_eq!(house.get(&path).await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn what_is_not_kept_is_said_and_the_cause_is_still_told() {
    let house = House::with(Config { insight: Which::Off, ..Config::default() }).await;
    let id = place(&house, "+12025550101").await;
    until(&house, &id, "busy").await;
    let shown = ladder(&house, &id).await;
    assert_eq!((&shown["messages"], &shown["why"]["code"]), (&json!([]), &json!("busy")));
    let answer = house.get(&format!("/v1/calls/{id}/pcap")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (404, Some("no_messages")));
}

#[tokio::test]
async fn of_calls_that_went_well_nothing_is_kept_where_only_failures_are_wanted() {
    let house = House::with(Config { insight: Which::Failed, ..Config::default() }).await;
    let busy = place(&house, "+12025550101").await;
    let fine = place(&house, "+12025550123").await;
    until(&house, &fine, "in-progress").await;
    house.ask("POST", &format!("/v1/calls/{fine}/hangup"), &json!({})).await;
    for (id, kept) in [(&busy, true), (&fine, false)] {
        handed_over(&house, id).await;
        let shown = ladder(&house, id).await;
        assert_eq!(!shown["messages"].as_array().unwrap().is_empty(), kept, "{shown}");
    }
}
