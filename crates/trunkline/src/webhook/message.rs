//! What is sent: the same body on every attempt, signed after Standard Webhooks 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::secret::Secret;
use crate::store::{CallEvent, CallRow, Due, TEST, WebhookRow};

/// The body; `None` when the call is no longer kept.
pub(super) fn body(due: &Due) -> Option<Vec<u8>> {
    let data = match &due.event {
        Some((event, call)) => json!({ "call": call_json(call, event), "event": event_json(event) }),
        None if due.row.kind == TEST => json!({ "message": "This is a test; no call belongs to it." }),
        None => return None,
    };
    let message = json!({ "type": due.row.kind, "timestamp": time(due.row.created_at), "data": data });
    Some(message.to_string().into_bytes())
}

/// The call as it was at the event: what the event could not know yet is left out, so that a repeat is no different.
fn call_json(call: &CallRow, event: &CallEvent) -> Value {
    let mut told = json!({
        "id": call.id.with("call"),
        "account": call.account,
        "direction": call.direction,
        "kind": call.kind,
        "from": call.from,
        "to": call.to,
        "status": event.detail.get("state"),
        "created_at": time(call.created_at),
    });
    if event.kind != "finished" {
        return told;
    }
    let cause = call.cause_code.as_ref().map(|code| {
        json!({
            "code": code, "text": call.cause_text, "hint": call.cause_hint, "sip_status": call.sip_status,
            "q850": call.q850,
        })
    });
    let last = json!({
        "status": call.state.as_str(),
        "trunk": call.trunk_name,
        "cause": cause,
        "hangup_by": call.hangup_by,
        "ringing_at": call.ringing_at.map(time),
        "answered_at": call.answered_at.map(time),
        "ended_at": call.ended_at.map(time),
        "duration_ms": call.duration_ms(),
        "quality": call.quality,
    });
    if let (Value::Object(told), Value::Object(last)) = (&mut told, last) {
        told.extend(last);
    }
    told
}

fn event_json(event: &CallEvent) -> Value {
    json!({ "sequence": event.sequence, "at": time(event.at), "kind": event.kind, "detail": event.detail })
}

fn time(unix_ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(unix_ms).unwrap_or_default())
}

/// The header `webhook-signature`: of the secret, and of the one before while that still counts. `now` is in Unix ms.
pub(super) fn signatures(webhook: &WebhookRow, id: &str, now: i64, body: &[u8]) -> String {
    let old = webhook.old_secret.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
    let signed = [Some(&webhook.secret), old].into_iter().flatten();
    signed.filter_map(|secret| signature(secret, id, now / 1000, body)).collect::<Vec<_>>().join(" ")
}

fn signature(secret: &Secret, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let key = secret.expose().strip_prefix("whsec_").unwrap_or(secret.expose());
    let key = zeroize::Zeroizing::new(STANDARD.decode(key).ok()?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    /// The example of the specification's reference libraries.
    #[test]
    fn signs_as_standard_webhooks_does() {
        let secret = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn while_a_secret_is_rotated_both_sign() {
        let secret = |text: &str| Secret::from(format!("whsec_{}", STANDARD.encode(text)));
        let mut webhook = WebhookRow {
            id: Id::new().unwrap(),
            account: 0,
            url: "https://example.com".into(),
            description: String::new(),
            events: vec!["*".into()],
            secret: secret("new"),
            old_secret: Some((secret("old"), 2000)),
            enabled: true,
            disabled_why: None,
            created_at: 0,
        };
        let both = signatures(&webhook, "msg_1", 1999, b"{}");
        assert_eq!(both.split(' ').count(), 2);
        let one = signatures(&webhook, "msg_1", 2000, b"{}");
        assert!(!one.contains(' '));
        webhook.old_secret = None;
        assert_ne!(signatures(&webhook, "msg_2", 2000, b"{}"), one, "the id is signed");
    }
}
