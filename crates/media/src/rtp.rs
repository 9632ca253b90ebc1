//! RTP packets (RFC 3550 section 5).

/// Bytes of a header without CSRCs or extension.
pub const HEADER: usize = 12;

/// The header fields of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The start of a talkspurt or of an event.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// One more with each packet, wrapping.
    pub sequence: u16,
    /// In samples of the payload's clock, wrapping.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

/// A received packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// What it carries, without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet; `None` if it is no RTP of version 2 or its lengths do not fit.
    pub fn parse(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (&[flags, type_, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], rest) =
            bytes.split_first_chunk::<HEADER>()?;
        if flags >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(usize::from(flags & 0x0F) * 4..)?;
        if flags & 0x10 != 0 {
            let (&[_, _, words_high, words_low], extension) = payload.split_first_chunk::<4>()?;
            payload = extension.get(usize::from(u16::from_be_bytes([words_high, words_low])) * 4..)?;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding)?).filter(|_| padding > 0)?;
        }
        let header = Header {
            marker: type_ & 0x80 != 0,
            payload_type: type_ & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        Some(Packet { header, payload })
    }
}

/// The bytes before the payload: header, CSRCs, extension; `None` if it is no RTP of version 2 or they do not fit.
pub(crate) fn header_len(packet: &[u8]) -> Option<usize> {
    let flags = *packet.first()?;
    let mut len = HEADER + usize::from(flags & 0x0F) * 4;
    if flags & 0x10 != 0 {
        let words = packet.get(len + 2..)?.first_chunk()?;
        len += 4 + usize::from(u16::from_be_bytes(*words)) * 4;
    }
    (flags >> 6 == 2 && len <= packet.len()).then_some(len)
}

/// The sequence number of a packet.
pub(crate) fn sequence(packet: &[u8]) -> Option<u16> {
    packet.get(2..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The synchronisation source of a packet.
pub(crate) fn ssrc(packet: &[u8]) -> Option<u32> {
    packet.get(8..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Whether what came to an RTP port is RTCP (RFC 5761 section 4).
pub(crate) fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|type_| (192..=223).contains(type_))
}

impl Header {
    /// The header as it goes on the wire, without CSRCs, extension or padding.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        let type_ = (self.payload_type & 0x7F) | if self.marker { 0x80 } else { 0 };
        [0x80, type_, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
    }

    /// Writes header and payload into `out`; the number of bytes, or `None` if they do not fit.
    pub fn write(self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let (header, rest) = out.split_first_chunk_mut::<HEADER>()?;
        *header = self.to_bytes();
        rest.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(HEADER + payload.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER_OF_TESTS: Header =
        Header { marker: true, payload_type: 8, sequence: 0xFFFE, timestamp: 0x8000_0001, ssrc: 0xDEAD_BEEF };

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = HEADER_OF_TESTS.to_bytes().to_vec();
        bytes[0] = first;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn finds_the_payload() {
        for (name, bytes, payload) in [
            ("plain", packet(0x80, b"abc"), Some(&b"abc"[..])),
            ("empty", packet(0x80, b""), Some(b"")),
            ("two CSRCs", packet(0x82, b"11112222abc"), Some(b"abc")),
            ("extension", packet(0x90, b"\xBE\xDE\0\x01extnabc"), Some(b"abc")),
            ("padding", packet(0xA0, b"abc\0\0\x03"), Some(b"abc")),
            ("all of it", packet(0xB1, b"1111\xBE\xDE\0\x01extnabc\x01"), Some(b"abc")),
            ("version 1", packet(0x40, b"abc"), None),
            ("CSRCs missing", packet(0x82, b"1111222"), None),
            ("extension cut", packet(0x90, b"\xBE\xDE\0\x02extnabc"), None),
            ("padding of 0", packet(0xA0, b"abc\0"), None),
            ("padding too long", packet(0xA0, b"abc\x05"), None),
            ("no room for padding", packet(0xA0, b""), None),
            ("eleven bytes", packet(0x80, b"")[..11].to_vec(), None),
        ] {
            assert_eq!(Packet::parse(&bytes).map(|packet| packet.payload), payload, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            Packet::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let header = Header { marker, payload_type, sequence, timestamp, ssrc };
            let mut out = [0; 1500];
            let len = header.write(&payload, &mut out).unwrap();
            prop_assert_eq!(Packet::parse(&out[..len]), Some(Packet { header, payload: &payload }));
        }
    }
}
