//! Trunks, and the one that the settings name.

use super::*;

pub(super) async fn trunks(url: &str) {
    let store = start(url).await;
    let new = |name: &str| NewTrunk {
        account: 1,
        name: name.into(),
        host: "sip.example.com".into(),
        username: Some("me".into()),
        password: Some(secret("pa55 wörd")),
        is_default: true,
        ..NewTrunk::default()
    };
    let first = store.create_trunk(new("first")).await.unwrap();
    let second = store.create_trunk(NewTrunk { transport: "tcp".into(), ..new("second") }).await.unwrap();
    let defaults = |store: &Store| -> Vec<String> {
        store.trunks(1).into_iter().filter(|trunk| trunk.is_default).map(|trunk| trunk.name).collect()
    };
    assert_eq!(defaults(&store), ["second"], "a new default takes that from the others");
    assert_eq!(store.trunks(1)[0], second, "and stands first");
    assert_eq!(start(url).await.trunk(Some(1), first.id).unwrap().password, Some(secret("pa55 wörd")));
    let sealed = sqlx::query("SELECT password FROM trunks WHERE name = 'first'");
    let sealed: String = sealed.fetch_one(&store.0.reads).await.unwrap().try_get("password").unwrap();
    assert!(sealed.starts_with("v1:") && !sealed.contains("pa55"), "{sealed}");

    assert_eq!(Refused::from(store.create_trunk(new("first")).await.unwrap_err()).code, "trunk_exists");
    let settings = TrunkSettings {
        proxy: Some("edge.example.com:5070".into()),
        calls_per_second: Some(0.5),
        register: true,
        ..TrunkSettings::default()
    };
    let changed =
        TrunkRow { name: "renamed".into(), password: None, priority: -3, settings, ..second.clone() };
    assert!(store.update_trunk(&changed).await.unwrap());
    assert_eq!(start(url).await.trunk(None, second.id), Some(changed));
    assert!(!store.update_trunk(&TrunkRow { id: Id::new().unwrap(), ..first.clone() }).await.unwrap());
    assert!(store.trunk(Some(0), first.id).is_none(), "another account's trunk is not to be seen");
    assert!(!store.delete_trunk(Some(0), first.id).await.unwrap());
    for id in [first.id, second.id] {
        assert!(store.delete_trunk(Some(1), id).await.unwrap());
    }
    let bad = [
        new(""),
        new("a/b"),
        new("provider"),
        NewTrunk { host: "sip:example.com".into(), ..new("x") },
        NewTrunk { host: "exa mple".into(), ..new("x") },
        NewTrunk { host: String::new(), ..new("x") },
        NewTrunk { port: 0, ..new("x") },
        NewTrunk { transport: "sctp".into(), ..new("x") },
        NewTrunk { digest: "sha-512".into(), ..new("x") },
        NewTrunk { number_form: "e.164".into(), ..new("x") },
        NewTrunk { prefix: Some("9;drop".into()), ..new("x") },
        NewTrunk { caller_id: Some("\"x\" <sip:y>".into()), ..new("x") },
        NewTrunk { username: Some("a\r\nb".into()), ..new("x") },
        NewTrunk { settings: TrunkSettings { channels: Some(0), ..TrunkSettings::default() }, ..new("x") },
        NewTrunk {
            username: None,
            settings: TrunkSettings { register: true, ..TrunkSettings::default() },
            ..new("x")
        },
    ];
    for trunk in bad {
        assert_eq!(
            Refused::from(store.create_trunk(trunk.clone()).await.unwrap_err()).code,
            "invalid_trunk",
            "{trunk:?}"
        );
    }
    assert!(store.create_trunk(NewTrunk { host: "[2001:db8::1]".into(), ..new("v6") }).await.is_ok());
    let v6 = store.trunks(1)[0].id;
    store.delete_trunk(None, v6).await.unwrap();

    // A row from before there were settings.
    let old = store.create_trunk(new("old")).await.unwrap();
    let set =
        |text: &'static str| sqlx::query("UPDATE trunks SET settings = $1 WHERE name = 'old'").bind(text);
    set("{}").execute(&store.0.writes).await.unwrap();
    assert_eq!(start(url).await.trunk(None, old.id).unwrap().settings, TrunkSettings::default());
    store.delete_trunk(None, old.id).await.unwrap();
}

pub(super) async fn provider(url: &str) {
    let store = start(url).await;
    let first = |account| store.trunks(account).remove(0);
    let given =
        Provider { host: "sip.example.com".into(), password: Some(secret("one")), ..Provider::default() };
    store.set_provider(Some(&given)).await.unwrap();
    for account in [0, 1] {
        let trunk = first(account);
        assert_eq!((&*trunk.name, trunk.is_default, trunk.enabled), ("provider", true, true));
    }
    let id = first(0).id;
    let own = NewTrunk {
        account: 1,
        name: "own".into(),
        host: "192.0.2.1".into(),
        is_default: true,
        ..NewTrunk::default()
    };
    let own = store.create_trunk(own).await.unwrap();
    let given = Provider {
        host: "sip2.example.com".into(),
        port: Some(5070),
        password: Some(secret("two")),
        ..given
    };
    store.set_provider(Some(&given)).await.unwrap();
    let trunk = first(0);
    assert_eq!(
        (trunk.id, &*trunk.host, trunk.port, trunk.password),
        (id, "sip2.example.com", 5070, Some(secret("two")))
    );
    assert_eq!(first(1).id, own.id, "an account's own default trunk stays");
    store.delete_trunk(None, own.id).await.unwrap();

    store.set_provider(None).await.unwrap();
    assert_eq!((&*first(0).name, first(0).is_default), ("sim", true));
    assert!(!store.trunks(1).iter().any(|trunk| trunk.is_default), "nothing stands in for a deleted trunk");
    for account in [0, 1] {
        let provider = store.trunks(account).into_iter().find(|trunk| trunk.name == "provider").unwrap();
        assert!(!provider.enabled && !provider.is_default);
        store.delete_trunk(None, provider.id).await.unwrap();
    }
}
