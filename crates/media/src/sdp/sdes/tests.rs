use proptest::prelude::*;

use super::super::{SdpError, Srtp, accept, answer, offer, reoffer};
use super::*;
use crate::Codec;

const KEY_30: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const KEY_28: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";

fn keys(first: u8) -> Keys {
    let mut random = [0; Keys::RANDOM];
    random.iter_mut().zip((0..=255u8).cycle()).for_each(|(to, n)| *to = n.wrapping_add(first));
    Keys::new(random)
}

fn local(srtp: Srtp) -> Local {
    Local { srtp, ..Local::new([192, 0, 2, 1].into(), 16384, vec![Codec::Pcmu], 7) }
}

/// An m-line of theirs and the lines below it.
fn line_of(proto: &str, port: u16, lines: &str) -> String {
    format!("m=audio {port} {proto} 0\r\nc=IN IP4 198.51.100.2\r\n{lines}")
}

fn theirs(media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nt=0 0\r\n{media}")
}

#[test]
fn lines_of_the_field_are_read_or_read_over() {
    use Suite::{AeadAes128Gcm as Gcm, AesCm128HmacSha1_32 as Short, AesCm128HmacSha1_80 as Long};
    for (name, value, read) in [
        ("plain", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}"), Some((1, Long))),
        ("lifetime", format!("2 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}|2^20"), Some((2, Short))),
        (
            "lifetime as a number",
            format!("3 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1048576"),
            Some((3, Long)),
        ),
        ("GCM", format!("4 AEAD_AES_128_GCM inline:{KEY_28}"), Some((4, Gcm))),
        ("without padding", format!("4 AEAD_AES_128_GCM inline:{}", &KEY_28[..38]), Some((4, Gcm))),
        ("lower case", format!("1 aes_cm_128_hmac_sha1_80 INLINE:{KEY_30}"), Some((1, Long))),
        ("WSH", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} WSH=64"), Some((1, Long))),
        ("optional parameter", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} -X=1"), Some((1, Long))),
        ("MKI", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^20|1:4"), None),
        ("MKI without lifetime", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1:4"), None),
        ("two keys", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30};inline:{KEY_30}"), None),
        ("no encryption", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} UNENCRYPTED_SRTP"), None),
        (
            "no authentication",
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} UNAUTHENTICATED_SRTP"),
            None,
        ),
        ("KDR", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} KDR=1"), None),
        ("another suite", format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY_30}"), None),
        ("key too short", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", &KEY_30[..36]), None),
        ("key of another suite", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_28}"), None),
        ("no base64", format!("1 AES_CM_128_HMAC_SHA1_80 inline:!{}", &KEY_30[1..]), None),
        ("another method", format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY_30}"), None),
        ("tag too long", format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}"), None),
        ("no tag", format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}"), None),
        ("lifetime of letters", format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|forever"), None),
        ("empty", String::new(), None),
    ] {
        assert_eq!(parse(&value).map(|offered| (offered.tag, offered.suite)), read, "{name}");
    }
}

#[test]
fn our_offer_and_our_answer_agree_on_keys_both_ways() {
    let policies = || [Srtp::Off, Srtp::Optional(keys(1)), Srtp::Required(keys(1))];
    for ours in policies() {
        for theirs in policies() {
            let theirs = match theirs {
                Srtp::Off => Srtp::Off,
                Srtp::Optional(_) => Srtp::Optional(keys(99)),
                Srtp::Required(_) => Srtp::Required(keys(99)),
            };
            let (caller, callee) = (local(ours.clone()), local(theirs));
            let case = format!("{:?} calls {:?}", caller.srtp, callee.srtp);
            let is_impossible = matches!(
                (&caller.srtp, &callee.srtp),
                (Srtp::Required(_), Srtp::Off) | (Srtp::Off, Srtp::Required(_))
            );
            let Ok((sdp, at_callee)) = answer(offer(&caller).as_bytes(), &callee) else {
                assert!(is_impossible, "{case}");
                continue;
            };
            assert!(!is_impossible, "{case}");
            let at_caller = accept(&caller, sdp.as_bytes()).unwrap();
            let is_encrypted = caller.srtp != Srtp::Off && callee.srtp != Srtp::Off;
            match (at_caller.crypto, at_callee.crypto) {
                (Some(caller), Some(callee)) => {
                    assert!(is_encrypted, "{case}");
                    assert_eq!(caller.suite, Suite::AeadAes128Gcm);
                    assert!(caller.ours == callee.theirs && caller.theirs == callee.ours, "{case}");
                    assert!(caller.ours != caller.theirs);
                }
                (None, None) => assert!(!is_encrypted, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}

#[test]
fn each_suite_is_offered_with_a_key_of_its_own() {
    let sdp = offer(&local(Srtp::Required(keys(1))));
    assert!(sdp.contains("m=audio 16384 RTP/SAVP 0 101\r\n"), "{sdp}");
    let lines: Vec<_> = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:")).collect();
    let read: Vec<_> = lines.iter().map(|line| parse(line).unwrap()).collect();
    assert_eq!(read.iter().map(|line| line.tag).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(read.iter().map(|line| line.suite).collect::<Vec<_>>(), Suite::ALL);
    assert!(read[1].key != read[2].key);
    assert!(offer(&local(Srtp::Optional(keys(1)))).contains("m=audio 16384 RTP/AVP 0 101\r\n"));
    assert!(!offer(&local(Srtp::Off)).contains("crypto"));
}

#[test]
fn of_several_lines_and_m_lines_the_right_one_is_answered() {
    let mki = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^31|1:1\r\n");
    let long = format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^31\r\n");
    let short = format!("a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:{KEY_30}\r\n");
    let off = || Srtp::Off;
    let optional = || Srtp::Optional(keys(1));
    let required = || Srtp::Required(keys(1));
    // The m-line that is taken and the tag that is answered, or why none is.
    let savp_wanted = || Err(SdpError::Encrypted("RTP/SAVP".to_owned()));
    let both = theirs(&(line_of("RTP/AVP", 4000, "") + &line_of("RTP/SAVP", 4002, &(mki.clone() + &short))));
    for (name, offer, srtp, expected) in [
        (
            "an MKI is skipped",
            theirs(&line_of("RTP/SAVP", 4000, &(mki.clone() + &long + &short))),
            required(),
            Ok((4000, Some(2))),
        ),
        ("only with MKI", theirs(&line_of("RTP/SAVP", 4000, &mki)), optional(), Err(SdpError::NoKeys)),
        ("SAVP without keys", theirs(&line_of("RTP/SAVP", 4000, "")), required(), Err(SdpError::NoKeys)),
        ("SAVP while off", theirs(&line_of("RTP/SAVP", 4000, &long)), off(), savp_wanted()),
        ("AVP with keys", theirs(&line_of("RTP/AVP", 4000, &long)), optional(), Ok((4000, Some(2)))),
        (
            "AVP with keys, required",
            theirs(&line_of("RTP/AVP", 4000, &long)),
            required(),
            Ok((4000, Some(2))),
        ),
        ("AVP with keys, off", theirs(&line_of("RTP/AVP", 4000, &long)), off(), Ok((4000, None))),
        ("AVP with unusable keys", theirs(&line_of("RTP/AVP", 4000, &mki)), optional(), Ok((4000, None))),
        ("AVP", theirs(&line_of("RTP/AVP", 4000, "")), optional(), Ok((4000, None))),
        ("AVP, required", theirs(&line_of("RTP/AVP", 4000, "")), required(), Err(SdpError::NotEncrypted)),
        ("two m-lines, optional", both.clone(), optional(), Ok((4002, Some(3)))),
        ("two m-lines, off", both.clone(), off(), Ok((4000, None))),
        ("SAVPF", theirs(&line_of("RTP/SAVPF", 4000, &short)), optional(), Ok((4000, Some(3)))),
    ] {
        let answered = answer(offer.as_bytes(), &local(srtp));
        let seen = answered.map(|(sdp, negotiated)| {
            let tag =
                sdp.lines().find_map(|line| line.strip_prefix("a=crypto:")?.split(' ').next()?.parse().ok());
            assert_eq!(tag.is_some(), negotiated.crypto.is_some(), "{name}");
            (negotiated.remote.port(), tag)
        });
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn an_answer_must_repeat_tag_and_suite_of_ours() {
    for (lines, is_taken) in [
        (format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\r\n"), true),
        (format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\r\n"), false),
        (format!("a=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}\r\n"), false),
        (format!("a=crypto:1 AEAD_AES_128_GCM inline:{KEY_28}\r\n"), true),
    ] {
        let answer = theirs(&line_of("RTP/SAVP", 4000, &lines));
        let taken = accept(&local(Srtp::Required(keys(1))), answer.as_bytes());
        assert_eq!(taken.is_ok(), is_taken, "{lines}");
    }
}

#[test]
fn a_later_offer_has_the_same_keys() {
    let us = local(Srtp::Required(keys(1)));
    let (_, negotiated) = answer(offer(&local(Srtp::Required(keys(9)))).as_bytes(), &us).unwrap();
    let again = reoffer(&us, &negotiated);
    let crypto =
        |sdp: &str| sdp.lines().filter(|line| line.contains("crypto")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(crypto(&again), crypto(&offer(&us)));
}

proptest! {
    #[test]
    fn any_line_is_read_or_read_over(
        value in prop_oneof![
            ".{0,80}",
            "[0-9]{1,12} (AES_CM_128_HMAC_SHA1_(80|32)|AEAD_AES_128_GCM) inline:[A-Za-z0-9+/]{36,42}={0,3}(\\|2\\^[0-9]{1,3})?(\\|[0-9]:[0-9])?( [A-Z_=]{0,10})?",
        ],
    ) {
        if let Some(offered) = parse(&value) {
            let again = parse(&written(offered.tag, offered.suite, &offered.key));
            prop_assert_eq!(again, Some(offered));
        }
    }
}
