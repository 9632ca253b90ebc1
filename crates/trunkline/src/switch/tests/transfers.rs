//! Phones that send on whom they talk with, over real sockets.

use std::sync::Mutex;

use super::super::{Party, Referral, Transfer};
use super::*;
use crate::refused::Refused;

/// One side of a dialog, as its phone has it.
struct Line {
    phone: Phone,
    call_id: String,
    ours: String,
    theirs: String,
    cseq: u32,
    /// The sound it takes, and where it is sent.
    rtp: UdpSocket,
    rtp_to: SocketAddr,
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_default()
}

/// Where an SDP wants sound.
fn rtp_of(message: &str) -> SocketAddr {
    let port = message.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn sdp(rtp: &UdpSocket) -> String {
    let port = rtp.local_addr().unwrap().port();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

fn again(phone: &Phone) -> Phone {
    Phone(phone.0.try_clone().unwrap())
}

fn sound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Line {
    fn send(&mut self, us: SocketAddr, method: &str, headers: &str) {
        self.cseq += u32::from(method != "ACK");
        let (at, cseq) = (self.phone.address(), self.cseq);
        let message = format!(
            "{method} sip:{us} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{}{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:phone@{at}>\r\n{headers}Content-Length: 0\r\n\r\n",
            self.call_id.replace('@', ""),
            self.ours,
            self.theirs,
            self.call_id,
        );
        self.phone.0.send_to(message.as_bytes(), us).unwrap();
    }

    /// What a Replaces says that names this dialog, for whoever is at its other side.
    fn replaces(&self) -> String {
        let tag = |value: &str| value.rsplit("tag=").next().unwrap().to_owned();
        let call_id = self.call_id.replace('@', "%40");
        format!("{call_id}%3Bto-tag%3D{}%3Bfrom-tag%3D{}", tag(&self.theirs), tag(&self.ours))
    }

    fn refer(&mut self, us: SocketAddr, to: &str) {
        self.send(us, "REFER", &format!("Refer-To: <{to}>\r\n"));
    }
}

impl House {
    /// `caller` calls whoever is in the house's list, and `callee`, the only one there, answers.
    fn talk(&mut self, caller: &Phone, callee: &Phone, call_id: &str) -> (Line, Line) {
        self.phones = vec![again(callee)];
        let (us, at, rtp) = (self.address, caller.address(), sound());
        let (ours, body) = (format!("<sip:caller@{at}>;tag={call_id}"), sdp(&rtp));
        let invite = format!(
            "INVITE sip:100@{us} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{call_id}\r\nMax-Forwards: 70\r\n\
             From: {ours}\r\nTo: <sip:100@{us}>\r\nCall-ID: {call_id}@{at}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:caller@{at}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        caller.0.send_to(invite.as_bytes(), us).unwrap();
        let theirs = self.answer(callee);
        let answer = self.until(caller, "SIP/2.0 200");
        let mut ours = Line {
            phone: again(caller),
            call_id: format!("{call_id}@{at}"),
            ours,
            theirs: header(&answer, "To").to_owned(),
            cseq: 1,
            rtp,
            rtp_to: rtp_of(&answer),
        };
        ours.send(us, "ACK", "");
        self.settle();
        (ours, theirs)
    }

    /// A phone takes the call that rings it.
    fn answer(&mut self, phone: &Phone) -> Line {
        let (invite, rtp) = (self.until(phone, "INVITE"), sound());
        phone.respond(self.address, &invite, "200 OK", &sdp(&rtp));
        self.until(phone, "ACK");
        Line {
            phone: again(phone),
            call_id: header(&invite, "Call-ID").to_owned(),
            ours: format!("{};tag=b", header(&invite, "To")),
            theirs: header(&invite, "From").to_owned(),
            cseq: 100,
            rtp,
            rtp_to: rtp_of(&invite),
        }
    }

    /// Turns until both legs of every call are joined.
    fn settle(&mut self) {
        self.turn_until("both sides to be joined", |house| {
            house.looped.calls.iter().all(|(_, entry)| entry.call.joined().is_ok())
        });
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < PATIENCE, "waited for {what}");
            self.turn();
        }
    }

    /// From now on the legs of this phone are a user's.
    fn own(&mut self, phone: &Phone, user: Id) {
        let legs = self.looped.calls.iter_mut().flat_map(|(_, entry)| &mut entry.legs);
        for leg in legs {
            let path = leg.sip.and_then(|sip| self.looped.parts.endpoint.sip().path_of(sip));
            if path.is_some_and(|path| path.remote == phone.address()) {
                leg.user = Some(user);
            }
        }
    }

    /// Transfers lead to `phone` or come to nothing; what was asked for is kept.
    fn lead_to(&mut self, phone: Result<&Phone, u16>) -> Arc<Mutex<Vec<Referral>>> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let dial = phone.map(|phone| phone.dial(self.address));
        let keep = asked.clone();
        let refer = move |referral: Referral| {
            keep.lock().unwrap().push(referral);
            Some(match &dial {
                Ok(dial) => Ok(transfer(dial.clone())),
                Err(status) => Err(Refused::new(*status, "refused", "It was refused.")),
            })
        };
        assert!(self.looped.parts.shared.refer.set(Box::new(refer)).is_ok());
        asked
    }

    /// Both are heard by one another: what one sends the other one gets as it is.
    fn assert_heard(&mut self, one: &Line, other: &Line) {
        for (from, to) in [(one, other), (other, one)] {
            let payload = [from.rtp.local_addr().unwrap().port() as u8; 160];
            let mut packet = vec![0x80_u8, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
            let began = Instant::now();
            loop {
                assert!(began.elapsed() < PATIENCE, "not heard");
                let n = packet[3].wrapping_add(1);
                (packet[3], packet[6]) = (n, n);
                let sent: Vec<u8> = packet.iter().chain(&payload).copied().collect();
                from.rtp.send_to(&sent, from.rtp_to).unwrap();
                self.turn();
                std::thread::sleep(Duration::from_millis(15));
                let mut got = [0; 512];
                let mut heard =
                    std::iter::from_fn(|| to.rtp.recv_from(&mut got).ok().map(|(n, _)| got[12..n].to_vec()));
                if heard.any(|heard| heard == payload) {
                    break;
                }
            }
        }
    }

    /// Turns until nothing of any call is left.
    fn wait_over(&mut self) {
        self.turn_until("all calls to be over", |house| house.looped.calls.is_empty());
        assert!(self.looped.by_leg.is_empty() && self.looped.by_media.is_empty());
    }

    /// Every phone answers 200 to what ends or tells it something, until `phone` is told this of its transfer.
    fn until_told(&mut self, line: &Line, status: &str) {
        loop {
            let notify = self.until(&line.phone, "NOTIFY");
            line.phone.respond(self.address, &notify, "200 OK", "");
            if notify.contains(&format!("\r\n\r\nSIP/2.0 {status}")) {
                return;
            }
        }
    }

    fn until_bye(&mut self, phone: &Phone) -> String {
        let bye = self.until(phone, "BYE");
        phone.respond(self.address, &bye, "200 OK", "");
        bye
    }
}

fn transfer(dial: Dial) -> Transfer {
    let attempt = Attempt {
        trunk: None,
        kind: AttemptKind::User,
        destination: "third".into(),
        caller_id: None,
        strategy: Strategy::SipInvite,
    };
    let round = Round { attempts: vec![attempt], ring_timeout: Duration::from_secs(20), then: Then::Always };
    Transfer {
        dial: call::Dial {
            to: "third".into(),
            route: Route { id: RouteId(0), rounds: vec![round] },
            max_duration: Duration::from_secs(60),
            ringback: Some(call::ClipId(0)),
            is_final: false,
        },
        dials: vec![dial],
        clips: vec![media::Clip::from_samples(vec![0; 8000])],
        by: Some("anna".into()),
    }
}

#[tokio::test]
async fn either_side_may_send_the_other_on() {
    for caller_asks in [true, false] {
        let mut house = House::build(0).await;
        let (a, b, third, us, anna) =
            (Phone::new(), Phone::new(), Phone::new(), house.address, Id::new().unwrap());
        let (one, two) = house.talk(&a, &b, "one");
        let (mut asks, sent) = if caller_asks { (one, two) } else { (two, one) };
        house.own(&asks.phone, anna);
        let asked = house.lead_to(Ok(&third));
        asks.refer(us, &format!("sip:third@{}", us.ip()));
        let last = house.answer(&third);
        house.until(&asks.phone, "SIP/2.0 202");
        house.until_told(&asks, "200");
        house.until_bye(&asks.phone);
        house.settle();
        house.assert_heard(&sent, &last);
        let asked = asked.lock().unwrap().remove(0);
        assert_eq!((asked.user, asked.to.as_str(), asked.account), (anna, "third", 1));
        assert_eq!(asked.party.address.as_deref(), Some(if caller_asks { "phone" } else { "caller" }));
        let mut last = last;
        last.send(us, "BYE", "");
        house.until_bye(&sent.phone);
        house.wait_over();
    }
}

#[tokio::test]
async fn who_asked_may_leave_at_once() {
    let mut house = House::build(0).await;
    let (a, b, third, us) = (Phone::new(), Phone::new(), Phone::new(), house.address);
    let (mut asks, sent) = house.talk(&a, &b, "one");
    house.own(&a, Id::new().unwrap());
    house.lead_to(Ok(&third));
    asks.refer(us, &format!("sip:third@{us}"));
    house.until(&a, "SIP/2.0 202");
    asks.send(us, "BYE", "");
    let last = house.answer(&third);
    house.settle();
    house.assert_heard(&sent, &last);
}

#[tokio::test]
async fn who_cannot_be_reached_gives_them_back() {
    let mut house = House::build(0).await;
    let (a, b, third, us) = (Phone::new(), Phone::new(), Phone::new(), house.address);
    let (mut asks, sent) = house.talk(&a, &b, "one");
    house.own(&a, Id::new().unwrap());
    house.lead_to(Ok(&third));
    asks.refer(us, &format!("sip:third@{us}"));
    let invite = house.until(&third, "INVITE");
    third.respond(us, &invite, "180 Ringing", "");
    house.until_told(&asks, "180");
    third.respond(us, &invite, "486 Busy Here", "");
    house.until_told(&asks, "486");
    house.settle();
    house.assert_heard(&asks, &sent);
}

#[tokio::test]
async fn what_is_not_allowed_leaves_the_call_as_it_is() {
    let mut house = House::build(0).await;
    let (a, b, us) = (Phone::new(), Phone::new(), house.address);
    let (mut one, mut two) = house.talk(&a, &b, "one");
    house.own(&a, Id::new().unwrap());
    let asked = house.lead_to(Err(403));
    one.refer(us, &format!("sip:+19005550100@{us}"));
    house.until(&a, "SIP/2.0 403");
    // Whoever is no user of ours transfers nobody.
    two.refer(us, &format!("sip:third@{us}"));
    house.until(&b, "SIP/2.0 603");
    one.refer(us, "sip:x@example.com?Replaces=nobody%3Bto-tag%3D1%3Bfrom-tag%3D2");
    house.until(&a, "SIP/2.0 481");
    assert_eq!(asked.lock().unwrap().len(), 1);
    house.settle();
    house.assert_heard(&one, &two);
}

/// `a` talks with `b` and with `c`, as caller or as callee.
fn consult(house: &mut House, phones: [&Phone; 3], calls_b: bool, calls_c: bool) -> [(Line, Line); 2] {
    let [a, b, c] = phones;
    let mut talk = |calls: bool, other: &Phone, id: &str| match calls {
        true => house.talk(a, other, id),
        false => {
            let (theirs, ours) = house.talk(other, a, id);
            (ours, theirs)
        }
    };
    [talk(calls_b, b, "one"), talk(calls_c, c, "two")]
}

#[tokio::test]
async fn an_attended_transfer_joins_whom_its_user_talked_with() {
    for (calls_b, calls_c) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut house = House::build(0).await;
        let (a, b, c, us) = (Phone::new(), Phone::new(), Phone::new(), house.address);
        let [(mut with_b, b_line), (with_c, mut c_line)] =
            consult(&mut house, [&a, &b, &c], calls_b, calls_c);
        house.own(&a, Id::new().unwrap());
        with_b.refer(us, &format!("sip:c@{us}?Replaces={}", with_c.replaces()));
        house.until(&a, "SIP/2.0 202");
        house.until_told(&with_b, "200");
        for _ in 0..2 {
            house.until_bye(&a);
        }
        house.turn_until("the other call to end", |house| house.looped.calls.len() == 1);
        house.settle();
        house.assert_heard(&b_line, &c_line);
        c_line.send(us, "BYE", "");
        house.until_bye(&b);
        house.wait_over();
    }
}

