//! Legs that outlived the process that placed them: ended by the next one, so that no carrier keeps billing.

use std::io;
use std::time::Instant;

use serde_json::{Value, json};

use super::run::Loop;
use crate::endpoint::Endpoint;
use crate::store::{SavedLeg, Write};

impl Loop {
    /// Ends the legs that a crash left open on the other side.
    pub(super) fn end_saved(&mut self, legs: Vec<SavedLeg>, now: Instant) {
        for leg in legs {
            let trunk = leg.trunk.and_then(|trunk| self.parts.store.trunk(None, trunk));
            let credentials = trunk.and_then(|trunk| trunk.credentials());
            let reason = sip::Reason { protocol: sip::ReasonProtocol::Q850, cause: 41, text: None };
            let saved = match from_json(&leg.saved, &mut self.parts.endpoint) {
                Ok(saved) => saved,
                Err(error) => {
                    tracing::error!(call = %leg.call, %error, "a leg of the last run cannot be read and is not ended");
                    self.write(Write::LegEnded { call: leg.call, sip_call_id: leg.sip_call_id });
                    continue;
                }
            };
            self.restored.insert(leg.sip_call_id.clone(), leg.call);
            if let Err(error) = self.parts.endpoint.sip().end_saved(saved, credentials, Some(reason), now) {
                tracing::error!(call = %leg.call, %error, "a leg of the last run cannot be ended");
                self.saved_ended(&leg.sip_call_id);
            }
        }
    }

    /// The other side has ended it too, or nobody answers for it.
    pub(super) fn saved_ended(&mut self, sip_call_id: &str) {
        if let Some(call) = self.restored.remove(sip_call_id) {
            self.write(Write::LegEnded { call, sip_call_id: sip_call_id.to_owned() });
        }
    }
}

pub(super) fn to_json(saved: &sip::Saved, endpoint: &Endpoint) -> Value {
    json!({
        "call_id": saved.call_id,
        "local_tag": saved.local_tag,
        "remote_tag": saved.remote_tag,
        "local_uri": saved.local_uri,
        "remote_uri": saved.remote_uri,
        "remote_target": saved.remote_target,
        "route": saved.route,
        "cseq": saved.cseq,
        "branch": saved.branch,
        "request_uri": saved.request_uri,
        "path": endpoint.write_path(&saved.path),
    })
}

fn from_json(saved: &Value, endpoint: &mut Endpoint) -> io::Result<sip::Saved> {
    let missing = |key: &str| io::Error::other(format!("no {key} in it"));
    let or_null = |key: &str| saved.get(key).and_then(Value::as_str).map(str::to_owned);
    let text = |key: &str| or_null(key).ok_or_else(|| missing(key));
    let route = saved.get("route").and_then(Value::as_array).and_then(|route| {
        route.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    let cseq = saved.get("cseq").and_then(Value::as_u64).and_then(|cseq| u32::try_from(cseq).ok());
    Ok(sip::Saved {
        call_id: text("call_id")?,
        local_tag: text("local_tag")?,
        remote_tag: or_null("remote_tag"),
        local_uri: text("local_uri")?,
        remote_uri: text("remote_uri")?,
        remote_target: text("remote_target")?,
        route: route.ok_or_else(|| missing("route"))?,
        cseq: cseq.ok_or_else(|| missing("cseq"))?,
        branch: or_null("branch"),
        request_uri: text("request_uri")?,
        path: endpoint.read_path(&text("path")?)?,
    })
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;
    use crate::endpoint::{Listen, Trust};
    use crate::switch::Target;

    fn endpoint() -> Endpoint {
        let listen = Listen { address: "127.0.0.1:0".parse().unwrap(), external: None, tcp: false };
        let registry = Poll::new().unwrap().registry().try_clone().unwrap();
        Endpoint::bind(listen, sip::Config::default(), Trust::none(), [1; 32], registry, 1).unwrap()
    }

    fn saved(path: sip::Path) -> sip::Saved {
        sip::Saved {
            call_id: "a".into(),
            local_tag: "b".into(),
            remote_tag: None,
            local_uri: "<sip:c@192.0.2.1>".into(),
            remote_uri: "<sip:d@192.0.2.2>".into(),
            remote_target: "sip:d@192.0.2.2".into(),
            route: vec!["<sip:192.0.2.3;lr>".into()],
            cseq: 7,
            branch: Some("z9hG4bK1".into()),
            request_uri: "sip:d@192.0.2.2".into(),
            path,
        }
    }

    #[test]
    fn what_is_saved_is_read_back_whole_by_another_endpoint() {
        for transport in [sip::Transport::Udp, sip::Transport::Tcp, sip::Transport::Tls] {
            let target = |name: &str| Target {
                transport,
                remote: "127.0.0.1:5070".parse().unwrap(),
                server_name: Some(name.into()),
            };
            let (mut before, mut after) = (endpoint(), endpoint());
            before.path(&target("another.test")).unwrap();
            let path = before.path(&target("sip.peer.test")).unwrap();
            let read = from_json(&to_json(&saved(path), &before), &mut after).unwrap();
            let peer = after.path(&target("sip.peer.test")).unwrap().peer;
            assert_eq!(read, saved(sip::Path { peer, ..path }));
        }
    }

    #[test]
    fn what_an_earlier_version_saved_is_read_where_it_says_enough() {
        let with = |path: &str| {
            let path_of_tests = endpoint().read_path("udp 127.0.0.1:1 127.0.0.1:2").unwrap();
            let mut json = to_json(&saved(path_of_tests), &endpoint());
            json["path"] = path.into();
            from_json(&json, &mut endpoint()).map(|saved| saved.path.transport).map_err(|e| e.to_string())
        };
        for (path, expected) in [
            ("udp 192.0.2.1:5060 192.0.2.2:5060", Ok(sip::Transport::Udp)),
            ("tcp [2001:db8::1]:5060 [2001:db8::2]:5060", Ok(sip::Transport::Tcp)),
            ("tls 192.0.2.1:5060 192.0.2.2:5061", Err("TLS needs the name of the server")),
            ("tls 192.0.2.1:5060", Err("\"tls 192.0.2.1:5060\" is no path")),
            ("", Err("\"\" is no path")),
        ] {
            assert_eq!(with(path), expected.map_err(str::to_owned), "{path}");
        }
        let error = from_json(&json!({ "call_id": "a" }), &mut endpoint()).unwrap_err();
        assert_eq!(error.to_string(), "no local_tag in it");
    }
}
