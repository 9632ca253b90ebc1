//! A call's messages in the order of their times, between whom they went, and what matters of each.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;
use sip::Method;
use utoipa::ToSchema;

use super::sdp::Sdp;
use super::{Evidence, Leg, Message, Sound, Why};

/// What was said on the legs of a call.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "call": "call_65a1f0c2a4b1c2d3e4f50617", "status": "busy", "live": false,
    "why": { "code": "busy", "text": "The callee's line is busy (486 Busy Here).", "fix": "Call again later." },
    "started_at": "2026-01-01T00:00:00.000Z",
    "parties": [{ "name": "trunkline", "address": "192.0.2.1:5060" }, { "name": "acme", "address": "203.0.113.9:5060" }],
    "legs": [{ "role": "first", "call_id": "a84b4c76e66710@192.0.2.1", "transport": "udp", "left_out": 0 }],
    "messages": [{
        "at_ms": 31, "leg": 0, "from": 1, "to": 0, "label": "486 Busy Here", "method": "INVITE", "status": 486, "cseq": 1,
        "repeats": 0, "repeated_at_ms": [], "sdp": null, "text": "SIP/2.0 486 Busy Here\r\n…", "cut": false,
    }],
    "sound": [],
}))]
pub struct Ladder {
    /// The call's id.
    pub call: String,
    /// Its state.
    pub status: String,
    /// Whether it still goes on: then more will come.
    pub live: bool,
    /// Why it failed, or what was wrong with it; null where nothing was.
    pub why: Option<Why>,
    /// The time of the first message, from which the others count; null where there is none.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// Between whom messages went, in the order of the diagram's columns.
    pub parties: Vec<Party>,
    /// Its SIP legs, in the order in which they began.
    pub legs: Vec<LadderLeg>,
    /// All messages, in the order of their times.
    pub messages: Vec<Arrow>,
    /// What its legs sounded like, where they had sound; known once it is over.
    pub sound: Vec<Sound>,
}

/// One column of the diagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// `trunkline`, or a trunk's or user's name; may be empty.
    pub name: String,
    /// Address and port.
    pub address: String,
}

