//! Backups made beside a running server, and what they are worth.

use std::process::Output;
use std::time::Duration;

use crate::server::Server;
use crate::sound;

fn run(server: &Server, arguments: &[&str]) -> Output {
    server.command().args(arguments).output().expect("trunkline runs")
}

#[track_caller]
fn refused(output: &Output, word: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(word), "{word} is not in: {said}");
}

#[test]
fn a_backup_is_restored_and_its_calls_are_read_back() {
    let mut server = Server::simulated();
    let file = server.upload("tone.wav", sound::tone_wav(600.0, 1.0));
    let before = server.play_to("+12025550105", &file);
    let call = server.wait_for_end(&before, "completed");
    // Another call is up while the backup is made.
    let long = server.upload("long.wav", sound::tone_wav(500.0, 10.0));
    let during = server.play_to("+12025550105", &long);
    server.wait_for_state(&during, &["in-progress"], Duration::from_secs(5));

    let folder = server.folder().join("backup");
    let target = folder.display().to_string();
    let output = run(&server, &["backup", &target, "--recordings"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NOT in this backup"));
    assert!(!folder.join("master.key").exists());
    refused(&run(&server, &["backup", &target]), "is there already");
    refused(&run(&server, &["restore", &target]), "not overwritten");
    server.kill();

    let (data, moved) = (server.data(), server.folder().join("moved"));
    std::fs::rename(&data, &moved).unwrap();
    refused(&run(&server, &["restore", &target]), "no master key");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("master.key"), "b2".repeat(32)).unwrap();
    refused(&run(&server, &["restore", &target]), "does not fit");
    assert!(!data.join("trunkline.db").exists(), "nothing was restored");
    std::fs::copy(moved.join("master.key"), data.join("master.key")).unwrap();
    let output = run(&server, &["restore", &target]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    server.start();
    assert_eq!(server.call(&before), call);
    assert!(server.recording(&before).sent.seconds() > 0.9);
    assert_eq!(server.call(&during)["cause"]["code"], "server_restarted");
    // And it works on, with what was uploaded before.
    let again = server.play_to("+12025550105", &file);
    server.wait_for_end(&again, "completed");
}

#[test]
fn without_its_master_key_a_database_is_not_opened_and_no_other_key_is_left_behind() {
    let mut server = Server::simulated();
    server.kill();
    let key = server.data().join("master.key");
    let right = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    for _ in 0..2 {
        refused(&run(&server, &["serve"]), "not its master key");
        assert!(!key.exists(), "a key that fits nothing was left behind");
    }
    std::fs::write(&key, "b2".repeat(32)).unwrap();
    refused(&run(&server, &["serve"]), "does not fit this database");
    std::fs::write(&key, right).unwrap();
    server.start();
}
