//! Kamailio as a registrar and proxy: what the phones can do with each other before anything of ours is in between.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use super::{Line, Registrar};
use crate::peers::sipp::is_bound;
use crate::ports;
use crate::tool::{self, Process, wait_for};

/// Every user's password.
pub const PASSWORD: &str = "phone-password-4711";

/// A running Kamailio.
pub struct Kamailio {
    pub registrar: Registrar,
    _process: Process,
}

impl Kamailio {
    /// A registrar for any user with [`PASSWORD`]; `None` where Kamailio or its modules are not installed.
    pub fn start(folder: &Path) -> Option<Self> {
        let program = tool::find("kamailio", "kamailio")?;
        let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
        let mut folders = folders.map(|folder| folder.join("kamailio/modules"));
        let Some(modules) = folders.find(|folder| folder.join("websocket.so").is_file()) else {
            tool::skip("Kamailio has no websocket.so (apt-get install kamailio-websocket-modules)");
            return None;
        };
        let (sip, tls, ws) = (ports::take(1), ports::take(1), ports::take(1));
        let folder = folder.join(format!("kamailio-{sip}"));
        std::fs::create_dir_all(&folder).expect("a folder for Kamailio");
        let domain = "office.test";
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![domain.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.join("cert.pem"), certificate.pem()).expect("the certificate's file");
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("the key's file");
        let text = include_str!("kamailio.cfg")
            .replace("@SIP@", &sip.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@WS@", &ws.to_string())
            .replace("@DOMAIN@", domain)
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@MODULES@", &format!("{}/", modules.display()))
            .replace("@PASSWORD@", PASSWORD);
        let config = folder.join("kamailio.cfg");
        std::fs::write(&config, text).expect("its configuration");
        let mut command = Command::new(program);
        command.current_dir(&folder).arg("-f").arg(&config).args(["-DD", "-E", "-m", "64", "-M", "8"]);
        command.arg("-P").arg(folder.join("pid")).arg("-Y").arg(&folder);
        // It has children; asked to end, it ends them too.
        let mut process = Process::start("kamailio", &mut command, &folder.join("log")).asked_first();
        for (port, transport) in [(sip, "udp"), (sip, "tcp"), (tls, "tcp"), (ws, "tcp")] {
            wait_for("Kamailio's sockets", Duration::from_secs(10), || {
                assert!(process.is_running(), "Kamailio ended at its start: {}", process.log());
                is_bound(port, transport).then_some(())
            });
        }
        let registrar = Registrar {
            sip: ([127, 0, 0, 1], sip).into(),
            tls: Some(([127, 0, 0, 1], tls).into()),
            ws: format!("ws://127.0.0.1:{ws}"),
            domain: domain.to_owned(),
            joins_media: false,
            transfers: true,
        };
        Some(Self { registrar, _process: process })
    }

    /// A user of its domain.
    pub fn line(&self, user: &str, hz: f64) -> Line {
        self.registrar.line(user, PASSWORD, hz)
    }
}
