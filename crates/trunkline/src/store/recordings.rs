//! Recordings: one row for each file, that of the call and those that steps of its flow made.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Row};

use super::rows::{self, Cell};
use super::{Store, StoreError, id_of};
use crate::id::Id;

/// The number of a call's own recording, of both sides.
pub const OWN: i64 = 0;

/// Rows with whether their call has ended.
const SELECT: &str = "SELECT r.*, c.ended_at FROM recordings r JOIN calls c ON c.id = r.call_id WHERE 1 = 1";

/// A recording. All times are Unix ms.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingRow {
    /// The call.
    pub call: Id,
    /// Which of the call's recordings: [`OWN`], or counted by the steps of its flow.
    pub number: i64,
    /// Whose it is.
    pub account: i64,
    /// File name below the recordings folder.
    pub file: String,
    /// When it was begun.
    pub created_at: i64,
    /// Its length; `None` until it is whole.
    pub duration_ms: Option<i64>,
    /// Whether the call still goes on.
    pub call_lasts: bool,
}

impl RecordingRow {
    /// Whether more may still be written.
    pub fn grows(&self) -> bool {
        self.call_lasts && self.duration_ms.is_none()
    }

    /// Where it stands in lists.
    pub fn place(&self) -> RecordingPlace {
        RecordingPlace { created_at: self.created_at, call: self.call, number: self.number }
    }

    /// Where its file lies; always directly in the folder of recordings.
    pub fn path(&self, folder: &Path) -> Option<PathBuf> {
        Some(folder.join(Path::new(&self.file).file_name()?))
    }
}

/// A place in the list of recordings: the newest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingPlace {
    /// When the recording there was begun, Unix ms.
    pub created_at: i64,
    /// Its call.
    pub call: Id,
    /// Its number.
    pub number: i64,
}

/// Which recordings to list.
#[derive(Clone, Debug, Default)]
pub struct RecordingFilter {
    /// Only those begun then or later, Unix ms.
    pub since: Option<i64>,
    /// Only those begun before, Unix ms.
    pub before: Option<i64>,
    /// Only those older than this place: the last of the page before.
    pub after: Option<RecordingPlace>,
    /// How many at most.
    pub limit: i64,
}

fn from_row(row: &AnyRow) -> Result<RecordingRow, StoreError> {
    Ok(RecordingRow {
        call: id_of(row, "call_id")?,
        number: row.try_get("number")?,
        account: row.try_get("account")?,
        file: row.try_get("file")?,
        created_at: row.try_get("created_at")?,
        duration_ms: row.try_get("duration_ms")?,
        call_lasts: row.try_get::<Option<i64>, _>("ended_at")?.is_none(),
    })
}

/// Recordings that were begun: call, number, file, when.
pub(super) async fn insert(connection: &mut AnyConnection, begun: &[Vec<Cell>]) -> Result<(), sqlx::Error> {
    let before = "WITH v (of_call, number, file, at) AS (VALUES";
    let after = ") INSERT INTO recordings (call_id, number, account, file, created_at) \
                 SELECT v.of_call, v.number, calls.account, v.file, v.at FROM v JOIN calls ON calls.id = v.of_call \
                 WHERE 1 = 1 ON CONFLICT (call_id, number) DO NOTHING";
    rows::run(connection, before, begun, after).await?;
    Ok(())
}

/// Recordings that are whole: call, number, length.
pub(super) async fn measure(connection: &mut AnyConnection, whole: &[Vec<Cell>]) -> Result<(), sqlx::Error> {
    let before = "WITH v (of_call, number, ms) AS (VALUES";
    let after = ") UPDATE recordings SET duration_ms = v.ms FROM v \
                 WHERE recordings.call_id = v.of_call AND recordings.number = v.number";
    rows::run(connection, before, whole, after).await?;
    Ok(())
}

