//! baresip as a phone that answers by itself, plays a tone and keeps what it hears in a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::ports;
use crate::sound::{self, Sound};
use crate::tool::{self, Process, wait_for};

/// The tone it plays into the call, in Hz.
pub const TONE: f64 = 440.0;

/// A running baresip.
pub struct Baresip {
    pub port: u16,
    folder: PathBuf,
    process: Process,
}

impl Baresip {
    /// A phone that answers calls to `user`, spoken to directly; `None` where baresip is not installed.
    pub fn start(folder: &Path, user: &str) -> Option<Self> {
        Self::start_with(folder, user, None)
    }

    /// A phone that registers `user` at a proxy on loopback and answers what comes from there.
    pub fn registered(folder: &Path, user: &str, proxy: u16) -> Option<Self> {
        let phone = Self::start_with(folder, user, Some(proxy))?;
        phone.process.wait_for_log("200 OK", Duration::from_secs(5));
        Some(phone)
    }

    fn start_with(folder: &Path, user: &str, proxy: Option<u16>) -> Option<Self> {
        let program = tool::find("baresip", "baresip-core")?;
        // It takes the next port for TLS.
        let port = ports::take(2);
        let rtp = ports::take(10);
        let folder = folder.join(format!("baresip-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for baresip");
        std::fs::write(folder.join("tone.wav"), sound::tone_wav(TONE, 40.0)).expect("a file for the tone");

        let (at, register) = proxy.map_or((port, 0), |proxy| (proxy, 60));
        let account = format!(
            "<sip:{user}@127.0.0.1:{at};transport=udp>;auth_pass=none;answermode=auto;regint={register};audio_codecs=PCMU,PCMA\n"
        );
        std::fs::write(folder.join("accounts"), account).expect("its accounts");
        let modules = "/usr/lib/baresip/modules";
        let config = format!(
            "poll_method epoll\n\
             sip_listen 127.0.0.1:{port}\n\
             net_interface 127.0.0.1\n\
             net_prefer_ipv6 no\n\
             rtp_ports {rtp}-{}\n\
             rtp_stats yes\n\
             audio_srate 8000\n\
             audio_channels 1\n\
             audio_player aubridge,nil\n\
             audio_source aufile,{folder}/tone.wav\n\
             audio_alert aufile,/dev/null\n\
             snd_path {folder}\n\
             module_path {modules}\n\
             module aubridge.so\n\
             module aufile.so\n\
             module g711.so\n\
             module sndfile.so\n\
             module_tmp uuid.so\n\
             module_tmp account.so\n\
             module_app menu.so\n",
            rtp + 9,
            folder = folder.display(),
        );
        std::fs::write(folder.join("config"), config).expect("its configuration");
        let mut command = Command::new(program);
        command.arg("-f").arg(&folder).arg("-v").current_dir(&folder);
        let process = Process::start("baresip", &mut command, &folder.join("log")).asked_first();
        process.wait_for_log("baresip is ready", Duration::from_secs(10));
        Some(Self { port, folder, process })
    }

    /// What it heard in its one call, once that call is over.
    #[track_caller]
    pub fn heard(&self) -> Sound {
        self.process.wait_for_log("packets:", Duration::from_secs(10));
        let file = wait_for("the file of what baresip heard", Duration::from_secs(5), || {
            let entries = std::fs::read_dir(&self.folder).ok()?;
            entries
                .flatten()
                .map(|entry| entry.path())
                .find(|path| path.to_string_lossy().ends_with("-dec.wav"))
        });
        sound::read_wav(&std::fs::read(file).expect("what baresip heard")).remove(0)
    }

    /// Packets it sent and received in its one call, by its own count.
    #[track_caller]
    pub fn packets(&self) -> (u64, u64) {
        let log = self.process.log();
        let line = log.lines().find(|line| line.starts_with("packets:")).expect("baresip's statistics");
        let mut counts = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok());
        (counts.next().expect("packets sent"), counts.next().expect("packets received"))
    }

    /// What it says about its calls.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
