//! Programs that are not ours: found or loudly skipped, started with a log, ended by their pid.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The program's path. Missing: the line that counts as a skip, and `None`; with `CI=true` a failure,
/// since apt offers all of them.
pub fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{program} not found (apt-get install {package})"));
    }
    found
}

/// Says that the rest of this test is skipped; with `CI=true` it fails instead.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped: {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Straight to the stream: the harness captures only what goes through the macros.
    let _ = writeln!(std::io::stderr(), "SKIP: {test}: {why}");
}

/// Waits until `ready` gives something; fails the test after `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running program with everything it says in one log; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    asked_first: bool,
}

impl Process {
    /// Starts `command`, both its output streams going to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        Self::spawn(name, command.stdin(Stdio::null()), log)
    }

    /// The same for a program that is told what to do line by line.
    pub fn start_told(name: &str, command: &mut Command, log: &Path) -> (Self, ChildStdin) {
        let mut process = Self::spawn(name, command.stdin(Stdio::piped()), log);
        let input = process.child.stdin.take().expect("its standard input");
        (process, input)
    }

    fn spawn(name: &str, command: &mut Command, log: &Path) -> Self {
        let out = File::create(log).expect("a log file");
        let child = command
            .stdout(out.try_clone().expect("a second handle of the log"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), asked_first: false }
    }

    /// When dropped it is asked to end before it is killed: it has children of its own, or files to close.
    pub fn asked_first(mut self) -> Self {
        self.asked_first = true;
        self
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until its log holds `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str, limit: Duration) {
        wait_for(&format!("{text:?} in the log of {}", self.name), limit, || {
            self.log().contains(text).then_some(())
        });
    }

    /// Its exit, waited for.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let (name, child) = (self.name.clone(), &mut self.child);
        wait_for(&format!("the end of {name}"), limit, || child.try_wait().expect("a child of ours"))
    }

    /// Sends it a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        if !sent.is_ok_and(|status| status.success()) {
            eprintln!("{} takes no {name}", self.name);
        }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.asked_first && self.is_running() {
            self.signal("TERM");
            let start = Instant::now();
            while self.is_running() && start.elapsed() < Duration::from_millis(700) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(150).collect();
            eprintln!("--- {} said (its last lines):", self.name);
            for line in tail.into_iter().rev() {
                eprintln!("    {line}");
            }
        }
    }
}
