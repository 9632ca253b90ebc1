//! The database is gone or full for a while: what was acknowledged is kept, new calls are refused, and it mends itself.

use std::time::{Duration, Instant};

use super::*;

/// Waits for what must come within seconds.
async fn until(what: &str, mut come: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !come().await {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_call(store: &Store) -> CallRow {
    let (row, first) = call_row(0);
    store.create_call(&row, &first, None).await.unwrap();
    row
}

/// What a call of the time without database and one after it must look like.
async fn was_kept(store: &Store, row: &CallRow, events: i64) {
    store.flush().await;
    let call = store.call(None, row.id).await.unwrap().unwrap();
    assert_eq!((call.state, call.ended_at), (State::Completed, Some(9000)));
    assert_eq!(store.events(row.id).await.unwrap().len() as i64, events);
}

/// A disk of a few megabytes.
struct Disk(tempfile::TempDir);

impl Disk {
    fn make() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=10m", "none"]).arg(folder.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.filler()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// What cannot be stored is refused until there is room for as much again; calls that are up go on all the while.
#[tokio::test]
async fn a_full_disk_refuses_calls_and_keeps_events() {
    let Some(disk) = Disk::make() else {
        let why = "a tmpfs cannot be mounted here (it takes root)";
        eprintln!("SKIP: {why}");
        return;
    };
    let store = start(&format!("sqlite://{}", disk.0.path().join("full.db").display())).await;
    store.bootstrap(false, Some(&secret("a-key-of-the-operator"))).await.unwrap();
    let before = a_call(&store).await;
    disk.fill();
    let (mut big, first) = call_row(0);
    big.text = Some("x".repeat(1_000_000));
    let refused = Refused::from(store.create_call(&big, &first, None).await.unwrap_err());
    assert_eq!((refused.status, refused.code, refused.retry_after), (503, "store_away", Some(5)));
    // Small things still fit; that is no reason to trust it, nor to say that all is well.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        assert!(!store.healthy().await, "health flaps");
        let (small, first) = call_row(0);
        assert_eq!(Refused::from(store.create_call(&small, &first, None).await.unwrap_err()).status, 503);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for sequence in 2..600 {
        let told =
            CallEvent { detail: json!({ "text": "x".repeat(2000) }), ..event(&before, sequence, "say") };
        store.record(Write::Event(told)).unwrap();
    }
    store.record(end(&before, State::Completed, 600)).unwrap();
    disk.free();
    until("the database is trusted again", async || store.healthy().await).await;
    was_kept(&store, &before, 600).await;
    let after = a_call(&store).await;
    assert!(store.call(None, after.id).await.unwrap().is_some());
    assert_eq!(store.call(None, big.id).await.unwrap(), None);
    store.record(end(&after, State::Completed, 2)).unwrap();
    store.flush().await;
}

/// PostgreSQL of this test's own, to be stopped and started.
struct Cluster {
    bin: std::path::PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Cluster {
    fn make() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bin = versions
            .flatten()
            .map(|version| version.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists())
            .max()?;
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { bin, folder, port };
        // PostgreSQL refuses to run as root; Debian's package brings a user for it.
        if cluster.is_root() {
            let owned =
                std::process::Command::new("chown").arg("postgres").arg(cluster.folder.path()).status();
            assert!(owned.unwrap().success());
        }
        cluster.run("initdb", &["-A", "trust", "-U", "trunkline", "--no-sync", "-E", "UTF8"]);
        Some(cluster)
    }

    fn is_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.bin.join(program);
        let mut command = match self.is_root() {
            true => {
                let mut command = std::process::Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => std::process::Command::new(program),
        };
        command.arg("-D").arg(self.folder.path().join("data")).args(arguments).current_dir("/");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    fn start(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log");
        self.run("pg_ctl", &["-l", &log.display().to_string(), "-w", "-t", "30", "-o", &options, "start"]);
    }

    fn stop(&self) {
        self.run("pg_ctl", &["-m", "immediate", "-w", "stop"]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.path().join("data/postmaster.pid").exists() {
            self.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_may_be_away_for_a_while() {
    let Some(cluster) = Cluster::make() else {
        let why = "PostgreSQL is not installed (apt-get install postgresql)";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped: {why}");
        eprintln!("SKIP: {why}");
        return;
    };
    cluster.start();
    let store = start(&format!("postgres://trunkline@127.0.0.1:{}/postgres", cluster.port)).await;
    store.bootstrap(false, Some(&secret("a-key-of-the-operator"))).await.unwrap();
    let talking = a_call(&store).await;
    // A restart while nothing is written is not even noticed.
    cluster.stop();
    cluster.start();
    a_call(&store).await;

    cluster.stop();
    let begin = Instant::now();
    let (mut sequence, mut refused, mut taken) = (1, 0, 0);
    while begin.elapsed() < Duration::from_secs(10) {
        sequence += 1;
        store.record(Write::Event(event(&talking, sequence, "say"))).unwrap();
        let (row, first) = call_row(0);
        match store.create_call(&row, &first, None).await {
            Ok(_) => taken += 1,
            Err(error) => {
                let refusal = Refused::from(error);
                assert!(refusal.status == 503 && refusal.retry_after.is_some(), "{refusal:?}");
                refused += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(taken == 0 && refused > 50, "{taken} taken, {refused} refused");
    assert!(!store.healthy().await);
    sequence += 1;
    store.record(end(&talking, State::Completed, sequence)).unwrap();
    cluster.start();
    until("the database is trusted again", async || store.healthy().await).await;
    was_kept(&store, &talking, sequence).await;
    a_call(&store).await;
    let open = CallFilter { state: Some(State::Queued), limit: 200, ..CallFilter::default() };
    assert_eq!(store.calls(None, &open).await.unwrap().len(), 2, "what was refused is not there");
}
