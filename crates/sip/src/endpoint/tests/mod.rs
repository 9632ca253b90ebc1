//! The endpoint as its users and peers see it: whole messages in, whole messages and events out.

mod asking;
mod calls;
mod features;
mod guarded;
mod hostile;
mod in_dialog;
mod lossy;
mod network;
mod outside;
mod size;
mod torture;
mod wire;

use std::time::{Duration, Instant};

use super::{Config, Endpoint, Event, Input, Invite, LegId, Output};
use crate::{Path, Transport};

/// An endpoint whose peer is the test itself.
struct Bench {
    endpoint: Endpoint,
    now: Instant,
}

/// What an endpoint put out: messages as text with bare line feeds, and events.
#[derive(Default, Debug)]
struct Outputs {
    sent: Vec<String>,
    paths: Vec<Path>,
    events: Vec<Event>,
}

fn path() -> Path {
    Path::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), "192.0.2.9:5060".parse().unwrap())
}

fn invite() -> Invite {
    Invite {
        path: path(),
        request_uri: "sip:+12025550123@sip.example.com".into(),
        from_display: Some("Jo \"J\" Doe".into()),
        from_uri: "sip:+13125550100@example.net".into(),
        to_uri: "sip:+12025550123@sip.example.com".into(),
        contact_user: Some("trunkline".into()),
        route: vec!["<sip:proxy.example.com;lr>".into()],
        headers: vec![("P-Asserted-Identity".into(), "<sip:+13125550100@example.net>".into())],
        body: b"v=0\r\n".to_vec(),
        credentials: None,
        session_timer: None,
        reliable: crate::Reliable::Off,
        guarded: false,
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self { endpoint: Endpoint::new(config, [1; 32]), now: Instant::now() }
    }

    /// Lets time pass, timers included.
    fn wait(&mut self, time: Duration) -> Outputs {
        let end = self.now + time;
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
        }
        self.now = end;
        self.outputs()
    }

    /// Hands over a datagram written with bare line feeds.
    fn receive(&mut self, text: &str) -> Outputs {
        self.receive_from(path(), text)
    }

    fn receive_from(&mut self, path: Path, text: &str) -> Outputs {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        self.endpoint.handle_input(Input::Datagram { path, bytes: &bytes }, self.now);
        self.outputs()
    }

    fn outputs(&mut self) -> Outputs {
        let mut outputs = Outputs::default();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { path, bytes } => {
                    outputs.sent.push(String::from_utf8(bytes.to_vec()).unwrap().replace('\r', ""));
                    outputs.paths.push(path);
                }
                Output::Close { path } => panic!("closed {path:?}"),
                Output::Event(event) => outputs.events.push(event),
            }
        }
        outputs
    }

    /// Sends an INVITE: the leg and the message.
    fn invite(&mut self, invite: Invite) -> (LegId, String) {
        let leg = self.endpoint.invite(invite, self.now).unwrap();
        (leg, self.outputs().only_sent())
    }

    /// Receives an INVITE outside a dialog.
    fn incoming(&mut self) -> LegId {
        match self.receive(&request("INVITE", "", "v=0\n")).events.as_slice() {
            [Event::Incoming { leg, .. }] => *leg,
            other => panic!("{other:?}"),
        }
    }

    /// Receives an INVITE and answers it: the leg and the 200.
    fn answered(&mut self) -> (LegId, String) {
        let leg = self.incoming();
        self.endpoint.accept(leg, b"v=0\r\n".to_vec(), self.now).unwrap();
        (leg, self.outputs().only_sent())
    }

    /// An incoming call that was answered and ACKed.
    fn established(&mut self) -> (LegId, String) {
        let (leg, ok) = self.answered();
        let acked = self.receive(&in_dialog("ACK", 1, &ok, "", ""));
        assert!(matches!(acked.events.as_slice(), [Event::Acked { .. }]), "{acked:?}");
        (leg, ok)
    }

    fn assert_idle(&mut self) {
        self.wait(Duration::from_secs(200));
        let stats = self.endpoint.stats();
        assert_eq!((stats.legs, stats.transactions), (0, 0));
        assert_eq!(self.endpoint.poll_timeout(), None);
    }
}

impl Outputs {
    fn only_sent(self) -> String {
        assert!(self.events.is_empty(), "{self:?}");
        let [sent] = <[String; 1]>::try_from(self.sent).unwrap();
        sent
    }

    /// The status of each response sent.
    fn statuses(&self) -> Vec<u16> {
        self.sent
            .iter()
            .filter_map(|message| message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok())
            .collect()
    }

    /// The method of each request sent.
    fn methods(&self) -> Vec<&str> {
        let requests = self.sent.iter().filter(|message| !message.starts_with("SIP/"));
        requests.filter_map(|message| message.split(' ').next()).collect()
    }
}

/// The first value of a header in a message with bare line feeds.
fn header<'m>(message: &'m str, name: &str) -> &'m str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// A request from the peer outside dialogs. `headers` end in line feeds; a body is SDP.
fn request(method: &str, headers: &str, body: &str) -> String {
    let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-{method}-1;rport\n\
         Max-Forwards: 70\n\
         From: <sip:caller@example.net>;tag=them\n\
         To: <sip:100@192.0.2.1>\n\
         Call-ID: call-1\n\
         CSeq: 1 {method}\n\
         Contact: <sip:caller@192.0.2.9:5060>\n\
         {headers}{content}Content-Length: {}\n\n{body}",
        // Line feeds become CRLF on the way.
        body.len() + body.matches('\n').count(),
    )
}

/// A request from the peer within the dialog that our 2xx `ok` made.
fn in_dialog(method: &str, cseq: u32, ok: &str, headers: &str, body: &str) -> String {
    request(method, headers, body)
        .replace("To: <sip:100@192.0.2.1>", &format!("To: {}", header(ok, "To")))
        .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
        .replace("-1;rport", &format!("-{cseq};rport"))
}

/// The peer's response to one of our requests, with `tag` in To.
fn response(request: &str, status: &str, tag: &str, headers: &str, body: &str) -> String {
    let copied: String = ["Via", "From", "Call-ID", "CSeq"]
        .iter()
        .map(|name| format!("{name}: {}\n", header(request, name)))
        .collect();
    let to = header(request, "To");
    let tag = if tag.is_empty() || to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    let length = body.len() + body.matches('\n').count();
    format!("SIP/2.0 {status}\n{copied}To: {to}{tag}\n{headers}Content-Length: {length}\n\n{body}")
}
