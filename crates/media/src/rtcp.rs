//! RTCP packets (RFC 3550 section 6): the reports of one source about another.

use crate::stats::ReportBlock;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;

/// The SDES item of the canonical name (RFC 3550 6.5.1).
const CNAME: u8 = 1;

/// What an SR says of its sender (RFC 3550 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// Wall clock as NTP 32.32: seconds since 1900.
    pub ntp: u64,
    /// The same time in RTP timestamp units.
    pub rtp_timestamp: u32,
    /// Packets sent so far, wrapping.
    pub packets: u32,
    /// Payload bytes sent so far, wrapping.
    pub octets: u32,
}

/// One packet of a compound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// SR or RR.
    Report {
        /// Who reports.
        ssrc: u32,
        /// Only in an SR.
        sender: Option<SenderInfo>,
        /// About whom.
        blocks: Blocks<'a>,
    },
    /// They leave.
    Bye,
    /// SDES, APP, feedback: read over.
    Other,
}

/// The report blocks of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks<'a>(&'a [[u8; 24]]);

impl Blocks<'_> {
    /// The block about `ssrc`.
    pub fn about(&self, ssrc: u32) -> Option<ReportBlock> {
        self.0.iter().map(read_block).find(|block| block.ssrc == ssrc)
    }
}

/// Reads a compound packet, one packet a step. Its validity is checked as RFC 3550 A.2 says: `None` unless the first
/// packet is a report, all are of version 2 and the lengths add up.
pub fn parse(compound: &[u8]) -> Option<impl Iterator<Item = Packet<'_>>> {
    let first = *compound.get(1)?;
    if !matches!(first, SENDER_REPORT | RECEIVER_REPORT) {
        return None;
    }
    let mut rest = compound;
    while !rest.is_empty() {
        let (_, _, after) = split(rest)?;
        rest = after;
    }
    let mut rest = compound;
    Some(std::iter::from_fn(move || {
        let (head, body, after) = split(rest)?;
        rest = after;
        Some(read(head, body))
    }))
}

/// The first two bytes of the first packet, what follows its length field, and the packets behind it.
fn split(compound: &[u8]) -> Option<([u8; 2], &[u8], &[u8])> {
    let (&[flags, type_, words_high, words_low], rest) = compound.split_first_chunk::<4>()?;
    let (body, after) =
        rest.split_at_checked(usize::from(u16::from_be_bytes([words_high, words_low])) * 4)?;
    (flags >> 6 == 2).then_some(([flags, type_], body, after))
}

fn read([flags, type_]: [u8; 2], body: &[u8]) -> Packet<'_> {
    match type_ {
        SENDER_REPORT => read_report(flags, body, true),
        RECEIVER_REPORT => read_report(flags, body, false),
        BYE => Some(Packet::Bye),
        _ => None,
    }
    .unwrap_or(Packet::Other)
}

fn read_report(flags: u8, body: &[u8], has_sender: bool) -> Option<Packet<'_>> {
    let (ssrc, body) = body.split_first_chunk::<4>()?;
    let (sender, body) = if has_sender {
        let (ntp, body) = body.split_first_chunk::<8>()?;
        let (rtp_timestamp, body) = body.split_first_chunk::<4>()?;
        let (packets, body) = body.split_first_chunk::<4>()?;
        let (octets, body) = body.split_first_chunk::<4>()?;
        let sender = SenderInfo {
            ntp: u64::from_be_bytes(*ntp),
            rtp_timestamp: u32::from_be_bytes(*rtp_timestamp),
            packets: u32::from_be_bytes(*packets),
            octets: u32::from_be_bytes(*octets),
        };
        (Some(sender), body)
    } else {
        (None, body)
    };
    let (blocks, _) = body.as_chunks::<24>();
    let blocks = blocks.get(..usize::from(flags & 0x1F))?;
    Some(Packet::Report { ssrc: u32::from_be_bytes(*ssrc), sender, blocks: Blocks(blocks) })
}

fn read_block(bytes: &[u8; 24]) -> ReportBlock {
    let (words, _) = bytes.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
    let mut next = || words.next().unwrap_or_default();
    let (ssrc, lost) = (next(), next());
    ReportBlock {
        ssrc,
        fraction_lost: (lost >> 24) as u8,
        // Sign-extends the 24 bits.
        lost: ((lost << 8) as i32) >> 8,
        highest_sequence: next(),
        jitter: next(),
        last_report: next(),
        delay_since_last_report: next(),
    }
}

