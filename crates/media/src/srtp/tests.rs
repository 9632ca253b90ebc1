use proptest::prelude::*;

use super::*;
use crate::rtp;

/// The key of RFC 3711 B.3.
const KEY_B3: &str = "e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6";

const CM: [Suite; 2] = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

const EVERY: [Suite; 4] =
    [Suite::AeadAes128Gcm, Suite::AeadAes256Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn key(suite: Suite, first: u8) -> Key {
    Key::new(suite, &(first..).take(suite.key_len()).collect::<Vec<_>>()).unwrap()
}

/// Two ends of a stream.
fn pair(suite: Suite) -> (Srtp, Srtp) {
    let (a, b) = (key(suite, 1), key(suite, 101));
    let here = Srtp::new(&Crypto { suite, ours: a.clone(), theirs: b.clone() });
    (here, Srtp::new(&Crypto { suite, ours: b, theirs: a }))
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let header = rtp::Header { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc };
    [&header.to_bytes()[..], &[0xAB; 160]].concat()
}

fn protect(srtp: &mut Srtp, packet: &[u8]) -> Vec<u8> {
    let mut out = [0; 1500];
    out[..packet.len()].copy_from_slice(packet);
    let len = srtp.protect_rtp(&mut out, packet.len()).unwrap();
    out[..len].to_vec()
}

fn protect_rtcp(srtp: &mut Srtp, packet: &[u8]) -> Vec<u8> {
    let mut out = [0; 1500];
    out[..packet.len()].copy_from_slice(packet);
    let len = srtp.protect_rtcp(&mut out, packet.len()).unwrap();
    out[..len].to_vec()
}

#[test]
fn the_packets_of_libsrtp_come_out() {
    let suite = Suite::AesCm128HmacSha1_80;
    let key = Key::new(suite, &bytes(KEY_B3)).unwrap();
    let mut srtp = Srtp::new(&Crypto { suite, ours: key.clone(), theirs: key });
    let plain = bytes("800f1234decafbadcafebabeabababababababababababababababab");
    let sealed = bytes("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    assert_eq!(protect(&mut srtp, &plain), sealed);
    assert_eq!(srtp.open_rtp(&sealed), Some(&plain[..]));
    let plain = bytes("81c8000bcafebabeabababababababababababababababab");
    let sealed = bytes("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798");
    assert_eq!(protect_rtcp(&mut srtp, &plain), sealed);
    assert_eq!(srtp.open_rtcp(&sealed), Some(&plain[..]));
}

#[test]
fn the_packets_of_rfc_7714_come_out() {
    let cipher = cipher::Cipher::of_session_keys(
        &bytes("000102030405060708090a0b0c0d0e0f").try_into().unwrap(),
        b"Quid pro quo",
    );
    let plain = bytes(
        "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573",
    );
    let mut out = [&plain[..], &[0; 16]].concat();
    cipher.seal_rtp(&mut out, 12, plain.len(), 0x5501_A0B2, 0xF17B).unwrap();
    let sealed = bytes(
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
         899d7f27beb16a9152cf765ee4390cce",
    );
    assert_eq!(out, sealed);
    assert_eq!(cipher.open_rtp(&mut out, 12, 0x5501_A0B2, 0xF17B), Some(plain.len()));
    assert_eq!(out[..plain.len()], plain);
    // Section 17.1: SRTCP index 5d4.
    let plain = bytes(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let mut out = [&plain[..], &[0; 20]].concat();
    cipher.seal_rtcp(&mut out, plain.len(), 0x5D4).unwrap();
    let sealed = bytes(
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b\
         c84aa45896cf4d2fc5abf87245d9eade800005d4",
    );
    assert_eq!(out, sealed);
    assert_eq!(cipher.open_rtcp(&mut out), Some(plain.len()));
    assert_eq!(out[..plain.len()], plain);
}

#[test]
fn what_one_protects_the_other_opens_once() {
    for suite in EVERY {
        let (mut here, mut there) = pair(suite);
        for sequence in [5, 6, 7] {
            let plain = packet(sequence, 1);
            let sealed = protect(&mut here, &plain);
            assert_eq!(sealed.len(), plain.len() + suite.rtp_tag());
            assert_ne!(sealed[12..172], plain[12..]);
            assert_eq!(there.open_rtp(&sealed), Some(&plain[..]), "{suite:?}");
            assert_eq!(there.open_rtp(&sealed), None, "{suite:?}: replayed");
        }
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        let sealed = protect_rtcp(&mut here, &report);
        assert_eq!(there.open_rtcp(&sealed), Some(&report[..]), "{suite:?}");
        assert_eq!(there.open_rtcp(&sealed), None, "{suite:?}: replayed");
    }
}

#[test]
fn no_bit_may_change_and_no_plain_packet_passes() {
    for suite in EVERY {
        let (mut here, mut there) = pair(suite);
        let plain = packet(9, 1);
        let sealed = protect(&mut here, &plain);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(there.open_rtp(&forged), None, "{suite:?}: bit {bit}");
        }
        let report = protect_rtcp(&mut here, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
        for bit in 0..report.len() * 8 {
            let mut forged = report.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(there.open_rtcp(&forged), None, "{suite:?}: RTCP bit {bit}");
        }
        assert_eq!(there.open_rtp(&plain), None, "{suite:?}");
        for len in 0..sealed.len() {
            assert_eq!(there.open_rtp(&sealed[..len]), None, "{suite:?}: cut to {len}");
        }
        // None of all that has done harm.
        assert_eq!(there.open_rtp(&sealed), Some(&plain[..]), "{suite:?}");
    }
}

#[test]
fn sequence_numbers_roll_over_in_any_order_of_arrival() {
    for suite in EVERY {
        let (mut here, mut there) = pair(suite);
        let sealed: Vec<_> = (0..200_000u32)
            .map(|n| (n as u16).wrapping_add(65_000))
            .map(|sequence| (sequence, protect(&mut here, &packet(sequence, 1)[..20])))
            .collect();
        for (n, pair) in sealed.chunks(2).enumerate() {
            // Every other pair swapped; of some the first is lost.
            let (first, second) = if n % 2 == 0 { (0, 1) } else { (1, 0) };
            for of in [first, second] {
                if n % 50 == 3 && of == 0 {
                    continue;
                }
                let (sequence, sealed) = &pair[of];
                assert!(there.open_rtp(sealed).is_some(), "{suite:?}: {sequence} in pair {n}");
            }
        }
        assert_eq!(there.open_rtp(&sealed[10].1), None, "{suite:?}: from before three rollovers");
    }
}

#[test]
fn the_first_packet_may_be_overtaken_by_one_behind_the_rollover() {
    let (mut here, mut there) = pair(Suite::AesCm128HmacSha1_80);
    let before = protect(&mut here, &packet(65_535, 1));
    let after = protect(&mut here, &packet(0, 1));
    assert!(there.open_rtp(&before).is_some());
    assert!(there.open_rtp(&after).is_some());
}

#[test]
fn a_source_that_was_never_authentic_is_not_remembered() {
    let (mut here, mut there) = pair(Suite::AesCm128HmacSha1_80);
    let first = protect(&mut here, &packet(100, 1));
    assert!(there.open_rtp(&first).is_some());
    for ssrc in 2..1000 {
        assert_eq!(there.open_rtp(&packet(1, ssrc)), None);
    }
    assert_eq!(there.open_rtp(&first), None, "still known as a replay");
}

#[test]
fn new_keys_take_over_without_a_gap() {
    for suite in EVERY {
        let (mut here, mut there) = pair(suite);
        let early = protect(&mut here, &packet(1, 1));
        let on_its_way = protect(&mut here, &packet(2, 1));
        assert!(there.open_rtp(&early).is_some());
        let (a, b) = (key(suite, 51), key(suite, 101));
        here.update(&Crypto { suite, ours: a.clone(), theirs: b.clone() });
        there.update(&Crypto { suite, ours: b, theirs: a });
        assert!(there.open_rtp(&on_its_way).is_some(), "{suite:?}: under the old key");
        let new = protect(&mut here, &packet(3, 1));
        assert!(there.open_rtp(&new).is_some(), "{suite:?}: under the new key");
        let mut old = pair(suite).0;
        assert_eq!(there.open_rtp(&protect(&mut old, &packet(4, 1))), None, "{suite:?}: the old key is over");
    }
}

#[test]
fn the_same_keys_again_keep_their_count() {
    let suite = Suite::AeadAes128Gcm;
    let (mut here, mut there) = pair(suite);
    let sealed = protect(&mut here, &packet(65_535, 1));
    assert!(there.open_rtp(&sealed).is_some());
    there.update(&Crypto { suite, ours: key(suite, 101), theirs: key(suite, 1) });
    here.update(&Crypto { suite, ours: key(suite, 1), theirs: key(suite, 101) });
    assert_eq!(there.open_rtp(&sealed), None, "still a replay");
    let over = protect(&mut here, &packet(0, 1));
    assert!(there.open_rtp(&over).is_some(), "the rollover is still counted");
}

#[test]
fn keys_are_never_printed() {
    let keys = Keys::new([0x41; Keys::RANDOM]);
    let crypto = Crypto { suite: CM[0], ours: keys.of(CM[0]), theirs: keys.of(CM[0]) };
    let shown = format!("{keys:?} {crypto:?} {:?}", crate::sdp::Srtp::Required(keys.clone()));
    assert!(shown.contains("***") && !shown.contains("65") && !shown.contains("41"), "{shown}");
}

#[test]
fn keys_have_the_length_of_their_suite() {
    for suite in EVERY {
        for len in 0..50 {
            assert_eq!(Key::new(suite, &vec![1; len]).is_some(), len == suite.key_len(), "{suite:?} {len}");
        }
    }
}

proptest! {
    #[test]
    fn anything_may_arrive(packets in proptest::collection::vec(
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..1600)), 1..20,
    )) {
        for suite in EVERY {
            let (_, mut there) = pair(suite);
            for (is_rtp, packet) in &packets {
                let opened = if *is_rtp { there.open_rtp(packet) } else { there.open_rtcp(packet) };
                prop_assert_eq!(opened, None);
            }
        }
    }

    #[test]
    fn any_rtp_packet_comes_back(
        flags in 0u8..64, type_: u8, rest in proptest::collection::vec(any::<u8>(), 10..200),
    ) {
        let plain = [&[0x80 | flags, type_][..], &rest].concat();
        for suite in EVERY {
            let (mut here, mut there) = pair(suite);
            let mut out = [0; 1500];
            out[..plain.len()].copy_from_slice(&plain);
            let Some(len) = here.protect_rtp(&mut out, plain.len()) else {
                prop_assert_eq!(rtp::header_len(&plain), None);
                continue;
            };
            prop_assert_eq!(there.open_rtp(&out[..len]), Some(&plain[..]));
        }
    }
}
