//! Accounts, users, groups, numbers, and trunks that call in.

use serde_json::from_value;
use sip::digest::Algorithm;

use super::*;

fn code(result: Result<impl Sized, StoreError>) -> &'static str {
    result.err().map_or("no error", |error| Refused::from(error).code)
}

fn named(name: &str) -> Account {
    Account::new(name.into(), "example.com".into())
}

fn user(account: i64, username: &str) -> NewUser {
    NewUser { account, username: Some(username.into()), ..NewUser::default() }
}

async fn count(store: &Store, table: &'static str) -> i64 {
    let count = match table {
        "users" => "SELECT COUNT(*) FROM users",
        _ => "SELECT COUNT(*) FROM numbers",
    };
    sqlx::query(count).fetch_one(&store.0.reads).await.unwrap().try_get(0).unwrap()
}

pub(super) async fn accounts(url: &str) {
    let store = start(url).await;
    assert_eq!(store.account(1).unwrap().realm, "trunkline");
    store.fix_realms("sip.example.com").await.unwrap();
    store.fix_realms("other.example.com").await.unwrap();
    assert_eq!(store.account(1).unwrap().realm, "sip.example.com", "once for all");

    let own = Account { domain: Some("Sip.Beta.example.".into()), max_users: Some(2), ..named("Beta") };
    let beta = store.create_account(own).await.unwrap();
    assert_eq!((beta.id, &*beta.realm), (2, "sip.beta.example"), "the realm is the account's domain");
    let gamma = store.create_account(named("Gamma")).await.unwrap();
    assert_eq!((gamma.id, &*gamma.realm), (3, "example.com"));
    assert_eq!(store.trunks(3)[0].kind, TrunkKind::Simulated, "what the settings give, it has at once");
    assert_eq!(start(url).await.account(2), Some(beta.clone()));
    let directory = store.directory();
    assert_eq!(directory.account_of_domain("SIP.beta.example"), Some(2));
    assert_eq!(directory.accounts_of_realm("sip.example.com"), [0, 1]);

    let moved = Account { domain: Some("voice.beta.example".into()), ..beta.clone() };
    assert!(store.update_account(&moved).await.unwrap());
    let moved = store.account(2).unwrap();
    assert_eq!(moved.realm, "sip.beta.example", "the realm stays: HA1s bind it");
    assert_eq!(directory.account_of_domain("sip.beta.example"), None);
    for domain in ["voice.beta.example", "VOICE.beta.example"] {
        let other = Account { domain: Some(domain.into()), ..named("Delta") };
        assert_eq!(code(store.create_account(other.clone()).await), "domain_taken");
        assert_eq!(code(store.update_account(&Account { id: 3, ..other }).await), "domain_taken");
    }
    for domain in ["", "192.0.2.1", "2001:db8::1", "a b", "sip:a.example", "a.example:5060"] {
        let other = Account { domain: Some(domain.into()), ..named("Delta") };
        assert_eq!(code(store.create_account(other).await), "invalid_domain", "{domain}");
    }
    assert_eq!(code(store.delete_account(0).await), "operator_account");
    let delta = store.create_account(named("Delta")).await.unwrap().id;
    assert_eq!(
        (store.delete_account(delta).await.unwrap(), store.delete_account(delta).await.unwrap()),
        (true, false)
    );
    assert_eq!(store.create_account(named("Delta")).await.unwrap().id, delta + 1, "no id is given twice");
    let key = NewKey { account: delta + 1, name: "x".into(), ..NewKey::default() };
    let key = store.create_key(key).await.unwrap().0;
    let refused = Refused::from(store.delete_account(delta + 1).await.unwrap_err());
    assert_eq!(refused.message, format!("Account {} still has 1 key.", delta + 1));
    store.revoke_key(None, key.id).await.unwrap();
    assert!(store.delete_account(delta + 1).await.unwrap());
}

