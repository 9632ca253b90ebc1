//! A SIP peer in a few lines, over UDP: what it does with a call stands in the number that is called.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sip::digest::{Algorithm, Client, Credentials};

/// The key of the SRTP that a peer says it speaks; it must not be seen anywhere.
pub const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// What the peer does with a call.
#[derive(Clone, Copy, Default)]
pub struct Act {
    /// A status line without its version, such as `486 Busy Here`; none answers nothing at all.
    pub status: &'static str,
    /// Header lines of it, each with its end.
    pub headers: &'static str,
    /// Its SDP from the port of the m-line on, if it has one; `[port]` and `[key]` are replaced.
    pub sdp: &'static str,
    /// What it sends once it has answered.
    pub sound: Sends,
    /// What it says to later requests of the dialog but BYE; empty: 200.
    pub later: &'static str,
}

/// What a peer sends as sound.
#[derive(Clone, Copy, Default)]
pub enum Sends {
    #[default]
    Nothing,
    /// Packets of a payload type, without end.
    Packets(u8),
    /// So many, then none.
    Some(u32),
    /// Packets, and reports that nothing arrives.
    AndHearsNothing,
}

/// A peer that waits for calls.
pub struct Peer {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Answers calls to each number, or name, as its row says.
    pub fn start(ip: IpAddr, acts: Vec<(String, Act)>) -> Self {
        Self::serve(UdpSocket::bind((ip, 0)).expect("a port"), acts)
    }

    /// The same as the phone of a user of the server, registered there.
    pub fn phone(server: SocketAddr, user: &str, password: &str, act: Act) -> Self {
        let socket = UdpSocket::bind((server.ip(), 0)).expect("a port");
        let own = socket.local_addr().expect("its address");
        let contact = format!("Contact: <sip:{user}@{own}>\r\nExpires: 600\r\n");
        let lines =
            Lines { method: "REGISTER", uri: format!("sip:{server}"), user, to: user, more: &contact };
        let answer = ask_with_password(&socket, server, &lines, "", password);
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        Self::serve(socket, vec![(user.to_owned(), act)])
    }

    fn serve(socket: UdpSocket, acts: Vec<(String, Act)>) -> Self {
        let address = socket.local_addr().expect("its address");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut calls = HashMap::new();
                let mut buffer = [0; 8192];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if let Some(call) = take(&request, address, &acts, &mut calls) {
                        for answer in call {
                            let _ = socket.send_to(answer.as_bytes(), from);
                        }
                    }
                }
                calls.values().for_each(|call: &Call| call.is_over.store(true, Ordering::Relaxed));
            })
        };
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A call at the peer.
struct Call {
    invite: String,
    act: Act,
    answer: String,
    is_over: Arc<AtomicBool>,
}

/// What a request is answered with.
fn take(
    request: &str,
    own: SocketAddr,
    acts: &[(String, Act)],
    calls: &mut HashMap<String, Call>,
) -> Option<Vec<String>> {
    let method = request.split(' ').next()?;
    let id = field(request, "Call-ID");
    let ok = || Some(vec![response(request, "200 OK", "", "")]);
    match (method, calls.get(&id)) {
        ("ACK", _) => None,
        ("INVITE", Some(call)) if field(request, "CSeq") == field(&call.invite, "CSeq") => {
            Some(vec![call.answer.clone()])
        }
        ("INVITE", call) if call.is_none() || !field(request, "To").contains(";tag=") => {
            let called = request.split_once("sip:")?.1.split(['@', ';', ' ']).next()?;
            let (_, act) = acts.iter().find(|(number, _)| number == called)?;
            if act.status.is_empty() {
                return None;
            }
            let is_over = Arc::new(AtomicBool::new(false));
            let mut more = act.headers.to_owned();
            let mut sdp = String::new();
            if act.status.starts_with("200") || act.status.starts_with("18") {
                more.push_str(&format!(
                    "Contact: <sip:peer@{own}>\r\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n"
                ));
            }
            if !act.sdp.is_empty() {
                let socket = UdpSocket::bind((own.ip(), 0)).expect("a port for sound");
                let port = socket.local_addr().expect("its address").port();
                sdp = description(act.sdp, (own.ip(), port).into());
                let (theirs, sends, is_over) = (sound_address(request)?, act.sound, is_over.clone());
                std::thread::spawn(move || send_sound(&socket, theirs, sends, &is_over));
            }
            let answer = response(request, act.status, &more, &sdp);
            let call = Call { invite: request.to_owned(), act: *act, answer: answer.clone(), is_over };
            calls.insert(id, call);
            Some(vec![answer])
        }
        ("CANCEL", Some(call)) => Some(vec![
            response(request, "200 OK", "", ""),
            response(&call.invite, "487 Request Terminated", "", ""),
        ]),
        ("BYE", call) => {
            if let Some(call) = call {
                call.is_over.store(true, Ordering::Relaxed);
            }
            ok()
        }
        (_, Some(Call { act: Act { later: "nothing", .. }, .. })) => None,
        (_, Some(Call { act: Act { later, .. }, .. })) if !later.is_empty() => {
            Some(vec![response(request, later, "", "")])
        }
        _ => ok(),
    }
}

