//! Recordings: of calls and of the steps of their flows.

use std::io::Cursor;

use media::Recorder;

use super::*;
use crate::recordings::{file_name, recover};

fn begun(row: &CallRow, number: i64, at: i64) -> Write {
    Write::Recording { call: row.id, number, file: format!("{}-{number}.wav", row.id), at }
}

/// As the writer leaves them: number, file, length and whether more may come.
fn short(rows: &[RecordingRow]) -> Vec<(i64, Option<i64>, bool)> {
    rows.iter().map(|row| (row.number, row.duration_ms, row.grows())).collect()
}

pub(super) async fn each_file_is_a_row(url: &str) {
    let store = start(url).await;
    let (row, first) = call_row(1);
    store.create_call(&row, &first, None).await.unwrap();
    let (other, first) = call_row(0);
    store.create_call(&other, &first, None).await.unwrap();
    let at = row.created_at + 1_000_000;
    for write in
        [begun(&row, OWN, at), begun(&row, 1, at + 5), begun(&row, 4, at + 5), begun(&other, OWN, at)]
    {
        store.record(write).unwrap();
    }
    store.record(Write::Recorded { call: row.id, number: 1, ms: 1500 }).unwrap();
    store.flush().await;
    let rows = store.recordings_of(row.id).await.unwrap();
    assert_eq!(short(&rows), [(OWN, None, true), (1, Some(1500), false), (4, None, true)]);
    assert_eq!((rows[1].account, rows[1].created_at), (1, at + 5));
    assert_eq!(rows[1].file, format!("{}-1.wav", row.id));
    let known = store.call(None, row.id).await.unwrap().unwrap();
    assert_eq!(known.recording, Some(format!("{}-0.wav", row.id)), "a call shows its own");

    store.record(end(&row, State::Completed, 2)).unwrap();
    store.flush().await;
    let rows = store.recordings_of(row.id).await.unwrap();
    assert_eq!(short(&rows), [(OWN, Some(8000), false), (1, Some(1500), false), (4, None, false)]);

    // The newest first, page by page, and only one's own.
    let mut filter =
        RecordingFilter { since: Some(at), before: Some(at + 6), limit: 2, ..Default::default() };
    let page = store.recordings(Some(1), &filter).await.unwrap();
    assert_eq!(short(&page), [(4, None, false), (1, Some(1500), false)]);
    filter.after = page.last().map(RecordingRow::place);
    let page = store.recordings(Some(1), &filter).await.unwrap();
    assert_eq!(short(&page), [(OWN, Some(8000), false)]);
    let all = RecordingFilter { after: None, limit: 200, ..filter };
    assert_eq!(store.recordings(None, &all).await.unwrap().len(), 4);
    assert_eq!(store.recordings(Some(1), &RecordingFilter { since: Some(at + 6), ..all }).await.unwrap(), []);

    let folder = tempfile::tempdir().unwrap();
    for row in &rows {
        std::fs::write(folder.path().join(&row.file), "RIFF").unwrap();
    }
    // What is no file cannot be removed: its row stays, so that it is not forgotten.
    std::fs::remove_file(folder.path().join(&rows[2].file)).unwrap();
    std::fs::create_dir(folder.path().join(&rows[2].file)).unwrap();
    assert_eq!(store.delete_recordings(&rows, folder.path()).await.unwrap(), 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(short(&store.recordings_of(row.id).await.unwrap()), [(4, None, false)]);
    std::fs::remove_dir(folder.path().join(&rows[2].file)).unwrap();
    assert_eq!(store.delete_recordings(&rows[2..], folder.path()).await.unwrap(), 1, "what is gone is gone");
    assert_eq!(store.call(None, row.id).await.unwrap().unwrap().recording, None);
    store.delete_recordings(&store.recordings_of(other.id).await.unwrap(), folder.path()).await.unwrap();
    store.record(end(&other, State::Completed, 2)).unwrap();
    store.flush().await;
}

/// A recording of one channel: so much of it as its header says, and some more.
fn wav(ms: usize, unsaid_ms: usize) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut recorder = Recorder::mono(&mut file).unwrap();
    recorder.write(&vec![7; ms * 8]).unwrap();
    recorder.finish().unwrap();
    let mut bytes = file.into_inner();
    bytes.resize(bytes.len() + unsaid_ms * 16, 7);
    bytes
}