/// Writes compound packets; everything that does not fit is an error of the caller's buffer, and gives `None`.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// SR if there is a `sender`, else RR.
    pub(crate) fn report(
        &mut self,
        ssrc: u32,
        sender: Option<SenderInfo>,
        block: Option<ReportBlock>,
    ) -> Option<()> {
        let type_ = if sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
        self.packet(u8::from(block.is_some()), type_, |packet| {
            packet.put(&ssrc.to_be_bytes())?;
            if let Some(sender) = sender {
                packet.put(&sender.ntp.to_be_bytes())?;
                packet.put(&sender.rtp_timestamp.to_be_bytes())?;
                packet.put(&sender.packets.to_be_bytes())?;
                packet.put(&sender.octets.to_be_bytes())?;
            }
            if let Some(block) = block {
                let lost = block.lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
                packet.put(&block.ssrc.to_be_bytes())?;
                packet.put(&(u32::from(block.fraction_lost) << 24 | lost).to_be_bytes())?;
                packet.put(&block.highest_sequence.to_be_bytes())?;
                packet.put(&block.jitter.to_be_bytes())?;
                packet.put(&block.last_report.to_be_bytes())?;
                packet.put(&block.delay_since_last_report.to_be_bytes())?;
            }
            Some(())
        })
    }

    /// SDES with our canonical name, cut at 255 bytes.
    pub(crate) fn name(&mut self, ssrc: u32, cname: &str) -> Option<()> {
        let cname = cname.as_bytes();
        let cname = cname.get(..255).unwrap_or(cname);
        self.packet(1, SOURCE_DESCRIPTION, |packet| {
            packet.put(&ssrc.to_be_bytes())?;
            packet.put(&[CNAME, cname.len() as u8])?;
            packet.put(cname)?;
            // A chunk ends with at least one null byte, at a word's end (RFC 3550 6.5).
            let item = 2 + cname.len();
            packet.put([0u8; 4].get(item % 4..)?)
        })
    }

    /// We leave.
    pub(crate) fn bye(&mut self, ssrc: u32) -> Option<()> {
        self.packet(1, BYE, |packet| packet.put(&ssrc.to_be_bytes()))
    }

    fn packet(&mut self, count: u8, type_: u8, body: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let start = self.len;
        self.put(&[0x80 | count, type_, 0, 0])?;
        body(self)?;
        let words = u16::try_from((self.len - start) / 4 - 1).ok()?;
        self.out.get_mut(start + 2..start + 4)?.copy_from_slice(&words.to_be_bytes());
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENDER: SenderInfo =
        SenderInfo { ntp: 0x0123_4567_89AB_CDEF, rtp_timestamp: 7, packets: 8, octets: 1280 };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 0xCAFE,
        fraction_lost: 12,
        lost: -3,
        highest_sequence: 70_000,
        jitter: 9,
        last_report: 10,
        delay_since_last_report: 11,
    };

    fn compound(cname: &str) -> Vec<u8> {
        let mut out = [0; 1500];
        let mut writer = Writer::new(&mut out);
        writer.report(0xBEEF, Some(SENDER), Some(BLOCK)).unwrap();
        writer.name(0xBEEF, cname).unwrap();
        writer.bye(0xBEEF).unwrap();
        let len = writer.len();
        out[..len].to_vec()
    }

    #[test]
    fn what_is_written_is_read() {
        for cname in ["", "a", "ab", "abc", "abcd", &"n".repeat(300)] {
            let bytes = compound(cname);
            let packets: Vec<_> = parse(&bytes).expect(cname).collect();
            let [Packet::Report { ssrc: 0xBEEF, sender: Some(SENDER), blocks }, Packet::Other, Packet::Bye] =
                packets[..]
            else {
                panic!("{cname:?}: {packets:?}")
            };
            assert_eq!(blocks.about(0xCAFE), Some(BLOCK));
            assert_eq!(blocks.about(0xCAFF), None);
        }
    }

    #[test]
    fn refuses_what_rfc_3550_a2_refuses() {
        let good = compound("a");
        assert!(parse(&good).is_some());
        let cut = &good[..good.len() - 1];
        let mut version = good.clone();
        version[0] = 0x41;
        let sdes_first = &good[52..];
        for (name, bytes) in
            [("empty", &[][..]), ("cut", cut), ("version 1", &version), ("SDES first", sdes_first)]
        {
            assert!(parse(bytes).is_none(), "{name}");
        }
    }

    #[test]
    fn a_report_with_fewer_blocks_than_it_says_is_read_over() {
        let bytes = [0x81, RECEIVER_REPORT, 0, 1, 0, 0, 0, 1];
        assert_eq!(parse(&bytes).unwrap().collect::<Vec<_>>(), [Packet::Other]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 4..200), words in 0u8..20, type_ in 198u8..206,
        ) {
            (bytes[0], bytes[1], bytes[2], bytes[3]) = (0x80 | bytes[0] & 0x1F, type_, 0, words);
            for packet in parse(&bytes).into_iter().flatten() {
                if let Packet::Report { blocks, .. } = packet {
                    blocks.about(1);
                }
            }
        }
    }
}
