//! Keys that end and are rotated, what an account may do, how often one may ask.

use super::*;

#[tokio::test]
async fn a_key_is_rotated_and_the_old_one_ends() {
    let house = House::build().await;
    let made = house
        .ask("POST", "/v1/keys", &json!({ "name": "billing", "account": 1, "scopes": ["calls:read"] }))
        .await
        .json();
    let (id, old) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let open = async |key: &str| house.send(request("GET", "/v1/calls", key, "")).await.status.as_u16();
    let rotate =
        async |id: &str, body: Value| house.ask("POST", &format!("/v1/keys/{id}/rotate"), &body).await;
    let answer = rotate(id, json!({ "overlap_s": 60 })).await;
    let next = answer.json();
    assert_eq!(answer.status, 201, "{next}");
    assert_eq!(
        (&next["scopes"], &next["account"], &next["name"]),
        (&made["scopes"], &json!(1), &made["name"])
    );
    assert_ne!(next["key"], made["key"]);
    assert_eq!((open(old).await, open(next["key"].as_str().unwrap()).await), (200, 200), "both, for a while");
    assert!(house.get(&format!("/v1/keys/{id}")).await.json()["expires_at"].is_string());
    assert_eq!(rotate(next["id"].as_str().unwrap(), json!({ "overlap_s": 0 })).await.status, 201);
    let over = house.send(request("GET", "/v1/calls", next["key"].as_str().unwrap(), "")).await;
    assert_eq!((over.status.as_u16(), over.json()["code"].as_str()), (401, Some("expired_api_key")));
    assert_eq!(rotate(next["id"].as_str().unwrap(), json!({})).await.json()["code"], "key_ended");
    assert_eq!(rotate(id, json!({ "overlap_s": 2_592_001 })).await.json()["code"], "out_of_range");
    assert_eq!(rotate("key_65a1f0c2a4b1c2d3e4f50601", json!({})).await.status, 404);
    // The operator's only key can be rotated: there is always one that works.
    let keys = house.get("/v1/keys").await.json();
    let own = keys["data"].as_array().unwrap().iter().find(|key| key["operator"] == true).unwrap();
    assert_eq!(rotate(own["id"].as_str().unwrap(), json!({})).await.json()["operator"], true);
}

#[tokio::test]
async fn nobody_gets_more_than_he_has_by_way_of_keys() {
    let house = House::build().await;
    let end = crate::time::now_ms() + 3_600_000;
    let new = NewKey {
        account: 1,
        name: "maker".into(),
        scopes: vec!["keys:write".into(), "keys:read".into(), "calls:read".into()],
        sources: vec!["192.0.2.0/24".parse().unwrap()],
        expires_at: Some(end),
        operator: false,
    };
    let maker = house.app.store.create_key(new).await.unwrap().1.expose().to_owned();
    let mighty =
        house.app.store.create_key(NewKey { account: 1, name: "all".into(), ..NewKey::default() }).await;
    let mighty = mighty.unwrap().0.id;
    let send = async |method: &str, path: &str, body: &Value| {
        house.send(from(request(method, path, &maker, &body.to_string()), "192.0.2.7:1")).await
    };
    let (soon, late) = (crate::api::calls::time(end), "2099-01-01T00:00:00Z");
    let within =
        json!({ "name": "a", "scopes": ["calls:read"], "sources": ["192.0.2.0/25"], "expires_at": soon });
    assert_eq!(send("POST", "/v1/keys", &within).await.status, 201);
    for (field, value) in [
        ("scopes", json!([])),
        ("scopes", json!(["calls:write"])),
        ("sources", json!([])),
        ("sources", json!(["192.0.0.0/16"])),
        ("sources", json!(["192.0.2.7", "198.51.100.1"])),
        ("expires_at", Value::Null),
        ("expires_at", json!(late)),
    ] {
        let mut body = within.clone();
        body[field] = value;
        let answer = send("POST", "/v1/keys", &body).await;
        assert_eq!(answer.status, 403, "{body}: {}", answer.json());
    }
    assert_eq!(
        send("POST", &format!("/v1/keys/{mighty}/rotate"), &json!({})).await.status,
        403,
        "to read it"
    );
    // An operator's key lies in account 0; another key there must not take it away.
    let plain = house.key(0, &["keys:write"]).await;
    let keys = house.get("/v1/keys").await.json();
    let own = keys["data"].as_array().unwrap().iter().find(|key| key["operator"] == true).unwrap();
    let path = format!("/v1/keys/{}", own["id"].as_str().unwrap());
    assert_eq!(house.send(request("DELETE", &path, &plain, "")).await.json()["code"], "operator_only");
}

