//! What a crash left: calls, legs, recordings.

use std::io::Cursor;

use media::Recorder;

use super::recordings::short;
use super::*;
use crate::recordings::{file_name, recover};

pub(super) async fn what_was_up_is_ended(url: &str) {
    let store = start(url).await;
    store.orphans().await.unwrap();
    let mut made = Vec::new();
    for _ in 0..3 {
        let (row, first) = call_row(0);
        store.create_call(&row, &first, None).await.unwrap();
        let id = format!("{}@host", row.id);
        store.record(Write::Leg { call: row.id, saved: json!({ "call_id": id, "cseq": 1 }) }).unwrap();
        made.push((row, id));
    }
    let [(ringing, ringing_leg), (talking, talking_leg), (done, _)] = &made[..] else { unreachable!() };
    store.record(state(ringing, 2, State::Ringing, ringing.created_at + 5)).unwrap();
    store.record(state(talking, 2, State::InProgress, talking.created_at + 10)).unwrap();
    let say = CallEvent { at: talking.created_at + 500, ..event(talking, 3, "say") };
    store.record(Write::Event(say)).unwrap();
    // A leg that moves is kept as it is now; one that ended, and those of a call that ended, are not.
    store
        .record(Write::Leg { call: talking.id, saved: json!({ "call_id": talking_leg, "cseq": 2 }) })
        .unwrap();
    let earlier = "earlier@host".to_owned();
    store.record(Write::Leg { call: talking.id, saved: json!({ "call_id": earlier }) }).unwrap();
    store.flush().await;
    store.record(Write::LegEnded { call: talking.id, sip_call_id: earlier }).unwrap();
    store.record(end(done, State::Completed, 2)).unwrap();
    store.flush().await;

    let after = start(url).await;
    let (count, mut legs) = after.orphans().await.unwrap();
    assert_eq!(count, 2);
    legs.sort_by_key(|leg| leg.saved["cseq"].as_i64());
    let leg = |row: &CallRow, id: &str, cseq| SavedLeg {
        sip_call_id: id.to_owned(),
        call: row.id,
        trunk: None,
        saved: json!({ "call_id": id, "cseq": cseq }),
    };
    assert_eq!(legs, [leg(ringing, ringing_leg, 1), leg(talking, talking_leg, 2)]);
    let (count, again) = after.orphans().await.unwrap();
    assert_eq!((count, again.len()), (0, 2), "the calls end once, the legs stay until they are ended");
    let call = after.call(None, ringing.id).await.unwrap().unwrap();
    assert_eq!((call.state, call.cause_code.as_deref()), (State::Failed, Some("server_restarted")));
    let call = after.call(None, talking.id).await.unwrap().unwrap();
    assert_eq!((call.state, call.cause_code.as_deref()), (State::Completed, Some("server_restarted")));
    assert_eq!(call.answered_at, Some(talking.created_at + 10));
    assert_eq!(call.ended_at, Some(talking.created_at + 500), "it ended when it was last heard of");
    let events = after.events(talking.id).await.unwrap();
    assert_eq!((events.len(), &*events[3].kind, events[3].sequence), (4, "finished", 4));
    for leg in legs {
        after.record(Write::LegEnded { call: leg.call, sip_call_id: leg.sip_call_id }).unwrap();
    }
    after.flush().await;
    assert!(after.orphans().await.unwrap().1.is_empty());
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
