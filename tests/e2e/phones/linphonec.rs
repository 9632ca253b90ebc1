//! linphonec as a phone: told what to do line by line, heard through the file it records.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::sync::{Mutex, PoisonError};

use super::baresip::Transport;
use super::{Event, LIMIT, Line, Phone, Registrar, ear};
use crate::ports;
use crate::sound::{self, Sound};
use crate::tool::{self, Process, wait_for};

/// A running linphonec with one line.
pub struct Linphonec {
    line: Line,
    folder: PathBuf,
    input: Mutex<ChildStdin>,
    process: Process,
}

impl Linphonec {
    /// Starts it; it registers by itself. `None` where it is not installed.
    pub fn start(folder: &Path, line: Line, registrar: &Registrar, transport: Transport) -> Option<Self> {
        let program = tool::find("linphonec", "linphone-cli")?;
        let port = ports::take(1);
        let rtp = ports::take(20);
        let folder = folder.join(format!("linphonec-{port}"));
        std::fs::create_dir_all(folder.join(".local/share/linphone")).expect("a folder for linphonec");
        let tone = folder.join("tone.wav");
        std::fs::write(&tone, sound::tone_wav(line.hz, 60.0)).expect("a file for the tone");
        let (transport, udp, tcp) = match transport {
            Transport::Udp => ("udp", port, 0),
            Transport::Tcp => ("tcp", 0, port),
            Transport::Tls => panic!("its TLS wants certificates it trusts; baresip speaks TLS here"),
        };
        // At one rate: what it records stays in one file, whose header is written once.
        let codecs = [
            ("opus", 48_000, 2, 0),
            ("speex", 16_000, 1, 0),
            ("speex", 8_000, 1, 0),
            ("PCMU", 8_000, 1, 1),
            ("PCMA", 8_000, 1, 1),
        ];
        let codecs: String = codecs.iter().enumerate().map(|(index, (name, rate, channels, enabled))| {
            format!("[audio_codec_{index}]\nmime={name}\nrate={rate}\nchannels={channels}\nenabled={enabled}\n")
        }).collect();
        let config = format!(
            "[sip]\n\
             sip_port={udp}\n\
             sip_tcp_port={tcp}\n\
             sip_tls_port=0\n\
             guess_hostname=0\n\
             register_only_when_network_is_up=0\n\
             default_proxy=0\n\
             media_encryption=none\n\
             use_info=0\n\
             use_rfc2833=1\n\
             [rtp]\n\
             audio_rtp_port={rtp}-{}\n\
             [proxy_0]\n\
             reg_proxy=<sip:{server};transport={transport}>\n\
             reg_route=<sip:{server};transport={transport};lr>\n\
             reg_identity=<{}>\n\
             reg_expires=60\n\
             reg_sendregister=1\n\
             publish=0\n\
             [auth_info_0]\n\
             username={}\n\
             passwd={}\n\
             realm={domain}\n\
             [video]\n\
             enabled=0\n\
             [misc]\n\
             user_certificates_path={folder}/certificates\n\
             [sound]\n\
             echocancellation=0\n\
             {codecs}",
            rtp + 19,
            line.uri(),
            line.user,
            line.password,
            server = registrar.sip,
            domain = line.domain,
            folder = folder.display(),
        );
        std::fs::write(folder.join("linphonerc"), config).expect("its configuration");
        let mut command = Command::new(program);
        command.current_dir(&folder).env("HOME", &folder).arg("-c").arg(folder.join("linphonerc"));
        let detail = folder.join("detail");
        command.args(["-d", "6", "-l"]).arg(detail);
        let (process, input) = Process::start_told("linphonec", &mut command, &folder.join("log"));
        let phone = Self { line, folder, input: Mutex::new(input), process };
        phone.process.wait_for_log("linphonec>", LIMIT);
        phone.tell("soundcard use files");
        phone.tell(&format!("record {}", phone.folder.join("heard.wav").display()));
        phone.tell(&format!("play {}", tone.display()));
        Some(phone)
    }

