//! Where a list goes on: opaque to whoever is given it, and checked when it comes back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::id::Id;
use crate::refused::Refused;
use crate::store::{Place, RecordingPlace};

/// Bytes of the check sum.
const CHECK: usize = 4;

fn write(kind: u8, place: &[u8]) -> String {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(place);
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(sum.get(..CHECK).unwrap_or_default());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read(kind: u8, text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (content, check) = bytes.split_last_chunk::<CHECK>()?;
    let (first, place) = content.split_first()?;
    (*first == kind && Sha256::digest(content).get(..CHECK)? == check).then(|| place.to_vec())
}

/// The cursor behind a call.
pub(super) fn call(place: Place) -> String {
    let mut bytes = place.created_at.to_be_bytes().to_vec();
    bytes.extend_from_slice(place.id.as_bytes());
    write(b'c', &bytes)
}

/// Where a list of calls goes on; empty is its beginning.
pub(super) fn read_call(text: Option<&str>) -> Result<Option<Place>, Refused> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let place = || {
        let bytes = read(b'c', text)?;
        let (at, id) = bytes.split_first_chunk()?;
        let (id, created_at) = (Id::from_bytes(id.try_into().ok()?), i64::from_be_bytes(*at));
        Some(Place { created_at, id })
    };
    place().map(Some).ok_or_else(|| bad("after"))
}

/// The cursor behind a recording.
pub(super) fn recording(place: RecordingPlace) -> String {
    let mut bytes = place.created_at.to_be_bytes().to_vec();
    bytes.extend_from_slice(&place.number.to_be_bytes());
    bytes.extend_from_slice(place.call.as_bytes());
    write(b'r', &bytes)
}

/// Where a list of recordings goes on; empty is its beginning.
pub(super) fn read_recording(text: Option<&str>) -> Result<Option<RecordingPlace>, Refused> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let place = || {
        let bytes = read(b'r', text)?;
        let (at, rest) = bytes.split_first_chunk()?;
        let (number, call) = rest.split_first_chunk()?;
        Some(RecordingPlace {
            created_at: i64::from_be_bytes(*at),
            call: Id::from_bytes(call.try_into().ok()?),
            number: i64::from_be_bytes(*number),
        })
    };
    place().map(Some).ok_or_else(|| bad("after"))
}

/// The cursor behind an event.
pub(super) fn event(ordinal: i64) -> String {
    write(b'e', &ordinal.to_be_bytes())
}

/// Behind which event to go on; empty is the first. `what` is the parameter or header.
pub(super) fn read_event(text: Option<&str>, what: &str) -> Result<Option<i64>, Refused> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let ordinal = || Some(i64::from_be_bytes(read(b'e', text)?.try_into().ok()?)).filter(|at| *at >= 0);
    ordinal().map(Some).ok_or_else(|| bad(what))
}

pub(super) fn bad(what: &str) -> Refused {
    Refused::bad("invalid_cursor", format!("`{what}` is no place in this list."))
        .hint("Take it as it is from `next` of the page before, or leave it out to begin anew.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_and_a_broken_one_nowhere() {
        let place = Place { created_at: 1_767_225_600_000, id: Id::new().unwrap() };
        let cursor = call(place);
        assert_eq!(read_call(Some(&cursor)), Ok(Some(place)));
        assert_eq!(read_event(Some(&event(77)), "after"), Ok(Some(77)));
        let of = RecordingPlace { created_at: place.created_at, call: place.id, number: 3 };
        assert_eq!(read_recording(Some(&recording(of))), Ok(Some(of)));
        assert_eq!(read_recording(Some(&cursor)).unwrap_err().code, "invalid_cursor");
        assert_eq!((read_call(None), read_call(Some(""))), (Ok(None), Ok(None)));
        let mut broken = cursor.clone();
        broken.replace_range(3..4, if cursor.get(3..4) == Some("A") { "B" } else { "A" });
        for text in [&broken, &event(1), "x", "AAAA", "Ä", &place.id.to_string(), cursor.get(1..).unwrap()] {
            assert_eq!(read_call(Some(text)).unwrap_err().code, "invalid_cursor", "{text}");
        }
        assert!(
            read_event(Some(&cursor), "after").is_err() && read_event(Some(&event(-1)), "after").is_err()
        );
    }
}
