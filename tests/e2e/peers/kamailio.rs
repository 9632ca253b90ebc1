//! Kamailio as the provider in between: digest on every INVITE, registered phones behind it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::sipp::is_bound;
use crate::ports;
use crate::tool::{self, Process, wait_for};

/// The user name it knows.
pub const USER: &str = "gateway";

/// A running Kamailio.
pub struct Kamailio {
    pub port: u16,
    process: Process,
}

impl Kamailio {
    /// A provider that lets [`USER`] call with `password`; `None` where Kamailio is not installed.
    pub fn start(folder: &Path, password: &str) -> Option<Self> {
        let program = tool::find("kamailio", "kamailio")?;
        let Some(modules) = modules() else {
            tool::skip("no folder /usr/lib/*/kamailio/modules (apt-get install kamailio)");
            return None;
        };
        let port = ports::take(1);
        let folder = folder.join(format!("kamailio-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for Kamailio");
        let text = include_str!("kamailio.cfg")
            .replace("@PORT@", &port.to_string())
            .replace("@MODULES@", &format!("{}/", modules.display()))
            .replace("@PASSWORD@", password);
        let config = folder.join("kamailio.cfg");
        std::fs::write(&config, text).expect("its configuration");
        let mut command = Command::new(program);
        command.current_dir(&folder).arg("-f").arg(&config).args(["-DD", "-E", "-m", "16", "-M", "4"]);
        command.arg("-P").arg(folder.join("pid")).arg("-Y").arg(&folder);
        // It has children; asked to end, it ends them too.
        let mut process = Process::start("kamailio", &mut command, &folder.join("log")).asked_first();
        for transport in ["udp", "tcp"] {
            wait_for("Kamailio's sockets", Duration::from_secs(10), || {
                assert!(process.is_running(), "Kamailio ended at its start: {}", process.log());
                is_bound(port, transport).then_some(())
            });
        }
        Some(Self { port, process })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn modules() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("kamailio/modules")).find(|folder| folder.is_dir())
}
