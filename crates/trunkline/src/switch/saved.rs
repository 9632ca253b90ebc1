//! Legs that outlived the process that placed them: ended by the next one, so that no carrier keeps billing.

use std::time::Instant;

use serde_json::{Value, json};

use super::run::Loop;
use crate::store::{SavedLeg, Write};

impl Loop {
    /// Ends the legs that a crash left open on the other side.
    pub(super) fn end_saved(&mut self, legs: Vec<SavedLeg>, now: Instant) {
        for leg in legs {
            let trunk = leg.trunk.and_then(|trunk| self.parts.store.trunk(None, trunk));
            let credentials = trunk.and_then(|trunk| trunk.credentials());
            let reason = sip::Reason { protocol: sip::ReasonProtocol::Q850, cause: 41, text: None };
            let Some(saved) = from_json(&leg.saved) else {
                tracing::error!(call = %leg.call, "a leg of the last run cannot be read and is not ended");
                self.write(Write::LegEnded { call: leg.call, sip_call_id: leg.sip_call_id });
                continue;
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

pub(super) fn to_json(saved: &sip::Saved) -> Value {
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
        "path": saved.path,
    })
}

fn from_json(saved: &Value) -> Option<sip::Saved> {
    let or_null = |key: &str| saved.get(key).and_then(Value::as_str).map(str::to_owned);
    let route = saved.get("route")?.as_array()?.iter();
    Some(sip::Saved {
        call_id: or_null("call_id")?,
        local_tag: or_null("local_tag")?,
        remote_tag: or_null("remote_tag"),
        local_uri: or_null("local_uri")?,
        remote_uri: or_null("remote_uri")?,
        remote_target: or_null("remote_target")?,
        route: route.map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        cseq: u32::try_from(saved.get("cseq")?.as_u64()?).ok()?,
        branch: or_null("branch"),
        request_uri: or_null("request_uri")?,
        path: or_null("path")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back_whole() {
        let saved = sip::Saved {
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
            path: "udp 192.0.2.1:5060 192.0.2.2:5060".into(),
        };
        assert_eq!(from_json(&to_json(&saved)), Some(saved));
        assert_eq!(from_json(&json!({ "call_id": "a" })), None);
    }
}
