//! Digits as RTP events (RFC 4733).

use super::{DIGITS, DtmfError, Key, PERIOD, PRESSED, WAIT};
use crate::{FRAME, SAMPLE_RATE};

/// Times the end of a digit is said; once with its last frame, then again (RFC 4733 2.5.1.4).
const ENDS: u32 = 3;

/// How loud the digit is to be, in -dBm0.
const VOLUME: u8 = 10;

/// When nothing more is heard of a digit for so many frames (200 ms), all packets of its end were lost.
const LOST_END: u8 = 10;

/// The payload of an event packet (RFC 4733 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EventPayload {
    pub(crate) event: u8,
    pub(crate) end: bool,
    /// Since the event's timestamp, in timestamp units.
    pub(crate) duration: u16,
}

impl EventPayload {
    pub(crate) fn parse(payload: &[u8]) -> Option<EventPayload> {
        let &[event, flags, high, low] = payload.first_chunk::<4>()?;
        Some(EventPayload { event, end: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
    }

    /// With a duration counted at another rate than 8 kHz.
    pub(crate) fn at(self, clock: u32) -> EventPayload {
        let duration = u32::from(self.duration) * (clock / SAMPLE_RATE);
        EventPayload { duration: duration.min(u32::from(u16::MAX)) as u16, ..self }
    }

    pub(crate) fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, if self.end { 0x80 | VOLUME } else { VOLUME }, high, low]
    }
}

/// Digits on their way out, frame by frame.
#[derive(Debug)]
pub(crate) struct Dialling {
    keys: std::vec::IntoIter<Key>,
    /// What is sent now, and its frame.
    current: Option<(Key, u32)>,
}

/// What goes out in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// An event packet, for an event that began so many frames ago.
    Event { payload: EventPayload, frames_ago: u32 },
    /// Between two digits.
    Silence,
}

impl Dialling {
    pub(crate) fn new(digits: &str) -> Result<Dialling, DtmfError> {
        let keys = digits.chars().map(Key::parse);
        Ok(Dialling { keys: keys.collect::<Result<Vec<_>, _>>()?.into_iter(), current: None })
    }

    /// The next frame; `None` when all digits are out.
    pub(crate) fn step(&mut self) -> Option<Step> {
        let (key, frame) = match self.current {
            Some((key, frame)) => (key, frame),
            None => (self.keys.next()?, 0),
        };
        let period = match key {
            Key::Event(_) => PERIOD,
            Key::Wait => WAIT,
        };
        self.current = (frame + 1 < period).then_some((key, frame + 1));
        Some(match key {
            Key::Event(event) if frame < PRESSED + ENDS - 1 => {
                let duration = (frame + 1).min(PRESSED) as u16 * FRAME as u16;
                Step::Event {
                    payload: EventPayload { event, end: frame + 1 >= PRESSED, duration },
                    frames_ago: frame,
                }
            }
            _ => Step::Silence,
        })
    }
}

/// Makes digits of the event packets that come: each once, however many of its packets are lost, repeated or out of
/// order.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    pressed: Option<Pressed>,
    /// The timestamp of the last digit that was reported; older packets tell nothing new.
    reported: Option<u32>,
    /// Of the durations, in Hz.
    clock: u32,
}

#[derive(Clone, Copy, Debug)]
struct Pressed {
    digit: char,
    timestamp: u32,
    duration: u16,
    /// Of the segments before: an event longer than its 16 bits goes on in another (RFC 4733 2.5.1.3).
    before: u32,
    /// Frames since its last packet.
    idle: u8,
}

impl Receiver {
    /// Takes a packet; calls `report` with each digit that is thereby over, and its length in ms. `clock` is the rate
    /// of the durations in Hz.
    pub(crate) fn receive(
        &mut self,
        payload: &[u8],
        timestamp: u32,
        clock: u32,
        mut report: impl FnMut(char, u16),
    ) {
        let Some(payload) = EventPayload::parse(payload) else { return };
        // Codes above 15 are other signals (flash, fax, modems).
        let Some(&digit) = DIGITS.get(usize::from(payload.event)) else { return };
        self.clock = clock.max(1000);
        let is_old = |than: u32| timestamp.wrapping_sub(than) as i32 <= 0;
        if self.reported.is_some_and(is_old) {
            return;
        }
        let (mut duration, mut before) = (payload.duration, 0);
        match self.pressed {
            Some(pressed) if pressed.timestamp == timestamp => {
                duration = duration.max(pressed.duration);
                before = pressed.before;
            }
            Some(pressed) if is_old(pressed.timestamp) => return,
            Some(pressed) if pressed.goes_on(digit, timestamp) => {
                before = pressed.before.saturating_add(u32::from(u16::MAX));
            }
            // The end of the last one never came.
            Some(_) => self.finish(&mut report),
            None => {}
        }
        self.pressed = Some(Pressed { digit, timestamp, duration, before, idle: 0 });
        if payload.end {
            self.finish(&mut report);
        }
    }

    /// A frame went by.
    pub(crate) fn tick(&mut self, mut report: impl FnMut(char, u16)) {
        if let Some(pressed) = &mut self.pressed {
            pressed.idle += 1;
            if pressed.idle >= LOST_END {
                self.finish(&mut report);
            }
        }
    }

