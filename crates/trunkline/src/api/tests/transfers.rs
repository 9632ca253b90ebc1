//! Where transfers lead, and who may ask for them.

use super::*;
use crate::receive;
use crate::switch::{Party, Referral};

/// A leg, for what a transfer is asked on.
fn leg() -> sip::LegId {
    let address: SocketAddr = "127.0.0.1:5060".parse().unwrap();
    let path = sip::Path::new(sip::Transport::Udp, address, address);
    let invite = sip::Invite::new(path, "sip:a@127.0.0.1", "sip:b@127.0.0.1", "sip:a@127.0.0.1");
    let mut endpoint = sip::Endpoint::new(sip::Config::default(), [1; 32]);
    endpoint.invite(invite, std::time::Instant::now()).unwrap()
}

#[tokio::test]
async fn a_user_may_transfer_to_whom_it_may_call() {
    let house = House::build().await;
    for (name, may_call) in [("anna", "account"), ("ben", "internal"), ("carl", "none")] {
        let made = house.ask("POST", "/v1/users", &json!({ "username": name, "may_call": may_call })).await;
        assert_eq!(made.status, 201, "{}", made.json());
    }
    let account = 0;
    let mut led = Vec::new();
    for (by, to) in [
        ("anna", "+12025550123"),
        ("anna", "ben"),
        ("anna", "nobody at all"),
        ("anna", "+112"),
        ("ben", "+12025550123"),
        ("ben", "anna"),
        ("carl", "anna"),
    ] {
        let user = house.app.store.directory().user(account, by).unwrap().id;
        let referral = Referral { leg: leg(), account, user, to: to.into(), party: Party::default() };
        let answer = receive::refer(&house.app, &tokio::runtime::Handle::current(), referral);
        led.push(match answer.unwrap() {
            Ok(transfer) => {
                assert_eq!(transfer.dials.len(), transfer.dial.route.attempts());
                format!(
                    "{by} to {}: {} by {:?}",
                    transfer.dial.to, transfer.dials[0].request_uri, transfer.by
                )
            }
            Err(refused) => {
                format!("{by} to {to}: {} {}", crate::callers::sip_status(&refused), refused.code)
            }
        });
    }
    let sim = house.app.sim.as_ref().unwrap().address().port().to_string();
    insta::assert_snapshot!(led.join("\n").replace(&sim, "SIM"), @r#"
    anna to +12025550123: sip:+12025550123@127.0.0.1:SIM by Some("anna")
    anna to ben: 480 user_not_registered
    anna to nobody at all: 404 user_not_found
    anna to +112: 403 emergency_not_supported
    ben to +12025550123: 403 may_not_call
    ben to anna: 480 user_not_registered
    carl to anna: 403 may_not_call
    "#);
}

#[tokio::test]
async fn only_who_talks_is_transferred() {
    let house = House::build().await;
    let body = json!({ "to": "+12025550123", "flow": [{ "pause": { "seconds": 60 } }] });
    let call = house.ask("POST", "/v1/calls", &body).await;
    let path = format!("{}/transfer", call.header("location"));
    for (path, body, status, code) in [
        (path.as_str(), json!({ "to": "+12025550105" }), 409, "nobody_to_transfer"),
        (&path, json!({ "to": "+12025550105", "ring_timeout_s": 0 }), 400, "out_of_range"),
        (&path, json!({ "to": "+12025550105", "leg": "third" }), 400, "invalid_field"),
        ("/v1/calls/call_65a1f0c2a4b1c2d3e4f50617/transfer", json!({ "to": "bob" }), 404, "call_not_found"),
    ] {
        let answer = house.ask("POST", path, &body).await;
        let problem = answer.json();
        assert_eq!((answer.status.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
    house.send(request("POST", &path.replace("transfer", "hangup"), KEY, "")).await;
}
