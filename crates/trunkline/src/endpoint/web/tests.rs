use super::*;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The messages of a stream cut into pieces of `size`, what is answered, and how it ends.
fn read(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Vec<u8>, Option<Close>) {
    let (mut web, mut messages, mut out) = (Web::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        web.push(piece);
        loop {
            match web.next_message(&mut out) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(close) => return (messages, out, Some(close)),
            }
        }
    }
    assert!(!web.has_begun(), "everything was whole");
    (messages, out, None)
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

#[test]
fn any_cut_gives_the_same_messages() {
    let long = vec![b'x'; 3000];
    let stream = [
        frame(TEXT, b"one"),
        frame(0x01, b"tw"),
        frame(PING, b"there?"),
        frame(0x00, b""),
        frame(0x80, b"o"),
        frame(0x8A, b"pong"),
        frame(BINARY, &long),
        frame(BINARY, b"\xff"),
        frame(TEXT, b""),
    ]
    .concat();
    let messages = vec![b"one".to_vec(), b"two".to_vec(), long, b"\xff".to_vec(), Vec::new()];
    for size in (1..200).chain([stream.len()]) {
        let (got, answered, closed) = read(&stream, size);
        assert_eq!((got, closed), (messages.clone(), None), "pieces of {size}");
        assert_eq!(answered, b"\x8a\x06there?", "pieces of {size}");
    }
}

#[test]
fn what_breaks_the_rules_is_closed_with_its_code() {
    let unmasked = [&[TEXT, 3][..], b"abc"].concat();
    let announced = [&[TEXT, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    let pieces = [frame(0x01, &vec![b'x'; 40_000]), frame(0x80, &vec![b'x'; 40_000])].concat();
    for (stream, close) in [
        (unmasked, Close::Protocol),
        (announced, Close::TooBig),
        (pieces, Close::TooBig),
        (frame(0xC1, b"compressed"), Close::Protocol),
        (frame(0x83, b"reserved"), Close::Protocol),
        (frame(0x80, b"continues nothing"), Close::Protocol),
        ([frame(0x01, b"a"), frame(TEXT, b"b")].concat(), Close::Protocol),
        (frame(0x09, b"a ping in pieces"), Close::Protocol),
        (frame(PING, &[0; 126]), Close::Protocol),
        (frame(TEXT, b"\xff"), Close::Text),
        (frame(0x88, &1000_u16.to_be_bytes()), Close::Normal),
        (frame(0x88, b""), Close::Normal),
    ] {
        let (messages, out, closed) = read(&stream, stream.len());
        assert_eq!((messages.len(), closed), (0, Some(close)));
        assert_eq!(out, [&[0x88, 2][..], &(close as u16).to_be_bytes()].concat(), "{close:?}");
    }
}

#[test]
fn what_was_only_announced_takes_no_memory() {
    let mut web = Web::default();
    web.push(&[TEXT, 0x80 | 126, 0xff, 0xff, 0, 0, 0, 0, b'x']);
    assert_eq!(web.next_message(&mut Vec::new()), Ok(None));
    assert!(web.has_begun() && web.received.capacity() < 100);
    web.push(&[b'x'; 65_534]);
    assert_eq!(web.next_message(&mut Vec::new()).unwrap().unwrap().len(), 65_535);
    assert!(!web.has_begun() && web.received.capacity() == 0);
}

#[test]
fn messages_leave_as_text_unmasked() {
    let mut out = Vec::new();
    write_message("grün".as_bytes(), &mut out);
    write_message(b"\xff", &mut out);
    write_ping(&mut out);
    assert_eq!(out, b"\x81\x05gr\xc3\xbcn\x82\x01\xff\x89\x00");
    out.clear();
    write_message(&[b'x'; 300], &mut out);
    assert_eq!((out.len(), &out[..4]), (304, &[0x81, 126, 1, 44][..]));
}

const ASKED: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Protocol: chat, sip\r\nOrigin: https://Phone.example.com\r\n\r\n";

#[test]
fn an_upgrade_is_answered_as_rfc_7118_says() {
    let more = format!("{ASKED}rest");
    let (length, headers) = read_request(more.as_bytes()).unwrap().unwrap();
    assert_eq!(length, ASKED.len());
    let mut out = Vec::new();
    write_response(&accept(&headers, &["https://phone.example.com".into()]).unwrap(), &mut out);
    insta::assert_snapshot!(String::from_utf8(out).unwrap().replace('\r', ""), @r"
    HTTP/1.1 101 Switching Protocols
    connection: Upgrade
    upgrade: websocket
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
    sec-websocket-protocol: sip
    ");
    for cut in 0..ASKED.len() - 1 {
        assert_eq!(read_request(&ASKED.as_bytes()[..cut]).unwrap(), None, "{cut}");
    }
}

#[test]
fn what_is_no_upgrade_is_refused_in_words() {
    let origins = ["https://other.example.com".to_owned()];
    let refused = |request: &str| match read_request(request.as_bytes()) {
        Ok(Some((_, headers))) => accept(&headers, &origins).unwrap_err(),
        Ok(None) => panic!("not whole: {request}"),
        Err(refused) => refused,
    };
    for (old, new, status, code) in [
        ("Upgrade: WebSocket", "Accept: */*", 400, "no_websocket"),
        ("Version: 13", "Version: 8", 400, "no_websocket"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", 400, "no_websocket"),
        ("chat, sip", "chat, siphon", 400, "no_sip_subprotocol"),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Prot", 400, "no_sip_subprotocol"),
        ("chat", "chat", 403, "origin_not_allowed"),
        ("GET /ws HTTP/1.1", "GET /ws SIP/2.0", 400, "bad_request"),
    ] {
        let refused = refused(&ASKED.replace(old, new));
        assert_eq!((refused.status, refused.code), (status, code), "{new}");
    }
    let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(MAX_REQUEST));
    assert_eq!(refused(&endless).status, 431);
    // Whatever is no page says no origin.
    let (_, headers) = read_request(ASKED.replace("Origin", "Agent").as_bytes()).unwrap().unwrap();
    assert!(accept(&headers, &origins).is_ok());

    let mut out = Vec::new();
    write_refusal(&refused(&ASKED.replace("chat, sip", "chat")), &mut out);
    insta::assert_snapshot!(String::from_utf8(out).unwrap().replace('\r', ""), @r"
    HTTP/1.1 400 Bad Request
    Content-Type: text/plain; charset=utf-8
    Content-Length: 60
    Connection: close

    The header Sec-WebSocket-Protocol must name sip (RFC 7118).
    ");
}