    fn tell(&self, line: &str) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{line}").expect("its standard input");
    }

    /// A command that changes the media of its call, and what it says when the other side has agreed.
    #[track_caller]
    fn renegotiate(&self, command: &str, done: &str) {
        let agreed = || self.process.log().matches(done).count();
        let before = agreed();
        self.tell(command);
        wait_for(&format!("the answer to linphonec's {command}"), LIMIT, || {
            (agreed() > before).then_some(())
        });
    }

    /// The number it gave to the call that came last.
    fn last_call(&self) -> String {
        let calls = self.events().into_iter().rev().find_map(|event| match event {
            Event::Incoming(id) | Event::Ringing(id) | Event::Established(id) => Some(id),
            _ => None,
        });
        calls.unwrap_or_default()
    }
}

impl Phone for Linphonec {
    fn line(&self) -> &Line {
        &self.line
    }

    fn events(&self) -> Vec<Event> {
        let detail = std::fs::read(self.folder.join("detail")).unwrap_or_default();
        let mut events: Vec<Event> =
            String::from_utf8_lossy(&detail).lines().filter_map(registration).collect();
        events.extend(self.process.log().lines().filter_map(event));
        events
    }

    fn heard(&self) -> BTreeMap<String, Sound> {
        let heard = ear::growing_wav(&self.folder.join("heard.wav"));
        heard.into_iter().map(|sound| ("heard".to_owned(), sound)).collect()
    }

    fn start_registration(&self) {}

    fn call(&self, uri: &str) {
        self.tell(&format!("call {uri}"));
    }

    fn answer(&self) {
        self.tell(&format!("answer {}", self.last_call()));
    }

    fn hang_up(&self) {
        self.tell("terminate");
    }

    fn hold(&self) {
        self.renegotiate("pause", "is now paused");
    }

    fn resume(&self) {
        self.renegotiate(&format!("resume {}", self.last_call()), "Media streams established");
    }

    fn press(&self, digits: &str) {
        self.tell(digits);
    }

    fn blind_transfer(&self, uri: &str) {
        self.tell(&format!("transfer {} {uri}", self.last_call()));
    }

    fn attended_transfer(&self) -> bool {
        let last = self.last_call();
        let first = self.events().into_iter().rev().find_map(|event| match event {
            Event::Incoming(id) | Event::Ringing(id) if id != last => Some(id),
            _ => None,
        });
        self.tell(&format!("transfer {} --to-call {last}", first.expect("an earlier call")));
        true
    }
}

/// Its sentences, such as `Call 1 with sip:bob@office.test ended (No error).`
fn event(line: &str) -> Option<Event> {
    // The prompt stands before whatever came while it waited.
    let line = line.trim_start_matches("linphonec> ").trim_end();
    if let Some(key) = line.strip_prefix("Receiving tone ") {
        return key.chars().next().map(Event::Digit);
    }
    if line.starts_with("Receiving new incoming call from ") {
        let (_, id) = line.split_once("assigned id ")?;
        return Some(Event::Incoming(id.to_owned()));
    }
    let (id, rest) = line.strip_prefix("Call ")?.split_once(' ')?;
    let id = id.to_owned();
    let rest = rest.trim_end_matches('.');
    if rest.ends_with(" ringing") {
        return Some(Event::Ringing(id));
    }
    if rest.ends_with(" connected") {
        return Some(Event::Established(id));
    }
    if rest.ends_with(" error") {
        return Some(Event::Ended(id, "error".to_owned()));
    }
    let (_, reason) = rest.split_once(" ended (")?;
    Some(Event::Ended(id, reason.trim_end_matches(')').to_owned()))
}

/// What only its detailed log tells.
fn registration(line: &str) -> Option<Event> {
    let (_, state) = line.split_once("] to [LinphoneRegistration")?;
    if state.starts_with("Ok]") {
        return Some(Event::Registered);
    }
    state.starts_with("Failed]").then(|| Event::Refused(line.to_owned()))
}