#[tokio::test]
async fn nobody_takes_part_in_a_call_of_others() {
    let mut house = House::build(0).await;
    let (a, b, c, us, anna) = (Phone::new(), Phone::new(), Phone::new(), house.address, Id::new().unwrap());
    let [(mut with_b, b_line), (with_c, c_line)] = consult(&mut house, [&a, &b, &c], true, true);
    house.own(&a, anna);
    let refer_to = format!("sip:c@{us}?Replaces={}", with_c.replaces());
    let call_of_c = house.looped.calls.iter().map(|(key, _)| key).max().unwrap();
    // Another account's dialog is as good as none.
    house.looped.calls[call_of_c].account = 2;
    with_b.refer(us, &refer_to);
    house.until(&a, "SIP/2.0 481");
    // Of the same account, but another user's.
    house.looped.calls[call_of_c].account = 1;
    for leg in &mut house.looped.calls[call_of_c].legs {
        leg.user = leg.user.map(|_| Id::new().unwrap());
    }
    with_b.refer(us, &refer_to);
    house.until(&a, "SIP/2.0 603");
    // Nor does anybody take a call over by an INVITE.
    let mut refuses = |replaces: &str| {
        let replaces = replaces.replace("%40", "@").replace("%3B", ";").replace("%3D", "=");
        let invite = format!("INVITE sip:c@{us} SIP/2.0\r\nCall-ID: 9\r\nReplaces: {replaces}\r\n\r\n");
        let invite = sip::Message::parse(invite.into()).unwrap();
        house.looped.refuses_replaces(&invite.view())
    };
    assert_eq!(refuses(&with_c.replaces()), Some(603));
    assert_eq!(refuses("another@x;to-tag=1;from-tag=2"), Some(481));
    house.assert_heard(&with_b, &b_line);
    house.assert_heard(&with_c, &c_line);
}

#[tokio::test]
async fn the_api_sends_either_side_on() {
    let mut house = House::build(0).await;
    let (a, b, third) = (Phone::new(), Phone::new(), Phone::new());
    let (mut one, two) = house.talk(&a, &b, "one");
    let (key, id) = house.looped.calls.iter().map(|(key, entry)| (key, entry.id)).next().unwrap();
    let Party { address, .. } = house.looped.party_of(id, call::Leg::Second).unwrap();
    assert_eq!(address.as_deref(), Some("phone"));
    let dial = third.dial(house.address);
    let refused = |house: &mut House, leg| {
        house.looped.send_on_role(key, leg, transfer(dial.clone()), Instant::now()).err().map(|it| it.code)
    };
    assert_eq!(refused(&mut house, call::Leg::Second), None);
    assert_eq!(refused(&mut house, call::Leg::First), Some("nobody_to_transfer"));
    let last = house.answer(&third);
    house.until_bye(&a);
    house.settle();
    house.assert_heard(&two, &last);
    one.send(house.address, "BYE", "");
}
