//! Statements over many rows at once.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, Arguments, AssertSqlSafe};

/// Rows of one statement: few sizes, so that few statements have to be prepared, and that they stay so.
const SIZES: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// One value of a row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<crate::id::Id> for Cell {
    fn from(id: crate::id::Id) -> Self {
        Self::Text(Some(id.to_string()))
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

/// Runs `before` `(…), (…), …` `after` for all rows, in as few statements as possible; answers what they return. All
/// rows have the same number of cells.
pub(super) async fn run(
    connection: &mut AnyConnection,
    before: &str,
    rows: &[Vec<Cell>],
    after: &str,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    // SQLite looks for the number of each place among those of all places: it is given none.
    let is_numbered = connection.backend_name() != "SQLite";
    let mut answered = Vec::new();
    let mut left = rows;
    while !left.is_empty() {
        let size = SIZES.into_iter().find(|size| *size <= left.len()).unwrap_or(1);
        let (now, later) = left.split_at(size);
        left = later;
        let mut arguments = AnyArguments::default();
        let mut sql = String::with_capacity(before.len() + after.len() + size * 64);
        sql.push_str(before);
        for (index, row) in now.iter().enumerate() {
            sql.push_str(if index == 0 { " (" } else { ", (" });
            for (index, cell) in row.iter().enumerate() {
                match cell {
                    Cell::Text(text) => arguments.add(text.clone()),
                    Cell::Number(number) => arguments.add(*number),
                }
                .map_err(sqlx::Error::Encode)?;
                sql.push_str(if index == 0 { "" } else { ", " });
                match is_numbered {
                    true => sql.push_str(&format!("${}", arguments.len())),
                    false => sql.push('?'),
                }
            }
            sql.push(')');
        }
        sql.push(' ');
        sql.push_str(after);
        // Only the places of the values are put together.
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        answered.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(answered)
}

/// As [`run`], where the same row twice does what it does once: the last one is repeated up to the next size, so that
/// one statement does for up to 64 rows.
pub(super) async fn run_repeatable(
    connection: &mut AnyConnection,
    before: &str,
    mut rows: Vec<Vec<Cell>>,
    after: &str,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let [most, ..] = SIZES;
    let rest = rows.len() % most;
    let size = SIZES.into_iter().filter(|size| *size >= rest).min();
    if let (Some(size), Some(last), 1..) = (size, rows.last().cloned(), rest) {
        rows.resize(rows.len() - rest + size, last);
    }
    run(connection, before, &rows, after).await
}
