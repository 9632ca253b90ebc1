//! HTTP over the server's Unix socket.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::{Method, Response, Url};
use serde_json::Value;

use crate::config::Config;

/// The way to the running server.
pub(super) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// Why the server did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// No server listens there.
    NoServer(PathBuf),
    /// The server refused, and said why.
    Refused { detail: String, hint: Option<String> },
    /// The connection broke, or the answer was none.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(socket) => write!(
                f,
                "no server runs on {}: start one with `trunkline serve`, or name its folder with --data-dir",
                socket.display()
            ),
            Self::Refused { detail, hint: Some(hint) } => write!(f, "{detail} {hint}"),
            Self::Refused { detail, hint: None } => f.write_str(detail),
            Self::Broken(why) => write!(f, "the server did not answer as expected: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let socket = crate::app::socket_path(&config.data_dir);
        let built = reqwest::Client::builder().unix_socket(socket.as_path()).no_proxy().build();
        let http = built.map_err(|error| Failure::Broken(error.to_string()))?;
        Ok(Self { http, socket })
    }

    /// Asks `/v1/…`; the path's parts are escaped here. An empty answer is null.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask_with(method, path, &[], body).await
    }

    /// As [`Client::ask`], with a query.
    pub(super) async fn ask_with(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut url = url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let bytes = self.send(request).await?.bytes().await.map_err(broken)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::Broken(error.to_string()))
    }

    /// One page of a list, asked for as `query` says.
    pub(super) async fn list(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut url = url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.http.get(url)).await?.json().await.map_err(broken)
    }

    /// What is no JSON, as it is.
    pub(super) async fn fetch(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
        let mut url = url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.send(self.http.get(url)).await?.bytes().await.map_err(broken)?.into())
    }

    /// Stores a sound file with the server; answers its name there.
    pub(super) async fn upload(&self, file: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
        let name =
            file.file_name().map_or_else(|| "audio".into(), |name| name.to_string_lossy().into_owned());
        let part = reqwest::multipart::Part::bytes(bytes).file_name(name);
        let form = reqwest::multipart::Form::new().part("audio", part);
        let request = self.http.post(url(&["api", "audio", "upload"])).multipart(form);
        let answer: Value = self.send(request).await?.json().await.map_err(broken)?;
        let name = answer.get("audioFile").and_then(Value::as_str);
        name.map(ToOwned::to_owned).ok_or_else(|| Failure::Broken("the upload has no name".into()))
    }

    /// The call's events as they come.
    pub(super) async fn events(&self, call: &str) -> Result<Events, Failure> {
        let response = self.send(self.http.get(url(&["v1", "calls", call, "events"]))).await?;
        Ok(Events { response, buffer: Vec::new() })
    }

    /// Whether a server answers, and with what.
    pub(super) async fn health(&self) -> Result<Value, Failure> {
        let request = self.http.get(url(&["health"]));
        let response = request.send().await.map_err(|error| self.unsent(&error))?;
        response.json().await.map_err(broken)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unsent(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Value = response.json().await.unwrap_or_default();
        let text = |key: &str| problem.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        match text("detail").or_else(|| text("error")) {
            Some(detail) => Err(Failure::Refused { detail, hint: text("hint") }),
            None => Err(Failure::Broken(format!("status {status}"))),
        }
    }

    fn unsent(&self, error: &reqwest::Error) -> Failure {
        if error.is_connect() {
            Failure::NoServer(self.socket.clone())
        } else {
            Failure::Broken(error.to_string())
        }
    }
}

fn broken(error: reqwest::Error) -> Failure {
    Failure::Broken(error.without_url().to_string())
}

/// The host is never looked up: the socket leads to the server.
fn url(path: &[&str]) -> Url {
    #[allow(clippy::expect_used, reason = "a constant that is a URL")]
    let mut url = Url::parse("http://trunkline").expect("constant");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.extend(path);
    }
    url
}

/// Server-sent events, of which only the data matter here.
pub(super) struct Events {
    response: Response,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event's data; none at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            while let Some(block) = take_block(&mut self.buffer) {
                if let Some(data) = data(&block) {
                    let parsed = serde_json::from_str(&data);
                    return parsed.map(Some).map_err(|error| Failure::Broken(error.to_string()));
                }
            }
            match self.response.chunk().await.map_err(broken)? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Cuts off what stands before the first empty line.
fn take_block(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = buffer.split_off(end + 2);
    let block = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&block).into_owned())
}

fn data(block: &str) -> Option<String> {
    let lines = block.lines().filter_map(|line| line.strip_prefix("data:"));
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines_and_comments_are_skipped() {
        let mut buffer = b":\n\nevent: say\nid: 4\ndata: {\"a\":\ndata: 1}\n\nevent: st".to_vec();
        let blocks: Vec<_> =
            std::iter::from_fn(|| take_block(&mut buffer)).map(|block| data(&block)).collect();
        assert_eq!(blocks, [None, Some("{\"a\":\n1}".to_owned())]);
        assert_eq!(buffer, b"event: st");
    }

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        assert_eq!(
            url(&["v1", "trunks", "a/../b c?d"]).as_str(),
            "http://trunkline/v1/trunks/a%2F..%2Fb%20c%3Fd"
        );
    }
}
