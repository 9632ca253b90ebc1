use proptest::prelude::*;

use super::*;

/// The sample request of RFC 5769 section 2.1.
const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5\
    b2d3f249c1b571a280280004e57a3bcf";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn sample() -> (Vec<u8>, Credentials) {
    let ours = Credentials { ufrag: "evtj".to_owned(), pwd: "VOkJxbRl1RmTxUk/WvJxBt".to_owned() };
    (bytes(SAMPLE), ours)
}

/// A check as browsers send it.
fn check(ours: &Credentials, nominates: bool) -> Vec<u8> {
    let mut out = [0; 200];
    let mut writer = Writer { out: &mut out, len: 0 };
    writer.put(&REQUEST.to_be_bytes()).unwrap();
    writer.put(&[0, 0]).unwrap();
    writer.put(&COOKIE).unwrap();
    writer.put(b"transactions").unwrap();
    writer.attribute(USERNAME, format!("{}:abc", ours.ufrag).as_bytes()).unwrap();
    if nominates {
        writer.attribute(USE_CANDIDATE, &[]).unwrap();
    }
    let mut mac = keyed(ours).unwrap();
    mac.update(writer.promised(SEAL).unwrap());
    let signature: [u8; 20] = mac.finalize().into_bytes().into();
    writer.attribute(INTEGRITY, &signature).unwrap();
    let print = fingerprint(writer.promised(8).unwrap());
    writer.attribute(FINGERPRINT, &print.to_be_bytes()).unwrap();
    let len = writer.len;
    out[..len].to_vec()
}

fn ours() -> Credentials {
    Credentials::new([7; Credentials::RANDOM])
}

#[test]
fn the_request_of_rfc_5769_is_authentic() {
    let (packet, ours) = sample();
    assert_eq!(username(&packet), Some("evtj"));
    let check = Check::parse(&packet, &ours).unwrap();
    assert_eq!((check.nominates, check.is_controlled), (false, true));
}

#[test]
fn the_replies_of_rfc_5769_come_out() {
    // Sections 2.2 and 2.3, without their SOFTWARE: the mapped addresses alone.
    let transaction = *bytes("b7e7a701bc34d686fa87dfae").first_chunk().unwrap();
    let check = Check { transaction, nominates: false, is_controlled: false };
    for (from, mapped) in [
        ("192.0.2.1:32853", "002000080001a147e112a643"),
        ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
    ] {
        let mut out = [0; 200];
        let len = check.reply(from.parse().unwrap(), &ours(), &mut out).unwrap();
        assert_eq!(out[HEADER..HEADER + mapped.len() / 2], bytes(mapped), "{from}");
        assert_eq!(usize::from(u16::from_be_bytes([out[2], out[3]])), len - HEADER);
    }
}

#[test]
fn who_is_controlled_too_is_told_of_the_conflict() {
    let (packet, ours) = sample();
    let mut out = [0; 200];
    let check = Check::parse(&packet, &ours).unwrap();
    let len = check.reply("192.0.2.1:1".parse().unwrap(), &ours, &mut out).unwrap();
    assert_eq!(out[..2], ERROR.to_be_bytes());
    let (_, code) = attributes(&out[HEADER..len]).find(|(type_, _)| *type_ == ERROR_CODE).unwrap();
    assert_eq!(code.body, [0, 0, 4, 87]);
}

#[test]
fn only_what_is_signed_counts() {
    let good = check(&ours(), true);
    assert!(Check::parse(&good, &ours()).unwrap().nominates);
    // What is no FINGERPRINT any more is an attribute behind the signature, which is read over.
    let head = good.len() - 8..good.len() - 4;
    for at in (0..good.len()).filter(|at| !head.contains(at)) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(Check::parse(&bad, &ours()), None, "byte {at}");
    }
    // A nomination put behind the signature is none.
    let mut forged = check(&ours(), false);
    forged.truncate(forged.len() - 8);
    forged.extend(bytes("00250000"));
    let length = u16::try_from(forged.len() - HEADER).unwrap().to_be_bytes();
    forged[2..4].copy_from_slice(&length);
    assert!(!Check::parse(&forged, &ours()).unwrap().nominates);
}

proptest! {
    #[test]
    fn any_datagram_is_read_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Check::parse(&packet, &ours()), None);
    }

    #[test]
    fn any_request_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), length: u16) {
        let mut packet = bytes("00010000").to_vec();
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet.extend(COOKIE);
        packet.extend([0; 12]);
        packet.extend(body);
        username(&packet);
        prop_assert_eq!(Check::parse(&packet, &ours()), None);
    }
}
