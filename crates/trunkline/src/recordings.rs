//! The folder of recordings: what its files are called, and what a crash left in it.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use media::{RecordError, Recorder};

use crate::id::Id;
use crate::store::{OWN, Store, StoreError};

/// The number of the recording that a step of a flow makes; `item` is what the call engine calls it, from 0 on.
pub fn number_of_step(item: u32) -> i64 {
    OWN + 1 + i64::from(item)
}

/// The file of a call's recording with this number.
pub fn file_name(call: Id, number: i64) -> String {
    match number - number_of_step(0) {
        ..0 => format!("{call}.wav"),
        item => format!("{call}-{item}.wav"),
    }
}

/// The call and the number of the recording in this file; `None` where it is called otherwise than we call them.
fn read_name(name: &str) -> Option<(Id, i64)> {
    let stem = name.strip_suffix(".wav")?;
    let (call, number) = match stem.split_once('-') {
        Some((call, item)) => (call, number_of_step(item.parse().ok()?)),
        None => (stem, OWN),
    };
    let call = Id::parse(call)?;
    (file_name(call, number) == name).then_some((call, number))
}

/// Makes whole what the last run left in `folder`, should it have been killed: each recording is measured, and known
/// even if its row had not been written. To be called before the calls are ended that were up then.
pub async fn recover(store: &Store, folder: &Path) -> Result<(), StoreError> {
    let open = store.unfinished().await?;
    // Before there were marks of life, the files of steps had no rows.
    let all = store.last_alive().is_none();
    let found = match all || !open.is_empty() {
        true => found(folder, |call| all || open.contains(call)),
        false => Vec::new(),
    };
    store.adopt_recordings(&found).await?;
    let (mut whole, mut empty) = (Vec::new(), Vec::new());
    for row in store.unmeasured_recordings().await? {
        match row.path(folder).map_or(Ok(None), |path| measure(&path)) {
            Ok(Some(ms)) => whole.push((row.call, row.number, ms)),
            Ok(None) => empty.push(row),
            Err(error) => tracing::error!(%error, file = row.file, "a recording cannot be made whole"),
        }
    }
    store.measure_recordings(&whole).await?;
    store.delete_recordings(&empty, folder).await?;
    Ok(())
}

/// What was recorded of the calls asked for, by what lies in the folder: call, number, file and when it was begun.
fn found(folder: &Path, asked: impl Fn(&Id) -> bool) -> Vec<(Id, i64, String, i64)> {
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (call, number) = read_name(&name).filter(|(call, _)| asked(call))?;
        let written = entry.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let length = Duration::from_millis(measure(&entry.path()).ok()??);
        let begun = i64::try_from(written.saturating_sub(length).as_millis()).ok()?;
        Some((call, number, name, begun))
    };
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(read).collect()
}

/// Makes the header of a recording true whose writer was stopped; answers its length in ms. `None`: there is no file,
/// or nothing in it.
pub fn measure(path: &Path) -> Result<Option<u64>, RecordError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| RecordError::Write(error.into()))?,
    };
    match Recorder::mend(file) {
        Err(RecordError::Headless) => Ok(None),
        frames => Ok(Some(frames? * 1000 / u64::from(media::SAMPLE_RATE))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_called_says_what_it_is() {
        let call = Id::new().unwrap();
        for (number, name) in
            [(OWN, format!("{call}.wav")), (1, format!("{call}-0.wav")), (8, format!("{call}-7.wav"))]
        {
            assert_eq!(
                (number == OWN || number_of_step(number as u32 - 1) == number, file_name(call, number)),
                (true, name.clone())
            );
            assert_eq!(read_name(&name), Some((call, number)));
        }
        for name in [
            format!("{call}"),
            format!("{call}-.wav"),
            format!("{call}-07.wav"),
            format!("call_{call}.wav"),
            "x.wav".into(),
        ] {
            assert_eq!(read_name(&name), None, "{name}");
        }
    }
}
