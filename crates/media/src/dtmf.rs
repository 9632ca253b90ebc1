//! DTMF: as RTP events (RFC 4733), as tones in the sound (ITU-T Q.23, Q.24), in SIP INFO bodies.

mod event;
mod inband;

use std::time::{Duration, Instant};

pub(crate) use self::event::{Dialling, Receiver, Step};
pub(crate) use self::inband::Detector;
pub use self::inband::tones;

/// The digits by their event code (RFC 4733 table 3).
const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// The media type of the INFO bodies we write.
const RELAY: &str = "application/dtmf-relay";

/// How long a digit is taken to last when nobody says, in ms.
const USUAL_MS: u16 = 100;

/// For so long after a digit only that way of sending digits counts, so that none is heard twice.
const FLOOR: Duration = Duration::from_secs(2);

/// Frames a digit sounds: 100 ms.
const PRESSED: u32 = 5;

/// Frames from one digit to the next: 100 ms pressed, 60 ms apart.
const PERIOD: u32 = PRESSED + 3;

/// Frames a `w` waits: 500 ms.
const WAIT: u32 = 25;

/// A way of sending digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum By {
    /// RTP events (RFC 4733).
    #[default]
    Rfc4733,
    /// The bodies of SIP INFO requests.
    Info,
    /// Tones in the sound.
    Inband,
}

/// Why digits cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtmfError {
    /// Not one of `0`-`9`, `*`, `#`, `A`-`D`, `w`.
    #[error("{0:?} is no DTMF digit: use 0-9, *, #, A-D, or w for half a second of pause")]
    NotADigit(char),
    /// Digits go by SIP INFO on this leg: [`to_info`] writes its bodies.
    #[error("digits go by SIP INFO on this leg, not over RTP")]
    ByInfo,
}

/// What a `digits` string asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// An event code, 0 to 15.
    Event(u8),
    /// Half a second of nothing.
    Wait,
}

impl Key {
    /// Reads `0`-`9`, `*`, `#`, `A`-`D`, `w`, letters in either case.
    fn parse(digit: char) -> Result<Key, DtmfError> {
        match (code(digit), digit) {
            (Some(event), _) => Ok(Key::Event(event)),
            (None, 'w' | 'W') => Ok(Key::Wait),
            (None, _) => Err(DtmfError::NotADigit(digit)),
        }
    }
}

/// The event code of a digit.
fn code(digit: char) -> Option<u8> {
    (0u8..).zip(DIGITS).find(|(_, known)| known.eq_ignore_ascii_case(&digit)).map(|(code, _)| code)
}

/// The digit in the body of a SIP INFO request and its length in ms; `None` if there is none.
///
/// Read are `application/dtmf-relay` (`Signal=5`, `Duration=160`) and `application/dtmf` (`5`), with or without
/// parameters to the type, and digits above 9 as their event codes (`Signal=10` is `*`). What says no length lasts 100 ms.
pub fn from_info(content_type: &str, body: &[u8]) -> Option<(char, u16)> {
    let type_ = content_type.split(';').next()?.trim();
    let body = std::str::from_utf8(body.get(..body.len().min(200))?).ok()?;
    let field = |name: &str| {
        body.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let signal = if type_.eq_ignore_ascii_case(RELAY) {
        field("signal")?
    } else if type_.eq_ignore_ascii_case("application/dtmf") {
        field("signal").unwrap_or(body.trim())
    } else {
        return None;
    };
    let mut chars = signal.chars();
    let digit = match (chars.next()?, chars.next()) {
        (digit, None) => *DIGITS.get(usize::from(code(digit)?))?,
        _ => *DIGITS.get(signal.parse::<usize>().ok().filter(|code| *code > 9)?)?,
    };
    let ms = field("duration").and_then(|ms| ms.parse::<u32>().ok()).filter(|ms| *ms > 0);
    Some((digit, ms.map_or(USUAL_MS, |ms| ms.min(u32::from(u16::MAX)) as u16)))
}

/// The content type and body of a SIP INFO request that sends a digit of so many ms.
///
/// # Errors
/// [`DtmfError::NotADigit`] for what is no digit; `w` is none either, it is for the caller to wait.
pub fn to_info(digit: char, ms: u16) -> Result<(&'static str, String), DtmfError> {
    let digit =
        code(digit).and_then(|code| DIGITS.get(usize::from(code))).ok_or(DtmfError::NotADigit(digit))?;
    Ok((RELAY, format!("Signal={digit}\r\nDuration={ms}\r\n")))
}

/// Which way of sending digits counts: a carrier that sends both events and tones would double each digit.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    held: Option<(By, Instant)>,
    /// Bit n: the digit of event code n was taken since [`Floor::pressed`] was asked.
    pressed: u16,
}

impl Floor {
    /// Whether a digit that came this way counts.
    pub(crate) fn admits(&mut self, digit: char, by: By, now: Instant) -> bool {
        let is_taken =
            |(holder, since): (By, Instant)| holder != by && now.saturating_duration_since(since) < FLOOR;
        if self.held.is_some_and(is_taken) {
            return false;
        }
        self.held = Some((by, now));
        self.pressed |= code(digit).map_or(0, |code| 1 << code);
        true
    }

    /// The digits that counted since this was last asked.
    pub(crate) fn pressed(&mut self) -> impl Iterator<Item = char> + use<> {
        let pressed = std::mem::take(&mut self.pressed);
        DIGITS
            .into_iter()
            .enumerate()
            .filter(move |(code, _)| pressed >> code & 1 == 1)
            .map(|(_, digit)| digit)
    }
}

#[cfg(test)]
mod tests;
