//! Keys and accounts.

use super::*;

pub(super) async fn keys(url: &str) {
    let store = start(url).await;
    let new = |name: &str| NewKey { account: 1, name: name.into(), ..NewKey::default() };
    let tied = NewKey {
        scopes: vec!["calls:read".into()],
        sources: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..new("tied")
    };
    let (row, key) = store.create_key(tied).await.unwrap();
    assert!(key.expose().starts_with(&row.prefix) && row.prefix.len() == 8);
    let from = |address: &str| store.authenticate(key.expose(), Some(address.parse().unwrap()));
    let identity = from("192.0.2.7").unwrap();
    assert!(identity.may("calls:read") && !identity.may("calls:write") && identity.reach() == Some(1));
    assert_eq!(from("::ffff:192.0.2.7"), Ok(identity));
    assert!(from("2001:db8::1").is_ok());
    assert_eq!(from("198.51.100.1"), Err(AuthError::Source));
    assert_eq!(store.authenticate(key.expose(), None), Err(AuthError::Source));
    for wrong in ["", "tl_", &key.expose()[..42], &format!("{}x", key.expose())] {
        assert_eq!(store.authenticate(wrong, None), Err(AuthError::Unknown), "{wrong}");
    }

    store.flush().await;
    let listed = store.keys(Some(1)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].last_used_at.is_some());
    assert_eq!(KeyRow { last_used_at: None, ..listed[0].clone() }, row);
    let stored = sqlx::query("SELECT * FROM keys WHERE account = 1").fetch_one(&store.0.reads).await.unwrap();
    assert_eq!(stored.try_get::<String, _>("hash").unwrap(), hex::encode(keys::hash(key.expose())));

    assert!(!store.revoke_key(Some(0), row.id).await.unwrap(), "another account's key is not to be seen");
    assert!(store.revoke_key(Some(1), row.id).await.unwrap());
    assert!(!store.revoke_key(Some(1), row.id).await.unwrap());
    assert_eq!(from("192.0.2.7"), Err(AuthError::Revoked));

    let operator = store.keys(Some(OPERATOR)).await.unwrap().remove(0);
    let refused = Refused::from(store.revoke_key(None, operator.id).await.unwrap_err());
    assert_eq!((refused.status, refused.code), (409, "last_operator_key"));
    let bad = [
        new(""),
        new("bell\u{7}"),
        NewKey { scopes: vec!["everything".into()], ..new("x") },
        NewKey { operator: true, ..new("x") },
        NewKey { account: 99, ..new("x") },
    ];
    for key in bad {
        assert_eq!(Refused::from(store.create_key(key.clone()).await.unwrap_err()).status, 400, "{key:?}");
    }
}

pub(super) async fn keys_end(url: &str) {
    let store = start(url).await;
    let soon = now_ms() + 60_000;
    let new = NewKey { account: 1, name: "ends".into(), expires_at: Some(soon), ..NewKey::default() };
    let (row, key) = store.create_key(new.clone()).await.unwrap();
    assert_eq!(store.authenticate(key.expose(), None).unwrap().expires_at, Some(soon));
    assert!(row.is_live(soon - 1) && !row.is_live(soon));
    store.expire_key(row.id, soon + 1).await.unwrap();
    assert_eq!(store.key(Some(1), row.id).await.unwrap().unwrap().expires_at, Some(soon), "never later");
    store.expire_key(row.id, 1).await.unwrap();
    assert_eq!(store.authenticate(key.expose(), None).unwrap_err(), AuthError::Expired);
    assert!(store.key(Some(0), row.id).await.unwrap().is_none(), "another account's");
    assert!(store.create_key(NewKey { expires_at: Some(1), ..new }).await.is_err());
}

pub(super) async fn what_an_account_may_do(url: &str) {
    let store = start(url).await;
    let before = store.account(1).unwrap();
    let changed = Account {
        countries: vec!["US".into()],
        prefixes: vec!["+4930".into(), "!+1876".into()],
        region: Some("US".into()),
        max_calls: Some(5),
        calls_per_second: Some(2),
        max_duration_s: Some(600),
        ..before.clone()
    };
    assert!(store.update_account(&changed).await.unwrap());
    assert_eq!(store.account(1).unwrap(), changed);
    assert_eq!(start(url).await.account(1).unwrap(), changed);
    assert!(store.update_account(&before).await.unwrap());
    assert!(!store.update_account(&Account { id: 99, ..before }).await.unwrap());
}
