//! baresip as a phone: told what to do over its control port, heard through a sound card of ours. (What its
//! `sndfile` module writes ends with the first hold: it does not come back with the decoder.)

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::ear::SoundCard;
use super::{Event, LIMIT, Line, Media, Phone, Registrar};
use crate::ports;
use crate::sound::{self, Sound};
use crate::tool::{self, Process, wait_for};

/// What it registers over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    /// With whatever certificate the server shows.
    Tls,
}

/// How a baresip is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub transport: Transport,
    pub media: Media,
    /// What it offers and takes, in its order, such as `PCMU,PCMA` or `opus`.
    pub codecs: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { transport: Transport::Udp, media: Media::Plain, codecs: "PCMU,PCMA" }
    }
}

/// A running baresip with one line.
pub struct Baresip {
    line: Line,
    account: String,
    card: SoundCard,
    control: Mutex<TcpStream>,
    said: Arc<Mutex<Vec<Value>>>,
    process: Process,
}

impl Baresip {
    /// Starts it, not registered yet; `None` where it is not installed.
    pub fn start(folder: &Path, line: Line, registrar: &Registrar, setup: &Setup) -> Option<Self> {
        let program = tool::find("baresip", "baresip-core")?;
        // It takes the next port for TLS.
        let port = ports::take(2);
        let control = ports::take(1);
        let rtp = ports::take(20);
        let folder = folder.join(format!("baresip-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for baresip");
        std::fs::write(folder.join("tone.wav"), sound::tone_wav(line.hz, 60.0)).expect("a file for the tone");
        std::fs::write(folder.join("accounts"), "").expect("its accounts");
        let modules = "/usr/lib/baresip/modules";
        let config = format!(
            "poll_method epoll\n\
             sip_listen 127.0.0.1:{port}\n\
             net_interface 127.0.0.1\n\
             net_prefer_ipv6 no\n\
             rtp_ports {rtp}-{}\n\
             rtcp_mux {}\n\
             audio_player alsa,ear\n\
             auplay_srate 48000\n\
             auplay_channels 2\n\
             audio_source aufile,{folder}/tone.wav\n\
             audio_alert aufile,/dev/null\n\
             ctrl_tcp_listen 127.0.0.1:{control}\n\
             module_path {modules}\n\
             module ctrl_tcp.so\n\
             module alsa.so\n\
             module aufile.so\n\
             module g711.so\n\
             module opus.so\n\
             module stun.so\n\
             module srtp.so\n\
             module dtls_srtp.so\n\
             module ice.so\n\
             module_tmp uuid.so\n\
             module_tmp account.so\n\
             module_app menu.so\n",
            rtp + 19,
            if setup.media == Media::Dtls { "yes" } else { "no" },
            folder = folder.display(),
        );
        std::fs::write(folder.join("config"), config).expect("its configuration");
        let card = SoundCard::plug_in(&folder);
        let mut command = Command::new(program);
        command.env("ALSA_CONFIG_PATH", folder.join("asound.conf"));
        command.arg("-f").arg(&folder).arg("-v").current_dir(&folder);
        let process = Process::start("baresip", &mut command, &folder.join("log")).asked_first();
        process.wait_for_log("baresip is ready", LIMIT);

        let control = TcpStream::connect((Ipv4Addr::LOCALHOST, control)).expect("its control port");
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let (reader, kept) = (control.try_clone().expect("a second handle"), said.clone());
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            while let Some(message) = read_netstring(&mut reader) {
                let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        });
        let account = account(&line, registrar, setup);
        Some(Self { line, account, card, control: Mutex::new(control), said, process })
    }

    /// What it logs.
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A command that changes the media of its call.
    #[track_caller]
    fn renegotiate(&self, command: &str) {
        let answers = || self.log().matches("call: got SDP answer").count();
        let before = answers();
        self.tell(command, "");
        wait_for(&format!("the answer to baresip's {command}"), LIMIT, || (answers() > before).then_some(()));
    }

    /// One command of its menu; waits until it was taken.
    #[track_caller]
    fn tell(&self, command: &str, params: &str) {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = |said: Vec<Value>| said.into_iter().filter(|said| said["response"] == true);
        let before = answers(self.said()).count();
        let message = json!({ "command": command, "params": params }).to_string();
        write!(control, "{}:{message},", message.len()).expect("its control port");
        let answer = wait_for(&format!("baresip's answer to {command}"), Duration::from_secs(5), || {
            answers(self.said()).nth(before)
        });
        assert_eq!(answer["ok"], true, "baresip does not {command} {params}: {answer}");
    }
}

fn account(line: &Line, registrar: &Registrar, setup: &Setup) -> String {
    let (server, transport) = match setup.transport {
        Transport::Udp => (registrar.sip, "udp"),
        Transport::Tcp => (registrar.sip, "tcp"),
        Transport::Tls => (registrar.tls.expect("a registrar with TLS"), "tls"),
    };
    let media = match setup.media {
        Media::Plain => "",
        Media::Sdes => ";mediaenc=srtp-mand",
        Media::Dtls => ";mediaenc=dtls_srtp;medianat=ice",
    };
    format!(
        "<{};transport={transport}>;auth_user={};auth_pass={};outbound=\"sip:{server};transport={transport}\";\
         answermode=manual;regint=60;audio_codecs={}{media}",
        line.uri(),
        line.user,
        line.password,
        setup.codecs,
    )
}

/// `5:hello,`; `None` at the end of the stream.
fn read_netstring(reader: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut byte = [0];
        reader.read_exact(&mut byte).ok()?;
        match byte[0] {
            b':' => break,
            digit => length = length * 10 + usize::from(digit.checked_sub(b'0')?),
        }
    }
    let mut text = vec![0; length + 1];
    reader.read_exact(&mut text).ok()?;
    text.pop();
    Some(text)
}

impl Phone for Baresip {
    fn line(&self) -> &Line {
        &self.line
    }

    fn events(&self) -> Vec<Event> {
        self.said().iter().filter_map(event).collect()
    }

    fn heard(&self) -> BTreeMap<String, Sound> {
        BTreeMap::from([("card".to_owned(), self.card.heard())])
    }

    fn start_registration(&self) {
        self.tell("uanew", &self.account);
    }

    fn call(&self, uri: &str) {
        self.tell("dial", uri);
    }

    fn answer(&self) {
        self.tell("accept", "");
    }

    fn hang_up(&self) {
        self.tell("hangup", "");
    }

    fn hold(&self) {
        self.renegotiate("hold");
    }

    fn resume(&self) {
        self.renegotiate("resume");
    }

    fn press(&self, digits: &str) {
        self.tell("sndcode", digits);
    }

    fn blind_transfer(&self, uri: &str) {
        self.tell("transfer", uri);
    }
}

fn event(said: &Value) -> Option<Event> {
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    let call = || text("id");
    Some(match said["type"].as_str()? {
        "REGISTER_OK" => Event::Registered,
        "REGISTER_FAIL" => Event::Refused(text("param")),
        "CALL_INCOMING" => Event::Incoming(call()),
        "CALL_RINGING" => Event::Ringing(call()),
        "CALL_ESTABLISHED" => Event::Established(call()),
        "CALL_CLOSED" => Event::Ended(call(), text("param")),
        "CALL_DTMF_START" => Event::Digit(text("param").chars().next()?),
        _ => return None,
    })
}
