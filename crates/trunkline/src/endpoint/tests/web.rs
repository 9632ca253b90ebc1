//! SIP over WebSocket, with another WebSocket at the other end.

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Request, Response};
use tungstenite::protocol::frame::{Frame, coding};
use tungstenite::{Message, WebSocket};

use super::*;

pub(super) fn request(url: &str) -> Request {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "sip".parse().unwrap());
    request
}

fn open<S: Read + Write>(url: &str, stream: S) -> (WebSocket<S>, Response) {
    tungstenite::client(request(url), stream).unwrap()
}

pub(super) fn ask<S: Read + Write>(socket: &mut WebSocket<S>, message: impl Into<Message>) -> String {
    socket.send(message.into()).unwrap();
    match socket.read().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_speaks_sip_at_the_tcp_port() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    let mut socket = bench.serve(move || {
        let (mut socket, response) = open("ws://here.test", connect(address));
        assert_eq!(response.headers()["sec-websocket-protocol"], "sip");
        let answer = ask(&mut socket, options("WS", 1));
        assert!(answer.starts_with(OK) && answer.contains("SIP/2.0/WS df7jal23ls0d.invalid"), "{answer}");
        assert!(ask(&mut socket, options("WS", 2).into_bytes()).starts_with(OK), "binary is as good");
        assert_eq!(ask(&mut socket, "\r\n\r\n"), "\r\n");
        socket.send(Message::Ping("there?".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("there?".into()));
        socket
    });
    let stats = bench.endpoint.stats();
    assert_eq!((stats.tcp, stats.ws, stats.accepted), (0, 1, 1));
    bench.serve(move || {
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    });
    bench.until(|endpoint| endpoint.stats().ws == 0);
}

#[test]
fn a_page_speaks_sip_at_the_tls_port() {
    let mut bench = Bench::new();
    let (address, roots) = (bench.tls(), bench.roots());
    let socket = bench.serve(move || {
        let (mut socket, _) = open("wss://here.test", connect_tls(address, client(roots)));
        assert!(ask(&mut socket, options("WSS", 1)).starts_with(OK));
        socket
    });
    assert_eq!((bench.endpoint.stats().wss, bench.endpoint.stats().tls), (1, 0));
    drop(socket);
    bench.until(|endpoint| endpoint.stats().wss == 0);
}

#[test]
fn a_message_may_come_in_pieces() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    bench.serve(move || {
        let (mut socket, _) = open("ws://here.test", connect(address));
        let message = options("WS", 1);
        let (one, two) = message.split_at(30);
        for (text, kind, is_final) in [
            (one, coding::Data::Text, false),
            ("", coding::Data::Continue, false),
            (two, coding::Data::Continue, true),
        ] {
            let frame = Frame::message(text.to_owned(), coding::OpCode::Data(kind), is_final);
            socket.send(Message::Frame(frame)).unwrap();
        }
        assert!(socket.read().unwrap().into_text().unwrap().starts_with(OK));
    });
}

#[test]
fn everything_may_come_byte_by_byte() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    bench.serve(move || {
        let mut stream = connect(address);
        let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: sip\r\n\r\n";
        let message = options("WS", 1);
        let mut bytes = upgrade.as_bytes().to_vec();
        // Masked with zeros: as it is.
        bytes.extend_from_slice(&[0x81, 0x80 | 126]);
        bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(message.as_bytes());
        for byte in bytes {
            stream.write_all(&[byte]).unwrap();
        }
        assert!(read_message(&mut stream).starts_with("HTTP/1.1 101 "));
        let mut header = [0; 4];
        stream.read_exact(&mut header).unwrap();
        assert!(read_message(&mut stream).starts_with(OK));

        let mut stream = connect(address);
        for byte in options("TCP", 2).bytes() {
            stream.write_all(&[byte]).unwrap();
        }
        assert!(read_message(&mut stream).starts_with(OK));
    });
}

#[test]
fn what_asks_for_no_sip_gets_a_sentence() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    bench.serve(move || {
        for (url, protocol, expected) in
            [("ws://here.test", Some("chat"), "must name sip"), ("ws://here.test", None, "must name sip")]
        {
            let mut request = url.into_client_request().unwrap();
            if let Some(protocol) = protocol {
                request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
            }
            let error = tungstenite::client(request, connect(address)).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("400")), "{protocol:?}, {expected}");
        }
        let mut stream = connect(address);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("WebSocket"), "{answer}");
    });
    bench.until(|endpoint| endpoint.stats().tcp == 0);
}

#[test]
fn a_message_over_the_limit_ends_the_connection() {
    let mut bench = Bench::new();
    let address = bench.tcp();
    bench.serve(move || {
        let (mut socket, _) = open("ws://here.test", connect(address));
        // Refused by its header, before it is there.
        let mut header = vec![0x82, 0x80 | 127];
        header.extend_from_slice(&65_537_u64.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        socket.get_mut().write_all(&header).unwrap();
        match socket.read() {
            Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 1009),
            other => panic!("{other:?}"),
        }
    });
    bench.until(|endpoint| endpoint.stats().ws == 0);
}
