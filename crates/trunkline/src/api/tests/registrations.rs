//! Registered phones, and the SIP server's figures.

use super::phone::Phone;
use super::*;

async fn user(house: &House, name: &str, account: i64) -> Phone {
    let body = json!({ "username": name, "password": "correct horse battery", "account": account });
    assert_eq!(house.ask("POST", "/v1/users", &body).await.status, 201);
    Phone::new(house, name, "correct horse battery").await
}

async fn list(house: &House, query: &str) -> Value {
    house.get(&format!("/v1/registrations{query}")).await.json()
}

/// Whose phones are listed; users of one second stand in any order.
fn users(page: &Value) -> Vec<&str> {
    let phones = page["data"].as_array().unwrap().iter();
    let mut names: Vec<&str> = phones.map(|phone| phone["user"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn phones_are_listed_and_forgotten() {
    let house = House::build().await;
    assert_eq!(list(&house, "").await, json!({ "data": [], "next": null }));
    let mut alice = user(&house, "alice", 0).await;
    let mut second = Phone::new(&house, "alice", "correct horse battery").await;
    let mut bob = user(&house, "bob", 0).await;
    let mut carol = user(&house, "carol", 1).await;
    for phone in [&mut alice, &mut second, &mut bob, &mut carol] {
        assert_eq!(phone.register().await, 200);
    }
    assert_eq!(users(&list(&house, "").await), ["alice", "alice", "bob"]);
    let mut hers = list(&house, "?user=alice").await;
    let phone = hers["data"][0].as_object_mut().unwrap();
    for (name, port) in
        [("contact", "sip:alice@127.0.0.1:"), ("source", "127.0.0.1:"), ("local", "127.0.0.1:")]
    {
        assert!(phone[name].as_str().unwrap().starts_with(port), "{name}");
        phone.remove(name);
    }
    let id = phone.remove("id").unwrap().as_str().unwrap().to_owned();
    assert!(id.starts_with("reg_") && phone.remove("user_id").is_some());
    let expires: jiff::Timestamp = phone.remove("expires_at").unwrap().as_str().unwrap().parse().unwrap();
    let left = expires.as_second() - jiff::Timestamp::now().as_second();
    assert!((595..=601).contains(&left), "{left}");
    insta::assert_snapshot!(json!(phone), @r#"{"state":"registered","transport":"udp","user":"alice","user_agent":"Test phone"}"#);

    assert_eq!(users(&list(&house, "?user=alice").await), ["alice", "alice"]);
    assert_eq!(users(&list(&house, "?account=1").await), ["carol"]);
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = list(&house, &format!("?limit=1{after}")).await;
        seen.extend(page["data"].as_array().unwrap().iter().map(|phone| phone["id"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for (query, status) in
        [("?user=nobody", 404), ("?after=x", 400), ("?limit=0", 400), ("?users=alice", 400)]
    {
        assert_eq!(house.get(&format!("/v1/registrations{query}")).await.status, status, "{query}");
    }

    let theirs = house.key(1, &[]).await;
    let forget =
        async |key: &str| house.send(request("DELETE", &format!("/v1/registrations/{id}"), key, "")).await;
    assert_eq!(forget(&theirs).await.status, 404);
    let own = house.send(request("GET", "/v1/registrations", &theirs, "")).await.json();
    assert_eq!(users(&own), ["carol"]);
    let reader = house.key(0, &["registrations:read"]).await;
    assert_eq!(forget(&reader).await.status, 403);
    assert_eq!(forget(KEY).await.status, 204);
    assert_eq!(forget(KEY).await.status, 404);
    assert_eq!(users(&list(&house, "").await), ["alice", "bob"]);
    assert_eq!(second.register().await, 200);
    assert_eq!(alice.register().await, 200);
    assert_eq!(users(&list(&house, "").await), ["alice", "alice", "bob"]);
    assert_eq!(house.send(request("DELETE", "/v1/users/alice", KEY, "")).await.status, 204);
    assert_eq!(users(&list(&house, "").await), ["bob"]);
    assert_eq!(alice.register().await, 401);
}

#[tokio::test]
async fn what_is_forgotten_stays_so_after_a_restart() {
    let house = House::build().await;
    let mut alice = user(&house, "alice", 0).await;
    assert_eq!(alice.register().await, 200);
    let id = list(&house, "").await["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(house.send(request("DELETE", &format!("/v1/registrations/{id}"), KEY, "")).await.status, 204);
    let file = house.app.config.data_dir.join("bindings.db");
    // A loop that sleeps was woken for it.
    let waker =
        std::sync::Arc::new(mio::Waker::new(mio::Poll::new().unwrap().registry(), mio::Token(0)).unwrap());
    let began = std::time::Instant::now();
    loop {
        let copy = house.app.config.data_dir.join("copy.db");
        std::fs::copy(&file, &copy).unwrap();
        let kept =
            crate::store::bindings::Bindings::open(&copy, crate::time::now_ms(), waker.clone()).unwrap().1;
        if kept.is_empty() {
            break;
        }
        assert!(began.elapsed().as_secs() < 10, "{kept:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_server_shows_what_it_has_seen() {
    let house = House::build().await;
    let mut alice = user(&house, "alice", 0).await;
    assert_eq!(alice.register().await, 200);
    let shown = house.get("/v1/sip").await.json();
    assert_eq!(
        (&shown["state"], &shown["registrations"]["by_transport"]["udp"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(shown["addresses"], json!({ "udp": house.app.switch.address().to_string() }));
    assert_eq!(
        (&shown["received"]["requests"], &shown["sent"]["responses"]),
        (&json!({ "REGISTER": 2 }), &json!({ "2xx": 1, "4xx": 1 }))
    );
    let near = from(request("GET", "/v1/sip", "", ""), "127.0.0.1:1");
    assert_eq!(house.send(near).await.status, 401);
}

#[tokio::test]
async fn a_user_has_no_more_calls_up_than_it_may() {
    let house = House::build().await;
    let mut alice = user(&house, "alice", 0).await;
    let mut bob = user(&house, "bob", 0).await;
    assert_eq!(bob.register().await, 200);
    let limit = house.ask("PATCH", "/v1/users/alice", &json!({ "max_calls": 1 })).await;
    assert_eq!(limit.status, 200, "{}", limit.json());
    let calls = async {
        let first = alice.call("bob").await;
        (first, alice.call("bob").await, alice.call("nobody").await)
    };
    let rings = async {
        let invite = bob.until("INVITE ").await;
        bob.respond(&invite, "180 Ringing", "").await;
    };
    let (statuses, ()) = tokio::join!(calls, rings);
    assert_eq!(statuses, (180, 503, 503));
    // Another user is not concerned.
    assert_eq!(bob.call("nobody").await, 404);
}