#[tokio::test]
async fn the_operator_says_what_an_account_may_do() {
    let house = House::build().await;
    let change = json!({
        "limits": { "max_calls": 20, "max_duration_s": 600 },
        "destinations": { "countries": ["us", "*"], "prefixes": ["+4930", "!+1876"], "region": "us" },
    });
    let changed = house.ask("PATCH", "/v1/account?account=1", &change).await;
    insta::assert_snapshot!(changed.json(), @r#"{"destinations":{"countries":["US","*"],"prefixes":["+4930","!+1876"],"region":"US"},"domain":null,"id":1,"limits":{"calls_per_second":null,"max_calls":20,"max_duration_s":600,"max_registrations":null,"max_users":null},"name":"ACME Corp","realm":"trunkline"}"#);
    let more = json!({ "limits": { "max_calls": null }, "destinations": { "region": null } });
    let changed = house.ask("PATCH", "/v1/account?account=1", &more).await.json();
    assert_eq!(
        (&changed["limits"]["max_calls"], &changed["limits"]["max_duration_s"]),
        (&Value::Null, &json!(600))
    );
    assert_eq!(
        (&changed["destinations"]["region"], &changed["destinations"]["countries"][0]),
        (&Value::Null, &json!("US"))
    );

    let acme = house.key(1, &[]).await;
    assert_eq!(house.send(request("GET", "/v1/account", &acme, "")).await.json(), changed);
    let own = house.send(request("PATCH", "/v1/account", &acme, "{\"name\":\"A\"}")).await;
    assert_eq!((own.status.as_u16(), own.json()["code"].as_str()), (403, Some("operator_only")));
    for (body, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "limits": { "max_calls": 0 } }), "limits.max_calls"),
        (json!({ "limits": { "calls_per_second": -1 } }), "`calls_per_second`: invalid value"),
        (json!({ "limits": { "calls": 1 } }), "limits"),
        (json!({ "limits": [1, 2, 3] }), "limits"),
        (json!({ "destinations": { "countries": ["US", "Europe"] } }), "destinations.countries[1]"),
        (
            json!({ "destinations": { "countries": ["XX"] } }),
            "destinations.countries[0]` is \"XX\"; expected",
        ),
        (json!({ "destinations": { "region": "UK" } }), "destinations.region` is \"UK\"; expected"),
        (json!({ "destinations": { "prefixes": ["49"] } }), "destinations.prefixes[0]"),
        (json!({ "destinations": { "region": "" } }), "destinations.region"),
    ] {
        let answer = house.ask("PATCH", "/v1/account", &body).await;
        let problem = answer.json();
        assert_eq!(answer.status, 400, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(field), "{body}: {problem}");
    }
    assert_eq!(house.ask("PATCH", "/v1/account?account=99", &more).await.status, 404);
}

