//! What the tests of several modules share.

use std::path::{Path, PathBuf};

/// A folder of test data that is not part of this repository; `None`, said loudly, if it is not there.
///
/// It is looked for in `$TRUNKLINE_CORPORA`, then in `shared/corpora` beside the checkout.
pub(crate) fn corpora(folder: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora"));
    let found = std::env::var_os("TRUNKLINE_CORPORA").map_or_else(beside, PathBuf::from).join(folder);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("SKIP: no test data in {}; set TRUNKLINE_CORPORA", found.display());
    None
}

/// The UDP payloads of a capture in pcap's old little-endian form, over Ethernet and IPv4 without options.
pub(crate) fn rtp_of(pcap: &Path) -> Vec<Vec<u8>> {
    const HEADERS: usize = 14 + 20 + 8;
    let bytes = std::fs::read(pcap).expect("a capture");
    assert_eq!(bytes[..4], [0xD4, 0xC3, 0xB2, 0xA1], "{}", pcap.display());
    let mut rest = &bytes[24..];
    let mut payloads = vec![];
    while let Some((record, after)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(record[8..12].try_into().expect("four bytes")) as usize;
        let udp = u16::from_be_bytes(after[38..40].try_into().expect("two bytes")) as usize;
        payloads.push(after[HEADERS..14 + 20 + udp].to_vec());
        rest = &after[len..];
    }
    payloads
}
