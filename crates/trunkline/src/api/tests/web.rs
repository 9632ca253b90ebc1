//! SIP over WebSocket at the HTTP port.

use std::net::TcpStream;

use tokio::net::TcpListener;
use tungstenite::client::IntoClientRequest;

use super::*;

const OPTIONS: &str = "OPTIONS sip:here.test SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK1\r\n\
     Max-Forwards: 70\r\nFrom: <sip:a@here.test>;tag=1\r\nTo: <sip:here.test>\r\nCall-ID: 1\r\n\
     CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// What a page gets that opens a WebSocket there and says OPTIONS at once; or why it cannot.
async fn ask(address: SocketAddr, path: &str, protocol: &str, origin: &str) -> Result<String, String> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    request.headers_mut().insert("origin", origin.parse().unwrap());
    tokio::task::spawn_blocking(move || {
        let stream = TcpStream::connect(address).unwrap();
        let mut socket = match tungstenite::client(request, stream) {
            Ok((socket, _)) => socket,
            Err(error) => return Err(error.to_string()),
        };
        socket.send(OPTIONS.into()).unwrap();
        Ok(socket.read().unwrap().into_text().unwrap().to_string())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_speaks_sip_where_it_speaks_http() {
    let origins = vec!["https://phone.example.com".to_owned()];
    let house = House::with(Config { web_origins: origins, ..Config::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(crate::http::serve(listener, house.router.clone(), std::future::pending()));
    let origin = "https://phone.example.com";
    for path in ["/ws", "/"] {
        let answer = ask(address, path, "sip", origin).await.unwrap();
        assert!(answer.starts_with("SIP/2.0 200 "), "{path}: {answer}");
    }
    for (path, protocol, origin, status) in [
        ("/ws", "chat", origin, "400"),
        ("/ws", "sip", "https://elsewhere.example.com", "403"),
        ("/nowhere", "sip", origin, "404"),
    ] {
        let error = ask(address, path, protocol, origin).await.unwrap_err();
        assert!(error.contains(status), "{path} {protocol} {origin}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_websocket_is_told() {
    let house = House::build().await;
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let answer = house.send(get("/ws")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (400, Some("no_websocket")));
    let answer = house.send(get("/")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (404, Some("no_such_route")));
}