pub(super) async fn users(url: &str) {
    let store = start(url).await;
    let directory = store.directory();
    let new = NewUser {
        external_id: Some("user123".into()),
        display_name: Some("Alice Ängström".into()),
        caller_ids: vec!["+12025550100".into()],
        may_call: MayCall::Internal,
        max_calls: Some(2),
        voicemail: true,
        ..user(2, "alice")
    };
    let (alice, password) = store.create_user(new).await.unwrap();
    assert_eq!(password.expose().len(), 24);
    for (algorithm, name) in [(Algorithm::Md5, "MD5"), (Algorithm::Sha256, "SHA-256")] {
        let expected = algorithm.ha1("alice", "sip.beta.example", password.expose());
        assert_eq!(alice.ha1.hex(algorithm), Some(expected), "{name}");
    }
    assert!(
        alice.ha1.hex(Algorithm::Sha512_256).is_none()
            && !format!("{alice:?}").contains(&alice.ha1.hex(Algorithm::Md5).unwrap())
    );
    let stored =
        sqlx::query("SELECT * FROM users WHERE username = 'alice'").fetch_one(&store.0.reads).await.unwrap();
    for column in ["ha1_md5", "ha1_sha256"] {
        assert!(stored.try_get::<String, _>(column).unwrap().starts_with("v1:"), "{column} is sealed");
    }
    let again = start(url).await;
    assert_eq!(again.directory().user(2, "alice"), Some(alice.clone()));
    assert_eq!(again.directory().user_by_external_id(2, "user123"), Some(alice.clone()));

    let (made, _) = store.create_user(NewUser { username: None, ..user(2, "") }).await.unwrap();
    let digits = made.username.strip_prefix("user_").unwrap();
    assert!(digits.len() >= 13 && digits.bytes().all(|b| b.is_ascii_digit()), "{}", made.username);
    assert_eq!(code(store.create_user(user(2, "carol")).await), "too_many_users", "the account's limit is 2");
    assert_eq!(code(store.create_user(user(2, "alice")).await), "user_exists");
    assert_eq!(code(store.create_user(user(99, "alice")).await), "account_not_found");
    let same = NewUser { external_id: Some("user123".into()), ..user(2, "bob") };
    assert_eq!(code(store.create_user(same).await), "user_exists");

    // The same name in other accounts is other people.
    let (one, _) = store.create_user(user(1, "alice")).await.unwrap();
    assert_eq!(directory.user_anywhere("alice"), Found::Several);
    assert_eq!(directory.user_in_realm("sip.example.com", "alice"), Found::One(one.clone()));
    let (zero, _) = store.create_user(user(0, "alice")).await.unwrap();
    assert_eq!(directory.user_in_realm("sip.example.com", "alice"), Found::Several);
    assert_eq!((directory.user(1, "alice"), directory.user(3, "alice")), (Some(one.clone()), None));
    assert_eq!(directory.user_anywhere("nobody"), Found::Nothing);
    assert_eq!(directory.user_by_id(1, alice.id), None, "another account's");

    let bad = [
        NewUser { username: Some("+12025550123".into()), ..user(1, "") },
        NewUser { display_name: Some(String::new()), ..user(1, "x1") },
        NewUser { external_id: Some("a\r\nb".into()), ..user(1, "x1") },
        NewUser { max_calls: Some(0), ..user(1, "x1") },
        NewUser { max_bindings: 0, ..user(1, "x1") },
        NewUser { max_bindings: 101, ..user(1, "x1") },
        NewUser { caller_ids: vec!["+12025550123".into(); 21], ..user(1, "x1") },
    ];
    for new in bad {
        assert_eq!(code(store.create_user(new.clone()).await), "invalid_user", "{new:?}");
    }
    for password in
        ["short", "eleven char", "aaaaaaaaaaaaaaaaaaaa", "my-bartleby-password", "tab\tbed horse battery"]
    {
        let new = NewUser { password: Some(secret(password)), ..user(1, "bartleby") };
        assert_eq!(code(store.create_user(new).await), "weak_password", "{password}");
    }

    let given = Some(secret("correct horse battery"));
    let (changed, password) = store.set_password(2, alice.id, given.clone()).await.unwrap().unwrap();
    assert_eq!((Some(password), changed.ha1 == alice.ha1), (given, false));
    let change = UserRow { external_id: None, enabled: false, ..UserRow::clone(&alice) };
    let now = store.update_user(change).await.unwrap().unwrap();
    assert_eq!((now.ha1 == changed.ha1, now.enabled), (true, false), "a change leaves the password as it is");
    assert_eq!(directory.user_by_external_id(2, "user123"), None);
    assert_eq!(start(url).await.directory().user(2, "alice"), Some(now));
    assert!(store.set_password(1, alice.id, None).await.unwrap().is_none(), "another account's");

    let list: Vec<Id> = directory.users(2, None, 10).iter().map(|user| user.id).collect();
    assert_eq!(list.len(), 2);
    let rest: Vec<Id> = directory.users(2, Some(list[0]), 10).iter().map(|user| user.id).collect();
    assert_eq!((rest.as_slice(), directory.users(2, None, 1).len()), (&list[1..], 1));
    assert!(!store.delete_user(1, alice.id).await.unwrap(), "another account's");
    for (account, id) in [(0, zero.id), (2, made.id)] {
        assert!(store.delete_user(account, id).await.unwrap());
    }
    assert_eq!((directory.user_count(2), directory.user(2, &made.username)), (1, None));
    assert_eq!(count(&store, "users").await, 2);
}

