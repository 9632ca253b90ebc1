//! The router as its callers see it, on a whole App: store, call loop and simulated network on free ports.

mod access;
mod calling;
mod described;
mod doors;
mod insight;
mod lists;
mod once;
mod opensips;
mod phone;
mod recordings;
mod registrations;
mod sip_server;
mod transfers;
mod v1;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Door, router};
use crate::app::App;
use crate::config::Config;
use crate::dns::Resolver;
use crate::endpoint::{Doors, Listen, Trust};
use crate::id::Id;
use crate::insight::Keeper;
use crate::rtp::Media;
use crate::secret::Secret;
use crate::sim::{self, Directory, Network, Voices};
use crate::speech::Speech;
use crate::store::{CallEvent, CallRow, MasterKey, NewKey, OWN, Store, Write};
use crate::switch::{Setup, Switch};
use crate::upload::Uploads;

const KEY: &str = "operator-key-of-the-tests";

/// A running App and its router.
struct House {
    app: Arc<App>,
    router: Router,
    _folder: tempfile::TempDir,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl House {
    async fn build() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().to_owned(), ..config };
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let store =
            Store::open(&config.database_url(), &MasterKey::parse(&"a1".repeat(32)).unwrap()).await.unwrap();
        store.bootstrap(true, Some(&Secret::from(KEY.to_owned()))).await.unwrap();
        for part in ["recordings", "uploads", "speech"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let media = Media::start(loopback.ip(), 20_000..=30_000, 1).unwrap();
        let listen = Listen { address: loopback, external: None, tcp: false };
        let resolver = Resolver::new(&[], loopback.ip()).unwrap();
        let setup = Setup {
            listen,
            doors: Doors::default(),
            trust: Trust::none(),
            resolver: resolver.clone(),
            media: media.clone(),
            store: store.clone(),
            max_calls: 10,
            recordings: config.data_dir.join("recordings"),
            saved: Vec::new(),
            bindings: config.data_dir.join("bindings.db"),
            registrars: Default::default(),
            domain: config.sip_domain.clone(),
            trusted: None,
            keeper: Keeper::start(store.clone(), config.insight),
        };
        let (switch, _) = Switch::start(setup).unwrap();
        let reports = switch.clone();
        let report = Box::new(move |call, heard| reports.heard(call, heard));
        let (directory, voices) = (Directory::new(&[]).unwrap(), Voices::default());
        voices.learn(sim::GREETING, media::Clip::tone(440.0, 200, 0.3));
        let sim = sim::Setup {
            listen: loopback,
            media,
            directory,
            voices: Arc::new(voices),
            voicemail: folder.path().to_owned(),
            report,
        };
        let app = App {
            upkeep: crate::upkeep::Upkeep::new(
                crate::upkeep::Means {
                    switch: switch.clone(),
                    resolver: resolver.clone(),
                    trust: Trust::none(),
                    registrars: Default::default(),
                },
                store.clone(),
            ),
            speech: Speech::new(&config.speech, folder.path().join("speech")),
            uploads: Uploads::new(folder.path().join("uploads")),
            sim: Some(Network::start(sim).unwrap()),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            started_at: crate::time::now_ms(),
            made_key: false,
            http_address: loopback,
            config,
            store,
            registrar: switch.registrar().clone(),
            switch,
            resolver,
        };
        let app = Arc::new(app);
        crate::app::attend(&app);
        Self { router: router(app.clone(), Door::Tcp), app, _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// With the operator's key.
    async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, KEY, "")).await
    }

    /// With the operator's key.
    async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(request(method, path, KEY, &body.to_string())).await
    }

    /// A key of an account.
    async fn key(&self, account: i64, scopes: &[&str]) -> String {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let new = NewKey { account, name: "test".into(), scopes, ..NewKey::default() };
        self.app.store.create_key(new).await.unwrap().1.expose().to_owned()
    }

    /// A finished call of an account, as the store keeps it.
    async fn finished_call(&self, account: i64, to: &str) -> CallRow {
        let row = CallRow {
            id: Id::new().unwrap(),
            account,
            direction: "outbound".into(),
            face: "v1".into(),
            from: Some("+15551234567".into()),
            to: to.into(),
            kind: "PSTN".into(),
            trunk: None,
            trunk_name: Some("sim".into()),
            state: call::State::Completed,
            cause_code: Some("normal".into()),
            cause_text: Some("The callee hung up.".into()),
            cause_hint: None,
            sip_status: None,
            q850: Some(16),
            hangup_by: Some("callee".into()),
            sip_call_id: Some("abc@127.0.0.1".into()),
            audio_file: None,
            text: Some("Hello.".into()),
            flow: json!([{ "say": { "text": "Hello." } }]),
            recording: None,
            created_at: 1_767_225_600_000,
            ringing_at: Some(1_767_225_600_120),
            answered_at: Some(1_767_225_602_004),
            ended_at: Some(1_767_225_606_310),
            quality: None,
            heard: None,
            metadata: Default::default(),
        };
        let first = CallEvent {
            call: row.id,
            account,
            sequence: 1,
            at: row.created_at,
            kind: "state".into(),
            detail: json!({ "state": "queued" }),
        };
        self.app.store.create_call(&row, &first, None).await.unwrap();
        row
    }

    /// A recording of a call, as the store keeps it once it is whole.
    async fn recorded(&self, call: Id, number: i64, file: &str) {
        let store = &self.app.store;
        let (file, at) = (file.to_owned(), 1_767_225_602_004 + number);
        store.record(Write::Recording { call, number, file, at }).unwrap();
        store.record(Write::Recorded { call, number, ms: 4303 }).unwrap();
        store.flush().await;
    }
}

/// A request with a JSON body and the key as the path's face wants it; without a key if that is empty.
fn request(method: &str, path: &str, key: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if !key.is_empty() && path.starts_with("/api/") && !path.starts_with("/api/v1/") {
        request = request.header("x-api-key", key);
    } else if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

/// As if it came from there.
fn from(mut request: Request<Body>, peer: &str) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    request
}
