use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

mod agreeing;

fn local() -> Local {
    Local::new([192, 0, 2, 1].into(), 16384, vec![Codec::Pcmu, Codec::Pcma], 7)
}

/// A description with one m-line for audio, and these lines below it.
fn audio_of(formats: &str, lines: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP {formats}\r\n{lines}"
    )
}

fn shown(sdp: &str) -> String {
    sdp.replace("\r\n", "\n")
}

#[test]
fn offers_what_we_speak() {
    assert_snapshot!(shown(&offer(&local())), @r"
    v=0
    o=- 7 1 IN IP4 192.0.2.1
    s=-
    c=IN IP4 192.0.2.1
    t=0 0
    m=audio 16384 RTP/AVP 0 8 101
    a=rtpmap:0 PCMU/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-15
    a=ptime:20
    a=rtcp:16385
    a=sendrecv
    ");
    let on_hold = Local {
        addr: "2001:db8::1".parse().unwrap(),
        codecs: vec![Codec::Pcma],
        direction: Direction::SendOnly,
        ..local()
    };
    assert_snapshot!(shown(&offer(&on_hold)), @r"
    v=0
    o=- 7 1 IN IP6 2001:db8::1
    s=-
    c=IN IP6 2001:db8::1
    t=0 0
    m=audio 16384 RTP/AVP 8 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-15
    a=ptime:20
    a=rtcp:16385
    a=sendonly
    ");
}

#[test]
fn answers_in_their_order_with_their_event_type_and_refuses_the_rest() {
    let theirs = "v=0\no=- 1 1 IN IP4 198.51.100.2\ns=-\nt=10 20\n\
                  m=video 5000 RTP/AVP 96 97\nc=IN IP4 198.51.100.3\na=rtpmap:96 VP8/90000\n\
                  m=audio 4000 RTP/AVP 9 8 18 0 96\nc=IN IP4 198.51.100.2\na=rtpmap:96 telephone-event/8000\n\
                  a=rtcp:4100 IN IP4 198.51.100.4\na=ptime:40\n\
                  m=audio 4002 RTP/AVP 0\nm=image 4004 udptl t38\n";
    let (sdp, negotiated) = answer(theirs.as_bytes(), &local()).unwrap();
    assert_snapshot!(shown(&sdp), @r"
    v=0
    o=- 7 1 IN IP4 192.0.2.1
    s=-
    c=IN IP4 192.0.2.1
    t=10 20
    m=video 0 RTP/AVP 96 97
    m=audio 16384 RTP/AVP 8 0 96
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:96 telephone-event/8000
    a=fmtp:96 0-15
    a=ptime:20
    a=rtcp:16385
    a=sendrecv
    m=audio 0 RTP/AVP 0
    m=image 0 udptl t38
    ");
    assert_eq!(
        negotiated,
        Negotiated {
            codec: Codec::Pcma,
            payload_type: 8,
            clock: 8000,
            fmtp: String::new(),
            dtmf: Dtmf::Rfc4733(96),
            event_clock: 8000,
            formats: vec![
                (8, Format::Audio(Codec::Pcma)),
                (0, Format::Audio(Codec::Pcmu)),
                (96, Format::Event(8000)),
            ],
            remote: ([198, 51, 100, 2], 4000).into(),
            remote_rtcp: ([198, 51, 100, 4], 4100).into(),
            rtcp_mux: false,
            ptime_ms: 40,
            direction: Direction::SendRecv,
            crypto: None,
            web: None,
            places: vec![
                Some("video 0 RTP/AVP 96 97".to_owned()),
                None,
                Some("audio 0 RTP/AVP 0".to_owned()),
                Some("image 0 udptl t38".to_owned()),
            ],
        }
    );
}

#[test]
fn our_offer_and_our_answer_agree() {
    let caller = local();
    let callee = Local { addr: [192, 0, 2, 9].into(), port: 20000, codecs: vec![Codec::Pcma], ..local() };
    let (sdp, at_callee) = answer(offer(&caller).as_bytes(), &callee).unwrap();
    let at_caller = accept(&caller, sdp.as_bytes()).unwrap();
    assert_eq!(at_callee.remote, ([192, 0, 2, 1], 16384).into());
    assert_eq!(at_caller.remote, ([192, 0, 2, 9], 20000).into());
    for negotiated in [at_caller, at_callee] {
        assert_eq!(
            (negotiated.codec, negotiated.payload_type, negotiated.dtmf),
            (Codec::Pcma, 8, Dtmf::Rfc4733(101))
        );
        assert_eq!(negotiated.remote_rtcp.port(), negotiated.remote.port() + 1);
    }
}

#[test]
fn a_dynamic_type_is_what_its_rtpmap_says() {
    for (formats, lines, agreed) in [
        ("96 0", "a=rtpmap:96 pcma/8000\r\n", Some((Codec::Pcma, 96))),
        ("96 0", "a=rtpmap:96 PCMA/16000\r\n", Some((Codec::Pcmu, 0))),
        ("96 0", "a=rtpmap:96 opus/48000/2\r\n", Some((Codec::Pcmu, 0))),
        ("96 0", "", Some((Codec::Pcmu, 0))),
        ("0", "a=rtpmap:0 opus/48000/2\r\n", None),
    ] {
        let negotiated = accept(&local(), audio_of(formats, lines).as_bytes()).ok();
        assert_eq!(negotiated.map(|n| (n.codec, n.payload_type)), agreed, "{formats} {lines}");
    }
}

#[test]
fn the_direction_is_ours_mirrored() {
    use Direction::*;
    for (we, they, agreed) in [
        (SendRecv, "a=sendrecv", SendRecv),
        (SendRecv, "", SendRecv),
        (SendRecv, "a=sendonly", RecvOnly),
        (SendRecv, "a=recvonly", SendOnly),
        (SendRecv, "a=inactive", Inactive),
        (SendOnly, "a=sendrecv", SendOnly),
        (RecvOnly, "a=recvonly", Inactive),
        (Inactive, "a=sendrecv", Inactive),
        (SendRecv, "c=IN IP4 0.0.0.0", RecvOnly),
        (SendRecv, "c=IN IP4 0.0.0.0\r\na=inactive", Inactive),
    ] {
        let local = Local { direction: we, ..local() };
        let theirs = audio_of("0", &format!("{they}\r\n"));
        let (sdp, negotiated) = answer(theirs.as_bytes(), &local).unwrap();
        assert_eq!(negotiated.direction, agreed, "we {we:?}, they {they}");
        assert!(sdp.ends_with(&format!("a={}\r\n", agreed.name())), "{sdp}");
    }
    let of_session = audio_of("0", "").replace("t=0 0", "t=0 0\r\na=sendonly");
    assert_eq!(accept(&local(), of_session.as_bytes()).unwrap().direction, RecvOnly);
}

#[test]
fn takes_ptime_and_rtcp_with_a_grain_of_salt() {
    for (lines, ptime_ms, rtcp) in [
        ("", 20, "198.51.100.2:4001"),
        ("a=ptime:30\r\n", 30, "198.51.100.2:4001"),
        ("a=ptime:0.125\r\n", 20, "198.51.100.2:4001"),
        ("a=ptime:200\r\n", 20, "198.51.100.2:4001"),
        ("a=rtcp:5000\r\n", 20, "198.51.100.2:5000"),
        ("a=rtcp:0\r\n", 20, "198.51.100.2:4001"),
        ("a=rtcp:5000 IN IP7 X\r\n", 20, "198.51.100.2:5000"),
        ("a=rtcp:5000 IN IP4 0.0.0.0\r\n", 20, "198.51.100.2:5000"),
        ("a=rtcp:no\r\n", 20, "198.51.100.2:4001"),
    ] {
        let negotiated = accept(&local(), audio_of("0", lines).as_bytes()).unwrap();
        assert_eq!(
            (negotiated.ptime_ms, negotiated.remote_rtcp.to_string().as_str()),
            (ptime_ms, rtcp),
            "{lines}"
        );
    }
}

#[test]
fn says_why_a_description_is_refused() {
    let many = format!("v=0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(65));
    let cases = [
        ("nothing", String::new()),
        ("XML", "<sdp/>".to_owned()),
        ("no equals sign", audio_of("0", "a\r\n")),
        ("port", audio_of("0", "").replace("4000", "70000")),
        ("format with a control character", audio_of("0 \u{1}", "")),
        ("no audio", audio_of("0", "").replace("m=audio", "m=video")),
        ("port 0", audio_of("0", "").replace("4000", "0")),
        ("SRTP", audio_of("0", "").replace("RTP/AVP", "RTP/SAVP")),
        ("other codecs", audio_of("18 96 97", "a=rtpmap:96 opus/48000/2\r\n")),
        ("no address", audio_of("0", "").replace("c=IN IP4 198.51.100.2\r\n", "")),
        ("host", audio_of("0", "c=IN IP4 media.example.com\r\n")),
        ("too many", many),
    ];
    let refusals: Vec<_> = cases
        .iter()
        .map(|(name, sdp)| format!("{name}: {}", accept(&local(), sdp.as_bytes()).unwrap_err()))
        .collect();
    assert_snapshot!(refusals.join("\n"), @r#"
    nothing: the body is no SDP: it does not begin with v=0
    XML: the body is no SDP: it does not begin with v=0
    no equals sign: the SDP has a broken line: "a"
    port: the SDP has a broken line: "m=audio 70000 RTP/AVP 0"
    format with a control character: the SDP has a broken line: "m=audio 4000 RTP/AVP 0 \u{1}"
    no audio: the SDP has no audio
    port 0: the other side refuses audio (port 0)
    SRTP: the other side wants encrypted audio (RTP/SAVP), and encryption is off here: set srtp to optional
    other codecs: no common codec: they speak G729, opus, 97
    no address: the SDP does not say where to send to: no c= line
    host: the SDP names a host instead of an IP address: media.example.com
    too many: the SDP is too large: at most 64 KiB and 64 m-lines are read
    "#);
    let huge = vec![b'a'; 65 * 1024];
    assert_eq!(Description::parse(&huge), Err(SdpError::TooLarge));
}

#[test]
fn reads_the_descriptions_of_others() {
    let Some(corpus) = crate::testing::corpora("sdp") else { return };
    let mut verdicts = vec![];
    for folder in ["captured-here", "sdp-transform"] {
        let files = std::fs::read_dir(corpus.join(folder)).expect("a folder of descriptions");
        for file in files.map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let sdp = std::fs::read(&file).unwrap();
            let verdict = match Description::parse(&sdp) {
                Ok(description) => {
                    let lines =
                        sdp.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")).count();
                    assert_eq!(description.media.len(), lines, "{name}");
                    let us = Local {
                        codecs: Codec::ALL.to_vec(),
                        srtp: Srtp::Optional(crate::srtp::Keys::new([1; crate::srtp::Keys::RANDOM])),
                        ..local()
                    };
                    match answer(&sdp, &us) {
                        Ok((_, negotiated)) => format!(
                            "{} as {}, {:?}, {:?}{}",
                            negotiated.codec.name(),
                            negotiated.payload_type,
                            negotiated.dtmf,
                            negotiated.direction,
                            if negotiated.crypto.is_some() { ", encrypted" } else { "" }
                        ),
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => format!("unreadable: {error}"),
            };
            verdicts.push(format!("{name}: {verdict}"));
        }
    }
    verdicts.sort();
    assert_snapshot!(verdicts.join("\n"), @r"
    alac.sdp: the other side refuses audio (port 0)
    baresip1.0.0-answer.sdp: the audio is not plain RTP: UDP/TLS/RTP/SAVPF, expected RTP/AVP or RTP/SAVP
    bfcp.sdp: G722 as 9, Inband, SendRecv
    chromium156-offer.sdp: the audio is not plain RTP: UDP/TLS/RTP/SAVPF, expected RTP/AVP or RTP/SAVP
    dante-aes67.sdp: no common codec: they speak L24
    extmap-encrypt.sdp: the other side encrypts audio with no key that can be used: a=crypto with one of AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32
    hacky.sdp: opus as 111, Rfc4733(126), RecvOnly, encrypted
    icelite.sdp: the other side encrypts audio with no key that can be used: a=crypto with one of AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32
    invalid.sdp: PCMU as 0, Inband, RecvOnly
    jsep.sdp: the audio is not plain RTP: UDP/TLS/RTP/SAVPF, expected RTP/AVP or RTP/SAVP
    jssip.sdp: opus as 111, Rfc4733(126), SendRecv, encrypted
    mediaclk-avbtp.sdp: no common codec: they speak L24
    mediaclk-ptp-v2-w-rate.sdp: no common codec: they speak L24
    mediaclk-ptp-v2.sdp: no common codec: they speak L24
    mediaclk-rtp.sdp: no common codec: they speak L24
    normal.sdp: the other side encrypts audio with no key that can be used: a=crypto with one of AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32
    onvif.sdp: the other side refuses audio (port 0)
    rtcp-fb.sdp: opus as 96, Rfc4733(101), SendRecv
    sctp-dtls-26.sdp: the SDP has no audio
    simulcast.sdp: PCMU as 0, Inband, SendRecv
    ssrc.sdp: the audio is not plain RTP: UDP/TLS/RTP/SAVPF, expected RTP/AVP or RTP/SAVP
    st2022-6.sdp: the SDP has no audio
    st2110-20.sdp: the SDP has no audio
    tcp-active.sdp: the SDP has no audio
    tcp-passive.sdp: the SDP has no audio
    ts-refclk-media.sdp: PCMU as 0, Inband, SendOnly
    ts-refclk-sess.sdp: PCMU as 0, Inband, SendOnly
    ");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = answer(&bytes, &local());
    }

    #[test]
    fn anything_like_sdp_is_answered_or_refused(
        lines in proptest::collection::vec(
            prop_oneof![
                "m=(audio|video) [0-9]{1,5} RTP/(AVP|SAVP)( [0-9]{1,3}){0,4}",
                "c=IN IP[46] [0-9.:]{1,12}",
                "a=(rtpmap|ptime|maxptime|rtcp|fmtp):[0-9]{1,5} ?[a-zA-Z/0-9]{0,10}",
                "a=rtpmap:[0-9]{1,3} (opus/48000/2|G722/8000|PCMA/8000|telephone-event/(8000|48000))",
                "a=crypto:[0-9] AES_CM_128_HMAC_SHA1_(80|32) inline:[A-Za-z0-9+/]{40}(.1:1)?",
                "a=rtcp-mux",
                "a=(sendonly|recvonly|inactive|sendrecv)",
                "[a-z]=.{0,20}",
            ],
            0..20,
        ),
    ) {
        let sdp = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        let us = Local {
            codecs: Codec::ALL.to_vec(),
            srtp: Srtp::Optional(crate::srtp::Keys::new([1; crate::srtp::Keys::RANDOM])),
            ..local()
        };
        let _ = accept(&us, sdp.as_bytes());
        if let Ok((ours, negotiated)) = answer(sdp.as_bytes(), &us) {
            let again = reoffer(&us, &negotiated);
            let again = Description::parse(again.as_bytes()).unwrap();
            prop_assert_eq!(again.media.len(), negotiated.places.len());
            let theirs = Description::parse(sdp.as_bytes()).unwrap();
            let ours = Description::parse(ours.as_bytes()).unwrap();
            // RFC 3264 section 6: as many m-lines, of the same kinds.
            prop_assert_eq!(
                ours.media.iter().map(|media| &media.kind).collect::<Vec<_>>(),
                theirs.media.iter().map(|media| &media.kind).collect::<Vec<_>>()
            );
            prop_assert_eq!(ours.media.iter().filter(|media| media.port != 0).count(), 1);
            prop_assert!(negotiated.remote.port() != 0);
        }
    }
}