impl Store {
    /// Recordings of the account (or everyone's), newest first.
    pub async fn recordings(
        &self,
        account: Option<i64>,
        filter: &RecordingFilter,
    ) -> Result<Vec<RecordingRow>, StoreError> {
        let mut sql = String::from(SELECT);
        let mut arguments = AnyArguments::default();
        for (condition, value) in [
            (" AND r.account = $", account),
            (" AND r.created_at >= $", filter.since),
            (" AND r.created_at < $", filter.before),
        ] {
            let Some(value) = value else { continue };
            arguments.add(value).map_err(sqlx::Error::Encode)?;
            sql.push_str(&format!("{condition}{}", arguments.len()));
        }
        if let Some(place) = filter.after {
            arguments.add(place.created_at).map_err(sqlx::Error::Encode)?;
            arguments.add(place.call.to_string()).map_err(sqlx::Error::Encode)?;
            arguments.add(place.number).map_err(sqlx::Error::Encode)?;
            let last = arguments.len();
            let behind = format!("(${}, ${}, ${last})", last - 2, last - 1);
            sql.push_str(&format!(" AND (r.created_at, r.call_id, r.number) < {behind}"));
        }
        arguments.add(filter.limit).map_err(sqlx::Error::Encode)?;
        let order = " ORDER BY r.created_at DESC, r.call_id DESC, r.number DESC LIMIT $";
        sql.push_str(&format!("{order}{}", arguments.len()));
        // Only the conditions above and the places of their values are put together.
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&self.0.reads).await?;
        rows.iter().map(from_row).collect()
    }

    /// The recordings of a call: its own first, then those of its steps.
    pub async fn recordings_of(&self, call: Id) -> Result<Vec<RecordingRow>, StoreError> {
        let select = AssertSqlSafe(format!("{SELECT} AND r.call_id = $1 ORDER BY r.number"));
        let rows = sqlx::query(select).bind(call.to_string()).fetch_all(&self.0.reads).await?;
        rows.iter().map(from_row).collect()
    }

    /// Up to `limit` recordings of calls that ended before `before` (Unix ms).
    pub(super) async fn old_recordings(
        &self,
        before: i64,
        limit: i64,
    ) -> Result<Vec<RecordingRow>, StoreError> {
        // None is begun after its call has ended: the index by age leads to all of them.
        let conditions = "AND r.created_at < $1 AND c.ended_at < $1 ORDER BY r.created_at LIMIT $2";
        let select = sqlx::query(AssertSqlSafe(format!("{SELECT} {conditions}"))).bind(before).bind(limit);
        select.fetch_all(&self.0.reads).await?.iter().map(from_row).collect()
    }

    /// Recordings whose length is not known: those under way, or that were when the process before this one ended.
    pub async fn unmeasured_recordings(&self) -> Result<Vec<RecordingRow>, StoreError> {
        let select = sqlx::query(AssertSqlSafe(format!("{SELECT} AND r.duration_ms IS NULL")));
        select.fetch_all(&self.0.reads).await?.iter().map(from_row).collect()
    }

    /// Takes in recordings (call, number, file, when begun) of calls that are known; one that is known itself stays.
    pub async fn adopt_recordings(&self, found: &[(Id, i64, String, i64)]) -> Result<(), StoreError> {
        let cells = |(call, number, file, at): &(Id, i64, String, i64)| {
            vec![(*call).into(), (*number).into(), file.as_str().into(), (*at).into()]
        };
        let mut change = self.0.writes.begin().await?;
        insert(&mut change, &found.iter().map(cells).collect::<Vec<_>>()).await?;
        Ok(change.commit().await?)
    }

    /// Notes the length in ms of recordings: call, number, length.
    pub async fn measure_recordings(&self, whole: &[(Id, i64, u64)]) -> Result<(), StoreError> {
        let cells = |(call, number, ms): &(Id, i64, u64)| {
            vec![(*call).into(), (*number).into(), i64::try_from(*ms).ok().into()]
        };
        let mut change = self.0.writes.begin().await?;
        measure(&mut change, &whole.iter().map(cells).collect::<Vec<_>>()).await?;
        Ok(change.commit().await?)
    }

    /// Removes the files of recordings, then what is known of them; answers how many are gone. The file first: a row
    /// without its file can be removed later, a file without its row never. One whose file cannot be removed stays.
    pub async fn delete_recordings(
        &self,
        recordings: &[RecordingRow],
        folder: &Path,
    ) -> Result<usize, StoreError> {
        let mut gone = Vec::new();
        for row in recordings {
            let removed = match row.path(folder) {
                Some(path) => tokio::fs::remove_file(path).await,
                None => Ok(()),
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::error!(%error, file = row.file, "a recording cannot be removed");
                }
                _ => gone.push(vec![row.call.into(), row.number.into()]),
            }
        }
        let mut change = self.0.writes.begin().await?;
        let delete = "DELETE FROM recordings WHERE (call_id, number) IN (VALUES";
        rows::run(&mut change, delete, &gone, ")").await?;
        change.commit().await?;
        Ok(gone.len())
    }
}