/// Earlier versions kept rows of calls' own recordings only.
#[tokio::test]
async fn files_that_had_no_rows_are_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(&format!("sqlite://{}/x.db", folder.path().display())).await;
    store.bootstrap(true, Some(&secret("operator-key"))).await.unwrap();
    let (row, first) = call_row(1);
    store.create_call(&row, &first, None).await.unwrap();
    store.record(end(&row, State::Completed, 2)).unwrap();
    store.flush().await;
    let stranger = Id::new().unwrap();
    for file in [file_name(row.id, 1), file_name(stranger, OWN), "notes.wav".into()] {
        std::fs::write(folder.path().join(file), wav(1500, 0)).unwrap();
    }
    recover(&store, folder.path()).await.unwrap();
    let taken = store.recordings(None, &RecordingFilter { limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!(short(&taken), [(1, Some(1500), false)]);
    let age = now_ms() - taken[0].created_at;
    assert!((1500..60_000).contains(&age), "begun before it was written to: {age}");
    assert_eq!((taken[0].account, &taken[0].file), (1, &file_name(row.id, 1)));

    // Once there is a mark of life, only calls that were cut off are looked at.
    store.mark_alive();
    store.flush().await;
    let store = start(&format!("sqlite://{}/x.db", folder.path().display())).await;
    std::fs::write(folder.path().join(file_name(row.id, 2)), wav(1500, 0)).unwrap();
    recover(&store, folder.path()).await.unwrap();
    assert_eq!(store.recordings_of(row.id).await.unwrap().len(), 1);
}

pub(super) async fn what_a_crash_left_is_made_whole(url: &str) {
    let store = start(url).await;
    store.orphans().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = |row: &CallRow, number| folder.path().join(file_name(row.id, number));
    let write = |row: &CallRow, number, bytes: &[u8]| std::fs::write(place(row, number), bytes).unwrap();
    let mut rows = Vec::new();
    for _ in 0..4 {
        let (row, first) = call_row(1);
        store.create_call(&row, &first, None).await.unwrap();
        store.record(state(&row, 2, State::InProgress, row.created_at)).unwrap();
        rows.push(row);
    }
    let [recorded, told, quiet, done] = &rows[..] else { unreachable!() };
    let at = recorded.created_at;
    for (row, number) in [(recorded, OWN), (recorded, 1), (recorded, 2), (recorded, 3), (done, OWN)] {
        let (call, file) = (row.id, file_name(row.id, number));
        store.record(Write::Recording { call, number, file, at }).unwrap();
    }
    store.record(Write::Recorded { call: recorded.id, number: 1, ms: 700 }).unwrap();
    write(recorded, OWN, &wav(1000, 60_250));
    write(recorded, 1, &wav(700, 0));
    // Killed before the header; before the file was there (3); before the row was there (4).
    write(recorded, 2, b"RIFF");
    write(recorded, 4, &wav(0, 480));
    let late = CallEvent { at: at + 90_000, ..event(told, 3, "say") };
    store.record(Write::Event(late)).unwrap();
    store.record(end(done, State::Completed, 3)).unwrap();
    store.mark_alive();
    store.flush().await;

    let after = start(url).await;
    let alive = after.last_alive().unwrap();
    assert!(alive >= at && alive < at + 60_000, "{alive} {at}");
    recover(&after, folder.path()).await.unwrap();
    recover(&after, folder.path()).await.unwrap();
    assert_eq!(after.orphans().await.unwrap().0, 3);
    for (row, ended_at) in [(recorded, at + 61_250), (told, at + 90_000), (quiet, alive)] {
        assert_eq!(after.call(None, row.id).await.unwrap().unwrap().ended_at, Some(ended_at), "{:?}", row.id);
    }
    let kept = after.recordings_of(recorded.id).await.unwrap();
    assert_eq!(short(&kept), [(OWN, Some(61_250), false), (1, Some(700), false), (4, Some(480), false)]);
    for row in &kept {
        let length = hound::WavReader::open(folder.path().join(&row.file)).unwrap().duration();
        assert_eq!(Some(i64::from(length / 8)), row.duration_ms, "{}", row.file);
    }
    assert!(!place(recorded, 2).exists());
    assert_eq!(short(&after.recordings_of(done.id).await.unwrap()), [(OWN, Some(8000), false)]);
}
