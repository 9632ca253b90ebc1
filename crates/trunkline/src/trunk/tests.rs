use serde_json::{Value, json};

use super::*;
use crate::id::Id;
use crate::store::TrunkRow;

/// A common trunk, changed.
pub(crate) fn row(change: impl FnOnce(&mut TrunkRow)) -> TrunkRow {
    let mut row = TrunkRow {
        id: Id::parse("65a1f0c2a4b1c2d3e4f50600").unwrap(),
        account: 0,
        name: "acme".into(),
        kind: call::TrunkKind::Sip,
        host: "sip.carrier.example".into(),
        port: 5060,
        transport: "udp".into(),
        username: Some("4915".into()),
        password: None,
        digest: "md5".into(),
        number_form: "+e164".into(),
        prefix: None,
        caller_id: Some("+12025550100".into()),
        priority: 0,
        is_default: true,
        enabled: true,
        settings: TrunkSettings::default(),
        inbound_ha1: None,
        created_at: 0,
    };
    change(&mut row);
    row
}

fn changed(change: Value) -> Result<TrunkSettings, String> {
    let Value::Object(change) = change else { return Err("not an object".into()) };
    TrunkSettings::default().changed(&change)
}

/// What is wrong with a change of the defaults, for a trunk over `transport` with a user name.
fn refused(change: Value, transport: &str) -> String {
    changed(change).and_then(|settings| settings.check(transport, Some("4915"))).err().unwrap_or_default()
}

#[test]
fn an_empty_document_is_the_defaults_and_they_hold() {
    let settings = TrunkSettings::parse(json!({})).unwrap();
    assert_eq!(settings, TrunkSettings::default());
    for transport in ["udp", "tcp", "tls"] {
        assert_eq!(settings.check(transport, None), Ok(()));
    }
    let written = serde_json::to_value(&settings).unwrap();
    assert_eq!(TrunkSettings::parse(written).unwrap(), settings);
}

#[test]
fn each_field_says_what_is_wrong_and_what_is_allowed() {
    let table = [
        (
            json!({ "proxy": "sip:edge.example" }),
            "settings.proxy is \"sip:edge.example\", which is more than a host: give the host alone, such as edge.example",
        ),
        (json!({ "proxy": "edge.example:0" }), "settings.proxy"),
        (json!({ "proxy": "edge.example:70000" }), "settings.proxy"),
        (json!({ "proxy": "[::1" }), "settings.proxy"),
        (json!({ "proxy": "[::1]5060" }), "settings.proxy"),
        (json!({ "request_domain": "a b" }), "settings.request_domain is \"a b\": a host name has letters"),
        (json!({ "request_domain": "a.example:5060" }), "settings.request_domain"),
        (json!({ "from_domain": "" }), "settings.from_domain"),
        (json!({ "from_domain": "a\r\nX: y" }), "settings.from_domain"),
        (json!({ "realm": "a\"b" }), "settings.realm: a realm has 1 to 128 characters"),
        (json!({ "realm": "" }), "settings.realm"),
        (
            json!({ "inbound_number_form": "e.164" }),
            "settings.inbound_number_form: unknown variant `e.164`, expected one of",
        ),
        (
            json!({ "identity": "ppi" }),
            "settings.identity: unknown variant `ppi`, expected one of `from`, `pai`, `rpid`",
        ),
        (json!({ "privacy": true }), "settings.privacy"),
        (json!({ "codecs": [] }), "settings.codecs: name at least one"),
        (json!({ "codecs": ["pcmu", "g722", "pcmu"] }), "settings.codecs: pcmu stands there twice"),
        (json!({ "codecs": ["g729"] }), "settings.codecs[0]: unknown variant `g729`"),
        (json!({ "dtmf": "rfc2833" }), "settings.dtmf: unknown variant `rfc2833`"),
        (json!({ "srtp": "required" }), "settings.srtp: required would send the keys readable over udp"),
        (
            json!({ "session_timer": { "expires_s": 30 } }),
            "settings.session_timer.expires_s: 30 is out of range; 90 to 86400",
        ),
        (
            json!({ "session_timer": { "expires_s": 100, "min_se_s": 200 } }),
            "settings.session_timer.expires_s: 100 is below",
        ),
        (json!({ "session_timer": { "expires": 100 } }), "unknown field `expires`"),
        (json!({ "reliable_provisional": "yes" }), "settings.reliable_provisional"),
        (json!({ "ping_s": 1 }), "settings.ping_s: 1 is out of range; 5 to 3600"),
        (json!({ "ping_s": -1 }), "settings.ping_s: invalid value"),
        (json!({ "register_expires_s": 59 }), "settings.register_expires_s: 59 is out of range"),
        (json!({ "channels": 0 }), "settings.channels: 0 is out of range; 1 to 100000"),
        (json!({ "calls_per_second": 0.0 }), "settings.calls_per_second: 0 is out of range; 0.01 to 1000"),
        (json!({ "calls_per_second": "3" }), "settings.calls_per_second: invalid type"),
        (json!({ "queue_s": 4000 }), "settings.queue_s: 4000 is out of range; 0 to 3600"),
        (json!({ "queue_s": null }), "settings.queue_s: invalid type: null"),
        (json!({ "chanels": 4 }), "unknown field `chanels`"),
    ];
    for (change, said) in table {
        let why = refused(change.clone(), "udp");
        assert!(why.contains(said), "{change} was answered {why:?}, not {said:?}");
    }
}

#[test]
fn what_depends_on_the_trunk_is_checked_with_it() {
    let table = [
        (json!({ "srtp": "required" }), "tls", ""),
        (json!({ "srtp": "optional" }), "tcp", "settings.srtp"),
        (json!({ "srtp": "optional", "srtp_over_plain": true }), "udp", ""),
        (json!({ "register": true }), "udp", ""),
        (json!({ "proxy": "[2001:db8::1]:5070", "codecs": ["opus", "g722", "pcma", "pcmu"] }), "udp", ""),
        (json!({ "calls_per_second": 0.5, "channels": 2, "queue_s": 0 }), "udp", ""),
    ];
    for (change, transport, said) in table {
        let why = refused(change.clone(), transport);
        assert_eq!(why.is_empty(), said.is_empty(), "{change} over {transport}: {why}");
        assert!(why.contains(said), "{change} over {transport}: {why}");
    }
    let registering = changed(json!({ "register": true })).unwrap();
    assert!(registering.check("udp", None).unwrap_err().contains("settings.register"));
}

#[test]
fn a_change_touches_what_it_names() {
    let first = changed(json!({ "ping_s": 30, "session_timer": { "expires_s": 900 } })).unwrap();
    assert_eq!(first.session_timer, SessionTimer { expires_s: 900, ..SessionTimer::default() });
    let Value::Object(change) = json!({ "ping_s": null, "session_timer": { "enabled": false } }) else {
        panic!()
    };
    let second = first.changed(&change).unwrap();
    let timer = SessionTimer { expires_s: 900, enabled: false, ..SessionTimer::default() };
    assert_eq!(second, TrunkSettings { session_timer: timer, ..TrunkSettings::default() });
}
