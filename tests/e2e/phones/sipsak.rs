//! sipsak: one request, and what came of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Line, Registrar};
use crate::tool;

/// The program.
pub struct Sipsak {
    program: PathBuf,
}

impl Sipsak {
    /// `None` where it is not installed.
    pub fn find() -> Option<Self> {
        Some(Self { program: tool::find("sipsak", "sipsak")? })
    }

    /// Asks for the options of the server; whether it said 200.
    pub fn options(&self, registrar: &Registrar) -> bool {
        self.run(&["-s", &format!("sip:{}", registrar.sip)])
    }

    /// Registers `line`, then takes the binding back; whether both were granted.
    pub fn register(&self, folder: &Path, registrar: &Registrar, line: &Line) -> bool {
        // It resolves the domain of an address it makes up itself, so it gets the request whole.
        let file = folder.join("register.sip");
        let to = format!("sip:{}@{}", line.user, registrar.sip);
        let grant = |expires: u32| {
            let request = format!(
                "REGISTER sip:{domain} SIP/2.0\r\n\
                 From: <{uri}>;tag=sipsak\r\n\
                 To: <{uri}>\r\n\
                 Call-ID: sipsak-{expires}@{domain}\r\n\
                 CSeq: 1 REGISTER\r\n\
                 Contact: <sip:{user}@127.0.0.1:9>\r\n\
                 Expires: {expires}\r\n\
                 Max-Forwards: 70\r\n\
                 Content-Length: 0\r\n\r\n",
                domain = line.domain,
                uri = line.uri(),
                user = line.user,
            );
            std::fs::write(&file, request).expect("a file for the request");
            let file = file.to_string_lossy();
            self.run(&["-f", &file, "-s", &to, "-u", &line.user, "-a", &line.password])
        };
        grant(60) && grant(0)
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let output = Command::new(&self.program).args(arguments).output().expect("sipsak runs");
        if !output.status.success() {
            eprintln!("sipsak {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    }
}
