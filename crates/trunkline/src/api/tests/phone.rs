//! A phone: a socket that registers and takes calls as its test says.

use std::time::Duration;

use sip::digest::{Client, Credentials};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::House;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Phone {
    socket: UdpSocket,
    server: std::net::SocketAddr,
    user: String,
    password: String,
    cseq: u32,
}

impl Phone {
    pub(super) async fn new(house: &House, user: &str, password: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = house.app.switch.address();
        Self { socket, server, user: user.into(), password: password.into(), cseq: 0 }
    }

    /// Registers, and says the password when it is asked for; the status of the last answer.
    pub(super) async fn register(&mut self) -> u16 {
        let first = self.try_register(None).await;
        let Some(challenge) = header(&first, "WWW-Authenticate") else { return status(&first) };
        let answer = self.answer(challenge, "REGISTER", &format!("sip:{}", self.server));
        status(&self.try_register(Some(&answer)).await)
    }

    /// What it says when it is asked for its password.
    fn answer(&self, challenge: &str, method: &str, uri: &str) -> String {
        let credentials = Credentials {
            username: self.user.clone(),
            password: self.password.clone(),
            realm: None,
            algorithm: sip::digest::Algorithm::Md5,
        };
        let mut client = Client::new(credentials);
        assert!(client.challenged([challenge].into_iter()), "{challenge}");
        client.authorize(method, uri, b"", "c0ffee").unwrap()
    }

    /// Calls somebody; the status of the first answer that tells anything.
    pub(super) async fn call(&mut self, to: &str) -> u16 {
        let uri = format!("sip:{to}@{}", self.server);
        let first = self.try_call(&uri, None).await;
        let Some(challenge) = header(&first, "WWW-Authenticate") else { return status(&first) };
        let answer = self.answer(challenge, "INVITE", &uri);
        status(&self.try_call(&uri, Some(&answer)).await)
    }

    async fn try_call(&mut self, uri: &str, authorization: Option<&str>) -> String {
        self.cseq += 1;
        let (Self { server, user, cseq, .. }, own) = (&self, self.socket.local_addr().unwrap());
        let authorization =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let body = Self::sdp();
        let request = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{user}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{server}>;tag={cseq}\r\nTo: <{uri}>\r\n\
             Call-ID: {cseq}-{user}@{own}\r\nCSeq: {cseq} INVITE\r\nContact: <sip:{user}@{own}>\r\n\
             {authorization}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.send_to(request.as_bytes(), server).await.unwrap();
        loop {
            let answer = self.until("SIP/2.0 ").await;
            let is_its = header(&answer, "CSeq") == Some(&format!("{cseq} INVITE"));
            if is_its && status(&answer) != 100 {
                return answer;
            }
        }
    }

    async fn try_register(&mut self, authorization: Option<&str>) -> String {
        self.cseq += 1;
        let (Self { server, user, cseq, .. }, own) = (&self, self.socket.local_addr().unwrap());
        let authorization =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!(
            "REGISTER sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{user}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{server}>;tag=1\r\nTo: <sip:{user}@{server}>\r\n\
             Call-ID: {user}@{own}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{own}>\r\nExpires: 600\r\n\
             User-Agent: Test phone\r\n{authorization}Content-Length: 0\r\n\r\n"
        );
        self.socket.send_to(request.as_bytes(), server).await.unwrap();
        self.until("SIP/2.0 ").await
    }

    /// The next message that begins so.
    pub(super) async fn until(&self, start: &str) -> String {
        let mut buffer = vec![0; 65_536];
        loop {
            let received = timeout(PATIENCE, self.socket.recv(&mut buffer));
            let length = received.await.unwrap_or_else(|_| panic!("no {start}")).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// Answers a request.
    pub(super) async fn respond(&self, request: &str, status: &str, body: &str) {
        let field = |name: &str| header(request, name).unwrap_or_else(|| panic!("no {name} in {request}"));
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let response = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=2\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:{}@{}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            field("Via"),
            field("From"),
            field("To"),
            field("Call-ID"),
            field("CSeq"),
            self.user,
            self.socket.local_addr().unwrap(),
            body.len(),
        );
        self.socket.send_to(response.as_bytes(), self.server).await.unwrap();
    }

    /// Where it expects sound; nobody listens.
    pub(super) fn sdp() -> &'static str {
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
    }
}

/// A header field of a message.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn status(response: &str) -> u16 {
    response.split(' ').nth(1).unwrap().parse().unwrap()
}