/// One SIP leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LadderLeg {
    /// `first` or `second`: what it was, or was tried for.
    pub role: String,
    /// Its Call-ID.
    pub call_id: String,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`; empty where nothing was sent.
    pub transport: String,
    /// Messages that were not kept: the middle of a long dialog.
    pub left_out: u32,
}

/// One arrow of the diagram.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Arrow {
    /// When, in ms after the first message.
    pub at_ms: i64,
    /// Which of the legs, counted from 0.
    pub leg: usize,
    /// From which of the parties, counted from 0.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// The method, or status and reason.
    pub label: String,
    /// The method, also of a response; empty where it cannot be read.
    pub method: String,
    /// The status of a response.
    pub status: Option<u16>,
    /// The number in CSeq.
    pub cseq: Option<u32>,
    /// How often it was sent again.
    pub repeats: u32,
    /// When, the first times, in ms after the first message.
    pub repeated_at_ms: Vec<i64>,
    /// What matters of the session description in it.
    pub sdp: Option<Sdp>,
    /// The message itself; an x stands in the place of each byte of a secret.
    pub text: String,
    /// Whether its body was too long to be kept.
    pub cut: bool,
}

impl Ladder {
    /// The ladder of a call; `call` and `status` are shown as they are.
    pub fn of(call: String, status: String, live: bool, evidence: &Evidence<'_>) -> Self {
        let legs = evidence.legs;
        let messages = legs.iter().flat_map(|leg| &leg.messages);
        let start = messages.map(|message| message.at).min();
        let columns = Columns::of(legs);
        let mut steps: Vec<(i64, Arrow)> = Vec::new();
        for (number, leg) in legs.iter().enumerate() {
            let step = |message: &Message| (message.at, step(message, number, &columns, start.unwrap_or(0)));
            steps.extend(leg.messages.iter().map(step));
        }
        steps.sort_by_key(|(at, _)| *at);
        Self {
            call,
            status,
            live,
            why: super::why::why(evidence),
            started_at: start.map(time),
            parties: columns.parties(),
            legs: legs.iter().map(LadderLeg::of).collect(),
            messages: steps.into_iter().map(|(_, step)| step).collect(),
            sound: evidence.sound.to_vec(),
        }
    }

    /// As a diagram for a terminal.
    pub fn text(&self) -> String {
        super::text::draw(self)
    }
}

impl LadderLeg {
    fn of(leg: &Leg) -> Self {
        let transport = leg.messages.first().map(|message| message.transport.param());
        Self {
            role: leg.role.clone(),
            call_id: plain(&leg.call_id),
            transport: transport.unwrap_or_default().to_owned(),
            left_out: leg.left_out,
        }
    }
}

/// Who stands where: those of first legs on the left where there are others too, then we, then the rest.
struct Columns {
    left: Vec<(SocketAddr, String)>,
    ours: Option<SocketAddr>,
    right: Vec<(SocketAddr, String)>,
}

impl Columns {
    fn of(legs: &[Leg]) -> Self {
        let came_in = |leg: &Leg| leg.messages.first().is_some_and(|message| !message.sent);
        let has_second = legs.iter().any(|leg| leg.role != "first");
        let mut columns = Self { left: Vec::new(), ours: None, right: Vec::new() };
        for leg in legs {
            let is_left = leg.role == "first" && (has_second || came_in(leg));
            for message in &leg.messages {
                columns.ours = columns.ours.or(Some(message.local));
                let known =
                    columns.left.iter().chain(&columns.right).any(|(address, _)| *address == message.remote);
                if !known {
                    let side = if is_left { &mut columns.left } else { &mut columns.right };
                    side.push((message.remote, plain(&leg.party)));
                }
            }
        }
        columns
    }

    fn ours(&self) -> usize {
        self.left.len()
    }

    fn place(&self, remote: SocketAddr) -> usize {
        let on = |side: &[(SocketAddr, String)]| side.iter().position(|(address, _)| *address == remote);
        on(&self.left).or_else(|| Some(self.ours() + 1 + on(&self.right)?)).unwrap_or_default()
    }

    fn parties(&self) -> Vec<Party> {
        let party = |(address, name): &(SocketAddr, String)| Party {
            name: name.clone(),
            address: address.to_string(),
        };
        let ours = self.ours.map(|address| Party { name: "trunkline".into(), address: address.to_string() });
        self.left.iter().map(party).chain(ours).chain(self.right.iter().map(party)).collect()
    }
}

fn step(message: &Message, leg: usize, columns: &Columns, start: i64) -> Arrow {
    let remote = columns.place(message.remote);
    let (from, to) = if message.sent { (columns.ours(), remote) } else { (remote, columns.ours()) };
    let ms = |at: i64| (at - start) / 1000;
    let read = message.read();
    let view = read.as_ref().map(sip::Message::view);
    let cseq = view.as_ref().and_then(sip::View::cseq);
    let method = view.as_ref().and_then(|view| view.method().or_else(|| Some(view.cseq()?.method)));
    let status = view.as_ref().and_then(sip::View::status);
    let label = match (status, method) {
        (Some(status), Some(Method::Invite) | None) => {
            format!("{status} {}", view.as_ref().map_or("", |view| view.reason()))
        }
        (Some(status), Some(method)) => {
            format!("{status} {} ({method})", view.as_ref().map_or("", |view| view.reason()))
        }
        (None, Some(method)) => method.to_string(),
        (None, None) => "unreadable".into(),
    };
    Arrow {
        at_ms: ms(message.at),
        leg,
        from,
        to,
        label: plain(&label),
        method: method.map(|method| plain(&method.to_string())).unwrap_or_default(),
        status,
        cseq: cseq.map(|cseq| cseq.number),
        repeats: message.repeats,
        repeated_at_ms: message.again.iter().copied().map(ms).collect(),
        sdp: view.and_then(|view| Sdp::read(view.body())),
        text: String::from_utf8_lossy(&message.bytes).into_owned(),
        cut: message.is_cut(),
    }
}

/// Unix microseconds as RFC 3339 with milliseconds.
fn time(at: i64) -> String {
    format!("{:.3}", Timestamp::from_microsecond(at).unwrap_or_default())
}

/// Text from outside as it may be shown in a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::testing::{Script, sdp};
    use super::*;

    fn ladder(legs: &[Leg]) -> Ladder {
        let sound = vec![Sound { leg: "first".into(), sent: 302, received: 300, ..Sound::default() }];
        let outcome = Outcome { status: "completed".into(), code: "normal".into(), ..Outcome::default() };
        let evidence = Evidence { outcome: Some(&outcome), legs, sound: &sound };
        Ladder::of("call_1".into(), "completed".into(), false, &evidence)
    }

    #[test]
    fn a_call_out_is_drawn_between_us_and_the_trunk() {
        let leg = Script::answered().leg("first", "acme");
        insta::assert_snapshot!(ladder(&[leg]).text(), @"
        call_1  completed
        sound first leg: 302 packets sent, 300 received, 0 lost
        leg   first udp a84b4c76e66710@192.0.2.1
        from  2026-01-01T00:00:00.000Z

                  trunkline                         acme
              ms  192.0.2.1:5060                    203.0.113.9:5060
               0  |------------ INVITE ------------>|  PCMA PCMU 192.0.2.1:16384 sendrecv sdes
              31  |<--------- 100 Trying -----------|
              40  |<- 407 Proxy Authentication … ---|
              41  |-------------- ACK ------------->|
              42  |------------ INVITE ------------>|  PCMA PCMU 192.0.2.1:16384 sendrecv sdes
              80  |<---- 183 Session Progress ------|
            2042  |<----------- 200 OK -------------|  PCMU 203.0.113.20:30000 sendrecv sdes
            2043  |-------------- ACK ------------->|
            8100  |-------------- BYE ------------->|
            8131  |<-------- 200 OK (BYE) ----------|
        ");
    }

    #[test]
    fn both_legs_stand_beside_us() {
        let offer = sdp("10.0.0.5", 4000, "0 8", "");
        let caller =
            Script::new("in@phone", sip::Transport::Wss, "192.0.2.1:8443", "198.51.100.7:51234").incoming();
        let caller = caller
            .request(0, "INVITE", 1, "", &offer)
            .response(1, "100 Trying", "1 INVITE", "", "")
            .response(120, "180 Ringing", "1 INVITE", "", "")
            .response(1500, "486 Busy Here", "1 INVITE", "", "")
            .again(2000)
            .request(2010, "ACK", 1, "", "");
        let callee = Script::udp()
            .request(5, "INVITE", 1, "", &sdp("192.0.2.1", 16384, "0", "a=sendonly\r\n"))
            .again(505)
            .again(1505)
            .response(110, "180 Ringing", "1 INVITE", "", "")
            .response(1490, "486 Busy Here", "1 INVITE", "", "")
            .request(1491, "ACK", 1, "", "");
        let legs =
            [caller.leg("first", "alice"), callee.leg("second", "a party with a name that is much too long")];
        insta::assert_snapshot!(ladder(&legs).text(), @"
        call_1  completed
        sound first leg: 302 packets sent, 300 received, 0 lost
        leg   first wss in@phone
        leg   second udp a84b4c76e66710@192.0.2.1
        from  2026-01-01T00:00:00.000Z

                  alice                             trunkline                         a party with a name that is muc…
              ms  198.51.100.7:51234                192.0.2.1:8443                    203.0.113.9:5060
               0  |------------ INVITE ------------>|                                 |  PCMU PCMA 10.0.0.5:4000 sendrecv
               1  |<--------- 100 Trying -----------|                                 |
               5  |                                 |------------ INVITE ------------>|  PCMU 192.0.2.1:16384 sendonly  sent 3 times, again at 505 1505
             110  |                                 |<--------- 180 Ringing ----------|
             120  |<--------- 180 Ringing ----------|                                 |
            1490  |                                 |<-------- 486 Busy Here ---------|
            1491  |                                 |-------------- ACK ------------->|
            1500  |<-------- 486 Busy Here ---------|                                 |  sent 2 times, again at 2000
            2010  |-------------- ACK ------------->|                                 |
        ");
    }

    #[test]
    fn nothing_said_is_told() {
        insta::assert_snapshot!(ladder(&[]).text(), @"
        call_1  completed
        sound first leg: 302 packets sent, 300 received, 0 lost

        No SIP message was sent or came, or none was kept.
        ");
    }

    #[test]
    fn what_comes_from_outside_cannot_write_to_the_terminal() {
        let leg = Script::udp().request(0, "INVITE", 1, "", "").response(
            9,
            "486 \u{1b}[2JBusy",
            "1 INVITE",
            "",
            "",
        );
        let text = ladder(&[leg.leg("first", "\u{7}x")]).text();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("486 ?[2JBusy"), "{text}");
    }

    #[test]
    fn the_json_says_it_all_but_secrets() {
        let mut leg = Script::answered().leg("first", "acme");
        leg.messages.drain(3..8);
        leg.messages.truncate(4);
        let mut value = serde_json::to_value(ladder(&[leg])).unwrap();
        for message in value["messages"].as_array_mut().unwrap() {
            let text = message["text"].as_str().unwrap().split("\r\n").next().unwrap().to_owned();
            message["text"] = text.into();
        }
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap(), @r#"
        {
          "call": "call_1",
          "legs": [
            {
              "call_id": "a84b4c76e66710@192.0.2.1",
              "left_out": 0,
              "role": "first",
              "transport": "udp"
            }
          ],
          "live": false,
          "messages": [
            {
              "at_ms": 0,
              "cseq": 1,
              "cut": false,
              "from": 0,
              "label": "INVITE",
              "leg": 0,
              "method": "INVITE",
              "repeated_at_ms": [],
              "repeats": 0,
              "sdp": {
                "address": "192.0.2.1",
                "codecs": [
                  "PCMA",
                  "PCMU"
                ],
                "direction": "sendrecv",
                "encryption": "sdes",
                "port": 16384
              },
              "status": null,
              "text": "INVITE sip:+12025550123@sip.acme.test SIP/2.0",
              "to": 1
            },
            {
              "at_ms": 31,
              "cseq": 1,
              "cut": false,
              "from": 1,
              "label": "100 Trying",
              "leg": 0,
              "method": "INVITE",
              "repeated_at_ms": [],
              "repeats": 0,
              "sdp": null,
              "status": 100,
              "text": "SIP/2.0 100 Trying",
              "to": 0
            },
            {
              "at_ms": 40,
              "cseq": 1,
              "cut": false,
              "from": 1,
              "label": "407 Proxy Authentication Required",
              "leg": 0,
              "method": "INVITE",
              "repeated_at_ms": [],
              "repeats": 0,
              "sdp": null,
              "status": 407,
              "text": "SIP/2.0 407 Proxy Authentication Required",
              "to": 0
            },
            {
              "at_ms": 8100,
              "cseq": 3,
              "cut": false,
              "from": 0,
              "label": "BYE",
              "leg": 0,
              "method": "BYE",
              "repeated_at_ms": [],
              "repeats": 0,
              "sdp": null,
              "status": null,
              "text": "BYE sip:+12025550123@sip.acme.test SIP/2.0",
              "to": 1
            }
          ],
          "parties": [
            {
              "address": "192.0.2.1:5060",
              "name": "trunkline"
            },
            {
              "address": "203.0.113.9:5060",
              "name": "acme"
            }
          ],
          "sound": [
            {
              "foreign": 0,
              "invalid": 0,
              "leg": "first",
              "lost": 0,
              "received": 300,
              "sent": 302,
              "source": null,
              "undecryptable": 0,
              "unheard": false
            }
          ],
          "started_at": "2026-01-01T00:00:00.000Z",
          "status": "completed",
          "why": null
        }
        "#);
        let whole = serde_json::to_string(&ladder(&[Script::answered().leg("first", "acme")])).unwrap();
        assert!(!whole.contains("5ec2e7") && !whole.contains("c2VjcmV0") && !whole.contains("secretsecret"));
    }

    #[test]
    fn a_message_that_cannot_be_read_is_shown_as_such() {
        let mut leg = Script::answered().leg("first", "acme");
        leg.messages[0].bytes.truncate(10);
        let ladder = ladder(&[leg]);
        assert_eq!((ladder.messages[0].label.as_str(), ladder.messages[0].cut), ("unreadable", true));
    }
}
