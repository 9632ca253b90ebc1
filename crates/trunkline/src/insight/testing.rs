//! Synthetic dialogs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip::{Input, Path, Transport};

use super::{Leg, Message, Tap};

/// A dialog: when, whether we sent it, and what.
pub(super) struct Script {
    path: Path,
    steps: Vec<(u64, bool, Vec<u8>)>,
    outgoing: bool,
    call_id: &'static str,
}

/// When every script begins: 2026-01-01T00:00:00Z in Unix microseconds.
pub(super) const START: i64 = 1_767_225_600_000_000;

pub(super) fn call_id_of(script: &Script) -> &'static str {
    script.call_id
}

/// A session description with one audio.
pub(super) fn sdp(address: &str, port: u16, formats: &str, rest: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n{rest}"
    )
}

impl Script {
    pub(super) fn new(call_id: &'static str, transport: Transport, local: &str, remote: &str) -> Self {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let path = Path::new(transport, address(local), address(remote));
        Self { path, steps: Vec::new(), outgoing: true, call_id }
    }

    /// Between public addresses, over UDP.
    pub(super) fn udp() -> Self {
        Self::new("a84b4c76e66710@192.0.2.1", Transport::Udp, "192.0.2.1:5060", "203.0.113.9:5060")
    }

    /// From now on requests come from the other side.
    pub(super) fn incoming(mut self) -> Self {
        self.outgoing = false;
        self
    }

    /// A request of whoever began.
    pub(super) fn request(self, ms: u64, method: &str, cseq: u32, headers: &str, body: &str) -> Self {
        let outgoing = self.outgoing;
        self.request_by(outgoing, ms, method, cseq, headers, body)
    }

    pub(super) fn request_by(
        mut self,
        ours: bool,
        ms: u64,
        method: &str,
        cseq: u32,
        headers: &str,
        body: &str,
    ) -> Self {
        let tag = if method == "INVITE" && !headers.contains("X-In-Dialog") { "" } else { ";tag=b2" };
        let via = if ours { self.path.local } else { self.path.remote };
        let transport = self.path.transport.param().to_ascii_uppercase();
        let body_headers = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} sip:+12025550123@sip.acme.test SIP/2.0\r\nVia: SIP/2.0/{transport} {via};branch=z9hG4bK{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: \"Shop\" <sip:+4930123456@192.0.2.1>;tag=a1\r\nTo: <sip:+12025550123@sip.acme.test>{tag}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{via}>\r\n{headers}{body_headers}Content-Length: {}\r\n\r\n{body}",
            self.call_id,
            body.len(),
        );
        self.steps.push((ms, ours, text.into_bytes()));
        self
    }

    /// A response to whoever began.
    pub(super) fn response(mut self, ms: u64, status: &str, cseq: &str, headers: &str, body: &str) -> Self {
        let via = if self.outgoing { self.path.local } else { self.path.remote };
        let contact = if self.outgoing { self.path.remote } else { self.path.local };
        let transport = self.path.transport.param().to_ascii_uppercase();
        let branch = cseq.replace(' ', "");
        let body_headers = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/{transport} {via};branch=z9hG4bK{branch}\r\nFrom: \"Shop\" <sip:+4930123456@192.0.2.1>;tag=a1\r\n\
             To: <sip:+12025550123@sip.acme.test>;tag=b2\r\nCall-ID: {}\r\nCSeq: {cseq}\r\nContact: <sip:{contact}>\r\n\
             {headers}{body_headers}Content-Length: {}\r\n\r\n{body}",
            self.call_id,
            body.len(),
        );
        self.steps.push((ms, !self.outgoing, text.into_bytes()));
        self
    }

    /// The last message once more.
    pub(super) fn again(mut self, ms: u64) -> Self {
        if let Some((_, sent, bytes)) = self.steps.last().cloned() {
            self.steps.push((ms, sent, bytes));
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// INVITE, challenge, INVITE with credentials, answer, BYE; with every kind of secret.
    pub(super) fn answered() -> Self {
        Self::udp().answer()
    }

    pub(super) fn answer(self) -> Self {
        let crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\r\na=ice-ufrag:8hhY\r\na=ice-pwd:secretsecretsecret22\r\n";
        let offer =
            sdp("192.0.2.1", 16384, "8 0 101", &format!("a=rtpmap:101 telephone-event/8000\r\n{crypto}"));
        let challenge = "Proxy-Authenticate: Digest realm=\"acme\", nonce=\"n0\", qop=\"auth\"\r\n";
        let credentials = "Proxy-Authorization: Digest username=\"4930\", realm=\"acme\", nonce=\"n0\", uri=\"sip:x\", response=\"5ec2e75ec2e75ec2e75ec2e75ec2e75e\", cnonce=\"5ec2e7\", qop=auth, nc=00000001\r\n";
        self.request(0, "INVITE", 1, "", &offer)
            .response(31, "100 Trying", "1 INVITE", "", "")
            .response(40, "407 Proxy Authentication Required", "1 INVITE", challenge, "")
            .request(41, "ACK", 1, "", "")
            .request(42, "INVITE", 2, credentials, &offer)
            .response(80, "183 Session Progress", "2 INVITE", "", "")
            .response(2042, "200 OK", "2 INVITE", "", &sdp("203.0.113.20", 30000, "0", crypto))
            .request(2043, "ACK", 2, "", "")
            .request(8100, "BYE", 3, "", "")
            .response(8131, "200 OK", "3 BYE", "", "")
    }

    /// Lets a tap see it.
    pub(super) fn play(&self, tap: &mut Tap, start: Instant) {
        for (ms, sent, bytes) in &self.steps {
            let now = start + Duration::from_millis(*ms);
            match sent {
                true => tap.sent(&self.path, &bytes.clone().into(), now),
                false => tap.input(&Input::Datagram { path: self.path, bytes }, now),
            }
        }
    }

    /// The leg as it would be kept.
    pub(super) fn leg(&self, role: &str, party: &str) -> Leg {
        let mut messages: Vec<Message> = Vec::new();
        for (ms, sent, bytes) in &self.steps {
            let at = START + i64::try_from(*ms).unwrap() * 1000;
            if let Some(same) = messages.iter_mut().find(|m| m.sent == *sent && m.bytes == *bytes) {
                same.repeats += 1;
                same.again.push(at);
                continue;
            }
            let masked = super::mask::mask(bytes).unwrap_or_else(|| bytes.clone());
            messages.push(Message {
                at,
                again: Vec::new(),
                repeats: 0,
                sent: *sent,
                transport: self.path.transport,
                local: self.path.local,
                remote: self.path.remote,
                bytes: masked.into(),
                length: bytes.len(),
            });
        }
        Leg { call_id: self.call_id.into(), role: role.into(), party: party.into(), messages, left_out: 0 }
    }
}
