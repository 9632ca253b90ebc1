//! Chromium without a window: phones made of JavaScript libraries, all in one page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::page_server::PageServer;
use super::{Event, LIMIT, Line, Phone, Registrar, ear};
use crate::sound::Sound;
use crate::tool::{self, Process, wait_for};

const PAGE: &str = "<!doctype html><title>phones</title><script src=libraries.js></script>\
                    <script src=page.js></script><script src=jssip.js></script><script src=sipjs.js></script>";

/// A running Chromium.
pub struct Browser {
    server: PageServer,
    asked: AtomicU64,
    _process: Process,
}

/// What a phone in the page is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    JsSip,
    SipJs,
}

impl Library {
    fn name(self) -> &'static str {
        match self {
            Self::JsSip => "JsSIP",
            Self::SipJs => "SIPjs",
        }
    }
}

impl Browser {
    /// Starts it and waits for its page; `None` where Chromium or the libraries are not installed.
    pub fn start(folder: &Path) -> Option<Rc<Self>> {
        let program = tool::find("chromium", "chromium")?;
        let Ok(libraries) = std::fs::read_to_string(libraries()) else {
            tool::skip(&format!("no {} (scripts/install-test-tools.sh)", libraries().display()));
            return None;
        };
        let server = PageServer::start(vec![
            ("", PAGE.to_owned()),
            ("libraries.js", libraries),
            ("page.js", include_str!("page.js").to_owned()),
            ("jssip.js", include_str!("jssip.js").to_owned()),
            ("sipjs.js", include_str!("sipjs.js").to_owned()),
        ]);
        let mut command = Command::new(program);
        command.current_dir(folder).arg(format!("--user-data-dir={}", folder.join("chromium").display()));
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--autoplay-policy=no-user-gesture-required",
            // Its addresses go into the SDP as they are, not as names of mDNS.
            "--disable-features=WebRtcHideLocalIpsWithMdns",
            // Servers here have certificates of their own making.
            "--ignore-certificate-errors",
        ]);
        command.arg(&server.url);
        let process = Process::start("chromium", &mut command, &folder.join("chromium.log")).asked_first();
        let browser = Self { server, asked: AtomicU64::new(0), _process: process };
        wait_for("the page in Chromium", Duration::from_secs(30), || {
            browser.server.told().events.iter().any(|event| event["event"] == "ready").then_some(())
        });
        Some(Rc::new(browser))
    }

    /// A phone in its page; `codecs` such as `["PCMU"]` are all it offers and takes, none means all.
    pub fn phone(
        self: &Rc<Self>,
        line: Line,
        registrar: &Registrar,
        library: Library,
        codecs: &[&str],
    ) -> WebPhone {
        let phone = WebPhone { browser: self.clone(), line };
        let codecs = (!codecs.is_empty()).then_some(codecs);
        phone.tell(
            "make",
            json!({
                "library": library.name(), "ws": registrar.ws, "uri": phone.line.uri(), "user": phone.line.user,
                "password": phone.line.password, "hz": phone.line.hz, "codecs": codecs,
            }),
        );
        phone
    }
}

/// Where the installation put the libraries.
fn libraries() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("trunkline-tools/web-phones/libraries.js")
}

/// One phone in the page.
pub struct WebPhone {
    browser: Rc<Browser>,
    line: Line,
}

impl WebPhone {
    /// Has the page do something; what came of it.
    #[track_caller]
    fn tell(&self, verb: &str, about: Value) -> Value {
        let id = self.browser.asked.fetch_add(1, Ordering::Relaxed);
        let server = &self.browser.server;
        server.tell(json!({ "id": id, "phone": self.line.user, "verb": verb, "about": about }));
        let reply = wait_for(&format!("the page's answer to {verb}"), LIMIT, || {
            server.told().events.iter().find(|event| event["reply"] == id).cloned()
        });
        assert!(reply["error"].is_null(), "{verb}: {}", reply["error"]);
        reply["value"].clone()
    }

    /// Of its call: `received`, `sent` and `lost` packets, `codec`, `dtls`, `ice`, `srtp`.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.tell("stats", Value::Null)
    }

    /// JsSIP only: loses its connection, comes back with a new one, registers and finds new ways for its media; waits for all that.
    #[track_caller]
    pub fn reconnect(&self) {
        let count = |name: &str| self.told().iter().filter(|event| event["event"] == name).count();
        let before = count("renegotiated");
        self.tell("reconnect", Value::Null);
        wait_for("the renegotiated call", LIMIT, || (count("renegotiated") > before).then_some(()));
    }

    fn told(&self) -> Vec<Value> {
        let told = self.browser.server.told();
        told.events.iter().filter(|event| event["phone"] == self.line.user.as_str()).cloned().collect()
    }
}

impl Phone for WebPhone {
    fn line(&self) -> &Line {
        &self.line
    }

    fn events(&self) -> Vec<Event> {
        self.told().iter().filter_map(event).collect()
    }

    fn heard(&self) -> BTreeMap<String, Sound> {
        let told = self.browser.server.told();
        let mine = told.sounds.iter().filter(|((phone, _), _)| *phone == self.line.user);
        mine.map(|((_, call), sound)| (call.clone(), sound.clone())).collect()
    }

    /// Browsers tell telephone events to nobody but the ear.
    fn digits(&self) -> String {
        let heard = self.heard().into_iter().max_by_key(|(call, _)| call.parse().unwrap_or(0));
        heard.map(|(_, sound)| ear::keys(&sound)).unwrap_or_default()
    }

    fn has_only_ears(&self) -> bool {
        true
    }

    fn start_registration(&self) {
        self.tell("register", Value::Null);
    }

    fn call(&self, uri: &str) {
        self.tell("call", json!({ "uri": uri }));
    }

    fn answer(&self) {
        self.tell("answer", Value::Null);
    }

    fn hang_up(&self) {
        self.tell("hangUp", Value::Null);
    }

    fn hold(&self) {
        self.tell("hold", Value::Null);
    }

    fn resume(&self) {
        self.tell("resume", Value::Null);
    }

    fn press(&self, digits: &str) {
        self.tell("press", json!({ "digits": digits }));
    }

    fn blind_transfer(&self, uri: &str) {
        self.tell("transfer", json!({ "uri": uri }));
    }

    fn attended_transfer(&self) -> bool {
        self.tell("attendedTransfer", Value::Null);
        true
    }
}

fn event(told: &Value) -> Option<Event> {
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let call = || text("call");
    Some(match told["event"].as_str()? {
        "registered" => Event::Registered,
        "refused" => Event::Refused(text("detail")),
        "incoming" => Event::Incoming(call()),
        "ringing" => Event::Ringing(call()),
        "established" => Event::Established(call()),
        "ended" => Event::Ended(call(), text("detail")),
        "digit" => Event::Digit(text("detail").chars().next()?),
        _ => return None,
    })
}