/// The value of a header field, as it is written in full.
fn field(message: &str, name: &str) -> String {
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
    message.lines().find_map(value).unwrap_or_default()
}

fn response(request: &str, status: &str, more: &str, sdp: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name));
        let tag = if line.starts_with("To:") && !line.contains(";tag=") && !status.starts_with("100") {
            ";tag=peer"
        } else {
            ""
        };
        if kept {
            text.push_str(&format!("{line}{tag}\r\n"));
        }
    }
    text + more + &body(sdp)
}

fn body(sdp: &str) -> String {
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}

/// The whole SDP of one that is given from the port of its m-line on.
fn description(sdp: &str, own: SocketAddr) -> String {
    let head =
        format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio ", ip = own.ip());
    head + &sdp.replace("[port]", &own.port().to_string()).replace("[key]", KEY)
}

/// Where the SDP of a message wants its sound.
fn sound_address(message: &str) -> Option<SocketAddr> {
    let after = |start: &str| Some(message.split_once(start)?.1.split_whitespace().next()?.to_owned());
    Some(SocketAddr::new(after("c=IN IP4 ")?.parse().ok()?, after("m=audio ")?.parse().ok()?))
}

/// Sends until the call is over, a minute at most.
fn send_sound(socket: &UdpSocket, to: SocketAddr, sends: Sends, is_over: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
    let reports = SocketAddr::new(to.ip(), to.port() + 1);
    let (kind, most) = match sends {
        Sends::Nothing => return hold(socket, is_over),
        Sends::Packets(kind) => (kind, u32::MAX),
        Sends::Some(most) => (0, most),
        Sends::AndHearsNothing => (0, u32::MAX),
    };
    let begun = Instant::now();
    let mut heard = [0; 2048];
    let mut ssrc = None;
    for n in 0..3000_u32 {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut packet = vec![0x80, kind];
        packet.extend((n as u16).to_be_bytes());
        packet.extend((n * 160).to_be_bytes());
        packet.extend(7_u32.to_be_bytes());
        packet.extend([0xD5; 160]);
        if n < most {
            let _ = socket.send_to(&packet, to);
        }
        // Waits for the next turn with an ear on what comes.
        while begun.elapsed() < Duration::from_millis(20) * (n + 1) {
            if let Ok((12.., _)) = socket.recv_from(&mut heard) {
                ssrc = Some([heard[8], heard[9], heard[10], heard[11]]);
            }
        }
        if let (Sends::AndHearsNothing, Some(ssrc), 0) = (sends, ssrc, n % 25) {
            let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 7];
            report.extend(ssrc);
            report.extend([255, 0, 0, 99]);
            report.extend([0; 16]);
            let _ = socket.send_to(&report, reports);
        }
    }
}

/// Keeps the port, so that nobody else gets what is sent to it.
fn hold(socket: &UdpSocket, is_over: &AtomicBool) {
    let begun = Instant::now();
    while !is_over.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(60) {
        let _ = socket.recv(&mut [0; 2048]);
    }
}

/// The lines in which requests differ.
struct Lines<'a> {
    method: &'a str,
    uri: String,
    user: &'a str,
    to: &'a str,
    more: &'a str,
}

fn request(
    socket: &UdpSocket,
    server: SocketAddr,
    lines: &Lines<'_>,
    cseq: u32,
    more: &str,
    sdp: &str,
) -> String {
    let own = socket.local_addr().expect("its address");
    let Lines { method, uri, user, to, more: own_lines } = lines;
    let head = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{cseq}{method};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{server}>;tag=wire\r\nTo: <sip:{to}@{server}>\r\nCall-ID: {own}-{method}\r\n\
         CSeq: {cseq} {method}\r\n{own_lines}{more}"
    );
    head + &body(sdp)
}

/// The first final response to a request, sent again each half second.
fn ask(socket: &UdpSocket, server: SocketAddr, request: &str) -> String {
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time limit");
    let begun = Instant::now();
    let mut buffer = [0; 8192];
    let _ = socket.send_to(request.as_bytes(), server);
    while begun.elapsed() < Duration::from_secs(20) {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") {
                    return text;
                }
            }
            // After a provisional response that changes nothing; before, it is needed.
            Err(_) => drop(socket.send_to(request.as_bytes(), server)),
        }
    }
    panic!("no answer to\n{request}");
}