pub(super) async fn groups_and_numbers(url: &str) {
    let store = start(url).await;
    let directory = store.directory();
    let demo = directory.number(1, "+15551234567").unwrap();
    assert_eq!((demo.id, demo.route.len()), (1, 1));
    let alice = directory.user(2, "alice").unwrap();
    let theirs = directory.user(1, "alice").unwrap();
    let new = |name: &str, members: &[Id]| NewGroup {
        account: 2,
        name: name.into(),
        strategy: Strategy::InOrder,
        members: members.to_vec(),
        timeout_s: 20,
    };
    let sales = store.create_group(new("sales", &[alice.id])).await.unwrap();
    for (group, refusal) in [
        (new("sales", &[alice.id]), "group_exists"),
        (new("alice", &[alice.id]), "group_exists"),
        (new("sales team", &[alice.id]), "invalid_group"),
        (new("empty", &[]), "invalid_group"),
        (new("twice", &[alice.id, alice.id]), "invalid_group"),
        (new("theirs", &[theirs.id]), "unknown_user"),
        (NewGroup { timeout_s: 0, ..new("brief", &[alice.id]) }, "invalid_group"),
        (NewGroup { account: 99, ..new("nobody", &[alice.id]) }, "account_not_found"),
    ] {
        assert_eq!(code(store.create_group(group.clone()).await), refusal, "{group:?}");
    }
    assert_eq!(code(store.create_user(user(2, "sales")).await), "user_exists", "a group has the name");
    let renamed = GroupRow { name: "support".into(), strategy: Strategy::All, ..GroupRow::clone(&sales) };
    let sales = store.update_group(renamed).await.unwrap().unwrap();
    assert_eq!((directory.group_named(2, "sales"), directory.group(1, sales.id)), (None, None));
    assert_eq!(start(url).await.directory().group_named(2, "support"), Some(sales.clone()));

    let number = |number: &str, route: Vec<Target>| NewNumber {
        account: 2,
        number: number.into(),
        route,
        ..NewNumber::default()
    };
    let rings = Target::User { user: alice.id, timeout_s: Some(20) };
    let asked = Target::Group { group: sales.id, timeout_s: None };
    let forwards = Target::Dial { number: "+12025550123".into(), timeout_s: None };
    let message =
        Target::Voicemail { greeting: Some("Please leave a message.".into()), user: Some(alice.id) };
    let hook = Target::Webhook("https://example.com/calls".into());
    let all = vec![rings.clone(), asked.clone(), forwards.clone(), hook, message.clone()];
    let row = store.create_number(number("+15551234567", all)).await.unwrap();
    assert_eq!(row.id, 2);
    let has = |account: &i64| directory.number(*account, "+15551234567").is_some();
    let both: Vec<i64> = (0..10).filter(has).collect();
    assert_eq!(both, [1, 2], "each account has its own");
    assert_eq!(start(url).await.directory().number(2, "+15551234567"), Some(row.clone()));

    let flow = |steps: serde_json::Value| Target::Flow(from_value(steps).unwrap());
    let busy = Target::Reject { status: 486 };
    for (text, route, refusal) in [
        ("+15551234567", vec![], "number_exists"),
        ("15551234568", vec![], "invalid_number_format"),
        ("+0555123456", vec![], "invalid_number_format"),
        ("+1", vec![], "invalid_number_format"),
        ("+15551234568", vec![busy.clone(); 11], "invalid_route"),
        ("+15551234568", vec![busy.clone(), rings.clone()], "invalid_route"),
        ("+15551234568", vec![message, busy.clone()], "invalid_route"),
        ("+15551234568", vec![Target::Reject { status: 200 }], "invalid_route"),
        ("+15551234568", vec![Target::Reject { status: 407 }], "invalid_route"),
        ("+15551234568", vec![Target::User { user: alice.id, timeout_s: Some(0) }], "invalid_route"),
        ("+15551234568", vec![Target::User { user: theirs.id, timeout_s: None }], "unknown_user"),
        ("+15551234568", vec![Target::Group { group: theirs.id, timeout_s: None }], "unknown_group"),
        ("+15551234568", vec![Target::Dial { number: "12".into(), timeout_s: None }], "invalid_route"),
        ("+15551234568", vec![flow(json!([]))], "flow_empty"),
        ("+15551234568", vec![flow(json!([{ "pause": { "seconds": -1 } }]))], "invalid_pause"),
    ] {
        assert_eq!(code(store.create_number(number(text, route.clone())).await), refusal, "{text} {route:?}");
    }
    let trunk = NewTrunk { account: 2, name: "acme".into(), host: "192.0.2.9".into(), ..NewTrunk::default() };
    let trunk = store.create_trunk(trunk).await.unwrap();
    let tied = NumberRow { trunk: Some(trunk.id), name: "Front desk".into(), ..NumberRow::clone(&row) };
    let tied = store.update_number(tied).await.unwrap().unwrap();
    assert_eq!(start(url).await.directory().number_by_id(2, 2), Some(tied));
    let foreign = NumberRow { account: 1, trunk: Some(trunk.id), ..NumberRow::clone(&demo) };
    assert_eq!(code(store.update_number(foreign).await), "unknown_trunk");

    let refused = Refused::from(store.delete_user(2, alice.id).await.unwrap_err());
    assert_eq!((refused.status, refused.code), (409, "user_in_use"));
    assert_eq!(refused.message, "The user alice is still named by number +15551234567, group support.");
    assert_eq!(code(store.delete_group(2, sales.id).await), "group_in_use");
    assert_eq!(code(store.delete_trunk(None, trunk.id).await), "trunk_in_use");
    assert!(!store.delete_number(1, row.id).await.unwrap(), "another account's");
    assert!(store.delete_number(2, row.id).await.unwrap());
    let next = store.create_number(number("+15551234568", vec![])).await.unwrap();
    assert_eq!(next.id, 3, "no id is given twice");
    let refused = Refused::from(store.delete_account(2).await.unwrap_err());
    assert_eq!(refused.message, "Account 2 still has 1 user, 1 group, 1 number, 1 trunk.");
    assert!(store.delete_number(2, next.id).await.unwrap() && store.delete_group(2, sales.id).await.unwrap());
    assert!(store.delete_user(2, alice.id).await.unwrap() && store.delete_user(1, theirs.id).await.unwrap());
    assert!(store.delete_trunk(None, trunk.id).await.unwrap());
    assert_eq!((count(&store, "users").await, count(&store, "numbers").await), (0, 1));
}

