//! Garbage on the SIP port: torture messages and random bytes, over UDP and TCP. The server lives, and the next
//! call is fine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use crate::server::Server;

/// The messages of RFC 4475, each exactly as its appendix has it.
fn torture() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sip/tests/corpora/rfc4475");
    let mut messages: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("the torture messages")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "dat"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    messages.sort();
    assert_eq!(messages.len(), 49);
    messages
}

/// Random bytes, the same at every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Random bytes, and torture messages with bytes changed, cut out, doubled.
fn damaged(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let messages = torture();
    (0..count)
        .map(|index| {
            if index % 4 == 0 {
                let length = random.below(1400);
                return random.bytes(length);
            }
            let mut bytes = messages[random.below(messages.len())].1.clone();
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => {
                        bytes.truncate(at.max(1));
                    }
                    _ => {
                        let piece = bytes[at..].to_vec();
                        bytes.extend_from_slice(&piece);
                        bytes.truncate(8000);
                    }
                }
            }
            bytes
        })
        .collect()
}

#[track_caller]
fn is_well(server: &mut Server) {
    assert!(server.process().is_running(), "the server died");
    server.get("/health").expect(200);
    let id = server.say_to("+12025550123");
    server.wait_for_end(&id, "completed");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn over_udp() {
    let mut server = Server::simulated();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    for (name, message) in torture() {
        socket.send_to(&message, server.sip()).unwrap();
        let mut reply = [0; 65536];
        while let Ok((length, _)) = socket.recv_from(&mut reply) {
            assert!(
                reply[..length].starts_with(b"SIP/2.0 "),
                "{name} was answered with something that is no response"
            );
        }
    }
    for message in damaged(2000) {
        let _ = socket.send_to(&message, server.sip());
    }
    // An empty datagram, a keep-alive, the largest there can be.
    for message in [&b""[..], b"\r\n\r\n", &[b'A'; 65000]] {
        let _ = socket.send_to(message, server.sip());
    }
    is_well(&mut server);
}

#[test]
fn over_tcp() {
    let mut server = Server::simulated();
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.sip()).expect("the SIP port takes TCP");
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let _ = stream.write_all(bytes);
        let mut reply = [0; 4096];
        let _ = stream.read(&mut reply);
        let _ = stream.shutdown(Shutdown::Both);
    };
    for (_, message) in torture() {
        send(&message);
    }
    for message in damaged(150) {
        send(&message);
    }
    // Everything at once on one connection; a header that never ends; a body that never comes.
    send(&torture().into_iter().flat_map(|(_, message)| message).collect::<Vec<u8>>());
    send(&[b'A'; 1 << 20]);
    send(b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 4000000000\r\n\r\nx");
    send(b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n");
    // Connections that say nothing stay open meanwhile.
    let idle: Vec<TcpStream> = (0..50).map_while(|_| TcpStream::connect(server.sip()).ok()).collect();
    is_well(&mut server);
    drop(idle);
}

#[test]
fn strangers_cannot_place_calls() {
    let mut server = Server::simulated();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let own = socket.local_addr().unwrap();
    for method in ["INVITE", "REGISTER"] {
        let request = format!(
            "{method} sip:+12025550123@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{method};rport\r\n\
             From: <sip:stranger@{own}>;tag=1\r\nTo: <sip:+12025550123@{sip}>\r\nCall-ID: {method}@{own}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:stranger@{own}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            sip = server.sip(),
        );
        socket.send_to(request.as_bytes(), server.sip()).unwrap();
        let mut reply = [0; 65536];
        let status = loop {
            let (length, _) =
                socket.recv_from(&mut reply).unwrap_or_else(|_| panic!("{method} got no answer"));
            let text = String::from_utf8_lossy(&reply[..length]).into_owned();
            let status: u16 = text[8..11].parse().unwrap();
            if status >= 200 {
                break status;
            }
        };
        assert!(status >= 400, "{method} got {status}");
    }
    is_well(&mut server);
    assert_eq!(server.history_len(), 1);
}
