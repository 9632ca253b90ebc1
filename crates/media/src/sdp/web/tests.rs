use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::Codec;
use crate::sdp::{Direction, Dtmf};

/// What Chromium offers, its candidates and header extensions left out: trickle allows for none.
const OFFER: &str = "v=0\r\n\
    o=- 6389826817065195747 2 IN IP4 127.0.0.1\r\n\
    s=-\r\n\
    t=0 0\r\n\
    a=group:BUNDLE 0 1\r\n\
    a=msid-semantic: WMS feb9772e\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n\
    c=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:1Ee9\r\n\
    a=ice-pwd:WuSyR63xolqlhx8vkrjONWpo\r\n\
    a=ice-options:trickle\r\n\
    a=fingerprint:sha-256 71:36:DD:F9:B6:F9:F0:5C:C7:6C:21:6D:EF:BC:94:24:BC:AE:43:FF:91:9A:F8:60:73:F9:AC:30:91:00:98:DA\r\n\
    a=setup:actpass\r\n\
    a=mid:0\r\n\
    a=sendrecv\r\n\
    a=rtcp-mux\r\n\
    a=rtpmap:111 opus/48000/2\r\n\
    a=fmtp:111 minptime=10;useinbandfec=1\r\n\
    a=rtpmap:63 red/48000/2\r\n\
    a=rtpmap:9 G722/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:13 CN/8000\r\n\
    a=rtpmap:110 telephone-event/48000\r\n\
    a=rtpmap:126 telephone-event/8000\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
    c=IN IP4 0.0.0.0\r\n\
    a=mid:1\r\n\
    a=rtpmap:96 VP8/90000\r\n";

fn local(codecs: &[Codec]) -> Sound {
    Sound::new([192, 0, 2, 1].into(), 20000, codecs.to_vec(), 7)
}

fn credentials(byte: u8) -> Credentials {
    Credentials::new([byte; Credentials::RANDOM])
}

fn print(byte: u8) -> Fingerprint {
    let pairs = vec![format!("{byte:02X}"); 32];
    Fingerprint::parse(&format!("SHA-256 {}", pairs.join(":"))).unwrap()
}

fn ours() -> Local {
    Local { credentials: credentials(1), fingerprint: print(0xAB), addresses: vec![] }
}

fn answered(offer: &str, before: Option<&Negotiated>) -> Result<(String, Negotiated), SdpError> {
    answer(offer.as_bytes(), &local(&[Codec::Pcmu, Codec::Opus]), &ours(), before, credentials(2))
}

