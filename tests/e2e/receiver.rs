//! A tiny HTTP server that takes webhooks down and answers 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The header `webhook-id`.
    pub id: String,
    /// The header `webhook-attempt`.
    pub attempt: i64,
    /// The header `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: Value,
}

impl Received {
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }

    pub fn call(&self) -> &str {
        self.body["data"]["call"]["id"].as_str().unwrap_or_default()
    }
}

/// It listens until the test's process ends.
pub struct Receiver {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the receiver");
        let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { url, received }
    }

    /// Everything so far, in the order in which it came.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Requests over one connection, until it is closed or cut.
fn serve(stream: std::net::TcpStream, kept: &Mutex<Vec<Received>>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let header = |name: &str| {
            let found = head.iter().filter_map(|line| line.split_once(':'));
            let mut found = found.filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let received = Received {
            id: header("webhook-id"),
            attempt: header("webhook-attempt").parse().unwrap_or(0),
            signature: header("webhook-signature"),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(received);
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}