#[tokio::test]
async fn destinations_are_refused_by_name_and_opened_by_prefix() {
    let house = House::build().await;
    let trunk = json!({ "name": "real", "host": "127.0.0.1", "port": 9, "caller_id": "+12025550100", "default": true });
    assert_eq!(house.ask("POST", "/v1/trunks", &trunk).await.status, 201);
    let call = async |to: &str| {
        house.ask("POST", "/v1/calls", &json!({ "to": to, "flow": [{ "hangup": {} }] })).await
    };
    let refused = call("+46700123456").await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].as_str()),
        (403, Some("destination_not_allowed"))
    );
    assert!(refused.json()["detail"].as_str().unwrap().contains("\"countries\""), "{}", refused.json());
    let prefixes = |list: Value| json!({ "destinations": { "prefixes": list } });
    house.ask("PATCH", "/v1/account", &prefixes(json!(["+467"]))).await;
    assert_eq!(call("+46700123456").await.status, 201);
    assert_eq!(call("+12025550123").await.status, 403, "what is listed is all there is");
    house.ask("PATCH", "/v1/account", &prefixes(json!(["!+467", "*"]))).await;
    let blocked = call("+46700123456").await.json();
    assert!(blocked["detail"].as_str().unwrap().contains("\"!+467\""), "{blocked}");
    assert_eq!(call("+12025550123").await.status, 201);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let config = Config { requests_per_second: 5, wrong_keys_per_minute: 3, ..Config::default() };
    let house = House::with(config).await;
    let first = house.get("/v1/calls").await;
    assert_eq!(first.header("ratelimit-policy"), "\"key\";q=5;w=1");
    assert_eq!(first.header("ratelimit"), "\"key\";r=4;t=1");
    let mut last = first;
    for _ in 0..50 {
        last = house.get("/v1/calls").await;
    }
    assert_eq!((last.status.as_u16(), last.json()["code"].as_str()), (429, Some("too_many_requests")));
    assert_eq!((last.header("retry-after"), last.header("content-type")), ("1", "application/problem+json"));
    let other = house.key(0, &[]).await;
    assert_eq!(house.send(request("GET", "/v1/calls", &other, "")).await.status, 200, "each key has its own");

    let wrong = async |peer: &str| house.send(from(request("GET", "/v1/calls", "wrong", ""), peer)).await;
    let right =
        async |peer: &str| house.send(from(request("GET", "/v1/calls", &other, ""), peer)).await.status;
    for expected in [401, 401, 401, 429] {
        assert_eq!(wrong("192.0.2.7:1").await.status.as_u16(), expected);
    }
    assert_eq!(wrong("192.0.2.7:1").await.json()["code"], "too_many_wrong_keys");
    assert_eq!(right("192.0.2.7:1").await, 429, "no guess is told from a right key");
    assert_eq!((wrong("192.0.2.8:1").await.status.as_u16(), right("192.0.2.8:1").await.as_u16()), (401, 200));
    for _ in 0..5 {
        wrong("127.0.0.1:1").await;
    }
    assert_eq!(right("127.0.0.1:1").await, 200, "a proxy's users do not shut one another out");
}

#[tokio::test]
async fn the_shield_is_the_operators_to_see_and_undo() {
    let house = House::build().await;
    let seen = house.get("/v1/sip/shield").await;
    assert_eq!((seen.status.as_u16(), seen.json()), (200, json!({ "enabled": false, "data": [] })));
    let tenant = house.key(1, &["sip:read", "sip:write"]).await;
    for (method, path) in
        [("GET", "/v1/sip/shield"), ("DELETE", "/v1/sip/shield"), ("DELETE", "/v1/sip/shield/203.0.113.9")]
    {
        let refused = house.send(request(method, path, &tenant, "")).await;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.json());
    }
    let ask = async |path: &str| house.send(request("DELETE", path, KEY, "")).await;
    for (path, status, code) in [
        ("/v1/sip/shield/nowhere", 400, "invalid_source"),
        ("/v1/sip/shield/203.0.113.9", 404, "source_not_found"),
    ] {
        let refused = ask(path).await;
        let json = refused.json();
        assert_eq!((refused.status.as_u16(), json["code"].as_str()), (status, Some(code)), "{path}");
    }
    assert_eq!(ask("/v1/sip/shield").await.status, 204);
}
