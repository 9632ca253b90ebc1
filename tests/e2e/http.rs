//! A plain blocking HTTP client for tests: one call, one reply, no cleverness.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime for the test client")
});

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        // A server that refuses a body unread closes the connection: the next request takes a new one.
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client for plain HTTP")
});

/// What the server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON; a body that is none fails the test with its text.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("status {}, no JSON ({error}): {}", self.status, self.text()))
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the body was: {}", self.text());
        self
    }
}

/// A request's body.
pub enum Body {
    Empty,
    Json(Value),
    /// Bytes under a content type.
    Raw(&'static str, Vec<u8>),
    /// One file in a multipart form: field, file name, content.
    File(String, String, Vec<u8>),
}

/// Sends a request; a transport error fails the test.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Body) -> Reply {
    try_send(method, url, headers, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// Sends a request; the sentence of a transport error.
pub fn try_send(method: &str, url: &str, headers: &[(&str, &str)], body: Body) -> Result<Reply, String> {
    let method = method.parse().map_err(|_| format!("{method} is no method"))?;
    RUNTIME.block_on(async {
        let mut request = CLIENT.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match body {
            Body::Empty => request,
            Body::Json(value) => request.json(&value),
            Body::Raw(content_type, bytes) => request.header("content-type", content_type).body(bytes),
            Body::File(field, name, bytes) => {
                request.multipart(Form::new().part(field, Part::bytes(bytes).file_name(name)))
            }
        };
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let bytes = response.bytes().await.map_err(|error| format!("{error:?}"))?.to_vec();
        Ok(Reply { status, content_type, bytes })
    })
}