    fn finish(&mut self, report: &mut impl FnMut(char, u16)) {
        if let Some(pressed) = self.pressed.take() {
            self.reported = Some(pressed.timestamp);
            let ms = pressed.before.saturating_add(u32::from(pressed.duration)) / (self.clock / 1000).max(1);
            report(pressed.digit, ms.min(u32::from(u16::MAX)) as u16);
        }
    }
}

impl Pressed {
    /// Whether a packet of another timestamp is the next segment of the same event.
    fn goes_on(&self, digit: char, timestamp: u32) -> bool {
        digit == self.digit && timestamp.wrapping_sub(self.timestamp) == u32::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packets of `digits`, with their timestamps.
    fn packets(digits: &str) -> Vec<(u32, EventPayload)> {
        let mut dialling = Dialling::new(digits).unwrap();
        let mut packets = vec![];
        for frame in 0.. {
            match dialling.step() {
                Some(Step::Event { payload, frames_ago }) => {
                    packets.push(((frame - frames_ago) * 160, payload))
                }
                Some(Step::Silence) => {}
                None => break,
            }
        }
        packets
    }

    fn heard<'a>(packets: impl IntoIterator<Item = &'a (u32, EventPayload)>) -> Vec<(char, u16)> {
        let (mut receiver, mut heard) = (Receiver::default(), vec![]);
        for (timestamp, payload) in packets {
            receiver.receive(&payload.to_bytes(), *timestamp, 8000, |digit, ms| heard.push((digit, ms)));
        }
        (0..LOST_END).for_each(|_| receiver.tick(|digit, ms| heard.push((digit, ms))));
        heard
    }

    #[test]
    fn a_digit_is_five_packets_and_its_end_twice_more() {
        let packets = packets("5");
        let durations: Vec<_> = packets.iter().map(|(_, payload)| payload.duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<_> = packets.iter().map(|(_, payload)| payload.end).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        assert!(packets.iter().all(|(timestamp, payload)| *timestamp == 0 && payload.event == 5));
        assert_eq!(packets[4].1.to_bytes(), [5, 0x8A, 0x03, 0x20]);
    }

    #[test]
    fn digits_start_160_ms_apart_and_w_waits_half_a_second() {
        let mut starts: Vec<_> = packets("1#w2").iter().map(|(timestamp, _)| timestamp / 8).collect();
        starts.dedup();
        assert_eq!(starts, [0, 160, 820]);
    }

    #[test]
    fn refuses_what_is_no_digit() {
        for (digits, refused) in [("12e", 'e'), ("+1", '+'), ("1 2", ' '), ("٣", '٣')] {
            assert_eq!(Dialling::new(digits).unwrap_err(), DtmfError::NotADigit(refused));
        }
        assert!(Dialling::new("0123456789*#ABCDabcdw").is_ok());
    }

    #[test]
    fn each_digit_is_heard_once_whichever_packet_is_lost_repeated_or_swapped() {
        let sent = packets("1123*");
        let expected = [('1', 100), ('1', 100), ('2', 100), ('3', 100), ('*', 100)];
        assert_eq!(heard(&sent), expected);
        for n in 0..sent.len() - 1 {
            let mut fewer = sent.clone();
            fewer.remove(n);
            assert_eq!(heard(&fewer), expected, "without packet {n}");
            let mut more = sent.clone();
            more.insert(n, sent[n]);
            assert_eq!(heard(&more), expected, "packet {n} twice");
            let mut swapped = sent.clone();
            swapped.swap(n, n + 1);
            assert_eq!(heard(&swapped).len(), 5, "packet {n} swapped");
        }
    }

    #[test]
    fn a_digit_without_end_is_heard_when_the_next_starts_or_after_a_while() {
        let sent = packets("12");
        let open: Vec<_> = sent.iter().filter(|(_, payload)| !payload.end).copied().collect();
        assert_eq!(heard(&open), [('1', 80), ('2', 80)]);
    }

    #[test]
    fn other_signals_and_short_payloads_are_read_over() {
        let mut receiver = Receiver::default();
        for payload in [&[16, 0x80, 3, 0x20][..], &[255, 0x80, 3, 0x20], &[1, 0x80, 3], &[]] {
            receiver.receive(payload, 0, 8000, |digit, _| panic!("{digit}"));
        }
    }

    #[test]
    fn durations_are_counted_at_the_rate_agreed_on() {
        let (mut receiver, mut heard) = (Receiver::default(), vec![]);
        let end = EventPayload { event: 3, end: true, duration: 4800 };
        receiver.receive(&end.to_bytes(), 960, 48_000, |digit, ms| heard.push((digit, ms)));
        assert_eq!(heard, [('3', 100)]);
    }

    #[test]
    fn a_key_held_longer_than_16_bits_can_say_is_one_digit() {
        let (mut receiver, mut heard) = (Receiver::default(), vec![]);
        let mut timestamp = 1000u32;
        for segment in 0..3 {
            for duration in [8000, 40_000, u16::MAX] {
                let payload = EventPayload { event: 7, end: segment == 2 && duration == u16::MAX, duration };
                receiver.receive(&payload.to_bytes(), timestamp, 8000, |digit, ms| heard.push((digit, ms)));
            }
            timestamp = timestamp.wrapping_add(u32::from(u16::MAX));
        }
        assert_eq!(heard, [('7', 24_575)]);
    }
}