pub(super) async fn trunks_that_call_in(url: &str) {
    let store = start(url).await;
    let directory = store.directory();
    let trunk = |account: i64, name: &str, inbound: serde_json::Value| NewTrunk {
        account,
        name: name.into(),
        host: "192.0.2.9".into(),
        settings: TrunkSettings::parse(json!({ "inbound": inbound })).unwrap(),
        ..NewTrunk::default()
    };
    let net = json!({ "sources": ["198.51.100.9/24", "2001:db8::1"] });
    let first = store.create_trunk(trunk(2, "first", net)).await.unwrap();
    assert_eq!(first.settings.inbound.sources[0].to_string(), "198.51.100.0/24");
    let by = |address: &str| -> Vec<String> {
        let found = directory.trunks_by_source(address.parse().unwrap());
        found.iter().map(|trunk| trunk.name.clone()).collect()
    };
    assert_eq!(
        (by("198.51.100.7"), by("::ffff:198.51.100.7"), by("2001:db8::1")),
        (vec!["first".into()], vec!["first".into()], vec!["first".into()])
    );
    assert_eq!(by("198.51.101.7"), Vec::<String>::new());

    // Of one account, what overlaps must differ in something a call shows.
    let inside = json!({ "sources": ["198.51.100.128/25"] });
    let refused = Refused::from(store.create_trunk(trunk(2, "second", inside.clone())).await.unwrap_err());
    assert_eq!(
        (refused.status, &*refused.message),
        (409, "Calls that come from 198.51.100.128/25 could be from this trunk or from the trunk \"first\".")
    );
    let with = |username: &str, password: &str| json!({ "sources": ["198.51.100.128/25"], "username": username, "password": password });
    assert_eq!(
        code(store.create_trunk(trunk(2, "second", with("pbx", "long enough 1"))).await),
        "trunk_ambiguous"
    );
    let disabled = NewTrunk { enabled: false, ..trunk(2, "second", inside.clone()) };
    let second = store.create_trunk(disabled).await.unwrap();
    assert_eq!(
        code(store.update_trunk(&TrunkRow { enabled: true, ..second.clone() }).await),
        "trunk_ambiguous"
    );

    // Of two accounts, domain or numbers tell them apart, and another's trunk is never named.
    let refused = Refused::from(store.create_trunk(trunk(3, "theirs", inside.clone())).await.unwrap_err());
    assert_eq!(
        (refused.code, &*refused.message),
        (
            "trunk_ambiguous",
            "Calls that come from 198.51.100.128/25 could be from this trunk or from another account's trunk."
        )
    );
    let number =
        |account: i64, number: &str| NewNumber { account, number: number.into(), ..NewNumber::default() };
    let third = store.create_number(number(3, "+12025550133")).await.unwrap();
    let theirs = store.create_trunk(trunk(3, "theirs", inside)).await.unwrap();
    assert_eq!(by("198.51.100.200"), ["theirs", "first"], "the longest prefix first");
    let shared = store.create_number(number(2, "+12025550133")).await;
    assert_eq!(code(shared), "number_ambiguous");
    let account = |id: i64, domain: Option<&str>| Account {
        domain: domain.map(Into::into),
        ..store.account(id).unwrap()
    };
    store.update_account(&account(3, Some("gamma.example"))).await.unwrap();
    let shared = store.create_number(number(2, "+12025550133")).await.unwrap();
    assert_eq!(code(store.update_account(&account(3, None)).await), "trunk_ambiguous");
    assert!(store.delete_number(2, shared.id).await.unwrap());
    assert!(store.update_account(&account(3, None)).await.unwrap());
    assert!(
        store.delete_trunk(None, theirs.id).await.unwrap() && store.delete_number(3, third.id).await.unwrap()
    );

    // By digest user and by certificate.
    let gate = json!({ "username": "pbx", "password": "long enough 1" });
    let gate = store.create_trunk(trunk(2, "gate", gate)).await.unwrap();
    assert_eq!(gate.settings.inbound.password, None);
    let expected = Algorithm::Md5.ha1("pbx", "sip.beta.example", "long enough 1");
    let kept = start(url).await.directory().trunks_by_user("sip.beta.example", "pbx").remove(0);
    assert_eq!(kept.inbound_ha1.as_ref().unwrap().hex(Algorithm::Md5), Some(expected.clone()));
    assert!(directory.trunks_by_user("sip.example.com", "pbx").is_empty());
    let settings = sqlx::query("SELECT settings FROM trunks WHERE name = 'gate'")
        .fetch_one(&store.0.reads)
        .await
        .unwrap();
    assert!(!settings.try_get::<String, _>("settings").unwrap().contains("long enough"));
    let mut changed = TrunkRow { name: "door".into(), ..gate.clone() };
    assert!(store.update_trunk(&changed).await.unwrap());
    let kept = store.trunk(None, gate.id).unwrap();
    assert_eq!(kept.inbound_ha1.unwrap().hex(Algorithm::Md5), Some(expected), "the password stays");
    changed.settings.inbound.username = Some("other".into());
    assert_eq!(code(store.update_trunk(&changed).await), "invalid_trunk", "a new user needs a password");
    let same = json!({ "username": "pbx", "password": "long enough 2" });
    assert_eq!(code(store.create_trunk(trunk(2, "same", same.clone())).await), "trunk_ambiguous");
    let elsewhere = store.create_trunk(trunk(1, "same", same)).await.unwrap();
    assert_eq!(
        code(store.create_user(user(2, "pbx")).await),
        "user_exists",
        "a trunk calls in with the name"
    );
    let (bob, _) = store.create_user(user(2, "bob")).await.unwrap();
    let taken = json!({ "username": "bob", "password": "long enough 3" });
    assert_eq!(code(store.create_trunk(trunk(2, "taken", taken)).await), "trunk_ambiguous");
    let certified =
        store.create_trunk(trunk(2, "tls", json!({ "tls_name": "Edge.carrier.example" }))).await.unwrap();
    assert_eq!(directory.trunks_by_tls_name("edge.carrier.example")[0].id, certified.id);
    store.delete_user(2, bob.id).await.unwrap();
    for id in [first.id, second.id, gate.id, elsewhere.id, certified.id] {
        assert!(store.delete_trunk(None, id).await.unwrap());
    }
    for account in [3, 2] {
        assert!(store.delete_account(account).await.unwrap());
    }
}
