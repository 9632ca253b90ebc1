//! The real binary on free ports of loopback, with a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Body, Reply};
use crate::ports;
use crate::sound::Recording;
use crate::tool::{Process, wait_for};

/// The binary under test.
pub const TRUNKLINE: &str = env!("CARGO_BIN_EXE_trunkline");

/// The states a call ends in.
pub const FINAL: [&str; 5] = ["completed", "busy", "failed", "no-answer", "canceled"];

/// Tests run side by side, except one that needs the machine for itself.
static MACHINE: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "held, never read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// How a server is to be started.
pub struct Setup {
    env: Vec<(String, String)>,
    rtp_ports: u16,
    alone: bool,
}

impl Setup {
    /// One more environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// How many RTP ports it is given; 64 unless said.
    pub fn rtp_ports(mut self, count: u16) -> Self {
        self.rtp_ports = count;
        self
    }

    /// No other server runs beside it.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Starts it and waits until `/health` answers.
    #[track_caller]
    pub fn start(self) -> Server {
        let turn = if self.alone {
            Turn::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Turn::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let http = ports::take(1);
        let sip = ports::take(2);
        let rtp = ports::take(self.rtp_ports);
        // Told apart from every other secret by its text, so that it can be looked for in the log.
        let key = format!("tl_e2e{:032x}", u128::from(http) << 64 | u128::from(std::process::id()));
        let mut env = vec![
            ("TRUNKLINE_HTTP_LISTEN".to_owned(), format!("127.0.0.1:{http}")),
            ("TRUNKLINE_SIP_LISTEN".to_owned(), format!("127.0.0.1:{sip}")),
            ("TRUNKLINE_RTP_PORTS".to_owned(), format!("{rtp}-{}", rtp + self.rtp_ports - 1)),
            ("TRUNKLINE_DATA_DIR".to_owned(), folder.path().join("data").display().to_string()),
            ("TRUNKLINE_BOOTSTRAP_KEY".to_owned(), key.clone()),
        ];
        env.extend(self.env);
        let mut server = Server {
            process: None,
            starts: 0,
            http,
            sip,
            key: key.clone(),
            secrets: vec![key],
            env,
            folder,
            _turn: turn,
        };
        server.start();
        server
    }
}

/// A running server. Dropped, it is killed; its log is then shown if the test failed, and searched for
/// secrets and panics if it did not.
pub struct Server {
    process: Option<Process>,
    starts: u32,
    http: u16,
    sip: u16,
    pub key: String,
    secrets: Vec<String>,
    env: Vec<(String, String)>,
    folder: TempDir,
    _turn: Turn,
}

impl Server {
    /// What every server here has; change it before it starts.
    pub fn setup() -> Setup {
        Setup { env: Vec::new(), rtp_ports: 64, alone: false }
    }

    /// A server on embedded defaults: the simulated network carries its calls.
    #[track_caller]
    pub fn simulated() -> Server {
        Self::setup().start()
    }

    /// A server whose accounts may call numbers of the USA through trunks.
    #[track_caller]
    pub fn for_trunks() -> Server {
        Self::setup().env("TRUNKLINE_COUNTRIES", "US").start()
    }

    /// Starts the process (again), on the same data.
    #[track_caller]
    pub fn start(&mut self) {
        self.starts += 1;
        let log = self.folder.path().join(format!("stderr-{}.log", self.starts));
        let mut command = self.command();
        command.arg("serve");
        let mut process = Process::start("trunkline", &mut command, &log);
        let url = self.url("/health");
        wait_for("the server's /health", Duration::from_secs(20), || {
            assert!(process.is_running(), "the server ended at its start:\n{}", process.log());
            http::try_send("GET", &url, &[], Body::Empty).ok().filter(|reply| reply.status == 200)
        });
        self.process = Some(process);
    }

    /// `trunkline` with this server's settings, for its subcommands.
    pub fn command(&self) -> Command {
        let mut command = Command::new(TRUNKLINE);
        command.env_clear().current_dir(self.folder.path()).envs(self.env.iter().cloned());
        for name in ["PATH", "HOME", "LANG"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    /// Its process; fails the test when it was stopped.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running server")
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// The address SIP is spoken at.
    pub fn sip(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.sip).into()
    }

    /// The folder with its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// From now on `secret` must not stand in its log.
    pub fn secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// The whole URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// A request with the operator's key, in the header the face wants.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: Body) -> Reply {
        self.request_as(&self.key, method, path, body)
    }