/// The final response once the server's question for a password was answered.
fn ask_with_password(
    socket: &UdpSocket,
    server: SocketAddr,
    lines: &Lines<'_>,
    sdp: &str,
    password: &str,
) -> String {
    let first = ask(socket, server, &request(socket, server, lines, 1, "", sdp));
    let Some(challenge) = first.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")) else {
        return first;
    };
    if lines.method == "INVITE" {
        let _ = socket
            .send_to(acknowledged(&request(socket, server, lines, 1, "", ""), &first).as_bytes(), server);
    }
    let mut client = Client::new(Credentials {
        username: lines.user.into(),
        password: password.into(),
        realm: None,
        algorithm: Algorithm::Md5,
    });
    assert!(client.challenged([challenge].into_iter()), "{first}");
    let answer = client.authorize(lines.method, &lines.uri, b"", "c").expect("an answer to the challenge");
    let more = format!("Authorization: {answer}\r\n");
    ask(socket, server, &request(socket, server, lines, 2, &more, sdp))
}

/// The ACK of a refusal.
fn acknowledged(invite: &str, refusal: &str) -> String {
    let lines = invite.lines().take_while(|line| !line.starts_with("Content-") && !line.is_empty());
    let mut text = String::new();
    for line in lines {
        let line = match line.split_once(':').map_or(line, |(name, _)| name) {
            "To" => format!("To: {}", field(refusal, "To")),
            _ => line.replace("INVITE sip", "ACK sip").replace(" INVITE", " ACK"),
        };
        text.push_str(&line);
        text.push_str("\r\n");
    }
    text + "Content-Length: 0\r\n\r\n"
}

/// A call to the server.
pub struct Caller {
    /// Whom it calls.
    pub to: String,
    /// Who says to call: a number, or a user with the password.
    pub from: (String, Option<&'static str>),
    /// Its offer.
    pub sdp: &'static str,
    /// What it sends, once it is answered.
    pub sound: Sends,
    pub then: Then,
}

/// What a caller does in the end.
#[derive(Clone, Copy)]
pub enum Then {
    /// Waits for the final response, and for BYE where it was answered.
    Waits,
    /// Gives up after a time.
    GivesUp(Duration),
    /// Never confirms the answer.
    NeverConfirms,
}

impl Caller {
    /// Calls from an address; the last final response to the INVITE, once the call is over.
    pub fn call(self, ip: IpAddr, server: SocketAddr) -> JoinHandle<String> {
        std::thread::spawn(move || {
            let socket = UdpSocket::bind((ip, 0)).expect("a port");
            let media = UdpSocket::bind((ip, 0)).expect("a port for sound");
            let port = media.local_addr().expect("its address").port();
            let sdp = description(self.sdp, (ip, port).into());
            let own = socket.local_addr().expect("its address");
            let contact = format!("Contact: <sip:caller@{own}>\r\n");
            let uri = format!("sip:{}@{server}", self.to);
            let lines = Lines { method: "INVITE", uri, user: &self.from.0, to: &self.to, more: &contact };
            let invite = request(&socket, server, &lines, 1, "", &sdp);
            if let Then::GivesUp(after) = self.then {
                let _ = socket.send_to(invite.as_bytes(), server);
                std::thread::sleep(after);
                let cancel = invite.replacen("INVITE", "CANCEL", 1).replace(" INVITE\r\n", " CANCEL\r\n");
                let head = cancel.split("Content-Type").next().unwrap_or_default();
                let _ = socket.send_to(format!("{head}Content-Length: 0\r\n\r\n").as_bytes(), server);
                // 200 to the CANCEL comes first.
                return ask(&socket, server, "");
            }
            let answer = match self.from.1 {
                Some(password) => ask_with_password(&socket, server, &lines, &sdp, password),
                None => ask(&socket, server, &invite),
            };
            let number = field(&answer, "CSeq");
            let number = number.split(' ').next().unwrap_or_default();
            let ack = acknowledged(&invite, &answer);
            // That of an answer is a transaction of its own.
            let branch = if answer.starts_with("SIP/2.0 2") { "ack" } else { number };
            let ack = ack.replace("z9hG4bK1INVITE", &format!("z9hG4bK{branch}INVITE"));
            let ack = ack.replace("CSeq: 1 ACK", &format!("CSeq: {number} ACK"));
            if !matches!(self.then, Then::NeverConfirms) {
                let _ = socket.send_to(ack.as_bytes(), server);
            }
            let Some(theirs) = sound_address(&answer).filter(|_| answer.starts_with("SIP/2.0 2")) else {
                return answer;
            };
            let is_over = Arc::new(AtomicBool::new(false));
            let (ended, sound) = (is_over.clone(), self.sound);
            let sends = std::thread::spawn(move || send_sound(&media, theirs, sound, &ended));
            let answer = wait_for_bye(&socket, answer);
            is_over.store(true, Ordering::Relaxed);
            let _ = sends.join();
            answer
        })
    }
}

/// Waits until the server hangs up; gives `answer` back.
fn wait_for_bye(socket: &UdpSocket, answer: String) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(40))).expect("a time limit");
    let mut buffer = [0; 8192];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("a BYE in time");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("SIP/2.0 ") {
            continue;
        }
        let _ = socket.send_to(response(&text, "200 OK", "", "").as_bytes(), from);
        if text.starts_with("BYE ") {
            return answer;
        }
    }
}