#[test]
fn answers_chromium() {
    let external = Local { addresses: vec![[10, 0, 0, 1].into(), [192, 0, 2, 1].into()], ..ours() };
    let us = local(&[Codec::Opus, Codec::Pcmu]);
    let (sdp, negotiated) = answer(OFFER.as_bytes(), &us, &external, None, credentials(2)).unwrap();
    assert_snapshot!(sdp.replace("\r\n", "\n"), @r"
    v=0
    o=- 7 1 IN IP4 192.0.2.1
    s=-
    c=IN IP4 192.0.2.1
    t=0 0
    a=ice-lite
    a=group:BUNDLE 0
    m=audio 20000 UDP/TLS/RTP/SAVPF 111 0 110 126
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1
    a=rtpmap:0 PCMU/8000
    a=rtpmap:110 telephone-event/48000
    a=fmtp:110 0-15
    a=rtpmap:126 telephone-event/8000
    a=fmtp:126 0-15
    a=ptime:20
    a=rtcp-mux
    a=rtcp:20000
    a=sendrecv
    a=mid:0
    a=msid:trunkline audio
    a=ice-ufrag:AQEBAQEB
    a=ice-pwd:AQEBAQEBAQEBAQEBAQEBAQEB
    a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB
    a=setup:passive
    a=candidate:1 1 udp 2130706431 192.0.2.1 20000 typ host
    a=candidate:2 1 udp 2130706175 10.0.0.1 20000 typ host
    a=end-of-candidates
    m=video 0 UDP/TLS/RTP/SAVPF 96
    ");
    assert_eq!((negotiated.codec, negotiated.payload_type), (Codec::Opus, 111));
    assert_eq!((negotiated.dtmf, negotiated.event_clock), (Dtmf::Rfc4733(110), 48_000));
    assert!(negotiated.rtcp_mux && !negotiated.is_held());
    assert_eq!(negotiated.web.unwrap().role, Role::Server);
}

#[test]
fn offers_audio() {
    assert_snapshot!(offer(&local(&[Codec::Pcmu, Codec::Opus]), &ours()).replace("\r\n", "\n"), @r"
    v=0
    o=- 7 1 IN IP4 192.0.2.1
    s=-
    c=IN IP4 192.0.2.1
    t=0 0
    a=ice-lite
    a=group:BUNDLE 0
    m=audio 20000 UDP/TLS/RTP/SAVPF 0 111 101 110
    a=rtpmap:0 PCMU/8000
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-15
    a=rtpmap:110 telephone-event/48000
    a=fmtp:110 0-15
    a=ptime:20
    a=rtcp-mux
    a=rtcp:20000
    a=sendrecv
    a=mid:0
    a=msid:trunkline audio
    a=ice-ufrag:AQEBAQEB
    a=ice-pwd:AQEBAQEBAQEBAQEBAQEBAQEB
    a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB
    a=setup:actpass
    a=candidate:1 1 udp 2130706431 192.0.2.1 20000 typ host
    a=end-of-candidates
    ");
}

#[test]
fn what_is_spoken_is_ours_to_choose() {
    for (codecs, agreed, keys) in [
        (&[Codec::Pcmu, Codec::Opus][..], (Codec::Pcmu, 0), (126, 8000)),
        (&[Codec::Opus, Codec::Pcma], (Codec::Opus, 111), (110, 48_000)),
        (&[Codec::G722], (Codec::G722, 9), (126, 8000)),
    ] {
        let (sdp, negotiated) =
            answer(OFFER.as_bytes(), &local(codecs), &ours(), None, credentials(2)).unwrap();
        assert_eq!((negotiated.codec, negotiated.payload_type), agreed);
        assert_eq!((negotiated.dtmf, negotiated.event_clock), (Dtmf::Rfc4733(keys.0), keys.1));
        assert!(sdp.contains(&format!("SAVPF {}", agreed.1)), "{sdp}");
    }
}

#[test]
fn only_another_ice_is_a_restart() {
    let (_, first) = answered(OFFER, None).unwrap();
    let agreed = first.web.clone().unwrap();
    assert_eq!(agreed.ours, credentials(1));
    for (offer, restarts) in [
        (OFFER.to_owned(), false),
        (OFFER.replace("sendrecv", "sendonly"), false),
        (OFFER.replace("1Ee9", "2Ee9"), true),
        (OFFER.replace("WuSy", "XuSy"), true),
    ] {
        let (sdp, second) = answered(&offer, Some(&first)).unwrap();
        let again = second.web.clone().unwrap();
        assert_eq!(again.ours == credentials(2), restarts);
        assert!(sdp.contains(&format!("a=ice-ufrag:{}\r\n", again.ours.ufrag())));
        assert_eq!((again.role, again.fingerprint), (agreed.role, agreed.fingerprint));
        // What we offer next, and take as their answer to it, stays with that.
        let us = local(&[Codec::Pcmu, Codec::Opus]);
        assert!(reoffer(&us, &ours(), &second).contains(again.ours.ufrag()));
        let taken = accept(&us, &ours(), Some(&second), OFFER.as_bytes()).unwrap();
        assert_eq!(taken.web.unwrap().ours, again.ours);
    }
}

#[test]
fn the_handshake_has_two_parts() {
    let client = Agreed { role: Role::Client, ..answered(OFFER, None).unwrap().1.web.unwrap() };
    let before = Negotiated { web: Some(client), ..answered(OFFER, None).unwrap().1 };
    let other = OFFER.replace("71:36", "72:36");
    for (offer, before, role) in [
        (OFFER.to_owned(), None, Role::Server),
        (OFFER.replace("actpass", "active"), None, Role::Server),
        (OFFER.replace("actpass", "passive"), None, Role::Client),
        (OFFER.replace("a=setup:actpass\r\n", ""), None, Role::Server),
        (OFFER.to_owned(), Some(&before), Role::Client),
        (OFFER.replace("actpass", "active"), Some(&before), Role::Server),
        (other, Some(&before), Role::Server),
    ] {
        let (sdp, negotiated) = answered(&offer, before).unwrap();
        assert_eq!(negotiated.web.unwrap().role, role);
        assert!(sdp.contains(&format!("a=setup:{}\r\n", role.setup())), "{sdp}");
    }
}

#[test]
fn the_attributes_may_stand_elsewhere() {
    let keyed: Vec<&str> = OFFER
        .lines()
        .filter(|line| {
            ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"].iter().any(|a| line.starts_with(a))
        })
        .collect();
    let bare = OFFER.lines().filter(|line| !keyed.contains(line)).collect::<Vec<_>>().join("\r\n") + "\r\n";
    let keyed = keyed.join("\r\n");
    let of_session = bare.replace("t=0 0", &format!("t=0 0\r\n{keyed}"));
    let of_video = format!("{bare}{keyed}\r\n");
    for offer in [of_session, of_video.clone()] {
        assert_eq!(answered(&offer, None).unwrap().1.web.unwrap().theirs.ufrag(), "1Ee9");
    }
    let unbundled = of_video.replace("a=group:BUNDLE 0 1\r\n", "");
    assert_eq!(answered(&unbundled, None).unwrap_err(), SdpError::Lacks("a=ice-ufrag"));
    let only = OFFER.replace("m=audio 9", "m=audio 0").replace("a=mid:0", "a=mid:0\r\na=bundle-only");
    assert!(answered(&only, None).is_ok());
}

#[test]
fn says_what_is_lacking() {
    let phone = "v=0\r\nc=IN IP4 198.51.100.2\r\nm=audio 4000 RTP/AVP 0\r\n";
    let cases = [
        ("a phone", phone.to_owned()),
        ("no mux", OFFER.replace("a=rtcp-mux\r\n", "")),
        ("no ufrag", OFFER.replace("a=ice-ufrag", "a=x")),
        ("no password", OFFER.replace("a=ice-pwd", "a=x")),
        ("SHA-1", OFFER.replace("sha-256", "sha-1")),
        ("a short fingerprint", OFFER.replace(":98:DA", ":98")),
        ("no codec", OFFER.replace(" 111 63 9 0 8 13 110 126", " 63 13 110 126")),
        ("no audio", OFFER.replace("m=audio", "m=text")),
        ("port 0", OFFER.replace("m=audio 9", "m=audio 0")),
    ];
    let refusals: Vec<_> =
        cases.iter().map(|(name, sdp)| format!("{name}: {}", answered(sdp, None).unwrap_err())).collect();
    assert_snapshot!(refusals.join("\n"), @r"
    a phone: the other side's WebRTC description lacks UDP/TLS/RTP/SAVPF
    no mux: the other side's WebRTC description lacks a=rtcp-mux
    no ufrag: the other side's WebRTC description lacks a=ice-ufrag
    no password: the other side's WebRTC description lacks a=ice-pwd
    SHA-1: the other side's WebRTC description lacks a=fingerprint by SHA-256
    a short fingerprint: the other side's WebRTC description lacks a=fingerprint by SHA-256
    no codec: no common codec: they speak red, CN, telephone-event, telephone-event
    no audio: the SDP has no audio
    port 0: the other side refuses audio (port 0)
    ");
    for (name, sdp) in &cases {
        let is_browser = !matches!(*name, "a phone" | "no audio" | "port 0");
        assert_eq!(is_web(sdp.as_bytes()), is_browser, "{name}");
    }
}

#[test]
fn directions_are_mirrored_and_no_address_is_no_hold() {
    use Direction::*;
    for (they, agreed) in
        [("sendrecv", SendRecv), ("sendonly", RecvOnly), ("recvonly", SendOnly), ("inactive", Inactive)]
    {
        let (sdp, negotiated) = answered(&OFFER.replace("sendrecv", they), None).unwrap();
        assert_eq!(negotiated.direction, agreed);
        assert!(sdp.contains(&format!("a={}\r\n", agreed.name())));
        assert_eq!(negotiated.is_held(), !agreed.sends());
    }
    let host = OFFER.replace("IN IP4 0.0.0.0", "IN IP4 b3c5.local");
    assert!(!answered(&host, None).unwrap().1.is_held());
}

#[test]
fn nothing_secret_is_printed() {
    let (_, negotiated) = answered(OFFER, None).unwrap();
    let printed = format!("{negotiated:?} {:?}", ours());
    assert!(!printed.contains(&credentials(1).pwd) && !printed.contains("WuSyR63"), "{printed}");
}

#[test]
fn reads_the_browsers_of_others() {
    let Some(corpus) = crate::testing::corpora("sdp") else { return };
    for file in ["chromium156-offer.sdp", "baresip1.0.0-answer.sdp"] {
        let sdp = std::fs::read(corpus.join("captured-here").join(file)).unwrap();
        assert!(is_web(&sdp), "{file}");
        let (_, negotiated) = answer(&sdp, &local(&[Codec::Pcmu]), &ours(), None, credentials(2)).unwrap();
        assert_eq!(negotiated.dtmf, Dtmf::Rfc4733(126), "{file}");
    }
}

proptest! {
    #[test]
    fn anything_like_a_browser_is_answered_or_refused(
        lines in proptest::collection::vec(
            prop_oneof![
                "m=(audio|video) [0-9]{1,5} (UDP/TLS/)?RTP/SAVPF?( [0-9]{1,3}){1,4}",
                "c=IN IP[46] [0-9.:]{1,12}",
                "a=(ice-ufrag|ice-pwd|setup|mid|group|fingerprint):[ -~]{0,30}",
                "a=(ice-ufrag|ice-pwd):[a-zA-Z0-9+/]{4,30}",
                "a=group:BUNDLE( [0-9]){0,3}",
                "a=mid:[0-9]",
                "a=fingerprint:sha-256 AA(:[0-9A-F]{2}){31}",
                "a=setup:(actpass|active|passive)",
                "a=(rtcp-mux|ice-lite|bundle-only|sendonly|inactive)",
                "a=rtpmap:[0-9]{1,3} (opus/48000/2|PCMA/8000|telephone-event/(8000|48000))",
                "[a-z]=.{0,20}",
            ],
            0..25,
        ),
        mangle: bool,
    ) {
        // Half of them have all that is needed, in the midst of what is not.
        let begin = if mangle { "v=0\r\n" } else { OFFER };
        let sdp = format!("{begin}{}\r\n", lines.join("\r\n"));
        let us = local(&Codec::ALL);
        let _ = is_web(sdp.as_bytes());
        let _ = accept(&us, &ours(), None, sdp.as_bytes());
        if let Ok((text, negotiated)) = answer(sdp.as_bytes(), &us, &ours(), None, credentials(2)) {
            let theirs = Description::parse(sdp.as_bytes()).unwrap();
            let read = Description::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(read.media.len(), theirs.media.len());
            prop_assert_eq!(read.media.iter().filter(|media| media.port != 0).count(), 1);
            prop_assert!(is_web(text.as_bytes()), "{}", text);
            let again = reoffer(&us, &ours(), &negotiated);
            prop_assert!(is_web(again.as_bytes()), "{}", again);
            let _ = answer(sdp.as_bytes(), &us, &ours(), Some(&negotiated), credentials(3));
        }
    }
}
