//! Files of sound, whole or in parts.

use std::path::Path;
use std::time::UNIX_EPOCH;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::refused::Refused;

/// Bytes of a file read at once.
const CHUNK: usize = 64 * 1024;

/// Sends what `asked` wants of a WAV file, under the name `shown`; `None` where the file cannot be read.
pub(super) async fn send(path: &Path, shown: &str, asked: &HeaderMap) -> Option<Response> {
    let (mut file, length, tag) = open(path).await?;
    let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let same =
        |value: &str| value == "*" || value.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let about = [(header::ETAG, tag.clone()), (header::ACCEPT_RANGES, "bytes".to_owned())];
    if text(header::IF_NONE_MATCH).is_some_and(same) {
        return Some((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let wanted = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|value| value == tag));
    let (status, first, count) = match wanted.map_or(Range::Whole, |text| range(text, length)) {
        Range::Whole => (StatusCode::OK, 0, length),
        Range::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Range::None => {
            let refused =
                Refused::new(416, "range_not_satisfiable", format!("The recording has {length} bytes."))
                    .hint("Ask for bytes that it has, such as bytes=0-43, or for all of it.");
            return Some(([(header::CONTENT_RANGE, format!("bytes */{length}"))], refused).into_response());
        }
    };
    file.seek(std::io::SeekFrom::Start(first)).await.ok()?;
    let headers = [
        (header::CONTENT_TYPE, "audio/wav".to_owned()),
        (header::CONTENT_LENGTH, count.to_string()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{shown}\"")),
    ];
    let part = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(header::CONTENT_RANGE, format!("bytes {first}-{}/{length}", first + count - 1))]);
    Some((status, about, headers, part, Body::from_stream(chunks(file, count))).into_response())
}

/// The file, how much of it there is now (what is recorded later is left for another time), and its tag.
async fn open(path: &Path) -> Option<(File, u64, String)> {
    let file = File::open(path).await.ok()?;
    let about = file.metadata().await.ok()?;
    let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some((file, about.len(), format!("\"{changed:x}-{:x}\"", about.len())))
}

#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    Part { first: u64, last: u64 },
    None,
}

/// What `Range` asks for (RFC 9110 section 14.1.2). What is no single range of bytes is not obeyed.
fn range(text: &str, length: u64) -> Range {
    let parse = || {
        let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            // More than any file has is as good as its end.
            true => Some(text.parse().unwrap_or(u64::MAX)),
            false => None,
        };
        Some(match (first, last) {
            ("", last) => (length.saturating_sub(number(last)?), u64::MAX, number(last)? == 0),
            (first, "") => (number(first)?, u64::MAX, false),
            (first, last) => (
                number(first)?,
                Some(number(last)?).filter(|last| *last >= number(first).unwrap_or(0))?,
                false,
            ),
        })
    };
    match parse() {
        None => Range::Whole,
        Some((first, last, nothing)) => match length.checked_sub(1).filter(|end| first <= *end && !nothing) {
            Some(end) => Range::Part { first, last: last.min(end) },
            None => Range::None,
        },
    }
}

fn chunks(file: File, length: u64) -> impl Stream<Item = std::io::Result<Bytes>> {
    unfold((file.take(length), vec![0; CHUNK]), async |(mut file, mut chunk)| {
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(n) => {
                let bytes = Bytes::copy_from_slice(chunk.get(..n).unwrap_or_default());
                Some((Ok(bytes), (file, chunk)))
            }
            Err(error) => Some((Err(error), (file, chunk))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Range::Part { first, last };
        for (text, length, expected) in [
            ("bytes=0-43", 100, part(0, 43)),
            ("bytes=44-", 100, part(44, 99)),
            ("bytes=-10", 100, part(90, 99)),
            ("bytes=-200", 100, part(0, 99)),
            ("bytes=99-500", 100, part(99, 99)),
            ("bytes=5-99999999999999999999999", 100, part(5, 99)),
            ("bytes=100-", 100, Range::None),
            ("bytes=99999999999999999999999-", 100, Range::None),
            ("bytes=-0", 100, Range::None),
            ("bytes=0-", 0, Range::None),
            ("bytes=9-3", 100, Range::Whole),
            ("bytes=0-1,5-6", 100, Range::Whole),
            ("bytes=a-b", 100, Range::Whole),
            ("bytes=-", 100, Range::Whole),
            ("lines=1-2", 100, Range::Whole),
            ("", 100, Range::Whole),
        ] {
            assert_eq!(range(text, length), expected, "{text} of {length}");
        }
    }
}
