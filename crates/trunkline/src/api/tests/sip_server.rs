//! Accounts, users, groups, numbers, and trunks that call in.

use super::*;

/// What was refused: status, code, and sentence with hint.
fn problem(answer: &Answer) -> (u16, String, String) {
    let problem = answer.json();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("code"), format!("{} {}", text("detail"), text("hint")))
}

/// A reply without what differs from run to run.
fn steady(mut value: Value, house: &House) -> String {
    fn walk(value: &mut Value, port: &str) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match name.as_str() {
                        "id" if field.is_string() => *field = json!("ID"),
                        "created_at" => *field = json!("AT"),
                        "server" => *field = json!(field.as_str().unwrap().replace(port, "PORT")),
                        _ => walk(field, port),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, port)),
            _ => {}
        }
    }
    walk(&mut value, &house.app.switch.address().port().to_string());
    value.to_string()
}

#[tokio::test]
async fn the_operator_makes_accounts_and_their_keys() {
    let house = House::build().await;
    let body = json!({ "name": "Beta", "domain": "Beta.Example.com", "limits": { "max_users": 2 } });
    let made = house.ask("POST", "/v1/accounts", &body).await;
    assert_eq!((made.status.as_u16(), made.header("location")), (201, "/v1/accounts/2"));
    insta::assert_snapshot!(made.json(), @r#"{"destinations":{"countries":[],"prefixes":[],"region":null},"domain":"beta.example.com","id":2,"limits":{"calls_per_second":null,"max_calls":null,"max_duration_s":null,"max_registrations":null,"max_users":2},"name":"Beta","realm":"beta.example.com"}"#);
    let key = house.ask("POST", "/v1/keys", &json!({ "name": "first", "account": 2 })).await.json();
    let key = key["key"].as_str().unwrap().to_owned();
    let own = house.send(request("GET", "/v1/account", &key, "")).await.json();
    assert_eq!(own, made.json());
    for (method, path, body) in [
        ("GET", "/v1/accounts", ""),
        ("GET", "/v1/accounts/2", ""),
        ("POST", "/v1/accounts", r#"{"name":"x"}"#),
        ("PATCH", "/v1/accounts/2", r#"{"name":"x"}"#),
        ("PATCH", "/v1/account", r#"{"domain":"x.example"}"#),
        ("DELETE", "/v1/accounts/2", ""),
    ] {
        let (status, code, _) = problem(&house.send(request(method, path, &key, body)).await);
        assert_eq!((status, &*code), (403, "operator_only"), "{method} {path}");
    }
    let changed =
        house.ask("PATCH", "/v1/accounts/2", &json!({ "domain": null, "name": "Beta Ltd" })).await.json();
    assert_eq!((&changed["domain"], &changed["realm"]), (&Value::Null, &json!("beta.example.com")));
    let ids = |reply: Value| -> Vec<i64> {
        reply["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(house.get("/v1/accounts").await.json()), [2, 1, 0]);
    let page = house.get("/v1/accounts?limit=2").await.json();
    let next = page["next"].as_str().unwrap().to_owned();
    assert_eq!(
        (ids(page), ids(house.get(&format!("/v1/accounts?after={next}")).await.json())),
        (vec![2, 1], vec![0])
    );
    for (body, code) in [
        (json!({ "name": "" }), "invalid_field"),
        (json!({}), "invalid_field"),
        (json!({ "name": "x", "realm": "mine" }), "invalid_field"),
        (json!({ "name": "x", "domain": "192.0.2.1" }), "invalid_domain"),
        (json!({ "name": "x", "limits": { "max_registrations": 0 } }), "invalid_field"),
    ] {
        let told = problem(&house.ask("POST", "/v1/accounts", &body).await);
        assert_eq!((told.0, &*told.1), (400, code), "{body}: {}", told.2);
    }
    let refused = problem(&house.send(request("DELETE", "/v1/accounts/2", KEY, "")).await);
    assert_eq!(refused.1, "account_not_empty");
    assert!(refused.2.starts_with("Account 2 still has 1 key."), "{}", refused.2);
    let other = house.ask("POST", "/v1/accounts", &json!({ "name": "Gamma" })).await.json();
    assert_eq!((&other["id"], &other["realm"]), (&json!(3), &json!("trunkline")));
    let gone = house.send(request("DELETE", "/v1/accounts/3", KEY, "")).await;
    assert_eq!(gone.status, 204);
    assert_eq!(house.get("/v1/accounts/3").await.status, 404);
    assert_eq!(
        problem(&house.send(request("DELETE", "/v1/accounts/0", KEY, "")).await).1,
        "operator_account"
    );
}

#[tokio::test]
async fn a_user_is_made_and_the_password_shown_once() {
    let house = House::build().await;
    let body = json!({
        "username": "alice", "display_name": "Alice", "external_id": "user123", "caller_ids": ["+1 202 555 0100"],
        "password": "correct horse battery",
    });
    let made = house.ask("POST", "/v1/users", &body).await;
    assert_eq!(made.status, 201);
    insta::assert_snapshot!(steady(made.json(), &house), @r#"{"password":"correct horse battery","user":{"account":0,"algorithm":"MD5","caller_ids":["+12025550100"],"created_at":"AT","display_name":"Alice","enabled":true,"external_id":"user123","id":"ID","max_bindings":10,"max_calls":null,"may_call":"account","sip":{"domain":"127.0.0.1","realm":"trunkline","server":"127.0.0.1:PORT","transports":["udp"],"uri":"sip:alice@127.0.0.1","warning":"SIP listens on loopback, which only this machine can reach: set sip_listen to 0.0.0.0:5060."},"username":"alice","voicemail":false}}"#);
    assert_eq!(made.header("location"), format!("/v1/users/{}", made.json()["user"]["id"].as_str().unwrap()));
    let shown = house.get("/v1/users/alice").await;
    assert_eq!(shown.json(), made.json()["user"]);
    assert!(!String::from_utf8_lossy(&shown.bytes).contains("horse"));
    assert_eq!(house.get(made.header("location")).await.json(), shown.json());
    assert_eq!(house.get("/v1/users?external_id=user123").await.json()["data"][0], shown.json());

    let generated = house.ask("POST", "/v1/users", &json!({})).await.json();
    assert!(generated["user"]["username"].as_str().unwrap().starts_with("user_1"), "{generated}");
    assert_eq!(generated["password"].as_str().map(str::len), Some(24));
    let again = house.ask("POST", "/v1/users/alice/password", &json!({})).await.json();
    assert!(again["password"] != made.json()["password"] && again["user"] == shown.json());

    let change = json!({ "display_name": null, "may_call": "internal", "max_calls": 3, "caller_ids": [] });
    let changed = house.ask("PATCH", "/v1/users/alice", &change).await.json();
    assert_eq!(
        (&changed["display_name"], &changed["may_call"], &changed["max_calls"], &changed["external_id"]),
        (&Value::Null, &json!("internal"), &json!(3), &json!("user123"))
    );
    for (body, code) in [
        (json!({ "username": "alice" }), "user_exists"),
        (json!({ "external_id": "user123" }), "user_exists"),
        (json!({ "username": "+12025550123" }), "invalid_user"),
        (json!({ "username": "911" }), "invalid_user"),
        (json!({ "username": "a b" }), "invalid_user"),
        (json!({ "username": "bob", "password": "bob" }), "weak_password"),
        (json!({ "username": "bob", "algorithm": "SHA-512" }), "invalid_field"),
        (json!({ "username": "bob", "may_call": "everyone" }), "invalid_field"),
        (json!({ "username": "bob", "caller_ids": ["bob"] }), "invalid_number_format"),
        (json!({ "username": "bob", "max_bindings": 0 }), "invalid_user"),
        (json!({ "username": "bob", "ha1": "x" }), "invalid_field"),
    ] {
        let told = problem(&house.ask("POST", "/v1/users", &body).await);
        let status = if code == "user_exists" { 409 } else { 400 };
        assert_eq!((told.0, &*told.1), (status, code), "{body}: {}", told.2);
    }
    let pages: Vec<_> =
        ["/v1/users?limit=1", "/v1/users?limit=1&after="].into_iter().map(str::to_owned).collect();
    let first = house.get(&pages[0]).await.json();
    let second = house.get(&format!("{}{}", pages[1], first["next"].as_str().unwrap())).await.json();
    assert_ne!(first["data"][0]["id"], second["data"][0]["id"]);
    assert_eq!(problem(&house.get("/v1/users?after=nowhere").await).1, "invalid_cursor");
    assert_eq!(house.send(request("DELETE", "/v1/users/alice", KEY, "")).await.status, 204);
    assert_eq!(house.get("/v1/users/alice").await.status, 404);
}

#[tokio::test]
async fn a_number_leads_where_its_route_says() {
    let house = House::build().await;
    house.ask("POST", "/v1/users", &json!({ "username": "bob" })).await;
    let group = json!({ "name": "sales", "strategy": "in_order", "members": ["bob"], "timeout_s": 15 });
    let group = house.ask("POST", "/v1/groups", &group).await;
    assert_eq!((group.status.as_u16(), &group.json()["members"]), (201, &json!(["bob"])));
    let body = json!({
        "number": "+1 (202) 555-0100", "name": "Front desk", "trunk": "sim",
        "route": [
            { "user": "bob", "timeout_s": 20 }, { "group": group.json()["id"] }, { "dial": "+12025550123" },
            { "webhook": "https://93.184.216.34/calls" },
            { "voicemail": { "greeting": "Please leave a message.", "user": "bob" } },
        ],
    });
    let made = house.ask("POST", "/v1/numbers", &body).await;
    insta::assert_snapshot!(steady(made.json(), &house), @r#"{"account":0,"created_at":"AT","id":2,"name":"Front desk","number":"+12025550100","route":[{"timeout_s":20,"user":"bob"},{"group":"sales"},{"dial":"+12025550123"},{"webhook":"https://93.184.216.34/calls"},{"voicemail":{"greeting":"Please leave a message.","user":"bob"}}],"trunk":"sim"}"#);
    assert_eq!((made.status.as_u16(), made.header("location")), (201, "/v1/numbers/2"));
    for path in ["/v1/numbers/2", "/v1/numbers/+12025550100", "/v1/numbers/%2B12025550100"] {
        assert_eq!(house.get(path).await.json(), made.json(), "{path}");
    }
    let renamed = house.ask("PATCH", "/v1/groups/sales", &json!({ "name": "support" })).await.json();
    assert_eq!(renamed["strategy"], "in_order");
    assert_eq!(house.get("/v1/numbers/2").await.json()["route"][1], json!({ "group": "support" }));

    let flow = |steps: Value| json!([{ "flow": steps }]);
    for (route, code, word) in [
        (json!([{}]), "invalid_route", "`route[0]` does not say where the call goes."),
        (json!([{ "user": "bob", "dial": "+12025550123" }]), "invalid_route", "has both `user` and `dial`"),
        (json!([{ "user": "carol" }]), "unknown_user", "`route[0].user` is \"carol\""),
        (json!([{ "group": "carol" }]), "unknown_group", "`route[0].group`"),
        (json!([{ "reject": {}, "timeout_s": 3 }]), "invalid_route", "a reject does not ring"),
        (json!([{ "reject": { "status": 200 } }]), "invalid_route", "`route[0].reject.status`"),
        (json!([{ "reject": {} }, { "user": "bob" }]), "invalid_route", "`route[1]` never has its turn"),
        (json!([{ "webhook": "http://127.0.0.1/" }]), "internal_address", "`route[0].webhook`"),
        (json!([{ "dial": "12" }]), "invalid_number_format", "`route[0].dial`"),
        (flow(json!([])), "flow_empty", "`route[0]`"),
        (flow(json!([{ "shout": {} }])), "invalid_field", "route[0].flow[0]"),
        (json!({ "user": "bob" }), "invalid_field", "`route`"),
    ] {
        let told = problem(&house.ask("PATCH", "/v1/numbers/2", &json!({ "route": route })).await);
        assert_eq!((told.0, &*told.1), (400, code), "{route}: {}", told.2);
        assert!(told.2.contains(word), "{route}: {}", told.2);
    }
    for (body, code) in [
        (json!({ "number": "+12025550100" }), "number_exists"),
        (json!({ "number": "5550100" }), "invalid_number_format"),
        (json!({ "number": "bob" }), "invalid_number_format"),
        (json!({ "number": "+12025550101", "trunk": "none" }), "unknown_trunk"),
        (json!({ "number": "+12025550101", "name": "x".repeat(65) }), "invalid_number"),
    ] {
        assert_eq!(problem(&house.ask("POST", "/v1/numbers", &body).await).1, code, "{body}");
    }
    let told = problem(&house.send(request("DELETE", "/v1/users/bob", KEY, "")).await);
    assert_eq!((told.0, &*told.1), (409, "user_in_use"));
    assert!(told.2.contains("number +12025550100, group support"), "{}", told.2);
    assert_eq!(
        problem(&house.send(request("DELETE", "/v1/groups/support", KEY, "")).await).1,
        "group_in_use"
    );
    let emptied = house.ask("PATCH", "/v1/numbers/2", &json!({ "route": [], "trunk": null })).await.json();
    assert_eq!(
        (&emptied["route"], &emptied["trunk"], &emptied["name"]),
        (&json!([]), &Value::Null, &json!("Front desk"))
    );
    for path in ["/v1/numbers/2", "/v1/groups/support", "/v1/users/bob"] {
        assert_eq!(house.send(request("DELETE", path, KEY, "")).await.status, 204, "{path}");
        assert_eq!(house.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_another_accounts_is_not_there() {
    let house = House::build().await;
    house.ask("POST", "/v1/users", &json!({ "username": "bob", "external_id": "b" })).await;
    house.ask("POST", "/v1/groups", &json!({ "name": "sales", "members": ["bob"] })).await;
    house.ask("POST", "/v1/numbers", &json!({ "number": "+12025550100" })).await;
    let theirs = house.key(1, &[]).await;
    let ask =
        async |method: &str, path: &str, body: &str| house.send(request(method, path, &theirs, body)).await;
    let id = house.get("/v1/users/bob").await.json()["id"].as_str().unwrap().to_owned();
    for path in [
        "/v1/users/bob",
        &format!("/v1/users/{id}"),
        "/v1/groups/sales",
        "/v1/numbers/2",
        "/v1/numbers/+12025550100",
    ] {
        assert_eq!(ask("GET", path, "").await.status, 404, "{path}");
        assert_eq!(ask("PATCH", path, "{}").await.status, 404, "{path}");
        assert_eq!(ask("DELETE", path, "").await.status, 404, "{path}");
        assert_eq!(ask("GET", &format!("{path}?account=0"), "").await.status, 403, "{path}");
    }
    assert_eq!(ask("POST", "/v1/users/bob/password", "{}").await.status, 404);
    for path in ["/v1/users", "/v1/groups", "/v1/users?external_id=b"] {
        assert_eq!(ask("GET", path, "").await.json()["data"], json!([]), "{path}");
    }
    let own = ask("GET", "/v1/numbers", "").await.json();
    assert_eq!(own["data"][0]["number"], "+15551234567");
    assert_eq!(problem(&ask("POST", "/v1/users", r#"{"account":0}"#).await).1, "operator_only");
    assert_eq!(
        problem(&ask("POST", "/v1/groups", r#"{"name":"x","members":["bob"]}"#).await).1,
        "unknown_user"
    );
    // The same names and numbers may be theirs too, and do not mix.
    assert_eq!(ask("POST", "/v1/users", r#"{"username":"bob"}"#).await.status, 201);
    assert_eq!(
        ask("POST", "/v1/numbers", r#"{"number":"+12025550100","route":[{"user":"bob"}]}"#).await.status,
        201
    );
    assert_eq!(house.get("/v1/numbers/+12025550100").await.json()["route"], json!([]));
    let of_theirs = house.get("/v1/numbers/+12025550100?account=1").await.json();
    assert_eq!(of_theirs["route"], json!([{ "user": "bob" }]));

    let reader = house.key(1, &["users:read"]).await;
    for (method, path, body, status) in [
        ("GET", "/v1/users", "", 200),
        ("GET", "/v1/groups", "", 200),
        ("POST", "/v1/users", "{}", 403),
        ("POST", "/v1/users/bob/password", "{}", 403),
        ("DELETE", "/v1/users/bob", "", 403),
        ("GET", "/v1/numbers", "", 403),
        ("GET", "/v1/accounts", "", 403),
    ] {
        assert_eq!(house.send(request(method, path, &reader, body)).await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn a_trunk_says_what_its_calls_come_in_with() {
    let house = House::build().await;
    let inbound = json!({ "sources": ["198.51.100.7", "2001:db8::/64"], "username": "pbx", "password": "long enough 1" });
    let body = json!({ "name": "pbx", "host": "127.0.0.1", "settings": { "inbound": inbound } });
    let made = house.ask("POST", "/v1/trunks", &body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    insta::assert_snapshot!(made.json()["settings"]["inbound"], @r#"{"sources":["198.51.100.7/32","2001:db8::/64"],"tls_name":null,"username":"pbx"}"#);
    let more = json!({ "settings": { "inbound": { "sources": ["198.51.100.8"] } } });
    let changed = house.ask("PATCH", "/v1/trunks/pbx", &more).await;
    assert_eq!(changed.json()["settings"]["inbound"]["username"], "pbx", "{}", changed.json());
    for (inbound, word) in [
        (json!({ "sources": ["everywhere"] }), "\"everywhere\" is no address or range"),
        (json!({ "sources": ["0.0.0.0/0"] }), "0.0.0.0/0 is everybody"),
        (json!({ "username": "other" }), "a new user needs a password"),
        (json!({ "password": "short" }), "12 to 128 characters"),
        (json!({ "username": null, "password": "long enough 1" }), "set settings.inbound.username too"),
        (json!({ "tls_name": "a b" }), "settings.inbound.tls_name"),
    ] {
        let told = problem(
            &house.ask("PATCH", "/v1/trunks/pbx", &json!({ "settings": { "inbound": inbound } })).await,
        );
        assert_eq!((told.0, &*told.1), (400, "invalid_trunk"), "{inbound}: {}", told.2);
        assert!(told.2.contains(word), "{inbound}: {}", told.2);
    }
    let same = json!({ "name": "same", "host": "127.0.0.1", "settings": { "inbound": { "sources": ["198.51.100.0/24"] } } });
    let told = problem(&house.ask("POST", "/v1/trunks", &same).await);
    assert_eq!((told.0, &*told.1), (409, "trunk_ambiguous"));
    assert!(told.2.contains("the trunk \"pbx\""), "{}", told.2);
    let theirs = house.key(1, &[]).await;
    let told = problem(&house.send(request("POST", "/v1/trunks", &theirs, &same.to_string())).await);
    assert_eq!((told.0, &*told.1), (409, "trunk_ambiguous"));
    assert!(told.2.contains("another account's trunk") && !told.2.contains("pbx"), "{}", told.2);
}