    /// A request with some key.
    #[track_caller]
    pub fn request_as(&self, key: &str, method: &str, path: &str, body: Body) -> Reply {
        let bearer = format!("Bearer {key}");
        let header =
            if path.starts_with("/api/") { ("X-API-Key", key) } else { ("Authorization", bearer.as_str()) };
        http::send(method, &self.url(path), &[header], body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, Body::Empty)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Reply {
        self.request("POST", path, Body::Json(body))
    }

    /// Uploads sound by document 0's route; what `audioFile` is to be.
    #[track_caller]
    pub fn upload(&self, name: &str, bytes: Vec<u8>) -> String {
        let reply = self
            .request("POST", "/api/audio/upload", Body::File("audio".to_owned(), name.to_owned(), bytes))
            .expect(200)
            .json();
        reply["audioFile"].as_str().unwrap_or_else(|| panic!("no audioFile in {reply}")).to_owned()
    }

    /// Places a call by document 0; its id.
    #[track_caller]
    pub fn initiate(&self, body: Value) -> String {
        let reply = self.post("/api/calls/initiate", body).expect(200).json();
        assert_eq!(reply["success"], true, "{reply}");
        reply["callId"].as_str().unwrap_or_else(|| panic!("no callId in {reply}")).to_owned()
    }

    /// Says a short sentence to a number.
    #[track_caller]
    pub fn say_to(&self, number: &str) -> String {
        self.initiate(json!({ "fromNumber": "+12025550100", "toNumber": number, "text": "Hello." }))
    }

    /// Plays uploaded sound to a number.
    #[track_caller]
    pub fn play_to(&self, number: &str, audio_file: &str) -> String {
        self.initiate(json!({ "fromNumber": "+12025550100", "toNumber": number, "audioFile": audio_file }))
    }

    /// The call as document 0 shows it.
    #[track_caller]
    pub fn call(&self, id: &str) -> Value {
        let mut reply = self.get(&format!("/api/calls/status/{id}")).expect(200).json();
        reply["call"].take()
    }

    /// The call, once it is in one of `states`.
    #[track_caller]
    pub fn wait_for_state(&self, id: &str, states: &[&str], limit: Duration) -> Value {
        let mut last = Value::Null;
        let mut passed = Vec::new();
        let found = wait_for_quietly(limit, || {
            last = self.call(id);
            let state = last["status"].as_str().unwrap_or_default().to_owned();
            if passed.last() != Some(&state) {
                passed.push(state.clone());
            }
            states.contains(&state.as_str())
        });
        assert!(found, "waited {limit:?} for {states:?}; it passed {passed:?} and is now {last:#}");
        last
    }

    /// The call, once it is over; fails the test unless it ended in `state`.
    #[track_caller]
    pub fn wait_for_end(&self, id: &str, state: &str) -> Value {
        let call = self.wait_for_state(id, &FINAL, Duration::from_secs(25));
        assert_eq!(call["status"], state, "{call:#}");
        call
    }

    /// The call's recording.
    #[track_caller]
    pub fn recording(&self, id: &str) -> Recording {
        let reply = self.get(&format!("/v1/calls/{id}/recording")).expect(200);
        assert!(reply.content_type.starts_with("audio/"), "{}", reply.content_type);
        Recording::read(&reply.bytes)
    }

    /// Makes a trunk to a peer on loopback the account's default; its reply.
    #[track_caller]
    pub fn trunk(&mut self, port: u16, more: Value) -> Value {
        let mut body = json!({
            "name": "carrier", "host": "127.0.0.1", "port": port,
            "caller_id": "+12025550100", "default": true,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        if let Some(password) = body["password"].as_str() {
            self.secret(password);
        }
        self.post("/v1/trunks", body).expect(201).json()
    }

    /// The events of a call that is over: kind and event.
    #[track_caller]
    pub fn events(&self, id: &str) -> Vec<(String, Value)> {
        let text = self.get(&format!("/v1/calls/{id}/events")).expect(200).text();
        let field = |block: &str, name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|line| line.trim().to_owned())
        };
        text.split("\n\n")
            .filter_map(|block| Some((field(block, "event")?, field(block, "data")?)))
            .map(|(kind, data)| (kind, serde_json::from_str(&data).expect("JSON in an event")))
            .collect()
    }

    /// How many calls the history holds, whoever made them.
    #[track_caller]
    pub fn history_len(&self) -> usize {
        let reply = self.get("/api/calls/history?limit=200").expect(200).json();
        reply["calls"].as_array().unwrap_or_else(|| panic!("no calls in {reply}")).len()
    }

    /// Everything its processes have said so far.
    pub fn log(&self) -> String {
        (1..=self.starts)
            .filter_map(|start| std::fs::read(self.folder.path().join(format!("stderr-{start}.log"))).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }
}

fn wait_for_quietly(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < limit {
        if ready() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    false
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends the process and, should the test have failed, shows its last words.
        self.process = None;
        if std::thread::panicking() {
            return;
        }
        let log = self.log();
        for secret in &self.secrets {
            assert!(!log.contains(secret.as_str()), "the secret {secret} stands in the log:\n{log}");
        }
        assert!(!log.contains("panicked at"), "something panicked:\n{log}");
    }
}
