//! Recordings: of calls and of the steps of their flows.

use super::*;

fn begun(row: &CallRow, number: i64, at: i64) -> Write {
    Write::Recording { call: row.id, number, file: format!("{}-{number}.wav", row.id), at }
}

/// Number, length, and whether more may come.
pub(super) fn short(rows: &[RecordingRow]) -> Vec<(i64, Option<i64>, bool)> {
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
