//! What a page's first steps are: it connects, and is answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tungstenite::client::IntoClientRequest;

use crate::server::Server;

const OPTIONS: &str = "OPTIONS sip:localhost SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK1\r\n\
     Max-Forwards: 70\r\nFrom: <sip:a@localhost>;tag=1\r\nTo: <sip:localhost>\r\nCall-ID: 1\r\n\
     CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

#[track_caller]
fn is_answered(url: &str, stream: impl Read + Write) {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "sip".parse().unwrap());
    request.headers_mut().insert("origin", "https://phone.example.com".parse().unwrap());
    let (mut socket, _) =
        tungstenite::client(request, stream).unwrap_or_else(|error| panic!("{url}: {error}"));
    socket.send(OPTIONS.into()).unwrap();
    let answer = socket.read().unwrap().into_text().unwrap();
    assert!(answer.starts_with("SIP/2.0 200 "), "{url}: {answer}");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn options_are_answered_over_ws_and_wss() {
    let server = Server::simulated();
    let sip = server.sip();
    is_answered(&format!("ws://{sip}"), connect(sip));

    let http = server.url("/ws").replace("http://", "ws://");
    let authority = http.trim_start_matches("ws://").trim_end_matches("/ws");
    is_answered(&http, connect(authority.parse().unwrap()));

    // The certificate was made at the first start, for localhost among others.
    let sips = SocketAddr::new(sip.ip(), sip.port() + 1);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.data().join("tls-cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    is_answered("wss://localhost", rustls::StreamOwned::new(tls, connect(sips)));
}
